//! [`TrainingState`]: what a trainer of either engine is at, besides its numbers, and what both make of it.

use super::batches::Batch;
use super::config::{FailurePolicy, TrainerConfig};
use super::report::Costs;
use super::report::{Evaluation, StepReport};
use crate::cpu::Scalar;
use crate::error::{Error, Result, Status};
use crate::math::Purpose;
use crate::method::{Asked, Hooks, Learnt, Loss, PenaltyStep, StepPenalty, Streams, Target, score};
use crate::problem::{Paths, Times};

/// A configuration, and how far training has come with it.
#[derive(Clone, Debug)]
pub(super) struct TrainingState {
    pub(super) config: TrainerConfig,
    /// Steps made or skipped.
    pub(super) steps: u64,
    /// Times of the trajectories' own, of the batches that follow.
    pub(super) times: Option<Times>,
}

impl TrainingState {
    /// Before the first step.
    pub(super) fn new<R: Scalar>(config: TrainerConfig) -> Result<Self> {
        config.model.validate::<R>()?;
        config.loss.validate()?;
        config.elbo.validate(config.loss, config.model.latent)?;
        config.model.check_density(config.loss)?;
        config.optimizer.validate()?;
        config.regularizer.validate(&config.model.options)?;
        Ok(Self { config, steps: 0, times: None })
    }

    /// Refuses to go on with another configuration of other tensors.
    pub(super) fn check_change<R: Scalar>(&self, config: &TrainerConfig) -> Result<()> {
        config.model.validate::<R>()?;
        self.config.model.check_tensors(&config.model)
    }

    /// Whether another configuration goes on with the optimizer's moments.
    pub(super) fn shares_moments(&self, other: &Self) -> bool {
        self.config.optimizer.rule.shares_moments(&other.config.optimizer.rule)
    }

    /// Checks a batch; the number of its trajectories, and the sums of their weights, if its target has some.
    pub(super) fn check<R: Scalar>(&self, batch: &Batch<'_, R>) -> Result<(usize, Vec<f64>)> {
        let model = &self.config.model;
        let count = model.check_inputs(batch.inputs)?;
        let (loss, outputs) = (self.config.loss, model.output_width());
        if let Some(times) = &self.times {
            times.check_batch(count)?;
        }
        let has = |row: usize, slot: usize| self.times.as_ref().is_none_or(|times| times.has(row, slot));
        let sums = batch.target.check_where(loss, count, self.output_times(), outputs, has)?;
        Ok((count, sums))
    }

    /// Times of a batch's outputs: of the longest row, where trajectories have their own.
    pub(super) fn output_times(&self) -> usize {
        self.times.as_ref().map_or_else(|| self.config.model.output_times(), Times::slots)
    }

    /// Whether no time passes.
    pub(super) fn stands_still(&self) -> bool {
        self.times.as_ref().map_or_else(|| self.config.model.problem.stands_still(), Times::stand_still)
    }

    /// Refuses times of trajectories' own where the loss knows no such.
    pub(super) fn check_times(&self, times: Option<&Times>) -> Result<()> {
        let loss = self.config.loss;
        if times.is_some() && matches!(loss, Loss::Moments | Loss::NegativeLogLikelihood) {
            let remedy = "it is of a batch at shared times: trajectories with their own take Loss::Mse, Mae, Gaussian or CrossEntropy";
            return Err(Error::argument("TrainerConfig::loss", format!("{loss:?}"), remedy));
        }
        Ok(())
    }

    /// The paths of the training step after `step` others.
    pub(super) const fn step_paths(&self, step: u64) -> Paths {
        Paths::of_step(self.config.seed, step)
    }

    /// The signs with which the training step after `step` others estimates traces.
    pub(super) const fn step_signs(&self, step: u64) -> Streams {
        Streams::of_step(Purpose::TraceDirection, self.config.seed, step)
    }

    /// Those of evaluations.
    pub(super) const fn evaluation_signs(&self) -> Streams {
        Streams::of_evaluation(Purpose::TraceDirection, self.config.seed, 0)
    }

    /// The paths of an evaluation's `sample`-th sample.
    pub(super) const fn evaluation_paths(&self, sample: usize) -> Paths {
        Paths::of_evaluation(self.config.seed, sample as u64)
    }

    /// What the training step after `step` others is asked for besides its loss.
    pub(super) fn asked(&self, learnt: &Learnt, step: u64) -> Asked {
        let TrainerConfig { regularizer, model, seed, .. } = &self.config;
        Asked::new(regularizer.lower(step), learnt, (&model.problem, self.stands_still()), *seed, step)
    }

