//! Problems without noise on the native engine.

mod accuracy;
mod adjoints;
mod batches;
mod controls;
mod convergence;
mod failures;
mod gradients;
mod knots;
mod memory;
pub(crate) mod own_times;
mod programs;
mod properties;
mod refusals;
mod regularizer;
mod steps;
mod tableau;
mod times;
mod tolerances;

use crate::oracle::{Known, Step, System, cast, numbers, scaled, solver, zoo};
use fewsteps::{Error, Mlp, Problem, Scalar, Solution, SolverOptions, Status};

fn solve<R: Scalar>(problem: &Problem, options: &SolverOptions, theta: &[f64], y0: &[f64]) -> Solution<R> {
    solver::<R>(problem, options).solve(&cast(theta), &cast(y0)).expect("a valid call")
}

fn predict<R: Scalar>(known: &Known, options: &SolverOptions, y0: &[f64]) -> Solution<R> {
    solver::<R>(&known.problem, options).predict(&cast(&known.theta), &cast(y0)).expect("a valid call")
}

/// A small network with random weights, of size 1 or so.
fn random_field(dim: usize, hidden: usize, seed: u64) -> (Mlp, Vec<f64>) {
    let field = Mlp::new([dim, hidden, dim]);
    let theta = scaled(1.2, &numbers(seed, field.parameter_count()));
    (field, theta)
}

/// A field of many features whose slope is 1 everywhere, as one layer and as two.
fn slopes_of_one(dim: usize) -> [(Mlp, Vec<f64>); 2] {
    [Mlp::new([dim, dim]), Mlp::new([dim, 2, dim])].map(|field| {
        let count = field.parameter_count();
        let theta = (0..count).map(|i| if i + dim >= count { 1.0 } else { 0.0 }).collect();
        (field, theta)
    })
}

fn all_done<R>(name: &str, solution: &Solution<R>) {
    assert!(solution.status.iter().all(|s| *s == Status::Done), "{name}: {:?}", solution.status);
}

fn rotation() -> Known {
    zoo().swap_remove(1)
}

/// The argument that an error names.
fn argument(error: &Error) -> &'static str {
    match error {
        Error::Argument { argument, .. } | Error::Shape { argument, .. } | Error::NonFinite { argument, .. } => {
            argument
        }
        other => panic!("{other} names no argument"),
    }
}

/// The oracle's attempt at a step of length `h` from `t`, which ends at `t1` if it comes near, with its error.
fn attempt(system: &System<'_>, theta: &[f64], [t, h, t1]: [f64; 3], y: &[f64]) -> (Step<f64>, f64) {
    let next = if t + h * (1.0 + 1e-14) >= t1 { t1 } else { t + h };
    let step = system.step(theta, t, next, y, None);
    let error = system.error_norm(std::slice::from_ref(&step));
    (step, error)
}
