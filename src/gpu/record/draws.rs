//! Random draws of a training step, as the device is told them: coefficients, places among the steps, and times.
//!
//! All times at which states are saved are one list, in the order of the solve. Regularizers that draw as many have the same
//! ones; where those of different numbers come among each other depends on the step, so that the device looks it up
//! (`Params::order`). A draw is known by its place among those of its number, which come after those of other numbers
//! ([`Purpose::first_of_draws`](crate::gpu::buffers::Purpose::first_of_draws)).

use crate::gpu::engine::Engine;
use crate::gpu::wire::records::{Params, ticks};
use crate::gpu::wire::word;
use crate::math::Real;
use crate::method::{Draws, PenaltyAt, PointDraws};

impl Engine {
    /// Sets what penalised steps and measures at points are told.
    pub(crate) fn set_draws(&self, params: &mut Params, local: Option<&Draws>, points: &[PointDraws]) {
        let mut times = Times::default();
        if let Some(draws) = local {
            self.set_probes(params, draws);
            if draws.penalty.at == PenaltyAt::Unbiased {
                times.add(params.draws[..draws.penalty.times].to_vec());
            }
        }
        for draws in points {
            params.measures[draws.penalty.measure.index()] = f32::from_f64(draws.penalty.coefficient);
            times.add((0..draws.points()).map(|n| ticks(draws.position(n))).collect());
        }
        times.set(params);
    }

    /// What a penalty's probes are told: its coefficient, and their times in ticks, or their places among the steps.
    fn set_probes(&self, params: &mut Params, draws: &Draws) {
        let penalty = draws.penalty;
        params.coefficient = f32::from_f64(penalty.coefficient);
        params.share = f32::from_f64(penalty.length.unwrap_or(0.0));
        for (n, draw) in params.draws.iter_mut().enumerate().take(penalty.times) {
            let position = self.probe_position(draws.position(n), penalty);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in [0, 2^32)")]
            let place = (position * 4_294_967_296.0) as u32;
            *draw = if penalty.at == PenaltyAt::Unbiased { ticks(position) } else { [place, 0] };
        }
    }
}

/// Times that were drawn, those of each number once.
#[derive(Default)]
struct Times {
    numbers: Vec<usize>,
    drawn: Vec<[u32; 2]>,
}

impl Times {
    fn add(&mut self, times: Vec<[u32; 2]>) {
        if !self.numbers.contains(&times.len()) {
            self.numbers.push(times.len());
            self.drawn.extend(times);
        }
    }

    fn set(&self, params: &mut Params) {
        let mut sorted: Vec<usize> = (0..self.drawn.len()).collect();
        sorted.sort_by_key(|draw| self.drawn[*draw]);
        for (place, draw) in sorted.into_iter().enumerate() {
            params.times[place] = self.drawn[draw];
            params.order[draw] = word(place);
        }
    }
}
