//! [`ErrorScale`]: what errors are measured in.

use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::lanes::{Lanes, scaled_squares};
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

    /// Per lane, the sum over features of the scaled squares of `term`, over a step from `y` to `y1`.
    pub(crate) fn squares(&self, term: &[R], y: &[R], y1: &[R]) -> Lanes<R> {
        let mut sums = [R::ZERO; LANES];
        scaled_squares(&mut sums, &self.atol, self.rtol, term, y, y1);
        sums
    }
}
