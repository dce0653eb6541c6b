//! Steps, their counts and their costs against the published controllers, evaluated independently.

use super::{all_done, attempt, predict, rotation, solve};
use crate::oracle::{
    ADAPTIVE, LAYOUTS, System, adaptive, bits, blow_up, close, distance, fixed, scaled, solver, step_times,
    with_first_step, zoo,
};
use fewsteps::{
    Controller, InitialStep, Layout, Learnt, Method, Problem, SaveAt, SolverOptions, Stats, Status, StepControl,
    Tolerances,
};

/// Evaluations that the counts of steps imply, `initial` of them for the first stage and the first step's size.
fn expected_nfe(method: Method, stats: &Stats, initial: usize) -> usize {
    let tableau = method.tableau();
    let attempts = stats.accepted + stats.rejected;
    // Without FSAL every accepted step but the last is followed by a first stage of its own.
    let fresh = if tableau.fsal() { 0 } else { stats.accepted - 1 };
    initial + (tableau.stages() - 1) * attempts + fresh
}

#[test]
fn evaluations_are_counted_exactly() {
    let mut rejections = 0;
    for known in zoo() {
        for layout in LAYOUTS {
            for method in ADAPTIVE {
                let name = format!("{} with {method}, {layout:?}", known.name);
                let rows = known.rows(3);
                for (options, initial) in [(adaptive(method, 1e-4), 2), (with_first_step(method, 1e-4, 1.0), 1)] {
                    for stats in &predict::<f64>(&known, &options.layout(layout), &rows).stats {
                        assert_eq!(stats.nfe, expected_nfe(method, stats, initial), "{name}: {stats:?}");
                        rejections += stats.rejected;
                    }
                }
                if method == Method::Tsit5 {
                    let stats = predict::<f64>(&known, &adaptive(method, 1e-6).layout(layout), &rows).stats[0];
                    assert_eq!(stats.nfe, 2 + 6 * (stats.accepted + stats.rejected), "{name}: SciML's nf");
                }
            }
            for method in Method::ODE {
                let stats = predict::<f64>(&known, &fixed(method, 7).layout(layout), &known.y0).stats[0];
                let stages = method.tableau().stages();
                let nfe = if method.tableau().fsal() { 1 + 7 * (stages - 1) } else { 7 * stages };
                assert_eq!(
                    (stats.nfe, stats.nfe_diffusion, stats.accepted, stats.rejected),
                    (nfe, 0, 7, 0),
                    "{} with {method}, 7 steps",
                    known.name
                );
            }
        }
    }
    assert!(rejections > 20, "only {rejections} rejected attempts: the formulas are not tried");
}

/// A change of these numbers is a change of the controller, of the initial step or of the error norm, and must be
/// explained where it is made.
#[test]
fn costs_are_what_they_were() {
    let expected: [(&str, Method, f64, [usize; 3]); 9] = [
        ("decay", Method::Tsit5, 1e-6, [116, 19, 0]),
        ("rotation", Method::Tsit5, 1e-6, [182, 30, 0]),
        ("forced", Method::Dopri5, 1e-6, [92, 15, 0]),
        ("cubic", Method::Tsit5, 1e-8, [140, 23, 0]),
        ("reaction B2", Method::Bosh3, 1e-4, [95, 31, 0]),
        ("chain C1", Method::Tsit5, 1e-6, [134, 22, 0]),
        ("chain C2", Method::Heun, 1e-3, [85, 42, 0]),
        ("diffusion C3", Method::Dopri5, 1e-5, [122, 20, 0]),
        ("diffusion C4", Method::Tsit5, 1e-3, [56, 9, 0]),
    ];
    let found: Vec<_> = expected
        .iter()
        .map(|&(name, method, tolerance, _)| {
            let known = zoo().into_iter().find(|k| k.name == name).expect("a problem of the zoo");
            let Stats { nfe, accepted, rejected, .. } =
                predict::<f64>(&known, &adaptive(method, tolerance), &known.y0).stats[0];
            (name, method, tolerance, [nfe, accepted, rejected])
        })
        .collect();
    assert_eq!(found, expected, "evaluations, accepted steps, rejected attempts");
}

