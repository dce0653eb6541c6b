//! Failures on the device: a trajectory's own, and those of calls that cannot be carried out.

mod common;

use std::collections::BTreeMap;

use common::{LAYOUTS, adaptive, bits, cast, close, cpu, distance, fixed, gpu, numbers, scaled, solver, widen};
use fewsteps::{
    Batch, Checkpoints, Error, FailurePolicy, Gpu, GpuSolver, GpuTrainer, Gradients, InputMap, Layout, Local, Loss,
    Method, Mlp, NeuralDe, Optimizer, Problem, SaveAt, Solver, SolverOptions, Status, Target, Tolerances, Trainer,
    TrainerConfig,
};

/// `y' = y^3`, which reaches its pole at `t = 1 / (2 y0^2)`, and stands still at 0.
fn blow_up() -> (Problem, [f32; 2]) {
    (Problem::ode(Mlp::new([1, 1]).input_map(InputMap::Cube), 0.0, 1.0), [1.0, 0.0])
}

fn blow_up_exact(y: f64) -> f64 {
    y / (1.0 - 2.0 * y * y).sqrt()
}

/// Fails with the first of all that was found, and their number.
fn none(failures: &[String]) {
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures[..failures.len().min(20)].join("\n"));
}

/// One bad trajectory among good ones: its status, the others' states and gradients.
fn check_one(bad: f32, layout: Layout, options: SolverOptions, batch: usize, failures: &mut Vec<String>) {
    let Some(gpu) = gpu() else { return };
    let name = format!("y0 = {bad} among {batch}, {}, {layout:?}, {:?}", options.method, options.step_control);
    let (problem, theta) = blow_up();
    let good: Vec<f32> = (0..batch - 1).map(|i| 0.1 + 0.5 * i as f32 / batch as f32).collect();
    let at = batch / 2;
    let rows = [&good[..at], &[bad], &good[at..]].concat();
    let without = |v: &[f32]| [&v[..at], &v[at + 1..]].concat();
    let options = options.layout(layout);
    let mut device = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
    let found = gpu.block_on(device.solve(&theta, &rows)).expect("a failure has a status");
    let native = solver::<f32>(&problem, &options).solve(&theta, &rows).expect("a failure has a status");
    if found.status != native.status {
        let differing = (0..batch).find(|&i| found.status[i] != native.status[i]).unwrap_or(0);
        failures.push(format!(
            "{name}: row {differing} is {}, on the native engine {}",
            found.status[differing], native.status[differing]
        ));
    }
    if found.status[at] == Status::Done || !found.ys[at].is_nan() {
        failures.push(format!("{name}: {} with the state {}", found.status[at], found.ys[at]));
    }
    let exact: Vec<f64> = good.iter().map(|&y| blow_up_exact(f64::from(y))).collect();
    let error = distance(&widen(&without(&found.ys)), &exact);
    if error.is_nan() || error > 5e-3 {
        failures.push(format!("{name}: the others are off by {error:e}"));
    }
    let bar = cast::<f32>(&numbers(51, batch));
    let with = gpu.block_on(device.gradients(&bar)).expect("cotangents of every state");
    if with.y0[at] != 0.0 {
        failures.push(format!("{name}: the failed trajectory contributes {}", with.y0[at]));
    }
    // The same again without the bad trajectory.
    let expected = gpu.block_on(device.solve(&theta, &good)).expect("a valid call");
    let alone = gpu.block_on(device.gradients(&without(&bar))).expect("cotangents of every state");
    let fixed = matches!(options.step_control, fewsteps::StepControl::Fixed { .. });
    if layout == Layout::Ensemble || fixed {
        if bits(&without(&found.ys)) != bits(&expected.ys) {
            failures.push(format!("{name}: the others' states are not those without it"));
        }
        if bits(&without(&with.y0)) != bits(&alone.y0) {
            failures.push(format!("{name}: the others' gradients are not those without it"));
        }
        close(&format!("{name}: gradient of theta"), &widen(&with.theta), &widen(&alone.theta), 1e-5);
    } else {
        close(&format!("{name}: gradient of theta"), &widen(&with.theta), &widen(&alone.theta), 2e-2);
    }
}

#[test]
fn a_failing_trajectory_fails_alone_as_on_the_native_engine() {
    let mut failures = Vec::new();
    for layout in LAYOUTS {
        for batch in [2, 40] {
            for bad in [f32::NAN, f32::NEG_INFINITY, 1e30, -5.0] {
                check_one(bad, layout, adaptive(Method::Tsit5, 1e-4), batch, &mut failures);
            }
            for bad in [f32::INFINITY, 0.9] {
                check_one(bad, layout, adaptive(Method::Bosh3, 1e-4), batch, &mut failures);
            }
        }
        // The error of Euler's method says nothing about the others.
        for method in Method::ODE.into_iter().filter(|m| *m != Method::Euler) {
            check_one(10.0, layout, fixed(method, 60), 70, &mut failures);
        }
        check_one(f32::NAN, layout, fixed(Method::Rk4, 60), 33, &mut failures);
    }
    none(&failures);
}

