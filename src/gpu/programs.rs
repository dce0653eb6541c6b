//! Fields that were written out, on a device, against the native engine.

use super::adapter::gpu;
use super::contract::whole_text;
use super::kernel::Variant;
use super::solver::GpuSolver;
use crate::cpu::{Cpu, Scalar, Solver};
use crate::error::{Error, Status};
use crate::method::{Layout, Method, SaveAt, SolverOptions, StepControl, Tolerances};
use crate::problem::program::tests::random::{Drawn, drawn};
use crate::problem::{Activation, Diffusion, Field, FieldBuilder, Mlp, Problem, TimeInput, Value};

const LAYOUTS: [Layout; 2] = [Layout::Lockstep, Layout::Ensemble];

fn built(inputs: usize, write: impl FnOnce(&FieldBuilder) -> Value) -> Field {
    Field::build(inputs, write).expect("a field")
}

/// Lotka and Volterra's equations with rates to learn.
pub(super) fn lotka_volterra() -> Field {
    built(2, |f| {
        let (y, rate) = (f.state(), f.positive("rates", &[1.1, 0.4, 0.1, 0.4]));
        let (prey, hunters) = (y.row(0), y.row(1));
        let meet = &prey * &hunters;
        f.stack([rate.row(0) * &prey - rate.row(1) * &meet, rate.row(2) * &meet - rate.row(3) * &hunters])
    })
}

/// A pendulum whose friction is a network.
fn pendulum() -> Field {
    built(2, |f| {
        let y = f.state();
        let friction = f.mlp("friction", &Mlp::new([1, 16, 1]).time_input(TimeInput::Every), &y.row(1));
        f.stack([y.row(1), -9.81 * y.row(0).sin() - friction])
    })
}

/// Every function and operation that a builder has, where all are defined.
fn everything() -> Field {
    built(2, |f| {
        let (y, t, a) = (f.state(), f.time(), f.parameters("a", &[0.3, -0.2]));
        let x = &y + &a * t.cos();
        let inside = 0.5 + x.square();
        let roots = inside.sqrt() + inside.ln() - inside.recip() + &y / &inside;
        let powers = 0.1 * x.cube() - x.abs() + (0.3 * &x).exp() - x.sin() * x.cos();
        let units = x.tanh() + x.sigmoid() - x.softplus() + x.relu() - x.silu() + x.gelu();
        let ends = x.min(&y) + x.max(&(0.5 * &t)) - x.sum() + x.mean() * y.dot(&a) + y.row(0).repeat(2);
        0.2 * (roots + powers + units + ends) - &y
    })
}

/// Two networks of different widths in a product, which both loops wait for.
fn gated() -> Field {
    built(3, |f| {
        let y = f.state();
        let gate = f.mlp("gate", &Mlp::new([3, 10, 3]).activation(Activation::Gelu), &y).sigmoid();
        &gate * f.mlp("candidate", &Mlp::new([3, 12, 3]), &(&gate * &y)) - &y
    })
}

/// Hidden layers one after the other.
fn deep() -> Field {
    built(3, |f| f.mlp("net", &Mlp::new([3, 12, 9, 3]).time_input(TimeInput::Every), &f.state()).tanh() - f.state())
}

/// Slices, stacks and sums of wide values, wide numbers and wide parameters.
fn wide() -> Field {
    built(2, |f| {
        let y = f.state();
        let both = f.mlp("both", &Mlp::new([2, 24]), &y);
        let (left, right) = (both.slice(0..12).tanh(), both.slice(12..24).sigmoid());
        let mixed = f.mlp("mixed", &Mlp::new([12, 1]), &(&left * &right));
        let centres: Vec<f64> = (0..11).map(|i| f64::from(i) / 5.0 - 1.0).collect();
        let away = y.row(0).repeat(11) - f.literal(&centres);
        let bumps = (-0.5 * away.square()).exp();
        let basis = bumps.dot(&f.parameters("basis", &[0.1; 11])) + (0.3 * &bumps).mean();
        let stacked = f.stack([y.clone(), left, bumps.slice(2..5), f.literal(&[0.5; 9])]);
        let rest = f.mlp("rest", &Mlp::new([26, 2]), &stacked);
        f.stack([mixed + basis, both.slice(3..4) + y.row(1).cos()]) + rest - y
    })
}

/// Nothing of the state, of which no cotangent comes then; one group is frozen.
fn constant() -> Field {
    built(2, |f| {
        let (speed, share) = (f.parameters("speed", &[0.4, -0.7]), f.parameters("share", &[0.3]));
        f.freeze("share");
        speed * share * f.time()
    })
}

