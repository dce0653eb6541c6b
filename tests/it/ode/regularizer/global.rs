//! Global regularization: every accepted step's error, against dual numbers that hold the steps' sizes constant; and a
//! random end of the interval.

use super::{SEED, options};
use crate::oracle::{Dual, Number, Step, System, close, cpu, gradient, numbers, penalty, scaled, solver, step_times};
use fewsteps::{
    Adjoint, Aggregate, Batch, Checkpoints, Controller, EndTime, Error, Field, Global, InitialStep, Layout, Local,
    Loss, Measure, Method, Mlp, NeuralDe, PenaltyGradient, Problem, Regularizer, SaveAt, SavedTimes, SolverOptions,
    Status, StepControl, Target, TimeInput, Tolerances, Trainer, TrainerConfig,
};

const AGGREGATES: [Aggregate; 4] = [Aggregate::Sum, Aggregate::Mean, Aggregate::PublishedMean, Aggregate::Max];

/// What a trajectory's, or a batch's, measures make together.
fn together<S: Number>(aggregate: Aggregate, measures: &[S]) -> S {
    let sum = measures.iter().fold(S::new(0.0), |sum, &measure| sum + measure);
    let n = measures.len() as f64;
    match aggregate {
        Aggregate::Sum => sum,
        Aggregate::Mean => sum / S::new(n),
        Aggregate::PublishedMean => sum / S::new(n + 1.0),
        Aggregate::Max => measures.iter().copied().fold(S::new(0.0), |a, b| if b.value() > a.value() { b } else { a }),
        unknown => panic!("{unknown:?} has no oracle yet"),
    }
}

/// The measure of a step that trajectories share.
fn measure<S: Number>(system: &System<'_>, (measure, aggregate): (Measure, Aggregate), steps: &[Step<S>]) -> S {
    let h = S::new((steps[0].t1 - steps[0].t0).abs());
    match measure {
        Measure::StepCount => system.error_norm(steps).power(1.0 / system.method.tableau().error_power()),
        Measure::Error => system.error_norm(steps) * h,
        _ => penalty(system, measure, 1.0, steps) * if aggregate == Aggregate::Max { S::new(1.0) } else { h },
    }
}

/// The steps of `y' = lambda y` from 1, of length 0.5: values of two independent computations.
#[test]
fn sums_of_errors_are_what_they_are_known_to_be() {
    // Of the errors of Dopri5 there are two customs: of linear equations ours are one and a half times the other ones.
    let rows = [
        (Method::Tsit5, 0.069_912_369_508_0, -0.352_380_675_164),
        (Method::Dopri5, 1.5 * 0.089_696_769_357_6, 1.5 * -0.453_233_716_858),
    ];
    for (method, value, slope) in rows {
        let field = Field::build(1, |f| f.parameters("lambda", &[-1.0]) * f.state()).expect("a field");
        let options = SolverOptions::default().method(method).step_control(StepControl::Adaptive {
            tolerances: Tolerances::both(1e-4),
            controller: Controller::I,
            initial_step: InitialStep::Length(0.5),
        });
        let mut solver = solver::<f64>(&Problem::ode(field, 0.0, 1.0), &options);
        let global = Global::error().coefficient(1.0).into();
        solver.regularize(&global, SEED, 0).expect("adaptive steps");
        let solution = solver.solve(&[-1.0], &[1.0]).expect("a valid call");
        assert_eq!((solution.stats[0].accepted, solution.stats[0].rejected), (2, 0), "{method}");
        let found = solver.gradients(&[0.0]).expect("solved");
        assert!((found.penalty - value).abs() < 1e-11, "{method}: {}", found.penalty);
        assert_eq!(found.global_penalty, Some(found.penalty));
        assert!((found.theta[0] - slope).abs() < 1e-10, "{method}: {}", found.theta[0]);
    }
}

