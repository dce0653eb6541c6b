//! Scalar noise, one Wiener process for all features: strong orders where the diffusion mixes features, as no method has
//! with a process for each of them.

use crate::oracle::{LAYOUTS, channel, cpu, gpu, shared};
use fewsteps::{
    Brownian, Calculus, Diffusion, Field, GpuSolver, Increment, Layout, Method, Mlp, Noise, Paths, Problem, Scalar,
    Solver, SolverOptions, StepControl,
};

use super::{calculus, refusal};

const PATHS: Paths = Paths { seed: 31, first: 2 };
const BATCH: usize = 400;
/// Cells of all paths here, so that solves with other steps follow the same path.
const CELLS: usize = 16;

fn options(method: Method, steps: usize, layout: Layout) -> SolverOptions {
    SolverOptions::default().method(method).step_control(StepControl::Fixed { steps }).path_cells(CELLS).layout(layout)
}

fn path() -> Brownian {
    Brownian::with_cells(PATHS, CELLS, 0.0, 1.0).expect("cells")
}

/// `dz = a z dt + b z dW` of complex `z`, as two features that the noise turns into one another.
const A: [f64; 2] = [-0.4, 1.1];
const B: [f64; 2] = [0.25, 0.7];
const START: [f64; 2] = [0.9, -0.3];

/// Multiplication with a complex number, as parameters of one layer.
fn turn([re, im]: [f64; 2]) -> [f64; 6] {
    [re, im, -im, re, 0.0, 0.0]
}

fn turning(calculus: Calculus) -> (Problem, Vec<f64>) {
    let layer = || Mlp::new([2, 2]);
    let problem = Problem::sde(layer(), Diffusion::new(layer(), calculus).shared(), 0.0, 1.0);
    (problem, [turn(A), turn(B)].concat())
}

/// The same, written down.
fn turning_equations(calculus: Calculus) -> Problem {
    let turn = |name: &str, by: [f64; 2]| {
        Field::build(2, |f| {
            let (z, by) = (f.state(), f.parameters(name, &by));
            let (re, im) = (by.row(0), by.row(1));
            f.stack([z.row(0) * &re - z.row(1) * &im, z.row(0) * &im + z.row(1) * &re])
        })
    };
    let [drift, noise] = [("a", A), ("b", B)].map(|(name, by)| turn(name, by).expect("a field"));
    Problem::sde(drift, Diffusion::new(noise, calculus).shared(), 0.0, 1.0)
}

/// `z(1) = z(0) exp(a + b W(1))`, in Itô's sense with `a - b^2 / 2` for `a`.
fn turned(calculus: Calculus, w: f64) -> [f64; 2] {
    let square = [B[0] * B[0] - B[1] * B[1], 2.0 * B[0] * B[1]];
    let share = if calculus == Calculus::Ito { 0.5 } else { 0.0 };
    let [re, im]: [f64; 2] = std::array::from_fn(|i| A[i] - share * square[i] + B[i] * w);
    let (size, [x, y]) = (re.exp(), START);
    [size * (im.cos() * x - im.sin() * y), size * (im.sin() * x + im.cos() * y)]
}

/// Drift and diffusion of two layers, whose derivatives along one another do not commute.
fn mixing(calculus: Calculus) -> (Problem, Vec<f64>) {
    let network = || Mlp::new([2, 3, 2]);
    let problem = Problem::sde(network(), Diffusion::new(network(), calculus).shared(), 0.0, 1.0);
    let count = problem.field.parameter_count();
    let theta = (0..2 * count).map(|i| 1.6 * (1.7 * i as f64 + 0.4).sin()).collect();
    (problem, theta)
}

fn solve<R: Scalar>(problem: &Problem, theta: &[f64], options: &SolverOptions) -> Vec<f64> {
    let mut solver = Solver::<R>::new(&cpu(2), problem, options).expect("a valid problem");
    solver.set_paths(PATHS);
    let theta: Vec<R> = theta.iter().map(|&x| R::from_f64(x)).collect();
    let y0: Vec<R> = START.iter().cycle().take(2 * BATCH).map(|&x| R::from_f64(x)).collect();
    let ys = solver.predict(&theta, &y0).expect("solved").check().expect("no failure").ys;
    ys.iter().map(|y| y.to_f64()).collect()
}

