//! Penalties of trajectories with times of their own on a device, against the native engine at f64 and rows alone.

use crate::ode::own_times::{Rows, timed};
use crate::oracle::{
    LAYOUTS, adaptive, bits, blow_up, cast, close, distance, fixed, gpu, largest, numbers, scaled, solver, widen,
    with_first_step,
};
use fewsteps::{
    Adjoint, Aggregate, Checkpoints, Field, Global, Gpu, GpuSolver, Gradients, Layout, Learnt, Local, Measure, Method,
    Mlp, PenaltyGradient, PenaltyStep, Pointwise, Problem, Regularizer, Scalar, Solver, SolverOptions, Status,
    TimeInput, Times,
};

const SEED: u64 = 17;
const STEP: u64 = 4;

/// Steps of an ideal controller that earlier solves have found: of half an interval, so that errors are more than rounding.
const IDEAL: f64 = 1.5;

/// Rows of all kinds, of which those with next to no time for a step rest instead: their errors are rounding.
fn rows(batch: usize) -> Rows {
    let mut rows = Rows::of_all_kinds(batch, true);
    for (span, saved) in rows.spans.iter_mut().zip(&mut rows.saved) {
        if (span[1] - span[0]).abs() < 1e-6 {
            (span[1], *saved) = (span[0], vec![span[0]]);
        }
    }
    rows
}

/// Those of one direction.
fn forwards(batch: usize) -> Rows {
    let all = rows(batch);
    all.select(&(0..batch).filter(|row| all.spans[*row][0] <= all.spans[*row][1]).collect::<Vec<_>>())
}

/// How many of them go anywhere.
fn moving(rows: &Rows) -> usize {
    rows.spans.iter().filter(|[t0, t1]| t0 != t1).count()
}

/// Zeros where a row has a time, so that gradients are the penalty's alone.
fn nothing(times: &Times, dim: usize) -> Vec<f32> {
    let has = |i: usize| i / dim / times.rows() < times.saved(i / dim % times.rows()).len();
    (0..times.slots() * times.rows() * dim).map(|i| if has(i) { 0.0 } else { f32::NAN }).collect()
}

/// A problem of a field that sees the time, and parameters of which steps' errors stand above rounding.
fn problem() -> (Problem, Vec<f64>) {
    let (field, theta) = timed(3);
    (Problem::ode(field, -7.0, 11.0), scaled(1.4, &theta))
}

fn device(gpu: &Gpu, problem: &Problem, options: &SolverOptions, whole: bool) -> GpuSolver {
    let solver = GpuSolver::new(gpu, problem, options).expect("a valid problem");
    let mut solver = if whole { solver } else { solver.layer_by_layer() };
    solver.set_learnt(learnt()).expect("what solves can teach");
    solver
}

fn learnt() -> Learnt {
    let mut learnt = Learnt::default();
    learnt.ideal = Some(IDEAL);
    learnt
}

/// The penalty's gradient on a device.
fn penalised(
    gpu: &Gpu,
    solver: &mut GpuSolver,
    times: &Times,
    regularizer: &Regularizer,
    [theta, y0]: [&[f64]; 2],
) -> Gradients<f32> {
    solver.set_learnt(learnt()).expect("what solves can teach");
    solver.set_times(Some(times.clone())).expect("own times");
    solver.regularize(regularizer, SEED, STEP).expect("a valid regularizer");
    gpu.block_on(solver.solve(&cast(theta), &cast(y0))).expect("solved");
    gpu.block_on(solver.gradients(&nothing(times, y0.len() / times.rows()))).expect("solved")
}

/// The same natively.
fn natively<R: Scalar>(
    solver: &mut Solver<R>,
    times: &Times,
    regularizer: &Regularizer,
    [theta, y0]: [&[f64]; 2],
) -> Gradients<R> {
    solver.set_learnt(learnt()).expect("what solves can teach");
    solver.set_times(Some(times.clone())).expect("own times");
    solver.regularize(regularizer, SEED, STEP).expect("a valid regularizer");
    solver.solve(&cast(theta), &cast(y0)).expect("solved");
    let bars = widen(&nothing(times, y0.len() / times.rows()));
    solver.gradients(&cast(&bars)).expect("solved")
}

