//! A solve forwards in either layout: what both share, and the initial step.

pub(crate) mod control;
pub(crate) mod ensemble;
pub(crate) mod initial;
pub(crate) mod lanewise;
pub(crate) mod lockstep;
mod shared_initial;

use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::interval::Interval;
use crate::cpu::step::Scheme;
use crate::cpu::step::stepper::Stepper;
use crate::cpu::tile::Tile;
use crate::cpu::tile::saves::Saves;
use crate::cpu::tile::tape::Recording;
use crate::method::{InitialStep, SolverOptions};

/// A solve as every worker sees it.
#[derive(Debug)]
pub(crate) struct Solve<'a, S: Scheme> {
    pub(crate) stepper: &'a Stepper<S>,
    /// Start and end of the shared clock: the problem's interval, or 0 and 1 where trajectories have their own.
    pub(crate) t0: f64,
    pub(crate) t1: f64,
    /// Longest time that passes while the shared clock advances by 1.
    pub(crate) unit: f64,
    pub(crate) options: &'a SolverOptions,
    pub(crate) saves: Saves<'a>,
    pub(crate) recording: Recording,
    /// Share of the interval that earlier solves taught to begin with.
    pub(crate) carried: Option<f64>,
}

impl<S: Scheme> Solve<'_, S> {
    /// Signed length of the interval, by the shared clock.
    pub(crate) fn span(&self) -> f64 {
        self.t1 - self.t0
    }

    /// The states that are saved at the start.
    pub(crate) fn save_initial(&self, tile: &mut Tile<S::Real>) {
        let (n, used) = (tile.features(), std::array::from_fn(|l| l < tile.used));
        let Tile { saves, state, clock, .. } = tile;
        self.saves.initial(&used, (clock, &state.trajectories), |saved| saved.store(saves, &saved.here, &state.y[..n]));
    }

    /// Stores the states at save points within the steps of these lanes, with room for one.
    pub(crate) fn save_within(
        &self,
        interval: &Interval<S::Real>,
        lanes: &[bool; LANES],
        tile: &mut Tile<S::Real>,
        (attempt, scratch): (&S::Attempt, &mut [S::Real]),
    ) {
        let n = tile.features();
        let Tile { saves, state, clock, .. } = tile;
        self.saves.within(interval, lanes, (clock, &state.trajectories), |saved| {
            let at_end = std::array::from_fn(|l| saved.here[l] & (saved.t[l] == interval.t1[l]));
            if at_end != saved.here {
                let (inside, stages) = (&mut scratch[..n], self.stepper.scheme.stages(state, attempt));
                let (at, ends) = ((&saved.t, &saved.here), [&state.y[..], &state.y1]);
                self.stepper.interpolant.lanes(inside, at, interval, ends, stages);
                saved.store(saves, &saved.here, inside);
            }
            saved.store(saves, &at_end, &state.y1[..n]);
        });
    }

    /// Length of the first step of an interval of that length, if it is given or was learnt; a given one is in units of time,
    /// of which there are at most `unit` for 1 of the interval's.
    pub(crate) fn known_step(&self, initial_step: InitialStep, span: f64, unit: f64) -> Option<f64> {
        match initial_step {
            InitialStep::Length(h) => Some((h / unit).min(span)),
            InitialStep::Carried => self.carried.map(|share| share * span),
            InitialStep::Automatic => None,
        }
    }

    /// A step's signed length, within the longest one that is allowed, in such units of time.
    pub(crate) fn bounded(&self, h: f64, unit: f64) -> f64 {
        let longest = self.stepper.ends.largest_step() / unit;
        if h.abs() > longest { longest.copysign(h) } else { h }
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

/// The `i`-th of the ends of equal steps from `t0` to `t1`.
pub(crate) fn equal_step([t0, t1]: [f64; 2], i: usize, steps: usize) -> f64 {
    if i == steps { t1 } else { t0 + (t1 - t0) * (i as f64 / steps as f64) }
}
