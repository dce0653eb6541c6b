//! A trainer's times of trajectories' own on a device.

use super::shares::Shares;
use super::trainer::GpuTrainer;
use crate::error::Result;
use crate::gpu::Purpose;
use crate::method::{Loss, Target};
use crate::problem::Times;

impl GpuTrainer {
    /// Gives the trajectories of the batches after this one intervals and saved times of their own, a row each, as
    /// [`Trainer::set_times`](crate::Trainer::set_times); `None` takes them back.
    ///
    /// Records on the device have room for as many times of a row as any batch had so far: batches with more have steps recorded
    /// anew, and so has going to and fro between own times and those of the model. Steps that were prepared for recording have to be
    /// prepared again.
    ///
    /// A data set that is uploaded now keeps them, a row a sample ([`GpuTrainer::upload`]); a step on it sends 24 bytes a
    /// trajectory, and 8 for each time of the longest sample and each time of [`SolverOptions::stop_at`](crate::SolverOptions).
    ///
    /// # Errors
    /// As [`Trainer::set_times`](crate::Trainer::set_times) and [`GpuSolver::set_times`](crate::GpuSolver::set_times). Steps
    /// with them refuse [`EndTime`](crate::EndTime), and [`GpuTrainer::prepare`] refuses them.
    pub fn set_times(&mut self, times: Option<Times>) -> Result<()> {
        self.take_times(times.clone())?;
        (self.times, self.lent) = (times, None);
        Ok(())
    }

    /// Has the solves that follow such times.
    pub(super) fn take_times(&mut self, times: Option<Times>) -> Result<()> {
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

    /// The same with those that it was given for batches, after steps on a data set with others.
    pub(super) fn take_times_back(&mut self) -> Result<()> {
        if self.lent.take().is_some() { self.take_times(self.times.clone()) } else { Ok(()) }
    }

    /// Checks that times of trajectories' own are those of so many samples, and go with what a step is for.
    pub(super) fn check_own_times(&self, samples: usize, purpose: Purpose) -> Result<()> {
        let drawn = if purpose.backward { self.state.end_at(self.state.steps) } else { None };
        self.engine.check_times(samples, drawn)
    }

    /// Whether a target's numbers have shares of their row's loss, as they have where rows have different numbers of times.
    pub(super) fn is_weighed(&self, target: &Target<'_, f32>) -> bool {
        let differs = matches!(self.state.config.loss, Loss::Mse | Loss::Mae | Loss::Gaussian { .. });
        matches!(target, Target::Observed { .. }) || (self.state.times.is_some() && differs)
    }

    /// What each number of a target counts in its trajectory's loss, where not all count alike: nothing at times that a trajectory
    /// has not. The sums of the trajectories' weights are known, if they have some.
    pub(super) fn shares_of(&self, target: &Target<'_, f32>, batch: usize, sums: Vec<f64>) -> Option<Shares> {
        let (times, outputs) = (self.state.times.as_ref(), self.parts.outputs);
        let has = |row: usize, slot: usize| times.is_none_or(|times| times.has(row, slot));
        let mut shares = match (target, times) {
            (Target::Observed { weights, .. }, _) => Shares::new(|i| weights[i], weights.len(), (&sums, outputs), has),
            (Target::States(states), Some(times)) => {
                let sums: Vec<f64> = (0..batch).map(|row| (times.saved(row).len() * outputs) as f64).collect();
                Shares::new(|_| 1.0, states.len(), (&sums, outputs), has)
            }
            _ => return None,
        };
        shares.of_numbers.resize(self.parts.times * batch * outputs, 0.0);
        Some(shares)
    }
}
