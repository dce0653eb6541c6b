//! Intervals and saved times of trajectories' own, against solves of each row alone.

use super::{argument, random_field};
use crate::oracle::{LAYOUTS, adaptive, bits, cast, close, cpu, differences, distance, fixed, numbers, solver, widen};
use fewsteps::{
    Adjoint, Checkpoints, Control, Diffusion, EndTime, Error, Field, Gradients, Interpolation, Layout, Method, Mlp,
    Problem, SaveAt, SavedTimes, Scalar, Solution, Solver, SolverOptions, Status, TimeInput, Times, Tolerances,
};

/// Intervals and saved times.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    pub(crate) spans: Vec<[f64; 2]>,
    pub(crate) saved: Vec<Vec<f64>>,
}

impl Rows {
    pub(crate) fn times(&self) -> Times {
        Times::within(&self.spans, &self.saved).expect("rows of times")
    }

    pub(crate) fn select(&self, rows: &[usize]) -> Self {
        Self {
            spans: rows.iter().map(|row| self.spans[*row]).collect(),
            saved: rows.iter().map(|row| self.saved[*row].clone()).collect(),
        }
    }

    /// Rows of all kinds: forwards and, if `both`, backwards too; of no time, saved at their start alone, at either end, and
    /// with times that come twice.
    pub(crate) fn of_all_kinds(count: usize, both: bool) -> Self {
        let mut rows = Self::default();
        for row in 0..count {
            let draws = numbers(row as u64 + 100, 12);
            let (t0, length) = (3.0 * draws[0], 0.2 + (1.0 + draws[1]));
            let direction = if both && row % 5 == 3 { -1.0 } else { 1.0 };
            let span = match row {
                // Its length is rounded: `t0 + (t1 - t0)` is not `t1`.
                _ if row % 6 == 2 => [-0.3, 0.9],
                _ if row % 13 == 9 => [0.0, direction * 1e-13],
                _ if row % 7 == 4 => [t0, t0],
                _ => [t0, t0 + direction * length],
            };
            let [t0, t1] = span;
            let mut shares: Vec<f64> = draws[2..3 + row % 9].iter().map(|x| 0.5 + 0.5 * x).collect();
            shares.sort_by(f64::total_cmp);
            if row % 3 != 1 {
                shares.extend([1.0, 1.0]);
            }
            if row % 4 == 1 {
                shares.insert(0, 0.0);
                shares.insert(1, shares[1]);
            }
            if row % 11 == 6 {
                shares = vec![0.0];
            }
            rows.saved.push(shares.iter().map(|s| if *s == 1.0 { t1 } else { t0 + s * (t1 - t0) }).collect());
            rows.spans.push(span);
        }
        rows
    }
}

/// A field that sees the time, and its parameters.
pub(crate) fn timed(seed: u64) -> (Mlp, Vec<f64>) {
    let field = Mlp::new([2, 6, 2]).time_input(TimeInput::Every);
    let theta = numbers(seed, field.parameter_count());
    (field, theta)
}

/// The problem on another interval.
pub(crate) fn on(problem: &Problem, [t0, t1]: [f64; 2]) -> Problem {
    let mut problem = problem.clone();
    (problem.t0, problem.t1) = (t0, t1);
    problem
}

/// A row solved alone.
fn alone<R: Scalar>(
    problem: &Problem,
    options: &SolverOptions,
    theta: &[f64],
    (span, saved): ([f64; 2], &[f64]),
    y0: &[f64],
    bars: &[R],
) -> (Solution<R>, Gradients<R>) {
    let problem = on(problem, span);
    let options = options.clone().save_at(SaveAt::Times(saved.to_vec()));
    let mut solver = solver::<R>(&problem, &options);
    let solution = solver.solve(&cast(theta), &cast(y0)).expect("solved alone");
    let gradients = solver.gradients(bars).expect("solved");
    (solution, gradients)
}

/// The cells of a row, `[times][D]`, of `[slots][B][D]`.
pub(crate) fn row_of<R: Copy>(cells: &[R], [row, batch, dim]: [usize; 3], times: usize) -> Vec<R> {
    (0..times).flat_map(|slot| cells[(slot * batch + row) * dim..][..dim].iter().copied()).collect()
}

