//! Runge-Kutta steps of an ordinary differential equation.

use super::networks::Networks;
use super::seeds::{Bars, FirstStage, Seeds};
use super::stages::{KeptStages, StageBars, Stages, drift_error, middle, stages_of};
use super::state::{Shape, StepState};
use super::stiffness::LastTwo;
use super::{NoiseOf, Point, Scheme};
use crate::cpu::field::evaluate::{Cotangents, Field, Kept};
use crate::cpu::field::knots::Knots;
use crate::cpu::kernel::aligned::Aligned;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::interval::Interval;
use crate::cpu::kernel::lanes::{Lanes, add, add_weighted, combine};
use crate::cpu::kernel::scalar::Scalar;
use crate::error::Result;
use crate::method::Tableau;
use crate::problem::Problem;

/// An explicit Runge-Kutta method and the field.
#[derive(Debug)]
pub(crate) struct RungeKutta<R> {
    tableau: &'static Tableau,
    fsal: bool,
    pub(super) field: Field<R>,
}

/// An attempt's room.
#[derive(Debug)]
pub(crate) struct Attempt<R> {
    pub(super) point: Kept<R>,
    /// Stages after the first; the last one too unless the state keeps it for the next step.
    middle: Vec<Aligned<R>>,
}

/// Room for cotangents.
#[derive(Debug)]
pub(crate) struct VjpRoom<R> {
    stages: StageBars<R>,
    k_bar: Aligned<R>,
    /// The cotangent of a first stage that is left for the step before.
    first_bar: Aligned<R>,
}

impl<R: Scalar> RungeKutta<R> {
    pub(crate) fn new(problem: &Problem, tableau: &'static Tableau) -> Result<Self> {
        Ok(Self { tableau, fsal: tableau.fsal(), field: Field::new(&problem.field, &problem.controls)? })
    }

    /// Where the products of the room leave the cotangents of controls.
    pub(crate) fn cotangents(room: &mut VjpRoom<R>) -> &mut Cotangents<R> {
        &mut room.stages.cotangents
    }

    /// Stages whose states' cotangents go to the step's start: not an FSAL one's, which is the step's end.
    pub(super) const fn inner_stages(&self) -> usize {
        self.tableau.stages() - if self.fsal { 1 } else { 0 }
    }

    /// Takes the step from `y` with its first slopes to `y1`, and leaves its stages in the room, but for an FSAL one.
    pub(super) fn advance(
        &self,
        interval: &Interval<R>,
        trajectories: &Lanes<u32>,
        [y, first]: [&[R]; 2],
        y1: &mut [R],
        room: &mut Attempt<R>,
    ) {
        let Tableau { a, b, c, .. } = self.tableau;
        room.point.seat(trajectories, Some(interval));
        for i in 1..=room.middle.len() {
            let (done, now) = room.middle.split_at_mut(i - 1);
            let ks = std::iter::once(first).chain(done.iter().map(Aligned::as_slice));
            combine(room.point.state_mut(), Some(y), &interval.h, a[i].iter().copied().zip(ks));
            self.field.eval(&interval.stage_time(c[i]), &mut room.point, &mut now[0], false);
        }
        let ks = std::iter::once(first).chain(room.middle.iter().map(Aligned::as_slice));
        combine(y1, Some(y), &interval.h, b.iter().copied().zip(ks));
    }

    /// The stages of an attempt made in `room` from its first slopes, and the last one of an FSAL method.
    pub(super) fn stages_in<'a>(&self, first: &'a [R], last: &'a [R], room: &'a Attempt<R>) -> Stages<'a, R> {
        let middle = room.middle.iter().map(Aligned::as_slice);
        stages_of(std::iter::once(first).chain(middle).chain(self.fsal.then_some(last)))
    }

    /// The cotangent of stage `i`, in `room.k_bar`.
    fn stage_bar(&self, i: usize, h: &Lanes<R>, seeds: &Seeds<'_, R>, bar: &[R], room: &mut VjpRoom<R>) {
        let Tableau { a, b, b_error, .. } = self.tableau;
        let VjpRoom { stages: StageBars { states, .. }, k_bar, .. } = room;
        let later = (i + 1..self.inner_stages()).map(|j| (a[j][i], states[j].as_slice()));
        let error = seeds.error.zip(*b_error).map(|(e_bar, weights)| (weights[i], e_bar));
        combine(k_bar, None, h, std::iter::once((b[i], bar)).chain(error).chain(later));
        if let Some(stage_bar) = seeds.stages.and_then(|bars| bars.get(i)) {
            add(k_bar, stage_bar);
        }
    }
}