/// Root of the mean square of differences.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    (a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / a.len() as f64).sqrt()
}

/// The order that errors of steps from 16 to 128 show, by regression, and the errors.
fn order(problem: &Problem, theta: &[f64], method: Method, truth: &[f64]) -> (f64, [f64; 4]) {
    let errors = [16, 32, 64, 128]
        .map(|steps| distance(&solve::<f64>(problem, theta, &options(method, steps, Layout::Lockstep)), truth));
    let logs = errors.map(f64::log2);
    ((3.0 * (logs[0] - logs[3]) + logs[1] - logs[2]) / 10.0, errors)
}

fn check(name: &str, problem: &Problem, theta: &[f64], method: Method, truth: &[f64]) {
    let expected = method.tableau().noise.expect("stochastic").strong_order;
    let (found, errors) = order(problem, theta, method, truth);
    println!("{method}, {name}: strong order {found:.2}, errors {errors:?}");
    assert!((found - expected).abs() < 0.25, "{method}, {name}: order {found:.2}, not {expected}; {errors:?}");
}

#[test]
fn every_method_keeps_its_order_against_a_closed_form() {
    for method in Method::SDE {
        let calculus = calculus(method);
        let (problem, theta) = turning(calculus);
        let end = |i| turned(calculus, path().increment::<f64>(i, 0, 0.0, 1.0).w);
        let truth: Vec<f64> = (0..BATCH as u32).flat_map(end).collect();
        check("turning", &problem, &theta, method, &truth);
    }
}

#[test]
fn every_method_keeps_its_order_where_nothing_commutes() {
    for (calculus, reference) in [(Calculus::Ito, Method::Sriw1), (Calculus::Stratonovich, Method::StratonovichHeun)] {
        let (problem, theta) = mixing(calculus);
        let truth = solve::<f64>(&problem, &theta, &options(reference, 4096, Layout::Lockstep));
        for method in Method::SDE.into_iter().filter(|method| super::calculus(*method) == calculus) {
            check("mixing", &problem, &theta, method, &truth);
        }
    }
}

#[test]
fn a_process_for_each_feature_lowers_the_order_there() {
    let (mut problem, theta) = mixing(Calculus::Ito);
    problem.diffusion = problem.diffusion.map(|of| Diffusion::ito(of.network));
    let truth = solve::<f64>(&problem, &theta, &options(Method::EulerMaruyama, 8192, Layout::Lockstep));
    let (found, errors) = order(&problem, &theta, Method::Sriw1, &truth);
    assert!(found < 0.8, "diagonal noise that mixes features: order {found:.2}, {errors:?}");
}

#[test]
fn one_feature_has_the_same_noise_either_way() {
    for method in Method::SDE {
        for layout in LAYOUTS {
            let line = || Mlp::new([1, 1]);
            let own = Problem::sde(line(), Diffusion::new(line(), calculus(method)), 0.0, 1.0);
            let options = options(method, 20, layout);
            let [a, b] = [own.clone(), shared(own)].map(|p| solve::<f32>(&p, &[0.3, 0.1, 0.6, 0.2], &options));
            assert_eq!(a, b, "{method}, {layout:?}");
        }
    }
}