#[test]
fn several_failures_are_told_apart_from_their_neighbours() {
    let Some(gpu) = gpu() else { return };
    let (field, theta) = (Mlp::new([3, 8, 3]), cast::<f32>(&scaled(0.7, &numbers(1, 59))));
    let problem = Problem::ode(field, 0.0, 1.0);
    for layout in LAYOUTS {
        for save in [SaveAt::End, SaveAt::Times(vec![0.0, 0.4, 1.0]), SaveAt::Steps] {
            if save == SaveAt::Steps && layout == Layout::Ensemble {
                // Rounding may move a trajectory's steps.
                continue;
            }
            let name = format!("{layout:?}, {save:?}");
            let options = adaptive(Method::Tsit5, 1e-4).layout(layout).save_at(save.clone());
            let mut rows = cast::<f32>(&numbers(2, 3 * 70));
            let bad = [(0, f32::NAN), (31, f32::INFINITY), (32, f32::NEG_INFINITY), (69, f32::NAN)];
            for (row, value) in bad {
                rows[3 * row + row % 3] = value;
            }
            let mut device = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
            let found = gpu.block_on(device.solve(&theta, &rows)).expect("failures have a status");
            let native = solver::<f32>(&problem, &options).solve(&theta, &rows).expect("failures have a status");
            for (row, status) in found.status.iter().enumerate() {
                let is_bad = bad.iter().any(|(b, _)| *b == row);
                let expected = if is_bad { Status::NonFinite } else { Status::Done };
                assert_eq!(*status, expected, "{name}: row {row}");
            }
            // A row of an ensemble that fails at once may or may not have tried a first step.
            if layout == Layout::Lockstep {
                assert_eq!(found.stats, native.stats, "{name}: costs");
            }
            assert_eq!(found.ys.len(), native.ys.len(), "{name}: a state a time");
            let nan = |ys: &[f32]| ys.iter().map(|y| y.is_nan()).collect::<Vec<_>>();
            assert_eq!(nan(&found.ys), nan(&native.ys), "{name}: where states are NaN");
            let finite = |ys: &[f32]| ys.iter().filter(|y| y.is_finite()).map(|y| f64::from(*y)).collect::<Vec<_>>();
            // Where its steps end, a solution shows what rounding does to their lengths.
            let bound = if save == SaveAt::Steps { 5e-2 } else { 2e-5 };
            close(&name, &finite(&found.ys), &finite(&native.ys), bound);
        }
    }
}

/// y' = y^3 with steps that are too long for it: what overflows is told as NaN, wherever states are saved.
#[test]
fn states_of_fixed_steps_that_overflow_are_nan() {
    let Some(gpu) = gpu() else { return };
    let (problem, _) = blow_up();
    let theta = [1.0, 0.0];
    for layout in LAYOUTS {
        for save in [SaveAt::Steps, SaveAt::Times(vec![0.25, 0.5, 0.75, 1.0])] {
            let options = fixed(Method::Rk4, 4).layout(layout).save_at(save.clone());
            let mut native = solver::<f64>(&problem, &options);
            let mut solver = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
            let y0 = [0.5, 40.0, 0.1];
            let found = gpu.block_on(solver.predict(&theta, &y0)).expect("a device");
            let expected = native.predict(&widen(&theta), &widen(&y0)).expect("a valid solve");
            assert_eq!(found.status, expected.status, "{layout:?}, {save:?}");
            let kinds = |ys: Vec<f64>| ys.iter().map(|y| (y.is_nan(), y.is_infinite())).collect::<Vec<_>>();
            let (found, expected) = (kinds(widen(&found.ys)), kinds(expected.ys));
            assert!(found.iter().any(|kind| kind.0) && !found.iter().any(|kind| kind.1), "{layout:?}, {save:?}");
            if layout == Layout::Lockstep || save != SaveAt::Steps {
                assert_eq!(found.len(), expected.len(), "{layout:?}, {save:?}");
            }
        }
    }
}

#[test]
fn a_dense_solution_ends_where_its_trajectory_failed() {
    let Some(gpu) = gpu() else { return };
    let (problem, theta) = blow_up();
    let exact = |y0: f64, t: f64| y0 / (1.0 - 2.0 * y0 * y0 * t).sqrt();
    for layout in LAYOUTS {
        let options = adaptive(Method::Tsit5, 1e-4).layout(layout).save_at(SaveAt::Dense);
        let mut solver = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
        let solution = gpu.block_on(solver.predict(&theta, &[0.4, f32::NAN, 0.9])).expect("failures have a status");
        let dense = solution.dense.expect("a dense solution");
        let evaluate = |row: usize, t: f64| dense.evaluate(row, t).map(|y| f64::from(y[0]));
        let off = evaluate(0, 1.0).expect("it came that far") / exact(f64::from(0.4f32), 1.0) - 1.0;
        assert!(off.abs() < 1e-3, "{layout:?}: the good trajectory is {off:e} off");
        for t in [0.0, 0.5] {
            evaluate(1, t).expect_err("it failed at once");
        }
        // The pole is at 0.617.
        for t in [0.0, 0.31, 0.5] {
            let off = evaluate(2, t).expect("it came that far") / exact(f64::from(0.9f32), t) - 1.0;
            assert!(off.abs() < 1e-3, "{layout:?}: {off:e} off at {t}");
        }
        let error = evaluate(2, 0.7).expect_err("it did not come that far").to_string();
        assert!(error.contains("integrated from 0 to 0.617"), "{layout:?}: {error}");
    }
}

#[test]
fn a_batch_in_which_all_fail_says_so() {
    let Some(gpu) = gpu() else { return };
    let (problem, theta) = blow_up();
    for layout in LAYOUTS {
        for save in [SaveAt::End, SaveAt::Times(vec![0.0, 0.5]), SaveAt::Steps, SaveAt::Dense] {
            let name = format!("{save:?}, {layout:?}");
            let options = adaptive(Method::Tsit5, 1e-4).layout(layout).save_at(save);
            let mut solver = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
            let solution = gpu.block_on(solver.solve(&theta, &[f32::NAN; 2])).expect("failures have a status");
            assert_eq!(solution.status, [Status::NonFinite; 2], "{name}");
            assert!(solution.ys.iter().all(|y| y.is_nan()), "{name}: {:?}", solution.ys);
            assert_eq!(solution.ys.len(), solution.ts.count(2), "{name}: a state a time");
            let ones = vec![1.0; solution.ys.len()];
            let gradients = gpu.block_on(solver.gradients(&ones)).expect("cotangents of every state");
            assert_eq!((gradients.theta, gradients.y0), (vec![0.0; 2], vec![0.0; 2]), "{name}: nothing contributes");
            if let Some(dense) = &solution.dense {
                assert!(dense.evaluate(0, 0.5).is_err(), "{name}: the trajectory did not come that far");
            }
            let error = solution.check().expect_err("all have failed");
            let expected =
                matches!(error, Error::Trajectory { failed: 2, batch: 2, index: 0, status: Status::NonFinite });
            assert!(expected, "{name}: {error}");
        }
    }
}

