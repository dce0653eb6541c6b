//! Steps that undo, made of any explicit Runge-Kutta method, with a second state `z`
//! (S. `McCallum`, J. Foster, Efficient, accurate and stable gradients for neural ODEs, 2024).

use super::interpolant::Interpolant;
use super::networks::Networks;
use super::runge_kutta::{self as plain, RungeKutta};
use super::scale::ErrorScale;
use super::seeds::{Bars, Chain, FirstStage, MeasureBar, Seeds};
use super::stages::{KeptStages, Stages, drift_error, stages_of};
use super::state::{Shape, StepState};
use super::undo::Undo;
use super::{NoiseOf, Point, Scheme};
use crate::cpu::field::evaluate::Field;
use crate::cpu::field::knots::Knots;
use crate::cpu::kernel::aligned::Aligned;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::interval::Interval;
use crate::cpu::kernel::lanes::{Lanes, add, add_weighted, combine, select};
use crate::cpu::kernel::scalar::Scalar;
use crate::error::Result;
use crate::method::{SolverOptions, StepControl, Tableau, undoable_steps};
use crate::problem::Problem;

/// The states' distance, in units of the tolerance, from which on a solve no longer is what it was asked for.
const APART: f64 = 100.0;

/// An explicit Runge-Kutta method, made so that its steps can be undone, and the field. A state is `y`, then `z`.
///
/// With the method's step `u` from `z` to the end, and its step `w` from `y+` back to the start,
/// `y+ = l (y - z) + u` and `z+ = z + (y+ - w)`, so that `z = z+ - (y+ - w)` and `y = z + (y+ - u) / l`.
#[derive(Debug)]
pub(crate) struct ReversibleRungeKutta<R> {
    method: RungeKutta<R>,
    /// The coupling `l` of the two states.
    coupling: R,
    /// Whether attempts are judged: by the error estimate of the step from `z`.
    judged: bool,
    /// What the distance of the two states is measured in.
    scale: ErrorScale<R>,
    most_steps: usize,
}

/// An attempt's room.
#[derive(Debug)]
pub(crate) struct Attempt<R> {
    /// Of the step from `z`, and of that from `y+`.
    halves: [plain::Attempt<R>; 2],
    /// Slopes at `y+`.
    slopes: Aligned<R>,
    /// The end of a half.
    end: Aligned<R>,
}

/// A kept step.
#[derive(Debug)]
pub(crate) struct Kept<R> {
    /// The stages of the step from `z`, and of that from `y+`.
    halves: [KeptStages<R>; 2],
    ends: [Aligned<R>; 2],
}

/// Room for cotangents.
#[derive(Debug)]
pub(crate) struct VjpRoom<R> {
    half: plain::VjpRoom<R>,
    bar: Aligned<R>,
    /// The cotangents of lanes that rest: even a step without length would mix those of the two states.
    resting: Aligned<R>,
}

impl<R: Scalar> ReversibleRungeKutta<R> {
    pub(crate) fn new(problem: &Problem, options: &SolverOptions) -> Result<Self> {
        Ok(Self {
            method: RungeKutta::new(problem, options.method.tableau())?,
            coupling: R::from_f64(options.coupling),
            judged: matches!(options.step_control, StepControl::Adaptive { .. }),
            scale: ErrorScale::of_states(problem.dim(), options),
            most_steps: undoable_steps::<R>(options.coupling),
        })
    }

    /// Whether the step from `z` has a stage more for its error estimate than for its end.
    fn has_last(&self) -> bool {
        self.method.inner_stages() < self.tableau().stages()
    }

    /// `y+ = l (y - z) + u`; overwrites `room`.
    fn first_end(&self, [y, z]: [&[R]; 2], u: &[R], out: &mut [R], room: &mut [R]) {
        combine(room, None, &[R::ONE; LANES], [(1.0, y), (-1.0, z)]);
        combine(out, Some(u), &[self.coupling; LANES], [(1.0, &*room)]);
    }
}

