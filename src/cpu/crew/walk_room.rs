//! [`WalkRoom`]: a thread's room for the walk back over a tile's steps.

use std::ops::Range;

use super::equation_room::EquationRoom;
use super::measure_bars::MeasureBars;
use crate::cpu::kernel::aligned::Aligned;
use crate::cpu::regularize::quadrature::Rooms;
use crate::cpu::step::Scheme;
use crate::cpu::step::state::Shape;
use crate::math::Real;

/// A thread's room for the walk back.
#[derive(Debug)]
pub(crate) struct WalkRoom<S: Scheme> {
    /// The state that the walk has come to, and the step from there on.
    pub(crate) y: Vec<S::Real>,
    pub(crate) kept: S::Kept,
    pub(crate) vjp: S::Vjp,
    /// States between two checkpoints; allocated when there are any.
    pub(crate) segment: Vec<Vec<S::Real>>,
    /// Cotangents that states saved within a step give to its stages, and to its start; allocated when there are any.
    pub(crate) stage_bars: Vec<Aligned<S::Real>>,
    pub(crate) start_bar: Vec<S::Real>,
    /// For the cotangents of states saved at lanes' own times, from their slots; likewise.
    pub(crate) saved_bar: Vec<S::Real>,
    /// For cotangents of what is measured of the steps; allocated when there are any.
    pub(crate) measures: Option<MeasureBars<S::Real>>,
    /// For a solve of the adjoint equation; likewise.
    pub(crate) equation: Option<EquationRoom<S::Real>>,
    /// For measures of the dynamics.
    pub(crate) points: Rooms<S::Real>,
}

impl<S: Scheme> WalkRoom<S> {
    pub(crate) fn new(scheme: &S, shape: &Shape) -> Self {
        Self {
            y: shape.states(),
            kept: scheme.kept_step(),
            vjp: scheme.vjp_room(),
            segment: Vec::new(),
            stage_bars: Vec::new(),
            start_bar: Vec::new(),
            saved_bar: Vec::new(),
            measures: None,
            equation: None,
            points: Rooms::default(),
        }
    }

    /// No cotangents of these stages yet. Room that there is stays, so that no step allocates after the first.
    pub(crate) fn clear_stage_bars(&mut self, stages: Range<usize>, n: usize) {
        let count = self.stage_bars.len().max(stages.end);
        self.stage_bars.resize_with(count, || Aligned::zeros(n));
        self.stage_bars[stages].iter_mut().for_each(|bar| bar.fill(S::Real::ZERO));
    }

    /// Nor of the step's start.
    pub(crate) fn clear_start_bar(&mut self, n: usize) {
        self.start_bar.clear();
        self.start_bar.resize(n, S::Real::ZERO);
    }
}