#[test]
fn attempts_are_bounded() {
    let Some(gpu) = gpu() else { return };
    let (field, theta) = (Mlp::new([2, 8, 2]), cast::<f32>(&scaled(3.0, &numbers(5, 42))));
    let problem = Problem::ode(field, 0.0, 6.0);
    let y0 = cast::<f32>(&numbers(6, 2 * 9));
    for layout in LAYOUTS {
        for max_steps in [1, 2, 5, 40] {
            for save in [SaveAt::End, SaveAt::Steps] {
                let name = format!("{max_steps} steps, {layout:?}, {save:?}");
                let options = adaptive(Method::Tsit5, 1e-3).layout(layout).save_at(save).max_steps(max_steps);
                let mut device = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
                let found = gpu.block_on(device.solve(&theta, &y0)).expect("a bound has a status");
                let native = solver::<f32>(&problem, &options).solve(&theta, &y0).expect("a bound has a status");
                assert_eq!(found.status, native.status, "{name}");
                assert_eq!(found.stats, native.stats, "{name}");
                assert_eq!(found.ys.len(), native.ys.len(), "{name}: as many states");
                let bounded = found.stats.iter().all(|s| s.accepted + s.rejected <= max_steps);
                assert!(bounded, "{name}: {:?}", found.stats);
                let cut = found.status.contains(&Status::MaxSteps);
                assert_eq!(cut, max_steps < 40, "{name}: {:?}", found.status);
            }
        }
    }
}

/// A tape that outgrows the room it was given goes on where it paused.
#[test]
fn a_solve_that_needs_more_room_gets_it_and_loses_nothing() {
    let Some(gpu) = gpu() else { return };
    let rotation = [0.0, 3.0, -3.0, 0.0, 0.0, 0.0];
    let (field, theta) = (Mlp::new([2, 2]), rotation);
    let problem = Problem::ode(field, 0.0, 10.0);
    let y0 = cast::<f32>(&numbers(6, 2 * 9));
    for layout in LAYOUTS {
        for checkpoints in [1, 4] {
            let options = adaptive(Method::Tsit5, 1e-5)
                .layout(layout)
                .save_at(SaveAt::Times(vec![0.1, 4.0, 10.0]))
                .adjoint(fewsteps::Adjoint::Discrete { checkpoints: Checkpoints::Stride(checkpoints) });
            let name = format!("{layout:?}, stride {checkpoints}");
            let mut device = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
            let found = gpu.block_on(device.solve(&theta, &y0)).expect("a valid call");
            let most = found.stats.iter().map(|s| s.accepted).max().expect("a clock");
            assert!(most > 70, "{name}: {most} steps, more than twice the first room");
            let bar = cast::<f32>(&numbers(7, found.ys.len()));
            let gradients = gpu.block_on(device.gradients(&bar)).expect("cotangents");
            // The second time there is room from the start.
            let again = gpu.block_on(device.solve(&theta, &y0)).expect("a valid call");
            assert_eq!((&again.stats, bits(&again.ys)), (&found.stats, bits(&found.ys)), "{name}: with room");
            let second = gpu.block_on(device.gradients(&bar)).expect("cotangents");
            assert_eq!(bits(&second.theta), bits(&gradients.theta), "{name}: gradients with room");
            assert_eq!(bits(&second.y0), bits(&gradients.y0), "{name}: gradients with room");
            // A solve that keeps nothing takes the same steps.
            let plain = gpu.block_on(device.predict(&theta, &y0)).expect("a valid call");
            assert_eq!((&plain.stats, bits(&plain.ys)), (&found.stats, bits(&found.ys)), "{name}: without a tape");
        }
    }
}

#[test]
fn a_batch_beyond_the_memory_limit_names_one_that_fits() {
    let Some(gpu) = gpu() else { return };
    let (field, theta) = (Mlp::new([4, 16, 4]), cast::<f32>(&numbers(5, 148)));
    let problem = Problem::ode(field, 0.0, 0.5);
    for layout in LAYOUTS {
        for limit in [200_000, 1_000_000] {
            let name = format!("{limit} bytes, {layout:?}");
            let options = adaptive(Method::Tsit5, 1e-3).layout(layout).memory_limit(limit);
            let mut solver = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
            let y0 = cast::<f32>(&numbers(6, 4 * 5000));
            let error = gpu.block_on(solver.solve(&theta, &y0)).expect_err("too large");
            let Error::Memory { needed, limit: named, batch, largest_batch, .. } = error else {
                panic!("{name}: {error}")
            };
            assert_eq!((named, batch), (limit, 5000), "{name}");
            assert!(needed > limit, "{name}: {needed} bytes needed");
            let message = error.to_string();
            for number in [needed, limit, batch, largest_batch] {
                assert!(message.contains(&number.to_string()), "{name}: {message} names {number}");
            }
            // It works, with its gradients, and it is nearly the largest that does.
            let fits = gpu.block_on(solver.solve(&theta, &y0[..4 * largest_batch])).expect("the batch that it named");
            assert_eq!(fits.status.len(), largest_batch, "{name}");
            assert!(solver.bytes() <= limit, "{name}: {} bytes held", solver.bytes());
            gpu.block_on(solver.gradients(&vec![1.0; fits.ys.len()])).expect("gradients fit too");
            let larger = largest_batch + largest_batch / 8 + 1;
            let mut other = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
            let beyond = gpu.block_on(other.solve(&theta, &y0[..4 * larger]));
            assert!(matches!(beyond, Err(Error::Memory { .. })), "{name}: {larger} fits too");
        }
    }
}

