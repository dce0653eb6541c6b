//! [`Series`]: a recurrent encoder, whose cell is recorded once an observation, and the way back through them.
//!
//! The hidden state after each observation stays in a buffer. On the way back the cell is evaluated again from those, as
//! `cpu::field::recurrent` does, so that what an evaluation keeps has room once.

use super::{Outside, Recorder};
use crate::gpu::kernel;
use crate::gpu::plan::flat;
use crate::gpu::wire::args::ColumnsArgs;
use crate::gpu::wire::word;

/// A recurrent encoder for a batch of rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Series<'a> {
    pub(crate) cell: Outside<'a>,
    /// What makes outputs of the last hidden state.
    pub(crate) out: Option<Outside<'a>>,
    /// Which observation is read when, and numbers of one.
    pub(crate) order: &'a [usize],
    pub(crate) width: usize,
    /// The batch's series, `[B][steps][width]`.
    pub(crate) inputs: &'a wgpu::Buffer,
    /// What the hidden state starts as, `[hidden]`, and what it is after each observation, `[steps][B][hidden]`.
    pub(crate) start: &'a wgpu::Buffer,
    pub(crate) hidden: &'a wgpu::Buffer,
    /// Cotangents of hidden state and observation, `[B][hidden + width]`.
    pub(crate) state_bar: &'a wgpu::Buffer,
}

/// Columns of a matrix: its buffer, where those of the first row begin, and how far it is to the next row's.
type Columns<'a> = (&'a wgpu::Buffer, usize, usize);

impl<'a> Series<'a> {
    fn size(&self) -> usize {
        self.cell.program.ends[1]
    }

    /// Numbers of the state that the cell reads.
    fn state(&self) -> usize {
        self.cell.program.ends[0]
    }

    /// The hidden state before the `at`-th observation that is read.
    fn before(&self, at: usize, rows: usize) -> Columns<'a> {
        match at.checked_sub(1) {
            None => (self.start, 0, 0),
            Some(before) => (self.hidden, before * rows * self.size(), self.size()),
        }
    }

    /// The observation that is read as the `at`-th one.
    fn observation(&self, at: usize) -> Columns<'a> {
        (self.inputs, self.order[at] * self.width, self.order.len() * self.width)
    }
}

impl Recorder<'_, '_> {
    /// The outputs of the batch's series, to `result` from a number on; `keep` leaves what the way back needs.
    pub(crate) fn series(&mut self, of: Series<'_>, keep: bool, result: (&wgpu::Buffer, usize)) {
        let steps = of.order.len();
        for at in 0..steps {
            self.observation(of, at, false);
        }
        let last = of.before(steps, self.rows);
        match of.out {
            None => self.columns(last, (result.0, result.1, of.size()), of.size()),
            Some(out) => {
                self.columns(last, (out.values[0], 0, of.size()), of.size());
                self.outside_values(out, keep, result);
            }
        }
    }

    /// The cell at an observation: the hidden state after it.
    fn observation(&mut self, of: Series<'_>, at: usize, keep: bool) {
        let (hidden, state) = (of.size(), of.state());
        let values = of.cell.values[0];
        self.columns(of.before(at, self.rows), (values, 0, state), hidden);
        self.columns(of.observation(at), (values, hidden, state), of.width);
        self.outside_values(of.cell, keep, (of.hidden, at * self.rows * hidden));
    }

    /// From the outputs' cotangents, in `bar`, to those of the parameters.
    pub(crate) fn series_vjp(&mut self, of: Series<'_>, bar: &wgpu::Buffer) {
        let (hidden, state) = (of.size(), of.state());
        let bars = (of.cell.bars[0], 0, hidden);
        match of.out {
            None => self.columns((bar, 0, hidden), bars, hidden),
            Some(out) => {
                self.outside_vjp(out, bar, Some(of.state_bar));
                self.columns((of.state_bar, 0, hidden), bars, hidden);
            }
        }
        for at in (0..of.order.len()).rev() {
            self.observation(of, at, true);
            self.outside_back(of.cell, (at > 0).then_some(of.state_bar));
            if at > 0 {
                self.columns((of.state_bar, 0, state), bars, hidden);
            }
        }
    }

    /// So many columns of every row of the batch.
    fn columns(&mut self, from: Columns<'_>, to: Columns<'_>, count: usize) {
        let kernel = self.engine.kernels.get(&kernel::COLUMNS, &[]);
        let args = ColumnsArgs {
            source: word(from.1),
            source_stride: word(from.2),
            target: word(to.1),
            target_stride: word(to.2),
            count: word(count),
        };
        let head = self.engine.head(self.rows);
        self.planner.add(&kernel, &[from.0, to.0], head, args, flat((self.rows * count).div_ceil(64)));
    }
}
