//! [`Stepper`]: a scheme, what its errors are measured in, and where its steps end.

use super::ends::Ends;
use super::interpolant::Interpolant;
use super::scale::ErrorScale;
use super::state::{Shape, StepState};
use super::stiffness::squared_differences;
use super::{Point, Scheme};
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::lanes::Lanes;
use crate::error::Result;
use crate::math::Real;
use crate::method::SolverOptions;
use crate::problem::Problem;

/// All that a step depends on besides its state.
#[derive(Debug)]
pub(crate) struct Stepper<S: Scheme> {
    pub(crate) scheme: S,
    pub(crate) shape: Shape,
    pub(crate) scale: ErrorScale<S::Real>,
    pub(crate) ends: Ends,
    pub(crate) interpolant: Interpolant,
}

impl<S: Scheme> Stepper<S> {
    pub(crate) fn new(scheme: S, problem: &Problem, options: &SolverOptions) -> Result<Self> {
        Ok(Self {
            shape: scheme.shape(),
            scale: ErrorScale::new(problem.dim(), options),
            ends: Ends::new(problem, options)?,
            interpolant: scheme.interpolant(),
            scheme,
        })
    }

    /// The first slopes of a step from the state.
    pub(crate) fn first_slopes(&self, t: &Lanes<S::Real>, state: &mut StepState<S::Real>, room: &mut S::Attempt) {
        let StepState { y, first, trajectories, .. } = state;
        self.scheme.slopes(&Point { t, trajectories, y: self.shape.point_of(y) }, first, room);
    }

    /// Per lane, the sum over features of the squared scaled error of the last attempt, made in `room`.
    pub(crate) fn error_squares(
        &self,
        h: &Lanes<S::Real>,
        state: &StepState<S::Real>,
        error: &mut [S::Real],
        room: &S::Attempt,
    ) -> Lanes<S::Real> {
        self.scheme.error(error, h, state, room);
        self.scale.squares(error, &state.y, &state.y1)
    }

    /// Likewise of the differences of its last two slopes and of their states, with room for one of these.
    pub(crate) fn stage_squares(
        &self,
        h: &Lanes<S::Real>,
        state: &StepState<S::Real>,
        before: &mut [S::Real],
        room: &S::Attempt,
    ) -> [Lanes<S::Real>; 2] {
        self.scheme.last_two(h, state, room, before).map_or([[S::Real::ZERO; LANES]; 2], squared_differences)
    }
}
