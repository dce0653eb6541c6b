//! The backward pass: a walk over the accepted steps, last to first, with the states from the tape or recomputed on
//! the way.
//!
//! Step sizes are constants, so tiles no longer depend on each other and each is walked by itself, in both layouts.
//! A lane that took fewer steps than its neighbours joins when the walk reaches its last one; until then its step has
//! no length and its cotangent passes through.

use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::lanes::{Lanes, add, add_weighted, rest_unless, select};
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::solve::ensemble::{chord_weights, interior_weights};
use crate::cpu::step::runge_kutta::{FirstStage, Interval, Seeds, Stepper};
use crate::cpu::tile::{BackwardRoom, SavePoint, Tile};
use crate::method::Adjoint;
use crate::problem::within;

/// The steps that a batch took.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Steps<'a> {
    /// The same for all trajectories.
    Shared(&'a [[f64; 2]]),
    /// Each tile has its own table.
    PerLane,
}

impl Steps<'_> {
    pub(crate) fn count<R>(&self, tile: &Tile<R>) -> usize {
        match self {
            Self::Shared(steps) => steps.len(),
            Self::PerLane => tile.steps.len(),
        }
    }

    pub(crate) fn interval<R: Scalar>(&self, tile: &Tile<R>, step: usize) -> Interval<R> {
        match self {
            Self::Shared(steps) => Interval::shared(steps[step][0], steps[step][1]),
            Self::PerLane => Interval::new(tile.steps[step][0], tile.steps[step][1]),
        }
    }
}

/// A backward pass as every worker sees it.
#[derive(Debug)]
pub(crate) struct Backward<'a, R> {
    pub(crate) stepper: &'a Stepper<R>,
    pub(crate) steps: Steps<'a>,
    pub(crate) saves: &'a [SavePoint],
    pub(crate) t0: f64,
    pub(crate) stride: usize,
    pub(crate) adjoint: Adjoint,
    /// Whether the accepted states' cotangents are in `saves_bar` too, one slot a step, the initial state first.
    pub(crate) every_step: bool,
}

