//! [`OutDir`]: where a command's files lie. Nothing there is removed or replaced unless that is asked for, and even
//! then only by what is whole.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, ensure};
use serde::Deserialize;

use super::{best, metrics};
use crate::args::OutputArgs;
use crate::files;
use crate::record::Results;

/// The folder that is written to where none is named; once it holds runs, its name with `-2`, `-3` and so on.
pub(crate) const DEFAULT: &str = "fewsteps-out";

/// Held by the process that writes to the folder. The system lets go of it when the process ends, however it does.
const LOCK: &str = ".fewsteps.lock";

/// What is told of all runs of a benchmark together, beside its report.
pub(crate) const BENCH: &str = "results.json";

/// The same of a row of coefficients.
pub(crate) const SWEEP: &str = "sweep.json";

/// The same of a search for a coefficient.
pub(crate) const TUNE: &str = "tune.json";

/// The same of whether a task is for a regularizer.
pub(crate) const CHECK: &str = "check.json";

/// All of these.
const RESULTS: [&str; 4] = [BENCH, SWEEP, TUNE, CHECK];

const REPORT: &str = "report.html";

/// Runs that an error names before it counts the rest.
const NAMED: usize = 3;

/// The name of the file that tells of all runs together, if there is to be one.
type Told = Option<&'static str>;

/// What such a file says of its runs, but a benchmark's.
#[derive(Deserialize)]
struct Named {
    runs: Vec<String>,
}

/// The folder of a benchmark's or a training's output, which no other process writes to meanwhile.
#[derive(Debug)]
pub(crate) struct OutDir {
    root: PathBuf,
    /// The name of the results' file.
    results: &'static str,
    _lock: File,
}

/// The files of one run.
///
/// Where an earlier run of the name is to stay until this one is whole, this one's lie beside under names of their own.
#[derive(Clone, Debug)]
pub(crate) struct RunFiles {
    pub(crate) record: PathBuf,
    pub(crate) checkpoint: PathBuf,
    /// Lines of its steps; whole runs of a folder share one file.
    pub(crate) metrics: PathBuf,
}

impl OutDir {
    /// Opens the folder for these runs, and for the file of what is told of them together, if anything is. A folder that holds any of them is refused,
    /// unless it is said what becomes of them; of the default folders the next one is taken.
    pub(crate) fn open(args: &OutputArgs, runs: &[String], results: Told) -> anyhow::Result<Self> {
        let decided = args.out.is_none() && (args.resume || args.overwrite);
        let last = if decided { last_with(runs)? } else { None };
        let out = match args.out.as_ref().or(last.as_ref()) {
            Some(root) => Self::open_at(root, args, runs, results)?,
            None => Self::open_free(runs, results)?,
        };
        if args.resume && !runs.iter().any(|run| out.holds(run)) {
            log::warn!("--resume: {} holds none of these runs; they begin anew", out.root.display());
        }
        Ok(out)
    }

    fn open_at(root: &Path, args: &OutputArgs, runs: &[String], results: Told) -> anyhow::Result<Self> {
        // Before anything is made there, and again when nobody else writes there.
        ensure_nothing_is_lost(root, args, runs, results)?;
        let out = Self::create(root, results)?.with_context(|| in_use(root))?;
        ensure_nothing_is_lost(root, args, runs, results)?;
        Ok(out)
    }

    /// The first of the default folders that holds none of these runs, and that nobody writes to.
    fn open_free(runs: &[String], results: Told) -> anyhow::Result<Self> {
        let mut first = None;
        let mut n = 0_u64;
        loop {
            n += 1;
            let root = if n == 1 { DEFAULT.into() } else { PathBuf::from(format!("{DEFAULT}-{n}")) };
            let passed = match Self::create(&root, results)? {
                Some(out) if held(&root, runs, results).is_empty() => {
                    if let Some(why) = first {
                        log::info!("output goes to {}: {DEFAULT} {why}", root.display());
                    }
                    return Ok(out);
                }
                Some(_) => {
                    "holds earlier runs, which stay as they are (--resume goes on with them, --overwrite replaces \
                     them, --out chooses a folder)"
                }
                None => "is written to by another fewsteps now",
            };
            first.get_or_insert(passed);
        }
    }

