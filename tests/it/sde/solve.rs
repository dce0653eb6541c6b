//! Solves with noise: paths, layouts, save modes, counts, failures and bad input.

use super::{DIM, calculus, problem, refusal};
use crate::oracle::{
    Course, LAYOUTS, Noisy, bits, blow_up, blow_up_defect, cast, close, cpu, known_until_failure, numbers, states,
    step_times, widen,
};
use fewsteps::{
    Adjoint, Controller, Diffusion, Error, InitialStep, InputMap, Layout, Method, Mlp, Paths, Problem, SaveAt,
    SavedTimes, Solution, Solver, SolverOptions, Status, StepControl, Tolerances,
};

fn adaptive(method: Method, layout: Layout) -> SolverOptions {
    SolverOptions::sde(Tolerances::both(0.05)).method(method).layout(layout)
}

fn fixed(method: Method, layout: Layout) -> SolverOptions {
    SolverOptions::default().method(method).layout(layout).step_control(StepControl::Fixed { steps: 25 })
}

fn every_option() -> Vec<SolverOptions> {
    let all = Method::SDE.into_iter().flat_map(|method| LAYOUTS.map(|layout| (method, layout)));
    all.flat_map(|(method, layout)| {
        let estimates = method.tableau().b_error.is_some();
        std::iter::once(fixed(method, layout)).chain(estimates.then(|| adaptive(method, layout)))
    })
    .collect()
}

fn solve(options: &SolverOptions, paths: Paths, threads: usize, y0: &[f32]) -> Solution<f32> {
    let problem = problem(options.method);
    let mut solver = Solver::<f32>::new(&cpu(threads), &problem, options).expect("a valid problem");
    solver.set_paths(paths);
    solver.predict(&problem.initialize(1), y0).expect("solved")
}

fn starts(batch: usize) -> Vec<f32> {
    cast(&numbers(2, batch * DIM))
}

#[test]
fn a_trajectory_alone_is_the_one_in_its_batch() {
    let y0 = starts(70);
    for options in every_option() {
        if options.layout == Layout::Lockstep && matches!(options.step_control, StepControl::Adaptive { .. }) {
            continue;
        }
        let batch = solve(&options, Paths::new(5), 2, &y0);
        for row in [0usize, 1, 33, 69] {
            let alone = solve(&options, Paths { seed: 5, first: row as u32 }, 1, &y0[row * DIM..(row + 1) * DIM]);
            assert_eq!(bits(&alone.ys), bits(&batch.ys[row * DIM..(row + 1) * DIM]), "{options:?}, row {row}");
            if options.layout == Layout::Ensemble {
                assert_eq!(alone.stats[0], batch.stats[row], "{options:?}, row {row}");
            }
        }
    }
}

#[test]
fn results_depend_on_the_seed_and_not_on_threads() {
    let y0 = starts(100);
    for options in every_option() {
        let one = solve(&options, Paths::new(9), 1, &y0);
        assert_eq!(bits(&one.ys), bits(&solve(&options, Paths::new(9), 3, &y0).ys), "threads: {options:?}");
        let other = solve(&options, Paths::new(10), 1, &y0);
        assert!(one.ys.iter().zip(&other.ys).all(|(a, b)| a != b), "another seed: {options:?}");
        // Trajectories that start alike part ways.
        let twins = solve(&options, Paths::new(9), 1, &[y0[..DIM].to_vec(), y0[..DIM].to_vec()].concat());
        assert!(twins.ys[..DIM].iter().zip(&twins.ys[DIM..]).all(|(a, b)| a != b), "twins: {options:?}");
    }
}

#[test]
fn evaluations_are_counted_apart() {
    let y0 = starts(4);
    for options in every_option() {
        let solution = solve(&options, Paths::new(3), 1, &y0);
        let drift = options.method.tableau();
        let noise = drift.noise.expect("stochastic");
        for stats in &solution.stats {
            let attempts = stats.accepted + stats.rejected;
            // Fixed steps evaluate every stage of every step; adaptive ones two points for the first step, and the first
            // stage once a step. The reversible method takes over its first stage.
            let fixed = matches!(options.step_control, StepControl::Fixed { .. });
            let count = |stages: usize| match (fixed, noise.reversible) {
                (true, false) => stages * attempts,
                (true, true) => 1 + attempts,
                (false, true) => 2 + attempts,
                (false, false) => 2 + stages * attempts - 1 - stats.rejected,
            };
            assert_eq!(stats.nfe, count(drift.stages()), "drift: {options:?}, {stats:?}");
            assert_eq!(stats.nfe_diffusion, count(noise.stages()), "diffusion: {options:?}, {stats:?}");
            assert!(!fixed || stats.accepted == 25 && stats.rejected == 0, "{options:?}");
        }
    }
}

