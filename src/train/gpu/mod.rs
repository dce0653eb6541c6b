//! [`GpuTrainer`]: one call a training step, on a device.

mod apply;
mod data;
mod embed;
mod held;
mod plans;
mod reconfigure;

use std::collections::BTreeMap;
use std::path::Path;

use super::checkpoint::Loaded;
use super::report::Costs;
use super::state::TrainingState;
use super::{Batch, Evaluation, NeuralDe, OptimizerState, Rule, StepGradients, StepReport, TrainerConfig, checkpoint};
use crate::error::{Error, Result, Status};
use crate::gpu::modes::{Verdict, status};
use crate::gpu::{CLASSES, Engine, Gpu, Held, Outcome, Owner, Params, Purpose, Submissions, check_penalty, create};
use crate::math::check_finite;
use crate::memory::Size;
use crate::method::{Draws, Learnt, Loss, StepPenalty, Target};
use crate::problem::Paths;

pub use data::GpuData;
pub use embed::{SliceReport, TrainIo};
use held::{Plans, Rooms};
use plans::{Parts, Schedule, TrainPlans};

/// Trains a model on a device, at `f32`: the twin of [`Trainer`](crate::Trainer). The checkpoints are the same.
///
/// Solve, loss, penalty, adjoint and update are one submission, or several where they would keep the device busy for too
/// long; the host reads 96 bytes back once a step.
///
/// ```no_run
/// use fewsteps::{Batch, Gpu, GpuTrainer, Local, Loss, Mlp, NeuralDe, Problem, Pick, SolverOptions, Target};
/// use fewsteps::TrainerConfig;
/// # fn main() -> fewsteps::Result<()> {
/// let gpu = Gpu::open(&Pick::Any)?;
/// let model = NeuralDe::new(Problem::ode(Mlp::new([2, 16, 2]), 0.0, 1.0), SolverOptions::default());
/// let config = TrainerConfig::new(model, Loss::Mse).regularizer(Local::unbiased().coefficient(0.01));
/// let mut trainer = GpuTrainer::new(&gpu, config)?;
/// let batch = Batch { inputs: &[1.0, 0.0, 0.0, 1.0], target: Target::States(&[0.0, 1.0, 1.0, 0.0]) };
/// for _ in 0..10 {
///     let report = gpu.block_on(trainer.step(&batch))?;
///     println!("loss {:.4}, penalty {:.3}, NFE {}", report.loss, report.penalty, report.nfe);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct GpuTrainer {
    state: TrainingState,
    engine: Engine,
    parts: Parts,
    /// What it has for its batches, since the first one was loaded.
    held: Option<Held<Rooms, Plans>>,
    /// Updates made with the optimizer's present moments.
    updates: u64,
    /// Whether steps were recorded into an application's encoder, so that the device is ahead.
    embedded: bool,
    /// Whether a step was submitted of which the host has not heard yet: its future was dropped, if no call is under way.
    unheard: bool,
}

impl GpuTrainer {
    /// A trainer with freshly drawn parameters, those that the native engine draws.
    ///
    /// # Errors
    /// [`Error::Argument`] naming what does not fit in the configuration, [`Error::Limit`] for more parameters than the
    /// device binds.
    pub fn new(gpu: &Gpu, config: TrainerConfig) -> Result<Self> {
        let state = TrainingState::new::<f32>(config)?;
        let (config, model) = (&state.config, &state.config.model);
        check_penalty(&model.problem, &model.options, &config.regularizer)?;
        let (encoder, head) = (model.encoder_layer(), model.head_layer());
        let widest = encoder.iter().chain(&head).map(|l| l.inputs.max(l.outputs)).max().unwrap_or(0);
        let parameters = model.parameter_count();
        let owner = owned(model);
        let engine = Engine::new(gpu, &model.problem, &model.options, parameters, model.field_offset(), widest, owner)?;
        if config.loss == Loss::CrossEntropy && model.output_width() > CLASSES {
            let remedy = format!("a device tells at most {CLASSES} classes apart: use fewer, or Trainer");
            return Err(Error::argument("classes", model.output_width(), remedy));
        }
        let moments =
            gpu.scoped_now(|| ["moment1", "moment2"].map(|name| create(gpu, name, 4 * parameters as u64, false)))?;
        let parts = Parts {
            encoder,
            head,
            times: model.output_times(),
            outputs: model.output_width(),
            inputs: model.input_width(),
            moments,
            overflow: gpu.scoped_now(|| create(gpu, "overflow", 4, false))?,
            schedule: gpu.scoped_now(|| Schedule::new(gpu, 2))?,
        };
        let mut trainer = Self { engine, parts, held: None, updates: 0, embedded: false, unheard: false, state };
        gpu.check_alive()?;
        let config = &trainer.state.config;
        let theta: Vec<f32> = config.model.initialize(config.seed);
        trainer.write_state(&theta, &OptimizerState::new(&config.optimizer.rule, parameters), 0);
        Ok(trainer)
    }

