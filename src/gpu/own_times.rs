//! Times of trajectories' own on a device: their records among the points, and what goes with them there.
//!
//! The clock of a solve counts shares of each row's interval (`shaders/lib/own_intervals.wgsl`), so that both layouts take the
//! same steps as on one interval. Records have room for as many points as any batch had: what was recorded serves other times.

use super::buffers::{BEFORE_POINTS, Buffers};
use super::engine::Engine;
use super::iterations::POINTS_AT_START;
use super::wire::records::ticks;
use super::wire::word;
use crate::error::{Error, Result};
use crate::math::Real;
use crate::method::own_times_fit;
use crate::problem::{Problem, Times, settled, shortest_step};

impl Engine {
    /// Gives the solves that follow intervals and saved times of their trajectories' own, or takes them back. Whether buffers,
    /// and what was recorded for them, are no longer what they have to be.
    ///
    /// # Errors
    /// [`Error::Argument`] for a problem or options that take none, on any engine or on a device.
    pub(crate) fn set_times(&mut self, times: Option<Times>) -> Result<bool> {
        let mut stops = Vec::new();
        if let Some(times) = &times {
            let given = Problem { t1: self.given.0, ..self.problem.clone() };
            let covering = own_times_fit(times, &given, &self.options)?;
            self.check_reach_of(times)?;
            stops = self.options.reachable_stops(&covering)?;
        }
        let before = self.told_of_times();
        self.own_stops = stops;
        self.own_slots = times.as_ref().map_or(0, |times| self.room_for(times.slots()));
        self.kernels.own_times = times.is_some();
        self.times = times;
        Ok(self.told_of_times() != before)
    }

    /// Has the solves that follow those of some of the rows whose times it has been given. Whether buffers, and what was recorded
    /// for them, are no longer what they have to be.
    pub(crate) fn choose_times(&mut self, rows: Times) -> bool {
        let before = self.told_of_times();
        self.times = Some(rows);
        self.told_of_times() != before
    }

    /// Points for which records have room: those that there are, or twice as many where there are too few.
    fn room_for(&self, slots: usize) -> usize {
        if slots <= self.own_slots { self.own_slots } else { slots.max((2 * self.own_slots).min(POINTS_AT_START)) }
    }

    /// What buffers, kernels and jobs depend on.
    fn told_of_times(&self) -> impl PartialEq + use<> {
        (self.record_entries(), self.head(0).span.to_bits(), self.of_interval(Default::default()))
    }

    /// Refuses what the native engine does with such times and a device does not yet.
    fn check_reach_of(&self, times: &Times) -> Result<()> {
        if let Some(control) = self.problem.controls.iter().find(|control| control.times.len() > 1) {
            let remedy =
                "beside trajectories' own times a device has only constant controls yet: use Solver or Trainer";
            return Err(Error::argument("Problem::controls", &control.name, remedy));
        }
        let lost = |[t0, t1]: [f64; 2]| {
            let ends = [t0, t1 - t0].map(f32::from_f64);
            t0 != t1 && (ends.iter().any(|end| !end.is_finite()) || !ends[1].is_normal())
        };
        if let Some(row) = times.spans().position(lost) {
            let [t0, t1] = times.span(row);
            let remedy = "a device has intervals at f32: use another unit of time, or Solver or Trainer";
            return Err(Error::argument("Times", format!("row {row}: [{t0}, {t1}]"), remedy));
        }
        if times.slots() > POINTS_AT_START {
            let remedy =
                format!("a device saves at most {POINTS_AT_START} times of a row's own: use Solver or Trainer");
            return Err(Error::argument("Times", format!("{} times of a row", times.slots()), remedy));
        }
        Ok(())
    }

    /// Checks that own times are those of a batch, and that what is asked for goes with them on a device.
    ///
    /// # Errors
    /// [`Error::Argument`] for another batch, and for a drawn end.
    pub(crate) fn check_times(&self, batch: usize, end: Option<f64>) -> Result<()> {
        let Some(times) = &self.times else { return Ok(()) };
        times.check_batch(batch)?;
        if let Some(end) = end {
            let remedy = "trajectories with times of their own end where these say: leave EndTime out";
            return Err(Error::argument("Regularizer::EndTime", end, remedy));
        }
        Ok(())
    }

    /// Refuses own times where a call knows none.
    ///
    /// # Errors
    /// [`Error::Argument`] where there are any.
    pub(crate) fn refuse_times(&self, remedy: &str) -> Result<()> {
        match &self.times {
            None => Ok(()),
            Some(times) => Err(Error::argument("Times", format!("{} rows", times.rows()), remedy)),
        }
    }

