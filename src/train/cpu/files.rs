//! A trainer in files.

use std::collections::BTreeMap;
use std::path::Path;

use super::Trainer;
use crate::cpu::{Cpu, Scalar};
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::train::checkpoint::{self, Loaded};

impl<R: Scalar> Trainer<R> {
    /// Writes a checkpoint: parameters and optimizer state by the names of [`NeuralDe::layout`](crate::NeuralDe::layout), counters and
    /// configuration, and the caller's `metadata`. The file is written whole or not at all.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written, [`Error::Diverged`] when a number of it is not finite,
    /// [`Error::Argument`] for metadata beyond the 100 MB of a safetensors header; an older file of that name is still
    /// there then.
    pub fn save(&self, path: &Path, metadata: &BTreeMap<String, String>) -> Result<()> {
        checkpoint::save(path, &self.state, self.learnt(), &self.theta, Some(&self.moments), metadata)
    }

    /// As [`Trainer::save`], without the optimizer's moments: a third of the size with Adam, for evaluation and
    /// fine-tuning.
    ///
    /// # Errors
    /// As [`Trainer::save`].
    pub fn save_weights(&self, path: &Path, metadata: &BTreeMap<String, String>) -> Result<()> {
        checkpoint::save(path, &self.state, self.learnt(), &self.theta, None, metadata)
    }

    /// Goes on from a checkpoint, bit for bit as if training had not stopped; also returns the caller's metadata. From
    /// one of weights alone, training goes on with a new optimizer: no moments, and the learning rate of update 0.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::Checkpoint`] when it is not a checkpoint, or its tensors do not
    /// fit its configuration, [`Error::Argument`] when its numbers are of another scalar type.
    pub fn resume(cpu: &Cpu, path: &Path) -> Result<(Self, BTreeMap<String, String>)> {
        Self::of_loaded(cpu, checkpoint::load(path)?)
    }

    /// As [`Trainer::resume`], with the solver that was chosen for predictions ([`Deployed`](crate::Deployed)) in place of
    /// the training's, and no regularizer.
    ///
    /// # Errors
    /// As [`Trainer::resume`], [`Error::Checkpoint`] when that solver does not fit the model, and [`Error::Argument`] when
    /// none was chosen.
    pub fn deployed(cpu: &Cpu, path: &Path) -> Result<(Self, BTreeMap<String, String>)> {
        Self::of_loaded(cpu, checkpoint::load_deployed(path)?)
    }

    fn of_loaded(cpu: &Cpu, loaded: Loaded<R>) -> Result<(Self, BTreeMap<String, String>)> {
        let mut trainer = Self::new(cpu, loaded.config)?;
        (trainer.theta, trainer.moments, trainer.state.steps) = (loaded.theta, loaded.state, loaded.steps);
        trainer.engine.learnt = loaded.learnt;
        Ok((trainer, loaded.metadata))
    }
}
