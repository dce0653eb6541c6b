//! [`Tableau`]: Butcher's tableau of an explicit Runge-Kutta method, with embedded error weights and an interpolant. What a
//! stochastic method does with the noise is in its [`NoiseTableau`].

use super::NoiseTableau;

/// The largest number of stages of any method here.
pub const MAX_STAGES: usize = 7;

/// The coefficients of an explicit Runge-Kutta method over a step from `t` to `t + h`:
/// `k_i = f(t + c_i h, y + h sum_j a_ij k_j)`, `y+ = y + h sum b_i k_i`, `e = h sum b_error_i k_i`.
#[derive(Debug)]
#[non_exhaustive]
pub struct Tableau {
    /// The method's name, as the command line spells it.
    pub name: &'static str,
    /// Order of `b`.
    pub order: usize,
    /// Order of the embedded solution `b - b_error`; equal to `order` where there is none.
    pub embedded_order: usize,
    /// Nodes; one a stage.
    pub c: &'static [f64],
    /// Rows of the strictly lower triangular matrix; row `i` holds `i` coefficients.
    pub a: &'static [&'static [f64]],
    /// Weights.
    pub b: &'static [f64],
    /// Weights of the error estimate, if the method has one.
    pub b_error: Option<&'static [f64]>,
    /// Coefficients of θ, θ², θ³, θ⁴ in the interpolant's weights `b_i(θ)`: `y(t + θh) = y + h sum b_i(θ) k_i`.
    pub interpolant: &'static [[f64; 4]],
    /// Order of the interpolant.
    pub interpolant_order: usize,
    /// Size of the method's stability region along the negative real axis, where its last two stages share their
    /// node and so estimate the stiffness (Hairer & Wanner, IV.2).
    pub stability_size: Option<f64>,
    /// What the method does with noise, if it is a stochastic one.
    pub noise: Option<&'static NoiseTableau>,
}

impl Tableau {
    /// Number of stages.
    #[must_use]
    pub const fn stages(&self) -> usize {
        self.b.len()
    }

    /// Whether the last stage is the first of the next step: its row of `a` is `b`, its node is 1.
    #[must_use]
    pub fn fsal(&self) -> bool {
        let s = self.stages();
        s > 1 && self.c[s - 1] == 1.0 && self.b[s - 1] == 0.0 && self.a[s - 1] == &self.b[..s - 1]
    }

    /// Whether the error estimate of a constant drift is 0: its weights have no sum, and it is one of differences
    /// `k_i - k_1`, in which rounded weights leave nothing of a constant.
    #[must_use]
    pub fn estimates_by_differences(&self) -> bool {
        self.b_error.is_some_and(|weights| weights.iter().sum::<f64>().abs() < 1e-12)
    }

    /// The power `q` of the step size in the error estimate, `E ~ h^q`: one more than the lower order of the pair. Of a
    /// stochastic method, the one that its controller takes.
    #[must_use]
    pub fn error_power(&self) -> f64 {
        self.noise.map_or(self.embedded_order as f64 + 1.0, |noise| noise.error_power)
    }

    /// Weights of the interpolant at `theta` in `[0, 1]`; entries past the last stage are zero.
    #[must_use]
    pub fn interpolant_weights(&self, theta: f64) -> [f64; MAX_STAGES] {
        let mut weights = [0.0; MAX_STAGES];
        for (weight, p) in weights.iter_mut().zip(self.interpolant) {
            *weight = theta * (p[0] + theta * (p[1] + theta * (p[2] + theta * p[3])));
        }
        weights
    }
}

impl NoiseTableau {
    /// Whether drift and diffusion of a stage are taken at the same state and time.
    #[must_use]
    pub fn shares_states(&self, drift: &Tableau) -> bool {
        let rows = |rows: &[&[f64]]| rows.concat();
        self.c == drift.c
            && rows(self.a) == rows(drift.a)
            && rows(self.b) == rows(self.drift_b)
            && (self.scale == self.drift_scale || self.stages() == 1)
    }
}
