//! [`Track`]: the steps that a batch took.

use crate::cpu::field::drive::Drive;
use crate::cpu::field::knots::ControlBars;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::interval::Interval;
use crate::cpu::step::Scheme;
use crate::cpu::step::stepper::Stepper;
use crate::cpu::tile::Tile;
use crate::math::Real;

/// The ends of the steps that a batch took.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Steps<'a> {
    /// The same for all trajectories, by the shared clock.
    Shared(&'a [[f64; 2]]),
    /// Each tile has its own table.
    PerLane,
}

/// The steps that a batch took, and how.
#[derive(Debug)]
pub(crate) struct Track<'a, S: Scheme> {
    pub(crate) stepper: &'a Stepper<S>,
    pub(crate) steps: Steps<'a>,
    /// What drove it.
    pub(crate) drive: Option<&'a Drive<S::Real>>,
    /// Numbers in the parameters' gradient, which those of shared controls follow.
    pub(crate) parameters: usize,
}

impl<'a, S: Scheme> Track<'a, S> {
    /// The steps by the shared clock, if they are the same for all trajectories.
    pub(crate) const fn shared(&self) -> Option<&'a [[f64; 2]]> {
        match self.steps {
            Steps::Shared(steps) => Some(steps),
            Steps::PerLane => None,
        }
    }

    pub(crate) fn count(&self, tile: &Tile<S::Real>) -> usize {
        match self.steps {
            Steps::Shared(steps) => steps.len(),
            Steps::PerLane => tile.steps.len(),
        }
    }

    pub(crate) fn interval(&self, tile: &Tile<S::Real>, step: usize) -> Interval<S::Real> {
        match self.steps {
            Steps::Shared(steps) => tile.clock.interval(steps[step][0], steps[step][1]),
            Steps::PerLane => Interval::new(tile.steps[step][0], tile.steps[step][1]),
        }
    }

    /// Hands the cotangents of controls, which the tile's products have left in the room, on to the tile where it has its
    /// own, and to what follows the parameters' gradient where all share them.
    pub(crate) fn hand_on_controls(&self, tile: &mut Tile<S::Real>, room: &mut S::Vjp, gradient: &mut [S::Real]) {
        let Some(drive) = self.drive else { return };
        let Tile { controls_bar, alive, .. } = tile;
        let mut bars = ControlBars { shared: &mut gradient[self.parameters..], own: controls_bar, alive };
        for knots in self.stepper.scheme.knots(room).into_iter().flatten() {
            drive.hand_on(knots, &mut bars);
        }
    }

    /// The step's interval, and the lanes that move in it. Lanes that were given up rest, so that whatever made them
    /// fail stays out of the products.
    pub(crate) fn moving(&self, tile: &Tile<S::Real>, step: usize) -> (Interval<S::Real>, [bool; LANES]) {
        let mut interval = self.interval(tile, step);
        let moving: [bool; LANES] = std::array::from_fn(|l| tile.alive[l] && interval.t0[l] != interval.t1[l]);
        for l in (0..LANES).filter(|&l| !moving[l]) {
            interval.h[l] = S::Real::ZERO;
        }
        (interval, moving)
    }
}
