//! Solves with noise on the device against an oracle at f64 that takes the same paths.

use crate::oracle::{
    LAYOUTS, NOISY_ADAPTIVE, Noisy, PATHS, cast, close, fixed, gpu, noisy_problem, numbers, replay, scaled, shared,
    solver, step_times, widen,
};
use fewsteps::{
    Brownian, Controller, Diffusion, GpuSolver, InitialStep, InputMap, Layout, Learnt, Method, Mlp, Paths, Problem,
    SaveAt, Solution, SolverOptions, Status, StepControl, Tolerances,
};

fn adaptive(method: Method, tolerance: f64) -> SolverOptions {
    SolverOptions::sde(Tolerances::both(tolerance)).method(method)
}

/// Parameters and initial states of a batch.
fn point(problem: &Problem, batch: usize) -> (Vec<f32>, Vec<f32>) {
    let theta = cast(&scaled(0.6, &numbers(3, problem.parameter_count())));
    (theta, cast(&numbers(4, batch * problem.dim())))
}

/// Solves on the device, whole trajectories where they can be; with a tape and without, and layer by layer too.
fn solve(problem: &Problem, options: &SolverOptions, theta: &[f32], y0: &[f32]) -> Option<Solution<f32>> {
    let gpu = gpu()?;
    let open = || {
        let mut device = GpuSolver::new(&gpu, problem, options).expect("a valid problem");
        device.set_paths(PATHS);
        device
    };
    let mut device = open();
    let found = gpu.block_on(device.solve(theta, y0)).expect("a valid solve");
    let again = gpu.block_on(device.predict(theta, y0)).expect("a valid solve");
    assert_eq!(found.stats, again.stats, "the same steps without a tape");
    assert_eq!(widen(&found.ys), widen(&again.ys), "the same bits without a tape");
    let layered = gpu.block_on(open().layer_by_layer().solve(theta, y0)).expect("a valid solve");
    assert_eq!(found.stats, layered.stats, "the same steps layer by layer");
    close("layer by layer", &widen(&layered.ys), &widen(&found.ys), 3e-5);
    Some(found)
}

/// Evaluations of the drift over so many attempts, without those of the initial step.
fn evaluations(method: Method, accepted: usize, rejected: usize) -> usize {
    let tableau = method.tableau();
    if tableau.noise.expect("a stochastic method").reversible {
        return 1 + accepted + rejected;
    }
    accepted * tableau.stages() + rejected * (tableau.stages() - 1)
}

fn saves() -> [SaveAt; 3] {
    [SaveAt::End, SaveAt::Times(vec![0.25, 0.4, 1.0, 1.3, 1.75]), SaveAt::Steps]
}

#[test]
fn fixed_steps_take_a_cell_each() {
    for layout in LAYOUTS {
        for method in Method::SDE {
            for (save, dim) in saves().into_iter().zip([3, 4, 33]) {
                let (problem, steps, batch) = (noisy_problem(method, dim), 7, 5);
                let options = fixed(method, steps).layout(layout).save_at(save.clone());
                let (theta, y0) = point(&problem, batch);
                let Some(found) = solve(&problem, &options, &theta, &y0) else { return };
                let name = format!("{method} {layout:?} {save:?}");
                let path = Brownian::with_cells(PATHS, steps, problem.t0, problem.t1).expect("a few cells");
                let times: Vec<f64> = (0..=steps).map(|n| path.time(n as u64 * path.ticks() / steps as u64)).collect();
                let ys = replay(&problem, &options, &path, &vec![times; batch], &widen(&theta), &widen(&y0));
                close(&name, &widen(&found.ys), &ys, 5e-6);
                for stats in &found.stats {
                    assert_eq!((stats.accepted, stats.rejected), (steps, 0), "{name}");
                    assert_eq!(stats.nfe, evaluations(method, steps, 0), "{name}");
                }
            }
        }
    }
}

/// The last of many steps has its own cell too, where a share of the interval is too coarse to say which.
#[test]
fn many_fixed_steps_find_their_cells() {
    let problem = noisy_problem(Method::EulerMaruyama, 1);
    let options = fixed(Method::EulerMaruyama, 1499).save_at(SaveAt::Times(vec![0.4, 1.0, 1.75]));
    let (theta, y0) = point(&problem, 2);
    let Some(found) = solve(&problem, &options, &theta, &y0) else { return };
    let path = Brownian::with_cells(PATHS, 1499, problem.t0, problem.t1).expect("cells");
    let times: Vec<f64> = (0..=1499).map(|n| path.time(n << 24)).collect();
    let ys = replay(&problem, &options, &path, &[times.clone(), times], &widen(&theta), &widen(&y0));
    close("1499 steps", &widen(&found.ys), &ys, 3e-5);
}