#[test]
fn a_solver_goes_on_after_a_refused_batch() {
    let Some(gpu) = gpu() else { return };
    let (field, theta) = (Mlp::new([4, 16, 4]), cast::<f32>(&numbers(5, 148)));
    let problem = Problem::ode(field, 0.0, 0.5);
    let options = adaptive(Method::Tsit5, 1e-3).memory_limit(200_000);
    let y0 = cast::<f32>(&numbers(6, 4 * 5000));
    let mut solver = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
    let first = gpu.block_on(solver.solve(&theta, &y0[..40])).expect("a small batch");
    gpu.block_on(solver.solve(&theta, &y0)).expect_err("too large");
    let refused = gpu.block_on(solver.gradients(&[0.0; 40]));
    assert!(matches!(refused, Err(Error::Argument { .. })), "nothing was solved: {refused:?}");
    let second = gpu.block_on(solver.solve(&theta, &y0[..40])).expect("a small batch");
    assert_eq!(bits(&first.ys), bits(&second.ys), "the small batch solves as before");
}

/// Without a limit of one's own, the device's largest binding is one. Such a device computes nothing, but it judges
/// bindings as any other.
#[test]
fn a_batch_beyond_a_binding_names_one_that_fits() {
    let binding = 1 << 20;
    let limits = wgpu::Limits { max_storage_buffer_binding_size: binding, ..wgpu::Limits::default() };
    let descriptor = wgpu::DeviceDescriptor { required_limits: limits, ..Default::default() };
    let (device, queue) = wgpu::Device::noop(&descriptor);
    let gpu = Gpu::from_wgpu(&device, &queue).expect("limits that are enough");
    let problem = Problem::ode(Mlp::new([64, 8, 64]), 0.0, 1.0);
    let mut solver = GpuSolver::new(&gpu, &problem, &fixed(Method::Euler, 1)).expect("a valid problem");
    let theta = vec![0.0; problem.field.parameter_count()];
    let error = gpu.block_on(solver.solve(&theta, &vec![0.0; 64 * 5000])).expect_err("too large");
    let Error::Limit { limit, largest_batch: Some(largest_batch), needed, name, .. } = error else { panic!("{error}") };
    assert_eq!((limit, name), (binding, "max_storage_buffer_binding_size"), "the binding is the limit");
    assert!(needed > limit && largest_batch > 10, "{error}");
    let message = error.to_string();
    assert!(message.contains("wanted_limits") && !message.contains("Checkpoints"), "the cure of a binding: {message}");
    gpu.block_on(solver.solve(&theta, &vec![0.0; 64 * largest_batch])).expect("the batch that it named");
    let mut other = GpuSolver::new(&gpu, &problem, &fixed(Method::Euler, 1)).expect("a valid problem");
    let beyond = gpu.block_on(other.solve(&theta, &vec![0.0; 64 * (largest_batch + 1)]));
    assert!(matches!(beyond, Err(Error::Limit { .. })), "one more fits too");
}

/// A device of WebGPU's default limits that computes nothing.
fn default_limits() -> Gpu {
    let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
    Gpu::from_wgpu(&device, &queue).expect("limits that are enough")
}

#[test]
fn more_parameters_than_a_binding_takes_are_refused() {
    let gpu = default_limits();
    let problem = Problem::ode(Mlp::new([6000, 6000, 6000]), 0.0, 1.0);
    let options = SolverOptions::default();
    let config = TrainerConfig::new(NeuralDe::new(problem.clone(), options.clone()), Loss::Mse);
    let errors = [GpuSolver::new(&gpu, &problem, &options).map(|_| ()), GpuTrainer::new(&gpu, config).map(|_| ())];
    for error in errors.map(|result| result.expect_err("288 MB in a binding of 128")) {
        // Two layers of 6001 x 6000 numbers of 4 bytes.
        let Error::Limit { needed: 288_048_000, limit: 134_217_728, largest_batch: None, .. } = error else {
            panic!("{error}")
        };
        assert!(error.to_string().contains("Gpu::wanted_limits"), "{error}");
    }
    // Parameters fit, but not the parts that their gradient is summed in.
    let problem = Problem::ode(Mlp::new([2000, 2000, 2000]), 0.0, 1.0);
    let mut solver = GpuSolver::new(&gpu, &problem, &options.max_steps(2)).expect("32 MB");
    let theta = vec![0.0; problem.parameter_count()];
    let error = gpu.block_on(solver.solve(&theta, &vec![0.0; 2000 * 1024])).expect_err("eight parts of 32 MB");
    assert!(error.to_string().contains("partial"), "it names the array: {error}");
}

