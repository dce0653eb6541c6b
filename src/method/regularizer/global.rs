//! [`Global`]: every accepted step.

use serde::{Deserialize, Serialize};

use super::local::stiffness;
use super::{Measure, check_weight};
use crate::error::Result;
use crate::method::{Budget, Schedule, Tableau};

/// What is made of the accepted steps' measures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Aggregate {
    /// Their sum, as the paper has it. The default.
    #[default]
    Sum,
    /// Their mean over the steps.
    Mean,
    /// Their sum over one more than the steps: the mean of the paper's code, which counts the start as a step of length 0.
    PublishedMean,
    /// The largest one.
    Max,
}

/// Global regularization: the solver's error estimates of all accepted steps (A. Pal, Y. Ma, V. Shah, C. Rackauckas, Opening
/// the blackbox: accelerating neural differential equations by regularizing internal solver heuristics, ICML 2021). Steps that
/// were rejected count for nothing; step sizes are constants, states and parameters are not.
///
/// It costs no evaluation beyond those of the backward pass, but reaches every step, so that its gradient needs the states
/// of all of them: local regularization was made to need one.
///
/// ```
/// use fewsteps::{Aggregate, Global, Schedule};
/// let published = Global::error().aggregate(Aggregate::PublishedMean).coefficient(Schedule::exponential(100.0, 10.0, 7500));
/// # assert!(published.validate().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Global {
    /// What is measured of a step: `E |h|`; or `E^(1/q)`, the share of an ideal step that it was; or the stiffness over the
    /// size of the method's region of stability, `S |h|`, of which the largest is that of `S` itself.
    pub measure: Measure,
    /// What is made of the steps' measures.
    pub aggregate: Aggregate,
    /// Weight of the penalty in the loss.
    pub coefficient: Schedule,
    /// A target for NFE, which the coefficient then follows from where it is.
    #[serde(default)]
    pub budget: Option<Budget>,
}

impl Global {
    /// The sum of a measure over all steps.
    const fn sum(measure: Measure) -> Self {
        Self { measure, aggregate: Aggregate::Sum, coefficient: Schedule::Constant(0.1), budget: None }
    }

    /// The sum of `E |h|`: the paper's ERNODE. The coefficient is a tenth, with which digits lose no accuracy at tolerances of
    /// 1e-5; the paper has 100 to 10 at 1.4e-8.
    #[must_use]
    pub fn error() -> Self {
        Self::sum(Measure::Error)
    }

    /// The number of steps that an ideal controller would need, `sum E^(1/q)`, so that the coefficient is the price of one
    /// step.
    #[must_use]
    pub fn step_count() -> Self {
        Self::sum(Measure::StepCount)
    }

    /// The sum of `S |h|`: the paper's SRNODE, `S = |k_s - k_(s-1)| / |g_s - g_(s-1)|` of the last two slopes of a step and
    /// their states, over the size of the method's region of stability. For [`Method::Tsit5`](crate::Method::Tsit5) and
    /// [`Method::Dopri5`](crate::Method::Dopri5), with [`Adjoint::Discrete`](crate::Adjoint::Discrete). The coefficient is a
    /// tenth, the paper's for MNIST.
    #[must_use]
    pub fn stiffness() -> Self {
        Self::sum(Measure::Stiffness)
    }

    /// Sets what is made of the steps' measures.
    #[must_use]
    pub const fn aggregate(mut self, aggregate: Aggregate) -> Self {
        self.aggregate = aggregate;
        self
    }

    /// Sets the weight of the penalty in the loss.
    #[must_use]
    pub fn coefficient(mut self, coefficient: impl Into<Schedule>) -> Self {
        self.coefficient = coefficient.into();
        self
    }

    /// Sets a target for NFE, with a tenth of the coefficient that there is to begin with.
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Self {
        Budget::begin(&mut self.coefficient);
        self.budget = Some(budget);
        self
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) for a coefficient that is not finite, or with a budget no positive constant.
    pub fn validate(&self) -> Result<()> {
        check_weight("Global::coefficient", &self.coefficient, self.budget.as_ref())
    }
}

/// A penalty of all accepted steps, as an engine sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct GlobalPenalty {
    /// What is measured.
    pub measure: Measure,
    /// What is made of the steps' measures.
    pub aggregate: Aggregate,
    /// Weight in the loss, at this training step; with a budget, that of the first step.
    pub coefficient: f64,
    /// What the weight follows, if it does.
    pub budget: Option<Budget>,
}

impl GlobalPenalty {
    /// The measure of a step of length `h` with these norms, and its derivatives by them: of its error and none, or of the
    /// differences of its last two slopes and states.
    pub(crate) fn of_step(&self, norms: [f64; 2], h: f64, tableau: &Tableau) -> (f64, [f64; 2]) {
        let ([error, _], power) = (norms, tableau.error_power());
        match self.measure {
            Measure::StepCount => {
                let count = error.powf(power.recip());
                (count, [if error > 0.0 { count / (power * error) } else { 0.0 }, 0.0])
            }
            Measure::Error => (error * h.abs(), [h.abs(), 0.0]),
            Measure::Stiffness => {
                // The largest one is a property of the trajectory, and not of the steps that it was cut into.
                let length = if self.aggregate == Aggregate::Max { 1.0 } else { h.abs() };
                let (ratio, slopes) = stiffness(norms, tableau);
                (length * ratio, slopes.map(|slope| length * slope))
            }
        }
    }

    /// What a trajectory's steps' measures make together.
    pub(crate) fn of_steps(&self, measures: impl Iterator<Item = f64> + Clone) -> f64 {
        let (sum, count) = (measures.clone().sum::<f64>(), measures.clone().count() as f64);
        match self.aggregate {
            Aggregate::Sum => sum,
            Aggregate::Mean if count == 0.0 => 0.0,
            Aggregate::Mean => sum / count,
            Aggregate::PublishedMean => sum / (count + 1.0),
            Aggregate::Max => measures.fold(0.0, f64::max),
        }
    }

    /// How much the `step`-th of these measures has in that.
    pub(crate) fn share(&self, step: usize, measures: impl Iterator<Item = f64> + Clone) -> f64 {
        let count = || measures.clone().count() as f64;
        match self.aggregate {
            Aggregate::Sum => 1.0,
            Aggregate::Mean => count().recip(),
            Aggregate::PublishedMean => (count() + 1.0).recip(),
            Aggregate::Max => {
                let largest = self.of_steps(measures.clone());
                let first = measures.clone().position(|measure| measure == largest);
                f64::from(u8::from(first == Some(step)))
            }
        }
    }
}
