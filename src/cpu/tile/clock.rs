//! [`Clock`]: where the trajectories of a tile are, and what they cost.

use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::interval::Interval;
use crate::cpu::kernel::lanes::Lanes;
use crate::cpu::kernel::scalar::Scalar;
use crate::solution::Stats;

/// Where each trajectory is; in lockstep, where it ended.
#[derive(Clone, Debug)]
pub(crate) struct Clock<R> {
    /// Start and end of each lane's interval.
    pub(crate) ends: [Lanes<f64>; 2],
    /// Whether the shared clock counts shares of each lane's interval, as it does where these differ.
    pub(crate) scaled: bool,
    pub(crate) t: Lanes<f64>,
    /// Length of the first attempt, in lanes that know it whatever the options say; 0 in others.
    pub(crate) first: Lanes<f64>,
    /// Signed length of the next attempt.
    pub(crate) h: Lanes<f64>,
    /// That of the last accepted step.
    pub(crate) last: Lanes<f64>,
    /// Controller memory: logarithms of the last two accepted errors.
    pub(crate) memory: [Lanes<R>; 2],
    pub(crate) nfe: Lanes<u32>,
    pub(crate) nfe_diffusion: Lanes<u32>,
    pub(crate) accepted: Lanes<u32>,
    pub(crate) rejected: Lanes<u32>,
    /// Steps of an ideal controller, as `method::IdealSteps` has them: those so far, their rate, and of the steps that wait the
    /// share of the interval and their own count.
    pub(crate) ideal: [Lanes<R>; 4],
    /// The first step that each wished for, as a share of the interval; 0 before one was accepted.
    pub(crate) wish: Lanes<R>,
}

impl<R: Scalar> Clock<R> {
    pub(crate) const fn new() -> Self {
        Self {
            ends: [[0.0; LANES], [1.0; LANES]],
            scaled: false,
            t: [0.0; LANES],
            first: [0.0; LANES],
            h: [0.0; LANES],
            last: [0.0; LANES],
            memory: [[R::ZERO; LANES]; 2],
            nfe: [0; LANES],
            nfe_diffusion: [0; LANES],
            accepted: [0; LANES],
            rejected: [0; LANES],
            ideal: [[R::ZERO; LANES]; 4],
            wish: [R::ZERO; LANES],
        }
    }

    /// At the start of a solve of intervals from and to `ends`, on whose shares the shared clock goes if it is `scaled`.
    pub(crate) fn begin(&mut self, ends: [Lanes<f64>; 2], scaled: bool) {
        (self.ends, self.scaled, self.t) = (ends, scaled, ends[0]);
        (self.accepted, self.rejected) = ([0; LANES], [0; LANES]);
        (self.nfe, self.nfe_diffusion) = ([0; LANES], [0; LANES]);
        (self.ideal, self.wish) = ([[R::ZERO; LANES]; 4], [R::ZERO; LANES]);
    }

    /// Signed length of a lane's interval.
    pub(crate) fn span(&self, lane: usize) -> f64 {
        self.ends[1][lane] - self.ends[0][lane]
    }

    /// Whether a lane's interval is empty, so that it rests from the start.
    pub(crate) fn is_still(&self, lane: usize) -> bool {
        self.ends[0][lane] == self.ends[1][lane]
    }

    /// What time it is in each lane when the shared clock shows `t`: that, or the `t`-th part of its interval.
    pub(crate) fn times(&self, t: f64) -> Lanes<f64> {
        if !self.scaled {
            return [t; LANES];
        }
        std::array::from_fn(|l| if t == 1.0 { self.ends[1][l] } else { self.ends[0][l] + t * self.span(l) })
    }

    /// The lanes' steps while the shared clock goes from `t0` to `t1`.
    pub(crate) fn interval(&self, t0: f64, t1: f64) -> Interval<R> {
        if self.scaled { Interval::new(self.times(t0), self.times(t1)) } else { Interval::shared(t0, t1) }
    }

    /// Takes over the trajectory of another clock that began alike: of the same interval, or scaled as well.
    pub(crate) fn take_lane(&mut self, lane: usize, from: &Self, from_lane: usize) {
        if self.scaled {
            for (end, from) in self.ends.iter_mut().zip(&from.ends) {
                end[lane] = from[from_lane];
            }
        }
        (self.t[lane], self.h[lane]) = (from.t[from_lane], from.h[from_lane]);
        self.last[lane] = from.last[from_lane];
        for (memory, from) in self.memory.iter_mut().zip(&from.memory) {
            memory[lane] = from[from_lane];
        }
        self.nfe[lane] = from.nfe[from_lane];
        self.nfe_diffusion[lane] = from.nfe_diffusion[from_lane];
        (self.accepted[lane], self.rejected[lane]) = (from.accepted[from_lane], from.rejected[from_lane]);
        for (ideal, from) in self.ideal.iter_mut().zip(&from.ideal) {
            ideal[lane] = from[from_lane];
        }
        self.wish[lane] = from.wish[from_lane];
    }

    /// Ensemble: what a lane's trajectory cost.
    pub(crate) fn stats(&self, lane: usize) -> Stats {
        let count = |counts: &Lanes<u32>| counts[lane] as usize;
        Stats {
            nfe: count(&self.nfe),
            nfe_diffusion: count(&self.nfe_diffusion),
            accepted: count(&self.accepted),
            rejected: count(&self.rejected),
        }
    }

    /// Steps of an ideal controller with such a safety factor.
    pub(crate) fn ideal_steps(&self, lane: usize, safety: f64) -> f64 {
        (self.ideal[0][lane] + self.ideal[3][lane]).to_f64() / safety
    }
}
