//! The spiral with noise: means and variances of its paths at 30 times, read from a file of numbers.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail, ensure};

use super::file::{self, Row};
use super::samples::{PathMoments, Samples};
use super::set::Data;

const FILE: &str = "spiral_sde.csv";
const HEADER: [&str; 5] = ["t", "mean_1", "mean_2", "var_1", "var_2"];

/// Bytes of text that no such file exceeds.
const MOST: u64 = 1 << 20;

/// Where every path begins.
const START: [f64; 2] = [2.0, 0.0];

/// Equally spaced times from 0 to 1, both ends included: the rows of the file.
const TIMES: usize = 30;

/// Trajectories of an evaluation.
const TEST: usize = 1000;

/// The times of the rows.
pub(crate) fn times() -> Vec<f64> {
    (0..TIMES).map(time).collect()
}

fn time(row: usize) -> f64 {
    row as f64 / (TIMES - 1) as f64
}

/// Reads the file in `folder`, or in its folder `spiral-sde`.
pub(crate) fn spiral_sde(folder: Option<&Path>) -> anyhow::Result<Data> {
    let Some(folder) = folder else {
        bail!("spiral-sde needs its data: give --data DIR, a folder that holds {FILE}");
    };
    let places = [folder.join(FILE), folder.join("spiral-sde").join(FILE)];
    let Some(path) = places.iter().find(|path| path.is_file()) else {
        bail!("{}: not found; spiral-sde needs {FILE}: check --data", places[0].display());
    };
    let moments = read(path)?;
    let samples = |paths: usize| Samples::Moments(PathMoments { paths, ..moments.clone() });
    Ok(Data::new(samples(usize::MAX), samples(TEST)))
}

fn read(path: &Path) -> anyhow::Result<PathMoments> {
    let name = path.display();
    let mut text = String::new();
    let read = file::open(path).and_then(|file| file.take(MOST).read_to_string(&mut text));
    read.with_context(|| format!("{name}: cannot be read as text"))?;
    let mut rows = file::rows(&text);
    let header = rows.next().unwrap_or(Row { line: 1, fields: Vec::new() });
    ensure!(
        header.fields == HEADER,
        "{name}: line {} is {:?}, expected {}; is it the right file?",
        header.line,
        header.fields.join(","),
        HEADER.join(",")
    );
    let rows: Vec<Row<'_>> = rows.collect();
    ensure!(
        rows.len() == TIMES,
        "{name}: {} rows follow line {}, expected {TIMES}; fetch the file anew",
        rows.len(),
        header.line
    );
    let mut moments = PathMoments { start: START, paths: 0, means: Vec::new(), variances: Vec::new() };
    for (index, Row { line, fields }) in rows.iter().enumerate() {
        let [t, mean_1, mean_2, var_1, var_2] = numbers(fields).with_context(|| format!("{name}: line {line}"))?;
        let expected = time(index);
        ensure!(
            (t - expected).abs() < 1e-6,
            "{name}: line {line}: t is {t}, expected {expected:.7}; times go from 0 to 1 in {} equal steps",
            TIMES - 1
        );
        ensure!(
            var_1 >= 0.0 && var_2 >= 0.0,
            "{name}: line {line}: a variance is {}; variances are not negative",
            var_1.min(var_2)
        );
        moments.means.push([mean_1, mean_2]);
        moments.variances.push([var_1, var_2]);
    }
    Ok(moments)
}

