//! [`Trainer`]: one call a training step, on the native engine.

use std::collections::BTreeMap;
use std::path::Path;

use super::batches::Batch;
use super::checkpoint::{self, Loaded};
use super::config::TrainerConfig;
use super::optimizer::{Frozen, OptimizerState, Update, norm};
use super::report::Costs;
use super::report::{Evaluation, StepGradients, StepReport};
use super::state::{MeanOutputs, TrainingState};
use super::state_map::End;
use crate::cpu::{Cpu, Engine, Map, Owner, Scalar, Task};
use crate::error::{Error, Result, Status};
use crate::math::check_finite;
use crate::memory::{self, Size};
use crate::method::{Asked, Learnt, PenaltyStep, Signs, Target};
use crate::problem::Paths;

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
    encoder: Option<Map<R>>,
    head: Option<Map<R>>,
    theta: Vec<R>,
    gradient: Vec<R>,
    moments: OptimizerState<R>,
    frozen: Frozen<R>,
    /// What the last gradient's solve has to teach, until the update that it is for.
    seen: Seen,
    /// Those of the next solve.
    signs: Signs,
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
        let (encoder, head) = (map(End::Encoder)?, map(End::Head)?);
        engine.owner = owned(parameters, encoder.iter().chain(&head));
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
            state,
        })
    }

    /// The configuration.
    #[must_use]
    pub const fn config(&self) -> &TrainerConfig {
        &self.state.config
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

    /// Bytes that a training step on `batch` trajectories holds when `steps` steps are accepted.
    #[must_use]
    pub fn workspace(&self, batch: usize, steps: usize) -> crate::solution::Workspace {
        let regularizer = &self.state.config.regularizer;
        let penalised = regularizer.local().map_or(0.0, |local| local.fraction * local.times as f64);
        let mut workspace = self.engine.workspace(batch, steps, true);
        workspace.parameters = (self.engine.owner.bytes + workspace.parameters).0;
        workspace.states = workspace.states.saturating_add(self.engine.probe_bytes(batch, penalised));
        if regularizer.lower(0).global.is_some() {
            workspace.tape = workspace.tape.saturating_add(self.engine.error_bytes(batch, steps).0);
        }
        let asked = self.state.asked(&self.engine.learnt, self.state.steps);
        workspace.rooms = workspace.rooms.saturating_add(self.engine.point_bytes(batch, &asked).0);
        workspace
    }

    /// One training step: solve, loss, penalty, gradient, update.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::NonFinite`] and [`Error::Argument`] for a batch that does not fit the model. Under
    /// [`FailurePolicy::Abort`], [`Error::Trajectory`] when trajectories failed and [`Error::Diverged`] when the gradient
    /// is not finite, or a parameter or moment would not be; parameters and optimizer state are as before then.
    ///
    /// [`FailurePolicy::Abort`]: super::FailurePolicy::Abort
    pub fn step(&mut self, batch: &Batch<'_, R>) -> Result<StepReport> {
        let mut report = self.differentiate(batch)?;
        let solved = batch.inputs.len() / self.state.config.model.input_width() - report.failed;
        let update = self.update(solved >= self.state.config.loss.least())?;
        (report.gradient_norm, report.skipped) = (update.norm, !update.made);
        Ok(report)
    }

    /// Updates the parameters along the gradient if it is `wanted`, and counts the step.
    fn update(&mut self, wanted: bool) -> Result<Update> {
        let seen = std::mem::take(&mut self.seen);
        let Self { state, moments, theta, gradient, frozen, .. } = self;
        let update = if wanted {
            frozen.update(&state.config.optimizer, moments, theta, gradient)
        } else {
            Update { norm: norm(gradient), made: false }
        };
        if !update.made && self.state.aborts() {
            return Err(self.state.diverged(self.moments.step, &self.gradient));
        }
        if update.made {
            self.learn(seen);
        }
        self.state.steps += 1;
        Ok(update)
    }

    /// Takes what a solve has to teach to those that follow.
    fn learn(&mut self, seen: Seen) {
        let learnt = &mut self.engine.learnt;
        if let Some(wish) = seen.wish {
            learnt.note_first(wish);
        }
        if let Some(ideal) = seen.ideal {
            learnt.note_ideal(ideal);
        }
        let penalty = self.state.penalty_at(self.state.steps);
        if let (Some((nfe, ideal)), Some((penalty, budget))) = (seen.cost, penalty.and_then(|p| Some((p, p.budget?)))) {
            let stages = self.state.config.model.options.method.tableau().stages() as f64;
            learnt.budget.follow(&budget, penalty.coefficient, nfe as f64, stages * ideal);
        }
        *learnt = learnt.at::<R>();
    }

    /// The update of a training step along a gradient of the caller's, in the model's parameter layout: step count,
    /// schedules and moments advance, and the optimizer clips. For gradients that are summed over batches or processes,
    /// or of a loss of one's own. With what [`Trainer::gradients`] gives, it is [`Trainer::step`] bit for bit.
    ///
    /// A gradient of zeros is a gradient: moments decay. Where too few trajectories are left for a loss, so that
    /// [`Trainer::step`] makes no update under [`FailurePolicy::Skip`], [`Trainer::gradients`] reports a NaN loss and
    /// no derivatives worth applying: leave that batch out.
    ///
    /// ```
    /// # use fewsteps::{Batch, Cpu, Loss, Mlp, NeuralDe, Problem, SolverOptions, Target, Trainer, TrainerConfig};
    /// # fn main() -> fewsteps::Result<()> {
    /// # let model = NeuralDe::new(Problem::ode(Mlp::new([2, 16, 2]), 0.0, 1.0), SolverOptions::default());
    /// # let mut trainer = Trainer::<f32>::new(&Cpu::new()?, TrainerConfig::new(model, Loss::Mse))?;
    /// # let batch = Batch { inputs: &[1.0, 0.0], target: Target::States(&[0.0, 1.0]) };
    /// # let batches = [batch, batch];
    /// let mut mean = vec![0.0; trainer.parameters().len()];
    /// for batch in &batches {
    ///     let found = trainer.gradients(batch)?;
    ///     mean.iter_mut().zip(&found.gradient).for_each(|(mean, g)| *mean += g / batches.len() as f32);
    /// }
    /// let update = trainer.apply(&mean)?;
    /// assert!(update.made && trainer.steps() == 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] for a gradient of another length. Under [`FailurePolicy::Abort`], [`Error::Diverged`] when it is
    /// not finite, or a parameter or moment would not be; nothing has changed then. Under [`FailurePolicy::Skip`] the
    /// update is left out, which [`Update::made`] tells, and the step counts.
    ///
    /// [`FailurePolicy::Abort`]: super::FailurePolicy::Abort
    /// [`FailurePolicy::Skip`]: super::FailurePolicy::Skip
    pub fn apply(&mut self, gradient: &[R]) -> Result<Update> {
        Error::check_len("gradient", gradient.len(), self.theta.len(), || "the model's parameter_count()".into())?;
        self.gradient.copy_from_slice(gradient);
        self.update(true)
    }

    /// Goes on with another configuration: horizon, saved times, tolerances, loss, learning rate, regularizer, seed.
    /// Parameters and step count stay, the values of controls that stay as they are, and so do the optimizer's moments and number of updates if the new rule keeps the
    /// same moments (those of Adam and `AdamW` are the same); otherwise they begin anew, schedules of the learning rate
    /// at update 0.
    ///
    /// ```
    /// # use fewsteps::{Batch, Cpu, Loss, Mlp, NeuralDe, Problem, SolverOptions, Target, Trainer, TrainerConfig};
    /// # fn main() -> fewsteps::Result<()> {
    /// # let model = NeuralDe::new(Problem::ode(Mlp::new([2, 16, 2]), 0.0, 0.5), SolverOptions::default());
    /// # let mut trainer = Trainer::<f32>::new(&Cpu::new()?, TrainerConfig::new(model, Loss::Mse))?;
    /// # let batch = Batch { inputs: &[1.0, 0.0], target: Target::States(&[0.0, 1.0]) };
    /// trainer.step(&batch)?;
    /// let mut longer = trainer.config().clone();
    /// longer.model.problem.t1 = 1.0;
    /// trainer.reconfigure(longer)?;
    /// assert_eq!(trainer.step(&batch)?.step, 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Trainer::new`], and [`Error::Argument`] naming the first tensor of [`NeuralDe::layout`](crate::NeuralDe::layout) that would not be the
    /// same; the trainer is as before then.
    pub fn reconfigure(&mut self, config: TrainerConfig) -> Result<()> {
        self.state.check_change::<R>(&config)?;
        let mut new = Self::new(&self.cpu(), config)?;
        if new.state.shares_moments(&self.state) {
            std::mem::swap(&mut new.moments, &mut self.moments);
        }
        std::mem::swap(&mut new.theta, &mut self.theta);
        new.state.steps = self.state.steps;
        new.engine.learnt = self.engine.learnt;
        new.engine.take_controls(&mut self.engine);
        *self = new;
        Ok(())
    }

    /// Loss, penalty, gradient and costs of a batch at the current step, without an update.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn gradients(&mut self, batch: &Batch<'_, R>) -> Result<StepGradients<R>> {
        let mut report = self.differentiate(batch)?;
        report.gradient_norm = norm(&self.gradient);
        Ok(StepGradients { report, gradient: self.gradient.clone() })
    }

    fn differentiate(&mut self, batch: &Batch<'_, R>) -> Result<StepReport> {
        self.seen = Seen::default();
        let step = self.state.steps;
        let asked = self.state.asked(&self.engine.learnt, step);
        self.draw(self.state.step_paths(step), self.state.step_signs(step));
        let count = self.forward(batch, true, &asked)?;
        let failed = self.failures(count)?;
        let wish = self.engine.wish();
        let Self { state, engine, encoder, head, gradient, .. } = self;
        let mut task = task(&state.config, encoder.as_ref(), head.as_ref(), batch, count - failed);
        task.measure(engine.tiles());
        let local = asked.local.as_ref().map(|draws| draws.penalty);
        let mut report = state.report(step, costs(engine), local.as_ref());
        (report.global_coefficient, report.end_time) = (asked.global.map(|global| global.coefficient), asked.end);
        let coefficient = local.map(|local| local.coefficient).or(report.global_coefficient);
        let first = asked.pointwise.first().map(|draws| draws.penalty.coefficient);
        report.coefficient = coefficient.or(first).unwrap_or(0.0);
        let (tableau, accepted) = (state.config.model.options.method.tableau(), report.accepted);
        let evaluations = asked.pointwise.iter().map(|draws| draws.penalty.evaluations(tableau, accepted));
        report.nfe_penalty += evaluations.sum::<usize>();
        let added = engine.backward(&asked, &task, gradient)?;
        let lost = {
            let mut lost = engine.returned().map(|(status, _)| status).enumerate().filter(|(_, s)| *s != Status::Done);
            lost.next().map(|first| (first, 1 + lost.count()))
        };
        // Of a solve back that did not come to the start, or to another one, there is no gradient.
        if let Some((first, failed)) = lost {
            state.allow(failed, count, Some(first))?;
            gradient.fill(R::from_f64(f64::NAN));
        }
        (report.penalty, report.global_penalty, report.products) = (added.penalty(), added.global, added.work.products);
        report.pointwise = added.pointwise;
        report.loss = task.total(engine.tiles()).0;
        report.failed = failed;
        let ideal = local.is_some_and(|penalty| penalty.step == PenaltyStep::Ideal);
        self.seen =
            Seen { wish, ideal: added.local.filter(|_| ideal), cost: report.ideal_steps.map(|n| (report.nfe, n)) };
        report.budget_unreachable = self.engine.learnt.budget.unreachable;
        Ok(report)
    }

    /// Sets what is random in the next solve.
    fn draw(&mut self, paths: Paths, signs: Signs) {
        self.engine.set_paths(paths);
        self.signs = signs;
    }

    /// Number of trajectories that failed; an error if that is to abort.
    fn failures(&self, count: usize) -> Result<usize> {
        let mut failures = self.engine.statuses().enumerate().filter(|(_, s)| *s != Status::Done);
        let first = failures.next();
        let failed = usize::from(first.is_some()) + failures.count();
        self.state.allow(failed, count, first)?;
        Ok(failed)
    }

    /// Evaluates the model on a batch. Never regularizes.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::NonFinite`] and [`Error::Argument`] for a batch that does not fit the model.
    pub fn evaluate(&mut self, batch: &Batch<'_, R>) -> Result<Evaluation> {
        self.draw(self.state.evaluation_paths(0), self.state.evaluation_signs());
        let count = self.forward(batch, false, &Asked::default())?;
        let failed = self.engine.statuses().filter(|&s| s != Status::Done).count();
        let Self { state, engine, encoder, head, .. } = self;
        let mut task = task(&state.config, encoder.as_ref(), head.as_ref(), batch, count - failed);
        task.measure(engine.tiles());
        engine.for_each_tile(|tile, room| {
            if tile.used > 0 {
                task.evaluate(tile, room, None);
            }
        });
        let (loss, correct) = task.total(engine.tiles());
        Ok(costs(engine).evaluation(count, failed, loss, correct))
    }

    /// As [`Trainer::evaluate`], of the mean output over `samples` paths of each trajectory; costs are the first path's.
    /// A trajectory of which any path fails has failed.
    ///
    /// # Errors
    /// As [`Trainer::evaluate`], and [`Error::Argument`] for no samples, or [`Loss::Moments`], which is of single paths.
    ///
    /// [`Loss::Moments`]: crate::Loss::Moments
    pub fn evaluate_mean(&mut self, batch: &Batch<'_, R>, samples: usize) -> Result<Evaluation> {
        let mut outputs = self.state.mean_outputs(samples)?;
        let of_first = self.add_sample(batch, 0, &mut outputs)?;
        for sample in 1..samples {
            self.add_sample(batch, sample, &mut outputs)?;
        }
        Ok(self.state.evaluate_mean(&outputs, &batch.target, of_first))
    }

    /// Solves the batch along the paths of one sample, and adds its outputs to the mean. The costs.
    fn add_sample(&mut self, batch: &Batch<'_, R>, sample: usize, outputs: &mut MeanOutputs) -> Result<Costs> {
        self.draw(self.state.evaluation_paths(sample), self.state.evaluation_signs());
        let count = self.forward(batch, false, &Asked::default())?;
        let solved = self.engine.statuses().map(|status| status == Status::Done);
        outputs.add(&self.outputs(batch, count), solved);
        Ok(costs(&self.engine))
    }

    /// The model's outputs for a batch of inputs `[B][inputs]`: `[times][B][outputs]`, NaN for trajectories that fail.
    /// Never regularizes.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::NonFinite`] for inputs that do not fit the model.
    pub fn predict(&mut self, inputs: &[R]) -> Result<Vec<R>> {
        self.predict_along(inputs, self.state.evaluation_paths(0))
    }

    /// As [`Trainer::predict`], along the given paths.
    ///
    /// # Errors
    /// As [`Trainer::predict`], and [`Error::Argument`] for paths beyond the last trajectory number.
    pub fn predict_along(&mut self, inputs: &[R], paths: Paths) -> Result<Vec<R>> {
        let count = self.state.config.model.check_inputs(inputs)?;
        let batch = Batch { inputs, target: Target::Labels(&[]) };
        self.draw(paths, self.state.evaluation_signs());
        self.solve(&batch, count, false, &Asked::default())?;
        Ok(self.outputs(&batch, count))
    }

    /// The solved batch's outputs.
    fn outputs(&self, batch: &Batch<'_, R>, count: usize) -> Vec<R> {
        task(&self.state.config, self.encoder.as_ref(), self.head.as_ref(), batch, count).outputs(self.engine.tiles())
    }

    /// Checks and loads the batch, and solves it; the number of its trajectories.
    fn forward(&mut self, batch: &Batch<'_, R>, tape: bool, asked: &Asked) -> Result<usize> {
        let count = self.state.check(batch)?;
        self.solve(batch, count, tape, asked)?;
        Ok(count)
    }

    /// Loads a checked batch and solves it.
    fn solve(&mut self, batch: &Batch<'_, R>, count: usize, tape: bool, asked: &Asked) -> Result<()> {
        let Self { state, engine, encoder, head, theta, signs, .. } = self;
        if encoder.is_none() {
            engine.warn_at(batch.inputs, state.config.model.input_width());
        }
        engine.paths().validate(count)?;
        engine.drive(count, ["Trainer::step", "Trainer::set_control"])?;
        engine.reserve(count, tape, asked)?;
        engine.set_parameters(theta, tape);
        for map in encoder.iter_mut().chain(head) {
            map.pack(theta, tape);
        }
        let task = task(&state.config, encoder.as_ref(), self.head.as_ref(), batch, count);
        engine.for_each_tile(|tile, room| task.load(tile, room, *signs));
        engine.solve(tape, asked)
    }

    /// Writes a checkpoint: parameters and optimizer state by the names of [`NeuralDe::layout`](crate::NeuralDe::layout), counters and
    /// configuration, and the caller's `metadata`. The file is written whole or not at all.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written, [`Error::Diverged`] when a number of it is not finite,
    /// [`Error::Argument`] for metadata beyond the 100 MB of a safetensors header; an older file of that name is still
    /// there then.
    pub fn save(&self, path: &Path, metadata: &BTreeMap<String, String>) -> Result<()> {
        checkpoint::save(path, &self.state, self.learnt(), &self.theta, Some(&self.moments), metadata)
    }

    /// As [`Trainer::save`], without the optimizer's moments: a third of the size with Adam, for evaluation and
    /// fine-tuning.
    ///
    /// # Errors
    /// As [`Trainer::save`].
    pub fn save_weights(&self, path: &Path, metadata: &BTreeMap<String, String>) -> Result<()> {
        checkpoint::save(path, &self.state, self.learnt(), &self.theta, None, metadata)
    }

    /// Goes on from a checkpoint, bit for bit as if training had not stopped; also returns the caller's metadata. From
    /// one of weights alone, training goes on with a new optimizer: no moments, and the learning rate of update 0.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::Checkpoint`] when it is not a checkpoint, or its tensors do not
    /// fit its configuration, [`Error::Argument`] when its numbers are of another scalar type.
    pub fn resume(cpu: &Cpu, path: &Path) -> Result<(Self, BTreeMap<String, String>)> {
        Self::of_loaded(cpu, checkpoint::load(path)?)
    }

    /// As [`Trainer::resume`], with the solver that was chosen for predictions ([`Deployed`](super::Deployed)) in place of
    /// the training's, and no regularizer.
    ///
    /// # Errors
    /// As [`Trainer::resume`], [`Error::Checkpoint`] when that solver does not fit the model, and [`Error::Argument`] when
    /// none was chosen.
    pub fn deployed(cpu: &Cpu, path: &Path) -> Result<(Self, BTreeMap<String, String>)> {
        Self::of_loaded(cpu, checkpoint::load_deployed(path)?)
    }

    fn of_loaded(cpu: &Cpu, loaded: Loaded<R>) -> Result<(Self, BTreeMap<String, String>)> {
        let mut trainer = Self::new(cpu, loaded.config)?;
        (trainer.theta, trainer.moments, trainer.state.steps) = (loaded.theta, loaded.state, loaded.steps);
        trainer.engine.learnt = loaded.learnt;
        Ok((trainer, loaded.metadata))
    }
}

