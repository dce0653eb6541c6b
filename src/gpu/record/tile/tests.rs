//! Solves in tiles against those layer by layer, and against the native engine at `f64`.

use super::super::super::adapter::gpu;
use crate::cpu::{Cpu, Solver};
use crate::gpu::buffers::Purpose;
use crate::gpu::solver::GpuSolver;
use crate::method::{Method, SaveAt, SolverOptions, StepControl};
use crate::problem::{Activation, Diffusion, InputMap, Mlp, Problem, TimeInput};

fn wide(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().copied().map(f64::from).collect()
}

/// Some numbers between -1 and 1.
fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 37 + seed * 11) % 101) as f32 / 51.3 - 0.97).collect()
}

fn drift() -> Mlp {
    Mlp::new([6, 11, 7, 6]).activation(Activation::Gelu).time_input(TimeInput::Every)
}

fn ode(mlp: Mlp) -> Problem {
    Problem::ode(mlp, 0.2, 1.4)
}

fn sde(method: Method, diffusion: Mlp) -> Problem {
    let calculus = method.tableau().noise.expect("a stochastic method").calculus;
    Problem::sde(drift(), Diffusion::new(diffusion, calculus), 0.2, 1.4)
}

fn fixed(method: Method, steps: usize) -> SolverOptions {
    SolverOptions::default().method(method).step_control(StepControl::Fixed { steps })
}

/// The problems and options that are tried, by name.
fn zoo() -> Vec<(String, Problem, SolverOptions)> {
    let times = || SaveAt::Times(vec![0.2, 0.21, 0.5, 0.8, 1.33, 1.4]);
    let mut zoo = Vec::new();
    for method in [Method::Euler, Method::Heun, Method::Bosh3, Method::Tsit5] {
        zoo.push((format!("{method}"), ode(drift()), fixed(method, 7).save_at(times())));
    }
    let cube = Mlp::new([5, 16, 5]).input_map(InputMap::Cube).activation(Activation::Tanh);
    zoo.push(("cube".to_owned(), ode(cube), fixed(Method::Heun, 5)));
    zoo.push(("one layer".to_owned(), ode(Mlp::new([9, 9])), fixed(Method::Dopri5, 3).save_at(times())));
    for method in Method::SDE.into_iter().filter(|m| m.tableau().noise.is_some_and(|noise| !noise.reversible)) {
        let diffusion = Mlp::new([6, 6]).time_input(TimeInput::First);
        zoo.push((format!("{method}"), sde(method, diffusion), fixed(method, 8).save_at(times())));
    }
    let scalar = Problem::sde(drift(), Diffusion::ito(Mlp::new([6, 5, 6])).shared(), 0.0, 1.0);
    zoo.push(("scalar noise".to_owned(), scalar, fixed(Method::EulerMaruyama, 40)));
    zoo
}

fn apart(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(1e-3f64, |most, x| most.max(x.abs()));
    found.iter().zip(expected).map(|(x, y)| (f64::from(*x) - y).abs() / largest).fold(0.0, f64::max)
}

/// A batch that fills no tile, and one of several.
#[test]
fn tiles_are_solved_as_the_native_engine_does() {
    let Some(gpu) = gpu() else { return };
    let mut failures = Vec::new();
    for (name, problem, options) in zoo() {
        for rows in [3, 133] {
            let theta: Vec<f32> = numbers(problem.parameter_count(), 3).iter().map(|x| 0.4 * x).collect();
            let y0 = numbers(rows * problem.dim(), 1);
            let mut native =
                Solver::<f64>::new(&Cpu::with_threads(1).expect("a thread"), &problem, &options).expect("a solver");
            let truth = native.solve(&wide(&theta), &wide(&y0)).expect("a solution");
            let ys_bar = numbers(truth.ys.len(), 2);
            let slope = native.gradients(&wide(&ys_bar)).expect("gradients");
            let mut layered = GpuSolver::new(&gpu, &problem, &options).expect("a solver").layer_by_layer();
            let before = gpu.block_on(layered.solve(&theta, &y0)).expect("a solution");
            let mut tiled = GpuSolver::new(&gpu, &problem, &options).expect("a solver");
            (tiled.engine.whole, tiled.engine.tiles_back) = (false, true);
            assert!(tiled.engine.tile(rows).is_some(), "{name} is solved in tiles");
            assert!(tiled.engine.tile_back(rows, Purpose::FORWARD).is_some(), "{name} is walked back in tiles");
            let found = gpu.block_on(tiled.solve(&theta, &y0)).expect("a solution");
            assert_eq!(found.stats, before.stats, "{name}: costs");
            assert_eq!(found.status, before.status, "{name}: statuses");
            assert_eq!(tiled.learnt().first, layered.learnt().first, "{name}");
            let gradient = gpu.block_on(tiled.gradients(&ys_bar)).expect("gradients");
            for (what, apart) in [
                ("states", apart(&found.ys, &truth.ys)),
                ("states layer by layer", apart(&found.ys, &wide(&before.ys)) * 10.0),
                ("gradient", apart(&gradient.theta, &slope.theta)),
                ("gradient of the start", apart(&gradient.y0, &slope.y0)),
            ] {
                if apart.is_nan() || apart >= 2e-5 {
                    failures.push(format!("{name}, {rows} rows: {what} {apart:.1e} apart"));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
