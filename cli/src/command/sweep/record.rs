//! [`Sweep`]: what came of `fewsteps sweep`.

use serde::Serialize;

use super::analysis::Analysis;
use crate::machine::Machine;
use crate::method::Training;
use crate::search::{Cost, Point};
use crate::settings::Settings;

/// What `--json` prints, and what lies in the folder.
#[derive(Debug, Serialize)]
pub(super) struct Sweep {
    pub(super) version: String,
    pub(super) machine: Machine,
    pub(super) method: Training,
    /// Of rising coefficients, 0 first.
    pub(super) points: Vec<Point>,
    pub(super) analysis: Analysis,
    pub(super) cost: Cost,
    /// The names of all runs: their records lie in `runs`.
    pub(super) runs: Vec<String>,
    /// Of the last coefficient.
    pub(super) settings: Settings,
}
