//! What a cell of the path is cut into, and the counters of its draws.

use crate::math::{Purpose, low};

/// Levels of the tree in a cell.
pub(crate) const LEVELS: u32 = 24;

/// Ticks of a cell: what the tree resolves.
pub(crate) const CELL: u32 = 1 << LEVELS;

/// Cells where steps are adaptive. Queries of lengths about a cell's cost least.
pub(crate) const ADAPTIVE_CELLS: u32 = 64;

/// The most cells, and so the most fixed steps: ticks stay exact as `f64`.
pub(crate) const MAX_CELLS: usize = 1 << 24;

/// Nodes from here on are draws apart from the path.
pub(crate) const APART: u32 = 1 << 31;

/// The counter of a draw.
#[inline(always)]
pub(crate) const fn counter(cell: u32, node: u32, trajectory: u32, pair: u32) -> [u32; 4] {
    [cell, node, trajectory, Purpose::Noise as u32 | pair << 8]
}

/// Philox's key for a seed.
pub(crate) const fn key(seed: u64) -> [u32; 2] {
    [low(seed), low(seed >> 32)]
}
