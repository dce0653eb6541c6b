//! Stochastic Runge-Kutta steps, in the notation of [`NoiseTableau`].

use super::sde::{Sde, SdeAttempt, SdeKept, SdeVjp};
use super::seeds::{Bars, FirstStage, Seeds};
use super::stages::{KeptStages, Stages, first_and};
use super::state::{Shape, StepState};
use super::{NoiseOf, Point, Scheme};
use crate::cpu::field::knots::Knots;
use crate::cpu::kernel::aligned::Aligned;
use crate::cpu::kernel::interval::Interval;
use crate::cpu::kernel::lanes::{Lanes, add, combine};
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::path::{Increments, add_noise, add_noise_vjp, add_terms};
use crate::method::{NoiseTableau, Tableau};

/// A stochastic Runge-Kutta method and its problem.
#[derive(Debug)]
pub(crate) struct Stochastic<R> {
    pub(crate) sde: Sde<R>,
    /// Whether drift and diffusion of a stage are taken at one state.
    shares_states: bool,
}

/// Room for cotangents.
#[derive(Debug)]
pub(crate) struct VjpRoom<R> {
    pub(crate) stages: SdeVjp<R>,
    /// The backsolve adjoint's cotangent after an Euler step.
    pub(crate) predicted: Vec<R>,
}

/// What the states of a step's stages begin with.
struct Base<'a, R> {
    y: &'a [R],
    h: &'a Lanes<R>,
    increments: &'a Increments<R>,
}

impl<R: Scalar> Stochastic<R> {
    pub(crate) fn new(sde: Sde<R>) -> Self {
        debug_assert!(!sde.tableau.fsal(), "no stage of a path's step belongs to the next one");
        Self { shares_states: sde.noise.shares_states(sde.tableau), sde }
    }

    /// State of drift stage `i`: `H0_i = y + h sum a_ij f_j + s0 sum b0_ij g_j`.
    fn drift_state<'a>(
        &self,
        i: usize,
        out: &mut [R],
        Base { y, h, increments }: &Base<'_, R>,
        f: impl Iterator<Item = &'a [R]>,
        g: impl Iterator<Item = &'a [R]>,
    ) {
        combine(out, Some(y), h, self.sde.tableau.a[i].iter().copied().zip(f));
        let NoiseTableau { drift_b, drift_scale, .. } = self.sde.noise;
        add_terms(out, *drift_scale, increments, drift_b[i].iter().copied().zip(g));
    }

    /// State of diffusion stage `i`: `H1_i = y + h sum a1_ij f_j + s1 sum b1_ij g_j`.
    fn diffusion_state<'a>(
        &self,
        i: usize,
        out: &mut [R],
        Base { y, h, increments }: &Base<'_, R>,
        f: impl Iterator<Item = &'a [R]>,
        g: impl Iterator<Item = &'a [R]>,
    ) {
        let NoiseTableau { a, b, scale, .. } = self.sde.noise;
        combine(out, Some(y), h, a[i].iter().copied().zip(f));
        add_terms(out, *scale, increments, b[i].iter().copied().zip(g));
    }

    /// `y+ = y + h sum alpha_i f_i + sum (beta_i . x) g_i`.
    fn end_of<'a>(&self, y1: &mut [R], Base { y, h, increments }: &Base<'_, R>, [f, g]: [Stages<'a, R>; 2]) {
        combine(y1, Some(y), h, self.sde.tableau.b.iter().copied().zip(f));
        add_noise(y1, increments, &self.sde.noise.weights, &g[..self.sde.noise.stages()]);
    }

    /// The diffusion stages of the last attempt made in `room`.
    fn diffusion_stages<'a>(&self, state: &'a StepState<R>, room: &'a SdeAttempt<R>) -> Stages<'a, R> {
        let (_, g) = state.first.split_at(state.first.len() / 2);
        first_and(g, &room.middle[1])
    }

    /// The cotangent of drift stage `i`, in `room.k_bar`.
    fn drift_bar(&self, i: usize, h: &Lanes<R>, error_bar: Option<&[R]>, room: &mut SdeVjp<R>, bar: &[R]) {
        let Tableau { a, b, b_error, .. } = self.sde.tableau;
        let SdeVjp { drift, diffusion, k_bar } = room;
        let error = error_bar.zip(*b_error).map(|(e_bar, weights)| (weights[i], e_bar));
        let drifts = drift.states.iter().enumerate().skip(i + 1).map(|(k, y_bar)| (a[k][i], y_bar.as_slice()));
        let noises = diffusion.states.iter().enumerate().skip(i + 1);
        let noises = noises.map(|(k, y_bar)| (entry(self.sde.noise.a[k], i), y_bar.as_slice()));
        combine(k_bar, None, h, std::iter::once((b[i], bar)).chain(error).chain(drifts).chain(noises));
    }

    /// The cotangent of diffusion stage `i`, in `room.k_bar`.
    fn diffusion_bar(
        &self,
        i: usize,
        increments: &Increments<R>,
        error_bar: Option<&[R]>,
        room: &mut SdeVjp<R>,
        bar: &[R],
    ) {
        let SdeVjp { drift, diffusion, k_bar } = room;
        let NoiseTableau { drift_b, drift_scale, b, scale, weights, error, .. } = self.sde.noise;
        k_bar.fill(R::ZERO);
        add_noise_vjp(k_bar, increments, weights, i, bar);
        if let Some(e_bar) = error_bar {
            add_noise_vjp(k_bar, increments, error, i, e_bar);
        }
        let drifts = drift.states.iter().enumerate().skip(i + 1);
        let drifts = drifts.map(|(k, y_bar)| (entry(drift_b[k], i), y_bar.as_slice()));
        add_terms(k_bar, *drift_scale, increments, drifts);
        let noises = diffusion.states.iter().enumerate().skip(i + 1);
        let noises = noises.map(|(k, y_bar)| (entry(b[k], i), y_bar.as_slice()));
        add_terms(k_bar, *scale, increments, noises);
    }
}

