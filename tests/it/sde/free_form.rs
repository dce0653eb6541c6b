//! Stochastic equations that are written down: Ornstein and Uhlenbeck's with rates to learn, and noise that does not read
//! the state.

use crate::oracle::{LAYOUTS, cast, close, cpu, gpu, numbers, widen};
use fewsteps::{
    Calculus, Diffusion, Field, FieldBuilder, GpuSolver, Layout, Method, Paths, Problem, SaveAt, Solver, SolverOptions,
    StepControl, Tolerances, Value,
};

const PATHS: Paths = Paths { seed: 5, first: 0 };
const RATE: f64 = 1.4;
const MEAN: f64 = 0.6;
const SIGMA: f64 = 0.5;
const START: f64 = -0.8;
const SPAN: f64 = 1.5;

/// Noise of a size that does not depend on the state.
fn additive(dim: usize, sigma: impl Fn(&FieldBuilder) -> Value, calculus: Calculus) -> Diffusion {
    Diffusion::new(Field::build(dim, |f| sigma(f).repeat(dim)).expect("a field"), calculus)
}

/// `dy = rate (mean - y) dt + sigma dW`, with rate and sigma positive.
fn ornstein_uhlenbeck(dim: usize, calculus: Calculus) -> Problem {
    let drift = Field::build(dim, |f| f.positive("rate", &[RATE]) * (f.parameters("mean", &[MEAN]) - f.state()));
    let noise = additive(dim, |f| f.positive("sigma", &[SIGMA]), calculus);
    Problem::sde(drift.expect("a field"), noise, 0.0, SPAN)
}

fn fixed(method: Method, steps: usize, layout: Layout) -> SolverOptions {
    SolverOptions::default().method(method).step_control(StepControl::Fixed { steps }).layout(layout)
}

fn solver(problem: &Problem, options: &SolverOptions) -> Solver<f64> {
    let mut solver = Solver::new(&cpu(2), problem, options).expect("a valid problem");
    solver.set_paths(PATHS);
    solver
}

#[test]
fn moments_are_those_of_the_closed_form() {
    const COUNT: usize = 20_000;
    let times = [0.3, 0.75, SPAN];
    for (method, layout) in [(Method::Sosri, LAYOUTS[0]), (Method::StratonovichHeun, LAYOUTS[1])] {
        let problem = ornstein_uhlenbeck(1, super::calculus(method));
        let options = fixed(method, 60, layout).save_at(SaveAt::Times(times.to_vec()));
        let theta = problem.initialize::<f64>(0);
        let ys = solver(&problem, &options).predict(&theta, &[START; COUNT]).expect("solved").ys;
        for (t, ys) in times.iter().zip(ys.chunks_exact(COUNT)) {
            let mean = ys.iter().sum::<f64>() / COUNT as f64;
            let variance = ys.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / (COUNT - 1) as f64;
            let decay = (-RATE * t).exp();
            let expected = MEAN + (START - MEAN) * decay;
            let spread = SIGMA * SIGMA / (2.0 * RATE) * (1.0 - decay * decay);
            // Four standard deviations of a normal sample's mean and variance.
            let (off, part) = (4.0 * (spread / COUNT as f64).sqrt(), 4.0 * (2.0 / COUNT as f64).sqrt());
            assert!((mean - expected).abs() < off, "{method}, t = {t}: mean {mean}, not {expected}");
            assert!((variance / spread - 1.0).abs() < part, "{method}, t = {t}: variance {variance}, not {spread}");
        }
    }
}

#[test]
fn gradients_along_a_path_are_central_differences() {
    const DIM: usize = 2;
    let y0 = numbers(4, 5 * DIM);
    for method in Method::SDE {
        for (layout, scalar) in LAYOUTS.into_iter().flat_map(|layout| [(layout, false), (layout, true)]) {
            let mut problem = ornstein_uhlenbeck(DIM, super::calculus(method));
            if scalar {
                problem.diffusion = problem.diffusion.map(Diffusion::shared);
            }
            let options = fixed(method, 12, layout).save_at(SaveAt::Times(vec![0.4, SPAN]));
            let theta = problem.initialize::<f64>(0);
            let weights = numbers(5, 2 * y0.len());
            let mut solver = solver(&problem, &options);
            let mut value = |theta: &[f64], y0: &[f64]| {
                let ys = solver.predict(theta, y0).expect("solved").ys;
                ys.iter().zip(&weights).map(|(y, w)| y * w).sum::<f64>()
            };
            let mut slope = |i: usize| {
                let at = |by: f64| {
                    let (mut theta, mut y0) = (theta.clone(), y0.clone());
                    if i < theta.len() {
                        theta[i] += by;
                    } else {
                        y0[i - theta.len()] += by;
                    }
                    (theta, y0)
                };
                let ends = [1e-5, -1e-5].map(|by| {
                    let (theta, y0) = at(by);
                    value(&theta, &y0)
                });
                (ends[0] - ends[1]) / 2e-5
            };
            let expected: Vec<f64> = (0..theta.len() + y0.len()).map(&mut slope).collect();
            solver.solve(&theta, &y0).expect("solved");
            let found = solver.gradients(&weights).expect("solved before");
            for (i, (a, b)) in found.theta.iter().chain(&found.y0).zip(&expected).enumerate() {
                let name = format!("{method}, {layout:?}, scalar {scalar}");
                assert!((a - b).abs() < 1e-8 * (1.0 + b.abs()), "{name}: component {i} is {a}, not {b}");
            }
            assert!(found.theta.iter().all(|x| x.abs() > 1e-3), "every parameter matters: {:?}", found.theta);
        }
    }
}

