//! [`Pointwise`]: what the dynamics are like at a random time, or over all steps.

use serde::{Deserialize, Serialize};

use super::{PenaltyGradient, check_draws, check_weight};
use crate::error::{Error, Result};
use crate::math::{Purpose, Random};
use crate::method::{Budget, Schedule, Streams, Tableau};
use crate::problem::Field;
use crate::problem::program::Program;
use crate::problem::program::operation::{Operation, Source};

/// What is measured of the dynamics at a point: the mean over features of `g(t, y)^2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PointMeasure {
    /// The second total derivative of the state, `g = d^2 y/dt^2` (J. Kelly, J. Bettencourt, M. Johnson, D. Duvenaud, Learning
    /// differential equations that are easy to solve, Neural Information Processing Systems 2020).
    SecondDerivative,
    /// The third one.
    ThirdDerivative,
    /// Half of it, with `g = f`: the kinetic energy of C. Finlay, J.-H. Jacobsen, L. Nurbekyan, A. Oberman, How to train your
    /// neural ODE, ICML 2020.
    Kinetic,
    /// `g = df/dy e`, with random signs `e`, drawn once a solve: in the mean `|df/dy|_F^2 / D` (ibid., which takes
    /// `e^T df/dy`, of the same mean).
    Jacobian,
    /// `g = f - (y(t1) - y(t0)) / (t1 - t0)`, in which the two states are constants: how far the trajectory is from straight.
    Straightness,
}

impl PointMeasure {
    /// All of them.
    pub const ALL: [Self; Self::COUNT] =
        [Self::SecondDerivative, Self::ThirdDerivative, Self::Kinetic, Self::Jacobian, Self::Straightness];
    /// How many there are.
    pub(crate) const COUNT: usize = 5;

    /// Its place among all.
    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    /// What the mean square of `g` is multiplied by.
    pub(crate) const fn factor(self) -> f64 {
        if matches!(self, Self::Kinetic) { 0.5 } else { 1.0 }
    }

    /// What it costs, in evaluations of the field.
    pub(crate) const fn evaluations(self) -> usize {
        match self {
            Self::SecondDerivative | Self::Jacobian => 2,
            Self::ThirdDerivative => 3,
            Self::Kinetic | Self::Straightness => 1,
        }
    }

    /// The program of `g`, whose [`Source::Direction`] is what is random or constant in it.
    ///
    /// # Errors
    /// [`Error::Argument`] for a driven field, and for one of which `g` takes too many operations.
    pub(crate) fn program(self, field: &Field) -> Result<Program> {
        if let Some((name, _)) = field.driven_by().next() {
            let remedy = "measures at random times know no controls: take a field without, or Local, or Global";
            return Err(Error::argument("regularizer", format!("pointwise with control {name:?}"), remedy));
        }
        let program = field.program()?;
        let program = match self {
            Self::SecondDerivative => program.derivatives(2)?,
            Self::ThirdDerivative => program.derivatives(3)?,
            Self::Kinetic | Self::Straightness => program.into_owned(),
            Self::Jacobian => program.jacobian_vector(field.inputs())?,
        };
        let mut emitter = program.reopen();
        let mut g = program.outputs()[program.outputs().len() - 1];
        if self == Self::Straightness {
            let chord = emitter.emit(Operation::Input { source: Source::Direction, rows: field.inputs() });
            g = emitter.sub(g, chord);
        }
        // Of a flow the features alone: how its log-density moves is no part of its trajectory.
        if field.trace().is_some() {
            g = emitter.emit(Operation::Rows { x: g, first: 0, count: field.features() });
        }
        emitter.finish(&[g])
    }

    /// The program of `rho`: the mean square of `g`, with its factor.
    ///
    /// # Errors
    /// As [`PointMeasure::program`].
    pub(crate) fn density(self, field: &Field) -> Result<Program> {
        let program = self.program(field)?;
        let mut emitter = program.reopen();
        let g = program.outputs()[0];
        let square = emitter.emit(Operation::Dot(g, g));
        let share = emitter.literal(self.factor() / program.rows(g) as f64);
        let mean = emitter.mul(share, square);
        emitter.finish(&[mean])
    }
}