impl<R: Scalar> Scheme for Stochastic<R> {
    type Real = R;
    type Networks = Sde<R>;
    type Attempt = SdeAttempt<R>;
    type Kept = SdeKept<R>;
    type Vjp = VjpRoom<R>;

    fn networks(&self) -> &Sde<R> {
        &self.sde
    }

    fn networks_mut(&mut self) -> &mut Sde<R> {
        &mut self.sde
    }

    fn tableau(&self) -> &'static Tableau {
        self.sde.tableau
    }

    fn shape(&self) -> Shape {
        let features = self.sde.drift.dim();
        Shape { features, rows: features, stages: self.sde.stages(), fsal: false }
    }

    fn attempt_room(&self) -> SdeAttempt<R> {
        self.sde.attempt_room(self.sde.stages().map(|stages| stages - 1))
    }

    fn kept_step(&self) -> SdeKept<R> {
        self.sde.kept_step()
    }

    fn vjp_room(&self) -> VjpRoom<R> {
        VjpRoom { stages: self.sde.vjp_room(), predicted: self.shape().array() }
    }

    fn slopes(&self, at: &Point<'_, R>, out: &mut [R], room: &mut SdeAttempt<R>) {
        self.sde.slopes_at(at, out, &mut room.points);
    }

    fn attempt(&self, interval: &Interval<R>, state: &mut StepState<R>, room: &mut SdeAttempt<R>) {
        self.sde.follow_path(interval, state, room);
        let StepState { y, y1, first, .. } = &mut *state;
        let (f_first, g_first) = first.split_at(first.len() / 2);
        let SdeAttempt { points: [f_point, g_point], middle: [f_middle, g_middle], increments } = &mut *room;
        let base = Base { y, h: &interval.h, increments };
        let [drift, diffusion] = self.sde.stages();
        for i in 1..drift.max(diffusion) {
            let (f_done, f_now) = f_middle.split_at_mut((i - 1).min(drift - 1));
            let (g_done, g_now) = g_middle.split_at_mut((i - 1).min(diffusion - 1));
            let f = || std::iter::once(f_first).chain(f_done.iter().map(Aligned::as_slice));
            let g = || std::iter::once(g_first).chain(g_done.iter().map(Aligned::as_slice));
            if let Some(k) = f_now.first_mut() {
                self.drift_state(i, f_point.state_mut(), &base, f(), g());
                self.sde.drift.eval(&interval.stage_time(self.sde.tableau.c[i]), f_point, k, false);
            }
            if let Some(now) = g_now.first_mut() {
                if self.shares_states {
                    g_point.state_mut().copy_from_slice(f_point.state());
                } else {
                    self.diffusion_state(i, g_point.state_mut(), &base, f(), g());
                }
                self.sde.diffusion.eval(&interval.stage_time(self.sde.noise.c[i]), g_point, now, false);
            }
        }
        self.end_of(y1, &base, [first_and(f_first, f_middle), first_and(g_first, g_middle)]);
    }

    fn stages<'a>(&self, state: &'a StepState<R>, room: &'a SdeAttempt<R>) -> Stages<'a, R> {
        let (f, _) = state.first.split_at(state.first.len() / 2);
        first_and(f, &room.middle[0])
    }

    fn error(&self, error: &mut [R], h: &Lanes<R>, state: &StepState<R>, room: &SdeAttempt<R>) {
        let stages = [self.stages(state, room), self.diffusion_stages(state, room)];
        self.sde.error(error, h, stages, &room.increments);
    }

    fn draw(&self, interval: &Interval<R>, trajectories: &Lanes<u32>, noise: NoiseOf, kept: &mut SdeKept<R>) {
        self.sde.draw(interval, trajectories, noise, kept);
    }

    fn keep(&self, interval: &Interval<R>, y: &[R], kept: &mut SdeKept<R>, _: bool) {
        let SdeKept { drift, diffusion, increments } = kept;
        let base = Base { y, h: &interval.h, increments };
        let [f_count, g_count] = self.sde.stages();
        for i in 0..f_count.max(g_count) {
            let (f_done, mut f_now) = drift.split(i);
            let (g_done, g_now) = diffusion.split(i);
            let f = || f_done.iter().map(Aligned::as_slice);
            let g = || g_done.iter().map(Aligned::as_slice);
            if let Some((point, k)) = &mut f_now {
                self.drift_state(i, point.state_mut(), &base, f(), g());
                self.sde.drift.eval(&interval.stage_time(self.sde.tableau.c[i]), point, k, true);
            }
            if let Some((point, now)) = g_now {
                match f_now {
                    Some((shared, _)) if self.shares_states => point.state_mut().copy_from_slice(shared.state()),
                    _ => self.diffusion_state(i, point.state_mut(), &base, f(), g()),
                }
                self.sde.diffusion.eval(&interval.stage_time(self.sde.noise.c[i]), point, now, true);
            }
        }
    }

    fn end(&self, h: &Lanes<R>, y: &[R], kept: &SdeKept<R>, y1: &mut [R]) {
        let SdeKept { drift, diffusion, increments } = kept;
        self.end_of(y1, &Base { y, h, increments }, [drift.all(), diffusion.all()]);
    }

    fn kept_error(&self, error: &mut [R], h: &Lanes<R>, kept: &SdeKept<R>) {
        self.sde.kept_error(error, h, kept);
    }

    fn drift<'a>(&self, kept: &'a SdeKept<R>) -> &'a KeptStages<R> {
        &kept.drift
    }

    /// From the last stage to the first, with the cotangents `H0_bar`, `H1_bar` of the later stages' states,
    ///
    /// ```text
    /// f_bar_i = h (alpha_i y+_bar + b_error_i e_bar + sum_(k>i) (a_ki H0_bar_k + a1_ki H1_bar_k))
    /// g_bar_i = (beta_i . x) y+_bar + (error_i . x) e_bar + s0 sum_(k>i) b0_ki H0_bar_k + s1 sum_(k>i) b1_ki H1_bar_k
    /// ```
    ///
    /// with `x = (dW, chi1, chi2, chi3)`; `H0_bar_i = f_bar_i^T df/dy`, `H1_bar_i = g_bar_i^T dg/dy`, and at the end
    /// `y_bar = y+_bar + sum H0_bar_i + sum H1_bar_i`.
    fn vjp(
        &self,
        h: &Lanes<R>,
        kept: &SdeKept<R>,
        seeds: &Seeds<'_, R>,
        first: FirstStage,
        VjpRoom { stages: room, .. }: &mut VjpRoom<R>,
        bars: Bars<'_, R>,
    ) {
        debug_assert!(seeds.stages.is_none() && seeds.stiffness.is_none(), "states within a step lie on its chord");
        let [drift, diffusion] = self.sde.stages();
        let [drift_theta, diffusion_theta] = self.sde.split_parameters(bars.theta);
        let least = usize::from(first == FirstStage::Nothing);
        for i in (least..drift.max(diffusion)).rev() {
            let wanted = i > 0 || first == FirstStage::Everything;
            if i < diffusion {
                self.diffusion_bar(i, &kept.increments, seeds.error, room, bars.state);
                let SdeVjp { diffusion, k_bar, .. } = &mut *room;
                diffusion.pull(&self.sde.diffusion, &kept.diffusion, i, k_bar, wanted, diffusion_theta);
            }
            if i < drift {
                self.drift_bar(i, h, seeds.error, room, bars.state);
                let SdeVjp { drift, k_bar, .. } = &mut *room;
                drift.pull(&self.sde.drift, &kept.drift, i, k_bar, wanted, drift_theta);
            }
        }
        let from = usize::from(first != FirstStage::Everything);
        for y_bar in room.drift.states[from..].iter().chain(&room.diffusion.states[from..]) {
            add(bars.state, y_bar);
        }
    }

    fn knots<'a>(&self, room: &'a mut VjpRoom<R>) -> [Option<&'a mut Knots<R>>; 2] {
        room.stages.knots()
    }

    fn kept_bytes(&self) -> usize {
        self.sde.kept_bytes()
    }

    fn room_bytes(&self) -> usize {
        self.sde.room_bytes()
    }
}

/// The entry of a row that may be shorter: zero beyond its end.
fn entry(row: &[f64], i: usize) -> f64 {
    row.get(i).copied().unwrap_or(0.0)
}
