//! [`Tuned`]: what came of `fewsteps tune`.

use serde::Serialize;

use crate::choice::Objective;
use crate::machine::Machine;
use crate::method::Training;
use crate::numbers;
use crate::search::{Cost, Point, Yardstick};
use crate::settings::Settings;

/// What is found of the coefficient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Verdict {
    /// One makes the model cheaper and leaves it as good.
    Tuned,
    /// None that leaves the model as good makes it cheaper.
    NoGain,
    /// Training fails without a regularizer already.
    NothingToCompare,
}

/// What `--json` prints, and what lies in the folder.
#[derive(Debug, Serialize)]
pub(super) struct Tuned {
    pub(super) version: String,
    pub(super) machine: Machine,
    pub(super) method: Training,
    pub(super) objective: Objective,
    /// Without the regularizer, which the others are compared with, and then in the order in which they were tried.
    pub(super) points: Vec<Point>,
    pub(super) yardstick: Yardstick,
    pub(super) verdict: Verdict,
    /// The coefficient to take.
    #[serde(with = "numbers")]
    pub(super) coefficient: Option<f64>,
    pub(super) words: String,
    /// What is believed between the points.
    pub(super) beliefs: Vec<Believed>,
    pub(super) cost: Cost,
    /// The names of all runs: their records lie in `runs`.
    pub(super) runs: Vec<String>,
    /// With the coefficient to take, or the last that was tried.
    pub(super) settings: Settings,
}

/// What is believed of a coefficient.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Believed {
    #[serde(with = "numbers")]
    pub(super) coefficient: f64,
    /// In points of accuracy, or per cent of the loss.
    #[serde(with = "numbers")]
    pub(super) drop: f64,
    /// The objective.
    #[serde(with = "numbers")]
    pub(super) cost: f64,
}
