//! [`Drawing`]: how the initial states of one solve are drawn, where a model's are; the same on either engine.

use super::config::TrainerConfig;
use super::state::TrainingState;
use crate::math::Purpose;
use crate::method::Streams;

/// How the initial states of a solve are drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drawing {
    /// What they are drawn by; without, they are the means.
    pub(super) normals: Option<Streams>,
    /// Trajectories of a sample.
    pub(super) copies: usize,
    /// Weight of the divergence, if it is a training step's.
    pub(super) weight: Option<f64>,
}

impl Drawing {
    /// Nothing is drawn: initial states are what the encoder gives, or means.
    pub(super) const NONE: Self = Self { normals: None, copies: 1, weight: None };
}

impl TrainerConfig {
    /// The standard normal numbers `[trajectories][D]` by which the training step after `step` others draws initial states, for
    /// those who compute the same elsewhere. Trajectories are the samples of the batch, each as often in a row as
    /// [`Elbo::samples`](crate::Elbo) says.
    ///
    /// ```
    /// # use fewsteps::{Loss, Mlp, NeuralDe, Problem, SolverOptions, TrainerConfig};
    /// let model = NeuralDe::new(Problem::ode(Mlp::new([4, 16, 4]), 0.0, 1.0), SolverOptions::default());
    /// let config = TrainerConfig::new(model.encoder(8).latent().head(2), Loss::Mse).seed(3);
    /// assert_eq!(config.initial_normals(0, 5).len(), 5 * 4);
    /// ```
    #[must_use]
    pub fn initial_normals(&self, step: u64, trajectories: usize) -> Vec<f64> {
        let streams = Streams::of_step(Purpose::InitialState, self.seed, step);
        let dim = self.model.problem.dim();
        (0..trajectories).flat_map(|trajectory| streams.normals(trajectory).take(dim)).collect()
    }
}

impl TrainingState {
    /// Trajectories that a training step on so many samples solves.
    pub(super) const fn trajectories(&self, samples: usize) -> usize {
        if self.config.model.latent { samples.saturating_mul(self.config.elbo.samples) } else { samples }
    }

    /// That of the training step after `step` others.
    pub(super) fn step_drawing(&self, step: u64) -> Drawing {
        let TrainerConfig { model, elbo, seed, .. } = &self.config;
        if !model.latent {
            return Drawing::NONE;
        }
        let normals = Some(Streams::of_step(Purpose::InitialState, *seed, step));
        Drawing { normals, copies: elbo.samples, weight: Some(elbo.kl.value(step)) }
    }

    /// That of an evaluation's `sample`-th sample.
    pub(super) fn evaluation_drawing(&self, sample: usize) -> Drawing {
        let normals = self
            .config
            .model
            .latent
            .then(|| Streams::of_evaluation(Purpose::InitialState, self.config.seed, sample as u64));
        Drawing { normals, ..Drawing::NONE }
    }
}
