//! Penalties of trajectories with intervals of their own: means of the rows' own in an ensemble, and differences of values.

use super::SEED;
use crate::ode::own_times::on;
use crate::oracle::{LAYOUTS, close, differences, fixed, numbers, solver, with_first_step};
use fewsteps::{
    Global, Gradients, Layout, Local, Measure, Method, Mlp, PenaltyGradient, PenaltyStep, PointMeasure, Pointwise,
    Problem, Regularizer, SaveAt, Solver, SolverOptions, TimeInput, Times,
};

const STEP: u64 = 4;
const ROWS: usize = 35;

/// Intervals forwards and backwards; every ninth is empty.
fn spans() -> Vec<[f64; 2]> {
    let span = |row: usize| {
        let draws = numbers(row as u64, 2);
        let length = if row % 9 == 8 { 0.0 } else { 1.3 + draws[0] };
        [draws[1], draws[1] + if row % 4 == 1 { -length } else { length }]
    };
    (0..ROWS).map(span).collect()
}

fn model() -> (Problem, Vec<f64>, Vec<f64>) {
    let field = Mlp::new([2, 5, 2]).time_input(TimeInput::Every);
    let theta = numbers(6, field.parameter_count());
    (Problem::ode(field, 0.0, 1.0), theta, numbers(7, 2 * ROWS))
}

fn run(solver: &mut Solver<f64>, regularizer: &Regularizer, theta: &[f64], y0: &[f64]) -> Gradients<f64> {
    solver.regularize(regularizer, SEED, STEP).expect("a valid regularizer");
    solver.solve(theta, y0).expect("a valid call").check().expect("all done");
    solver.gradients(&vec![0.0; y0.len()]).expect("solved")
}

/// Those whose draws are the same for every trajectory.
fn regularizers(coefficient: f64) -> Vec<Regularizer> {
    let local = Local::unbiased().measure(Measure::Error).step(PenaltyStep::Taken).times(2).fraction(1.0);
    let full = local.gradient(PenaltyGradient::Full).coefficient(coefficient);
    vec![
        full.clone().into(),
        full.clone().measure(Measure::StepCount).step(PenaltyStep::Taken).into(),
        full.clone().measure(Measure::Stiffness).into(),
        full.clone().step(PenaltyStep::FreshInitial).into(),
        Global::error().coefficient(coefficient).into(),
        Global::step_count().coefficient(coefficient).into(),
        Global::stiffness().coefficient(coefficient).into(),
        Pointwise::kinetic().gradient(PenaltyGradient::Full).coefficient(coefficient).into(),
        Pointwise::straightness().gradient(PenaltyGradient::Full).coefficient(coefficient).into(),
        Pointwise::kinetic().quadrature().gradient(PenaltyGradient::Full).coefficient(coefficient).into(),
    ]
}

#[test]
fn penalties_of_an_ensemble_are_means_of_the_rows_own() {
    let (problem, theta, y0) = model();
    let (spans, options) = (spans(), with_first_step(Method::Tsit5, 1e-4, 0.2).layout(Layout::Ensemble));
    let moving: Vec<usize> = (0..ROWS).filter(|row| spans[*row][0] != spans[*row][1]).collect();
    let count = moving.len() as f64;
    for (together, single) in regularizers(0.7).iter().zip(regularizers(0.7 / count)) {
        let mut batch = solver::<f64>(&problem, &options);
        batch.set_times(Some(Times::ends(&spans).expect("intervals"))).expect("own times");
        let found = run(&mut batch, together, &theta, &y0);
        let (mut penalty, mut theta_bar, mut y0_bar) = (0.0, vec![0.0; theta.len()], vec![0.0; y0.len()]);
        for &row in &moving {
            let problem = on(&problem, spans[row]);
            let alone = run(&mut solver(&problem, &options), &single, &theta, &y0[2 * row..][..2]);
            penalty += alone.penalty / count;
            theta_bar.iter_mut().zip(&alone.theta).for_each(|(sum, bar)| *sum += bar);
            y0_bar[2 * row..][..2].copy_from_slice(&alone.y0);
        }
        let name = format!("{together:?}");
        assert!(penalty > 0.0, "{name}");
        close(&name, &[found.penalty], &[penalty], bound(together));
        close(&name, &found.theta, &theta_bar, bound(together));
        close(&name, &found.y0, &y0_bar, bound(together));
    }
}

