//! [`TaskWork`]: what is done with a solved tile before its walk back.

use crate::cpu::field::layer::DenseLayer;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::tile::Tile;

/// What the task does with a solved tile before its backward walk: from saves to their cotangents.
pub(crate) trait TaskWork<R>: Sync {
    /// Fills the tile's save cotangents and adds to the gradient of parameters that are the task's own.
    fn differentiate(&self, tile: &mut Tile<R>, room: &mut TaskRoom<R>, theta_bar: &mut [R]);

    /// Takes the cotangent of the tile's initial state, in `tile.bar`.
    fn finish(&self, tile: &mut Tile<R>, room: &mut TaskRoom<R>, theta_bar: &mut [R]);
}

/// A thread's room for the task's own layers.
#[derive(Debug, Default)]
pub(crate) struct TaskRoom<R> {
    /// `[rows][LANES]` of the layer in use.
    pub(crate) input: Vec<R>,
    pub(crate) output: Vec<R>,
    pub(crate) output_bar: Vec<R>,
}

impl<R: Scalar> TaskRoom<R> {
    /// Gives `input` the layer's rows, the last one ones for the bias.
    pub(crate) fn prepare(&mut self, layer: &DenseLayer<R>) {
        let rows = layer.layer.rows();
        self.input.resize(rows * LANES, R::ZERO);
        self.input[(rows - 1) * LANES..].fill(R::ONE);
    }
}
