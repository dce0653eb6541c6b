//! What is measured of a model on a test set.

use serde::{Deserialize, Serialize};

use crate::numbers;

/// An evaluation of the whole test set. Counts of the solver are means over its batches.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Training steps made before it.
    pub(crate) step: u64,
    #[serde(with = "numbers")]
    pub(crate) loss: f64,
    /// Share of the samples that are classified correctly; failed ones are not.
    #[serde(with = "numbers", default)]
    pub(crate) accuracy: Option<f64>,
    /// Evaluations of the field, which with noise is the drift.
    #[serde(with = "numbers")]
    pub(crate) nfe: f64,
    /// Evaluations of the diffusion; 0 without noise.
    #[serde(with = "numbers", default)]
    pub(crate) nfe_diffusion: f64,
    /// Of corrected steps, evaluations of the correction: `nfe` is the field's then.
    #[serde(with = "numbers", default, skip_serializing_if = "Option::is_none")]
    pub(crate) nfe_correction: Option<f64>,
    #[serde(with = "numbers")]
    pub(crate) accepted: f64,
    #[serde(with = "numbers")]
    pub(crate) rejected: f64,
    /// Relative error of the saved states against a converged solve of the first samples; with noise along the same
    /// paths, the strong error.
    #[serde(with = "numbers", default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<f64>,
    /// With noise: that of mean and variance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) weak_error: Option<WeakError>,
    /// Steps of an ideal controller; with fixed steps none.
    #[serde(with = "numbers", default)]
    pub(crate) ideal_steps: Option<f64>,
    /// NFE of the same model under the published solver, within the same tolerances, where its own is another.
    #[serde(with = "numbers", default, skip_serializing_if = "Option::is_none")]
    pub(crate) nfe_published: Option<f64>,
    /// Trajectories that failed.
    pub(crate) failed: usize,
    /// With noise: the same after another number of paths, if that was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) other_paths: Option<OtherPaths>,
}

/// The whole test set under a solver that need not be the training's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tested {
    /// The solver in few words.
    pub(crate) solver: String,
    pub(crate) test: Measured,
    /// Median over test batches of one forward pass with its loss.
    #[serde(with = "numbers")]
    pub(crate) prediction_milliseconds: f64,
    /// Samples in those batches.
    pub(crate) prediction_batch: usize,
}

/// A loss on what was held out of training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Validated {
    /// Training steps made before it.
    pub(crate) step: u64,
    #[serde(with = "numbers")]
    pub(crate) loss: f64,
}

/// Relative errors of the mean and of the variance of saved states over trajectories.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct WeakError {
    #[serde(with = "numbers")]
    pub(crate) mean: f64,
    #[serde(with = "numbers")]
    pub(crate) variance: f64,
}

/// What an evaluation finds with another number of paths.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct OtherPaths {
    /// Of classifiers, the paths of each sample whose mean output counts, where one path counts otherwise. Of moments,
    /// the paths that they are taken of: a training batch, as published, where the whole test set is otherwise.
    pub(crate) paths: usize,
    #[serde(with = "numbers")]
    pub(crate) loss: f64,
    #[serde(with = "numbers", default)]
    pub(crate) accuracy: Option<f64>,
    /// Trajectories that failed.
    #[serde(default)]
    pub(crate) failed: usize,
}

/// Means and variances over paths, learnt and given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LearntMoments {
    /// Paths that were taken.
    pub(crate) paths: usize,
    #[serde(with = "numbers")]
    pub(crate) times: Vec<f64>,
    /// `[time]`.
    pub(crate) learnt: Vec<Moment>,
    /// `[time]`.
    pub(crate) given: Vec<Moment>,
}

/// A trajectory of one's own data, learnt and given, in the units of the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Followed {
    /// The name of the time's column.
    pub(crate) time: String,
    /// After the first observation, from which the model is solved.
    #[serde(with = "numbers")]
    pub(crate) times: Vec<f64>,
    /// How many of the times were trained on; of a series that training has not seen none.
    pub(crate) trained: usize,
    pub(crate) states: Vec<FollowedState>,
}

/// A state of it at those times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct FollowedState {
    /// The name of its column.
    pub(crate) name: String,
    #[serde(with = "numbers")]
    pub(crate) learnt: Vec<f64>,
    #[serde(with = "numbers")]
    pub(crate) given: Vec<f64>,
}

/// A density that was learnt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LearntDensity {
    /// Evaluations of the field that samples cost.
    pub(crate) nfe: usize,
    /// Samples that could not be drawn.
    pub(crate) failed: usize,
    /// Of points in the plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) picture: Option<Picture>,
}

/// A density in the plane, beside points of the data and of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Picture {
    /// Where it begins and ends.
    #[serde(with = "numbers")]
    pub(crate) x: [f64; 2],
    #[serde(with = "numbers")]
    pub(crate) y: [f64; 2],
    /// Squares along a side.
    pub(crate) side: usize,
    /// The logarithm of the density in the middle of each square, row by row from below.
    #[serde(with = "numbers")]
    pub(crate) log_density: Vec<f64>,
    /// Points of the test set, `[point][2]`.
    #[serde(with = "numbers")]
    pub(crate) given: Vec<f64>,
    /// Points of the model, `[point][2]`.
    #[serde(with = "numbers")]
    pub(crate) samples: Vec<f64>,
}

/// Mean and variance of each dimension at one time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Moment {
    #[serde(with = "numbers")]
    pub(crate) mean: [f64; 2],
    #[serde(with = "numbers")]
    pub(crate) variance: [f64; 2],
}
