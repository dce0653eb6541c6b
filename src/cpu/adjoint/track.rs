//! [`Track`]: the steps that a batch took.

use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::interval::Interval;
use crate::cpu::step::Scheme;
use crate::cpu::step::stepper::Stepper;
use crate::cpu::tile::Tile;
use crate::math::Real;

/// The ends of the steps that a batch took.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Steps<'a> {
    /// The same for all trajectories.
    Shared(&'a [[f64; 2]]),
    /// Each tile has its own table.
    PerLane,
}

/// The steps that a batch took, and how.
#[derive(Debug)]
pub(crate) struct Track<'a, S: Scheme> {
    pub(crate) stepper: &'a Stepper<S>,
    pub(crate) steps: Steps<'a>,
}

impl<'a, S: Scheme> Track<'a, S> {
    /// The steps, if they are the same for all trajectories.
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
            Steps::Shared(steps) => Interval::shared(steps[step][0], steps[step][1]),
            Steps::PerLane => Interval::new(tile.steps[step][0], tile.steps[step][1]),
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