/// Solves and gradients on the device, on the native engine's paths.
#[test]
fn the_device_follows_the_same_paths() {
    let Some(gpu) = gpu() else { return };
    let y0 = numbers(4, 6 * 2);
    for method in Method::SDE {
        for (layout, scalar) in LAYOUTS.into_iter().flat_map(|layout| [(layout, false), (layout, true)]) {
            let mut problem = ornstein_uhlenbeck(2, super::calculus(method));
            if scalar {
                problem.diffusion = problem.diffusion.map(Diffusion::shared);
            }
            let options = fixed(method, 12, layout).save_at(SaveAt::Times(vec![0.4, SPAN]));
            let theta = problem.initialize::<f64>(0);
            let mut native = solver(&problem, &options);
            let expected = native.solve(&theta, &y0).expect("solved").ys;
            let weights = numbers(5, expected.len());
            let slopes = native.gradients(&weights).expect("solved before");
            let mut device = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
            device.set_paths(PATHS);
            let found = gpu.block_on(device.solve(&cast(&theta), &cast(&y0))).expect("solved").ys;
            let name = format!("{method}, {layout:?}, scalar {scalar}");
            close(&name, &widen(&found), &expected, 1e-5);
            let found = gpu.block_on(device.gradients(&cast(&weights))).expect("solved before");
            close(&format!("{name}: theta"), &widen(&found.theta), &slopes.theta, 2e-5);
            close(&format!("{name}: y0"), &widen(&found.y0), &slopes.y0, 2e-5);
        }
    }
}

/// `dy = -sin(2 y) dt + e^(t/2) sigma dW`: with noise that does not read the state Euler and Maruyama's method is
/// Milstein's, of order 1, and the SRI methods have 3/2.
#[test]
fn strong_orders_of_additive_noise() {
    const COUNT: usize = 300;
    const CELLS: usize = 16;
    let solve = |method: Method, steps: usize| {
        let drift = Field::build(1, |f| -(f.state() * 2.0).sin()).expect("a field");
        let noise = additive(1, |f| f.positive("sigma", &[0.8]) * (f.time() * 0.5).exp(), super::calculus(method));
        let problem = Problem::sde(drift, noise, 0.0, 1.0);
        let options = fixed(method, steps, Layout::Lockstep).path_cells(CELLS);
        let y0: Vec<f64> = (0..COUNT).map(|i| 0.3 + 0.002 * i as f64).collect();
        solver(&problem, &options).predict(&problem.initialize(0), &y0).expect("solved").ys
    };
    // Both calculi are one here.
    let truth = solve(Method::Sriw1, 4096);
    for method in Method::SDE {
        let noise = method.tableau().noise.expect("stochastic");
        let expected = noise.strong_order.max(1.0);
        let errors = [16, 32, 64, 128].map(|steps| {
            let ys = solve(method, steps);
            (ys.iter().zip(&truth).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / COUNT as f64).sqrt()
        });
        let logs = errors.map(f64::log2);
        let found = (3.0 * (logs[0] - logs[3]) + logs[1] - logs[2]) / 10.0;
        println!("{method}: strong order {found:.2} with additive noise, errors {errors:?}");
        assert!((found - expected).abs() < 0.25, "{method}: order {found:.2}, not {expected}; {errors:?}");
    }
}

/// Adaptive steps, and penalties, need no state to be read either.
#[test]
fn additive_noise_under_every_adaptive_method() {
    for method in crate::oracle::NOISY_ADAPTIVE {
        for layout in LAYOUTS {
            let problem = ornstein_uhlenbeck(2, super::calculus(method));
            let options = SolverOptions::sde(Tolerances::both(0.05)).method(method).layout(layout);
            let theta = problem.initialize::<f64>(0);
            let mut solver = solver(&problem, &options);
            let solved = solver.solve(&theta, &[START; 8]).expect("solved").check().expect("no failure");
            assert!(solved.stats.iter().all(|stats| stats.nfe_diffusion > 0), "{method}, {layout:?}");
            let slopes = solver.gradients(&[1.0; 8]).expect("solved before");
            // Of each end by its start: every path forgets with the same rate.
            for slope in slopes.y0 {
                assert!((slope / (-RATE * SPAN).exp() - 1.0).abs() < 0.05, "{method}, {layout:?}: {slope}");
            }
        }
    }
}
