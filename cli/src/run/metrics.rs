//! [`Metrics`]: a line of JSON for each training step, written as training goes.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use fewsteps::StepReport;
use serde::{Deserialize, Serialize};

use crate::files;

/// Time after which a reader sees what was written.
const FLUSH: Duration = Duration::from_secs(1);

/// One line. Numbers that JSON lacks are `"NaN"`, `"inf"` and `"-inf"`, as in records.
#[derive(Serialize)]
struct Line<'a> {
    run: &'a str,
    #[serde(flatten)]
    report: &'a StepReport,
    seconds: f64,
}

/// What tells whose line it is.
#[derive(Deserialize)]
struct Key {
    run: String,
    step: u64,
}

/// The file of a run's steps, which other runs in the folder share.
#[derive(Debug)]
pub(crate) struct Metrics {
    path: PathBuf,
    run: String,
    file: BufWriter<File>,
    flushed: Instant,
}

impl Metrics {
    /// Opens the file for a run that has made `steps` steps. Lines of later steps are of a process that was killed
    /// after its last checkpoint, or of an earlier run: these steps are made anew, and their lines go.
    pub(crate) fn open(path: &Path, run: &str, steps: u64) -> anyhow::Result<Self> {
        let failed = || format!("{}: cannot be written", path.display());
        let text = read(path)?;
        let kept = kept(&text, run, steps);
        if kept != text {
            files::write(path, kept.as_bytes())?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path).with_context(failed)?;
        Ok(Self { path: path.to_owned(), run: run.to_owned(), file: BufWriter::new(file), flushed: Instant::now() })
    }

    /// Writes a step's line.
    pub(crate) fn push(&mut self, report: &StepReport, elapsed: Duration) -> anyhow::Result<()> {
        let line = Line { run: &self.run, report, seconds: elapsed.as_secs_f64() };
        let written = serde_json::to_writer(&mut self.file, &line).map_err(std::io::Error::from);
        written.and_then(|()| self.file.write_all(b"\n")).with_context(|| self.failed())?;
        if self.flushed.elapsed() >= FLUSH { self.flush() } else { Ok(()) }
    }

    /// Lets every line reach its readers. A checkpoint comes after that, so that no step before it lacks its line.
    pub(crate) fn flush(&mut self) -> anyhow::Result<()> {
        self.flushed = Instant::now();
        self.file.flush().with_context(|| self.failed())
    }

    fn failed(&self) -> String {
        format!("{}: cannot be written", self.path.display())
    }
}

/// Puts a run's lines in `new` in the place of those of the same and later steps in `old`; `new` goes. May be called
/// again after a crash.
pub(crate) fn replace(new: &Path, old: &Path, run: &str) -> anyhow::Result<()> {
    let lines = read(new)?;
    let first = lines.lines().find_map(|line| serde_json::from_str::<Key>(line).ok());
    if let Some(Key { step, .. }) = first {
        files::write(old, (kept(&read(old)?, run, step.saturating_sub(1)) + &lines).as_bytes())?;
    }
    files::remove(new)
}

/// The text of a file; nothing where there is none.
fn read(path: &Path) -> anyhow::Result<String> {
    let bytes = files::read_if_there(path)?.unwrap_or_default();
    String::from_utf8(bytes).with_context(|| format!("{}: is no text", path.display()))
}

/// The whole lines of `text` but those of the run's steps after `steps`.
fn kept(text: &str, run: &str, steps: u64) -> String {
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let stays = |line: &&str| !serde_json::from_str::<Key>(line).is_ok_and(|key| key.run == run && key.step > steps);
    whole.filter(stays).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn report(step: u64) -> StepReport {
        let mut report = StepReport::default();
        (report.step, report.loss, report.penalty, report.nfe) = (step, f64::NAN, f64::NEG_INFINITY, 7);
        report
    }

    #[test]
    fn a_step_has_one_line_however_often_a_run_begins() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("metrics.jsonl");
        let train = |run: &str, steps: std::ops::Range<u64>| {
            let mut metrics = Metrics::open(&path, run, steps.start).expect("opened");
            for step in steps {
                metrics.push(&report(step + 1), Duration::from_millis(1)).expect("written");
            }
        };
        let keys = || -> Vec<(String, u64)> {
            let text = fs::read_to_string(&path).expect("a file");
            text.lines().map(|line| serde_json::from_str::<Key>(line).expect(line)).map(|k| (k.run, k.step)).collect()
        };
        train("a", 0..3);
        train("b", 0..2);
        fs::write(&path, fs::read_to_string(&path).expect("a file") + "{\"run\":\"b\",\"st").expect("a torn line");
        train("a", 2..5); // from the checkpoint of step 2
        let expected =
            |lines: &[(&str, u64)]| lines.iter().map(|&(run, step)| (run.to_owned(), step)).collect::<Vec<_>>();
        assert_eq!(keys(), expected(&[("a", 1), ("a", 2), ("b", 1), ("b", 2), ("a", 3), ("a", 4), ("a", 5)]));
        train("a", 0..1); // anew
        assert_eq!(keys(), expected(&[("b", 1), ("b", 2), ("a", 1)]));
        let text = fs::read_to_string(&path).expect("a file");
        let line: serde_json::Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
        let numbers = ["loss", "penalty", "nfe", "seconds"].map(|name| line[name].to_string());
        assert_eq!(numbers, ["\"NaN\"", "\"-inf\"", "7", "0.001"]);
    }

    #[test]
    fn foreign_lines_stay() {
        let text = "{\"note\":1}\nnot JSON\n";
        assert_eq!(kept(text, "a", 0), text, "whoever wrote them");
    }
}
