//! One step of one tile: the [`Scheme`], and what its instances share.

pub(crate) mod desk;
pub(crate) mod ends;
pub(crate) mod interpolant;
pub(crate) mod networks;
pub(crate) mod reversible_heun;
pub(crate) mod reversible_runge_kutta;
pub(crate) mod runge_kutta;
pub(crate) mod scale;
pub(crate) mod sde;
pub(crate) mod seeds;
pub(crate) mod stages;
pub(crate) mod state;
pub(crate) mod stepper;
pub(crate) mod stiffness;
pub(crate) mod stochastic;
pub(crate) mod undo;

use std::fmt::Debug;

use crate::cpu::field::knots::Knots;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::interval::Interval;
use crate::cpu::kernel::lanes::Lanes;
use crate::cpu::kernel::scalar::Scalar;
use crate::method::Tableau;
use interpolant::Interpolant;
use networks::Networks;
use seeds::{Bars, FirstStage, Seeds};
use stages::{KeptStages, Stages};
use state::{Shape, StepState};
use stiffness::LastTwo;

/// How a step is taken, kept and differentiated.
///
/// What a scheme needs to work in are types of its own, so that no room lacks what the scheme needs or holds what it does
/// not. Everything above is generic over the scheme: a choice once a solver, none in a loop.
pub(crate) trait Scheme: Debug + Send + Sync {
    type Real: Scalar;
    type Networks: Networks<Real = Self::Real>;
    /// Room for an attempt that leaves nothing behind but its end.
    type Attempt: Debug + Send + Sync;
    /// A step with all that its vector-Jacobian product needs.
    type Kept: Debug + Send + Sync;
    /// Room for a step's cotangents.
    type Vjp: Debug + Send + Sync;

    fn networks(&self) -> &Self::Networks;
    fn networks_mut(&mut self) -> &mut Self::Networks;
    fn tableau(&self) -> &'static Tableau;
    fn shape(&self) -> Shape;

    fn attempt_room(&self) -> Self::Attempt;
    fn kept_step(&self) -> Self::Kept;
    fn vjp_room(&self) -> Self::Vjp;

    /// The networks' values at a point `[D]` at which something starts.
    fn slopes(&self, at: &Point<'_, Self::Real>, out: &mut [Self::Real], room: &mut Self::Attempt);

    /// Attempts the step from the state with its first slopes: writes the end to `y1` and, for an FSAL method, the slopes
    /// there to `last`.
    fn attempt(&self, interval: &Interval<Self::Real>, state: &mut StepState<Self::Real>, room: &mut Self::Attempt);

    /// The drift's stages of the last attempt made in `room`.
    fn stages<'a>(&self, state: &'a StepState<Self::Real>, room: &'a Self::Attempt) -> Stages<'a, Self::Real>;

    /// The error estimate of the last attempt made in `room`; zero for a method that has none.
    fn error(
        &self,
        error: &mut [Self::Real],
        h: &Lanes<Self::Real>,
        state: &StepState<Self::Real>,
        room: &Self::Attempt,
    );

    /// The last two slopes of the drift in the last attempt made in `room` and their states, the one before the end in `before`,
    /// of a method whose stiffness can be measured.
    fn last_two<'a>(
        &self,
        _h: &Lanes<Self::Real>,
        _state: &'a StepState<Self::Real>,
        _room: &'a Self::Attempt,
        _before: &'a mut [Self::Real],
    ) -> Option<LastTwo<'a, Self::Real>> {
        None
    }

    /// What states within a step are made of.
    fn interpolant(&self) -> Interpolant {
        Interpolant::of(self.tableau())
    }

    /// The most steps that can be undone, if these are to be.
    fn most_steps(&self) -> usize {
        usize::MAX
    }

    /// Lanes of a state that cannot be undone, where it is to be.
    fn is_lost(&self, _y: &[Self::Real]) -> [bool; LANES] {
        [false; LANES]
    }

    /// Says whose steps are to be kept, and gives them the increments of their noise.
    fn draw(&self, interval: &Interval<Self::Real>, trajectories: &Lanes<u32>, noise: NoiseOf, kept: &mut Self::Kept);

    /// Takes the step from `y` anew, along the noise that `kept` was given, and keeps its stages; the last stage of an FSAL
    /// method only `with_last`, though its state, the step's end, is always left there.
    fn keep(&self, interval: &Interval<Self::Real>, y: &[Self::Real], kept: &mut Self::Kept, with_last: bool);

    /// Whether the first stage of a step is the last one of the step before it.
    fn chains(&self) -> bool {
        false
    }

    /// Makes the first stage of a kept step the last one of the step before it, which is kept next and needs not evaluate it:
    /// of a scheme that [chains](Self::chains).
    fn hand_over(&self, _kept: &mut Self::Kept) {}

    /// The end of a kept step.
    fn end(&self, h: &Lanes<Self::Real>, y: &[Self::Real], kept: &Self::Kept, y1: &mut [Self::Real]);

    /// The error estimate of a kept step.
    fn kept_error(&self, error: &mut [Self::Real], h: &Lanes<Self::Real>, kept: &Self::Kept);

    /// The drift's stages of a kept step.
    fn drift<'a>(&self, kept: &'a Self::Kept) -> &'a KeptStages<Self::Real>;

    /// The vector-Jacobian product of one kept step, its size constant: adds to the parameters' cotangent and replaces that
    /// of the step's end by that of its start. Lanes at rest, `h = 0`, keep theirs.
    fn vjp(
        &self,
        h: &Lanes<Self::Real>,
        kept: &Self::Kept,
        seeds: &Seeds<'_, Self::Real>,
        first: FirstStage,
        room: &mut Self::Vjp,
        bars: Bars<'_, Self::Real>,
    );

    /// Where the products in the room have left the cotangents of controls, if those are asked for: of the drift, and of
    /// the diffusion.
    fn knots<'a>(&self, room: &'a mut Self::Vjp) -> [Option<&'a mut Knots<Self::Real>>; 2];

    /// Bytes of a kept step.
    fn kept_bytes(&self) -> usize;

    /// Bytes of an attempt's room, of a kept step and of a step's cotangents.
    fn room_bytes(&self) -> usize;
}

/// A point of each lane's trajectory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point<'a, R> {
    pub(crate) t: &'a Lanes<R>,
    pub(crate) trajectories: &'a Lanes<u32>,
    pub(crate) y: &'a [R],
}

/// Where the noise of a kept step comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoiseOf {
    /// The trajectory's path.
    Path,
    /// The `n`-th draw apart from the path.
    Apart(usize),
}
