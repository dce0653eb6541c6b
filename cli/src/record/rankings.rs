//! [`Rankings`]: methods by what they cost where they are good enough.

use serde::{Deserialize, Serialize};

use crate::numbers;
use crate::search::Quality;

/// Methods from the best to the worst, in three ways. Those that are not good enough come last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rankings {
    pub(crate) quality: Quality,
    /// What is good enough: at least so large a share of accuracy, or at most so large a loss.
    #[serde(with = "numbers")]
    pub(crate) level: f64,
    /// By evaluations of a prediction, of field, diffusion and correction together; under the training's solver, deployed, and
    /// with corrected steps.
    pub(crate) nfe: Vec<Ranked>,
    /// By the seconds of the training steps before the first evaluation that is good enough.
    pub(crate) seconds: Vec<Ranked>,
    /// By the bytes that training holds, of the seed with the most.
    pub(crate) bytes: Vec<Ranked>,
}

/// A method in a ranking.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ranked {
    pub(crate) name: String,
    /// A mean over the seeds; absent where one has none.
    #[serde(with = "numbers", default)]
    pub(crate) value: Option<f64>,
    /// Whether it is good enough; of seconds, whether every seed came to be.
    pub(crate) reached: bool,
}
