//! A tile whose trajectories go each alone: own time, step size, status and NFE.
//!
//! A lane is a trajectory. Every operation on a tile works lane by lane with the same instructions, so a trajectory's
//! result depends neither on its lane nor on its neighbours.

use std::num::NonZero;

use super::control::{Decisions, adapt_lanes, note_steps};
use super::initial::Start;
use super::{Solve, equal_step};
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::interval::Interval;
use crate::cpu::kernel::lanes::{Lanes, copy_lane, finite_lanes, select};
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::step::desk::Desk;
use crate::cpu::step::ends::step_too_small;
use crate::cpu::step::state::StepState;
use crate::cpu::step::{Point, Scheme};
use crate::cpu::tile::Tile;
use crate::error::Status;
use crate::math::Real;
use crate::method::{Keep, Measure, RESOLVED_ERROR, StepControl};

/// A solve of tiles whose lanes go each alone.
#[derive(Debug)]
pub(crate) struct Lanewise<'a, S: Scheme>(pub(crate) &'a Solve<'a, S>);

impl<S: Scheme> Lanewise<'_, S> {
    /// Solves a tile from its loaded states.
    pub(crate) fn solve(&self, tile: &mut Tile<S::Real>, desk: &mut Desk<S>) {
        self.begin(tile, desk);
        self.run(tile, desk);
        finish(tile);
    }

    /// What comes before the first attempts: saved states at the start, first slopes and first steps.
    pub(super) fn begin(&self, tile: &mut Tile<S::Real>, desk: &mut Desk<S>) {
        self.0.save_initial(tile);
        for l in (0..tile.used).filter(|&l| tile.alive[l] && tile.clock.is_still(l)) {
            tile.status[l] = Status::Done;
        }
        if tile.running().contains(&true) {
            self.start(tile, &mut desk.attempt);
        }
    }

    /// Attempts steps until no lane of a tile runs.
    pub(super) fn run(&self, tile: &mut Tile<S::Real>, desk: &mut Desk<S>) {
        let mut first_ready = [true; LANES];
        while self.turn(tile, &mut first_ready, desk) {}
    }

    /// First slopes and first step size of each lane.
    fn start(&self, tile: &mut Tile<S::Real>, room: &mut S::Attempt) {
        let Self(solve) = self;
        let (starts, running) = (tile.clock.ends[0], tile.running());
        let spans: Lanes<f64> = std::array::from_fn(|l| tile.clock.span(l));
        solve.stepper.first_slopes(&starts.map(S::Real::from_f64), &mut tile.state, room);
        let (y, slopes) = (finite_lanes(&tile.state.y), finite_lanes(&tile.state.first));
        tile.clock.h = spans;
        let bad = std::array::from_fn(|l| running[l] && !(y[l] && slopes[l]));
        tile.quarantine(&bad, Status::NonFinite, &starts, 0);
        let mut points = [1; LANES];
        match solve.options.step_control {
            StepControl::Fixed { steps } => tile.clock.h = spans.map(|span| span / steps as f64),
            StepControl::Adaptive { controller, initial_step, .. } => {
                tile.clock.last = spans;
                let memory = controller.memory::<S::Real>();
                tile.clock.memory = memory.log_errors.map(|e| [e; LANES]);
                let known: Lanes<Option<f64>> = std::array::from_fn(|l| match tile.clock.first[l] {
                    0.0 => solve.known_step(initial_step, spans[l].abs(), 1.0),
                    first => Some(first.min(spans[l].abs())),
                });
                let automatic = if known.contains(&None) {
                    points = known.map(|known| if known.is_none() { 2 } else { 1 });
                    solve.automatic_steps([&starts, &spans], Start::of(&mut tile.state), room)
                } else {
                    [0.0; LANES]
                };
                tile.clock.h = std::array::from_fn(|l| known[l].unwrap_or(automatic[l]).copysign(spans[l]));
            }
        }
        let point = solve.stepper.shape.point().map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        let counts = point.map(|n| std::array::from_fn(|l| if running[l] { points[l] * n } else { 0 }));
        [tile.clock.nfe, tile.clock.nfe_diffusion] = counts;
    }

    /// One attempt in every running lane of the tile; false when there is none.
    pub(super) fn turn(&self, tile: &mut Tile<S::Real>, first_ready: &mut [bool; LANES], desk: &mut Desk<S>) -> bool {
        let Self(solve) = self;
        let interval = self.next_interval(tile);
        let moving = tile.running();
        if !moving.contains(&true) {
            return false;
        }
        if (0..LANES).any(|l| moving[l] && !first_ready[l]) {
            self.refresh(&interval, tile, first_ready, desk);
        }
        solve.attempt(&interval, tile, &mut desk.attempt);
        let decisions = self.decide(&interval, tile, desk);
        let accept = std::array::from_fn(|l| moving[l] && decisions.accept[l]);
        solve.save_within(&interval, &accept, tile, (&desk.attempt, &mut desk.scratch));
        self.record(&interval, &accept, tile, &desk.attempt);
        let shape = &solve.stepper.shape;
        let costs = [true, false].map(|shared| shape.evaluations(shared).map(|n| u32::try_from(n).unwrap_or(u32::MAX)));
        for l in (0..LANES).filter(|&l| moving[l]) {
            let [drift, diffusion] = costs[usize::from(!first_ready[l])];
            tile.clock.nfe[l] += drift;
            tile.clock.nfe_diffusion[l] += diffusion;
            // Not across a stop.
            let goes_on = || interval.t1[l] != solve.stepper.ends.next_stop(interval.t0[l], tile.clock.ends[1][l]);
            first_ready[l] = !accept[l] || (shape.fsal && goes_on());
        }
        self.advance(&interval, &moving, &decisions, tile);
        true
    }

    /// Evaluates the first slopes anew in the lanes that have moved since.
    fn refresh(
        &self,
        interval: &Interval<S::Real>,
        tile: &mut Tile<S::Real>,
        first_ready: &[bool; LANES],
        Desk { attempt, scratch, .. }: &mut Desk<S>,
    ) {
        let stepper = self.0.stepper;
        let (t, stale) = (interval.t0.map(S::Real::from_f64), first_ready.map(|ready| !ready));
        let StepState { y, trajectories, .. } = &tile.state;
        stepper.scheme.slopes(&Point { t: &t, trajectories, y: stepper.shape.point_of(y) }, scratch, attempt);
        select(&mut tile.state.first, &stale, scratch);
    }

    /// Ends of each lane's next attempt. Lanes that have arrived, or are stuck, rest.
    fn next_interval(&self, tile: &mut Tile<S::Real>) -> Interval<S::Real> {
        let Self(solve) = self;
        let step_ends = &solve.stepper.ends;
        let fixed = matches!(solve.options.step_control, StepControl::Fixed { .. });
        let mut ends = tile.clock.t;
        let running = tile.running();
        for l in (0..LANES).filter(|&l| running[l]) {
            let (t, t0, t1) = (tile.clock.t[l], tile.clock.ends[0][l], tile.clock.ends[1][l]);
            let span = t1 - t0;
            let t_next = match solve.options.step_control {
                StepControl::Fixed { steps } => equal_step([t0, t1], tile.clock.accepted[l] as usize + 1, steps),
                StepControl::Adaptive { .. } => step_ends.end_of_step(t, solve.bounded(tile.clock.h[l], 1.0), t1),
            };
            let (accepted, rejected) = (tile.clock.accepted[l] as usize, tile.clock.rejected[l] as usize);
            if accepted + rejected == solve.options.most_attempts() || solve.full(accepted) {
                tile.status[l] = Status::MaxSteps;
            } else if accepted == solve.stepper.scheme.most_steps() {
                tile.status[l] = Status::Irreversible;
            } else if fixed || !step_too_small(t, t_next, step_ends.next_stop(t, t1), span) {
                ends[l] = t_next;
            } else if self.error(tile.norms[l]) <= S::Real::ONE {
                // The last attempt was no failure. The smallest step that time resolves shows whether there is one.
                let h = step_ends.smallest_step(t, span).copysign(span);
                ends[l] = step_ends.end_of_step(t, h, t1);
            } else {
                // A step shrinks this far under a finite error only at a discontinuity, otherwise over a pole.
                let finite = tile.norms[l].is_finite();
                tile.status[l] = if finite { Status::StepTooSmall } else { Status::NonFinite };
            }
        }
        Interval::new(tile.clock.t, ends)
    }

    /// Error norms of the last attempt, and what the controller makes of them. Fixed steps are accepted as long as
    /// they are finite.
    fn decide(&self, interval: &Interval<S::Real>, tile: &mut Tile<S::Real>, desk: &mut Desk<S>) -> Decisions<S::Real> {
        let stepper = self.0.stepper;
        let mut decisions = Decisions {
            accept: [true; LANES],
            factor: [S::Real::ONE; LANES],
            reach: [S::Real::ZERO; LANES],
            count: [S::Real::ZERO; LANES],
        };
        let StepControl::Adaptive { controller, .. } = &self.0.options.step_control else { return decisions };
        tile.norms = stepper.error_squares(&interval.h, &tile.state, &mut desk.error, &desk.attempt);
        if self.0.recording.measured == Some(Measure::Stiffness) {
            tile.differences = stepper.stage_squares(&interval.h, &tile.state, &mut desk.error, &desk.attempt);
        }
        let error = tile.norms.map(|sum| self.error(sum));
        let clock = &mut tile.clock;
        let ratio = if controller.alpha == 0.0 {
            [S::Real::ONE; LANES]
        } else {
            std::array::from_fn(|l| S::Real::from_f64((interval.t1[l] - interval.t0[l]) / clock.last[l]))
        };
        let first = clock.accepted.map(|accepted| accepted == 0);
        let power = stepper.scheme.tableau().error_power();
        adapt_lanes(controller, power, &mut clock.memory, [&error, &ratio], &first, &mut decisions);
        decisions
    }

    /// The sum of squares from which on a lane's error is no rounding.
    fn resolved(&self) -> S::Real {
        S::Real::from_f64(RESOLVED_ERROR * RESOLVED_ERROR * self.0.stepper.shape.features as f64)
    }

    /// The error norm of a lane from its sum of squares.
    fn error(&self, squares: S::Real) -> S::Real {
        (squares / S::Real::from_f64(self.0.stepper.shape.features as f64)).sqrt()
    }

    /// Keeps the states before the accepted steps, and the ends of the steps, at each lane's own count.
    fn record(
        &self,
        interval: &Interval<S::Real>,
        accept: &[bool; LANES],
        tile: &mut Tile<S::Real>,
        room: &S::Attempt,
    ) {
        let Self(solve) = self;
        if !solve.recording.ends {
            return;
        }
        for l in (0..LANES).filter(|&l| accept[l]) {
            let n = tile.clock.accepted[l] as usize;
            while tile.steps.len() <= n {
                if tile.steps.try_reserve(1).is_err() {
                    return tile.give_up_all();
                }
                tile.steps.push([tile.clock.ends[1]; 2]);
            }
            (tile.steps[n][0][l], tile.steps[n][1][l]) = (interval.t0[l], interval.t1[l]);
            if self.record_measured(n, l, tile).is_none() {
                return tile.give_up_all();
            }
            if self.record_state(n, l, tile).and_then(|()| self.record_stages(n, l, tile, room)).is_none() {
                return tile.give_up_all();
            }
        }
    }

    /// Keeps the norms of what is measured of a lane's `n`-th step; nothing where the system refuses memory.
    fn record_measured(&self, n: usize, lane: usize, tile: &mut Tile<S::Real>) -> Option<()> {
        let Some(measure) = self.0.recording.measured else { return Some(()) };
        let squares = match measure {
            Measure::Stiffness => &tile.differences[..],
            Measure::Error | Measure::StepCount => std::slice::from_ref(&tile.norms),
        };
        for (kept, squares) in tile.measured.iter_mut().zip(squares) {
            kept.try_reserve((n + 1).saturating_sub(kept.len())).ok()?;
            kept.resize(kept.len().max(n + 1), [S::Real::ZERO; LANES]);
            kept[n][lane] = self.error(squares[lane]);
        }
        Some(())
    }

    /// Keeps a lane's state before its `n`-th step, if that is to be kept; nothing where the system refuses memory.
    fn record_state(&self, n: usize, lane: usize, tile: &mut Tile<S::Real>) -> Option<()> {
        let keep = self.0.recording.keep;
        if !keep.takes(n) {
            return Some(());
        }
        let place = n / keep.stride().map_or(1, NonZero::get);
        while tile.tape.states.len() <= place {
            let mut spare = tile.tape.spare(tile.state.y.len())?;
            spare.fill(S::Real::ZERO);
            tile.tape.states.push(spare);
        }
        copy_lane(&mut tile.tape.states[place], lane, &tile.state.y, lane);
        Some(())
    }

    /// Keeps a lane's stages of its `n`-th step, likewise.
    fn record_stages(&self, n: usize, lane: usize, tile: &mut Tile<S::Real>, room: &S::Attempt) -> Option<()> {
        if self.0.recording.keep != Keep::Dense {
            return Some(());
        }
        let (size, scheme) = (tile.features(), &self.0.stepper.scheme);
        while tile.tape.stages.len() <= n {
            let spare = tile.tape.spare(size * scheme.tableau().stages())?;
            tile.tape.stages.push(spare);
        }
        for (kept, k) in tile.tape.stages[n].chunks_exact_mut(size).zip(scheme.stages(&tile.state, room)) {
            copy_lane(kept, lane, k, lane);
        }
        Some(())
    }

    /// Moves the lanes that were accepted, and gives each its next step's length.
    fn advance(
        &self,
        interval: &Interval<S::Real>,
        moving: &[bool; LANES],
        decisions: &Decisions<S::Real>,
        tile: &mut Tile<S::Real>,
    ) {
        let Self(solve) = self;
        let accept: [bool; LANES] = std::array::from_fn(|l| moving[l] && decisions.accept[l]);
        self.note(interval, &accept, decisions, tile);
        let Tile { state: StepState { y, y1, first, last, .. }, clock, status, .. } = tile;
        select(y, &accept, y1);
        if solve.stepper.shape.fsal {
            select(first, &accept, last);
        }
        let is_lost = solve.stepper.scheme.is_lost(y);
        for l in (0..LANES).filter(|&l| moving[l]) {
            let taken = interval.t1[l] - interval.t0[l];
            clock.h[l] = taken * decisions.factor[l].to_f64();
            if !accept[l] {
                clock.rejected[l] += 1;
                continue;
            }
            clock.t[l] = interval.t1[l];
            clock.last[l] = taken;
            clock.accepted[l] += 1;
            let reach = decisions.reach[l].to_f64();
            if reach > 0.0 {
                let rest = solve.stepper.ends.next_stop(clock.t[l], clock.ends[1][l]) - clock.t[l];
                clock.h[l] = if (taken * reach).abs() >= rest.abs() { rest } else { clock.h[l] };
            }
            if clock.t[l] == clock.ends[1][l] {
                status[l] = Status::Done;
            }
            if is_lost[l] {
                status[l] = Status::Irreversible;
            }
        }
    }

    /// Takes accepted adaptive steps into the count of ideal ones.
    fn note(
        &self,
        interval: &Interval<S::Real>,
        accept: &[bool; LANES],
        decisions: &Decisions<S::Real>,
        Tile { clock, norms, .. }: &mut Tile<S::Real>,
    ) {
        let StepControl::Adaptive { controller, .. } = &self.0.options.step_control else { return };
        let first = clock.accepted.map(|accepted| accepted == 0);
        let per_span = std::array::from_fn(|l| S::Real::from_f64(clock.span(l).recip()));
        let numbers = [self.resolved(), S::Real::from_f64(controller.safety)];
        note_steps(clock, accept, &first, decisions, [&interval.h, norms, &per_span], numbers);
    }
}

/// Non-finite ends are failures whatever the clock says; failed lanes leave the batch's losses.
pub(super) fn finish<R: Scalar>(tile: &mut Tile<R>) {
    let finite = finite_lanes(&tile.state.y);
    for l in (0..LANES).filter(|&l| tile.alive[l]) {
        if !finite[l] {
            tile.status[l] = Status::NonFinite;
        }
    }
    for (alive, status) in tile.alive.iter_mut().zip(tile.status) {
        *alive &= status == Status::Done;
    }
}