    /// Stores the weights that the model computes with at 16 bits, where the device has such numbers; arithmetic, the
    /// parameters and the optimizer's moments stay at `f32`, and gradients are those at the rounded weights.
    ///
    /// # Errors
    /// [`Error::Argument`] where the device lacks the feature `SHADER_F16`.
    pub fn half_weights(mut self) -> Result<Self> {
        self.engine.use_half_weights()?;
        Ok(Self { held: None, ..self })
    }

    /// The configuration.
    #[must_use]
    pub const fn config(&self) -> &TrainerConfig {
        &self.state.config
    }

    /// The device.
    #[must_use]
    pub const fn gpu(&self) -> &Gpu {
        &self.engine.gpu
    }

    /// Updates made or skipped so far; recorded ones, and that of a call whose future was dropped, count after
    /// [`GpuTrainer::sync`] or the next step.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.state.steps
    }

    /// What the training steps have taught the solves that follow, evaluations too. Checkpoints keep it.
    ///
    /// # Errors
    /// [`Error::DeviceLost`].
    pub async fn learnt(&mut self) -> Result<Learnt> {
        self.engine.read_learnt().await
    }

    /// Goes on with what other solves have taught.
    ///
    /// # Errors
    /// [`Error::Argument`] for numbers that solves cannot have taught; what was learnt stays then.
    pub fn set_learnt(&mut self, learnt: Learnt) -> Result<()> {
        learnt.validate()?;
        self.engine.write_learnt(learnt);
        Ok(())
    }

    /// Bytes that training holds on the device now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.engine.bytes(self.held.as_ref().map(AsRef::as_ref))
    }

    /// Bytes on the device that a training step on `batch` trajectories needs when `steps` steps are accepted.
    #[must_use]
    pub fn workspace(&self, batch: usize, steps: usize) -> u64 {
        self.engine.needed(&self.engine.sizes(batch, steps, self.purpose()))
    }

    /// Replaces the model's parameters; the optimizer's state stays.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::NonFinite`] for parameters that cannot be the model's.
    pub fn set_parameters(&mut self, theta: &[f32]) -> Result<()> {
        Error::check_len("theta", theta.len(), self.engine.parameters, || "the model's parameter_count()".into())?;
        check_finite("theta", theta)?;
        self.engine.gpu.queue.write_buffer(&self.engine.theta, 0, bytemuck::cast_slice(theta));
        Ok(())
    }

    /// Reads the model's parameters back.
    ///
    /// # Errors
    /// [`Error::DeviceLost`].
    pub async fn parameters(&mut self) -> Result<Vec<f32>> {
        let theta = self.engine.theta.clone();
        let count = self.engine.parameters;
        Ok(self.engine.read(&[(&theta, 0, count)]).await?.swap_remove(0))
    }

    /// One training step: solve, loss, penalty, gradient, update.
    ///
    /// # Errors
    /// As [`Trainer::step`](crate::Trainer::step), and [`Error::Memory`], [`Error::DeviceLost`].
    pub async fn step(&mut self, batch: &Batch<'_, f32>) -> Result<StepReport> {
        self.note_recorded().await?;
        let count = self.load(batch, self.purpose()).await?;
        self.train(count, true).await
    }

    /// As [`GpuTrainer::step`], on the given samples of a data set on the device.
    ///
    /// # Errors
    /// As [`GpuTrainer::step`]; [`Error::Argument`] for an index beyond the data set.
    pub async fn step_on(&mut self, data: &GpuData, samples: &[u32]) -> Result<StepReport> {
        self.note_recorded().await?;
        self.gather(data, samples, self.purpose()).await?;
        self.train(samples.len(), true).await
    }

    /// Loss, penalty, gradient and costs of a batch at the current step, without an update.
    ///
    /// # Errors
    /// As [`GpuTrainer::step`].
    pub async fn gradients(&mut self, batch: &Batch<'_, f32>) -> Result<StepGradients<f32>> {
        self.note_recorded().await?;
        let count = self.load(batch, self.purpose()).await?;
        let mut report = self.train(count, false).await?;
        let gradient = self.read_gradient().await?;
        report.gradient_norm = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        Ok(StepGradients { report, gradient })
    }

    /// Evaluates the model on a batch. Never regularizes.
    ///
    /// # Errors
    /// As [`GpuTrainer::step`], but failed trajectories are counted, not an error.
    pub async fn evaluate(&mut self, batch: &Batch<'_, f32>) -> Result<Evaluation> {
        let count = self.load(batch, Purpose::FORWARD).await?;
        let outcome = self.solve_and_measure(count, self.state.evaluation_paths(0), true).await?;
        Ok(evaluation(&self.engine, &outcome, count))
    }

    /// As [`GpuTrainer::evaluate`], on the given samples of a data set on the device.
    ///
    /// # Errors
    /// As [`GpuTrainer::step_on`].
    pub async fn evaluate_on(&mut self, data: &GpuData, samples: &[u32]) -> Result<Evaluation> {
        self.gather(data, samples, Purpose::FORWARD).await?;
        let outcome = self.solve_and_measure(samples.len(), self.state.evaluation_paths(0), true).await?;
        Ok(evaluation(&self.engine, &outcome, samples.len()))
    }

    /// As [`GpuTrainer::evaluate`], of the mean output over `samples` paths of each trajectory; costs are the first path's.
    /// A trajectory of which any path fails has failed.
    ///
    /// # Errors
    /// As [`GpuTrainer::evaluate`], and [`Error::Argument`] for no samples, or [`Loss::Moments`], which is of single
    /// paths.
    pub async fn evaluate_mean(&mut self, batch: &Batch<'_, f32>, samples: usize) -> Result<Evaluation> {
        let mut outputs = self.state.mean_outputs(samples)?;
        let count = self.load(batch, Purpose::FORWARD).await?;
        let mut first = None;
        for sample in 0..samples {
            let outcome = self.solve_and_measure(count, self.state.evaluation_paths(sample), false).await?;
            first.get_or_insert_with(|| costs(&self.engine, &outcome));
            let (of_sample, solved) = self.read_outputs(count).await?;
            outputs.add(&of_sample, solved.into_iter());
        }
        Ok(self.state.evaluate_mean(&outputs, &batch.target, first.unwrap_or_default()))
    }

    /// The model's outputs for a batch of inputs `[B][inputs]`: `[times][B][outputs]`, NaN for trajectories that fail.
    /// Never regularizes.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::NonFinite`] for inputs that do not fit the model; [`Error::DeviceLost`].
    pub async fn predict(&mut self, inputs: &[f32]) -> Result<Vec<f32>> {
        self.predict_along(inputs, self.state.evaluation_paths(0)).await
    }

    /// As [`GpuTrainer::predict`], along the given paths.
    ///
    /// # Errors
    /// As [`GpuTrainer::predict`], and [`Error::Argument`] for paths beyond the last trajectory number.
    pub async fn predict_along(&mut self, inputs: &[f32], paths: Paths) -> Result<Vec<f32>> {
        let count = self.state.config.model.check_inputs(inputs)?;
        paths.validate(count)?;
        self.warn_at(inputs);
        self.reserve(count, Purpose::FORWARD, 0).await?;
        self.engine.gpu.queue.write_buffer(&self.rooms()?.batch.inputs, 0, bytemuck::cast_slice(inputs));
        self.solve_and_measure(count, paths, false).await?;
        Ok(self.read_outputs(count).await?.0)
    }

    /// The solved batch's outputs, NaN for trajectories that failed, and which ones did not.
    async fn read_outputs(&mut self, count: usize) -> Result<(Vec<f32>, Vec<bool>)> {
        let size = count * self.parts.outputs;
        let rooms = self.rooms()?;
        let (outputs, rows) =
            (rooms.batch.outputs(&rooms.engine, &self.parts).clone(), rooms.engine.row_status.clone());
        let mut outputs: Vec<f32> = self.engine.read(&[(&outputs, 0, self.parts.times * size)]).await?.swap_remove(0);
        let rows: Vec<u32> = self.engine.read(&[(&rows, 0, count)]).await?.swap_remove(0);
        let solved: Vec<bool> = rows.into_iter().map(|code| status(code) == Status::Done).collect();
        for outputs in outputs.chunks_exact_mut(size) {
            let failed = outputs.chunks_exact_mut(self.parts.outputs).zip(&solved);
            for (row, _) in failed.filter(|(_, solved)| !**solved) {
                row.fill(f32::NAN);
            }
        }
        Ok((outputs, solved))
    }

    /// Writes a checkpoint, as [`Trainer::save`](crate::Trainer::save) does: either engine goes on from it.
    ///
    /// # Errors
    /// As [`Trainer::save`](crate::Trainer::save), and [`Error::DeviceLost`].
    pub async fn save(&mut self, path: &Path, metadata: &BTreeMap<String, String>) -> Result<()> {
        self.note_recorded().await?;
        let (theta, state) = self.read_state().await?;
        let learnt = self.engine.read_learnt().await?;
        checkpoint::save(path, &self.state, learnt, &theta, Some(&state), metadata)
    }

    /// As [`GpuTrainer::save`], without the optimizer's moments.
    ///
    /// # Errors
    /// As [`GpuTrainer::save`].
    pub async fn save_weights(&mut self, path: &Path, metadata: &BTreeMap<String, String>) -> Result<()> {
        self.note_recorded().await?;
        let theta = self.parameters().await?;
        let learnt = self.engine.read_learnt().await?;
        checkpoint::save(path, &self.state, learnt, &theta, None, metadata)
    }

    /// Goes on from a checkpoint of either engine at `f32`, as [`Trainer::resume`](crate::Trainer::resume) does; also
    /// returns the caller's metadata.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::Checkpoint`] when it is not a checkpoint, or its tensors do not
    /// fit its configuration, [`Error::Argument`] when its numbers are not `f32`.
    pub fn resume(gpu: &Gpu, path: &Path) -> Result<(Self, BTreeMap<String, String>)> {
        Self::of_loaded(gpu, checkpoint::load(path)?)
    }

    /// As [`GpuTrainer::resume`], with the solver that was chosen for predictions, as
    /// [`Trainer::deployed`](crate::Trainer::deployed) does.
    ///
    /// # Errors
    /// As [`Trainer::deployed`](crate::Trainer::deployed).
    pub fn deployed(gpu: &Gpu, path: &Path) -> Result<(Self, BTreeMap<String, String>)> {
        Self::of_loaded(gpu, checkpoint::load_deployed(path)?)
    }

    fn of_loaded(gpu: &Gpu, loaded: Loaded<f32>) -> Result<(Self, BTreeMap<String, String>)> {
        let mut trainer = Self::new(gpu, loaded.config)?;
        trainer.write_state(&loaded.theta, &loaded.state, loaded.steps);
        trainer.engine.write_learnt(loaded.learnt);
        Ok((trainer, loaded.metadata))
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

    /// Reads the parameters and the optimizer's state back.
    async fn read_state(&mut self) -> Result<(Vec<f32>, OptimizerState<f32>)> {
        let empty = OptimizerState::<f32>::new(&self.state.config.optimizer.rule, self.engine.parameters);
        let counts = [self.engine.parameters, empty.moments[0].len(), empty.moments[1].len()];
        let [first, second] = self.parts.moments.clone();
        let theta = self.engine.theta.clone();
        let read = [(&theta, 0, counts[0]), (&first, 0, counts[1]), (&second, 0, counts[2])];
        let mut arrays = self.engine.read::<f32>(&read).await?.into_iter();
        let mut next = || arrays.next().unwrap_or_default();
        let theta = next();
        Ok((theta, OptimizerState { step: self.updates, moments: [next(), next()] }))
    }

    /// Says how many iterations the adapter's loops run.
    #[cfg(test)]
    pub(crate) const fn set_iterations(&mut self, iterations: usize) {
        self.engine.iterations = iterations;
    }

    /// Cuts steps into smaller submissions than is usual.
    #[cfg(test)]
    pub(crate) const fn set_submission(&mut self, share: f64) {
        self.engine.submission = share;
    }

    fn write_state(&mut self, theta: &[f32], state: &OptimizerState<f32>, steps: u64) {
        let queue = &self.engine.gpu.queue;
        queue.write_buffer(&self.engine.theta, 0, bytemuck::cast_slice(theta));
        for (buffer, moment) in self.parts.moments.iter().zip(&state.moments) {
            queue.write_buffer(buffer, 0, bytemuck::cast_slice(moment));
        }
        (self.state.steps, self.updates) = (steps, state.step);
        let outcome = Outcome { updates: low(state.step), steps: low(steps), ..Outcome::default() };
        queue.write_buffer(&self.engine.outcome, 0, bytemuck::bytes_of(&outcome));
    }

    fn purpose(&self) -> Purpose {
        Purpose { backward: true, penalty: self.state.penalty_at(self.state.steps) }
    }

    /// Checks a batch and sends it; the number of its trajectories.
    async fn load(&mut self, batch: &Batch<'_, f32>, purpose: Purpose) -> Result<usize> {
        let count = self.state.check(batch)?;
        self.warn_at(batch.inputs);
        self.reserve(count, purpose, 0).await?;
        let queue = &self.engine.gpu.queue;
        let buffers = &self.rooms()?.batch;
        queue.write_buffer(&buffers.inputs, 0, bytemuck::cast_slice(batch.inputs));
        match batch.target {
            Target::Labels(labels) => queue.write_buffer(&buffers.targets, 0, bytemuck::cast_slice(labels)),
            Target::States(states) => queue.write_buffer(&buffers.targets, 0, bytemuck::cast_slice(states)),
            Target::Moments { means, variances } => {
                queue.write_buffer(&buffers.targets, 0, bytemuck::cast_slice(means));
                let after = size_of_val(means) as u64;
                queue.write_buffer(&buffers.targets, after, bytemuck::cast_slice(variances));
            }
        }
        Ok(count)
    }

    /// Has the engine look at inputs that are initial states.
    fn warn_at(&self, inputs: &[f32]) {
        if self.parts.encoder.is_none() {
            self.engine.warn_at(inputs);
        }
    }

    /// Attempts and walk segments to record, from what the last step took.
    fn expected(&self, rooms: &Rooms, plans: &TrainPlans) -> [usize; 2] {
        [
            self.engine.expected_attempts(rooms.engine.sizes.purpose),
            (self.engine.accepted + 1).div_ceil(plans.walk.stride),
        ]
    }

    /// The parameters of the next steps and updates, for the device to take.
    fn params(&self, entries: usize) -> Vec<Params> {
        let entry = |ahead: u64| {
            let step = self.state.steps + ahead;
            let seed = self.state.config.seed;
            let mut params = Params {
                update: low(self.updates + ahead),
                rates: self.rates(self.updates + ahead),
                ..Params::new(seed, step, self.state.step_paths(step))
            };
            if let Some(penalty) = self.state.penalty_at(step) {
                self.engine.set_draws(&mut params, &Draws::new(penalty, seed, step));
            }
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
    fn record_step(
        &self,
        to: &mut Submissions<'_>,
        rooms: &Rooms,
        plans: &TrainPlans,
        [attempts, segments]: [usize; 2],
        update: bool,
    ) {
        self.encode_inputs(rooms, to.encoder());
        to.record(&plans.prologue, 1, 0.0);
        let work = self.engine.work_of_a_plan(rooms.engine.sizes.purpose);
        to.record(&plans.solve.start, 1, work);
        to.record(&plans.solve.attempt, attempts, work);
        self.record_tail(to, rooms, plans, segments, update);
    }

    /// Inputs that are initial states go to the tape.
    fn encode_inputs(&self, rooms: &Rooms, encoder: &mut wgpu::CommandEncoder) {
        if self.parts.encoder.is_none() {
            let bytes = 4 * (self.engine.batch * self.engine.dim()) as u64;
            let (inputs, tape) = (&rooms.batch.inputs, &rooms.engine.tape);
            encoder.copy_buffer_to_buffer(inputs, 0, tape, self.engine.start_of_tape(), bytes);
        }
    }

    /// What follows the solve: loss, penalty, walk and update.
    fn record_tail(&self, to: &mut Submissions<'_>, rooms: &Rooms, plans: &TrainPlans, segments: usize, update: bool) {
        self.engine.clear_gradient(&rooms.engine, to.encoder());
        to.encoder().clear_buffer(&self.parts.overflow, 0, None);
        // A step and its vector-Jacobian product cost what four attempts do.
        let step = 4.0 * self.engine.attempt_work();
        let probes = rooms.engine.penalty().map_or(0, |p| p.times);
        let steps = plans.walk.stride.min(self.engine.accepted.max(1));
        to.record(&plans.solve.finish, 1, 0.0);
        to.record(&plans.loss, 1, step * probes as f64);
        to.record(&plans.walk.begin, 1, 0.0);
        to.record(&plans.walk.segment, segments, step * steps as f64);
        to.record(&plans.walk.end, 1, 0.0);
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
                self.grow().await?;
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
                to.record(&plans.solve.attempt, self.engine.more_attempts(), self.engine.work_of_a_plan(purpose));
            }
            self.record_tail(&mut to, self.rooms()?, &plans, segments, update);
            drop(to);
            recorded = if outcome.unfinished > 0 { 0 } else { segments };
            outcome = self.engine.submit_for_outcome(encoder).await?;
            outcome.check()?;
        }
        self.conclude(outcome, count, update).await
    }

    /// Takes note of a finished step.
    async fn conclude(&mut self, outcome: Outcome, count: usize, update: bool) -> Result<StepReport> {
        self.engine.attempts = (outcome.accepted + outcome.rejected) as usize;
        self.engine.accepted = outcome.most_accepted as usize;
        let before = self.state.steps;
        if update {
            self.settle(&outcome, count).await?;
        } else {
            self.judge(&outcome, count).await?;
        }
        Ok(self.report(&outcome, before))
    }

    /// Counts a step that the device made or skipped.
    async fn settle(&mut self, outcome: &Outcome, count: usize) -> Result<()> {
        let judged = self.judge(outcome, count).await;
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
    fn take_entries(&mut self, count: isize) {
        if let Some(slice) = self.held.as_mut().and_then(|held| held.plans.slice.as_mut()) {
            slice.taken = slice.taken.saturating_add_signed(count);
        }
    }

    /// An error where the failure policy says so.
    async fn judge(&mut self, outcome: &Outcome, count: usize) -> Result<()> {
        let first = || (outcome.first_failed as usize, status(outcome.first_status));
        self.state.allow(outcome.failed as usize, count, (outcome.failed > 0).then(first))?;
        if outcome.skipped == Verdict::Aborted {
            let gradient = self.read_gradient().await?;
            return Err(self.state.diverged(self.updates, &gradient));
        }
        Ok(())
    }

    /// The report of the step after `before` others.
    fn report(&self, outcome: &Outcome, before: u64) -> StepReport {
        // A coefficient that follows a budget is known to the device alone.
        let penalty = self.state.penalty_at(before).map(|penalty| match penalty.budget {
            Some(_) => StepPenalty { coefficient: f64::from(outcome.coefficient), ..penalty },
            None => penalty,
        });
        StepReport {
            loss: f64::from(outcome.loss),
            penalty: f64::from(outcome.penalty),
            gradient_norm: f64::from(outcome.gradient_norm),
            products: outcome.most_accepted as usize * self.engine.products_per_step(self.state.penalty_at(before)),
            failed: outcome.failed as usize,
            skipped: outcome.skipped == Verdict::Skipped,
            budget_unreachable: outcome.unreachable != 0,
            ..self.state.report(before, costs(&self.engine, outcome), penalty.as_ref())
        }
    }

    async fn read_gradient(&mut self) -> Result<Vec<f32>> {
        let gradient = self.rooms()?.engine.gradient.clone();
        let count = self.engine.parameters;
        Ok(self.engine.read(&[(&gradient, 0, count)]).await?.swap_remove(0))
    }

    /// Solves the loaded batch along `paths`, and measures the loss if that is asked for.
    async fn solve_and_measure(&mut self, count: usize, paths: Paths, loss: bool) -> Result<Outcome> {
        let plans = self.evaluation_plans(count).await?;
        let rooms = self.rooms()?;
        let purpose = rooms.engine.sizes.purpose;
        self.engine.use_paths(paths, &rooms.engine);
        let mut encoder = self.engine.encoder();
        self.encode_inputs(rooms, &mut encoder);
        let mut begun = false;
        let mut attempts = self.engine.expected_attempts(purpose);
        loop {
            {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                    label: Some("evaluation"),
                    timestamp_writes: None,
                });
                if !begun {
                    plans.prologue.encode(&mut pass);
                    plans.solve.start.encode(&mut pass);
                }
                for _ in 0..attempts.min(self.engine.plans_per_submission(purpose)) {
                    plans.solve.attempt.encode(&mut pass);
                }
                plans.solve.finish.encode(&mut pass);
                plans.outputs.encode(&mut pass);
                if loss {
                    plans.loss.encode(&mut pass);
                }
            }
            begun = true;
            let outcome = self.engine.submit_for_outcome(encoder).await?;
            outcome.check()?;
            if outcome.unfinished == 0 {
                self.engine.attempts = (outcome.accepted + outcome.rejected) as usize;
                return Ok(outcome);
            }
            attempts = self.engine.more_attempts();
            encoder = self.engine.encoder();
        }
    }
}

