//! [`Deployed`]: the solver that a model predicts with, chosen after training.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{NeuralDe, checkpoint};
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

    /// Writes it into a checkpoint, in place of one that is there; nothing else of the file changes, and it is written
    /// whole or not at all.
    ///
    /// ```
    /// # use std::collections::BTreeMap;
    /// use fewsteps::{Cpu, Deployed, Loss, Method, Mlp, NeuralDe, Problem, SolverOptions, StepControl, Trainer, TrainerConfig};
    /// # fn main() -> fewsteps::Result<()> {
    /// # let folder = tempfile::tempdir().expect("a folder");
    /// # let path = folder.path().join("model.safetensors");
    /// let model = NeuralDe::new(Problem::ode(Mlp::new([2, 16, 2]), 0.0, 1.0), SolverOptions::default());
    /// let trainer = Trainer::<f32>::new(&Cpu::new()?, TrainerConfig::new(model, Loss::Mse))?;
    /// trainer.save(&path, &BTreeMap::new())?;
    /// // Predictions by one step of the classical method: four evaluations.
    /// let options = SolverOptions::default().method(Method::Rk4).step_control(StepControl::Fixed { steps: 1 });
    /// Deployed::new(options).write(&path)?;
    /// let (mut model, _) = Trainer::<f32>::deployed(&Cpu::new()?, &path)?;
    /// let outputs = model.predict(&[1.0, 0.0])?;
    /// # assert_eq!(outputs.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read or written, [`Error::Checkpoint`] when it is not a checkpoint,
    /// [`Error::Argument`] for options that do not fit its model; the old file is still there then.
    pub fn write(&self, path: &Path) -> Result<()> {
        checkpoint::write_deployed(path, self)
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
