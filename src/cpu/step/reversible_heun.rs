//! Steps of the reversible Heun method, which carries a second state `z` and can be undone
//! (P. Kidger, J. Foster, X. Li, T. Lyons, Efficient and accurate gradients for neural SDEs, 2021).

use super::networks::Networks;
use super::sde::{Sde, SdeAttempt, SdeKept, SdeVjp};
use super::seeds::{Bars, FirstStage, Seeds};
use super::stages::{KeptStages, Stages, stages_of};
use super::state::{Shape, StepState};
use super::undo::Undo;
use super::{NoiseOf, Point, Scheme};
use crate::cpu::field::knots::Knots;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::interval::Interval;
use crate::cpu::kernel::lanes::{Lanes, add, add_weighted, combine, multiply, select};
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::path::{Increments, add_terms};
use crate::method::{NoiseScale, Tableau};

/// The reversible Heun method and its problem: `z+ = 2 y - z + f h + g dW`, `y+ = y + (f + f+) h/2 + (g + g+) dW/2` with
/// `f`, `g` at `z` and `f+`, `g+` at `z+`. A state is `y`, then `z`.
#[derive(Debug)]
pub(crate) struct ReversibleHeun<R> {
    sde: Sde<R>,
}

/// Room for cotangents.
#[derive(Debug)]
pub(crate) struct VjpRoom<R> {
    sde: SdeVjp<R>,
    /// The cotangents of lanes that rest: even a step without length would exchange those of the two states.
    resting: Vec<R>,
}

impl<R: Scalar> ReversibleHeun<R> {
    pub(crate) const fn new(sde: Sde<R>) -> Self {
        Self { sde }
    }

    /// Evaluates both networks at `z` and keeps it as stage `i`.
    fn evaluate(&self, i: usize, z: &[R], t: &Lanes<R>, kept: &mut SdeKept<R>) {
        kept.drift.points[i].state_mut().copy_from_slice(z);
        kept.diffusion.points[i].state_mut().copy_from_slice(z);
        self.sde.evaluate(i, t, kept);
    }

    /// Takes the cotangents of stage `i` to that of its state, in `room`, and to the parameters'.
    fn pull(
        &self,
        (i, first): (usize, FirstStage),
        h: &Lanes<R>,
        kept: &SdeKept<R>,
        error_bar: Option<&[R]>,
        room: &mut SdeVjp<R>,
        bars: &mut Bars<'_, R>,
    ) {
        let (y_bar, z_bar) = bars.state.split_at(bars.state.len() / 2);
        let error = error_bar.map(|e_bar| (if i == 0 { -0.5 } else { 0.5 }, e_bar));
        let second = (i == 0).then_some((1.0, z_bar));
        let terms = || std::iter::once((0.5, y_bar)).chain(error).chain(second);
        let wanted = i == 1 || first == FirstStage::Everything;
        let [drift_theta, diffusion_theta] = self.sde.split_parameters(bars.theta);
        let SdeVjp { drift, diffusion, k_bar } = room;
        combine(k_bar, None, h, terms());
        drift.pull(&self.sde.drift, &kept.drift, i, k_bar, wanted, drift_theta);
        combine(k_bar, None, &[R::ONE; LANES], terms());
        multiply(k_bar, &kept.increments.w);
        diffusion.pull(&self.sde.diffusion, &kept.diffusion, i, k_bar, wanted, diffusion_theta);
    }
}

