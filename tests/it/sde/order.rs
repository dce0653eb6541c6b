//! Strong and weak orders of the stochastic methods, by regression against exact solutions on the same paths.

use std::sync::OnceLock;

use crate::oracle::{LAYOUTS, cpu};
use fewsteps::{
    Activation, Brownian, Calculus, Diffusion, Layout, Method, Mlp, Paths, Problem, Scalar, Solver, SolverOptions,
    StepControl,
};

/// The state at the end of the interval, from the path of that trajectory.
type End = Box<dyn Fn(&Brownian, u32) -> f64>;

/// A problem of one feature with the solution that a path determines.
struct Exact {
    name: &'static str,
    problem: Problem,
    theta: Vec<f64>,
    y0: f64,
    end: End,
    /// Whether the noise does not depend on the state, which lets methods converge faster.
    additive: bool,
}

const MU: f64 = 0.3;
const SIGMA: f64 = 0.6;

/// Cells of all paths here, so that solves with other steps follow the same path.
const CELLS: usize = 16;

fn path() -> Brownian {
    Brownian::with_cells(Paths::new(11), CELLS, 0.0, 1.0).expect("cells")
}

/// A network of one feature and one layer: `weight y + bias`.
fn line() -> Mlp {
    Mlp::new([1, 1])
}

/// Geometric Brownian motion: `dy = mu y dt + sigma y dW`.
fn geometric(calculus: Calculus) -> Exact {
    let correction = if calculus == Calculus::Ito { 0.5 * SIGMA * SIGMA } else { 0.0 };
    Exact {
        name: "geometric Brownian motion",
        problem: Problem::sde(line(), Diffusion::new(line(), calculus), 0.0, 1.0),
        theta: vec![MU, 0.0, SIGMA, 0.0],
        y0: 1.2,
        end: Box::new(move |path, trajectory| {
            1.2 * (MU - correction + SIGMA * path.increment::<f64>(trajectory, 0, 0.0, 1.0).w).exp()
        }),
        additive: false,
    }
}

/// `dy = (b - a y) dt + sigma dW`.
fn ornstein_uhlenbeck(calculus: Calculus) -> Exact {
    Exact {
        name: "Ornstein-Uhlenbeck",
        problem: Problem::sde(line(), Diffusion::new(line(), calculus), 0.0, 1.0),
        theta: vec![-1.5, 0.5, 0.0, 0.8],
        y0: 0.7,
        // y(1) = e^-a y0 + b/a (1 - e^-a) + sigma int e^(-a (1 - s)) dW.
        end: Box::new(|path, trajectory| {
            let (a, n) = (1.5f64, 1 << 10);
            let h = 1.0 / f64::from(n);
            let integral: f64 = (0..n)
                .map(|i| {
                    let s = f64::from(i) * h;
                    let piece = path.increment::<f64>(trajectory, 0, s, s + h);
                    // Over a piece, the integrand's value in the middle and its slope, which meets the Lévy area.
                    let middle = (-a * (1.0 - s - 0.5 * h)).exp();
                    middle * (piece.w - a * h * piece.levy)
                })
                .sum();
            (-a).exp() * 0.7 + 0.5 / a * (1.0 - (-a).exp()) + 0.8 * integral
        }),
        additive: true,
    }
}

/// `dy = mu s(y) dt + sigma s(y) o dW` with the logistic `s`: `y - e^-y` moves by `mu t + sigma W`.
fn logistic() -> Exact {
    let network = || Mlp::new([1, 1, 1]).activation(Activation::Sigmoid);
    Exact {
        name: "logistic",
        problem: Problem::sde(network(), Diffusion::stratonovich(network()), 0.0, 1.0),
        theta: vec![1.0, 0.0, 0.5, 0.0, 1.0, 0.0, 1.5, 0.0],
        y0: -0.3,
        end: Box::new(|path, trajectory| {
            let moved = 0.5 + 1.5 * path.increment::<f64>(trajectory, 0, 0.0, 1.0).w;
            let target = -0.3 - 0.3f64.exp() + moved;
            // y - e^-y grows and is concave: Newton's method from the left end converges from one side.
            let mut y = -4.0f64;
            for _ in 0..60 {
                y -= (y - (-y).exp() - target) / (1.0 + (-y).exp());
            }
            y
        }),
        additive: false,
    }
}

