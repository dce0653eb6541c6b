//! One step of one tile: a Runge-Kutta step, or, in [`stochastic`](crate::cpu::step::stochastic), one with noise.

use crate::cpu::field::mlp::{Cotangents, Field, Stage};
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::lanes::{Lanes, add, add_weighted, combine, combine_differences, scaled_squares};
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::path::{Increments, speed_change};
use crate::cpu::solve::lockstep::end_of_step;
use crate::cpu::step::stochastic::Diffusion;
use crate::cpu::tile::Tile;
use crate::method::{MAX_STAGES, PenaltyNoise, SolverOptions, StepControl, Tableau, Tolerances};
use crate::problem::Problem;

/// The steps that the lanes of a tile take: from `t0` to `t1`, of length `h` in the scalar of the solve.
///
/// Times are `f64` whatever the solve's scalar is, and both ends are stored, so that time never drifts and the last
/// step ends exactly where it was asked to. A lane at rest has `h = 0`.
#[derive(Clone, Debug)]
pub(crate) struct Interval<R> {
    pub(crate) t0: Lanes<f64>,
    pub(crate) t1: Lanes<f64>,
    pub(crate) h: Lanes<R>,
    /// Whether the times are known to be the same in all lanes.
    pub(crate) shared: bool,
}

impl<R: Scalar> Interval<R> {
    pub(crate) fn new(t0: Lanes<f64>, t1: Lanes<f64>) -> Self {
        Self { t0, t1, h: std::array::from_fn(|l| R::from_f64(t1[l] - t0[l])), shared: false }
    }

    pub(crate) fn shared(t0: f64, t1: f64) -> Self {
        Self { t0: [t0; LANES], t1: [t1; LANES], h: [R::from_f64(t1 - t0); LANES], shared: true }
    }

    /// Time of the stage with node `c`; exactly `t1` for `c = 1`, so that FSAL stages agree to the bit.
    pub(crate) fn stage_time(&self, c: f64) -> Lanes<R> {
        let at = |l: usize| {
            let (t0, t1) = (self.t0[l], self.t1[l]);
            R::from_f64(if c == 1.0 { t1 } else { t0 + c * (t1 - t0) })
        };
        if self.shared { [at(0); LANES] } else { std::array::from_fn(at) }
    }
}

/// The stages of an attempt, wherever they are stored.
pub(crate) type Stages<'a, R> = [&'a [R]; MAX_STAGES];

/// The method, the field and the tolerances: all that a step depends on besides its state.
#[derive(Debug)]
pub(crate) struct Stepper<R> {
    pub(crate) tableau: &'static Tableau,
    pub(crate) fsal: bool,
    pub(crate) field: Field<R>,
    /// One a feature.
    pub(crate) atol: Vec<R>,
    pub(crate) rtol: R,
    pub(crate) diffusion: Option<Diffusion<R>>,
    /// Times at which steps end, in the direction of integration, and the longest step.
    stops: Vec<f64>,
    largest_step: f64,
}

/// Room for an attempt that leaves nothing behind but its end.
#[derive(Debug)]
pub(crate) struct AttemptRoom<R> {
    pub(crate) stage: Stage<R>,
    /// Stages after the first; the last one too unless the tile keeps it for the next step.
    pub(crate) middle: Vec<Vec<R>>,
    pub(crate) error: Vec<R>,
    pub(crate) noise: Option<NoiseRoom<R>>,
}

/// An attempt's room for its diffusion.
#[derive(Debug)]
pub(crate) struct NoiseRoom<R> {
    pub(crate) stage: Stage<R>,
    /// As [`AttemptRoom::middle`].
    pub(crate) middle: Vec<Vec<R>>,
    pub(crate) increments: Increments<R>,
    /// Room for one diffusion.
    pub(crate) g: Vec<R>,
}

/// A step with all that its vector-Jacobian product needs.
#[derive(Debug)]
pub(crate) struct KeptStep<R> {
    pub(crate) stages: Vec<Stage<R>>,
    pub(crate) k: Vec<Vec<R>>,
    pub(crate) noise: Option<KeptNoise<R>>,
}

