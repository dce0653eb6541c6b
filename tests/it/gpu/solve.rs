//! Solves on the device against the native engine: the same steps, the same states, the same failures.

use super::both;
use crate::oracle::{
    ADAPTIVE, Known, LAYOUTS, System, adaptive, cast, close, distance, fixed, gpu, largest, numbers, solver,
    step_times, widen, zoo,
};
use fewsteps::{
    Controller, GpuSolver, InitialStep, InputMap, Layout, Method, Mlp, Problem, SaveAt, SavedTimes, Solution,
    SolverOptions, Stats, Status, StepControl, TimeInput, Tolerances,
};

/// The options that the zoo is solved with.
fn zoo_options(method: Method, layout: Layout) -> (SolverOptions, f64) {
    let tolerance = if method == Method::Heun { 1e-3 } else { 1e-4 };
    (adaptive(method, tolerance).layout(layout), tolerance)
}

/// A trajectory's steps: their ends, and the states there.
struct Path {
    times: Vec<f64>,
    states: Vec<Vec<f64>>,
}

/// Each trajectory of an ensemble that was saved at its steps.
fn paths(solution: &Solution<f32>, dim: usize) -> Vec<Path> {
    let mut rest = widen(&solution.ys);
    (0..solution.status.len())
        .map(|row| {
            let times = step_times(solution, row);
            let after = rest.split_off(times.len() * dim);
            let states = std::mem::replace(&mut rest, after).chunks_exact(dim).map(<[f64]>::to_vec).collect();
            Path { times, states }
        })
        .collect()
}

/// Where two trajectories' steps part, how much longer one goes on, and how much rounding can change there: the error
/// estimate's noise over the estimate. A slope is off by some `eps` of what it is the sum of.
fn parting(known: &Known, options: &SolverOptions, native: &Path, device: &Path) -> (usize, f64, f64) {
    let length = |path: &Path, n: usize| path.times.get(n + 1).map_or(0.0, |t| t - path.times[n]);
    let change = |n: usize| (length(device, n) / length(native, n)).ln().abs();
    let first = (0..native.times.len() - 1).find(|&n| change(n) > 1e-3).expect("steps that differ");
    let StepControl::Adaptive { tolerances, .. } = options.step_control else { unreachable!("adaptive options") };
    let system = System {
        field: known.problem.field.mlp().expect("a network"),
        method: options.method,
        tolerances,
        atol_per_feature: None,
    };
    let n = first.checked_sub(1).expect("first steps of one length");
    let step = system.step(&known.theta, native.times[n], native.times[n + 1], &native.states[n], None);
    let error: f64 = system.error_norm(std::slice::from_ref(&step));
    let layer = known.problem.field.mlp().expect("a network").layers().next().expect("one layer");
    let terms = |state: &[f64], t: f64, o: usize| -> f64 {
        let cubed = state
            .iter()
            .map(|y| if known.problem.field.mlp().map(Mlp::map) == Some(InputMap::Cube) { y.powi(3) } else { *y });
        let x = cubed.chain(layer.time.then_some(t)).chain([1.0]);
        x.enumerate().map(|(row, x)| (x * known.theta[layer.offset + row * layer.outputs + o]).abs()).sum()
    };
    let weights = options.method.tableau().b_error.expect("an estimate");
    let noise = (0..layer.outputs).map(|o| {
        let slopes = step.g.iter().zip(weights).map(|(g, w)| w.abs() * terms(g, step.t1, o)).sum::<f64>();
        let bound = tolerances.atol + tolerances.rtol * step.y[o].abs().max(step.end[o].abs());
        f64::from(f32::EPSILON) * (step.t1 - step.t0).abs() * slopes / bound
    });
    (first, change(first), noise.fold(0.0, f64::max) / error)
}

