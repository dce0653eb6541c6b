//! Nine speakers, told by how they say two vowels: 640 utterances of 12 numbers at 7 to 29 times (M. Kudo, J. Toyama,
//! M. Shimbo, 1999), in the .ts form of the archives of time series.
//!
//! Inputs have the longest utterance's times, the first of them an utterance's own: at each 12 numbers and 1, or 13 zeros
//! behind its end.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use fewsteps::{Purpose, Random};

use super::file;
use super::samples::{Rows, Samples, Wanted};
use super::set::Data;
use super::ts::Utterances;

const TASK: &str = "japanese-vowels";

/// Numbers of an input at a time: those of an utterance, and whether there is one.
pub(crate) const CHANNELS: usize = 13;

/// The beginnings of the files' names.
const FILES: [&str; 2] = ["JapaneseVowels_TRAIN", "JapaneseVowels_TEST"];

/// Reads both files from `folder`, or from its folder `japanese-vowels`.
pub(crate) fn japanese_vowels(folder: Option<&Path>) -> anyhow::Result<Data> {
    let [train, test] = find(folder)?.map(|path| read(&path));
    let (mut train, test) = (train?, test?);
    ensure!(
        train.channels == test.channels,
        "{TASK}: there are {} numbers a time to train on and {} to test on",
        train.channels,
        test.channels
    );
    ensure!(
        train.channels + 1 == CHANNELS,
        "{TASK}: there are {} numbers a time, and the data set has {}",
        train.channels,
        CHANNELS - 1
    );
    let classes = train.classes_with(&test);
    // The file goes speaker by speaker; what is held out are the last of these.
    Random::new(0, Purpose::Split, 0).shuffle(&mut train.all);
    let longest = train.longest().max(test.longest());
    Ok(Data::new(samples(&train, longest, &classes), samples(&test, longest, &classes)))
}

fn find(folder: Option<&Path>) -> anyhow::Result<[PathBuf; 2]> {
    let wanted = FILES.map(|file| format!("{file}.ts.gz")).join(" and ");
    let Some(data) = folder else {
        bail!("{TASK} needs its data: give --data DIR, a folder that holds {wanted}");
    };
    ensure!(!data.is_file(), "--data {}: is a file; {TASK} takes the folder that holds {wanted}", data.display());
    let inner = data.join(TASK);
    let folder = if inner.is_dir() { inner } else { data.to_owned() };
    let find =
        |file| [".ts.gz", ".ts"].map(|end| folder.join(format!("{file}{end}"))).into_iter().find(|path| path.exists());
    match FILES.map(find) {
        [Some(train), Some(test)] => Ok([train, test]),
        _ => bail!("{}: {TASK} needs {wanted}, and not both are there", folder.display()),
    }
}

fn read(path: &Path) -> anyhow::Result<Utterances> {
    let name = path.display();
    fewsteps::check_regular(path).map_err(|refused| anyhow::anyhow!("{name}: {refused}"))?;
    let mut text = String::new();
    let read = file::open(path).and_then(|mut file| file.read_to_string(&mut text));
    read.with_context(|| format!("{name}: cannot be read as text; fetch the file anew"))?;
    Utterances::parse(&text).with_context(|| name.to_string())
}

/// The utterances with a mask, padded to as many times.
fn samples(found: &Utterances, times: usize, classes: &[String]) -> Samples {
    let width = found.channels + 1;
    let mut inputs = Vec::with_capacity(found.all.len() * times * width);
    for utterance in &found.all {
        let begin = inputs.len();
        for time in utterance.numbers.chunks_exact(found.channels) {
            inputs.extend_from_slice(time);
            inputs.push(1.0);
        }
        inputs.resize(begin + times * width, 0.0);
    }
    let place = |class: &String| classes.iter().position(|other| other == class).unwrap_or(0) as u32;
    let wanted = Wanted::Classes(found.all.iter().map(|utterance| place(&utterance.class)).collect());
    Samples::Rows(Rows { width: times * width, inputs, wanted, times: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::super::file::tests::gzip;
    use super::*;

    fn folder(train: &str, test: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let head = "@classLabel true a b\n@data\n";
        let path = |file: &str| folder.path().join(file);
        std::fs::write(path("JapaneseVowels_TRAIN.ts.gz"), gzip(format!("{head}{train}").as_bytes(), 99))
            .expect("written");
        std::fs::write(path("JapaneseVowels_TEST.ts"), format!("{head}{test}")).expect("written");
        folder
    }

    /// A case with these numbers in the first channel, and one more in each channel behind it.
    fn case(first: &[f64], class: &str) -> String {
        let channel = |c: u32| first.iter().map(|x| (x + f64::from(c)).to_string()).collect::<Vec<_>>().join(",");
        let channels: Vec<String> = (0..12).map(channel).collect();
        format!("{}:{class}\n", channels.join(":"))
    }

    /// The input of the same.
    fn input(first: &[f64], times: usize) -> Vec<f64> {
        let of = |x: &f64| (0..12).map(|c| x + f64::from(c)).chain([1.0]).collect::<Vec<f64>>();
        let mut input: Vec<f64> = first.iter().flat_map(of).collect();
        input.resize(times * CHANNELS, 0.0);
        input
    }

    #[test]
    fn what_lies_behind_the_end_is_zero() {
        let folder = folder(&(case(&[1.0, 2.0], "a") + &case(&[5.0], "b")), &case(&[-7.0, 8.0, 9.0], "b"));
        let data = japanese_vowels(Some(folder.path())).expect("read");
        assert_eq!((data.train.len(), data.test.len(), data.classes()), (2, 1, 2));
        assert_eq!(data.train.sizes(2), (39, 2, 1), "three times of twelve numbers and a mask");
        let Samples::Rows(Rows { inputs, wanted: Wanted::Classes(classes), .. }) = &data.train else { panic!("rows") };
        let (a, b) = (input(&[1.0, 2.0], 3), input(&[5.0], 3));
        let (first, second) = if classes == &[0, 1] { (a, b) } else { (b, a) };
        assert_eq!(inputs, &[first, second].concat(), "whatever the order: {classes:?}");
        let Samples::Rows(Rows { inputs, .. }) = &data.test else { panic!("rows") };
        assert_eq!(inputs, &input(&[-7.0, 8.0, 9.0], 3));
    }

    #[test]
    fn what_is_no_data_is_refused() {
        let refused = |folder: Option<&Path>| format!("{:#}", japanese_vowels(folder).expect_err("refused"));
        assert!(refused(None).contains("--data DIR"));
        let empty = tempfile::tempdir().expect("a folder");
        assert!(refused(Some(empty.path())).contains("JapaneseVowels_TRAIN.ts.gz and JapaneseVowels_TEST.ts.gz"));
        let differ = folder("1:2:a\n", "1:a\n");
        assert!(refused(Some(differ.path())).contains("2 numbers a time to train on and 1 to test on"));
        let few = folder("1:2:a\n", "1:2:a\n");
        assert!(refused(Some(few.path())).contains("2 numbers a time, and the data set has 12"));
        let broken = folder("1:2:a\n", "1:x:a\n");
        let message = refused(Some(broken.path()));
        assert!(message.contains("JapaneseVowels_TEST.ts: line 3") && message.contains("\"x\""), "{message}");
        let whole = gzip(b"@data\n1:a\n", 99);
        std::fs::write(broken.path().join("JapaneseVowels_TRAIN.ts.gz"), &whole[..whole.len() - 9]).expect("written");
        assert!(refused(Some(broken.path())).contains("fetch the file anew"), "cut off");
    }
}
