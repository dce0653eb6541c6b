//! Trajectories that fail, alone and as on the native engine.

use super::{blow_up, none};
use crate::oracle::{LAYOUTS, adaptive, bits, cast, close, distance, fixed, gpu, numbers, scaled, solver, widen};
use fewsteps::{Error, GpuSolver, Layout, Method, Mlp, Problem, SaveAt, SolverOptions, Status};

fn blow_up_exact(y: f64) -> f64 {
    y / (1.0 - 2.0 * y * y).sqrt()
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
