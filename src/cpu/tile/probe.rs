//! [`Probe`]: one step of one tile, taken beside the solve.

use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::interval::Interval;
use crate::cpu::kernel::lanes::Lanes;
use crate::cpu::step::Scheme;
use crate::cpu::step::state::Shape;
use crate::math::Real;

/// One step of one tile, taken beside the solve.
#[derive(Debug)]
pub(crate) struct Probe<S: Scheme> {
    pub(crate) kept: S::Kept,
    pub(crate) y: Vec<S::Real>,
    pub(crate) y1: Vec<S::Real>,
    /// The error estimate, then its cotangent; the stages' difference in the stiffness measure.
    pub(crate) error: Vec<S::Real>,
    pub(crate) bar: Vec<S::Real>,
    pub(crate) y1_bar: Vec<S::Real>,
    pub(crate) interval: Interval<S::Real>,
    /// In lockstep, its ends by the shared clock.
    pub(crate) ends: [f64; 2],
    /// Biased and continued into the state: the accepted step it starts with, a lane.
    pub(crate) starts: Option<Lanes<usize>>,
    pub(crate) norms: [Lanes<S::Real>; 2],
}

impl<S: Scheme> Probe<S> {
    pub(crate) fn new(scheme: &S, shape: &Shape) -> Self {
        Self {
            kept: scheme.kept_step(),
            y: shape.states(),
            y1: shape.states(),
            error: shape.array(),
            bar: shape.states(),
            y1_bar: shape.states(),
            interval: Interval::shared(0.0, 0.0),
            ends: [0.0; 2],
            starts: None,
            norms: [[S::Real::ZERO; LANES]; 2],
        }
    }

    /// Forgets where the probe was, so that an earlier penalty does not reach into this backward pass.
    pub(crate) fn forget(&mut self) {
        self.starts = None;
    }
}
