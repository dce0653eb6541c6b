//! Trajectories that fail, alone.

use super::{argument, solve};
use crate::oracle::{
    LAYOUTS, adaptive, bits, blow_up, blow_up_defect, blow_up_exact, cast, close, distance, fixed, known_until_failure,
    numbers, solver, widen,
};
use fewsteps::{Error, Layout, Method, SaveAt, Scalar, Solver, Status};

fn check_failures<R: Scalar>(bad: f64, layout: Layout, method: Method, tolerance: f64, batch: usize) {
    let name = format!("y0 = {bad} among {batch}, {method}, {layout:?}, {}", R::NAME);
    let (problem, theta) = blow_up(1.0);
    let theta = cast::<R>(&theta);
    let good: Vec<f64> = (0..batch - 1).map(|i| 0.1 + 0.5 * i as f64 / batch as f64).collect();
    let at = batch / 2;
    let rows: Vec<f64> = good[..at].iter().copied().chain([bad]).chain(good[at..].iter().copied()).collect();
    let without = |v: &[f64]| [&v[..at], &v[at + 1..]].concat();
    let options = adaptive(method, tolerance).layout(layout);
    let mut solver = solver::<R>(&problem, &options);
    let solution = solver.solve(&theta, &cast(&rows)).expect("a failure has a status");
    let (status, others) = (solution.status[at], solution.status.iter().filter(|s| **s == Status::Done).count());
    assert!(matches!(status, Status::NonFinite | Status::StepTooSmall | Status::MaxSteps), "{name}: {status}");
    assert_eq!(others, batch - 1, "{name}: the others are done, {:?}", solution.status);
    let ys = widen(&solution.ys);
    assert!(ys[at].is_nan(), "{name}: the failed state is NaN, not {}", ys[at]);
    let exact: Vec<f64> = good.iter().map(|&y| blow_up_exact(y, 1.0)).collect();
    let error = distance(&without(&ys), &exact);
    assert!(error < 50.0 * tolerance, "{name}: the others are off by {error:e}");

    let ys_bar = numbers(51, batch);
    let gradients = solver.gradients(&cast(&ys_bar)).expect("cotangents of every state");
    let (theta_bar, y0_bar) = (widen(&gradients.theta), widen(&gradients.y0));
    assert_eq!(y0_bar[at], 0.0, "{name}: a failed trajectory contributes nothing");
    // The same again without the bad trajectory.
    let expected = solver.solve(&theta, &cast(&good)).expect("a valid call");
    let gradients = solver.gradients(&cast(&without(&ys_bar))).expect("cotangents of every state");
    let rounding =
        if layout == Layout::Ensemble || bad.is_nan() { 30.0 * R::EPSILON.to_f64() } else { 100.0 * tolerance };
    close(&format!("{name}: gradient of theta"), &theta_bar, &widen(&gradients.theta), rounding);
    close(&format!("{name}: gradient of y0"), &without(&y0_bar), &widen(&gradients.y0), rounding);
    if layout == Layout::Ensemble {
        assert_eq!(bits(&without(&ys)), bits(&widen(&expected.ys)), "{name}: the others' states");
        assert_eq!(bits(&without(&y0_bar)), bits(&widen(&gradients.y0)), "{name}: the others' gradients");
    }
}

#[test]
fn a_failing_trajectory_fails_alone() {
    for layout in LAYOUTS {
        for method in [Method::Tsit5, Method::Bosh3] {
            for batch in [2, 20, 40, 70] {
                for bad in [f64::NAN, f64::INFINITY, 1e30, 0.9, -5.0] {
                    check_failures::<f64>(bad, layout, method, 1e-6, batch);
                    check_failures::<f32>(bad, layout, method, 1e-4, batch);
                }
            }
        }
    }
}

#[test]
fn fixed_steps_fail_alone_too() {
    let (problem, theta) = blow_up(1.0);
    for layout in LAYOUTS {
        for method in Method::ODE {
            for bad in [f64::NAN, 10.0] {
                let name = format!("y0 = {bad} with {method}, {layout:?}");
                let mut solver = solver::<f64>(&problem, &fixed(method, 30).layout(layout));
                let solution = solver.solve(&theta, &[0.3, bad, 0.5]).expect("a failure has a status");
                let expected = [Status::Done, Status::NonFinite, Status::Done];
                assert_eq!(solution.status, expected, "{name}");
                assert!(solution.ys[1].is_nan(), "{name}: the failed state is NaN");
                let gradients = solver.gradients(&[1.0, 1.0, 1.0]).expect("cotangents of every state");
                let expected = solver.solve(&theta, &[0.3, 0.5]).expect("a valid call");
                assert_eq!([solution.ys[0], solution.ys[2]], [expected.ys[0], expected.ys[1]], "{name}: the others");
                let others = solver.gradients(&[1.0, 1.0]).expect("cotangents of every state");
                close(&format!("{name}: gradient of theta"), &gradients.theta, &others.theta, 1e-14);
                assert_eq!(gradients.y0, [others.y0[0], 0.0, others.y0[1]], "{name}: gradient of y0");
            }
        }
    }
}