/// Cotangents `[slots][B][D]`, NaN where a row has no time.
pub(crate) fn bars_of<R: Scalar>(times: &Times, dim: usize) -> Vec<R> {
    let count = times.slots() * times.rows() * dim;
    let has = |i: usize| i / dim / times.rows() < times.saved(i / dim % times.rows()).len();
    let numbers = numbers(5, count).into_iter().enumerate();
    numbers.map(|(i, x)| R::from_f64(if has(i) { x } else { f64::NAN })).collect()
}

fn check_alone<R: Scalar>(options: &SolverOptions, rows: &Rows, bound: f64) {
    let (field, theta) = timed(3);
    let (batch, dim) = (rows.spans.len(), 2);
    let name = format!("{batch} rows, {} with {:?}, {}", options.method, options.adjoint, R::NAME);
    let problem = Problem::ode(field, -7.0, 11.0);
    let (times, y0) = (rows.times(), numbers(9, batch * dim));
    let bars = bars_of::<R>(&times, dim);
    let mut together = Solver::<R>::new(&cpu(2), &problem, options).expect("a solver");
    together.set_times(Some(times.clone())).expect("own times");
    let streamed = together.predict(&cast(&theta), &cast(&y0)).expect("predicted");
    let solution = together.solve(&cast(&theta), &cast(&y0)).expect("solved");
    let gradients = together.gradients(&bars).expect("solved");
    assert_eq!((bits(&streamed.ys), &streamed.stats), (bits(&solution.ys), &solution.stats), "{name}: with a tape");
    assert_eq!(solution.ts, SavedTimes::Own(times.clone()), "{name}: the times asked for");
    assert_eq!(solution.ts.count(batch), times.count(), "{name}");
    let mut theta_bar = vec![0.0; theta.len()];
    for row in 0..batch {
        let (own, place) = (times.saved(row), [row, batch, dim]);
        let bars = row_of(&bars, place, own.len());
        let y0 = &y0[row * dim..][..dim];
        let (expected, single) = alone(&problem, options, &theta, (rows.spans[row], own), y0, &bars);
        let found = row_of(&solution.ys, place, own.len());
        assert_eq!(bits(&found), bits(&expected.ys), "{name}: states of row {row}, {:?}", rows.spans[row]);
        assert_eq!(solution.ideal_steps.get(row), expected.ideal_steps.first(), "{name}: ideal steps of row {row}");
        assert_eq!(
            (solution.stats[row], solution.status[row]),
            (expected.stats[0], expected.status[0]),
            "{name}: {row}"
        );
        for slot in own.len()..times.slots() {
            assert!(
                solution.ys[(slot * batch + row) * dim..][..dim].iter().all(|y| y.to_f64().is_nan()),
                "{name}: row {row}"
            );
        }
        close(
            &format!("{name}: y0 of row {row}"),
            &widen(&gradients.y0[row * dim..][..dim]),
            &widen(&single.y0),
            bound,
        );
        theta_bar.iter_mut().zip(widen(&single.theta)).for_each(|(sum, bar)| *sum += bar);
    }
    close(&format!("{name}: parameters"), &widen(&gradients.theta), &theta_bar, bound);
}

#[test]
fn rows_of_an_ensemble_are_solved_as_if_alone() {
    let ensemble = |options: SolverOptions| options.layout(Layout::Ensemble);
    for batch in [1, 5, 33, 70] {
        let rows = Rows::of_all_kinds(batch, true);
        check_alone::<f64>(&ensemble(adaptive(Method::Tsit5, 1e-6)), &rows, 1e-12);
    }
    let rows = Rows::of_all_kinds(33, true);
    check_alone::<f32>(&ensemble(adaptive(Method::Bosh3, 1e-3)), &rows, 1e-5);
    check_alone::<f64>(&ensemble(fixed(Method::Rk4, 7)), &rows, 1e-12);
    check_alone::<f64>(&ensemble(adaptive(Method::Dopri5, 1e-4)).largest_step(0.11), &rows, 1e-12);
    for adjoint in [Adjoint::Discrete { checkpoints: Checkpoints::Stride(3) }, Adjoint::Reversible] {
        check_alone::<f64>(&ensemble(adaptive(Method::Tsit5, 1e-5)).adjoint(adjoint), &rows, 1e-12);
    }
}

