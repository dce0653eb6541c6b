//! [`Regularizer`]: what training adds to the loss so that the dynamics become cheap to integrate.
//!
//! A regularizer knows no kernel: it lowers to [`Hooks`], which the engines understand.

mod end_time;
mod global;
mod local;
mod pointwise;

use serde::{Deserialize, Serialize};

use super::{Adjoint, Budget, Keep, SaveAt, Schedule, SolverOptions, StepControl};
use crate::error::{Error, Result};
pub use end_time::EndTime;
pub use global::{Aggregate, Global, GlobalPenalty};
#[cfg(test)]
pub(crate) use local::STIFFNESS_EPSILON;
pub(crate) use local::stiffness;
pub use local::{Local, Measure, PenaltyAt, PenaltyGradient, PenaltyNoise, PenaltyStep};
pub(crate) use pointwise::PointDraws;
pub use pointwise::{PointMeasure, PointPenalty, PointValue, PointValues, Pointwise};

/// What training adds to the loss, or does to the solve. Evaluation never does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Regularizer {
    /// Nothing.
    #[default]
    None,
    /// One step at a random time.
    Local(Local),
    /// Every accepted step.
    Global(Global),
    /// A random end of the interval.
    EndTime(EndTime),
    /// The dynamics at a random time.
    Pointwise(Pointwise),
    /// Several, each of another kind or measure.
    All(Vec<Self>),
}

impl From<Local> for Regularizer {
    fn from(local: Local) -> Self {
        Self::Local(local)
    }
}

impl From<Global> for Regularizer {
    fn from(global: Global) -> Self {
        Self::Global(global)
    }
}

impl From<EndTime> for Regularizer {
    fn from(end_time: EndTime) -> Self {
        Self::EndTime(end_time)
    }
}

impl From<Pointwise> for Regularizer {
    fn from(pointwise: Pointwise) -> Self {
        Self::Pointwise(pointwise)
    }
}

/// What an engine has to do in a training step beyond the solve.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Hooks {
    /// Steps to be penalised.
    pub penalty: Option<StepPenalty>,
    /// The penalty of all accepted steps.
    pub global: Option<GlobalPenalty>,
    /// Measures at random times, in the order of [`PointMeasure::ALL`].
    pub pointwise: [Option<PointPenalty>; PointMeasure::COUNT],
    /// Where the solve ends.
    pub end_time: Option<EndTime>,
}

/// A [`Budget`] that the coefficients of penalties follow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Followed {
    pub(crate) budget: Budget,
    /// The coefficient that the first of them begins with, and which is the multiplier.
    pub(crate) start: f64,
}

impl Followed {
    /// The coefficient of a penalty that began with `own`, where that of the first one is `now`.
    pub(crate) fn of(&self, own: f64, now: f64) -> f64 {
        now * (own / self.start)
    }
}

impl Hooks {
    /// The budget that penalties follow, if there is one.
    pub(crate) fn followed(&self) -> Option<Followed> {
        let local = self.penalty.iter().map(|p| (p.budget, p.coefficient));
        let global = self.global.iter().map(|p| (p.budget, p.coefficient));
        let points = self.pointwise.iter().flatten().map(|p| (p.budget, p.coefficient));
        local.chain(global).chain(points).find_map(|(budget, start)| budget.map(|budget| Followed { budget, start }))
    }

    /// Moves the coefficients that follow it, such that the first one's is `now`.
    pub(crate) fn follow(&mut self, now: impl FnOnce(Followed) -> f64) {
        let Some(followed) = self.followed() else { return };
        let now = now(followed);
        let local = self.penalty.iter_mut().map(|p| (p.budget, &mut p.coefficient));
        let global = self.global.iter_mut().map(|p| (p.budget, &mut p.coefficient));
        let points = self.pointwise.iter_mut().flatten().map(|p| (p.budget, &mut p.coefficient));
        let following = local.chain(global).chain(points).filter(|(budget, _)| budget.is_some());
        following.for_each(|(_, coefficient)| *coefficient = followed.of(*coefficient, now));
    }
}

