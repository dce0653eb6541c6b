//! The wgpu engine, on whatever adapter there is, against the native one.

mod check;
mod embedding;
mod failures;
mod gradients;
mod layers;
mod lost;
mod memory;
mod noise;
mod own_penalties;
mod own_times;
mod solve;
mod tolerances;
mod traffic;
mod training;

use crate::oracle::{gpu, solver};
use fewsteps::{GpuSolver, Problem, Solution, SolverOptions};

fn both(problem: &Problem, options: &SolverOptions, theta: &[f32], y0: &[f32]) -> Option<[Solution<f32>; 2]> {
    let gpu = gpu()?;
    let native = solver::<f32>(problem, options).solve(theta, y0).expect("a valid solve");
    let mut device = GpuSolver::new(&gpu, problem, options).expect("a valid problem");
    let found = gpu.block_on(device.solve(theta, y0)).expect("a valid solve");
    Some([native, found])
}

/// Absolute tolerances from 1e-2 down to 1e-5, in no order.
fn tolerances(dim: usize) -> Vec<f64> {
    (0..dim).map(|d| 10f64.powf(-2.0 - 0.5 * (d * 5 % 7) as f64)).collect()
}
