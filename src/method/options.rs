//! [`SolverOptions`]: how a problem is solved.

use serde::{Deserialize, Serialize};

use super::tolerances::{normal_numbers, warning_at};
use super::{
    Adjoint, Controller, InitialStep, Method, SaveAt, StepControl, Tolerances, tableau_supports, undoable_steps,
};
use crate::error::{Error, Result};
use crate::math::Real;
use crate::problem::{Brownian, Paths, Problem, shortest_step};

/// Who shares a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Layout {
    /// The whole batch: one time, one step size, the error's mean square over batch and features. The papers'
    /// semantics, and the default.
    #[default]
    Lockstep,
    /// Each trajectory has its own time, step size, status and NFE, which never depend on its batch.
    Ensemble,
}

/// How a problem is solved.
///
/// ```
/// use fewsteps::{Layout, Method, SaveAt, SolverOptions, Tolerances};
/// let options = SolverOptions::default()
///     .method(Method::Dopri5)
///     .tolerances(Tolerances::both(1e-6))
///     .layout(Layout::Ensemble)
///     .save_at(SaveAt::Times(vec![0.5, 1.0]));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SolverOptions {
    /// The method.
    pub method: Method,
    /// How steps are chosen.
    pub step_control: StepControl,
    /// Who shares a step.
    pub layout: Layout,
    /// Which states are returned.
    pub save_at: SaveAt,
    /// How gradients are obtained.
    pub adjoint: Adjoint,
    /// Bound on attempted steps of a trajectory, where they are adaptive; fixed steps are as many as they are.
    pub max_steps: usize,
    /// Bound on the bytes that a solver or trainer may hold, if any: what its `workspace` tells. That is states, tape,
    /// the room of each thread or the buffers on a device, parameters with their gradients and moments; not the arrays
    /// that a call takes and returns. It is held before memory is taken, in predictions and evaluations too.
    pub memory_limit: Option<usize>,
    /// Cells of the path, if not a cell a fixed step, or 64 for adaptive steps. Solves of the same seed follow the same
    /// path only where they have the same cells; see [`Brownian`](crate::Brownian).
    #[serde(default)]
    pub path_cells: Option<usize>,
    /// The longest adaptive step, if there is a bound: shorter than what must not be stepped over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest_step: Option<f64>,
    /// Times at which an adaptive step ends and the next one begins with a fresh first stage, where the dynamics change
    /// abruptly; in any order. With noise, the nearest tick of the path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop_at: Vec<f64>,
    /// Absolute tolerances `[D]` in place of [`Tolerances::atol`], where features differ in size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub atol_per_feature: Option<Vec<f64>>,
    /// Coupling of the two states of [`Adjoint::Reversible`], in (0, 1), where it is made of a method for ordinary
    /// differential equations.
    #[serde(default = "coupling", skip_serializing_if = "is_usual_coupling")]
    pub coupling: f64,
}

/// The published coupling.
const fn coupling() -> f64 {
    0.999
}

#[expect(clippy::trivially_copy_pass_by_ref, clippy::float_cmp, reason = "as serde calls it; what was never set")]
fn is_usual_coupling(value: &f64) -> bool {
    *value == coupling()
}

impl Default for SolverOptions {
    fn default() -> Self {
        Self {
            method: Method::default(),
            step_control: StepControl::default(),
            layout: Layout::default(),
            save_at: SaveAt::default(),
            adjoint: Adjoint::default(),
            max_steps: 10_000,
            memory_limit: None,
            path_cells: None,
            largest_step: None,
            stop_at: Vec::new(),
            atol_per_feature: None,
            coupling: coupling(),
        }
    }
}

impl SolverOptions {
    /// Defaults for stochastic differential equations: [`Method::Sosri`] with [`Controller::SDE`], within `tolerances`.
    #[must_use]
    pub fn sde(tolerances: Tolerances) -> Self {
        let step_control =
            StepControl::Adaptive { tolerances, controller: Controller::SDE, initial_step: InitialStep::Automatic };
        Self { method: Method::Sosri, step_control, ..Self::default() }
    }

