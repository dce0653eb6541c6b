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

/// Which evaluations a step shares with its neighbours on the walk back. The last stage of an FSAL method is the first one of the
/// step after: its vector-Jacobian product is taken once, of both cotangents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    /// The step after has left the cotangent of its first stage in the room, for the last one.
    pub(crate) takes: bool,
    /// The cotangent of the first stage is left there for the step before.
    pub(crate) leaves: bool,
}

/// Everything that a loss may depend on in a step, besides the state at its end.
#[derive(Debug)]
pub(crate) struct Seeds<'a, R> {
    pub(crate) error: Option<&'a [R]>,
    /// Cotangents of the stages themselves, or of the first of them, which states interpolated within the step have.
    pub(crate) stages: Option<&'a [Aligned<R>]>,
    pub(crate) stiffness: Option<StiffnessSeed<'a, R>>,
    pub(crate) chain: Chain,
}

impl<'a, R> Seeds<'a, R> {
    /// Of a measure, and of stages.
    pub(crate) const fn new(measure: MeasureBar<'a, R>, stages: Option<&'a [Aligned<R>]>) -> Self {
        let (error, stiffness) = match measure {
            MeasureBar::Nothing => (None, None),
            MeasureBar::Error(error) => (Some(error), None),
            MeasureBar::Stiffness(seed) => (None, Some(seed)),
        };
        Self { error, stages, stiffness, chain: Chain { takes: false, leaves: false } }
    }

    /// Of a step that shares evaluations with its neighbours.
    pub(crate) const fn chained(self, chain: Chain) -> Self {
        Self { chain, ..self }
    }
}

/// Where cotangents go: the parameters' and the state's.
#[derive(Debug)]
pub(crate) struct Bars<'a, R> {
    pub(crate) theta: &'a mut [R],
    /// Of the state at the step's end before, at its start after.
    pub(crate) state: &'a mut [R],
}
