//! Measures over all accepted steps, against integrals that are known and differences of values.

use super::SEED;
use crate::oracle::{close, differences, numbers, scaled, solver};
use fewsteps::{
    Adjoint, Checkpoints, Error, Field, Global, Gradients, InitialStep, Layout, Method, Mlp, PenaltyGradient,
    PointMeasure, Pointwise, Problem, Regularizer, SaveAt, Solver, SolverOptions, StepControl, TimeInput, Tolerances,
};

const THETA: [f64; 4] = [0.2, -1.0, 0.7, -0.4];

/// `y' = A y`, whose integrals are known.
fn linear() -> Field {
    let field = Field::build(2, |f| {
        let (y, a) = (f.state(), f.parameters("a", &THETA));
        f.stack([a.row(0) * y.row(0) + a.row(1) * y.row(1), a.row(2) * y.row(0) + a.row(3) * y.row(1)])
    });
    field.expect("a field")
}

fn tight() -> SolverOptions {
    SolverOptions::default().step_control(StepControl::Adaptive {
        tolerances: Tolerances::both(1e-10),
        controller: fewsteps::Controller::default(),
        initial_step: InitialStep::Automatic,
    })
}

fn run(solver: &mut Solver<f64>, regularizer: &Regularizer, theta: &[f64], y0: &[f64], bars: &[f64]) -> Gradients<f64> {
    solver.regularize(regularizer, SEED, 2).expect("a valid regularizer");
    solver.solve(theta, y0).expect("a valid call");
    solver.gradients(bars).expect("solved")
}

#[test]
fn integrals_of_a_linear_equation_are_known() {
    for layout in [Layout::Lockstep, Layout::Ensemble] {
        for (measure, integral) in [
            (PointMeasure::SecondDerivative, 1.221_504_552_479_258),
            (PointMeasure::ThirdDerivative, 0.941_852_275_026_030_2),
            (PointMeasure::Kinetic, 1.413_617_550_230_973_4),
        ] {
            for method in [Method::Tsit5, Method::Dopri5] {
                let options = tight().layout(layout).method(method);
                let mut solver = solver::<f64>(&Problem::ode(linear(), 0.0, 1.0), &options);
                let regularizer = Pointwise::new(measure).quadrature().into();
                let found = run(&mut solver, &regularizer, &THETA, &[1.0, -2.0], &[0.0; 2]).penalty;
                assert!((found - integral).abs() < 1e-8, "{method}, {layout:?}, {measure:?}: {found} not {integral}");
            }
        }
    }
}

/// A row that leaves for infinity in a short time has no part in it, and the time of others is not its.
#[test]
fn it_is_the_mean_of_the_times_that_one_draws() {
    let field = Field::from(Mlp::new([2, 6, 2]).time_input(TimeInput::Every));
    let (theta, y0) = (scaled(1.5, &numbers(3, field.parameter_count())), numbers(5, 8));
    for measure in PointMeasure::ALL {
        let mut solver = solver::<f64>(&Problem::ode(field.clone(), 0.2, -0.9), &tight());
        let whole = Pointwise::new(measure).quadrature().into();
        let many = Pointwise::new(measure).times(64).into();
        let [whole, many] = [whole, many].map(|of| run(&mut solver, &of, &theta, &y0, &[0.0; 8]).penalty);
        assert!((whole / many - 1.0).abs() < 0.01, "{measure:?}: {whole}, {many} by 64 times");
    }
}