/// The accepted steps and their sizes against the published rules, evaluated independently.
#[test]
fn steps_are_those_of_the_published_controller() {
    // From small states the first step is bounded by its trial step.
    for (size, known) in [1.0, 1e-3].into_iter().flat_map(|size| zoo().into_iter().map(move |known| (size, known))) {
        for method in ADAPTIVE {
            let name = format!("{} from {size} y0 with {method}", known.name);
            let y0 = scaled(size, &known.y0);
            let options = adaptive(method, 1e-4).save_at(SaveAt::Steps);
            let found = step_times(&predict::<f64>(&known, &options, &y0), 0);
            let system = System {
                field: known.problem.field.mlp().expect("a network"),
                method,
                tolerances: Tolerances::both(1e-4),
                atol_per_feature: None,
            };
            let Problem { t0, t1, .. } = known.problem;
            let q = method.tableau().error_power();
            let (mut t, mut y, mut old) = (t0, y0, 1e-4f64);
            let mut h = system.initial_step(&known.theta, t0, std::slice::from_ref(&y), t1 - t0);
            let mut times = vec![t0];
            while t < t1 && times.len() < 500 {
                let (step, error) = attempt(&system, &known.theta, [t, h, t1], &y);
                let factor = if error <= 1.0 {
                    (t, y) = (step.t1, step.end);
                    times.push(t);
                    let factor = 0.9 * error.powf(-0.7 / q) * old.powf(0.4 / q);
                    old = error.max(1e-4);
                    factor
                } else {
                    0.9 * error.powf(-0.7 / q)
                };
                h = (step.t1 - step.t0) * factor.clamp(0.2, 10.0);
            }
            assert_eq!(found.len(), times.len(), "{name}: accepted steps");
            close(&format!("{name}: first step"), &[found[1] - t0], &[times[1] - t0], 1e-9);
            // The error of a short step is mostly rounding, and so are some digits of the step after it.
            close(&format!("{name}: step times"), &found, &times, 1e-6);
        }
    }
}

/// The same for controllers without start-up, and for H211b, whose memory holds a step.
#[test]
fn steps_are_those_of_prompt_controllers() {
    /// From an error, the last one and the ratio of the two steps to a change, before safety.
    type Rule = fn(f64, f64, f64, f64) -> f64;
    let rules: [(&str, Controller, Rule); 3] = [
        ("I", Controller::I, |q, e, _, _| e.powf(-1.0 / q)),
        ("PI", Controller::PI, |q, e, old, _| e.powf(-0.7 / q) * old.powf(0.4 / q)),
        ("H211b", Controller::H211B, |q, e, old, ratio| (e * old).powf(-0.25 / q) * ratio.powf(-0.25)),
    ];
    let mut spared = [0; 3];
    for known in zoo() {
        for method in ADAPTIVE {
            for (spared, (name, controller, rule)) in spared.iter_mut().zip(rules) {
                let name = format!("{} with {method} under {name}", known.name);
                let tolerances = Tolerances::both(1e-4);
                let options = |controller| {
                    let initial_step = InitialStep::Automatic;
                    let control = StepControl::Adaptive { tolerances, controller, initial_step };
                    SolverOptions::default().method(method).step_control(control).save_at(SaveAt::Steps)
                };
                let solution = predict::<f64>(&known, &options(controller.prompt()), &known.y0);
                let found = step_times(&solution, 0);
                let system = System {
                    field: known.problem.field.mlp().expect("a network"),
                    method,
                    tolerances,
                    atol_per_feature: None,
                };
                let Problem { t0, t1, .. } = known.problem;
                let q = method.tableau().error_power();
                let (mut t, mut y, mut rejected) = (t0, known.y0.clone(), 0);
                // The last accepted step's error and length.
                let mut last: Option<(f64, f64)> = None;
                let mut h = system.initial_step(&known.theta, t0, std::slice::from_ref(&y), t1 - t0);
                let mut times = vec![t0];
                while t < t1 && times.len() < 500 {
                    let (step, error) = attempt(&system, &known.theta, [t, h, t1], &y);
                    let taken = step.t1 - t;
                    let alone = 0.9 * error.powf(-1.0 / q);
                    let most = if last.is_none() { 1e4 } else { 10.0 };
                    if error > 1.0 {
                        rejected += 1;
                        h = taken * (0.9 * error.powf(-controller.beta_reject / q)).clamp(0.2, most);
                        continue;
                    }
                    (t, y) = (step.t1, step.end);
                    times.push(t);
                    let change = last.map_or(alone, |(old, before)| 0.9 * rule(q, error, old, taken / before));
                    h = if taken * alone.min(most) >= t1 - t { t1 - t } else { taken * change.clamp(0.2, most) };
                    last = Some((error.max(1e-4), taken));
                }
                assert_eq!(found.len(), times.len(), "{name}: accepted steps");
                assert_eq!(solution.stats[0].rejected, rejected, "{name}: rejected attempts");
                close(&format!("{name}: step times"), &found, &times, 1e-6);
                let plain = predict::<f64>(&known, &options(controller), &known.y0);
                *spared += plain.stats[0].nfe as i64 - solution.stats[0].nfe as i64;
            }
        }
    }
    assert!(spared.iter().all(|spared| *spared > 0), "evaluations that start-up took, of I, PI, H211b: {spared:?}");
}

