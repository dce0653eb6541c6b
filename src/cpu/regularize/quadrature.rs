//! Measures over all accepted steps: at every stage of every step, weighted as the method weights its stages.
//!
//! `R = sum_steps |h| sum_i b_i rho(t + c_i h, Y_i)` is what the method makes of one more equation `dR/dt = rho`, of which its
//! error estimate knows nothing. The stages are there again when the walk comes back over a step.

use super::pointwise::{PointRoom, Points};
use crate::cpu::adjoint::hook::At;
use crate::cpu::field::evaluate::Kept;
use crate::cpu::kernel::aligned::Aligned;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::lanes::{Lanes, add, add_weighted};
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::step::Scheme;
use crate::cpu::tile::Tile;
use crate::method::{PointMeasure, Tableau};

/// What measures are evaluated and differentiated in.
#[derive(Debug)]
pub(crate) struct Rooms<R> {
    /// By the measures' places; allocated when they are first measured.
    pub(crate) points: [Option<PointRoom<R>>; PointMeasure::COUNT],
    /// The cotangent of the state that the last step began with.
    start: Vec<R>,
}

impl<R> Default for Rooms<R> {
    fn default() -> Self {
        Self { points: [const { None }; PointMeasure::COUNT], start: Vec::new() }
    }
}

/// The measures of a tile that are taken over all steps.
#[derive(Debug)]
pub(crate) struct Quadratures<'a, R> {
    points: &'a [Points<'a, R>],
    rooms: Rooms<R>,
    /// What the steps so far add to `R`, by the measures' places.
    values: [f64; PointMeasure::COUNT],
}

/// Stages that have a part in a step's end.
pub(crate) fn weighted_stages(tableau: &Tableau) -> usize {
    tableau.b.iter().rposition(|b| *b != 0.0).map_or(0, |last| last + 1)
}

impl<'a, R: Scalar> Quadratures<'a, R> {
    /// Those of a tile; `None` where nothing of it is measured.
    pub(crate) fn of(points: &'a [Points<'a, R>], tile: &Tile<R>, rooms: &mut Rooms<R>) -> Option<Self> {
        if !points.iter().any(|points| points.over_steps(tile)) {
            return None;
        }
        let rooms = std::mem::take(rooms);
        Some(Self { points, rooms, values: [0.0; PointMeasure::COUNT] })
    }

    /// Gives the rooms back, and the tile its values.
    pub(crate) fn end(self, tile: &mut Tile<R>, rooms: &mut Rooms<R>) {
        *rooms = self.rooms;
        for (sum, value) in tile.points.iter_mut().zip(self.values) {
            *sum += value;
        }
    }

    /// A kept step's measures: their cotangents of its stages, and of the parameters.
    pub(crate) fn step<S: Scheme<Real = R>>(
        &mut self,
        at: &At<'_, S>,
        kept: &S::Kept,
        bars: &mut [Aligned<R>],
        theta_bar: &mut [R],
    ) {
        let Self { points, rooms: Rooms { points: rooms, start }, values } = self;
        start.clear();
        start.resize(at.tile.features() * LANES, R::ZERO);
        let scheme = &at.track.stepper.scheme;
        let (tableau, stages) = (scheme.tableau(), &scheme.drift(kept).points);
        let lengths: Lanes<f64> = std::array::from_fn(|l| at.interval.t1[l] - at.interval.t0[l]);
        for points in points.iter().filter(|points| points.over_steps(at.tile)) {
            let index = points.draws.penalty.measure.index();
            let Some(room) = &mut rooms[index] else { continue };
            for (i, stage) in stages.iter().enumerate().filter(|(i, _)| tableau.b[*i] != 0.0) {
                let shares = lengths.map(|h| tableau.b[i] * h.abs());
                values[index] += points.stage(at, i, stage, &shares, room, theta_bar);
                if let Some(state_bar) = points.state_bar(room) {
                    // Of a stage's state y + h sum a_ij k_j.
                    add(start, state_bar);
                    for (bar, a) in bars.iter_mut().zip(tableau.a[i]) {
                        add_weighted(bar, &at.interval.h.map(|h| R::from_f64(*a) * h), state_bar);
                    }
                }
            }
        }
    }

    /// Adds to the cotangent of the state that the last step began with.
    pub(crate) fn add_start(&self, bar: &mut [R]) {
        add(bar, &self.rooms.start);
    }
}

impl<R: Scalar> Points<'_, R> {
    /// Whether the tile is measured, over all steps.
    pub(crate) fn over_steps(&self, tile: &Tile<R>) -> bool {
        self.draws.penalty.quadrature && !self.rests(tile)
    }

    /// The measure at a stage.
    fn stage<S: Scheme<Real = R>>(
        &self,
        at: &At<'_, S>,
        i: usize,
        stage: &Kept<R>,
        shares: &Lanes<f64>,
        room: &mut PointRoom<R>,
        theta_bar: &mut [R],
    ) -> f64 {
        room.place(stage.state());
        let t = at.interval.stage_time(at.track.stepper.scheme.tableau().c[i]);
        self.evaluated(&t, shares, at.moving, room, theta_bar)
    }
}
