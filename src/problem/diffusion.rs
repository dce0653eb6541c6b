//! [`Diffusion`]: the noise of a problem, whose it is, and how its integral is meant.

use serde::{Deserialize, Serialize};

use super::Field;

/// What is multiplied with noise, `g(t, y; theta) dW`: a [`Field`] `g` from `D` numbers to `D`. Each feature has a Wiener
/// process of its own, or after [`Diffusion::shared`] all have one: see [`Noise`].
///
/// ```
/// use fewsteps::{Brownian, Diffusion, Field, Mlp, Paths, Problem, Solver, SolverOptions, StepControl, Method};
///
/// # fn main() -> fewsteps::Result<()> {
/// // Two prices that one market moves, dy_i = s_i y_i dW.
/// let prices = Field::build(2, |f| f.state() * f.positive("volatilities", &[0.2, 0.5]))?;
/// let still = Field::build(2, |f| f.state() * 0.0)?;
/// let problem = Problem::sde(still, Diffusion::ito(prices).shared(), 0.0, 1.0);
/// let options = SolverOptions::default().method(Method::Sriw1).step_control(StepControl::Fixed { steps: 64 });
/// let mut solver = Solver::<f64>::new(&fewsteps::Cpu::new()?, &problem, &options)?;
/// solver.set_paths(Paths::new(7));
/// let ys = solver.predict(&problem.initialize(0), &[1.0, 1.0])?.check()?.ys;
/// let w = options.path(&problem, Paths::new(7))?.increment::<f64>(0, 0, 0.0, 1.0).w; // trajectory 0, channel 0
/// for (y, s) in ys.iter().zip([0.2f64, 0.5]) {
///     assert!((y / (s * w - 0.5 * s * s).exp() - 1.0).abs() < 1e-3);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Diffusion {
    /// The network `g`, from `D` numbers to `D`. Its parameters follow the drift's.
    pub network: Field,
    /// How the stochastic integral is meant.
    pub calculus: Calculus,
    /// Which Wiener processes the features have.
    #[serde(default, skip_serializing_if = "Noise::is_diagonal")]
    pub noise: Noise,
}

impl Diffusion {
    /// Noise in the sense of `calculus`.
    #[must_use]
    pub fn new(network: impl Into<Field>, calculus: Calculus) -> Self {
        Self { network: network.into(), calculus, noise: Noise::Diagonal }
    }

    /// Noise in the sense of Itô.
    #[must_use]
    pub fn ito(network: impl Into<Field>) -> Self {
        Self::new(network, Calculus::Ito)
    }

    /// Noise in the sense of Stratonovich.
    #[must_use]
    pub fn stratonovich(network: impl Into<Field>) -> Self {
        Self::new(network, Calculus::Stratonovich)
    }

    /// With one Wiener process for all features: [`Noise::Scalar`].
    #[must_use]
    pub fn shared(self) -> Self {
        Self { noise: Noise::Scalar, ..self }
    }

    /// Wiener processes of a trajectory, which are the first channels of its path: `D`, or one.
    #[must_use]
    pub fn channels(&self) -> usize {
        match self.noise {
            Noise::Diagonal => self.network.outputs(),
            Noise::Scalar => 1,
        }
    }
}

/// Which Wiener processes the features of a trajectory have.
///
/// Both are kinds of which no method needs Lévy areas to have its strong order. A diffusion that does not read the state,
/// additive noise, needs no kind of its own: it is of either, and Euler and Maruyama's method has order 1 for it, the SRI
/// methods 3/2 or more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Noise {
    /// `dy_i = f_i dt + g_i dW_i`, the default: each feature has its own process, channel `i` of the path.
    ///
    /// Methods of strong order above 1/2 have it where `g_i` depends on `y_i` alone; for a network that mixes features
    /// they converge with order 1/2, as every method without Lévy areas does (P. E. Kloeden, E. Platen, Numerical
    /// Solution of Stochastic Differential Equations, 1992, section 10.3).
    #[default]
    Diagonal,
    /// `dy = f dt + g dW`: one process moves all features, channel 0 of the path.
    ///
    /// Every method has its strong order, however `g` mixes features: stages move all of them along `g` at once, so that
    /// a step has `g' g` and `(g' g)' g` as they are, and there are no areas between processes. It is Rößler's case of
    /// `m = 1`.
    Scalar,
}

impl Noise {
    /// Whether it is the kind that files do not mention.
    fn is_diagonal(&self) -> bool {
        *self == Self::Diagonal
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