/// With steps of fixed length the value's own differences are its gradient; states saved within steps, steps taken again
/// from checkpoints and the errors of all steps beside it.
#[test]
fn gradients_are_differences_of_values() {
    let field = Field::from(Mlp::new([2, 4, 2]).time_input(TimeInput::Every));
    let (theta, y0) = (scaled(1.5, &numbers(3, field.parameter_count())), numbers(5, 6));
    let problem = Problem::ode(field, 0.2, 1.7);
    let saves = SaveAt::Times(vec![0.45, 0.7, 1.4]);
    let checkpoints = Adjoint::Discrete { checkpoints: Checkpoints::Stride(2) };
    let bars: Vec<f64> = (0..18).map(|i| f64::from(i % 5) - 2.0).collect();
    for method in [Method::Tsit5, Method::Bosh3, Method::Rk4, Method::Euler] {
        for layout in [Layout::Lockstep, Layout::Ensemble] {
            let options = SolverOptions::default().method(method).layout(layout).save_at(saves.clone());
            let options = options.adjoint(checkpoints).step_control(StepControl::Fixed { steps: 3 });
            let mut solver = solver::<f64>(&problem, &options);
            // The chord of a straight line is a constant in the gradient, and not in the value.
            let regularizer = Regularizer::from(Pointwise::kinetic().quadrature().coefficient(0.7))
                .and(Pointwise::jacobian().quadrature().coefficient(0.3))
                .and(Pointwise::taylor(2).expect("an order").quadrature().coefficient(0.2));
            let mut value = |theta: &[f64], y0: &[f64]| -> f64 {
                let found = run(&mut solver, &regularizer, theta, y0, &bars);
                let states = solver.predict(theta, y0).expect("a valid call").ys;
                let penalties: f64 = found.pointwise.iter().map(|of| of.coefficient * of.penalty).sum();
                penalties + states.iter().zip(&bars).map(|(y, bar)| y * bar).sum::<f64>()
            };
            let of_theta = differences(&theta, |theta| value(theta, &y0));
            let of_y0 = differences(&y0, |y0| value(&theta, y0));
            let found = run(&mut solver, &regularizer, &theta, &y0, &bars);
            close(&format!("{method}, {layout:?}: theta"), &found.theta, &of_theta, 1e-7);
            close(&format!("{method}, {layout:?}: y0"), &found.y0, &of_y0, 1e-7);
        }
    }
}

/// The measures add up with each other and with the errors of the steps, and leave the solve as it is.
#[test]
fn it_adds_to_other_regularizers_and_changes_no_step() {
    let field = Field::from(Mlp::new([3, 8, 3]));
    let (theta, y0) = (scaled(2.0, &numbers(1, field.parameter_count())), numbers(2, 3 * 40));
    for layout in [Layout::Lockstep, Layout::Ensemble] {
        let options = SolverOptions::default().layout(layout);
        let mut solver = solver::<f64>(&Problem::ode(field.clone(), 0.0, 1.0), &options);
        let bars = vec![0.1; y0.len()];
        let kinetic = || Pointwise::kinetic().quadrature();
        let global = || Global::error().coefficient(1e-3);
        let plain = solver.solve(&theta, &y0).expect("a valid call");
        let none = solver.gradients(&bars).expect("solved");
        let one = run(&mut solver, &kinetic().into(), &theta, &y0, &bars);
        let other = run(&mut solver, &global().into(), &theta, &y0, &bars);
        let both = run(&mut solver, &Regularizer::from(kinetic()).and(global()), &theta, &y0, &bars);
        let sum: Vec<f64> = (0..theta.len()).map(|i| one.theta[i] + other.theta[i] - none.theta[i]).collect();
        close(&format!("{layout:?}"), &both.theta, &sum, 1e-10);
        assert_eq!(both.pointwise, one.pointwise, "{layout:?}");
        let constant = kinetic().gradient(PenaltyGradient::Step).into();
        let constant = run(&mut solver, &constant, &theta, &y0, &bars);
        assert_eq!((constant.penalty, &constant.y0), (one.penalty, &none.y0), "{layout:?}: states are constants");
        let after = solver.solve(&theta, &y0).expect("a valid call");
        assert_eq!((after.ys, after.stats), (plain.ys, plain.stats), "{layout:?}");
    }
}

#[test]
fn what_has_no_stages_is_refused() {
    let refused = |regularizer: Regularizer, options: &SolverOptions| match regularizer.validate(options) {
        Err(Error::Argument { argument, .. }) => argument,
        other => panic!("{other:?}"),
    };
    let kinetic = Pointwise::kinetic().quadrature();
    let options = SolverOptions::default();
    assert_eq!(refused(kinetic.clone().times(2).into(), &options), "Pointwise::times");
    assert_eq!(refused(kinetic.clone().into(), &options.adjoint(Adjoint::Reversible)), "regularizer");
    let file = serde_json::to_value(&kinetic).expect("plain data");
    assert_eq!(serde_json::from_value::<Pointwise>(file.clone()).expect("the same"), kinetic);
    let mut old = file;
    old.as_object_mut().expect("fields").remove("quadrature");
    assert!(!serde_json::from_value::<Pointwise>(old).expect("of before").quadrature);
}