impl<R: Scalar> Backward<'_, R> {
    /// Walks the tile's steps back: adds to the parameters' gradient and leaves the cotangent of `y0` in `tile.bar`.
    /// Returns the number of vector-Jacobian products of the field.
    pub(crate) fn walk(&self, tile: &mut Tile<R>, room: &mut BackwardRoom<R>, theta_bar: &mut [R]) -> usize {
        let count = self.steps.count(tile);
        let mut bar = std::mem::take(&mut tile.bar);
        bar.fill(R::ZERO);
        let mut products = 0;
        let taped = self.adjoint.stride() > 0;
        if !taped {
            room.y.copy_from_slice(&tile.y);
            rest_unless(&mut room.y, &tile.alive);
        }
        for step in (0..count).rev() {
            if taped {
                self.restore(tile, step, room, step + 1 == count || (step + 1).is_multiple_of(self.stride));
                products += self.step(tile, step, room, theta_bar, &mut bar);
            } else {
                products += self.step_without_tape(tile, step, room, theta_bar, &mut bar);
            }
            for probe in &tile.probes {
                probe.inject(step, &mut bar);
            }
        }
        if self.every_step {
            add(&mut bar, tile_slot(tile, 0));
        }
        for point in self.saves.iter().filter(|p| p.t == self.t0) {
            add(&mut bar, tile_slot(tile, point.slot));
        }
        fold_second(&mut bar, tile.features());
        tile.bar = bar;
        products
    }

    /// The step's interval, and the lanes that move in it. Lanes that were given up rest, so that whatever made them
    /// fail stays out of the products.
    fn interval(&self, tile: &Tile<R>, step: usize) -> (Interval<R>, [bool; LANES]) {
        let mut interval: Interval<R> = self.steps.interval(tile, step);
        let moving: [bool; LANES] = std::array::from_fn(|l| tile.alive[l] && interval.t0[l] != interval.t1[l]);
        for l in (0..LANES).filter(|&l| !moving[l]) {
            interval.h[l] = R::ZERO;
        }
        (interval, moving)
    }

    /// One step of an adjoint that recomputes the states: from the state at the step's end, in `room.y`, to that at its
    /// start.
    fn step_without_tape(
        &self,
        tile: &Tile<R>,
        step: usize,
        room: &mut BackwardRoom<R>,
        theta_bar: &mut [R],
        bar: &mut [R],
    ) -> usize {
        let Some(diffusion) = &self.stepper.diffusion else { return 0 };
        let (interval, moving) = self.interval(tile, step);
        let inside = self.seed_saves(tile, &interval, &moving, room, bar);
        if self.every_step {
            add_weighted(bar, &indicator(&moving), tile_slot(tile, step + 1));
        }
        let BackwardRoom { kept, vjp, y, resting, .. } = room;
        self.stepper.follow(&interval, &tile.trajectories, kept);
        if self.adjoint == Adjoint::Reversible {
            diffusion.undo(self.stepper, &interval, &moving, y, kept);
            let seeds = Seeds { error: None, stages: None, stiffness: None };
            self.remember(&moving, bar, resting);
            self.stepper.step_vjp(&interval.h, kept, &seeds, FirstStage::Everything, vjp, theta_bar, bar);
            self.recall(&moving, bar, resting);
        } else {
            diffusion.backsolve(self.stepper, &interval, y, kept, vjp, theta_bar, bar);
        }
        if inside {
            add(bar, &room.start_bar);
        }
        2
    }

    /// Puts the state before `step` into `room.y`: from the tape, or from the segment since the last checkpoint, whose
    /// steps are taken again up to this one if `refill`.
    pub(crate) fn restore(&self, tile: &Tile<R>, step: usize, room: &mut BackwardRoom<R>, refill: bool) {
        let inside = step % self.stride;
        let checkpoint = &tile.tape[step / self.stride];
        if inside == 0 {
            room.y.copy_from_slice(checkpoint);
            return;
        }
        if refill {
            while room.segment.len() <= inside {
                room.segment.push(vec![R::ZERO; room.y.len()]);
            }
            room.segment[0].copy_from_slice(checkpoint);
            for i in 0..inside {
                let interval = self.steps.interval(tile, step - inside + i);
                let (before, after) = room.segment.split_at_mut(i + 1);
                self.stepper.follow(&interval, &tile.trajectories, &mut room.kept);
                self.stepper.keep(&interval, &before[i], &mut room.kept, false);
                self.stepper.end(&interval, &before[i], &room.kept, &mut after[0]);
            }
        }
        room.y.copy_from_slice(&room.segment[inside]);
    }

    fn step(
        &self,
        tile: &Tile<R>,
        step: usize,
        room: &mut BackwardRoom<R>,
        theta_bar: &mut [R],
        bar: &mut [R],
    ) -> usize {
        let (interval, moving) = self.interval(tile, step);
        if moving.contains(&false) {
            rest_unless(&mut room.y, &moving);
        }
        let inside = self.seed_saves(tile, &interval, &moving, room, bar);
        if self.every_step {
            add_weighted(bar, &indicator(&moving), tile_slot(tile, step + 1));
        }
        self.stepper.follow(&interval, &tile.trajectories, &mut room.kept);
        self.stepper.keep(&interval, &room.y, &mut room.kept, inside);
        let seeds = Seeds { error: None, stages: inside.then_some(&room.stage_bars[..]), stiffness: None };
        let BackwardRoom { kept, vjp, resting, .. } = room;
        self.remember(&moving, bar, resting);
        self.stepper.step_vjp(&interval.h, kept, &seeds, FirstStage::Everything, vjp, theta_bar, bar);
        self.recall(&moving, bar, resting);
        if inside {
            add(bar, &room.start_bar);
        }
        let stages = self.stepper.tableau.stages();
        stages - usize::from(self.stepper.fsal && !inside)
    }

    /// Keeps the cotangents of lanes that rest in a step of a method with a second state: even a step without length
    /// exchanges the two states' cotangents.
    fn remember(&self, moving: &[bool; LANES], bar: &[R], resting: &mut Vec<R>) {
        if self.stepper.reversible() && moving.contains(&false) {
            resting.clear();
            resting.extend_from_slice(bar);
        }
    }

    /// Puts them back.
    fn recall(&self, moving: &[bool; LANES], bar: &mut [R], resting: &[R]) {
        if self.stepper.reversible() && moving.contains(&false) {
            select(bar, &moving.map(|moves| !moves), resting);
        }
    }

    /// Hands out the cotangents of the states saved in this step: those at its end to `bar`, those within to the
    /// stages and the start, `y(t) = y + h sum b_i(theta) k_i`. Whether there were any within.
    fn seed_saves(
        &self,
        tile: &Tile<R>,
        interval: &Interval<R>,
        moving: &[bool; LANES],
        room: &mut BackwardRoom<R>,
        bar: &mut [R],
    ) -> bool {
        let mut any_inside = false;
        let ends = || interval.t0.iter().chain(&interval.t1);
        let (first, last) =
            (ends().copied().fold(f64::INFINITY, f64::min), ends().copied().fold(f64::NEG_INFINITY, f64::max));
        for point in self.saves.iter().filter(|p| (first..=last).contains(&p.t)) {
            let here: [bool; LANES] =
                std::array::from_fn(|l| moving[l] && within(point.t, interval.t0[l], interval.t1[l]));
            if !here.contains(&true) {
                continue;
            }
            let save_bar = tile_slot(tile, point.slot);
            let inside: [bool; LANES] = std::array::from_fn(|l| here[l] && point.t != interval.t1[l]);
            add_weighted(bar, &indicator(&std::array::from_fn(|l| here[l] && !inside[l])), save_bar);
            if !inside.contains(&true) || save_bar.iter().all(|&x| x == R::ZERO) {
                continue;
            }
            if !any_inside {
                let stages = if self.stepper.diffusion.is_some() { 0 } else { self.stepper.tableau.stages() };
                room.clear_stage_bars(stages, tile.features());
                any_inside = true;
            }
            if self.stepper.diffusion.is_some() {
                let [start, end] = chord_weights(interval, point.t, &inside);
                add_weighted(&mut room.start_bar, &start, save_bar);
                add_weighted(bar, &end, save_bar);
                continue;
            }
            let weights = interior_weights(self.stepper, interval, point.t, &inside);
            for (stage_bar, weight) in room.stage_bars.iter_mut().zip(&weights) {
                add_weighted(stage_bar, weight, save_bar);
            }
            add_weighted(&mut room.start_bar, &indicator(&inside), save_bar);
        }
        any_inside
    }
}

/// Adds the cotangent of a second state, which starts as the first one, to that one's.
pub(crate) fn fold_second<R: Scalar>(bar: &mut [R], n: usize) {
    let (first, second) = bar.split_at_mut(n);
    if !second.is_empty() {
        add(first, second);
        second.fill(R::ZERO);
    }
}

fn tile_slot<R: Scalar>(tile: &Tile<R>, slot: usize) -> &[R] {
    &tile.saves_bar[slot * tile.features()..][..tile.features()]
}

/// 1 where the mask holds, else 0.
fn indicator<R: Scalar>(mask: &[bool; LANES]) -> Lanes<R> {
    mask.map(|m| if m { R::ONE } else { R::ZERO })
}