impl<R: Scalar> Scheme for RungeKutta<R> {
    type Real = R;
    type Networks = Field<R>;
    type Attempt = Attempt<R>;
    type Kept = KeptStages<R>;
    type Vjp = VjpRoom<R>;

    fn networks(&self) -> &Field<R> {
        &self.field
    }

    fn networks_mut(&mut self) -> &mut Field<R> {
        &mut self.field
    }

    fn tableau(&self) -> &'static Tableau {
        self.tableau
    }

    fn shape(&self) -> Shape {
        let features = self.field.dim();
        Shape { features, rows: features, stages: [self.tableau.stages(), 0], fsal: self.fsal }
    }

    fn attempt_room(&self) -> Attempt<R> {
        Attempt { point: self.field.kept(), middle: middle(&self.field, self.inner_stages() - 1) }
    }

    fn kept_step(&self) -> KeptStages<R> {
        KeptStages::new(&self.field, self.tableau.stages())
    }

    fn vjp_room(&self) -> VjpRoom<R> {
        let [k_bar, first_bar] = [(); 2].map(|()| Aligned::zeros(self.field.dim() * LANES));
        VjpRoom { stages: StageBars::new(&self.field, self.tableau.stages()), k_bar, first_bar }
    }

    fn slopes(&self, at: &Point<'_, R>, out: &mut [R], room: &mut Attempt<R>) {
        room.point.seat(at.trajectories, None);
        self.field.slopes(at.t, at.y, out, &mut room.point);
    }

    fn attempt(&self, interval: &Interval<R>, state: &mut StepState<R>, room: &mut Attempt<R>) {
        let StepState { y, y1, first, last, trajectories, .. } = state;
        self.advance(interval, trajectories, [y, first], y1, room);
        if self.fsal {
            self.field.slopes(&interval.stage_time(1.0), y1, last, &mut room.point);
        }
    }

    fn stages<'a>(&self, state: &'a StepState<R>, room: &'a Attempt<R>) -> Stages<'a, R> {
        self.stages_in(&state.first, &state.last, room)
    }

    fn error(&self, error: &mut [R], h: &Lanes<R>, state: &StepState<R>, room: &Attempt<R>) {
        drift_error(self.tableau, error, h, self.stages(state, room));
    }

    fn last_two<'a>(
        &self,
        h: &Lanes<R>,
        state: &'a StepState<R>,
        room: &'a Attempt<R>,
        before: &'a mut [R],
    ) -> Option<LastTwo<'a, R>> {
        self.tableau.stability_size?;
        let (last, earlier) = room.middle.split_last()?;
        let ks = std::iter::once(&*state.first).chain(earlier.iter().map(Aligned::as_slice));
        combine(before, Some(&state.y), h, self.tableau.a[room.middle.len()].iter().copied().zip(ks));
        Some([[&state.last, last], [&state.y1, before]])
    }

    fn draw(&self, interval: &Interval<R>, trajectories: &Lanes<u32>, _: NoiseOf, kept: &mut KeptStages<R>) {
        kept.seat(trajectories, interval);
    }

    fn keep(&self, interval: &Interval<R>, y: &[R], kept: &mut KeptStages<R>, with_last: bool) {
        let Tableau { a, c, .. } = self.tableau;
        let stages = self.tableau.stages();
        for i in 0..stages {
            let (done, now) = kept.k.split_at_mut(i);
            let terms = a[i].iter().copied().zip(done.iter().map(Aligned::as_slice));
            combine(kept.points[i].state_mut(), Some(y), &interval.h, terms);
            if i + 1 < stages || !self.fsal || with_last {
                self.field.eval(&interval.stage_time(c[i]), &mut kept.points[i], &mut now[0], true);
            }
        }
    }

    fn chains(&self) -> bool {
        self.fsal
    }

    fn hand_over(&self, kept: &mut KeptStages<R>) {
        let last = self.tableau.stages() - 1;
        kept.points.swap(0, last);
        kept.k.swap(0, last);
    }

    fn end(&self, h: &Lanes<R>, y: &[R], kept: &KeptStages<R>, y1: &mut [R]) {
        if self.fsal {
            y1.copy_from_slice(kept.points[self.tableau.stages() - 1].state());
        } else {
            let ks = kept.k.iter().map(Aligned::as_slice);
            combine(y1, Some(y), h, self.tableau.b.iter().copied().zip(ks));
        }
    }

    fn kept_error(&self, error: &mut [R], h: &Lanes<R>, kept: &KeptStages<R>) {
        drift_error(self.tableau, error, h, kept.all());
    }

    fn drift<'a>(&self, kept: &'a KeptStages<R>) -> &'a KeptStages<R> {
        kept
    }

    /// With `Y_i = y + h sum_j a_ij k_j` and `k_i = f(Y_i)`, from the last stage to the first:
    /// `k_i_bar = h (b_i y1_bar + b_error_i e_bar + sum_(j>i) a_ji Y_j_bar) + seeds`, `Y_i_bar = k_i_bar^T df/dy`,
    /// and at the end `y_bar = y1_bar + sum Y_i_bar`. Where the last stage's state is the step's end itself
    /// (FSAL), its cotangent joins `y1_bar` first. In a [`Chain`](super::seeds::Chain) it has that of the next step's first stage
    /// too, and `k_0_bar` waits for the step before.
    fn vjp(
        &self,
        h: &Lanes<R>,
        kept: &KeptStages<R>,
        seeds: &Seeds<'_, R>,
        first: FirstStage,
        room: &mut VjpRoom<R>,
        bars: Bars<'_, R>,
    ) {
        let stages = self.tableau.stages();
        let seeds_last = seeds.stages.is_some_and(|bars| bars.len() == stages);
        let last_needed = seeds.error.is_some() || seeds.stiffness.is_some() || seeds_last || seeds.chain.takes;
        let mut begun = stages;
        for i in (0..stages).rev() {
            let is_end = self.fsal && i + 1 == stages;
            if (is_end && !last_needed) || (i == 0 && first == FirstStage::Nothing) {
                continue;
            }
            self.stage_bar(i, h, seeds, bars.state, room);
            let VjpRoom { stages: pulled, k_bar, first_bar } = &mut *room;
            if is_end && seeds.chain.takes {
                add(k_bar, first_bar);
            }
            if i == 0 && seeds.chain.leaves {
                first_bar.copy_from_slice(k_bar);
                continue;
            }
            let sign = [if i + 1 == stages { R::ONE } else { -R::ONE }; LANES];
            let stiffness = seeds.stiffness.as_ref().filter(|_| i + 2 >= stages);
            if let Some(seed) = stiffness {
                add_weighted(k_bar, &sign, seed.k_difference);
            }
            pulled.pull(&self.field, kept, i, k_bar, i > 0 || first == FirstStage::Everything, bars.theta);
            if let Some(seed) = stiffness {
                add_weighted(&mut pulled.states[i], &sign, seed.state_difference);
            }
            if is_end {
                add(bars.state, &pulled.states[i]);
            }
            begun = i;
        }
        let count = self.inner_stages();
        let first_with_state = if first == FirstStage::Everything { begun } else { 1 };
        for y_bar in &room.stages.states[first_with_state.min(count)..count] {
            add(bars.state, y_bar);
        }
    }

    fn knots<'a>(&self, room: &'a mut VjpRoom<R>) -> [Option<&'a mut Knots<R>>; 2] {
        [room.stages.cotangents.knots.as_deref_mut(), None]
    }

    fn kept_bytes(&self) -> usize {
        KeptStages::bytes(&self.field, self.tableau.stages())
    }

    fn room_bytes(&self) -> usize {
        let array = self.field.dim() * LANES * size_of::<R>();
        let stages = self.tableau.stages();
        (self.field.kept_bytes() + stages * array) + self.kept_bytes() + (stages + 4) * array
    }
}
