//! A solve forwards in either layout: what both share, and the initial step.

pub(crate) mod control;
pub(crate) mod ensemble;
pub(crate) mod initial;
pub(crate) mod lockstep;

use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::interval::Interval;
use crate::cpu::kernel::lanes::Lanes;
use crate::cpu::step::Scheme;
use crate::cpu::step::stepper::Stepper;
use crate::cpu::tile::tape::Recording;
use crate::cpu::tile::{SavePoint, Tile};
use crate::math::Real;
use crate::method::{InitialStep, SolverOptions};
use crate::problem::Problem;

/// A solve as every worker sees it.
#[derive(Debug)]
pub(crate) struct Solve<'a, S: Scheme> {
    pub(crate) stepper: &'a Stepper<S>,
    pub(crate) problem: &'a Problem,
    /// End of the interval.
    pub(crate) t1: f64,
    pub(crate) options: &'a SolverOptions,
    pub(crate) saves: &'a [SavePoint],
    pub(crate) recording: Recording,
    /// Share of the interval that earlier solves taught to begin with.
    pub(crate) carried: Option<f64>,
}

impl<S: Scheme> Solve<'_, S> {
    /// Signed length of the interval.
    pub(crate) fn span(&self) -> f64 {
        self.t1 - self.problem.t0
    }

    /// A time in every lane.
    pub(crate) fn everywhere(&self, t: f64) -> Lanes<S::Real> {
        [S::Real::from_f64(t); LANES]
    }

    /// The states that are saved at the start.
    pub(crate) fn save_initial(&self, tile: &mut Tile<S::Real>) {
        let n = tile.features();
        let Tile { saves, state, .. } = tile;
        for point in self.saves.iter().filter(|p| p.t == self.problem.t0) {
            saves[point.slot * n..][..n].copy_from_slice(&state.y[..n]);
        }
    }

    /// Length of the first step, if it is given or was learnt.
    pub(crate) fn known_step(&self, initial_step: InitialStep) -> Option<f64> {
        let span = self.span().abs();
        match initial_step {
            InitialStep::Length(h) => Some(h.min(span)),
            InitialStep::Carried => self.carried.map(|share| share * span),
            InitialStep::Automatic => None,
        }
    }

    /// The `i`-th of equal steps' ends.
    pub(crate) fn equal_step(&self, i: usize, steps: usize) -> f64 {
        let (t0, t1) = (self.problem.t0, self.t1);
        if i == steps { t1 } else { t0 + (t1 - t0) * (i as f64 / steps as f64) }
    }

    /// Whether so many accepted steps are as many as there is memory for.
    pub(crate) fn full(&self, accepted: usize) -> bool {
        self.recording.limit == Some(accepted)
    }

    /// Attempts the tile's step.
    pub(crate) fn attempt(&self, interval: &Interval<S::Real>, tile: &mut Tile<S::Real>, room: &mut S::Attempt) {
        self.stepper.scheme.attempt(interval, &mut tile.state, room);
    }
}