#[test]
fn adaptive_steps_are_those_of_the_oracle() {
    let (mut same, mut parted) = (0, 0);
    for layout in LAYOUTS {
        for method in NOISY_ADAPTIVE {
            for (dim, tolerance) in [(3, 3e-2), (4, 1e-2), (33, 3e-2)] {
                let (problem, batch) = (noisy_problem(method, dim), 4);
                let options = adaptive(method, tolerance).layout(layout).save_at(SaveAt::Steps);
                let (theta, y0) = point(&problem, batch);
                let Some(found) = solve(&problem, &options, &theta, &y0) else { return };
                let name = format!("{method} {layout:?} {dim} {tolerance}");
                assert!(found.status.iter().all(|s| *s == Status::Done), "{name}: {:?}", found.status);
                let path = Brownian::adaptive(PATHS, problem.t0, problem.t1);
                let oracle =
                    Noisy { problem: &problem, tableau: method.tableau(), tolerances: Tolerances::both(tolerance) };
                let rows: Vec<Vec<f64>> = widen(&y0).chunks(dim).map(<[f64]>::to_vec).collect();
                let shared = layout == Layout::Lockstep;
                for (clock, stats) in found.stats.iter().enumerate() {
                    let part = if shared { &rows[..] } else { &rows[clock..=clock] };
                    let first = u32::try_from(clock).expect("few rows");
                    let expected = oracle.adapt(Controller::SDE, &widen(&theta), part, first, path);
                    let times = step_times(&found, clock);
                    let nfe = 1 + evaluations(method, stats.accepted, stats.rejected);
                    assert_eq!(stats.nfe, nfe, "{name}: {stats:?}");
                    if times == expected.times && stats.rejected == expected.rejected {
                        same += 1;
                    } else {
                        // Rounding may put an end on the next tick, or an error on the other side of 1.
                        assert!(expected.margin < 1e-5, "{name}, {clock}: {times:?} not {expected:?}");
                        parted += 1;
                    }
                }
                let steps: Vec<Vec<f64>> = (0..batch).map(|row| step_times(&found, row)).collect();
                let ys = replay(&problem, &options, &path, &steps, &widen(&theta), &widen(&y0));
                close(&name, &widen(&found.ys), &ys, 2e-5);
            }
        }
    }
    println!("{same} solves took the oracle's steps, {parted} parted at a close decision");
    assert!(parted * 4 < same, "{parted} of {} parted", same + parted);
}

#[test]
fn states_within_adaptive_steps_lie_on_the_chord() {
    for layout in LAYOUTS {
        let problem = noisy_problem(Method::Sosri, 3);
        let options = adaptive(Method::Sosri, 1e-2).layout(layout);
        let (theta, y0) = point(&problem, 5);
        let Some(walked) = solve(&problem, &options.clone().save_at(SaveAt::Steps), &theta, &y0) else { return };
        let steps: Vec<Vec<f64>> = (0..5).map(|row| step_times(&walked, row)).collect();
        let options = options.save_at(SaveAt::Times(vec![0.25, 0.31, 0.5, 0.77, 1.2, 1.7499, 1.75]));
        let Some(found) = solve(&problem, &options, &theta, &y0) else { return };
        let path = Brownian::adaptive(PATHS, problem.t0, problem.t1);
        let ys = replay(&problem, &options, &path, &steps, &widen(&theta), &widen(&y0));
        close(&format!("{layout:?}"), &widen(&found.ys), &ys, 2e-5);
    }
}

/// A trajectory's result does not depend on its batch, bit for bit, when it is solved as the same trajectory.
#[test]
fn a_trajectory_of_an_ensemble_stands_alone() {
    let Some(gpu) = gpu() else { return };
    let problem = noisy_problem(Method::Sosri, 3);
    let options = adaptive(Method::Sosri, 1e-2).layout(Layout::Ensemble);
    let (theta, y0) = point(&problem, 6);
    let mut device = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
    device.set_paths(PATHS);
    let all = gpu.block_on(device.predict(&theta, &y0)).expect("a valid solve");
    for row in 0..6 {
        device.set_paths(Paths { first: PATHS.first + row as u32, ..PATHS });
        let alone = gpu.block_on(device.predict(&theta, &y0[3 * row..][..3])).expect("a valid solve");
        assert_eq!(alone.ys, all.ys[3 * row..][..3], "row {row}");
        assert_eq!(alone.stats[0], all.stats[row], "row {row}");
    }
}

