//! [`Tile`]: up to `LANES` trajectories and all that is kept of them; shards and crews, which hold tiles.

use crate::cpu::engine::TaskRoom;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::lanes::{Lanes, gather, rest_unless};
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::path::Cuts;
use crate::cpu::regularize::local::Probe;
use crate::cpu::step::runge_kutta::{AttemptRoom, KeptStep, Stages, Stepper, VjpRoom};
use crate::error::Status;
use crate::memory;
use crate::method::MAX_STAGES;
use crate::solution::Stats;

/// A time at which the solve stores the state, and the slot that it goes to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SavePoint {
    pub(crate) t: f64,
    pub(crate) slot: usize,
}

/// What a solve stores besides its save points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recording {
    /// Every n-th accepted state goes to the tape; none if zero.
    pub(crate) stride: usize,
    /// Whether anything at all is kept: at least the ends of the steps.
    pub(crate) ends: bool,
    /// Also the stages of every accepted step.
    pub(crate) stages: bool,
    /// Accepted steps that there is memory for.
    pub(crate) limit: usize,
}

/// Where each trajectory is; in lockstep, where it ended.
#[derive(Clone, Debug)]
pub(crate) struct Clock<R> {
    pub(crate) t: Lanes<f64>,
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
    fn take_lane(&mut self, lane: usize, from: &Self, from_lane: usize) {
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

    /// Steps of an ideal controller with such a safety factor.
    pub(crate) fn ideal_steps(&self, lane: usize, safety: f64) -> f64 {
        (self.ideal[0][lane] + self.ideal[3][lane]).to_f64() / safety
    }
}

/// Copies one lane of a tile to a lane of another.
pub(crate) fn copy_lane<R: Scalar>(out: &mut [R], lane: usize, tile: &[R], from_lane: usize) {
    for (out, x) in out[lane..].iter_mut().step_by(LANES).zip(tile[from_lane..].iter().step_by(LANES)) {
        *out = *x;
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
    /// Lanes whose trajectory still counts: used, and not given up.
    pub(crate) alive: [bool; LANES],
    /// The last states of the lanes that were given up, and which those are; allocated with the first one.
    lost: Vec<R>,
    is_lost: [bool; LANES],
    pub(crate) y: Vec<R>,
    pub(crate) y1: Vec<R>,
    pub(crate) k_first: Vec<R>,
    pub(crate) k_last: Vec<R>,
    /// Diffusion of the first and the last stage; empty without noise.
    pub(crate) g_first: Vec<R>,
    pub(crate) g_last: Vec<R>,
    /// What is known of the paths near the last step.
    pub(crate) cuts: Cuts<R>,
    /// Number of each lane's trajectory, which selects its path.
    pub(crate) trajectories: Lanes<u32>,
    /// Every `stride`-th accepted state, the initial one first.
    pub(crate) tape: Vec<Vec<R>>,
    /// Stages of accepted steps, one after the other, for dense output.
    pub(crate) stage_tape: Vec<Vec<R>>,
    pool: Vec<Vec<R>>,
    /// Whether the system has refused memory for any of these: the solve stops, and its results are none.
    pub(crate) refused: bool,
    /// Saved states and their cotangents, `[slot][D][LANES]`.
    pub(crate) saves: Vec<R>,
    pub(crate) saves_bar: Vec<R>,
    /// Ensemble: the ends of each lane's n-th accepted step; equal where a lane took fewer.
    pub(crate) steps: Vec<[Lanes<f64>; 2]>,
    pub(crate) clock: Clock<R>,
    /// Per lane, the sum over features of the last attempt's squared scaled errors.
    pub(crate) norms: Lanes<R>,
    pub(crate) probes: Vec<Probe<R>>,
    /// Ensemble: the tile's share of the penalty.
    pub(crate) penalty: f64,
    /// The tile's share of the task's loss, and its correctly classified trajectories.
    pub(crate) loss: f64,
    pub(crate) correct: usize,
    /// Cotangent of the current state in the backward pass; that of `y0` after it.
    pub(crate) bar: Vec<R>,
}

impl<R: Scalar> Tile<R> {
    pub(crate) fn new(index: usize, stepper: &Stepper<R>) -> Self {
        let zeros = || stepper.tile();
        let state = || vec![R::ZERO; stepper.rows() * LANES];
        let noise = || if stepper.diffusion.is_some() { stepper.tile() } else { Vec::new() };
        Self {
            index,
            used: 0,
            status: [Status::Done; LANES],
            alive: [false; LANES],
            lost: Vec::new(),
            is_lost: [false; LANES],
            y: state(),
            y1: state(),
            k_first: zeros(),
            k_last: zeros(),
            g_first: noise(),
            g_last: noise(),
            cuts: Cuts::default(),
            trajectories: [0; LANES],
            tape: Vec::new(),
            stage_tape: Vec::new(),
            pool: Vec::new(),
            refused: false,
            saves: Vec::new(),
            saves_bar: Vec::new(),
            steps: Vec::new(),
            clock: Clock {
                t: [0.0; LANES],
                h: [0.0; LANES],
                last: [0.0; LANES],
                memory: [[R::ZERO; LANES]; 2],
                nfe: [0; LANES],
                nfe_diffusion: [0; LANES],
                accepted: [0; LANES],
                rejected: [0; LANES],
                ideal: [[R::ZERO; LANES]; 4],
                wish: [R::ZERO; LANES],
            },
            norms: [R::ZERO; LANES],
            probes: Vec::new(),
            penalty: 0.0,
            loss: 0.0,
            correct: 0,
            bar: state(),
        }
    }

    /// Takes the tile's share of a batch `[B][D]`.
    pub(crate) fn load(&mut self, y0: &[R], dim: usize) {
        self.place(y0.len() / dim);
        let first = self.index * LANES;
        if self.used > 0 {
            let n = self.features();
            gather(&mut self.y[..n], &y0[first * dim..(first + self.used) * dim], dim);
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
        copy_lane(&mut self.y, lane, &from.y, from_lane);
        copy_lane(&mut self.k_first, lane, &from.k_first, from_lane);
        self.trajectories[lane] = from.trajectories[from_lane];
        if !self.g_first.is_empty() {
            copy_lane(&mut self.g_first, lane, &from.g_first, from_lane);
        }
        copy_lane(&mut self.saves, lane, &from.saves, from_lane);
    }

    /// Ensemble: what a lane's trajectory cost.
    pub(crate) fn stats(&self, lane: usize) -> Stats {
        let count = |counts: &Lanes<u32>| counts[lane] as usize;
        let Clock { nfe, nfe_diffusion, accepted, rejected, .. } = &self.clock;
        Stats {
            nfe: count(nfe),
            nfe_diffusion: count(nfe_diffusion),
            accepted: count(accepted),
            rejected: count(rejected),
        }
    }

    /// Numbers in one array of the tile: `D` times `LANES`.
    pub(crate) fn features(&self) -> usize {
        self.k_first.len()
    }

    /// Makes the tile ready for a solve of the loaded states, with room for `slots` saves. Its first trajectory has the
    /// number `first`. A second state starts as the first one.
    pub(crate) fn begin(&mut self, slots: usize, first: u32) {
        self.trajectories = std::array::from_fn(|l| first.wrapping_add(u32::try_from(l).unwrap_or(0)));
        let n = self.features();
        if self.y.len() > n {
            self.y.copy_within(..n, n);
        }
        self.alive = std::array::from_fn(|l| l < self.used);
        self.status = std::array::from_fn(|l| if l < self.used { Status::Running } else { Status::Done });
        self.pool.append(&mut self.tape);
        self.pool.append(&mut self.stage_tape);
        self.is_lost = [false; LANES];
        self.refused = false;
        self.steps.clear();
        self.norms = [R::ZERO; LANES];
        self.saves.resize(slots * n, R::ZERO);
        self.saves_bar.resize(slots * n, R::ZERO);
    }

    /// Makes the tile ready for a backward pass: no cotangents at the probes' slots yet, no penalty.
    pub(crate) fn begin_backward(&mut self, probe_slots: std::ops::Range<usize>) {
        for slot in probe_slots {
            self.save_bar_mut(slot).fill(R::ZERO);
        }
        self.probes.iter_mut().for_each(Probe::forget);
        (self.penalty, self.loss, self.correct) = (0.0, 0.0, 0);
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

    /// Gives lanes up at time `t`, after `accepted` steps: they keep their status, leave every norm and every loss, and
    /// rest at zero so that no non-finite number reaches their neighbours.
    pub(crate) fn quarantine(&mut self, lanes: &[bool; LANES], status: Status, t: f64, accepted: usize) {
        let mut rest = [true; LANES];
        let alive = self.alive;
        for l in (0..LANES).filter(|&l| lanes[l] && alive[l]) {
            (self.alive[l], self.status[l], rest[l]) = (false, status, false);
            self.arrive(l, t, accepted);
            self.is_lost[l] = true;
            self.lost.resize(self.y.len(), R::ZERO);
            copy_lane(&mut self.lost, l, &self.y, l);
        }
        rest_unless(&mut self.y, &rest);
        rest_unless(&mut self.k_first, &rest);
        rest_unless(&mut self.g_first, &rest);
    }

    /// Says how far a lane's trajectory came.
    pub(crate) fn arrive(&mut self, lane: usize, t: f64, accepted: usize) {
        (self.clock.t[lane], self.clock.accepted[lane]) = (t, u32::try_from(accepted).unwrap_or(u32::MAX));
    }

    /// The state of a lane's trajectory after `n` accepted steps, of which every one is on the tape.
    pub(crate) fn accepted_state(&self, n: usize, lane: usize) -> impl Iterator<Item = R> + '_ {
        let last = if self.is_lost[lane] { &self.lost } else { &self.y };
        let state = if n < self.clock.accepted[lane] as usize { &self.tape[n] } else { last };
        state[lane..self.features()].iter().step_by(LANES).copied()
    }

    /// Accepts the last attempt for all lanes: its end is the state now. `tape` keeps the state before.
    pub(crate) fn accept(&mut self, tape: bool, fsal: bool) {
        std::mem::swap(&mut self.y, &mut self.y1);
        if tape && let Some(spare) = self.spare(self.y1.len()) {
            self.tape.push(std::mem::replace(&mut self.y1, spare));
        }
        if fsal {
            std::mem::swap(&mut self.k_first, &mut self.k_last);
            std::mem::swap(&mut self.g_first, &mut self.g_last);
        }
    }

    /// An array of `n` numbers for the tape, from an earlier solve if there is one; none if the system refuses it.
    pub(crate) fn spare(&mut self, n: usize) -> Option<Vec<R>> {
        let spare = match self.pool.iter().rposition(|p| p.len() == n) {
            Some(at) => Some(self.pool.swap_remove(at)),
            None => memory::zeros("a kept state", n).ok(),
        };
        // The lists that it goes to, and that of the pool.
        let lists = [&mut self.tape, &mut self.stage_tape].into_iter().all(|list| list.try_reserve(1).is_ok());
        self.refused |= spare.is_none() || !lists;
        spare.filter(|_| lists)
    }

    /// Ends the solve of all lanes, for want of memory.
    pub(crate) fn give_up_all(&mut self) {
        self.refused = true;
        for status in self.status.iter_mut().filter(|status| **status == Status::Running) {
            *status = Status::MaxSteps;
        }
    }

    /// Keeps the stages of the last attempt, one after the other.
    pub(crate) fn keep_stages(&mut self, stepper: &Stepper<R>, room: &AttemptRoom<R>) {
        let count = stepper.tableau.stages();
        let n = self.features();
        let Some(mut kept) = self.spare(count * n) else { return };
        let stages: Stages<'_, R> = stepper.stages(&self.k_first, &self.k_last, room);
        for (kept, stage) in kept.chunks_exact_mut(n).zip(&stages[..count.min(MAX_STAGES)]) {
            kept.copy_from_slice(stage);
        }
        self.stage_tape.push(kept);
    }

    /// Forgets the stages of a rejected attempt, if they were kept.
    pub(crate) fn drop_stages(&mut self) {
        self.pool.extend(self.stage_tape.pop());
    }

    pub(crate) fn bytes(&self) -> usize {
        let steps = [&self.y, &self.y1, &self.k_first, &self.k_last, &self.g_first, &self.g_last];
        let arrays = steps.into_iter().chain([&self.saves, &self.saves_bar, &self.bar]);
        let arrays = arrays.chain([&self.lost]);
        let lists = [&self.tape, &self.stage_tape, &self.pool];
        let numbers = arrays.map(Vec::capacity).sum::<usize>()
            + lists.iter().flat_map(|list| list.iter()).map(Vec::capacity).sum::<usize>();
        numbers * size_of::<R>() + self.cuts.bytes() + self.steps.capacity() * size_of::<[Lanes<f64>; 2]>()
    }
}

/// Tiles whose parameter gradients are added up in one place. The shards of a batch depend on its size alone, not on
/// the number of threads, and are added in order: any number of threads gives the same bits.
#[derive(Debug)]
pub(crate) struct Shard<R> {
    pub(crate) tiles: Vec<Tile<R>>,
    pub(crate) theta_bar: Vec<R>,
}

/// The most shards of a batch.
pub(crate) const MAX_SHARDS: usize = 32;

/// What one thread works on, and its room to work in.
#[derive(Debug)]
pub(crate) struct Crew<R> {
    pub(crate) shards: Vec<Shard<R>>,
    pub(crate) room: Room<R>,
    pub(crate) run: crate::cpu::solve::lockstep::Run,
}

impl<R> Crew<R> {
    pub(crate) fn tiles(&self) -> impl Iterator<Item = &Tile<R>> {
        self.shards.iter().flat_map(|s| &s.tiles).filter(|t| t.used > 0)
    }

    pub(crate) fn tiles_mut(&mut self) -> (impl Iterator<Item = &mut Tile<R>>, &mut Room<R>) {
        (self.shards.iter_mut().flat_map(|s| &mut s.tiles).filter(|t| t.used > 0), &mut self.room)
    }
}

/// A thread's room to work in.
#[derive(Debug)]
pub(crate) struct Room<R> {
    pub(crate) attempt: AttemptRoom<R>,
    pub(crate) scratch: Vec<R>,
    pub(crate) task: TaskRoom<R>,
    /// Ensemble without a tape: the tile that trajectories stream through.
    pub(crate) working: Option<Box<Tile<R>>>,
    /// Allocated with the first gradient.
    pub(crate) backward: Option<BackwardRoom<R>>,
}

/// A thread's room for the backward pass.
#[derive(Debug)]
pub(crate) struct BackwardRoom<R> {
    pub(crate) kept: KeptStep<R>,
    pub(crate) vjp: VjpRoom<R>,
    /// States between two checkpoints.
    pub(crate) segment: Vec<Vec<R>>,
    pub(crate) y: Vec<R>,
    /// Cotangents of a second state's step, for lanes that rest in it; allocated when there are any.
    pub(crate) resting: Vec<R>,
    /// Cotangents that states saved within a step give to its stages, and to its start; allocated when there are any.
    pub(crate) stage_bars: Vec<Vec<R>>,
    pub(crate) start_bar: Vec<R>,
}

impl<R: Scalar> BackwardRoom<R> {
    pub(crate) fn new(stepper: &Stepper<R>) -> Self {
        Self {
            kept: stepper.kept_step(),
            vjp: stepper.vjp_room(),
            segment: Vec::new(),
            y: vec![R::ZERO; stepper.rows() * LANES],
            resting: Vec::new(),
            stage_bars: Vec::new(),
            start_bar: Vec::new(),
        }
    }

    pub(crate) fn clear_stage_bars(&mut self, stages: usize, n: usize) {
        self.stage_bars.resize_with(stages, Vec::new);
        for bar in self.stage_bars.iter_mut().chain([&mut self.start_bar]) {
            bar.clear();
            bar.resize(n, R::ZERO);
        }
    }
}
