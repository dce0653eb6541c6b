//! What is kept of a benchmark: its runs, and means over their seeds.

use serde::{Deserialize, Serialize};

use super::measured::Tested;
use super::rankings::Rankings;
use super::run::RunRecord;
use crate::machine::Machine;
use crate::measure::stats::Spread;
use crate::method::Training;
use crate::numbers;

/// A benchmark's `results.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) version: String,
    /// Seconds since 1970.
    pub(crate) finished_unix_seconds: u64,
    pub(crate) machine: Machine,
    pub(crate) warnings: Vec<String>,
    pub(crate) summary: Vec<MethodSummary>,
    pub(crate) runs: Vec<RunRecord>,
    /// Runs that did not come to their end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) failures: Vec<Failure>,
    /// The runs' models with corrected steps, where these were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) hypersolved: Vec<Hypersolved>,
    /// Methods by evaluations, by training time and by memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rankings: Option<Rankings>,
}

/// A run's model with the fewest corrected steps that predict as well as its training's solver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Hypersolved {
    pub(crate) training: Training,
    pub(crate) seed: u64,
    /// The method whose residuals were learnt.
    pub(crate) base: String,
    /// Units of the correction, and its updates.
    pub(crate) hidden: usize,
    pub(crate) training_steps: u64,
    /// What learning it took, on the native engine.
    #[serde(with = "numbers")]
    pub(crate) training_seconds: f64,
    /// Root mean squares of the residuals, and of what the correction leaves of them.
    #[serde(with = "numbers")]
    pub(crate) residual: f64,
    #[serde(with = "numbers")]
    pub(crate) left: f64,
    pub(crate) steps: usize,
    /// Whether so many steps predict as well, on training samples; they are the most that are tried where not.
    pub(crate) as_good: bool,
    /// Multiplications with an addition that field and correction take for a sample.
    pub(crate) multiply_adds: usize,
    /// On the test set, with evaluations of both.
    pub(crate) tested: Tested,
}

/// A run that did not come to its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) training: Training,
    pub(crate) seed: u64,
    pub(crate) error: String,
}

/// A method's means and spreads over the seeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct MethodSummary {
    pub(crate) training: Training,
    pub(crate) seeds: usize,
    pub(crate) accuracy: Option<Spread>,
    /// Absent where a seed's test loss is not a finite number.
    pub(crate) test_loss: Option<Spread>,
    /// Test trajectories that failed, over all seeds: they count as wrong, and the loss is of the others.
    #[serde(default)]
    pub(crate) failed: usize,
    /// As `test_loss` and `accuracy`, of another number of paths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) other_paths: Option<OtherSummary>,
    pub(crate) nfe: Spread,
    /// Evaluations of the diffusion; 0 without noise.
    #[serde(default)]
    pub(crate) nfe_diffusion: Spread,
    /// Relative error of the saved states; absent where a seed has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<Spread>,
    /// Steps of an ideal controller; absent where a seed has none.
    #[serde(default)]
    pub(crate) ideal_steps: Option<Spread>,
    /// NFE under the published solver, where the runs' own is another.
    #[serde(default)]
    pub(crate) nfe_published: Option<Spread>,
    pub(crate) step_milliseconds: Spread,
    pub(crate) prediction_milliseconds: Spread,
    /// Relative to the baseline, or to vanilla where there is none.
    pub(crate) ratios: Option<Ratios>,
    /// Under the solvers that predictions need, where every seed has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deployed: Option<DeployedSummary>,
    /// With corrected steps, where every seed has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hypersolver: Option<DeployedSummary>,
}

/// A method's means and spreads over the seeds, each under the cheapest solver that predicts as well, or with the fewest
/// corrected steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct DeployedSummary {
    /// The seeds' solvers, each once.
    pub(crate) solvers: Vec<String>,
    pub(crate) accuracy: Option<Spread>,
    /// Absent where a seed's test loss is not a finite number.
    pub(crate) test_loss: Option<Spread>,
    /// Test trajectories that failed, over all seeds.
    pub(crate) failed: usize,
    pub(crate) nfe: Spread,
    /// Evaluations of the diffusion; 0 without noise.
    pub(crate) nfe_diffusion: Spread,
    /// Of corrected steps, evaluations of the correction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) nfe_correction: Option<Spread>,
    /// Relative error of the saved states; absent where a seed has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<Spread>,
    pub(crate) prediction_milliseconds: Spread,
    /// NFE and prediction time relative to the baseline, or to vanilla where there is none, under the training's solver.
    #[serde(with = "numbers", default)]
    pub(crate) nfe_ratio: Option<f64>,
    #[serde(with = "numbers", default)]
    pub(crate) prediction_ratio: Option<f64>,
}

/// Means and spreads of [`OtherPaths`] over the seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct OtherSummary {
    pub(crate) paths: usize,
    pub(crate) accuracy: Option<Spread>,
    /// Absent where a seed's loss is not a finite number.
    pub(crate) test_loss: Option<Spread>,
    /// Trajectories that failed, over all seeds.
    #[serde(default)]
    pub(crate) failed: usize,
}

/// Means relative to those of another method.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ratios {
    #[serde(with = "numbers")]
    pub(crate) nfe: f64,
    #[serde(with = "numbers")]
    pub(crate) step_time: f64,
    #[serde(with = "numbers")]
    pub(crate) prediction_time: f64,
}