/// The five numbers of a row.
fn numbers(fields: &[&str]) -> anyhow::Result<[f64; 5]> {
    let numbers: Vec<f64> = fields
        .iter()
        .map(|text| match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => bail!("{text:?} is not a finite number; fetch the file anew"),
        })
        .collect::<anyhow::Result<_>>()?;
    let count = numbers.len();
    numbers.try_into().map_err(|_| anyhow::anyhow!("{count} numbers, expected 5: {}", HEADER.join(",")))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::super::file::tests::gzip;
    use super::*;

    fn rows() -> Vec<String> {
        (0..TIMES).map(|i| format!("{},{},0.5,0.01,0.02", time(i) as f32, 2 * i)).collect()
    }

    fn folder(lines: &[String]) -> TempDir {
        folder_of((lines.join("\n") + "\n").as_bytes())
    }

    fn folder_of(bytes: &[u8]) -> TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join(FILE), bytes).expect("written");
        folder
    }

    fn lines(change: impl FnOnce(&mut Vec<String>)) -> Vec<String> {
        let mut lines = [vec![HEADER.join(",")], rows()].concat();
        change(&mut lines);
        lines
    }

    #[test]
    fn a_good_file() {
        let data = spiral_sde(Some(folder(&lines(|_| {})).path())).expect("a good file");
        let Samples::Moments(test) = &data.test else { panic!("moments") };
        assert_eq!((test.paths, test.means.len(), test.start), (TEST, TIMES, START), "sizes");
        assert_eq!((test.means[3], test.variances[3]), ([6.0, 0.5], [0.01, 0.02]), "the fourth row");
        assert_eq!(data.train.pool(100), 100, "training takes as many paths as a batch has");
    }

    #[test]
    fn files_of_other_writers() {
        let plain = lines(|_| {}).join("\n");
        let spreadsheet = format!("\u{feff}{}\r\n\r\n", plain.replace('\n', "\r\n"));
        let quoted = plain.replacen(&HEADER.join(","), "\"t\",\"mean_1\",\"mean_2\",\"var_1\",\"var_2\"", 1);
        let spaced = plain.replace(',', ", ").replace('\n', " \n");
        let last_line = format!("{plain}\n\n");
        for text in [&plain, &spreadsheet, &quoted, &spaced, &last_line] {
            let packed = [text.as_bytes().to_vec(), gzip(text.as_bytes(), usize::MAX), gzip(text.as_bytes(), 100)];
            for bytes in packed {
                let data = spiral_sde(Some(folder_of(&bytes).path())).expect(text);
                let Samples::Moments(test) = &data.test else { panic!("moments") };
                assert_eq!((test.means[29], test.variances[29]), ([58.0, 0.5], [0.01, 0.02]), "the last row: {text:?}");
            }
        }
        let late = format!("\n{}", spaced.replace("0.5", "x"));
        let error = format!("{:#}", spiral_sde(Some(folder_of(late.as_bytes()).path())).expect_err("a bad number"));
        assert!(error.contains("line 3: \"x\""), "blank lines are counted: {error}");
    }

    #[test]
    fn a_folder_of_the_tasks_name() {
        let (inner, outer) = (folder(&lines(|_| {})), tempfile::tempdir().expect("a folder"));
        std::fs::rename(inner.path(), outer.path().join("spiral-sde")).expect("moved");
        spiral_sde(Some(outer.path())).expect("found within");
    }

    #[test]
    fn bad_files_are_named_with_line_and_remedy() {
        let cases = [
            (lines(|l| l[0] = "t,mean,var".to_owned()), "line 1"),
            (lines(|l| l.clear()), "line 1"),
            (lines(|l| l.truncate(30)), "29 rows"),
            (lines(|l| l[4] = "x,1,1,1,1".to_owned()), "line 5: \"x\" is not a finite number"),
            (lines(|l| l[4] = "0.1,1,NaN,1,1".to_owned()), "line 5: \"NaN\" is not"),
            (lines(|l| l[4] = "0.1,1,1,1".to_owned()), "line 5: 4 numbers"),
            (lines(|l| l.swap(7, 8)), "line 8: t is"),
            (lines(|l| l[30] = "1,1,1,-0.5,1".to_owned()), "line 31: a variance is -0.5"),
        ];
        for (lines, expected) in cases {
            let error = format!("{:#}", spiral_sde(Some(folder(&lines).path())).expect_err(expected));
            assert!(error.contains(FILE) && error.contains(expected), "{error:?} says {expected:?}");
        }
        let error = spiral_sde(None).expect_err("no folder").to_string();
        assert!(error.contains("--data") && error.contains(FILE), "{error}");
        let empty = tempfile::tempdir().expect("a folder");
        let error = spiral_sde(Some(empty.path())).expect_err("no file").to_string();
        assert!(error.contains("not found") && error.contains("--data"), "{error}");
    }
}
