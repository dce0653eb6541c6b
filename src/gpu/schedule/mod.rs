//! [`Schedules`]: what computes a field that was written out layer by layer, a batch at a time.

mod compile;
mod run;
#[cfg(test)]
mod tests;

pub(crate) use compile::{Action, Kind, Product, Schedule};
pub(crate) use run::{Memory, Place, Run, Way};

use std::ops::Range;

use super::controls::Seat;
use super::print;
use crate::error::Result;
use crate::problem::program::Program;
use crate::problem::program::linearize::{Gradient, Linearized};
use crate::problem::program::operation::{Operation, Source};
use crate::problem::program::tangent::zeros;
use crate::problem::{Field, Layer};
use compile::Frame;

/// The schedules of a program.
#[derive(Clone, Debug)]
pub(crate) struct Schedules {
    /// The first of its parameters.
    pub(crate) first: usize,
    /// Rows that it takes and gives.
    pub(crate) ends: [usize; 2],
    /// A stage, of which nothing is kept.
    pub(crate) plain: Schedule,
    /// One whose vector-Jacobian product is taken.
    pub(crate) kept: Schedule,
    /// From the cotangent of a stage to those of the parameters, and to that of its state too.
    pub(crate) back: [Back; 2],
    /// What an evaluation costs a trajectory, in multiply-adds.
    pub(crate) work: usize,
    /// Its layers, at their places among the field's parameters.
    layers: Vec<Layer>,
}

/// A way back.
#[derive(Clone, Debug)]
pub(crate) struct Back {
    pub(crate) schedule: Schedule,
    pub(crate) gradients: Vec<Part>,
}

/// What is added to the gradient of some parameters: a layer's, which of numbers is the bias alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) layer: Layer,
    /// Whether time and bias are not part of the product.
    pub(crate) linear: bool,
    pub(crate) x: Option<Place>,
    pub(crate) z_bar: Place,
}

/// Multiply-adds that an elementary function costs.
const FUNCTION: usize = 10;

impl Schedules {
    /// Those of a field whose parameters begin at `first`, and whose controls are there; `argument` is its name in errors.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) for what a device does not compute.
    pub(crate) fn new(argument: &'static str, field: &Field, first: usize, seats: &[Seat]) -> Result<Self> {
        let ends = [field.inputs(), field.outputs()];
        let program = field.program()?;
        Self::of(argument, &program, &field.frozen(), ends, first, seats)
    }

    /// Those of a program, with rows of its state and of its value, of which the parameters in `frozen` have no gradient.
    ///
    /// # Errors
    /// As [`Schedules::new`].
    pub(crate) fn of(
        argument: &'static str,
        program: &Program,
        frozen: &[Range<usize>],
        ends: [usize; 2],
        first: usize,
        seats: &[Seat],
    ) -> Result<Self> {
        let linearized = program.linearize(frozen)?;
        for program in [&linearized.forward, &linearized.backward] {
            print::check_literals(argument, program)?;
        }
        let [inputs, outputs] = ends;
        let frame = Frame { way: Way::Forward, rows: inputs, kept: &[], result: true, keeps: false, seats };
        let plain = Schedule::new(program, frame)?;
        let kept = Schedule::new(&linearized.forward, Frame { keeps: true, ..frame })?;
        let kept_places: Vec<Place> = kept.outputs.iter().map(|place| place.kept()).collect();
        let frame = Frame { way: Way::Back, rows: outputs, kept: &kept_places, result: true, keeps: false, seats };
        let back = |state| Back::new(&linearized, frame, state);
        let back = [back(None)?, back(Some(inputs))?];
        let cost = program.cost();
        let layers = program.operations().filter_map(|(_, operation)| match operation {
            Operation::Dense { block, .. } | Operation::Transposed { block, .. } => Some(block.layer()),
            _ => None,
        });
        let layers = layers.collect();
        let work = cost.multiply_adds + FUNCTION * cost.functions + cost.rows;
        Ok(Self { first, ends, plain, kept, back, work, layers })
    }

    #[cfg(test)]
    pub(crate) fn all(&self) -> [&Schedule; 4] {
        let [without, with] = &self.back;
        [&self.plain, &self.kept, &without.schedule, &with.schedule]
    }

    /// What is printed for its runs, and for those of its way back.
    #[cfg(test)]
    pub(crate) fn texts(&self) -> [Vec<&str>; 2] {
        let [plain, kept, without, with] = self.all();
        [[plain, kept], [without, with]].map(|pair| pair.into_iter().flat_map(Schedule::texts).collect())
    }

    pub(crate) fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Numbers of a trajectory and a stage, in either part of the memory, where nothing is kept.
    pub(crate) const fn widths(&self) -> [usize; 2] {
        self.plain.widths
    }

    /// The same where a stage is kept.
    pub(crate) const fn kept_widths(&self) -> [usize; 2] {
        self.kept.widths
    }

    /// The same on the way back.
    pub(crate) fn bar_widths(&self) -> [usize; 2] {
        let [without, with] = &self.back;
        [0, 1].map(|part| without.schedule.widths[part].max(with.schedule.widths[part]))
    }
}

impl Back {
    /// With the cotangent of a state of so many rows, if that is wanted.
    fn new(linearized: &Linearized, frame: Frame<'_>, state: Option<usize>) -> Result<Self> {
        let program = backward(linearized, state)?;
        let schedule = Schedule::new(&program, Frame { result: state.is_some(), ..frame })?;
        let number = |place: usize| place - linearized.inputs.len();
        let part = |gradient: &Gradient| match *gradient {
            Gradient::Block { block, affine, x, z_bar } => Part {
                layer: Layer { time: block.time && affine, ..block.layer() },
                linear: !affine,
                x: Some(frame.kept[x]),
                z_bar: schedule.outputs[number(z_bar)],
            },
            Gradient::Rows { offset, bar } => {
                let z_bar = schedule.outputs[number(bar)];
                Part { layer: Layer::linear(offset, 0, z_bar.rows), linear: false, x: None, z_bar }
            }
        };
        let gradients = linearized.gradients.iter().map(part).collect();
        Ok(Self { schedule, gradients })
    }
}

/// The backward program with the cotangent of a state of so many rows, if that is wanted, and then of what the parameters' are
/// made from.
fn backward(linearized: &Linearized, wanted: Option<usize>) -> Result<Program> {
    let backward = &linearized.backward;
    let mut emitter = backward.reopen();
    let (inputs, gradients) = backward.outputs().split_at(linearized.inputs.len());
    let state = linearized.inputs.iter().zip(inputs).find(|(source, _)| **source == Source::State).map(|(_, bar)| *bar);
    // A field that does not read the state gives it no cotangent.
    let state = wanted.map(|rows| state.unwrap_or_else(|| zeros(&mut emitter, rows)));
    let outputs: Vec<_> = state.into_iter().chain(gradients.iter().copied()).collect();
    emitter.finish(&outputs)
}
