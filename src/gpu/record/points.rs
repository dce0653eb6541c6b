//! Measures of the dynamics at random times: a program outside of the solve, at states that the solve has saved.
//!
//! The draws are saved states after the caller's, at the same times for all regularizers, between those at the interval's ends
//! where a chord is measured. A measure is a mean over features (`PointMeasure::density`), so that its cotangent is the same
//! number for every trajectory that did not fail.

use super::Recorder;
use super::outside::Outside;
use crate::error::Result;
use crate::gpu::buffers::Purpose;
use crate::gpu::engine::Engine;
use crate::gpu::kernel;
use crate::gpu::plan::flat;
use crate::gpu::schedule::Schedules;
use crate::gpu::wire::args::{PointPlaceArgs, PointValueArgs, ProbeStoreArgs};
use crate::gpu::wire::head::Head;
use crate::gpu::wire::modes::{Direction, Store};
use crate::gpu::wire::records::{Params, ticks};
use crate::gpu::wire::word;
use crate::math::Real;
use crate::method::{PenaltyGradient, PointDraws, PointPenalty, Regularizer, penalised_rows};

/// Says what the measures at points of a training step are: their coefficients, and their times in ticks.
pub(crate) fn set_points<'a>(params: &mut Params, points: impl IntoIterator<Item = &'a PointDraws>) {
    for draws in points {
        params.measures[draws.penalty.measure.index()] = f32::from_f64(draws.penalty.coefficient);
        for (n, time) in params.times.iter_mut().enumerate().take(draws.points()) {
            *time = ticks(draws.position(n));
        }
    }
}

impl Engine {
    /// Schedules a regularizer's measures at points.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) for a field that has none of these, or whose device computes none.
    pub(crate) fn schedule_measures(&mut self, regularizer: &Regularizer) -> Result<()> {
        let field = &self.problem.field;
        for PointPenalty { measure, .. } in regularizer.lower(0).pointwise.into_iter().flatten() {
            let known = &mut self.measures[measure.index()];
            if known.is_none() {
                let (program, ends) = (measure.density(field)?, [field.inputs(), 1]);
                let schedules = Schedules::of("regularizer", &program, &field.frozen(), ends, self.first, &[])?;
                Self::check_widths(schedules.layers(), 0)?;
                *known = Some(Box::new(schedules));
            }
        }
        Ok(())
    }

    /// The save slot of the first random time.
    pub(crate) fn first_draw(&self, purpose: Purpose) -> usize {
        self.point_count() + usize::from(purpose.saves_ends())
    }

    /// Numbers of a trajectory in the parts of the measures' memory, and of that of their ways back.
    pub(crate) fn measure_widths(&self, purpose: Purpose) -> [usize; 4] {
        let asked = purpose.points.iter().flatten().filter_map(|p| self.measures[p.measure.index()].as_ref());
        asked.fold([0; 4], |[a, b, c, d], of| {
            let ([kept0, kept1], [bar0, bar1]) = (of.kept_widths(), of.bar_widths());
            [a.max(kept0), b.max(kept1), c.max(bar0), d.max(bar1)]
        })
    }
}

impl Recorder<'_, '_> {
    /// Records a measure at its random times: its value in the outcome, its part of the gradient in the partial ones, and the
    /// cotangents of the states among those of saved ones.
    pub(super) fn points(&mut self, penalty: PointPenalty) {
        let (engine, buffers) = (self.engine, self.buffers);
        let Some(program) = &engine.measures[penalty.measure.index()] else { return };
        let of = Outside {
            program,
            times: 1,
            trajectories: penalised_rows(self.rows, penalty.fraction),
            // Nobody's any more: penalised steps come first.
            cursors: &buffers.probe_cursors,
            values: [&buffers.point_values0, &buffers.point_values1],
            bars: [&buffers.point_bars0, &buffers.point_bars1],
        };
        for n in 0..penalty.times {
            self.place_point(of, penalty, n);
            self.outside_values(of, true, (&buffers.norms, 0));
            self.point_value(of, penalty, n);
            let full = penalty.gradient == PenaltyGradient::Full;
            self.outside_back(of, full.then_some(&buffers.bar));
            if full {
                self.add_point_bar(of, n);
            }
        }
    }

    /// The states at the n-th time, and what is random or constant in the measure.
    fn place_point(&mut self, of: Outside<'_>, penalty: PointPenalty, n: usize) {
        let (engine, buffers) = (self.engine, self.buffers);
        let purpose = buffers.sizes.purpose;
        let place = engine.kernels.get(&kernel::POINT_PLACE, &[]);
        let head = Head { mode: Direction::from(penalty.measure).into(), ..engine.head(of.trajectories) };
        let first = engine.first_draw(purpose);
        let args = PointPlaceArgs {
            batch: word(self.rows),
            save: word(first + n),
            start: word(engine.point_count()),
            end: word(first + purpose.draws()),
        };
        let bound = [&buffers.row_status, &engine.params, &buffers.points, &buffers.saves, of.cursors, of.values[0]];
        self.planner.add(&place, &bound, head, args, flat((of.trajectories * engine.dim()).div_ceil(64)));
    }

    /// The penalty so far, and the measures' cotangents.
    fn point_value(&mut self, of: Outside<'_>, penalty: PointPenalty, n: usize) {
        let (engine, buffers) = (self.engine, self.buffers);
        let value = engine.kernels.get(&kernel::POINT_VALUE, &[]);
        let args = PointValueArgs {
            measure: word(penalty.measure.index()),
            number: word(n),
            share: f32::from_f64(1.0 / penalty.times as f64),
        };
        let bound = [&buffers.row_status, &engine.params, &buffers.norms, of.bars[0], &engine.outcome];
        self.planner.add(&value, &bound, engine.head(of.trajectories), args, [1, 1, 1]);
    }

    /// Adds the states' cotangents at the n-th time to those of the saved state.
    fn add_point_bar(&mut self, of: Outside<'_>, n: usize) {
        let (engine, buffers) = (self.engine, self.buffers);
        let store = engine.kernels.get(&kernel::PROBE_STORE, &[]);
        let head = Head { mode: Store::Add.into(), ..engine.head(of.trajectories) };
        let slot = engine.first_draw(buffers.sizes.purpose) + n;
        let args = ProbeStoreArgs { source: 0, target: word(slot * self.rows * engine.dim()) };
        let bound = [&buffers.row_status, &buffers.bar, &buffers.saves_bar];
        self.planner.add(&store, &bound, head, args, flat((of.trajectories * engine.dim()).div_ceil(64)));
    }
}
