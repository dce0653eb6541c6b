//! [`Map`]: an encoder or a head on a device.

use crate::error::Result;
use crate::gpu::{Buffers, Engine, Gpu, Outside, Schedules, create};
use crate::memory::Size;
use crate::problem::Layer;
use crate::train::model::NeuralDe;
use crate::train::state_map::End;

/// What maps inputs to initial states, or saved states to outputs.
#[derive(Debug)]
pub(super) enum Map {
    Layer(Layer),
    Program(Box<Schedules>),
}

/// Room for the values and the cotangents of a map's program; of a layer there is none.
#[derive(Debug)]
pub(super) struct MapBuffers {
    values: [wgpu::Buffer; 2],
    bars: [wgpu::Buffer; 2],
}

impl Map {
    /// The map at an end of the model, if there is one.
    pub(super) fn of(model: &NeuralDe, end: End) -> Result<Option<Self>> {
        if let Some(layer) = model.layer_of(end) {
            return Ok(Some(Self::Layer(layer)));
        }
        let Some((field, first)) = model.field_of(end) else { return Ok(None) };
        let program = Schedules::new(end.argument(), &field, first, &[])?;
        Engine::check_widths(program.layers(), 0)?;
        Ok(Some(Self::Program(Box::new(program))))
    }

    /// The wider end of a layer.
    pub(super) fn widest(&self) -> usize {
        match self {
            Self::Layer(layer) => layer.inputs.max(layer.outputs),
            Self::Program(_) => 0,
        }
    }

    /// Numbers a row of its buffers, in the order of [`MapBuffers`].
    pub(super) fn widths(&self) -> [usize; 4] {
        match self {
            Self::Layer(_) => [0; 4],
            Self::Program(program) => widths_of(program),
        }
    }

    /// Numbers a row of all its buffers.
    pub(super) fn row(&self) -> Size {
        self.widths().into_iter().fold(Size(0), |sum, width| sum + width)
    }
}

/// Numbers a row of a program's buffers, in the order of [`MapBuffers`].
pub(super) fn widths_of(program: &Schedules) -> [usize; 4] {
    let ([plain0, plain1], [kept0, kept1]) = (program.widths(), program.kept_widths());
    let [bar0, bar1] = program.bar_widths();
    [plain0.max(kept0), plain1.max(kept1), bar0, bar1]
}

impl MapBuffers {
    /// Those of a map on so many rows.
    pub(super) fn new(gpu: &Gpu, map: Option<&Map>, rows: usize, poison: bool) -> Self {
        Self::of_widths(gpu, map.map_or([0; 4], Map::widths), rows, poison)
    }

    /// Those of a program.
    pub(super) fn of_program(gpu: &Gpu, program: Option<&Schedules>, rows: usize, poison: bool) -> Self {
        Self::of_widths(gpu, program.map_or([0; 4], widths_of), rows, poison)
    }

    fn of_widths(gpu: &Gpu, widths: [usize; 4], rows: usize, poison: bool) -> Self {
        let [value0, value1, bar0, bar1] =
            widths.map(|width| create(gpu, "encoder or head", 4 * (rows * width) as u64, poison));
        Self { values: [value0, value1], bars: [bar0, bar1] }
    }

    /// The program with its room, for so many saved times of so many trajectories.
    pub(super) fn outside<'a>(
        &'a self,
        program: &'a Schedules,
        buffers: &'a Buffers,
        [times, trajectories]: [usize; 2],
    ) -> Outside<'a> {
        let [values, bars] = [&self.values, &self.bars].map(|parts| parts.each_ref());
        Outside { program, times, trajectories, cursors: &buffers.cursors, measures: false, values, bars }
    }
}
