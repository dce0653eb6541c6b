//! [`EquationRoom`]: a thread's room for a solve of the adjoint equation.

use crate::cpu::field::evaluate::{Cotangents, Field};
use crate::cpu::kernel::aligned::Aligned;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::step::stages::{KeptStages, middle};

/// Room for a solve of the adjoint equation; arrays are `[D][LANES]`.
#[derive(Debug)]
pub(crate) struct EquationRoom<R> {
    /// The state, where that is solved for too, and the cotangent in its unit; then their ends of the last attempt.
    pub(crate) y: Aligned<R>,
    pub(crate) bar: Aligned<R>,
    pub(crate) y1: Aligned<R>,
    pub(crate) bar1: Aligned<R>,
    /// The field at the stages.
    pub(crate) kept: KeptStages<R>,
    /// Cotangents at the stages, and their slopes.
    pub(crate) bars: Vec<Aligned<R>>,
    pub(crate) slopes: Vec<Aligned<R>>,
    /// Not those of controls, which have a part in accepted steps only.
    pub(crate) cotangents: Cotangents<R>,
    /// An error, or a cotangent times a weight.
    pub(crate) scratch: Aligned<R>,
    /// Lanes that each saved state is a stop for.
    pub(crate) stops: Vec<[bool; LANES]>,
}

impl<R: Scalar> EquationRoom<R> {
    pub(crate) fn new(field: &Field<R>, stages: usize) -> Self {
        let array = || Aligned::zeros(field.dim() * LANES);
        let mut cotangents = field.cotangents();
        cotangents.knots = None;
        Self {
            y: array(),
            bar: array(),
            y1: array(),
            bar1: array(),
            kept: KeptStages::new(field, stages),
            bars: middle(field, stages),
            slopes: middle(field, stages),
            cotangents,
            scratch: array(),
            stops: Vec::new(),
        }
    }
}
