//! [`ErrorScale`]: what errors are measured in.

use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::lanes::{Lanes, scaled_distances, scaled_squares};
use crate::cpu::kernel::scalar::Scalar;
use crate::method::{SolverOptions, StepControl, Tolerances};

/// The scale `atol + rtol max(|y|, |y1|)` of errors.
#[derive(Debug)]
pub(crate) struct ErrorScale<R> {
    /// One a feature.
    pub(crate) atol: Vec<R>,
    pub(crate) rtol: R,
}

impl<R: Scalar> ErrorScale<R> {
    pub(crate) fn new(dim: usize, options: &SolverOptions) -> Self {
        let tolerances = match options.step_control {
            StepControl::Adaptive { tolerances, .. } => tolerances,
            StepControl::Fixed { .. } => Tolerances::default(),
        };
        let atol = options.atol_per_feature.clone().unwrap_or_else(|| vec![tolerances.atol; dim]);
        Self { atol: atol.into_iter().map(R::from_f64).collect(), rtol: R::from_f64(tolerances.rtol) }
    }

    /// Of a difference of two states that were to be the same: where nobody asked for an accuracy, a hundredth of `1 + |y|`.
    pub(crate) fn of_states(dim: usize, options: &SolverOptions) -> Self {
        match options.step_control {
            StepControl::Adaptive { .. } => Self::new(dim, options),
            StepControl::Fixed { .. } => Self { atol: vec![R::from_f64(0.01); dim], rtol: R::from_f64(0.01) },
        }
    }

    /// Per lane, the sum over features of the scaled squares of `term`, over a step from `y` to `y1`.
    pub(crate) fn squares(&self, term: &[R], y: &[R], y1: &[R]) -> Lanes<R> {
        let mut sums = [R::ZERO; LANES];
        scaled_squares(&mut sums, &self.atol, self.rtol, term, y, y1);
        sums
    }

    /// Likewise of the distance of two states, in units of the first one's.
    pub(crate) fn distance(&self, y: &[R], other: &[R]) -> Lanes<R> {
        let mut sums = [R::ZERO; LANES];
        scaled_distances(&mut sums, &self.atol, self.rtol, y, other);
        sums
    }
}