/// What a trainer holds besides its engine: parameters, gradient, two moments and the weights of encoder and head packed
/// in both directions; and, in the room of each thread, what those are evaluated in.
fn owned<'a, R: Scalar>(parameters: usize, maps: impl Iterator<Item = &'a Map<R>> + Clone) -> Owner {
    let packed: Size = maps.clone().map(|map| Size(map.packed_bytes())).sum();
    let room: Size = maps.map(|map| Size(map.room_bytes())).sum();
    Owner { bytes: (4 * Size(parameters)).bytes::<R>() + packed, room }
}

fn task<'a, R: Scalar>(
    config: &'a TrainerConfig,
    encoder: Option<&'a Map<R>>,
    head: Option<&'a Map<R>>,
    batch: &Batch<'a, R>,
    solved: usize,
) -> Task<'a, R> {
    let model = &config.model;
    Task {
        loss: config.loss,
        inputs: batch.inputs,
        target: batch.target,
        encoder,
        head,
        batch: batch.inputs.len() / model.input_width(),
        dim: model.problem.dim(),
        points: model.of_points(),
        features: model.problem.field.features(),
        times: model.output_times(),
        outputs: model.output_width(),
        solved,
        moments: Vec::new(),
    }
}

/// Costs of the last solve.
fn costs<R: Scalar>(engine: &Engine<R>) -> Costs {
    let (stats, ideal_steps) = engine.costliest();
    Costs {
        nfe: stats.nfe,
        nfe_diffusion: stats.nfe_diffusion,
        accepted: stats.accepted,
        rejected: stats.rejected,
        ideal_steps,
    }
}
