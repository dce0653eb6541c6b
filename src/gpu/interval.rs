//! Solves that end elsewhere than the problem does: where a training step's end is drawn.
//!
//! Time on a device is a share of the interval, so another end changes the interval's length and no kernel. What is recorded has
//! that length in its jobs, which are written anew ([`Engine::tell`]); nothing is recorded again.

use super::buffers::Buffers;
use super::engine::{Engine, stops_of};
use super::plan::Jobs;

impl Engine {
    /// Has the solves to come end at `t1`, and says so to their buffers, if there are any yet. Whether they ended elsewhere before.
    pub(crate) fn end_at(&mut self, t1: f64, buffers: Option<&Buffers>) -> bool {
        if self.problem.t1 == t1 {
            return false;
        }
        self.problem.t1 = t1;
        self.stops = stops_of(&self.problem, &self.given.1);
        if let Some(buffers) = buffers {
            self.write_stops(buffers);
        }
        true
    }

    /// Says to buffers where steps end.
    pub(super) fn write_stops(&self, buffers: &Buffers) {
        let stops: Vec<[u32; 2]> = self.stops.iter().map(|stop| stop.0).collect();
        let first = 8 * buffers.sizes.first_stop() as u64;
        self.gpu.queue.write_buffer(&buffers.points, first, bytemuck::cast_slice(&stops));
    }

    /// Says to what was recorded where solves end.
    pub(crate) fn tell(&self, jobs: &Jobs) {
        jobs.set_end(&self.gpu, self.problem.t1, self.head(0).span, |control| self.of_interval(control));
    }
}