#[test]
fn steps_end_on_ticks_and_rejections_keep_the_path() {
    for method in [Method::Sosri, Method::Sriw1] {
        for layout in LAYOUTS {
            // A first step far too long is rejected several times.
            let step_control = StepControl::Adaptive {
                tolerances: Tolerances::both(0.02),
                controller: Controller::SDE,
                initial_step: InitialStep::Length(2.0),
            };
            let options = adaptive(method, layout).step_control(step_control).save_at(SaveAt::Steps);
            let solution = solve(&options, Paths::new(4), 2, &starts(40));
            assert!(solution.stats.iter().all(|s| s.rejected > 0), "{method}, {layout:?}: {:?}", solution.stats[0]);
            let lists = match &solution.ts {
                SavedTimes::Shared(ts) => vec![ts.clone()],
                SavedTimes::PerTrajectory(ts) => ts.clone(),
                SavedTimes::Own(ts) => panic!("no steps: {ts:?}"),
            };
            for ts in &lists {
                assert_eq!((ts[0], ts[ts.len() - 1]), (0.0, 2.0), "both ends exactly");
                assert!(ts.iter().all(|t| (t * 2f64.powi(29)).fract() == 0.0), "{method}: ticks, {ts:?}");
            }
            // The steps that were accepted, replayed with the path's increments in double precision.
            let problem = problem(method);
            let theta: Vec<f64> = widen(&problem.initialize::<f32>(1));
            let path = options.path(&problem, Paths::new(4)).expect("a path");
            let oracle = Noisy::new(&problem, method);
            let y0 = widen(&starts(40));
            let mut before = 0;
            for row in 0..40 {
                let ts = if lists.len() == 1 { &lists[0] } else { &lists[row] };
                let course = Course::new(&problem, &path, row, ts);
                let steps = oracle.walk(&theta, &course, &y0[row * DIM..(row + 1) * DIM]);
                for (n, state) in states(&steps).iter().enumerate() {
                    let at = if lists.len() == 1 { n * 40 + row } else { before + n };
                    let found = widen(&solution.ys[at * DIM..(at + 1) * DIM]);
                    close(&format!("{method}, {layout:?}, row {row}, step {n}"), &found, state, 3e-5);
                }
                before += ts.len();
            }
        }
    }
}

#[test]
fn saved_times_lie_on_chords() {
    for options in every_option() {
        let y0 = starts(3);
        let all = solve(&options.clone().save_at(SaveAt::Steps), Paths::new(6), 1, &y0);
        let ts = step_times(&all, 0);
        let middle = |i: usize| 0.25 * ts[i] + 0.75 * ts[i + 1];
        let times = vec![0.0, middle(1), ts[3], 2.0];
        let saved = solve(&options.clone().save_at(SaveAt::Times(times)), Paths::new(6), 1, &y0);
        let state = |n: usize| -> Vec<f32> {
            let at = if matches!(all.ts, SavedTimes::Shared(_)) { n * 3 * DIM } else { n * DIM };
            all.ys[at..at + DIM].to_vec()
        };
        let slot = |n: usize| &saved.ys[n * 3 * DIM..n * 3 * DIM + DIM];
        assert_eq!(slot(0), &y0[..DIM], "the start: {options:?}");
        assert_eq!(slot(2), state(3), "a step's end: {options:?}");
        assert_eq!(slot(3), state(ts.len() - 1), "the end: {options:?}");
        for (d, found) in slot(1).iter().enumerate() {
            let expected = 0.25 * state(1)[d] + 0.75 * state(2)[d];
            assert!((found - expected).abs() < 1e-5, "on the chord: {options:?}, {found} not {expected}");
        }
    }
}

