//! The ensemble layout: own time, step size, status and NFE for each trajectory.
//!
//! A lane is a trajectory. Every operation on a tile works lane by lane with the same instructions, so a trajectory's
//! result depends neither on its lane nor on its neighbours.

use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::dispatch::multiversion;
use crate::cpu::kernel::lanes::{Lanes, add_weighted, combine, scaled_squares, select};
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::path::speed;
use crate::cpu::solve::lockstep::{InitialStepRule, finite_lanes, step_too_small};
use crate::cpu::step::runge_kutta::{AttemptRoom, Interval, Stepper};
use crate::cpu::tile::{Clock, Crew, Recording, Room, SavePoint, Tile, copy_lane};
use crate::error::Status;
use crate::method::{
    Attempt, Controller, ControllerMemory, InitialStep, LONGEST_WISH, MOST_GROWTH, RESOLVED_ERROR, SolverOptions,
    StepControl,
};
use crate::problem::{Problem, within};

/// A solve as every worker sees it.
#[derive(Debug)]
pub(crate) struct Ensemble<'a, R> {
    pub(crate) stepper: &'a Stepper<R>,
    pub(crate) problem: &'a Problem,
    pub(crate) t1: f64,
    pub(crate) options: &'a SolverOptions,
    pub(crate) saves: &'a [SavePoint],
    pub(crate) recording: Recording,
    /// Share of the interval that earlier solves taught to begin with.
    pub(crate) carried: Option<f64>,
}

/// What the controller makes of an attempt, a lane.
struct Decisions<R> {
    accept: [bool; LANES],
    factor: Lanes<R>,
    reach: Lanes<R>,
    count: Lanes<R>,
}

