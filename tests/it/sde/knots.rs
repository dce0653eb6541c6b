//! Gradients by the values of controls that drive drift and diffusion, against those of parameters in their place.

use crate::oracle::{LAYOUTS, close, cpu, numbers};
use fewsteps::{
    Adjoint, Checkpoints, Control, Diffusion, Field, FieldBuilder, Gradients, Interpolation, Local, Method, Paths,
    PenaltyGradient, PenaltyNoise, Problem, Regularizer, Solver, SolverOptions, StepControl, Tolerances, Value,
};

const BATCH: usize = 37;
const VALUES: [f64; 2] = [0.4, -0.9];

/// A line through two values at times -1 and 2, which are parameters: stages may lie beyond the interval's ends.
fn line(f: &FieldBuilder) -> Value {
    let v = f.parameters("v", &VALUES);
    v.row(0) + (v.row(1) - v.row(0)) * (f.time() + 1.0) / 3.0
}

fn drift(f: &FieldBuilder, u: Value) -> Value {
    let y = f.state();
    f.stack([u.clone() - y.row(0) * y.row(1).cos(), (y.row(0) * u).sin() - y.row(1)])
}

fn diffusion(f: &FieldBuilder, u: Value) -> Value {
    (0.3 * u).repeat(2).cos() * 0.4 + 0.1 * f.state().sin()
}

/// The problem with a control, and with parameters of drift and diffusion each.
fn twins(method: Method) -> [Problem; 2] {
    let calculus = method.tableau().noise.expect("a stochastic method").calculus;
    let build = |write: &dyn Fn(&FieldBuilder) -> Value| Field::build(2, write).expect("a field");
    let problem = |drift: Field, noise: Field| Problem::sde(drift, Diffusion::new(noise, calculus), 0.0, 1.0);
    let control = Control::new("u", Interpolation::Linear, [-1.0, 2.0]).with_gradient();
    [
        problem(build(&|f| drift(f, f.control("u"))), build(&|f| diffusion(f, f.control("u")))).driven_by(control),
        problem(build(&|f| drift(f, line(f))), build(&|f| diffusion(f, line(f)))),
    ]
}

fn gradients(
    problem: &Problem,
    options: &SolverOptions,
    theta: &[f64],
    u: Option<&[f64]>,
    local: Option<&Local>,
) -> Gradients<f64> {
    let mut solver = Solver::<f64>::new(&cpu(2), problem, options).expect("a solver");
    solver.set_paths(Paths { seed: 3, first: 7 });
    if let Some(u) = u {
        solver.set_control("u", u).expect("values");
    }
    if let Some(local) = local {
        solver.regularize(&Regularizer::from(local.clone()), 2, 0).expect("fits");
    }
    solver.solve(theta, &numbers(1, 2 * BATCH)).expect("a solve").check().expect("a solution");
    solver.gradients(&numbers(2, 2 * BATCH)).expect("gradients")
}

fn check(name: &str, method: Method, options: &SolverOptions, local: Option<&Local>) {
    let [driven, plain] = twins(method);
    let expected = gradients(&plain, options, &[VALUES, VALUES].concat(), None, local);
    let sum: Vec<f64> = (0..2).map(|k| expected.theta[k] + expected.theta[2 + k]).collect();
    let shared = gradients(&driven, options, &[], Some(&VALUES), local);
    close(name, &shared.y0, &expected.y0, 1e-9);
    close(name, &shared.controls["u"], &sum, 1e-9);
    assert!((shared.penalty - expected.penalty).abs() <= 1e-9 * expected.penalty, "{name}: the penalty");
    let own = gradients(&driven, options, &[], Some(&VALUES.repeat(BATCH)), local).controls.remove("u").expect("asked");
    let each: Vec<f64> = (0..2).map(|k| own.iter().skip(k).step_by(2).sum()).collect();
    close(name, &each, &sum, 1e-9);
}

#[test]
fn every_method_and_adjoint() {
    for method in Method::SDE {
        let fixed = SolverOptions::default().method(method).step_control(StepControl::Fixed { steps: 12 });
        let mut adjoints = vec![Adjoint::default(), Adjoint::Discrete { checkpoints: Checkpoints::Stride(4) }];
        adjoints.extend((method == Method::ReversibleHeun).then_some(Adjoint::Reversible));
        adjoints.extend((method == Method::StratonovichHeun).then_some(Adjoint::Backsolve));
        for adjoint in adjoints {
            for layout in LAYOUTS {
                let options = fixed.clone().adjoint(adjoint).layout(layout);
                check(&format!("{method}, {adjoint:?}, {layout:?}"), method, &options, None);
            }
        }
    }
}

#[test]
fn adaptive_steps_and_penalties() {
    let method = SolverOptions::sde(Tolerances::both(1e-2)).method;
    for layout in LAYOUTS {
        for noise in [PenaltyNoise::Fresh, PenaltyNoise::Path] {
            let options = SolverOptions::sde(Tolerances::both(1e-2)).layout(layout);
            let local = Local::unbiased().noise(noise).gradient(PenaltyGradient::Full).coefficient(3.0);
            check(&format!("{layout:?}, {noise:?}"), method, &options, Some(&local));
        }
    }
}

#[test]
fn what_a_path_makes_of_a_control() {
    // `dy = u dt + u dW` along one path: `y = u (T + W)`, so `dy/du = y / u`.
    let field = || Field::build(1, |f| f.control("u") + 0.0 * f.state()).expect("a field");
    let control = Control::constant("u").with_gradient();
    let problem = Problem::sde(field(), Diffusion::ito(field()), 0.0, 1.0).driven_by(control);
    let mut solver = Solver::<f64>::new(&cpu(1), &problem, &SolverOptions::sde(Tolerances::both(1e-2))).expect("fits");
    let u = [1.0, 2.0, -3.0];
    solver.set_control("u", &u).expect("values");
    let ys = solver.solve(&[], &[0.0; 3]).expect("a solve").check().expect("a solution").ys;
    let expected: Vec<f64> = ys.iter().zip(u).map(|(y, u)| y / u).collect();
    close("paths", &solver.gradients(&[1.0; 3]).expect("gradients").controls["u"], &expected, 1e-10);
}
