//! Files that are written whole or not at all.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Replaces the file by `bytes`, whole or not at all.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    fewsteps::write_whole(path, bytes).with_context(|| format!("{}: cannot be written", path.display()))
}

/// Refuses to write over a file that is there, unless that was asked for.
pub(crate) fn ensure_free(option: &str, path: Option<&Path>, overwrite: bool) -> anyhow::Result<()> {
    match path.filter(|path| path.exists() && !overwrite) {
        Some(path) => bail!(
            "{option} {}: is there already, and nothing was changed; name another file, or add --overwrite",
            path.display()
        ),
        None => Ok(()),
    }
}

/// Removes a file if there is one.
pub(crate) fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{}: cannot be removed", path.display()))
        }
        _ => Ok(()),
    }
}

/// Writes `value` as indented JSON.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    write(path, text.as_bytes())
}

/// Reads a regular file.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let name = path.display();
    fewsteps::check_regular(path).map_err(|refused| anyhow!("{name}: {refused}"))?;
    fs::read(path).with_context(|| format!("{name}: cannot be read"))
}

/// Reads a file, or `None` where there is none.
pub(crate) fn read_if_there(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    let is_missing = fs::metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound);
    if is_missing { Ok(None) } else { read(path).map(Some) }
}

/// Reads JSON, or `None` where there is no such file.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Option<T>> {
    let Some(bytes) = read_if_there(path)? else { return Ok(None) };
    let value = serde_json::from_slice(&bytes)
        .with_context(|| format!("{}: is not a record of this version; --overwrite makes it anew", path.display()))?;
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_replaced_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.json");
        for value in [vec![1, 2], vec![3]] {
            write_json(&path, &value).expect("written");
            assert_eq!(read_json::<Vec<i32>>(&path).expect("read"), Some(value), "what was written");
        }
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 1, "no temporary file is left");
        remove(&path).expect("removed");
        remove(&path).expect("nothing to remove");
        assert_eq!(read_json::<Vec<i32>>(&path).expect("absent"), None, "no file, no value");
    }
}