/// The fields that are tried, by name.
pub(super) fn zoo() -> Vec<(&'static str, Field)> {
    vec![
        ("Lotka-Volterra", lotka_volterra()),
        ("pendulum", pendulum()),
        ("everything", everything()),
        ("gated", gated()),
        ("deep", deep()),
        ("wide", wide()),
        ("constant", constant()),
    ]
}

pub(super) fn wide_numbers(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().copied().map(f64::from).collect()
}

/// Some numbers between -1 and 1, about none of which a kink is.
pub(super) fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 37 + seed * 11) % 101) as f32 / 51.3 - 0.97).collect()
}

/// Parameters as they start, and a little off.
fn theta(problem: &Problem) -> Vec<f32> {
    let mut theta: Vec<f32> = problem.field.initialize(3);
    theta.extend(problem.diffusion.iter().flat_map(|d| d.network.initialize::<f32>(4)));
    theta.iter().zip(numbers(theta.len(), 5)).map(|(x, off)| x + 0.1 * off).collect()
}

/// What is further from `expected` than `bound` times the largest of its numbers.
pub(super) fn apart(found: &[f32], expected: &[f64], bound: f64) -> Option<String> {
    let largest = expected.iter().fold(1e-3f64, |most, x| most.max(x.abs()));
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().zip(expected).enumerate();
    let far = |(x, y): (f32, f64)| (f64::from(x) - y).abs().is_nan() || (f64::from(x) - y).abs() > bound * largest;
    let mut all = pairs.filter(|(_, (x, y))| far((**x, **y)));
    all.next().map(|(i, (x, y))| format!("number {i} is {x}, not {y}, and {} more", all.count()))
}

/// States and gradients on the device and on the native engine at `f64`.
fn compare(name: &str, problem: &Problem, options: &SolverOptions, rows: usize, bound: f64) -> Vec<String> {
    let Some(gpu) = gpu() else { return Vec::new() };
    let (theta, y0) = (theta(problem), numbers(rows * problem.dim(), 1));
    let mut device = GpuSolver::new(&gpu, problem, options).expect("a problem");
    let mut native = Solver::<f64>::new(&Cpu::with_threads(1).expect("a thread"), problem, options).expect("a problem");
    let expected = native.solve(&wide_numbers(&theta), &wide_numbers(&y0)).expect("a solve");
    let found = gpu.block_on(device.solve(&theta, &y0)).expect("a solve");
    let mut failures = Vec::new();
    let mut check = |what: &str, found: &[f32], expected: &[f64]| {
        failures.extend(apart(found, expected, bound).map(|far| format!("{name}, {what}: {far}")));
    };
    check("states", &found.ys, &expected.ys);
    let ys_bar = numbers(found.ys.len(), 2);
    let expected = native.gradients(&wide_numbers(&ys_bar)).expect("gradients");
    let found = gpu.block_on(device.gradients(&ys_bar)).expect("gradients");
    check("gradient", &found.theta, &expected.theta);
    check("gradient of the start", &found.y0, &expected.y0);
    failures
}