#[test]
fn bad_input_is_named() {
    let new =
        |problem: &Problem, options: &SolverOptions| refusal(Solver::<f32>::new(&cpu(1), problem, options).map(|_| ()));
    let sde = problem(Method::Sosri);
    let ode = Problem::ode(Mlp::new([DIM, DIM]), 0.0, 1.0);
    let named = |text: String, parts: &[&str]| {
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    };
    let options = SolverOptions::sde(Tolerances::both(0.1));
    named(new(&sde, &SolverOptions::default()), &["SolverOptions::method", "tsit5", "sosri"]);
    named(new(&ode, &options), &["SolverOptions::method", "sosri", "diffusion"]);
    named(new(&sde, &options.clone().method(Method::StratonovichHeun)), &["Stratonovich", "heun-stratonovich"]);
    let stratonovich = problem(Method::StratonovichHeun);
    named(new(&stratonovich, &options), &["sosri", "Itô", "reversible-heun"]);
    named(new(&sde, &options.clone().method(Method::EulerMaruyama)), &["euler-maruyama", "error estimate"]);
    for bad in [0.0, -0.1, f64::NAN] {
        named(new(&sde, &SolverOptions::sde(Tolerances::both(bad))), &["Tolerances::atol"]);
    }
    named(new(&sde, &SolverOptions::sde(Tolerances::both(1e-12))), &["Tolerances::rtol"]);
    named(new(&sde, &options.clone().save_at(SaveAt::Dense)), &["SolverOptions::save_at", "Dense"]);
    named(new(&sde, &options.clone().path_cells(0)), &["SolverOptions::path_cells", "0"]);
    let many = StepControl::Fixed { steps: (1 << 24) + 1 };
    named(new(&sde, &options.clone().step_control(many)), &["16777217", "cells"]);
    named(new(&sde, &options.clone().adjoint(Adjoint::Reversible)), &["adjoint", "reversible-heun"]);
    named(new(&sde, &options.clone().adjoint(Adjoint::Backsolve)), &["adjoint", "heun-stratonovich"]);
    let mut backwards = sde.clone();
    (backwards.t0, backwards.t1) = (1.0, 0.0);
    named(new(&backwards, &options), &["Problem::t1", "one direction"]);
    let mut far = sde.clone();
    (far.t0, far.t1) = (1e9, 1e9 + 1.0);
    named(new(&far, &options), &["Problem::t0", "measure time from its start"]);
    let mut narrow = sde.clone();
    narrow.diffusion = Some(Diffusion::ito(Mlp::new([DIM, 2])));
    named(new(&narrow, &options), &["Diffusion::network", "diagonal"]);

    let mut solver = Solver::<f32>::new(&cpu(1), &sde, &options).expect("valid");
    let theta = sde.initialize::<f32>(0);
    solver.set_paths(Paths { seed: u64::MAX, first: u32::MAX });
    named(refusal(solver.predict(&theta, &starts(2))), &["Paths::first", "4294967295"]);
    assert!(solver.predict(&theta, &starts(1)).is_ok(), "the last trajectory there is");
    assert!(
        matches!(solver.predict(&theta[1..], &starts(1)), Err(Error::Shape { argument: "theta", .. })),
        "parameters"
    );
}

#[test]
fn a_failing_trajectory_does_not_take_its_batch_along() {
    // The diffusion's cube overflows for one of the trajectories.
    let network = || Mlp::new([1, 1]).input_map(InputMap::Cube);
    for method in Method::SDE {
        let problem = Problem::sde(network(), Diffusion::new(network(), calculus(method)), 0.0, 1.0);
        let theta = [-0.1f32, 0.0, 0.2, 0.1];
        let y0 = [0.5f32, 1e15, -0.3];
        for layout in LAYOUTS {
            for options in [fixed(method, layout), adaptive(method, layout)] {
                if options.validate::<f32>(&problem).is_err() {
                    continue;
                }
                let name = format!("{method}, {layout:?}, {:?}", options.step_control);
                let mut solver = Solver::<f32>::new(&cpu(2), &problem, &options).expect("valid");
                let solution = solver.solve(&theta, &y0).expect("a valid call");
                assert_eq!(solution.status[0], Status::Done, "{name}");
                assert_eq!(solution.status[2], Status::Done, "{name}");
                assert!(matches!(solution.status[1], Status::NonFinite | Status::StepTooSmall), "{name}");
                assert!(solution.ys[0].is_finite() && solution.ys[1].is_nan() && solution.ys[2].is_finite(), "{name}");
                let gradients = solver.gradients(&[1.0, 1.0, 1.0]).expect("solved");
                assert!(gradients.theta.iter().all(|g| g.is_finite()), "{name}: {:?}", gradients.theta);
                assert_eq!(gradients.y0[1], 0.0, "{name}");
            }
        }
    }
}