    /// What kernels bind besides that look for a row's record and have the points for nothing else.
    pub(crate) fn records<'b>(&self, buffers: &'b Buffers) -> Option<&'b wgpu::Buffer> {
        self.times.as_ref().map(|_| &buffers.points)
    }

    /// Whether no time passes.
    pub(crate) fn stands_still(&self) -> bool {
        self.times.as_ref().map_or_else(|| self.problem.stands_still(), Times::stand_still)
    }

    /// Start and signed length of the interval that steps are shares of.
    pub(super) fn clock_interval(&self) -> [f64; 2] {
        match &self.times {
            None => [self.problem.t0, self.problem.t1 - self.problem.t0],
            Some(times) => [0.0, if times.stand_still() { 0.0 } else { 1.0 }],
        }
    }

    /// In which unit lengths of steps are given, as shares of the clock's interval, and the shortest that time resolves. Of an
    /// ensemble with times of its own the rows' records say so.
    pub(super) fn lengths(&self) -> [f64; 2] {
        let Problem { t0, t1, .. } = self.problem;
        match &self.times {
            None => [(t1 - t0).abs(), shortest_step(t0, t1, t1 - t0) / (t1 - t0).abs()],
            Some(_) if self.per_row() => [1.0, shortest_step(0.0, 1.0, 1.0)],
            Some(times) => [times.longest(), shortest_step(0.0, 1.0, 1.0)],
        }
    }

    /// Points at which the caller wants states; of own times as many as there is room for.
    pub(crate) fn point_count(&self) -> usize {
        if self.times.is_some() { self.own_slots } else { self.user_points().len() }
    }

    /// Points that a solution has of each row.
    pub(crate) fn slots(&self) -> usize {
        self.times.as_ref().map_or_else(|| self.user_points().len(), Times::slots)
    }

    /// Says to a batch's buffers which times its trajectories have, of which there are so many to a row of the times.
    pub(crate) fn use_times(&self, buffers: &Buffers, copies: usize) {
        let Some(times) = &self.times else { return };
        let (first, length) = (buffers.sizes.first_record(), self.record_entries());
        let mut entries = Vec::with_capacity(times.rows() * copies * length);
        for row in (0..times.rows()).flat_map(|row| std::iter::repeat_n(row, copies)) {
            let end = entries.len() + length;
            entries.extend(self.record(times.span(row), times.saved(row)));
            entries.resize(end, [0; 2]);
        }
        let write = |at: usize, entries: &[[u32; 2]]| {
            self.gpu.queue.write_buffer(&buffers.points, 8 * at as u64, bytemuck::cast_slice(entries));
        };
        write(0, &[[word(first), word(length)]]);
        write(first, &entries);
    }

    /// Entries of a row's record.
    pub(super) fn record_entries(&self) -> usize {
        BEFORE_POINTS + self.own_slots + self.own_stops.len()
    }

    /// A row's record.
    fn record(&self, [t0, t1]: [f64; 2], saved: &[f64]) -> Vec<[u32; 2]> {
        let span = t1 - t0;
        let resolved = if span == 0.0 { 0.0 } else { shortest_step(t0, t1, span) / span.abs() };
        let bits = |x: f64| f32::from_f64(x).to_bits();
        let share = |t: f64| if t == t1 && span != 0.0 { 1.0 } else { ((t - t0) / span).clamp(0.0, 1.0) };
        let point = |t: &f64| if span == 0.0 { ticks(0.0) } else { ticks(share(*t)) };
        let inside = |t: &&f64| (**t - t0) * span > 0.0 && (t1 - **t) * span > 0.0 && settled(**t, [t1; 2]) != t1;
        let stops: Vec<[u32; 2]> = self.own_stops.iter().filter(inside).map(point).collect();
        let head = [
            [bits(t0), bits(span)],
            [word(saved.len()), bits(resolved)],
            [word(stops.len()), word(BEFORE_POINTS + saved.len())],
        ];
        head.into_iter().chain(saved.iter().map(point)).chain(stops).collect()
    }

    /// Where a trajectory with times of its own came to a saved one, from the ticks that it reached.
    pub(super) fn reached_own(&self, row: usize, slot: usize, reached: [u32; 2]) -> bool {
        let Some(times) = &self.times else { return false };
        let record = self.record(times.span(row), times.saved(row));
        record.get(BEFORE_POINTS + slot).is_some_and(|point| *point <= reached)
    }
}