#[test]
fn absurd_requests_are_refused() {
    let gpu = default_limits();
    let options = SolverOptions::default();
    let problem = |widths: &[usize]| Problem::ode(Mlp::new(widths), 0.0, 1.0);
    let model = NeuralDe::new(problem(&[2, 8, 2]), options.clone());
    for n in [1_000_000_000, 1 << 62, usize::MAX] {
        for widths in [[2, n, 2], [n, 2, n]] {
            let error = GpuSolver::new(&gpu, &problem(&widths), &options).expect_err("too many parameters");
            assert!(matches!(error, Error::Argument { argument: "Mlp::sizes", .. }), "{error}");
        }
        for model in [model.clone().encoder(n), model.clone().head(n)] {
            let error = GpuTrainer::new(&gpu, TrainerConfig::new(model, Loss::Mse)).expect_err("too many parameters");
            assert!(matches!(error, Error::Argument { .. }), "{error}");
        }
    }
    let solver = GpuSolver::new(&gpu, &model.problem, &options).expect("a valid problem");
    let mut trainer = GpuTrainer::new(&gpu, TrainerConfig::new(model.clone(), Loss::Mse)).expect("a valid model");
    assert_eq!(solver.workspace(usize::MAX, usize::MAX, true), u64::MAX, "it does not wrap");
    assert_eq!(trainer.workspace(usize::MAX, usize::MAX), u64::MAX, "it does not wrap");
    assert!(trainer.workspace(100_000_000, 100) > 100_000_000 * 2 * 4 * 100, "more than the tape");
    for n in [100_000_000, usize::MAX] {
        let error = gpu.block_on(solver.prepare(n, 8)).expect_err("too large a batch");
        assert!(matches!(error, Error::Limit { largest_batch: Some(1000..), .. }), "{error}");
        let error = gpu.block_on(trainer.prepare(n, 8, 8)).expect_err("too large a batch");
        assert!(matches!(error, Error::Limit { largest_batch: Some(1000..), .. }), "{error}");
        let error = gpu.block_on(trainer.prepare(8, n, 8)).expect_err("too long a schedule");
        assert!(error.to_string().contains("schedule"), "{error}");
        for error in [
            gpu.block_on(solver.prepare(8, n)).map(|_| ()).expect_err("too many attempts"),
            gpu.block_on(trainer.prepare(8, 8, n)).expect_err("too many attempts"),
        ] {
            assert!(matches!(error, Error::Argument { argument: "attempts", .. }), "{error}");
        }
    }
    // Bounds on a solve are no sizes.
    let checkpoints = fewsteps::Adjoint::Discrete { checkpoints: Checkpoints::Stride(usize::MAX) };
    let options = options.max_steps(usize::MAX).adjoint(checkpoints);
    let mut solver = GpuSolver::new(&gpu, &model.problem, &options).expect("valid options").layer_by_layer();
    solver = solver.attempts_per_submission(usize::MAX).expect("a bound");
    assert!(solver.workspace(8, 32, true) < 1 << 20, "32 steps of 8 trajectories");
    let held = gpu.block_on(solver.prepare(8, 50)).expect("50 attempts").bytes();
    assert!(held < 1 << 20, "{held} bytes for 8 trajectories");
    let data = vec![0.0; 2 * 20_000_000];
    let error = gpu.block_on(trainer.upload(&data, Target::States(&data))).expect_err("160 MB in a binding of 128");
    let message = error.to_string();
    assert!(message.contains("160000000") && message.contains("GpuTrainer::step"), "{message}");
}

#[test]
fn predictions_and_evaluations_keep_within_the_memory_limit() {
    let gpu = default_limits();
    let limit = 1 << 20;
    let options = SolverOptions::default().memory_limit(limit);
    let problem = Problem::ode(Mlp::new([2, 8, 2]), 0.0, 1.0);
    let y0 = vec![0.0; 2 * 200_000];
    let mut solver = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
    let theta = vec![0.0; problem.parameter_count()];
    let error = gpu.block_on(solver.predict(&theta, &y0)).expect_err("beyond the limit");
    assert!(matches!(error, Error::Memory { largest_batch: 100.., .. }), "{error}");
    assert!(solver.bytes() < 10_000, "nothing was taken: {}", solver.bytes());
    let config = TrainerConfig::new(NeuralDe::new(problem, options), Loss::Mse);
    let mut trainer = GpuTrainer::new(&gpu, config).expect("a valid model");
    let batch = Batch { inputs: &y0, target: Target::States(&y0) };
    for error in [
        gpu.block_on(trainer.predict(&y0)).map(|_| ()).expect_err("beyond the limit"),
        gpu.block_on(trainer.evaluate(&batch)).map(|_| ()).expect_err("beyond the limit"),
        gpu.block_on(trainer.step(&batch)).map(|_| ()).expect_err("beyond the limit"),
    ] {
        let Error::Memory { largest_batch, .. } = error else { panic!("{error}") };
        assert!((100..200_000).contains(&largest_batch), "{error}");
        assert!(trainer.bytes() < 10_000, "nothing was taken: {}", trainer.bytes());
    }
}

/// A field that one sample of the batch drives over a pole.
/// Room that an evaluation took does not stand in the way of training, which needs more for each trajectory.
#[test]
fn training_goes_on_after_a_larger_evaluation() {
    let gpu = default_limits();
    let config = |limit: usize| {
        let problem = Problem::ode(Mlp::new([2, 8, 2]), 0.0, 1.0);
        TrainerConfig::new(NeuralDe::new(problem, SolverOptions::default().memory_limit(limit)), Loss::Mse)
    };
    let limit = 1 << 20;
    let mut trainer = GpuTrainer::new(&gpu, config(limit)).expect("a valid model");
    let data = vec![0.5; 2 * 4000];
    let batch = |rows: usize| Batch { inputs: &data[..2 * rows], target: Target::States(&data[..2 * rows]) };
    let refused = gpu.block_on(trainer.step(&batch(4000))).expect_err("no room to train on as many");
    assert!(matches!(refused, Error::Memory { .. }), "{refused}");
    for _ in 0..2 {
        gpu.block_on(trainer.step(&batch(64))).expect("room for a small batch");
        gpu.block_on(trainer.evaluate(&batch(4000))).expect("room for an evaluation");
        let gradient = vec![0.0; trainer.config().model.parameter_count()];
        gpu.block_on(trainer.apply(&gradient)).expect("room for the gradient of no batch at all");
        gpu.block_on(trainer.evaluate(&batch(4000))).expect("room for an evaluation");
    }
}

fn explosive(failure: FailurePolicy, layout: Layout) -> TrainerConfig {
    let (problem, _) = blow_up();
    let options = SolverOptions::default().layout(layout).max_steps(400).tolerances(Tolerances::both(1e-4));
    TrainerConfig::new(NeuralDe::new(problem, options), Loss::Mse).failure(failure).optimizer(Optimizer::adam(1e-2))
}

