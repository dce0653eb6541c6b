//! A trainer's times of trajectories' own on a device.

use super::trainer::{GpuTrainer, owned};
use crate::error::Result;
use crate::gpu::Purpose;
use crate::method::{Loss, Target, row_weights};
use crate::problem::Times;

impl GpuTrainer {
    /// Gives the trajectories of the batches after this one intervals and saved times of their own, a row each, as
    /// [`Trainer::set_times`](crate::Trainer::set_times); `None` takes them back.
    ///
    /// Records on the device have room for as many times of a row as any batch had so far: batches with more have steps recorded
    /// anew. Steps that were prepared for recording have to be prepared again.
    ///
    /// # Errors
    /// As [`Trainer::set_times`](crate::Trainer::set_times) and [`GpuSolver::set_times`](crate::GpuSolver::set_times). Steps
    /// with them refuse [`EndTime`](crate::EndTime); [`GpuTrainer::upload`], [`GpuTrainer::step_on`],
    /// [`GpuTrainer::evaluate_on`] and [`GpuTrainer::prepare`] refuse them.
    pub fn set_times(&mut self, times: Option<Times>) -> Result<()> {
        self.state.check_times(times.as_ref())?;
        if self.engine.set_times(times.clone())? {
            self.held = None;
        }
        self.state.times = times;
        self.parts.times =
            self.engine.times.as_ref().map_or_else(|| self.state.output_times(), |_| self.engine.own_slots);
        let (model, parts) = (&self.state.config.model, &self.parts);
        self.engine.owner = owned(model, parts.encoder.as_ref(), parts.head.as_ref(), parts.times);
        Ok(())
    }

    /// Checks that times of trajectories' own are those of so many samples, and go with what a step is for.
    pub(super) fn check_own_times(&self, samples: usize, purpose: Purpose) -> Result<()> {
        let drawn = if purpose.backward { self.state.end_at(self.state.steps) } else { None };
        self.engine.check_times(samples, drawn)
    }

    /// Refuses them where a data set lies on the device, whose samples have none.
    pub(super) fn refuse_times(&self) -> Result<()> {
        self.engine.refuse_times("samples of a data set on the device have shared times: use GpuTrainer::step")
    }

    /// Whether a target's numbers have shares of their row's loss, as they have where rows have different numbers of times.
    pub(super) fn is_weighed(&self, target: &Target<'_, f32>) -> bool {
        let differs = matches!(self.state.config.loss, Loss::Mse | Loss::Mae | Loss::Gaussian { .. });
        matches!(target, Target::Observed { .. }) || (self.state.times.is_some() && differs)
    }

    /// Each number's share of its trajectory's loss, if it has one, `[times][batch][outputs]`: nothing at times that a trajectory
    /// has not.
    pub(super) fn shares_of(&self, target: &Target<'_, f32>, batch: usize) -> Option<Vec<f32>> {
        let sizes = [batch, self.parts.outputs];
        let has = |row: usize, slot: usize| self.state.times.as_ref().is_none_or(|times| times.has(row, slot));
        let mut shares = match target {
            Target::Observed { weights, .. } => shares(weights, sizes, has),
            Target::States(states) if self.state.times.is_some() => shares(&vec![1.0; states.len()], sizes, has),
            _ => return None,
        };
        shares.resize(self.parts.times * batch * self.parts.outputs, 0.0);
        Some(shares)
    }
}

/// Each number's share of its trajectory's loss, of weights `[times][batch][outputs]`, at the times that trajectories have.
#[expect(clippy::cast_possible_truncation, reason = "the device computes at f32")]
pub(super) fn shares(
    weights: &[f32],
    [batch, outputs]: [usize; 2],
    has: impl Fn(usize, usize) -> bool + Copy,
) -> Vec<f32> {
    let sums = row_weights(weights, [batch, outputs], has);
    let share = |(i, weight): (usize, &f32)| {
        let (row, slot) = (i / outputs % batch, i / outputs / batch);
        if has(row, slot) { (f64::from(*weight) / sums[row]) as f32 } else { 0.0 }
    };
    weights.iter().enumerate().map(share).collect()
}