/// Asserts that a device's numbers are those of the native engine at f64 within a bound, or as near to them as those at f32.
fn near(name: &str, found: &[f32], [single, double]: [&[f64]; 2], bound: f64) {
    if largest(double) == 0.0 {
        return assert!(found.iter().all(|x| *x == 0.0), "{name}: none");
    }
    let rounding = distance(single, double) / largest(double);
    close(name, &widen(found), double, bound.max(3.0 * rounding));
}

/// Penalties and gradients of all regularizers on some rows, on the device and natively.
fn compare(gpu: &Gpu, options: &SolverOptions, rows: &Rows, of: &[Regularizer], whole: bool, bound: f64) {
    let ((problem, theta), batch, times) = (problem(), rows.spans.len(), rows.times());
    let y0 = numbers(9, 2 * batch);
    let mut on_device = device(gpu, &problem, options, whole);
    let (mut single, mut double) = (solver::<f32>(&problem, options), solver::<f64>(&problem, options));
    for regularizer in of {
        let name = format!("{batch} rows, {} in {:?}, whole {whole}, {regularizer:?}", options.method, options.layout);
        let found = penalised(gpu, &mut on_device, &times, regularizer, [&theta, &y0]);
        let single = natively(&mut single, &times, regularizer, [&theta, &y0]);
        let double = natively(&mut double, &times, regularizer, [&theta, &y0]);
        assert!(double.penalty > 0.0, "{name}");
        close(&format!("{name}: penalty"), &[found.penalty], &[double.penalty], bound);
        near(&format!("{name}: theta"), &found.theta, [&widen(&single.theta), &double.theta], bound);
        near(&format!("{name}: y0"), &found.y0, [&widen(&single.y0), &double.y0], bound);
    }
}

const GRADIENTS: [PenaltyGradient; 3] = [PenaltyGradient::Published, PenaltyGradient::Step, PenaltyGradient::Full];

/// Local penalties of every kind: where, what, how long, and what is differentiated.
fn locals() -> Vec<Regularizer> {
    let mut all = Vec::new();
    for at in [Local::unbiased(), Local::biased()] {
        for (measure, step) in [
            (Measure::Error, PenaltyStep::Taken),
            (Measure::Error, PenaltyStep::FreshInitial),
            (Measure::StepCount, PenaltyStep::Taken),
            (Measure::StepCount, PenaltyStep::FreshInitial),
            (Measure::StepCount, PenaltyStep::Ideal),
        ] {
            for gradient in GRADIENTS {
                let local = at.clone().measure(measure).step(step).gradient(gradient);
                all.push(local.times(2).fraction(1.0).coefficient(0.7).into());
            }
        }
    }
    all
}

/// With equal steps, which rounding does not change; errors of automatic first steps are nothing else there.
#[test]
fn local_penalties_of_equal_steps_are_the_native_engines() {
    let Some(gpu) = gpu() else { return };
    let is_fresh = |of: &Regularizer| of.local().is_some_and(|local| local.step == PenaltyStep::FreshInitial);
    let all: Vec<_> = locals().into_iter().filter(|of| !is_fresh(of)).collect();
    for layout in LAYOUTS {
        for (batch, whole) in [(33, true), (33, false)] {
            compare(&gpu, &fixed(Method::Bosh3, 3).layout(layout), &rows(batch), &all, whole, 2e-3);
        }
        for batch in [1, 5, 70] {
            let some: Vec<_> = all.iter().skip(batch % 3).step_by(4).cloned().collect();
            compare(&gpu, &fixed(Method::Bosh3, 3).layout(layout), &rows(batch), &some, true, 2e-3);
        }
        // Steps between checkpoints are taken again, and part of the batch is penalised.
        let checkpoints = Adjoint::Discrete { checkpoints: Checkpoints::Stride(3) };
        let options = fixed(Method::Bosh3, 7).layout(layout).adjoint(checkpoints);
        let part = |of: Local| of.fraction(0.4).times(2).gradient(PenaltyGradient::Full).coefficient(0.7).into();
        compare(&gpu, &options, &rows(70), &[part(Local::unbiased()), part(Local::biased())], true, 2e-3);
        let stiffness = |of: Local| of.measure(Measure::Stiffness).fraction(1.0).coefficient(0.7);
        let stiff: Vec<_> = [Local::unbiased(), Local::biased()]
            .into_iter()
            .flat_map(|of| GRADIENTS.map(|gradient| stiffness(of.clone()).gradient(gradient).into()))
            .collect();
        compare(&gpu, &fixed(Method::Tsit5, 2).layout(layout), &rows(33), &stiff, true, 5e-3);
    }
}

