//! The lockstep layout: one time and one step size for the whole batch. Where trajectories have intervals of their own, the
//! time that they share is the part of it that has passed: with `s` from 0 to 1, `dy/ds = (t1 - t0) f(t0 + s (t1 - t0), y)`.
//!
//! Every worker runs this loop over its own tiles. They meet once an attempt, to add up the error norm; then each
//! makes the same decision from the same numbers, so no worker has to be told anything.

use super::initial::Start;
use super::{Solve, equal_step};
use crate::cpu::crew::reduction::{Reduction, Share};
use crate::cpu::crew::run::Run;
use crate::cpu::crew::shard::Crew;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::interval::Interval;
use crate::cpu::kernel::lanes::{finite_lanes, stand_in_unless};
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::step::Scheme;
use crate::cpu::step::ends::step_too_small;
use crate::cpu::tile::Tile;
use crate::error::Status;
use crate::math::Real;
use crate::method::{Attempt, Controller, ControllerMemory, InitialStep, Keep, Measure, StepControl, wish};
use crate::problem::within;

/// Attempts in a row with a non-finite error after which the lanes that cause it are given up. The step has shrunk by
/// `min_factor^8` by then, about 1e-6.
pub(crate) const PATIENCE: u32 = 8;

/// A solve in lockstep.
#[derive(Debug)]
pub(crate) struct Lockstep<'a, S: Scheme>(pub(crate) &'a Solve<'a, S>);

/// Where an adaptive solve is, by the shared clock.
struct Progress {
    t: f64,
    /// Signed length of the next attempt.
    h: f64,
    memory: ControllerMemory<f64>,
    /// Signed length of the last accepted step.
    last_good: f64,
    /// Whether the last attempt was rejected.
    rejected: bool,
    /// Whether the first slopes are there already.
    first_ready: bool,
    /// Attempts in a row whose error was not finite.
    failures: u32,
}