    /// The penalties of the training step after `step` others; there are none where no time passes. Coefficients that follow a
    /// budget are those of the first step.
    pub(super) fn hooks_at(&self, step: u64) -> Hooks {
        if self.stands_still() { Hooks::default() } else { self.config.regularizer.lower(step) }
    }

    /// Where the training step after `step` others ends, if not where the problem does.
    pub(super) fn end_at(&self, step: u64) -> Option<f64> {
        self.asked(&Learnt::default(), step).end
    }

    /// The report of the step after `before` others, as far as both engines tell it in the same way.
    pub(super) fn report(&self, before: u64, costs: Costs, penalty: Option<&StepPenalty>) -> StepReport {
        let Costs { nfe, nfe_diffusion, accepted, rejected, ideal_steps, encoder_nfe } = costs;
        let mut report = StepReport {
            step: before + 1,
            nfe,
            nfe_diffusion,
            accepted,
            rejected,
            ideal_steps,
            encoder_nfe,
            ..StepReport::default()
        };
        if let Some(penalty) = penalty {
            let stages = self.config.model.options.method.tableau().stages();
            let fresh = 2 * usize::from(penalty.step == PenaltyStep::FreshInitial);
            report.coefficient = penalty.coefficient;
            report.nfe_penalty = penalty.times * (stages + fresh);
        }
        report
    }

    /// Whether a step that cannot be made is an error.
    pub(super) const fn aborts(&self) -> bool {
        matches!(self.config.failure, FailurePolicy::Abort)
    }

    /// An error if trajectories failed and that is to abort; `first` of them, with its status.
    pub(super) fn allow(&self, failed: usize, batch: usize, first: Option<(usize, Status)>) -> Result<()> {
        match first {
            Some((index, status)) if self.aborts() => Err(Error::Trajectory { failed, batch, index, status }),
            _ => Ok(()),
        }
    }

    /// Why the next step, after as many updates of the parameters, could not be made.
    pub(super) fn diverged<R: Scalar>(&self, updates: u64, gradient: &[R]) -> Error {
        let what = match gradient.iter().enumerate().find(|(_, g)| !g.is_finite()) {
            Some((index, g)) => format!("gradient[{index}] = {g}"),
            None => format!("the gradient or what it would make of a parameter is beyond {}", R::NAME),
        };
        let learning_rate = self.config.optimizer.learning_rate.value(updates);
        Error::Diverged { step: self.steps + 1, what, learning_rate }
    }

    /// Begins to sum the outputs of as many paths of each trajectory.
    pub(super) fn mean_outputs(&self, paths: usize) -> Result<MeanOutputs> {
        if paths == 0 || matches!(self.config.loss, Loss::Moments | Loss::NegativeLogLikelihood) {
            let remedy = "take at least one path; moments and densities are of single paths: use evaluate";
            return Err(Error::argument("samples", paths, remedy));
        }
        if self.times.is_some() {
            let remedy = "trajectories with times of their own have no noise, so that all paths are one: use evaluate";
            return Err(Error::argument("samples", paths, remedy));
        }
        Ok(MeanOutputs { paths, mean: Vec::new(), solved: Vec::new() })
    }

    /// The evaluation of a mean output, with the costs of a single path.
    pub(super) fn evaluate_mean<R: Scalar>(
        &self,
        outputs: &MeanOutputs,
        target: &Target<'_, R>,
        costs: Costs,
    ) -> Evaluation {
        let MeanOutputs { mean, solved, .. } = outputs;
        let (loss, correct) = score(self.config.loss, target, mean, self.config.model.output_width(), solved);
        let failed = solved.iter().filter(|solved| !**solved).count();
        costs.evaluation(solved.len(), failed, loss, correct)
    }
}

/// The mean of outputs over several paths of each trajectory.
#[derive(Debug)]
pub(super) struct MeanOutputs {
    paths: usize,
    /// `[times][B][outputs]`.
    mean: Vec<f64>,
    /// Whether all paths of a trajectory were solved.
    solved: Vec<bool>,
}

impl MeanOutputs {
    /// Adds the outputs of a path of each trajectory, and whether it was solved.
    pub(super) fn add<R: Scalar>(&mut self, outputs: &[R], solved: impl Iterator<Item = bool>) {
        self.mean.resize(outputs.len(), 0.0);
        for (mean, x) in self.mean.iter_mut().zip(outputs) {
            *mean += x.to_f64() / self.paths as f64;
        }
        if self.solved.is_empty() {
            self.solved.extend(solved);
        } else {
            self.solved.iter_mut().zip(solved).for_each(|(all, solved)| *all &= solved);
        }
    }
}
