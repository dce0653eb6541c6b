//! [`Tile`]: up to `LANES` trajectories and all that is kept of them.

pub(crate) mod clock;
pub(crate) mod probe;
pub(crate) mod saves;
pub(crate) mod tape;

use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::lanes::{Lanes, copy_lane, gather, rest_unless};
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::step::state::{Shape, StepState, begin_second};
use crate::error::Status;
use crate::method::PointMeasure;
use clock::Clock;
use tape::Tape;

/// What an encoder that solves equations of its own came to, a lane.
#[derive(Clone, Debug)]
pub(crate) struct Encoded {
    /// Why it has no state for a trajectory, or `Done`.
    pub(crate) status: [Status; LANES],
    /// Evaluations of the field between observations.
    pub(crate) nfe: Lanes<u32>,
}

impl Default for Encoded {
    fn default() -> Self {
        Self { status: [Status::Done; LANES], nfe: [0; LANES] }
    }
}

/// Up to `LANES` trajectories. Arrays are `[D][LANES]`; states have twice as many rows where a method carries a second
/// state.
#[derive(Debug)]
pub(crate) struct Tile<R> {
    /// Position among the batch's tiles.
    pub(crate) index: usize,
    /// Lanes that hold a trajectory; 0 for a tile beyond the end of the batch.
    pub(crate) used: usize,
    pub(crate) status: [Status; LANES],
    /// What became of them before the solve.
    pub(crate) encoded: Encoded,
    /// Lanes whose trajectory still counts: used, and not given up.
    pub(crate) alive: [bool; LANES],
    /// The last states of the lanes that were given up, and which those are; allocated with the first one.
    lost: Vec<R>,
    is_lost: [bool; LANES],
    pub(crate) state: StepState<R>,
    pub(crate) tape: Tape<R>,
    features: usize,
    /// Saved states and their cotangents, `[slot][D][LANES]`.
    pub(crate) saves: Vec<R>,
    pub(crate) saves_bar: Vec<R>,
    /// Ensemble: the ends of each lane's n-th accepted step; equal where a lane took fewer.
    pub(crate) steps: Vec<[Lanes<f64>; 2]>,
    /// Likewise the norms of what is measured of them, where that is asked for, and those of its second part, if it has one;
    /// 0 where a lane took fewer.
    pub(crate) measured: [Vec<Lanes<R>>; 2],
    pub(crate) clock: Clock<R>,
    /// Per lane, the sum over features of the last attempt's squared scaled errors.
    pub(crate) norms: Lanes<R>,
    /// Likewise of the differences of its last two slopes and states, where stiffness is measured.
    pub(crate) differences: [Lanes<R>; 2],
    /// Ensemble: the tile's share of the penalty.
    pub(crate) penalty: f64,
    /// Its shares of the measures at random times.
    pub(crate) points: [f64; PointMeasure::COUNT],
    /// The tile's share of the task's loss, and its correctly classified trajectories.
    pub(crate) loss: f64,
    pub(crate) correct: usize,
    /// What initial states are drawn from, where they are: means and log-variances, `[2 D][LANES]`; and per lane the
    /// divergence of that, or of the state.
    pub(crate) given: Vec<R>,
    pub(crate) divergence: Lanes<f64>,
    /// Cotangent of the current state in the backward pass; that of `y0` after it.
    pub(crate) bar: Vec<R>,
    /// How each lane's own solve back ended, where the adjoint has one, and the largest distance there of a state from one that
    /// is known, in units of the tolerance.
    pub(crate) returned: [Status; LANES],
    pub(crate) drift: Lanes<f64>,
    /// Cotangents of the trajectories' own controls, where they are asked for.
    pub(crate) controls_bar: Vec<R>,
}