    /// Makes the folder with its parts, clears what killed writers left, and proves that it can be written to before
    /// hours are spent on training. `None` where another process writes to it.
    fn create(root: &Path, results: Told) -> anyhow::Result<Option<Self>> {
        let remedy = "choose another folder with --out";
        let parts = [root.to_owned(), root.join("runs"), root.join("checkpoints")];
        for folder in &parts {
            fs::create_dir_all(folder).with_context(|| format!("{}: cannot be made; {remedy}", folder.display()))?;
        }
        let path = root.join(LOCK);
        fewsteps::check_regular(&path).map_err(|refused| anyhow!("{}: {refused}; {remedy}", path.display()))?;
        let unwritable = || format!("{}: cannot be written to; {remedy}", root.display());
        let lock = File::options().create(true).truncate(false).write(true).open(&path).with_context(unwritable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => {
                log::warn!("{}: cannot be locked here ({error}); let no other run write to the folder", path.display());
            }
        }
        for folder in &parts {
            fewsteps::remove_temporaries(folder)
                .and_then(|_| tempfile::NamedTempFile::new_in(folder))
                .and_then(|mut file| file.write_all(b"fewsteps"))
                .with_context(|| format!("{}: cannot be written to; {remedy}", folder.display()))?;
        }
        Ok(Some(Self { root: root.to_owned(), results: results.unwrap_or(BENCH), _lock: lock }))
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Whether there is anything of a run.
    pub(crate) fn holds(&self, run: &str) -> bool {
        !RunFiles::all(&self.root, run).is_empty()
    }

    /// Where a run that is whole lies.
    pub(crate) fn finished(&self, run: &str) -> RunFiles {
        RunFiles { metrics: self.root.join("metrics.jsonl"), ..RunFiles::at(&self.root, run) }
    }

    /// Where a run lies until it takes another one's place.
    pub(crate) fn replacing(&self, run: &str) -> RunFiles {
        RunFiles::at(&self.root, &format!("{run}.new"))
    }

    /// Lets a run that is whole take its place, with its best weights where such were kept. Its record is the last to go, so that a crash between leaves the sign
    /// by which the next command ends what this one began.
    pub(crate) fn replace(&self, run: &str) -> anyhow::Result<()> {
        let (new, old) = (self.replacing(run), self.finished(run));
        if !new.record.exists() {
            return if old.record.exists() { old.take_best() } else { Ok(()) };
        }
        new.take_best()?;
        // Of an attempt that came to nothing.
        files::remove(&best::path(&old.checkpoint))?;
        metrics::replace(&new.metrics, &old.metrics, run)?;
        for (new, old) in [(&new.checkpoint, &old.checkpoint), (&new.record, &old.record)] {
            rename(new, old)?;
        }
        Ok(())
    }

    /// Removes the lines of an earlier attempt to replace a run, with which nobody goes on.
    pub(crate) fn forget_attempt(&self, run: &str) -> anyhow::Result<()> {
        files::remove(&self.replacing(run).metrics)
    }

    pub(crate) fn results(&self) -> PathBuf {
        self.root.join(self.results)
    }

    pub(crate) fn report(&self) -> PathBuf {
        self.root.join(REPORT)
    }
}

impl RunFiles {
    fn at(root: &Path, name: &str) -> Self {
        Self {
            record: root.join("runs").join(format!("{name}.json")),
            checkpoint: root.join("checkpoints").join(format!("{name}.safetensors")),
            metrics: root.join(format!("metrics.{name}.jsonl")),
        }
    }

    /// Lets the best weights of a run that is whole take the place of the last ones.
    fn take_best(&self) -> anyhow::Result<()> {
        rename(&best::path(&self.checkpoint), &self.checkpoint)
    }

