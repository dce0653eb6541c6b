//! Times that are saved, times where steps end, and no time at all.

use super::{all_done, predict, random_field, solve};
use crate::oracle::{
    Known, LAYOUTS, adaptive, bits, cast, close, distance, fixed, largest, linear, numbers, pulse, solver, step_times,
    widen, zoo,
};
use fewsteps::{Layout, Method, Problem, SaveAt, SavedTimes, Scalar, Stats};

#[test]
fn steps_begin_and_end_exactly() {
    for backwards in [false, true] {
        for known in zoo().into_iter().take(5).map(|k| if backwards { k.backwards() } else { k }) {
            for layout in LAYOUTS {
                for control in [adaptive(Method::Tsit5, 1e-5), adaptive(Method::Heun, 1e-3), fixed(Method::Rk4, 13)] {
                    let name = format!("{} from {} with {}, {layout:?}", known.name, known.problem.t0, control.method);
                    let rows = known.rows(4);
                    let options = control.layout(layout).save_at(SaveAt::Steps);
                    let solution = predict::<f64>(&known, &options, &rows);
                    let end = predict::<f64>(&known, &options.clone().save_at(SaveAt::End), &rows);
                    let dim = known.y0.len();
                    assert_eq!(solution.ys.len(), solution.ts.count(4) * dim, "{name}: a state a time");
                    assert_eq!(solution.stats, end.stats, "{name}: saving changes no step");
                    let mut from = 0;
                    for row in 0..4 {
                        let times = step_times(&solution, row);
                        let Problem { t0, t1, .. } = known.problem;
                        assert_eq!((times[0], times[times.len() - 1]), (t0, t1), "{name}: ends of row {row}");
                        let ordered = times.windows(2).all(|w| (w[1] - w[0]) * (t1 - t0) > 0.0);
                        assert!(ordered, "{name}: times of row {row} in order: {times:?}");
                        let stats = solution.stats[row.min(solution.stats.len() - 1)];
                        assert_eq!(times.len(), stats.accepted + 1, "{name}: as many times as steps");
                        // [times][B][D] in lockstep, [times][D] trajectory by trajectory in an ensemble.
                        let state = |i: usize| match layout {
                            Layout::Lockstep => &solution.ys[(i * 4 + row) * dim..][..dim],
                            Layout::Ensemble => &solution.ys[from + i * dim..][..dim],
                            layout => panic!("no order is known of {layout:?}"),
                        };
                        assert_eq!(state(0), &rows[row * dim..][..dim], "{name}: row {row} starts at y0");
                        assert_eq!(state(times.len() - 1), &end.ys[row * dim..][..dim], "{name}: row {row} ends at y1");
                        let exact = (known.flow)(t0, &rows[row * dim..][..dim], times[2]);
                        assert!(distance(state(2), &exact) < 0.1, "{name}: row {row} at its second step");
                        from += times.len() * dim;
                    }
                }
            }
        }
    }
}

fn check_times<R: Scalar>(known: &Known, method: Method, layout: Layout, bound: f64) {
    let name = format!("{} from {} with {method}, {layout:?}, {}", known.name, known.problem.t0, R::NAME);
    let (rows, dim, batch) = (known.rows(5), known.y0.len(), 5);
    let options =
        if method.tableau().b_error.is_some() { adaptive(method, 1e-4) } else { fixed(method, 9) }.layout(layout);
    let steps = predict::<R>(known, &options.clone().save_at(SaveAt::Steps), &rows);
    let on_step = step_times(&steps, 2)[3];
    let Problem { t0, t1, .. } = known.problem;
    let at = |x: f64| t0 + x * (t1 - t0);
    // Both ends, a step's end, times between, several in one step, and duplicates of all kinds.
    let mut times = vec![t0, t0, at(1e-9), at(0.31), at(0.31), at(0.32), on_step, on_step, at(0.5), at(0.999), t1, t1];
    times.sort_by(|a, b| (a - b).total_cmp(&0.0));
    if t1 < t0 {
        times.reverse();
    }
    let solution = predict::<R>(known, &options.clone().save_at(SaveAt::Times(times.clone())), &rows);
    let dense = predict::<R>(known, &options.save_at(SaveAt::Dense), &rows);
    assert_eq!(solution.stats, dense.stats, "{name}: saving changes no step");
    assert_eq!((&steps.ts, bits(&steps.ys)), (&dense.ts, bits(&dense.ys)), "{name}: dense saves the steps too");
    assert_eq!(solution.ts, SavedTimes::Shared(times.clone()), "{name}: the times asked for");
    let dense = dense.dense.expect("a dense solution");
    for (i, &t) in times.iter().enumerate() {
        for row in 0..batch {
            let state = widen(&solution.ys[(i * batch + row) * dim..][..dim]);
            let other = widen(&dense.evaluate(row, t).expect("a time within the interval"));
            let error = distance(&state, &other);
            assert!(error <= bound * (1.0 + largest(&other)), "{name}: row {row} at {t}: off by {error:e}");
            if t == t0 {
                assert_eq!(state, widen(&cast::<R>(&rows[row * dim..][..dim])), "{name}: row {row} at t0");
            }
        }
    }
    for outside in [t0 - 0.01 * (t1 - t0), t1 + 0.01 * (t1 - t0), f64::NAN] {
        assert!(dense.evaluate(0, outside).is_err(), "{name}: nothing is known at {outside}");
    }
    assert!(dense.evaluate(batch, t1).is_err(), "{name}: there is no trajectory {batch}");
}

