//! [`Trainer`]: one call a training step, on the native engine.

mod evaluate;
mod files;
mod step;

use super::config::TrainerConfig;
use super::drawing::Drawing;
use super::optimizer::{Frozen, OptimizerState};
use super::state::TrainingState;
use super::state_map::End;
use super::times::StepTimes;
use crate::cpu::{Cpu, Encoder, Engine, Map, Owner, Recurrent, Scalar};
use crate::error::{Error, Result};
use crate::math::check_finite;
use crate::memory::{self, Size};
use crate::method::{Learnt, Streams};
use crate::problem::Times;

/// Trains a model on the native engine.
///
/// ```
/// use fewsteps::{Batch, Cpu, Local, Loss, Mlp, NeuralDe, Problem, SolverOptions, Target, Trainer, TrainerConfig};
/// # fn main() -> fewsteps::Result<()> {
/// let model = NeuralDe::new(Problem::ode(Mlp::new([2, 16, 2]), 0.0, 1.0), SolverOptions::default());
/// let config = TrainerConfig::new(model, Loss::Mse).regularizer(Local::unbiased().coefficient(0.01));
/// let mut trainer = Trainer::<f32>::new(&Cpu::new()?, config)?;
/// let batch = Batch { inputs: &[1.0, 0.0, 0.0, 1.0], target: Target::States(&[0.0, 1.0, 1.0, 0.0]) };
/// for _ in 0..10 {
///     let report = trainer.step(&batch)?;
///     println!("loss {:.4}, penalty {:.3}, NFE {}", report.loss, report.penalty, report.nfe);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Trainer<R: Scalar> {
    state: TrainingState,
    engine: Engine<R>,
    encoder: Option<Encoder<R>>,
    head: Option<Map<R>>,
    theta: Vec<R>,
    gradient: Vec<R>,
    moments: OptimizerState<R>,
    frozen: Frozen<R>,
    /// What the last gradient's solve has to teach, until the update that it is for.
    seen: Seen,
    /// Those of the next solve.
    signs: Streams,
    /// How its initial states are drawn.
    drawing: Drawing,
    /// What the last step spent its time with.
    times: StepTimes,
}

/// What a training step's solve has to teach.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    wish: Option<f64>,
    ideal: Option<f64>,
    /// Evaluations, and ideal steps.
    cost: Option<(usize, f64)>,
}

impl<R: Scalar> Trainer<R> {
    /// A trainer with freshly drawn parameters.
    ///
    /// # Errors
    /// [`Error::Argument`] naming what does not fit in the configuration.
    pub fn new(cpu: &Cpu, config: TrainerConfig) -> Result<Self> {
        let state = TrainingState::new::<R>(config)?;
        let TrainerConfig { model, optimizer, seed, .. } = &state.config;
        let parameters = model.parameter_count();
        // Sizes are compared with limits before anything is packed, and the exact ones are known then.
        let around = 2 * Size(parameters.saturating_sub(model.problem.parameter_count()));
        let owner = Owner { bytes: (4 * Size(parameters) + around).bytes::<R>(), ..Owner::default() };
        let (problem, options) = (&model.problem, &model.options);
        let mut engine = Engine::new(cpu.workers(), problem, options, parameters, model.field_offset(), owner)?;
        engine.check_measures(&state.config.regularizer)?;
        let map = |end| model.field_of(end).map(|(field, first)| Map::<R>::new(&field, first)).transpose();
        let encoder = match model.recurrent() {
            Some(encoder) => Some(Encoder::Recurrent(Box::new(Recurrent::new(encoder)?))),
            None => map(End::Encoder)?.map(|map| Encoder::Map(Box::new(map))),
        };
        let head = map(End::Head)?;
        engine.owner = owned(parameters, encoder.as_ref(), head.as_ref());
        Ok(Self {
            engine,
            encoder,
            head,
            theta: model.initialize(*seed),
            gradient: memory::zeros("the gradient", parameters)?,
            moments: OptimizerState::new(&optimizer.rule, parameters),
            frozen: Frozen::new(model.frozen()),
            seen: Seen::default(),
            signs: state.evaluation_signs(),
            drawing: Drawing::NONE,
            times: StepTimes::default(),
            state,
        })
    }

    /// The configuration.
    #[must_use]
    pub const fn config(&self) -> &TrainerConfig {
        &self.state.config
    }

