//! Intervals and saved times of trajectories' own on a device, against the native engine and rows alone.

use crate::ode::own_times::{Rows, bars_of, on, row_of, timed};
use crate::oracle::{
    LAYOUTS, adaptive, bits, blow_up, cast, close, distance, fixed, gpu, numbers, solver, widen, with_first_step,
};
use fewsteps::{
    Control, Diffusion, EndTime, Error, Field, Gpu, GpuSolver, Gradients, Interpolation, Layout, Method, Mlp, Problem,
    SaveAt, SavedTimes, Solution, SolverOptions, Status, Times, Tolerances,
};

fn device(gpu: &Gpu, problem: &Problem, options: &SolverOptions, whole: bool) -> GpuSolver {
    let solver = GpuSolver::new(gpu, problem, options).expect("a valid problem");
    if whole { solver } else { solver.layer_by_layer() }
}

/// Solves rows of times of their own, and differentiates.
fn solved(
    gpu: &Gpu,
    solver: &mut GpuSolver,
    times: &Times,
    theta: &[f64],
    y0: &[f64],
) -> (Solution<f32>, Gradients<f32>) {
    solver.set_times(Some(times.clone())).expect("own times");
    let solution = gpu.block_on(solver.solve(&cast(theta), &cast(y0))).expect("solved");
    let bars = bars_of::<f32>(times, y0.len() / times.rows());
    let gradients = gpu.block_on(solver.gradients(&bars)).expect("solved");
    (solution, gradients)
}

/// The states that there are; those that there are not are NaN in both.
fn states(name: &str, found: &[f32], expected: &[f64], bound: f64) {
    let missing = |y: &f64| y.is_nan();
    assert_eq!(found.len(), expected.len(), "{name}: states");
    let found = widen(found);
    let nowhere = (0..found.len()).find(|&i| missing(&found[i]) != missing(&expected[i]));
    assert_eq!(nowhere, None, "{name}: a state that the other engine has not");
    let there = |states: &[f64]| states.iter().copied().filter(|y| !missing(y)).collect::<Vec<_>>();
    close(name, &there(&found), &there(expected), bound);
}

/// Against the native engine: statuses and costs at `f32`, states and gradients at `f64`.
fn check(gpu: &Gpu, options: &SolverOptions, rows: &Rows, whole: bool, bounds: [f64; 2]) {
    let (field, theta) = timed(3);
    let batch = rows.spans.len();
    let name = format!("{batch} rows, {} in {:?}, whole {whole}", options.method, options.layout);
    let (problem, times, y0) = (Problem::ode(field, -7.0, 11.0), rows.times(), numbers(9, 2 * batch));
    let (found, slopes) = solved(gpu, &mut device(gpu, &problem, options, whole), &times, &theta, &y0);
    let mut native = solver::<f32>(&problem, options);
    native.set_times(Some(times.clone())).expect("own times");
    let expected = native.solve(&cast(&theta), &cast(&y0)).expect("solved");
    assert_eq!(found.status, expected.status, "{name}");
    assert_eq!(found.stats, expected.stats, "{name}");
    assert_eq!(found.ts, SavedTimes::Own(times.clone()), "{name}");
    if !expected.ideal_steps.is_empty() {
        close(&format!("{name}: ideal steps"), &found.ideal_steps, &expected.ideal_steps, 5e-2);
    }
    let mut exact = solver::<f64>(&problem, options);
    exact.set_times(Some(times.clone())).expect("own times");
    let expected = exact.solve(&theta, &y0).expect("solved");
    states(&name, &found.ys, &expected.ys, bounds[0]);
    let expected = exact.gradients(&bars_of::<f64>(&times, 2)).expect("solved");
    close(&format!("{name}: parameters"), &widen(&slopes.theta), &expected.theta, bounds[1]);
    close(&format!("{name}: initial states"), &widen(&slopes.y0), &expected.y0, bounds[1]);
}