/// The diffusion's part of a kept step.
#[derive(Debug)]
pub(crate) struct KeptNoise<R> {
    pub(crate) stages: Vec<Stage<R>>,
    pub(crate) g: Vec<Vec<R>>,
    pub(crate) increments: Increments<R>,
}

/// Room for a step's cotangents.
#[derive(Debug)]
pub(crate) struct VjpRoom<R> {
    pub(crate) state_bars: Vec<Vec<R>>,
    pub(crate) k_bar: Vec<R>,
    pub(crate) cotangents: Cotangents<R>,
    /// The diffusion's.
    pub(crate) noise_bars: Vec<Vec<R>>,
    pub(crate) noise_cotangents: Option<Cotangents<R>>,
    /// The backsolve adjoint's cotangent after an Euler step.
    pub(crate) predicted: Vec<R>,
}

/// Cotangents of the last two stages and their states, which the stiffness measure has.
#[derive(Debug)]
pub(crate) struct StiffnessSeed<'a, R> {
    /// Cotangent of `k_s`, and minus that of `k_(s-1)`.
    pub(crate) k_difference: &'a [R],
    /// Cotangent of `g_s`, and minus that of `g_(s-1)`.
    pub(crate) state_difference: &'a [R],
}

/// Everything that a loss may depend on in a step, besides the state at its end.
#[derive(Debug)]
pub(crate) struct Seeds<'a, R> {
    pub(crate) error: Option<&'a [R]>,
    /// Cotangents of the stages themselves, which states interpolated within the step have.
    pub(crate) stages: Option<&'a [Vec<R>]>,
    pub(crate) stiffness: Option<StiffnessSeed<'a, R>>,
}

/// What the first stage passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FirstStage {
    /// Parameter and state cotangents.
    Everything,
    /// Parameter cotangents: the state is a constant.
    Parameters,
    /// Nothing: `k1` is a constant.
    Nothing,
}

impl<R: Scalar> Stepper<R> {
    pub(crate) fn new(problem: &Problem, options: &SolverOptions) -> Self {
        let tableau = options.method.tableau();
        let tolerances = match options.step_control {
            StepControl::Adaptive { tolerances, .. } => tolerances,
            StepControl::Fixed { .. } => Tolerances::default(),
        };
        let atol = options.atol_per_feature.clone().unwrap_or_else(|| vec![tolerances.atol; problem.dim()]);
        Self {
            tableau,
            fsal: tableau.fsal() || tableau.noise.is_some_and(|noise| noise.reversible),
            field: Field::new(&problem.field),
            atol: atol.into_iter().map(R::from_f64).collect(),
            rtol: R::from_f64(tolerances.rtol),
            diffusion: Diffusion::new(problem, options),
            stops: options.stops(problem),
            largest_step: options.largest_step.unwrap_or(f64::INFINITY),
        }
    }

    /// Takes the weights from the parameters of the field and, after them, of the diffusion.
    pub(crate) fn pack(&mut self, theta: &[R], backward: bool) {
        self.field.pack(theta, backward);
        if let Some(diffusion) = &mut self.diffusion {
            diffusion.network.pack(&theta[diffusion.offset..], backward);
        }
    }

    /// Numbers of one feature row each in a state: two a feature where the method carries a second state.
    pub(crate) fn rows(&self) -> usize {
        self.field.dim() * if self.reversible() { 2 } else { 1 }
    }

    pub(crate) fn reversible(&self) -> bool {
        self.diffusion.as_ref().is_some_and(|diffusion| diffusion.tableau.reversible)
    }