    /// Sets the method.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// Sets how steps are chosen.
    #[must_use]
    pub fn step_control(mut self, step_control: StepControl) -> Self {
        self.step_control = step_control;
        self
    }

    /// Chooses adaptive steps within `tolerances`, with the default controller.
    #[must_use]
    pub fn tolerances(self, tolerances: Tolerances) -> Self {
        self.step_control(StepControl::adaptive(tolerances))
    }

    /// Sets who shares a step.
    #[must_use]
    pub fn layout(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self
    }

    /// Sets which states are returned.
    #[must_use]
    pub fn save_at(mut self, save_at: SaveAt) -> Self {
        self.save_at = save_at;
        self
    }

    /// Sets how gradients are obtained.
    #[must_use]
    pub fn adjoint(mut self, adjoint: Adjoint) -> Self {
        self.adjoint = adjoint;
        self
    }

    /// Sets the bound on attempted steps.
    #[must_use]
    pub fn max_steps(mut self, max_steps: usize) -> Self {
        self.max_steps = max_steps;
        self
    }

    /// Sets the bound on the bytes that a solver or trainer may hold.
    #[must_use]
    pub fn memory_limit(mut self, bytes: usize) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// Sets the cells of the path.
    #[must_use]
    pub fn path_cells(mut self, cells: usize) -> Self {
        self.path_cells = Some(cells);
        self
    }

    /// Bounds the length of adaptive steps.
    #[must_use]
    pub fn largest_step(mut self, length: f64) -> Self {
        self.largest_step = Some(length);
        self
    }

    /// Makes adaptive steps end at the given times, as at a switch of the dynamics.
    ///
    /// ```
    /// use fewsteps::SolverOptions;
    /// // A pulse between 1 and 1.05 is not stepped over.
    /// let options = SolverOptions::default().stop_at([1.0, 1.05]);
    /// assert_eq!(options.stop_at.len(), 2);
    /// ```
    #[must_use]
    pub fn stop_at(mut self, times: impl Into<Vec<f64>>) -> Self {
        self.stop_at = times.into();
        self
    }

    /// Gives each of the `D` features an absolute tolerance of its own, in place of [`Tolerances::atol`]: in the error
    /// norm, in the automatic initial step and in local regularization. A device takes as many as fit into a uniform binding:
    /// 16,384 under WebGPU's default limits.
    ///
    /// ```
    /// use fewsteps::{SolverOptions, Tolerances};
    /// // A position of size 1 and a concentration of size 1e-12, both to six digits.
    /// let options = SolverOptions::default().tolerances(Tolerances::both(1e-6)).atol_per_feature([1e-6, 1e-18]);
    /// assert_eq!(options.atol_per_feature.map(|atol| atol.len()), Some(2));
    /// ```
    #[must_use]
    pub fn atol_per_feature(mut self, atol: impl Into<Vec<f64>>) -> Self {
        self.atol_per_feature = Some(atol.into());
        self
    }

    /// Sets the coupling of the two states of [`Adjoint::Reversible`], in (0, 1); the default is 0.999. The closer to 1, the
    /// more steps can be undone: `n` of them with `n ln(1/coupling)` up to 2 at `f32` and 22 at `f64`.
    ///
    /// ```
    /// use fewsteps::{Adjoint, SolverOptions};
    /// let options = SolverOptions::default().adjoint(Adjoint::Reversible).coupling(0.99);
    /// assert_eq!(options.coupling, 0.99);
    /// ```
    #[must_use]
    pub fn coupling(mut self, coupling: f64) -> Self {
        self.coupling = coupling;
        self
    }