impl<R: Scalar> Scheme for ReversibleHeun<R> {
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
        Shape { features, rows: 2 * features, stages: self.sde.stages(), fsal: true }
    }

    fn attempt_room(&self) -> SdeAttempt<R> {
        self.sde.attempt_room([0, 0])
    }

    fn kept_step(&self) -> SdeKept<R> {
        self.sde.kept_step()
    }

    fn vjp_room(&self) -> VjpRoom<R> {
        VjpRoom { sde: self.sde.vjp_room(), resting: self.shape().states() }
    }

    fn slopes(&self, at: &Point<'_, R>, out: &mut [R], room: &mut SdeAttempt<R>) {
        self.sde.slopes_at(at, out, &mut room.points);
    }

    fn attempt(&self, interval: &Interval<R>, state: &mut StepState<R>, room: &mut SdeAttempt<R>) {
        self.sde.follow_path(interval, state, room);
        let StepState { y, y1, first, last, .. } = state;
        let (y, z) = y.split_at(y.len() / 2);
        let (y1, z1) = y1.split_at_mut(y.len());
        let (f, g) = first.split_at(y.len());
        advance_second(z1, [y, z], &interval.h, f, &room.increments, g);
        self.sde.slopes(&interval.stage_time(1.0), z1, last, &mut room.points);
        let (f1, g1) = last.split_at(y.len());
        trapezoid(y1, y, &interval.h, [f, f1], &room.increments, [g, g1]);
    }

    fn stages<'a>(&self, state: &'a StepState<R>, _: &'a SdeAttempt<R>) -> Stages<'a, R> {
        stages_of([&state.first, &state.last].map(|slopes| &slopes[..slopes.len() / 2]))
    }

    fn error(&self, error: &mut [R], h: &Lanes<R>, state: &StepState<R>, room: &SdeAttempt<R>) {
        let diffusion = stages_of([&state.first, &state.last].map(|slopes| &slopes[slopes.len() / 2..]));
        self.sde.error(error, h, [self.stages(state, room), diffusion], &room.increments);
    }

    fn draw(&self, interval: &Interval<R>, trajectories: &Lanes<u32>, noise: NoiseOf, kept: &mut SdeKept<R>) {
        self.sde.draw(interval, trajectories, noise, kept);
    }

    fn keep(&self, interval: &Interval<R>, y: &[R], kept: &mut SdeKept<R>, _: bool) {
        let (y, z) = y.split_at(y.len() / 2);
        self.evaluate(0, z, &interval.stage_time(0.0), kept);
        let SdeKept { drift, diffusion, increments } = &mut *kept;
        let second = drift.points[1].state_mut();
        advance_second(second, [y, z], &interval.h, &drift.k[0], increments, &diffusion.k[0]);
        diffusion.points[1].state_mut().copy_from_slice(second);
        self.sde.evaluate(1, &interval.stage_time(1.0), kept);
    }

    fn end(&self, h: &Lanes<R>, y: &[R], kept: &SdeKept<R>, y1: &mut [R]) {
        let SdeKept { drift, diffusion, increments } = kept;
        let (y1, z1) = y1.split_at_mut(y1.len() / 2);
        z1.copy_from_slice(drift.points[1].state());
        let ([f, f1], [g, g1]) = ([&drift.k[0], &drift.k[1]], [&diffusion.k[0], &diffusion.k[1]]);
        trapezoid(y1, &y[..y1.len()], h, [f, f1], increments, [g, g1]);
    }

    fn kept_error(&self, error: &mut [R], h: &Lanes<R>, kept: &SdeKept<R>) {
        self.sde.kept_error(error, h, kept);
    }

    fn drift<'a>(&self, kept: &'a SdeKept<R>) -> &'a KeptStages<R> {
        &kept.drift
    }

    /// The cotangents of `y+` and `z+` become those of `y` and `z`.
    ///
    /// ```text
    /// f1_bar = h/2 y+_bar      g1_bar = dW/2 y+_bar     Z_bar = z+_bar + f1_bar^T df/dy + g1_bar^T dg/dy  at z+
    /// f0_bar = h/2 y+_bar + h Z_bar                     g0_bar = dW/2 y+_bar + dW Z_bar
    /// y_bar = y+_bar + 2 Z_bar      z_bar = -Z_bar + f0_bar^T df/dy + g0_bar^T dg/dy  at z
    /// ```
    fn vjp(
        &self,
        h: &Lanes<R>,
        kept: &SdeKept<R>,
        seeds: &Seeds<'_, R>,
        first: FirstStage,
        room: &mut VjpRoom<R>,
        mut bars: Bars<'_, R>,
    ) {
        debug_assert!(seeds.stages.is_none() && seeds.stiffness.is_none(), "states within a step lie on its chord");
        let VjpRoom { sde: room, resting } = room;
        let rests = h.map(|h| h == R::ZERO);
        if rests.contains(&true) {
            resting.copy_from_slice(bars.state);
        }
        self.pull((1, first), h, kept, seeds.error, room, &mut bars);
        let (_, z_bar) = bars.state.split_at_mut(bars.state.len() / 2);
        add(z_bar, &room.drift.states[1]);
        add(z_bar, &room.diffusion.states[1]);
        if first != FirstStage::Nothing {
            self.pull((0, first), h, kept, seeds.error, room, &mut bars);
        }
        let (y_bar, z_bar) = bars.state.split_at_mut(bars.state.len() / 2);
        add_weighted(y_bar, &[R::from_f64(2.0); LANES], z_bar);
        z_bar.iter_mut().for_each(|z| *z = -*z);
        if first == FirstStage::Everything {
            add(z_bar, &room.drift.states[0]);
            add(z_bar, &room.diffusion.states[0]);
        }
        if rests.contains(&true) {
            select(bars.state, &rests, resting);
        }
    }

    fn knots<'a>(&self, room: &'a mut VjpRoom<R>) -> [Option<&'a mut Knots<R>>; 2] {
        room.sde.knots()
    }

    fn kept_bytes(&self) -> usize {
        self.sde.kept_bytes()
    }

    fn room_bytes(&self) -> usize {
        self.sde.room_bytes()
    }
}

impl<R: Scalar> Undo for ReversibleHeun<R> {
    /// `z = 2 y+ - z+ - f(z+) h - g(z+) dW` and `y = y+ - (f(z) + f(z+)) h/2 - (g(z) + g(z+)) dW/2`.
    fn undo(
        &self,
        interval: &Interval<R>,
        moving: &[bool; LANES],
        state: &mut [R],
        kept: &mut SdeKept<R>,
        _: bool,
    ) -> usize {
        let (y, z) = state.split_at_mut(state.len() / 2);
        self.evaluate(1, z, &interval.stage_time(1.0), kept);
        let back = interval.h.map(|h| -h);
        let first = kept.drift.points[0].state_mut();
        combine(first, None, &[R::ONE; LANES], [(2.0, &*y), (-1.0, &*z)]);
        add_weighted(first, &back, &kept.drift.k[1]);
        add_terms(first, NoiseScale::Increment, &kept.increments, [(-1.0, kept.diffusion.k[1].as_slice())]);
        select(z, moving, first);
        self.evaluate(0, z, &interval.stage_time(0.0), kept);
        kept.retreat(y, &interval.h);
        self.tableau().stages()
    }
}

/// `z+ = 2 y - z + f h + g dW`.
fn advance_second<R: Scalar>(
    out: &mut [R],
    [y, z]: [&[R]; 2],
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
