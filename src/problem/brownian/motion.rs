//! [`Brownian`]: Brownian motion on an interval, in ticks and times.

use super::cell::{ADAPTIVE_CELLS, CELL, MAX_CELLS};
use super::query::Query;
use super::{Increment, Paths};
use crate::error::{Error, Result};
use crate::math::Real;

/// Brownian motion on an interval.
///
/// ```
/// use fewsteps::{Brownian, Paths};
/// let path = Brownian::adaptive(Paths::new(7), 0.0, 1.0);
/// let whole = path.increment::<f64>(3, 0, 0.125, 0.75); // trajectory 3, channel 0
/// let parts = path.increment::<f64>(3, 0, 0.125, 0.3125).w + path.increment::<f64>(3, 0, 0.3125, 0.75).w;
/// assert!((whole.w - parts).abs() < 1e-14);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Brownian {
    paths: Paths,
    cells: u32,
    t0: f64,
    t1: f64,
}

impl Brownian {
    /// The motion that a solve with adaptive steps from `t0` to `t1` follows: 64 cells.
    #[must_use]
    pub const fn adaptive(paths: Paths, t0: f64, t1: f64) -> Self {
        Self { paths, cells: ADAPTIVE_CELLS, t0, t1 }
    }

    /// The motion on an interval of so many equal cells: the one that a solve with as many fixed steps follows.
    ///
    /// # Errors
    /// [`Error::Argument`] for no cells or more than 2^24.
    pub fn with_cells(paths: Paths, cells: usize, t0: f64, t1: f64) -> Result<Self> {
        match u32::try_from(cells) {
            Ok(cells) if cells > 0 && cells as usize <= MAX_CELLS => Ok(Self { paths, cells, t0, t1 }),
            _ => Err(Error::argument(
                "SolverOptions::path_cells",
                cells,
                format!("a path has 1 to {MAX_CELLS} cells, one a fixed step"),
            )),
        }
    }

    /// Ticks of the interval.
    #[must_use]
    pub const fn ticks(&self) -> u64 {
        self.cells as u64 * CELL as u64
    }

    /// The tick that is nearest to a time.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rounded number of at most 2^48")]
    pub fn tick(&self, t: f64) -> u64 {
        let ticks = self.ticks() as f64;
        ((t - self.t0) / (self.t1 - self.t0) * ticks).round().clamp(0.0, ticks) as u64
    }

    /// The time of a tick; the ends of the interval exactly.
    #[must_use]
    pub fn time(&self, tick: u64) -> f64 {
        let ticks = self.ticks();
        if tick == ticks { self.t1 } else { self.t0 + (self.t1 - self.t0) * (tick as f64 / ticks as f64) }
    }

    /// End of an adaptive step of length `h` from `t`: on a tick of which a step holds 16 to 32, so that a query ends
    /// five levels below the step's size, and within `h`. A step that would end beyond the interval ends with it.
    #[must_use]
    pub(crate) fn end_of_step(&self, t: f64, h: f64) -> f64 {
        let (from, ticks) = (self.tick(t), self.ticks());
        let wanted = h / (self.t1 - self.t0) * ticks as f64;
        let rest = ticks - from;
        if wanted >= rest as f64 * (1.0 - 1e-12) {
            return self.t1;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "under 2^48 and not negative")]
        let wanted = wanted.max(0.0) as u64;
        self.time(from.saturating_add(wanted) & !(grain(wanted) - 1))
    }

    /// The time up to `t` that is a multiple of about 2^-16 of the interval.
    pub(crate) fn coarse_time(&self, t: f64) -> f64 {
        let grain = 1 << self.ticks().ilog2().saturating_sub(16);
        self.time(self.tick(t) / grain * grain)
    }

    /// Increment of a trajectory's channel from time `s` to time `t`, each taken to the nearest tick.
    #[must_use]
    pub fn increment<R: Real>(&self, trajectory: u32, channel: u32, s: f64, t: f64) -> Increment<R> {
        self.increment_with_cost(trajectory, channel, s, t).0
    }

    /// As [`Brownian::increment`], with the number of Philox blocks that it took, which a pair of channels shares: one a
    /// cell, and one a level of each cell's tree on the way to either end. So a fixed step takes one block, and an
    /// adaptive step of length `h` at most `2 + 64 h + 2 (6 + log2(1 / 64 h))` (the last term where `h < 1/64`) in an
    /// interval of length 1, as its ends lie on multiples of `h/32` or more.
    #[must_use]
    pub fn increment_with_cost<R: Real>(&self, trajectory: u32, channel: u32, s: f64, t: f64) -> (Increment<R>, usize) {
        let query = Query::new(self.paths, self.tick_length(), trajectory, channel);
        (query.between(self.tick(s), self.tick(t)), query.blocks())
    }

    /// Length of a tick.
    pub(crate) fn tick_length(&self) -> f64 {
        (self.t1 - self.t0) / f64::from(self.cells) / f64::from(CELL)
    }

    /// The same times and cells with other paths.
    pub(crate) const fn along(self, paths: Paths) -> Self {
        Self { paths, ..self }
    }

    pub(crate) const fn paths(&self) -> Paths {
        self.paths
    }
}

/// Ticks that the ends of a step of so many ticks are rounded to: the largest power of two that fits 16 times.
const fn grain(ticks: u64) -> u64 {
    if ticks < 32 { 1 } else { 1 << (ticks.ilog2() - 4) }
}
