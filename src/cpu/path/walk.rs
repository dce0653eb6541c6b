//! [`Walk`]: which ticks of the path the lanes of a tile ask for.

use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::interval::Interval;
use crate::cpu::kernel::lanes::Lanes;
use crate::cpu::kernel::scalar::Scalar;
use crate::problem::Brownian;
use crate::problem::brownian::key;

/// A query of the path: one interval a lane.
pub(super) struct Walk<'a> {
    pub(super) trajectories: &'a Lanes<u32>,
    pub(super) from: Lanes<u64>,
    pub(super) to: Lanes<u64>,
    pub(super) key: [u32; 2],
    /// Length of a tick.
    pub(super) tick: f64,
}

impl<'a> Walk<'a> {
    pub(super) fn new<R: Scalar>(brownian: &Brownian, trajectories: &'a Lanes<u32>, interval: &Interval<R>) -> Self {
        let ticks = |times: &Lanes<f64>| {
            if interval.shared { [brownian.tick(times[0]); LANES] } else { times.map(|t| brownian.tick(t)) }
        };
        Self {
            trajectories,
            from: ticks(&interval.t0),
            to: ticks(&interval.t1),
            key: key(brownian.paths().seed),
            tick: brownian.tick_length(),
        }
    }
}