#[test]
fn a_batch_in_which_all_fail_says_so() {
    let (problem, theta) = blow_up(1.0);
    for layout in LAYOUTS {
        for save in [SaveAt::End, SaveAt::Times(vec![0.0, 0.5]), SaveAt::Steps, SaveAt::Dense] {
            let name = format!("{save:?}, {layout:?}");
            let mut solver = solver::<f64>(&problem, &adaptive(Method::Tsit5, 1e-6).layout(layout).save_at(save));
            let solution = solver.solve(&theta, &[f64::NAN, f64::NAN]).expect("failures have a status");
            assert_eq!(solution.status, [Status::NonFinite; 2], "{name}");
            assert!(solution.ys.iter().all(|y| y.is_nan()), "{name}: {:?}", solution.ys);
            assert_eq!(solution.ys.len(), solution.ts.count(2), "{name}: a state a time");
            let gradients = solver.gradients(&vec![1.0; solution.ys.len()]).expect("cotangents of every state");
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
fn a_dense_solution_ends_where_its_trajectory_failed() {
    let (problem, theta) = blow_up(1.0);
    for layout in LAYOUTS {
        let options = adaptive(Method::Tsit5, 1e-6).layout(layout).save_at(SaveAt::Dense);
        let solution = solve::<f64>(&problem, &options, &theta, &[0.4, f64::NAN, 0.9]);
        let dense = solution.dense.expect("a dense solution");
        let good = dense.evaluate(0, 1.0).expect("it came that far")[0];
        assert!((good - blow_up_exact(0.4, 1.0)).abs() < 1e-5, "{layout:?}: the good trajectory");
        for t in [0.0, 0.5] {
            let error = dense.evaluate(1, t).expect_err("it failed at once");
            assert_eq!(argument(&error), "t", "{layout:?}: {error}");
        }
        // The pole is at 0.617.
        for t in [0.0, 0.31, 0.6] {
            let found = dense.evaluate(2, t).expect("it came that far")[0];
            assert!((found / blow_up_exact(0.9, t) - 1.0).abs() < 1e-4, "{layout:?}: {found} at {t}");
        }
        let error = dense.evaluate(2, 0.7).expect_err("it did not come that far").to_string();
        assert!(error.contains("integrated from 0 to 0.617"), "{layout:?}: {error}");
    }
}

fn check_states_before_failure<R: Scalar>(layout: Layout, tolerance: f64) {
    let (problem, theta) = blow_up(1.0);
    let times = SaveAt::Times(vec![0.0, 0.1, 0.2, 0.9, 1.0]);
    // The first of them fails, of 33 all that do, or everybody.
    let rows = |bad: &[usize], batch: usize| -> Vec<f64> {
        (0..batch)
            .map(|row| if bad.contains(&row) { 1.0 + row as f64 / 200.0 } else { 0.3 + row as f64 / 200.0 })
            .collect()
    };
    for (bad, batch) in [(vec![0], 1), (vec![1], 3), (vec![0, 7, 32], 33), (vec![0, 1, 2], 3)] {
        for (save, stops) in [
            (times.clone(), false),
            (SaveAt::End, false),
            (SaveAt::Steps, false),
            (SaveAt::Dense, false),
            (times.clone(), true),
        ] {
            for method in [Method::Tsit5, Method::Bosh3] {
                let y0 = rows(&bad, batch);
                let mut options = adaptive(method, tolerance).layout(layout).save_at(save.clone());
                if stops {
                    // Enough for 0.2, and not for the end.
                    options = options.max_steps(if method == Method::Tsit5 { 12 } else { 150 });
                }
                let name = format!("{} of {batch}, {method}, {layout:?}, {save:?}, {}", bad.len(), R::NAME);
                let mut solver = solver::<R>(&problem, &options);
                for tape in [false, true] {
                    let solve = if tape { Solver::solve } else { Solver::predict };
                    let solution = solve(&mut solver, &cast(&theta), &cast(&y0)).expect("failures have a status");
                    for (row, status) in solution.status.iter().enumerate() {
                        assert!(
                            stops || (*status == Status::Done) != bad.contains(&row),
                            "{name}: row {row} is {status}"
                        );
                    }
                    let bound = 1e3 * tolerance;
                    let kept = known_until_failure(&name, &solution, bound, |row, t, y| blow_up_defect(y0[row], t, y));
                    let least = match save {
                        SaveAt::End => 0,
                        SaveAt::Times(_) => 3 * bad.len(),
                        _ => 5 * bad.len(),
                    };
                    assert!(kept >= least, "{name}: {kept} states of failed trajectories, not {least}");
                    if tape {
                        let ones = vec![R::ONE; solution.ys.len()];
                        let bars = widen(&solver.gradients(&ones).expect("cotangents of every state").y0);
                        for (row, status) in solution.status.iter().enumerate() {
                            assert_eq!(bars[row] == 0.0, *status != Status::Done, "{name}: gradient of row {row}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn states_that_were_reached_outlive_a_failure() {
    for layout in LAYOUTS {
        check_states_before_failure::<f64>(layout, 1e-7);
        check_states_before_failure::<f32>(layout, 1e-5);
    }
}

#[test]
fn fixed_steps_save_what_they_reach_too() {
    let (problem, _) = blow_up(1.0);
    for layout in LAYOUTS {
        let options = fixed(Method::Rk4, 400).layout(layout).save_at(SaveAt::Times(vec![0.0, 0.1, 0.2, 0.9]));
        let solution = solve::<f64>(&problem, &options, &[1.0, 0.0], &[1.0, 0.3]);
        assert_eq!(solution.status, [Status::NonFinite, Status::Done], "{layout:?}");
        let kept = known_until_failure("fixed", &solution, 1e-6, |row, t, y| blow_up_defect([1.0, 0.3][row], t, y));
        assert_eq!(kept, 3, "{layout:?}: at 0, 0.1 and 0.2");
    }
}
