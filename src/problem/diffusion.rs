//! [`Diffusion`]: the noise of a problem, and how its integral is meant.

use serde::{Deserialize, Serialize};

use super::Field;

/// Diagonal noise: `g(t, y; theta) dW`, where each of the `D` features has its own Wiener process.
///
/// Methods of strong order above 1/2 have it where `g_i` depends on `y_i` alone; for a network that mixes features
/// they converge with order 1/2, as every method without Lévy areas does (P. E. Kloeden, E. Platen, Numerical
/// Solution of Stochastic Differential Equations, 1992, section 10.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diffusion {
    /// The network `g`, from `D` numbers to `D`. Its parameters follow the drift's.
    pub network: Field,
    /// How the stochastic integral is meant.
    pub calculus: Calculus,
}

impl Diffusion {
    /// Noise in the sense of `calculus`.
    #[must_use]
    pub fn new(network: impl Into<Field>, calculus: Calculus) -> Self {
        Self { network: network.into(), calculus }
    }

    /// Noise in the sense of Itô.
    #[must_use]
    pub fn ito(network: impl Into<Field>) -> Self {
        Self { network: network.into(), calculus: Calculus::Ito }
    }

    /// Noise in the sense of Stratonovich.
    #[must_use]
    pub fn stratonovich(network: impl Into<Field>) -> Self {
        Self { network: network.into(), calculus: Calculus::Stratonovich }
    }
}

/// How a stochastic integral is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Calculus {
    /// The integrand before the step, the default.
    #[default]
    Ito,
    /// The mean of the integrand before and after the step, which follows the chain rule.
    Stratonovich,
}

impl std::fmt::Display for Calculus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ito => "ito",
            Self::Stratonovich => "stratonovich",
        })
    }
}