/// Of the error of an automatic first step, most is rounding.
fn bound(regularizer: &Regularizer) -> f64 {
    let fresh = regularizer.local().is_some_and(|local| local.step == PenaltyStep::FreshInitial);
    if fresh { 1e-6 } else { 1e-9 }
}

/// With equal steps a full gradient is the whole derivative of the penalty.
#[test]
fn gradients_of_penalties_are_differences_of_their_values() {
    let (problem, theta, y0) = model();
    for layout in LAYOUTS {
        for regularizer in regularizers(1.0) {
            let is_fresh = regularizer.local().is_some_and(|local| local.step == PenaltyStep::FreshInitial);
            // A straight line's ends are constants.
            let is_straight = regularizer.pointwise().iter().any(|of| of.measure == PointMeasure::Straightness);
            if regularizer.global().is_some() || is_fresh || is_straight {
                continue;
            }
            let mut solver = solver::<f64>(&problem, &fixed(Method::Tsit5, 3).layout(layout));
            solver.set_times(Some(Times::ends(&spans()).expect("intervals"))).expect("own times");
            let found = run(&mut solver, &regularizer, &theta, &y0);
            let mut penalty = |theta: &[f64], y0: &[f64]| run(&mut solver, &regularizer, theta, y0).penalty;
            let name = format!("{layout:?}, {regularizer:?}");
            assert!(found.penalty > 0.0, "{name}");
            close(&name, &found.theta, &differences(&theta, |theta| penalty(theta, &y0)), 2e-6);
            close(&name, &found.y0, &differences(&y0, |y0| penalty(&theta, y0)), 2e-6);
        }
    }
}

/// Whether a step's length is part of the measure: a share of the interval, where trajectories have their own.
fn has_length(regularizer: &Regularizer) -> bool {
    let local = regularizer.local().is_some_and(|local| local.measure == Measure::Error);
    local || regularizer.global().is_some_and(|global| global.measure != Measure::StepCount)
}

/// What the batch shares is the same whoever rests beside it, and lengths are shares.
#[test]
fn rows_of_one_interval_are_a_batch_of_it() {
    let (problem, theta, y0) = model();
    let options: SolverOptions = with_first_step(Method::Tsit5, 1e-4, 0.2).save_at(SaveAt::End);
    let biased = Local::biased().gradient(PenaltyGradient::Full).fraction(1.0).coefficient(0.7).into();
    let all = regularizers(0.7).into_iter().chain([biased]);
    for (regularizer, span) in all.flat_map(|of| [[0.0, 1.0], [1.0, 3.0]].map(|span| (of.clone(), span))) {
        let expected = run(&mut solver(&on(&problem, span), &options), &regularizer, &theta, &y0);
        let mut own = solver::<f64>(&problem, &options);
        let mut spans = vec![span; ROWS];
        spans.push([3.0, 3.0]);
        own.set_times(Some(Times::ends(&spans).expect("intervals"))).expect("own times");
        let mut more = y0.clone();
        more.extend([0.2, 0.4]);
        let found = run(&mut own, &regularizer, &theta, &more);
        let name = format!("{span:?}, {regularizer:?}");
        let unit = if has_length(&regularizer) { span[1] - span[0] } else { 1.0 };
        let scaled = |bars: &[f64]| crate::oracle::scaled(unit, bars);
        close(&name, &[unit * found.penalty], &[expected.penalty], bound(&regularizer));
        close(&name, &scaled(&found.theta), &expected.theta, bound(&regularizer));
        close(&name, &scaled(&found.y0[..2 * ROWS]), &expected.y0, bound(&regularizer));
        assert_eq!(found.y0[2 * ROWS..], [0.0, 0.0], "{name}: it rests");
    }
}
