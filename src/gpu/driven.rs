//! Driven fields on a device: by hand, and against the native engine.

use super::adapter::gpu;
use super::fields::field;
use super::programs::{apart, none, numbers, wide_numbers as doubles};
use super::solver::GpuSolver;
use crate::cpu::{Cpu, Solver};
use crate::error::{Error, Status};
use crate::method::{
    Controller, InitialStep, Layout, Local, Method, Regularizer, SaveAt, SolverOptions, StepControl, Tolerances,
};
use crate::problem::{Control, Diffusion, Field, Interpolation, Mlp, Problem, TimeInput};

const LAYOUTS: [Layout; 2] = [Layout::Lockstep, Layout::Ensemble];
const INTERPOLATIONS: [Interpolation; 3] = [Interpolation::Hold, Interpolation::Linear, Interpolation::Cubic];
const ROWS: usize = 5;

/// A pendulum that a motor drives.
pub(super) fn pendulum() -> Field {
    field(2, |f| {
        let (y, k) = (f.state(), f.positive("k", &[2.0, 0.3]));
        let push = f.control("drive") / (f.control("weight") + 2.0);
        f.stack([y.row(1), push - k.row(0) * y.row(0).sin() - k.row(1) * y.row(1)])
    })
}

/// Controls in products, in sums over their rows, whole and in parts.
pub(super) fn products(width: usize) -> Field {
    field(width, |f| {
        let (y, u, weight) = (f.state(), f.controls("drive", width), f.control("weight"));
        let mixed = f.mlp("mixed", &Mlp::new([width, 7, width]), &(&y + &u * 0.3));
        let pushed = f.mlp("pushed", &Mlp::new([width, width]).time_input(TimeInput::Every), &u);
        let sums = u.sum() * 0.02 + u.dot(&y) * 0.02 + u.slice(1..width).mean();
        mixed * &u + pushed * 0.2 - &y * weight.repeat(width) + sums.repeat(width) * 0.1
    })
}

/// A control of many rows in a loop over units, for whole trajectories.
pub(super) fn units() -> Field {
    field(2, |f| {
        let (y, u) = (f.state(), f.controls("drive", 12));
        let hidden = f.mlp("in", &Mlp::new([2, 12]), &y) * &u;
        f.mlp("out", &Mlp::new([12, 2]), &hidden.tanh()) - y * f.control("weight")
    })
}

/// A driven problem, and values at its knots.
struct Case {
    problem: Problem,
    values: Vec<(&'static str, Vec<f32>)>,
}

impl Case {
    /// `drive` goes through knots before, in and after the interval, and `weight` is constant; both are the same for all
    /// trajectories, or each has its own.
    fn new(problem: Problem, interpolation: Interpolation, own: bool) -> Self {
        let times = [-0.4, 0.1, 0.37, 0.9, 1.6];
        let problem =
            problem.driven_by(Control::constant("weight")).driven_by(Control::new("drive", interpolation, times));
        let (rows, count) = (problem.control_rows("drive").expect("a control"), if own { ROWS } else { 1 });
        let values = vec![("drive", numbers(count * times.len() * rows, 3)), ("weight", numbers(count, 8))];
        Self { problem, values }
    }

    fn device(&self, options: &SolverOptions) -> Option<GpuSolver> {
        let mut solver = GpuSolver::new(&gpu()?, &self.problem, options).expect("a problem");
        for (name, values) in &self.values {
            solver.set_control(name, values).expect("values");
        }
        Some(solver)
    }

    fn native(&self, options: &SolverOptions) -> Solver<f64> {
        let cpu = Cpu::with_threads(1).expect("a thread");
        let mut solver = Solver::<f64>::new(&cpu, &self.problem, options).expect("a problem");
        for (name, values) in &self.values {
            solver.set_control(name, &doubles(values)).expect("values");
        }
        solver
    }

