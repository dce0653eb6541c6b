//! A trainer's times of trajectories' own on a device.

use super::trainer::GpuTrainer;
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
        self.weigh(self.parts.weighed);
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

    /// What each number of a target counts in its trajectory's loss, where not all count alike: nothing at times that a trajectory
    /// has not.
    pub(super) fn shares_of(&self, target: &Target<'_, f32>, batch: usize) -> Option<Shares> {
        let sizes = [batch, self.parts.outputs];
        let has = |row: usize, slot: usize| self.state.times.as_ref().is_none_or(|times| times.has(row, slot));
        let mut shares = match target {
            Target::Observed { weights, .. } => Shares::new(weights, sizes, has),
            Target::States(states) if self.state.times.is_some() => Shares::new(&vec![1.0; states.len()], sizes, has),
            _ => return None,
        };
        shares.of_numbers.resize(self.parts.times * batch * self.parts.outputs, 0.0);
        Some(shares)
    }
}

/// What numbers count in their trajectories' losses.
pub(super) struct Shares {
    /// Each number's share of its trajectory's loss where that is a mean, `[times][batch][outputs]`.
    pub(super) of_numbers: Vec<f32>,
    /// What a trajectory's are shares of: the sum of its weights, with which they make a sum of the mean.
    pub(super) sums: Vec<f32>,
}

impl Shares {
    /// Those of weights `[times][batch][outputs]`, at the times that trajectories have.
    #[expect(clippy::cast_possible_truncation, reason = "the device computes at f32")]
    pub(super) fn new(
        weights: &[f32],
        [batch, outputs]: [usize; 2],
        has: impl Fn(usize, usize) -> bool + Copy,
    ) -> Self {
        let sums = row_weights(weights, [batch, outputs], has);
        let share = |(i, weight): (usize, &f32)| {
            let (row, slot) = (i / outputs % batch, i / outputs / batch);
            if has(row, slot) { (f64::from(*weight) / sums[row]) as f32 } else { 0.0 }
        };
        let of_numbers = weights.iter().enumerate().map(share).collect();
        Self { of_numbers, sums: sums.iter().map(|sum| *sum as f32).collect() }
    }
}