/// `z + (y1 - w)`.
fn second_end<R: Scalar>(z: &[R], y1: &[R], w: &[R], out: &mut [R]) {
    combine(out, None, &[R::ONE; LANES], [(1.0, y1), (-1.0, w)]);
    add(out, z);
}

/// A state's `y` and `z`.
fn halves_of<R>(state: &[R]) -> [&[R]; 2] {
    let (y, z) = state.split_at(state.len() / 2);
    [y, z]
}

impl<R: Scalar> Scheme for ReversibleRungeKutta<R> {
    type Real = R;
    type Networks = Field<R>;
    type Attempt = Attempt<R>;
    type Kept = Kept<R>;
    type Vjp = VjpRoom<R>;

    fn networks(&self) -> &Field<R> {
        self.method.networks()
    }

    fn networks_mut(&mut self) -> &mut Field<R> {
        self.method.networks_mut()
    }

    fn tableau(&self) -> &'static Tableau {
        self.method.tableau()
    }

    fn shape(&self) -> Shape {
        let features = self.method.field.dim();
        let stages = 2 * self.method.inner_stages() + usize::from(self.judged && self.has_last());
        Shape { features, rows: 2 * features, stages: [stages, 0], fsal: false }
    }

    fn attempt_room(&self) -> Attempt<R> {
        let array = || Aligned::zeros(self.method.field.dim() * LANES);
        Attempt { halves: [(); 2].map(|()| self.method.attempt_room()), slopes: array(), end: array() }
    }

    fn kept_step(&self) -> Kept<R> {
        let array = || Aligned::zeros(self.method.field.dim() * LANES);
        Kept { halves: [(); 2].map(|()| self.method.kept_step()), ends: [array(), array()] }
    }

    fn vjp_room(&self) -> VjpRoom<R> {
        let array = |states: usize| Aligned::zeros(states * self.method.field.dim() * LANES);
        VjpRoom { half: self.method.vjp_room(), bar: array(1), resting: array(2) }
    }

    fn slopes(&self, at: &Point<'_, R>, out: &mut [R], room: &mut Attempt<R>) {
        self.method.slopes(at, out, &mut room.halves[0]);
    }

    fn attempt(&self, interval: &Interval<R>, state: &mut StepState<R>, room: &mut Attempt<R>) {
        let StepState { y, y1, first, last, trajectories, .. } = state;
        let [y, z] = halves_of(y);
        let (y1, z1) = y1.split_at_mut(y.len());
        let Attempt { halves: [from_z, from_y1], slopes, end } = room;
        self.method.advance(interval, trajectories, [z, first], end, from_z);
        if self.judged && self.has_last() {
            self.method.field.slopes(&interval.stage_time(1.0), end, last, &mut from_z.point);
        }
        self.first_end([y, z], end, y1, z1);
        let back = interval.reversed();
        from_y1.point.seat(trajectories, Some(&back));
        self.method.field.slopes(&back.stage_time(0.0), y1, slopes, &mut from_y1.point);
        self.method.advance(&back, trajectories, [y1, slopes], end, from_y1);
        second_end(z, y1, end, z1);
    }

    /// The slopes at the ends that the interpolant is made of: at `z`, which is at a distance of the method's own error from
    /// `y`, and at `y+`.
    fn stages<'a>(&self, state: &'a StepState<R>, room: &'a Attempt<R>) -> Stages<'a, R> {
        stages_of([state.first.as_slice(), room.slopes.as_slice()])
    }

    fn error(&self, error: &mut [R], h: &Lanes<R>, state: &StepState<R>, room: &Attempt<R>) {
        let stages = self.method.stages_in(&state.first, &state.last, &room.halves[0]);
        drift_error(self.tableau(), error, h, stages);
    }

    fn interpolant(&self) -> Interpolant {
        Interpolant::Hermite
    }

    fn most_steps(&self) -> usize {
        self.most_steps
    }

    /// The two states come apart where the flow contracts, as `e^(c t)` on `y' = -c y`, and no error estimate sees it.
    fn is_lost(&self, state: &[R]) -> [bool; LANES] {
        let [y, z] = halves_of(state);
        let features = self.method.field.dim() as f64;
        let squares = self.scale.distance(y, z);
        squares.map(|sum| sum.to_f64() > APART * APART * features)
    }

    fn draw(&self, interval: &Interval<R>, trajectories: &Lanes<u32>, _: NoiseOf, kept: &mut Kept<R>) {
        kept.halves[0].seat(trajectories, interval);
        kept.halves[1].seat(trajectories, &interval.reversed());
    }

    fn keep(&self, interval: &Interval<R>, state: &[R], kept: &mut Kept<R>, with_last: bool) {
        let [y, z] = halves_of(state);
        let Kept { halves: [from_z, from_y1], ends: [u, y1] } = kept;
        self.method.keep(interval, z, from_z, with_last);
        self.method.end(&interval.h, z, from_z, u);
        self.first_end([y, z], u, y1, from_y1.points[0].state_mut());
        self.method.keep(&interval.reversed(), y1, from_y1, false);
    }

    fn end(&self, h: &Lanes<R>, state: &[R], kept: &Kept<R>, out: &mut [R]) {
        let [_, z] = halves_of(state);
        let (y1, z1) = out.split_at_mut(z.len());
        let from_y1 = &kept.halves[1];
        self.method.end(&h.map(|h| -h), from_y1.points[0].state(), from_y1, y1);
        second_end(z, from_y1.points[0].state(), y1, z1);
        y1.copy_from_slice(from_y1.points[0].state());
    }

    fn kept_error(&self, error: &mut [R], h: &Lanes<R>, kept: &Kept<R>) {
        self.method.kept_error(error, h, &kept.halves[0]);
    }

    fn drift<'a>(&self, kept: &'a Kept<R>) -> &'a KeptStages<R> {
        &kept.halves[0]
    }

    /// The cotangents of `y+` and `z+` become those of `y` and `z`, with the methods' own products of `w`, then of `u`.
    ///
    /// ```text
    /// Y_bar = y+_bar + z+_bar - z+_bar^T dw/dy+      z_bar = z+_bar - l Y_bar + Y_bar^T du/dz      y_bar = l Y_bar
    /// ```
    fn vjp(
        &self,
        h: &Lanes<R>,
        kept: &Kept<R>,
        seeds: &Seeds<'_, R>,
        first: FirstStage,
        room: &mut VjpRoom<R>,
        bars: Bars<'_, R>,
    ) {
        let VjpRoom { half, bar, resting } = room;
        let [from_z, from_y1] = &kept.halves;
        let rests = h.map(|h| h == R::ZERO);
        if rests.contains(&true) {
            resting.copy_from_slice(bars.state);
        }
        let ends = seeds.stages.map(|bars| bars.split_at(1));
        let (y_bar, z_bar) = bars.state.split_at_mut(bars.state.len() / 2);
        combine(bar, None, &[R::ONE; LANES], [(-1.0, &*z_bar)]);
        let of_end = Seeds::new(MeasureBar::Nothing, ends.map(|(_, end)| end));
        let of_half = Bars { theta: &mut *bars.theta, state: bar };
        self.method.vjp(&h.map(|h| -h), from_y1, &of_end, FirstStage::Everything, half, of_half);
        add(y_bar, z_bar);
        add(y_bar, bar);
        bar.copy_from_slice(y_bar);
        let Seeds { error, ref stiffness, .. } = *seeds;
        let of_start =
            Seeds { error, stages: ends.map(|(start, _)| start), stiffness: *stiffness, chain: Chain::default() };
        self.method.vjp(h, from_z, &of_start, first, half, Bars { theta: bars.theta, state: bar });
        add(z_bar, bar);
        add_weighted(z_bar, &[-self.coupling; LANES], y_bar);
        y_bar.iter_mut().for_each(|y| *y *= self.coupling);
        if rests.contains(&true) {
            select(bars.state, &rests, resting);
        }
    }

    fn knots<'a>(&self, room: &'a mut VjpRoom<R>) -> [Option<&'a mut Knots<R>>; 2] {
        self.method.knots(&mut room.half)
    }

    fn kept_bytes(&self) -> usize {
        2 * self.method.kept_bytes() + 2 * self.method.field.dim() * LANES * size_of::<R>()
    }

    fn room_bytes(&self) -> usize {
        let array = self.method.field.dim() * LANES * size_of::<R>();
        let attempt = self.method.room_bytes() - self.method.kept_bytes();
        2 * attempt + 2 * array + self.kept_bytes() + 3 * array
    }
}