    /// The files that there are of a run, those of one that is to replace it too.
    fn all(root: &Path, run: &str) -> Vec<PathBuf> {
        let both = [Self::at(root, run), Self::at(root, &format!("{run}.new"))];
        both.into_iter().flat_map(|files| [files.record, files.checkpoint]).filter(|path| path.exists()).collect()
    }
}

/// Lets a file take the place of another one, if it is there.
fn rename(new: &Path, old: &Path) -> anyhow::Result<()> {
    match fs::rename(new, old) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{}: cannot be replaced", old.display()))
        }
        _ => Ok(()),
    }
}

/// What a folder holds of these runs and of the files that tell of them together.
fn held(root: &Path, runs: &[String], results: Told) -> Vec<String> {
    let run = |name: &String| {
        let files = RunFiles::all(root, name);
        let finished = files.iter().any(|path| path.extension().is_some_and(|end| end == "json"));
        (!files.is_empty()).then(|| format!("{name} ({})", if finished { "finished" } else { "unfinished" }))
    };
    let written = results.into_iter().chain(results.and(Some(REPORT))).filter(|name| root.join(name).exists());
    runs.iter().filter_map(run).chain(written.map(str::to_owned)).collect()
}

/// Of the default folders that hold any of these runs the last, whatever was removed between them.
fn last_with(runs: &[String]) -> anyhow::Result<Option<PathBuf>> {
    let number = |name: &OsStr| match name.to_str()?.strip_prefix(DEFAULT)? {
        "" => Some(1),
        rest => rest.strip_prefix('-')?.parse::<u64>().ok(),
    };
    let failed = "the current folder cannot be read; name the folder of the runs with --out";
    let mut found = Vec::new();
    for entry in fs::read_dir(".").context(failed)? {
        let name = entry.context(failed)?.file_name();
        let root = PathBuf::from(&name);
        if let Some(n) = number(&name)
            && runs.iter().any(|run| !RunFiles::all(&root, run).is_empty())
        {
            found.push((n, root));
        }
    }
    found.sort();
    let last = found.pop().map(|(_, last)| last);
    if let (Some((_, before)), Some(last)) = (found.last(), &last) {
        let [before, last] = [before, last].map(|root| root.display());
        log::warn!("{before} holds such runs too; this command takes {last}, the last (--out chooses)");
    }
    Ok(last)
}

/// Refuses a folder whose runs or results would not be there afterwards, with the ways to go on.
fn ensure_nothing_is_lost(root: &Path, args: &OutputArgs, runs: &[String], results: Told) -> anyhow::Result<()> {
    if args.overwrite {
        return Ok(());
    }
    let another = another(root);
    if !args.resume {
        let held = held(root, runs, results);
        let resume = "keep what is finished, go on with what is not: with the options that it was made with";
        let ways = [
            ("--resume", resume),
            ("--overwrite", "make it anew; the old stays until the new is whole"),
            (&another, "another folder"),
        ];
        ensure!(held.is_empty(), refusal(root, "holds ", &held, &ways));
    } else if let Some(results) = results {
        // The report would be of other things.
        let foreign = RESULTS.into_iter().filter(|name| *name != results && root.join(name).exists());
        let foreign: Vec<String> = foreign.map(str::to_owned).collect();
        let ways = [("--overwrite", "replace the report; finished runs stay"), (&another, "another folder")];
        ensure!(foreign.is_empty(), refusal(root, "holds the results of another command, ", &foreign, &ways));
        let asked = match results {
            BENCH => "--methods, --seeds",
            SWEEP => "--coefficients, --seeds",
            TUNE => "--range, --seeds",
            _ => "--regularization, --seed",
        };
        let others = reported(root, results)?.into_iter().filter(|run| !runs.contains(run)).collect::<Vec<_>>();
        let ways = [
            (asked, "ask for those runs too: the results are then of all"),
            ("--overwrite", "replace the results; finished runs stay"),
            (&another, "another folder"),
        ];
        ensure!(others.is_empty(), refusal(root, "holds the results of other runs, ", &others, &ways));
    }
    Ok(())
}

