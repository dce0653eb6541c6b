//! MNIST's file format: arrays of bytes with a big-endian header, gzipped or not.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

use super::file;
use super::samples::{Images, Samples};
use super::set::Data;

/// Magic numbers: unsigned bytes in three dimensions, and in one.
const IMAGES: u32 = 0x0803;
const LABELS: u32 = 0x0801;

const SIDE: u32 = 28;
const FETCH: &str = "fetch the file anew";

/// The four files of MNIST or of one of its successors: training images and labels, test images and labels.
#[derive(Debug)]
pub(crate) struct IdxFiles([PathBuf; 4]);

/// What one of the files is called: its part of the data by either name, then what it holds. The published archives say
/// `train-images-idx3-ubyte.gz`; some programs unpack that to `train-images.idx3-ubyte`, and EMNIST has
/// `emnist-letters-test-labels-idx1-ubyte.gz`.
type Role = ([&'static str; 2], [&'static str; 2]);

const TRAIN: [&str; 2] = ["train", "training"];
const TEST: [&str; 2] = ["t10k", "test"];
const ROLES: [Role; 4] =
    [(TRAIN, ["images", "idx3"]), (TRAIN, ["labels", "idx1"]), (TEST, ["images", "idx3"]), (TEST, ["labels", "idx1"])];

/// The customary names of a file, that of the published archives first.
fn names((parts, [kind, idx]): Role) -> impl Iterator<Item = String> {
    let spellings = ["-", "."].into_iter().flat_map(|separator| [".gz", ""].map(|end| (separator, end)));
    parts.into_iter().flat_map(move |part| {
        spellings.clone().map(move |(separator, end)| format!("{part}-{kind}{separator}{idx}-ubyte{end}"))
    })
}

/// The published name of a file.
fn published(role: Role) -> String {
    names(role).next().unwrap_or_default()
}

impl IdxFiles {
    /// Looks for the files in `data` and in its folder `name`. Where a folder holds several sets, as EMNIST's does,
    /// `data` is the folder and what the set's names begin with: `emnist/emnist-letters`.
    pub(crate) fn find(data: Option<&Path>, name: &str) -> anyhow::Result<Self> {
        let wanted = ROLES.map(published).join(", ");
        let Some(data) = data else {
            bail!("{name} needs its data: give --data DIR, a folder that holds {wanted}");
        };
        for folder in [data.to_owned(), data.join(name)] {
            if let Some(files) = only_set(&folder)? {
                return Ok(Self(files));
            }
        }
        if let Some(files) = named_set(data) {
            return Ok(Self(files));
        }
        let folder = if data.join(name).is_dir() { data.join(name) } else { data.to_owned() };
        let missing = ROLES.into_iter().filter(|&role| !names(role).any(|file| folder.join(file).is_file()));
        let missing: Vec<String> = missing.map(published).collect();
        bail!("{}: {} not found; {name} needs {wanted}", folder.display(), missing.join(", "));
    }

    pub(crate) fn load(&self) -> anyhow::Result<Data> {
        let [train_images, train_labels, test_images, test_labels] = &self.0;
        let (mut train, mut test) = (images(train_images, train_labels)?, images(test_images, test_labels)?);
        count_from_zero([&mut train.labels, &mut test.labels]);
        let alike = train.labels.windows(2).all(|pair| pair[0] == pair[1]);
        ensure!(!alike, "{}: all labels are alike: there is nothing to learn", train_labels.display());
        Ok(Data::new(Samples::Images(train), Samples::Images(test)))
    }
}

/// The set in a folder, of which there must not be two; one without a name of its own is the folder's.
fn only_set(folder: &Path) -> anyhow::Result<Option<[PathBuf; 4]>> {
    let mut sets = complete(folder);
    if let Some(files) = sets.remove("") {
        return Ok(Some(files));
    }
    let choices: Vec<String> = sets.keys().map(|begin| folder.join(title(begin)).display().to_string()).collect();
    ensure!(choices.len() < 2, "{}: holds several data sets; take --data {}", folder.display(), choices.join(", or "));
    Ok(sets.pop_first().map(|(_, files)| files))
}

/// The set `letters` of the folder `folder`, where `data` is `folder/letters`.
fn named_set(data: &Path) -> Option<[PathBuf; 4]> {
    let (folder, name) = (data.parent()?, data.file_name()?.to_str()?);
    complete(folder).into_iter().find(|(begin, _)| title(begin) == name).map(|(_, files)| files)
}

/// A set's name, of what its files' names begin with.
fn title(begin: &str) -> &str {
    begin.trim_end_matches(['-', '_', '.'])
}