/// With adaptive steps, of errors that are more than rounding.
#[test]
fn local_penalties_of_adaptive_steps_are_the_native_engines() {
    let Some(gpu) = gpu() else { return };
    let options = adaptive(Method::Bosh3, 1e-3);
    for layout in LAYOUTS {
        let options = options.clone().layout(layout);
        compare(&gpu, &options, &rows(33), &locals(), true, 2e-2);
        let some: Vec<_> = locals().into_iter().skip(2).step_by(5).collect();
        for batch in [1, 5, 70] {
            compare(&gpu, &options, &rows(batch), &some, batch == 5, 2e-2);
        }
        let checkpoints = Adjoint::Discrete { checkpoints: Checkpoints::Stride(2) };
        compare(&gpu, &options.clone().adjoint(checkpoints), &rows(33), &some, true, 2e-2);
        compare(&gpu, &options.largest_step(0.31), &rows(33), &some, true, 2e-2);
    }
    // What a stop cuts short is as long as the step before it.
    let options = options.layout(Layout::Ensemble).stop_at([-1.0, -0.2, 0.3, 0.35, 1.1]);
    compare(&gpu, &options, &forwards(33), &locals(), true, 2e-2);
}

/// The errors of all steps: in an ensemble in each row's own time, in lockstep as shares.
#[test]
fn penalties_of_all_steps_are_the_native_engines() {
    let Some(gpu) = gpu() else { return };
    let aggregates = [Aggregate::Sum, Aggregate::Mean, Aggregate::PublishedMean, Aggregate::Max];
    let of = |global: Global| aggregates.map(|aggregate| global.clone().aggregate(aggregate).coefficient(0.7).into());
    let all = [of(Global::error()), of(Global::step_count())].concat();
    let both: Regularizer = Regularizer::from(Global::error().coefficient(0.5)).and(Local::biased().fraction(1.0));
    for layout in LAYOUTS {
        let options = adaptive(Method::Bosh3, 1e-3).layout(layout);
        for (batch, whole) in [(1, true), (5, false), (33, true), (70, true)] {
            compare(&gpu, &options, &rows(batch), &all, whole, 2e-2);
        }
        let checkpoints = Adjoint::Discrete { checkpoints: Checkpoints::Stride(2) };
        compare(&gpu, &options.clone().adjoint(checkpoints), &rows(33), &all[..5], true, 2e-2);
        compare(&gpu, &options, &rows(33), std::slice::from_ref(&both), true, 2e-2);
    }
}

/// Measures of the dynamics at random times, and over all steps: at each row's own times, weighted by its interval.
#[test]
fn measures_of_points_are_the_native_engines() {
    let Some(gpu) = gpu() else { return };
    let kinds = [
        Pointwise::kinetic(),
        Pointwise::jacobian(),
        Pointwise::taylor(2).expect("an order"),
        Pointwise::taylor(3).expect("an order"),
        Pointwise::straightness(),
    ];
    let each = |change: fn(Pointwise) -> Pointwise| -> Vec<Regularizer> {
        kinds.iter().cloned().map(|of| change(of.coefficient(0.3).fraction(1.0)).into()).collect()
    };
    let (step, full) = (each(|of| of.times(2)), each(|of| of.gradient(PenaltyGradient::Full)));
    let integrals = each(|of| of.quadrature().gradient(PenaltyGradient::Full));
    let local = Local::unbiased().times(3).gradient(PenaltyGradient::Full).fraction(1.0);
    let beside: Regularizer = Regularizer::from(local).and(Pointwise::straightness().gradient(PenaltyGradient::Full));
    for layout in LAYOUTS {
        let options = fixed(Method::Bosh3, 5).layout(layout);
        for (batch, whole) in [(33, true), (33, false), (1, true)] {
            let rows = rows(batch);
            for of in [&step, &full, &integrals] {
                compare(&gpu, &options, &rows, of, whole, 1e-3);
            }
        }
        compare(&gpu, &options, &rows(5), &full[..2], true, 1e-3);
        compare(&gpu, &options, &rows(70), &[full[4].clone(), step[1].clone(), integrals[0].clone()], true, 1e-3);
        compare(
            &gpu,
            &adaptive(Method::Bosh3, 1e-3).layout(layout),
            &rows(33),
            std::slice::from_ref(&beside),
            true,
            2e-2,
        );
        compare(&gpu, &adaptive(Method::Tsit5, 1e-4).layout(layout), &rows(33), &integrals[..3], true, 1e-3);
    }
}