#[test]
fn rows_of_their_own_take_the_native_engines_steps() {
    let Some(gpu) = gpu() else { return };
    for batch in [1, 5, 33, 70] {
        let rows = Rows::of_all_kinds(batch, true);
        for layout in LAYOUTS {
            for whole in [true, false] {
                check(&gpu, &adaptive(Method::Bosh3, 1e-3).layout(layout), &rows, whole, [3e-5, 3e-4]);
                check(&gpu, &fixed(Method::Rk4, 7).layout(layout), &rows, whole, [1e-5, 1e-4]);
            }
        }
    }
    let rows = Rows::of_all_kinds(33, true);
    for layout in LAYOUTS {
        let checkpoints = fewsteps::Adjoint::Discrete { checkpoints: fewsteps::Checkpoints::Stride(3) };
        check(&gpu, &adaptive(Method::Bosh3, 1e-3).layout(layout).adjoint(checkpoints), &rows, true, [3e-5, 3e-4]);
        check(&gpu, &adaptive(Method::Bosh3, 1e-3).layout(layout).largest_step(0.13), &rows, true, [3e-5, 3e-4]);
    }
}

/// In an ensemble steps end at stops too, of which each row meets those in its interval.
#[test]
fn steps_of_rows_end_at_stops() {
    let Some(gpu) = gpu() else { return };
    let stops = [-1.0, -0.3, 0.4, 0.9, 2.0];
    for (batch, whole) in [(1, true), (5, false), (33, true), (33, false), (70, true)] {
        let options = adaptive(Method::Bosh3, 1e-3).layout(Layout::Ensemble).stop_at(stops);
        check(&gpu, &options, &Rows::of_all_kinds(batch, false), whole, [3e-5, 3e-4]);
        let checkpoints = fewsteps::Adjoint::Discrete { checkpoints: fewsteps::Checkpoints::Stride(3) };
        let options = adaptive(Method::Heun, 1e-2).layout(Layout::Ensemble).stop_at(stops).adjoint(checkpoints);
        check(&gpu, &options, &Rows::of_all_kinds(batch, false), whole, [3e-5, 3e-4]);
    }
    // Steps would be as long as the interval.
    let field = Field::build(1, |f| f.state() * 0.0 + 1.0).expect("a field");
    let spans = [[0.0, 3.0], [0.0, 1.0], [1.0, 1.5], [0.6, 0.9], [0.7, 0.7], [0.9, 2.5]];
    let options = with_first_step(Method::Heun, 1e-3, 5.0).layout(Layout::Ensemble).stop_at([0.5, 1.0, 2.0]);
    for whole in [true, false] {
        let mut solver = device(&gpu, &Problem::ode(field.clone(), 0.0, 3.0), &options, whole);
        let mut accepted = |spans: &[[f64; 2]]| {
            solver.set_times(Some(Times::ends(spans).expect("intervals"))).expect("own times");
            let solution = gpu.block_on(solver.solve(&[], &vec![0.0; spans.len()])).expect("solved");
            solution.check().expect("done").stats.iter().map(|stats| stats.accepted).collect::<Vec<_>>()
        };
        assert_eq!(accepted(&spans), [4, 2, 1, 1, 0, 3], "whole {whole}");
        let back: Vec<[f64; 2]> = spans.iter().map(|[t0, t1]| [*t1, *t0]).collect();
        assert_eq!(accepted(&back), [4, 2, 1, 1, 0, 3], "whole {whole}, backwards");
    }
}

