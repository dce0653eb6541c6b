//! A trainer's times of trajectories' own on a device.

use super::data::GpuData;
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
    fn take_times(&mut self, times: Option<Times>) -> Result<()> {
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

    /// The same with those of a data set's samples.
    ///
    /// # Errors
    /// [`Error::Argument`] where they have none, and batches have.
    pub(super) fn take_times_of(&mut self, data: &GpuData, samples: &[u32]) -> Result<()> {
        let Some(all) = &data.times else {
            self.take_times_back()?;
            let remedy = "the data set has none: upload it while they are its samples', or set_times(None)";
            return self.engine.refuse_times(remedy);
        };
        let rows: Vec<usize> = samples.iter().map(|sample| *sample as usize).collect();
        let chosen = all.select(&rows)?;
        if self.lent != Some(*data.id) {
            self.take_times(Some(all.clone()))?;
            self.lent = Some(*data.id);
        }
        if self.engine.choose_times(chosen.clone()) {
            self.held = None;
        }
        self.state.times = Some(chosen);
        Ok(())
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

/// What numbers count in their trajectories' losses.
pub(super) struct Shares {
    /// Each number's share of its trajectory's loss where that is a mean, `[times][batch][outputs]`.
    pub(super) of_numbers: Vec<f32>,
    /// What a trajectory's are shares of: the sum of its weights, with which they make a sum of the mean.
    pub(super) sums: Vec<f32>,
}

impl Shares {
    /// Those of so many weights `[times][batch][outputs]` with these sums, at the times that trajectories have.
    #[expect(clippy::cast_possible_truncation, reason = "the device computes at f32")]
    fn new(
        weight: impl Fn(usize) -> f32,
        count: usize,
        (sums, outputs): (&[f64], usize),
        has: impl Fn(usize, usize) -> bool,
    ) -> Self {
        let share = |i: usize| {
            let (row, slot) = (i / outputs % sums.len(), i / outputs / sums.len());
            if has(row, slot) { (f64::from(weight(i)) / sums[row]) as f32 } else { 0.0 }
        };
        Self { of_numbers: (0..count).map(share).collect(), sums: sums.iter().map(|sum| *sum as f32).collect() }
    }

    /// Those of a data set's weights `[samples][times][outputs]`.
    pub(super) fn of_samples(
        weights: &[f32],
        [times, outputs]: [usize; 2],
        has: impl Fn(usize, usize) -> bool,
    ) -> Self {
        let mut all = Self { of_numbers: Vec::with_capacity(weights.len()), sums: Vec::new() };
        for (sample, weights) in weights.chunks_exact(times * outputs).enumerate() {
            let has = |_: usize, time: usize| has(sample, time);
            let sums = row_weights(weights, [1, outputs], has);
            let of_sample = Self::new(|i| weights[i], weights.len(), (&sums, outputs), has);
            all.of_numbers.extend(of_sample.of_numbers);
            all.sums.extend(of_sample.sums);
        }
        all
    }
}
