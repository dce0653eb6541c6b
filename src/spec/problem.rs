//! [`Problem`] and [`SolverOptions`]: what is solved, and how.

use serde::{Deserialize, Serialize};

use super::{Adjoint, Brownian, Calculus, Controller, Method, Mlp, Paths, Real, check_parameters, tableau_supports};
use crate::error::{Error, Result};

/// `dy/dt = f(t, y; theta)` from `t0` to `t1` with a network as `f`, or, with a [`Diffusion`], the stochastic
/// differential equation `dy = f dt + g dW`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// The vector field, or drift; its input and output widths are the state's dimension `D`.
    pub field: Mlp,
    /// The noise, if there is any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diffusion: Option<Diffusion>,
    /// Where the interval starts.
    pub t0: f64,
    /// Where it ends; without noise it may lie before `t0`. At `t0` itself the solution is the initial state.
    pub t1: f64,
}

/// Diagonal noise: `g(t, y; theta) dW`, where each of the `D` features has its own Wiener process.
///
/// Methods of strong order above 1/2 have it where `g_i` depends on `y_i` alone; for a network that mixes features
/// they converge with order 1/2, as every method without Lévy areas does (P. E. Kloeden, E. Platen, Numerical
/// Solution of Stochastic Differential Equations, 1992, section 10.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diffusion {
    /// The network `g`, from `D` numbers to `D`. Its parameters follow the drift's.
    pub network: Mlp,
    /// How the stochastic integral is meant.
    pub calculus: Calculus,
}

impl Diffusion {
    /// Noise in the sense of Itô.
    #[must_use]
    pub const fn ito(network: Mlp) -> Self {
        Self { network, calculus: Calculus::Ito }
    }

    /// Noise in the sense of Stratonovich.
    #[must_use]
    pub const fn stratonovich(network: Mlp) -> Self {
        Self { network, calculus: Calculus::Stratonovich }
    }
}

impl Problem {
    /// An ordinary differential equation on the interval from `t0` to `t1`, forwards or backwards.
    #[must_use]
    pub const fn ode(field: Mlp, t0: f64, t1: f64) -> Self {
        Self { field, diffusion: None, t0, t1 }
    }

    /// A stochastic differential equation on the interval from `t0` to `t1`, which comes after `t0`.
    ///
    /// ```
    /// use fewsteps::{Diffusion, Mlp, Problem};
    /// let problem = Problem::sde(Mlp::new([2, 50, 2]), Diffusion::ito(Mlp::new([2, 2])), 0.0, 1.0);
    /// assert_eq!(problem.parameter_count(), (3 * 50 + 51 * 2) + 3 * 2);
    /// ```
    #[must_use]
    pub const fn sde(drift: Mlp, diffusion: Diffusion, t0: f64, t1: f64) -> Self {
        Self { field: drift, diffusion: Some(diffusion), t0, t1 }
    }

    /// Number of features `D` of a state.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.field.sizes().first().copied().unwrap_or(0)
    }

    /// Number of parameters: the field's, then those of the diffusion.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        let diffusion = self.diffusion.as_ref().map_or(0, |diffusion| diffusion.network.parameter_count());
        self.field.parameter_count().saturating_add(diffusion)
    }

    /// Draws all parameters: a pure function of the networks and `seed`; see [`Mlp::initialize`].
    #[must_use]
    pub fn initialize<R: Real>(&self, seed: u64) -> Vec<R> {
        if self.validate_networks().is_err() {
            return Vec::new();
        }
        let mut theta = self.field.initialize(seed);
        if let Some(diffusion) = &self.diffusion {
            theta.extend(diffusion.network.initialize_from::<R>(seed, Mlp::DIFFUSION_STREAM));
        }
        theta
    }

    /// Checks the networks and the interval.
    ///
    /// # Errors
    /// [`Error::Argument`] naming what does not fit.
    pub fn validate(&self) -> Result<()> {
        self.validate_networks()?;
        let sizes = self.field.sizes();
        if sizes.first() != sizes.last() {
            let remedy = "a vector field's output is as wide as its input: make the first and last width equal";
            return Err(Error::argument("Problem::field", format!("{sizes:?}"), remedy));
        }
        for (name, t) in [("Problem::t0", self.t0), ("Problem::t1", self.t1)] {
            if !t.is_finite() {
                return Err(Error::argument(name, t, "the interval needs finite ends"));
            }
        }
        self.diffusion.as_ref().map_or(Ok(()), |diffusion| self.validate_noise(diffusion))
    }

    /// Whether the interval has no length, so that the solution is the initial state.
    pub(crate) fn stands_still(&self) -> bool {
        self.t0 == self.t1
    }

    /// `t`, or the end of the interval from which rounding alone parts it: a sum of tenths does not meet 0.3.
    pub(crate) fn settled(&self, t: f64) -> f64 {
        settled(t, [self.t0, self.t1])
    }

    /// Checks the widths of the networks, and that there are not too many parameters.
    pub(crate) fn validate_networks(&self) -> Result<()> {
        self.field.validate()?;
        let Some(diffusion) = &self.diffusion else { return Ok(()) };
        diffusion.network.validate()?;
        check_parameters("Diffusion::network", diffusion.network.sizes(), self.parameter_count())
    }

    fn validate_noise(&self, diffusion: &Diffusion) -> Result<()> {
        let (sizes, dim) = (diffusion.network.sizes(), self.dim());
        if sizes.first() != Some(&dim) || sizes.last() != Some(&dim) {
            let remedy = format!("noise is diagonal: give it {dim} inputs and {dim} outputs, as the drift has");
            return Err(Error::argument("Diffusion::network", format!("{sizes:?}"), remedy));
        }
        if self.t1 < self.t0 {
            return Err(Error::argument("Problem::t1", self.t1, "noise knows one direction of time: put t1 after t0"));
        }
        // Steps end on ticks of the interval, which must be told apart as `f64`.
        let resolvable = (self.t1 - self.t0) * 2f64.powi(20);
        if !self.stands_still() && self.t0.abs().max(self.t1.abs()) > resolvable {
            let remedy = "the interval is too short for times so far from 0: measure time from its start";
            return Err(Error::argument("Problem::t0", self.t0, remedy));
        }
        Ok(())
    }
}

