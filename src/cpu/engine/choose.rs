//! Which scheme solves a problem.

use super::team::{Crews, Team};
use crate::cpu::adjoint::rewind::Undone;
use crate::cpu::adjoint::{Back, of_reversible_heun, of_runge_kutta, of_stochastic};
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::step::Scheme;
use crate::cpu::step::reversible_heun::ReversibleHeun;
use crate::cpu::step::reversible_runge_kutta::ReversibleRungeKutta;
use crate::cpu::step::runge_kutta::RungeKutta;
use crate::cpu::step::sde::Sde;
use crate::cpu::step::stepper::Stepper;
use crate::cpu::step::stochastic::Stochastic;
use crate::error::{Error, Result};
use crate::method::{Adjoint, SolverOptions};
use crate::problem::{Paths, Problem};

/// The crews that solve a problem under options that fit it.
///
/// # Errors
/// [`Error::Argument`] for a method and an adjoint that do not fit.
pub(crate) fn team<R: Scalar>(problem: &Problem, options: &SolverOptions) -> Result<Box<dyn Team<R>>> {
    let tableau = options.method.tableau();
    match (&problem.diffusion, tableau.noise) {
        (None, None) if options.adjoint == Adjoint::Reversible => {
            let scheme = ReversibleRungeKutta::new(problem, options)?;
            crews(scheme, Some(Box::new(Undone)), problem, options)
        }
        (None, None) => {
            crews(RungeKutta::new(problem, tableau)?, of_runge_kutta(problem.dim(), options), problem, options)
        }
        (Some(diffusion), Some(noise)) => {
            let path = options.path(problem, Paths::default())?;
            let sde = Sde::new(problem, diffusion, (tableau, noise), path)?;
            if noise.reversible {
                crews(ReversibleHeun::new(sde), of_reversible_heun(options), problem, options)
            } else {
                crews(Stochastic::new(sde), of_stochastic(options), problem, options)
            }
        }
        _ => Err(refused(options)),
    }
}

fn crews<S: Scheme + 'static>(
    scheme: S,
    back: Option<Back<S>>,
    problem: &Problem,
    options: &SolverOptions,
) -> Result<Box<dyn Team<S::Real>>> {
    let back = back.ok_or_else(|| refused(options))?;
    Ok(Box::new(Crews::new(Stepper::new(scheme, problem, options)?, back)))
}

fn refused(options: &SolverOptions) -> Error {
    let value = format!("{:?} with {}", options.adjoint, options.method);
    Error::argument("SolverOptions::adjoint", value, "choose Adjoint::Discrete, and a method that fits the problem")
}
