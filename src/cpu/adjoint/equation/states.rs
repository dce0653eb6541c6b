//! [`States`]: a solve's states at any time, lane by lane.

use crate::cpu::adjoint::track::Track;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::lanes::{Lanes, combine};
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::step::Scheme;
use crate::cpu::step::runge_kutta::RungeKutta;
use crate::cpu::tile::Tile;

/// A tile's accepted steps, with a step of each lane that the last question was about.
#[derive(Debug)]
pub(super) struct States<'a, R: Scalar> {
    track: &'a Track<'a, RungeKutta<R>>,
    tile: &'a Tile<R>,
    cursor: Lanes<usize>,
}

impl<'a, R: Scalar> States<'a, R> {
    pub(super) fn new(track: &'a Track<'a, RungeKutta<R>>, tile: &'a Tile<R>) -> Self {
        let mut states = Self { track, tile, cursor: [0; LANES] };
        states.cursor = std::array::from_fn(|l| states.count(l).saturating_sub(1));
        states
    }

    fn count(&self, lane: usize) -> usize {
        self.track.shared().map_or(self.tile.clock.accepted[lane] as usize, <[_]>::len)
    }

    fn ends(&self, step: usize, lane: usize) -> [f64; 2] {
        match self.track.shared() {
            Some(steps) => steps[step],
            None => [self.tile.steps[step][0][lane], self.tile.steps[step][1][lane]],
        }
    }

    /// Start of the step back of which time `t` lies.
    pub(super) fn start_before(&mut self, t: f64, lane: usize) -> f64 {
        self.seek(t, lane);
        let step = self.cursor[lane];
        let [start, _] = self.ends(step, lane);
        if start == t && step > 0 { self.ends(step - 1, lane)[0] } else { start }
    }

    /// Length of the longer one of the step around time `t`, which a stop may have cut, and the one before it.
    pub(super) fn length_at(&mut self, t: f64, lane: usize) -> f64 {
        self.seek(t, lane);
        let step = self.cursor[lane];
        let length = |step: usize| {
            let [start, end] = self.ends(step, lane);
            (end - start).abs()
        };
        length(step).max(length(step.saturating_sub(1)))
    }

    /// Moves the lane's cursor to the step around time `t`.
    fn seek(&mut self, t: f64, lane: usize) {
        let (count, mut step) = (self.count(lane), self.cursor[lane]);
        let forwards = |[start, end]: [f64; 2]| end > start;
        while step > 0 {
            let ends = self.ends(step, lane);
            if if forwards(ends) { t >= ends[0] } else { t <= ends[0] } {
                break;
            }
            step -= 1;
        }
        while step + 1 < count {
            let ends = self.ends(step, lane);
            if if forwards(ends) { t <= ends[1] } else { t >= ends[1] } {
                break;
            }
            step += 1;
        }
        self.cursor[lane] = step;
    }

    /// The states at the lanes' times, by the interpolant, in the lanes of `moving`; numbers without meaning elsewhere.
    pub(super) fn at(&mut self, times: &Lanes<f64>, moving: &[bool; LANES], out: &mut [R]) {
        let lanes = || (0..LANES).filter(|&l| moving[l]);
        lanes().for_each(|l| self.seek(times[l], l));
        let Some(first) = lanes().next() else { return };
        let tableau = self.track.stepper.scheme.tableau();
        let tape = &self.tile.tape;
        let at = |lane: usize| {
            let step = self.cursor[lane];
            let [start, end] = self.ends(step, lane);
            (step, end - start, tableau.interpolant_weights((times[lane] - start) / (end - start)))
        };
        // Lanes of an ensemble are on their own even where they are at the same time: for the same bits in any batch.
        if self.track.shared().is_some() {
            let (step, h, weights) = at(first);
            let stages = tape.stages[step].chunks_exact(out.len());
            combine(out, Some(&tape.states[step]), &[R::from_f64(h); LANES], weights.into_iter().zip(stages));
            return;
        }
        for lane in lanes() {
            let (step, h, weights) = at(lane);
            let weights = weights.map(|weight| R::from_f64(h * weight));
            let (state, stages) = (&tape.states[step], &tape.stages[step]);
            for (i, place) in (lane..out.len()).step_by(LANES).enumerate() {
                let slopes = stages[i * LANES + lane..].iter().step_by(out.len());
                out[place] = slopes.zip(weights).fold(state[place], |sum, (&k, weight)| weight.mul_add(k, sum));
            }
        }
    }
}