/// The steps of an ideal controller are those of any.
#[test]
fn ideal_steps_are_the_same_whatever_the_controller() {
    let known = rotation();
    for layout in LAYOUTS {
        let count = |controller: Controller| {
            let initial_step = InitialStep::Length(0.05 * (known.problem.t1 - known.problem.t0).abs());
            let tolerances = Tolerances::both(1e-8);
            let control = StepControl::Adaptive { tolerances, controller, initial_step };
            let options = SolverOptions::default().step_control(control).layout(layout);
            let found = solver::<f64>(&known.problem, &options).solve(&known.theta, &known.y0).expect("solved");
            assert_eq!(found.ideal_steps.len(), found.stats.len(), "one each");
            (found.ideal_steps[0], found.stats[0].accepted)
        };
        let counts = [Controller::PI, Controller::I.prompt(), Controller::H211B, Controller::PID].map(count);
        let ideal = counts.map(|count| count.0);
        let (least, most) = (ideal.iter().copied().fold(f64::MAX, f64::min), ideal.iter().copied().fold(0.0, f64::max));
        assert!(most < 1.06 * least, "{layout:?}: ideal steps and steps taken {counts:?}");
        assert!(counts[0].1 as f64 > most, "{layout:?}: nobody takes fewer: {counts:?}");
    }
    let fixed = solver::<f64>(&known.problem, &fixed(Method::Tsit5, 3)).solve(&known.theta, &known.y0);
    assert!(fixed.expect("solved").ideal_steps.is_empty(), "fixed steps estimate no error");
}

#[test]
fn the_bound_on_steps_is_kept() {
    let known = zoo().remove(1);
    for layout in LAYOUTS {
        let options = adaptive(Method::Tsit5, 1e-8).layout(layout);
        let Stats { accepted, rejected, .. } = predict::<f64>(&known, &options, &known.y0).stats[0];
        let enough = predict::<f64>(&known, &options.clone().max_steps(accepted + rejected), &known.y0);
        all_done(&format!("{layout:?}, just enough steps"), &enough);
        let fewer = accepted + rejected - 1;
        let solution = predict::<f64>(&known, &options.max_steps(fewer), &known.y0);
        assert_eq!(solution.status, [Status::MaxSteps], "{layout:?}, one step less");
        assert_eq!(solution.stats[0].accepted + solution.stats[0].rejected, fewer, "{layout:?}: attempts made");
        assert!(solution.ys.iter().all(|y| y.is_nan()), "{layout:?}: no end was reached");
    }
}

#[test]
fn fixed_steps_are_as_many_as_they_are() {
    let known = zoo().remove(0);
    for layout in LAYOUTS {
        let options = fixed(Method::Euler, 20_000).layout(layout);
        let solution = predict::<f64>(&known, &options, &known.y0);
        all_done("20,000 steps", &solution);
        assert_eq!(solution.stats[0].accepted, 20_000, "{layout:?}");
        close("20,000 steps", &solution.ys, &[(1.0f64 - 4.0 / 2e4).powi(20_000)], 1e-11);
    }
}

#[test]
fn both_layouts_call_the_same_step_too_small() {
    let (problem, theta) = blow_up(1.0);
    for first in [1e-30, 1e-17, 1e-16] {
        let found = LAYOUTS.map(|layout| {
            let options = with_first_step(Method::Tsit5, 1e-6, first).layout(layout);
            let solution = solve::<f64>(&problem, &options, &theta, &[0.3]);
            all_done(&format!("first step {first}, {layout:?}"), &solution);
            (solution.stats[0].accepted, solution.ys[0])
        });
        assert_eq!(found[0].0, found[1].0, "steps from {first}");
        assert!((found[0].1 - found[1].1).abs() < 1e-12, "states from {first}: {found:?}");
    }
}

