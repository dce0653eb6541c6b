//! Records out of archives, one after the other as they are unpacked: nothing is written to disk.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tar::Archive;

use super::record::Record;
use crate::data::file;
use crate::data::reading::Reading;

const TASK: &str = "physionet";

/// The archives of the challenge's sets A and B, without what their names end in.
const SETS: [&str; 2] = ["set-a", "set-b"];

const ENDS: [&str; 3] = [".tar.gz", ".tgz", ".tar"];

/// Bytes beyond which a file is no record: the longest of the challenge has some 40,000.
const LARGEST: u64 = 1 << 20;

const REMEDY: &str = "fetch the file anew";

/// A file that was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeftOut {
    pub(crate) name: String,
    pub(crate) why: String,
}

/// Where the archives are.
#[derive(Debug)]
pub(super) struct Archives(pub(super) [PathBuf; 2]);

impl Archives {
    /// Looks for the archives in `data` and in its folder `physionet2012`.
    pub(super) fn find(data: Option<&Path>) -> anyhow::Result<Self> {
        let wanted = SETS.map(|set| format!("{set}.tar.gz")).join(" and ");
        let Some(data) = data else {
            bail!("{TASK} needs its data: give --data DIR, a folder that holds {wanted}");
        };
        ensure!(!data.is_file(), "--data {}: is a file; {TASK} takes the folder that holds {wanted}", data.display());
        let inner = data.join("physionet2012");
        let folder = if inner.is_dir() { inner } else { data.to_owned() };
        let find =
            |set: &str| ENDS.map(|end| folder.join(format!("{set}{end}"))).into_iter().find(|path| path.exists());
        match SETS.map(find) {
            [Some(a), Some(b)] => Ok(Self([a, b])),
            found => {
                let missing = SETS.iter().zip(&found).filter(|(_, found)| found.is_none());
                let missing: Vec<String> = missing.map(|(set, _)| format!("{set}.tar.gz")).collect();
                bail!("{}: {} not found; {TASK} needs {wanted}", folder.display(), missing.join(" and "));
            }
        }
    }

    /// Bytes of both.
    fn bytes(&self) -> anyhow::Result<u64> {
        let mut bytes = 0;
        for path in &self.0 {
            fewsteps::check_regular(path).map_err(|refused| anyhow::anyhow!("{}: {refused}", path.display()))?;
            bytes += path.metadata().with_context(|| format!("{}: cannot be read", path.display()))?.len();
        }
        Ok(bytes)
    }

    /// SHA-256 of both, one behind the other.
    pub(super) fn digest(&self) -> anyhow::Result<[u8; 32]> {
        self.bytes()?;
        let mut hash = Sha256::new();
        for path in &self.0 {
            let name = || format!("{}: cannot be read", path.display());
            let mut file = BufReader::with_capacity(1 << 16, File::open(path).with_context(name)?);
            let mut block = vec![0; 1 << 16];
            loop {
                let count = file.read(&mut block).with_context(name)?;
                if count == 0 {
                    break;
                }
                hash.update(&block[..count]);
            }
        }
        Ok(hash.finalize().into())
    }

    /// Hands on every record of both; what is none is returned by name.
    pub(super) fn read(&self, mut take: impl FnMut(Record)) -> anyhow::Result<Vec<LeftOut>> {
        let reading = Reading::of("physionet 2012", self.bytes()?)?;
        let (mut left_out, mut seen) = (Vec::new(), std::collections::HashSet::new());
        for path in &self.0 {
            let before = (seen.len(), left_out.len());
            let file = File::open(path).with_context(|| format!("{}: cannot be read", path.display()))?;
            read(reading.through(file), |name, found| {
                let record = found.and_then(|(id, bytes)| {
                    let record = Record::parse(id, &bytes).map_err(|fault| fault.to_string())?;
                    if seen.insert(id) {
                        Ok(record)
                    } else {
                        Err("a record of this number was there before".to_owned())
                    }
                });
                match record {
                    Ok(record) => take(record),
                    Err(why) => left_out.push(LeftOut { name: name.to_owned(), why }),
                }
            })
            .with_context(|| {
                let whole = seen.len() - before.0;
                format!("{}: cannot be unpacked after {whole} records; {REMEDY}", path.display())
            })?;
            ensure!((seen.len(), left_out.len()) != before, "{}: holds no record; {REMEDY}", path.display());
        }
        Ok(left_out)
    }
}