/// Steps to be penalised, as an engine sees them.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct StepPenalty {
    /// Where they start.
    pub at: PenaltyAt,
    /// What is measured.
    pub measure: Measure,
    /// Their size.
    pub step: PenaltyStep,
    /// Their length as a share of the interval, if earlier steps have taught it: for [`PenaltyStep::Ideal`].
    pub length: Option<f64>,
    /// What is differentiated.
    pub gradient: PenaltyGradient,
    /// Its noise, if any.
    pub noise: PenaltyNoise,
    /// How many.
    pub times: usize,
    /// On which share of the batch.
    pub fraction: f64,
    /// Weight in the loss, at this training step; with a budget, that of the first step.
    pub coefficient: f64,
    /// What the weight follows, if it does.
    pub budget: Option<Budget>,
}

impl From<(&Local, u64)> for StepPenalty {
    fn from((local, step): (&Local, u64)) -> Self {
        Self {
            at: local.at,
            measure: local.measure,
            step: local.step,
            length: None,
            gradient: local.gradient,
            noise: local.noise,
            times: local.times,
            fraction: local.fraction,
            coefficient: local.coefficient.value(step),
            budget: local.budget,
        }
    }
}

impl Regularizer {
    /// This one and another.
    #[must_use]
    pub fn and(self, other: impl Into<Self>) -> Self {
        let mut all = Vec::new();
        for regularizer in [self, other.into()] {
            match regularizer {
                Self::None => {}
                Self::All(several) => all.extend(several),
                single => all.push(single),
            }
        }
        if all.len() == 1 { all.remove(0) } else { Self::All(all) }
    }

    /// The single ones that it is made of.
    pub(crate) fn terms(&self) -> Vec<&Self> {
        match self {
            Self::None => Vec::new(),
            Self::All(all) => all.iter().flat_map(Self::terms).collect(),
            single => vec![single],
        }
    }

    /// The local one, if there is one.
    #[must_use]
    pub fn local(&self) -> Option<&Local> {
        self.terms().into_iter().find_map(|term| if let Self::Local(local) = term { Some(local) } else { None })
    }

    /// The one of all accepted steps, if there is one.
    #[must_use]
    pub fn global(&self) -> Option<&Global> {
        self.terms().into_iter().find_map(|term| if let Self::Global(global) = term { Some(global) } else { None })
    }

    /// Those of measures at random times.
    #[must_use]
    pub fn pointwise(&self) -> Vec<&Pointwise> {
        let terms = self.terms().into_iter();
        terms.filter_map(|term| if let Self::Pointwise(pointwise) = term { Some(pointwise) } else { None }).collect()
    }

    /// What the engine has to do at training step `step`.
    #[must_use]
    pub fn lower(&self, step: u64) -> Hooks {
        let mut hooks = Hooks::default();
        for term in self.terms() {
            match term {
                Self::Local(local) => hooks.penalty = Some((local, step).into()),
                Self::Global(Global { measure, aggregate, coefficient, budget }) => {
                    let (measure, aggregate, coefficient) = (*measure, *aggregate, coefficient.value(step));
                    hooks.global = Some(GlobalPenalty { measure, aggregate, coefficient, budget: *budget });
                }
                Self::Pointwise(pointwise) => {
                    hooks.pointwise[pointwise.measure.index()] = Some((pointwise, step).into());
                }
                Self::EndTime(end_time) => hooks.end_time = Some(*end_time),
                Self::None | Self::All(_) => {}
            }
        }
        hooks
    }