/// What rests may do so where a measure has a pole, and where a product has an infinite input.
#[test]
fn rows_that_rest_are_not_measured() {
    let Some(gpu) = gpu() else { return };
    let rate = Field::build(1, |f| f.positive("rate", &[1.3]) / f.state()).expect("a field");
    let product =
        Field::build(1, |f| f.mlp("w", &Mlp::new([1, 1]), &(f.literal(&[1.0]) / f.state()))).expect("a field");
    let times = Times::series(&[vec![0.0, 0.5, 1.0], vec![3.0, 3.0], vec![1.0, 1.7]]).expect("series");
    let two = Times::series(&[vec![0.0, 0.5, 1.0], vec![1.0, 1.7]]).expect("series");
    let kinds = [Pointwise::kinetic(), Pointwise::taylor(2).expect("an order"), Pointwise::kinetic().quadrature()];
    let cases = [(rate.clone(), rate.initialize(0)), (product, vec![1.3, 0.1])];
    for (layout, (field, theta)) in LAYOUTS.into_iter().flat_map(|layout| cases.iter().map(move |case| (layout, case)))
    {
        let (problem, options) = (Problem::ode(field.clone(), 0.0, 1.0), fixed(Method::Bosh3, 6).layout(layout));
        for (of, whole) in kinds.iter().flat_map(|of| [(of, true), (of, false)]) {
            let of = of.clone().gradient(PenaltyGradient::Full).coefficient(0.3).into();
            let mut on_device = device(&gpu, &problem, &options, whole);
            let found = penalised(&gpu, &mut on_device, &times, &of, [theta, &[1.0, 0.0, 2.0]]);
            let expected = natively(&mut solver::<f64>(&problem, &options), &two, &of, [theta, &[1.0, 2.0]]);
            let name = format!("{layout:?}, whole {whole}, {of:?}");
            close(&format!("{name}: penalty"), &[found.penalty], &[expected.penalty], 1e-4);
            close(&format!("{name}: theta"), &widen(&found.theta), &expected.theta, 1e-4);
            close(&format!("{name}: y0"), &widen(&[found.y0[0], found.y0[2]]), &expected.y0, 1e-4);
            assert_eq!(found.y0[1], 0.0, "{name}: it rests");
        }
    }
}

/// Wide fields are products, and what was written out is runs of operations.
#[test]
fn penalties_of_wide_and_written_fields_are_too() {
    let Some(gpu) = gpu() else { return };
    let wide = Field::from(Mlp::new([5, 37, 5]).time_input(TimeInput::Every));
    let written = Field::build(2, |f| {
        let (y, t) = (f.state(), f.time());
        (t * 2.0).sin() - f.positive("rate", &[0.8]) * y.clone() + 0.5 * (y * 1.5).cos()
    });
    let written = written.expect("a field");
    let rows = rows(35);
    let (times, local) = (rows.times(), Local::unbiased().gradient(PenaltyGradient::Full).fraction(1.0).times(2));
    for (field, dim, whole) in [(wide, 5, true), (written.clone(), 2, true), (written, 2, false)] {
        let problem = Problem::ode(field.clone(), 0.0, 1.0);
        let (theta, y0) = (widen(&field.initialize::<f32>(3)), numbers(9, 35 * dim));
        for layout in LAYOUTS {
            let options = fixed(Method::Bosh3, 3).layout(layout);
            let mut on_device = device(&gpu, &problem, &options, whole);
            let regularizer = local.clone().into();
            let found = penalised(&gpu, &mut on_device, &times, &regularizer, [&theta, &y0]);
            let expected = natively(&mut solver::<f64>(&problem, &options), &times, &regularizer, [&theta, &y0]);
            let name = format!("{dim} features in {layout:?}, whole {whole}");
            close(&format!("{name}: penalty"), &[found.penalty], &[expected.penalty], 2e-3);
            close(&format!("{name}: theta"), &widen(&found.theta), &expected.theta, 5e-3);
            close(&format!("{name}: y0"), &widen(&found.y0), &expected.y0, 5e-3);
        }
    }
}