/// Costs are equal. Where an ensemble's trajectory makes one step more or less, its steps parted where rounding alone
/// decided how long the next one is.
#[test]
fn the_zoo_takes_the_native_engines_steps() {
    let mut failures = Vec::new();
    for layout in LAYOUTS {
        for method in ADAPTIVE {
            for known in zoo() {
                let (options, _) = zoo_options(method, layout);
                let (theta, y0) = (cast::<f32>(&known.theta), cast::<f32>(&known.rows(3)));
                let Some([native, device]) = both(&known.problem, &options, &theta, &y0) else { return };
                let name = format!("{} {method} {layout:?}", known.name);
                assert_eq!(native.status, device.status, "{name}: status");
                let dim = known.y0.len();
                let differ = |row: usize| native.stats[row] != device.stats[row];
                let parted: Vec<usize> = (0..native.stats.len()).filter(|&row| differ(row)).collect();
                if layout == Layout::Lockstep && !parted.is_empty() {
                    failures.push(format!("{name}: {:?} for {:?}", device.stats, native.stats));
                    continue;
                }
                for row in (0..3).filter(|row| !parted.contains(row)) {
                    // Trajectories whose steps parted by rounding still agree to the tolerance, see below.
                    let of = |s: &Solution<f32>| widen(&s.ys[row * dim..][..dim]);
                    let bound = if layout == Layout::Lockstep { 1e-5 } else { 2e-5 };
                    close(&format!("{name}, row {row}"), &of(&device), &of(&native), bound);
                }
                if parted.is_empty() {
                    continue;
                }
                let steps = options.clone().save_at(SaveAt::Steps);
                let Some([a, b]) = both(&known.problem, &steps, &theta, &y0) else { return };
                for row in parted {
                    let (a, b) = (&paths(&a, dim)[row], &paths(&b, dim)[row]);
                    let (step, change, noise) = parting(&known, &options, a, b);
                    let (stats, wanted) = (device.stats[row], native.stats[row]);
                    let found = format!(
                        "{name}, row {row}: {stats:?} for {wanted:?}, parted at step {step} by {change:.3}, where \
                         rounding is {noise:.3} of the error estimate"
                    );
                    println!("{found}");
                    // The controller takes a fraction of the logarithm.
                    let near = stats.accepted.abs_diff(wanted.accepted) <= 1 && stats.rejected == wanted.rejected;
                    if !near || change > noise {
                        failures.push(found);
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Costs are equal under controllers without start-up too, whole and layer by layer; stops are no ends of the interval. By
/// methods whose errors are well above rounding, from the first step on: it decides about all the others.
#[test]
fn other_controllers_take_the_native_engines_steps() {
    let Some(gpu) = gpu() else { return };
    let controllers = [Controller::I.prompt(), Controller::PI.prompt(), Controller::H211B, Controller::H211B.prompt()];
    let mut failures = Vec::new();
    for (layout, controller) in LAYOUTS.into_iter().flat_map(|layout| controllers.map(|c| (layout, c))) {
        for (known, stops) in zoo().into_iter().take(4).zip([false, true].into_iter().cycle()) {
            for (method, tolerance) in [(Method::Heun, 1e-3), (Method::Bosh3, 1e-4)] {
                let Problem { t0, t1, .. } = known.problem;
                let control = StepControl::Adaptive {
                    tolerances: Tolerances::both(tolerance),
                    controller,
                    initial_step: InitialStep::Length(0.02 * (t1 - t0).abs()),
                };
                let mut options = SolverOptions::default().method(method).step_control(control).layout(layout);
                if stops {
                    options = options.stop_at([t0 + 0.3 * (t1 - t0), t0 + 0.7 * (t1 - t0)]);
                }
                let (theta, y0) = (cast::<f32>(&known.theta), cast::<f32>(&known.y0));
                let native = solver::<f32>(&known.problem, &options).solve(&theta, &y0).expect("a valid solve");
                let new = || GpuSolver::new(&gpu, &known.problem, &options).expect("a valid problem");
                for (how, mut device) in [("whole", new()), ("layers", new().layer_by_layer())] {
                    let found = gpu.block_on(device.solve(&theta, &y0)).expect("a valid solve");
                    let name = format!("{} {method} {controller:?} {layout:?} {how}, stops {stops}", known.name);
                    if found.stats != native.stats {
                        failures.push(format!("{name}: {:?} for {:?}", found.stats, native.stats));
                    } else {
                        close(&name, &widen(&found.ys), &widen(&native.ys), 5e-5);
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// Local errors of one tolerance each add up, amplified by the flow.
#[test]
fn the_zoo_ends_within_its_tolerance() {
    const C: f64 = 10.0;
    let Some(gpu) = gpu() else { return };
    let (mut failures, mut worst) = (Vec::new(), 0f64);
    for layout in LAYOUTS {
        for method in ADAPTIVE {
            for known in zoo() {
                let (options, tolerance) = zoo_options(method, layout);
                let rows = widen(&cast::<f32>(&known.rows(3)));
                let mut solver = GpuSolver::new(&gpu, &known.problem, &options).expect("a valid problem");
                let found = gpu.block_on(solver.predict(&cast(&known.theta), &cast(&rows))).expect("a valid call");
                let found = found.check().expect("no failure");
                let exact = known.exact(&rows, known.problem.t1);
                let units = distance(&widen(&found.ys), &exact) / (tolerance * (1.0 + largest(&rows)) * known.growth());
                worst = worst.max(units);
                if units.is_nan() || units > C {
                    failures.push(format!("{} {method} {layout:?}: off by {units:.2} tolerances", known.name));
                }
            }
        }
    }
    println!("largest error: {worst:.2} tolerances");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Every method on every problem, in one layout or the other, so that either meets every method and every problem: a
/// kernel that solves whole trajectories is one of the three, and long to compile.
#[test]
fn fixed_steps_and_save_points() {
    for (m, method) in Method::ODE.into_iter().enumerate() {
        for (n, known) in zoo().into_iter().enumerate() {
            let layout = LAYOUTS[(m + n) % 2];
            let (t0, t1) = (known.problem.t0, known.problem.t1);
            let times = vec![t0, t0 + 0.3 * (t1 - t0), t0 + 0.5 * (t1 - t0), t1];
            let options = fixed(method, 20).layout(layout).save_at(SaveAt::Times(times));
            let (theta, y0) = (cast::<f32>(&known.theta), cast::<f32>(&known.rows(3)));
            let Some([native, device]) = both(&known.problem, &options, &theta, &y0) else { return };
            let name = format!("{} {method} {layout:?}", known.name);
            assert_eq!(native.stats, device.stats, "{name}: NFE, accepted, rejected");
            close(&name, &widen(&device.ys), &widen(&native.ys), 1e-5);
        }
    }
}

/// Between the steps too: any time of a dense solution, in any order, ends included.
#[test]
fn dense_solutions_are_the_native_engines() {
    let mut failures = Vec::new();
    for (m, method) in Method::ODE.into_iter().enumerate() {
        let problems = zoo().into_iter().take(5).chain(zoo().into_iter().take(4).map(Known::backwards));
        for (n, known) in problems.enumerate() {
            // Either layout meets every method and every problem, as with fixed steps.
            let layout = LAYOUTS[(m + n) % 2];
            let name = format!("{} from {} {method} {layout:?}", known.name, known.problem.t0);
            let options = fixed(method, 9).layout(layout).save_at(SaveAt::Dense);
            let (theta, y0) = (cast::<f32>(&known.theta), cast::<f32>(&known.rows(3)));
            let Some([native, device]) = both(&known.problem, &options, &theta, &y0) else { return };
            let near = |a: f64, b: f64| (a - b).abs() <= 1e-6 * (known.problem.t1 - known.problem.t0).abs();
            for row in 0..3 {
                let (a, b) = (step_times(&native, row), step_times(&device, row));
                if a.len() != b.len() || !a.iter().zip(&b).all(|(&a, &b)| near(a, b)) {
                    failures.push(format!("{name}: row {row} steps to {b:?}, not {a:?}"));
                }
            }
            let scale = largest(&widen(&native.ys));
            let error = distance(&widen(&device.ys), &widen(&native.ys)) / scale;
            if error.is_nan() || error > 1e-5 {
                failures.push(format!("{name}: states at the steps differ by {error:e}"));
            }
            let (native, device) = (native.dense.expect("dense"), device.dense.expect("dense"));
            let Problem { t0, t1, .. } = known.problem;
            for share in [0.0, 1.0, 0.37, 1e-9, 0.999, 1.0 / 9.0, 0.5] {
                let t = if share == 1.0 { t1 } else { t0 + share * (t1 - t0) };
                for row in 0..3 {
                    let [a, b] = [&native, &device].map(|dense| dense.evaluate(row, t).map(|y| widen(&y)));
                    let (a, b) = (a.expect("a time within"), b.expect("a time within"));
                    let error = distance(&a, &b) / scale;
                    if error.is_nan() || error > 1e-5 {
                        failures.push(format!("{name}: row {row} at {t} is {b:?}, not {a:?}"));
                    }
                }
            }
            for outside in [t0 - 0.01 * (t1 - t0), t1 + 0.01 * (t1 - t0), f64::NAN] {
                if device.evaluate(0, outside).is_ok() {
                    failures.push(format!("{name}: something is known at {outside}"));
                }
            }
            if device.evaluate(3, t1).is_ok() {
                failures.push(format!("{name}: there is no trajectory 3"));
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures[..failures.len().min(20)].join("\n"));
}

/// With adaptive steps, an ensemble's trajectories have dense solutions of their own lengths.
#[test]
fn adaptive_dense_solutions_are_within_the_tolerance_between_steps() {
    let Some(gpu) = gpu() else { return };
    let (mut failures, mut worst) = (Vec::new(), 0f64);
    for layout in LAYOUTS {
        for known in zoo() {
            let options = adaptive(Method::Tsit5, 1e-5).layout(layout).save_at(SaveAt::Dense);
            let rows = widen(&cast::<f32>(&known.rows(3)));
            let mut solver = GpuSolver::new(&gpu, &known.problem, &options).expect("a valid problem");
            let found = gpu.block_on(solver.predict(&cast(&known.theta), &cast(&rows))).expect("a valid call");
            let dense = found.check().expect("no failure").dense.expect("a dense solution");
            for i in 0..=50 {
                let t = known.problem.t0 + (known.problem.t1 - known.problem.t0) * f64::from(i) / 50.0;
                for (row, exact) in known.exact(&rows, t).chunks_exact(known.y0.len()).enumerate() {
                    let error = distance(&widen(&dense.evaluate(row, t).expect("a time within")), exact);
                    worst = worst.max(error);
                    if error.is_nan() || error > 5e-5 {
                        failures.push(format!("{} at {t}, {layout:?}, row {row}: off by {error:e}", known.name));
                    }
                }
            }
        }
    }
    println!("largest error: {worst:.1e}");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_solve_that_the_host_drives_takes_the_same_steps() {
    let Some(gpu) = gpu() else { return };
    let problem = Problem::ode(Mlp::new([3, 7, 3]).time_input(TimeInput::Every), 0.0, 2.0);
    let theta = cast::<f32>(&numbers(1, problem.field.parameter_count()));
    let y0 = cast::<f32>(&numbers(2, 5 * 3));
    for layout in LAYOUTS {
        for method in [Method::Heun, Method::Tsit5] {
            for whole in [true, false] {
                let options = adaptive(method, 1e-3).layout(layout).save_at(SaveAt::Times(vec![0.7, 2.0]));
                let solver = || {
                    let solver = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
                    if whole { solver } else { solver.layer_by_layer() }
                };
                let ahead = gpu.block_on(solver().solve(&theta, &y0)).expect("a valid solve");
                for attempts in [1, 3] {
                    let mut driven = solver().attempts_per_submission(attempts).expect("a positive number");
                    let found = gpu.block_on(driven.solve(&theta, &y0)).expect("a valid solve");
                    assert_eq!(found, ahead, "{layout:?} {method}, whole: {whole}, {attempts} at a time");
                }
            }
        }
    }
    let refused =
        GpuSolver::new(&gpu, &problem, &adaptive(Method::Tsit5, 1e-3)).and_then(|s| s.attempts_per_submission(0));
    assert!(refused.is_err_and(|e| e.to_string().starts_with("attempts = 0")), "no attempts lead nowhere");
}

#[test]
fn the_end_of_a_solve_is_the_end_that_was_asked_for() {
    let Some(gpu) = gpu() else { return };
    // 0.2 + (0.9 - 0.2) is less than 0.9.
    let (problem, theta) = (Problem::ode(Mlp::new([2, 2]), 0.2, 0.9), cast::<f32>(&[-1.0, 0.5, -0.5, -1.0, 0.1, 0.0]));
    for layout in LAYOUTS {
        for control in [adaptive(Method::Tsit5, 1e-4), fixed(Method::Rk4, 7)] {
            let options = control.layout(layout).save_at(SaveAt::Dense);
            let mut solver = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
            let solution = gpu.block_on(solver.solve(&theta, &[1.0, 0.0, 0.5, 2.0])).expect("a valid solve");
            let dense = solution.dense.as_ref().expect("dense");
            for row in 0..2 {
                let times = step_times(&solution, row);
                assert_eq!((times[0], times[times.len() - 1]), (0.2, 0.9), "{layout:?}: {times:?}");
                for t in times {
                    dense.evaluate(row, t).expect("every time of the solution");
                }
            }
            let times = vec![0.2, 0.1 + 0.2, 0.55, 0.9 + 2e-16];
            let options = options.save_at(SaveAt::Times(times.clone()));
            let mut solver = GpuSolver::new(&gpu, &problem, &options).expect("times beside the end are the end");
            let saved = gpu.block_on(solver.solve(&theta, &[1.0, 0.0, 0.5, 2.0])).expect("a valid solve");
            assert_eq!(saved.ts, SavedTimes::Shared(times.clone()), "{layout:?}: the times that were asked for");
            let states: Vec<f32> = times
                .iter()
                .flat_map(|&t| (0..2).flat_map(move |row| dense.evaluate(row, t).expect("a time of the interval")))
                .collect();
            close("saved and dense", &widen(&saved.ys), &widen(&states), 2e-6);
        }
    }
}

#[test]
fn no_time_is_no_change() {
    let Some(gpu) = gpu() else { return };
    for (name, field) in [("whole", Mlp::new([2, 5, 2])), ("layer by layer", Mlp::new([2, 5, 5, 2]))] {
        let theta = cast::<f32>(&numbers(3, field.parameter_count()));
        let y0 = cast::<f32>(&numbers(4, 2 * 40));
        for layout in LAYOUTS {
            for control in [adaptive(Method::Tsit5, 1e-4), fixed(Method::Rk4, 7)] {
                let saves = [SaveAt::End, SaveAt::Times(vec![1.5, 1.5]), SaveAt::Steps, SaveAt::Dense];
                for (save, count) in saves.into_iter().zip([1, 2, 1, 1]) {
                    let name = format!("{name}, {save:?}, {layout:?}, {}", control.method);
                    let options = control.clone().layout(layout).save_at(save);
                    let problem = Problem::ode(field.clone(), 1.5, 1.5);
                    let mut solver = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
                    let solution = gpu.block_on(solver.solve(&theta, &y0)).expect("nothing to do");
                    assert!(solution.status.iter().all(|status| *status == Status::Done), "{name}");
                    assert_eq!(solution.ys, y0.repeat(count), "{name}: the initial states");
                    assert!(solution.stats.iter().all(|stats| *stats == Stats::default()), "{name}: no costs");
                    let bars = numbers(5, solution.ys.len());
                    let gradients = gpu.block_on(solver.gradients(&cast(&bars))).expect("cotangents of every state");
                    let sums: Vec<f64> = (0..y0.len()).map(|i| bars.iter().skip(i).step_by(y0.len()).sum()).collect();
                    close(&name, &widen(&gradients.y0), &sums, 1e-6);
                    assert_eq!(gradients.theta, vec![0.0; theta.len()], "{name}: no parameter matters");
                    if let Some(dense) = &solution.dense {
                        assert_eq!(dense.evaluate(3, 1.5).expect("the only time"), y0[6..8], "{name}");
                    }
                    // A state that is no number fails alone, and is no fault of the device.
                    let mut broken = y0.clone();
                    broken[5] = f32::NAN;
                    let solution = gpu.block_on(solver.solve(&theta, &broken)).expect("nothing to do");
                    let failed: Vec<usize> = (0..40).filter(|&row| solution.status[row] != Status::Done).collect();
                    assert_eq!(failed, [2], "{name}");
                    let gradients = gpu.block_on(solver.gradients(&cast(&bars))).expect("cotangents of every state");
                    let mut left = sums.clone();
                    left[4..6].fill(0.0);
                    close(&name, &widen(&gradients.y0), &left, 1e-6);
                }
            }
        }
    }
}
