//! Files that are written whole or not at all, and what is no file.

use std::io::{self, ErrorKind, Write};
use std::path::Path;

/// Writes a file so that whoever opens it, even after a crash, finds the old content or the new, never a part: into a
/// temporary file beside it, to the disk, then renamed.
///
/// # Errors
/// The operating system's; the old file is still there then.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let mut file = temporary(folder)?;
    file.write_all(bytes)?;
    #[cfg(unix)]
    {
        // A temporary file is its owner's secret; a result is as readable as any other file.
        use std::os::unix::fs::PermissionsExt;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    file.as_file().sync_all()?;
    file.persist(path)?;
    // The rename itself reaches the disk with its folder; where folders cannot be opened, the system sees to it.
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).or(Ok(()))
}

/// What the names of our temporary files begin and end with.
const TEMPORARY: [&str; 2] = [".fewsteps-", ".tmp"];

fn temporary(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    tempfile::Builder::new().prefix(TEMPORARY[0]).suffix(TEMPORARY[1]).tempfile_in(folder)
}

/// Removes the temporary files that [`write_whole`] left in `folder` when its process was killed. Nobody may be writing
/// there meanwhile.
///
/// # Errors
/// The operating system's, when the folder cannot be read or a file cannot be removed.
pub fn remove_temporaries(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let ours = name.to_str().is_some_and(|name| name.starts_with(TEMPORARY[0]) && name.ends_with(TEMPORARY[1]));
        if ours && entry.file_type()?.is_file() {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Refuses what is there and no regular file. Of a pipe, reading would wait for what somebody writes, and writing for
/// somebody who reads.
///
/// # Errors
/// Of kind [`ErrorKind::InvalidInput`], with `not a regular file`. A path at which nothing can be looked at is for whoever
/// opens it to report.
pub fn check_regular(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path) {
        Ok(there) if !there.is_file() => Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_killed_writers_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let (_, left) = temporary(folder.path()).expect("made").keep().expect("kept, as a killed process does");
        let others = ["model.safetensors", ".fewsteps.lock", "notes.tmp", ".fewsteps-notes"];
        for name in others {
            std::fs::write(folder.path().join(name), name).expect("written");
        }
        remove_temporaries(folder.path()).expect("removed");
        assert!(!left.exists(), "ours is gone");
        assert!(others.iter().all(|name| folder.path().join(name).exists()), "the others stay");
    }

    #[test]
    fn a_folder_is_no_regular_file_and_what_is_not_there_is_not_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let refused = check_regular(folder.path()).expect_err("a folder");
        assert_eq!((refused.kind(), refused.to_string().as_str()), (ErrorKind::InvalidInput, "not a regular file"));
        let file = folder.path().join("file");
        check_regular(&file).expect("nothing is there");
        std::fs::write(&file, "").expect("written");
        check_regular(&file).expect("a regular file");
    }
}