impl<R: Scalar> Tile<R> {
    pub(crate) fn new(index: usize, shape: &Shape) -> Self {
        Self {
            index,
            used: 0,
            status: [Status::Done; LANES],
            encoded: Encoded::default(),
            alive: [false; LANES],
            lost: Vec::new(),
            is_lost: [false; LANES],
            state: StepState::new(shape),
            tape: Tape::new(),
            features: shape.features * LANES,
            saves: Vec::new(),
            saves_bar: Vec::new(),
            steps: Vec::new(),
            measured: [Vec::new(), Vec::new()],
            differences: [[R::ZERO; LANES]; 2],
            clock: Clock::new(),
            norms: [R::ZERO; LANES],
            penalty: 0.0,
            points: [0.0; PointMeasure::COUNT],
            loss: 0.0,
            given: Vec::new(),
            divergence: [0.0; LANES],
            correct: 0,
            bar: shape.states(),
            returned: [Status::Done; LANES],
            drift: [0.0; LANES],
            controls_bar: Vec::new(),
        }
    }

    /// Takes the tile's share of a batch `[B][D]`.
    pub(crate) fn load(&mut self, y0: &[R], dim: usize) {
        self.place(y0.len() / dim);
        let first = self.index * LANES;
        if self.used > 0 {
            let n = self.features();
            gather(&mut self.state.y[..n], &y0[first * dim..(first + self.used) * dim], dim);
        }
    }

    /// Takes its place in a batch of that size.
    pub(crate) fn place(&mut self, batch: usize) {
        self.used = batch.saturating_sub(self.index * LANES).min(LANES);
    }

    /// Ensemble: takes over another tile's trajectory, wherever it is on its way.
    pub(crate) fn take_lane(&mut self, lane: usize, from: &Self, from_lane: usize) {
        (self.alive[lane], self.status[lane]) = (from.alive[from_lane], from.status[from_lane]);
        self.norms[lane] = from.norms[from_lane];
        self.clock.take_lane(lane, &from.clock, from_lane);
        copy_lane(&mut self.state.y, lane, &from.state.y, from_lane);
        copy_lane(&mut self.state.first, lane, &from.state.first, from_lane);
        self.state.trajectories[lane] = from.state.trajectories[from_lane];
        copy_lane(&mut self.saves, lane, &from.saves, from_lane);
    }

    /// Numbers in one array of the tile: `D` times `LANES`.
    pub(crate) const fn features(&self) -> usize {
        self.features
    }

    /// Makes the tile ready for a solve of the loaded states, with room for `slots` saves. Its first trajectory has the
    /// number `first`. A second state starts as the first one. Trajectories that were lost before keep their status.
    pub(crate) fn begin(&mut self, slots: usize, first: u32) {
        self.state.trajectories = std::array::from_fn(|l| first.wrapping_add(u32::try_from(l).unwrap_or(0)));
        let n = self.features();
        begin_second(&mut self.state.y, n);
        self.alive = std::array::from_fn(|l| l < self.used && self.encoded.status[l] == Status::Done);
        self.status = std::array::from_fn(|l| match self.encoded.status[l] {
            _ if l >= self.used => Status::Done,
            Status::Done => Status::Running,
            lost => lost,
        });
        self.tape.clear();
        self.is_lost = [false; LANES];
        self.steps.clear();
        self.measured.iter_mut().for_each(Vec::clear);
        self.norms = [R::ZERO; LANES];
        self.saves.resize(slots * n, R::ZERO);
        self.saves_bar.resize(slots * n, R::ZERO);
    }

    /// Makes the tile ready for a backward pass: no cotangents at the probes' slots yet, nor of the `controls` numbers that
    /// each trajectory's own controls have, no penalty.
    pub(crate) fn begin_backward(&mut self, probe_slots: std::ops::Range<usize>, controls: usize) {
        self.controls_bar.clear();
        self.controls_bar.resize(controls * LANES, R::ZERO);
        for slot in probe_slots {
            self.save_bar_mut(slot).fill(R::ZERO);
        }
        (self.penalty, self.loss, self.correct) = (0.0, 0.0, 0);
        self.points = [0.0; PointMeasure::COUNT];
        (self.returned, self.drift) = ([Status::Done; LANES], [0.0; LANES]);
    }