/// The tape grows in the middle of a solve, second states and all.
#[test]
fn long_solves_grow_their_tape() {
    for method in [Method::Sosri, Method::ReversibleHeun] {
        let problem = noisy_problem(method, 2);
        let options = fixed(method, 150).save_at(SaveAt::Steps);
        let (theta, y0) = point(&problem, 3);
        let Some(found) = solve(&problem, &options, &theta, &y0) else { return };
        let path = Brownian::with_cells(PATHS, 150, problem.t0, problem.t1).expect("cells");
        let times: Vec<f64> = (0..=150).map(|n| path.time(n << 24)).collect();
        let ys = replay(&problem, &options, &path, &[times.clone(), times.clone(), times], &widen(&theta), &widen(&y0));
        close(&format!("{method}"), &widen(&found.ys), &ys, 1e-5);
    }
}

#[test]
fn a_failing_trajectory_does_not_take_the_batch_along() {
    for layout in LAYOUTS {
        let problem = noisy_problem(Method::Sosri, 3);
        let options = adaptive(Method::Sosri, 1e-2).layout(layout);
        let (theta, mut y0) = point(&problem, 4);
        y0[4] = f32::NAN;
        let Some(gpu) = gpu() else { return };
        let mut device = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
        let found = gpu.block_on(device.solve(&theta, &y0)).expect("a valid solve");
        let status = [Status::Done, Status::NonFinite, Status::Done, Status::Done];
        assert_eq!(found.status, status, "{layout:?}");
        assert!(found.ys[3..6].iter().all(|y| y.is_nan()), "{layout:?}");
        assert!(found.ys[..3].iter().chain(&found.ys[6..]).all(|y| y.is_finite()), "{layout:?}");
    }
}

#[test]
fn a_given_first_step_is_taken() {
    let problem = noisy_problem(Method::Sosri, 2);
    let options = adaptive(Method::Sosri, 0.5).save_at(SaveAt::Steps).step_control(StepControl::Adaptive {
        tolerances: Tolerances::both(0.5),
        controller: Controller::SDE,
        initial_step: InitialStep::Length(0.1),
    });
    let (theta, y0) = point(&problem, 2);
    let Some(found) = solve(&problem, &options, &theta, &y0) else { return };
    let times = step_times(&found, 0);
    assert!((0.09..=0.1).contains(&(times[1] - times[0])), "{times:?}");
}

/// The native engine at `f32` takes the same steps to the same states.
#[test]
fn the_native_engines_steps_are_taken() {
    for layout in LAYOUTS {
        for method in NOISY_ADAPTIVE {
            let problem = noisy_problem(method, 5);
            let options = adaptive(method, 2e-2).layout(layout);
            let (theta, y0) = point(&problem, 40);
            let Some(found) = solve(&problem, &options, &theta, &y0) else { return };
            let mut native = solver::<f32>(&problem, &options);
            native.set_paths(PATHS);
            let expected = native.solve(&theta, &y0).expect("a valid solve");
            let name = format!("{method} {layout:?}");
            assert_eq!(found.status, expected.status, "{name}");
            assert_eq!(found.stats, expected.stats, "{name}");
            close(&name, &widen(&found.ys), &widen(&expected.ys), 2e-5);
        }
    }
}

/// `dy = 3 y^3 dt + noise`, from states of which some run away within the interval.
#[test]
fn trajectories_that_run_away_fail_as_natively() {
    let Some(gpu) = gpu() else { return };
    let drift = Mlp::new([1, 1]).input_map(InputMap::Cube);
    let problem = Problem::sde(drift, Diffusion::ito(Mlp::new([1, 1])), 0.0, 2.0);
    let theta = [3.0f32, 0.0, 0.1, 0.0];
    let y0 = [0.1f32, 1.0, 0.05, -2.0, 0.0];
    for layout in LAYOUTS {
        let options = adaptive(Method::Sosri, 1e-2).layout(layout);
        let mut native = solver::<f32>(&problem, &options);
        native.set_paths(PATHS);
        let expected = native.predict(&theta, &y0).expect("a valid solve");
        assert!(expected.status.iter().any(|s| *s != Status::Done), "{:?}", expected.status);
        for whole in [true, false] {
            let mut device = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
            if !whole {
                device = device.layer_by_layer();
            }
            device.set_paths(PATHS);
            let found = gpu.block_on(device.predict(&theta, &y0)).expect("a valid solve");
            let name = format!("{layout:?}, whole {whole}");
            assert_eq!(found.status, expected.status, "{name}");
            for row in (0..y0.len()).filter(|&row| expected.status[row] == Status::Done) {
                let (a, b) = (f64::from(found.ys[row]), f64::from(expected.ys[row]));
                assert!((a - b).abs() < 2e-2 * b.abs().max(0.1), "{name}, {row}: {a} for {b}");
            }
        }
    }
}