pub(super) fn none(failures: &[String]) {
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn fixed(steps: usize) -> SolverOptions {
    SolverOptions::default().step_control(StepControl::Fixed { steps })
}

#[test]
fn what_is_written_out_is_the_native_engine_s_with_fixed_steps() {
    let mut failures = Vec::new();
    for (name, field) in zoo() {
        for layout in LAYOUTS {
            let problem = Problem::ode(field.clone(), 0.2, 1.2);
            let options = fixed(6).layout(layout).save_at(SaveAt::Times(vec![0.5, 0.71, 1.2]));
            failures.extend(compare(&format!("{name}, {layout:?}"), &problem, &options, 5, 2e-5));
        }
    }
    none(&failures);
}

#[test]
fn what_is_written_out_is_the_native_engine_s_with_steps_of_its_own() {
    let mut failures = Vec::new();
    // Beside kinks an estimate of the error is chance, and either engine's steps are its own.
    for (name, field) in zoo().into_iter().filter(|(name, _)| *name != "everything") {
        for layout in LAYOUTS {
            let problem = Problem::ode(field.clone(), 0.2, 1.2);
            let tolerances = Tolerances::both(1e-4);
            let options = SolverOptions::default().tolerances(tolerances).layout(layout);
            failures.extend(compare(&format!("{name}, {layout:?}"), &problem, &options, 5, 5e-4));
        }
    }
    none(&failures);
}

/// Random programs, of all operations and sources, against the native engine, whose own error at `f32` says what rounding does
/// to each.
#[test]
fn random_programs_are_the_native_engine_s() {
    let Some(gpu) = gpu() else { return };
    let (mut failures, mut whole) = (Vec::new(), 0);
    for (n, drawn) in drawn(6, 0.05).into_iter().enumerate() {
        let options = fixed(2).method(Method::Heun).layout(LAYOUTS[n % 2]);
        let [theta, y0] = [&drawn.theta, &drawn.y0].map(|xs| xs.iter().map(|x| *x as f32).collect::<Vec<_>>());
        let ys_bar = numbers(y0.len(), n);
        let truth =
            natively::<f64>(&drawn, &options, &wide_numbers(&theta), &wide_numbers(&y0), &wide_numbers(&ys_bar));
        let rounded = natively::<f32>(&drawn, &options, &theta, &y0, &ys_bar);
        for by_layers in [false, true] {
            let mut device = GpuSolver::new(&gpu, &drawn.problem, &options).expect("a problem");
            if by_layers {
                device = device.layer_by_layer();
            }
            whole += usize::from(device.engine.whole);
            for (name, values) in &drawn.controls {
                let values: Vec<f32> = values.iter().map(|x| *x as f32).collect();
                device.set_control(name, &values).expect("values");
            }
            let ys = gpu.block_on(device.solve(&theta, &y0)).expect("a solve").ys;
            let found = gpu.block_on(device.gradients(&ys_bar)).expect("gradients");
            let parts = ["states", "gradient", "gradient of the start"];
            for (part, (found, (truth, rounded))) in
                parts.into_iter().zip([ys, found.theta, found.y0].iter().zip(truth.iter().zip(&rounded)))
            {
                let error = rounded.iter().zip(truth).map(|(x, y)| (f64::from(*x) - y).abs()).fold(0.0, f64::max);
                let largest = truth.iter().fold(1e-3f64, |most, x| most.max(x.abs()));
                if let Some(far) = apart(found, truth, 3e-6 + 8.0 * error / largest) {
                    failures.push(format!("{n}, by layers {by_layers}, {part}: {far}\n{}", drawn.problem.field));
                }
            }
        }
    }
    none(&failures);
    assert!(whole > 2, "{whole} were solved whole");
}

/// States, and gradients by parameters and start, on the native engine.
fn natively<R: Scalar>(drawn: &Drawn, options: &SolverOptions, theta: &[R], y0: &[R], ys_bar: &[R]) -> [Vec<R>; 3] {
    let cpu = Cpu::with_threads(1).expect("a thread");
    let mut solver = Solver::<R>::new(&cpu, &drawn.problem, options).expect("a problem");
    for (name, values) in &drawn.controls {
        let values: Vec<R> = values.iter().map(|x| R::from_f64(f64::from(*x as f32))).collect();
        solver.set_control(name, &values).expect("values");
    }
    let ys = solver.solve(theta, y0).expect("a solve").ys;
    let gradients = solver.gradients(ys_bar).expect("gradients");
    [ys, gradients.theta, gradients.y0]
}

#[test]
fn drift_and_diffusion_are_written_out() {
    let diffusion = built(2, |f| {
        let y = f.state();
        f.parameters("spread", &[0.2, 0.3]) * (1.0 + y.square()).sqrt() + 0.1 * f.time()
    });
    let network = Field::from(Mlp::new([2, 6, 2]));
    let mut failures = Vec::new();
    for (name, drift, noise) in [
        ("both", lotka_volterra(), diffusion.clone()),
        ("the drift", pendulum(), network.clone()),
        ("the diffusion", network, diffusion),
    ] {
        for layout in LAYOUTS {
            let problem = Problem::sde(drift.clone(), Diffusion::ito(noise.clone()), 0.0, 1.0);
            let options = fixed(8).layout(layout).method(Method::Milstein);
            failures.extend(compare(&format!("{name}, {layout:?}"), &problem, &options, 5, 5e-5));
        }
    }
    none(&failures);
}

/// `dy/dt = 1 / (y - 1)` with one trajectory at the pole.
#[test]
fn a_division_by_zero_is_that_trajectory_s() {
    let Some(gpu) = gpu() else { return };
    let field = built(1, |f| 1.0 / (f.state() - 1.0));
    let problem = Problem::ode(field, 0.0, 1.0);
    for options in [SolverOptions::default(), fixed(4)] {
        let options = options.layout(Layout::Ensemble);
        let mut device = GpuSolver::new(&gpu, &problem, &options).expect("a problem");
        let found = gpu.block_on(device.solve(&[], &[2.0, 1.0, 3.0])).expect("a solve");
        let statuses: Vec<Status> = found.status.clone();
        assert_eq!(statuses, [Status::Done, Status::NonFinite, Status::Done], "{options:?}");
        // y = 1 + sqrt((y0 - 1)^2 + 2 t)
        for (row, expected) in [(0, 1.0 + 3f64.sqrt()), (2, 1.0 + 6f64.sqrt())] {
            assert!((f64::from(found.ys[row]) - expected).abs() < 1e-3, "{:?}", found.ys);
        }
        // dy1/dy0 = (y0 - 1) / (y1 - 1)
        let found = gpu.block_on(device.gradients(&[1.0; 3])).expect("gradients");
        for (row, expected) in [(0, 1.0 / 3f64.sqrt()), (2, 2.0 / 6f64.sqrt())] {
            assert!((f64::from(found.y0[row]) - expected).abs() < 1e-3, "{:?}", found.y0);
        }
    }
}

#[test]
fn a_number_beyond_f32_is_refused() {
    let Some(gpu) = gpu() else { return };
    let problem = Problem::ode(built(1, |f| 1e200 * f.state()), 0.0, 1.0);
    match GpuSolver::new(&gpu, &problem, &SolverOptions::default()) {
        Err(Error::Argument { argument, value, .. }) => {
            assert_eq!((argument, value.as_str()), ("Problem::field", "the number 1e200"));
        }
        other => panic!("{other:?}"),
    }
}

/// What is too wide, or too long, is computed layer by layer.
#[test]
fn what_is_brief_is_solved_whole() {
    let Some(gpu) = gpu() else { return };
    let whole = |field: Field, diffusion: Option<Field>| {
        let problem = match diffusion {
            None => Problem::ode(field, 0.0, 1.0),
            Some(diffusion) => Problem::sde(field, Diffusion::ito(diffusion), 0.0, 1.0),
        };
        let options = match problem.diffusion {
            None => SolverOptions::default(),
            Some(_) => fixed(2).method(Method::Milstein),
        };
        GpuSolver::new(&gpu, &problem, &options).expect("a problem").engine.whole
    };
    assert!(zoo().into_iter().all(|(_, field)| whole(field, None)));
    assert!(whole(built(8, |f| f.state().sin()), None) && !whole(built(9, |f| f.state().sin()), None));
    let chain = |length: usize| built(2, |f| (0..length).fold(f.state(), |y, i| (y + i as f64).sin()));
    assert!(whole(chain(20), None) && !whole(chain(200), None));
    let network = Field::from(Mlp::new([2, 6, 2]));
    assert!(whole(chain(2), Some(network.clone())) && whole(network.clone(), Some(chain(2))));
    assert!(!whole(network.clone(), Some(chain(200))) && !whole(chain(200), Some(network)));
    assert!(!whole(Mlp::new([5, 6, 5]).into(), None), "a network is as small as it was");
}

#[test]
fn the_text_can_be_read() {
    let text = whole_text(&lotka_volterra(), Method::Euler, Variant::Plain, true).remove(0);
    let expected = "\
    let v1_0 = weight(0u);
    let v1_1 = weight(1u);
    let v1_2 = weight(2u);
    let v1_3 = weight(3u);
    let v2_0 = map_exp(v1_0);
    let v2_1 = map_exp(v1_1);
    let v2_2 = map_exp(v1_2);
    let v2_3 = map_exp(v1_3);
    let v5_0 = (y[0] * y[1]);
    let v7_0 = (v2_0 * y[0]);
    let v9_0 = (v2_1 * v5_0);
    let v10_0 = (v7_0 - v9_0);
    let v12_0 = (v2_2 * v5_0);
    let v14_0 = (v2_3 * y[1]);
    let v15_0 = (v12_0 - v14_0);
    return State(v10_0, v15_0);
}
";
    assert!(text.contains(expected), "{text}");
    // A unit of a hidden layer at a time, once in each direction.
    let text = whole_text(&pendulum(), Method::Euler, Variant::Plain, true).remove(0);
    let unit = "for (var j = 0u; j < 16u * job.args.hidden; j++) {";
    assert_eq!(text.matches(unit).count(), 2, "{text}");
    assert!(!text.contains("array<f32, 16>"), "no unit is kept: {text}");
}