impl<R: Scalar> Undo for ReversibleRungeKutta<R> {
    fn undo(
        &self,
        interval: &Interval<R>,
        moving: &[bool; LANES],
        state: &mut [R],
        kept: &mut Kept<R>,
        with_last: bool,
    ) -> usize {
        let (y1, z) = state.split_at_mut(state.len() / 2);
        let Kept { halves: [from_z, from_y1], ends: [end, room] } = kept;
        let back = interval.reversed();
        self.method.keep(&back, y1, from_y1, false);
        self.method.end(&back.h, y1, from_y1, end);
        second_end(z, end, y1, room);
        select(z, moving, room);
        self.method.keep(interval, z, from_z, with_last);
        self.method.end(&interval.h, z, from_z, end);
        combine(room, None, &[R::ONE; LANES], [(1.0, &*y1), (-1.0, end.as_slice())]);
        combine(end, Some(z), &[R::ONE / self.coupling; LANES], [(1.0, room.as_slice())]);
        select(y1, moving, end);
        2 * self.method.inner_stages() + usize::from(with_last && self.has_last())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::Method;

    /// `y' = -y` from 1 with step 0.1 and coupling 0.999: `(y, z)` after steps 1, 2, 3, and the way back.
    #[test]
    fn both_states_are_those_of_the_recurrence() {
        for (method, expected) in [
            (Method::Euler, [[0.9, 0.91], [0.80901, 0.829099], [0.726120189, 0.7564869811]]),
            (Method::Heun, [[0.905, 0.904975], [0.81902735, 0.81897712825], [0.7412244725945, 0.7411485586275774]]),
            (
                Method::Rk4,
                [
                    [0.9048375, 0.90483748609375],
                    [0.8187309027156972, 0.8187308747793879],
                    [0.7408184258165673, 0.7408183835875713],
                ],
            ),
        ] {
            let field = crate::problem::Field::build(1, |f| f.parameters("a", &[-1.0]) * f.state()).expect("a field");
            let problem = Problem::ode(field, 0.0, 0.3);
            let options = SolverOptions::default().method(method).step_control(StepControl::Fixed { steps: 3 });
            let mut scheme = ReversibleRungeKutta::<f64>::new(&problem, &options).expect("a field");
            scheme.networks_mut().pack(&[-1.0], true);
            let (mut state, mut room) = (StepState::new(&scheme.shape()), scheme.attempt_room());
            let mut kept = scheme.kept_step();
            state.y.fill(1.0);
            let mut before = vec![state.y.clone()];
            for (n, expected) in expected.into_iter().enumerate() {
                let [t0, t1] = [n, n + 1].map(|n| 0.1 * n as f64);
                let interval = Interval { h: [0.1; LANES], ..Interval::shared(t0, t1) };
                let at = Point { t: &[t0; LANES], trajectories: &[0; LANES], y: &state.y[LANES..] };
                scheme.slopes(&at, &mut state.first, &mut room);
                scheme.attempt(&interval, &mut state, &mut room);
                state.y.clone_from(&state.y1);
                for (found, expected) in [state.y[0], state.y[LANES]].into_iter().zip(expected) {
                    assert!((found - expected).abs() < 1e-14, "{method}, step {n}: {found} not {expected}");
                }
                before.push(state.y.clone());
            }
            for n in (0..3).rev() {
                let interval = Interval { h: [0.1; LANES], ..Interval::shared(0.1 * n as f64, 0.1 * (n + 1) as f64) };
                scheme.undo(&interval, &[true; LANES], &mut state.y, &mut kept, false);
                for (found, expected) in state.y.iter().zip(&before[n]) {
                    assert!((found - expected).abs() < 1e-14, "{method}, back to {n}: {found} not {expected}");
                }
            }
        }
    }
}
