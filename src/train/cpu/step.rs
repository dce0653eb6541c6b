//! A training step: gradient, update, and what the solve teaches.

use super::evaluate::{costs, task};
use super::{Seen, Trainer};
use crate::cpu::Scalar;
use crate::error::{Error, Result, Status};
use crate::method::{Followed, PenaltyStep, Streams};
use crate::problem::Paths;
use crate::train::batches::Batch;
use crate::train::config::TrainerConfig;
use crate::train::drawing::Drawing;
use crate::train::optimizer::{Update, norm};
use crate::train::report::{StepGradients, StepReport};
use crate::train::times::{StepTimes, Stopwatch};

impl<R: Scalar> Trainer<R> {
    /// One training step: solve, loss, penalty, gradient, update.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::NonFinite`] and [`Error::Argument`] for a batch that does not fit the model. Under
    /// [`FailurePolicy::Abort`], [`Error::Trajectory`] when trajectories failed and [`Error::Diverged`] when the gradient
    /// is not finite, or a parameter or moment would not be; parameters and optimizer state are as before then.
    ///
    /// [`FailurePolicy::Abort`]: crate::FailurePolicy::Abort
    pub fn step(&mut self, batch: &Batch<'_, R>) -> Result<StepReport> {
        let mut report = self.differentiate(batch)?;
        let count = batch.inputs.len() / self.state.config.model.input_width() * self.drawing.copies;
        let solved = count - report.failed;
        let mut watch = Stopwatch::start();
        let update = self.update(solved >= self.state.config.loss.least())?;
        self.times.update = watch.lap();
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
        if let Some(((nfe, ideal), Followed { budget, start })) =
            seen.cost.zip(self.state.hooks_at(self.state.steps).followed())
        {
            let stages = self.state.config.model.options.method.tableau().stages() as f64;
            learnt.budget.follow(&budget, start, nfe as f64, stages * ideal);
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
    /// [`FailurePolicy::Abort`]: crate::FailurePolicy::Abort
    /// [`FailurePolicy::Skip`]: crate::FailurePolicy::Skip
    pub fn apply(&mut self, gradient: &[R]) -> Result<Update> {
        Error::check_len("gradient", gradient.len(), self.theta.len(), || "the model's parameter_count()".into())?;
        self.gradient.copy_from_slice(gradient);
        self.update(true)
    }

    /// Goes on with another configuration: horizon, saved times, tolerances, loss, learning rate, regularizer, seed.
    /// Parameters and step count stay, the values of controls that stay as they are, times of trajectories' own, and so do
    /// the optimizer's moments and number of updates if the new rule keeps the same moments (those of Adam and `AdamW` are
    /// the same); otherwise they begin anew, schedules of the learning rate at update 0.
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
    /// same, or times of trajectories' own that do not go with it; the trainer is as before then.
    pub fn reconfigure(&mut self, config: TrainerConfig) -> Result<()> {
        self.state.check_change::<R>(&config)?;
        let mut new = Self::new(&self.cpu(), config)?;
        if new.state.shares_moments(&self.state) {
            std::mem::swap(&mut new.moments, &mut self.moments);
        }
        std::mem::swap(&mut new.theta, &mut self.theta);
        new.state.steps = self.state.steps;
        new.engine.learnt = self.engine.learnt;
        new.follow_controls(self);
        new.set_times(self.state.times.clone())?;
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
        let mut watch = Stopwatch::start();
        let step = self.state.steps;
        let asked = self.state.asked(&self.engine.learnt, step);
        self.draw(self.state.step_paths(step), self.state.step_signs(step), self.state.step_drawing(step));
        let count = self.forward(batch, true, &asked)?;
        self.times = StepTimes { solve: watch.lap(), ..StepTimes::default() };
        let failed = self.failures(count)?;
        let wish = self.engine.wish();
        let Self { state, engine, encoder, head, gradient, drawing, times, .. } = self;
        let maps = (encoder.as_ref(), head.as_ref());
        let mut task = task(state, maps, batch, count - failed, *drawing);
        task.measure(engine.tiles());
        let local = asked.local.as_ref().map(|draws| draws.penalty);
        let mut report = state.report(step, costs(state, engine), local.as_ref());
        (report.global_coefficient, report.end_time) = (asked.global.map(|global| global.coefficient), asked.end);
        let coefficient = local.map(|local| local.coefficient).or(report.global_coefficient);
        let first = asked.pointwise.first().map(|draws| draws.penalty.coefficient);
        report.coefficient = coefficient.or(first).unwrap_or(0.0);
        let (tableau, accepted) = (state.config.model.options.method.tableau(), report.accepted);
        let evaluations = asked.pointwise.iter().map(|draws| draws.penalty.evaluations(tableau, accepted));
        report.nfe_penalty += evaluations.sum::<usize>();
        times.loss = watch.lap();
        let added = engine.backward(&asked, &task, gradient)?;
        times.backward = watch.lap();
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
        report.divergence = task.divergence(engine.tiles());
        let paid = report.divergence.zip(drawing.weight).map_or(0.0, |(divergence, weight)| weight * divergence);
        report.loss = task.bound.unwrap_or(task.total(engine.tiles()).0 + paid);
        report.failed = failed;
        let ideal = local.is_some_and(|penalty| penalty.step == PenaltyStep::Ideal);
        self.seen =
            Seen { wish, ideal: added.local.filter(|_| ideal), cost: report.ideal_steps.map(|n| (report.nfe, n)) };
        report.budget_unreachable = self.engine.learnt.budget.unreachable;
        Ok(report)
    }

    /// Sets what is random in the next solve.
    pub(super) fn draw(&mut self, paths: Paths, signs: Streams, drawing: Drawing) {
        self.engine.set_paths(paths);
        (self.signs, self.drawing) = (signs, drawing);
    }

    /// Number of trajectories that failed; an error if that is to abort.
    pub(super) fn failures(&self, count: usize) -> Result<usize> {
        let mut failures = self.engine.statuses().enumerate().filter(|(_, s)| *s != Status::Done);
        let first = failures.next();
        let failed = usize::from(first.is_some()) + failures.count();
        self.state.allow(failed, count, first)?;
        Ok(failed)
    }
}