/// A wide field goes layer by layer, and one that was written out as runs of its operations, or printed whole.
#[test]
fn wide_and_written_fields_do_too() {
    let Some(gpu) = gpu() else { return };
    let wide = Field::from(Mlp::new([5, 37, 5]).time_input(fewsteps::TimeInput::Every));
    let written = Field::build(2, |f| {
        let (y, t) = (f.state(), f.time());
        let rate = f.positive("rate", &[0.8]);
        let still = f.control("push");
        still * (t * 2.0).sin() - rate * y.clone() + 0.1 * (y * 1.5).cos()
    });
    let written = written.expect("a field");
    let rows = Rows::of_all_kinds(35, true);
    for (field, dim, whole) in [(wide, 5, true), (written.clone(), 2, true), (written, 2, false)] {
        let problem = Problem::ode(field.clone(), 0.0, 1.0);
        let driven = field.driven_by().next().is_some();
        let problem = if driven { problem.driven_by(Control::constant("push")) } else { problem };
        let theta: Vec<f64> = widen(&field.initialize::<f32>(3));
        let (times, y0, push) = (rows.times(), numbers(9, 35 * dim), numbers(4, 35));
        for layout in LAYOUTS {
            let name = format!("{dim} features in {layout:?}, whole {whole}");
            // With fixed steps rounding decides about nothing.
            let options = fixed(Method::Tsit5, 5).layout(layout);
            let mut device = device(&gpu, &problem, &options, whole);
            let mut native = solver::<f64>(&problem, &options);
            if driven {
                device.set_control("push", &cast(&push)).expect("values");
                native.set_control("push", &push).expect("values");
            }
            let (found, slopes) = solved(&gpu, &mut device, &times, &theta, &y0);
            native.set_times(Some(times.clone())).expect("own times");
            let expected = native.solve(&theta, &y0).expect("solved");
            assert_eq!((&found.status, &found.stats), (&expected.status, &expected.stats), "{name}");
            states(&name, &found.ys, &expected.ys, 1e-5);
            let expected = native.gradients(&bars_of::<f64>(&times, dim)).expect("solved");
            close(&name, &widen(&slopes.theta), &expected.theta, 2e-4);
            close(&name, &widen(&slopes.y0), &expected.y0, 2e-4);
        }
    }
}

#[test]
fn rows_of_an_ensemble_are_solved_as_if_alone() {
    let Some(gpu) = gpu() else { return };
    let (field, theta) = timed(3);
    let problem = Problem::ode(field, 0.0, 1.0);
    let (rows, y0) = (Rows::of_all_kinds(33, true), numbers(9, 66));
    for whole in [true, false] {
        let options = adaptive(Method::Tsit5, 1e-4).layout(Layout::Ensemble);
        let mut solver = device(&gpu, &problem, &options, whole);
        let (together, slopes) = solved(&gpu, &mut solver, &rows.times(), &theta, &y0);
        let bars = bars_of::<f32>(&rows.times(), 2);
        for row in 0..33 {
            let (one, times) = (rows.select(&[row]), rows.saved[row].len());
            solver.set_times(Some(one.times())).expect("own times");
            let alone = gpu.block_on(solver.solve(&cast(&theta), &cast(&y0[2 * row..][..2]))).expect("solved");
            let name = format!("row {row}, {:?}, whole {whole}", rows.spans[row]);
            assert_eq!(bits(&row_of(&together.ys, [row, 33, 2], times)), bits(&alone.ys), "{name}");
            assert_eq!((together.stats[row], together.status[row]), (alone.stats[0], alone.status[0]), "{name}");
            let slope = gpu.block_on(solver.gradients(&row_of(&bars, [row, 33, 2], times))).expect("solved");
            assert_eq!(bits(&slopes.y0[2 * row..][..2]), bits(&slope.y0), "{name}");
            // As a problem on that interval, whose numbers are rounded elsewhere.
            let shared = on(&problem, rows.spans[row]);
            let options = options.clone().save_at(SaveAt::Times(rows.saved[row].clone()));
            let mut shared = device(&gpu, &shared, &options, whole);
            let shared = gpu.block_on(shared.predict(&cast(&theta), &cast(&y0[2 * row..][..2]))).expect("solved");
            close(&name, &widen(&alone.ys), &widen(&shared.ys), 1e-4);
        }
    }
}

