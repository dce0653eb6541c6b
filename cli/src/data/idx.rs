//! MNIST's file format: gzipped arrays of bytes with a big-endian header.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use flate2::read::GzDecoder;

use super::{Data, Images, Samples};

/// Magic numbers: unsigned bytes in three dimensions, and in one.
const IMAGES: u32 = 0x0803;
const LABELS: u32 = 0x0801;

const SIDE: u32 = 28;
const FETCH: &str = "fetch the file anew";

/// The four files of MNIST or of one of its successors.
#[derive(Debug)]
pub(crate) struct IdxFiles {
    folder: PathBuf,
}

impl IdxFiles {
    const NAMES: [&str; 4] = [
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
        "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
    ];

    /// Looks for the files in `data` and in its folder `name`.
    pub(crate) fn find(data: Option<&Path>, name: &str) -> anyhow::Result<Self> {
        let wanted = Self::NAMES.join(", ");
        let Some(data) = data else {
            bail!("{name} needs its data: give --data DIR, a folder that holds {wanted}");
        };
        let complete = |folder: &Path| Self::NAMES.iter().all(|file| folder.join(file).is_file());
        if let Some(folder) = [data.to_owned(), data.join(name)].into_iter().find(|folder| complete(folder)) {
            return Ok(Self { folder });
        }
        let folder = if data.join(name).is_dir() { data.join(name) } else { data.to_owned() };
        let missing: Vec<&str> = Self::NAMES.into_iter().filter(|file| !folder.join(file).is_file()).collect();
        bail!("{}: {} not found; {name} needs {wanted}", folder.display(), missing.join(", "));
    }

    pub(crate) fn load(&self) -> anyhow::Result<Data> {
        let [train_images, train_labels, test_images, test_labels] = Self::NAMES.map(|name| self.folder.join(name));
        Ok(Data {
            train: Samples::Images(images(&train_images, &train_labels)?),
            test: Samples::Images(images(&test_images, &test_labels)?),
        })
    }
}

/// Images with their labels, from two files.
fn images(images: &Path, labels: &Path) -> anyhow::Result<Images> {
    let ([count, rows, columns], pixels) = array::<3>(images, IMAGES)?;
    ensure!(
        (rows, columns) == (SIDE, SIDE),
        "{}: images are {rows} x {columns}, expected {SIDE} x {SIDE}; {FETCH}",
        images.display()
    );
    let ([label_count], label_bytes) = array::<1>(labels, LABELS)?;
    ensure!(
        count == label_count,
        "{}: {label_count} labels, but {} holds {count} images; fetch both files anew",
        labels.display(),
        images.display()
    );
    if let Some(i) = label_bytes.iter().position(|&label| label > 9) {
        bail!("{}: label {i} is {}, expected 0 to 9; {FETCH}", labels.display(), label_bytes[i]);
    }
    Ok(Images { pixels, width: (SIDE * SIDE) as usize, white: 255, labels: label_bytes })
}

/// Reads an array of bytes in `D` dimensions: its extents and its contents.
fn array<const D: usize>(path: &Path, magic: u32) -> anyhow::Result<([u32; D], Vec<u8>)> {
    let name = path.display();
    let file = File::open(path).with_context(|| format!("{name}: cannot be opened; check --data"))?;
    let mut reader = GzDecoder::new(BufReader::new(file));
    let damaged = || format!("{name}: truncated, or not a gzip file; {FETCH}");
    let found = word(&mut reader).with_context(damaged)?;
    ensure!(found == magic, "{name}: magic number {found:#010x}, expected {magic:#010x}; not that kind of IDX file");
    let mut extents = [0; D];
    for extent in &mut extents {
        *extent = word(&mut reader).with_context(damaged)?;
    }
    let expected: u64 = extents.iter().map(|&extent| u64::from(extent)).product();
    ensure!(extents[0] > 0, "{name}: holds nothing; {FETCH}");
    ensure!(expected <= 1 << 30, "{name}: claims {expected} bytes, more than any such data set has; {FETCH}");
    let mut bytes = Vec::new();
    reader.take(expected + 1).read_to_end(&mut bytes).with_context(damaged)?;
    let more = if bytes.len() as u64 > expected { "more than " } else { "only " };
    ensure!(
        bytes.len() as u64 == expected,
        "{name}: {more}{} bytes follow the header, which promises {expected}; {FETCH}",
        bytes.len().min(expected as usize)
    );
    Ok((extents, bytes))
}

