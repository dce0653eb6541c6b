//! [`GpuTrainer`]: one call a training step, on a device.

use super::drawn::{LatentBuffers, repeated};
use super::encoder::Encoder;
use super::frozen::FrozenMask;
use super::held::{Plans, Rooms};
use super::map::Map;
use super::plans::{Parts, Schedule, numbers_of_a_loss, per_target};
use super::shares::Shares;
use crate::error::{Error, Result};
use crate::gpu::{
    Around, CLASSES, Controls, Engine, Gpu, Held, Outcome, Owner, Params, Purpose, check_penalty, create,
};
use crate::math::check_finite;
use crate::memory::Size;
use crate::method::{Hooks, Learnt, Loss, Streams, Target};
use crate::problem::Times;
use crate::train::batches::Batch;
use crate::train::config::TrainerConfig;
use crate::train::drawing::Drawing;
use crate::train::optimizer::OptimizerState;
use crate::train::report::Costs;
use crate::train::state::TrainingState;
use crate::train::state_map::End;

/// Trains a model on a device, at `f32`: the twin of [`Trainer`](crate::Trainer). The checkpoints are the same.
///
/// Solve, loss, penalty, adjoint and update are one submission, or several where they would keep the device busy for too
/// long; the host reads 128 bytes back once a step.
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
    pub(super) state: TrainingState,
    pub(super) engine: Engine,
    pub(super) parts: Parts,
    /// What it has for its batches, since the first one was loaded.
    pub(super) held: Option<Held<Rooms, Plans>>,
    /// Updates made with the optimizer's present moments.
    pub(super) updates: u64,
    /// Whether steps were recorded into an application's encoder, so that the device is ahead.
    pub(super) embedded: bool,
    /// Whether a step was submitted of which the host has not heard yet: its future was dropped, if no call is under way.
    pub(super) unheard: bool,
    /// What drives the model.
    pub(super) controls: Controls,
    /// Times of trajectories' own that batches were given; and the data set whose samples' are at hand instead.
    pub(super) times: Option<Times>,
    pub(super) lent: Option<u64>,
}

/// What a batch is loaded for, and how what is random in it is drawn.
#[derive(Debug)]
pub(super) struct BatchUse {
    pub(super) purpose: Purpose,
    /// By which a flow estimates traces.
    pub(super) signs: Streams,
    pub(super) drawing: Drawing,
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
        let (encoder, head) = (Encoder::of(model)?, Map::of(model, End::Head)?);
        let widest = encoder.iter().map(Encoder::widest).chain(head.iter().map(Map::widest)).max().unwrap_or(0);
        let parameters = model.parameter_count();
        let around = Around {
            parameters,
            offset: model.field_offset(),
            widest,
            owner: owned(config, (encoder.as_ref(), head.as_ref()), model.output_times(), false),
        };
        let mut engine = Engine::new(gpu, &model.problem, &model.options, around)?;
        engine.schedule_measures(&config.regularizer)?;
        if config.loss == Loss::CrossEntropy && model.output_width() > CLASSES {
            let remedy = format!("a device tells at most {CLASSES} classes apart: use fewer, or Trainer");
            return Err(Error::argument("classes", model.output_width(), remedy));
        }
        let frozen = FrozenMask::new(gpu, &model.frozen(), parameters)?;
        let moments =
            gpu.scoped_now(|| ["moment1", "moment2"].map(|name| create(gpu, name, 4 * parameters as u64, false)))?;
        let parts = Parts {
            encoder,
            head,
            times: model.output_times(),
            outputs: model.output_width(),
            inputs: model.fed_width(),
            drawn: if model.latent { model.problem.dim() } else { 0 },
            weighed: false,
            importance: config.elbo.importance,
            moments,
            overflow: gpu.scoped_now(|| create(gpu, "overflow", 4, false))?,
            outcomes: gpu.scoped_now(|| {
                ["own outcome", "found outcome"].map(|name| create(gpu, name, size_of::<Outcome>() as u64, false))
            })?,
            frozen,
            schedule: gpu.scoped_now(|| Schedule::new(gpu, 2))?,
        };
        let controls = Controls::new(&model.problem, ["GpuTrainer::step", "GpuTrainer::set_control"]);
        let (held, times, lent) = (None, None, None);
        let (updates, embedded, unheard) = (0, false, false);
        let mut trainer = Self { engine, parts, held, updates, embedded, unheard, controls, times, lent, state };
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