#[test]
fn failing_trajectories_abort_or_are_left_out() {
    let Some(gpu) = gpu() else { return };
    let good = [0.1f32, 0.2, -0.3];
    let bad = [0.1f32, 0.2, 1e12, -0.3];
    let target = [0.0f32; 4];
    let start = [1.0, 0.0];
    for layout in LAYOUTS {
        let fine = Batch { inputs: &good, target: Target::States(&target[..3]) };
        let failing = Batch { inputs: &bad, target: Target::States(&target) };
        // The optimizer has a state to lose by then.
        let config = explosive(FailurePolicy::Abort, layout);
        let run = |abort: bool| {
            let mut trainer = GpuTrainer::new(&gpu, config.clone()).expect("a valid model");
            trainer.set_parameters(&start).expect("y' = y^3");
            gpu.block_on(trainer.step(&fine)).expect("a step");
            if abort {
                let before = gpu.block_on(trainer.parameters()).expect("a device");
                let error = gpu.block_on(trainer.step(&failing)).expect_err("aborts");
                let right = matches!(error, Error::Trajectory { failed: 1, batch: 4, index: 2, .. });
                assert!(right, "{layout:?}: {error}");
                let after = gpu.block_on(trainer.parameters()).expect("a device");
                assert_eq!(bits(&after), bits(&before), "{layout:?}: an aborted step changes nothing");
                assert_eq!(trainer.steps(), 1, "{layout:?}: nor does it count");
            }
            let reports: Vec<_> = (0..3).map(|_| gpu.block_on(trainer.step(&fine)).expect("a step")).collect();
            (reports, bits(&gpu.block_on(trainer.parameters()).expect("a device")))
        };
        assert_eq!(run(true), run(false), "{layout:?}: an aborted step leaves no trace");

        let config = explosive(FailurePolicy::Skip, layout);
        let mut device = GpuTrainer::new(&gpu, config.clone()).expect("a valid model");
        let mut native = Trainer::<f32>::new(&cpu(1), config).expect("a valid model");
        device.set_parameters(&start).expect("y' = y^3");
        native.set_parameters(&start).expect("y' = y^3");
        let with = gpu.block_on(device.gradients(&failing)).expect("skips");
        let without = gpu.block_on(device.gradients(&fine)).expect("a gradient");
        assert_eq!((with.report.failed, with.report.skipped), (1, false), "{layout:?}: counted");
        let expected = native.gradients(&failing).expect("skips");
        close(&format!("{layout:?}"), &widen(&with.gradient), &widen(&expected.gradient), 1e-3);
        close(&format!("{layout:?}: without"), &widen(&with.gradient), &widen(&without.gradient), 1e-3);
        let lost = Batch { inputs: &[1e12, 1e12], target: Target::States(&target[..2]) };
        let report = gpu.block_on(device.step(&lost)).expect("a batch of failures is skipped");
        assert!(report.skipped && report.failed == 2, "{layout:?}: {report:?}");
        assert_eq!(gpu.block_on(device.parameters()).expect("a device"), start, "{layout:?}: and changes nothing");
        assert_eq!(device.steps(), 1, "{layout:?}: a skipped step counts");
        // Adam's count of updates is what the native engine's is.
        native.step(&lost).expect("a batch of failures is skipped");
        for step in 0..3 {
            let (a, b) = (gpu.block_on(device.step(&fine)).expect("a step"), native.step(&fine).expect("a step"));
            assert!((a.loss - b.loss).abs() <= 1e-4 * b.loss, "{layout:?}, step {step}: {a:?} for {b:?}");
            let theta = gpu.block_on(device.parameters()).expect("a device");
            close(&format!("{layout:?}, step {step}"), &widen(&theta), &widen(native.parameters()), 1e-5);
        }
    }
}

/// Name, loss, saved times, attempts, inputs and targets of a batch.
type Case<'a> = (&'a str, Loss, &'a SaveAt, usize, &'a [f32], Target<'a, f32>);

