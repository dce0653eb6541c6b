//! One step of one tile with noise, in the notation of [`NoiseTableau`].

use crate::cpu::field::mlp::{Field, Stage};
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::lanes::{Lanes, add, add_weighted, combine, multiply, select};
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::path::{Increments, add_noise, add_noise_vjp, add_terms};
use crate::cpu::step::runge_kutta::{
    AttemptRoom, FirstStage, Interval, KeptNoise, KeptStep, NoiseRoom, Seeds, Stepper, VjpRoom,
};
use crate::cpu::tile::Tile;
use crate::method::{NoiseScale, NoiseTableau, SolverOptions, Tableau};
use crate::problem::{Brownian, Paths, Problem};

/// The noise of a problem: network, method and path.
#[derive(Debug)]
pub(crate) struct Diffusion<R> {
    pub(crate) tableau: &'static NoiseTableau,
    pub(crate) network: Field<R>,
    /// Whether drift and diffusion of a stage are taken at one state.
    shares_states: bool,
    /// Where its parameters begin among the problem's.
    pub(crate) offset: usize,
    pub(crate) brownian: Brownian,
}

/// The most diffusion stages of any method.
const MAX_NOISE_STAGES: usize = 4;

/// The diffusion stages of an attempt, wherever they are stored.
pub(crate) type NoiseStages<'a, R> = [&'a [R]; MAX_NOISE_STAGES];

/// The path of a solve under options that were validated.
pub(crate) fn brownian_of(problem: &Problem, options: &SolverOptions, paths: Paths) -> Brownian {
    options.path(problem, paths).unwrap_or(Brownian::adaptive(paths, problem.t0, problem.t1))
}

impl<R: Scalar> Diffusion<R> {
    pub(crate) fn new(problem: &Problem, options: &SolverOptions) -> Option<Self> {
        let (diffusion, tableau) = (problem.diffusion.as_ref()?, options.method.tableau().noise?);
        Some(Self {
            tableau,
            shares_states: tableau.shares_states(options.method.tableau()),
            network: Field::new(&diffusion.network),
            offset: problem.field.parameter_count(),
            brownian: brownian_of(problem, options, Paths::default()),
        })
    }

    /// `g = g(t, y)`, with nothing kept.
    pub(crate) fn eval(&self, t: &Lanes<R>, y: &[R], g: &mut [R], stage: &mut Stage<R>) {
        stage.state_mut().copy_from_slice(y);
        self.network.eval(t, stage, g, false);
    }

    /// The diffusion stages of the tile's last attempt, made in `room`.
    pub(crate) fn stages<'a>(&self, tile: &'a Tile<R>, room: &'a NoiseRoom<R>, fsal: bool) -> NoiseStages<'a, R> {
        stages_of(&tile.g_first, &room.middle, fsal.then_some(&tile.g_last))
    }

    /// Adds the noise's part of the error estimate.
    pub(crate) fn add_error(&self, error: &mut [R], increments: &Increments<R>, g: &NoiseStages<'_, R>) {
        add_noise(error, increments, &self.tableau.error, &g[..self.tableau.stages()]);
    }

    /// See [`Stepper::attempt`]. A second state follows the first in `y` and `y1`.
    pub(crate) fn attempt(
        &self,
        stepper: &Stepper<R>,
        interval: &Interval<R>,
        tile: &mut Tile<R>,
        room: &mut AttemptRoom<R>,
    ) {
        let AttemptRoom { stage, middle, noise: Some(noise), .. } = room else { return };
        // Rooms are shared by tiles, which have paths of their own.
        std::mem::swap(&mut noise.increments.cuts, &mut tile.cuts);
        noise.increments.follow(&self.brownian, &tile.trajectories, interval);
        std::mem::swap(&mut noise.increments.cuts, &mut tile.cuts);
        if self.tableau.reversible {
            return self.attempt_reversible(stepper, interval, tile, stage, noise);
        }
        let Tile { y, y1, k_first, g_first, .. } = tile;
        let (f_count, g_count) = (middle.len(), noise.middle.len());
        for i in 1..stepper.tableau.stages().max(self.tableau.stages()) {
            let (f_done, f_now) = middle.split_at_mut((i - 1).min(f_count));
            let (g_done, g_now) = noise.middle.split_at_mut((i - 1).min(g_count));
            let f = || std::iter::once(&*k_first).chain(&*f_done).map(Vec::as_slice);
            let g = || std::iter::once(&*g_first).chain(&*g_done).map(Vec::as_slice);
            if let Some(k) = f_now.first_mut() {
                self.drift_state(stepper, i, stage.state_mut(), y, &interval.h, &noise.increments, f(), g());
                stepper.field.eval(&interval.stage_time(stepper.tableau.c[i]), stage, k, false);
            }
            if let Some(now) = g_now.first_mut() {
                if self.shares_states {
                    noise.stage.state_mut().copy_from_slice(stage.state());
                } else {
                    self.state(i, noise.stage.state_mut(), y, &interval.h, &noise.increments, f(), g());
                }
                self.network.eval(&interval.stage_time(self.tableau.c[i]), &mut noise.stage, now, false);
            }
        }
        let f = std::iter::once(&*k_first).chain(&*middle).map(Vec::as_slice);
        combine(y1, Some(y), &interval.h, stepper.tableau.b.iter().copied().zip(f));
        let g = stages_of(g_first, &noise.middle, None);
        add_noise(y1, &noise.increments, &self.tableau.weights, &g[..self.tableau.stages()]);
    }