/// A nonlinear problem of Itô without a closed solution: the reference is SRIW1 with 16 times the steps of the finest
/// solve, which [`sri_methods_agree`] checks against SOSRI.
fn bounded() -> Exact {
    static ENDS: OnceLock<Vec<f64>> = OnceLock::new();
    let ends = ENDS.get_or_init(|| solve::<f64>(&bounded_problem(), Method::Sriw1, 4096, STRONG, Layout::Lockstep));
    Exact { end: Box::new(|_, i| ends[i as usize]), ..bounded_problem() }
}

fn bounded_problem() -> Exact {
    let drift = Mlp::new([1, 1, 1]);
    let network = Mlp::new([1, 1, 1]).activation(Activation::Sigmoid);
    let problem = Problem::sde(drift, Diffusion::ito(network), 0.0, 1.0);
    let theta = vec![1.2, 0.3, -0.8, 0.1, 1.0, 0.2, 1.4, 0.1];
    Exact { name: "bounded", problem, theta, y0: 0.4, end: Box::new(|_, _| f64::NAN), additive: false }
}

fn options(method: Method, steps: usize) -> SolverOptions {
    SolverOptions::default().method(method).step_control(StepControl::Fixed { steps }).path_cells(CELLS)
}

fn solve<R: Scalar>(exact: &Exact, method: Method, steps: usize, batch: usize, layout: Layout) -> Vec<f64> {
    let options = options(method, steps).layout(layout);
    let mut solver = Solver::<R>::new(&cpu(2), &exact.problem, &options).expect("a valid problem");
    solver.set_paths(Paths::new(11));
    let theta: Vec<R> = exact.theta.iter().map(|&x| R::from_f64(x)).collect();
    let y0 = vec![R::from_f64(exact.y0); batch];
    let ys = solver.predict(&theta, &y0).expect("solved").check().expect("no failure").ys;
    ys.iter().map(|y| y.to_f64()).collect()
}

/// Slope of the regression line of `log error` on `log h`, for steps that double.
fn slope(errors: &[f64]) -> f64 {
    let n = errors.len() as f64;
    let mean = (n - 1.0) / 2.0;
    let (mut covariance, mut variance) = (0.0, 0.0);
    for (i, error) in errors.iter().enumerate() {
        covariance -= (i as f64 - mean) * error.log2();
        variance += (i as f64 - mean).powi(2);
    }
    covariance / variance
}

/// Trajectories of the strong tests.
const STRONG: usize = 1000;

fn check_strong(exact: &Exact, method: Method) {
    let path = path();
    let truth: Vec<f64> = (0..STRONG as u32).map(|i| (exact.end)(&path, i)).collect();
    let errors: Vec<f64> = [16, 32, 64, 128, 256]
        .iter()
        .map(|&steps| {
            let ys = solve::<f64>(exact, method, steps, STRONG, Layout::Lockstep);
            (ys.iter().zip(&truth).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / STRONG as f64).sqrt()
        })
        .collect();
    let order = method.tableau().noise.expect("stochastic").strong_order;
    // With additive noise Euler-Maruyama is Milstein's method, and the SRI methods gain half an order.
    let expected = if exact.additive && order != 1.0 { order + 0.5 } else { order };
    let found = slope(&errors);
    println!("{method}, {}: strong order {found:.2}, errors {errors:?}", exact.name);
    assert!((found - expected).abs() < 0.2, "{method}, {}: order {found:.2}, not {expected}; {errors:?}", exact.name);
}

