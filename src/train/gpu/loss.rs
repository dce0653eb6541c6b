//! The loss of a batch on a device: what is recorded of it, and what each trajectory counts in it.

use super::plans::TrainRecorder;
use crate::gpu::args::{ImportanceArgs, LossArgs, LossSumArgs, MomentsArgs};
use crate::gpu::{Head, IMPORTANCE, LOSS, LOSS_SUM, MOMENTS, Planner, flat, modes, word};
use crate::math::Real;
use crate::method::{Loss, Reduction};

impl TrainRecorder<'_> {
    /// The loss and the outputs' cotangents, which without a head are those of the saved states in `training`.
    pub(super) fn loss(&self, planner: &mut Planner<'_>, training: bool) {
        if self.config.loss == Loss::Moments {
            self.moments(planner);
        }
        let weighted = training && self.config.elbo.importance;
        if weighted {
            // What a trajectory counts depends on what it has lost.
            self.row_losses(planner, training, modes::Counts::Alone);
            self.importance(planner);
            self.row_losses(planner, training, modes::Counts::Own);
        } else {
            self.row_losses(planner, training, modes::Counts::Equal);
        }
        let drawn = training && self.config.model.latent;
        self.sum_of_losses(planner, drawn, weighted);
    }

    /// Means and variances of the batch's outputs.
    fn moments(&self, planner: &mut Planner<'_>) {
        let (buffers, batch) = (self.buffers, self.batch);
        let moments = self.engine.kernels.get(&MOMENTS, &[]);
        let [points, outputs] = [self.parts.times, self.parts.outputs].map(word);
        let bound = [&buffers.row_status, batch.outputs(buffers, self.parts), &self.engine.outcome, &batch.moments];
        let grid = flat(self.parts.times * self.parts.outputs);
        planner.add(&moments, &bound, self.engine.head(self.rows), MomentsArgs { points, outputs }, grid);
    }

    /// The rows' losses, and the outputs' cotangents by what each row `counts`.
    fn row_losses(&self, planner: &mut Planner<'_>, training: bool, counts: modes::Counts) {
        let (buffers, batch, parts, config) = (self.buffers, self.batch, self.parts, self.config);
        let loss = self.engine.kernels.get(&LOSS, &[]);
        let head = Head { mode: modes::Loss::from(config.loss).into(), ..self.engine.head(self.rows) };
        let own = parts.head.is_some() || !training;
        let mut bound = vec![
            &buffers.row_status,
            batch.outputs(buffers, parts),
            &batch.targets,
            &self.engine.outcome,
            if own { &batch.outputs_bar } else { &buffers.saves_bar },
            &batch.row_losses,
            &batch.moments,
        ];
        bound.extend(self.engine.records(buffers));
        // What an evaluation tells is a mean, whatever is trained.
        let sums = training && config.elbo.reduction == Reduction::Sum;
        let numbers = if sums || batch.weighed { 1 } else { parts.times * parts.outputs };
        let difference = config.loss.of_differences();
        let args = LossArgs {
            points: word(parts.times),
            outputs: word(parts.outputs),
            least: word(config.loss.least()),
            first: 0,
            count: 0,
            features: word(config.model.problem.field.features()),
            weighed: batch.weighed.into(),
            sums: sums.into(),
            counts: counts.into(),
            numbers: f32::from_f64(numbers as f64),
            factor: f32::from_f64(difference.factor),
            offset: f32::from_f64(difference.offset),
        };
        // Many points come in parts, one after the other.
        let most = (self.engine.iterations / 2 / (1 + parts.outputs)).max(1);
        for first in (0..parts.times).step_by(most) {
            let [first, count] = [first, most.min(parts.times - first)].map(word);
            planner.add(&loss, &bound, head, LossArgs { first, count, ..args }, flat(self.rows.div_ceil(64)));
        }
    }

    /// What each trajectory counts in the importance-weighted bound.
    fn importance(&self, planner: &mut Planner<'_>) {
        let kernel = self.engine.kernels.get(&IMPORTANCE, &[]);
        let args = ImportanceArgs { copies: word(self.config.elbo.samples) };
        let bound =
            [&self.buffers.row_status, &self.engine.params, &self.batch.latent.divergences, &self.batch.row_losses];
        planner.add(&kernel, &bound, self.engine.head(self.rows), args, [1, 1, 1]);
    }

    /// The batch's loss, with what is paid for initial states that were `drawn`.
    fn sum_of_losses(&self, planner: &mut Planner<'_>, drawn: bool, weighted: bool) {
        let kernel = self.engine.kernels.get(&LOSS_SUM, &[]);
        let args =
            LossSumArgs { least: word(self.config.loss.least()), drawn: drawn.into(), weighted: weighted.into() };
        let bound = [
            &self.batch.row_losses,
            &self.engine.outcome,
            &self.buffers.row_status,
            &self.batch.latent.divergences,
            &self.engine.params,
        ];
        planner.add(&kernel, &bound, self.engine.head(self.rows), args, [1, 1, 1]);
    }
}