#[test]
fn a_shared_share_of_the_interval_takes_every_row_to_its_times() {
    for (options, bound) in [(adaptive(Method::Tsit5, 1e-10), 1e-7), (fixed(Method::Rk4, 200), 1e-7)] {
        for batch in [3, 33, 70] {
            let rows = Rows::of_all_kinds(batch, true);
            let (field, theta) = timed(3);
            let (problem, times) = (Problem::ode(field, 0.0, 1.0), rows.times());
            let (y0, bars) = (numbers(9, batch * 2), bars_of::<f64>(&times, 2));
            let mut together = Solver::<f64>::new(&cpu(2), &problem, &options).expect("a solver");
            together.set_times(Some(times.clone())).expect("own times");
            let solution = together.solve(&theta, &y0).expect("solved").check().expect("every row");
            let gradients = together.gradients(&bars).expect("solved");
            let mut theta_bar = vec![0.0; theta.len()];
            for row in 0..batch {
                let (own, place) = (times.saved(row), [row, batch, 2]);
                let (bars, y0) = (row_of(&bars, place, own.len()), &y0[row * 2..][..2]);
                let exact = adaptive(Method::Tsit5, 1e-12);
                let (expected, single) = alone(&problem, &exact, &theta, (rows.spans[row], own), y0, &bars);
                let error = distance(&row_of(&solution.ys, place, own.len()), &expected.ys);
                assert!(error < bound, "row {row} of {batch}, {:?}: {error:e}", rows.spans[row]);
                let error = distance(&gradients.y0[row * 2..][..2], &single.y0);
                assert!(error < 30.0 * bound, "row {row} of {batch}, {:?}: gradient {error:e}", rows.spans[row]);
                theta_bar.iter_mut().zip(single.theta).for_each(|(sum, bar)| *sum += bar);
            }
            close("parameters", &gradients.theta, &theta_bar, 30.0 * bound);
        }
    }
}

/// The same steps as of a batch that shares its interval, whatever its length: the automatic first one too.
#[test]
fn rows_of_one_interval_are_a_batch_of_it() {
    let (field, theta) = timed(3);
    for span in [[0.5, 3.2], [2.0, -1.0], [0.0, 0.01]] {
        let (problem, y0) = (on(&Problem::ode(field.clone(), 0.0, 1.0), span), numbers(9, 70));
        let saved: Vec<f64> = [0.0, 0.2, 0.2, 0.77, 1.0].iter().map(|s| span[0] + s * (span[1] - span[0])).collect();
        let options = adaptive(Method::Tsit5, 1e-6);
        let mut shared = solver::<f64>(&problem, &options.clone().save_at(SaveAt::Times(saved.clone())));
        let mut own = solver::<f64>(&problem, &options);
        own.set_times(Some(Times::within(&vec![span; 35], &vec![saved; 35]).expect("rows"))).expect("own times");
        let [expected, found] = [&mut shared, &mut own].map(|solver| solver.solve(&theta, &y0).expect("solved"));
        assert_eq!(found.stats, expected.stats, "{span:?}");
        assert!(distance(&found.ideal_steps, &expected.ideal_steps) < 1e-6, "{span:?}");
        close("states", &found.ys, &expected.ys, 1e-12);
        let bars = numbers(4, found.ys.len());
        let [expected, found] = [&mut shared, &mut own].map(|solver| solver.gradients(&bars).expect("solved"));
        close("parameters", &found.theta, &expected.theta, 1e-11);
        close("initial states", &found.y0, &expected.y0, 1e-11);
    }
}

