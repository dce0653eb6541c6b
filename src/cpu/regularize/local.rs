//! Local regularization: probes, single steps whose error or stiffness is measured and differentiated.

use crate::cpu::adjoint::rewind::Taped;
use crate::cpu::adjoint::track::Track;
use crate::cpu::crew::reduction::Share;
use crate::cpu::crew::shard::Crew;
use crate::cpu::crew::walk_room::WalkRoom;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::interval::Interval;
use crate::cpu::kernel::lanes::{
    Lanes, add, copy_lane, rest_unless, scaled_norm_vjp, stand_in_unless, weighted_difference,
};
use crate::cpu::solve::Solve;
use crate::cpu::solve::initial::Start;
use crate::cpu::step::scale::ErrorScale;
use crate::cpu::step::seeds::{Bars, Chain, MeasureBar, Seeds, StiffnessSeed};
use crate::cpu::step::state::{StepState, begin_second, fold_second};
use crate::cpu::step::stiffness::{last_two, squared_differences};
use crate::cpu::step::{NoiseOf, Point, Scheme};
use crate::cpu::tile::Tile;
use crate::cpu::tile::probe::Probe;
use crate::math::Real;
use crate::method::{Draws, Measure, PenaltyGradient, PenaltyNoise, PenaltyStep, StepControl, stiffness};
use crate::problem::within;

/// A penalty pass as every worker sees it.
#[derive(Debug)]
pub(crate) struct Penalty<'a, S: Scheme> {
    pub(crate) draws: &'a Draws,
    pub(crate) track: &'a Track<'a, S>,
    pub(crate) solve: &'a Solve<'a, S>,
    pub(crate) origin: Origin<'a>,
    /// Tiles with a smaller index have probes.
    pub(crate) tiles: usize,
    /// Solved trajectories in those tiles.
    pub(crate) rows: usize,
    /// Where the field's parameters begin in the gradient.
    pub(crate) offset: usize,
}

/// Where probes begin.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Origin<'a> {
    /// At any time: states that the solve saved, from this slot on.
    Saved(usize),
    /// At accepted steps, whose states are on the tape.
    Steps(&'a Taped),
}

