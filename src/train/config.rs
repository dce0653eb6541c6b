//! [`TrainerConfig`]: everything that determines a training, besides its data.

use serde::{Deserialize, Serialize};

use super::model::NeuralDe;
use super::optimizer::Optimizer;
use crate::method::{Elbo, Loss, Regularizer};

/// What a training step does when trajectories fail, or the update would not be finite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailurePolicy {
    /// Returns an error and leaves the parameters as they were. The default.
    #[default]
    Abort,
    /// Leaves failed trajectories out of the loss, and the update out if too few are left for a loss (none, or of
    /// [`Loss::Moments`] one), the gradient is not finite, or a parameter or moment would not be; the report counts them.
    Skip,
}

/// Everything that determines a training, besides its data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TrainerConfig {
    /// The model.
    pub model: NeuralDe,
    /// What is minimised.
    pub loss: Loss,
    /// How the parameters follow the gradient.
    pub optimizer: Optimizer,
    /// What is added to the loss.
    pub regularizer: Regularizer,
    /// Seed of the initial parameters and of the regularizer's draws.
    pub seed: u64,
    /// What happens when trajectories fail.
    pub failure: FailurePolicy,
    /// What is paid for initial states that are drawn.
    #[serde(default, skip_serializing_if = "is_default")]
    pub elbo: Elbo,
}

/// Whether there is nothing to say of it in a file.
fn is_default(elbo: &Elbo) -> bool {
    *elbo == Elbo::default()
}

impl TrainerConfig {
    /// Adam with learning rate 1e-3, no regularizer, seed 0, failures abort.
    #[must_use]
    pub fn new(model: NeuralDe, loss: Loss) -> Self {
        Self {
            model,
            loss,
            optimizer: Optimizer::adam(1e-3),
            regularizer: Regularizer::None,
            seed: 0,
            failure: FailurePolicy::Abort,
            elbo: Elbo::default(),
        }
    }

    /// Sets the optimizer.
    #[must_use]
    pub fn optimizer(mut self, optimizer: Optimizer) -> Self {
        self.optimizer = optimizer;
        self
    }

    /// Sets the regularizer.
    #[must_use]
    pub fn regularizer(mut self, regularizer: impl Into<Regularizer>) -> Self {
        self.regularizer = regularizer.into();
        self
    }

    /// Sets the seed.
    #[must_use]
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets what happens when trajectories fail.
    #[must_use]
    pub const fn failure(mut self, failure: FailurePolicy) -> Self {
        self.failure = failure;
        self
    }

    /// Sets what is paid for initial states that are drawn ([`NeuralDe::latent`]).
    #[must_use]
    pub fn elbo(mut self, elbo: Elbo) -> Self {
        self.elbo = elbo;
        self
    }
}