/// With fixed steps the discrete adjoint is the whole derivative.
#[test]
fn gradients_through_own_times_are_those_of_differences() {
    let rows = Rows::of_all_kinds(35, true);
    let (times, (field, theta)) = (rows.times(), timed(4));
    let (y0, problem) = (numbers(10, 70), Problem::ode(field, 0.0, 1.0));
    let bars = bars_of::<f64>(&times, 2);
    for layout in LAYOUTS {
        for adjoint in [Adjoint::default(), Adjoint::Reversible] {
            let options = fixed(Method::Bosh3, 4).layout(layout).adjoint(adjoint);
            let mut solver = solver::<f64>(&problem, &options);
            solver.set_times(Some(times.clone())).expect("own times");
            solver.solve(&theta, &y0).expect("solved");
            let found = solver.gradients(&bars).expect("solved");
            let mut loss = |theta: &[f64], y0: &[f64]| {
                let ys = solver.predict(theta, y0).expect("predicted").ys;
                ys.iter().zip(&bars).filter(|(y, _)| !y.is_nan()).map(|(y, bar)| y * bar).sum()
            };
            let name = format!("{layout:?}, {adjoint:?}");
            close(&name, &found.theta, &differences(&theta, |theta| loss(theta, &y0)), 1e-8);
            close(&name, &found.y0, &differences(&y0, |y0| loss(&theta, y0)), 1e-8);
        }
    }
}

#[test]
fn neighbours_order_and_padding_change_nothing() {
    let rows = Rows::of_all_kinds(41, true);
    let (field, theta) = timed(3);
    let (problem, y0) = (Problem::ode(field, 0.0, 1.0), numbers(9, 82));
    let solve = |rows: &Rows, y0: &[f64], layout| {
        let mut solver = solver::<f64>(&problem, &adaptive(Method::Tsit5, 1e-6).layout(layout));
        solver.set_times(Some(rows.times())).expect("own times");
        (solver.solve(&theta, y0).expect("solved"), solver.gradients(&bars_of(&rows.times(), 2)).expect("solved"))
    };
    for layout in LAYOUTS {
        let (solution, _) = solve(&rows, &y0, layout);
        // Another order.
        let order: Vec<usize> = (0..41).map(|row| (row * 16 + 5) % 41).collect();
        let moved: Vec<f64> = order.iter().flat_map(|row| y0[2 * row..][..2].to_vec()).collect();
        let (other, _) = solve(&rows.select(&order), &moved, layout);
        for (place, row) in order.iter().enumerate() {
            let times = rows.saved[*row].len();
            let [here, there] = [(&other, place), (&solution, *row)].map(|(s, row)| row_of(&s.ys, [row, 41, 2], times));
            if layout == Layout::Ensemble {
                assert_eq!(bits(&here), bits(&there), "row {row}");
            } else {
                assert!(distance(&here, &there) < 1e-12, "row {row}: sums in another order");
            }
        }
        // A neighbour that rests, with as many times as it likes.
        let mut more = rows.clone();
        more.spans.push([2.5, 2.5]);
        more.saved.push(vec![2.5; 60]);
        let with: Vec<f64> = y0.iter().copied().chain([0.3, -0.4]).collect();
        let (padded, gradients) = solve(&more, &with, layout);
        for (row, saved) in rows.saved.iter().enumerate() {
            let there = row_of(&padded.ys, [row, 42, 2], saved.len());
            assert_eq!(bits(&there), bits(&row_of(&solution.ys, [row, 41, 2], saved.len())), "{layout:?}: row {row}");
        }
        assert_eq!(row_of(&padded.ys, [41, 42, 2], 60), [0.3, -0.4].repeat(60), "{layout:?}: it rests");
        let bars = row_of(&bars_of::<f64>(&more.times(), 2), [41, 42, 2], 60);
        let sum = |d: usize| bars[d..].iter().step_by(2).sum::<f64>();
        close("all its cotangents are of y0", &gradients.y0[82..], &[sum(0), sum(1)], 1e-12);
        assert_eq!(padded.status[41], Status::Done);
    }
}

