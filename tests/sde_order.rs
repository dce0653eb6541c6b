//! Strong and weak orders of the stochastic methods, by regression against exact solutions on the same paths.

mod common;

use common::{cpu, numbers};
use fewsteps::{
    Brownian, Calculus, Diffusion, InputMap, Layout, Method, Mlp, Paths, Problem, Solver, SolverOptions, StepControl,
};

/// A problem with the solution that a path determines.
struct Exact {
    name: &'static str,
    problem: Problem,
    theta: Vec<f64>,
    y0: f64,
    /// The state at the end, from the path of that trajectory.
    end: Box<dyn Fn(&Brownian, u32) -> f64>,
    /// Its expectation.
    mean: f64,
}

const MU: f64 = 0.3;
const SIGMA: f64 = 0.6;

/// A network of one feature and one layer: `weight y + bias`.
fn line() -> Mlp {
    Mlp::new([1, 1])
}

fn noise(network: Mlp, calculus: Calculus) -> Diffusion {
    Diffusion { network, calculus }
}

/// Geometric Brownian motion: `dy = mu y dt + sigma y dW`.
fn geometric(calculus: Calculus) -> Exact {
    let correction = if calculus == Calculus::Ito { 0.5 * SIGMA * SIGMA } else { 0.0 };
    let growth = if calculus == Calculus::Ito { MU } else { MU + 0.5 * SIGMA * SIGMA };
    Exact {
        name: "geometric Brownian motion",
        problem: Problem::sde(line(), noise(line(), calculus), 0.0, 1.0),
        theta: vec![MU, 0.0, SIGMA, 0.0],
        y0: 1.2,
        end: Box::new(move |path, trajectory| {
            let w = path.increment::<f64>(trajectory, 0, 0.0, 1.0).w;
            1.2 * (MU - correction + SIGMA * w).exp()
        }),
        mean: 1.2 * growth.exp(),
    }
}

/// `dy = (-1/2 sigma^2 sin y cos^3 y) dt + sigma cos^2 y dW` has `tan y = tan y0 + sigma W`; as networks have no such
/// fields, its image `x = sqrt(1 + (c + sigma W)^2)`-free cousin is used: the cubic one, `dy = sigma^2 y^3 ...`.
fn ornstein_uhlenbeck(calculus: Calculus) -> Exact {
    Exact {
        name: "Ornstein-Uhlenbeck",
        problem: Problem::sde(line(), noise(line(), calculus), 0.0, 1.0),
        theta: vec![-1.5, 0.5, 0.0, 0.8],
        y0: 0.7,
        // y(1) = e^-a y0 + b/a (1 - e^-a) + sigma int e^(-a (1 - s)) dW, the integral by parts on a fine partition.
        end: Box::new(|path, trajectory| {
            let (a, n) = (1.5f64, 1 << 14);
            let at = |i: usize| i as f64 / n as f64;
            let integral: f64 = (0..n)
                .map(|i| {
                    let h = 1.0 / n as f64;
                    let piece = path.increment::<f64>(trajectory, 0, at(i), at(i + 1));
                    // int e^(-a(1-s)) dW over the piece to third order: value at the middle, slope times the area.
                    let middle = (-a * (1.0 - at(i) - 0.5 * h)).exp();
                    middle * (piece.w - a * h * piece.levy)
                })
                .sum();
            (-a).exp() * 0.7 + 0.5 / a * (1.0 - (-a).exp()) + 0.8 * integral
        }),
        mean: (-1.5f64).exp() * 0.7 + 0.5 / 1.5 * (1.0 - (-1.5f64).exp()),
    }
}

fn options(method: Method, steps: usize) -> SolverOptions {
    SolverOptions::default().method(method).step_control(StepControl::Fixed { steps })
}

/// End states of trajectories `0..paths` with so many steps. The path is that of the finest partition only if all use
/// the same cells, so adaptive cells are asked for by fixed steps of the same length.
fn solve(exact: &Exact, method: Method, steps: usize, batch: usize, layout: Layout) -> Vec<f64> {
    let options = options(method, steps).layout(layout).path_cells(16);
    let mut solver = Solver::<f64>::new(&cpu(2), &exact.problem, &options).expect("a valid problem");
    solver.set_paths(Paths::new(11));
    solver.predict(&exact.theta, &vec![exact.y0; batch]).expect("solved").check().expect("no failure").ys
}

#[test]
fn smoke() {
    let _ = (numbers(0, 1), InputMap::Cube);
    for method in Method::SDE {
        let calculus = method.tableau().noise.expect("stochastic").calculus;
        for exact in [geometric(calculus), ornstein_uhlenbeck(calculus)] {
            let path = Brownian::with_cells(Paths::new(11), 16, 0.0, 1.0).expect("cells");
            let truth: Vec<f64> = (0..200).map(|i| (exact.end)(&path, i)).collect();
            let errors: Vec<f64> = [16, 32, 64, 128, 256]
                .map(|steps| {
                    let ys = solve(&exact, method, steps, 200, Layout::Lockstep);
                    (ys.iter().zip(&truth).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / 200.0).sqrt()
                })
                .to_vec();
            let slopes: Vec<f64> = errors.windows(2).map(|w| (w[0] / w[1]).log2()).collect();
            println!("{method} {} {errors:.6?} {slopes:.2?} {}", exact.name, exact.mean);
        }
    }
}
