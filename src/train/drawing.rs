//! [`Drawing`]: how the initial states of one solve are drawn, where a model's are; the same on either engine.

use super::config::TrainerConfig;
use super::state::TrainingState;
use crate::method::Normals;

/// How the initial states of a solve are drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drawing {
    /// What they are drawn by; without, they are the means.
    pub(super) normals: Option<Normals>,
    /// Trajectories of a sample.
    pub(super) copies: usize,
    /// Weight of the divergence, if it is a training step's.
    pub(super) weight: Option<f64>,
}

impl Drawing {
    /// Nothing is drawn: initial states are what the encoder gives, or means.
    pub(super) const NONE: Self = Self { normals: None, copies: 1, weight: None };
}

impl TrainingState {
    /// That of the training step after `step` others.
    pub(super) fn step_drawing(&self, step: u64) -> Drawing {
        let TrainerConfig { model, elbo, seed, .. } = &self.config;
        if !model.latent {
            return Drawing::NONE;
        }
        let normals = Some(Normals::of_step(*seed, step));
        Drawing { normals, copies: elbo.samples, weight: Some(elbo.kl.value(step)) }
    }

    /// That of an evaluation's `sample`-th sample.
    pub(super) fn evaluation_drawing(&self, sample: usize) -> Drawing {
        let normals = self.config.model.latent.then(|| Normals::of_evaluation(self.config.seed, sample as u64));
        Drawing { normals, ..Drawing::NONE }
    }
}
