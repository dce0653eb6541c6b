//! Calls that cannot be carried out.

use super::argument;
use crate::oracle::{LAYOUTS, cpu, fixed, solver};
use fewsteps::{
    Adjoint, Checkpoints, Controller, Error, InitialStep, Method, Mlp, Problem, SaveAt, Solver, SolverOptions,
    StepControl, Tolerances,
};

#[test]
fn options_that_cannot_be_carried_out_are_refused() {
    let problem = |t0, t1| Problem::ode(Mlp::new([2, 2]), t0, t1);
    let good = problem(0.0, 1.0);
    let plain = SolverOptions::default();
    let tolerance = |atol, rtol| SolverOptions::default().tolerances(Tolerances { atol, rtol });
    let times = |times: &[f64]| SolverOptions::default().save_at(SaveAt::Times(times.to_vec()));
    let control = |initial_step, controller| {
        let tolerances = Tolerances::default();
        SolverOptions::default().step_control(StepControl::Adaptive { tolerances, controller, initial_step })
    };
    let first_step = |h| control(InitialStep::Length(h), Controller::PI);
    let controller = |controller| control(InitialStep::Automatic, controller);
    let checkpoints = Adjoint::Discrete { checkpoints: Checkpoints::Stride(0) };
    let table: Vec<(&str, Problem, SolverOptions)> = vec![
        ("Problem::t0", problem(f64::NAN, 1.0), plain.clone()),
        ("Problem::t1", problem(0.0, f64::INFINITY), plain.clone()),
        ("Problem::field", Problem::ode(Mlp::new([2, 3]), 0.0, 1.0), plain.clone()),
        ("Mlp::sizes", Problem::ode(Mlp::new([2]), 0.0, 1.0), plain.clone()),
        ("Mlp::sizes", Problem::ode(Mlp::new([2, 0, 2]), 0.0, 1.0), plain.clone()),
        ("Tolerances::atol", good.clone(), tolerance(0.0, 1e-5)),
        ("Tolerances::rtol", good.clone(), tolerance(1e-5, -1e-5)),
        ("Tolerances::rtol", good.clone(), tolerance(1e-5, f64::NAN)),
        ("Tolerances::atol", good.clone(), tolerance(1e-40, 1e-5)),
        ("Tolerances::atol", good.clone(), tolerance(1e39, 1e-5)),
        ("Tolerances::atol", good.clone(), tolerance(f64::INFINITY, 1e-5)),
        ("Tolerances::rtol", good.clone(), tolerance(1e-5, 1e-12)),
        ("SolverOptions::method", good.clone(), plain.clone().method(Method::Rk4)),
        ("SolverOptions::method", good.clone(), plain.clone().method(Method::Euler)),
        ("StepControl::Fixed::steps", good.clone(), fixed(Method::Tsit5, 0)),
        ("StepControl::Fixed::steps", problem(1e9, 1e9 + 1.0), fixed(Method::Tsit5, 1_000_000)),
        ("SolverOptions::max_steps", good.clone(), plain.clone().max_steps(0)),
        ("Checkpoints::Stride", good.clone(), plain.clone().adjoint(checkpoints)),
        ("InitialStep::Length", good.clone(), first_step(0.0)),
        ("InitialStep::Length", good.clone(), first_step(-0.1)),
        ("InitialStep::Length", good.clone(), first_step(f64::NAN)),
        ("Controller::safety", good.clone(), controller(Controller { safety: 1.5, ..Controller::PI })),
        ("Controller::min_factor", good.clone(), controller(Controller { min_factor: 0.0, ..Controller::PI })),
        ("Controller::max_factor", good.clone(), controller(Controller { max_factor: 1.0, ..Controller::PI })),
        ("Controller::beta", good.clone(), controller(Controller { beta: [-1.0, 0.0, 0.0], ..Controller::PI })),
        ("SolverOptions::stop_at", good.clone(), plain.clone().stop_at([0.5, 1.5])),
        ("SolverOptions::stop_at", good.clone(), plain.clone().stop_at([f64::NAN])),
        ("SolverOptions::stop_at", good.clone(), fixed(Method::Tsit5, 10).stop_at([0.5])),
        ("SolverOptions::stop_at", good.clone(), plain.clone().stop_at([0.2, 0.4]).max_steps(2)),
        ("SolverOptions::largest_step", good.clone(), plain.clone().largest_step(0.0)),
        ("SolverOptions::largest_step", good.clone(), plain.clone().largest_step(f64::INFINITY)),
        ("SolverOptions::largest_step", good.clone(), plain.clone().largest_step(1e-16).max_steps(usize::MAX)),
        ("SolverOptions::largest_step", good.clone(), plain.clone().largest_step(0.01).max_steps(50)),
        ("SolverOptions::largest_step", good.clone(), fixed(Method::Tsit5, 10).largest_step(0.5)),
        ("SolverOptions::atol_per_feature", good.clone(), plain.clone().atol_per_feature(Vec::new())),
        ("SolverOptions::atol_per_feature", good.clone(), plain.clone().atol_per_feature([1e-6])),
        ("SolverOptions::atol_per_feature", good.clone(), plain.clone().atol_per_feature([1e-6; 3])),
        ("SolverOptions::atol_per_feature", good.clone(), plain.clone().atol_per_feature([1e-6, 0.0])),
        ("SolverOptions::atol_per_feature", good.clone(), plain.clone().atol_per_feature([-1e-6, 1e-6])),
        ("SolverOptions::atol_per_feature", good.clone(), plain.clone().atol_per_feature([1e-6, f64::NAN])),
        ("SolverOptions::atol_per_feature", good.clone(), plain.clone().atol_per_feature([1e-6, 1e-40])),
        ("SolverOptions::atol_per_feature", good.clone(), plain.clone().atol_per_feature([1e39, 1e-6])),
        ("SolverOptions::atol_per_feature", good.clone(), fixed(Method::Tsit5, 10).atol_per_feature([1e-6; 2])),
        ("SaveAt::Times", good.clone(), times(&[])),
        ("SaveAt::Times", good.clone(), times(&[0.5, 1.5])),
        ("SaveAt::Times", good.clone(), times(&[-0.1, 0.5])),
        ("SaveAt::Times", good.clone(), times(&[0.5, 1.0 + 1e-14])),
        ("SaveAt::Times", good.clone(), times(&[0.5, 0.4])),
        ("SaveAt::Times", good.clone(), times(&[f64::NAN])),
        ("SaveAt::Times", problem(1.0, 0.0), times(&[0.4, 0.5])),
    ];
    for (expected, problem, options) in table {
        let error = Solver::<f32>::new(&cpu(1), &problem, &options).expect_err(expected);
        assert_eq!(argument(&error), expected, "{error}");
        assert!(error.to_string().starts_with(&format!("{expected} = ")), "{error} names the argument and its value");
    }
    Solver::<f64>::new(&cpu(1), &good, &tolerance(1e-12, 1e-12)).expect("f64 can resolve that");
    Solver::<f32>::new(&cpu(1), &good, &tolerance(1e-37, 1e-5)).expect("a normal number");
    Solver::<f32>::new(&cpu(1), &problem(1.0, 0.0), &times(&[1.0, 0.5, 0.5, 0.0])).expect("backwards, with both ends");
    assert_eq!(argument(&fewsteps::Cpu::with_threads(0).expect_err("no threads")), "threads", "no threads");
}