impl<R: Scalar> Ensemble<'_, R> {
    /// Solves the crew's tiles from their loaded states.
    pub(crate) fn solve(&self, crew: &mut Crew<R>) {
        let (tiles, room) = crew.tiles_mut();
        for tile in tiles {
            self.save_initial(tile);
            if self.problem.t0 == self.t1 {
                tile.status[..tile.used].fill(Status::Done);
                continue;
            }
            self.start(tile, &mut room.attempt);
            if self.recording.ends {
                let mut k1_ready = [true; LANES];
                while self.turn(tile, &mut k1_ready, room) {}
            }
        }
        if !self.recording.ends {
            self.stream(crew);
        }
        for tile in crew.tiles_mut().0 {
            self.finish(tile);
        }
    }

    /// Integrates started tiles without keeping a tape. Trajectories of a tile arrive after different numbers of steps;
    /// so that no lane waits for the slowest, a working tile takes the next trajectory into each lane that falls free.
    fn stream(&self, crew: &mut Crew<R>) {
        let (tiles, room) = crew.tiles_mut();
        let mut homes: Vec<&mut Tile<R>> = tiles.collect();
        let Some(slots) = homes.first().map(|home| home.saves.len() / home.features()) else { return };
        let mut working = room.working.take().unwrap_or_else(|| Box::new(Tile::new(0, self.stepper)));
        working.used = LANES;
        working.begin(slots, 0);
        working.status = [Status::Done; LANES];
        let mut origin: [Option<(usize, usize)>; LANES] = [None; LANES];
        let mut k1_ready = [true; LANES];
        let mut next = (0, 0);
        loop {
            let running = working.running();
            for lane in (0..LANES).filter(|&l| !running[l]) {
                if let Some((tile, home_lane)) = origin[lane].take() {
                    homes[tile].take_lane(home_lane, &working, lane);
                }
                if let Some((tile, home_lane)) = next_running(&homes, &mut next) {
                    working.take_lane(lane, homes[tile], home_lane);
                    (origin[lane], k1_ready[lane]) = (Some((tile, home_lane)), true);
                }
            }
            if !self.turn(&mut working, &mut k1_ready, room) && origin.iter().all(Option::is_none) {
                break;
            }
        }
        room.working = Some(working);
    }

    /// Clocks at the start, and the states saved there.
    fn save_initial(&self, tile: &mut Tile<R>) {
        tile.clock.t = [self.problem.t0; LANES];
        (tile.clock.accepted, tile.clock.rejected) = ([0; LANES], [0; LANES]);
        (tile.clock.nfe, tile.clock.nfe_diffusion) = ([0; LANES], [0; LANES]);
        (tile.clock.ideal, tile.clock.wish) = ([[R::ZERO; LANES]; 4], [R::ZERO; LANES]);
        let n = tile.features();
        let Tile { saves, y, .. } = tile;
        for point in self.saves.iter().filter(|p| p.t == self.problem.t0) {
            saves[point.slot * n..][..n].copy_from_slice(&y[..n]);
        }
    }

    /// First stage and first step size of each lane.
    fn start(&self, tile: &mut Tile<R>, room: &mut AttemptRoom<R>) {
        let (t0, span) = (self.problem.t0, self.t1 - self.problem.t0);
        tile.clock.h = [span; LANES];
        self.stepper.first_stage(&[R::from_f64(t0); LANES], tile, room);
        let (y, k, g) = (finite_lanes(&tile.y), finite_lanes(&tile.k_first), finite_lanes(&tile.g_first));
        tile.quarantine(&std::array::from_fn(|l| !(y[l] && k[l] && g[l])), Status::NonFinite, t0, 0);
        let noisy = u32::from(self.stepper.diffusion.is_some());
        (tile.clock.nfe, tile.clock.nfe_diffusion) = ([1; LANES], [noisy; LANES]);
        match self.options.step_control {
            StepControl::Fixed { steps } => tile.clock.h = [span / steps as f64; LANES],
            StepControl::Adaptive { controller, initial_step, .. } => {
                tile.clock.last = [span; LANES];
                let memory = controller.memory::<R>();
                tile.clock.memory = memory.log_errors.map(|e| [e; LANES]);
                let given = match initial_step {
                    InitialStep::Length(h) => Some(h.min(span.abs()).copysign(span)),
                    InitialStep::Carried => self.carried.map(|share| share * span),
                    InitialStep::Automatic => None,
                };
                match given {
                    Some(h) => tile.clock.h = [h; LANES],
                    None => {
                        let Tile { y, y1, k_first, k_last, g_first, g_last, .. } = tile;
                        let h = self.automatic_steps(&[t0; LANES], y, [k_first, g_first], y1, [k_last, g_last], room);
                        tile.clock.h = h.map(|h| h.copysign(span));
                        (tile.clock.nfe, tile.clock.nfe_diffusion) = ([2; LANES], [2 * noisy; LANES]);
                    }
                }
            }
        }
    }

    /// The automatic initial step of each lane, as a length, from the states with their derivatives and diffusions;
    /// `trial` and the arrays of the second point are room to work in.
    pub(crate) fn automatic_steps(
        &self,
        t: &Lanes<f64>,
        y: &[R],
        [k, g]: [&[R]; 2],
        trial: &mut [R],
        [k1, g1]: [&mut Vec<R>; 2],
        room: &mut AttemptRoom<R>,
    ) -> Lanes<f64> {
        let span = self.t1 - self.problem.t0;
        let rule = InitialStepRule { span: span.abs(), error_power: self.stepper.initial_power() };
        let features = self.stepper.field.dim() as f64;
        let norm = |term: &[R]| {
            let mut sums = [R::ZERO; LANES];
            scaled_squares(&mut sums, &self.stepper.atol, self.stepper.rtol, term, y, y);
            sums.map(|s| (s.to_f64() / features).sqrt())
        };
        let n = k.len();
        let (y_first, trial) = (&y[..n], &mut trial[..n]);
        let d0 = norm(y_first);
        let d1 = if self.stepper.diffusion.is_some() {
            speed(trial, k, g);
            norm(trial)
        } else {
            norm(k)
        };
        let h0: Lanes<f64> = std::array::from_fn(|l| rule.trial(d0[l], d1[l]));
        let interval = Interval::new(*t, std::array::from_fn(|l| t[l] + h0[l].copysign(span)));
        combine(trial, Some(y_first), &interval.h, [(1.0, k)]);
        let end = interval.t1.map(R::from_f64);
        self.stepper.eval(&end, trial, k1, room);
        self.stepper.change(&end, trial, k, g, k1, g1, room);
        let change = norm(k1);
        std::array::from_fn(|l| rule.step(h0[l], d1[l], change[l]))
    }

    /// One attempt in every running lane of the tile; false when there is none.
    fn turn(&self, tile: &mut Tile<R>, k1_ready: &mut [bool; LANES], room: &mut Room<R>) -> bool {
        let (stages, noise_stages) = (self.stepper.tableau.stages(), self.stepper.noise_stages());
        let interval = self.next_interval(tile);
        let moving = tile.running();
        if !moving.contains(&true) {
            return false;
        }
        if (0..LANES).any(|l| moving[l] && !k1_ready[l]) {
            self.refresh(&interval, tile, k1_ready, room);
        }
        self.stepper.attempt(&interval, tile, &mut room.attempt);
        let decisions = self.decide(&interval, tile, &mut room.attempt);
        let accept = std::array::from_fn(|l| moving[l] && decisions.accept[l]);
        self.save_within(&interval, &accept, tile, room);
        self.record(&interval, &accept, tile, &room.attempt);
        for l in (0..LANES).filter(|&l| moving[l]) {
            let fresh = u32::from(!k1_ready[l]);
            tile.clock.nfe[l] += u32::try_from(stages - 1).unwrap_or(u32::MAX) + fresh;
            if let Some(more) = noise_stages.checked_sub(1) {
                tile.clock.nfe_diffusion[l] += u32::try_from(more).unwrap_or(u32::MAX) + fresh;
            }
            // Not across a stop.
            let goes_on = || interval.t1[l] != self.stepper.next_stop(interval.t0[l], self.t1);
            k1_ready[l] = !accept[l] || (self.stepper.fsal && goes_on());
        }
        self.advance(&interval, &moving, &decisions, tile);
        true
    }

    /// Evaluates the first stage anew in the lanes that have moved since.
    fn refresh(&self, interval: &Interval<R>, tile: &mut Tile<R>, k1_ready: &[bool; LANES], room: &mut Room<R>) {
        let Room { attempt, scratch, .. } = room;
        let (t, stale) = (interval.t0.map(R::from_f64), k1_ready.map(|ready| !ready));
        let point = self.stepper.point(&tile.y);
        self.stepper.eval(&t, point, scratch, attempt);
        select(&mut tile.k_first, &stale, scratch);
        if let (Some(diffusion), Some(noise)) = (&self.stepper.diffusion, &mut attempt.noise) {
            diffusion.eval(&t, point, &mut noise.g, &mut noise.stage);
            select(&mut tile.g_first, &stale, &noise.g);
        }
    }

    /// Ends of each lane's next attempt. Lanes that have arrived, or are stuck, rest.
    fn next_interval(&self, tile: &mut Tile<R>) -> Interval<R> {
        let (t0, t1) = (self.problem.t0, self.t1);
        let fixed = matches!(self.options.step_control, StepControl::Fixed { .. });
        let mut ends = tile.clock.t;
        let running = tile.running();
        for l in (0..LANES).filter(|&l| running[l]) {
            let t = tile.clock.t[l];
            let t_next = match self.options.step_control {
                StepControl::Fixed { steps } => {
                    let i = tile.clock.accepted[l] as usize + 1;
                    if i == steps { t1 } else { t0 + (t1 - t0) * (i as f64 / steps as f64) }
                }
                StepControl::Adaptive { .. } => self.stepper.end_of_step(t, tile.clock.h[l], t1),
            };
            let (accepted, rejected) = (tile.clock.accepted[l] as usize, tile.clock.rejected[l] as usize);
            if accepted + rejected == self.options.most_attempts() || accepted == self.recording.limit {
                tile.status[l] = Status::MaxSteps;
            } else if fixed || !step_too_small(t, t_next, self.stepper.next_stop(t, t1), t1 - t0) {
                ends[l] = t_next;
            } else if self.error(tile.norms[l]) <= R::ONE {
                // The last attempt was no failure. The smallest step that time resolves shows whether there is one.
                let h = self.stepper.smallest_step(t, t1 - t0).copysign(t1 - t0);
                ends[l] = self.stepper.end_of_step(t, h, t1);
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
    fn decide(&self, interval: &Interval<R>, tile: &mut Tile<R>, room: &mut AttemptRoom<R>) -> Decisions<R> {
        let mut decisions = Decisions {
            accept: [true; LANES],
            factor: [R::ONE; LANES],
            reach: [R::ZERO; LANES],
            count: [R::ZERO; LANES],
        };
        let StepControl::Adaptive { controller, .. } = &self.options.step_control else { return decisions };
        tile.norms = self.stepper.error_squares(&interval.h, tile, room);
        let error = tile.norms.map(|sum| self.error(sum));
        let clock = &mut tile.clock;
        let ratio = if controller.alpha == 0.0 {
            [R::ONE; LANES]
        } else {
            std::array::from_fn(|l| R::from_f64((interval.t1[l] - interval.t0[l]) / clock.last[l]))
        };
        let first = clock.accepted.map(|accepted| accepted == 0);
        let power = self.stepper.tableau.error_power();
        adapt_lanes(controller, power, &mut clock.memory, [&error, &ratio], &first, &mut decisions);
        decisions
    }

    /// The sum of squares from which on a lane's error is no rounding.
    fn resolved(&self) -> R {
        R::from_f64(RESOLVED_ERROR * RESOLVED_ERROR * self.stepper.field.dim() as f64)
    }

    /// The error norm of a lane from its sum of squares.
    fn error(&self, squares: R) -> R {
        (squares / R::from_f64(self.stepper.field.dim() as f64)).sqrt()
    }

    fn save_within(
        &self,
        interval: &Interval<R>,
        accept: &[bool; LANES],
        tile: &mut Tile<R>,
        Room { attempt, scratch, .. }: &mut Room<R>,
    ) {
        for point in self.saves {
            let here: [bool; LANES] =
                std::array::from_fn(|l| accept[l] & within(point.t, interval.t0[l], interval.t1[l]));
            if !here.contains(&true) {
                continue;
            }
            let at_end: [bool; LANES] = std::array::from_fn(|l| here[l] & (point.t == interval.t1[l]));
            let n = tile.features();
            let Tile { saves, y, y1, k_first, k_last, .. } = tile;
            let out = &mut saves[point.slot * n..][..n];
            if at_end != here && self.stepper.diffusion.is_some() {
                let [start, end] = chord_weights(interval, point.t, &here);
                scratch.fill(R::ZERO);
                add_weighted(scratch, &start, &y[..n]);
                add_weighted(scratch, &end, &y1[..n]);
                select(out, &here, scratch);
            } else if at_end != here {
                let weights = interior_weights(self.stepper, interval, point.t, &here);
                scratch.copy_from_slice(y);
                for (weight, k) in weights.iter().zip(self.stepper.stages(k_first, k_last, attempt)) {
                    if !k.is_empty() {
                        add_weighted(scratch, weight, k);
                    }
                }
                select(out, &here, scratch);
            }
            select(out, &at_end, &y1[..n]);
        }
    }

    /// Keeps the states before the accepted steps, and the ends of the steps, at each lane's own count.
    fn record(&self, interval: &Interval<R>, accept: &[bool; LANES], tile: &mut Tile<R>, room: &AttemptRoom<R>) {
        let Recording { stride, stages, ends, .. } = self.recording;
        if !ends {
            return;
        }
        for l in (0..LANES).filter(|&l| accept[l]) {
            let n = tile.clock.accepted[l] as usize;
            while tile.steps.len() <= n {
                if tile.steps.try_reserve(1).is_err() {
                    return tile.give_up_all();
                }
                tile.steps.push([[self.t1; LANES]; 2]);
            }
            (tile.steps[n][0][l], tile.steps[n][1][l]) = (interval.t0[l], interval.t1[l]);
            if stride > 0 && n.is_multiple_of(stride) {
                while tile.tape.len() <= n / stride {
                    let Some(mut spare) = tile.spare(tile.y.len()) else { return tile.give_up_all() };
                    spare.fill(R::ZERO);
                    tile.tape.push(spare);
                }
                copy_lane(&mut tile.tape[n / stride], l, &tile.y, l);
            }
            if stages {
                while tile.stage_tape.len() <= n {
                    let all = tile.features() * self.stepper.tableau.stages();
                    let Some(spare) = tile.spare(all) else { return tile.give_up_all() };
                    tile.stage_tape.push(spare);
                }
                let size = tile.features();
                let all = self.stepper.stages(&tile.k_first, &tile.k_last, room);
                for (kept, k) in tile.stage_tape[n].chunks_exact_mut(size).zip(all) {
                    copy_lane(kept, l, k, l);
                }
            }
        }
    }

    fn advance(&self, interval: &Interval<R>, moving: &[bool; LANES], decisions: &Decisions<R>, tile: &mut Tile<R>) {
        let accept: [bool; LANES] = std::array::from_fn(|l| moving[l] && decisions.accept[l]);
        if let StepControl::Adaptive { controller, .. } = &self.options.step_control {
            let per_span = R::from_f64((self.t1 - self.problem.t0).recip());
            let first = tile.clock.accepted.map(|accepted| accepted == 0);
            note_steps(
                &mut tile.clock,
                &accept,
                &first,
                decisions,
                [&interval.h, &tile.norms],
                [per_span, self.resolved(), R::from_f64(controller.safety)],
            );
        }
        let Tile { y, y1, k_first, k_last, g_first, g_last, clock, status, .. } = tile;
        select(y, &accept, y1);
        if self.stepper.fsal {
            select(k_first, &accept, k_last);
            select(g_first, &accept, g_last);
        }
        for l in (0..LANES).filter(|&l| moving[l]) {
            let taken = interval.t1[l] - interval.t0[l];
            clock.h[l] = taken * decisions.factor[l].to_f64();
            if accept[l] {
                clock.t[l] = interval.t1[l];
                clock.last[l] = taken;
                clock.accepted[l] += 1;
                let reach = decisions.reach[l].to_f64();
                if reach > 0.0 {
                    let rest = self.stepper.next_stop(clock.t[l], self.t1) - clock.t[l];
                    clock.h[l] = if (taken * reach).abs() >= rest.abs() { rest } else { clock.h[l] };
                }
                if clock.t[l] == self.t1 {
                    status[l] = Status::Done;
                }
            } else {
                clock.rejected[l] += 1;
            }
        }
    }

    /// Non-finite ends are failures whatever the clock says; failed lanes leave the batch's losses.
    fn finish(&self, tile: &mut Tile<R>) {
        let finite = finite_lanes(&tile.y);
        for l in (0..LANES).filter(|&l| tile.alive[l]) {
            if !finite[l] {
                tile.status[l] = Status::NonFinite;
            }
        }
        for (alive, status) in tile.alive.iter_mut().zip(tile.status) {
            *alive &= status == Status::Done;
        }
    }
}

/// The next running trajectory of the homes, as tile and lane.
fn next_running<R: Scalar>(homes: &[&mut Tile<R>], next: &mut (usize, usize)) -> Option<(usize, usize)> {
    while let Some(home) = homes.get(next.0) {
        let (tile, lane) = *next;
        *next = if lane + 1 < home.used { (tile, lane + 1) } else { (tile + 1, 0) };
        if home.alive[lane] && home.status[lane] == Status::Running {
            return Some((tile, lane));
        }
    }
    None
}

/// The interpolant's weights times `h` at time `t`, in the lanes of `here`; zero elsewhere.
pub(crate) fn interior_weights<R: Scalar>(
    stepper: &Stepper<R>,
    interval: &Interval<R>,
    t: f64,
    here: &[bool; LANES],
) -> [Lanes<R>; crate::method::MAX_STAGES] {
    let mut weights = [[R::ZERO; LANES]; crate::method::MAX_STAGES];
    for l in (0..LANES).filter(|&l| here[l]) {
        let h = interval.t1[l] - interval.t0[l];
        let at = stepper.tableau.interpolant_weights((t - interval.t0[l]) / h);
        for (weight, b) in weights.iter_mut().zip(at) {
            weight[l] = R::from_f64(h * b);
        }
    }
    weights
}

/// Shares of a step's start and end in the point of its chord at time `t`, in the lanes of `here`; zero elsewhere.
pub(crate) fn chord_weights<R: Scalar>(interval: &Interval<R>, t: f64, here: &[bool; LANES]) -> [Lanes<R>; 2] {
    let theta = |l: usize| (t - interval.t0[l]) / (interval.t1[l] - interval.t0[l]);
    let weight =
        |of: fn(f64) -> f64| std::array::from_fn(|l| if here[l] { R::from_f64(of(theta(l))) } else { R::ZERO });
    [weight(|theta| 1.0 - theta), weight(|theta| theta)]
}

multiversion! {
    /// [`Controller::adapt`] in every lane.
    fn adapt_lanes<R>(
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
    /// one's wish. `numbers` are one over the interval's length, the squares of a resolved error, and the controller's safety.
    fn note_steps<R>(
        clock: &mut Clock<R>,
        accept: &[bool; LANES],
        first: &[bool; LANES],
        decisions: &Decisions<R>,
        lengths_and_squares: [&Lanes<R>; 2],
        numbers: [R; 3],
    ) {
        let ([h, squares], [per_span, resolved, safety]) = (lengths_and_squares, numbers);
        let (longest, growth) = (R::from_f64(LONGEST_WISH), R::from_f64(MOST_GROWTH));
        let Clock { ideal: [sum, rate, waiting, steps], wish, .. } = clock;
        for l in 0..LANES {
            // Of a lane that rests, numbers without meaning that are not taken.
            let (share, count) = (h[l] * per_span, decisions.count[l]);
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
