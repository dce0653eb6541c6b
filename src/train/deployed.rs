//! [`Deployed`]: the solver that a model predicts with, chosen after training.

use serde::{Deserialize, Serialize};

use super::model::NeuralDe;
use crate::cpu::Scalar;
use crate::error::{Error, Result};
use crate::method::SolverOptions;

/// A solver for the predictions of a trained model, with what was measured when it was chosen. It lies in the model's
/// checkpoint beside the solver of the training: [`Trainer::deployed`](super::Trainer::deployed) loads the model with it,
/// [`Trainer::resume`](super::Trainer::resume) as it was trained. Whatever is trained on from there has other weights, so
/// that a new checkpoint holds none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Deployed {
    /// How the model is solved, with the saved times of the training.
    pub options: SolverOptions,
    /// Samples that it was chosen on.
    #[serde(default)]
    pub samples: usize,
    /// Evaluations of the field in a batch of them; with noise, of the drift.
    #[serde(default)]
    pub nfe: Option<f64>,
    /// Mean loss of the task on them.
    #[serde(default)]
    pub loss: Option<f64>,
    /// Share of them that is classified correctly.
    #[serde(default)]
    pub accuracy: Option<f64>,
    /// How much less that may be, as a share, than under the solver of the training: a bound at 95 %. Without classes,
    /// how much larger the loss may be, relative to what it was.
    #[serde(default)]
    pub drop: Option<f64>,
    /// Relative error of the saved states, before the head, against a converged solve.
    #[serde(default)]
    pub error: Option<f64>,
    /// Training steps that were made with this solver after the others. The network has adapted to it: it is a residual
    /// network of as many blocks as there are steps, and the solution of its equation may be another.
    #[serde(default)]
    pub finetuned: u64,
}

impl Deployed {
    /// A solver of which nothing was measured.
    #[must_use]
    pub const fn new(options: SolverOptions) -> Self {
        Self { options, samples: 0, nfe: None, loss: None, accuracy: None, drop: None, error: None, finetuned: 0 }
    }

    /// Checks that the model can be solved so, and gives what it gave in training.
    pub(super) fn check<R: Scalar>(&self, model: &NeuralDe) -> Result<()> {
        let (saved, trained) = (&self.options.save_at, &model.options.save_at);
        if saved != trained {
            let remedy = format!("the model was trained on outputs at {trained:?}: save at those");
            return Err(Error::argument("Deployed::options.save_at", format!("{saved:?}"), remedy));
        }
        NeuralDe { options: self.options.clone(), ..model.clone() }.validate::<R>()
    }
}