#[test]
fn calls_that_cannot_be_carried_out_are_refused() {
    let problem = Problem::ode(Mlp::new([2, 2]), 0.0, 1.0);
    let (theta, y0) = ([0.1f32; 6], [1.0f32; 4]);
    for layout in LAYOUTS {
        let mut solver = solver::<f32>(&problem, &SolverOptions::default().layout(layout));
        let error = solver.gradients(&[1.0; 4]).expect_err("nothing was solved");
        assert!(matches!(error, Error::Order { call: "gradients", needs: "solve", .. }), "{error:?}");
        for (expected, theta, y0) in [
            ("y0", &theta[..], &[][..]),
            ("y0", &theta[..], &y0[..3]),
            ("theta", &theta[..5], &y0[..]),
            ("theta", &[0.1, 0.1, f32::NAN, 0.1, 0.1, 0.1][..], &y0[..]),
        ] {
            let error = solver.solve(theta, y0).expect_err(expected);
            assert_eq!(argument(&error), expected, "{error}");
        }
        let shape = solver.solve(&theta, &y0[..3]).expect_err("one and a half trajectories");
        assert!(matches!(shape, Error::Shape { found: 3, expected: 4, .. }), "{shape}");
        solver.predict(&theta, &y0).expect("a valid call");
        let error = solver.gradients(&[1.0; 4]).expect_err("predict keeps no tape");
        assert_eq!(error.to_string(), "gradients before solve: call solve first; predict keeps no tape");
        solver.solve(&theta, &y0).expect("a valid call");
        for length in [0, 3, 5, 8] {
            let error = solver.gradients(&vec![1.0; length]).expect_err("a cotangent for every saved number");
            assert!(matches!(error, Error::Shape { expected: 4, .. }), "{error}");
        }
        solver.gradients(&[1.0; 4]).expect("a valid call");
        solver.solve(&theta[..5], &y0).expect_err("too few parameters");
        solver.gradients(&[1.0; 4]).expect_err("the last solve did not take place");
    }
}