/// Of `y' = lambda y` it is `|lambda|` in every step, whatever its length (Hairer & Wanner, IV.2).
#[test]
fn the_stiffness_of_a_linear_equation_is_its_rate() {
    for method in [Method::Tsit5, Method::Dopri5] {
        let size = method.tableau().stability_size.expect("two stages at the end");
        for layout in [Layout::Lockstep, Layout::Ensemble] {
            let field = Field::build(2, |f| f.parameters("rates", &[-3.0, -3.0]) * f.state()).expect("a field");
            let mut solver = solver::<f64>(&Problem::ode(field, 0.0, 1.5), &options(method).layout(layout));
            for (aggregate, known) in [(Aggregate::Sum, 4.5), (Aggregate::Max, 3.0)] {
                let global = Global::stiffness().aggregate(aggregate).coefficient(1.0);
                solver.regularize(&global.into(), SEED, 0).expect("adaptive steps");
                let solution = solver.solve(&[-3.0; 2], &[1.0, -2.0, 0.5, 0.3]).expect("a valid call");
                assert!(solution.stats[0].accepted > 2, "several steps");
                let found = solver.gradients(&[0.0; 4]).expect("solved");
                let name = format!("{method}, {layout:?}, {aggregate:?}");
                // The last two states of a short step differ in few of their digits.
                assert!((found.penalty * size / known - 1.0).abs() < 1e-6, "{name}: {}", found.penalty);
                let slope: f64 = found.theta.iter().sum();
                let expected = if aggregate == Aggregate::Max { -1.0 } else { -1.5 } / size;
                assert!((slope / expected - 1.0).abs() < 1e-5, "{name}: {slope} not {expected}");
            }
        }
    }
}

/// A problem with a hidden layer, its parameters and three initial states.
fn case() -> (Mlp, Problem, Vec<f64>, Vec<f64>) {
    let field = Mlp::new([2, 4, 2]).time_input(TimeInput::Every);
    let theta = scaled(2.5, &numbers(3, field.parameter_count()));
    (field.clone(), Problem::ode(field, 0.2, 1.9), theta, numbers(5, 6))
}

#[test]
fn gradients_are_those_of_dual_numbers() {
    let (field, problem, theta, y0) = case();
    for (n, layout) in [Layout::Lockstep, Layout::Ensemble].into_iter().enumerate() {
        for (method, kind) in [
            (Method::Tsit5, Measure::Error),
            (Method::Tsit5, Measure::StepCount),
            (Method::Bosh3, Measure::Error),
            (Method::Heun, Measure::StepCount),
            (Method::Tsit5, Measure::Stiffness),
            (Method::Dopri5, Measure::Stiffness),
        ] {
            for aggregate in AGGREGATES {
                let name = format!("{layout:?}, {method}, {kind:?}, {aggregate:?}");
                // Checkpoints every third step, the second time.
                let mut options = options(method).layout(layout);
                if kind == Measure::Stiffness {
                    // States of short steps differ in too few digits, and are left out.
                    options = options.step_control(StepControl::Adaptive {
                        tolerances: Tolerances::both(1e-3),
                        controller: Controller::I,
                        initial_step: InitialStep::Length(0.4),
                    });
                }
                if n == 1 {
                    options.adjoint = Adjoint::Discrete { checkpoints: Checkpoints::Stride(3) };
                }
                let mut global = Global::error().aggregate(aggregate).coefficient(0.7);
                global.measure = kind;
                let mut solver = solver::<f64>(&problem, &options);
                solver.regularize(&global.into(), SEED, 0).expect("adaptive steps");
                let solution = solver.solve(&theta, &y0).expect("a valid call");
                let found = solver.gradients(&solution.ys).expect("solved");

                let system =
                    System { field: &field, method, tolerances: Tolerances::both(1e-3), atol_per_feature: None };
                let mut steps = crate::oracle::solver::<f64>(&problem, &options.clone().save_at(SaveAt::Steps));
                let times = steps.predict(&theta, &y0).expect("a valid call");
                let times: Vec<Vec<f64>> = (0..3).map(|row| step_times(&times, row)).collect();
                let penalty = |walks: &[Vec<Step<Dual>>]| match layout {
                    Layout::Lockstep => {
                        let at = |j: usize| walks.iter().map(|walk| walk[j].clone()).collect::<Vec<_>>();
                        let all: Vec<Dual> =
                            (0..walks[0].len()).map(|j| measure(&system, (kind, aggregate), &at(j))).collect();
                        together(aggregate, &all)
                    }
                    _ => walks.iter().fold(Dual::new(0.0), |sum, walk| {
                        let all: Vec<Dual> = walk
                            .iter()
                            .map(|step| measure(&system, (kind, aggregate), std::slice::from_ref(step)))
                            .collect();
                        sum + together(aggregate, &all) / Dual::new(3.0)
                    }),
                };
                let total = |theta: &[Dual], y0: &[Dual]| {
                    let walks: Vec<_> =
                        y0.chunks(2).zip(&times).map(|(y0, times)| system.walk(theta, times, y0)).collect();
                    let task = walks.iter().flat_map(|walk| walk[walk.len() - 1].end.clone());
                    let task = task.fold(Dual::new(0.0), |sum, y| sum + Dual::new(0.5) * y * y);
                    (task + Dual::new(0.7) * penalty(&walks), penalty(&walks).value())
                };
                let (constants, states): (Vec<Dual>, Vec<Dual>) =
                    (theta.iter().map(|&x| Dual::new(x)).collect(), y0.iter().map(|&x| Dual::new(x)).collect());
                let value = total(&constants, &states).1;
                // A root of an error that is small has few of its digits, and so has the difference of two states.
                let bound = match kind {
                    Measure::StepCount => 1e-7,
                    Measure::Stiffness => 1e-5,
                    _ => 2e-9,
                };
                assert!((found.penalty - value).abs() < bound * value, "{name}: {} not {value}", found.penalty);
                close(&name, &found.theta, &gradient(&theta, |theta| total(theta, &states).0), bound);
                close(&name, &found.y0, &gradient(&y0, |y0| total(&constants, y0).0), bound);
            }
        }
    }
}

