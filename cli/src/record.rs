//! What is kept of a run, as JSON.

use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::settings::{Settings, Training};
use crate::stats::Spread;

/// A finished run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RunRecord {
    /// Version of the program that finished it.
    pub(crate) version: String,
    pub(crate) settings: Settings,
    pub(crate) machine: Machine,
    pub(crate) parameters: usize,
    /// On the whole test set, after the last step.
    pub(crate) test: Measured,
    pub(crate) times: Times,
    /// Where moments of paths are learnt: those of the test set's paths after training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) moments: Option<LearntMoments>,
    /// The largest memory the process had held when the run ended; earlier runs of the process count.
    pub(crate) peak_memory_bytes: Option<u64>,
    pub(crate) progress: Progress,
}

/// Where the time goes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Times {
    /// Setting up the trainer and the first training step, which also reserves memory and, on a device, compiles
    /// those pipelines that no earlier run of the process did.
    pub(crate) cold_step_seconds: f64,
    /// Median of the other steps.
    pub(crate) warm_step_seconds: f64,
    /// Sum of all steps, without evaluations and checkpoints.
    pub(crate) training_seconds: f64,
    /// Median over test batches of one forward pass with its loss.
    pub(crate) prediction_milliseconds: f64,
    /// Samples in those batches.
    pub(crate) prediction_batch: usize,
}

/// What a run has recorded so far. It lies in the checkpoint beside the weights, so that both are of the same step.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Seconds from nothing to a trainer that holds its data.
    pub(crate) setup_seconds: f64,
    pub(crate) curve: Curve,
    pub(crate) evaluations: Vec<Measured>,
    /// Trajectories that failed in training, and were left out.
    pub(crate) failed: usize,
    /// Updates that were left out.
    pub(crate) skipped: usize,
}

/// One number a training step.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Curve {
    /// The task's loss, without the penalty.
    #[serde(with = "numbers")]
    pub(crate) loss: Vec<f64>,
    /// The penalty, without its coefficient.
    #[serde(with = "numbers")]
    pub(crate) penalty: Vec<f64>,
    #[serde(with = "numbers")]
    pub(crate) coefficient: Vec<f64>,
    /// Evaluations in the forward solve: of the field, which with noise is the drift.
    pub(crate) nfe: Vec<usize>,
    /// Evaluations of the diffusion; 0 without noise.
    #[serde(default)]
    pub(crate) nfe_diffusion: Vec<usize>,
    /// Evaluations for the penalty, each on the regularizer's share of the batch.
    pub(crate) nfe_penalty: Vec<usize>,
    /// Vector-Jacobian products of the backward pass.
    pub(crate) products: Vec<usize>,
    pub(crate) seconds: Vec<f64>,
}

/// An evaluation of the whole test set. Counts of the solver are means over its batches.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Training steps made before it.
    pub(crate) step: u64,
    #[serde(with = "number")]
    pub(crate) loss: f64,
    /// Share of the samples that are classified correctly; failed ones are not.
    pub(crate) accuracy: Option<f64>,
    /// Evaluations of the field, which with noise is the drift.
    pub(crate) nfe: f64,
    /// Evaluations of the diffusion; 0 without noise.
    #[serde(default)]
    pub(crate) nfe_diffusion: f64,
    pub(crate) accepted: f64,
    pub(crate) rejected: f64,
    /// Trajectories that failed.
    pub(crate) failed: usize,
    /// With noise: the same after another number of paths, if that was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) other_paths: Option<OtherPaths>,
}

/// What an evaluation finds with another number of paths.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct OtherPaths {
    /// Of classifiers, the paths of each sample whose mean output counts, where one path counts otherwise. Of moments, the
    /// paths that they are taken of: a training batch, as published, where the whole test set is otherwise.
    pub(crate) paths: usize,
    #[serde(with = "number")]
    pub(crate) loss: f64,
    pub(crate) accuracy: Option<f64>,
}

/// Means and variances over paths, learnt and given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LearntMoments {
    /// Paths that were taken.
    pub(crate) paths: usize,
    pub(crate) times: Vec<f64>,
    /// `[time]`.
    pub(crate) learnt: Vec<Moment>,
    /// `[time]`.
    pub(crate) given: Vec<Moment>,
}

/// Mean and variance of each dimension at one time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Moment {
    pub(crate) mean: [f64; 2],
    pub(crate) variance: [f64; 2],
}

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
}

/// A method's means and spreads over the seeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct MethodSummary {
    pub(crate) training: Training,
    pub(crate) seeds: usize,
    pub(crate) accuracy: Option<Spread>,
    /// Absent where a seed's test loss is not a finite number.
    pub(crate) test_loss: Option<Spread>,
    /// As `test_loss` and `accuracy`, of another number of paths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) other_paths: Option<OtherSummary>,
    pub(crate) nfe: Spread,
    /// Evaluations of the diffusion; 0 without noise.
    #[serde(default)]
    pub(crate) nfe_diffusion: Spread,
    pub(crate) step_milliseconds: Spread,
    pub(crate) prediction_milliseconds: Spread,
    /// Relative to vanilla, where it is among the methods.
    pub(crate) ratios: Option<Ratios>,
}

/// Means and spreads of [`OtherPaths`] over the seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct OtherSummary {
    pub(crate) paths: usize,
    pub(crate) accuracy: Option<Spread>,
    /// Absent where a seed's loss is not a finite number.
    pub(crate) test_loss: Option<Spread>,
}

/// Means relative to those of vanilla.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ratios {
    pub(crate) nfe: f64,
    pub(crate) step_time: f64,
    pub(crate) prediction_time: f64,
}

/// JSON knows no infinities and no NaN: they become `null`, and `null` becomes NaN.
mod number {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(x: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(*x)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
    }
}

/// The same for lists.
mod numbers {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(xs: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
        xs.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
        let xs = Vec::<Option<f64>>::deserialize(deserializer)?;
        Ok(xs.into_iter().map(|x| x.unwrap_or(f64::NAN)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_keep_their_bits() {
        let loss = vec![0.1 + 0.2, 1.0 / 3.0, 5e-324, f64::NAN, f64::INFINITY];
        let text = serde_json::to_string(&Curve { loss: loss.clone(), ..Curve::default() }).expect("plain data");
        let back: Curve = serde_json::from_str(&text).expect("what was written");
        assert_eq!(back.loss[..3], loss[..3], "finite numbers to the bit");
        assert!(back.loss[3].is_nan() && back.loss[4].is_nan(), "what JSON lacks becomes NaN");
    }
}
