//! [`DeployRecord`]: what came of `fewsteps deploy`.

use std::path::PathBuf;

use serde::Serialize;

use crate::machine::Machine;
use crate::numbers;
use crate::record::Tested;
use crate::settings::Settings;
use crate::solvers::Score;
use crate::task::TaskName;

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub(super) struct DeployRecord {
    pub(super) task: TaskName,
    pub(super) checkpoint: PathBuf,
    pub(super) machine: Machine,
    /// Samples of the training set that was chosen on; of paths, batches of them.
    pub(super) samples: usize,
    /// Whether training had seen them.
    pub(super) seen: bool,
    pub(super) batch: usize,
    /// What was asked for, and what samples can show of it: as a share, or relative to the loss.
    #[serde(with = "numbers")]
    pub(super) asked_drop: f64,
    #[serde(with = "numbers")]
    pub(super) drop: f64,
    #[serde(with = "numbers")]
    pub(super) max_error: Option<f64>,
    /// The training's solver first.
    pub(super) scores: Vec<Score>,
    /// Positions in `scores`.
    pub(super) front: Vec<usize>,
    pub(super) chosen: usize,
    pub(super) written: PathBuf,
    /// The whole test set, which had no part in the choice, under the training's solver and under the chosen one.
    pub(super) test: [Tested; 2],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) finetuned: Option<Finetuned>,
    pub(super) settings: Settings,
}

/// The model after more steps, with the chosen solver.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finetuned {
    pub(super) steps: u64,
    /// Updates that were left out.
    pub(super) skipped: usize,
    /// Under the training's solver and under the chosen one.
    pub(super) test: [Tested; 2],
}