#[test]
fn saved_times_agree_with_the_dense_solution() {
    for known in zoo().into_iter().take(5).chain(zoo().into_iter().take(4).map(Known::backwards)) {
        for layout in LAYOUTS {
            for method in Method::ODE {
                check_times::<f64>(&known, method, layout, 1e-13);
            }
            check_times::<f32>(&known, Method::Tsit5, layout, 1e-6);
        }
    }
}

#[test]
fn a_dense_solution_is_accurate_between_steps() {
    for known in zoo() {
        for layout in LAYOUTS {
            let rows = known.rows(3);
            let options = adaptive(Method::Tsit5, 1e-7).layout(layout).save_at(SaveAt::Dense);
            let dense = predict::<f64>(&known, &options, &rows).dense.expect("a dense solution");
            for i in 0..=50 {
                let t = known.problem.t0 + (known.problem.t1 - known.problem.t0) * f64::from(i) / 50.0;
                let exact = known.exact(&rows, t);
                for (row, exact) in exact.chunks_exact(known.y0.len()).enumerate() {
                    let error = distance(&dense.evaluate(row, t).expect("a time within"), exact);
                    assert!(error < 1e-5, "{} at {t}, {layout:?}, row {row}: error {error:e}", known.name);
                }
            }
        }
    }
}

fn check_pulse<R: Scalar>(method: Method, layout: Layout) {
    let (problem, theta, end) = pulse();
    assert!((end - 0.512_57).abs() < 1e-3, "a short ramp is nearly a step");
    let name = format!("{method}, {layout:?}, {}", R::NAME);
    // Where a ramp begins and ends, in disorder, one of them twice, and the end of the interval.
    let kinks = [1.05, 1.0, 1.0 + 1.0 / 512.0, 1.0, 1.05 + 1.0 / 512.0, 2.0];
    let plain = adaptive(method, 1e-3).layout(layout);
    let over = solve::<R>(&problem, &plain, &theta, &[1.0]).ys[0].to_f64();
    assert!(method != Method::Tsit5 || over < 0.2, "{name}: a pulse is stepped over: {over}");
    for options in [plain.clone().stop_at(kinks), plain.largest_step(0.04)] {
        let solution = solve::<R>(&problem, &options.clone().save_at(SaveAt::Steps), &theta, &[1.0]);
        all_done(&name, &solution);
        let found = solution.ys[solution.ys.len() - 1].to_f64();
        assert!(
            (found - end).abs() < if options.stop_at.is_empty() { 4e-2 } else { 5e-3 },
            "{name}: {found} for {end}, {:?} {:?}",
            options.stop_at,
            options.largest_step
        );
        let times = step_times(&solution, 0);
        assert!(options.stop_at.iter().all(|stop| times.contains(stop)), "{name}: steps end at stops: {times:?}");
        let longest = times.windows(2).map(|w| w[1] - w[0]).fold(0.0, f64::max);
        assert!(longest <= options.largest_step.unwrap_or(2.0) * (1.0 + 1e-12), "{name}: a step of {longest}");
    }
}

#[test]
fn a_pulse_is_not_stepped_over() {
    for layout in LAYOUTS {
        for method in [Method::Tsit5, Method::Dopri5, Method::Bosh3, Method::Heun] {
            check_pulse::<f64>(method, layout);
            check_pulse::<f32>(method, layout);
        }
    }
}

