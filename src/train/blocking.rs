//! [`Blocking`]: a learner that waits for its answers.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::path::Path;

use super::batches::Batch;
use super::config::TrainerConfig;
use super::learner::{Backend, Learner};
use super::report::{Evaluation, StepReport};
use crate::error::Result;
use crate::method::{Learnt, SolverOptions};
use crate::problem::Paths;

/// A learner that waits for each of its answers. What needs no waiting is the learner's own.
#[derive(Debug)]
pub struct Blocking<L>(pub L);

impl<L> Deref for Blocking<L> {
    type Target = L;

    fn deref(&self) -> &L {
        &self.0
    }
}

impl<L> DerefMut for Blocking<L> {
    fn deref_mut(&mut self) -> &mut L {
        &mut self.0
    }
}

/// The learner's methods, waited for.
macro_rules! waits {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $kind:ty),*) -> $answer:ty;)*) => {
        #[allow(clippy::missing_errors_doc, reason = "they are those of the trainers' methods of the same names")]
        impl<L: Learner> Blocking<L> {
            $($(#[$doc])*
            pub fn $name(&mut self, $($argument: $kind),*) -> Result<$answer> {
                let engine = self.0.engine();
                engine.wait(Learner::$name(&mut self.0, $($argument),*))
            })*
        }
    };
}

waits! {
    /// The parameters.
    parameters() -> Vec<L::Scalar>;
    /// What its training steps have taught the solves that follow.
    learnt() -> Learnt;
    /// Goes on with another configuration of the same tensors.
    reconfigure(config: TrainerConfig) -> ();
    /// Solves the model otherwise from here on.
    solve_by(options: &SolverOptions) -> ();
    /// One training step.
    step(batch: &Batch<'_, L::Scalar>) -> StepReport;
    /// Evaluates the model on a batch.
    evaluate(batch: &Batch<'_, L::Scalar>) -> Evaluation;
    /// Evaluates the mean output over as many paths of each trajectory.
    evaluate_mean(batch: &Batch<'_, L::Scalar>, paths: usize) -> Evaluation;
    /// The outputs, `[times][B][outputs]`, along these paths if there is noise.
    predict_along(inputs: &[L::Scalar], paths: Paths) -> Vec<L::Scalar>;
    /// The outputs from initial states that are drawn, the `sample`-th draw.
    predict_drawn(inputs: &[L::Scalar], sample: usize) -> Vec<L::Scalar>;
    /// The log-density of each point.
    log_density(points: &[L::Scalar]) -> Vec<f64>;
    /// Samples `[count][D]`.
    sample(count: usize, seed: u64) -> Vec<L::Scalar>;
    /// Writes a checkpoint, whole or not at all.
    save(path: &Path, metadata: &BTreeMap<String, String>) -> ();
    /// Copies a data set into the engine's own memory, as [`Learner::hold`] says.
    hold(data: &Batch<'_, L::Scalar>) -> Option<L::Data>;
    /// A training step on these samples of a data set that is held.
    step_on(data: &L::Data, samples: &[u32]) -> StepReport;
}

#[allow(clippy::missing_errors_doc, reason = "they are those of the trainers' methods of the same names")]
impl<L: Learner> Blocking<L> {
    /// With freshly drawn parameters.
    pub fn new(engine: &L::Engine, config: TrainerConfig) -> Result<Self> {
        L::new(engine, config).map(Self)
    }

    /// From a checkpoint, with its metadata.
    pub fn resume(engine: &L::Engine, path: &Path) -> Result<(Self, BTreeMap<String, String>)> {
        L::resume(engine, path).map(|(learner, metadata)| (Self(learner), metadata))
    }

    /// From a checkpoint, as it is to be predicted with.
    pub fn deployed(engine: &L::Engine, path: &Path) -> Result<(Self, BTreeMap<String, String>)> {
        L::deployed(engine, path).map(|(learner, metadata)| (Self(learner), metadata))
    }
}
