//! The bytes that an engine holds, told before they are.

use std::num::NonZero;

use super::Engine;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::regularize::pointwise::PointRoom;
use crate::error::Error;
use crate::memory::{self, Size};
use crate::method::{Asked, Keep, Layout, Measure, PointDraws, SaveAt, StepControl};
use crate::problem::Times;
use crate::solution::Workspace;

impl<R: Scalar> Engine<R> {
    /// Bytes of a solve with `steps` accepted steps and, with a `tape`, of its backward pass; penalties aside.
    pub(crate) fn workspace(&self, batch: usize, steps: usize, tape: bool) -> Workspace {
        let tiles = batch.div_ceil(LANES);
        let array = Size(self.dim() * LANES).bytes::<R>();
        let (state, noise) = self.noise_bytes(array.0);
        let every_step = matches!(self.options.save_at, SaveAt::Steps | SaveAt::Dense);
        let keep = self.options.adjoint.keep(self.options.method);
        let stride = keep.stride().filter(|_| tape).map(NonZero::get);
        let initial = usize::from(tape && keep == Keep::Initial);
        let kept = Size(if every_step { steps } else { stride.map_or(initial, |stride| steps.div_ceil(stride)) });
        let slots = if every_step { Size(steps) + 1 } else { Size(2 * self.user_slots()) };
        let stages = self.options.method.tableau().stages();
        let is_dense = self.options.save_at == SaveAt::Dense || (tape && keep == Keep::Dense);
        let stages_kept = if is_dense { (Size(steps) + 1) * stages } else { Size(0) };
        // An ensemble keeps the ends of each lane's steps, in a list that grows by doubling.
        let ensemble = self.options.layout == Layout::Ensemble;
        let ends = if ensemble && (tape || every_step) {
            let room = steps.checked_next_power_of_two().unwrap_or(usize::MAX).max(4);
            Size(room) * (2 * LANES * size_of::<f64>())
        } else {
            Size(0)
        };
        let (threads, shards) = self.parallelism(batch);
        // With checkpoints, the states of a segment; without a tape, an ensemble streams through one more tile.
        let states = (slots + 5) * array + noise;
        let segment = stride.filter(|&stride| stride > 1).map_or(Size(0), |stride| stride.min(steps) * array);
        let streaming = if ensemble && !tape && !every_step { states } else { Size(0) };
        // Cotangents of a step's stages and start, which states saved within the step have.
        let within = self.times().is_some() || matches!(self.options.save_at, SaveAt::Times(_));
        let interior = if within { (stages + 1) * array } else { Size(0) };
        let gradients = if tape { shards + 1 } else { 1 };
        let [shared, own] = if tape { self.controls.numbers(&self.problem) } else { [0, 0] };
        let controls = self.team.shape().networks() * 2 * Size((shared + own) * LANES).bytes::<R>();
        Workspace {
            states: (tiles * (states + Size(own * LANES).bytes::<R>())).0,
            tape: (tiles * (kept * state + stages_kept * array + ends)).0,
            parameters: (Size(gradients) * (self.parameters() + shared))
                .bytes::<R>()
                .0
                .saturating_add(self.packed_bytes()),
            rooms: (threads * (segment + interior + streaming + 2 * array + controls + self.room_bytes())).0,
        }
    }

    /// Steps whose states are kept, as far as that is known before the solve.
    pub(super) fn certain_steps(&self, tape: bool) -> usize {
        let kept = tape || matches!(self.options.save_at, SaveAt::Steps | SaveAt::Dense);
        match self.options.step_control {
            StepControl::Fixed { steps } if kept => steps,
            _ => 0,
        }
    }

    /// Bytes that the engine and its owner hold in such a solve.
    pub(super) fn needed(&self, batch: usize, steps: usize, tape: bool, asked: &Asked) -> Size {
        let probes =
            asked.local.as_ref().map_or(0, |d| self.probe_bytes(batch, d.penalty.fraction * d.penalty.times as f64));
        let errors = asked.global.map_or(Size(0), |of| self.measured_bytes(batch, steps, of.measure));
        self.owner.bytes + self.workspace(batch, steps, tape).total() + probes + errors + self.point_bytes(batch, asked)
    }

