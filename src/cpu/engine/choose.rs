//! Which scheme solves a problem, and where its backward pass has states from.

use std::num::NonZero;

use super::team::{Crews, Team};
use crate::cpu::adjoint::backsolve::Backsolved;
use crate::cpu::adjoint::rewind::{Rewind, Taped, Undone};
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::step::Scheme;
use crate::cpu::step::reversible_heun::ReversibleHeun;
use crate::cpu::step::runge_kutta::RungeKutta;
use crate::cpu::step::sde::Sde;
use crate::cpu::step::stepper::Stepper;
use crate::cpu::step::stochastic::Stochastic;
use crate::error::{Error, Result};
use crate::method::{Adjoint, SaveAt, SolverOptions};
use crate::problem::{Paths, Problem};

/// The crews that solve a problem under options that fit it.
///
/// # Errors
/// [`Error::Argument`] for a method and an adjoint that do not fit.
pub(crate) fn team<R: Scalar>(problem: &Problem, options: &SolverOptions) -> Result<Box<dyn Team<R>>> {
    let tableau = options.method.tableau();
    let crews = Choice { problem, options };
    let taped = match options.adjoint {
        Adjoint::Discrete { checkpoints } => NonZero::new(match options.save_at {
            // Every state is kept anyway.
            SaveAt::Steps | SaveAt::Dense => 1,
            _ => checkpoints.stride(),
        }),
        _ => None,
    };
    let taped = taped.map(|stride| Taped { stride });
    match (&problem.diffusion, tableau.noise) {
        (Some(diffusion), Some(noise)) => {
            let path = options.path(problem, Paths::default())?;
            let sde = Sde::new(problem, diffusion, (tableau, noise), path);
            match (options.adjoint, taped) {
                (_, Some(taped)) if noise.reversible => crews.of(ReversibleHeun::new(sde), taped),
                (_, Some(taped)) => crews.of(Stochastic::new(sde), taped),
                (Adjoint::Reversible, None) if noise.reversible => crews.of(ReversibleHeun::new(sde), Undone),
                // Two stages, as the adjoint equation's own step has.
                (Adjoint::Backsolve, None) if !noise.reversible && sde.stages() == [2, 2] => {
                    crews.of(Stochastic::new(sde), Backsolved)
                }
                _ => crews.refused(),
            }
        }
        (None, None) => match taped {
            Some(taped) => crews.of(RungeKutta::new(problem, tableau), taped),
            None => crews.refused(),
        },
        _ => crews.refused(),
    }
}

#[derive(Clone, Copy)]
struct Choice<'a> {
    problem: &'a Problem,
    options: &'a SolverOptions,
}

impl Choice<'_> {
    fn of<S: Scheme + 'static>(self, scheme: S, rewind: impl Rewind<S> + 'static) -> Result<Box<dyn Team<S::Real>>> {
        Ok(Box::new(Crews::new(Stepper::new(scheme, self.problem, self.options)?, Box::new(rewind))))
    }

    fn refused<R>(self) -> Result<Box<dyn Team<R>>> {
        let value = format!("{:?} with {}", self.options.adjoint, self.options.method);
        Err(Error::argument(
            "SolverOptions::adjoint",
            value,
            "choose Adjoint::Discrete, and a method that fits the problem",
        ))
    }
}