/// Bounds on the local error: `e` is measured in units of `atol + rtol * max(|y|, |y+|)`, element by element.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tolerances {
    /// Absolute part, in units of the state, for all features alike; see [`SolverOptions::atol_per_feature`] where their
    /// sizes differ. What is smaller than this is not resolved: choose it below the smallest size of a feature that matters.
    pub atol: f64,
    /// Relative part.
    pub rtol: f64,
}

impl Tolerances {
    /// Absolute and relative tolerance of the same size.
    #[must_use]
    pub const fn both(tolerance: f64) -> Self {
        Self { atol: tolerance, rtol: tolerance }
    }

    /// Checks that both are positive and within reach of `R`: the relative one is at least 1e-9 at `f32`, 1e-15 at `f64`,
    /// the absolute one a normal number.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the tolerance.
    pub fn validate<R: Real>(&self) -> Result<()> {
        let narrow = R::EPSILON.to_f64() > 1e-10;
        let least = if narrow { 1e-9 } else { 1e-15 };
        for (name, value) in [("Tolerances::atol", self.atol), ("Tolerances::rtol", self.rtol)] {
            if !(value > 0.0 && R::from_f64(value).is_finite()) {
                return Err(Error::argument(
                    name,
                    value,
                    format!("tolerances are positive, finite numbers of {}", R::NAME),
                ));
            }
        }
        if self.rtol < least {
            let remedy = format!("{} cannot resolve less than {least:e}: loosen it, or solve at f64", R::NAME);
            return Err(Error::argument("Tolerances::rtol", format!("{:e}", self.rtol), remedy));
        }
        let [smallest, largest] = normal_numbers::<R>();
        for (name, value) in [("Tolerances::atol", self.atol), ("Tolerances::rtol", self.rtol)] {
            if !(smallest..=largest).contains(&value) {
                let remedy = format!("{} has normal numbers from {smallest:e} to {largest:e}", R::NAME);
                return Err(Error::argument(name, format!("{value:e}"), remedy));
            }
        }
        Ok(())
    }

    /// A warning where the error estimate consists mostly of rounding.
    #[must_use]
    pub fn warning<R: Real>(&self) -> Option<String> {
        let noise = 80.0 * R::EPSILON.to_f64();
        (self.rtol < noise).then(|| {
            format!(
                "tolerance {:e} is near the rounding of {}: NFE partly measures noise; 1e-5 and above are safe",
                self.rtol,
                R::NAME
            )
        })
    }
}

impl Tolerances {
    /// A warning where the absolute tolerance is as large as a feature: `states` are those of a batch, `[B][D]`, the
    /// initial ones for example, and `dim` is `D`. A feature that is 0 in all of them has no size, and is passed over.
    #[must_use]
    pub fn warning_at<R: Real>(&self, states: &[R], dim: usize) -> Option<String> {
        warning_at(|_| self.atol, states, dim)
    }
}

/// The warning of [`Tolerances::warning_at`] for the first feature whose `atol` is as large as it.
fn warning_at<R: Real>(atol: impl Fn(usize) -> f64, states: &[R], dim: usize) -> Option<String> {
    let size =
        |feature: usize| states.iter().skip(feature).step_by(dim.max(1)).fold(0f64, |m, y| m.max(y.to_f64().abs()));
    let ruled = |&(d, size): &(usize, f64)| 0.0 < size && size <= 10.0 * atol(d);
    (0..dim.min(states.len())).map(|d| (d, size(d))).find(ruled).map(|(d, size)| {
        format!(
            "atol {:e} is no less than a tenth of feature {d}, which is at most {size:e}: its error is not controlled; \
             choose atol well below it",
            atol(d)
        )
    })
}

