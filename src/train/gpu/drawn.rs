//! What initial states are drawn in on a device, and samples of which several trajectories are drawn.

use std::borrow::Cow;

use crate::gpu::{Gpu, create};

/// What initial states are drawn in; nothing of a model whose are not.
#[derive(Debug)]
pub(super) struct LatentBuffers {
    /// Means and log-variances `[rows][2][D]`, and their cotangents.
    pub(super) given: wgpu::Buffer,
    pub(super) given_bar: wgpu::Buffer,
    /// `[rows][D]`.
    pub(super) normals: wgpu::Buffer,
    pub(super) divergences: wgpu::Buffer,
}

impl LatentBuffers {
    /// Numbers of a row in all of them, of a state of `dim` numbers.
    pub(super) const fn row(dim: usize) -> usize {
        5 * dim + 1
    }

    /// Those of so many rows, of states of `dim` numbers that are drawn; 0 where none are.
    pub(super) fn new(gpu: &Gpu, rows: usize, dim: usize, poison: bool) -> Self {
        let room = |name, width: usize| create(gpu, name, 4 * (rows * width) as u64, poison);
        Self {
            given: room("means and log-variances", 2 * dim),
            given_bar: room("their cotangents", 2 * dim),
            normals: room("normals", dim),
            divergences: room("divergences", usize::from(dim > 0)),
        }
    }
}

/// Each row of `width` numbers as often as there are copies of it.
pub(super) fn repeated<T: Copy>(rows: &[T], width: usize, copies: usize) -> Cow<'_, [T]> {
    if copies == 1 || width == 0 {
        return Cow::Borrowed(rows);
    }
    Cow::Owned(rows.chunks_exact(width).flat_map(|row| std::iter::repeat_n(row, copies).flatten()).copied().collect())
}