/// `y' = 1/y` has a pole where a row rests.
#[test]
fn a_row_may_rest_at_a_pole() {
    let field = Field::build(1, |f| f.positive("rate", &[1.3]) / f.state()).expect("a field");
    let theta = field.initialize::<f64>(0);
    let times = Times::series(&[vec![0.0, 0.5, 1.0], vec![3.0, 3.0], vec![1.0, 1.7]]).expect("series");
    for layout in LAYOUTS {
        for adjoint in [Adjoint::default(), Adjoint::Reversible] {
            let options = adaptive(Method::Tsit5, 1e-9).layout(layout).adjoint(adjoint);
            let mut solver = solver::<f64>(&Problem::ode(field.clone(), 0.0, 1.0), &options);
            solver.set_times(Some(times.clone())).expect("own times");
            let ys = solver.solve(&theta, &[1.0, 0.0, 2.0]).expect("solved").check().expect("all done").ys;
            let at = |y0: f64, t: f64| (y0 * y0 + 2.0 * 1.3 * t).sqrt();
            let expected = [1.0, 0.0, 2.0, at(1.0, 0.5), 0.0, at(2.0, 0.7), at(1.0, 1.0)];
            let error = distance(&ys[..7], &expected);
            assert!(error < 1e-7 && ys[7].is_nan() && ys[8].is_nan(), "{layout:?}, {adjoint:?}: {ys:?}");
            let gradients = solver.gradients(&[1.0; 9]).expect("solved");
            assert_eq!(gradients.y0[1], 2.0, "{layout:?}, {adjoint:?}");
            assert!(gradients.theta.iter().all(|bar| bar.is_finite()), "{layout:?}, {adjoint:?}: {gradients:?}");
        }
    }
    // All of them.
    for layout in LAYOUTS {
        let mut solver =
            solver::<f64>(&Problem::ode(field.clone(), 0.0, 1.0), &adaptive(Method::Tsit5, 1e-9).layout(layout));
        solver.set_times(Some(Times::series(&[vec![1.0], vec![2.0, 2.0]]).expect("series"))).expect("own times");
        let solution = solver.solve(&theta, &[0.0, 2.0]).expect("solved").check().expect("all done");
        assert_eq!((solution.nfe(), &solution.ys[..2]), (0, &[0.0, 2.0][..]), "{layout:?}");
        assert_eq!(solver.gradients(&[1.0; 4]).expect("solved").y0, [1.0, 2.0], "{layout:?}");
    }
}

#[test]
fn a_row_that_fails_has_its_own_status() {
    let (problem, theta) = crate::oracle::blow_up(1.0);
    let rows = Rows {
        spans: vec![[0.0, 0.4], [5.0, 6.0], [0.0, 0.0], [2.0, 2.3]],
        saved: vec![vec![0.2, 0.4], vec![5.1, 5.3, 5.6, 6.0], vec![0.0], vec![2.0, 2.3]],
    };
    for layout in LAYOUTS {
        let mut solver = solver::<f64>(&problem, &adaptive(Method::Tsit5, 1e-8).layout(layout));
        solver.set_times(Some(rows.times())).expect("own times");
        let solution = solver.solve(&theta, &[1.0, 1.0, f64::INFINITY, 0.5]).expect("solved");
        let done = solution.status.iter().map(|status| *status == Status::Done).collect::<Vec<_>>();
        assert_eq!(done, [true, false, false, true], "{layout:?}: {:?}", solution.status);
        let at = crate::oracle::blow_up_exact;
        let [first, second, last] =
            [(0, 2), (1, 4), (3, 2)].map(|(row, times)| row_of(&solution.ys, [row, 4, 1], times));
        assert!(distance(&first, &[at(1.0, 0.2), at(1.0, 0.4)]) < 1e-5, "{layout:?}: {first:?}");
        assert!(distance(&second[..2], &[at(1.0, 0.1), at(1.0, 0.3)]) < 1e-5, "{layout:?}: {second:?}");
        assert!(second[2].is_nan() && second[3].is_nan(), "{layout:?}: {second:?}");
        assert!(distance(&last, &[0.5, at(0.5, 0.3)]) < 1e-6, "{layout:?}: {last:?}");
        let gradients = solver.gradients(&[1.0; 16]).expect("solved");
        assert!(gradients.theta.iter().chain(&gradients.y0).all(|bar| bar.is_finite()), "{layout:?}: {gradients:?}");
        assert_eq!(gradients.y0[1..3], [0.0, 0.0], "{layout:?}: nothing of what failed");
    }
}