    /// The times within the interval at which steps end, in the direction of integration; with noise on ticks of the path.
    ///
    /// # Errors
    /// As [`SolverOptions::path`].
    pub(crate) fn stops(&self, problem: &Problem) -> Result<Vec<f64>> {
        let Problem { t0, t1, .. } = *problem;
        let path = problem.diffusion.as_ref().map(|_| self.path(problem, Paths::default())).transpose()?;
        let resolved = |t: f64| path.map_or(t, |path| path.time(path.tick(t)));
        let mut stops: Vec<f64> = self.stops_of(problem).map(|t| problem.settled(resolved(t))).collect();
        stops.sort_by(|a, b| if t1 > t0 { a.total_cmp(b) } else { b.total_cmp(a) });
        stops.dedup_by(|a, b| (*a - *b).abs() <= shortest_step(*a, *b, t1 - t0));
        stops.retain(|t| *t != t0 && *t != t1);
        Ok(stops)
    }

    /// The same, and those beyond the interval that a drawn end may leave within it: as far again.
    ///
    /// # Errors
    /// As [`SolverOptions::path`].
    pub(crate) fn reachable_stops(&self, problem: &Problem) -> Result<Vec<f64>> {
        let mut stops = self.stops(problem)?;
        if problem.diffusion.is_none() {
            let (t1, span) = (problem.t1, problem.t1 - problem.t0);
            let reach = Problem { t1: t1 + span, ..problem.clone() };
            let all = self.stops(&reach)?.into_iter().map(|t| problem.settled(t));
            stops.extend(all.filter(|t| (t - t1) * span >= 0.0));
            stops.dedup();
        }
        Ok(stops)
    }

    /// Where steps are to end: the caller's times, and those at which a control jumps or bends.
    fn stops_of<'a>(&'a self, problem: &'a Problem) -> impl Iterator<Item = f64> + 'a {
        let Problem { t0, t1, .. } = *problem;
        self.stop_at.iter().copied().chain(problem.controls.iter().flat_map(move |control| control.stops(t0, t1)))
    }

    /// Checks where steps are to end and how long they may be, against each other and the interval.
    fn validate_steps(&self, problem: &Problem) -> Result<()> {
        let refused = |argument, value: String, remedy: &str| Err(Error::argument(argument, value, remedy));
        let (low, high) = (problem.t0.min(problem.t1), problem.t0.max(problem.t1));
        let fixed = matches!(self.step_control, StepControl::Fixed { .. });
        if let Some(t) = self.stop_at.iter().find(|&&t| !(low..=high).contains(&problem.settled(t))) {
            return refused("SolverOptions::stop_at", t.to_string(), &format!("stops lie in [{low}, {high}]"));
        }
        if fixed && !self.stop_at.is_empty() {
            let remedy = "fixed steps end where they end: use adaptive ones, or solve from stop to stop";
            return refused("SolverOptions::stop_at", format!("{:?}", self.stop_at), remedy);
        }
        if let Some(control) =
            problem.controls.iter().find(|c| fixed && c.stops(problem.t0, problem.t1).next().is_some())
        {
            let remedy = "fixed steps do not end at its knots: use adaptive ones, or Interpolation::Cubic";
            return refused("Problem::controls", control.name.clone(), remedy);
        }
        if !fixed && self.stops(problem)?.len() >= self.max_steps {
            let remedy = format!("{} steps cannot end at all of them: raise max_steps", self.max_steps);
            return refused("SolverOptions::stop_at", format!("{} times", self.stop_at.len()), &remedy);
        }
        let Some(longest) = self.largest_step else { return Ok(()) };
        if !(longest > 0.0 && longest.is_finite()) {
            return refused("SolverOptions::largest_step", longest.to_string(), "give a positive, finite length");
        }
        if fixed {
            let remedy = "fixed steps are as long as they are: use adaptive ones, or take more of them";
            return refused("SolverOptions::largest_step", longest.to_string(), remedy);
        }
        let span = high - low;
        let resolution = match &problem.diffusion {
            None => 4.0 * shortest_step(low, high, span),
            Some(_) => span / self.path(problem, Paths::default())?.ticks() as f64,
        };
        if longest < resolution || span / longest > self.max_steps as f64 {
            let remedy = format!(
                "{} steps of that length do not cover the interval, or time does not resolve it: lengthen it, or raise \
                 max_steps",
                self.max_steps
            );
            return refused("SolverOptions::largest_step", longest.to_string(), &remedy);
        }
        Ok(())
    }