impl Default for Tolerances {
    fn default() -> Self {
        Self::both(1e-5)
    }
}

/// The first step's size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum InitialStep {
    /// From the derivative at the start (Hairer, Nørsett & Wanner, II.4): two evaluations, of which the first is
    /// also the first stage. The default.
    #[default]
    Automatic,
    /// Given, as a positive length.
    Length(f64),
    /// As long as earlier solves would have wished for, of which a running mean is kept ([`Learnt`](super::Learnt)):
    /// `0.9 exp(mean of ln(h_1 min(10, 0.9 E_1^(-1/q))))` over their first accepted steps, automatic where there was none.
    /// Saves an evaluation and the way up; a wrong guess costs a rejected attempt. In an ensemble, for all what four fifths
    /// of the trajectories exceed.
    Carried,
}

/// How steps are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StepControl {
    /// So that the local error stays within tolerances.
    Adaptive {
        /// Bounds on the local error.
        tolerances: Tolerances,
        /// Chooses the next step size.
        controller: Controller,
        /// Size of the first step.
        initial_step: InitialStep,
    },
    /// As many equal steps.
    Fixed {
        /// How many.
        steps: usize,
    },
}

impl StepControl {
    /// Adaptive steps without start-up, as few as the tolerance allows: by the last error alone, from the first step that
    /// earlier solves wished for. They come nearer to the tolerance than the default ones, of which many are start-up.
    ///
    /// ```
    /// use fewsteps::{SolverOptions, StepControl, Tolerances};
    /// let options = SolverOptions::default().step_control(StepControl::prompt(Tolerances::both(1e-5)));
    /// ```
    #[must_use]
    pub fn prompt(tolerances: Tolerances) -> Self {
        Self::Adaptive { tolerances, controller: Controller::I.prompt(), initial_step: InitialStep::Carried }
    }

    /// Adaptive steps with the default controller and initial step.
    #[must_use]
    pub fn adaptive(tolerances: Tolerances) -> Self {
        Self::Adaptive { tolerances, controller: Controller::default(), initial_step: InitialStep::default() }
    }
}

impl Default for StepControl {
    fn default() -> Self {
        Self::adaptive(Tolerances::default())
    }
}

/// Who shares a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// The whole batch: one time, one step size, the error's mean square over batch and features. The papers'
    /// semantics, and the default.
    #[default]
    Lockstep,
    /// Each trajectory has its own time, step size, status and NFE, which never depend on its batch.
    Ensemble,
}

/// Which states a solve returns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SaveAt {
    /// The last one.
    #[default]
    End,
    /// Those at the given times, in the direction of integration, by interpolation within steps. A time that rounding
    /// alone parts from an end of the interval is that end.
    Times(Vec<f64>),
    /// All accepted ones, the initial state included.
    Steps,
    /// All accepted ones with their stages, so that the solution can be evaluated at any time.
    Dense,
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
    /// path only where they have the same cells; see [`Brownian`](super::Brownian).
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

    /// The times within the interval at which steps end, in the direction of integration; with noise on ticks of the path.
    pub(crate) fn stops(&self, problem: &Problem) -> Vec<f64> {
        let Problem { t0, t1, .. } = *problem;
        let path = problem.diffusion.as_ref().and_then(|_| self.path(problem, Paths::default()).ok());
        let resolved = |t: f64| path.map_or(t, |path| path.time(path.tick(t)));
        let mut stops: Vec<f64> = self.stop_at.iter().map(|&t| problem.settled(resolved(t))).collect();
        stops.sort_by(|a, b| if t1 > t0 { a.total_cmp(b) } else { b.total_cmp(a) });
        stops.dedup_by(|a, b| (*a - *b).abs() <= shortest_step(*a, *b, t1 - t0));
        stops.retain(|t| *t != t0 && *t != t1);
        stops
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
        if !fixed && self.stops(problem).len() >= self.max_steps {
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
        self.validate_steps(problem)?;
        self.validate_times(problem)
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

/// The smallest and the largest positive normal number of `R`.
fn normal_numbers<R: Real>() -> [f64; 2] {
    let narrow = R::EPSILON.to_f64() > 1e-10;
    if narrow { [f32::MIN_POSITIVE, f32::MAX].map(f64::from) } else { [f64::MIN_POSITIVE, f64::MAX] }
}

/// `t`, or the nearer of the two ends if rounding alone parts them.
pub(crate) fn settled(t: f64, [t0, t1]: [f64; 2]) -> f64 {
    let end = if (t1 - t).abs() <= (t0 - t).abs() { t1 } else { t0 };
    if (end - t).abs() <= 8.0 * f64::EPSILON * t0.abs().max(t1.abs()) { end } else { t }
}

/// The length up to which a step between two times is lost in their rounding, or in that of the interval's length.
pub(crate) fn shortest_step(t: f64, t_next: f64, span: f64) -> f64 {
    (16.0 * f64::EPSILON * t.abs().max(t_next.abs())).max(f64::EPSILON * span.abs())
}
