//! [`MeasureBars`]: a thread's room for the cotangents of what is measured of a step.

use crate::cpu::kernel::aligned::Aligned;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::lanes::add;
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::step::state::Shape;

/// Room for the cotangents of a step's error estimate, and of the states that it is scaled with; or of the differences of its
/// last two slopes and states, in the first two.
#[derive(Debug)]
pub(crate) struct MeasureBars<R> {
    pub(crate) error: Aligned<R>,
    pub(crate) y1: Aligned<R>,
    pub(crate) start: Aligned<R>,
    pub(crate) end: Aligned<R>,
}

impl<R: Scalar> MeasureBars<R> {
    pub(crate) fn new(shape: &Shape) -> Self {
        let states = || Aligned::zeros(shape.rows * LANES);
        Self { error: Aligned::zeros(shape.features * LANES), y1: states(), start: states(), end: states() }
    }

    /// Adds to the cotangent of the state that the last step began with.
    pub(crate) fn add_start(&self, bar: &mut [R]) {
        add(bar, &self.start);
    }
}
