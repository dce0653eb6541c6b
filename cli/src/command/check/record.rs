//! [`Check`]: what came of `fewsteps check`.

use serde::Serialize;

use super::probe::Apart;
use super::verdict::{Found, Reason, Verdict};
use crate::machine::Machine;
use crate::settings::Settings;

/// What `--json` prints, and what lies in the folder.
#[derive(Debug, Serialize)]
pub(super) struct Check {
    pub(super) version: String,
    pub(super) machine: Machine,
    pub(super) verdict: Verdict,
    pub(super) reasons: Vec<Reason>,
    pub(super) found: Found,
    /// How far the models are from each other at times inside the interval.
    pub(super) apart: Vec<Apart>,
    /// The names of both runs: their records lie in `runs`.
    pub(super) runs: Vec<String>,
    /// Of the run with the regularizer.
    pub(super) settings: Settings,
}
