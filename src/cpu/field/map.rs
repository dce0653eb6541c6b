//! [`Map`] on a tile: a field without time that stands before or after the equation, an encoder or a head.

use std::ops::Range;

use super::evaluate::{Cotangents, Field, Kept};
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::scalar::Scalar;
use crate::error::Result;
use crate::problem;

/// A map with its current weights, whose parameters are a part of the model's.
#[derive(Debug)]
pub(crate) struct Map<R> {
    field: Field<R>,
    parameters: Range<usize>,
    outputs: usize,
}

/// What a thread evaluates a map in.
#[derive(Debug)]
pub(crate) struct MapRoom<R> {
    kept: Kept<R>,
    cotangents: Cotangents<R>,
}

impl<R: Scalar> MapRoom<R> {
    /// The map's inputs, `[inputs][LANES]`.
    pub(crate) fn inputs(&mut self) -> &mut [R] {
        self.kept.state_mut()
    }
}

impl<R: Scalar> Map<R> {
    /// Compiles a map whose parameters begin at `first` of the model's.
    ///
    /// # Errors
    /// As [`Field::new`].
    pub(crate) fn new(field: &problem::Field, first: usize) -> Result<Self> {
        let parameters = first..first + field.parameter_count();
        Ok(Self { outputs: field.outputs(), parameters, field: Field::new(field, &[])? })
    }

    /// Numbers of an input.
    pub(crate) const fn inputs(&self) -> usize {
        self.field.dim()
    }

    /// Takes the weights from the model's parameters; `backward` also packs them for cotangents.
    pub(crate) fn pack(&mut self, theta: &[R], backward: bool) {
        self.field.pack(&theta[self.parameters.clone()], backward);
    }

    pub(crate) fn room(&self) -> MapRoom<R> {
        MapRoom { kept: self.field.kept(), cotangents: self.field.cotangents() }
    }

    /// The outputs of the room's inputs; `keep` leaves there what [`Map::vjp`] needs.
    pub(crate) fn apply(&self, room: &mut MapRoom<R>, outputs: &mut [R], keep: bool) {
        self.field.eval(&[R::ZERO; LANES], &mut room.kept, outputs, keep);
    }

    /// Leaves in a room with inputs what [`Map::vjp`] needs: nothing more, where the map is a single layer.
    pub(crate) fn revisit(&self, room: &mut MapRoom<R>, outputs: &mut [R]) {
        if !self.field.keeps_the_state_alone() {
            self.apply(room, outputs, true);
        }
    }

    /// Adds to the model's gradient and writes the cotangent of the inputs if asked, at an application that was kept.
    pub(crate) fn vjp(&self, room: &mut MapRoom<R>, bars: &[R], theta_bar: &mut [R], inputs_bar: Option<&mut [R]>) {
        let theta_bar = &mut theta_bar[self.parameters.clone()];
        self.field.vjp(&room.kept, &mut room.cotangents, bars, Some(theta_bar), inputs_bar);
    }

    /// Bytes of the packed weights.
    pub(crate) fn packed_bytes(&self) -> usize {
        self.field.packed_bytes()
    }

    /// Bytes that a thread evaluates and differentiates it in, outputs and their cotangents among them.
    pub(crate) const fn room_bytes(&self) -> usize {
        self.field.kept_bytes() + self.field.cotangent_bytes() + 2 * self.outputs * LANES * size_of::<R>()
    }
}
