//! Driven fields: what controls are between their knots, whose they are, and where steps end.

use fewsteps::{
    Control, Cpu, Diffusion, Error, Field, Interpolation, Layout, Paths, Problem, SaveAt, Scalar, Solver,
    SolverOptions, StepControl, Tolerances,
};

/// `y' = u(t)`
fn integrator(control: Control, t0: f64, t1: f64) -> Problem {
    Problem::ode(Field::build(1, |f| f.control("u") + f.state() * 0.0).expect("a field"), t0, t1).driven_by(control)
}

fn options(layout: Layout) -> SolverOptions {
    SolverOptions::default().layout(layout).tolerances(Tolerances::both(1e-8))
}

fn solver<R: Scalar>(problem: &Problem, options: &SolverOptions) -> Solver<R> {
    Solver::new(&Cpu::new().expect("a processor"), problem, options).expect("a solver")
}

/// The integral of `u` from `t0` to `t1`, and the attempts that were rejected.
fn integral<R: Scalar>(
    interpolation: Interpolation,
    values: &[f64],
    [t0, t1]: [f64; 2],
    layout: Layout,
) -> (f64, usize) {
    // Knots that are no binary fractions, so that their neighbours at `f32` lie on either side.
    let times: Vec<f64> = (0..values.len()).map(|i| 0.1 + 0.3 * i as f64).collect();
    let problem = integrator(Control::new("u", interpolation, times), t0, t1);
    // As far as either precision goes.
    let tolerances = Tolerances::both(if R::EPSILON.to_f64() > 1e-10 { 1e-5 } else { 1e-8 });
    let mut solver = solver::<R>(&problem, &options(layout).tolerances(tolerances));
    let values: Vec<R> = values.iter().map(|value| R::from_f64(*value)).collect();
    solver.set_control("u", &values).expect("values");
    let solution = solver.solve(&[], &[R::ZERO]).expect("a solve").check().expect("a solution");
    (solution.ys[0].to_f64(), solution.stats[0].rejected)
}

#[test]
fn controls_are_what_their_knots_say() {
    let values = [1.0, -2.0, 4.0, 3.0];
    // By hand: 0.1 before the first knot, three pieces of 0.3, and 0.2 after the last one.
    let hold = 0.1 * 1.0 + 0.3 * (1.0 - 2.0 + 4.0) + 0.2 * 3.0;
    let linear = 0.1 * 1.0 + 0.3 * (-0.5 + 1.0 + 3.5) + 0.2 * 3.0;
    for layout in [Layout::Lockstep, Layout::Ensemble] {
        for (interpolation, truth) in [(Interpolation::Hold, hold), (Interpolation::Linear, linear)] {
            let span = [0.0, 1.2];
            let (found, rejected) = integral::<f64>(interpolation, &values, span, layout);
            assert!((found - truth).abs() < 1e-12, "{interpolation:?}: {found}, not {truth}");
            assert_eq!(rejected, 0, "{interpolation:?}: no step looks across a knot");
            let (found, rejected) = integral::<f32>(interpolation, &values, span, layout);
            assert!((found - truth).abs() < 1e-5, "{interpolation:?} at f32: {found}, not {truth}");
            assert_eq!(rejected, 0, "{interpolation:?} at f32");
            let (found, rejected) = integral::<f64>(interpolation, &values, [1.2, 0.0], layout);
            assert!((found + truth).abs() < 1e-12, "{interpolation:?} backwards: {found}, not {}", -truth);
            assert_eq!(rejected, 0, "{interpolation:?} backwards");
        }
        // The natural spline through 0, 1, 0 has the second derivative -3 / 0.3^2 in the middle.
        let (found, _) = integral::<f64>(Interpolation::Cubic, &[0.0, 1.0, 0.0], [0.1, 0.7], layout);
        assert!((found - 0.3 * 1.25).abs() < 1e-7, "{found}");
        // Of a line it is the line.
        let (found, _) = integral::<f64>(Interpolation::Cubic, &[0.0, 1.0, 2.0, 3.0], [0.1, 1.0], layout);
        assert!((found - 0.9 * 1.5).abs() < 1e-7, "{found}");
    }
}