/// One attempt a submission gives the bits of many.
#[test]
fn the_hosts_pace_changes_no_bit() {
    let Some(gpu) = gpu() else { return };
    let problem = noisy_problem(Method::Sosri, 3);
    let (theta, y0) = point(&problem, 6);
    for layout in LAYOUTS {
        for whole in [true, false] {
            let options = adaptive(Method::Sosri, 5e-2).layout(layout);
            let open = || {
                let device = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
                if whole { device } else { device.layer_by_layer() }
            };
            let [mut many, mut single] = [open(), open().attempts_per_submission(1).expect("one")];
            let [a, b] = [&mut many, &mut single].map(|s| gpu.block_on(s.solve(&theta, &y0)).expect("a valid solve"));
            assert_eq!((a.ys, a.stats), (b.ys, b.stats), "{layout:?}, whole {whole}");
        }
    }
}

#[test]
fn a_hundred_thousand_paths_converge_weakly() {
    const PATHS_COUNT: usize = 100_000;
    let Some(gpu) = gpu() else { return };
    // Geometric Brownian motion, whose solution on the same path is a control variate of the mean.
    let line = || Mlp::new([1, 1]);
    let problem = Problem::sde(line(), Diffusion::ito(line()), 0.0, 1.0);
    let (mu, sigma) = (0.3f32, 0.6f32);
    let y0 = vec![1.2f32; PATHS_COUNT];
    for (method, order) in [(Method::EulerMaruyama, 1.0), (Method::Milstein, 1.0), (Method::Sriw1, 2.0)] {
        let errors = [2, 4, 8].map(|steps| {
            let mut device = GpuSolver::new(&gpu, &problem, &fixed(method, steps)).expect("a valid problem");
            device.set_paths(Paths::new(21));
            let ys = gpu.block_on(device.predict(&[mu, 0.0, sigma, 0.0], &y0)).expect("a valid solve").ys;
            let path = Brownian::with_cells(Paths::new(21), steps, 0.0, 1.0).expect("cells");
            let (mu, sigma) = (f64::from(mu), f64::from(sigma));
            let difference = |(i, y): (usize, &f32)| {
                let w = path.increment::<f64>(i as u32, 0, 0.0, 1.0).w;
                f64::from(*y) - f64::from(1.2f32) * (mu - 0.5 * sigma * sigma + sigma * w).exp()
            };
            (ys.iter().enumerate().map(difference).sum::<f64>() / PATHS_COUNT as f64).abs()
        });
        let slope = 0.5 * (errors[0] / errors[2]).log2();
        assert!(slope > order - 0.4, "{method}: weak order {slope:.2}, errors {errors:?}");
    }
}

#[test]
fn features_with_absolute_tolerances_of_their_own() {
    // A second state is not carried along by solves of whole trajectories.
    let cases = [(Layout::Lockstep, Method::ReversibleHeun, 6)].into_iter();
    for (layout, method, dim) in cases.chain(LAYOUTS.map(|layout| (layout, Method::Sosri, 3))) {
        let problem = noisy_problem(method, dim);
        let (theta, y0) = point(&problem, 4);
        let atol: Vec<f64> = (0..dim).map(|d| [1e-2, 1e-1, 1e-3][d % 3]).collect();
        let options = adaptive(method, 3e-2).layout(layout).atol_per_feature(atol);
        let Some(found) = solve(&problem, &options, &theta, &y0) else { return };
        let native = |options: &SolverOptions| {
            let mut native = solver::<f64>(&problem, options);
            native.set_paths(PATHS);
            native.solve(&widen(&theta), &widen(&y0)).expect("a valid solve")
        };
        let expected = native(&options);
        let name = format!("{method} {layout:?}");
        assert_eq!(found.stats, expected.stats, "{name}: the same steps");
        close(&name, &widen(&found.ys), &expected.ys, 3e-5);
        let one = native(&{
            let mut plain = options;
            plain.atol_per_feature = None;
            plain
        });
        assert_ne!(found.stats, one.stats, "{name}: tolerances make a difference");
    }
}