/// A measure of the dynamics at a random time, `|t1 - t0| rho(t_r, y(t_r))` with uniform `t_r`: an estimate of
/// `integral rho dt` over the trajectory without bias, at the cost of a point where quadrature takes all stages of all steps.
/// `rho` is a mean over features and batch, of a flow over those of its points. The state comes from the interpolant; the
/// solve is unchanged.
///
/// With [`Pointwise::quadrature`] the integral itself is taken instead, by the weights of the solver's own method.
///
/// Several measures may be added, each once, with their own coefficients. For problems without noise and controls, on both
/// engines; a device draws at most 64 times a step for regularizers of different [`Pointwise::times`], those of each number once.
///
/// ```
/// use fewsteps::{Pointwise, Regularizer};
/// let taynode = Regularizer::from(Pointwise::taylor(2)?.coefficient(0.01));
/// let rnode = Regularizer::from(Pointwise::kinetic()).and(Pointwise::jacobian());
/// # let _ = (taynode, rnode);
/// # Ok::<(), fewsteps::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Pointwise {
    /// What is measured.
    pub measure: PointMeasure,
    /// What is differentiated: with [`PenaltyGradient::Full`] the state too, otherwise it is a constant.
    pub gradient: PenaltyGradient,
    /// Whether the integral is taken over all accepted steps, `sum |h| sum b_i rho(t + c_i h, Y_i)`, instead of at random times:
    /// what one more equation would give that no tolerance looks at. The solve is unchanged then too.
    #[serde(default)]
    pub quadrature: bool,
    /// Number of times, one in each of as many equal parts of the interval; the penalty is their mean.
    pub times: usize,
    /// Share of the batch, in `(0, 1]`, rounded up to whole tiles of 32.
    pub fraction: f64,
    /// Weight of the penalty in the loss.
    pub coefficient: Schedule,
    /// A target for NFE, which the coefficient then follows from where it is.
    #[serde(default)]
    pub budget: Option<Budget>,
}

impl Pointwise {
    /// The measure at one time, on the whole batch, the state constant, with a coefficient of a hundredth.
    #[must_use]
    pub const fn new(measure: PointMeasure) -> Self {
        let gradient = PenaltyGradient::Step;
        let coefficient = Schedule::Constant(0.01);
        Self { measure, gradient, quadrature: false, times: 1, fraction: 1.0, coefficient, budget: None }
    }

    /// The derivative of that order along the trajectory: that of `TayNODE`.
    ///
    /// # Errors
    /// [`Error::Argument`] for an order other than 2 and 3.
    pub fn taylor(order: usize) -> Result<Self> {
        match order {
            2 => Ok(Self::new(PointMeasure::SecondDerivative)),
            3 => Ok(Self::new(PointMeasure::ThirdDerivative)),
            _ => {
                Err(Error::argument("order", order, "take 2 or 3: the first is the field, and beyond weights explode"))
            }
        }
    }

    /// The kinetic energy, the one half of RNODE.
    #[must_use]
    pub const fn kinetic() -> Self {
        Self::new(PointMeasure::Kinetic)
    }

    /// The Jacobian's norm, the other half of RNODE.
    #[must_use]
    pub const fn jacobian() -> Self {
        Self::new(PointMeasure::Jacobian)
    }

    /// The distance from a straight trajectory.
    #[must_use]
    pub const fn straightness() -> Self {
        Self::new(PointMeasure::Straightness)
    }

    /// Takes the integral over all accepted steps, as `TayNODE` and RNODE do, and differentiates it through the states too. It
    /// costs the measure at every stage, where a random time costs it once.
    #[must_use]
    pub const fn quadrature(mut self) -> Self {
        (self.quadrature, self.gradient) = (true, PenaltyGradient::Full);
        self
    }

    /// Sets what is differentiated.
    #[must_use]
    pub const fn gradient(mut self, gradient: PenaltyGradient) -> Self {
        self.gradient = gradient;
        self
    }

    /// Sets the number of times.
    #[must_use]
    pub const fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    /// Sets the share of the batch.
    #[must_use]
    pub const fn fraction(mut self, fraction: f64) -> Self {
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
    /// [`Error::Argument`] for no times, a share outside `(0, 1]`, a coefficient that is not finite or with a budget no positive
    /// constant, and for the published gradient, which is of steps.
    pub fn validate(&self) -> Result<()> {
        check_draws(["Pointwise::times", "Pointwise::fraction"], self.times, self.fraction)?;
        if self.quadrature && self.times != 1 {
            let remedy = "quadrature is over all steps, and draws no times: leave them out";
            return Err(Error::argument("Pointwise::times", self.times, remedy));
        }
        if self.gradient == PenaltyGradient::Published {
            let remedy = "a point has no first stage to leave out: take Step, or Full";
            return Err(Error::argument("Pointwise::gradient", "Published", remedy));
        }
        check_weight("Pointwise::coefficient", &self.coefficient, self.budget.as_ref())
    }
}

/// A measure at random times, as an engine sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct PointPenalty {
    /// What is measured.
    pub measure: PointMeasure,
    /// What is differentiated.
    pub gradient: PenaltyGradient,
    /// Whether it is over all accepted steps.
    pub quadrature: bool,
    /// How many random times otherwise.
    pub times: usize,
    /// On which share of the batch.
    pub fraction: f64,
    /// Weight in the loss, at this training step; with a budget, that of the first step.
    pub coefficient: f64,
    /// What the weight follows, if it does.
    pub budget: Option<Budget>,
}

