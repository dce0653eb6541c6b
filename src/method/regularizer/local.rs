//! [`Local`]: one step at a random time.

use serde::{Deserialize, Serialize};

use super::{check_draws, check_weight};
use crate::error::Result;
use crate::method::{Budget, Schedule, Tableau};

/// Where a penalised step starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PenaltyAt {
    /// At a time drawn uniformly from the interval; the state comes from the interpolant, the solve is unchanged.
    #[default]
    Unbiased,
    /// At the start of an accepted step, drawn uniformly among the steps.
    Biased,
}

/// What is measured of a penalised step, of size `h`, scaled error norm `E` and error power `q`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Measure {
    /// `E |h|` (Pal, Edelman & Rackauckas, ICML 2023).
    Error,
    /// `RMS(k_s - k_(s-1)) / (RMS(g_s - g_(s-1)) + eps) / stability size` (ibid.), with `g_i` the stage states. They
    /// report that it does not help locally; Tsit5 and Dopri5 only.
    ///
    /// Of a short step both differences are rounding. A trajectory of which either is below 1.5e-5 at `f32`, 2.8e-14 at
    /// `f64` (128 times the distance of two numbers at 1), times what it is a difference of, counts for nothing: measure
    /// and gradient are 0 where no trajectory is left. From there on both are within a factor of 2; below they would be up
    /// to a thousand times too large.
    Stiffness,
    /// `|t1 - t0| E^(1/q) / |h|`: the number of steps an ideal controller would need, so that the coefficient is
    /// the price of one step. The default.
    #[default]
    StepCount,
}

/// Size of the penalised step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PenaltyStep {
    /// The automatic initial step at that state, as the paper's code has it.
    FreshInitial,
    /// The step the solver took there; as long as the one before it, where it was cut short by the end of the interval or
    /// by a stop.
    Taken,
    /// Seven tenths of an ideal controller's step, `0.7 |t1 - t0| / n` with `n` a running mean of earlier steps' step-count
    /// measure ([`Learnt`](crate::Learnt)), at most the whole interval; at first the step the solver took. Its error, 0.17 for
    /// a method of order 5, is neither rounding, as that of a solver's short steps may be at `f32`, nor beyond the
    /// estimate's reach. It may reach past the interval's end. For the step-count measure alone. The default.
    #[default]
    Ideal,
}

/// The noise of the penalised step, in problems with noise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PenaltyNoise {
    /// Increments of its own, as the paper's code has it. The default.
    #[default]
    Fresh,
    /// Those of the path that the solve follows.
    Path,
}

/// What the penalty is differentiated through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PenaltyGradient {
    /// Parameters in the stages after the first; the state and `k1` are constants. The paper's code does this.
    Published,
    /// Parameters in every stage, `k1` too; the state is a constant. The default.
    #[default]
    Step,
    /// Parameters and the state, continued through the adjoint to the initial state.
    Full,
}

/// Local regularization: the solver's own estimate on one step at a random time.
///
/// ```
/// use fewsteps::{Local, Schedule};
/// let published = Local::published_unbiased().coefficient(Schedule::exponential(2.5, 1.0, 7500));
/// let ours = Local::unbiased().coefficient(0.2);
/// # assert!(published.validate().is_ok() && ours.validate().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Local {
    /// Where the step starts.
    pub at: PenaltyAt,
    /// What is measured.
    pub measure: Measure,
    /// Size of the step.
    pub step: PenaltyStep,
    /// What is differentiated.
    pub gradient: PenaltyGradient,
    /// The step's noise, in problems with noise.
    #[serde(default)]
    pub noise: PenaltyNoise,
    /// Number of steps per batch, one in each of as many equal parts of the interval; their mean is the penalty.
    pub times: usize,
    /// Share of the batch on which the step is taken, in `(0, 1]`, rounded up to whole tiles of 32. The batch is
    /// shuffled, so its first rows are a fair sample of it.
    pub fraction: f64,
    /// Weight of the penalty in the loss.
    pub coefficient: Schedule,
    /// A target for NFE, which the weight then follows; it begins with the coefficient, which has to be constant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
}

