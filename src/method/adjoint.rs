//! [`Adjoint`]: how gradients are obtained.

use std::num::NonZero;

use serde::{Deserialize, Serialize};

use super::Method;
use crate::error::{Error, Result};
use crate::math::Real;

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
    /// The exact gradient of the discrete solution with no state kept: steps are undone, up to rounding.
    ///
    /// [`Method::ReversibleHeun`] is run backwards as it is (P. Kidger, J. Foster, X. Li, T. Lyons, Efficient and accurate
    /// gradients for neural SDEs, 2021). Any method for ordinary differential equations is made so that it can be: it
    /// carries a second state, with two increments of the method a step, coupled by [`SolverOptions::coupling`]
    /// (S. `McCallum`, J. Foster, Efficient, accurate and stable gradients for neural ODEs, 2024). That is another discrete
    /// solution, with the method's order, of twice the evaluations a step. It is only weakly stable: on `y' = -c y` the two
    /// states come apart as `e^(c t)`, and a trajectory whose states are more than 100 tolerances apart ends as
    /// [`Status::Irreversible`](crate::Status::Irreversible); with fixed steps, more than `1 + |y|`.
    ///
    /// [`SolverOptions::coupling`]: crate::SolverOptions::coupling()
    Reversible,
    /// **Approximate**: the adjoint equation `da/dt = -a^T df/dy`, solved backwards by the method within the tolerances, with
    /// states from the method's interpolant. Its error is as large as the tolerance, whatever the steps of the solve were; it
    /// is not the gradient of the discrete solution. Without noise.
    ///
    /// Parameters' gradients are a quadrature over the accepted steps and have no part in the error norm, in which the
    /// cotangent is measured in units of the largest that comes in. With fixed steps it takes those of the solve.
    Interpolating,
    /// **Approximate**: the adjoint equation, solved backwards together with the state, with no state kept.
    ///
    /// Without noise by the method within the tolerances, the state set right at saved times. It is unstable where the flow
    /// contracts: [`Gradients::drift`](crate::Gradients::drift) tells how far it came from the states that are known, and
    /// beyond 100 tolerances a trajectory is [`Status::Irreversible`](crate::Status::Irreversible).
    ///
    /// Of a Stratonovich problem by Heun's method on the steps and the path of the forward pass (X. Li, T.-K. L. Wong,
    /// R. T. Q. Chen, D. Duvenaud, Scalable gradients for stochastic differential equations, 2020). It converges to the
    /// gradient as steps shrink.
    Backsolve,
}

impl Adjoint {
    /// Accepted steps from one kept state to the next; 0 where none is kept.
    #[must_use]
    pub const fn stride(self) -> usize {
        match self {
            Self::Discrete { checkpoints } => checkpoints.stride(),
            Self::Interpolating => 1,
            Self::Reversible | Self::Backsolve => 0,
        }
    }

    /// The accepted states that a solve keeps for it.
    pub(crate) fn keep(self, method: Method) -> Keep {
        match self {
            Self::Interpolating => Keep::Dense,
            Self::Backsolve if self.is_solved(method) => Keep::Initial,
            _ => NonZero::new(self.stride()).map_or(Keep::Nothing, Keep::Every),
        }
    }

    /// Whether it is an equation with steps of its own.
    pub(crate) const fn is_solved(self, method: Method) -> bool {
        matches!(self, Self::Interpolating | Self::Backsolve) && method.tableau().noise.is_none()
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
            Self::Reversible => method.tableau().noise.is_none_or(|noise| noise.reversible),
            // Heun's method on the same steps: its forward pass is the one that it undoes to the order of the method.
            Self::Backsolve => self.is_solved(method) || method == Method::StratonovichHeun,
            Self::Interpolating => self.is_solved(method),
        };
        let remedy = match self {
            Self::Reversible => {
                "only the reversible-heun method can be undone along a path: choose it, or Adjoint::Discrete"
            }
            Self::Interpolating => "a path has no smooth interpolant: choose Adjoint::Discrete",
            _ => {
                "with noise the backsolve adjoint is of Stratonovich's calculus: choose heun-stratonovich, or Adjoint::Discrete"
            }
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
    /// The initial one.
    Initial,
    /// Every n-th one, the initial state first.
    Every(NonZero<usize>),
    /// All of them, with the stages of every step.
    Dense,
}

impl Keep {
    /// Accepted steps from one kept state to the next, if any is kept.
    pub(crate) const fn stride(self) -> Option<NonZero<usize>> {
        match self {
            Self::Nothing | Self::Initial => None,
            Self::Every(stride) => Some(stride),
            Self::Dense => Some(NonZero::<usize>::MIN),
        }
    }

    /// Whether the state before step `n` is kept.
    pub(crate) fn takes(self, n: usize) -> bool {
        match self {
            Self::Initial => n == 0,
            _ => self.stride().is_some_and(|stride| n.is_multiple_of(stride.get())),
        }
    }
}

impl Default for Adjoint {
    fn default() -> Self {
        Self::Discrete { checkpoints: Checkpoints::default() }
    }
}

/// The growth of rounding, as a logarithm, up to which steps are undone at `f32`: to about 1e-6.
const UNDO_GROWTH: f64 = 2.0;

/// The most steps that are undone: over `n` of them rounding grows by `coupling^-n`, to as much in either type.
pub(crate) fn undoable_steps<R: Real>(coupling: f64) -> usize {
    let digits = (f64::from(f32::EPSILON) / R::EPSILON.to_f64()).ln();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a positive number, cut at the largest"
    )]
    let steps = ((UNDO_GROWTH + digits) / -coupling.ln()) as usize;
    steps
}
