//! What a step's vector-Jacobian product starts from, and what it leaves.

use crate::cpu::kernel::aligned::Aligned;
pub(crate) use crate::method::FirstStage;

/// Cotangents of the last two stages and their states, which the stiffness measure has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StiffnessSeed<'a, R> {
    /// Cotangent of `k_s`, and minus that of `k_(s-1)`.
    pub(crate) k_difference: &'a [R],
    /// Cotangent of `g_s`, and minus that of `g_(s-1)`.
    pub(crate) state_difference: &'a [R],
}

/// The cotangent of what is measured of a step.
#[derive(Clone, Copy, Debug)]
pub(crate) enum MeasureBar<'a, R> {
    /// There is none.
    Nothing,
    /// Of the error estimate.
    Error(&'a [R]),
    Stiffness(StiffnessSeed<'a, R>),
}

/// Everything that a loss may depend on in a step, besides the state at its end.
#[derive(Debug)]
pub(crate) struct Seeds<'a, R> {
    pub(crate) error: Option<&'a [R]>,
    /// Cotangents of the stages themselves, or of the first of them, which states interpolated within the step have.
    pub(crate) stages: Option<&'a [Aligned<R>]>,
    pub(crate) stiffness: Option<StiffnessSeed<'a, R>>,
}

impl<'a, R> Seeds<'a, R> {
    /// Of a measure, and of stages.
    pub(crate) const fn new(measure: MeasureBar<'a, R>, stages: Option<&'a [Aligned<R>]>) -> Self {
        match measure {
            MeasureBar::Nothing => Self { error: None, stages, stiffness: None },
            MeasureBar::Error(error) => Self { error: Some(error), stages, stiffness: None },
            MeasureBar::Stiffness(seed) => Self { error: None, stages, stiffness: Some(seed) },
        }
    }
}

/// Where cotangents go: the parameters' and the state's.
#[derive(Debug)]
pub(crate) struct Bars<'a, R> {
    pub(crate) theta: &'a mut [R],
    /// Of the state at the step's end before, at its start after.
    pub(crate) state: &'a mut [R],
}