/// Steps and states are those without, and two regularizers add their gradients.
#[test]
fn regularizers_add_up_and_leave_the_solve_alone() {
    let (_, problem, theta, y0) = case();
    let local = Local::unbiased().coefficient(0.3).fraction(1.0).gradient(PenaltyGradient::Full);
    let global = Global::step_count().coefficient(0.2);
    let run = |regularizer: &Regularizer| {
        let mut solver = solver::<f64>(&problem, &options(Method::Tsit5));
        solver.regularize(regularizer, SEED, 4).expect("adaptive steps");
        let solution = solver.solve(&theta, &y0).expect("a valid call");
        let found = solver.gradients(&solution.ys).expect("solved");
        (solution.ys, solution.stats, found)
    };
    let (ys, stats, plain) = run(&Regularizer::None);
    let (one, two) = (run(&local.clone().into()).2, run(&global.clone().into()).2);
    let (same, costs, both) = run(&Regularizer::from(local).and(global));
    assert_eq!((ys, stats), (same, costs));
    assert_eq!((both.penalty, both.global_penalty), (one.penalty, Some(two.penalty)));
    let sum = |one: &[f64], two: &[f64], plain: &[f64]| -> Vec<f64> {
        one.iter().zip(two).zip(plain).map(|((one, two), plain)| one + two - plain).collect()
    };
    close("theta", &both.theta, &sum(&one.theta, &two.theta, &plain.theta), 1e-12);
    close("y0", &both.y0, &sum(&one.y0, &two.y0, &plain.y0), 1e-12);
}