/// A row of an ensemble has the penalty's gradient that it has alone, to the bit, whatever its neighbours: where as many as a
/// power of two go anywhere, their number divides without rounding.
#[test]
fn rows_of_an_ensemble_are_penalised_as_if_alone() {
    let Some(gpu) = gpu() else { return };
    let (problem, theta) = problem();
    let all = rows(45);
    let goes = |row: &usize| all.spans[*row][0] != all.spans[*row][1];
    let going: Vec<usize> = (0..45).filter(goes).take(32).collect();
    let resting: Vec<usize> = (0..45).filter(|row| !goes(row)).collect();
    let order: Vec<usize> = going[..9].iter().chain(&resting).chain(&going[9..]).copied().collect();
    let rows = all.select(&order);
    assert!(moving(&rows) == 32 && rows.spans.len() > 32, "{} of {}", moving(&rows), rows.spans.len());
    let y0 = numbers(9, 2 * rows.spans.len());
    let options = with_first_step(Method::Tsit5, 1e-4, 0.2).layout(Layout::Ensemble);
    let full = Local::unbiased().gradient(PenaltyGradient::Full).times(2).fraction(1.0);
    for whole in [true, false] {
        let of = |coefficient: f64| -> [Regularizer; 5] {
            [
                Pointwise::kinetic().gradient(PenaltyGradient::Full).coefficient(coefficient).into(),
                full.clone().coefficient(coefficient).into(),
                full.clone().measure(Measure::Error).coefficient(coefficient).into(),
                full.clone().measure(Measure::Stiffness).coefficient(coefficient).into(),
                Global::error().coefficient(coefficient).into(),
            ]
        };
        for (together, alone) in of(0.5).iter().zip(of(0.5 / 32.0)) {
            let mut solver = device(&gpu, &problem, &options, whole);
            let found = penalised(&gpu, &mut solver, &rows.times(), together, [&theta, &y0]);
            let again = penalised(&gpu, &mut solver, &rows.times(), together, [&theta, &y0]);
            assert_eq!(bits(&found.theta), bits(&again.theta), "twice the same: {together:?}");
            let mut penalty = 0.0;
            for row in 0..rows.spans.len() {
                let (one, y0) = (rows.select(&[row]), &y0[2 * row..][..2]);
                let alone = penalised(&gpu, &mut solver, &one.times(), &alone, [&theta, y0]);
                let name = format!("row {row}, whole {whole}, {together:?}");
                assert_eq!(bits(&found.y0[2 * row..][..2]), bits(&alone.y0), "{name}");
                penalty += if one.spans[0][0] == one.spans[0][1] { 0.0 } else { alone.penalty / 32.0 };
            }
            close(&format!("{together:?}"), &[found.penalty], &[penalty], 1e-5);
        }
    }
}

