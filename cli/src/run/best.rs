//! The checkpoint with the best weights of a run, beside the one that training goes on from until it ends.
//!
//! A checkpoint says in its progress of which step the best weights are. The best one is a copy of the checkpoint of that
//! step, made as soon as that is written: so whenever a run is killed, either the checkpoint is of that step itself, or the
//! copy is there.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use fewsteps::{Best, CheckpointInfo};

use crate::files;

/// Where it lies.
pub(super) fn path(checkpoint: &Path) -> PathBuf {
    checkpoint.with_extension("best.safetensors")
}

/// Makes a checkpoint the best one of the run at `checkpoint`; whole or not at all.
pub(super) fn keep(from: &Path, checkpoint: &Path) -> anyhow::Result<()> {
    files::write(&path(checkpoint), &files::read(from)?)
}

/// Lets a run that goes on from the checkpoint `from`, of so many steps, have its best one again.
pub(super) fn restore(from: &Path, steps: u64, best: Best, checkpoint: &Path) -> anyhow::Result<()> {
    if steps == best.step {
        return keep(from, checkpoint);
    }
    let path = path(checkpoint);
    let found = if path.exists() { Some(CheckpointInfo::read(&path)?.steps) } else { None };
    ensure!(
        found == Some(best.step),
        "{}: should hold the best weights, those of step {}; restore it from a copy, or add --overwrite to train anew",
        path.display(),
        best.step
    );
    Ok(())
}
