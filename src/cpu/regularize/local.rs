//! Local regularization: probes, single steps whose error or stiffness is measured and differentiated.

use crate::cpu::adjoint::walk::Backward;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::lanes::{
    Lanes, add, add_weighted, scaled_norm_vjp, scaled_squares, squared_difference, weighted_difference,
};
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::solve::ensemble::Ensemble;
use crate::cpu::solve::lockstep::{Attendee, Lockstep};
use crate::cpu::step::runge_kutta::{FirstStage, Interval, KeptStep, Seeds, StiffnessSeed};
use crate::cpu::tile::{BackwardRoom, Crew, Tile};
use crate::method::{Draws, Measure, PenaltyAt, PenaltyGradient, PenaltyNoise, PenaltyStep, StepControl, StepPenalty};
use crate::problem::within;

/// Keeps the stiffness measure finite when two stage states coincide.
pub(crate) const STIFFNESS_EPSILON: f64 = 1e-12;

/// The least root mean square of a difference of two stages that has digits to measure with, in units of the distance
/// of two numbers at the last stage's size. Rounding alone makes about 1 of it; from here on value and gradient were within
/// a factor of 2 of those at more digits, whatever the network, and up to a thousand times off below.
pub(crate) const RESOLVED: f64 = 128.0;

/// One step of one tile, taken beside the solve.
#[derive(Debug)]
pub(crate) struct Probe<R> {
    kept: KeptStep<R>,
    y: Vec<R>,
    y1: Vec<R>,
    /// The error estimate, then its cotangent; the stages' difference in the stiffness measure.
    error: Vec<R>,
    bar: Vec<R>,
    y1_bar: Vec<R>,
    interval: Interval<R>,
    /// Biased and continued into the state: the accepted step it starts with, a lane.
    starts: Option<Lanes<usize>>,
    norms: [Lanes<R>; 2],
}

impl<R: Scalar> Probe<R> {
    /// For states of `n` numbers, `features` of which are the first state's.
    fn new(kept: KeptStep<R>, n: usize, features: usize) -> Self {
        let zeros = || vec![R::ZERO; n];
        Self {
            kept,
            y: zeros(),
            y1: zeros(),
            error: vec![R::ZERO; features],
            bar: zeros(),
            y1_bar: zeros(),
            interval: Interval::shared(0.0, 0.0),
            starts: None,
            norms: [[R::ZERO; LANES]; 2],
        }
    }

    /// Forgets where the probe was, so that an earlier penalty does not reach into this backward pass.
    pub(crate) fn forget(&mut self) {
        self.starts = None;
    }

    /// Adds the cotangent of the probe's state to that of the state before accepted step `step`.
    pub(crate) fn inject(&self, step: usize, bar: &mut [R]) {
        let Some(starts) = &self.starts else { return };
        let mask = starts.map(|start| if start == step { R::ONE } else { R::ZERO });
        if mask.iter().any(|&m| m != R::ZERO) {
            add_weighted(bar, &mask, &self.bar);
        }
    }
}

/// A penalty pass as every worker sees it.
#[derive(Debug)]
pub(crate) struct Penalty<'a, R> {
    pub(crate) draws: &'a Draws,
    pub(crate) backward: &'a Backward<'a, R>,
    /// The solve in lockstep; `None` for an ensemble.
    pub(crate) lockstep: Option<&'a Lockstep<'a, R>>,
    pub(crate) ensemble: &'a Ensemble<'a, R>,
    /// First save slot of the probes' states, if they are unbiased.
    pub(crate) first_slot: usize,
    /// Tiles with a smaller index have probes.
    pub(crate) tiles: usize,
    /// Solved trajectories in those tiles.
    pub(crate) rows: usize,
    /// Where the field's parameters begin in the gradient.
    pub(crate) offset: usize,
}