#[test]
fn neighbours_that_rest_and_padding_change_nothing() {
    let Some(gpu) = gpu() else { return };
    let (field, theta) = timed(3);
    let problem = Problem::ode(field, 0.0, 1.0);
    let (rows, y0) = (Rows::of_all_kinds(41, true), numbers(9, 82));
    let mut more = rows.clone();
    more.spans.push([2.5, 2.5]);
    more.saved.push(vec![2.5; 60]);
    let with: Vec<f64> = y0.iter().copied().chain([0.3, -0.4]).collect();
    for layout in LAYOUTS {
        for whole in [true, false] {
            let name = format!("{layout:?}, whole {whole}");
            let mut solver = device(&gpu, &problem, &adaptive(Method::Tsit5, 1e-4).layout(layout), whole);
            let (before, slopes) = solved(&gpu, &mut solver, &rows.times(), &theta, &y0);
            let (padded, gradients) = solved(&gpu, &mut solver, &more.times(), &theta, &with);
            for (row, saved) in rows.saved.iter().enumerate() {
                let there = row_of(&padded.ys, [row, 42, 2], saved.len());
                assert_eq!(bits(&there), bits(&row_of(&before.ys, [row, 41, 2], saved.len())), "{name}: row {row}");
            }
            assert_eq!(row_of(&padded.ys, [41, 42, 2], 60), [0.3, -0.4].repeat(60), "{name}: it rests");
            assert_eq!(padded.status[41], Status::Done, "{name}");
            let bars = row_of(&bars_of::<f32>(&more.times(), 2), [41, 42, 2], 60);
            let sum = |d: usize| bars[d..].iter().step_by(2).map(|x| f64::from(*x)).sum::<f64>();
            close("all its cotangents are of y0", &widen(&gradients.y0[82..]), &[sum(0), sum(1)], 1e-5);
            // Records have room for sixty times now, which changes nothing; and other rows' times are not left over.
            let (again, once_more) = solved(&gpu, &mut solver, &rows.times(), &theta, &y0);
            assert_eq!(bits(&again.ys), bits(&before.ys), "{name}");
            assert_eq!(bits(&once_more.theta), bits(&slopes.theta), "{name}");
            // Nor does what stands where a row has no time.
            let zeros: Vec<f32> =
                bars_of::<f32>(&rows.times(), 2).iter().map(|x| if x.is_nan() { 7.0 } else { *x }).collect();
            let other = gpu.block_on(solver.gradients(&zeros)).expect("solved");
            assert_eq!(bits(&other.theta), bits(&slopes.theta), "{name}");
            // The problem's own interval again.
            solver.set_times(None).expect("taken back");
            let shared = gpu.block_on(solver.solve(&cast(&theta), &cast(&y0))).expect("solved");
            let mut fresh = device(&gpu, &problem, &adaptive(Method::Tsit5, 1e-4).layout(layout), whole);
            let fresh = gpu.block_on(fresh.solve(&cast(&theta), &cast(&y0))).expect("solved");
            assert_eq!((bits(&shared.ys), shared.stats), (bits(&fresh.ys), fresh.stats), "{name}");
        }
    }
}

/// `y' = 1/y` has a pole where a row rests.
#[test]
fn a_row_may_rest_at_a_pole() {
    let Some(gpu) = gpu() else { return };
    let field = Field::build(1, |f| f.positive("rate", &[1.3]) / f.state()).expect("a field");
    let problem = Problem::ode(field, 0.0, 1.0);
    let theta: Vec<f64> = problem.field.initialize(0);
    let times = Times::series(&[vec![0.0, 0.5, 1.0], vec![3.0, 3.0], vec![1.0, 1.7]]).expect("series");
    for layout in LAYOUTS {
        for whole in [true, false] {
            let name = format!("{layout:?}, whole {whole}");
            let mut solver = device(&gpu, &problem, &adaptive(Method::Tsit5, 1e-5).layout(layout), whole);
            let (solution, gradients) = solved(&gpu, &mut solver, &times, &theta, &[1.0, 0.0, 2.0]);
            let ys = widen(&solution.check().expect("all done").ys);
            let at = |y0: f64, t: f64| (y0 * y0 + 2.0 * 1.3 * t).sqrt();
            let expected = [1.0, 0.0, 2.0, at(1.0, 0.5), 0.0, at(2.0, 0.7), at(1.0, 1.0)];
            let error = distance(&ys[..7], &expected);
            assert!(error < 1e-4 && ys[7].is_nan() && ys[8].is_nan(), "{name}: {ys:?}");
            assert!(gradients.theta.iter().chain(&gradients.y0).all(|bar| bar.is_finite()), "{name}: {gradients:?}");
            let bars = bars_of::<f32>(&times, 1);
            assert_eq!(gradients.y0[1], bars[1] + bars[4], "{name}: of a row at rest");
            // All of them rest.
            let still = Times::series(&[vec![1.0], vec![2.0, 2.0]]).expect("series");
            let (solution, gradients) = solved(&gpu, &mut solver, &still, &theta, &[0.0, 2.0]);
            let solution = solution.check().expect("all done");
            assert_eq!((solution.nfe(), &solution.ys[..2]), (0, &[0.0, 2.0][..]), "{name}");
            assert!(solution.ys[2].is_nan() && solution.ys[3] == 2.0, "{name}: {:?}", solution.ys);
            let bars = bars_of::<f32>(&still, 1);
            assert_eq!(gradients.y0, [bars[0], bars[1] + bars[3]], "{name}");
            assert_eq!(gradients.theta, [0.0], "{name}");
        }
    }
}