impl<S: Scheme> Lockstep<'_, S> {
    /// Solves the crew's tiles from their loaded states. All crews of the reduction run this at once.
    pub(crate) fn solve(&self, crew: &mut Crew<S>, reduction: &Reduction) {
        let Self(solve) = self;
        let mut share = Share::new(reduction, solve.stepper.shape.features);
        let _guard = reduction.barrier.guard();
        let mut run = std::mem::take(&mut crew.run);
        run.begin();
        for tile in crew.tiles_mut().0 {
            solve.save_initial(tile);
            rest(tile);
        }
        match solve.options.step_control {
            _ if solve.t0 == solve.t1 => run.status = Status::Done,
            StepControl::Fixed { steps } => self.solve_fixed(steps, crew, &mut run),
            StepControl::Adaptive { controller, initial_step, .. } => {
                self.solve_adaptive(&controller, initial_step, crew, &mut share, &mut run);
            }
        }
        let reached = run.steps.last().map_or(solve.t0, |step| step[1]);
        for tile in crew.tiles_mut().0 {
            let (finite, reached) = (finite_lanes(&tile.state.y), tile.clock.times(reached));
            let on_its_way: [bool; LANES] = std::array::from_fn(|l| tile.alive[l] && tile.status[l] != Status::Done);
            for l in (0..LANES).filter(|&l| on_its_way[l]) {
                tile.arrive(l, reached[l], run.steps.len());
                tile.status[l] = if finite[l] { run.status } else { Status::NonFinite };
                tile.alive[l] = finite[l];
            }
        }
        crew.run = run;
    }

    fn solve_fixed(&self, steps: usize, crew: &mut Crew<S>, run: &mut Run) {
        let Self(solve) = self;
        let fsal = solve.stepper.shape.fsal;
        let taken = solve.recording.limit.map_or(steps, |limit| steps.min(limit));
        for i in 0..taken {
            let ends = [i, i + 1].map(|i| equal_step([solve.t0, solve.t1], i, steps));
            run.count(solve.stepper.shape.evaluations(fsal && i > 0));
            let (tiles, room) = crew.tiles_mut();
            for tile in tiles {
                let interval = tile.clock.interval(ends[0], ends[1]);
                self.attempt(&interval, i == 0 || !fsal, tile, &mut room.desk.attempt);
                self.store(&interval, tile, (&room.desk.attempt, &mut room.desk.scratch));
                self.accept(i, ends[1], tile);
            }
            run.steps.push(ends);
        }
        run.status = if taken == steps { Status::Done } else { Status::MaxSteps };
    }

    fn solve_adaptive(
        &self,
        controller: &Controller,
        initial_step: InitialStep,
        crew: &mut Crew<S>,
        share: &mut Share<'_>,
        run: &mut Run,
    ) {
        let Self(solve) = self;
        let h = self.first_step(initial_step, crew, share, run).copysign(solve.span());
        let mut at = Progress {
            t: solve.t0,
            h,
            memory: controller.memory(),
            last_good: h,
            rejected: false,
            first_ready: true,
            failures: 0,
        };
        while run.status == Status::Running {
            let accepted = run.steps.len();
            if accepted + run.rejected == solve.options.max_steps || solve.full(accepted) {
                run.status = Status::MaxSteps;
                break;
            }
            if accepted == solve.stepper.scheme.most_steps() {
                run.status = Status::Irreversible;
                break;
            }
            let Some(t_next) = self.next_end(&mut at) else {
                if !self.give_up(crew, share, Status::StepTooSmall, (at.t, accepted)) {
                    run.status = Status::StepTooSmall;
                }
                continue;
            };
            self.attempt_all([at.t, t_next], !at.first_ready, crew, share);
            run.count(solve.stepper.shape.evaluations(at.first_ready));
            let (error, count) = share.root_mean_square();
            if share.refused {
                run.status = Status::MaxSteps;
                break;
            }
            if self.decide(controller, (error, t_next), &mut at, run) {
                run.norms.push(self.measured((error, count), crew, share));
                crew.tiles_mut().0.for_each(|tile| self.accept(accepted, t_next, tile));
            } else {
                crew.tiles_mut().0.for_each(|tile| tile.tape.drop_stages());
                if at.failures == PATIENCE {
                    (at.failures, at.h) = (0, at.last_good);
                    if !self.give_up(crew, share, Status::NonFinite, (at.t, accepted)) {
                        run.status = Status::NonFinite;
                    }
                }
            }
        }
    }

    /// End of the next attempt; none where it would be too small and the last one was rejected, so that lanes have to be given
    /// up, and the step goes back to the last good one.
    fn next_end(&self, at: &mut Progress) -> Option<f64> {
        let Self(solve) = self;
        let (t, t1, ends) = (at.t, solve.t1, &solve.stepper.ends);
        let t_next = ends.end_of_step(t, solve.bounded(at.h, solve.unit), t1);
        if !step_too_small(t, t_next, ends.next_stop(t, t1), solve.span()) {
            return Some(t_next);
        }
        if std::mem::take(&mut at.rejected) {
            at.h = at.last_good;
            return None;
        }
        // Nobody has failed at such a step yet. The smallest one that time resolves shows who does.
        Some(ends.end_of_step(t, ends.smallest_step(t, solve.span()).copysign(solve.span()), t1))
    }

    /// What the controller makes of an attempt with that error and end; whether it is accepted.
    fn decide(&self, controller: &Controller, (error, t_next): (f64, f64), at: &mut Progress, run: &mut Run) -> bool {
        let Self(solve) = self;
        let (stepper, t1) = (solve.stepper, solve.t1);
        let stop = stepper.ends.next_stop(at.t, t1);
        let taken = t_next - at.t;
        let attempt = Attempt { error, ratio: taken / at.last_good, first: run.steps.is_empty() };
        let decision = controller.adapt(stepper.scheme.tableau().error_power(), &mut at.memory, attempt);
        at.h = taken * decision.factor;
        at.rejected = !decision.accept;
        if at.rejected {
            run.rejected += 1;
            at.first_ready = true;
            at.failures = if error.is_finite() { 0 } else { at.failures + 1 };
            return false;
        }
        run.steps.push([at.t, t_next]);
        run.ideal.push(taken, error, decision.count);
        run.wish.get_or_insert_with(|| wish(taken / solve.span(), decision.count, controller.safety));
        (at.first_ready, at.failures, at.last_good) = (stepper.shape.fsal && t_next != stop, 0, taken);
        at.t = t_next;
        at.h = decision.next_step(taken, stepper.ends.next_stop(at.t, t1) - at.t);
        if at.t == t1 {
            run.status = Status::Done;
        }
        true
    }

    /// Gives up the lanes that keep the batch from going on from time `t` after `accepted` steps: those whose own error in the
    /// last attempt was too large for a step that is too small, or not finite. False when that leaves nobody, or was nobody.
    fn give_up(&self, crew: &mut Crew<S>, share: &mut Share<'_>, status: Status, (t, accepted): (f64, usize)) -> bool {
        let bound = if status == Status::StepTooSmall { 1.0 } else { f64::INFINITY };
        let before = alive(crew, share);
        let features = self.0.stepper.shape.features as f64;
        for tile in crew.tiles_mut().0 {
            let above = |sum: S::Real| !sum.is_finite() || (sum.to_f64() / features).sqrt() > bound;
            tile.quarantine(&tile.norms.map(above), status, &tile.clock.times(t), accepted);
        }
        let after = alive(crew, share);
        0 < after && after < before
    }

    /// One attempt on every tile of the crew; puts down their error norms.
    fn attempt_all(&self, [t, t_next]: [f64; 2], first: bool, crew: &mut Crew<S>, share: &Share<'_>) {
        let (tiles, room) = crew.tiles_mut();
        for tile in tiles {
            let interval = &tile.clock.interval(t, t_next);
            self.attempt(interval, first, tile, &mut room.desk.attempt);
            let Tile { state, norms, .. } = &mut *tile;
            *norms = self.0.stepper.error_squares(&interval.h, state, &mut room.desk.error, &room.desk.attempt);
            if self.0.recording.measured == Some(Measure::Stiffness) {
                tile.differences =
                    self.0.stepper.stage_squares(&interval.h, &tile.state, &mut room.desk.error, &room.desk.attempt);
            }
            share.put(tile, &tile.norms);
            self.store(interval, tile, (&room.desk.attempt, &mut room.desk.scratch));
        }
    }

    /// The norms of what is measured of an accepted attempt with such an error, and the numbers that each is a mean of.
    fn measured(&self, (error, count): (f64, usize), crew: &Crew<S>, share: &mut Share<'_>) -> ([f64; 2], usize) {
        if self.0.recording.measured != Some(Measure::Stiffness) {
            return ([error, 0.0], count);
        }
        let norm = |of: usize| {
            crew.tiles().for_each(|tile| share.put(tile, &tile.differences[of]));
            share.root_mean_square().0
        };
        ([0, 1].map(norm), count)
    }

    /// Attempts the tile's step, with its first slopes evaluated anew if they are not there.
    fn attempt(&self, interval: &Interval<S::Real>, first: bool, tile: &mut Tile<S::Real>, room: &mut S::Attempt) {
        let Self(solve) = self;
        if first {
            solve.stepper.first_slopes(&interval.t0.map(S::Real::from_f64), &mut tile.state, room);
        }
        solve.attempt(interval, tile, room);
    }

    /// Stores the states at save points within the attempt, and its stages if they are kept. If it is rejected, the attempt
    /// that covers the points in the end writes them again, and the stages are dropped.
    fn store(
        &self,
        interval: &Interval<S::Real>,
        tile: &mut Tile<S::Real>,
        (room, scratch): (&S::Attempt, &mut [S::Real]),
    ) {
        let Self(solve) = self;
        if tile.clock.scaled {
            solve.save_within(interval, &tile.counted(), tile, (room, scratch));
        } else {
            self.store_shared(interval, tile, room);
        }
        if solve.recording.keep == Keep::Dense {
            tile.tape.keep_stages(&solve.stepper.scheme.stages(&tile.state, room), tile.features());
        }
    }

    /// Stores the states at save points within the attempt, at the same time in all lanes.
    fn store_shared(&self, interval: &Interval<S::Real>, tile: &mut Tile<S::Real>, room: &S::Attempt) {
        let Self(solve) = self;
        let (t0, t1) = (interval.t0[0], interval.t1[0]);
        let n = tile.features();
        let Tile { saves, state, .. } = tile;
        for point in solve.saves.points.iter().filter(|p| within(p.t, t0, t1)) {
            let out = &mut saves[point.slot * n..][..n];
            if point.t == t1 {
                out.copy_from_slice(&state.y1[..n]);
            } else {
                let stages = solve.stepper.scheme.stages(state, room);
                let theta = (point.t - t0) / (t1 - t0);
                solve.stepper.interpolant.shared(out, theta, &interval.h, [&state.y, &state.y1], stages);
            }
        }
    }

    /// Accepts the attempt at a step that ends at time `t` of the shared clock; gives up lanes that it leaves at a state that cannot be undone.
    fn accept(&self, step: usize, t: f64, tile: &mut Tile<S::Real>) {
        let Self(solve) = self;
        tile.accept(solve.recording.keep.takes(step), solve.stepper.shape.fsal);
        let is_lost = solve.stepper.scheme.is_lost(&tile.state.y);
        if is_lost.contains(&true) {
            tile.quarantine(&is_lost, Status::Irreversible, &tile.clock.times(t), step + 1);
        }
    }

    /// Length of the first step. Evaluates the first slopes, gives up lanes that start out non-finite.
    fn first_step(&self, initial_step: InitialStep, crew: &mut Crew<S>, share: &mut Share<'_>, run: &mut Run) -> f64 {
        let Self(solve) = self;
        let stepper = solve.stepper;
        run.count(stepper.shape.point());
        let (tiles, room) = crew.tiles_mut();
        for tile in tiles {
            let starts = tile.clock.ends[0];
            let t = starts.map(S::Real::from_f64);
            stepper.first_slopes(&t, &mut tile.state, &mut room.desk.attempt);
            // A lane whose derivative has no finite norm cannot take any step.
            let (y, slopes) = (&tile.state.y, &tile.state.first);
            let norms = stepper.scale.squares(&slopes[..tile.features()], y, y);
            let (finite, sloping) = (finite_lanes(y), finite_lanes(slopes));
            let bad: [bool; LANES] = std::array::from_fn(|l| !(finite[l] && sloping[l] && norms[l].is_finite()));
            if (0..tile.used).any(|l| bad[l]) {
                tile.quarantine(&bad, Status::NonFinite, &starts, 0);
                stepper.first_slopes(&t, &mut tile.state, &mut room.desk.attempt);
            }
        }
        if alive(crew, share) == 0 {
            run.status = Status::NonFinite;
            return solve.span().abs();
        }
        solve.known_step(initial_step, solve.span().abs(), solve.unit).unwrap_or_else(|| {
            run.count(stepper.shape.point());
            solve.automatic_step(solve.t0, crew, share, |state, _, _| Some(Start::of(state)))
        })
    }
}

/// Lanes with empty intervals are done; they stand where a moving lane does, for the field may have a pole where they are.
fn rest<R: Scalar>(tile: &mut Tile<R>) {
    let counted = tile.counted();
    if !tile.clock.scaled || counted == tile.alive {
        return;
    }
    let finite = finite_lanes(&tile.state.y);
    let still: [bool; LANES] = std::array::from_fn(|l| tile.alive[l] && !counted[l]);
    for l in (0..tile.used).filter(|&l| still[l]) {
        tile.status[l] = if finite[l] { Status::Done } else { Status::NonFinite };
        tile.alive[l] = finite[l];
        tile.arrive(l, tile.clock.ends[0][l], 0);
    }
    stand_in_unless(&mut tile.state.y, &counted);
}

/// Numbers that still count, in the whole batch.
fn alive<S: Scheme>(crew: &Crew<S>, share: &mut Share<'_>) -> usize {
    for tile in crew.tiles() {
        share.put(tile, &[S::Real::ZERO; LANES]);
    }
    share.root_mean_square().1
}