    /// Bytes on the device that a training step on `batch` samples needs when `steps` steps are accepted, as
    /// [`Trainer::workspace`](crate::Trainer::workspace); targets have weights if those of the last batch had.
    #[must_use]
    pub fn workspace(&self, batch: usize, steps: usize) -> u64 {
        self.engine.needed(&self.engine.sizes(self.state.trajectories(batch), steps, self.purpose()))
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
        let [theta] = self.engine.read([(&theta, 0, count)]).await?;
        Ok(theta)
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

    pub(super) fn purpose(&self) -> Purpose {
        self.purpose_at(self.state.steps)
    }

    /// What the solve of the training step after `step` others is for.
    pub(super) fn purpose_at(&self, step: u64) -> Purpose {
        let Hooks { penalty, global, pointwise: points, .. } = self.state.hooks_at(step);
        Purpose { backward: true, penalty, global, points }
    }

    /// What a training step at hand, or an evaluation, loads its batch for.
    pub(super) fn asked(&self, training: bool) -> BatchUse {
        let (state, step) = (&self.state, self.state.steps);
        if training {
            BatchUse { purpose: self.purpose(), signs: state.step_signs(step), drawing: state.step_drawing(step) }
        } else {
            BatchUse { purpose: Purpose::FORWARD, signs: state.evaluation_signs(), drawing: Drawing::NONE }
        }
    }

    /// Checks a batch and sends it, for a training step or an evaluation; the number of its trajectories.
    pub(super) async fn load(&mut self, batch: &Batch<'_, f32>, training: bool) -> Result<usize> {
        self.take_times_back()?;
        let BatchUse { purpose, signs, drawing } = self.asked(training);
        let (samples, sums) = self.state.check(batch)?;
        let count = samples.saturating_mul(drawing.copies);
        self.warn_at(batch.inputs);
        self.weigh(self.is_weighed(&batch.target));
        self.check_own_times(samples, purpose)?;
        self.aim(count, purpose)?;
        self.reserve(count, purpose, 0).await?;
        self.send_normals(count, drawing)?;
        self.engine.use_times(&self.rooms()?.engine, drawing.copies);
        let queue = &self.engine.gpu.queue;
        let buffers = &self.rooms()?.batch;
        let states = self.state.config.model.initial_states(batch.inputs, signs);
        let states = repeated(&states, self.parts.inputs, drawing.copies);
        queue.write_buffer(&buffers.inputs, 0, bytemuck::cast_slice(&states));
        let outputs = self.parts.outputs;
        let send_rows = |numbers: &[f32], width: usize, after: usize| {
            let numbers = repeated(numbers, width, drawing.copies);
            queue.write_buffer(&buffers.targets, 4 * (drawing.copies * after) as u64, bytemuck::cast_slice(&numbers));
        };
        let send = |numbers: &[f32], after: usize| send_rows(numbers, outputs, after);
        match batch.target {
            Target::Nothing => {}
            Target::Labels(labels) => {
                let labels = repeated(labels, 1, drawing.copies);
                queue.write_buffer(&buffers.targets, 0, bytemuck::cast_slice(&labels));
            }
            Target::States(states) | Target::Observed { states, .. } => {
                send(states, 0);
                if let Some(Shares { of_numbers, sums }) = self.shares_of(&batch.target, samples, sums) {
                    send(&of_numbers, of_numbers.len());
                    send_rows(&sums, 1, 2 * of_numbers.len());
                }
            }
            Target::Moments { means, variances } => {
                send(means, 0);
                send(variances, means.len());
            }
        }
        Ok(count)
    }

    /// Takes note of whether the targets at hand have weights.
    pub(super) fn weigh(&mut self, weighed: bool) {
        self.parts.weighed = weighed;
        let Parts { encoder, head, times, .. } = &self.parts;
        self.engine.owner = owned(&self.state.config, (encoder.as_ref(), head.as_ref()), *times, weighed);
    }

    /// Has the engine look at inputs that are initial states.
    pub(super) fn warn_at(&self, inputs: &[f32]) {
        if self.parts.encoder.is_none() {
            self.engine.warn_at(inputs, self.state.config.model.input_width());
        }
    }
}

/// What a trainer holds on the device besides its engine: two moments, what is frozen, and the schedule; and of each trajectory inputs,
/// targets, weights if those are `weighed`, outputs with their cotangents, a loss, and what encoder and head compute in.
fn owned(
    config: &TrainerConfig,
    (encoder, head): (Option<&Encoder>, Option<&Map>),
    times: usize,
    weighed: bool,
) -> Owner {
    const NUMBER: Size = Size(4);
    let model = &config.model;
    let outputs = Size(times) * model.output_width();
    let (targets, losses) = (per_target(weighed) * outputs + 1, numbers_of_a_loss(config.elbo.importance));
    let drawn = if model.latent { LatentBuffers::row(model.problem.dim()) } else { 0 };
    let encoder = encoder.map_or(Size(0), Encoder::row);
    let head = head.map_or(Size(0), Map::row);
    Owner {
        bytes: 2 * NUMBER * model.parameter_count()
            + FrozenMask::bytes(&model.frozen(), model.parameter_count())
            + 2 * (size_of::<Params>() + size_of::<Outcome>())
            + 2 * NUMBER * outputs,
        row: NUMBER * (Size(model.fed_width()) + targets + 2 * outputs + losses + drawn + encoder + head * times),
    }
}

/// Costs of a finished solve.
pub(super) fn costs(engine: &Engine, outcome: &Outcome) -> Costs {
    let [nfe, accepted, rejected] = [outcome.nfe, outcome.accepted, outcome.rejected].map(|n| n as usize);
    Costs {
        nfe,
        nfe_diffusion: engine.nfe_diffusion(nfe, accepted + rejected),
        accepted,
        rejected,
        ideal_steps: engine.safety().map(|_| f64::from(outcome.ideal)),
        encoder_nfe: None,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the device counts in 32 bits, modulo their range")]
pub(super) const fn low(n: u64) -> u32 {
    n as u32
}
