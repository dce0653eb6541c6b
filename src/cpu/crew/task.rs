//! [`TaskWork`]: what is done with a solved tile before its walk back.

use crate::cpu::encoder::EncoderRoom;
use crate::cpu::field::map::MapRoom;
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::tile::Tile;

/// What the task does with a solved tile before its backward walk: from saves to their cotangents.
pub(crate) trait TaskWork<R: Scalar>: Sync {
    /// Fills the tile's save cotangents and adds to the gradient of parameters that are the task's own.
    fn differentiate(&self, tile: &mut Tile<R>, room: &mut TaskRoom<R>, theta_bar: &mut [R]);

    /// Takes the cotangent of the tile's initial state, in `tile.bar`.
    fn finish(&self, tile: &mut Tile<R>, room: &mut TaskRoom<R>, theta_bar: &mut [R]);
}

/// A thread's room for the task's own maps, from their first use on.
#[derive(Debug, Default)]
pub(crate) struct TaskRoom<R: Scalar> {
    pub(crate) encoder: EncoderRoom<R>,
    /// Rows of a tile's trajectories that share their samples': inputs, states or weights, `[used][width]`.
    pub(crate) rows: Vec<R>,
    pub(crate) head: Option<MapRoom<R>>,
    /// What outputs should be, and what each counts, `[outputs][LANES]`.
    pub(crate) target: Vec<R>,
    pub(crate) weight: Vec<R>,
    pub(crate) output: Vec<R>,
    pub(crate) output_bar: Vec<R>,
}
