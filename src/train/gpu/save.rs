//! Checkpoints, and the state that goes to the device and back.

use std::collections::BTreeMap;
use std::path::Path;

use super::trainer::{GpuTrainer, low};
use crate::error::Result;
use crate::gpu::{Gpu, Outcome};
use crate::train::checkpoint::{self, Loaded};
use crate::train::optimizer::OptimizerState;

impl GpuTrainer {
    /// Writes a checkpoint, as [`Trainer::save`](crate::Trainer::save) does: either engine goes on from it.
    ///
    /// # Errors
    /// As [`Trainer::save`](crate::Trainer::save), and [`Error::DeviceLost`](crate::Error::DeviceLost).
    pub async fn save(&mut self, path: &Path, metadata: &BTreeMap<String, String>) -> Result<()> {
        self.note_recorded().await?;
        let (theta, state) = self.read_state().await?;
        let learnt = self.engine.read_learnt().await?;
        checkpoint::save(path, &self.state, learnt, &theta, Some(&state), metadata)
    }

    /// As [`GpuTrainer::save`], without the optimizer's moments.
    ///
    /// # Errors
    /// As [`GpuTrainer::save`].
    pub async fn save_weights(&mut self, path: &Path, metadata: &BTreeMap<String, String>) -> Result<()> {
        self.note_recorded().await?;
        let theta = self.parameters().await?;
        let learnt = self.engine.read_learnt().await?;
        checkpoint::save(path, &self.state, learnt, &theta, None, metadata)
    }

    /// Goes on from a checkpoint of either engine at `f32`, as [`Trainer::resume`](crate::Trainer::resume) does; also
    /// returns the caller's metadata.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) when the file cannot be read, [`Error::Checkpoint`](crate::Error::Checkpoint) when it
    /// is not a checkpoint, or its tensors do not fit its configuration, [`Error::Argument`](crate::Error::Argument) when its
    /// numbers are not `f32`.
    pub fn resume(gpu: &Gpu, path: &Path) -> Result<(Self, BTreeMap<String, String>)> {
        Self::of_loaded(gpu, checkpoint::load(path)?)
    }

    /// As [`GpuTrainer::resume`], with the solver that was chosen for predictions, as
    /// [`Trainer::deployed`](crate::Trainer::deployed) does.
    ///
    /// # Errors
    /// As [`Trainer::deployed`](crate::Trainer::deployed).
    pub fn deployed(gpu: &Gpu, path: &Path) -> Result<(Self, BTreeMap<String, String>)> {
        Self::of_loaded(gpu, checkpoint::load_deployed(path)?)
    }

    fn of_loaded(gpu: &Gpu, loaded: Loaded<f32>) -> Result<(Self, BTreeMap<String, String>)> {
        let mut trainer = Self::new(gpu, loaded.config)?;
        trainer.write_state(&loaded.theta, &loaded.state, loaded.steps);
        trainer.engine.write_learnt(loaded.learnt);
        Ok((trainer, loaded.metadata))
    }

    /// Reads the parameters and the optimizer's state back.
    async fn read_state(&mut self) -> Result<(Vec<f32>, OptimizerState<f32>)> {
        let empty = OptimizerState::<f32>::new(&self.state.config.optimizer.rule, self.engine.parameters);
        let counts = [self.engine.parameters, empty.moments[0].len(), empty.moments[1].len()];
        let [first, second] = self.parts.moments.clone();
        let theta = self.engine.theta.clone();
        let read = [(&theta, 0, counts[0]), (&first, 0, counts[1]), (&second, 0, counts[2])];
        let [theta, first, second] = self.engine.read(read).await?;
        Ok((theta, OptimizerState { step: self.updates, moments: [first, second] }))
    }

    pub(super) fn write_state(&mut self, theta: &[f32], state: &OptimizerState<f32>, steps: u64) {
        let queue = &self.engine.gpu.queue;
        queue.write_buffer(&self.engine.theta, 0, bytemuck::cast_slice(theta));
        for (buffer, moment) in self.parts.moments.iter().zip(&state.moments) {
            queue.write_buffer(buffer, 0, bytemuck::cast_slice(moment));
        }
        (self.state.steps, self.updates) = (steps, state.step);
        let outcome = Outcome { updates: low(state.step), steps: low(steps), ..Outcome::default() };
        queue.write_buffer(&self.engine.outcome, 0, bytemuck::bytes_of(&outcome));
    }
}