/// Losses, penalties and counts over what is left are the native engine's, NaN where nothing is left.
#[test]
fn losses_and_penalties_are_of_what_is_left() {
    let Some(gpu) = gpu() else { return };
    let mut failures = Vec::new();
    let (problem, _) = blow_up();
    let (two, three) = (Target::States(&[0.1; 2]), Target::States(&[0.1; 3]));
    let mut forty = [1e30f32; 40];
    forty[32..].fill(0.5);
    let moments = Target::Moments { means: &[0.1, 0.2], variances: &[0.3, 0.4] };
    let (end, times) = (SaveAt::End, SaveAt::Times(vec![0.25, 1.0]));
    let cases: [Case<'_>; 9] = [
        ("nothing is left", Loss::Mse, &end, 400, &[1e30, 2e30, -1e30], three),
        ("one is left", Loss::Mse, &end, 400, &[1e30, 0.5, -1e30], three),
        ("two are left", Loss::Mae, &end, 400, &[0.6, 0.5, -1e30], three),
        ("attempts run out", Loss::Mse, &end, 1, &[0.5, 0.6], two),
        ("the penalised tile is lost", Loss::Mse, &end, 400, &forty, Target::States(&[0.0; 40])),
        ("no class is left", Loss::CrossEntropy, &end, 400, &[1e30, 2e30], Target::Labels(&[0, 0])),
        ("no path is left", Loss::Moments, &times, 400, &[1e30, 2e30, -1e30], moments),
        ("a path is left", Loss::Moments, &times, 400, &[1e30, 0.5, -1e30], moments),
        ("two paths are left", Loss::Moments, &times, 400, &[0.6, 0.5, -1e30], moments),
    ];
    for (layout, (name, loss, save_at, attempts, inputs, target)) in
        LAYOUTS.into_iter().flat_map(|layout| cases.map(|case| (layout, case)))
    {
        let name = format!("{layout:?}, {name}");
        let options = SolverOptions::default().layout(layout).tolerances(Tolerances::both(1e-3));
        let options = options.max_steps(attempts).save_at(save_at.clone());
        let model = NeuralDe::new(problem.clone(), options);
        let local = Local::unbiased().fraction(0.5).coefficient(1e-3);
        let config = TrainerConfig::new(model, loss).failure(FailurePolicy::Skip).regularizer(local);
        let mut device = GpuTrainer::new(&gpu, config.clone()).expect("a valid model");
        let mut native = Trainer::<f32>::new(&cpu(1), config).expect("a valid model");
        device.set_parameters(&[1.0, 0.0]).expect("y' = y^3");
        native.set_parameters(&[1.0, 0.0]).expect("y' = y^3");
        let batch = Batch { inputs, target };
        let (a, b) =
            (gpu.block_on(device.evaluate(&batch)).expect("counted"), native.evaluate(&batch).expect("counted"));
        let (c, d) = (gpu.block_on(device.gradients(&batch)).expect("skips"), native.gradients(&batch).expect("skips"));
        let (e, f) = (gpu.block_on(device.step(&batch)).expect("skips"), native.step(&batch).expect("skips"));
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-3 * b.abs() || (a.is_nan() && b.is_nan());
        for (what, device, native) in
            [("evaluation", a.loss, b.loss), ("loss", c.report.loss, d.report.loss), ("loss of a step", e.loss, f.loss)]
        {
            if !near(device, native) {
                failures.push(format!("{name}: {what} {device}, natively {native}"));
            }
        }
        // The error of a single trajectory's short step is of rounding at this precision: whether there is one is not.
        let penalties = [c.report.penalty, d.report.penalty, e.penalty, f.penalty].map(f64::is_nan);
        if penalties != [d.report.penalty.is_nan(); 4] || !(e.gradient_norm.is_finite() && f.gradient_norm.is_finite())
        {
            failures.push(format!("{name}: penalties that are NaN {penalties:?}; {e:?}, natively {f:?}"));
        }
        let counts = [(a.failed, a.correct, e.failed, e.skipped), (b.failed, b.correct, f.failed, f.skipped)];
        if counts[0] != counts[1] {
            failures.push(format!("{name}: failed, correct and skipped {:?}, natively {:?}", counts[0], counts[1]));
        }
        if !f.loss.is_nan() {
            close(&name, &widen(&c.gradient), &widen(&d.gradient), 1e-2);
        }
        let lost = name.contains("nothing") || name.contains("no ") || name.contains("a path") || attempts == 1;
        if lost != e.loss.is_nan() || lost != e.skipped {
            failures.push(format!("{name}: a step says {e:?}"));
        }
        if loss != Loss::Moments {
            let mean = gpu.block_on(device.evaluate_mean(&batch, 2)).expect("counted");
            let native = native.evaluate_mean(&batch, 2).expect("counted");
            if !near(mean.loss, native.loss) || mean.failed != native.failed {
                failures.push(format!("{name}: of mean outputs {mean:?}, natively {native:?}"));
            }
        }
    }
    none(&failures);
}

/// A penalty beside trajectories that fail is that of the others alone, to the bit. Between the engines there is rounding,
/// which a high order's error estimate over a short step is made of at `f32`; a low order's stands well above it.
#[test]
fn a_penalty_is_of_the_survivors_alone() {
    let Some(gpu) = gpu() else { return };
    let (problem, theta) = blow_up();
    let penalised = |gradients: Gradients<f32>| (gradients.penalty.to_bits(), gradients.theta);
    for layout in LAYOUTS {
        for (method, rounding) in [(Method::Heun, 2e-3), (Method::Tsit5, f64::INFINITY)] {
            for (all, left) in [([1e30f32, 0.5, -1e30], &[0.5f32][..]), ([0.6, 0.5, -1e30], &[0.6, 0.5])] {
                let name = format!("{method} {layout:?}, {left:?} of {all:?}");
                let options = SolverOptions::default().method(method).layout(layout).tolerances(Tolerances::both(1e-3));
                let regularizer = Local::unbiased().fraction(0.5).into();
                let mut device = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
                let mut native = Solver::<f32>::new(&cpu(1), &problem, &options).expect("a valid problem");
                let mut wide = Solver::<f64>::new(&cpu(1), &problem, &options).expect("a valid problem");
                device.regularize(&regularizer, 3, 0).expect("a valid regularizer");
                native.regularize(&regularizer, 3, 0).expect("a valid regularizer");
                wide.regularize(&regularizer, 3, 0).expect("a valid regularizer");
                let mut run = |y0: &[f32]| {
                    gpu.block_on(device.solve(&theta, y0)).expect("failures are no error");
                    native.solve(&theta, y0).expect("failures are no error");
                    let bars = vec![0.0; y0.len()];
                    let found = gpu.block_on(device.gradients(&bars)).expect("a solved problem");
                    (found, native.gradients(&bars).expect("a solved problem"))
                };
                let (beside, alone) = (run(&all), run(left));
                wide.solve(&widen(&theta), &widen(left)).expect("a valid solve");
                let truth = wide.gradients(&vec![0.0; left.len()]).expect("a solved problem").penalty;
                let off = [&alone.0, &alone.1].map(|g| (g.penalty / truth - 1.0).abs());
                assert!(truth > 0.1 && off.iter().all(|off| *off < rounding), "{name}: {off:?} of {truth}");
                assert_eq!(penalised(beside.0), penalised(alone.0), "{name}: device");
                assert_eq!(penalised(beside.1), penalised(alone.1), "{name}: native engine");
            }
        }
    }
}