fn word(reader: &mut impl Read) -> std::io::Result<u32> {
    let mut bytes = [0; 4];
    reader.read_exact(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tempfile::TempDir;

    use super::*;

    fn gzip(header: &[u32], body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        for word in header {
            encoder.write_all(&word.to_be_bytes()).expect("in memory");
        }
        encoder.write_all(body).expect("in memory");
        encoder.finish().expect("in memory")
    }

    /// A folder of two training images and one test image, with file `name` replaced by `bytes`.
    fn folder(name: &str, bytes: &[u8]) -> TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).expect("written");
        for (prefix, count) in [("train", 2u32), ("t10k", 1)] {
            let pixels: Vec<u8> = (0..count * SIDE * SIDE).map(|i| i as u8).collect();
            write(&format!("{prefix}-images-idx3-ubyte.gz"), &gzip(&[IMAGES, count, SIDE, SIDE], &pixels));
            write(&format!("{prefix}-labels-idx1-ubyte.gz"), &gzip(&[LABELS, count], &[9, 0][..count as usize]));
        }
        if !name.is_empty() {
            write(name, bytes);
        }
        folder
    }

    fn load(folder: &TempDir) -> anyhow::Result<Data> {
        IdxFiles::find(Some(folder.path()), "mnist")?.load()
    }

    #[test]
    fn good_files() {
        let data = load(&folder("", &[])).expect("good files");
        let (Samples::Images(train), Samples::Images(test)) = (data.train, data.test) else { panic!("images") };
        assert_eq!((train.labels.as_slice(), test.labels.as_slice()), (&[9, 0][..], &[9][..]), "labels");
        assert_eq!((train.pixels.len(), train.pixels[300]), (2 * 784, 300u16 as u8), "pixels");
    }

    #[test]
    fn a_folder_of_the_data_sets_name() {
        let inner = folder("", &[]);
        let outer = tempfile::tempdir().expect("a folder");
        std::fs::rename(inner.path(), outer.path().join("mnist")).expect("moved");
        IdxFiles::find(Some(outer.path()), "mnist").expect("found within").load().expect("good files");
    }

    #[test]
    fn bad_files_are_named_with_what_is_wrong() {
        let (images, labels) = (IdxFiles::NAMES[0], IdxFiles::NAMES[1]);
        let good = gzip(&[IMAGES, 2, SIDE, SIDE], &[1; 2 * 784]);
        let mut flipped = good.clone();
        let end = flipped.len() - 6;
        flipped[end] ^= 0xff;
        let cases: [(&str, Vec<u8>, &str); 11] = [
            (images, good[..good.len() / 2].to_vec(), "truncated"),
            (images, good[..6].to_vec(), "truncated"),
            (images, Vec::new(), "truncated"),
            (images, b"no gzip at all".to_vec(), "not a gzip file"),
            (images, flipped, "truncated, or not a gzip file"),
            (images, gzip(&[LABELS, 2, SIDE, SIDE], &[1; 2 * 784]), "magic number 0x00000801"),
            (images, gzip(&[IMAGES, 3, SIDE, SIDE], &[1; 2 * 784]), "only 1568 bytes"),
            (images, gzip(&[IMAGES, 2, SIDE, SIDE], &[1; 2 * 784 + 1]), "more than 1568 bytes"),
            (images, gzip(&[IMAGES, 2, 14, 14], &[1; 2 * 196]), "14 x 14"),
            (labels, gzip(&[LABELS, 3], &[1, 2, 3]), "3 labels"),
            (labels, gzip(&[LABELS, 2], &[1, 10]), "label 1 is 10"),
        ];
        for (name, bytes, expected) in cases {
            let error = format!("{:#}", load(&folder(name, &bytes)).expect_err(expected));
            assert!(error.contains(name) && error.contains(expected), "{error:?} says {expected:?} of {name}");
        }
    }

    #[test]
    fn a_huge_claim_allocates_nothing() {
        let bytes = gzip(&[IMAGES, u32::MAX, SIDE, SIDE], &[]);
        let error = load(&folder(IdxFiles::NAMES[0], &bytes)).expect_err("too large").to_string();
        assert!(error.contains("claims"), "{error}");
    }

    #[test]
    fn missing_files_are_named() {
        let error = IdxFiles::find(None, "mnist").expect_err("no folder").to_string();
        assert!(IdxFiles::NAMES.iter().all(|name| error.contains(name)), "{error}");
        let folder = folder("", &[]);
        std::fs::remove_file(folder.path().join(IdxFiles::NAMES[3])).expect("removed");
        let error = IdxFiles::find(Some(folder.path()), "mnist").expect_err("a file is missing").to_string();
        assert!(error.contains("t10k-labels-idx1-ubyte.gz not found"), "{error}");
    }
}
