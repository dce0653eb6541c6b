//! [`Method`]: every method by its name, and the problems it is for.

use serde::{Deserialize, Serialize};

use super::{MAX_NOISE_STAGES, MAX_STAGES, Tableau, explicit, stochastic};
use crate::error::{Error, Result};
use crate::problem::{Calculus, Problem};

/// An explicit Runge-Kutta method, of an ordinary or a stochastic differential equation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Method {
    /// Forward Euler, order 1. No error estimate: fixed steps only.
    Euler,
    /// The midpoint method, order 2. No error estimate: fixed steps only.
    Midpoint,
    /// Heun's method with Euler embedded, 2(1).
    Heun,
    /// Bogacki and Shampine, 3(2), FSAL.
    Bosh3,
    /// The classical method of order 4. No error estimate: fixed steps only.
    Rk4,
    /// Dormand and Prince, 5(4), FSAL.
    Dopri5,
    /// Tsitouras, 5(4), FSAL: the default, as in the papers this library follows.
    #[default]
    Tsit5,
    /// Itô: Euler and Maruyama, strong order 1/2. No error estimate: fixed steps only.
    EulerMaruyama,
    /// Itô: Milstein's method without derivatives, strong order 1. No error estimate: fixed steps only.
    Milstein,
    /// Stratonovich: Heun's method, strong order 1, with Euler embedded.
    StratonovichHeun,
    /// Stratonovich: the algebraically reversible Heun method, one evaluation of each network a step.
    ReversibleHeun,
    /// Itô: Rößler's SRIW1, strong order 3/2, with an error estimate.
    Sriw1,
    /// Itô: Rackauckas and Nie's SOSRI, strong order 3/2 with a large region of stability and an error estimate: the
    /// default for stochastic problems, as in the papers.
    Sosri,
}

impl Method {
    /// Every method for ordinary differential equations, in order of cost.
    pub const ODE: [Self; 7] =
        [Self::Euler, Self::Midpoint, Self::Heun, Self::Bosh3, Self::Rk4, Self::Dopri5, Self::Tsit5];

    /// Every method for stochastic differential equations.
    pub const SDE: [Self; 6] =
        [Self::EulerMaruyama, Self::Milstein, Self::StratonovichHeun, Self::ReversibleHeun, Self::Sriw1, Self::Sosri];

    /// Every method.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::ODE.into_iter().chain(Self::SDE)
    }

    /// The method's coefficients; of a stochastic method those of its drift, which without noise are a Runge-Kutta method.
    #[must_use]
    pub const fn tableau(self) -> &'static Tableau {
        match self {
            Self::Euler => &explicit::EULER,
            Self::Midpoint => &explicit::MIDPOINT,
            Self::Heun => &explicit::HEUN,
            Self::Bosh3 => &explicit::BOSH3,
            Self::Rk4 => &explicit::RK4,
            Self::Dopri5 => &explicit::DOPRI5,
            Self::Tsit5 => &explicit::TSIT5,
            Self::EulerMaruyama => &stochastic::EULER_MARUYAMA,
            Self::Milstein => &stochastic::MILSTEIN,
            Self::StratonovichHeun => &stochastic::HEUN,
            Self::ReversibleHeun => &stochastic::REVERSIBLE_HEUN,
            Self::Sriw1 => &stochastic::SRIW1,
            Self::Sosri => &stochastic::SOSRI,
        }
    }
}

// Sums over a method's stages are made for so many, and no more.
const _: () = {
    let mut i = 0;
    while i < Method::ODE.len() {
        assert!(Method::ODE[i].tableau().stages() <= MAX_STAGES);
        i += 1;
    }
    i = 0;
    while i < Method::SDE.len() {
        let tableau = Method::SDE[i].tableau();
        assert!(tableau.stages() <= MAX_NOISE_STAGES);
        if let Some(noise) = tableau.noise {
            assert!(0 < noise.stages() && noise.stages() <= MAX_NOISE_STAGES);
        }
        i += 1;
    }
};

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.tableau().name)
    }
}

/// Checks that a method is made for a problem: noise or none, and its calculus.
pub(crate) fn tableau_supports(tableau: &Tableau, problem: &Problem) -> Result<()> {
    let refuse = |remedy: &str| Err(Error::argument("SolverOptions::method", tableau.name, remedy));
    match (tableau.noise, &problem.diffusion) {
        (None, None) => Ok(()),
        (Some(_), None) => refuse("it is for problems with noise: use tsit5, or give the problem a diffusion"),
        (None, Some(_)) => refuse(
            "it knows no noise: use euler-maruyama, milstein, sriw1 or sosri (Itô), heun-stratonovich or reversible-heun",
        ),
        (Some(noise), Some(diffusion)) if noise.calculus != diffusion.calculus => refuse(match diffusion.calculus {
            Calculus::Ito => "it converges to Stratonovich's integral: use euler-maruyama, milstein, sriw1 or sosri",
            Calculus::Stratonovich => "it converges to Itô's integral: use heun-stratonovich or reversible-heun",
        }),
        _ => Ok(()),
    }
}
