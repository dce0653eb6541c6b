//! [`StepHook`]: what a regularizer adds to the walk back.

use super::rewind::At;
use crate::cpu::step::Scheme;

/// What a regularizer adds to the walk back over a tile's steps.
pub(crate) trait StepHook<S: Scheme> {
    /// Whether it has cotangents of the steps' errors.
    fn seeds_errors(&self) -> bool {
        false
    }

    /// The cotangent of the error estimate of an accepted step, kept from state `y`, where it [has one](Self::seeds_errors);
    /// adds to that of the state at its end.
    fn error_bar(
        &mut self,
        _at: &At<'_, S>,
        _y: &[S::Real],
        _kept: &S::Kept,
        _end_bar: &mut [S::Real],
    ) -> Option<&[S::Real]> {
        None
    }

    /// Adds to the cotangent of the state before accepted step `step`.
    fn state_bar(&mut self, step: usize, bar: &mut [S::Real]);
}
