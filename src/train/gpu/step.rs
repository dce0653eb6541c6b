//! Training steps: encoded, submitted, and judged by what they leave.

use super::data::GpuData;
use super::encoder::Encoder;
use super::held::Rooms;
use super::numbers::single;
use super::plans::TrainPlans;
use super::trainer::{GpuTrainer, costs, low};
use crate::error::Result;
use crate::gpu::modes::{Verdict, status};
use crate::gpu::{Outcome, Params, Submissions};
use crate::method::{Draws, Hooks, PointDraws, PointValues};
use crate::train::batches::Batch;
use crate::train::optimizer::Rule;
use crate::train::report::{StepGradients, StepReport};

impl GpuTrainer {
    /// One training step: solve, loss, penalty, gradient, update.
    ///
    /// # Errors
    /// As [`Trainer::step`](crate::Trainer::step), and [`Error::Memory`](crate::Error::Memory),
    /// [`Error::DeviceLost`](crate::Error::DeviceLost).
    pub async fn step(&mut self, batch: &Batch<'_, f32>) -> Result<StepReport> {
        self.note_recorded().await?;
        let count = self.load(batch, true).await?;
        self.train(count, true).await
    }

    /// As [`GpuTrainer::step`], on the given samples of a data set on the device, at the times of their own if it has some.
    ///
    /// # Errors
    /// As [`GpuTrainer::step`]; [`Error::Argument`](crate::Error::Argument) for an index beyond the data set, for one of another
    /// model, and for one without own times where batches have some.
    pub async fn step_on(&mut self, data: &GpuData, samples: &[u32]) -> Result<StepReport> {
        self.note_recorded().await?;
        let count = self.gather(data, samples, true).await?;
        self.train(count, true).await
    }

    /// Loss, penalty, gradient and costs of a batch at the current step, without an update.
    ///
    /// # Errors
    /// As [`GpuTrainer::step`].
    pub async fn gradients(&mut self, batch: &Batch<'_, f32>) -> Result<StepGradients<f32>> {
        self.note_recorded().await?;
        let count = self.load(batch, true).await?;
        let mut report = self.train(count, false).await?;
        let gradient = self.read_gradient().await?;
        report.gradient_norm = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        Ok(StepGradients { report, gradient })
    }

    /// Dispatches of the last recorded training step of `batch` trajectories, by its parts, if there was one.
    #[must_use]
    pub fn dispatches(&self, batch: usize) -> Option<usize> {
        let held = self.held.as_ref()?;
        let plans = held.plans.training.get(&batch)?;
        let [attempts, segments] = self.expected(held.buffers(), plans);
        let fixed = plans.prologue.len() + plans.solve.start.len() + plans.solve.finish.len() + plans.loss.len();
        let walk = plans.walk.begin.len() + segments * plans.walk.segment.len() + plans.walk.end.len();
        Some(fixed + attempts * plans.solve.attempt.len() + walk + plans.update.len())
    }

    /// Attempts and walk segments to record, from what the last steps took.
    fn expected(&self, rooms: &Rooms, plans: &TrainPlans) -> [usize; 2] {
        [
            self.engine.expected_attempts(plans.rows, rooms.engine.sizes.purpose),
            // One at least: it also leaves the initial states' cotangents where they are looked for.
            self.engine.accepted.foreseen().max(1).div_ceil(plans.walk.stride),
        ]
    }

    /// The parameters of the next steps and updates, for the device to take.
    pub(super) fn params(&self, entries: usize) -> Vec<Params> {
        let entry = |ahead: u64| {
            let step = self.state.steps + ahead;
            let seed = self.state.config.seed;
            let mut params = Params {
                update: low(self.updates + ahead),
                rates: self.rates(self.updates + ahead),
                ..Params::new(seed, step, self.state.step_paths(step))
            };
            params.divergence = self.state.step_drawing(step).weight.map_or(0.0, single);
            let hooks = self.state.hooks_at(step);
            params.global = hooks.global.map_or(0.0, |global| single(global.coefficient));
            let local = hooks.penalty.map(|penalty| Draws::new(penalty, seed, step));
            let points = hooks.pointwise.into_iter().flatten().map(|point| PointDraws::new(point, seed, step));
            self.engine.set_draws(&mut params, local.as_ref(), &points.collect::<Vec<_>>());
            params
        };
        (0..entries as u64).map(entry).collect()
    }