#[test]
fn controls_keep_their_time() {
    let rows = Rows::of_all_kinds(35, false);
    let (times, y0) = (rows.times(), numbers(2, 35));
    for (interpolation, layout, bound) in [
        (Interpolation::Hold, Layout::Ensemble, 0.0),
        (Interpolation::Linear, Layout::Ensemble, 0.0),
        (Interpolation::Cubic, Layout::Ensemble, 0.0),
        (Interpolation::Cubic, Layout::Lockstep, 1e-6),
    ] {
        let field = Field::build(1, |f| f.control("inflow") - f.control("rate") * f.state()).expect("a field");
        let knots: Vec<f64> = (0..12).map(|i| -4.0 + 0.7 * f64::from(i)).collect();
        // Of an interval that has but few of the knots.
        let problem = Problem::ode(field, 0.0, 0.5)
            .driven_by(Control::new("inflow", interpolation, knots).with_gradient())
            .driven_by(Control::constant("rate").with_gradient());
        let (inflow, rates) = (numbers(3, 12), numbers(4, 35));
        let options = adaptive(Method::Tsit5, 1e-10).layout(layout);
        let mut together = solver::<f64>(&problem, &options);
        together.set_times(Some(times.clone())).expect("own times");
        together.set_control("inflow", &inflow).expect("values");
        together.set_control("rate", &rates).expect("values");
        let solution = together.solve(&[], &y0).expect("solved").check().expect("all done");
        let bars = bars_of::<f64>(&times, 1);
        let gradients = together.gradients(&bars).expect("solved");
        let mut of_inflow = vec![0.0; 12];
        for row in 0..35 {
            let own = times.saved(row);
            let problem = on(&problem, rows.spans[row]);
            let mut single = solver::<f64>(&problem, &options.clone().save_at(SaveAt::Times(own.to_vec())));
            single.set_control("inflow", &inflow).expect("values");
            single.set_control("rate", &rates[row..][..1]).expect("values");
            let expected = single.solve(&[], &y0[row..][..1]).expect("solved").ys;
            let error = distance(&row_of(&solution.ys, [row, 35, 1], own.len()), &expected);
            assert!(error <= bound, "{interpolation:?}, {layout:?}, row {row}: {error:e}");
            let bars = single.gradients(&row_of(&bars, [row, 35, 1], own.len())).expect("solved");
            let error = (gradients.controls["rate"][row] - bars.controls["rate"][0]).abs();
            assert!(error <= 1e-12 + 10.0 * bound, "{interpolation:?}, {layout:?}, rate {row}: {error:e}");
            of_inflow.iter_mut().zip(&bars.controls["inflow"]).for_each(|(sum, bar)| *sum += bar);
        }
        close("inflow", &gradients.controls["inflow"], &of_inflow, 1e-11 + 10.0 * bound);
    }
}

#[test]
fn lengths_are_in_units_of_time() {
    // Of the longest row: a first step of half its time, and none longer than a fifth.
    let field = Field::build(1, |f| f.state() * 0.0 + 1.0).expect("a field");
    let times = Times::ends(&[[0.0, 10.0], [1.0, 2.0]]).expect("intervals");
    let first = crate::oracle::with_first_step(Method::Heun, 1e-3, 5.0);
    let steps = |options: SolverOptions| {
        let mut solver = solver::<f64>(&Problem::ode(field.clone(), 0.0, 1.0), &options);
        solver.set_times(Some(times.clone())).expect("own times");
        let solution = solver.solve(&[], &[0.0, 0.0]).expect("solved").check().expect("done");
        assert!(distance(&solution.ys, &[10.0, 1.0]) < 1e-12);
        solution.stats.iter().map(|stats| stats.accepted).collect::<Vec<_>>()
    };
    assert_eq!(steps(first.clone()), [2], "half the longest row, and the rest");
    assert_eq!(steps(first.clone().largest_step(2.0)), [5], "a fifth of the longest row");
    assert_eq!(steps(first.clone().layout(Layout::Ensemble)), [2, 1]);
    assert_eq!(steps(first.layout(Layout::Ensemble).largest_step(2.0)), [5, 1]);
}