#[test]
fn each_trajectory_has_its_own() {
    // More than two tiles; times at which each has its own step size.
    const BATCH: usize = 75;
    let field =
        Field::build(2, |f| f.parameters("scale", &[1.0]) * f.controls("rates", 2) * f.state()).expect("a field");
    let problem = Problem::ode(field, 0.0, 1.5).driven_by(Control::constant("rates"));
    let rates: Vec<f64> = (0..2 * BATCH).map(|i| -2.0 + 3.0 * i as f64 / (2 * BATCH) as f64).collect();
    for layout in [Layout::Lockstep, Layout::Ensemble] {
        let options = options(layout).save_at(SaveAt::Times(vec![0.7, 1.5]));
        let mut solver = solver::<f64>(&problem, &options);
        solver.set_control("rates", &rates).expect("values");
        let solution = solver.solve(&[1.0], &[1.0; 2 * BATCH]).expect("a solve").check().expect("a solution");
        for (i, rate) in rates.iter().enumerate() {
            for (slot, t) in [0.7, 1.5].into_iter().enumerate() {
                let (found, truth) = (solution.ys[slot * 2 * BATCH + i], (rate * t).exp());
                assert!((found - truth).abs() < 1e-6 * truth.max(1.0), "{layout:?}, {i}: {found}, not {truth}");
            }
        }
        // d/dscale of exp(scale rate t), and of the start.
        let mut bars = vec![0.0; 4 * BATCH];
        bars[2 * BATCH..].fill(1.0);
        let gradients = solver.gradients(&bars).expect("gradients");
        let truth: f64 = rates.iter().map(|rate| rate * 1.5 * (rate * 1.5).exp()).sum();
        assert!((gradients.theta[0] - truth).abs() < 1e-4 * truth.abs(), "{layout:?}: {}", gradients.theta[0]);
        for (bar, rate) in gradients.y0.iter().zip(&rates) {
            assert!((bar - (rate * 1.5).exp()).abs() < 1e-5, "{layout:?}");
        }
    }
}

#[test]
fn gradients_go_through_a_driven_pendulum() {
    let field = Field::build(2, |f| {
        let (y, k) = (f.state(), f.positive("k", &[2.0, 0.3]));
        f.stack([y.row(1), -k.row(0) * y.row(0).sin() - k.row(1) * y.row(1) + f.control("torque")])
    })
    .expect("a field");
    let theta = field.initialize::<f64>(0);
    for (interpolation, layout) in [
        (Interpolation::Hold, Layout::Lockstep),
        (Interpolation::Linear, Layout::Ensemble),
        (Interpolation::Cubic, Layout::Lockstep),
    ] {
        let torque = Control::new("torque", interpolation, [0.0, 0.5, 1.1, 2.0]);
        let problem = Problem::ode(field.clone(), 0.0, 2.5).driven_by(torque);
        let options = options(layout).tolerances(Tolerances::both(1e-10));
        // Steps may cross the knots of a spline: equal ones are the same for all parameters.
        let fixed = StepControl::Fixed { steps: 60 };
        let options = if interpolation == Interpolation::Cubic { options.step_control(fixed) } else { options };
        let mut solver = solver::<f64>(&problem, &options);
        solver.set_control("torque", &[1.0, -1.0, 2.0, 0.0, 0.5, 0.0, -0.5, 1.0]).expect("values");
        let (y0, bars) = ([0.3, 0.0, -1.0, 0.4], [1.0, -0.5, 0.25, 2.0]);
        solver.solve(&theta, &y0).expect("a solve");
        let gradients = solver.gradients(&bars).expect("gradients");
        let mut value = |theta: &[f64], y0: &[f64]| -> f64 {
            solver.predict(theta, y0).expect("a solve").ys.iter().zip(&bars).map(|(y, bar)| y * bar).sum()
        };
        let step = 1e-5;
        for i in 0..6 {
            let [up, down] = [step, -step].map(|step| {
                let (mut theta, mut y0) = (theta.clone(), y0);
                if i < 2 {
                    theta[i] += step;
                } else {
                    y0[i - 2] += step;
                }
                value(&theta, &y0)
            });
            let (found, truth) =
                (if i < 2 { gradients.theta[i] } else { gradients.y0[i - 2] }, (up - down) / (2.0 * step));
            assert!(
                (found - truth).abs() < 2e-6 * truth.abs().max(1.0),
                "{interpolation:?}, {i}: {found}, not {truth}"
            );
        }
    }
}