#[test]
fn a_row_that_fails_has_its_own_status() {
    let Some(gpu) = gpu() else { return };
    let (problem, theta) = blow_up(1.0);
    let rows = Rows {
        spans: vec![[0.0, 0.4], [5.0, 6.0], [0.0, 0.0], [2.0, 2.3]],
        saved: vec![vec![0.2, 0.4], vec![5.1, 5.3, 5.6, 6.0], vec![0.0], vec![2.0, 2.3]],
    };
    for layout in LAYOUTS {
        for whole in [true, false] {
            let (options, name) = (adaptive(Method::Tsit5, 1e-4).layout(layout), format!("{layout:?}, whole {whole}"));
            let y0 = [1.0, 1.0, f64::INFINITY, 0.5];
            let mut native = solver::<f32>(&problem, &options);
            native.set_times(Some(rows.times())).expect("own times");
            let expected = native.solve(&cast(&theta), &cast(&y0)).expect("solved");
            let mut device = device(&gpu, &problem, &options, whole);
            let (found, gradients) = solved(&gpu, &mut device, &rows.times(), &theta, &y0);
            assert_eq!(found.status, expected.status, "{name}");
            let done = found.status.iter().map(|status| *status == Status::Done).collect::<Vec<_>>();
            assert_eq!(done, [true, false, false, true], "{name}");
            for (row, times) in [(0, 2), (1, 2), (3, 2)] {
                let [found, expected] = [&found, &expected].map(|s| widen(&row_of(&s.ys, [row, 4, 1], times)));
                close(&format!("{name}, row {row}"), &found, &expected, 1e-3);
            }
            assert!(row_of(&found.ys, [1, 4, 1], 4)[2..].iter().all(|y| y.is_nan()), "{name}");
            assert!(gradients.theta.iter().chain(&gradients.y0).all(|bar| bar.is_finite()), "{name}: {gradients:?}");
            assert_eq!(gradients.y0[1..3], [0.0, 0.0], "{name}: nothing of what failed");
        }
    }
}

#[test]
fn lengths_are_in_units_of_time() {
    let Some(gpu) = gpu() else { return };
    let field = Field::build(1, |f| f.state() * 0.0 + 1.0).expect("a field");
    let times = Times::ends(&[[0.0, 10.0], [1.0, 2.0]]).expect("intervals");
    let first = with_first_step(Method::Heun, 1e-3, 5.0);
    for whole in [true, false] {
        let steps = |options: SolverOptions| {
            let mut solver = device(&gpu, &Problem::ode(field.clone(), 0.0, 1.0), &options, whole);
            solver.set_times(Some(times.clone())).expect("own times");
            let solution = gpu.block_on(solver.solve(&[], &[0.0, 0.0])).expect("solved").check().expect("done");
            assert!(distance(&widen(&solution.ys), &[10.0, 1.0]) < 1e-5);
            solution.stats.iter().map(|stats| stats.accepted).collect::<Vec<_>>()
        };
        assert_eq!(steps(first.clone()), [2], "half the longest row, and the rest");
        assert_eq!(steps(first.clone().largest_step(2.0)), [5], "a fifth of the longest row");
        assert_eq!(steps(first.clone().layout(Layout::Ensemble)), [2, 1]);
        assert_eq!(steps(first.clone().layout(Layout::Ensemble).largest_step(2.0)), [5, 1]);
    }
    // What was recorded for a long row is not for a short one.
    let mut solver = device(&gpu, &Problem::ode(field, 0.0, 1.0), &first.largest_step(2.0), true);
    let mut accepted = |end: f64| {
        solver.set_times(Some(Times::ends(&[[0.0, end]]).expect("intervals"))).expect("own times");
        gpu.block_on(solver.solve(&[], &[0.0])).expect("solved").stats[0].accepted
    };
    assert_eq!([accepted(10.0), accepted(4.0), accepted(8.0)], [5, 2, 4]);
}