    /// Checks that every feature has an absolute tolerance of its own, or none.
    fn validate_atol_per_feature<R: Real>(&self, dim: usize) -> Result<()> {
        let Some(atol) = &self.atol_per_feature else { return Ok(()) };
        let refused =
            |value: String, remedy: String| Err(Error::argument("SolverOptions::atol_per_feature", value, remedy));
        if matches!(self.step_control, StepControl::Fixed { .. }) {
            return refused(format!("{atol:?}"), "fixed steps have no tolerances: use adaptive ones".to_owned());
        }
        if atol.len() != dim {
            return refused(
                format!("{} numbers", atol.len()),
                format!("the state has {dim} features: give one number each"),
            );
        }
        let [smallest, largest] = normal_numbers::<R>();
        if let Some((d, value)) = atol.iter().enumerate().find(|(_, value)| !(smallest..=largest).contains(*value)) {
            let remedy = format!("{} has positive normal numbers from {smallest:e} to {largest:e}", R::NAME);
            return refused(format!("{value:e} for feature {d}"), remedy);
        }
        Ok(())
    }

    /// As [`Tolerances::warning_at`], of the features' own absolute tolerances where they have them. Fixed steps have none
    /// to warn of.
    ///
    /// A solver says so of the first states that it is given, and a trainer without encoder too, to whoever logs
    /// warnings: the target is `fewsteps::tolerances`.
    #[must_use]
    pub fn warning_at<R: Real>(&self, states: &[R], dim: usize) -> Option<String> {
        let StepControl::Adaptive { tolerances, .. } = self.step_control else { return None };
        let own = |d: usize| self.atol_per_feature.as_ref().and_then(|atol| atol.get(d).copied());
        warning_at(|d| own(d).unwrap_or(tolerances.atol), states, dim)
    }

    /// The most steps that a trajectory may attempt.
    pub(crate) const fn most_attempts(&self) -> usize {
        match self.step_control {
            StepControl::Adaptive { .. } => self.max_steps,
            StepControl::Fixed { steps } => steps,
        }
    }

    /// The path that a solve of `problem` with these options follows.
    ///
    /// # Errors
    /// [`Error::Argument`] for no cells or more than 2^24.
    pub fn path(&self, problem: &Problem, paths: Paths) -> Result<Brownian> {
        match (self.path_cells, self.step_control) {
            (None, StepControl::Adaptive { .. }) => Ok(Brownian::adaptive(paths, problem.t0, problem.t1)),
            (Some(cells), _) | (None, StepControl::Fixed { steps: cells }) => {
                Brownian::with_cells(paths, cells, problem.t0, problem.t1)
            }
        }
    }