impl Local {
    /// The library's default at a uniform time: step-count measure, ideal step, every stage differentiated, a tenth as the
    /// price of a step. On digits and MNIST accuracy is lost from three times that price on.
    #[must_use]
    pub fn unbiased() -> Self {
        Self {
            at: PenaltyAt::Unbiased,
            measure: Measure::default(),
            step: PenaltyStep::default(),
            gradient: PenaltyGradient::default(),
            noise: PenaltyNoise::default(),
            times: 1,
            fraction: 0.125,
            coefficient: Schedule::Constant(0.1),
            budget: None,
        }
    }

    /// As [`Local::unbiased`], at the start of a step the solver took.
    #[must_use]
    pub fn biased() -> Self {
        Self { at: PenaltyAt::Biased, ..Self::unbiased() }
    }

    /// The paper's code: error measure, fresh initial step, state and `k1` constant, the whole batch.
    #[must_use]
    pub fn published_unbiased() -> Self {
        Self {
            measure: Measure::Error,
            step: PenaltyStep::FreshInitial,
            gradient: PenaltyGradient::Published,
            fraction: 1.0,
            coefficient: Schedule::Constant(2.5),
            ..Self::unbiased()
        }
    }

    /// As [`Local::published_unbiased`], at the start of a step the solver took.
    #[must_use]
    pub fn published_biased() -> Self {
        Self { at: PenaltyAt::Biased, ..Self::published_unbiased() }
    }

    /// The paper's code for problems with noise: error measure, fresh initial step and noise, the state constant, the whole
    /// batch.
    #[must_use]
    pub fn published_unbiased_sde() -> Self {
        let coefficient = Schedule::Constant(1000.0);
        Self { gradient: PenaltyGradient::Step, coefficient, ..Self::published_unbiased() }
    }

    /// As [`Local::published_unbiased_sde`], at the start of a step the solver took.
    #[must_use]
    pub fn published_biased_sde() -> Self {
        Self { at: PenaltyAt::Biased, ..Self::published_unbiased_sde() }
    }

    /// Sets where the penalised steps are.
    #[must_use]
    pub const fn at(mut self, at: PenaltyAt) -> Self {
        self.at = at;
        self
    }

    /// Sets what is measured. Of an ideal step that is the step count alone: for others it becomes the one that the solver
    /// took.
    #[must_use]
    pub fn measure(mut self, measure: Measure) -> Self {
        if measure != Measure::StepCount && self.step == PenaltyStep::Ideal {
            self.step = PenaltyStep::Taken;
        }
        self.measure = measure;
        self
    }

    /// Sets the size of the step.
    #[must_use]
    pub fn step(mut self, step: PenaltyStep) -> Self {
        self.step = step;
        self
    }

    /// Sets what is differentiated.
    #[must_use]
    pub fn gradient(mut self, gradient: PenaltyGradient) -> Self {
        self.gradient = gradient;
        self
    }

    /// Sets the noise of the step, in problems with noise.
    #[must_use]
    pub fn noise(mut self, noise: PenaltyNoise) -> Self {
        self.noise = noise;
        self
    }

    /// Sets the number of steps per batch.
    #[must_use]
    pub fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    /// Sets the share of the batch on which the step is taken.
    #[must_use]
    pub fn fraction(mut self, fraction: f64) -> Self {
        self.fraction = fraction;
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
    /// [`Error::Argument`](crate::Error::Argument) for no times, a share outside `(0, 1]`, or a coefficient that is not finite,
    /// or with a budget no positive constant.
    pub fn validate(&self) -> Result<()> {
        check_draws(["Local::times", "Local::fraction"], self.times, self.fraction)?;
        check_weight("Local::coefficient", &self.coefficient, self.budget.as_ref())
    }
}

/// Keeps the stiffness measure finite when two stage states coincide.
pub(crate) const STIFFNESS_EPSILON: f64 = 1e-12;

/// The stiffness that the norms of the differences of a step's last two slopes and states show, in units of the size of the
/// method's region of stability, and its derivatives by them.
pub(crate) fn stiffness([slopes, states]: [f64; 2], tableau: &Tableau) -> (f64, [f64; 2]) {
    let size = tableau.stability_size.unwrap_or(1.0);
    let below = states + STIFFNESS_EPSILON;
    let ratio = slopes / below / size;
    (ratio, [1.0 / below / size, -ratio / below])
}
