//! The controller in every lane of a tile.

use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::dispatch::multiversion;
use crate::cpu::kernel::lanes::Lanes;
use crate::cpu::tile::clock::Clock;
use crate::method::{Attempt, Controller, ControllerMemory, LONGEST_WISH, MOST_GROWTH};

/// What the controller makes of an attempt, a lane.
pub(crate) struct Decisions<R> {
    pub(crate) accept: [bool; LANES],
    pub(crate) factor: Lanes<R>,
    pub(crate) reach: Lanes<R>,
    pub(crate) count: Lanes<R>,
}

multiversion! {
    /// [`Controller::adapt`] in every lane.
    pub(crate) fn adapt_lanes<R>(
        controller: &Controller,
        error_power: f64,
        memory: &mut [Lanes<R>; 2],
        errors_and_ratios: [&Lanes<R>; 2],
        first: &[bool; LANES],
        decisions: &mut Decisions<R>,
    ) {
        let [error, ratio] = errors_and_ratios;
        for l in 0..LANES {
            let mut lane = ControllerMemory { log_errors: [memory[0][l], memory[1][l]] };
            let attempt = Attempt { error: error[l], ratio: ratio[l], first: first[l] };
            let decision = controller.adapt(error_power, &mut lane, attempt);
            [memory[0][l], memory[1][l]] = lane.log_errors;
            decisions.accept[l] = decision.accept;
            decisions.factor[l] = decision.factor;
            decisions.reach[l] = decision.reach;
            decisions.count[l] = decision.count;
        }
    }
}

multiversion! {
    /// Takes accepted steps of lengths `h` into every lane's count of ideal ones, as `method::IdealSteps` does, and the first
    /// one's wish: `lanes` have lengths, squared errors, and one over the interval's length; `numbers` are the squares of a
    /// resolved error, and the controller's safety.
    pub(crate) fn note_steps<R>(
        clock: &mut Clock<R>,
        accept: &[bool; LANES],
        first: &[bool; LANES],
        decisions: &Decisions<R>,
        lanes: [&Lanes<R>; 3],
        numbers: [R; 2],
    ) {
        let ([h, squares, per_span], [resolved, safety]) = (lanes, numbers);
        let (longest, growth) = (R::from_f64(LONGEST_WISH), R::from_f64(MOST_GROWTH));
        let Clock { ideal: [sum, rate, waiting, steps], wish, .. } = clock;
        for l in 0..LANES {
            // Of a lane that rests, numbers without meaning that are not taken.
            let (share, count) = (h[l] * per_span[l], decisions.count[l]);
            let (told, known) = (squares[l] >= resolved, rate[l] > R::ZERO);
            let own = count / share;
            let whole = count + own * waiting[l];
            let as_before = if known { rate[l] * share } else { R::ZERO };
            let add = if told { whole } else { as_before };
            sum[l] += if accept[l] { add } else { R::ZERO };
            let waits = accept[l] & !told & !known;
            let ends = accept[l] & told;
            waiting[l] = if ends { R::ZERO } else if waits { waiting[l] + share } else { waiting[l] };
            steps[l] = if ends { R::ZERO } else if waits { steps[l] + count } else { steps[l] };
            rate[l] = if ends { own } else { rate[l] };
            let wished = (share * (safety / count).min(growth)).min(longest);
            wish[l] = if accept[l] & first[l] { wished } else { wish[l] };
        }
    }
}
