//! Measures of the dynamics at random times: a program outside of the solve, at states that the solve has saved. Those over all
//! steps are in [`integrals`](super::integrals).
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
use crate::gpu::wire::modes::{Direction, PointSum, Store};
use crate::gpu::wire::word;
use crate::math::Real;
use crate::method::{PenaltyGradient, PointPenalty, Regularizer, penalised_rows};

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

impl<'a> Recorder<'a, '_> {
    /// Records a measure at its random times: its value in the outcome, its part of the gradient in the partial ones, and the
    /// cotangents of the states among those of saved ones.
    pub(super) fn points(&mut self, penalty: PointPenalty) {
        let buffers = self.buffers;
        let Some(of) = self.measured(penalty) else { return };
        let first = buffers.sizes.purpose.first_of_draws(penalty.times);
        for n in 0..penalty.times {
            self.place_point(of, penalty, Some(first + n));
            self.outside_values(of, true, (&buffers.norms, 0));
            self.point_value(of, penalty, (PointSum::Drawn, n, 1.0 / penalty.times as f64));
            let full = penalty.gradient == PenaltyGradient::Full;
            self.outside_back(of, full.then_some(&buffers.bar));
            if full {
                self.add_point_bar(of, first + n);
            }
        }
    }

    /// A measure's program, in its own room.
    pub(super) fn measured(&self, penalty: PointPenalty) -> Option<Outside<'a>> {
        let (engine, buffers) = (self.engine, self.buffers);
        Some(Outside {
            program: engine.measures[penalty.measure.index()].as_ref()?,
            times: 1,
            trajectories: penalised_rows(self.rows, penalty.fraction),
            // Nobody's any more: penalised steps come first.
            cursors: &buffers.probe_cursors,
            measures: true,
            values: [&buffers.point_values0, &buffers.point_values1],
            bars: [&buffers.point_bars0, &buffers.point_bars1],
        })
    }

    /// The states of a draw, or those that are there; and what is random or constant in the measure.
    pub(super) fn place_point(&mut self, of: Outside<'_>, penalty: PointPenalty, draw: Option<usize>) {
        let (engine, buffers) = (self.engine, self.buffers);
        let purpose = buffers.sizes.purpose;
        let place = engine.kernels.get(&kernel::POINT_PLACE, &[]);
        let head = Head { mode: Direction::from(penalty.measure).into(), ..engine.head(of.trajectories) };
        let first = engine.first_draw(purpose);
        let args = PointPlaceArgs {
            batch: word(self.rows),
            first: word(first),
            draw: word(draw.unwrap_or(0)),
            start: word(engine.point_count()),
            end: word(first + purpose.draws()),
            placed: u32::from(draw.is_none()),
        };
        let bound = [&buffers.row_status, &engine.params, &buffers.points, &buffers.saves, of.cursors, of.values[0]];
        self.planner.add(&place, &bound, head, args, flat((of.trajectories * engine.dim()).div_ceil(64)));
    }

    /// The penalty so far, of which the `n`-th part is the first if it is 0, and the measures' cotangents.
    pub(super) fn point_value(
        &mut self,
        of: Outside<'_>,
        penalty: PointPenalty,
        (over, n, share): (PointSum, usize, f64),
    ) {
        let (engine, buffers) = (self.engine, self.buffers);
        let value = engine.kernels.get(&kernel::POINT_VALUE, &[]);
        let args =
            PointValueArgs { measure: word(penalty.measure.index()), number: word(n), share: f32::from_f64(share) };
        let head = Head { mode: over.into(), ..engine.head(of.trajectories) };
        let mut bound =
            vec![&buffers.row_status, &engine.params, of.cursors, &buffers.norms, of.bars[0], &engine.outcome];
        bound.extend(engine.records(buffers));
        self.planner.add(&value, &bound, head, args, [1, 1, 1]);
    }

    /// Adds the states' cotangents at a draw to those of the saved state.
    fn add_point_bar(&mut self, of: Outside<'_>, draw: usize) {
        let (engine, buffers) = (self.engine, self.buffers);
        let store = engine.kernels.get(&kernel::PROBE_STORE, &[]);
        let head = Head { mode: Store::Add.into(), ..engine.head(of.trajectories) };
        let slot = self.rows * engine.dim();
        let target = word(engine.first_draw(buffers.sizes.purpose) * slot);
        let args = ProbeStoreArgs { source: 0, target, draw: word(draw), slot: word(slot) };
        let bound = [&buffers.row_status, &engine.params, &buffers.bar, &buffers.saves_bar];
        self.planner.add(&store, &bound, head, args, flat((of.trajectories * engine.dim()).div_ceil(64)));
    }
}