/// The runs that a folder's results tell of.
fn reported(root: &Path, name: &str) -> anyhow::Result<Vec<String>> {
    let path = root.join(name);
    if name != BENCH {
        return Ok(files::read_json::<Named>(&path)?.map_or(Vec::new(), |told| told.runs));
    }
    let Some(results) = files::read_json::<Results>(&path)? else { return Ok(Vec::new()) };
    let finished = results.runs.iter().map(|run| run.settings.run_name());
    let failed = results.failures.iter().map(|run| format!("{}-seed{}", run.training, run.seed));
    Ok(finished.chain(failed).collect())
}

fn in_use(root: &Path) -> String {
    format!(
        "{}: another fewsteps writes to this folder; wait for its end, or choose another with --out",
        root.display()
    )
}

/// The option for a folder that is not there yet.
fn another(root: &Path) -> String {
    let free = (2..).map(|n| format!("{}-{n}", root.display())).find(|name| !Path::new(name).exists());
    format!("--out {}", free.as_deref().unwrap_or("DIR"))
}

/// What is refused because of the runs there, and the ways to go on.
fn refusal(root: &Path, what: &str, runs: &[String], ways: &[(&str, &str)]) -> String {
    let more = runs.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let width = ways.iter().map(|(option, _)| option.len()).max().unwrap_or(0);
    let ways: String = ways.iter().map(|(option, what)| format!("\n  {option:width$}  {what}")).collect();
    let (named, root) = (runs[..runs.len().min(NAMED)].join(", "), root.display());
    format!("--out {root}: {what}{named}{more}; nothing was changed. To go on, add one of{ways}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(root: &Path, decided: bool) -> anyhow::Result<OutDir> {
        let args = OutputArgs {
            out: Some(root.to_owned()),
            json: false,
            resume: false,
            overwrite: decided,
            checkpoint_every: 30,
        };
        OutDir::open(&args, &["vanilla-seed0".to_owned()], Some(BENCH))
    }

    #[test]
    fn what_is_there_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let run = open(folder.path(), false).expect("an empty one").finished("vanilla-seed0");
        for (path, word) in [(&run.checkpoint, "unfinished"), (&run.record, "(finished)")] {
            fs::write(path, "old").expect("written");
            let error = open(folder.path(), false).expect_err("taken").to_string();
            for part in ["vanilla-seed0", word, "--resume", "--overwrite", "--out", "nothing was changed"] {
                assert!(error.contains(part), "{part}: {error}");
            }
            open(folder.path(), true).expect("it was said what to do");
            assert_eq!(fs::read(path).expect("still there"), b"old", "untouched");
        }
        fs::write(folder.path().join("results.json"), "").expect("written");
        assert!(open(folder.path(), false).expect_err("taken").to_string().contains("results.json"), "of a benchmark");
    }

    #[test]
    fn one_process_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = open(folder.path(), false).expect("free");
        let error = open(folder.path(), true).expect_err("held").to_string();
        assert!(error.contains("another fewsteps") && error.contains("--out"), "{error}");
        drop(first);
        open(folder.path(), true).expect("free again, though the lock's file is there");
    }

    #[test]
    fn a_replacement_that_was_cut_short_is_ended() {
        let folder = tempfile::tempdir().expect("a folder");
        let out = open(folder.path(), false).expect("free");
        let (old, new) = (out.finished("a"), out.replacing("a"));
        let write = |path: &Path, text: &str| fs::write(path, text).expect("written");
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        write(&old.checkpoint, "old");
        write(&old.record, "old");
        write(&new.checkpoint, "new");
        out.replace("a").expect("nothing to do");
        assert_eq!([&old.checkpoint, &old.record].map(|path| read(path)), ["old"; 2], "the new one is not whole");
        write(&new.record, "new");
        out.replace("a").expect("replaced");
        assert_eq!([&old.checkpoint, &old.record].map(|path| read(path)), ["new"; 2], "both");
        write(&new.record, "newer");
        write(&old.checkpoint, "newer");
        out.replace("a").expect("the checkpoint had gone before");
        assert_eq!([&old.checkpoint, &old.record].map(|path| read(path)), ["newer"; 2], "ended");
        assert!(!new.record.exists() && !new.checkpoint.exists(), "nothing is left over");
    }
}