#[test]
fn noise_goes_with_a_drive() {
    // `dy = u dt + u dW` along one path: `y = u (t + W)`, and twice that for twice the control.
    let field = || Field::build(1, |f| f.control("u") + 0.0 * f.state()).expect("a field");
    let problem = Problem::sde(field(), Diffusion::ito(field()), 0.0, 1.0).driven_by(Control::constant("u"));
    let mut solver = solver::<f64>(&problem, &SolverOptions::sde(Tolerances::both(1e-2)));
    solver.set_control("u", &[1.0]).expect("values");
    let mut at = |first, values: &[f64]| {
        solver.set_paths(Paths { seed: 5, first });
        solver.set_control("u", values).expect("values");
        solver.solve(&[], &vec![0.0; values.len()]).expect("a solve").check().expect("a solution").ys
    };
    let ones = at(0, &[1.0; 3]);
    let own = at(0, &[1.0, 2.0, -3.0]);
    for (own, (one, scale)) in own.iter().zip(ones.iter().zip([1.0, 2.0, -3.0])) {
        assert!((own - scale * one).abs() < 1e-12, "{own}, not {scale} times {one}");
    }
    // A batch that begins at a later trajectory still has the values of its own first one.
    assert!((at(1, &[2.0])[0] - 2.0 * ones[1]).abs() < 1e-12);
}

/// SOSRI has stages at 3.75 of a step and before its start: they see the control as it is within the step, so that what is
/// held is summed exactly up to each jump.
#[test]
fn stages_beyond_a_step_see_no_knot() {
    let field = || Field::build(1, |f| f.control("u") + 0.0 * f.state()).expect("a field");
    // Nothing beside the drift.
    let noise = || Field::build(1, |f| f.parameters("g", &[1e-9]) + 0.0 * f.state()).expect("a field");
    let values = [1.0, -2.0, 4.0, 3.0];
    let hold = 0.1 * 1.0 + 0.3 * (1.0 - 2.0 + 4.0) + 0.2 * 3.0;
    let linear = 0.1 * 1.0 + 0.3 * (-0.5 + 1.0 + 3.5) + 0.2 * 3.0;
    for (interpolation, truth) in [(Interpolation::Hold, hold), (Interpolation::Linear, linear)] {
        for layout in [Layout::Lockstep, Layout::Ensemble] {
            let control = Control::new("u", interpolation, [0.1, 0.4, 0.7, 1.0]);
            let problem = Problem::sde(field(), Diffusion::ito(noise()), 0.0, 1.2).driven_by(control);
            let mut solver = solver::<f64>(&problem, &SolverOptions::sde(Tolerances::both(3e-2)).layout(layout));
            solver.set_control("u", &values).expect("values");
            let found = solver.solve(&[1e-9], &[0.0]).expect("a solve").check().expect("a solution").ys[0];
            assert!((found - truth).abs() < 2e-8, "{interpolation:?}, {layout:?}: {found}, not {truth}");
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let problem = integrator(Control::constant("u"), 0.0, 1.0);
    let mut one = solver::<f64>(&problem, &SolverOptions::default());
    assert!(matches!(one.solve(&[], &[0.0]), Err(Error::Order { needs: "Solver::set_control", .. })));
    assert!(matches!(one.set_control("v", &[0.0]), Err(Error::Argument { .. })));
    assert!(matches!(one.set_control("u", &[]), Err(Error::Shape { .. })));
    assert!(matches!(one.set_control("u", &[f64::NAN]), Err(Error::NonFinite { .. })));
    one.set_control("u", &[1.0, 2.0]).expect("two trajectories");
    assert!(matches!(one.solve(&[], &[0.0; 3]), Err(Error::Argument { .. })));
    assert!(one.solve(&[], &[0.0; 2]).is_ok());
    let refused = |problem: &Problem, options: &SolverOptions| {
        let error = Solver::<f64>::new(&Cpu::new().expect("a processor"), problem, options).expect_err("refused");
        error.to_string()
    };
    let default = SolverOptions::default();
    let field = || Field::build(1, |f| f.control("u") * f.state()).expect("a field");
    assert!(refused(&Problem::ode(field(), 0.0, 1.0), &default).contains("\"u\""));
    let twice = Problem::ode(field(), 0.0, 1.0).driven_by(Control::constant("u")).driven_by(Control::constant("u"));
    assert!(refused(&twice, &default).contains("\"u\""));
    let other = Problem::ode(field(), 0.0, 1.0).driven_by(Control::constant("u")).driven_by(Control::constant("w"));
    assert!(refused(&other, &default).contains("\"w\""));
    for times in [vec![], vec![0.0, 0.0], vec![0.0, f64::NAN]] {
        let problem = integrator(Control::new("u", Interpolation::Linear, times), 0.0, 1.0);
        assert!(refused(&problem, &default).contains("Control::times"));
    }
    let knots = integrator(Control::new("u", Interpolation::Hold, [0.0, 0.5]), 0.0, 1.0);
    assert!(refused(&knots, &SolverOptions::default().step_control(StepControl::Fixed { steps: 4 })).contains("knots"));
}