    /// Checks the regularizer's numbers and that a solve can provide what it measures.
    ///
    /// # Errors
    /// [`Error::Argument`] naming what does not fit.
    pub fn validate(&self, options: &SolverOptions) -> Result<()> {
        let terms = self.terms();
        for (n, term) in terms.iter().enumerate() {
            let same = |other: &&Self| match (*other, *term) {
                (Self::Pointwise(other), Self::Pointwise(term)) => other.measure == term.measure,
                (other, term) => std::mem::discriminant(other) == std::mem::discriminant(term),
            };
            if terms[..n].iter().any(same) {
                let remedy = "one of each kind adds up to something: raise its coefficient, or its number of times";
                return Err(Error::argument("regularizer", format!("{term:?}, the second of its kind"), remedy));
            }
            match term {
                Self::Local(local) => validate_local(local, options)?,
                Self::Global(global) => validate_global(global, options)?,
                Self::Pointwise(pointwise) => validate_pointwise(pointwise, options)?,
                Self::EndTime(end_time) => validate_end_time(end_time, options)?,
                Self::None | Self::All(_) => {}
            }
        }
        self.check_budgets(options)
    }

    /// The budget that coefficients follow, if there is one.
    #[must_use]
    pub fn budget(&self) -> Option<Budget> {
        self.lower(0).followed().map(|followed| followed.budget)
    }

    /// Refuses different budgets, and one where steps are not chosen.
    fn check_budgets(&self, options: &SolverOptions) -> Result<()> {
        let mut budgets = self.terms().into_iter().filter_map(|term| match term {
            Self::Local(local) => Some(("Local::budget", local.budget?)),
            Self::Global(global) => Some(("Global::budget", global.budget?)),
            Self::Pointwise(pointwise) => Some(("Pointwise::budget", pointwise.budget?)),
            Self::None | Self::EndTime(_) | Self::All(_) => None,
        });
        let Some((argument, first)) = budgets.next() else { return Ok(()) };
        if let StepControl::Fixed { steps } = options.step_control {
            let remedy = format!("{steps} equal steps cost what they cost: take adaptive ones, or no budget");
            return Err(Error::argument(argument, format!("{first:?}"), remedy));
        }
        if let Some((argument, other)) = budgets.find(|(_, budget)| *budget != first) {
            let remedy =
                format!("there is one NFE, which another penalty wants to be {}: give both one budget", first.nfe);
            return Err(Error::argument(argument, format!("{other:?}"), remedy));
        }
        Ok(())
    }
}

/// Checks the weight of a penalty, named `argument`, and the budget that it follows, if it does.
fn check_weight(argument: &'static str, coefficient: &Schedule, budget: Option<&Budget>) -> Result<()> {
    let Some(budget) = budget else { return coefficient.validate(argument) };
    budget.validate()?;
    match coefficient {
        Schedule::Constant(start) if *start > 0.0 && start.is_finite() => Ok(()),
        _ => {
            let remedy = "a budget moves the coefficient itself, from a positive one: give a constant, or no budget";
            Err(Error::argument(argument, format!("{coefficient:?}"), remedy))
        }
    }
}

