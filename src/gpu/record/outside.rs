//! [`Outside`]: programs that stand before the equation or after it, an encoder or a head.
//!
//! They are recorded as the stages of a field are, for all rows: no cursor decides. A failed trajectory's values, which may be
//! anything, are taken to zero before the way back, where its rows rest.

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
    /// Room for values and for cotangents, in two parts each.
    pub(crate) values: &'a [wgpu::Buffer; 2],
    pub(crate) bars: &'a [wgpu::Buffer; 2],
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
        let rows = of.times * self.rows;
        let [inputs, outputs] = of.program.ends;
        self.copy(input, &of.values[0], rows * inputs);
        let own = of.values.each_ref().map(|buffer| (buffer, 0));
        let keeping = if keep { flag::KEEP } else { 0 };
        let pass = Pass {
            way: Way::Forward,
            cursors: &self.buffers.cursors,
            head: self.outside_head(rows, outputs, keeping),
            trajectories: self.rows,
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
        let rows = of.times * self.rows;
        let [inputs, outputs] = of.program.ends;
        self.leave_out_failed(of);
        self.copy(bar, &of.bars[0], rows * outputs);
        let [own, kept] = [of.bars, of.values].map(|parts| parts.each_ref().map(|buffer| (buffer, 0)));
        let pass = Pass {
            way: Way::Back,
            cursors: &self.buffers.cursors,
            head: self.outside_head(rows, inputs, 0),
            trajectories: self.rows,
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
    fn outside_head(&self, rows: usize, dim: usize, flags: u32) -> Head {
        Head { per_row: 0, dim: word(dim), flags: flag::ALWAYS | flags, ..self.engine.head(rows) }
    }

    /// Zeros in place of what was kept of failed trajectories: whatever it is, times zero it would be no zero.
    fn leave_out_failed(&mut self, of: Outside<'_>) {
        let (engine, buffers) = (self.engine, self.buffers);
        let settle = engine.kernels.get(&kernel::SETTLE, &[]);
        let rows = of.times * self.rows;
        let mut places = of.program.kept.outputs.clone();
        places.dedup();
        for place in places {
            let Memory::Own(part) = place.memory else { continue };
            let head = Head { mode: Settle::Zero.into(), dim: word(place.rows), ..engine.head(self.rows) };
            let args = SettleArgs { points: word(of.times), missing: 0.0, first: word(place.first * rows) };
            let bound = [&buffers.row_status, &of.values[part], &buffers.points];
            self.planner.add(&settle, &bound, head, args, flat((rows * place.rows).div_ceil(64)));
        }
    }

    fn copy(&mut self, from: &wgpu::Buffer, to: &wgpu::Buffer, count: usize) {
        let kernel = self.engine.kernels.get(&kernel::COPY, &[]);
        let head = self.engine.head(self.rows);
        self.planner.add(&kernel, &[from, to], head, CopyArgs { count: word(count) }, flat(count.div_ceil(64)));
    }
}