    /// Learning rate over `1 - beta1^t`, `1 / sqrt(1 - beta2^t)` and what weight decay leaves, at one update.
    fn rates(&self, update: u64) -> [f32; 4] {
        let optimizer = &self.state.config.optimizer;
        let rate = optimizer.learning_rate.value(update);
        let t = (update + 1) as f64;
        let (first, second, kept) = match optimizer.rule {
            Rule::Sgd { .. } | Rule::RmsProp { .. } => (1.0, 1.0, 1.0),
            Rule::AdamW { beta1, beta2, weight_decay, .. } => {
                (1.0 - beta1.powf(t), 1.0 - beta2.powf(t), 1.0 - rate * weight_decay)
            }
            Rule::Adam { beta1, beta2, .. }
            | Rule::AdaMax { beta1, beta2, .. }
            | Rule::AdaBelief { beta1, beta2, .. } => (1.0 - beta1.powf(t), 1.0 - beta2.powf(t), 1.0),
        };
        [single(rate / first), single(second.sqrt().recip()), single(kept), 0.0]
    }

    /// Records a training step: from the loaded batch to the update.
    pub(super) fn record_step(
        &self,
        to: &mut Submissions<'_>,
        rooms: &Rooms,
        plans: &TrainPlans,
        [attempts, segments]: [usize; 2],
        update: bool,
    ) {
        self.encode_inputs(rooms, plans.rows, to.encoder());
        to.record(&plans.prologue, 1, self.encoder_work(plans.rows));
        let work = self.engine.work_of_a_plan(plans.rows, rooms.engine.sizes.purpose);
        to.record(&plans.solve.start, 1, work);
        to.record(&plans.solve.attempt, attempts, work);
        self.record_tail(to, rooms, plans, segments, update);
    }

    /// Multiply-adds of an encoder of series.
    pub(super) fn encoder_work(&self, rows: usize) -> f64 {
        rows as f64 * self.parts.encoder.as_ref().map_or(0.0, Encoder::work)
    }

    /// Inputs of so many rows that are initial states go to the tape.
    pub(super) fn encode_inputs(&self, rooms: &Rooms, rows: usize, encoder: &mut wgpu::CommandEncoder) {
        if self.parts.encoder.is_none() {
            let bytes = 4 * (rows * self.engine.dim()) as u64;
            let (inputs, tape) = (&rooms.batch.inputs, &rooms.engine.tape);
            encoder.copy_buffer_to_buffer(inputs, 0, tape, self.engine.start_of_tape(rows), bytes);
        }
    }

    /// What follows the solve: loss, penalty, walk and update.
    fn record_tail(&self, to: &mut Submissions<'_>, rooms: &Rooms, plans: &TrainPlans, segments: usize, update: bool) {
        self.engine.clear_gradient(plans.rows, &rooms.engine, to.encoder());
        to.encoder().clear_buffer(&self.parts.overflow, 0, None);
        // A step and its vector-Jacobian product cost what four attempts do.
        let step = 4.0 * self.engine.attempt_work(plans.rows);
        let purpose = rooms.engine.sizes.purpose;
        let (passes, measured) = (purpose.passes(), step * purpose.work_of_a_step(self.engine.tableau));
        let steps = plans.walk.stride.min(self.engine.accepted.foreseen().max(1));
        to.record(&plans.solve.finish, 1, 0.0);
        to.record(&plans.loss, 1, step * passes as f64);
        to.record(&plans.walk.begin, 1, 0.0);
        to.record(&plans.walk.segment, segments, measured * steps as f64);
        to.record(&plans.walk.end, 1, 4.0 * self.encoder_work(plans.rows));
        to.record(if update { &plans.update } else { &plans.gradient }, 1, 0.0);
        // Whoever goes on with the encoder begins a pass of its own.
        to.encoder();
    }

    /// A training step on the loaded batch.
    async fn train(&mut self, count: usize, update: bool) -> Result<StepReport> {
        let mut plans = self.training_plans(count).await?;
        self.engine.gpu.queue.write_buffer(
            &self.parts.schedule.buffer,
            0,
            bytemuck::cast_slice(&self.params(self.parts.schedule.entries)),
        );
        let mut encoder = self.engine.encoder();
        let rooms = self.rooms()?;
        let purpose = rooms.engine.sizes.purpose;
        let expected = self.expected(rooms, &plans);
        self.record_step(&mut Submissions::new(&self.engine, &mut encoder), rooms, &plans, expected, update);
        // From here on the device may make the step, whether or not this future is there to hear of it.
        if update {
            self.unheard = true;
            self.take_entries(1);
        }
        let mut outcome = self.engine.submit_for_outcome(encoder).await?;
        outcome.check()?;
        let mut recorded = expected[1];
        // A solve that is longer than the one before it by more than was foreseen goes on.
        while outcome.skipped == Verdict::Incomplete {
            if outcome.paused > 0 {
                self.grow(count).await?;
                plans = self.training_plans(count).await?;
                self.engine.resume(&plans.solve);
            }
            let taken = (outcome.most_accepted as usize).div_ceil(plans.walk.stride);
            if outcome.unfinished == 0 && recorded >= taken {
                return Err(outcome.unwalked());
            }
            let segments = if outcome.unfinished > 0 { plans.walk.segments_ahead() } else { taken };
            let mut encoder = self.engine.encoder();
            let mut to = Submissions::new(&self.engine, &mut encoder);
            if outcome.unfinished > 0 {
                to.record(
                    &plans.solve.attempt,
                    self.engine.more_attempts(count),
                    self.engine.work_of_a_plan(count, purpose),
                );
            }
            self.record_tail(&mut to, self.rooms()?, &plans, segments, update);
            drop(to);
            recorded = if outcome.unfinished > 0 { 0 } else { segments };
            outcome = self.engine.submit_for_outcome(encoder).await?;
            outcome.check()?;
        }
        self.conclude(outcome, update).await
    }