impl PointPenalty {
    /// What it costs, in evaluations of the field, over so many accepted steps of a method.
    pub(crate) fn evaluations(&self, tableau: &Tableau, accepted: usize) -> usize {
        let weights = || tableau.b.iter().filter(|b| **b != 0.0).count();
        let points = if self.quadrature { accepted * weights() } else { self.times };
        points * self.measure.evaluations()
    }
}

impl From<(&Pointwise, u64)> for PointPenalty {
    fn from((pointwise, step): (&Pointwise, u64)) -> Self {
        let Pointwise { measure, gradient, quadrature, times, fraction, ref coefficient, budget } = *pointwise;
        Self { measure, gradient, quadrature, times, fraction, coefficient: coefficient.value(step), budget }
    }
}

/// A measure's penalty, as a training step reports it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PointValue {
    /// What was measured.
    pub measure: PointMeasure,
    /// The penalty without its coefficient: a mean over its share of the batch, without trajectories that failed; NaN where
    /// none is left.
    #[serde(with = "crate::math::number")]
    pub penalty: f64,
    /// Its coefficient at this step.
    #[serde(with = "crate::math::number")]
    pub coefficient: f64,
}

/// The penalties of measures at random times, each measure once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<PointValue>", into = "Vec<PointValue>")]
pub struct PointValues([Option<PointValue>; PointMeasure::COUNT]);

impl PointValues {
    /// That of a measure, if it was asked for.
    #[must_use]
    pub const fn get(&self, measure: PointMeasure) -> Option<PointValue> {
        self.0[measure.index()]
    }

    /// All that were asked for.
    pub fn iter(&self) -> impl Iterator<Item = PointValue> {
        self.0.into_iter().flatten()
    }

    /// Whether none was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// Those that were asked for, of the values of all.
    pub(crate) fn of(penalties: &[Option<PointPenalty>; PointMeasure::COUNT], values: &[f32]) -> Self {
        let mut all = Self::default();
        for (penalty, value) in penalties.iter().zip(values) {
            if let Some(PointPenalty { measure, coefficient, .. }) = *penalty {
                all.set(measure, f64::from(*value), coefficient);
            }
        }
        all
    }

    pub(crate) const fn set(&mut self, measure: PointMeasure, penalty: f64, coefficient: f64) {
        self.0[measure.index()] = Some(PointValue { measure, penalty, coefficient });
    }
}

impl From<Vec<PointValue>> for PointValues {
    fn from(values: Vec<PointValue>) -> Self {
        let mut all = Self::default();
        for value in values {
            all.0[value.measure.index()] = Some(value);
        }
        all
    }
}

impl From<PointValues> for Vec<PointValue> {
    fn from(values: PointValues) -> Self {
        values.iter().collect()
    }
}

/// Measures at random times with their draws, as every worker sees them.
#[derive(Clone, Debug)]
pub(crate) struct PointDraws {
    pub(crate) penalty: PointPenalty,
    uniform: Vec<f64>,
    signs: Streams,
}

impl PointDraws {
    pub(crate) fn new(penalty: PointPenalty, seed: u64, step: u64) -> Self {
        let mut random = Random::new(seed, Purpose::RegularizationTime, step << 32);
        let signs = Streams::of_step(Purpose::RegularizationDirection, seed, step);
        Self { penalty, uniform: (0..penalty.times).map(|_| random.uniform()).collect(), signs }
    }

    /// Position of the n-th time in the interval, in `[0, 1)`: one in each of as many equal parts.
    pub(crate) fn position(&self, n: usize) -> f64 {
        (n as f64 + self.uniform[n]) / self.uniform.len() as f64
    }

    /// Random signs, one a feature.
    pub(crate) const fn signs(&self) -> Streams {
        self.signs
    }

    /// How many random times there are.
    pub(crate) const fn points(&self) -> usize {
        if self.penalty.quadrature { 0 } else { self.penalty.times }
    }

    /// Save slots that it needs: those of its times, and of the chord's ends.
    pub(crate) fn slots(&self) -> usize {
        self.points() + if matches!(self.penalty.measure, PointMeasure::Straightness) { 2 } else { 0 }
    }

    /// Their times, on an interval.
    pub(crate) fn times(&self, [t0, t1]: [f64; 2]) -> impl Iterator<Item = f64> {
        let ends = [t0, t1].into_iter().take(self.slots() - self.points());
        (0..self.points()).map(move |n| t0 + self.position(n) * (t1 - t0)).chain(ends)
    }
}
