//! What is kept of a run.

use fewsteps::EarlyStopping;
use serde::{Deserialize, Serialize};

use super::budget::BudgetOutcome;
use super::measured::{Followed, LearntDensity, LearntMoments, Measured, Tested, Validated};
use crate::machine::Machine;
use crate::numbers;
use crate::settings::Settings;

/// A finished run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RunRecord {
    /// Version of the program that finished it.
    pub(crate) version: String,
    pub(crate) settings: Settings,
    pub(crate) machine: Machine,
    pub(crate) parameters: usize,
    /// On the whole test set, with the weights that were kept: of the last step, unless validation chose others.
    pub(crate) test: Measured,
    /// Where there was validation: which weights these are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kept: Option<Kept>,
    pub(crate) times: Times,
    /// The test set under the cheapest solver that predicts as well, chosen on training samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deployed: Option<Tested>,
    /// Where moments of paths are learnt: those of the test set's paths after training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) moments: Option<LearntMoments>,
    /// Where series are learnt: the first of the test set, or what comes before and after the horizon of the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) followed: Option<Followed>,
    /// Where a density is learnt: samples of it, and how it looks in the plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) density: Option<LearntDensity>,
    /// Where NFE had a target: what came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) budget: Option<BudgetOutcome>,
    /// The largest memory the process had held when the run ended; earlier runs of the process count.
    pub(crate) peak_memory_bytes: Option<u64>,
    /// The most bytes that its training held: parameters, moments, tape and workspaces, on a device those there; of a run that
    /// was gone on with, since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) training_bytes: Option<u64>,
    pub(crate) progress: Progress,
}

impl RunRecord {
    /// Why the run has nothing to show, if so, and what helps.
    pub(crate) fn defect(&self) -> Option<String> {
        let Progress { failed, skipped, first_skipped, .. } = self.progress;
        let steps = self.settings.steps;
        let what = if skipped as u64 >= steps {
            format!("all {steps} updates were left out")
        } else if self.test.loss.is_finite() {
            return None;
        } else if skipped > 0 {
            format!("its test loss is {}, and {skipped} of {steps} updates were left out", self.test.loss)
        } else {
            format!("its test loss is {}", self.test.loss)
        };
        let cause = match first_skipped {
            // Where no trajectory failed it was the update itself that would not have been finite.
            Some(1) if failed > 0 => {
                "the first step failed already, so it is not the learning rate: check the data, --tol \
                                      and --batch"
                    .to_owned()
            }
            Some(step) => format!("steps fail from step {step} on: {}", smaller_rate(&self.settings)),
            None => smaller_rate(&self.settings),
        };
        Some(format!("{}: {what}; {cause}", self.settings.run_name()))
    }
}

/// The weights that a run with validation ended with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// Training steps that made them.
    pub(crate) step: u64,
    /// Their validation loss.
    #[serde(with = "numbers")]
    pub(crate) loss: f64,
    /// Training steps that were made.
    pub(crate) trained: u64,
    /// Whether patience ended training.
    pub(crate) stopped: bool,
}

impl Kept {
    /// In a sentence.
    pub(crate) fn text(&self) -> String {
        let Self { step, loss, trained, stopped } = self;
        let end = if *stopped { ", where patience ended training" } else { "" };
        format!("weights of step {step} of {trained}{end}; validation loss {loss:.4e}")
    }
}

/// What to do about a run that diverged.
fn smaller_rate(settings: &Settings) -> String {
    let (rate, usual) = (settings.learning_rate, settings.task.defaults().learning_rate);
    let smaller = if rate > usual { usual } else { rate / 10.0 };
    format!("the learning rate {rate:?} is probably too large, try --lr {smaller:?}")
}

/// Where the time goes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Times {
    /// Setting up the trainer and the first training step, which also reserves memory and, on a device, compiles
    /// those pipelines that no earlier run of the process did.
    #[serde(with = "numbers")]
    pub(crate) cold_step_seconds: f64,
    /// Median of the other steps.
    #[serde(with = "numbers")]
    pub(crate) warm_step_seconds: f64,
    /// Sum of all steps, without evaluations and checkpoints.
    #[serde(with = "numbers")]
    pub(crate) training_seconds: f64,
    /// Median over test batches of one forward pass with its loss.
    #[serde(with = "numbers")]
    pub(crate) prediction_milliseconds: f64,
    /// Samples in those batches.
    pub(crate) prediction_batch: usize,
}

/// What a run has recorded so far. It lies in the checkpoint beside the weights, so that both are of the same step.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Seconds from nothing to a trainer that holds its data.
    #[serde(with = "numbers")]
    pub(crate) setup_seconds: f64,
    pub(crate) curve: Curve,
    pub(crate) evaluations: Vec<Measured>,
    /// Losses on what was held out of training.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) validation: Vec<Validated>,
    /// What they decided so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stopping: Option<EarlyStopping>,
    /// Trajectories that failed in training, and were left out.
    pub(crate) failed: usize,
    /// Updates that were left out.
    pub(crate) skipped: usize,
    /// The step of the first of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) first_skipped: Option<u64>,
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
    /// Steps of an ideal controller; empty where none were told.
    #[serde(default, with = "numbers")]
    pub(crate) ideal_steps: Vec<f64>,
    /// Evaluations for the penalty, each on the regularizer's share of the batch.
    pub(crate) nfe_penalty: Vec<usize>,
    /// Vector-Jacobian products of the backward pass.
    pub(crate) products: Vec<usize>,
    #[serde(with = "numbers")]
    pub(crate) seconds: Vec<f64>,
}

impl Curve {
    /// Steps that it is of, if all its lists are of as many.
    pub(crate) fn steps(&self) -> Option<usize> {
        let Self { loss, penalty, coefficient, nfe, nfe_diffusion, ideal_steps, nfe_penalty, products, seconds } = self;
        let numbers = [loss, penalty, coefficient, seconds].map(Vec::len);
        let counts = [nfe, nfe_penalty, products].map(Vec::len);
        // Runs of earlier versions have no counts of the diffusion or of ideal steps.
        let alike = numbers.into_iter().chain(counts).all(|n| n == loss.len());
        let later = [nfe_diffusion.len(), ideal_steps.len()];
        (alike && later.iter().all(|n| [0, loss.len()].contains(n))).then_some(loss.len())
    }
}