#[test]
fn stops_cost_a_first_stage_and_change_no_solution() {
    let (field, theta) = random_field(2, 6, 8);
    let y0 = numbers(9, 2 * 3);
    let stops = [0.3, 0.31, 1.0, 1.7];
    for backwards in [false, true] {
        let (t0, t1) = if backwards { (2.0, 0.0) } else { (0.0, 2.0) };
        let problem = Problem::ode(field.clone(), t0, t1);
        for layout in LAYOUTS {
            for method in [Method::Tsit5, Method::Heun] {
                let name = format!("from {t0}, {method}, {layout:?}");
                let tolerance = if method == Method::Tsit5 { 1e-10 } else { 1e-6 };
                let save = SaveAt::Times(if backwards { vec![1.0, 0.2, 0.0] } else { vec![0.2, 1.0, 2.0] });
                let plain = adaptive(method, tolerance).layout(layout).save_at(save).max_steps(1_000_000);
                let mut free = solver::<f64>(&problem, &plain);
                let mut stopped = solver::<f64>(&problem, &plain.stop_at(stops));
                let [a, b] = [&mut free, &mut stopped].map(|s| s.solve(&theta, &y0).expect("a valid call"));
                all_done(&name, &b);
                close(&name, &b.ys, &a.ys, 1e3 * tolerance);
                let bars = numbers(10, a.ys.len());
                let [a, c] = [&mut free, &mut stopped].map(|s| s.gradients(&bars).expect("cotangents"));
                close(&format!("{name}: gradient"), &c.theta, &a.theta, 1e3 * tolerance);
                close(&format!("{name}: gradient of y0"), &c.y0, &a.y0, 1e3 * tolerance);
                for stats in &b.stats {
                    // Two for the first step; a method that shares a stage evaluates one anew after each stop.
                    let attempts = stats.accepted + stats.rejected;
                    let expected = match method {
                        Method::Tsit5 => 2 + 6 * attempts + stops.len(),
                        _ => 2 + attempts + (stats.accepted - 1),
                    };
                    assert_eq!(stats.nfe, expected, "{name}: {stats:?}");
                }
            }
        }
    }
}

#[test]
fn no_time_is_no_change() {
    let (field, theta) = random_field(2, 5, 3);
    let y0 = numbers(4, 2 * 40);
    for layout in LAYOUTS {
        for control in [adaptive(Method::Tsit5, 1e-6), fixed(Method::Rk4, 7)] {
            for (save, count) in
                [(SaveAt::End, 1), (SaveAt::Times(vec![1.5, 1.5]), 2), (SaveAt::Steps, 1), (SaveAt::Dense, 1)]
            {
                let name = format!("{save:?}, {layout:?}, {}", control.method);
                let options = control.clone().layout(layout).save_at(save.clone());
                let mut solver = solver::<f64>(&Problem::ode(field.clone(), 1.5, 1.5), &options);
                let solution = solver.solve(&theta, &y0).expect("nothing to do");
                all_done(&name, &solution);
                assert_eq!(solution.ys, y0.repeat(count), "{name}: the initial states");
                assert_eq!(solution.ts.count(40), 40 * count, "{name}: their times");
                assert!(solution.stats.iter().all(|stats| *stats == Stats::default()), "{name}: no costs");
                let bars = numbers(5, solution.ys.len());
                let gradients = solver.gradients(&bars).expect("cotangents of every state");
                let sums: Vec<f64> = (0..y0.len()).map(|i| bars.iter().skip(i).step_by(y0.len()).sum()).collect();
                close(&name, &gradients.y0, &sums, 1e-15);
                assert_eq!(gradients.theta, vec![0.0; theta.len()], "{name}: no parameter matters");
                if let Some(dense) = &solution.dense {
                    assert_eq!(dense.evaluate(3, 1.5).expect("the only time"), y0[6..8], "{name}");
                    assert!(dense.evaluate(3, 1.6).is_err(), "{name}: there is no other time");
                }
            }
        }
    }
}

#[test]
fn a_time_next_to_an_end_is_the_end() {
    let known = linear("decay", vec![vec![-1.0]], 0.3, vec![1.0]);
    let exact = (-0.3f64).exp();
    for layout in LAYOUTS {
        let sums = vec![-1e-17, 0.1, 0.1 + 0.2];
        assert!(sums[2] > 0.3, "a sum beyond the end");
        let options = adaptive(Method::Tsit5, 1e-9).layout(layout).save_at(SaveAt::Times(sums.clone()));
        let solution = predict::<f64>(&known, &options, &known.y0);
        assert_eq!(solution.ts, SavedTimes::Shared(sums), "{layout:?}: the times that were asked for");
        close("saved", &solution.ys, &[1.0, (-0.1f64).exp(), exact], 1e-8);
        let dense = predict::<f64>(&known, &options.save_at(SaveAt::Dense), &known.y0).dense.expect("dense");
        close("dense", &dense.evaluate(0, 0.1 + 0.2).expect("the end"), &[exact], 1e-8);
        assert!(dense.evaluate(0, 0.3001).is_err(), "{layout:?}: after the end");
    }
}