    /// Takes note of a finished step.
    async fn conclude(&mut self, outcome: Outcome, update: bool) -> Result<StepReport> {
        self.engine.attempts.note((outcome.accepted + outcome.rejected) as usize);
        self.engine.accepted.note(outcome.most_accepted as usize);
        let before = self.state.steps;
        if update {
            self.settle(&outcome).await?;
        } else {
            self.judge(&outcome).await?;
        }
        Ok(self.report(&outcome, before))
    }

    /// Counts a step that the device made or skipped.
    pub(super) async fn settle(&mut self, outcome: &Outcome) -> Result<()> {
        let judged = self.judge(outcome).await;
        self.unheard = false;
        if judged.is_err() {
            self.take_entries(-1);
        }
        judged?;
        self.state.steps += 1;
        self.updates += u64::from(outcome.skipped != Verdict::Skipped);
        Ok(())
    }

    /// Takes entries of the prepared schedule, or gives them back.
    pub(super) fn take_entries(&mut self, count: isize) {
        if let Some(slice) = self.held.as_mut().and_then(|held| held.plans.slice.as_mut()) {
            slice.taken = slice.taken.saturating_add_signed(count);
        }
    }

    /// An error where the failure policy says so.
    pub(super) async fn judge(&mut self, outcome: &Outcome) -> Result<()> {
        let count = (outcome.solved + outcome.failed) as usize;
        let first = || (outcome.first_failed as usize, status(outcome.first_status));
        self.state.allow(outcome.failed as usize, count, (outcome.failed > 0).then(first))?;
        if outcome.skipped == Verdict::Aborted {
            let gradient = self.read_gradient().await?;
            return Err(self.state.diverged(self.updates, &gradient));
        }
        Ok(())
    }

    /// The report of the step after `before` others.
    pub(super) fn report(&self, outcome: &Outcome, before: u64) -> StepReport {
        let mut hooks = self.state.hooks_at(before);
        // What follows a budget is known to the device alone.
        hooks.follow(|_| f64::from(outcome.coefficient));
        let Hooks { penalty, global, pointwise: points, .. } = hooks;
        let report = self.state.report(before, costs(&self.engine, outcome), penalty.as_ref());
        let global_penalty = global.map(|_| f64::from(outcome.global));
        let global_coefficient = global.map(|global| global.coefficient);
        let local = penalty.map(|_| (f64::from(outcome.penalty), report.coefficient));
        let pointwise = PointValues::of(&points, &outcome.points);
        let first = pointwise.iter().next().map(|value| (value.penalty, value.coefficient));
        let (penalty, coefficient) = local.or(global_penalty.zip(global_coefficient)).or(first).unwrap_or_default();
        let (tableau, accepted) = (self.state.config.model.options.method.tableau(), report.accepted);
        let evaluations = points.iter().flatten().map(|point| point.evaluations(tableau, accepted)).sum::<usize>();
        StepReport {
            loss: f64::from(outcome.loss),
            divergence: self.state.config.model.latent.then(|| f64::from(outcome.divergence)),
            penalty,
            coefficient,
            global_penalty,
            global_coefficient,
            pointwise,
            nfe_penalty: report.nfe_penalty + evaluations,
            gradient_norm: f64::from(outcome.gradient_norm),
            products: outcome.most_accepted as usize * self.engine.products_per_step(self.purpose_at(before)),
            failed: outcome.failed as usize,
            skipped: outcome.skipped == Verdict::Skipped,
            budget_unreachable: outcome.unreachable != 0,
            end_time: self.state.end_at(before),
            ..report
        }
    }

    async fn read_gradient(&mut self) -> Result<Vec<f32>> {
        let gradient = self.rooms()?.engine.gradient.clone();
        let count = self.engine.parameters;
        let [gradient] = self.engine.read([(&gradient, 0, count)]).await?;
        Ok(gradient)
    }
}