    fn attempt_reversible(
        &self,
        stepper: &Stepper<R>,
        interval: &Interval<R>,
        tile: &mut Tile<R>,
        stage: &mut Stage<R>,
        noise: &mut NoiseRoom<R>,
    ) {
        let Tile { y, y1, k_first, k_last, g_first, g_last, .. } = tile;
        let (y, z) = y.split_at(y.len() / 2);
        let (y1, z1) = y1.split_at_mut(y.len());
        let t = interval.stage_time(1.0);
        advance_second(z1, y, z, &interval.h, k_first, &noise.increments, g_first);
        stage.state_mut().copy_from_slice(z1);
        stepper.field.eval(&t, stage, k_last, false);
        self.eval(&t, z1, g_last, &mut noise.stage);
        trapezoid(y1, y, &interval.h, [k_first, k_last], &noise.increments, [g_first, g_last]);
    }

    /// State of drift stage `i`: `H0_i = y + h sum a_ij f_j + s0 sum b0_ij g_j`.
    fn drift_state<'a>(
        &self,
        stepper: &Stepper<R>,
        i: usize,
        out: &mut [R],
        y: &[R],
        h: &Lanes<R>,
        increments: &Increments<R>,
        f: impl Iterator<Item = &'a [R]>,
        g: impl Iterator<Item = &'a [R]>,
    ) {
        combine(out, Some(y), h, stepper.tableau.a[i].iter().copied().zip(f));
        let NoiseTableau { drift_b, drift_scale, .. } = self.tableau;
        add_terms(out, *drift_scale, increments, drift_b[i].iter().copied().zip(g));
    }

    /// State of diffusion stage `i`: `H1_i = y + h sum a1_ij f_j + s1 sum b1_ij g_j`.
    fn state<'a>(
        &self,
        i: usize,
        out: &mut [R],
        y: &[R],
        h: &Lanes<R>,
        increments: &Increments<R>,
        f: impl Iterator<Item = &'a [R]>,
        g: impl Iterator<Item = &'a [R]>,
    ) {
        combine(out, Some(y), h, self.tableau.a[i].iter().copied().zip(f));
        add_terms(out, self.tableau.scale, increments, self.tableau.b[i].iter().copied().zip(g));
    }

    /// See [`Stepper::keep`].
    pub(crate) fn keep(&self, stepper: &Stepper<R>, interval: &Interval<R>, y: &[R], kept: &mut KeptStep<R>) {
        let KeptStep { stages, k, noise: Some(noise) } = kept else { return };
        let KeptNoise { stages: noise_stages, g, increments } = noise;
        let h = &interval.h;
        if self.tableau.reversible {
            return self.keep_reversible(stepper, interval, y, stages, k, noise);
        }
        let counts = (stepper.tableau.stages(), self.tableau.stages());
        for i in 0..counts.0.max(counts.1) {
            let (f_done, f_now) = k.split_at_mut(i.min(counts.0));
            let (g_done, g_now) = g.split_at_mut(i.min(counts.1));
            let f = || f_done.iter().map(Vec::as_slice);
            let g = || g_done.iter().map(Vec::as_slice);
            if let Some(now) = f_now.first_mut() {
                self.drift_state(stepper, i, stages[i].state_mut(), y, h, increments, f(), g());
                stepper.field.eval(&interval.stage_time(stepper.tableau.c[i]), &mut stages[i], now, true);
            }
            if let Some(now) = g_now.first_mut() {
                if self.shares_states {
                    noise_stages[i].state_mut().copy_from_slice(stages[i].state());
                } else {
                    self.state(i, noise_stages[i].state_mut(), y, h, increments, f(), g());
                }
                self.network.eval(&interval.stage_time(self.tableau.c[i]), &mut noise_stages[i], now, true);
            }
        }
    }

    fn keep_reversible(
        &self,
        stepper: &Stepper<R>,
        interval: &Interval<R>,
        y: &[R],
        stages: &mut [Stage<R>],
        k: &mut [Vec<R>],
        noise: &mut KeptNoise<R>,
    ) {
        let (y, z) = y.split_at(y.len() / 2);
        stages[0].state_mut().copy_from_slice(z);
        noise.stages[0].state_mut().copy_from_slice(z);
        self.eval_kept(stepper, 0, &interval.stage_time(0.0), stages, k, noise);
        advance_second(stages[1].state_mut(), y, z, &interval.h, &k[0], &noise.increments, &noise.g[0]);
        noise.stages[1].state_mut().copy_from_slice(stages[1].state());
        self.eval_kept(stepper, 1, &interval.stage_time(1.0), stages, k, noise);
    }

    /// Evaluates both networks at stage `i`, whose states are there.
    fn eval_kept(
        &self,
        stepper: &Stepper<R>,
        i: usize,
        t: &Lanes<R>,
        stages: &mut [Stage<R>],
        k: &mut [Vec<R>],
        noise: &mut KeptNoise<R>,
    ) {
        stepper.field.eval(t, &mut stages[i], &mut k[i], true);
        self.network.eval(t, &mut noise.stages[i], &mut noise.g[i], true);
    }

    /// See [`Stepper::end`].
    pub(crate) fn end(&self, stepper: &Stepper<R>, interval: &Interval<R>, y: &[R], kept: &KeptStep<R>, y1: &mut [R]) {
        let KeptStep { stages, k, noise: Some(noise) } = kept else { return };
        if self.tableau.reversible {
            let (y1, z1) = y1.split_at_mut(k[0].len());
            let y = &y[..y1.len()];
            z1.copy_from_slice(stages[1].state());
            return trapezoid(y1, y, &interval.h, [&k[0], &k[1]], &noise.increments, [&noise.g[0], &noise.g[1]]);
        }
        combine(y1, Some(y), &interval.h, stepper.tableau.b.iter().copied().zip(k.iter().map(Vec::as_slice)));
        let g = kept_stages(noise);
        add_noise(y1, &noise.increments, &self.tableau.weights, &g[..self.tableau.stages()]);
    }

    /// The error estimate of a kept step.
    pub(crate) fn kept_error(&self, error: &mut [R], noise: &KeptNoise<R>) {
        self.add_error(error, &noise.increments, &kept_stages(noise));
    }

    /// See [`Stepper::step_vjp`]. From the last stage to the first, with the cotangents `H0_bar`, `H1_bar` of the later
    /// stages' states,
    ///
    /// ```text
    /// f_bar_i = h (alpha_i y+_bar + b_error_i e_bar + sum_(k>i) (a_ki H0_bar_k + a1_ki H1_bar_k))
    /// g_bar_i = (beta_i . x) y+_bar + (error_i . x) e_bar + s0 sum_(k>i) b0_ki H0_bar_k + s1 sum_(k>i) b1_ki H1_bar_k
    /// ```
    ///
    /// with `x = (dW, chi1, chi2, chi3)`; `H0_bar_i = f_bar_i^T df/dy`, `H1_bar_i = g_bar_i^T dg/dy`, and at the end
    /// `y_bar = y+_bar + sum H0_bar_i + sum H1_bar_i`.
    pub(crate) fn step_vjp(
        &self,
        stepper: &Stepper<R>,
        h: &Lanes<R>,
        kept: &KeptStep<R>,
        seeds: &Seeds<'_, R>,
        first: FirstStage,
        room: &mut VjpRoom<R>,
        theta_bar: &mut [R],
        bar: &mut [R],
    ) {
        let KeptStep { stages, noise: Some(noise), .. } = kept else { return };
        if self.tableau.reversible {
            return self.reversible_vjp(stepper, h, kept, seeds, first, room, theta_bar, bar);
        }
        let counts = (stepper.tableau.stages(), self.tableau.stages());
        let least = usize::from(first == FirstStage::Nothing);
        let wants_state = |i: usize| i > 0 || first == FirstStage::Everything;
        for i in (least..counts.0.max(counts.1)).rev() {
            if i < counts.1 {
                self.noise_bar(i, counts.0, noise, seeds.error, room, bar);
                let VjpRoom { noise_bars, k_bar, noise_cotangents: Some(cotangents), .. } = room else { return };
                let target = wants_state(i).then_some(noise_bars[i].as_mut_slice());
                let theta_bar = Some(&mut theta_bar[self.offset..]);
                self.network.vjp(&noise.stages[i], cotangents, k_bar, theta_bar, target);
            }
            if i < counts.0 {
                self.drift_bar(stepper, i, h, seeds.error, room, bar);
                let VjpRoom { state_bars, k_bar, cotangents, .. } = room;
                let target = wants_state(i).then_some(state_bars[i].as_mut_slice());
                stepper.field.vjp(&stages[i], cotangents, k_bar, Some(theta_bar), target);
            }
        }
        let from = usize::from(first != FirstStage::Everything);
        for y_bar in room.state_bars[from..].iter().chain(&room.noise_bars[from..]) {
            add(bar, y_bar);
        }
    }

    /// The cotangent of drift stage `i`, in `room.k_bar`.
    fn drift_bar(
        &self,
        stepper: &Stepper<R>,
        i: usize,
        h: &Lanes<R>,
        error_bar: Option<&[R]>,
        room: &mut VjpRoom<R>,
        bar: &[R],
    ) {
        let Tableau { a, b, b_error, .. } = stepper.tableau;
        let VjpRoom { state_bars, noise_bars, k_bar, .. } = room;
        let error = error_bar.zip(*b_error).map(|(e_bar, weights)| (weights[i], e_bar));
        let drifts = state_bars.iter().enumerate().skip(i + 1).map(|(k, y_bar)| (a[k][i], y_bar.as_slice()));
        let noises = noise_bars.iter().enumerate().skip(i + 1);
        let noises = noises.map(|(k, y_bar)| (entry(self.tableau.a[k], i), y_bar.as_slice()));
        combine(k_bar, None, h, std::iter::once((b[i], bar)).chain(error).chain(drifts).chain(noises));
    }

    /// The cotangent of diffusion stage `i`, in `room.k_bar`.
    fn noise_bar(
        &self,
        i: usize,
        drift_stages: usize,
        noise: &KeptNoise<R>,
        error_bar: Option<&[R]>,
        room: &mut VjpRoom<R>,
        bar: &[R],
    ) {
        let VjpRoom { state_bars, noise_bars, k_bar, .. } = room;
        let NoiseTableau { drift_b, drift_scale, b, scale, weights, error, .. } = self.tableau;
        k_bar.fill(R::ZERO);
        add_noise_vjp(k_bar, &noise.increments, weights, i, bar);
        if let Some(e_bar) = error_bar {
            add_noise_vjp(k_bar, &noise.increments, error, i, e_bar);
        }
        let drifts = (i + 1..drift_stages).map(|k| (entry(drift_b[k], i), state_bars[k].as_slice()));
        add_terms(k_bar, *drift_scale, &noise.increments, drifts);
        let noises = (i + 1..b.len()).map(|k| (entry(b[k], i), noise_bars[k].as_slice()));
        add_terms(k_bar, *scale, &noise.increments, noises);
    }

    /// The vector-Jacobian product of a step of the reversible Heun method: `bar` holds the cotangents of `y+` and `z+`,
    /// then those of `y` and `z`.
    ///
    /// ```text
    /// f1_bar = h/2 y+_bar      g1_bar = dW/2 y+_bar     Z_bar = z+_bar + f1_bar^T df/dy + g1_bar^T dg/dy  at z+
    /// f0_bar = h/2 y+_bar + h Z_bar                     g0_bar = dW/2 y+_bar + dW Z_bar
    /// y_bar = y+_bar + 2 Z_bar      z_bar = -Z_bar + f0_bar^T df/dy + g0_bar^T dg/dy  at z
    /// ```
    fn reversible_vjp(
        &self,
        stepper: &Stepper<R>,
        h: &Lanes<R>,
        kept: &KeptStep<R>,
        seeds: &Seeds<'_, R>,
        first: FirstStage,
        room: &mut VjpRoom<R>,
        theta_bar: &mut [R],
        bar: &mut [R],
    ) {
        let KeptStep { stages, noise: Some(noise), .. } = kept else { return };
        let VjpRoom { state_bars, k_bar, cotangents, noise_bars, noise_cotangents: Some(noise_cotangents), .. } = room
        else {
            return;
        };
        let (y_bar, z_bar) = bar.split_at_mut(bar.len() / 2);
        let everything = first == FirstStage::Everything;
        for i in if first == FirstStage::Nothing { 1..2 } else { 0..2 }.rev() {
            let error = seeds.error.map(|e_bar| (if i == 0 { -0.5 } else { 0.5 }, e_bar));
            let second = (i == 0).then_some((1.0, &*z_bar));
            let terms = || std::iter::once((0.5, &*y_bar)).chain(error).chain(second);
            let wants_state = i == 1 || everything;
            combine(k_bar, None, h, terms());
            let target = wants_state.then_some(state_bars[i].as_mut_slice());
            stepper.field.vjp(&stages[i], cotangents, k_bar, Some(theta_bar), target);
            combine(k_bar, None, &[R::ONE; LANES], terms());
            multiply(k_bar, &noise.increments.w);
            let (target, theta_bar) =
                (wants_state.then_some(noise_bars[i].as_mut_slice()), &mut theta_bar[self.offset..]);
            self.network.vjp(&noise.stages[i], noise_cotangents, k_bar, Some(theta_bar), target);
            if i == 1 {
                add(z_bar, &state_bars[1]);
                add(z_bar, &noise_bars[1]);
            }
        }
        add_weighted(y_bar, &[R::from_f64(2.0); LANES], z_bar);
        z_bar.iter_mut().for_each(|z| *z = -*z);
        if everything {
            add(z_bar, &state_bars[0]);
            add(z_bar, &noise_bars[0]);
        }
    }

    /// Undoes a step of the reversible Heun method: replaces the state at its end by that at its start in the moving
    /// lanes, and keeps its stages as [`Stepper::keep`] would.
    ///
    /// `z = 2 y+ - z+ - f(z+) h - g(z+) dW` and `y = y+ - (f(z) + f(z+)) h/2 - (g(z) + g(z+)) dW/2`.
    pub(crate) fn undo(
        &self,
        stepper: &Stepper<R>,
        interval: &Interval<R>,
        moving: &[bool; LANES],
        state: &mut [R],
        kept: &mut KeptStep<R>,
    ) {
        let KeptStep { stages, k, noise: Some(noise) } = kept else { return };
        let (y, z) = state.split_at_mut(state.len() / 2);
        stages[1].state_mut().copy_from_slice(z);
        noise.stages[1].state_mut().copy_from_slice(z);
        self.eval_kept(stepper, 1, &interval.stage_time(1.0), stages, k, noise);
        let back = interval.h.map(|h| -h);
        let first = stages[0].state_mut();
        combine(first, None, &[R::ONE; LANES], [(2.0, &*y), (-1.0, &*z)]);
        add_weighted(first, &back, &k[1]);
        add_terms(first, NoiseScale::Increment, &noise.increments, [(-1.0, noise.g[1].as_slice())]);
        select(z, moving, first);
        stages[0].state_mut().copy_from_slice(z);
        noise.stages[0].state_mut().copy_from_slice(z);
        self.eval_kept(stepper, 0, &interval.stage_time(0.0), stages, k, noise);
        self.retreat(y, interval, k, noise);
    }

    /// `y -= (f0 + f1) h/2 + (g0 + g1) dW/2`.
    fn retreat(&self, y: &mut [R], interval: &Interval<R>, k: &[Vec<R>], noise: &KeptNoise<R>) {
        let half = interval.h.map(|h| -R::from_f64(0.5) * h);
        add_weighted(y, &half, &k[0]);
        add_weighted(y, &half, &k[1]);
        let g = [(-0.5, noise.g[0].as_slice()), (-0.5, noise.g[1].as_slice())];
        add_terms(y, NoiseScale::Increment, &noise.increments, g);
    }

    /// One step of Heun's method backwards along the path, of a Stratonovich problem together with its adjoint equation
    /// `da = -a^T df/dy dt - a^T dg/dy o dW`: replaces the state and its cotangent at the step's end by those at its
    /// start, and adds to the parameters' gradient.
    pub(crate) fn backsolve(
        &self,
        stepper: &Stepper<R>,
        interval: &Interval<R>,
        state: &mut [R],
        kept: &mut KeptStep<R>,
        room: &mut VjpRoom<R>,
        theta_bar: &mut [R],
        bar: &mut [R],
    ) {
        let h = &interval.h;
        // Half of a^T (h df/dy + dW dg/dy) at each end: first with `a` itself, then with its Euler predictor.
        room.predicted.copy_from_slice(bar);
        for i in [1, 0] {
            let KeptStep { stages, k, noise: Some(noise) } = &mut *kept else { return };
            if i == 0 {
                let back = h.map(|h| -h);
                combine(stages[0].state_mut(), Some(state), &back, [(1.0, k[1].as_slice())]);
                let g = [(-1.0, noise.g[1].as_slice())];
                add_terms(stages[0].state_mut(), NoiseScale::Increment, &noise.increments, g);
            } else {
                stages[1].state_mut().copy_from_slice(state);
            }
            noise.stages[i].state_mut().copy_from_slice(stages[i].state());
            self.eval_kept(stepper, i, &interval.stage_time(i as f64), stages, k, noise);
            let VjpRoom {
                state_bars,
                k_bar,
                cotangents,
                noise_bars,
                noise_cotangents: Some(noise_cotangents),
                predicted,
            } = room
            else {
                return;
            };
            combine(k_bar, None, h, [(0.5, predicted.as_slice())]);
            stepper.field.vjp(&stages[i], cotangents, k_bar, Some(theta_bar), Some(&mut state_bars[i]));
            combine(k_bar, None, &[R::from_f64(0.5); LANES], [(1.0, predicted.as_slice())]);
            multiply(k_bar, &noise.increments.w);
            let theta_bar = &mut theta_bar[self.offset..];
            self.network.vjp(&noise.stages[i], noise_cotangents, k_bar, Some(theta_bar), Some(&mut noise_bars[i]));
            let ends = [(2.0, state_bars[i].as_slice()), (2.0, noise_bars[i].as_slice())];
            combine(predicted, Some(bar), &[R::ONE; LANES], ends);
        }
        for y_bar in room.state_bars.iter().chain(&room.noise_bars) {
            add(bar, y_bar);
        }
        let KeptStep { k, noise: Some(noise), .. } = kept else { return };
        self.retreat(state, interval, k, noise);
    }
}

