//! [`Elbo`]: what training pays for initial states that are drawn.

use serde::{Deserialize, Serialize};

use super::loss::Loss;
use super::schedule::Schedule;
use crate::error::{Error, Result};

/// How a model learns whose initial states are drawn ([`NeuralDe::latent`](crate::NeuralDe::latent)): by the evidence lower
/// bound (Kingma and Welling, 2014). With `q = N(mean, exp(log-variance))` from the encoder and `p = N(0, 1)`, what is
/// minimised is
///
/// ```text
/// mean over samples z ~ q of loss(z)  +  kl * KL(q || p),    KL = sum((mean^2 + variance - log-variance - 1) / 2)
/// ```
///
/// where `loss(z)` is a negative log-likelihood if the model's loss is one ([`Loss::Gaussian`], cross-entropy). With
/// `importance` it is the importance-weighted bound (Burda, Grosse and Salakhutdinov, 2016),
/// `-log mean over samples of exp(-loss(z) - kl * log(q(z) / p(z)))`, which is tighter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Elbo {
    /// Weight of the divergence; in the bound itself it is 1.
    pub kl: Schedule,
    /// Initial states that are drawn for each trajectory in a training step.
    pub samples: usize,
    /// What a trajectory's loss and divergence are.
    pub reduction: Reduction,
    /// Whether samples are weighted by their importance.
    pub importance: bool,
}

/// What a trajectory's loss is of its numbers, and its divergence of its state's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reduction {
    /// Means over what is observed and over the state, as in Rubanova, Chen and Duvenaud (2019) and those after them: a long
    /// series counts as much as a short one, and the divergence does not depend on how many observations there are.
    #[default]
    Mean,
    /// Sums, as in the bound itself: nats a trajectory.
    Sum,
}

impl Default for Elbo {
    fn default() -> Self {
        Self { kl: Schedule::constant(1.0), samples: 1, reduction: Reduction::Mean, importance: false }
    }
}

impl Elbo {
    /// With another weight of the divergence.
    #[must_use]
    pub fn kl(mut self, weight: impl Into<Schedule>) -> Self {
        self.kl = weight.into();
        self
    }

    /// With as many initial states a trajectory.
    #[must_use]
    pub const fn samples(mut self, samples: usize) -> Self {
        self.samples = samples;
        self
    }

    /// With sums or means.
    #[must_use]
    pub const fn reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// With samples weighted by their importance.
    #[must_use]
    pub const fn importance(mut self) -> Self {
        self.importance = true;
        self
    }

    /// Checks it for a model that is trained by a loss, and whose initial states are drawn if it is `latent`.
    pub(crate) fn validate(&self, loss: Loss, latent: bool) -> Result<()> {
        self.kl.validate("Elbo::kl")?;
        if self.samples == 0 {
            return Err(Error::argument("Elbo::samples", 0, "draw at least one initial state"));
        }
        if !latent && *self != Self::default() {
            let remedy = "it is of models whose initial states are drawn: use NeuralDe::latent, or leave it out";
            return Err(Error::argument("TrainerConfig::elbo", format!("{self:?}"), remedy));
        }
        let of_all = matches!(loss, Loss::Moments | Loss::NegativeLogLikelihood);
        if latent && of_all {
            let remedy =
                "it is not of single trajectories, of which initial states are drawn: use a loss on states or classes";
            return Err(Error::argument("TrainerConfig::loss", format!("{loss:?}"), remedy));
        }
        Ok(())
    }
}

impl Reduction {
    /// What the sum over a state of `dim` numbers is multiplied with.
    pub(crate) fn of_state(self, dim: usize) -> f64 {
        match self {
            Self::Mean => 1.0 / dim as f64,
            Self::Sum => 1.0,
        }
    }
}