/// Hands on the text files of an archive by name, each with its number and bytes, or with what is wrong with it. Then the rest
/// is unpacked, so that damage anywhere is found.
fn read(source: impl Read + 'static, mut take: impl FnMut(&str, Result<(u32, Vec<u8>), String>)) -> io::Result<()> {
    let mut unpacked = file::unpack(BufReader::with_capacity(1 << 16, source))?;
    let mut archive = Archive::new(&mut unpacked);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let file = name.rsplit('/').next().unwrap_or_default();
        let Some(stem) = file.strip_suffix(".txt").filter(|stem| !stem.starts_with('.')) else { continue };
        if !entry.header().entry_type().is_file() {
            take(&name, Err("is no file of its own in the archive".to_owned()));
            continue;
        }
        let Ok(id) = stem.parse::<u32>() else {
            take(&name, Err("its name is not the number of a record".to_owned()));
            continue;
        };
        if entry.size() > LARGEST {
            take(&name, Err(format!("has {} bytes, of which a record has at most {LARGEST}", entry.size())));
            continue;
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        take(&name, Ok((id, bytes)));
    }
    io::copy(&mut unpacked, &mut io::sink())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::tests::{archive, patient};
    use super::*;
    use crate::data::file::tests::gzip;

    /// What is found in an archive: names, with the number of bytes or what is wrong.
    fn found(bytes: Vec<u8>) -> io::Result<Vec<(String, Result<usize, String>)>> {
        let mut found = Vec::new();
        read(Cursor::new(bytes), |name, file| found.push((name.to_owned(), file.map(|(_, bytes)| bytes.len()))))?;
        Ok(found)
    }

    #[test]
    fn every_damage_is_an_error_and_none_a_panic() {
        let whole = archive(&[("set-a/1.txt", patient(1, 40)), ("set-a/2.txt", patient(2, 50))]);
        assert_eq!(found(whole.clone()).expect("whole").len(), 2, "not packed");
        let packed = gzip(&whole, usize::MAX);
        assert_eq!(found(packed.clone()).expect("whole").len(), 2);
        for end in 0..packed.len() {
            // What is left of the two magic bytes is no gzip, and of nothing nothing.
            let cut = found(packed[..end].to_vec());
            assert!(cut.is_err() || (end < 2 && cut.is_ok_and(|found| found.is_empty())), "cut at {end}");
        }
        // A bit anywhere: an error, or what no checksum covers and nobody reads, but never other files.
        let expected = found(whole.clone()).expect("whole");
        let mut seed = 1u64;
        for _ in 0..400 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let mut flipped = packed.clone();
            let place = (seed >> 33) as usize % packed.len();
            flipped[place] ^= 1 << (seed >> 60 & 7);
            if let Ok(files) = found(flipped) {
                assert!(files == expected || (place < 2 && files.is_empty()), "byte {place}: {files:?}");
            }
        }
        // The archive itself, without checksums behind it: whatever comes of it is no panic.
        for place in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[place] ^= 0x5a;
            let _ = found(flipped);
        }
    }

    #[test]
    fn what_is_no_record_is_named() {
        let files = [
            ("set-a/readme.md", b"text".to_vec()),
            ("set-a/._1.txt", b"of another system".to_vec()),
            ("set-a/notes.txt", b"text".to_vec()),
            ("set-a/3.txt", vec![b'x'; (1 << 20) + 1]),
            ("4.txt", Vec::new()),
        ];
        let found = found(archive(&files)).expect("whole");
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["set-a/notes.txt", "set-a/3.txt", "4.txt"]);
        let why = |i: usize| found[i].1.clone().expect_err("left out");
        assert!(why(0).contains("not the number") && why(1).contains("1048577 bytes"));
        assert_eq!(found[2].1, Ok(0), "an empty file is told by its text");
    }

    #[test]
    fn archives_are_found_by_their_names() {
        let folder = tempfile::tempdir().expect("a folder");
        let refused = |path: Option<&Path>| format!("{:#}", Archives::find(path).expect_err("refused"));
        assert!(
            refused(None).contains("--data DIR") && refused(Some(folder.path())).contains("set-a.tar.gz and set-b")
        );
        let inner = folder.path().join("physionet2012");
        std::fs::create_dir(&inner).expect("made");
        std::fs::write(inner.join("set-a.tgz"), b"").expect("written");
        let message = refused(Some(folder.path()));
        assert!(message.contains("set-b.tar.gz not found") && !message.contains("set-a.tar.gz not"), "{message}");
        assert!(refused(Some(&inner.join("set-a.tgz"))).contains("is a file"));
        std::fs::write(inner.join("set-b.tar"), b"").expect("written");
        let found = Archives::find(Some(folder.path())).expect("both");
        assert_eq!(found.0, [inner.join("set-a.tgz"), inner.join("set-b.tar")]);
        let error = format!("{:#}", found.read(|_| {}).expect_err("empty"));
        assert!(error.contains("set-a.tgz: holds no record"), "{error}");
    }
}
