//! [`Adjoint`]: how gradients are obtained.

use serde::{Deserialize, Serialize};

/// Which accepted states the forward pass keeps for the backward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Checkpoints {
    /// Every accepted state: the fastest, and the default.
    #[default]
    EveryStep,
    /// Every n-th accepted state; the steps between are taken again in the backward pass, to the same bits.
    Stride(usize),
}

impl Checkpoints {
    /// Accepted steps from one kept state to the next.
    #[must_use]
    pub const fn stride(self) -> usize {
        match self {
            Self::EveryStep => 1,
            Self::Stride(n) => n,
        }
    }
}

/// How the gradient of a solve is obtained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Adjoint {
    /// Differentiates the steps that were taken, with their sizes held constant: the exact gradient of the discrete
    /// solution. Stages are computed anew from the kept states.
    Discrete {
        /// Which states are kept.
        checkpoints: Checkpoints,
    },
}

impl Default for Adjoint {
    fn default() -> Self {
        Self::Discrete { checkpoints: Checkpoints::default() }
    }
}