/// The sets of which a folder holds all four files, by what their names begin with.
fn complete(folder: &Path) -> BTreeMap<String, [PathBuf; 4]> {
    // The parent of a plain name.
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let entries: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let mut sets = BTreeMap::new();
    for begin in entries.iter().flat_map(|entry| names(ROLES[0]).filter_map(|name| entry.strip_suffix(name.as_str()))) {
        let file = |role| names(role).map(|name| folder.join(format!("{begin}{name}"))).find(|path| path.is_file());
        if let [Some(a), Some(b), Some(c), Some(d)] = ROLES.map(file) {
            sets.insert(begin.to_owned(), [a, b, c, d]);
        }
    }
    sets
}

/// Some sets, as EMNIST's letters, count their classes from 1.
fn count_from_zero(labels: [&mut Vec<u8>; 2]) {
    if labels.iter().all(|labels| labels.iter().all(|&label| label > 0)) {
        labels.into_iter().flatten().for_each(|label| *label -= 1);
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
    Ok(Images { pixels, width: (SIDE * SIDE) as usize, white: 255, labels: label_bytes })
}

/// Reads an array of bytes in `D` dimensions: its extents and its contents.
fn array<const D: usize>(path: &Path, magic: u32) -> anyhow::Result<([u32; D], Vec<u8>)> {
    let name = path.display();
    let mut reader = file::open(path).with_context(|| format!("{name}: cannot be read; check --data"))?;
    let damaged = || format!("{name}: truncated or damaged; {FETCH}");
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
    use tempfile::TempDir;

    use super::super::file::tests;
    use super::*;

    fn idx(header: &[u32], body: &[u8]) -> Vec<u8> {
        header.iter().flat_map(|word| word.to_be_bytes()).chain(body.iter().copied()).collect()
    }

    fn gzip(header: &[u32], body: &[u8]) -> Vec<u8> {
        tests::gzip(&idx(header, body), usize::MAX)
    }

    /// The four files of two training images with these labels and one test image with the first, in the order of
    /// `ROLES`.
    fn files(labels: [u8; 2]) -> [Vec<u8>; 4] {
        let pixels: Vec<u8> = (0..2 * SIDE * SIDE).map(|i| i as u8).collect();
        [
            idx(&[IMAGES, 2, SIDE, SIDE], &pixels),
            idx(&[LABELS, 2], &labels),
            idx(&[IMAGES, 1, SIDE, SIDE], &pixels[..784]),
            idx(&[LABELS, 1], &labels[..1]),
        ]
    }

    /// A folder of two training images and one test image, with file `name` replaced by `bytes`.
    fn folder(name: &str, bytes: &[u8]) -> TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).expect("written");
        for (role, bytes) in ROLES.into_iter().zip(files([9, 0])) {
            write(&published(role), &tests::gzip(&bytes, usize::MAX));
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

    /// Labels of both sets and the number of classes of what is found in `data`.
    fn labels(data: &Path) -> (Vec<u8>, Vec<u8>, usize) {
        let data = IdxFiles::find(Some(data), "mnist").and_then(|files| files.load()).expect("good files");
        let classes = data.classes();
        let (Samples::Images(train), Samples::Images(test)) = (data.train, data.test) else { panic!("images") };
        assert_eq!((train.pixels.len(), test.pixels.len()), (2 * 784, 784), "pixels");
        (train.labels, test.labels, classes)
    }

    #[test]
    fn every_customary_name_packed_or_not() {
        let customary = [
            ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"],
            ["train-images.idx3-ubyte", "train-labels.idx1-ubyte", "t10k-images.idx3-ubyte", "t10k-labels.idx1-ubyte"],
            [
                "emnist-letters-train-images-idx3-ubyte",
                "emnist-letters-train-labels-idx1-ubyte",
                "emnist-letters-test-images-idx3-ubyte",
                "emnist-letters-test-labels-idx1-ubyte",
            ],
        ];
        for names in customary {
            for end in ["", ".gz"] {
                // Packed in one member, in several, and not at all, whatever the name says.
                for size in [None, Some(usize::MAX), Some(500)] {
                    let folder = tempfile::tempdir().expect("a folder");
                    for (name, bytes) in names.iter().zip(files([9, 0])) {
                        let bytes = size.map_or(bytes.clone(), |size| tests::gzip(&bytes, size));
                        std::fs::write(folder.path().join(format!("{name}{end}")), bytes).expect("written");
                    }
                    assert_eq!(labels(folder.path()), (vec![9, 0], vec![9], 10), "{names:?} {end} {size:?}");
                }
            }
        }
    }

    #[test]
    fn classes_are_counted_from_the_labels() {
        // Digits, EMNIST balanced, EMNIST letters, which count from 1, and the most that a byte can say.
        let counts = [([9, 0], [9, 0], 10), ([46, 0], [46, 0], 47), ([26, 1], [25, 0], 26), ([255, 0], [255, 0], 256)];
        for (given, train, classes) in counts {
            let folder = tempfile::tempdir().expect("a folder");
            for (role, bytes) in ROLES.into_iter().zip(files(given)) {
                std::fs::write(folder.path().join(published(role)), bytes).expect("written");
            }
            assert_eq!(labels(folder.path()), (train.to_vec(), train[..1].to_vec(), classes), "{given:?}");
        }
    }

    #[test]
    fn one_of_several_sets_is_named_by_its_beginning() {
        let folder = tempfile::tempdir().expect("a folder");
        for (set, labels) in [("emnist-letters", [26, 1]), ("emnist-digits", [9, 0])] {
            for (role, bytes) in ROLES.into_iter().zip(files(labels)) {
                let name = format!("{set}-{}", published(role).replace("t10k", "test"));
                std::fs::write(folder.path().join(name), bytes).expect("written");
            }
        }
        let error = IdxFiles::find(Some(folder.path()), "mnist").expect_err("which one?").to_string();
        let choices = ["emnist-digits", "emnist-letters"].map(|set| folder.path().join(set));
        assert!(choices.iter().all(|choice| error.contains(&*choice.to_string_lossy())), "{error}");
        assert_eq!(choices.map(|choice| labels(&choice).2), [10, 26], "classes");
        let error = IdxFiles::find(Some(&folder.path().join("emnist")), "mnist").expect_err("neither").to_string();
        assert!(error.contains("not found"), "{error}");
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
        let [images, labels, ..] = &ROLES.map(published);
        let good = gzip(&[IMAGES, 2, SIDE, SIDE], &[1; 2 * 784]);
        let mut flipped = good.clone();
        let end = flipped.len() - 6;
        flipped[end] ^= 0xff;
        let cases: [(&str, Vec<u8>, &str); 13] = [
            (images, good[..good.len() / 2].to_vec(), "truncated"),
            (images, good[..6].to_vec(), "truncated"),
            (images, Vec::new(), "truncated"),
            (images, b"no gzip at all".to_vec(), "magic number 0x6e6f2067"),
            (images, flipped, "truncated or damaged"),
            (images, idx(&[IMAGES, 2, SIDE, SIDE], &[1; 784]), "only 784 bytes"),
            (images, [&gzip(&[IMAGES, 2, SIDE, SIDE], &[1; 784])[..], b"more"].concat(), "truncated or damaged"),
            (images, gzip(&[LABELS, 2, SIDE, SIDE], &[1; 2 * 784]), "magic number 0x00000801"),
            (images, gzip(&[IMAGES, 3, SIDE, SIDE], &[1; 2 * 784]), "only 1568 bytes"),
            (images, gzip(&[IMAGES, 2, SIDE, SIDE], &[1; 2 * 784 + 1]), "more than 1568 bytes"),
            (images, gzip(&[IMAGES, 2, 14, 14], &[1; 2 * 196]), "14 x 14"),
            (labels, gzip(&[LABELS, 3], &[1, 2, 3]), "3 labels"),
            (labels, gzip(&[LABELS, 2], &[9, 9]), "labels are alike"),
        ];
        for (name, bytes, expected) in cases {
            let error = format!("{:#}", load(&folder(name, &bytes)).expect_err(expected));
            assert!(error.contains(name) && error.contains(expected), "{error:?} says {expected:?} of {name}");
        }
    }

    #[test]
    fn a_huge_claim_allocates_nothing() {
        let bytes = gzip(&[IMAGES, u32::MAX, SIDE, SIDE], &[]);
        let error = load(&folder(&published(ROLES[0]), &bytes)).expect_err("too large").to_string();
        assert!(error.contains("claims"), "{error}");
    }

    #[test]
    fn missing_files_are_named() {
        let error = IdxFiles::find(None, "mnist").expect_err("no folder").to_string();
        assert!(ROLES.into_iter().all(|role| error.contains(&published(role))), "{error}");
        let folder = folder("", &[]);
        std::fs::remove_file(folder.path().join(published(ROLES[3]))).expect("removed");
        let error = IdxFiles::find(Some(folder.path()), "mnist").expect_err("a file is missing").to_string();
        assert!(error.contains("t10k-labels-idx1-ubyte.gz not found"), "{error}");
    }
}