/// Who rests beside a batch changes nothing of its penalty, in either layout.
#[test]
fn rows_that_rest_are_no_part_of_a_penalty() {
    let Some(gpu) = gpu() else { return };
    let (problem, theta) = problem();
    let rows = rows(37);
    let (y0, mut more) = (numbers(9, 74), rows.clone());
    more.spans.extend([[2.5, 2.5], [-1.0, -1.0]]);
    more.saved.extend([vec![2.5; 3], vec![-1.0]]);
    let with: Vec<f64> = y0.iter().copied().chain([0.3, -0.4, 1.0, 1.0]).collect();
    let local = Local::biased().gradient(PenaltyGradient::Full).times(2).fraction(1.0);
    let points = Pointwise::straightness().gradient(PenaltyGradient::Full);
    let all = [local.clone().into(), local.measure(Measure::Error).into(), Global::error().into(), points.into()];
    for (layout, regularizer) in LAYOUTS.into_iter().flat_map(|layout| all.iter().map(move |of| (layout, of))) {
        let mut solver = device(&gpu, &problem, &adaptive(Method::Tsit5, 1e-4).layout(layout), true);
        let before = penalised(&gpu, &mut solver, &rows.times(), regularizer, [&theta, &y0]);
        let after = penalised(&gpu, &mut solver, &more.times(), regularizer, [&theta, &with]);
        let name = format!("{layout:?}, {regularizer:?}");
        assert_eq!(before.penalty.to_bits(), after.penalty.to_bits(), "{name}");
        assert_eq!(bits(&before.y0), bits(&after.y0[..74]), "{name}");
        assert_eq!(after.y0[74..], [0.0; 4], "{name}: they rest");
        close(&name, &widen(&after.theta), &widen(&before.theta), 1e-6);
        // There is nothing to penalise where all of them rest, whether that is known before or not.
        let still = Times::ends(&[[1.0, 1.0], [2.0, 2.0]]).expect("intervals");
        let nothing_left = penalised(&gpu, &mut solver, &still, regularizer, [&theta, &[0.1; 4]]);
        assert_eq!((nothing_left.penalty, largest(&widen(&nothing_left.theta))), (0.0, 0.0), "{name}");
        solver.set_times(Some(rows.times())).expect("own times");
        solver.regularize(regularizer, SEED, STEP).expect("a valid regularizer");
        solver.set_times(Some(still.clone())).expect("own times");
        gpu.block_on(solver.solve(&cast(&theta), &[0.1; 4])).expect("solved");
        let late = gpu.block_on(solver.gradients(&nothing(&still, 2))).expect("solved");
        assert!(late.penalty.is_nan(), "{name}: a mean over nobody, as natively: {}", late.penalty);
        assert_eq!(largest(&widen(&late.theta)), 0.0, "{name}");
    }
}

/// What was lost on the way is no part of a penalty either.
#[test]
fn rows_that_fail_are_no_part_of_a_penalty() {
    let Some(gpu) = gpu() else { return };
    let (problem, theta) = blow_up(1.0);
    let rows = Rows {
        spans: vec![[0.0, 0.4], [5.0, 6.0], [0.0, 0.0], [2.0, 2.3], [1.0, 0.2], [0.0, 0.0]],
        saved: vec![vec![0.2, 0.4], vec![5.1, 6.0], vec![0.0], vec![2.3], vec![0.2], vec![0.0, 0.0]],
    };
    let (times, y0) = (rows.times(), [1.0, 1.0, f64::INFINITY, 0.5, 1.5, 0.7]);
    let local = Local::unbiased().gradient(PenaltyGradient::Full).times(2).fraction(1.0);
    let biased = Local::biased().gradient(PenaltyGradient::Full).times(2).fraction(1.0);
    let points = Pointwise::kinetic().gradient(PenaltyGradient::Full);
    let regularizers = [
        local.clone().into(),
        local.measure(Measure::Error).into(),
        biased.into(),
        Global::error().into(),
        points.into(),
    ];
    for layout in LAYOUTS {
        for (whole, regularizer) in [true, false].into_iter().flat_map(|w| regularizers.iter().map(move |of| (w, of))) {
            let (options, name) =
                (adaptive(Method::Bosh3, 1e-3).layout(layout), format!("{layout:?}, whole {whole}, {regularizer:?}"));
            let mut native = solver::<f64>(&problem, &options);
            native.set_times(Some(times.clone())).expect("own times");
            native.set_learnt(learnt()).expect("what solves can teach");
            native.regularize(regularizer, SEED, STEP).expect("a valid regularizer");
            let solution = native.solve(&theta, &y0).expect("solved");
            let done: Vec<bool> = solution.status.iter().map(|status| *status == Status::Done).collect();
            assert_eq!(done, [true, false, false, true, true, true], "{name}");
            let expected = native.gradients(&widen(&nothing(&times, 1))).expect("solved");
            let mut solver = device(&gpu, &problem, &options, whole);
            let found = penalised(&gpu, &mut solver, &times, regularizer, [&theta, &y0]);
            close(&format!("{name}: penalty"), &[found.penalty], &[expected.penalty], 2e-2);
            close(&format!("{name}: theta"), &widen(&found.theta), &expected.theta, 2e-2);
            close(&format!("{name}: y0"), &widen(&found.y0), &expected.y0, 2e-2);
            assert_eq!(found.y0[1..3], [0.0, 0.0], "{name}: nothing of what failed");
        }
    }
}
