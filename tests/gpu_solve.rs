//! Solves on the device against the native engine: the same steps, the same states, the same failures.

mod common;

use common::{
    ADAPTIVE, Known, LAYOUTS, System, adaptive, bits, cast, close, distance, fixed, gpu, largest, linear, numbers,
    pulse, solver, step_times, widen, zoo,
};
use fewsteps::{
    Controller, GpuSolver, InitialStep, InputMap, Layout, Learnt, Method, Mlp, Problem, SaveAt, SavedTimes, Solution,
    SolverOptions, Stats, Status, StepControl, TimeInput, Tolerances,
};

fn both(problem: &Problem, options: &SolverOptions, theta: &[f32], y0: &[f32]) -> Option<[Solution<f32>; 2]> {
    let gpu = gpu()?;
    let native = solver::<f32>(problem, options).solve(theta, y0).expect("a valid solve");
    let mut device = GpuSolver::new(&gpu, problem, options).expect("a valid problem");
    let found = gpu.block_on(device.solve(theta, y0)).expect("a valid solve");
    Some([native, found])
}

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
    let system = System { field: &known.problem.field, method: options.method, tolerances, atol_per_feature: None };
    let n = first.checked_sub(1).expect("first steps of one length");
    let step = system.step(&known.theta, native.times[n], native.times[n + 1], &native.states[n], None);
    let error: f64 = system.error_norm(std::slice::from_ref(&step));
    let layer = known.problem.field.layers().next().expect("one layer");
    let terms = |state: &[f64], t: f64, o: usize| -> f64 {
        let cubed = state.iter().map(|y| if known.problem.field.map() == InputMap::Cube { y.powi(3) } else { *y });
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

#[test]
fn fixed_steps_and_save_points() {
    for layout in LAYOUTS {
        for method in Method::ODE {
            for known in zoo() {
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
}

/// Between the steps too: any time of a dense solution, in any order, ends included.
#[test]
fn dense_solutions_are_the_native_engines() {
    let mut failures = Vec::new();
    for layout in LAYOUTS {
        for method in Method::ODE {
            for known in zoo().into_iter().take(5).chain(zoo().into_iter().take(4).map(Known::backwards)) {
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

/// A field whole and layer by layer, with its parameters: `y' = a y + b` for the diagonal `a`.
fn diagonal(
    gpu: &fewsteps::Gpu,
    rates: [f64; 2],
    slopes: [f64; 2],
    t1: f64,
    options: &SolverOptions,
) -> [(GpuSolver, Vec<f32>); 2] {
    let theta = cast::<f32>(&[rates[0], 0.0, 0.0, rates[1], slopes[0], slopes[1]]);
    let problem = Problem::ode(Mlp::new([2, 2]), 0.0, t1);
    let new = || GpuSolver::new(gpu, &problem, options).expect("a valid problem");
    [(new(), theta.clone()), (new().layer_by_layer(), theta)]
}

/// Slopes of 1 from 0 at a tiny absolute tolerance: the squares of all features of all trajectories have a sum.
#[test]
fn many_elements_at_zero_may_have_any_absolute_tolerance() {
    let dim = 784;
    let field = Mlp::new([dim, 2, dim]);
    let count = field.parameter_count();
    let theta: Vec<f32> = (0..count).map(|i| if i + dim >= count { 1.0 } else { 0.0 }).collect();
    let y0 = vec![0.0; 40 * dim];
    for layout in LAYOUTS {
        let options = SolverOptions::default().layout(layout).tolerances(Tolerances { atol: 1e-20, rtol: 1e-5 });
        let problem = Problem::ode(field.clone(), 0.0, 1.0);
        let Some([native, device]) = both(&problem, &options, &theta, &y0) else { return };
        assert!(device.status.iter().all(|status| *status == Status::Done), "{layout:?}: {:?}", device.status);
        assert_eq!(device.stats, native.stats, "{layout:?}");
        close("slopes of one", &widen(&device.ys), &vec![1.0; y0.len()], 1e-5);
    }
}

#[test]
fn small_states_and_constant_slopes_are_what_they_are_on_the_native_engine() {
    let Some(gpu) = gpu() else { return };
    for layout in LAYOUTS {
        let tolerances = Tolerances { atol: 1e-20, rtol: 1e-6 };
        let options = SolverOptions::default().layout(layout).tolerances(tolerances);
        for (rate, t1, expected) in [(1.0, 40.0, 2.353_852_668_370_2e5), (-1.0, 10.0, 4.539_992_976_248_485e-17)] {
            for (mut solver, theta) in diagonal(&gpu, [rate; 2], [0.0; 2], t1, &options) {
                let solution = gpu.block_on(solver.solve(&theta, &[1e-12, 1e-12])).expect("a valid solve");
                assert_eq!(solution.status, [Status::Done], "{layout:?}");
                close(&format!("y' = {rate} y, {layout:?}"), &widen(&solution.ys), &[expected; 2], 3e-4);
            }
        }
        let options = options.tolerances(Tolerances { atol: 1e-30, rtol: 1e-5 });
        for (mut solver, theta) in diagonal(&gpu, [-1.0, 0.0], [0.0, 1.0], 2.0, &options) {
            let solution = gpu.block_on(solver.solve(&theta, &[1.0, 0.0])).expect("a valid solve");
            assert_eq!(solution.status, [Status::Done], "{layout:?}: a feature that is 0 at first");
            close("from 0", &widen(&solution.ys), &[(-2f64).exp(), 2.0], 1e-4);
        }
        for (slope, method) in [1.0 / 3.0, -3.7e5, 7.0].into_iter().flat_map(|slope| ADAPTIVE.map(|m| (slope, m))) {
            let options = adaptive(method, 1e-8).layout(layout).save_at(SaveAt::Steps);
            for (mut solver, theta) in diagonal(&gpu, [0.0; 2], [slope, -slope / 7.0], 3.0, &options) {
                let solution = gpu.block_on(solver.solve(&theta, &[0.1, -2.0])).expect("a valid solve");
                let times = step_times(&solution, 0);
                let lengths: Vec<f64> = times.windows(2).map(|w| w[1] - w[0]).collect();
                let grown = lengths.windows(2).take(lengths.len() - 2).all(|w| (w[1] / w[0] - 10.0).abs() < 1e-3);
                assert!(grown && solution.stats[0].rejected == 0, "y' = {slope}, {method}, {layout:?}: {lengths:?}");
            }
        }
    }
}

#[test]
fn stops_and_the_longest_step_are_kept_on_the_device() {
    let Some(gpu) = gpu() else { return };
    let (problem, theta, end) = pulse();
    let kinks = [1.05, 1.0, 1.0 + 1.0 / 512.0, 1.05 + 1.0 / 512.0, 2.0];
    let theta = cast::<f32>(&theta);
    for layout in LAYOUTS {
        for method in [Method::Tsit5, Method::Bosh3, Method::Heun] {
            let plain = adaptive(method, 1e-3).layout(layout);
            for options in [plain.clone().stop_at(kinks), plain.largest_step(0.04)] {
                for layered in [false, true] {
                    let name = format!("{method}, {layout:?}, layer by layer: {layered}, {:?}", options.largest_step);
                    let options = options.clone().save_at(SaveAt::Steps);
                    let solver = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
                    let mut solver = if layered { solver.layer_by_layer() } else { solver };
                    let solution = gpu.block_on(solver.solve(&theta, &[1.0])).expect("a valid solve");
                    assert_eq!(solution.status, [Status::Done], "{name}");
                    let found = f64::from(solution.ys[solution.ys.len() - 1]);
                    assert!(
                        (found - end).abs() < if options.stop_at.is_empty() { 4e-2 } else { 5e-3 },
                        "{name}: {found} for {end}"
                    );
                    let times = step_times(&solution, 0);
                    assert!(options.stop_at.iter().all(|stop| times.contains(stop)), "{name}: {times:?}");
                    let longest = times.windows(2).map(|w| w[1] - w[0]).fold(0.0, f64::max);
                    assert!(longest <= options.largest_step.unwrap_or(2.0) * (1.0 + 1e-6), "{name}: {longest}");
                }
            }
        }
    }
    // The costs and gradients of a smooth field are the native engine's.
    let field = Mlp::new([2, 6, 2]);
    let (theta, y0) = (cast::<f32>(&numbers(8, field.parameter_count())), cast::<f32>(&numbers(9, 6)));
    let problem = Problem::ode(field, 0.0, 2.0);
    for layout in LAYOUTS {
        for layered in [false, true] {
            let name = format!("{layout:?}, layer by layer: {layered}");
            let options = adaptive(Method::Tsit5, 1e-4).layout(layout).stop_at([0.3, 1.0, 1.7]);
            let mut native = solver::<f32>(&problem, &options);
            let expected = native.solve(&theta, &y0).expect("a valid solve");
            let solver = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
            let mut solver = if layered { solver.layer_by_layer() } else { solver };
            let found = gpu.block_on(solver.solve(&theta, &y0)).expect("a valid solve");
            for stats in &found.stats {
                // Two for the first step, and one for each stop that is not the end.
                assert_eq!(stats.nfe, 2 + 6 * (stats.accepted + stats.rejected) + 3, "{name}: {stats:?}");
            }
            // Rounding may move a single trajectory's steps.
            let bound = if layout == Layout::Lockstep { 1e-5 } else { 3e-4 };
            close(&name, &widen(&found.ys), &widen(&expected.ys), bound);
            let [a, b] = [gpu.block_on(solver.gradients(&[1.0; 6])), native.gradients(&[1.0; 6])];
            let [a, b] = [a, b].map(|gradients| gradients.expect("cotangents of every state"));
            close(&format!("{name}: gradient"), &widen(&a.theta), &widen(&b.theta), 10.0 * bound);
        }
    }
}

/// Absolute tolerances from 1e-2 down to 1e-5, in no order.
fn tolerances(dim: usize) -> Vec<f64> {
    (0..dim).map(|d| 10f64.powf(-2.0 - 0.5 * (d * 5 % 7) as f64)).collect()
}

#[test]
fn features_with_absolute_tolerances_of_their_own() {
    let Some(gpu) = gpu() else { return };
    for layout in LAYOUTS {
        // Few features are solved whole; many have norms that lanes share.
        for dim in [3, 6, 70] {
            let name = format!("{dim} features, {layout:?}");
            let problem = Problem::ode(Mlp::new([dim, 9, dim]).time_input(TimeInput::Every), 0.0, 4.0);
            let theta = cast::<f32>(&numbers(1, problem.parameter_count()));
            let y0 = cast::<f32>(&numbers(2, 35 * dim));
            let options = adaptive(Method::Bosh3, 1e-3).layout(layout);
            let Some([native, device]) =
                both(&problem, &options.clone().atol_per_feature(tolerances(dim)), &theta, &y0)
            else {
                return;
            };
            assert_eq!(device.stats, native.stats, "{name}: the same steps");
            close(&name, &widen(&device.ys), &widen(&native.ys), 1e-5);
            let run = |options: &SolverOptions| {
                let mut device = GpuSolver::new(&gpu, &problem, options).expect("a valid problem");
                gpu.block_on(device.predict(&theta, &y0)).expect("a valid solve")
            };
            let one = run(&options);
            assert_ne!(one.stats, native.stats, "{name}: tolerances make a difference");
            let each = run(&options.atol_per_feature(vec![1e-3; dim]));
            assert_eq!((bits(&each.ys), each.stats), (bits(&one.ys), one.stats), "{name}: entries of one size are one");
        }
    }
}

#[test]
fn a_small_feature_is_resolved_by_its_own_absolute_tolerance() {
    let Some(gpu) = gpu() else { return };
    // As many features more as are too many for trajectories to be solved whole.
    for (layout, more) in LAYOUTS.into_iter().flat_map(|layout| [(layout, 0), (layout, 4)]) {
        let rates: Vec<f64> = [-0.1, 5.0].into_iter().chain((0..more).map(|_| -0.1)).collect();
        let row = |d: usize| (0..2 + more).map(|e| if d == e { rates[d] } else { 0.0 }).collect();
        let y0: Vec<f64> = [1.0, 1e-12].into_iter().chain((0..more).map(|_| 1.0)).collect();
        let known = linear("uncoupled", (0..2 + more).map(row).collect(), 1.0, y0.clone());
        let one = SolverOptions::default().layout(layout).tolerances(Tolerances { atol: 1e-6, rtol: 1e-5 });
        let mut atol = vec![1e-6; 2 + more];
        atol[1] = 1e-18;
        let exact = [(-0.1f64).exp(), 1e-12 * 5f64.exp()];
        let [(one, rough), (each, fine)] = [one.clone(), one.atol_per_feature(atol)].map(|options| {
            let mut solver = GpuSolver::new(&gpu, &known.problem, &options).expect("a valid problem");
            let found = gpu.block_on(solver.predict(&cast(&known.theta), &cast(&y0))).and_then(Solution::check);
            let found = found.expect("a valid solve");
            ([0, 1].map(|d| (f64::from(found.ys[d]) / exact[d] - 1.0).abs()), found.stats[0].nfe)
        });
        let name = format!("{layout:?}, {} features: {one:?} in {rough}, {each:?} in {fine}", 2 + more);
        assert!(one[0] < 1e-4 && each[0] < 1e-4, "the large feature, {name}");
        assert!(one[1] > 5e-3 && each[1] < 5e-5, "the small feature, {name}");
        assert!(fine > rough, "what is controlled costs steps, {name}");
    }
}

#[test]
fn more_absolute_tolerances_than_a_device_has_room_for_are_refused() {
    let Some(gpu) = gpu() else { return };
    let dim = 65_536 / 4 + 1;
    let problem = Problem::ode(Mlp::new([dim, 1, dim]), 0.0, 1.0);
    let options = SolverOptions::default().atol_per_feature(vec![1e-3; dim]);
    match GpuSolver::new(&gpu, &problem, &options) {
        // More than WebGPU's default limits.
        Ok(_) => {}
        Err(error) => {
            let error = error.to_string();
            assert!(error.starts_with("SolverOptions::atol_per_feature = 16385 numbers: a device has room"), "{error}");
        }
    }
}

/// First steps that are carried on from solve to solve, and the count of ideal steps, whole and in layers.
#[test]
fn first_steps_are_carried_on_as_on_the_native_engine() {
    let Some(gpu) = gpu() else { return };
    for (layout, controller) in LAYOUTS.into_iter().flat_map(|l| [(l, Controller::PI), (l, Controller::I.prompt())]) {
        for known in zoo().into_iter().take(3) {
            let control = StepControl::Adaptive {
                tolerances: Tolerances::both(1e-3),
                controller,
                initial_step: InitialStep::Carried,
            };
            let options = SolverOptions::default().method(Method::Heun).step_control(control).layout(layout);
            let (theta, y0) = (cast::<f32>(&known.theta), cast::<f32>(&known.y0));
            let new = || GpuSolver::new(&gpu, &known.problem, &options).expect("a valid problem");
            for (how, mut device) in [("whole", new()), ("layers", new().layer_by_layer())] {
                let mut native = solver::<f32>(&known.problem, &options);
                for round in 0..4 {
                    let name = format!("{} {controller:?} {layout:?} {how}, solve {round}", known.name);
                    let expected = native.solve(&theta, &y0).expect("a valid solve");
                    let found = gpu.block_on(device.solve(&theta, &y0)).expect("a valid solve");
                    if round == 0 {
                        // The error of an automatic first step is rounding, and decides about the others.
                        device.set_learnt(native.learnt()).expect("what solves can teach");
                        continue;
                    }
                    assert_eq!(found.stats, expected.stats, "{name}");
                    close(&name, &widen(&found.ys), &widen(&expected.ys), 5e-5);
                    close(&format!("{name}: ideal steps"), &found.ideal_steps, &expected.ideal_steps, 2e-3);
                    let [found, expected] = [device.learnt(), native.learnt()].map(|l| l.first.expect("learnt"));
                    assert!((found - expected).abs() < 5e-3, "{name}: {found} for {expected}");
                }
            }
        }
    }
}

/// Of many trajectories, a fifth of which wish for shorter first steps than all are given.
#[test]
fn an_ensembles_wish_is_that_of_the_native_engine() {
    let Some(gpu) = gpu() else { return };
    let problem = Problem::ode(Mlp::new([2, 9, 2]), 0.0, 1.0);
    let theta: Vec<f32> = problem.field.initialize::<f32>(4).into_iter().map(|x| 2.0 * x).collect();
    let y0 = cast::<f32>(&numbers(8, 2 * 1000));
    let control = StepControl::Adaptive {
        tolerances: Tolerances::both(1e-4),
        controller: Controller::I.prompt(),
        initial_step: InitialStep::Carried,
    };
    let options = SolverOptions::default().method(Method::Bosh3).step_control(control).layout(Layout::Ensemble);
    let mut native = solver::<f32>(&problem, &options);
    let mut device = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
    let begun = Learnt { first: Some(-3.0), ..Learnt::default() };
    native.set_learnt(begun).expect("what solves can teach");
    device.set_learnt(begun).expect("what solves can teach");
    native.predict(&theta, &y0).expect("a valid solve");
    gpu.block_on(device.predict(&theta, &y0)).expect("a valid solve");
    let [found, expected] = [device.learnt(), native.learnt()].map(|l| l.first.expect("learnt"));
    assert!((found - expected).abs() < 1e-5 && expected != -3.0, "{found} for {expected}");
}
