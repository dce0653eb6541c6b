//! The spiral with noise: means and variances of its paths at 30 times, read from a file of numbers.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

use super::{Data, Moments, Samples};

const FILE: &str = "spiral_sde.csv";
const HEADER: &str = "t,mean_1,mean_2,var_1,var_2";

/// Where every path begins.
const START: [f64; 2] = [2.0, 0.0];

/// Equally spaced times from 0 to 1, both ends included: the rows of the file.
const TIMES: usize = 30;

/// Paths of an evaluation.
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
    let samples = |paths: usize| Samples::Moments(Moments { paths, ..moments.clone() });
    Ok(Data { train: samples(usize::MAX), test: samples(TEST) })
}

fn read(path: &PathBuf) -> anyhow::Result<Moments> {
    let name = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("{name}: cannot be read as text"))?;
    let mut lines = text.lines().map(str::trim_end);
    let header = lines.next().unwrap_or_default();
    ensure!(header == HEADER, "{name}: line 1 is {header:?}, expected {HEADER}; is it the right file?");
    let rows: Vec<&str> = lines.collect();
    ensure!(rows.len() == TIMES, "{name}: {} rows follow line 1, expected {TIMES}; fetch the file anew", rows.len());
    let mut moments = Moments { start: START, paths: 0, means: Vec::new(), variances: Vec::new() };
    for (index, row) in rows.iter().enumerate() {
        let [t, mean_1, mean_2, var_1, var_2] = numbers(row).with_context(|| format!("{name}: line {}", index + 2))?;
        let (expected, line) = (time(index), index + 2);
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
fn numbers(row: &str) -> anyhow::Result<[f64; 5]> {
    let numbers: Vec<f64> = row
        .split(',')
        .map(|text| match text.trim().parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => bail!("{text:?} is not a finite number; fetch the file anew"),
        })
        .collect::<anyhow::Result<_>>()?;
    let count = numbers.len();
    numbers.try_into().map_err(|_| anyhow::anyhow!("{count} numbers, expected 5: {HEADER}"))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn rows() -> Vec<String> {
        (0..TIMES).map(|i| format!("{},{},0.5,0.01,0.02", time(i) as f32, 2 * i)).collect()
    }

    fn folder(lines: &[String]) -> TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join(FILE), lines.join("\n") + "\n").expect("written");
        folder
    }

    fn lines(change: impl FnOnce(&mut Vec<String>)) -> Vec<String> {
        let mut lines = [vec![HEADER.to_owned()], rows()].concat();
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