#[test]
fn a_given_first_step_changes_the_costs_alone() {
    for known in zoo() {
        let rows = known.rows(2);
        for layout in LAYOUTS {
            for length in [1e-4, 0.1, 1e6] {
                let name = format!("{} with first step {length}, {layout:?}", known.name);
                let options = with_first_step(Method::Tsit5, 1e-7, length).layout(layout).save_at(SaveAt::Steps);
                let solution = predict::<f64>(&known, &options, &rows);
                all_done(&name, &solution);
                let times = step_times(&solution, 0);
                let first = times[1] - times[0];
                if length < 1.0 {
                    assert!(first <= length * (1.0 + 1e-12), "{name}: the first step is {first}");
                }
                let end = predict::<f64>(&known, &options.save_at(SaveAt::End), &rows);
                let error = distance(&end.ys, &known.exact(&rows, known.problem.t1));
                assert!(error < 1e-5, "{name}: error {error:e}");
            }
        }
    }
}

/// First steps that are carried on: in lockstep, of a controller that goes by the last error alone, nine tenths of the
/// second step of the solve before, and an evaluation less.
#[test]
fn first_steps_are_carried_on() {
    let known = rotation();
    let control = |initial_step| StepControl::Adaptive {
        tolerances: Tolerances::both(1e-6),
        controller: Controller::I,
        initial_step,
    };
    for layout in LAYOUTS {
        let options = |initial_step| {
            SolverOptions::default().step_control(control(initial_step)).layout(layout).save_at(SaveAt::Steps)
        };
        let automatic = solver::<f64>(&known.problem, &options(InitialStep::Automatic));
        let mut carried = solver::<f64>(&known.problem, &options(InitialStep::Carried));
        let y0 = &known.y0[..known.problem.dim()];
        let plain = { automatic }.solve(&known.theta, y0).expect("a valid solve");
        let first = carried.solve(&known.theta, y0).expect("a valid solve");
        assert_eq!(bits(&first.ys), bits(&plain.ys), "{layout:?}: there is nothing to begin with yet");
        let times = step_times(&first, 0);
        let wished = 0.9 * (times[2] - times[1]);
        let second = carried.solve(&known.theta, y0).expect("a valid solve");
        let taken = step_times(&second, 0)[1] - times[0];
        // An ensemble's wishes are told apart by an eighth of an octave.
        let bound = if layout == Layout::Ensemble { 2f64.powf(1.0 / 16.0) - 1.0 } else { 1e-12 };
        assert!((taken / wished - 1.0).abs() <= bound, "{layout:?}: {taken} where {wished} was wished for");
        let Stats { nfe, accepted, rejected, .. } = second.stats[0];
        assert_eq!(nfe, 1 + 6 * (accepted + rejected), "{layout:?}: one evaluation before the first attempt");
        // The mean of logarithms, three tenths of it new.
        let third = step_times(&carried.solve(&known.theta, y0).expect("a valid solve"), 0);
        let second = step_times(&second, 0);
        let expected = 0.9 * (wished / 0.9).powf(0.7) * (second[2] - second[1]).powf(0.3);
        assert!(((third[1] - third[0]) / expected - 1.0).abs() <= bound, "{layout:?}: {third:?}, {expected}");
    }
}

/// A first step that is far too long costs rejected attempts, and nothing else.
#[test]
fn a_wrong_guess_is_rejected() {
    let known = rotation();
    let control = StepControl::Adaptive {
        tolerances: Tolerances::both(1e-6),
        controller: Controller::I.prompt(),
        initial_step: InitialStep::Carried,
    };
    for layout in LAYOUTS {
        let mut solver = solver::<f64>(&known.problem, &SolverOptions::default().step_control(control).layout(layout));
        let right = solver.solve(&known.theta, &known.y0).expect("a valid solve");
        let mut guess = Learnt::default();
        guess.first = Some(1.0);
        solver.set_learnt(guess).expect("what solves can teach");
        let found = solver.solve(&known.theta, &known.y0).expect("a valid solve");
        let rejected = found.stats.iter().map(|stats| stats.rejected).max().expect("there are some");
        assert!((1..=3).contains(&rejected), "{layout:?}: {:?}", found.stats);
        close("a wrong guess", &found.ys, &right.ys, 1e-5);
        assert!(solver.learnt().first.expect("known") < 1.0, "and it is learnt from");
    }
}
