//! A recurrent encoder on a device: [`SeriesMap`], and the [`SeriesBuffers`] that it reads a batch's series in.

use super::map::{MapBuffers, widths_of};
use crate::error::{Error, Result};
use crate::gpu::{Buffers, Engine, Gpu, Outside, Schedules, Series, create};
use crate::method::{Evolution, Recurrent};
use crate::train::state_map::End;

/// Observations that a device reads: each is some dispatches, recorded once and kept.
pub(super) const OBSERVATIONS: usize = 1024;

/// A recurrent encoder.
#[derive(Debug)]
pub(super) struct SeriesMap {
    cell: Schedules,
    out: Option<Schedules>,
    /// Which observation is read when, and numbers of one.
    order: Vec<usize>,
    width: usize,
    start: Vec<f32>,
}

/// Room for the values and cotangents of cell and map, hidden states and their cotangents.
#[derive(Debug)]
pub(super) struct SeriesBuffers {
    cell: MapBuffers,
    out: MapBuffers,
    start: wgpu::Buffer,
    hidden: wgpu::Buffer,
    state_bar: wgpu::Buffer,
}

impl SeriesMap {
    /// An encoder whose parameters are the model's first ones.
    pub(super) fn new(encoder: &Recurrent) -> Result<Self> {
        let name = End::Encoder.argument();
        if encoder.steps() > OBSERVATIONS {
            let remedy = format!("a device reads at most {OBSERVATIONS} observations of a series: use Trainer");
            return Err(Error::argument(name, format!("{} observations", encoder.steps()), remedy));
        }
        if encoder.moved_by().is_some() {
            let remedy = "a device does not solve between observations: use Recurrent::evolved, or Trainer";
            return Err(Error::argument(name, Evolution::NAME, remedy));
        }
        let mut schedules = encoder.parts().map(|(_, field, first)| {
            let program = Schedules::new(name, field, first, &[])?;
            Engine::check_widths(program.layers(), 0)?;
            Ok(program)
        });
        let cell = schedules.next().transpose()?.ok_or(Error::argument(name, "no cell", "give it one"))?;
        let out = schedules.next().transpose()?;
        let order = encoder.order().collect();
        Ok(Self { cell, out, order, width: encoder.width(), start: encoder.starts() })
    }

    /// Numbers a row of its buffers.
    pub(super) fn widths(&self) -> Vec<usize> {
        let [state, hidden] = self.cell.ends;
        let programs = [&self.cell].into_iter().chain(&self.out).flat_map(widths_of);
        programs.chain([self.order.len() * hidden, state]).collect()
    }

    /// Multiply-adds of a trajectory's series.
    pub(super) fn work(&self) -> f64 {
        let out = self.out.as_ref().map_or(0, |out| out.work);
        self.order.len() as f64 * self.cell.work as f64 + out as f64
    }
}

impl SeriesBuffers {
    pub(super) fn new(gpu: &Gpu, map: &SeriesMap, rows: usize, poison: bool) -> Self {
        let make = |name, count: usize, poison| create(gpu, name, 4 * count as u64, poison);
        let [state, hidden] = map.cell.ends;
        let start = make("start of the hidden state", hidden, false);
        gpu.queue.write_buffer(&start, 0, bytemuck::cast_slice(&map.start));
        Self {
            cell: MapBuffers::of_program(gpu, Some(&map.cell), rows, poison),
            out: MapBuffers::of_program(gpu, map.out.as_ref(), rows, poison),
            start,
            hidden: make("hidden states", rows * map.order.len() * hidden, poison),
            state_bar: make("cotangents of hidden states", rows * state, poison),
        }
    }

    /// The encoder with its room, for the series of so many trajectories.
    pub(super) fn series<'a>(
        &'a self,
        map: &'a SeriesMap,
        buffers: &'a Buffers,
        inputs: &'a wgpu::Buffer,
        trajectories: usize,
    ) -> Series<'a> {
        let outside = |room: &'a MapBuffers, program: &'a Schedules| -> Outside<'a> {
            room.outside(program, buffers, [1, trajectories])
        };
        Series {
            cell: outside(&self.cell, &map.cell),
            out: map.out.as_ref().map(|out| outside(&self.out, out)),
            order: &map.order,
            width: map.width,
            inputs,
            start: &self.start,
            hidden: &self.hidden,
            state_bar: &self.state_bar,
        }
    }
}