/// Checks at how many times a penalty is drawn, and on which share of the batch; `names` are the arguments'.
fn check_draws(names: [&'static str; 2], times: usize, fraction: f64) -> Result<()> {
    if times == 0 || times > 64 {
        return Err(Error::argument(names[0], times, "take 1 to 64 times per batch"));
    }
    if !(fraction > 0.0 && fraction <= 1.0) {
        return Err(Error::argument(names[1], fraction, "choose a share of the batch in (0, 1]"));
    }
    Ok(())
}

fn validate_global(global: &Global, options: &SolverOptions) -> Result<()> {
    global.validate()?;
    check_saves(options)?;
    if let StepControl::Fixed { steps } = options.step_control {
        let remedy = "equal steps are judged by nobody and have no error estimates: take adaptive ones";
        return Err(Error::argument("regularizer", format!("global with {steps} fixed steps"), remedy));
    }
    if matches!(options.adjoint, Adjoint::Interpolating | Adjoint::Backsolve) {
        let remedy = "this adjoint does not go back over the steps: use Adjoint::Discrete, or Adjoint::Reversible";
        return Err(Error::argument("regularizer", format!("global with {:?}", options.adjoint), remedy));
    }
    if global.measure == Measure::Stiffness {
        check_stiffness("Global::measure", options)?;
        if options.adjoint == Adjoint::Reversible {
            let remedy = "the stiffness of all steps needs the steps that are kept: use Adjoint::Discrete";
            return Err(Error::argument("Global::measure", format!("Stiffness with {:?}", options.adjoint), remedy));
        }
    }
    Ok(())
}

/// Refuses the stiffness measure where a step has no two stages at its end.
fn check_stiffness(argument: &'static str, options: &SolverOptions) -> Result<()> {
    let tableau = options.method.tableau();
    if tableau.stability_size.is_some() {
        return Ok(());
    }
    let remedy = if tableau.noise.is_some() {
        "the stiffness measure knows no noise: take step-count or error"
    } else {
        "the stiffness measure needs two stages at the end of the step: dopri5 or tsit5"
    };
    Err(Error::argument(argument, format!("stiffness with {}", tableau.name), remedy))
}

fn validate_pointwise(pointwise: &Pointwise, options: &SolverOptions) -> Result<()> {
    pointwise.validate()?;
    check_saves(options)?;
    if pointwise.quadrature && !matches!(options.adjoint, Adjoint::Discrete { .. }) {
        let remedy = "quadrature is over the stages of kept steps: use Adjoint::Discrete, or a random time";
        return Err(Error::argument("regularizer", format!("quadrature with {:?}", options.adjoint), remedy));
    }
    if options.method.tableau().noise.is_some() {
        let remedy = "a path with noise has no derivatives: take a problem without, or Local";
        return Err(Error::argument(
            "regularizer",
            format!("pointwise with {}", options.method.tableau().name),
            remedy,
        ));
    }
    Ok(())
}

fn validate_end_time(end_time: &EndTime, options: &SolverOptions) -> Result<()> {
    end_time.validate()?;
    if options.save_at != SaveAt::End {
        let remedy = "a random end has no states at given times: save at the end, or leave it out";
        return Err(Error::argument("SolverOptions::save_at", format!("{:?}", options.save_at), remedy));
    }
    if options.method.tableau().noise.is_some() {
        let remedy = "a path of noise is laid out on its interval: take a problem without noise, or leave it out";
        return Err(Error::argument("regularizer", format!("end time with {}", options.method.tableau().name), remedy));
    }
    Ok(())
}

fn check_saves(options: &SolverOptions) -> Result<()> {
    if matches!(options.save_at, SaveAt::Steps | SaveAt::Dense) {
        let remedy = "a regularizer needs states saved at the end or at given times";
        return Err(Error::argument("SolverOptions::save_at", format!("{:?}", options.save_at), remedy));
    }
    Ok(())
}

fn validate_local(local: &Local, options: &SolverOptions) -> Result<()> {
    local.validate()?;
    check_saves(options)?;
    if local.step == PenaltyStep::Ideal && local.measure != Measure::StepCount {
        let remedy = "an ideal step's length follows the step-count measure: measure that, or take another step";
        return Err(Error::argument("Local::step", format!("Ideal with {:?}", local.measure), remedy));
    }
    let tableau = options.method.tableau();
    let kept = options.adjoint.keep(options.method);
    if local.at == PenaltyAt::Biased && local.gradient == PenaltyGradient::Full && kept == Keep::Dense {
        let remedy = "this adjoint does not stop at accepted steps: use Adjoint::Discrete, the unbiased kind, or the state \
                      constant";
        return Err(Error::argument("Local::gradient", format!("Full with {:?}", options.adjoint), remedy));
    }
    if kept.stride().is_none() && local.at == PenaltyAt::Biased {
        let remedy = "this adjoint keeps no states to start from: use Adjoint::Discrete, or the unbiased kind";
        return Err(Error::argument("Local::at", format!("biased with {:?}", options.adjoint), remedy));
    }
    if tableau.b_error.is_none() {
        return Err(Error::argument(
            "regularizer",
            format!("local with {}", tableau.name),
            "local regularization needs a method with an error estimate: tsit5, dopri5, bosh3 or heun; with noise sosri, sriw1, \
                 heun-stratonovich or reversible-heun",
        ));
    }
    if local.measure == Measure::Stiffness {
        check_stiffness("Local::measure", options)?;
    }
    Ok(())
}
