//! The lockstep layout: one time and one step size for the whole batch.
//!
//! Every worker runs this loop over its own tiles. They meet once an attempt, to add up the error norm; then each
//! makes the same decision from the same numbers, so no worker has to be told anything.

use crate::solution::Stats;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::cpu::crew::workers::Barrier;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::lanes::{Lanes, combine, scaled_squares};
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::path::speed;
use crate::cpu::step::runge_kutta::{AttemptRoom, Interval, Stepper};
use crate::cpu::tile::{Crew, Recording, SavePoint, Tile};
use crate::error::Status;
use crate::method::{Attempt, Controller, IdealSteps, InitialStep, SolverOptions, StepControl, wish};
use crate::problem::{Problem, shortest_step, within};

/// Attempts in a row with a non-finite error after which the lanes that cause it are given up. The step has shrunk by
/// `min_factor^8` by then, about 1e-6.
pub(crate) const PATIENCE: u32 = 8;

/// What a lockstep solve did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Run {
    /// Ends of the accepted steps.
    pub(crate) steps: Vec<[f64; 2]>,
    pub(crate) nfe: usize,
    pub(crate) nfe_diffusion: usize,
    pub(crate) rejected: usize,
    pub(crate) status: Status,
    pub(crate) ideal: IdealSteps,
    /// The first step that it wished for, as a share of the interval, if a step was accepted.
    pub(crate) wish: Option<f64>,
}

impl Run {
    pub(crate) fn stats(&self) -> Stats {
        let Self { nfe, nfe_diffusion, rejected, .. } = *self;
        Stats { nfe, nfe_diffusion, accepted: self.steps.len(), rejected }
    }

    /// Counts an attempt, `shared` of whose first stages were there already.
    fn count<R: Scalar>(&mut self, stepper: &Stepper<R>, shared: bool) {
        self.nfe += stepper.tableau.stages() - usize::from(shared);
        self.nfe_diffusion += stepper.noise_stages().saturating_sub(usize::from(shared));
    }

    /// Counts an evaluation at one point.
    fn count_point<R: Scalar>(&mut self, stepper: &Stepper<R>) {
        self.nfe += 1;
        self.nfe_diffusion += usize::from(stepper.diffusion.is_some());
    }
}

/// What the workers of a lockstep solve share.
#[derive(Debug)]
pub(crate) struct Meeting {
    barrier: Barrier,
    /// Per tile, twice over so that a fast worker's next sum never meets a slow worker's read of this one.
    slots: [Vec<Slot>; 2],
}

/// A tile's share of a norm.
#[derive(Debug, Default)]
struct Slot {
    sum: AtomicU64,
    lanes: AtomicU32,
    refused: AtomicBool,
}

impl Meeting {
    pub(crate) fn new(workers: usize, tiles: usize) -> Self {
        let slots = || (0..tiles).map(|_| Slot::default()).collect();
        Self { barrier: Barrier::new(workers), slots: [slots(), slots()] }
    }
}

/// One worker's view of a meeting.
#[derive(Debug)]
pub(crate) struct Attendee<'a> {
    meeting: &'a Meeting,
    turn: usize,
    features: usize,
    /// Whether a tile has been refused memory.
    pub(crate) refused: bool,
}

impl<'a> Attendee<'a> {
    pub(crate) const fn new(meeting: &'a Meeting, features: usize) -> Self {
        Self { meeting, turn: 0, features, refused: false }
    }

    /// Puts down a tile's sums of squares over features, one a lane.
    pub(crate) fn put<R: Scalar>(&self, tile: &Tile<R>, sums: &Lanes<R>) {
        let slot = &self.meeting.slots[self.turn % 2][tile.index];
        let alive = (0..LANES).filter(|&l| tile.alive[l]);
        let (mut sum, mut lanes) = (0.0, 0);
        for l in alive {
            sum += sums[l].to_f64();
            lanes += 1;
        }
        slot.sum.store(sum.to_bits(), Ordering::Relaxed);
        slot.lanes.store(lanes, Ordering::Relaxed);
        slot.refused.store(tile.refused, Ordering::Relaxed);
    }

