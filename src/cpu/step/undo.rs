//! [`Undo`]: a scheme whose steps can be undone.

use super::Scheme;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::interval::Interval;

/// A scheme whose steps can be undone, up to rounding.
pub(crate) trait Undo: Scheme {
    /// Undoes a step: replaces the state at its end by that at its start in the moving lanes, and keeps its stages as
    /// [`Scheme::keep`] would. Returns the evaluations of the drift that it took.
    fn undo(
        &self,
        interval: &Interval<Self::Real>,
        moving: &[bool; LANES],
        state: &mut [Self::Real],
        kept: &mut Self::Kept,
        with_last: bool,
    ) -> usize;
}
