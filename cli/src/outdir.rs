//! [`OutDir`]: where a command's files lie. Nothing there is removed or replaced unless that is asked for, and even then
//! only by what is whole.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use crate::args::OutputArgs;
use crate::files;
use crate::metrics;

/// The folder that is written to where none is named; once it holds runs, its name with `-2`, `-3` and so on.
pub(crate) const DEFAULT: &str = "fewsteps-out";

/// Held by the process that writes to the folder. The system lets go of it when the process ends, however it does.
const LOCK: &str = ".fewsteps.lock";

/// What a benchmark writes besides its runs.
const RESULTS: [&str; 2] = ["results.json", "report.html"];

/// Runs that an error names before it counts the rest.
const NAMED: usize = 3;

/// The folder of a benchmark's or a training's output, which no other process writes to meanwhile.
#[derive(Debug)]
pub(crate) struct OutDir {
    root: PathBuf,
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
    /// Opens the folder for these runs, and of a benchmark for its results. A folder that holds any of them is refused,
    /// unless it is said what becomes of them; of the default folders the next one is taken.
    pub(crate) fn open(args: &OutputArgs, runs: &[String], results: bool) -> anyhow::Result<Self> {
        let decided = args.resume || args.overwrite;
        let Some(root) = &args.out else {
            return if decided { Self::open_last(runs) } else { Self::open_free(runs, results) };
        };
        let refuse = || match held(root, runs, results) {
            held if held.is_empty() || decided => Ok(()),
            held => Err(anyhow::Error::msg(refusal(root, &held))),
        };
        refuse()?; // Before anything is made there, and again when nobody else writes there.
        let out = Self::create(root)?.with_context(|| in_use(root))?;
        refuse()?;
        Ok(out)
    }

    /// The first of the default folders that holds none of these runs, and that nobody writes to.
    fn open_free(runs: &[String], results: bool) -> anyhow::Result<Self> {
        for root in defaults() {
            let Some(out) = Self::create(&root)? else { continue };
            if held(&root, runs, results).is_empty() {
                if root != Path::new(DEFAULT) {
                    log::info!(
                        "{DEFAULT} holds earlier runs, which stay as they are; this one goes to {} (--resume goes on \
                         with them, --overwrite replaces them, --out chooses a folder)",
                        root.display()
                    );
                }
                return Ok(out);
            }
        }
        unreachable!("there is always a next name")
    }

    /// The last of the default folders that holds any of these runs; the first of all if none does.
    fn open_last(runs: &[String]) -> anyhow::Result<Self> {
        let holds_any = |root: &PathBuf| runs.iter().any(|run| !RunFiles::all(root, run).is_empty());
        let root = defaults().take_while(|root| root.exists()).filter(holds_any).last();
        let root = root.unwrap_or_else(|| DEFAULT.into());
        Self::create(&root)?.with_context(|| in_use(&root))
    }

    /// Makes the folder with its parts, clears what killed writers left, and proves that it can be written to before hours
    /// are spent on training. `None` where another process writes to it.
    fn create(root: &Path) -> anyhow::Result<Option<Self>> {
        let remedy = "choose another folder with --out";
        let parts = [root.to_owned(), root.join("runs"), root.join("checkpoints")];
        for folder in &parts {
            fs::create_dir_all(folder).with_context(|| format!("{}: cannot be made; {remedy}", folder.display()))?;
        }
        let path = root.join(LOCK);
        let is_lock = fs::metadata(&path).map_or(true, |file| file.is_file());
        ensure!(is_lock, "{}: not a regular file; {remedy}", path.display()); // Opening a pipe would wait for its end.
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
        Ok(Some(Self { root: root.to_owned(), _lock: lock }))
    }

    /// Where a run that is whole lies.
    pub(crate) fn finished(&self, run: &str) -> RunFiles {
        RunFiles { metrics: self.root.join("metrics.jsonl"), ..RunFiles::at(&self.root, run) }
    }

    /// Where a run lies until it takes another one's place.
    pub(crate) fn replacing(&self, run: &str) -> RunFiles {
        RunFiles::at(&self.root, &format!("{run}.new"))
    }

    /// Lets a run that is whole take its place. Its record is the last to go, so that a crash between leaves the sign by
    /// which the next command ends what this one began.
    pub(crate) fn replace(&self, run: &str) -> anyhow::Result<()> {
        let (new, old) = (self.replacing(run), self.finished(run));
        if !new.record.exists() {
            return Ok(());
        }
        metrics::replace(&new.metrics, &old.metrics, run)?;
        for (new, old) in [(&new.checkpoint, &old.checkpoint), (&new.record, &old.record)] {
            match fs::rename(new, old) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("{}: cannot be replaced", old.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes the lines of an earlier attempt to replace a run, with which nobody goes on.
    pub(crate) fn forget_attempt(&self, run: &str) -> anyhow::Result<()> {
        files::remove(&self.replacing(run).metrics)
    }

    pub(crate) fn results(&self) -> PathBuf {
        self.root.join(RESULTS[0])
    }

    pub(crate) fn report(&self) -> PathBuf {
        self.root.join(RESULTS[1])
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

    /// The files that there are of a run, those of one that is to replace it too.
    fn all(root: &Path, run: &str) -> Vec<PathBuf> {
        let both = [Self::at(root, run), Self::at(root, &format!("{run}.new"))];
        both.into_iter().flat_map(|files| [files.record, files.checkpoint]).filter(|path| path.exists()).collect()
    }
}

/// What a folder holds of these runs and, of a benchmark, of its results.
fn held(root: &Path, runs: &[String], results: bool) -> Vec<String> {
    let run = |name: &String| {
        let files = RunFiles::all(root, name);
        let finished = files.iter().any(|path| path.extension().is_some_and(|end| end == "json"));
        (!files.is_empty()).then(|| format!("{name} ({})", if finished { "finished" } else { "unfinished" }))
    };
    let written = RESULTS.into_iter().filter(|name| results && root.join(name).exists());
    runs.iter().filter_map(run).chain(written.map(str::to_owned)).collect()
}

fn defaults() -> impl Iterator<Item = PathBuf> {
    (1..).map(|n| if n == 1 { DEFAULT.into() } else { format!("{DEFAULT}-{n}").into() })
}

fn in_use(root: &Path) -> String {
    format!(
        "{}: another fewsteps writes to this folder; wait for its end, or choose another with --out",
        root.display()
    )
}

/// What is refused, and the ways to go on.
fn refusal(root: &Path, held: &[String]) -> String {
    let more = held.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let free = (2..).map(|n| format!("{}-{n}", root.display())).find(|name| !Path::new(name).exists());
    let ways = [
        (
            "--resume".to_owned(),
            "keep what is finished, go on with what is not: with the options that it was made with",
        ),
        ("--overwrite".to_owned(), "make it anew; the old stays until the new is whole"),
        (format!("--out {}", free.as_deref().unwrap_or("DIR")), "another folder"),
    ];
    let width = ways.iter().map(|(option, _)| option.len()).max().unwrap_or(0);
    let ways: String = ways.iter().map(|(option, what)| format!("\n  {option:width$}  {what}")).collect();
    let (named, root) = (held[..held.len().min(NAMED)].join(", "), root.display());
    format!("--out {root}: holds {named}{more}; nothing was changed. To go on, add one of{ways}")
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
        OutDir::open(&args, &["vanilla-seed0".to_owned()], true)
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