#[test]
fn a_million_times_in_a_row() {
    let field = Field::build(1, |f| -f.state()).expect("a field");
    let row: Vec<f64> = (0..1_000_000).map(|i| f64::from(i) * 1e-6).collect();
    let times = Times::series(&[row, vec![0.0, 1.0]]).expect("series");
    for layout in LAYOUTS {
        let options = adaptive(Method::Tsit5, 1e-5).layout(layout);
        let problem = Problem::ode(field.clone(), 0.0, 1.0);
        let mut solver = solver::<f32>(&problem, &options);
        solver.set_times(Some(times.clone())).expect("own times");
        let ys = solver.predict(&[], &[1.0, 2.0]).expect("solved").check().expect("done").ys;
        assert_eq!(ys.len(), 2_000_000);
        assert!((ys[1_400_000] - (-0.7_f32).exp()).abs() < 1e-5 && ys[1_400_001].is_nan());
        assert!((ys[3] - 2.0 * (-1.0_f32).exp()).abs() < 1e-5);
        let mut bounded = Solver::<f32>::new(&cpu(1), &problem, &options.memory_limit(100_000_000)).expect("a solver");
        bounded.predict(&[], &[1.0, 2.0]).expect("at the end alone");
        bounded.set_times(Some(times.clone())).expect("own times");
        let error = bounded.predict(&[], &[1.0, 2.0]).expect_err("256 MB");
        assert!(matches!(error, Error::Memory { needed: 250_000_000.., .. }), "{error}");
    }
}

#[test]
fn what_takes_no_times_of_rows_own_says_so() {
    let (field, theta) = random_field(2, 3, 1);
    let problem = Problem::ode(field.clone(), 0.0, 1.0);
    let (two, both) = (Times::ends(&[[0.0, 1.0], [0.0, 2.0]]), Times::ends(&[[0.0, 1.0], [2.0, 0.0]]));
    let (two, both) = (two.expect("intervals"), both.expect("intervals"));
    let plain = adaptive(Method::Tsit5, 1e-5);
    let ensemble = plain.clone().layout(Layout::Ensemble);
    let noisy = Problem::sde(field.clone(), Diffusion::ito(Mlp::new([2, 2])), 0.0, 1.0);
    let driven = Field::build(1, |f| f.control("u") - f.state()).expect("a field");
    let driven = Problem::ode(driven, 0.0, 1.0).driven_by(Control::new("u", Interpolation::Linear, [0.0, 0.5, 1.0]));
    let far = Times::ends(&[[0.0, 1.0], [1e9, 1e9 + 1.0]]).expect("intervals");
    for (times, problem, options, named) in [
        (&two, &noisy, SolverOptions::sde(Tolerances::both(0.1)), "Problem::diffusion"),
        (&two, &problem, plain.clone().save_at(SaveAt::Steps), "SolverOptions::save_at"),
        (&two, &problem, plain.clone().save_at(SaveAt::Dense), "SolverOptions::save_at"),
        (&two, &problem, plain.clone().adjoint(Adjoint::Interpolating), "SolverOptions::adjoint"),
        (&two, &problem, plain.clone().adjoint(Adjoint::Backsolve), "SolverOptions::adjoint"),
        (&two, &problem, plain.clone().stop_at([0.5]), "SolverOptions::stop_at"),
        (&both, &problem, ensemble.clone().stop_at([0.5]), "SolverOptions::stop_at"),
        (&two, &driven, plain.clone(), "Problem::controls"),
        (&both, &driven, ensemble.clone(), "Problem::controls"),
        (&far, &problem, fixed(Method::Tsit5, 1_000_000), "StepControl::Fixed::steps"),
    ] {
        let mut solver = Solver::<f64>::new(&cpu(1), problem, &options).expect("a solver");
        let error = solver.set_times(Some(times.clone())).expect_err(named);
        assert_eq!(argument(&error), named, "{error}");
        solver.set_times(None).expect("nothing to refuse");
    }
    let mut solver = solver::<f64>(&problem, &ensemble.stop_at([0.5]));
    solver.set_times(Some(two.clone())).expect("all forwards");
    let error = solver.solve(&theta, &[0.0; 6]).expect_err("three rows");
    assert!(error.to_string().contains("Times = 2 rows: the batch has 3 trajectories"), "{error}");
    solver.regularize(&EndTime::within(0.3).into(), 0, 0).expect("a regularizer");
    let error = solver.solve(&theta, &[0.0; 4]).expect_err("a drawn end");
    assert_eq!(argument(&error), "Regularizer::EndTime");
    solver.set_times(None).expect("the problem's own again");
    assert_eq!(solver.solve(&theta, &[0.0; 6]).expect("three rows").ys.len(), 6);
}