    /// The part of a state at which the networks are evaluated: all of it, or the second state.
    pub(crate) fn point<'a>(&self, y: &'a [R]) -> &'a [R] {
        &y[y.len() - self.field.dim() * LANES..]
    }

    /// Diffusion stages.
    pub(crate) fn noise_stages(&self) -> usize {
        self.diffusion.as_ref().map_or(0, |diffusion| diffusion.tableau.stages())
    }

    /// Multiply-adds of the networks at one point, as [`Field::work`] counts them.
    pub(crate) fn work(&self) -> usize {
        self.field.work() + self.diffusion.as_ref().map_or(0, |diffusion| diffusion.network.work())
    }

    pub(crate) fn packed_bytes(&self) -> usize {
        self.field.packed_bytes() + self.diffusion.as_ref().map_or(0, |diffusion| diffusion.network.packed_bytes())
    }

    /// The next time after `t` at which a step has to end: a stop, or the end of the interval.
    #[inline]
    pub(crate) fn next_stop(&self, t: f64, t1: f64) -> f64 {
        if self.stops.is_empty() { t1 } else { self.stop_after(t, t1) }
    }

    fn stop_after(&self, t: f64, t1: f64) -> f64 {
        let passed = self.stops.partition_point(|&stop| if t < t1 { stop <= t } else { stop >= t });
        self.stops.get(passed).copied().unwrap_or(t1)
    }

    /// End of a step of signed length `h` from `t`, at most at the next stop; with noise, on one of its ticks.
    #[inline]
    pub(crate) fn end_of_step(&self, t: f64, h: f64, t1: f64) -> f64 {
        let stop = self.next_stop(t, t1);
        let h = if h.abs() > self.largest_step { self.largest_step.copysign(h) } else { h };
        // Noise knows one direction of time.
        self.diffusion.as_ref().map_or_else(|| end_of_step(t, h, stop), |d| d.brownian.end_of_step(t, h).min(stop))
    }

    /// Length of a step from `t` that is just not too small.
    pub(crate) fn smallest_step(&self, t: f64, span: f64) -> f64 {
        match &self.diffusion {
            None => 32.0 * f64::EPSILON * t.abs() + 2.0 * f64::EPSILON * span.abs(),
            Some(diffusion) => 1.5 * span.abs() / diffusion.brownian.ticks() as f64,
        }
    }

    /// The power of the step size that the automatic initial step assumes of the error.
    pub(crate) fn initial_power(&self) -> f64 {
        let noise = self.diffusion.as_ref().map(|diffusion| diffusion.tableau.strong_order + 0.5);
        noise.unwrap_or_else(|| self.tableau.error_power())
    }

    pub(crate) fn tile(&self) -> Vec<R> {
        vec![R::ZERO; self.field.dim() * LANES]
    }

    pub(crate) fn attempt_room(&self) -> AttemptRoom<R> {
        let middle = |stages: usize, first: usize| {
            (first + usize::from(self.fsal)..stages).map(|_| self.tile()).collect::<Vec<_>>()
        };
        AttemptRoom {
            stage: self.field.stage(),
            middle: middle(self.tableau.stages(), 1),
            error: self.tile(),
            noise: self.diffusion.as_ref().map(|diffusion| NoiseRoom {
                stage: diffusion.network.stage(),
                middle: middle(diffusion.tableau.stages(), 1),
                increments: Increments::new(self.field.dim()),
                g: self.tile(),
            }),
        }
    }

    pub(crate) fn kept_step(&self) -> KeptStep<R> {
        let stages = self.tableau.stages();
        KeptStep {
            stages: (0..stages).map(|_| self.field.stage()).collect(),
            k: (0..stages).map(|_| self.tile()).collect(),
            noise: self.diffusion.as_ref().map(|diffusion| KeptNoise {
                stages: (0..diffusion.tableau.stages()).map(|_| diffusion.network.stage()).collect(),
                g: (0..diffusion.tableau.stages()).map(|_| self.tile()).collect(),
                increments: Increments::new(self.field.dim()),
            }),
        }
    }

    pub(crate) fn vjp_room(&self) -> VjpRoom<R> {
        VjpRoom {
            state_bars: (0..self.tableau.stages()).map(|_| self.tile()).collect(),
            k_bar: self.tile(),
            cotangents: self.field.cotangents(),
            noise_bars: (0..self.noise_stages()).map(|_| self.tile()).collect(),
            noise_cotangents: self.diffusion.as_ref().map(|diffusion| diffusion.network.cotangents()),
            predicted: if self.diffusion.is_some() { self.tile() } else { Vec::new() },
        }
    }

    /// `dydt = f(t, y)`, with nothing kept.
    pub(crate) fn eval(&self, t: &Lanes<R>, y: &[R], dydt: &mut [R], room: &mut AttemptRoom<R>) {
        room.stage.state_mut().copy_from_slice(y);
        self.field.eval(t, &mut room.stage, dydt, false);
    }

    /// Replaces `k1 = f(t, y)` by how much it differs from `k`; with noise, by how much the two may differ within three
    /// standard deviations, where `g` is the diffusion at `k`'s point and `g1` room for that at `y`.
    pub(crate) fn change(
        &self,
        t: &Lanes<R>,
        y: &[R],
        k: &[R],
        g: &[R],
        k1: &mut [R],
        g1: &mut [R],
        room: &mut AttemptRoom<R>,
    ) {
        if let (Some(diffusion), Some(noise)) = (&self.diffusion, &mut room.noise) {
            diffusion.eval(t, y, g1, &mut noise.stage);
            return speed_change(k1, k, g, g1);
        }
        for (k1, &k) in k1.iter_mut().zip(k) {
            *k1 -= k;
        }
    }

    /// The first stage of a step from the tile's state.
    pub(crate) fn first_stage(&self, t: &Lanes<R>, tile: &mut Tile<R>, room: &mut AttemptRoom<R>) {
        let Tile { y, k_first, g_first, .. } = tile;
        self.eval(t, self.point(y), k_first, room);
        if let (Some(diffusion), Some(noise)) = (&self.diffusion, &mut room.noise) {
            diffusion.eval(t, self.point(y), g_first, &mut noise.stage);
        }
    }

    /// Attempts the step from the tile's state with its first stage: writes the end to `y1` and, for an FSAL method, the
    /// last stage to `k_last`.
    pub(crate) fn attempt(&self, interval: &Interval<R>, tile: &mut Tile<R>, room: &mut AttemptRoom<R>) {
        if let Some(diffusion) = &self.diffusion {
            return diffusion.attempt(self, interval, tile, room);
        }
        let Tile { y, y1, k_first, k_last, .. } = tile;
        let Tableau { a, b, c, .. } = self.tableau;
        for i in 1..=room.middle.len() {
            let (done, now) = room.middle.split_at_mut(i - 1);
            let ks = std::iter::once(&*k_first).chain(&*done).map(Vec::as_slice);
            combine(room.stage.state_mut(), Some(y), &interval.h, a[i].iter().copied().zip(ks));
            self.field.eval(&interval.stage_time(c[i]), &mut room.stage, &mut now[0], false);
        }
        let ks = std::iter::once(&*k_first).chain(&room.middle).map(Vec::as_slice);
        combine(y1, Some(y), &interval.h, b.iter().copied().zip(ks));
        if self.fsal {
            self.eval(&interval.stage_time(1.0), y1, k_last, room);
        }
    }

    /// The stages of the last attempt made in `room`.
    pub(crate) fn stages<'a>(&self, k_first: &'a [R], k_last: &'a [R], room: &'a AttemptRoom<R>) -> Stages<'a, R> {
        let mut stages: Stages<'a, R> = [&[]; MAX_STAGES];
        stages[0] = k_first;
        for (stage, k) in stages[1..].iter_mut().zip(&room.middle) {
            *stage = k;
        }
        if self.fsal {
            stages[self.tableau.stages() - 1] = k_last;
        }
        stages
    }

    /// Per lane, the sum over features of the squared scaled error of the tile's last attempt, made in `room`.
    pub(crate) fn error_squares(&self, h: &Lanes<R>, tile: &Tile<R>, room: &mut AttemptRoom<R>) -> Lanes<R> {
        let mut error = std::mem::take(&mut room.error);
        self.error(&mut error, h, self.stages(&tile.k_first, &tile.k_last, room));
        if let (Some(diffusion), Some(noise)) = (&self.diffusion, &room.noise) {
            diffusion.add_error(&mut error, &noise.increments, &diffusion.stages(tile, noise, self.fsal));
        }
        let mut sums = [R::ZERO; LANES];
        scaled_squares(&mut sums, &self.atol, self.rtol, &error, &tile.y, &tile.y1);
        room.error = error;
        sums
    }

    /// The error estimate `h sum b_error k`; zero for a method that has none.
    pub(crate) fn error(&self, error: &mut [R], h: &Lanes<R>, stages: Stages<'_, R>) {
        let weights = self.tableau.b_error.unwrap_or(&[]);
        let terms = weights.iter().copied().zip(stages);
        if self.tableau.estimates_by_differences() {
            combine_differences(error, stages[0], h, terms.skip(1));
        } else {
            combine(error, None, h, terms);
        }
    }

    /// The state within the tile's last attempt, made in `room`: `out = y + h sum b_i(theta) k_i`, or with noise the
    /// point of the chord from `y` to `y1`; the same θ in every lane.
    pub(crate) fn interpolate(
        &self,
        out: &mut [R],
        theta: f64,
        h: &Lanes<R>,
        (y, y1): (&[R], &[R]),
        stages: Stages<'_, R>,
    ) {
        if self.diffusion.is_some() {
            let ends = [(1.0 - theta, &y[..out.len()]), (theta, &y1[..out.len()])];
            return combine(out, None, &[R::ONE; LANES], ends);
        }
        let weights = self.tableau.interpolant_weights(theta);
        combine(out, Some(y), h, weights.into_iter().take(self.tableau.stages()).zip(stages));
    }

    /// Takes the step from `y` anew and keeps its stages; the last stage of an FSAL method only `with_last`, though
    /// its state, the step's end, is always left there.
    ///
    /// With noise, the increments are those that `kept` holds; see [`Stepper::follow`].
    pub(crate) fn keep(&self, interval: &Interval<R>, y: &[R], kept: &mut KeptStep<R>, with_last: bool) {
        if let Some(diffusion) = &self.diffusion {
            return diffusion.keep(self, interval, y, kept);
        }
        let Tableau { a, c, .. } = self.tableau;
        let stages = self.tableau.stages();
        for i in 0..stages {
            let (done, now) = kept.k.split_at_mut(i);
            let terms = a[i].iter().copied().zip(done.iter().map(Vec::as_slice));
            combine(kept.stages[i].state_mut(), Some(y), &interval.h, terms);
            if i + 1 < stages || !self.fsal || with_last {
                self.field.eval(&interval.stage_time(c[i]), &mut kept.stages[i], &mut now[0], true);
            }
        }
    }

    /// Time of a penalised step that was to start at `t`: where it follows the path, one that the path is known at without
    /// going far down its tree.
    pub(crate) fn probe_time(&self, t: f64, noise: PenaltyNoise) -> f64 {
        let follows = self.diffusion.as_ref().filter(|_| noise == PenaltyNoise::Path);
        follows.map_or(t, |diffusion| diffusion.brownian.coarse_time(t))
    }

    /// Gives a step that is to be kept the path's increments.
    pub(crate) fn follow(&self, interval: &Interval<R>, trajectories: &Lanes<u32>, kept: &mut KeptStep<R>) {
        if let (Some(diffusion), Some(noise)) = (&self.diffusion, &mut kept.noise) {
            noise.increments.follow(&diffusion.brownian, trajectories, interval);
        }
    }

    /// The end of a kept step.
    pub(crate) fn end(&self, interval: &Interval<R>, y: &[R], kept: &KeptStep<R>, y1: &mut [R]) {
        if let Some(diffusion) = &self.diffusion {
            diffusion.end(self, interval, y, kept, y1);
        } else if self.fsal {
            y1.copy_from_slice(kept.stages[self.tableau.stages() - 1].state());
        } else {
            let ks = kept.k.iter().map(Vec::as_slice);
            combine(y1, Some(y), &interval.h, self.tableau.b.iter().copied().zip(ks));
        }
    }

    /// The vector-Jacobian product of one kept step, its size constant: adds to `theta_bar` and replaces the cotangent
    /// of the step's end in `bar` by that of its start.
    ///
    /// With `Y_i = y + h sum_j a_ij k_j` and `k_i = f(Y_i)`, from the last stage to the first:
    /// `k_i_bar = h (b_i y1_bar + b_error_i e_bar + sum_(j>i) a_ji Y_j_bar) + seeds`, `Y_i_bar = k_i_bar^T df/dy`,
    /// and at the end `y_bar = y1_bar + sum Y_i_bar`. Where the last stage's state is the step's end itself
    /// (FSAL), its cotangent joins `y1_bar` first.
    pub(crate) fn step_vjp(
        &self,
        h: &Lanes<R>,
        kept: &KeptStep<R>,
        seeds: &Seeds<'_, R>,
        first: FirstStage,
        room: &mut VjpRoom<R>,
        theta_bar: &mut [R],
        bar: &mut [R],
    ) {
        if let Some(diffusion) = &self.diffusion {
            return diffusion.step_vjp(self, h, kept, seeds, first, room, theta_bar, bar);
        }
        let Tableau { a, b, b_error, .. } = self.tableau;
        let stages = self.tableau.stages();
        let last_needed = seeds.error.is_some() || seeds.stiffness.is_some() || seeds.stages.is_some();
        let mut begun = stages;
        for i in (0..stages).rev() {
            let is_end = self.fsal && i + 1 == stages;
            if (is_end && !last_needed) || (i == 0 && first == FirstStage::Nothing) {
                continue;
            }
            let VjpRoom { state_bars, k_bar, cotangents, .. } = room;
            let (now, later) = state_bars.split_at_mut(i + 1);
            // Later stages whose cotangents exist; the FSAL stage's has joined `bar`.
            let count = if self.fsal { stages - 1 } else { stages };
            let later_terms = (i + 1..count).zip(later.iter()).map(|(j, y_bar)| (a[j][i], y_bar.as_slice()));
            let end = std::iter::once((b[i], &*bar));
            let error = seeds.error.zip(*b_error).map(|(e_bar, weights)| (weights[i], e_bar));
            combine(k_bar, None, h, end.chain(error).chain(later_terms));
            if let Some(stage_bars) = seeds.stages {
                add(k_bar, &stage_bars[i]);
            }
            let sign = if i + 1 == stages { R::ONE } else { -R::ONE };
            let stiffness = seeds.stiffness.as_ref().filter(|_| i + 2 >= stages);
            if let Some(seed) = stiffness {
                add_weighted(k_bar, &[sign; LANES], seed.k_difference);
            }
            let wants_state = i > 0 || first == FirstStage::Everything;
            let y_bar = &mut now[i];
            let target = wants_state.then_some(&mut y_bar[..]);
            self.field.vjp(&kept.stages[i], cotangents, k_bar, Some(theta_bar), target);
            if let Some(seed) = stiffness {
                add_weighted(y_bar, &[sign; LANES], seed.state_difference);
            }
            if is_end {
                add(bar, y_bar);
            }
            begun = i;
        }
        let count = if self.fsal { stages - 1 } else { stages };
        let first_with_state = if first == FirstStage::Everything { begun } else { 1 };
        for y_bar in &room.state_bars[first_with_state.min(count)..count] {
            add(bar, y_bar);
        }
    }

    /// Bytes of a kept step.
    pub(crate) fn kept_bytes(&self) -> usize {
        let tile = self.field.dim() * LANES * size_of::<R>();
        let noise = self.diffusion.as_ref().map_or(0, |diffusion| {
            diffusion.tableau.stages() * (diffusion.network.stage_bytes() + tile)
                + Increments::<R>::bytes(self.field.dim())
        });
        self.tableau.stages() * (self.field.stage_bytes() + tile) + noise
    }

    /// Bytes of an attempt's room, of a kept step and of a step's cotangents.
    pub(crate) fn room_bytes(&self) -> usize {
        let tile = self.field.dim() * LANES * size_of::<R>();
        let stages = self.tableau.stages();
        let stage = self.field.stage_bytes();
        let noise = self.diffusion.as_ref().map_or(0, |diffusion| {
            let increments = Increments::<R>::bytes(self.field.dim());
            diffusion.network.stage_bytes() + 2 * diffusion.tableau.stages() * tile + increments
        });
        (stage + stages * tile) + self.kept_bytes() + (stages + 3) * tile + noise
    }
}