#[test]
fn strong_orders() {
    let bounded = bounded();
    for method in Method::SDE {
        let calculus = method.tableau().noise.expect("stochastic").calculus;
        check_strong(&geometric(calculus), method);
        check_strong(&ornstein_uhlenbeck(calculus), method);
        if calculus == Calculus::Ito {
            check_strong(&bounded, method);
        } else {
            check_strong(&logistic(), method);
        }
    }
}

#[test]
fn sri_methods_agree() {
    let exact = bounded();
    let ys = solve::<f64>(&exact, Method::Sosri, 4096, STRONG, Layout::Ensemble);
    let worst = ys.iter().enumerate().map(|(i, y)| (y - (exact.end)(&path(), i as u32)).abs()).fold(0.0, f64::max);
    assert!(worst < 1e-5, "two methods on one path, 4,096 steps: {worst:e}");
}

/// Trajectories of the weak tests.
const WEAK: usize = 100_000;

/// End states of the weak tests' trajectories, exact or by far finer steps.
fn weak_truth(exact: &Exact, calculus: Calculus) -> Vec<f64> {
    if calculus == Calculus::Stratonovich && !exact.additive {
        let path = path();
        return (0..WEAK as u32).map(|i| (exact.end)(&path, i)).collect();
    }
    // Where the noise is additive, both calculi are one.
    let ito = if exact.additive { ornstein_uhlenbeck(Calculus::Ito) } else { geometric(Calculus::Ito) };
    let problem = if exact.additive { &ito } else { exact };
    solve::<f64>(problem, Method::Sriw1, 64, WEAK, Layout::Lockstep)
}

#[test]
fn weak_orders() {
    // The error of the mean of y, and of y^2, with the solution on the same path as a control variate.
    for calculus in [Calculus::Ito, Calculus::Stratonovich] {
        let nonlinear = if calculus == Calculus::Ito { bounded_problem() } else { logistic() };
        for exact in [geometric(calculus), ornstein_uhlenbeck(calculus), nonlinear] {
            let truth = weak_truth(&exact, calculus);
            for method in Method::SDE {
                let noise = method.tableau().noise.expect("stochastic");
                if noise.calculus == calculus {
                    check_weak(&exact, method, noise.weak_order, &truth);
                }
            }
        }
    }
}

/// Few steps, so that the error stands out from the sample's: about the strong error over `sqrt(100,000)`, which with
/// additive noise falls faster.
fn check_weak(exact: &Exact, method: Method, order: f64, truth: &[f64]) {
    let steps = if exact.additive { [4, 8, 16] } else { [2, 4, 8] };
    let ends = steps.map(|steps| solve::<f64>(exact, method, steps, WEAK, Layout::Lockstep));
    for power in [1, 2] {
        let errors = ends.each_ref().map(|ys| {
            let sum: f64 = ys.iter().zip(truth).map(|(a, b)| a.powi(power) - b.powi(power)).sum();
            (sum / WEAK as f64).abs()
        });
        let found = slope(&errors);
        println!("{method}, {}, moment {power}: weak order {found:.2}, errors {errors:?}", exact.name);
        let name = exact.name;
        assert!(found > order - 0.5, "{method}, {name}, moment {power}: weak order {found:.2}; {errors:?}");
    }
}

#[test]
fn single_precision_follows_double_to_its_floor() {
    for method in Method::SDE {
        let exact = geometric(method.tableau().noise.expect("stochastic").calculus);
        for layout in LAYOUTS {
            let [narrow, wide] =
                [solve::<f32>(&exact, method, 256, 200, layout), solve::<f64>(&exact, method, 256, 200, layout)];
            let worst = narrow.iter().zip(&wide).map(|(a, b)| (a / b - 1.0).abs()).fold(0.0, f64::max);
            // Each of 256 steps adds a rounding error; 16 eps is their random walk.
            assert!(worst < 2e-5, "{method}, {layout:?}: the same path at f32 is off by {worst:e}");
        }
    }
}
