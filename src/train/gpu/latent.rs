//! Initial states that are drawn, on a device: room, normal numbers, and samples of which several trajectories are drawn.

use std::borrow::Cow;

use super::plans::TrainRecorder;
use super::step::single;
use super::trainer::GpuTrainer;
use crate::error::{Error, Result};
use crate::gpu::args::{LatentBarArgs, LatentDrawArgs};
use crate::gpu::{Gpu, LATENT_BAR, LATENT_DRAW, Planner, create, flat, word};
use crate::method::{Elbo, Reduction};
use crate::train::config::TrainerConfig;
use crate::train::drawing::Drawing;

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

/// Refuses what a device does not do with initial states that are drawn.
pub(super) fn check_elbo(config: &TrainerConfig) -> Result<()> {
    let Elbo { importance, reduction, .. } = config.elbo;
    if importance {
        return Err(Error::argument("Elbo::importance", true, "a device does not weight samples yet: use Trainer"));
    }
    if reduction == Reduction::Sum {
        let remedy =
            "a device takes means alone: divide the divergence's weight by the numbers observed, or use Trainer";
        return Err(Error::argument("Elbo::reduction", "Sum", remedy));
    }
    Ok(())
}

impl TrainRecorder<'_> {
    /// What the divergence's sum over a state is multiplied with.
    fn divergence_factor(&self) -> f32 {
        single(self.config.elbo.reduction.of_state(self.engine.dim()))
    }

    /// From means and log-variances to initial states.
    pub(super) fn draw(&self, planner: &mut Planner<'_>, start: usize) {
        let LatentBuffers { given, normals, divergences, .. } = &self.batch.latent;
        let kernel = self.engine.kernels.get(&LATENT_DRAW, &[]);
        let args = LatentDrawArgs { start: word(start), factor: self.divergence_factor() };
        let bound = [given, normals, &self.buffers.tape, divergences];
        planner.add(&kernel, &bound, self.engine.head(self.rows), args, flat(self.rows.div_ceil(64)));
    }

    /// From the cotangents of initial states to those of means and log-variances.
    pub(super) fn draw_vjp(&self, planner: &mut Planner<'_>) {
        let LatentBuffers { given, given_bar, normals, .. } = &self.batch.latent;
        let kernel = self.engine.kernels.get(&LATENT_BAR, &[]);
        let args = LatentBarArgs { factor: self.divergence_factor(), least: word(self.config.loss.least()) };
        let (buffers, engine) = (self.buffers, self.engine);
        let bound = [&buffers.row_status, &engine.outcome, &engine.params, given, normals, &buffers.bar, given_bar];
        let grid = flat((self.rows * engine.dim()).div_ceil(64));
        planner.add(&kernel, &bound, engine.head(self.rows), args, grid);
    }
}

impl GpuTrainer {
    /// Sends the normal numbers of the next solve of so many trajectories: zeros where initial states are the means.
    pub(super) fn send_normals(&self, count: usize, drawing: Drawing) -> Result<()> {
        if !self.state.config.model.latent {
            return Ok(());
        }
        let dim = self.engine.dim();
        let mut numbers = vec![0.0; count * dim];
        if let Some(normals) = drawing.normals {
            for (trajectory, row) in numbers.chunks_exact_mut(dim).enumerate() {
                row.iter_mut().zip(normals.of(trajectory)).for_each(|(number, e)| *number = single(e));
            }
        }
        let to = &self.rooms()?.batch.latent.normals;
        self.engine.gpu.queue.write_buffer(to, 0, bytemuck::cast_slice(&numbers));
        Ok(())
    }
}

/// Each row of `width` numbers as often as there are copies of it.
pub(super) fn repeated<T: Copy>(rows: &[T], width: usize, copies: usize) -> Cow<'_, [T]> {
    if copies == 1 || width == 0 {
        return Cow::Borrowed(rows);
    }
    Cow::Owned(rows.chunks_exact(width).flat_map(|row| std::iter::repeat_n(row, copies).flatten()).copied().collect())
}