impl<S: Scheme> Penalty<'_, S> {
    /// Measures the crew's probes and adds `coefficient dR/dtheta` to its shards' gradients. Returns `R` in lockstep, where
    /// the crew has a share in the batch's norms; in an ensemble each tile's share of it is in `tile.penalty`.
    pub(crate) fn apply(&self, crew: &mut Crew<S>, room: &mut WalkRoom<S>, mut share: Option<Share<'_>>) -> f64 {
        let times = self.draws.uniform.len();
        let mut total = 0.0;
        for n in 0..times {
            let own = share.is_none();
            self.each(crew, room, |tile, probes, room, _| self.place(n, own, tile, probes, room));
            if self.draws.penalty.step == PenaltyStep::FreshInitial {
                self.fresh_steps(n, crew, share.as_mut());
            }
            self.each(crew, room, |tile, probes, _, _| self.take(n, tile, &mut probes[n]));
            let norms = share.as_mut().map(|share| self.shared_norms(n, crew, share));
            let value =
                |tile: &mut Tile<S::Real>, probe: &mut Probe<S>, room: &mut WalkRoom<S>, bar: &mut [S::Real]| {
                    tile.penalty += self.differentiate(n, tile, probe, norms, room, bar) / times as f64;
                };
            self.each(crew, room, |tile, probes, room, theta_bar| {
                value(tile, &mut probes[n], room, &mut theta_bar[self.offset..]);
                self.track.hand_on_controls(tile, &mut room.vjp, theta_bar);
            });
            total +=
                norms.map_or(0.0, |norms| self.value_and_slopes(norms, self.length_of(crew, n), self.solve.span()).0);
        }
        total / times as f64
    }

    /// Does the work in each tile with probes.
    fn each(
        &self,
        crew: &mut Crew<S>,
        room: &mut WalkRoom<S>,
        work: impl Fn(&mut Tile<S::Real>, &mut Vec<Probe<S>>, &mut WalkRoom<S>, &mut [S::Real]),
    ) {
        for shard in &mut crew.shards {
            let (tiles, theta_bar) = shard.probed();
            for (tile, probes) in tiles.filter(|(tile, _)| tile.index < self.tiles) {
                work(tile, probes, room, theta_bar);
            }
        }
    }

    /// The norms of the n-th probe over the batch; the second one where the measure has it.
    fn shared_norms(&self, n: usize, crew: &Crew<S>, share: &mut Share<'_>) -> [f64; 2] {
        let mut norms = [0.0; 2];
        let count = if self.draws.penalty.measure == Measure::Stiffness { 2 } else { 1 };
        for (which, norm) in norms.iter_mut().enumerate().take(count) {
            for (tile, probes) in crew.shards.iter().flat_map(|shard| shard.tiles.iter().zip(&shard.probes)) {
                match probes.get(n).filter(|_| tile.used > 0 && tile.index < self.tiles) {
                    Some(probe) => share.put(tile, &probe.norms[which]),
                    None => share.absent(tile.index),
                }
            }
            *norm = share.root_mean_square().0;
        }
        norms
    }

    /// Signed length of the crew's n-th probe, in lockstep, where all have the same by the shared clock.
    fn length_of(&self, crew: &mut Crew<S>, n: usize) -> f64 {
        let tiles = self.tiles;
        let first = crew.probed().0.find(|(tile, _)| tile.index < tiles);
        first.map_or(1.0, |(_, probes)| probes[n].ends[1] - probes[n].ends[0])
    }

    /// State, time and, if it is the solver's, size of the n-th probe. Trajectories of an ensemble have their `own`.
    fn place(&self, n: usize, own: bool, tile: &Tile<S::Real>, probes: &mut Vec<Probe<S>>, room: &mut WalkRoom<S>) {
        let stepper = self.solve.stepper;
        while probes.len() <= n {
            probes.push(Probe::new(&stepper.scheme, &stepper.shape));
        }
        let probe = &mut probes[n];
        probe.starts = None;
        match self.origin {
            Origin::Saved(slot) => self.place_at_time(n, tile.save(slot + n), tile, probe),
            // Every trajectory of the tile failed before its first step; the probe rests.
            Origin::Steps(_) if self.track.count(tile) == 0 => {
                probe.y.fill(S::Real::ZERO);
                probe.ends = [self.solve.t0; 2];
                probe.interval = tile.clock.interval(self.solve.t0, self.solve.t0);
            }
            Origin::Steps(tape) => self.place_at_step(n, own, tape, tile, probe, room),
        }
    }

    /// At a random time.
    fn place_at_time(&self, n: usize, state: &[S::Real], tile: &Tile<S::Real>, probe: &mut Probe<S>) {
        let (t0, span) = (self.solve.t0, self.solve.span());
        let t = self.solve.stepper.ends.probe_time(t0 + self.draws.position(n) * span, self.draws.penalty.noise);
        probe.y[..state.len()].copy_from_slice(state);
        begin_second(&mut probe.y, state.len());
        let covers = |[t0, t1]: [f64; 2], t: f64| t == t0 || within(t, t0, t1);
        if let Some(steps) = self.track.shared() {
            let taken = || steps.iter().position(|step| covers(*step, t)).map_or(0.0, |step| self.uncut_shared(step));
            let h = self.draws.penalty.length.map_or_else(taken, |share| share * span);
            self.place_shared(probe, tile, [t, self.end_of_probe(t, h)]);
            return;
        }
        let times = tile.clock.times(t);
        let taken = match self.draws.penalty.length {
            Some(share) => std::array::from_fn(|l| share * tile.clock.span(l)),
            None => self.lanes(tile, |step, interval, l| {
                covers([interval.t0[l], interval.t1[l]], times[l]).then(|| self.uncut(tile, step, interval, l))
            }),
        };
        probe.interval = Interval::new(times, std::array::from_fn(|l| self.end_of_probe(times[l], taken[l])));
    }

    /// At such ends by the shared clock.
    fn place_shared(&self, probe: &mut Probe<S>, tile: &Tile<S::Real>, ends: [f64; 2]) {
        (probe.ends, probe.interval) = (ends, tile.clock.interval(ends[0], ends[1]));
    }

    /// At a random accepted step.
    fn place_at_step(
        &self,
        n: usize,
        own: bool,
        tape: &Taped,
        tile: &Tile<S::Real>,
        probe: &mut Probe<S>,
        room: &mut WalkRoom<S>,
    ) {
        let track = self.track;
        let starts: Lanes<usize> = std::array::from_fn(|l| {
            let count = if own { tile.clock.accepted[l] as usize } else { track.count(tile) };
            let position =
                if own { self.draws.own_position(n, tile.index * LANES + l) } else { self.draws.position(n) };
            start_of(position, count)
        });
        for l in 0..LANES {
            if l == 0 || starts[l] != starts[l - 1] {
                tape.restore(track, tile, starts[l], room, true);
            }
            copy_lane(&mut probe.y, l, &room.y, l);
        }
        if let Some(steps) = track.shared() {
            let start = starts[0].min(steps.len().saturating_sub(1));
            let (ends @ [t, t1], length) = (steps[start], self.uncut_shared(start));
            let h = self.draws.penalty.length.map_or(length, |share| share * self.solve.span());
            self.place_shared(probe, tile, if h == t1 - t { ends } else { [t, self.end_of_probe(t, h)] });
            probe.starts = (self.draws.penalty.gradient == PenaltyGradient::Full).then_some(starts);
            return;
        }
        let ends: Lanes<[f64; 2]> = std::array::from_fn(|l| {
            let start = starts[l].min(track.count(tile).saturating_sub(1));
            let interval = track.interval(tile, start);
            let (t, taken) = (interval.t0[l], interval.t1[l] - interval.t0[l]);
            let length = match self.draws.penalty.length {
                Some(share) => share * tile.clock.span(l),
                None => self.uncut(tile, start, &interval, l),
            };
            [t, if length == taken { interval.t1[l] } else { self.end_of_probe(t, length) }]
        });
        probe.interval = Interval::new(ends.map(|[t, _]| t), ends.map(|[_, end]| end));
        probe.starts = (self.draws.penalty.gradient == PenaltyGradient::Full).then_some(starts);
    }

    fn end_of_probe(&self, t: f64, h: f64) -> f64 {
        self.solve.stepper.ends.end_of_probe(t, h, self.draws.penalty.noise)
    }

    /// Signed length of an accepted step of a lane, were it not cut short by the end of the interval or by a stop: at least
    /// that of the step before. The error of a crumb is rounding.
    fn uncut(&self, tile: &Tile<S::Real>, step: usize, interval: &Interval<S::Real>, lane: usize) -> f64 {
        let before = || {
            let before = self.track.interval(tile, step - 1);
            [before.t0[lane], before.t1[lane]]
        };
        self.longer(step, [interval.t0[lane], interval.t1[lane]], tile.clock.ends[1][lane], before)
    }

    /// The same of a step of the shared clock.
    fn uncut_shared(&self, step: usize) -> f64 {
        let steps = self.track.shared().unwrap_or_default();
        self.longer(step, steps[step], self.solve.t1, || steps[step - 1])
    }

    /// Signed length of a step in a solve to `t1`, or of the step `before` if that is longer and it was cut short.
    fn longer(&self, step: usize, [t0, end]: [f64; 2], t1: f64, before: impl Fn() -> [f64; 2]) -> f64 {
        let fixed = matches!(self.solve.options.step_control, StepControl::Fixed { .. });
        let taken = end - t0;
        if fixed || step == 0 || end != self.solve.stepper.ends.next_stop(t0, t1) {
            return taken;
        }
        let [t0, end] = before();
        if (end - t0).abs() > taken.abs() { end - t0 } else { taken }
    }

    /// For each lane, what `pick` finds in the first of its steps where it finds anything.
    fn lanes(
        &self,
        tile: &Tile<S::Real>,
        pick: impl Fn(usize, &Interval<S::Real>, usize) -> Option<f64>,
    ) -> Lanes<f64> {
        let mut found = [None; LANES];
        for step in 0..self.track.count(tile) {
            let interval = self.track.interval(tile, step);
            for (l, found) in found.iter_mut().enumerate().filter(|(_, found)| found.is_none()) {
                *found = pick(step, &interval, l);
            }
        }
        found.map(|h| h.unwrap_or(0.0))
    }

    /// Gives the n-th probes the automatic initial step at their states.
    fn fresh_steps(&self, n: usize, crew: &mut Crew<S>, share: Option<&mut Share<'_>>) {
        let Self { solve, tiles: limit, .. } = *self;
        let stepper = solve.stepper;
        let (tiles, room) = crew.probed();
        for (tile, probes) in tiles.filter(|(tile, _)| tile.index < limit) {
            let (probe, state) = (&mut probes[n], &mut tile.state);
            let t0 = probe.interval.t0;
            let t = t0.map(S::Real::from_f64);
            let StepState { first, trajectories, .. } = &mut *state;
            let point = Point { t: &t, trajectories, y: stepper.shape.point_of(&probe.y) };
            stepper.scheme.slopes(&point, first, &mut room.desk.attempt);
            if share.is_none() {
                let spans = std::array::from_fn(|l| tile.clock.span(l));
                let h = solve.automatic_steps([&t0, &spans], Start::beside(&probe.y, state), &mut room.desk.attempt);
                let end = |l: usize| self.end_of_probe(t0[l], h[l].copysign(spans[l]));
                probe.interval = Interval::new(t0, std::array::from_fn(end));
            }
        }
        let Some(share) = share else { return };
        let first = crew.probed().0.find(|(tile, _)| tile.index < limit);
        let t = first.map_or(0.0, |(_, probes)| probes[n].ends[0]);
        let h = solve.automatic_step(t, crew, share, |state, probes, index| {
            (index < limit).then(|| Start::beside(&probes[n].y, state))
        });
        for (tile, probes) in crew.probed().0.filter(|(tile, _)| tile.index < limit) {
            self.place_shared(&mut probes[n], tile, [t, self.end_of_probe(t, h.copysign(solve.span()))]);
        }
    }

    /// Takes the n-th probe's step, and its norms.
    fn take(&self, n: usize, tile: &Tile<S::Real>, probe: &mut Probe<S>) {
        let stepper = self.solve.stepper;
        let scheme = &stepper.scheme;
        let Probe { kept, y, y1, error, interval, norms, .. } = probe;
        let counted = tile.counted();
        for l in (0..LANES).filter(|&l| !counted[l]) {
            interval.h[l] = S::Real::ZERO;
        }
        stand_in_unless(y, &counted);
        let noise = match self.draws.penalty.noise {
            PenaltyNoise::Fresh => NoiseOf::Apart(n),
            PenaltyNoise::Path => NoiseOf::Path,
        };
        scheme.draw(interval, &tile.state.trajectories, noise, kept);
        scheme.keep(interval, y, kept, true);
        scheme.end(&interval.h, y, kept, y1);
        if self.draws.penalty.measure == Measure::Stiffness {
            *norms = squared_differences(last_two(scheme.drift(kept)));
        } else {
            scheme.kept_error(error, &interval.h, kept);
            norms[0] = stepper.scale.squares(error, y, y1);
        }
    }

    /// `R`, and its derivatives with respect to the two norms it is made of, for a probe of signed length `h` in an interval of
    /// length `span`.
    fn value_and_slopes(&self, [first, second]: [f64; 2], h: f64, span: f64) -> (f64, [f64; 2]) {
        let tableau = self.solve.stepper.scheme.tableau();
        match self.draws.penalty.measure {
            Measure::Error => (first * h.abs(), [h.abs(), 0.0]),
            Measure::StepCount => {
                let power = 1.0 / tableau.error_power();
                let count = if h == 0.0 { 0.0 } else { span.abs() * first.powf(power) / h.abs() };
                (count, [if first > 0.0 { power * count / first } else { 0.0 }, 0.0])
            }
            Measure::Stiffness => stiffness([first, second], tableau),
        }
    }

    /// The sum of a tile's trajectories' `R` over the number of rows, and what the squares that each norm is made of are
    /// weighted with in a lane's gradient. Norms are the batch's, or each lane's own.
    fn weights(&self, tile: &Tile<S::Real>, probe: &Probe<S>, shared: Option<[f64; 2]>) -> (f64, [Lanes<S::Real>; 2]) {
        let scale = self.draws.penalty.coefficient / self.draws.uniform.len() as f64;
        let features = self.solve.stepper.shape.features;
        let mut weights = [[S::Real::ZERO; LANES]; 2];
        let mut value = 0.0;
        let counted = tile.counted();
        for l in (0..LANES).filter(|&l| counted[l]) {
            let (norms, count, share, [t0, t1], span) = match shared {
                Some(norms) => (norms, features * self.rows, 1.0, probe.ends, self.solve.span()),
                None => {
                    let own = probe.norms.map(|norms| (norms[l].to_f64() / features as f64).sqrt());
                    let ends = [probe.interval.t0[l], probe.interval.t1[l]];
                    (own, features, 1.0 / self.rows as f64, ends, tile.clock.span(l))
                }
            };
            let (r, slopes) = self.value_and_slopes(norms, t1 - t0, span);
            value += share * r;
            for (which, (slope, norm)) in slopes.into_iter().zip(norms).enumerate() {
                // dE/de is proportional to 1/E; where E is zero there is nothing left to reduce.
                if norm > 0.0 && probe.norms[which][l] > S::Real::ZERO {
                    weights[which][l] = S::Real::from_f64(scale * share * slope / (count as f64 * norm));
                }
            }
        }
        (value, weights)
    }

    /// Adds the gradient of one tile's probe; returns the sum of its trajectories' `R` over the number of rows, in an
    /// ensemble.
    fn differentiate(
        &self,
        n: usize,
        tile: &mut Tile<S::Real>,
        probe: &mut Probe<S>,
        shared: Option<[f64; 2]>,
        room: &mut WalkRoom<S>,
        theta_bar: &mut [S::Real],
    ) -> f64 {
        let (value, weights) = self.weights(tile, probe, shared);
        let (stepper, gradient) = (self.solve.stepper, self.draws.penalty.gradient);
        let Probe { kept, y, y1, error, bar, y1_bar, interval, .. } = probe;
        bar.fill(S::Real::ZERO);
        y1_bar.fill(S::Real::ZERO);
        let seeds = if self.draws.penalty.measure == Measure::Stiffness {
            let [slopes, states] = last_two(stepper.scheme.drift(kept));
            weighted_difference(error, &weights[0], slopes[0], slopes[1]);
            weighted_difference(y1, &weights[1], states[0], states[1]);
            let stiffness = Some(StiffnessSeed { k_difference: error, state_difference: y1 });
            Seeds { error: None, stages: None, stiffness, chain: Chain::default() }
        } else {
            let ErrorScale { atol, rtol } = &stepper.scale;
            scaled_norm_vjp(error, bar, y1_bar, &weights[0], atol, *rtol, y, y1);
            Seeds::new(MeasureBar::Error(error), None)
        };
        let bars = Bars { theta: theta_bar, state: y1_bar };
        stepper.scheme.vjp(&interval.h, kept, &seeds, gradient.first_stage(), &mut room.vjp, bars);
        if gradient == PenaltyGradient::Full {
            add(bar, y1_bar);
            rest_unless(bar, &tile.counted());
            if let Origin::Saved(slot) = self.origin {
                let features = tile.features();
                fold_second(bar, features);
                tile.save_bar_mut(slot + n).copy_from_slice(&bar[..features]);
            }
        }
        value
    }
}

/// Index of the step at a position in `[0, 1)` among `count` steps.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small non-negative number")]
fn start_of(position: f64, count: usize) -> usize {
    ((position * count as f64) as usize).min(count.saturating_sub(1))
}