    /// What the last training step, or gradient, spent its time with.
    ///
    /// ```
    /// # use fewsteps::{Batch, Cpu, Loss, Mlp, NeuralDe, Problem, SolverOptions, Target, Trainer, TrainerConfig};
    /// # fn main() -> fewsteps::Result<()> {
    /// # let model = NeuralDe::new(Problem::ode(Mlp::new([2, 16, 2]), 0.0, 1.0), SolverOptions::default());
    /// # let mut trainer = Trainer::<f32>::new(&Cpu::new()?, TrainerConfig::new(model, Loss::Mse))?;
    /// trainer.step(&Batch { inputs: &[1.0, 0.0], target: Target::States(&[0.0, 1.0]) })?;
    /// for (part, time) in trainer.step_times().parts() {
    ///     println!("{part}: {time:?}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn step_times(&self) -> StepTimes {
        self.times
    }

    /// The engine.
    pub(super) fn cpu(&self) -> Cpu {
        self.engine.cpu()
    }

    /// Updates made or skipped so far.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.state.steps
    }

    /// The model's parameters.
    #[must_use]
    pub fn parameters(&self) -> &[R] {
        &self.theta
    }

    /// Replaces the model's parameters; the optimizer's state stays.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::NonFinite`] for parameters that cannot be the model's.
    pub fn set_parameters(&mut self, theta: &[R]) -> Result<()> {
        Error::check_len("theta", theta.len(), self.theta.len(), || "the model's parameter_count()".into())?;
        check_finite("theta", theta)?;
        self.theta.copy_from_slice(theta);
        Ok(())
    }

    /// Sets the values of a control at its knots, for the batches after this one: `[T][rows]` for all trajectories alike, or
    /// `[B][T][rows]` for each its own. Those of each trajectory belong to the samples of a batch: gather them with its inputs
    /// and targets.
    ///
    /// ```
    /// use fewsteps::{Batch, Batches, Control, Cpu, Field, Loss, NeuralDe, Optimizer, Problem, Schedule, SolverOptions};
    /// use fewsteps::{Target, Trainer, TrainerConfig};
    /// # fn main() -> fewsteps::Result<()> {
    /// // Doses are known, and how fast they decay is to be learnt.
    /// let field = Field::build(1, |f| f.control("dose") - f.positive("rate", &[0.2]) * f.state())?;
    /// let problem = Problem::ode(field, 0.0, 2.0).driven_by(Control::constant("dose"));
    /// let model = NeuralDe::new(problem, SolverOptions::default());
    /// let config = TrainerConfig::new(model, Loss::Mse).optimizer(Optimizer::adam(Schedule::constant(0.05)));
    /// let mut trainer = Trainer::<f64>::new(&Cpu::new()?, config)?;
    /// let doses = [0.5, 1.0, 1.5, 2.0, 2.5, 3.0];
    /// let level = |dose: f64| dose * (1.0 - (-0.7 * 2.0_f64).exp()) / 0.7;
    /// let mut batches = Batches::new(doses.len(), 3, 0)?;
    /// for step in 0..200 {
    ///     let dose: Vec<f64> = batches.at(step).iter().map(|sample| doses[*sample]).collect();
    ///     let levels: Vec<f64> = dose.iter().map(|dose| level(*dose)).collect();
    ///     trainer.set_control("dose", &dose)?;
    ///     trainer.step(&Batch { inputs: &[0.0; 3], target: Target::States(&levels) })?;
    /// }
    /// let rate = trainer.config().model.problem.field.values("rate", trainer.parameters())?[0];
    /// assert!((rate - 0.7).abs() < 1e-3, "{rate}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Argument`] for a name that the model's problem has not, [`Error::Shape`] for values of another length,
    /// [`Error::NonFinite`] for values that are not finite.
    pub fn set_control(&mut self, name: &str, values: &[R]) -> Result<()> {
        self.engine.set_control(name, values)
    }

    /// Gives the trajectories of the batches after this one intervals and saved times of their own, a row each, in the place of
    /// the problem's interval and of its saved times; `None` takes them back. They belong to the samples of a batch: select
    /// them with its inputs and targets. See [`Solver::set_times`](crate::Solver::set_times).
    ///
    /// Outputs, and targets, are `[slots][B][outputs]` with as many slots as the longest row has times. Cells beyond a row's
    /// own are not read: the loss of a row is the mean over its own times, that of a batch the mean over rows.
    /// [`Loss::CrossEntropy`](crate::Loss::CrossEntropy) is of each row's last time.
    ///
    /// ```
    /// use fewsteps::{Batch, Batches, Cpu, Field, Layout, Loss, NeuralDe, Optimizer, Problem, Schedule, SolverOptions};
    /// use fewsteps::{Target, Times, Trainer, TrainerConfig};
    /// # fn main() -> fewsteps::Result<()> {
    /// // Each sample was observed when there was time to.
    /// let field = Field::build(1, |f| -f.positive("rate", &[0.2]) * f.state())?;
    /// let options = SolverOptions::default().layout(Layout::Ensemble);
    /// let config = TrainerConfig::new(NeuralDe::new(Problem::ode(field, 0.0, 1.0), options), Loss::Mse)
    ///     .optimizer(Optimizer::adam(Schedule::constant(0.05)));
    /// let mut trainer = Trainer::<f64>::new(&Cpu::new()?, config)?;
    /// let observed = Times::series(&[vec![0.0, 0.3, 2.0], vec![1.0, 1.5], vec![0.5, 0.6, 0.7, 0.8], vec![0.0]])?;
    /// let value = |row: usize, t: f64| (-0.7 * (t - observed.span(row)[0])).exp();
    /// let mut batches = Batches::new(observed.rows(), 2, 0)?;
    /// for step in 0..300 {
    ///     let samples = batches.at(step);
    ///     let times = observed.select(samples)?;
    ///     let mut target = vec![f64::NAN; times.slots() * samples.len()];
    ///     for (row, sample) in samples.iter().enumerate() {
    ///         for (slot, t) in times.saved(row).iter().enumerate() {
    ///             target[slot * samples.len() + row] = value(*sample, *t);
    ///         }
    ///     }
    ///     trainer.set_times(Some(times))?;
    ///     trainer.step(&Batch { inputs: &[1.0; 2], target: Target::States(&target) })?;
    /// }
    /// let rate = trainer.config().model.problem.field.values("rate", trainer.parameters())?[0];
    /// assert!((rate - 0.7).abs() < 1e-3, "{rate}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Solver::set_times`](crate::Solver::set_times), and [`Error::Argument`] for [`Loss::Moments`](crate::Loss::Moments) and
    /// [`Loss::NegativeLogLikelihood`](crate::Loss::NegativeLogLikelihood).
    pub fn set_times(&mut self, times: Option<Times>) -> Result<()> {
        self.state.check_times(times.as_ref())?;
        self.engine.set_times(times.clone())?;
        self.state.times = times;
        Ok(())
    }

    /// Takes over the values of another trainer's controls that this one's model has too.
    pub(super) fn follow_controls(&mut self, other: &Self) {
        self.engine.follow_controls(&other.engine);
    }

    /// What the training steps have taught the solves that follow, evaluations too. Checkpoints keep it.
    #[must_use]
    pub const fn learnt(&self) -> Learnt {
        self.engine.learnt
    }

    /// Goes on with what other solves have taught.
    ///
    /// # Errors
    /// [`Error::Argument`] for numbers that solves cannot have taught; what was learnt stays then.
    pub fn set_learnt(&mut self, learnt: Learnt) -> Result<()> {
        learnt.validate()?;
        self.engine.learnt = learnt;
        Ok(())
    }

    /// Bytes that training holds now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        (self.engine.owner.bytes + self.engine.bytes()).0
    }

    /// Bytes that a training step on `batch` samples holds when `steps` steps are accepted; of a latent model each is as many
    /// trajectories as [`Elbo::samples`](crate::Elbo) says.
    #[must_use]
    pub fn workspace(&self, batch: usize, steps: usize) -> crate::solution::Workspace {
        let batch = self.state.trajectories(batch);
        let regularizer = &self.state.config.regularizer;
        let penalised = regularizer.local().map_or(0.0, |local| local.fraction * local.times as f64);
        let mut workspace = self.engine.workspace(batch, steps, true);
        workspace.parameters = (self.engine.owner.bytes + workspace.parameters).0;
        workspace.states = workspace.states.saturating_add(self.engine.probe_bytes(batch, penalised));
        if let Some(global) = regularizer.global() {
            workspace.tape = workspace.tape.saturating_add(self.engine.measured_bytes(batch, steps, global.measure).0);
        }
        let asked = self.state.asked(&self.engine.learnt, self.state.steps);
        workspace.rooms = workspace.rooms.saturating_add(self.engine.point_bytes(batch, &asked).0);
        workspace
    }
}

/// What a trainer holds besides its engine: parameters, gradient, two moments and the weights of encoder and head packed
/// in both directions; and, in the room of each thread, what those are evaluated in.
fn owned<R: Scalar>(parameters: usize, encoder: Option<&Encoder<R>>, head: Option<&Map<R>>) -> Owner {
    let of_encoder = encoder.map_or([0; 2], |encoder| [encoder.packed_bytes(), encoder.room_bytes()]);
    let of_head = head.map_or([0; 2], |head| [head.packed_bytes(), head.room_bytes()]);
    let [packed, room] = [0, 1].map(|n| Size(of_encoder[n]) + of_head[n]);
    Owner { bytes: (4 * Size(parameters)).bytes::<R>() + packed, room }
}
