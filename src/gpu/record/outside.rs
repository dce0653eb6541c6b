//! [`Outside`]: programs that stand before the equation or after it, an encoder or a head; and what measures its states.
//!
//! They are recorded as the stages of a field are, for all rows: no cursor decides, but one may say what the time is. A failed
//! trajectory's values, which may be anything, are taken to zero before the way back, where its rows rest.

use super::Recorder;
use super::program::Pass;
use crate::gpu::kernel;
use crate::gpu::plan::flat;
use crate::gpu::schedule::{Memory, Schedules, Way};
use crate::gpu::wire::args::{CopyArgs, SettleArgs};
use crate::gpu::wire::head::Head;
use crate::gpu::wire::modes::{Settle, flag};
use crate::gpu::wire::word;

/// A program for a batch of rows that is no solve's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outside<'a> {
    pub(crate) program: &'a Schedules,
    /// Saved times: there is a row a trajectory, one time after the other.
    pub(crate) times: usize,
    /// How many trajectories there are, the batch's first ones.
    pub(crate) trajectories: usize,
    /// Of which the first says what the time is, where the program looks at it.
    pub(crate) cursors: &'a wgpu::Buffer,
    /// Whether it measures the solution: rows have their own times then, and those that rest no part in it.
    pub(crate) measures: bool,
    /// Room for values and for cotangents, in two parts each.
    pub(crate) values: [&'a wgpu::Buffer; 2],
    pub(crate) bars: [&'a wgpu::Buffer; 2],
}

impl Outside<'_> {
    const fn rows(&self) -> usize {
        self.times * self.trajectories
    }

    pub(super) const fn flags(&self) -> u32 {
        if self.measures { flag::MEASURE } else { 0 }
    }
}

impl Recorder<'_, '_> {
    /// Values of `input`, to `result` from a number on; `keep` leaves what the way back needs.
    pub(crate) fn outside(
        &mut self,
        of: Outside<'_>,
        keep: bool,
        input: &wgpu::Buffer,
        result: (&wgpu::Buffer, usize),
    ) {
        self.copy(input, of.values[0], of.rows() * of.program.ends[0]);
        self.outside_values(of, keep, result);
    }

    /// The same of an input that is where values begin.
    pub(super) fn outside_values(&mut self, of: Outside<'_>, keep: bool, result: (&wgpu::Buffer, usize)) {
        let own = of.values.map(|buffer| (buffer, 0));
        let keeping = if keep { flag::KEEP } else { 0 };
        let pass = Pass {
            way: Way::Forward,
            cursors: of.cursors,
            head: self.outside_head(of, of.program.ends[1], keeping),
            trajectories: of.trajectories,
            stage: 0,
            node: 0.0,
            theta: of.program.first,
            own,
            kept: own,
            result,
        };
        self.actions(&pass, if keep { &of.program.kept } else { &of.program.plain });
    }

    /// From the cotangents of values that were kept, in `bar`, to those of the parameters and, where there is a `result` for
    /// it, of the input.
    pub(crate) fn outside_vjp(&mut self, of: Outside<'_>, bar: &wgpu::Buffer, result: Option<&wgpu::Buffer>) {
        self.copy(bar, of.bars[0], of.rows() * of.program.ends[1]);
        self.outside_back(of, result);
    }

    /// The same of cotangents that are where those of the way back begin.
    pub(super) fn outside_back(&mut self, of: Outside<'_>, result: Option<&wgpu::Buffer>) {
        self.leave_out_failed(of);
        let [own, kept] = [of.bars, of.values].map(|parts| parts.map(|buffer| (buffer, 0)));
        let pass = Pass {
            way: Way::Back,
            cursors: of.cursors,
            head: self.outside_head(of, of.program.ends[0], 0),
            trajectories: of.trajectories,
            stage: 0,
            node: 0.0,
            theta: of.program.first,
            own,
            kept,
            // Nothing is written there where it is not wanted.
            result: (result.unwrap_or(&self.engine.outcome), 0),
        };
        self.back(&pass, &of.program.back[usize::from(result.is_some())]);
    }

    /// What a dispatch outside of the solve is told; `dim` is the width of its result.
    fn outside_head(&self, of: Outside<'_>, dim: usize, flags: u32) -> Head {
        let flags = flag::ALWAYS | of.flags() | flags;
        Head { per_row: 0, dim: word(dim), flags, ..self.engine.head(of.rows()) }
    }

    /// Zeros in place of what was kept of failed trajectories: whatever it is, times zero it would be no zero.
    fn leave_out_failed(&mut self, of: Outside<'_>) {
        let (engine, buffers) = (self.engine, self.buffers);
        let settle = engine.kernels.get(&kernel::SETTLE, &[]);
        let rows = of.rows();
        let mut places = of.program.kept.outputs.clone();
        places.dedup();
        for place in places {
            let Memory::Own(part) = place.memory else { continue };
            let head = engine.head(of.trajectories);
            let flags = head.flags | of.flags();
            let head = Head { mode: Settle::Zero.into(), dim: word(place.rows), flags, ..head };
            let args = SettleArgs { points: word(of.times), missing: 0.0, first: word(place.first * rows) };
            let bound = [&buffers.row_status, of.values[part], &buffers.points];
            self.planner.add(&settle, &bound, head, args, flat((rows * place.rows).div_ceil(64)));
        }
    }

    fn copy(&mut self, from: &wgpu::Buffer, to: &wgpu::Buffer, count: usize) {
        let kernel = self.engine.kernels.get(&kernel::COPY, &[]);
        let head = self.engine.head(self.rows);
        self.planner.add(&kernel, &[from, to], head, CopyArgs { count: word(count) }, flat(count.div_ceil(64)));
    }
}
