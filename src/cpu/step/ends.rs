//! [`Ends`]: where steps end.

use crate::error::Result;
use crate::method::{PenaltyNoise, SolverOptions};
use crate::problem::{Brownian, Paths, Problem, settled, shortest_step};

/// Where steps end: at stops and at the interval's end, within the longest step, and at times that there are.
#[derive(Debug)]
pub(crate) struct Ends {
    times: Times,
    /// In the direction of integration; beyond the interval too, as far as an end may be drawn.
    stops: Vec<f64>,
    largest_step: f64,
}

/// The times that there are.
#[derive(Debug)]
enum Times {
    All,
    /// The ticks of a path, which knows one direction of time. Whose path it is makes no difference.
    Ticks(Brownian),
}

impl Ends {
    pub(crate) fn new(problem: &Problem, options: &SolverOptions) -> Result<Self> {
        let times = match problem.diffusion {
            None => Times::All,
            Some(_) => Times::Ticks(options.path(problem, Paths::default())?),
        };
        let largest_step = options.largest_step.unwrap_or(f64::INFINITY);
        Ok(Self { times, stops: options.reachable_stops(problem)?, largest_step })
    }

    /// The next time after `t` at which a step has to end: a stop, or the end of the interval.
    #[inline]
    pub(crate) fn next_stop(&self, t: f64, t1: f64) -> f64 {
        if self.stops.is_empty() { t1 } else { self.stop_after(t, t1) }
    }

    fn stop_after(&self, t: f64, t1: f64) -> f64 {
        let passed = self.stops.partition_point(|&stop| if t < t1 { stop <= t } else { stop >= t });
        // One of another trajectory's may be this one's end, but for rounding.
        let inside = |stop: &f64| (if t < t1 { *stop < t1 } else { *stop > t1 }) && settled(*stop, [t1; 2]) != t1;
        self.stops.get(passed).copied().filter(inside).unwrap_or(t1)
    }

    /// The longest step that is allowed.
    pub(crate) const fn largest_step(&self) -> f64 {
        self.largest_step
    }

    /// End of a step of signed length `h` from `t`, at most at the next stop.
    #[inline]
    pub(crate) fn end_of_step(&self, t: f64, h: f64, t1: f64) -> f64 {
        let stop = self.next_stop(t, t1);
        match &self.times {
            Times::All => end_of_step(t, h, stop),
            Times::Ticks(path) => path.end_of_step(t, h).min(stop),
        }
    }

    /// The next time before `t` at which a step back has to end: a stop, or the start of the interval.
    pub(crate) fn stop_before(&self, t: f64, t0: f64) -> f64 {
        let passed = |stop: f64| if t0 < t { stop < t } else { stop > t };
        self.stops.iter().rev().copied().find(|&stop| passed(stop)).unwrap_or(t0)
    }

    /// End of a step of signed length `h` from `t`, at most at `stop`.
    pub(crate) fn end_before(&self, t: f64, h: f64, stop: f64) -> f64 {
        end_of_step(t, if h.abs() > self.largest_step { self.largest_step.copysign(h) } else { h }, stop)
    }

    /// Length of a step from `t` that is just not too small.
    pub(crate) fn smallest_step(&self, t: f64, span: f64) -> f64 {
        match &self.times {
            Times::All => 32.0 * f64::EPSILON * t.abs() + 2.0 * f64::EPSILON * span.abs(),
            Times::Ticks(path) => 1.5 * span.abs() / path.ticks() as f64,
        }
    }

    /// Time of a penalised step that was to start at `t`: where it follows a path, one that the path is known at without
    /// going far down its tree.
    pub(crate) fn probe_time(&self, t: f64, noise: PenaltyNoise) -> f64 {
        match &self.times {
            Times::Ticks(path) if noise == PenaltyNoise::Path => path.coarse_time(t),
            _ => t,
        }
    }

    /// End of a penalised step of signed length `h` from `t`; on a path, where that knows it.
    pub(crate) fn end_of_probe(&self, t: f64, h: f64, noise: PenaltyNoise) -> f64 {
        match &self.times {
            Times::Ticks(path) if noise == PenaltyNoise::Path => path.end_of_step(t, h),
            _ => t + h,
        }
    }
}

/// End of a step of signed length `h`: `t1` itself if the step reaches it, or would leave less than a rounding error.
fn end_of_step(t: f64, h: f64, t1: f64) -> f64 {
    let rest = t1 - t;
    if h.abs() >= rest.abs() * (1.0 - 4.0 * f64::EPSILON) { t1 } else { t + h }
}

/// Whether a step is lost in the rounding of its times or of the interval's length. The last one may be that short.
pub(crate) fn step_too_small(t: f64, t_next: f64, t1: f64, span: f64) -> bool {
    t_next != t1 && (t_next - t).abs() <= shortest_step(t, t_next, span)
}
