//! Initial states that are drawn, on a device: how their solve is recorded, and the normal numbers that are sent for it.

use super::drawn::LatentBuffers;
use super::numbers::single;
use super::plans::TrainRecorder;
use super::trainer::GpuTrainer;
use crate::error::Result;
use crate::gpu::args::{LatentBarArgs, LatentDrawArgs};
use crate::gpu::{LATENT_BAR, LATENT_DRAW, Planner, flat, word};
use crate::train::drawing::Drawing;

impl TrainRecorder<'_> {
    /// What the divergence's sum over a state is multiplied with.
    fn divergence_factor(&self) -> f32 {
        single(self.config.elbo.reduction.of_state(self.engine.dim()))
    }

    /// From means and log-variances to initial states.
    pub(super) fn draw(&self, planner: &mut Planner<'_>, start: usize) {
        let LatentBuffers { given, normals, divergences, .. } = &self.batch.latent;
        let kernel = self.engine.kernels.get(&LATENT_DRAW, &[]);
        let importance = self.config.elbo.importance.into();
        let args = LatentDrawArgs { start: word(start), factor: self.divergence_factor(), importance };
        let bound = [given, normals, &self.buffers.tape, divergences];
        planner.add(&kernel, &bound, self.engine.head(self.rows), args, flat(self.rows.div_ceil(64)));
    }

    /// From the cotangents of initial states to those of means and log-variances.
    pub(super) fn draw_vjp(&self, planner: &mut Planner<'_>) {
        let LatentBuffers { given, given_bar, normals, .. } = &self.batch.latent;
        let kernel = self.engine.kernels.get(&LATENT_BAR, &[]);
        let (least, importance) = (word(self.config.loss.least()), self.config.elbo.importance.into());
        let args = LatentBarArgs { factor: self.divergence_factor(), least, importance };
        let (buffers, engine, losses) = (self.buffers, self.engine, &self.batch.row_losses);
        let bound =
            [&buffers.row_status, &engine.outcome, &engine.params, given, normals, &buffers.bar, given_bar, losses];
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
                row.iter_mut().zip(normals.normals(trajectory)).for_each(|(number, e)| *number = single(e));
            }
        }
        let to = &self.rooms()?.batch.latent.normals;
        self.engine.gpu.queue.write_buffer(to, 0, bytemuck::cast_slice(&numbers));
        Ok(())
    }
}