#[test]
fn what_a_device_has_not_beside_own_times_says_so() {
    let Some(gpu) = gpu() else { return };
    let (field, theta) = timed(1);
    let theta = cast::<f32>(&theta);
    let problem = Problem::ode(field.clone(), 0.0, 1.0);
    let two = Times::ends(&[[0.0, 1.0], [0.0, 2.0]]).expect("intervals");
    let short = Times::ends(&[[0.0, 1.0], [0.0, 1e-40]]).expect("intervals");
    let many = Times::within(&[[0.0, 1.0], [0.0, 1.0]], &[vec![0.5; 3751], vec![1.0]]).expect("times");
    let plain = adaptive(Method::Tsit5, 1e-4);
    let noisy = Problem::sde(field, Diffusion::ito(Mlp::new([2, 2])), 0.0, 1.0);
    let driven = Field::build(1, |f| f.control("u") - f.state()).expect("a field");
    let driven = Problem::ode(driven, 0.0, 1.0).driven_by(Control::new("u", Interpolation::Cubic, [0.0, 0.5, 1.0]));
    for (times, problem, options, named) in [
        (&two, &noisy, SolverOptions::sde(Tolerances::both(0.1)), "Problem::diffusion = some"),
        (&two, &problem, plain.clone().save_at(SaveAt::Steps), "SolverOptions::save_at = Steps"),
        (&two, &problem, plain.clone().stop_at([0.5]), "SolverOptions::stop_at = [0.5]"),
        (&two, &driven, plain.clone(), "Problem::controls = u"),
        (&short, &problem, plain.clone(), "Times = row 1: [0, 0.000"),
        (&many, &problem, plain.clone(), "Times = 3751 times of a row"),
    ] {
        let mut solver = GpuSolver::new(&gpu, problem, &options).expect("a solver");
        let error = solver.set_times(Some(times.clone())).expect_err(named).to_string();
        assert!(error.starts_with(named), "{error}, not {named}");
        solver.set_times(None).expect("nothing to refuse");
    }
    let mut solver = GpuSolver::new(&gpu, &problem, &plain).expect("a solver");
    solver.set_times(Some(two)).expect("own times");
    let error = gpu.block_on(solver.solve(&theta, &[0.0; 6])).expect_err("three rows").to_string();
    assert!(error.contains("Times = 2 rows: the batch has 3 trajectories"), "{error}");
    let error = gpu.block_on(solver.prepare(2, 8)).expect_err("recorded").to_string();
    assert!(error.starts_with("Times = 2 rows: recorded solves have one interval"), "{error}");
    solver.regularize(&EndTime::within(0.3).into(), 0, 0).expect("a regularizer");
    let error = gpu.block_on(solver.solve(&theta, &[0.0; 4])).expect_err("a drawn end");
    assert!(
        matches!(error, Error::Argument { .. }) && error.to_string().starts_with("Regularizer::EndTime"),
        "{error}"
    );
    // Predictions are not regularized.
    gpu.block_on(solver.predict(&theta, &[0.0; 4])).expect("predicted");
    solver.regularize(&fewsteps::Regularizer::None, 0, 0).expect("none");
    assert_eq!(gpu.block_on(solver.solve(&theta, &[0.0; 4])).expect("two rows").ys.len(), 4);
}
