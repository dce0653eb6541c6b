//! [`StepHook`]: what a regularizer adds to the walk back.

use crate::cpu::kernel::interval::Interval;
use crate::cpu::step::Scheme;

/// What a regularizer adds to the walk back over a tile's steps.
pub(crate) trait StepHook<S: Scheme> {
    /// Whether it has cotangents of the steps' errors.
    fn seeds_errors(&self) -> bool {
        false
    }

    /// The cotangent of the error estimate of accepted step `step`, kept from state `y`, where it [has one](Self::seeds_errors).
    fn error_bar(
        &mut self,
        _step: usize,
        _interval: &Interval<S::Real>,
        _y: &[S::Real],
        _kept: &S::Kept,
    ) -> Option<&[S::Real]> {
        None
    }

    /// Adds to the cotangent of the state before accepted step `step`.
    fn state_bar(&mut self, step: usize, bar: &mut [S::Real]);
}