impl<R: Scalar> Penalty<'_, R> {
    /// Measures the crew's probes and adds `coefficient dR/dtheta` to its shards' gradients. Returns `R` in lockstep;
    /// in an ensemble each tile's share of it is in `tile.penalty`.
    pub(crate) fn apply(&self, crew: &mut Crew<R>, mut attendee: Option<Attendee<'_>>) -> f64 {
        let times = self.draws.uniform.len();
        let mut total = 0.0;
        for n in 0..times {
            for shard in &mut crew.shards {
                for tile in shard.tiles.iter_mut().filter(|t| t.used > 0 && t.index < self.tiles) {
                    let Some(room) = &mut crew.room.backward else { continue };
                    self.place(n, tile, room);
                }
            }
            if self.draws.penalty.step == PenaltyStep::FreshInitial {
                self.fresh_steps(n, crew, attendee.as_mut());
            }
            for shard in &mut crew.shards {
                for tile in &mut shard.tiles {
                    self.measure(n, tile, attendee.as_ref(), 0);
                }
            }
            let first = attendee.as_mut().map(|a| a.root_mean_square().0);
            let mut second = None;
            if self.draws.penalty.measure == Measure::Stiffness && attendee.is_some() {
                for shard in &mut crew.shards {
                    for tile in &mut shard.tiles {
                        self.measure(n, tile, attendee.as_ref(), 1);
                    }
                }
                second = attendee.as_mut().map(|a| a.root_mean_square().0);
            }
            let shared = first.map(|first| [first, second.unwrap_or(0.0)]);
            for shard in &mut crew.shards {
                for tile in shard.tiles.iter_mut().filter(|t| t.used > 0 && t.index < self.tiles) {
                    let Some(room) = &mut crew.room.backward else { continue };
                    let value = self.differentiate(n, tile, shared, room, &mut shard.theta_bar[self.offset..]);
                    tile.penalty += value / times as f64;
                }
            }
            total += shared.map_or(0.0, |norms| self.value_and_slopes(norms, self.span_of(crew, n)).0);
        }
        total / times as f64
    }

    /// Signed length of the crew's n-th probe, in lockstep, where all have the same.
    fn span_of(&self, crew: &Crew<R>, n: usize) -> f64 {
        let interval = crew.tiles().find(|t| t.index < self.tiles).map(|t| &t.probes[n].interval);
        interval.map_or(1.0, |interval| interval.t1[0] - interval.t0[0])
    }

    /// State, time and, if it is the solver's, size of the n-th probe.
    fn place(&self, n: usize, tile: &mut Tile<R>, room: &mut BackwardRoom<R>) {
        let stepper = self.backward.stepper;
        let features = tile.features();
        while tile.probes.len() <= n {
            tile.probes.push(Probe::new(stepper.kept_step(), tile.y.len(), features));
        }
        let mut probe = std::mem::replace(
            &mut tile.probes[n],
            Probe::new(KeptStep { stages: vec![], k: vec![], noise: None }, 0, 0),
        );
        let steps = &self.backward.steps;
        let full = self.draws.penalty.gradient == PenaltyGradient::Full;
        let (t0, span) = (self.ensemble.problem.t0, self.ensemble.t1 - self.ensemble.problem.t0);
        match self.draws.penalty.at {
            PenaltyAt::Unbiased => {
                let t = stepper.probe_time(t0 + self.draws.position(n) * span, self.draws.penalty.noise);
                // A second state starts as the first one, as at the start of a solve.
                for state in probe.y.chunks_exact_mut(features) {
                    state.copy_from_slice(tile.save(self.first_slot + n));
                }
                let taken = match self.draws.penalty.length {
                    Some(share) => [share * span; LANES],
                    None => self.lanes(tile, |step, interval, l| {
                        (t == interval.t0[l] || within(t, interval.t0[l], interval.t1[l]))
                            .then(|| self.uncut(tile, step, interval, l))
                    }),
                };
                probe.interval = Interval::new([t; LANES], taken.map(|h| self.end_of_probe(t, h)));
                probe.starts = None;
            }
            PenaltyAt::Biased if steps.count(tile) == 0 => {
                // Every trajectory of the tile failed before its first step; the probe rests.
                probe.y.fill(R::ZERO);
                probe.interval = Interval::shared(t0, t0);
                probe.starts = None;
            }
            PenaltyAt::Biased => {
                let own = self.lockstep.is_none();
                let starts: Lanes<usize> = std::array::from_fn(|l| {
                    let count = if own { tile.clock.accepted[l] as usize } else { steps.count(tile) };
                    let position =
                        if own { self.draws.own_position(n, tile.index * LANES + l) } else { self.draws.position(n) };
                    start_of(position, count)
                });
                self.gather_states(&starts, tile, room, &mut probe.y);
                let mut ends = [[t0; LANES]; 2];
                for l in 0..LANES {
                    let start = starts[l].min(steps.count(tile).saturating_sub(1));
                    let interval = steps.interval::<R>(tile, start);
                    let (t, taken) = (interval.t0[l], interval.t1[l] - interval.t0[l]);
                    let length = match self.draws.penalty.length {
                        Some(share) => share * span,
                        None => self.uncut(tile, start, &interval, l),
                    };
                    let end = if length == taken { interval.t1[l] } else { self.end_of_probe(t, length) };
                    (ends[0][l], ends[1][l]) = (t, end);
                }
                probe.interval = Interval::new(ends[0], ends[1]);
                probe.starts = full.then_some(starts);
            }
        }
        tile.probes[n] = probe;
    }

    /// End of a penalised step of signed length `h` from `t`; on a path, where that knows it.
    fn end_of_probe(&self, t: f64, h: f64) -> f64 {
        let follows = self.draws.penalty.noise == PenaltyNoise::Path;
        let diffusion = self.backward.stepper.diffusion.as_ref().filter(|_| follows);
        diffusion.map_or(t + h, |diffusion| diffusion.brownian.end_of_step(t, h))
    }

    /// Signed length of an accepted step of a lane, were it not cut short by the end of the interval or by a stop: at least
    /// that of the step before. The error of a crumb is rounding.
    fn uncut(&self, tile: &Tile<R>, step: usize, interval: &Interval<R>, lane: usize) -> f64 {
        let (t0, taken) = (interval.t0[lane], interval.t1[lane] - interval.t0[lane]);
        let fixed = matches!(self.ensemble.options.step_control, StepControl::Fixed { .. });
        let stop = self.backward.stepper.next_stop(t0, self.ensemble.t1);
        if fixed || step == 0 || interval.t1[lane] != stop {
            return taken;
        }
        let before = self.backward.steps.interval::<R>(tile, step - 1);
        let before = before.t1[lane] - before.t0[lane];
        if before.abs() > taken.abs() { before } else { taken }
    }

    /// For each lane, what `pick` finds in the first of its steps where it finds anything.
    fn lanes(&self, tile: &Tile<R>, pick: impl Fn(usize, &Interval<R>, usize) -> Option<f64>) -> Lanes<f64> {
        let mut found = [None; LANES];
        for step in 0..self.backward.steps.count(tile) {
            let interval = self.backward.steps.interval(tile, step);
            for (l, found) in found.iter_mut().enumerate().filter(|(_, found)| found.is_none()) {
                *found = pick(step, &interval, l);
            }
        }
        found.map(|h| h.unwrap_or(0.0))
    }

    /// The states before the given accepted steps.
    fn gather_states(&self, starts: &Lanes<usize>, tile: &Tile<R>, room: &mut BackwardRoom<R>, out: &mut [R]) {
        for l in 0..LANES {
            if l == 0 || starts[l] != starts[l - 1] {
                self.backward.restore(tile, starts[l], room, true);
            }
            for (out, x) in out[l..].iter_mut().step_by(LANES).zip(room.y[l..].iter().step_by(LANES)) {
                *out = *x;
            }
        }
    }

    /// Gives the n-th probes the automatic initial step at their states.
    fn fresh_steps(&self, n: usize, crew: &mut Crew<R>, attendee: Option<&mut Attendee<'_>>) {
        let stepper = self.backward.stepper;
        let direction = (self.ensemble.t1 - self.ensemble.problem.t0).signum();
        let (tiles, room) = crew.tiles_mut();
        for tile in tiles.filter(|t| t.index < self.tiles) {
            let Tile { probes, k_first, k_last, g_first, g_last, y1, .. } = tile;
            let (probe, attempt) = (&mut probes[n], &mut room.attempt);
            let t = probe.interval.t0.map(R::from_f64);
            let point = stepper.point(&probe.y);
            stepper.eval(&t, point, k_first, attempt);
            if let (Some(diffusion), Some(noise)) = (&stepper.diffusion, &mut attempt.noise) {
                diffusion.eval(&t, point, g_first, &mut noise.stage);
            }
            if attendee.is_none() {
                let t0 = probe.interval.t0;
                let h = self.ensemble.automatic_steps(&t0, &probe.y, [k_first, g_first], y1, [k_last, g_last], attempt);
                probe.interval = Interval::new(t0, std::array::from_fn(|l| self.end_of_probe(t0[l], direction * h[l])));
            }
        }
        let (Some(attendee), Some(lockstep)) = (attendee, self.lockstep) else { return };
        let t = crew.tiles().find(|t| t.index < self.tiles).map_or(0.0, |t| t.probes[n].interval.t0[0]);
        let h = lockstep.automatic_step(t, crew, attendee, |tile| {
            (tile.index < self.tiles).then(|| (tile.probes[n].y.as_slice(), tile.k_first.as_slice()))
        });
        let (tiles, _) = crew.tiles_mut();
        for tile in tiles.filter(|t| t.index < self.tiles) {
            tile.probes[n].interval = Interval::shared(t, self.end_of_probe(t, direction * h));
        }
    }

    /// Takes the n-th probe's step and its norms; puts down the one that is asked for.
    fn measure(&self, n: usize, tile: &mut Tile<R>, attendee: Option<&Attendee<'_>>, which: usize) {
        if tile.used == 0 || tile.index >= self.tiles {
            if let Some(attendee) = attendee {
                attendee.put_nothing(tile.index);
            }
            return;
        }
        let stepper = self.backward.stepper;
        let probe = &mut tile.probes[n];
        if which == 0 {
            for l in (0..LANES).filter(|&l| !tile.alive[l]) {
                probe.interval.h[l] = R::ZERO;
            }
            crate::cpu::kernel::lanes::rest_unless(&mut probe.y, &tile.alive);
            self.draw(n, &tile.trajectories, probe);
            stepper.keep(&probe.interval, &probe.y, &mut probe.kept, true);
            stepper.end(&probe.interval, &probe.y, &probe.kept, &mut probe.y1);
            let last = probe.kept.k.len() - 1;
            if self.draws.penalty.measure == Measure::Stiffness {
                let KeptStep { stages, k, .. } = &probe.kept;
                let states = [stages[last].state(), stages[last - 1].state()];
                probe.norms = stage_differences([&k[last], &k[last - 1]], states);
            } else {
                let mut stages: crate::cpu::step::runge_kutta::Stages<'_, R> = [&[]; crate::method::MAX_STAGES];
                for (slot, k) in stages.iter_mut().zip(&probe.kept.k) {
                    *slot = k;
                }
                stepper.error(&mut probe.error, &probe.interval.h, stages);
                let Probe { norms, error, y, y1, kept, .. } = probe;
                if let (Some(diffusion), Some(noise)) = (&stepper.diffusion, &kept.noise) {
                    diffusion.kept_error(error, noise);
                }
                scaled_squares(&mut norms[0], &stepper.atol, stepper.rtol, error, y, y1);
            }
        }
        if let Some(attendee) = attendee {
            attendee.put(tile, &tile.probes[n].norms[which]);
        }
    }

    /// Gives the n-th probe its increments.
    fn draw(&self, n: usize, trajectories: &Lanes<u32>, probe: &mut Probe<R>) {
        let Some(diffusion) = &self.backward.stepper.diffusion else { return };
        match (self.draws.penalty.noise, &mut probe.kept.noise) {
            (PenaltyNoise::Fresh, Some(noise)) => {
                noise.increments.draw_apart(&diffusion.brownian, trajectories, &probe.interval, n);
            }
            _ => self.backward.stepper.follow(&probe.interval, trajectories, &mut probe.kept),
        }
    }

    /// `R`, and its derivatives with respect to the two norms it is made of, for a probe of signed length `h`.
    fn value_and_slopes(&self, [first, second]: [f64; 2], h: f64) -> (f64, [f64; 2]) {
        let tableau = self.backward.stepper.tableau;
        match self.draws.penalty.measure {
            Measure::Error => (first * h.abs(), [h.abs(), 0.0]),
            Measure::StepCount => {
                let power = 1.0 / tableau.error_power();
                let span = (self.ensemble.t1 - self.ensemble.problem.t0).abs();
                let count = if h == 0.0 { 0.0 } else { span * first.powf(power) / h.abs() };
                (count, [if first > 0.0 { power * count / first } else { 0.0 }, 0.0])
            }
            Measure::Stiffness => {
                let size = tableau.stability_size.unwrap_or(1.0);
                let below = second + STIFFNESS_EPSILON;
                let ratio = first / below / size;
                (ratio, [1.0 / below / size, -ratio / below])
            }
        }
    }

    /// Adds the gradient of one tile's probe; returns the sum of its trajectories' `R` over the number of rows, in an
    /// ensemble.
    fn differentiate(
        &self,
        n: usize,
        tile: &mut Tile<R>,
        shared: Option<[f64; 2]>,
        room: &mut BackwardRoom<R>,
        theta_bar: &mut [R],
    ) -> f64 {
        let stepper = self.backward.stepper;
        let StepPenalty { coefficient, gradient, measure, .. } = self.draws.penalty;
        let scale = coefficient / self.draws.uniform.len() as f64;
        let features = stepper.field.dim();
        let mut weights = [[R::ZERO; LANES]; 2];
        let mut value = 0.0;
        let probe = &mut tile.probes[n];
        for l in (0..LANES).filter(|&l| tile.alive[l]) {
            let h = probe.interval.t1[l] - probe.interval.t0[l];
            let (norms, count, share) = match shared {
                Some(norms) => (norms, features * self.rows, 1.0),
                None => {
                    let own = probe.norms.map(|norms| (norms[l].to_f64() / features as f64).sqrt());
                    (own, features, 1.0 / self.rows as f64)
                }
            };
            let (r, slopes) = self.value_and_slopes(norms, h);
            value += share * r;
            for (which, (slope, norm)) in slopes.into_iter().zip(norms).enumerate() {
                // dE/de is proportional to 1/E; where E is zero there is nothing left to reduce.
                if norm > 0.0 && probe.norms[which][l] > R::ZERO {
                    weights[which][l] = R::from_f64(scale * share * slope / (count as f64 * norm));
                }
            }
        }
        let Probe { kept, y, y1, error, bar, y1_bar, interval, .. } = probe;
        let last = kept.k.len() - 1;
        let seeds = if measure == Measure::Stiffness {
            weighted_difference(error, &weights[0], &kept.k[last], &kept.k[last - 1]);
            weighted_difference(y1, &weights[1], kept.stages[last].state(), kept.stages[last - 1].state());
            bar.fill(R::ZERO);
            y1_bar.fill(R::ZERO);
            Seeds {
                error: None,
                stages: None,
                stiffness: Some(StiffnessSeed { k_difference: error, state_difference: y1 }),
            }
        } else {
            let features = error.len();
            bar[features..].fill(R::ZERO);
            y1_bar[features..].fill(R::ZERO);
            scaled_norm_vjp(error, bar, y1_bar, &weights[0], &stepper.atol, stepper.rtol, y, y1);
            Seeds { error: Some(error), stages: None, stiffness: None }
        };
        let first = match gradient {
            PenaltyGradient::Published => FirstStage::Nothing,
            PenaltyGradient::Step => FirstStage::Parameters,
            PenaltyGradient::Full => FirstStage::Everything,
        };
        stepper.step_vjp(&interval.h, kept, &seeds, first, &mut room.vjp, theta_bar, y1_bar);
        if gradient == PenaltyGradient::Full {
            add(bar, y1_bar);
            crate::cpu::kernel::lanes::rest_unless(bar, &tile.alive);
            if self.draws.penalty.at == PenaltyAt::Unbiased {
                let mut bar = std::mem::take(&mut tile.probes[n].bar);
                let features = tile.features();
                crate::cpu::adjoint::walk::fold_second(&mut bar, features);
                tile.save_bar_mut(self.first_slot + n).copy_from_slice(&bar[..features]);
                tile.probes[n].bar = bar;
            }
        }
        value
    }
}

/// Per lane, the squared differences of the last two slopes and of the last two states; nothing where either is rounding,
/// for the other one's digits are no better then.
fn stage_differences<R: Scalar>(slopes: [&[R]; 2], states: [&[R]; 2]) -> [Lanes<R>; 2] {
    let least = R::from_f64((RESOLVED * R::EPSILON.to_f64()).powi(2));
    let mut sums = [[R::ZERO; LANES]; 2];
    let mut sizes = sums;
    for (n, [last, before]) in [slopes, states].into_iter().enumerate() {
        squared_difference(&mut sums[n], &mut sizes[n], last, before);
    }
    for l in 0..LANES {
        if (0..2).any(|n| sums[n][l] < least * sizes[n][l]) {
            sums.iter_mut().for_each(|sums| sums[l] = R::ZERO);
        }
    }
    sums
}

/// Index of the step at a position in `[0, 1)` among `count` steps.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small non-negative number")]
fn start_of(position: f64, count: usize) -> usize {
    ((position * count as f64) as usize).min(count.saturating_sub(1))
}
