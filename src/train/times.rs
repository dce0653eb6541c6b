//! [`StepTimes`]: what a training step on the native engine spends its time with.

use std::time::Duration;

use serde::Serialize;

/// How long the parts of a training step took, of all threads together by the clock on the wall. A device's kernels are timed by
/// [`Gpu::profiled`](crate::Gpu::profiled).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StepTimes {
    /// Encoder and solve.
    pub solve: Duration,
    /// The loss, as far as it is known before the walk back, and what is counted.
    pub loss: Duration,
    /// Penalties, the walk back with the loss's cotangents, head and encoder: the gradient.
    pub backward: Duration,
    /// The optimizer's update.
    pub update: Duration,
}

impl StepTimes {
    /// All parts.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.parts().into_iter().map(|(_, time)| time).sum()
    }

    /// The parts by their names, in the order in which a step takes them.
    #[must_use]
    pub const fn parts(&self) -> [(&'static str, Duration); 4] {
        [("solve", self.solve), ("loss", self.loss), ("backward", self.backward), ("update", self.update)]
    }
}

/// Takes the time from one part to the next. In a browser there is no clock for it, and all is 0.
#[derive(Debug)]
pub(super) struct Stopwatch {
    #[cfg(not(target_arch = "wasm32"))]
    since: std::time::Instant,
}

impl Stopwatch {
    pub(super) fn start() -> Self {
        Self {
            #[cfg(not(target_arch = "wasm32"))]
            since: std::time::Instant::now(),
        }
    }

    /// The time since it was started, or since the last lap.
    pub(super) fn lap(&mut self) -> Duration {
        #[cfg(not(target_arch = "wasm32"))]
        {
            let lap = self.since.elapsed();
            self.since += lap;
            lap
        }
        #[cfg(target_arch = "wasm32")]
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laps_and_parts_add_up() {
        let begun = std::time::Instant::now();
        let mut watch = Stopwatch::start();
        std::thread::sleep(Duration::from_millis(2));
        let first = watch.lap();
        std::thread::sleep(Duration::from_millis(1));
        let second = watch.lap();
        assert!(first >= Duration::from_millis(2) && second >= Duration::from_millis(1), "{first:?} {second:?}");
        assert!(first + second <= begun.elapsed(), "no time is counted twice");
        let times = StepTimes { solve: first, update: second, ..StepTimes::default() };
        assert_eq!((times.total(), times.parts()[3].1), (first + second, second));
    }
}
