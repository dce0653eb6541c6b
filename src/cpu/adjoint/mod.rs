//! The backward pass: the [`Walk`](walk::Walk) over the accepted steps, and where it has their states from.

pub(crate) mod backsolve;
pub(crate) mod equation;
pub(crate) mod hook;
pub(crate) mod rewind;
pub(crate) mod track;
pub(crate) mod walk;
pub(crate) mod way_back;

use std::num::NonZero;

use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::step::reversible_heun::ReversibleHeun;
use crate::cpu::step::runge_kutta::RungeKutta;
use crate::cpu::step::stochastic::Stochastic;
use crate::method::{Adjoint, NoiseTableau, SaveAt, SolverOptions};
use backsolve::Backsolved;
use equation::Equation;
use rewind::{Taped, Undone};
use way_back::WayBack;

/// A way back over a scheme's steps.
pub(crate) type Back<S> = Box<dyn WayBack<S>>;

/// The way back over Runge-Kutta steps, if the adjoint has one.
pub(crate) fn of_runge_kutta<R: Scalar>(dim: usize, options: &SolverOptions) -> Option<Back<RungeKutta<R>>> {
    match options.adjoint {
        Adjoint::Discrete { .. } => Some(Box::new(taped(options)?)),
        Adjoint::Interpolating | Adjoint::Backsolve => Some(Box::new(Equation::new(dim, options))),
        Adjoint::Reversible => None,
    }
}

/// That over stochastic Runge-Kutta steps.
pub(crate) fn of_stochastic<R: Scalar>(options: &SolverOptions) -> Option<Back<Stochastic<R>>> {
    let tableau = options.method.tableau();
    // As many stages as the adjoint equation's own step has.
    let heun = [Some(tableau.stages()), tableau.noise.map(NoiseTableau::stages)] == [Some(2); 2];
    match options.adjoint {
        Adjoint::Discrete { .. } => Some(Box::new(taped(options)?)),
        Adjoint::Backsolve if heun => Some(Box::new(Backsolved)),
        Adjoint::Reversible | Adjoint::Interpolating | Adjoint::Backsolve => None,
    }
}

/// That over steps of the reversible Heun method.
pub(crate) fn of_reversible_heun<R: Scalar>(options: &SolverOptions) -> Option<Back<ReversibleHeun<R>>> {
    match options.adjoint {
        Adjoint::Discrete { .. } => Some(Box::new(taped(options)?)),
        Adjoint::Reversible => Some(Box::new(Undone)),
        Adjoint::Interpolating | Adjoint::Backsolve => None,
    }
}

/// With the states that are kept: every one, where all are saved anyway.
fn taped(options: &SolverOptions) -> Option<Taped> {
    let stride = match options.save_at {
        SaveAt::Steps | SaveAt::Dense => Some(NonZero::<usize>::MIN),
        SaveAt::End | SaveAt::Times(_) => options.adjoint.keep(options.method).stride(),
    };
    stride.map(|stride| Taped { stride })
}
