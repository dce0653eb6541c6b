//! Fields that are written out, through the native engine: closed forms, gradients, and what goes wrong.

use fewsteps::{
    Adjoint, Checkpoints, Cpu, Error, Field, Layout, Local, Mlp, Problem, SaveAt, Solver, SolverOptions, Status,
    Tolerances,
};

/// `y' = 1 / y`, whose solution is `sqrt(y0^2 + 2 t)`: a pole at 0, where a trajectory that rests must not stand.
fn reciprocal() -> Field {
    Field::build(1, |f| f.parameters("rate", &[1.0]) * f.state().recip()).expect("a field")
}

#[test]
fn a_trajectory_at_a_pole_fails_alone() {
    for layout in [Layout::Lockstep, Layout::Ensemble] {
        for adjoint in [Adjoint::Discrete { checkpoints: Checkpoints::Stride(3) }, Adjoint::default()] {
            let options = SolverOptions::default().layout(layout).adjoint(adjoint).tolerances(Tolerances::both(1e-9));
            let problem = Problem::ode(reciprocal(), 0.0, 1.0);
            let mut solver =
                Solver::<f64>::new(&Cpu::new().expect("a processor"), &problem, &options).expect("a solver");
            solver.regularize(&Local::unbiased().coefficient(0.0).into(), 1, 0).expect("a regularizer");
            // The last one of a tile that is not full, so that the lanes after it stand where it does.
            let y0 = [1.0, 2.0, 0.5, 0.0];
            let solution = solver.solve(&[1.0], &y0).expect("a solve");
            assert_eq!(solution.status[3], Status::NonFinite, "{layout:?}");
            for (y, y0) in solution.ys.iter().zip(y0).take(3) {
                assert!((y - (y0 * y0 + 2.0f64).sqrt()).abs() < 1e-7, "{layout:?}: from {y0} to {y}");
            }
            let gradients = solver.gradients(&[1.0; 4]).expect("gradients");
            // dy/dy0 = y0 / y, and dy/drate = t / y at rate 1.
            for (bar, y0) in gradients.y0.iter().zip(y0).take(3) {
                assert!((bar - y0 / (y0 * y0 + 2.0f64).sqrt()).abs() < 1e-6, "{layout:?}: {bar}");
            }
            let truth: f64 = y0[..3].iter().map(|y0| 1.0 / (y0 * y0 + 2.0f64).sqrt()).sum();
            assert!((gradients.theta[0] - truth).abs() < 1e-6, "{layout:?}: {} of {truth}", gradients.theta[0]);
        }
    }
}

#[test]
fn predator_and_prey_keep_their_invariant() {
    // V = d x - c ln x + b y - a ln y of x' = a x - b x y, y' = d x y - c y
    let field = Field::build(2, |f| {
        let (y, k) = (f.state(), f.positive("rates", &[1.1, 0.4, 0.1, 0.4]));
        let (prey, hunters) = (y.row(0), y.row(1));
        let meet = &prey * &hunters;
        f.stack([k.row(0) * &prey - k.row(1) * &meet, k.row(2) * &meet - k.row(3) * &hunters])
    })
    .expect("a field");
    let theta = field.initialize::<f64>(0);
    let options = SolverOptions::default()
        .tolerances(Tolerances::both(1e-9))
        .save_at(SaveAt::Times((1..=20).map(f64::from).collect()));
    let problem = Problem::ode(field, 0.0, 20.0);
    let mut solver = Solver::new(&Cpu::new().expect("a processor"), &problem, &options).expect("a solver");
    let solution = solver.solve(&theta, &[10.0, 5.0]).expect("a solve").check().expect("a solution");
    let invariant = |s: &[f64]| 0.1 * s[0] - 0.4 * s[0].ln() + 0.4 * s[1] - 1.1 * s[1].ln();
    let begin = invariant(&[10.0, 5.0]);
    for state in solution.ys.chunks(2) {
        assert!((invariant(state) - begin).abs() < 1e-6 * begin.abs().max(1.0), "{state:?}");
    }
    // Gradients against central differences.
    let bars: Vec<f64> = (0..40).map(|i| f64::from(i % 7) - 3.0).collect();
    let gradients = solver.gradients(&bars).expect("gradients");
    let mut value = |theta: &[f64]| -> f64 {
        let ys = solver.predict(theta, &[10.0, 5.0]).expect("a solve").ys;
        ys.iter().zip(&bars).map(|(y, bar)| y * bar).sum()
    };
    for i in 0..4 {
        let step = 1e-5;
        let [up, down] = [step, -step].map(|step| {
            let mut theta = theta.clone();
            theta[i] += step;
            value(&theta)
        });
        let difference = (up - down) / (2.0 * step);
        let found = gradients.theta[i];
        assert!((found - difference).abs() < 1e-4 * difference.abs().max(1.0), "rate {i}: {found}, not {difference}");
    }
}

#[test]
fn a_network_written_out_is_the_network() {
    let mlp = Mlp::new([3, 16, 3]);
    let written = Field::build(3, |f| f.mlp("net", &mlp, &f.state())).expect("a field");
    let theta = mlp.initialize::<f32>(5);
    assert_eq!(theta, written.initialize::<f32>(5));
    let y0: Vec<f32> = (0..3 * 40).map(|i| (i as f32 * 0.37).sin()).collect();
    let [a, b] = [Field::from(&mlp), written].map(|field| {
        let problem = Problem::ode(field, 0.0, 1.0);
        let mut solver =
            Solver::new(&Cpu::new().expect("a processor"), &problem, &SolverOptions::default()).expect("one");
        let ys = solver.solve(&theta, &y0).expect("a solve").ys;
        let gradients = solver.gradients(&ys).expect("gradients");
        (ys, gradients.theta, gradients.y0)
    });
    assert_eq!(a, b);
}

#[test]
fn frozen_groups_have_no_gradient() {
    let field = Field::build(2, |f| {
        let (free, fixed) = (f.parameters("free", &[0.3]), f.parameters("fixed", &[0.7]));
        let net = f.mlp("net", &Mlp::new([2, 4, 2]), &f.state());
        f.freeze("fixed");
        f.freeze("net");
        net - free * fixed * f.state()
    })
    .expect("a field");
    let theta = field.initialize::<f64>(1);
    let net = field.group("net").expect("a group").range();
    let problem = Problem::ode(field, 0.0, 1.0);
    let mut solver = Solver::new(&Cpu::new().expect("one"), &problem, &SolverOptions::default()).expect("a solver");
    solver.solve(&theta, &[1.0, -1.0]).expect("a solve");
    let gradients = solver.gradients(&[1.0, 1.0]).expect("gradients");
    assert!(gradients.theta[0] != 0.0 && gradients.theta[1] == 0.0);
    assert!(gradients.theta[net].iter().all(|g| *g == 0.0));
}

#[test]
fn widths_that_do_not_fit_are_refused() {
    let wide = Field::build(2, |f| f.state().row(0)).expect("a field");
    let error = Problem::ode(wide, 0.0, 1.0).validate().expect_err("one row of two");
    assert!(matches!(error, Error::Argument { argument: "Problem::field", .. }), "{error}");
    let error = Field::build(3, |f| f.state() + f.state().slice(0..2)).expect_err("three and two rows");
    assert!(error.to_string().contains("3 rows") && error.to_string().contains("2 rows"), "{error}");
}