    /// Checks the options against a problem and the scalar type it is solved in.
    ///
    /// # Errors
    /// [`Error::Argument`] naming what does not fit.
    pub fn validate<R: Real>(&self, problem: &Problem) -> Result<()> {
        problem.validate()?;
        let tableau = self.method.tableau();
        tableau_supports(tableau, problem)?;
        self.adjoint.validate(self.method)?;
        match self.step_control {
            StepControl::Adaptive { tolerances, controller, initial_step } => {
                if tableau.b_error.is_none() {
                    let remedy = match tableau.noise {
                        None => "it has no error estimate: use fixed steps, or heun, bosh3, dopri5 or tsit5",
                        Some(_) => "it has no error estimate: use fixed steps, or a method that has one, as sosri",
                    };
                    return Err(Error::argument("SolverOptions::method", tableau.name, remedy));
                }
                tolerances.validate::<R>()?;
                controller.validate()?;
                if let InitialStep::Length(h) = initial_step
                    && !(h > 0.0 && h.is_finite())
                {
                    return Err(Error::argument("InitialStep::Length", h, "give a positive, finite length"));
                }
            }
            StepControl::Fixed { steps: 0 } => {
                return Err(Error::argument("StepControl::Fixed::steps", 0, "take at least one step"));
            }
            StepControl::Fixed { steps } => {
                let length = (problem.t1 - problem.t0).abs() / steps as f64;
                if !problem.stands_still() && length <= shortest_step(problem.t0, problem.t1, problem.t1 - problem.t0) {
                    let remedy =
                        "time cannot resolve that many steps: take fewer, or measure time from the interval's start";
                    return Err(Error::argument("StepControl::Fixed::steps", steps, remedy));
                }
            }
        }
        self.validate_atol_per_feature::<R>(problem.dim())?;
        if self.max_steps == 0 {
            return Err(Error::argument("SolverOptions::max_steps", 0, "allow at least one step"));
        }
        if problem.diffusion.is_some() {
            self.path(problem, Paths::default())?;
        }
        if problem.diffusion.is_some() && self.save_at == SaveAt::Dense {
            let remedy = "a path has no smooth interpolant: save at times or at steps";
            return Err(Error::argument("SolverOptions::save_at", "Dense", remedy));
        }
        self.validate_adjoint::<R>()?;
        self.validate_steps(problem)?;
        self.validate_times(problem)
    }

    /// Checks that steps can be undone where a method is made for it, and that saved states are at times that are known.
    fn validate_adjoint<R: Real>(&self) -> Result<()> {
        if !(self.coupling > 0.0 && self.coupling < 1.0) {
            let remedy = "the coupling of two states lies between 0 and 1: leave it at 0.999";
            return Err(Error::argument("SolverOptions::coupling", self.coupling, remedy));
        }
        if self.adjoint.is_solved(self.method) && matches!(self.save_at, SaveAt::Steps | SaveAt::Dense) {
            let remedy =
                "this adjoint has steps of its own: save at the end or at given times, or use Adjoint::Discrete";
            let value = format!("{:?} with {:?}", self.save_at, self.adjoint);
            return Err(Error::argument("SolverOptions::save_at", value, remedy));
        }
        if self.adjoint != Adjoint::Reversible || self.method.tableau().noise.is_some() {
            return Ok(());
        }
        if self.save_at == SaveAt::Dense {
            let remedy = "steps that can be undone have no interpolant of their method: save at times or at steps";
            return Err(Error::argument("SolverOptions::save_at", "Dense with Adjoint::Reversible", remedy));
        }
        let most = undoable_steps::<R>(self.coupling);
        match self.step_control {
            StepControl::Fixed { steps } if steps > most => {
                let remedy = format!(
                    "with coupling {} rounding at {} leaves nothing of more than {most} steps that are undone: take fewer, \
                     raise the coupling, or use Adjoint::Discrete",
                    self.coupling,
                    R::NAME
                );
                Err(Error::argument("StepControl::Fixed::steps", steps, remedy))
            }
            _ => Ok(()),
        }
    }

    fn validate_times(&self, problem: &Problem) -> Result<()> {
        let SaveAt::Times(times) = &self.save_at else { return Ok(()) };
        if times.is_empty() {
            return Err(Error::argument("SaveAt::Times", "[]", "give at least one time, or save at the end"));
        }
        let (low, high) = (problem.t0.min(problem.t1), problem.t0.max(problem.t1));
        if let Some(t) = times.iter().find(|&&t| !(low..=high).contains(&problem.settled(t))) {
            return Err(Error::argument("SaveAt::Times", t, format!("save times lie in [{low}, {high}]")));
        }
        let forwards = problem.t1 > problem.t0;
        let disorder = |w: &&[f64]| {
            let [a, b] = [w[0], w[1]].map(|t| problem.settled(t));
            if forwards { a > b } else { a < b }
        };
        if let Some(w) = times.windows(2).find(disorder) {
            let remedy = "order the save times in the direction of integration";
            return Err(Error::argument("SaveAt::Times", format!("{w:?}"), remedy));
        }
        Ok(())
    }
}