    /// Waits for everyone; the root mean square over all living lanes and features, NaN where none is left, and the number
    /// of numbers in it. Tiles are added in order, whoever worked on them.
    pub(crate) fn root_mean_square(&mut self) -> (f64, usize) {
        let slots = &self.meeting.slots[self.turn % 2];
        self.turn += 1;
        self.meeting.barrier.wait();
        let (mut sum, mut lanes) = (0.0, 0);
        for slot in slots {
            sum += f64::from_bits(slot.sum.load(Ordering::Relaxed));
            lanes += slot.lanes.load(Ordering::Relaxed) as usize;
            self.refused |= slot.refused.load(Ordering::Relaxed);
        }
        let count = lanes * self.features;
        ((sum / count as f64).sqrt(), count)
    }

    /// Declares that a tile takes no part.
    pub(crate) fn put_nothing(&self, tile: usize) {
        let slot = &self.meeting.slots[self.turn % 2][tile];
        slot.sum.store(0f64.to_bits(), Ordering::Relaxed);
        slot.lanes.store(0, Ordering::Relaxed);
    }
}

/// The automatic initial step of Hairer, Nørsett & Wanner, II.4, as a length.
///
/// `d0`, `d1`, `d2` are scaled norms of `y`, `f` and the change of `f` over an Euler step of [`Self::trial`]. Times
/// are measured in units of the interval's length `span`, so that the same problem in other units of time takes the
/// same steps; for an interval of length 1 it is the published rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InitialStepRule {
    pub(crate) span: f64,
    pub(crate) error_power: f64,
}

impl InitialStepRule {
    #[inline(always)]
    pub(crate) fn trial(&self, d0: f64, d1: f64) -> f64 {
        let (d0, d1) = (d0, d1 * self.span);
        let unit = if d0 < 1e-5 || d1 < 1e-5 { 1e-6 } else { 0.01 * d0 / d1 };
        unit.min(1.0) * self.span
    }

    /// `change` is the scaled norm of `f1 - f0`.
    #[inline(always)]
    pub(crate) fn step(&self, trial: f64, d1: f64, change: f64) -> f64 {
        let (h0, d1) = (trial / self.span, d1 * self.span);
        let d2 = change * self.span / h0;
        let largest = d1.max(d2);
        let h1 = if largest <= 1e-15 { (h0 * 1e-3).max(1e-6) } else { (0.01 / largest).powf(1.0 / self.error_power) };
        (100.0 * h0).min(h1).min(1.0) * self.span
    }
}

/// A solve as every worker sees it.
#[derive(Debug)]
pub(crate) struct Lockstep<'a, R> {
    pub(crate) stepper: &'a Stepper<R>,
    pub(crate) problem: &'a Problem,
    /// End of the interval; the problem's unless a regularizer moves it.
    pub(crate) t1: f64,
    pub(crate) options: &'a SolverOptions,
    pub(crate) saves: &'a [SavePoint],
    pub(crate) recording: Recording,
    /// Share of the interval that earlier solves taught to begin with.
    pub(crate) carried: Option<f64>,
}