/// What a trainer holds on the device besides its engine: two moments and the schedule; and of each trajectory inputs,
/// targets, outputs with their cotangents, and a loss.
fn owned(model: &NeuralDe) -> Owner {
    const NUMBER: Size = Size(4);
    let outputs = Size(model.output_times()) * model.output_width();
    Owner {
        bytes: 2 * NUMBER * model.parameter_count() + 2 * size_of::<Params>() + 2 * NUMBER * outputs,
        row: NUMBER * (Size(model.input_width()) + 3 * outputs + 2),
    }
}

/// Costs of a finished solve.
fn costs(engine: &Engine, outcome: &Outcome) -> Costs {
    let [nfe, accepted, rejected] = [outcome.nfe, outcome.accepted, outcome.rejected].map(|n| n as usize);
    Costs {
        nfe,
        nfe_diffusion: engine.nfe_diffusion(nfe, accepted + rejected),
        accepted,
        rejected,
        ideal_steps: engine.safety().map(|_| f64::from(outcome.ideal)),
    }
}

fn evaluation(engine: &Engine, outcome: &Outcome, count: usize) -> Evaluation {
    let (loss, correct) = (f64::from(outcome.loss), outcome.correct as usize);
    costs(engine, outcome).evaluation(count, outcome.failed as usize, loss, correct)
}

#[expect(clippy::cast_possible_truncation, reason = "the device computes at f32")]
const fn single(x: f64) -> f32 {
    x as f32
}

#[expect(clippy::cast_possible_truncation, reason = "the device counts in 32 bits, modulo their range")]
const fn low(n: u64) -> u32 {
    n as u32
}
