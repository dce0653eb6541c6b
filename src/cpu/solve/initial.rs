//! The automatic initial step of Hairer, Nørsett & Wanner, II.4: the rule, and the step of each lane.

use super::Solve;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::interval::Interval;
use crate::cpu::kernel::lanes::{Lanes, combine};
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::step::networks::Networks;
use crate::cpu::step::state::StepState;
use crate::cpu::step::stepper::Stepper;
use crate::cpu::step::{Point, Scheme};
use crate::math::Real;
use crate::method::Tableau;

/// The rule, as lengths.
///
/// `d0`, `d1`, `d2` are scaled norms of `y`, `f` and the change of `f` over an Euler step of [`Self::trial`]. Times
/// are measured in units of the interval's length `span`, so that the same problem in other units of time takes the
/// same steps; for an interval of length 1 it is the published rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    span: f64,
    error_power: f64,
}

impl Rule {
    #[inline(always)]
    pub(super) fn trial(&self, d0: f64, d1: f64) -> f64 {
        let (d0, d1) = (d0, d1 * self.span);
        let unit = if d0 < 1e-5 || d1 < 1e-5 { 1e-6 } else { 0.01 * d0 / d1 };
        unit.min(1.0) * self.span
    }

    /// `change` is the scaled norm of `f1 - f0`.
    #[inline(always)]
    pub(super) fn step(&self, trial: f64, d1: f64, change: f64) -> f64 {
        let (h0, d1) = (trial / self.span, d1 * self.span);
        let d2 = change * self.span / h0;
        let largest = d1.max(d2);
        let h1 = if largest <= 1e-15 { (h0 * 1e-3).max(1e-6) } else { (0.01 / largest).powf(1.0 / self.error_power) };
        (100.0 * h0).min(h1).min(1.0) * self.span
    }
}

/// The power of the step size that the rule assumes of the error.
fn power(tableau: &Tableau) -> f64 {
    tableau.noise.map_or_else(|| tableau.error_power(), |noise| noise.strong_order + 0.5)
}

/// Where a step starts, and room for a point after it.
#[derive(Debug)]
pub(crate) struct Start<'a, R> {
    pub(crate) y: &'a [R],
    pub(crate) slopes: &'a [R],
    pub(crate) trial: &'a mut [R],
    pub(crate) last: &'a mut [R],
    pub(crate) trajectories: &'a Lanes<u32>,
}

impl<'a, R: Scalar> Start<'a, R> {
    /// From a tile's state, whose `y1` and `last` it overwrites.
    pub(crate) fn of(state: &'a mut StepState<R>) -> Self {
        let StepState { y, y1, first, last, trajectories, .. } = state;
        Self { y, slopes: first, trial: y1, last, trajectories }
    }

    /// From another state with the tile's first slopes.
    pub(crate) fn beside(y: &'a [R], state: &'a mut StepState<R>) -> Self {
        let StepState { y1, first, last, trajectories, .. } = state;
        Self { y, slopes: first, trial: y1, last, trajectories }
    }

    /// Squared sizes: of the first state, where there is a second one.
    pub(super) fn size<S: Scheme<Real = R>>(&self, stepper: &Stepper<S>) -> Lanes<R> {
        stepper.scale.squares(&self.y[..stepper.shape.features * LANES], self.y, self.y)
    }

    /// Squared speeds.
    pub(super) fn speed<S: Scheme<Real = R>>(&mut self, stepper: &Stepper<S>) -> Lanes<R> {
        let speeds = &mut self.trial[..stepper.shape.features * LANES];
        stepper.scheme.networks().speed(self.slopes, speeds);
        stepper.scale.squares(speeds, self.y, self.y)
    }

    /// Squared changes of speed over an Euler step.
    pub(super) fn change<S: Scheme<Real = R>>(
        &mut self,
        stepper: &Stepper<S>,
        interval: &Interval<R>,
        room: &mut S::Attempt,
    ) -> Lanes<R> {
        let n = stepper.shape.features * LANES;
        let trial = &mut self.trial[..n];
        // From where the slopes are: of a state with a second one, from that.
        combine(trial, Some(stepper.shape.point_of(self.y)), &interval.h, [(1.0, &self.slopes[..n])]);
        let point = Point { t: &interval.t1.map(R::from_f64), trajectories: self.trajectories, y: trial };
        stepper.scheme.slopes(&point, self.last, room);
        stepper.scheme.networks().speed_change(self.slopes, self.last);
        stepper.scale.squares(&self.last[..n], self.y, self.y)
    }
}

impl<S: Scheme> Solve<'_, S> {
    pub(super) fn rule(&self, span: f64) -> Rule {
        Rule { span: span.abs(), error_power: power(self.stepper.scheme.tableau()) }
    }

    /// The automatic initial step of each lane at its time, as a length, in intervals of such signed lengths.
    pub(crate) fn automatic_steps(
        &self,
        [t, spans]: [&Lanes<f64>; 2],
        mut start: Start<'_, S::Real>,
        room: &mut S::Attempt,
    ) -> Lanes<f64> {
        let rule = |l: usize| self.rule(spans[l]);
        let features = self.stepper.shape.features as f64;
        let norm = |squares: Lanes<S::Real>| squares.map(|s| (s.to_f64() / features).sqrt());
        let d0 = norm(start.size(self.stepper));
        let d1 = norm(start.speed(self.stepper));
        let h0: Lanes<f64> = std::array::from_fn(|l| rule(l).trial(d0[l], d1[l]));
        let interval = Interval::new(*t, std::array::from_fn(|l| t[l] + h0[l].copysign(spans[l])));
        let change = norm(start.change(self.stepper, &interval, room));
        std::array::from_fn(|l| rule(l).step(h0[l], d1[l], change[l]))
    }
}