    /// Lanes whose trajectory is still on its way.
    pub(crate) fn running(&self) -> [bool; LANES] {
        std::array::from_fn(|l| self.alive[l] && self.status[l] == Status::Running)
    }

    pub(crate) fn save(&self, slot: usize) -> &[R] {
        let n = self.features();
        &self.saves[slot * n..][..n]
    }

    pub(crate) fn save_bar_mut(&mut self, slot: usize) -> &mut [R] {
        let n = self.features();
        &mut self.saves_bar[slot * n..][..n]
    }

    /// Lanes that count: alive, and with an interval to go through.
    pub(crate) fn counted(&self) -> [bool; LANES] {
        std::array::from_fn(|l| self.alive[l] && !self.clock.is_still(l))
    }

    /// Gives lanes up at times `t`, after `accepted` steps: they keep their status, leave every norm and every loss, and
    /// rest at zero so that no non-finite number reaches their neighbours.
    pub(crate) fn quarantine(&mut self, lanes: &[bool; LANES], status: Status, t: &Lanes<f64>, accepted: usize) {
        let mut rest = [true; LANES];
        let counted = self.counted();
        for l in (0..LANES).filter(|&l| lanes[l] && counted[l]) {
            (self.alive[l], self.status[l], rest[l]) = (false, status, false);
            self.arrive(l, t[l], accepted);
            self.is_lost[l] = true;
            self.lost.resize(self.state.y.len(), R::ZERO);
            copy_lane(&mut self.lost, l, &self.state.y, l);
        }
        rest_unless(&mut self.state.y, &rest);
        rest_unless(&mut self.state.first, &rest);
    }

    /// Says how far a lane's trajectory came.
    pub(crate) fn arrive(&mut self, lane: usize, t: f64, accepted: usize) {
        (self.clock.t[lane], self.clock.accepted[lane]) = (t, u32::try_from(accepted).unwrap_or(u32::MAX));
    }

    /// The state of a lane's trajectory after `n` accepted steps, of which every one is on the tape.
    pub(crate) fn accepted_state(&self, n: usize, lane: usize) -> impl Iterator<Item = R> + '_ {
        let last = if self.is_lost[lane] { &self.lost } else { &self.state.y };
        let state = if n < self.clock.accepted[lane] as usize { &self.tape.states[n] } else { last };
        state[lane..self.features()].iter().step_by(LANES).copied()
    }

    /// Accepts the last attempt for all lanes: its end is the state now. `tape` keeps the state before.
    pub(crate) fn accept(&mut self, tape: bool, fsal: bool) {
        let StepState { y, y1, first, last, .. } = &mut self.state;
        std::mem::swap(y, y1);
        if tape && let Some(spare) = self.tape.spare(y1.len()) {
            self.tape.states.push(std::mem::replace(y1, spare));
        }
        if fsal {
            std::mem::swap(first, last);
        }
    }

    /// Ends the solve of all lanes, for want of memory.
    pub(crate) fn give_up_all(&mut self) {
        self.tape.refused = true;
        for status in self.status.iter_mut().filter(|status| **status == Status::Running) {
            *status = Status::MaxSteps;
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        let StepState { y, y1, first, last, cuts, .. } = &self.state;
        let arrays = [y, y1, first, last, &self.saves, &self.saves_bar, &self.bar, &self.lost, &self.controls_bar];
        let numbers = arrays.into_iter().map(Vec::capacity).sum::<usize>() + self.tape.numbers();
        numbers * size_of::<R>()
            + cuts.bytes()
            + self.steps.capacity() * size_of::<[Lanes<f64>; 2]>()
            + self.measured.iter().map(Vec::capacity).sum::<usize>() * size_of::<Lanes<R>>()
    }
}