    /// What of states, steps and gradients is not the native engine's.
    fn compare(&self, name: &str, options: &SolverOptions, by_layers: bool, bound: f64) -> Vec<String> {
        let Some(mut device) = self.device(options) else { return Vec::new() };
        if by_layers {
            device = device.layer_by_layer();
        }
        assert_eq!(device.engine.whole, !by_layers, "{name}");
        let (gpu, mut native) = (device.engine.gpu.clone(), self.native(options));
        let (theta, y0) = (self.problem.initialize::<f32>(3), numbers(ROWS * self.problem.dim(), 1));
        let truth = native.solve(&doubles(&theta), &doubles(&y0)).expect("a solve");
        let found = gpu.block_on(device.solve(&theta, &y0)).expect("a solve");
        let mut failures = Vec::new();
        let mut check = |what: &str, found: &[f32], truth: &[f64]| {
            failures.extend(apart(found, truth, bound).map(|far| format!("{name}, {what}: {far}")));
        };
        check("states", &found.ys, &truth.ys);
        let ys_bar = numbers(found.ys.len(), 2);
        let slope = native.gradients(&doubles(&ys_bar)).expect("gradients");
        let gradient = gpu.block_on(device.gradients(&ys_bar)).expect("gradients");
        check("gradient", &gradient.theta, &slope.theta);
        check("gradient of the start", &gradient.y0, &slope.y0);
        let steps = |stats: &[crate::solution::Stats]| -> Vec<_> {
            stats.iter().map(|stats| (stats.accepted, stats.rejected)).collect()
        };
        if steps(&found.stats) != steps(&truth.stats) {
            failures.push(format!("{name}: steps {:?}, not {:?}", steps(&found.stats), steps(&truth.stats)));
        }
        failures
    }
}

/// Steps of 0.23, but for those that end at knots: the same ones on either engine.
fn given() -> SolverOptions {
    let step_control = StepControl::Adaptive {
        tolerances: Tolerances::both(10.0),
        controller: Controller::default(),
        initial_step: InitialStep::Length(0.23),
    };
    SolverOptions::default().step_control(step_control).largest_step(0.23)
}

/// Every interpolation, shared and each trajectory's own, in lockstep and as an ensemble.
fn compare_all(by_layers: bool, fields: &[(&str, Field)]) {
    let mut failures = Vec::new();
    for (name, field) in fields {
        for (n, interpolation) in INTERPOLATIONS.into_iter().enumerate() {
            for own in [false, true] {
                for layout in LAYOUTS {
                    // Forwards and backwards; both of each are met.
                    let backwards = (n + usize::from(own) + usize::from(layout == Layout::Ensemble)) % 2 == 1;
                    let [t0, t1] = if backwards { [1.3, -0.1] } else { [-0.1, 1.3] };
                    let case = Case::new(Problem::ode(field.clone(), t0, t1), interpolation, own);
                    let name = format!("{name}, {interpolation:?}, own {own}, {layout:?}, from {t0}");
                    let options = given().layout(layout).save_at(SaveAt::Times(vec![0.2, 0.5, 0.9]));
                    let options = if backwards { options.save_at(SaveAt::Times(vec![0.9, 0.5, 0.2])) } else { options };
                    failures.extend(case.compare(&name, &options, by_layers, 2e-5));
                }
            }
        }
    }
    none(&failures);
}

#[test]
fn driven_trajectories_are_the_native_engine_s_whole() {
    compare_all(false, &[("a pendulum", pendulum()), ("units", units())]);
}

#[test]
fn driven_trajectories_are_the_native_engine_s_by_layers() {
    let fields = [("a pendulum", pendulum()), ("products", products(6)), ("lanes", products(40))];
    compare_all(true, &fields);
}

/// By layers with checkpoints, by all steps, and by equal steps across the knots of a spline.
#[test]
fn driven_steps_are_taken_again() {
    use crate::method::{Adjoint, Checkpoints};
    let mut failures = Vec::new();
    for layout in LAYOUTS {
        let options = given().layout(layout);
        let checkpoints = Adjoint::Discrete { checkpoints: Checkpoints::Stride(3) };
        let fixed = options.clone().step_control(StepControl::Fixed { steps: 9 });
        let fixed = SolverOptions { largest_step: None, ..fixed };
        for (name, interpolation, options, by_layers) in [
            ("checkpoints", Interpolation::Linear, options.clone().adjoint(checkpoints), false),
            ("all steps", Interpolation::Hold, options.save_at(SaveAt::Steps), false),
            ("equal steps", Interpolation::Cubic, fixed.clone(), false),
            ("equal steps by layers", Interpolation::Cubic, fixed, true),
        ] {
            let case = Case::new(Problem::ode(pendulum(), 0.0, 1.5), interpolation, true);
            failures.extend(case.compare(&format!("{name}, {layout:?}"), &options, by_layers, 2e-5));
        }
    }
    none(&failures);
}

/// Drift, diffusion, or both are driven.
#[test]
fn noise_is_driven() {
    let diffusion = || field(2, |f| (f.state().sigmoid() + f.control("weight")) * f.positive("scale", &[0.1]));
    let drive = || field(2, |f| f.control("drive") * f.parameters("a", &[0.3, -0.2]) - f.state());
    let mut failures = Vec::new();
    for layout in LAYOUTS {
        for by_layers in [false, true] {
            for (name, drift, diffusion) in [("both", pendulum(), diffusion()), ("the diffusion", drive(), diffusion())]
            {
                let problem = Problem::sde(drift, Diffusion::ito(diffusion), 0.0, 1.0);
                let case = Case::new(problem, Interpolation::Linear, true);
                let options = SolverOptions::sde(Tolerances::both(1e-2)).layout(layout);
                let name = format!("{name}, {layout:?}, by layers {by_layers}");
                failures.extend(case.compare(&name, &options, by_layers, 1e-4));
            }
        }
        let problem = Problem::sde(pendulum(), Diffusion::stratonovich(diffusion()), 0.0, 1.0);
        let options = SolverOptions::default().method(Method::ReversibleHeun).layout(layout);
        let options = options.step_control(StepControl::Fixed { steps: 8 });
        let case = Case::new(problem, Interpolation::Cubic, true);
        failures.extend(case.compare(&format!("reversible, {layout:?}"), &options, true, 1e-4));
    }
    none(&failures);
}

/// `y' = u(t)`: integrals by hand, and no step that looks across a knot.
#[test]
fn steps_end_at_knots() {
    let Some(gpu) = gpu() else { return };
    let integrator = || field(1, |f| f.control("u") + f.state() * 0.0);
    let times: Vec<f64> = (0..4).map(|i| 0.1 + 0.3 * f64::from(i)).collect();
    // 0.1 before the first knot, three pieces of 0.3, and 0.2 after the last one.
    let hold = 0.1 * 1.0 + 0.3 * (1.0 - 2.0 + 4.0) + 0.2 * 3.0;
    let linear = 0.1 * 1.0 + 0.3 * (-0.5 + 1.0 + 3.5) + 0.2 * 3.0;
    for (interpolation, truth) in [(Interpolation::Hold, hold), (Interpolation::Linear, linear)] {
        for ((layout, [t0, t1]), by_layers) in
            LAYOUTS.into_iter().flat_map(|l| [(l, [0.0, 1.2]), (l, [1.2, 0.0])]).flat_map(|c| [(c, false), (c, true)])
        {
            let name = format!("{interpolation:?}, {layout:?}, from {t0}, by layers {by_layers}");
            let problem = Problem::ode(integrator(), t0, t1).driven_by(Control::new("u", interpolation, times.clone()));
            let options = SolverOptions::default().layout(layout).tolerances(Tolerances::both(1e-5));
            let mut solver = GpuSolver::new(&gpu, &problem, &options).expect("a problem");
            if by_layers {
                solver = solver.layer_by_layer();
            }
            solver.set_control("u", &[1.0, -2.0, 4.0, 3.0]).expect("values");
            let found = gpu.block_on(solver.solve(&[], &[0.0; 3])).expect("a solve");
            let truth = if t1 > t0 { truth } else { -truth };
            assert!(found.ys.iter().all(|y| (f64::from(*y) - truth).abs() < 2e-6), "{name}: {:?}", found.ys);
            assert!(found.stats.iter().all(|stats| stats.rejected == 0), "{name}");
        }
    }
}

/// Rates of each trajectory's own, as an ensemble.
#[test]
fn parameters_of_trajectories_are_controls() {
    let Some(gpu) = gpu() else { return };
    const BATCH: usize = 1000;
    let growth = field(2, |f| f.parameters("scale", &[1.0]) * f.controls("rates", 2) * f.state());
    let problem = Problem::ode(growth, 0.0, 1.5).driven_by(Control::constant("rates"));
    let rates: Vec<f32> = (0..2 * BATCH).map(|i| -2.0 + 3.0 * i as f32 / (2 * BATCH) as f32).collect();
    let options = SolverOptions::default().layout(Layout::Ensemble).tolerances(Tolerances::both(1e-5));
    let mut solver = GpuSolver::new(&gpu, &problem, &options).expect("a problem");
    solver.set_control("rates", &rates).expect("values");
    let found = gpu.block_on(solver.solve(&[1.0], &[1.0; 2 * BATCH])).expect("a solve");
    let gradients = gpu.block_on(solver.gradients(&[1.0; 2 * BATCH])).expect("gradients");
    let grown = |rate: f32| (1.5 * f64::from(rate)).exp();
    for ((y, bar), rate) in found.ys.iter().zip(&gradients.y0).zip(&rates) {
        let truth = grown(*rate);
        assert!((f64::from(*y) - truth).abs() < 1e-4 * truth.max(1.0), "{rate}: {y}, not {truth}");
        assert!((f64::from(*bar) - truth).abs() < 1e-4 * truth.max(1.0), "{rate}: {bar}, not {truth}");
    }
    let truth: f64 = rates.iter().map(|rate| 1.5 * f64::from(*rate) * grown(*rate)).sum();
    assert!((f64::from(gradients.theta[0]) - truth).abs() < 1e-3 * truth.abs(), "{:?}", gradients.theta);
}

/// A control that drives one trajectory beyond all numbers takes no other along.
#[test]
fn a_trajectory_that_is_driven_off_fails_alone() {
    let Some(gpu) = gpu() else { return };
    let drive = field(1, |f| f.control("u") * f.control("u") * f.parameters("a", &[1.0]) - f.state());
    let problem = Problem::ode(drive, 0.0, 1.0).driven_by(Control::constant("u"));
    for (layout, by_layers) in LAYOUTS.into_iter().flat_map(|layout| [(layout, false), (layout, true)]) {
        let options = SolverOptions::default().layout(layout).tolerances(Tolerances::both(1e-5));
        let mut solver = GpuSolver::new(&gpu, &problem, &options).expect("a problem");
        if by_layers {
            solver = solver.layer_by_layer();
        }
        solver.set_control("u", &[1.0, 1e30, -2.0]).expect("values");
        let found = gpu.block_on(solver.solve(&[1.0], &[0.0; 3])).expect("a solve");
        let status: Vec<Status> = found.status.clone();
        assert_eq!(status, [Status::Done, Status::NonFinite, Status::Done], "{layout:?}");
        let gradients = gpu.block_on(solver.gradients(&[1.0; 3])).expect("gradients");
        // y = a u^2 (1 - exp(-t))
        let share = 1.0 - (-1f64).exp();
        assert!((f64::from(found.ys[2]) - 4.0 * share).abs() < 1e-4, "{layout:?}: {:?}", found.ys);
        assert!((f64::from(gradients.theta[0]) - 5.0 * share).abs() < 1e-4, "{layout:?}: {:?}", gradients.theta);
    }
}

/// A penalty on steps that a control drives is the native engine's.
#[test]
fn driven_steps_are_penalised() {
    for (layout, by_layers) in LAYOUTS.into_iter().flat_map(|layout| [(layout, false), (layout, true)]) {
        let case = Case::new(Problem::ode(pendulum(), 0.0, 1.0), Interpolation::Cubic, true);
        let options = SolverOptions::default().layout(layout).step_control(StepControl::Fixed { steps: 2 });
        let Some(mut device) = case.device(&options) else { return };
        if by_layers {
            device = device.layer_by_layer();
        }
        let (gpu, mut native) = (device.engine.gpu.clone(), case.native(&options));
        let penalty = Regularizer::from(Local::unbiased());
        device.regularize(&penalty, 3, 4).expect("a penalty");
        native.regularize(&penalty, 3, 4).expect("a penalty");
        let (theta, y0) = (case.problem.initialize::<f32>(3), numbers(ROWS * 2, 1));
        native.solve(&doubles(&theta), &doubles(&y0)).expect("a solve");
        gpu.block_on(device.solve(&theta, &y0)).expect("a solve");
        let truth = native.gradients(&[0.5; 2 * ROWS]).expect("gradients");
        let found = gpu.block_on(device.gradients(&[0.5; 2 * ROWS])).expect("gradients");
        assert!(
            (found.penalty - truth.penalty).abs() < 1e-3 * truth.penalty.abs(),
            "{layout:?}, by layers {by_layers}: {} of {}",
            found.penalty,
            truth.penalty
        );
        assert_eq!(apart(&found.theta, &truth.theta, 1e-3), None, "{layout:?}, by layers {by_layers}");
    }
}

/// Values that are set again, for other batches, and that a solve was not given; and solves in slices.
#[test]
fn values_are_those_that_were_set_last() {
    let case = Case::new(Problem::ode(pendulum(), 0.0, 1.5), Interpolation::Linear, false);
    let options = given();
    let (theta, y0) = (case.problem.initialize::<f32>(3), numbers(2 * ROWS, 1));
    let Some(mut device) = case.device(&options) else { return };
    let gpu = device.engine.gpu.clone();
    let first = gpu.block_on(device.solve(&theta, &y0)).expect("a solve");
    let bars = numbers(first.ys.len(), 2);
    let gradients = gpu.block_on(device.gradients(&bars)).expect("gradients");
    // Values of one trajectory each, in a larger buffer; a last solve has its gradients still.
    let drive = &case.values[0].1;
    let own: Vec<f32> = (0..ROWS).flat_map(|i| drive.iter().map(move |x| x * i as f32)).collect();
    device.set_control("drive", &own).expect("values");
    assert_eq!(gpu.block_on(device.gradients(&bars)).expect("gradients"), gradients);
    let second = gpu.block_on(device.solve(&theta, &y0)).expect("a solve");
    assert_eq!(second.ys[2..4], first.ys[2..4], "it has the values that all had");
    assert_ne!(second.ys[4..6], first.ys[4..6]);
    let error = gpu.block_on(device.solve(&theta, &y0[..4])).expect_err("another batch");
    assert!(error.to_string().contains("values of drive are for 5 trajectories"), "{error}");
    device.set_control("drive", drive).expect("values");
    assert_eq!(gpu.block_on(device.solve(&theta, &y0)).expect("a solve"), first);
    assert!(device.set_control("wind", &[0.0]).is_err() && device.set_control("drive", &[0.0; 4]).is_err());
    assert!(matches!(device.set_control("weight", &[f32::NAN]), Err(Error::NonFinite { .. })));
    // In slices of an attempt each: the same bits.
    let mut sliced = case.device(&options).expect("a device").attempts_per_submission(1).expect("a slice");
    assert_eq!(gpu.block_on(sliced.solve(&theta, &y0)).expect("a solve"), first);
    let mut bare = GpuSolver::new(&gpu, &case.problem, &options).expect("a problem");
    let error = gpu.block_on(bare.solve(&theta, &y0)).expect_err("no values");
    assert!(matches!(error, Error::Order { needs: "GpuSolver::set_control", .. }), "{error}");
    // A recorded solve has those of its solver.
    let io = |name: &str, bytes: u64| super::buffers::create(&gpu, name, bytes, false);
    let (theta_in, y) = (io("theta", 4 * theta.len() as u64), io("y", 4 * y0.len() as u64));
    gpu.queue.write_buffer(&theta_in, 0, bytemuck::cast_slice(&theta));
    gpu.queue.write_buffer(&y, 0, bytemuck::cast_slice(&y0));
    let recorded = gpu.block_on(device.prepare(ROWS, 40)).expect("a recording");
    let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let slices = super::embed::SolveIo { theta: theta_in.slice(..), y0: y.slice(..), ys: y.slice(..) };
    recorded.record(&mut encoder, &slices).expect("a recording");
    gpu.queue.submit([encoder.finish()]);
    let [ys]: [Vec<f32>; 1] = gpu.block_on(device.engine.read([(&y, 0, y0.len())])).expect("states");
    assert_eq!(ys, first.ys);
}