#[test]
fn updates_that_overflow_are_left_out_as_on_the_native_engine() {
    let Some(gpu) = gpu() else { return };
    let options = fixed(Method::Heun, 2);
    let model = NeuralDe::new(Problem::ode(Mlp::new([2, 2]), 0.0, 1.0), options);
    let inputs = [0.5f32, -0.3, 0.1, 0.9];
    let batch = Batch { inputs: &inputs, target: Target::States(&[1.0, 1.0, -1.0, 0.0]) };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("last.safetensors");
    // The first update overflows, in one parameter or in all; or the second, whose dynamics are still zero.
    let optimizers = [Optimizer::sgd(1e39), Optimizer::momentum(3e39, 0.9), Optimizer::adamw(3.4e38, 1.0)];
    for optimizer in optimizers {
        let config = TrainerConfig::new(model.clone(), Loss::Mse).optimizer(optimizer.clone());
        let name = format!("{:?}", optimizer.rule);
        let skip = config.clone().failure(FailurePolicy::Skip);
        let mut device = GpuTrainer::new(&gpu, skip.clone()).expect("a valid model");
        let mut native = Trainer::<f32>::new(&cpu(1), skip).expect("a valid model");
        let start = native.parameters().to_vec();
        for step in 1..=2 {
            let (a, b) = (gpu.block_on(device.step(&batch)).expect("skips"), native.step(&batch).expect("skips"));
            assert_eq!((a.step, a.skipped, a.failed), (b.step, b.skipped, b.failed), "{name}: {a:?} for {b:?}");
            assert!(a.skipped && a.gradient_norm.is_finite(), "{name}, step {step}: {a:?}");
            assert_eq!(gpu.block_on(device.parameters()).expect("a device"), start, "{name}: nothing moves");
        }
        // No moment has moved either, and no update counts: both files are the same, and load.
        gpu.block_on(device.save(&path, &BTreeMap::new())).expect("a checkpoint");
        let saved = std::fs::read(&path).expect("a file");
        native.save(&path, &BTreeMap::new()).expect("a checkpoint");
        assert!(saved == std::fs::read(&path).expect("a file"), "{name}: the engines save the same");
        let (resumed, _) = GpuTrainer::resume(&gpu, &path).expect("what was saved");
        assert_eq!(resumed.steps(), 2, "{name}: skipped steps count");

        let mut device = GpuTrainer::new(&gpu, config.clone()).expect("a valid model");
        let mut native = Trainer::<f32>::new(&cpu(1), config).expect("a valid model");
        for _ in 0..2 {
            let errors = [gpu.block_on(device.step(&batch)).err(), native.step(&batch).err()];
            for error in errors {
                let right = matches!(error, Some(Error::Diverged { step: 1, learning_rate, .. })
                    if learning_rate == optimizer.learning_rate.value(0));
                assert!(right, "{name}: {error:?}");
            }
        }
        assert_eq!((device.steps(), native.steps()), (0, 0), "{name}: aborted steps do not count");
        assert_eq!(gpu.block_on(device.parameters()).expect("a device"), start, "{name}: nothing moves");
    }
}

#[test]
fn what_is_not_finite_is_not_saved_over_what_is() {
    let Some(gpu) = gpu() else { return };
    let model = NeuralDe::new(Problem::ode(Mlp::new([2, 2]), 0.0, 1.0), fixed(Method::Heun, 2));
    let mut trainer = GpuTrainer::new(&gpu, TrainerConfig::new(model, Loss::Mse)).expect("a valid model");
    let batch = Batch { inputs: &[0.5, -0.3], target: Target::States(&[1.0, 1.0]) };
    gpu.block_on(trainer.step(&batch)).expect("a step");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("last.safetensors");
    gpu.block_on(trainer.save(&path, &BTreeMap::new())).expect("a checkpoint");
    let good = std::fs::read(&path).expect("a file");
    // An application writes to the parameters itself: the second of the bias.
    gpu.queue().write_buffer(trainer.theta_buffer(), 4 * 5, bytemuck::cast_slice(&[f32::NEG_INFINITY]));
    for error in [
        gpu.block_on(trainer.save(&path, &BTreeMap::new())).expect_err("infinite"),
        gpu.block_on(trainer.save_weights(&path, &BTreeMap::new())).expect_err("infinite"),
    ] {
        assert!(matches!(error, Error::Diverged { step: 1, .. }), "{error}");
        assert!(error.to_string().contains("field.0.bias[1] = -inf"), "{error}");
    }
    assert_eq!(std::fs::read(&path).expect("a file"), good, "the last good file is there");
}

/// Many probes and sparse checkpoints record long plans.
#[test]
fn options_that_record_long_plans_work() {
    let Some(gpu) = gpu() else { return };
    let inputs = cast::<f32>(&numbers(1, 8 * 2));
    let mut failures = Vec::new();
    for (local, times, stride, layout) in [
        (Local::unbiased(), 64, 1, Layout::Lockstep),
        (Local::unbiased(), 3, 64, Layout::Ensemble),
        (Local::biased(), 2, 64, Layout::Lockstep),
        (Local::biased(), 64, 8, Layout::Ensemble),
    ] {
        let name = format!("{layout:?}, {times} probes, stride {stride}");
        // Fixed steps, so that rounding decides about nothing, and dynamics with errors well above it.
        let adjoint = fewsteps::Adjoint::Discrete { checkpoints: Checkpoints::Stride(stride) };
        let options = fixed(Method::Tsit5, 3).layout(layout).adjoint(adjoint);
        let problem = Problem::ode(Mlp::new([2, 4, 2]), 0.0, 2.0);
        let config = TrainerConfig::new(NeuralDe::new(problem, options), Loss::Mse)
            .regularizer(local.times(times).coefficient(0.5));
        let mut native = Trainer::<f64>::new(&cpu(1), config.clone()).expect("a valid model");
        let mut device = GpuTrainer::new(&gpu, config).expect("a valid model");
        let theta = cast::<f32>(&scaled(2.5, native.parameters()));
        native.set_parameters(&widen(&theta)).expect("parameters of the same model");
        device.set_parameters(&theta).expect("parameters of the same model");
        let wide = Batch { inputs: &widen(&inputs), target: Target::States(&[0.0; 16]) };
        let expected = native.gradients(&wide).expect("a gradient");
        let found = gpu.block_on(device.gradients(&Batch { inputs: &inputs, target: Target::States(&[0.0; 16]) }));
        match found {
            Ok(found) => {
                let scale = common::largest(&expected.gradient);
                let error = distance(&widen(&found.gradient), &expected.gradient) / scale;
                if error.is_nan() || error > 1e-2 {
                    failures.push(format!("{name}: gradient off by {error:e}"));
                }
            }
            Err(error) => failures.push(format!("{name}: {error}")),
        }
    }
    none(&failures);
}