#[test]
fn both_engines_follow_channel_0() {
    let Some(gpu) = gpu() else { return };
    for layout in LAYOUTS {
        for method in Method::SDE {
            let (network, theta) = turning(calculus(method));
            // On a device a cell is a step.
            let options = options(method, 64, layout).path_cells(64);
            let native = solve::<f32>(&network, &theta, &options);
            let [theta, y0] = [&theta[..], &START.repeat(BATCH)[..]].map(|x| x.iter().map(|&x| x as f32).collect());
            let (theta, y0): (Vec<f32>, Vec<f32>) = (theta, y0);
            let equations = turning_equations(calculus(method));
            for (problem, whole) in [(&network, true), (&network, false), (&equations, true)] {
                let theta = if problem == &equations { problem.initialize(0) } else { theta.clone() };
                let solver = GpuSolver::new(&gpu, problem, &options).expect("a valid problem");
                let mut solver = if whole { solver } else { solver.layer_by_layer() };
                solver.set_paths(PATHS);
                let found = gpu.block_on(solver.predict(&theta, &y0)).expect("a valid solve").ys;
                for (i, (a, b)) in found.iter().zip(&native).enumerate() {
                    let name = format!("{method} {layout:?}, whole {whole}");
                    assert!((f64::from(*a) - b).abs() < 2e-5 * (1.0 + b.abs()), "{name}: number {i} is {a}, not {b}");
                }
            }
        }
    }
}

/// Two prices that one market moves: `dy_i = m_i y_i dt + s_i y_i dW`, written as equations, on all of its paths.
#[test]
fn correlated_prices() {
    const DRIFTS: [f64; 2] = [0.1, -0.2];
    const VOLATILITIES: [f64; 2] = [0.3, 0.6];
    let drift = Field::build(2, |f| f.state() * f.parameters("drifts", &DRIFTS)).expect("a field");
    let noise = Field::build(2, |f| f.state() * f.positive("volatilities", &VOLATILITIES)).expect("a field");
    let problem = Problem::sde(drift, Diffusion::ito(noise).shared(), 0.0, 1.0);
    let theta = problem.initialize::<f64>(0);
    for (method, bound) in [(Method::Milstein, 3e-3), (Method::Sriw1, 1e-4), (Method::Sosri, 1e-4)] {
        for layout in LAYOUTS {
            let options = options(method, 128, layout);
            let path = options.path(&problem, PATHS).expect("a path");
            let exact = |i: u32| -> [f64; 2] {
                let w = path.increment::<f64>(i, 0, 0.0, 1.0).w;
                std::array::from_fn(|d| {
                    let (m, s) = (DRIFTS[d], VOLATILITIES[d]);
                    START[d] * (m - 0.5 * s * s + s * w).exp()
                })
            };
            let truth: Vec<f64> = (0..BATCH as u32).flat_map(exact).collect();
            let error = distance(&solve::<f64>(&problem, &theta, &options), &truth);
            assert!(error < bound, "{method}, {layout:?}: strong error {error:e}");
            let narrow = distance(&solve::<f32>(&problem, &theta, &options), &truth);
            assert!(narrow < error + 1e-5, "{method}, {layout:?}, f32: strong error {narrow:e}");
        }
    }
}

#[test]
fn it_is_part_of_the_specification() {
    let diffusion = Diffusion::ito(Mlp::new([3, 3]));
    assert_eq!((diffusion.noise, diffusion.channels()), (Noise::Diagonal, 3));
    let text = serde_json::to_string(&diffusion).expect("plain data");
    assert!(!text.contains("noise"), "as before: {text}");
    assert_eq!(serde_json::from_str::<Diffusion>(&text).expect("the same"), diffusion);
    let one = diffusion.shared();
    assert_eq!((one.noise, one.channels()), (Noise::Scalar, 1));
    let text = serde_json::to_string(&one).expect("plain data");
    assert!(text.contains(r#""noise":"scalar""#), "{text}");
    assert_eq!(serde_json::from_str::<Diffusion>(&text).expect("the same"), one);
    let problem = Problem::sde(Mlp::new([3, 3]), Diffusion::ito(Mlp::new([3, 1])).shared(), 0.0, 1.0);
    let message = refusal(problem.validate());
    assert!(message.contains("moves every feature: give it 3 inputs and 3 outputs"), "{message}");
    assert_eq!(channel(&shared(turning(Calculus::Ito).0), 1), 0);
    assert_eq!(path().increment::<f64>(0, 0, 0.0, 0.0), Increment::default());
}
