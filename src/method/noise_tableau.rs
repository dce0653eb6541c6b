//! [`NoiseTableau`]: what a stochastic Runge-Kutta method does with diagonal or scalar noise.

use crate::problem::Calculus;

/// The largest number of diffusion stages of any method here.
pub(crate) const MAX_NOISE_STAGES: usize = 4;

/// What a stage's diffusion terms are multiplied by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoiseScale {
    /// The increment `dW`.
    Increment,
    /// `chi2`, the mean of the path over the step against its start.
    Mean,
    /// `sqrt h`.
    Root,
}

/// What a stochastic method does with noise, in A. Rößler's form (SIAM J. Numer. Anal. 48(3), 2010, SRI schemes), with a
/// stage of drift `f_i` and of diffusion `g_i` at states of their own:
///
/// ```text
/// H0_i = y + h sum_j a0_ij f_j + s0 sum_j b0_ij g_j      f_i = f(t + c0_i h, H0_i)
/// H1_i = y + h sum_j a1_ij f_j + s1 sum_j b1_ij g_j      g_i = g(t + c1_i h, H1_i)
/// y+   = y + h sum_i alpha_i f_i + sum_i (beta1_i dW + beta2_i chi1 + beta3_i chi2 + beta4_i chi3) g_i
/// ```
///
/// where `chi1 = (dW^2 - h) / (2 sqrt h)`, `chi2 = (dW + dZ / sqrt 3) / 2`, `chi3 = (dW^3 - 3 dW h) / (6 h)` are the iterated
/// integrals `I_11 / sqrt h`, `I_10 / h` and `I_111 / h` of a feature's Wiener process. The rest, `a0`, `c0`, `alpha`, is in the
/// [`Tableau`](super::Tableau) that this belongs to.
#[derive(Debug)]
#[non_exhaustive]
pub struct NoiseTableau {
    /// The calculus that the method converges in.
    pub calculus: Calculus,
    /// Strong order, for noise whose `g_i` depends on `y_i` alone, and for scalar noise.
    pub strong_order: f64,
    /// Weak order, likewise.
    pub weak_order: f64,
    /// The power of the step size that the controller and the step-count measure assume of the error estimate.
    pub error_power: f64,
    /// Nodes `c1` of the diffusion stages.
    pub c: &'static [f64],
    /// Rows of `b0`: diffusion terms of the drift stages' states, and their scale `s0`.
    pub drift_b: &'static [&'static [f64]],
    /// The scale `s0`.
    pub drift_scale: NoiseScale,
    /// Rows of `a1`: drift terms of the diffusion stages' states.
    pub a: &'static [&'static [f64]],
    /// Rows of `b1`: diffusion terms of the diffusion stages' states.
    pub b: &'static [&'static [f64]],
    /// The scale `s1`.
    pub scale: NoiseScale,
    /// `beta1` to `beta4`, one number a diffusion stage.
    pub weights: [&'static [f64]; 4],
    /// The same for the error estimate, if there is one.
    pub error: [&'static [f64]; 4],
    /// Whether the method carries a second state, from which it steps on and by which it can be undone.
    pub reversible: bool,
}

impl NoiseTableau {
    /// Number of diffusion stages.
    #[must_use]
    pub const fn stages(&self) -> usize {
        self.c.len()
    }
}