/// First steps that are carried on along paths, as on the native engine; on ticks of the path, so the first step is one of
/// those of which it holds 16 to 32.
#[test]
fn first_steps_are_carried_on_along_paths() {
    let Some(gpu) = gpu() else { return };
    for method in NOISY_ADAPTIVE {
        for layout in LAYOUTS {
            let (problem, batch) = (noisy_problem(method, 3), 5);
            let control = StepControl::prompt(Tolerances::both(0.05));
            let options = adaptive(method, 0.05).step_control(control).layout(layout).save_at(SaveAt::Steps);
            let (theta, y0) = point(&problem, batch);
            let mut native = solver::<f32>(&problem, &options);
            let mut device = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
            let mut begun = Learnt::default();
            begun.first = Some(-5.0);
            native.set_learnt(begun).expect("what solves can teach");
            device.set_learnt(begun).expect("what solves can teach");
            for seed in 0..3 {
                let name = format!("{method} {layout:?}, paths {seed}");
                native.set_paths(Paths::new(seed));
                device.set_paths(Paths::new(seed));
                let share = native.learnt().first_step().expect("known");
                let expected = native.solve(&theta, &y0).expect("a valid solve");
                let found = gpu.block_on(device.solve(&theta, &y0)).expect("a valid solve");
                assert_eq!(found.stats, expected.stats, "{name}");
                let times = step_times(&expected, 0);
                let taken = (times[1] - times[0]) / (problem.t1 - problem.t0);
                assert!(
                    taken <= share && taken > 0.93 * share || expected.stats[0].rejected > 0,
                    "{name}: {taken}, {share}"
                );
                let [a, b] = [device.learnt(), native.learnt()].map(|learnt| learnt.first.expect("known"));
                assert!((a - b).abs() < 5e-3 && b != -5.0, "{name}: {a} for {b}");
            }
        }
    }
}

/// One Wiener process for all features, channel 0 of the path, whole and layer by layer, as on the native engine.
#[test]
fn scalar_noise_moves_all_features_along_one_channel() {
    for layout in LAYOUTS {
        for (method, dim) in Method::SDE.into_iter().zip([2, 9, 3, 9, 3, 4]) {
            let problem = shared(noisy_problem(method, dim));
            let (theta, y0) = point(&problem, 5);
            let options = fixed(method, 7).layout(layout).save_at(SaveAt::Steps);
            let Some(found) = solve(&problem, &options, &theta, &y0) else { return };
            let name = format!("{method} {layout:?} {dim}");
            let path = Brownian::with_cells(PATHS, 7, problem.t0, problem.t1).expect("a few cells");
            let times: Vec<f64> = (0..=7).map(|n| path.time(n << 24)).collect();
            let ys = replay(&problem, &options, &path, &vec![times; 5], &widen(&theta), &widen(&y0));
            close(&name, &widen(&found.ys), &ys, 5e-6);
            if NOISY_ADAPTIVE.contains(&method) {
                let Some(found) = solve(&problem, &adaptive(method, 2e-2).layout(layout), &theta, &y0) else { return };
                // Steps on a path are rounded down to one of 16 lengths between a power of two ticks and the next: where a
                // proposal is that of the next length but for rounding, solves part, as they do at a tolerance next to it.
                let natives = [1.0, 1.0 - 2e-5, 1.0 + 2e-5].map(|next| {
                    let mut native = solver::<f32>(&problem, &adaptive(method, 2e-2 * next).layout(layout));
                    native.set_paths(PATHS);
                    native.solve(&theta, &y0).expect("a valid solve")
                });
                for (clock, stats) in found.stats.iter().enumerate() {
                    let same = natives.iter().find(|native| native.stats[clock] == *stats);
                    let native = same.unwrap_or_else(|| panic!("{name}, adaptive: {clock} takes {stats:?}"));
                    let rows = if layout == Layout::Ensemble { clock * dim..(clock + 1) * dim } else { 0..5 * dim };
                    let [found, native] = [&found, native].map(|solution| widen(&solution.ys[rows.clone()]));
                    close(&format!("{name}, adaptive"), &found, &native, 3e-5);
                }
            }
        }
    }
}
