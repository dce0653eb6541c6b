//! Files that are written whole or not at all, and where they lie.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The folder of a benchmark's or a training's output.
#[derive(Debug)]
pub(crate) struct OutDir {
    root: PathBuf,
}

impl OutDir {
    /// Makes the folder with its parts, and proves that they can be written to, before hours are spent on training.
    pub(crate) fn create(root: &Path) -> anyhow::Result<Self> {
        let remedy = "choose another folder with --out";
        for folder in [root.to_owned(), root.join("runs"), root.join("checkpoints")] {
            fs::create_dir_all(&folder).with_context(|| format!("{}: cannot be made; {remedy}", folder.display()))?;
            tempfile::NamedTempFile::new_in(&folder)
                .and_then(|mut file| file.write_all(b"fewsteps"))
                .with_context(|| format!("{}: cannot be written to; {remedy}", folder.display()))?;
        }
        Ok(Self { root: root.to_owned() })
    }

    pub(crate) fn checkpoint(&self, run: &str) -> PathBuf {
        self.root.join("checkpoints").join(format!("{run}.safetensors"))
    }

    pub(crate) fn record(&self, run: &str) -> PathBuf {
        self.root.join("runs").join(format!("{run}.json"))
    }

    pub(crate) fn results(&self) -> PathBuf {
        self.root.join("results.json")
    }

    pub(crate) fn metrics(&self) -> PathBuf {
        self.root.join("metrics.jsonl")
    }

    pub(crate) fn report(&self) -> PathBuf {
        self.root.join("report.html")
    }
}

/// Replaces the file by `bytes`, whole or not at all.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    fewsteps::write_whole(path, bytes).with_context(|| format!("{}: cannot be written", path.display()))
}

/// Writes `value` as indented JSON.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    write(path, text.as_bytes())
}

/// Reads JSON, or `None` where there is no such file.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Option<T>> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        result => result.with_context(|| format!("{}: cannot be read", path.display()))?,
    };
    let value = serde_json::from_str(&text)
        .with_context(|| format!("{}: is not a record of this version; delete it to run it anew", path.display()))?;
    Ok(Some(value))
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