/// `y' = -y` to a random end: its mean is known, draws are those of the step, and evaluation goes to the end.
#[test]
fn ends_are_drawn_about_the_end() {
    let field = Field::build(1, |f| -f.state()).expect("a field");
    let model = NeuralDe::new(Problem::ode(field, 0.0, 1.0), options(Method::Tsit5));
    let config = TrainerConfig::new(model, Loss::Mse).regularizer(EndTime::within(0.5)).seed(9);
    let mut trainer = Trainer::<f64>::new(&cpu(1), config.clone()).expect("a valid model");
    let batch = Batch { inputs: &[1.0], target: Target::States(&[0.0]) };
    let exact = trainer.evaluate(&batch).expect("a valid batch").loss;
    assert!((exact - (-2f64).exp()).abs() < 1e-4, "{exact}");
    let ends: Vec<f64> = (0..400)
        .map(|_| {
            let report = trainer.step(&batch).expect("a valid batch");
            let end = report.end_time.expect("a random end");
            assert!((report.loss - (-2.0 * end).exp()).abs() < 1e-3, "{} at {end}", report.loss);
            end
        })
        .collect();
    assert!(ends.iter().all(|end| (0.5..1.5).contains(end)));
    let mean = ends.iter().map(|end| (-end).exp()).sum::<f64>() / 400.0;
    // The mean is sinh(b) / (b e), the variance 0.01205.
    assert!((mean - 0.383_400_499_564).abs() < 4.0 * (0.012_050_243_f64 / 400.0).sqrt(), "{mean}");
    let mut again = Trainer::<f64>::new(&cpu(1), config).expect("a valid model");
    let first = again.step(&batch).expect("a valid batch").end_time;
    assert_eq!(first, Some(ends[0]));
    assert_eq!(again.evaluate(&batch).expect("a valid batch").loss, exact);
}

#[test]
fn what_does_not_go_together_is_refused() {
    let refused = |regularizer: Regularizer, options: &SolverOptions| match regularizer.validate(options) {
        Err(Error::Argument { argument, .. }) => argument,
        other => panic!("{other:?}"),
    };
    let plain = options(Method::Tsit5);
    let fixed = plain.clone().step_control(StepControl::Fixed { steps: 3 });
    assert_eq!(refused(Global::error().into(), &fixed), "regularizer");
    assert_eq!(refused(Regularizer::from(Global::error()).and(Global::step_count()), &plain), "regularizer");
    assert_eq!(refused(EndTime::within(1.0).into(), &plain), "EndTime::half_width");
    assert_eq!(refused(EndTime::within(f64::NAN).into(), &plain), "EndTime::half_width");
    let times = plain.clone().save_at(SaveAt::Times(vec![0.5]));
    assert_eq!(refused(EndTime::within(0.5).into(), &times), "SolverOptions::save_at");
    for options in [options(Method::Bosh3), plain.clone().adjoint(Adjoint::Reversible)] {
        assert_eq!(refused(Global::stiffness().into(), &options), "Global::measure");
    }
    assert_eq!(refused(Global::error().coefficient(f64::NAN).into(), &plain), "Global::coefficient");
    assert_eq!(refused(Global::error().into(), &plain.save_at(SaveAt::Steps)), "SolverOptions::save_at");
}

/// A drawn end may come before a stop, where no step has to end then; what was saved lies at the end.
#[test]
fn a_drawn_end_comes_before_stops() {
    let field = Field::build(1, |f| -f.state()).expect("a field");
    for layout in [Layout::Lockstep, Layout::Ensemble] {
        let options = options(Method::Tsit5).layout(layout).stop_at(vec![0.45, 0.95]);
        let mut solver = solver::<f64>(&Problem::ode(field.clone(), 0.0, 1.0), &options);
        let ends: Vec<f64> = (0..20)
            .map(|step| {
                solver.regularize(&EndTime::within(0.5).into(), 9, step).expect("a valid regularizer");
                let solution = solver.solve(&[], &[1.0]).expect("a valid call");
                let SavedTimes::Shared(times) = &solution.ts else { panic!("{:?}", solution.ts) };
                assert_eq!(solution.status, [Status::Done], "{layout:?}, to {times:?}");
                assert!(
                    (solution.ys[0] - (-times[0]).exp()).abs() < 1e-3,
                    "{layout:?}: {} at {times:?}",
                    solution.ys[0]
                );
                times[0]
            })
            .collect();
        assert!(ends.iter().any(|end| *end < 0.95) && ends.iter().any(|end| *end > 0.95), "{ends:?}");
    }
}