#[test]
fn states_that_were_reached_outlive_a_failure() {
    // Noise of size 0, so that the drift's solution is known.
    let (ode, drift) = blow_up(1.0);
    for method in Method::SDE {
        let noise = Diffusion::new(Mlp::new([1, 1]), calculus(method));
        let problem = Problem::sde(ode.field.clone(), noise, 0.0, 1.0);
        let theta = [drift.as_slice(), &[0.0, 0.0]].concat();
        for layout in LAYOUTS {
            let tolerances = SolverOptions::sde(Tolerances::both(1e-4)).method(method).layout(layout);
            let steps = StepControl::Fixed { steps: 4000 };
            for options in [tolerances.clone(), tolerances.clone().max_steps(1000), tolerances.step_control(steps)] {
                let options = options.save_at(SaveAt::Times(vec![0.0, 0.1, 0.2, 0.9]));
                if options.validate::<f64>(&problem).is_err() {
                    continue;
                }
                let name = format!("{method}, {layout:?}, {:?}", options.step_control);
                let y0 = [0.3, 1.0, 0.2];
                let solution = Solver::<f64>::new(&cpu(1), &problem, &options).expect("valid").solve(&theta, &y0);
                let solution = solution.expect("failures have a status");
                assert_ne!(solution.status[1], Status::Done, "{name}");
                let kept = known_until_failure(&name, &solution, 1e-2, |row, t, y| blow_up_defect(y0[row], t, y));
                assert!(kept >= 3, "{name}: {kept} states before the pole");
            }
        }
    }
}

#[test]
fn steps_end_at_stops_of_the_path() {
    for method in Method::SDE.into_iter().filter(|method| method.tableau().b_error.is_some()) {
        for layout in LAYOUTS {
            let stops = [0.7, 1.0 / 3.0];
            let plain = adaptive(method, layout).save_at(SaveAt::Steps);
            let solution = solve(&plain.stop_at(stops).largest_step(0.25), Paths::new(1), 1, &starts(2));
            assert!(solution.status.iter().all(|s| *s == Status::Done), "{method}, {layout:?}");
            for row in 0..2 {
                let times = step_times(&solution, row);
                for stop in stops {
                    let nearest = times.iter().fold(9.0f64, |near, t| near.min((t - stop).abs()));
                    assert!(nearest < 2e-9, "{method}, {layout:?}: no step ends at {stop}: {times:?}");
                }
                let longest = times.windows(2).map(|w| w[1] - w[0]).fold(0.0, f64::max);
                assert!(longest <= 0.25, "{method}, {layout:?}: a step of {longest}");
            }
        }
    }
}

#[test]
fn attempts_are_bounded() {
    for layout in LAYOUTS {
        let options = adaptive(Method::Sosri, layout).max_steps(3);
        let solution = solve(&options, Paths::new(1), 1, &starts(5));
        assert!(solution.status.iter().all(|s| *s == Status::MaxSteps), "{layout:?}: {:?}", solution.status);
    }
}

#[test]
fn reversible_heun_keeps_no_states() {
    let problem = problem(Method::ReversibleHeun);
    let bytes = |adjoint: Adjoint, steps: usize| {
        let options = fixed(Method::ReversibleHeun, Layout::Lockstep).step_control(StepControl::Fixed { steps });
        let mut solver = Solver::<f32>::new(&cpu(1), &problem, &options.adjoint(adjoint)).expect("valid");
        solver.solve(&problem.initialize(1), &starts(64)).expect("solved");
        solver.gradients(&vec![1.0; 64 * DIM]).expect("solved");
        (solver.bytes(), solver.workspace(64, steps).tape)
    };
    let (short, long) = (bytes(Adjoint::Reversible, 10), bytes(Adjoint::Reversible, 1000));
    assert_eq!(short.0, long.0, "a hundred times the steps in the same memory");
    assert_eq!(long.1, 0, "and no tape is foreseen");
    let taped = bytes(Adjoint::default(), 1000);
    assert!(
        taped.0 >= long.0 + 1000 * 64 * 2 * DIM * 4 && taped.1 >= 1000 * 64 * 2 * DIM * 4,
        "{taped:?} and {long:?}"
    );
}