    /// Bytes of measures at random times and over all steps: packed weights, each thread's rooms, states with their cotangents,
    /// and the cotangents of a step's stages.
    pub(crate) fn point_bytes(&self, batch: usize, asked: &Asked) -> Size {
        let fields = asked.pointwise.iter().filter_map(|draws| self.measures.get(draws.penalty.measure));
        let threads = self.parallelism(batch).0;
        let rooms = Size(threads) * fields.map(PointRoom::bytes).sum::<usize>();
        let over_steps = asked.pointwise.iter().any(|draws| draws.penalty.quadrature);
        let arrays = if over_steps { self.options.method.tableau().stages() + 2 } else { 0 };
        let stages = Size(threads * arrays) * (self.dim() * LANES);
        let slots: usize = asked.pointwise.iter().map(PointDraws::slots).sum();
        let states = Size(2 * slots * batch.div_ceil(LANES)) * (self.dim() * LANES);
        rooms + (states + stages).bytes::<R>() + self.measures.bytes()
    }

    /// Bytes of what is measured of an ensemble's steps, in lists that grow by doubling, and of rooms for its cotangents.
    pub(crate) fn measured_bytes(&self, batch: usize, steps: usize, measure: Measure) -> Size {
        let room = steps.checked_next_power_of_two().unwrap_or(usize::MAX).max(4);
        let parts = if measure == Measure::Stiffness { 2 } else { 1 };
        let lists = match self.options.layout {
            Layout::Ensemble => batch.div_ceil(LANES) * Size(room) * (parts * LANES),
            Layout::Lockstep => Size(0),
        };
        let shape = self.team.shape();
        let rooms = Size(self.parallelism(batch).0) * ((shape.features + 3 * shape.rows) * LANES);
        (lists + rooms).bytes::<R>()
    }

    /// The error of a solve that needs more than `limit` bytes.
    pub(super) fn beyond(&self, limit: usize, batch: usize, steps: usize, tape: bool, asked: &Asked) -> Error {
        // Half the batch with as many steps again: a smaller batch's steps are other ones.
        let fits = |tiles: usize| self.needed(tiles * LANES, steps.saturating_mul(2), tape, asked) <= Size(limit);
        let largest_batch = memory::largest((batch - 1) / LANES, fits) * LANES;
        Error::Memory { needed: self.needed(batch, steps, tape, asked).0, limit, steps, batch, largest_batch }
    }

    /// Accepted steps of this batch that fit into `limit` bytes.
    pub(super) fn fitting_steps(&self, limit: usize, tape: bool, asked: &Asked) -> usize {
        memory::largest(self.options.most_attempts(), |steps| {
            self.needed(self.batch, steps, tape, asked) <= Size(limit)
        })
    }

    fn packed_bytes(&self) -> usize {
        self.team.scheme_bytes().packed
    }

    /// Bytes of a state, and of what a tile holds only with noise or a second state, where one feature array has `array` bytes.
    fn noise_bytes(&self, array: usize) -> (usize, usize) {
        let shape = self.team.shape();
        let second = shape.rows / shape.features;
        if shape.networks() == 1 {
            return (second * array, 3 * (second - 1) * array);
        }
        // Two diffusions, and two cuts of the path: increments before and after each, four numbers a pair of channels.
        let noise = 2 * array + 16 * (array / self.dim()) * self.dim().div_ceil(2);
        (second * array, noise + 3 * (second - 1) * array)
    }

    /// Bytes of a thread's room.
    fn room_bytes(&self) -> Size {
        let bytes = self.team.scheme_bytes();
        let equation = if self.options.adjoint.is_solved(self.options.method) {
            // Its stages, each with a cotangent and that one's slope, and arrays beside them.
            let arrays = 2 * self.options.method.tableau().stages() + 6;
            bytes.kept + arrays * self.dim() * LANES * size_of::<R>()
        } else {
            0
        };
        self.owner.room + bytes.room + equation
    }

    /// Bytes of a penalty's probes, of which there are `tiles` for each of the batch's tiles on average.
    pub(crate) fn probe_bytes(&self, batch: usize, tiles: f64) -> usize {
        let one = self.team.scheme_bytes().kept + 5 * self.team.shape().rows * LANES * size_of::<R>();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a small number")]
        let count = (batch.div_ceil(LANES) as f64 * tiles).ceil() as usize;
        count.saturating_mul(one)
    }

    /// Bytes that the engine holds.
    pub(crate) fn bytes(&self) -> usize {
        let rooms = self.team.seated() * self.room_bytes();
        let own = self.times().map_or(0, Times::bytes);
        self.team.bytes() + rooms.0 + self.packed_bytes() + self.controls.bytes() + own
    }
}