impl<R: Scalar> Lockstep<'_, R> {
    /// Solves the crew's tiles from their loaded states. All crews of the meeting run this at once.
    pub(crate) fn solve(&self, crew: &mut Crew<R>, meeting: &Meeting) {
        let mut attendee = Attendee::new(meeting, self.stepper.field.dim());
        let _guard = meeting.barrier.guard();
        let mut run = std::mem::take(&mut crew.run);
        run.steps.clear();
        (run.nfe, run.nfe_diffusion, run.rejected, run.status) = (0, 0, 0, Status::Running);
        (run.ideal, run.wish) = (IdealSteps::default(), None);
        for tile in crew.tiles_mut().0 {
            self.save_initial(tile);
        }
        match self.options.step_control {
            _ if self.problem.t0 == self.t1 => run.status = Status::Done,
            StepControl::Fixed { steps } => self.solve_fixed(steps, crew, &mut run),
            StepControl::Adaptive { controller, initial_step, .. } => {
                self.solve_adaptive(&controller, initial_step, crew, &mut attendee, &mut run);
            }
        }
        let reached = run.steps.last().map_or(self.problem.t0, |step| step[1]);
        for tile in crew.tiles_mut().0 {
            let finite = finite_lanes(&tile.y);
            let alive = tile.alive;
            for l in (0..LANES).filter(|&l| alive[l]) {
                tile.arrive(l, reached, run.steps.len());
                tile.status[l] = if finite[l] { run.status } else { Status::NonFinite };
                tile.alive[l] = finite[l];
            }
        }
        crew.run = run;
    }

    fn save_initial(&self, tile: &mut Tile<R>) {
        let n = tile.features();
        let Tile { saves, y, .. } = tile;
        for point in self.saves.iter().filter(|p| p.t == self.problem.t0) {
            saves[point.slot * n..][..n].copy_from_slice(&y[..n]);
        }
    }

    fn solve_fixed(&self, steps: usize, crew: &mut Crew<R>, run: &mut Run) {
        let (t0, t1) = (self.problem.t0, self.t1);
        let at = |i: usize| if i == steps { t1 } else { t0 + (t1 - t0) * (i as f64 / steps as f64) };
        let taken = steps.min(self.recording.limit);
        for i in 0..taken {
            let interval = Interval::shared(at(i), at(i + 1));
            let first = i == 0 || !self.stepper.fsal;
            run.count(self.stepper, self.stepper.fsal && i > 0);
            let (tiles, room) = crew.tiles_mut();
            for tile in tiles {
                self.attempt(&interval, first, tile, &mut room.attempt);
                self.save_within(&interval, tile, &room.attempt);
                if self.recording.stages {
                    tile.keep_stages(self.stepper, &room.attempt);
                }
                self.accept(i, tile);
            }
            run.steps.push([at(i), at(i + 1)]);
        }
        run.status = if taken == steps { Status::Done } else { Status::MaxSteps };
    }

    fn solve_adaptive(
        &self,
        controller: &Controller,
        initial_step: InitialStep,
        crew: &mut Crew<R>,
        attendee: &mut Attendee<'_>,
        run: &mut Run,
    ) {
        let (t0, t1) = (self.problem.t0, self.t1);
        let direction = (t1 - t0).signum();
        let q = self.stepper.tableau.error_power();
        let mut h = direction * self.first_step(initial_step, crew, attendee, run);
        let mut memory = controller.memory::<f64>();
        let (mut t, mut k1_ready, mut failures) = (t0, true, 0);
        let (mut last_good, mut rejected) = (h, false);
        while run.status == Status::Running {
            let accepted = run.steps.len();
            if accepted + run.rejected == self.options.max_steps || accepted == self.recording.limit {
                run.status = Status::MaxSteps;
                break;
            }
            let stop = self.stepper.next_stop(t, t1);
            let mut t_next = self.stepper.end_of_step(t, h, t1);
            if step_too_small(t, t_next, stop, t1 - t0) {
                if rejected {
                    (h, rejected) = (last_good, false);
                    if !self.give_up(crew, attendee, Status::StepTooSmall, 1.0, (t, accepted)) {
                        run.status = Status::StepTooSmall;
                    }
                    continue;
                }
                // Nobody has failed at such a step yet. The smallest one that time resolves shows who does.
                t_next = self.stepper.end_of_step(t, direction * self.stepper.smallest_step(t, t1 - t0), t1);
            }
            let interval = Interval::shared(t, t_next);
            self.attempt_all(&interval, !k1_ready, crew, attendee);
            run.count(self.stepper, k1_ready);
            let (error, _) = attendee.root_mean_square();
            if attendee.refused {
                run.status = Status::MaxSteps;
                break;
            }
            let taken = t_next - t;
            let decision =
                controller.adapt(q, &mut memory, Attempt { error, ratio: taken / last_good, first: accepted == 0 });
            h = taken * decision.factor;
            rejected = !decision.accept;
            if decision.accept {
                for tile in crew.tiles_mut().0 {
                    self.accept(run.steps.len(), tile);
                }
                run.steps.push([t, t_next]);
                run.ideal.push(taken, error, decision.count);
                run.wish.get_or_insert_with(|| wish(taken / (t1 - t0), decision.count, controller.safety));
                (k1_ready, failures, last_good) = (self.stepper.fsal && t_next != stop, 0, taken);
                t = t_next;
                h = decision.next_step(taken, self.stepper.next_stop(t, t1) - t);
                if t == t1 {
                    run.status = Status::Done;
                }
                continue;
            }
            run.rejected += 1;
            k1_ready = true;
            failures = if error.is_finite() { 0 } else { failures + 1 };
            crew.tiles_mut().0.for_each(Tile::drop_stages);
            if failures == PATIENCE {
                (failures, h) = (0, last_good);
                if !self.give_up(crew, attendee, Status::NonFinite, f64::INFINITY, (t, accepted)) {
                    run.status = Status::NonFinite;
                }
            }
        }
    }

    /// Gives up the lanes whose own error in the last attempt is not finite, or above `bound`: they keep the batch from
    /// going on from time `t` after `accepted` steps. False when that leaves nobody, or was nobody.
    fn give_up(
        &self,
        crew: &mut Crew<R>,
        attendee: &mut Attendee<'_>,
        status: Status,
        bound: f64,
        (t, accepted): (f64, usize),
    ) -> bool {
        let before = self.alive(crew, attendee);
        let features = self.stepper.field.dim() as f64;
        for tile in crew.tiles_mut().0 {
            let above = |sum: R| !sum.is_finite() || (sum.to_f64() / features).sqrt() > bound;
            tile.quarantine(&tile.norms.map(above), status, t, accepted);
        }
        let after = self.alive(crew, attendee);
        0 < after && after < before
    }

    /// One attempt on every tile of the crew; puts down their error norms.
    fn attempt_all(&self, interval: &Interval<R>, first: bool, crew: &mut Crew<R>, attendee: &Attendee<'_>) {
        let (tiles, room) = crew.tiles_mut();
        for tile in tiles {
            self.attempt(interval, first, tile, &mut room.attempt);
            tile.norms = self.stepper.error_squares(&interval.h, tile, &mut room.attempt);
            attendee.put(tile, &tile.norms);
            self.save_within(interval, tile, &room.attempt);
            if self.recording.stages {
                tile.keep_stages(self.stepper, &room.attempt);
            }
        }
    }

    /// Numbers that still count, in the whole batch.
    fn alive(&self, crew: &Crew<R>, attendee: &mut Attendee<'_>) -> usize {
        for tile in crew.tiles() {
            attendee.put(tile, &[R::ZERO; LANES]);
        }
        attendee.root_mean_square().1
    }

    fn attempt(&self, interval: &Interval<R>, first: bool, tile: &mut Tile<R>, room: &mut AttemptRoom<R>) {
        if first {
            self.stepper.first_stage(&[R::from_f64(interval.t0[0]); LANES], tile, room);
        }
        self.stepper.attempt(interval, tile, room);
    }

    /// Stores the states at save points within the attempt. If it is rejected, the attempt that covers them in the
    /// end writes them again.
    fn save_within(&self, interval: &Interval<R>, tile: &mut Tile<R>, room: &AttemptRoom<R>) {
        let (t0, t1) = (interval.t0[0], interval.t1[0]);
        let n = tile.features();
        let Tile { saves, y, y1, k_first, k_last, .. } = tile;
        for point in self.saves.iter().filter(|p| within(p.t, t0, t1)) {
            let out = &mut saves[point.slot * n..][..n];
            if point.t == t1 {
                out.copy_from_slice(&y1[..n]);
            } else {
                let stages = self.stepper.stages(k_first, k_last, room);
                self.stepper.interpolate(out, (point.t - t0) / (t1 - t0), &interval.h, (y, y1), stages);
            }
        }
    }

    fn accept(&self, step: usize, tile: &mut Tile<R>) {
        let Recording { stride, .. } = self.recording;
        tile.accept(stride > 0 && step.is_multiple_of(stride), self.stepper.fsal);
    }

    /// Length of the first step. Evaluates the first stage, gives up lanes that start out non-finite.
    fn first_step(
        &self,
        initial_step: InitialStep,
        crew: &mut Crew<R>,
        attendee: &mut Attendee<'_>,
        run: &mut Run,
    ) -> f64 {
        let span = (self.t1 - self.problem.t0).abs();
        let t = [R::from_f64(self.problem.t0); LANES];
        run.count_point(self.stepper);
        let (tiles, room) = crew.tiles_mut();
        for tile in tiles {
            self.stepper.first_stage(&t, tile, &mut room.attempt);
            // A lane whose derivative has no finite norm cannot take any step.
            let Tile { y, k_first, g_first, norms, .. } = &mut *tile;
            scaled_squares(norms, &self.stepper.atol, self.stepper.rtol, k_first, y, y);
            let (finite, noise) = (finite_lanes(y), finite_lanes(g_first));
            let bad: [bool; LANES] = std::array::from_fn(|l| !(finite[l] && noise[l] && norms[l].is_finite()));
            *norms = [R::ZERO; LANES];
            if (0..tile.used).any(|l| bad[l]) {
                tile.quarantine(&bad, Status::NonFinite, self.problem.t0, 0);
                self.stepper.first_stage(&t, tile, &mut room.attempt);
            }
        }
        if self.alive(crew, attendee) == 0 {
            run.status = Status::NonFinite;
            return span;
        }
        let given = match initial_step {
            InitialStep::Length(h) => Some(h.min(span)),
            InitialStep::Carried => self.carried.map(|share| share * span),
            InitialStep::Automatic => None,
        };
        given.unwrap_or_else(|| {
            run.count_point(self.stepper);
            self.automatic_step(self.problem.t0, crew, attendee, |tile| Some((&tile.y, &tile.k_first)))
        })
    }

    /// The automatic initial step at time `t`, as a length, from the states and derivatives that `point` picks; a tile
    /// without takes no part. With noise, the diffusion there is in `g_first`. Overwrites the tiles' `y1`, `k_last` and
    /// `g_last`.
    pub(crate) fn automatic_step(
        &self,
        t: f64,
        crew: &mut Crew<R>,
        attendee: &mut Attendee<'_>,
        point: impl Fn(&Tile<R>) -> Option<(&[R], &[R])>,
    ) -> f64 {
        let direction = (self.t1 - self.problem.t0).signum();
        let span = (self.t1 - self.problem.t0).abs();
        let rule = InitialStepRule { span, error_power: self.stepper.initial_power() };
        let norm = |tile: &Tile<R>, term: &[R], y: &[R], attendee: &Attendee<'_>| {
            let mut sums = [R::ZERO; LANES];
            scaled_squares(&mut sums, &self.stepper.atol, self.stepper.rtol, term, y, y);
            attendee.put(tile, &sums);
        };
        for tile in crew.tiles() {
            match point(tile) {
                // Of the first state, where there is a second one.
                Some((y, _)) => norm(tile, &y[..tile.features()], y, attendee),
                None => attendee.put_nothing(tile.index),
            }
        }
        let d0 = attendee.root_mean_square().0;
        let (tiles, _) = crew.tiles_mut();
        for tile in tiles {
            let mut speeds = std::mem::take(&mut tile.y1);
            match point(tile) {
                None => attendee.put_nothing(tile.index),
                Some((y, k)) if self.stepper.diffusion.is_none() => norm(tile, k, y, attendee),
                Some((y, k)) => {
                    let n = tile.features();
                    speed(&mut speeds[..n], k, &tile.g_first);
                    norm(tile, &speeds[..n], y, attendee);
                }
            }
            tile.y1 = speeds;
        }
        let d1 = attendee.root_mean_square().0;
        let trial = rule.trial(d0, d1);
        let interval = Interval::<R>::shared(t, t + direction * trial);
        let (tiles, room) = crew.tiles_mut();
        for tile in tiles {
            let n = tile.features();
            let (mut y1, mut k1) = (std::mem::take(&mut tile.y1), std::mem::take(&mut tile.k_last));
            let mut g1 = std::mem::take(&mut tile.g_last);
            if let Some((y, k)) = point(tile) {
                let (trial, end) = (&mut y1[..n], [R::from_f64(interval.t1[0]); LANES]);
                combine(trial, Some(&y[..n]), &interval.h, [(1.0, k)]);
                self.stepper.eval(&end, trial, &mut k1, &mut room.attempt);
                self.stepper.change(&end, trial, k, &tile.g_first, &mut k1, &mut g1, &mut room.attempt);
                norm(tile, &k1, y, attendee);
            } else {
                attendee.put_nothing(tile.index);
            }
            (tile.y1, tile.k_last, tile.g_last) = (y1, k1, g1);
        }
        rule.step(trial, d1, attendee.root_mean_square().0)
    }
}

/// End of a step of signed length `h`: `t1` itself if the step reaches it, or would leave less than a rounding error.
pub(crate) fn end_of_step(t: f64, h: f64, t1: f64) -> f64 {
    let rest = t1 - t;
    if h.abs() >= rest.abs() * (1.0 - 4.0 * f64::EPSILON) { t1 } else { t + h }
}

/// Whether a step is lost in the rounding of its times or of the interval's length. The last one may be that short.
pub(crate) fn step_too_small(t: f64, t_next: f64, t1: f64, span: f64) -> bool {
    t_next != t1 && (t_next - t).abs() <= shortest_step(t, t_next, span)
}

/// Which lanes hold finite numbers only.
pub(crate) fn finite_lanes<R: Scalar>(tile: &[R]) -> [bool; LANES] {
    let mut finite = [true; LANES];
    for row in tile.chunks_exact(LANES) {
        for (finite, x) in finite.iter_mut().zip(row) {
            *finite &= x.is_finite();
        }
    }
    finite
}
