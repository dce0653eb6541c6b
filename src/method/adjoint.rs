//! [`Adjoint`]: how gradients are obtained.

use std::num::NonZero;

use serde::{Deserialize, Serialize};

use super::Method;
use crate::error::{Error, Result};

/// Which accepted states the forward pass keeps for the backward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Checkpoints {
    /// Every accepted state: the fastest, and the default.
    #[default]
    EveryStep,
    /// Every n-th accepted state; the steps between are taken again in the backward pass, to the same bits. Their states
    /// are held meanwhile, so that of `m` steps `m/n + n` states are held: the root of `m` needs the least.
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
#[non_exhaustive]
pub enum Adjoint {
    /// Differentiates the steps that were taken, with their sizes held constant: the exact gradient of the discrete
    /// solution. Stages are computed anew from the kept states, noise from its counters.
    Discrete {
        /// Which states are kept.
        checkpoints: Checkpoints,
    },
    /// The same gradient with no state kept: [`Method::ReversibleHeun`] is run backwards, which undoes its steps up to
    /// rounding (P. Kidger, J. Foster, X. Li, T. Lyons, Efficient and accurate gradients for neural SDEs, 2021).
    Reversible,
    /// **Approximate**: the adjoint equation of a Stratonovich problem, solved backwards together with the state by
    /// Heun's method on the steps and the path of the forward pass, with no state kept (X. Li, T.-K. L. Wong, R. T. Q.
    /// Chen, D. Duvenaud, Scalable gradients for stochastic differential equations, 2020). It converges to the gradient
    /// as steps shrink.
    Backsolve,
}

impl Adjoint {
    /// Accepted steps from one kept state to the next; 0 where none is kept.
    #[must_use]
    pub const fn stride(self) -> usize {
        match self {
            Self::Discrete { checkpoints } => checkpoints.stride(),
            Self::Reversible | Self::Backsolve => 0,
        }
    }

    /// The accepted states that a solve keeps for it.
    pub(crate) fn keep(self) -> Keep {
        NonZero::new(self.stride()).map_or(Keep::Nothing, Keep::Every)
    }

    /// Checks that a method's solution can be differentiated so.
    ///
    /// # Errors
    /// [`Error::Argument`] naming what does not fit.
    pub fn validate(self, method: Method) -> Result<()> {
        let fits = match self {
            Self::Discrete { checkpoints } if checkpoints.stride() == 0 => {
                return Err(Error::argument("Checkpoints::Stride", 0, "keep every n-th state, n at least 1"));
            }
            Self::Discrete { .. } => true,
            Self::Reversible => method == Method::ReversibleHeun,
            // Heun's method on the same steps: its forward pass is the one that it undoes to the order of the method.
            Self::Backsolve => method == Method::StratonovichHeun,
        };
        let remedy = match self {
            Self::Reversible => "only the reversible-heun method can be undone: choose it, or Adjoint::Discrete",
            _ => "the backsolve adjoint is of Stratonovich's calculus: choose heun-stratonovich, or Adjoint::Discrete",
        };
        if fits {
            Ok(())
        } else {
            Err(Error::argument("SolverOptions::adjoint", format!("{self:?} with {method}"), remedy))
        }
    }
}

/// Which accepted states a solve keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    Nothing,
    /// Every n-th one, the initial state first.
    Every(NonZero<usize>),
    /// All of them, with the stages of every step.
    Dense,
}

impl Keep {
    /// Accepted steps from one kept state to the next, if any is kept.
    pub(crate) const fn stride(self) -> Option<NonZero<usize>> {
        match self {
            Self::Nothing => None,
            Self::Every(stride) => Some(stride),
            Self::Dense => Some(NonZero::<usize>::MIN),
        }
    }

    /// Whether the state before step `n` is kept.
    pub(crate) fn takes(self, n: usize) -> bool {
        self.stride().is_some_and(|stride| n.is_multiple_of(stride.get()))
    }
}

impl Default for Adjoint {
    fn default() -> Self {
        Self::Discrete { checkpoints: Checkpoints::default() }
    }
}