/// `z+ = 2 y - z + f h + g dW`.
fn advance_second<R: Scalar>(
    out: &mut [R],
    y: &[R],
    z: &[R],
    h: &Lanes<R>,
    f: &[R],
    increments: &Increments<R>,
    g: &[R],
) {
    combine(out, None, &[R::ONE; LANES], [(2.0, y), (-1.0, z)]);
    add_weighted(out, h, f);
    add_terms(out, NoiseScale::Increment, increments, [(1.0, g)]);
}

/// `y+ = y + (f0 + f1) h/2 + (g0 + g1) dW/2`.
fn trapezoid<R: Scalar>(out: &mut [R], y: &[R], h: &Lanes<R>, f: [&[R]; 2], increments: &Increments<R>, g: [&[R]; 2]) {
    combine(out, Some(y), h, f.map(|f| (0.5, f)));
    add_terms(out, NoiseScale::Increment, increments, g.map(|g| (0.5, g)));
}

/// The entry of a row that may be shorter: zero beyond its end.
fn entry(row: &[f64], i: usize) -> f64 {
    row.get(i).copied().unwrap_or(0.0)
}

fn stages_of<'a, R>(first: &'a [R], middle: &'a [Vec<R>], last: Option<&'a Vec<R>>) -> NoiseStages<'a, R> {
    let mut stages: NoiseStages<'a, R> = [&[]; MAX_NOISE_STAGES];
    let all = std::iter::once(first).chain(middle.iter().chain(last).map(Vec::as_slice));
    for (slot, g) in stages.iter_mut().zip(all) {
        *slot = g;
    }
    stages
}

fn kept_stages<R>(noise: &KeptNoise<R>) -> NoiseStages<'_, R> {
    let mut stages: NoiseStages<'_, R> = [&[]; MAX_NOISE_STAGES];
    for (slot, g) in stages.iter_mut().zip(&noise.g) {
        *slot = g;
    }
    stages
}
