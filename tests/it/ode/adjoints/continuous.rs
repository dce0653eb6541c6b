//! The adjoint equation, solved backwards: against closed forms, a problem whose gradients are known, and the discrete
//! adjoint of a solve within much smaller tolerances.

use crate::ode::argument;
use crate::oracle::{
    ADAPTIVE, LAYOUTS, adaptive, allocated, cast, close, cpu, distance, fixed, largest, numbers, scaled, solver, widen,
};
use fewsteps::{
    Activation, Adjoint, Control, Field, Global, Gradients, Interpolation, Layout, Local, Method, Mlp, PenaltyGradient,
    Pointwise, Problem, SaveAt, Solver, SolverOptions, Status, TimeInput,
};

const BOTH: [Adjoint; 2] = [Adjoint::Interpolating, Adjoint::Backsolve];

fn riccati() -> Field {
    Field::build(1, |f| f.parameters("a", &[0.5]) * f.state() * f.state()).expect("a field")
}

/// `y' = a y^2`, a = 0.5, from 1.2 over [0, 1]: `y = y0 / (1 - a y0 t)`.
#[test]
fn gradients_of_the_riccati_equation_are_those_of_its_solution() {
    for adjoint in BOTH {
        for layout in LAYOUTS {
            let mut last = f64::INFINITY;
            for tolerance in [1e-3, 1e-5, 1e-7, 1e-9] {
                let options = adaptive(Method::Tsit5, tolerance).layout(layout).adjoint(adjoint);
                let mut solver = solver::<f64>(&Problem::ode(riccati(), 0.0, 1.0), &options);
                solver.solve(&[0.5], &[1.2]).expect("a valid call").check().expect("done");
                let found = solver.gradients(&[1.0]).expect("solved");
                let error = (found.y0[0] / 6.25 - 1.0).abs().max((found.theta[0] / 9.0 - 1.0).abs());
                let name = format!("{adjoint:?}, {layout:?}, {tolerance:e}");
                assert!(error < 30.0 * tolerance && error < last / 5.0, "{name}: {error:e} after {last:e}");
                assert_eq!(found.status, [Status::Done], "{name}");
                last = error;
            }
        }
    }
}

/// Net 2-3-2 with time appended to both layers, all its weights doubled.
fn small_net() -> (Problem, Vec<f64>) {
    let first = [[0.5, -0.3, 0.8], [-0.7, 0.2, 0.4], [0.3, 0.6, -0.5], [0.1, -0.2, 0.05]];
    let second = [[0.4, -0.6], [0.9, 0.1], [-0.3, 0.7], [0.2, -0.1], [-0.05, 0.15]];
    let theta: Vec<f64> = first.concat().into_iter().chain(second.concat()).map(|x| 2.0 * x).collect();
    (Problem::ode(Mlp::new([2, 3, 2]).time_input(TimeInput::Every), 0.0, 1.0), theta)
}

/// Its gradients of `|y(1)|^2 + |y(0.5)|^2`, found otherwise.
#[test]
fn gradients_of_the_small_net_are_the_known_ones() {
    let (problem, theta) = small_net();
    for adjoint in BOTH {
        for layout in LAYOUTS {
            let mut last = f64::INFINITY;
            for (tolerance, most) in [(1e-3, 40), (1e-5, 60), (1e-7, 110)] {
                let options = adaptive(Method::Dopri5, tolerance)
                    .layout(layout)
                    .adjoint(adjoint)
                    .save_at(SaveAt::Times(vec![0.5, 1.0]));
                let mut solver = solver::<f64>(&problem, &options);
                let ys = solver.solve(&theta, &[0.6, -0.4]).expect("a valid call").check().expect("done").ys;
                close("states", &ys, &[0.45062308, -0.76072396, 0.81189815, -1.69378518], 10.0 * tolerance + 1e-8);
                let found = solver.gradients(&scaled(2.0, &ys)).expect("solved");
                let name = format!("{adjoint:?}, {layout:?}, {tolerance:e}: {found:?}");
                let y0_bar = [-6.07332818, -12.8578891];
                let norm = found.theta.iter().map(|g| g * g).sum::<f64>().sqrt();
                let error = [
                    distance(&found.y0, &y0_bar) / largest(&y0_bar),
                    (norm - 14.609750666333).abs() / 14.6,
                    (found.theta[0] - 0.404670142451).abs() / 14.6,
                ];
                let error = largest(&error);
                assert!(error < 30.0 * tolerance && error < last / 5.0, "{name}: {error:e} after {last:e}");
                assert!(found.evaluations <= most && found.products > found.evaluations, "{name}");
                last = error;
            }
        }
    }
}

struct Case {
    problem: Problem,
    theta: Vec<f64>,
    y0: Vec<f64>,
    times: Vec<f64>,
}

impl Case {
    fn new([t0, t1]: [f64; 2], batch: usize) -> Self {
        let field = Mlp::new([3, 6, 3]).activation(Activation::Tanh).time_input(TimeInput::Every);
        let theta = scaled(0.9, &numbers(1, field.parameter_count()));
        let at = |x: f64| t0 + x * (t1 - t0);
        let times = vec![t0, at(0.001), at(0.4), at(0.4), at(0.41), at(0.9)];
        Self { problem: Problem::ode(field, t0, t1), theta, y0: scaled(1.2, &numbers(2, batch * 3)), times }
    }

    fn gradients(&self, options: SolverOptions, weights: &[f64]) -> Gradients<f64> {
        let mut solver = Solver::<f64>::new(&cpu(2), &self.problem, &options).expect("a valid problem");
        solver.solve(&self.theta, &self.y0).expect("a valid call").check().expect("done");
        solver.gradients(weights).expect("solved")
    }
}

/// Every method, layout and direction, with saved times from the start on to short of the end, in several tiles.
#[test]
fn gradients_come_close_to_the_discrete_ones() {
    for (batch, span, methods) in [
        (3, [0.2, 1.7], ADAPTIVE.to_vec()),
        (3, [1.1, -0.4], vec![Method::Tsit5]),
        (35, [0.2, 1.7], vec![Method::Bosh3]),
    ] {
        let case = Case::new(span, batch);
        for save in [SaveAt::End, SaveAt::Times(case.times.clone())] {
            let slots = if save == SaveAt::End { 1 } else { case.times.len() };
            let weights = numbers(3, slots * batch * 3);
            let fine = adaptive(Method::Tsit5, 1e-12).save_at(save.clone());
            let truth = case.gradients(fine, &weights);
            for (&method, adjoint, layout) in
                methods.iter().flat_map(|m| BOTH.map(|a| (m, a))).flat_map(|(m, a)| LAYOUTS.map(|l| (m, a, l)))
            {
                let tolerance = if method == Method::Heun { 1e-4 } else { 1e-6 };
                let options = adaptive(method, tolerance).layout(layout).adjoint(adjoint).save_at(save.clone());
                let found = case.gradients(options, &weights);
                let name = format!("{method}, {adjoint:?}, {layout:?}, {save:?}, {span:?}");
                // A second order method's steps are many, and each is as wrong as it may be; its interpolant is no better.
                close(&format!("{name}: theta"), &found.theta, &truth.theta, 60.0 * tolerance);
                close(&format!("{name}: y0"), &found.y0, &truth.y0, 60.0 * tolerance);
                assert_eq!(found.status, vec![Status::Done; batch], "{name}");
                assert_eq!(found.drift.is_some(), adjoint == Adjoint::Backsolve, "{name}");
            }
        }
    }
}

/// With equal steps it takes those of the solve, cut at saved times, and converges with the method's order.
#[test]
fn fixed_steps_are_those_of_the_solve() {
    let case = Case::new([0.2, 1.7], 2);
    let weights = numbers(3, case.times.len() * 6);
    let truth = case.gradients(adaptive(Method::Tsit5, 1e-12).save_at(SaveAt::Times(case.times.clone())), &weights);
    for adjoint in BOTH {
        for layout in LAYOUTS {
            for (method, order) in [(Method::Euler, 1), (Method::Midpoint, 2), (Method::Bosh3, 3)] {
                let error = |steps: usize| {
                    let save_at = SaveAt::Times(case.times.clone());
                    let found =
                        case.gradients(fixed(method, steps).layout(layout).adjoint(adjoint).save_at(save_at), &weights);
                    // From nine tenths of the way on, with two saved times off the grid.
                    let attempts = steps * 9 / 10 + 2;
                    let stages = method.tableau().stages() - usize::from(method.tableau().fsal());
                    assert_eq!(found.evaluations, attempts * stages, "{adjoint:?}, {method}, {steps} steps");
                    distance(&found.theta, &truth.theta) / largest(&truth.theta)
                };
                let (coarse, fine) = (error(20), error(80));
                let rate = (coarse / fine).log2() / 2.0;
                // The interpolant of Euler's and the midpoint method is of first order.
                let expected = if method == Method::Midpoint && adjoint == Adjoint::Interpolating { 1 } else { order };
                assert!(rate > f64::from(expected) - 0.35, "{adjoint:?}, {layout:?}, {method}: {coarse:e}, {fine:e}");
            }
        }
    }
}

#[test]
fn the_unit_of_the_cotangent_makes_no_difference() {
    let case = Case::new([0.2, 1.7], 3);
    for adjoint in BOTH {
        for layout in LAYOUTS {
            let options = adaptive(Method::Tsit5, 1e-5).layout(layout).adjoint(adjoint);
            let weights = numbers(3, 9);
            let one = case.gradients(options.clone(), &weights);
            // A power of two, far below the tolerances.
            let unit = 2f64.powi(-60);
            let small = case.gradients(options.clone(), &scaled(unit, &weights));
            let name = format!("{adjoint:?}, {layout:?}");
            assert_eq!(scaled(1.0 / unit, &small.theta), one.theta, "{name}");
            assert_eq!(scaled(1.0 / unit, &small.y0), one.y0, "{name}");
            let none = case.gradients(options, &[0.0; 9]);
            assert!(none.theta.iter().chain(&none.y0).all(|g| *g == 0.0), "{name}: exact zeros");
            assert_eq!((none.evaluations, none.products), (0, 0), "{name}: nothing to solve");
        }
    }
}

/// An ensemble's trajectory does not see its batch; a cotangent of zero is as if it was not there.
#[test]
fn trajectories_of_an_ensemble_go_back_alone() {
    let case = Case::new([0.2, 1.7], 5);
    for adjoint in BOTH {
        let options = adaptive(Method::Tsit5, 1e-5).layout(Layout::Ensemble).adjoint(adjoint);
        let weights = [numbers(3, 6), vec![0.0; 3], scaled(1e-3, &numbers(4, 6))].concat();
        let together = case.gradients(options.clone(), &weights);
        let mut theta = vec![0.0; case.theta.len()];
        for row in 0..5 {
            let own = |x: &[f64]| x[row * 3..][..3].to_vec();
            let alone = Case { y0: own(&case.y0), ..Case::new([0.2, 1.7], 1) };
            let alone = alone.gradients(options.clone(), &own(&weights));
            assert_eq!(own(&together.y0), alone.y0, "{adjoint:?}, trajectory {row}");
            theta.iter_mut().zip(&alone.theta).for_each(|(sum, x)| *sum += x);
        }
        close(&format!("{adjoint:?}: theta"), &together.theta, &theta, 1e-14);
    }
}

#[test]
fn single_precision_follows() {
    let case = Case::new([0.2, 1.7], 3);
    let weights = numbers(3, 9);
    let truth = case.gradients(adaptive(Method::Tsit5, 1e-10), &weights);
    for adjoint in BOTH {
        for layout in LAYOUTS {
            let options = adaptive(Method::Tsit5, 1e-4).layout(layout).adjoint(adjoint);
            let mut solver = solver::<f32>(&case.problem, &options);
            solver.solve(&cast(&case.theta), &cast(&case.y0)).expect("a valid call").check().expect("done");
            let found = solver.gradients(&cast(&weights)).expect("solved");
            close(&format!("{adjoint:?}, {layout:?}: theta"), &widen(&found.theta), &truth.theta, 3e-3);
            close(&format!("{adjoint:?}, {layout:?}: y0"), &widen(&found.y0), &truth.y0, 3e-3);
        }
    }
}

/// A driven field with jumps between its knots: both the values and their gradients.
#[test]
fn controls_have_their_gradients() {
    let field = Field::build(2, |f| {
        let y = f.state();
        f.stack([f.control("u") * y.row(1).sin(), f.control("rate") * y.row(0).tanh() - y.row(1)])
    })
    .expect("a field");
    let problem = Problem::ode(field, 0.0, 2.0)
        .driven_by(Control::new("u", Interpolation::Hold, [0.0, 0.7, 1.3]).with_gradient())
        .driven_by(Control::constant("rate").with_gradient());
    let gradients = |options: SolverOptions| {
        let mut solver = solver::<f64>(&problem, &options.save_at(SaveAt::Times(vec![0.9, 2.0])));
        solver.set_control("u", &[1.0, -2.0, 0.5]).expect("a control");
        solver.set_control("rate", &[0.8, 1.4]).expect("a control");
        solver.solve(&[], &[1.0, 0.3, -0.4, 0.9]).expect("a valid call").check().expect("done");
        solver.gradients(&numbers(4, 8)).expect("solved")
    };
    let truth = gradients(adaptive(Method::Tsit5, 1e-12));
    for adjoint in BOTH {
        for layout in LAYOUTS {
            let found = gradients(adaptive(Method::Tsit5, 1e-7).layout(layout).adjoint(adjoint));
            close("y0", &found.y0, &truth.y0, 3e-6);
            for name in ["u", "rate"] {
                let name = format!("{adjoint:?}, {layout:?}, {name}");
                let control = name.rsplit(' ').next().expect("a name");
                close(&name, &found.controls[control], &truth.controls[control], 3e-6);
            }
        }
    }
}

/// The way back of `y' = -c y` grows as `e^(c t)`.
#[test]
fn a_backsolve_that_drifts_is_told() {
    let field = Field::build(1, |f| -(f.control("rate") * f.state())).expect("a field");
    let problem = Problem::ode(field, 0.0, 1.0).driven_by(Control::constant("rate"));
    for layout in LAYOUTS {
        for save_at in [SaveAt::End, SaveAt::Times(vec![0.2, 0.4, 0.6, 0.8, 1.0])] {
            let options = adaptive(Method::Tsit5, 1e-6).layout(layout).adjoint(Adjoint::Backsolve).save_at(save_at);
            let mut solver = solver::<f64>(&problem, &options);
            solver.set_control("rate", &[14.0, 0.5]).expect("a control");
            let ys = solver.solve(&[], &[1.0, 1.0]).expect("a valid call").check().expect("done").ys;
            let found = solver.gradients(&vec![1.0; ys.len()]).expect("solved");
            let drift = found.drift.expect("a backsolve");
            // Set right on the way, it does not come far from it.
            let is_lost = options.save_at == SaveAt::End;
            let name = format!("{layout:?}, {:?}: {drift}", options.save_at);
            assert_eq!(drift > 100.0, is_lost, "{name}");
            let expected = if is_lost { Status::Irreversible } else { Status::Done };
            assert_eq!(found.status, [expected, Status::Done], "{name}");
        }
    }
}

/// A way back that needs more attempts than are allowed, though the way there does not, is told, and has no gradient; one that
/// needs no more has it, whole. `y' = a y` at rest in 0 with a = -20: there nothing moves, and the cotangent grows by e^20 on
/// the way back. `y' = a`: nothing curves on either way.
#[test]
fn a_solve_back_that_does_not_arrive_is_told() {
    let stiff = Field::build(1, |f| f.parameters("a", &[-20.0]) * f.state()).expect("a field");
    let straight = Field::build(1, |f| f.parameters("a", &[0.5]) + 0.0 * f.state()).expect("a field");
    for adjoint in BOTH {
        for layout in LAYOUTS {
            let options = adaptive(Method::Heun, 1e-6).layout(layout).adjoint(adjoint).max_steps(20);
            let gradients = |field: &Field, theta: f64, y0: f64| {
                let mut solver = solver::<f64>(&Problem::ode(field.clone(), 0.0, 1.0), &options);
                solver.solve(&[theta], &[y0]).expect("a valid call").check().expect("there");
                solver.gradients(&[1.0]).expect("solved")
            };
            let name = format!("{adjoint:?}, {layout:?}");
            let lost = gradients(&stiff, -20.0, 0.0);
            assert_eq!(lost.status, [Status::MaxSteps], "{name}");
            assert!(lost.y0[0].is_nan(), "{name}: of a cotangent that is not at the start, {:?}", lost.y0);
            let whole = gradients(&straight, 0.5, 1.2);
            assert_eq!(whole.status, [Status::Done], "{name}");
            close(&name, &[whole.y0[0], whole.theta[0]], &[1.0, 1.0], 1e-9);
        }
    }
}

/// The backsolve keeps the initial state and no other; the interpolating adjoint states and stages of all steps.
#[test]
fn memory_of_a_backsolve_does_not_grow_with_the_steps() {
    let case = Case::new([0.2, 1.7], 3);
    for layout in LAYOUTS {
        let held = |adjoint: Adjoint, steps: usize| {
            let options = fixed(Method::Tsit5, steps).layout(layout).adjoint(adjoint);
            let mut solver = solver::<f64>(&case.problem, &options);
            let mut grow = 0;
            for _ in 0..2 {
                let before = allocated();
                solver.solve(&case.theta, &case.y0).expect("a valid call");
                solver.gradients(&[1.0; 9]).expect("solved");
                grow = allocated() - before;
            }
            let told = solver.workspace(3, steps);
            assert!(solver.bytes() <= told.total(), "{adjoint:?}, {layout:?}: {} of {told:?}", solver.bytes());
            [solver.bytes(), grow]
        };
        let (short, long) = (held(Adjoint::Backsolve, 10), held(Adjoint::Backsolve, 1000));
        let ends = if layout == Layout::Ensemble { 1024 * 2 * 32 * 8 } else { 0 };
        assert!(long[0] <= short[0] + ends, "{layout:?}: {short:?} and {long:?} bytes");
        assert!(long[1] <= short[1] + 1000 * 64, "{layout:?}: {short:?} and {long:?} bytes");
        let dense = held(Adjoint::Interpolating, 1000)[0];
        assert!(dense > long[0] + 1000 * 7 * 3 * 32 * 8, "{layout:?}: {dense} with stages");
    }
}

/// What needs no accepted step goes with them: the unbiased local penalty and pointwise ones, biased ones with the state
/// constant from the interpolating adjoint's tape. In the limit of small tolerances penalties have the discrete gradients.
#[test]
fn regularizers_add_the_same_as_with_the_discrete_adjoint() {
    let case = Case::new([0.2, 1.7], 3);
    let regularizers: [fewsteps::Regularizer; 3] = [
        Local::unbiased().coefficient(0.05).gradient(PenaltyGradient::Full).into(),
        Pointwise::kinetic().gradient(PenaltyGradient::Full).coefficient(0.3).into(),
        Local::biased().coefficient(0.05).into(),
    ];
    for layout in LAYOUTS {
        for regularizer in &regularizers {
            for adjoint in BOTH {
                if adjoint == Adjoint::Backsolve && format!("{regularizer:?}").contains("at: Biased") {
                    continue;
                }
                let run = |adjoint: Adjoint| {
                    let options = adaptive(Method::Tsit5, 1e-9).layout(layout).adjoint(adjoint);
                    let mut solver = solver::<f64>(&case.problem, &options);
                    solver.regularize(regularizer, 1, 0).expect("it goes with the adjoint");
                    let ys = solver.solve(&case.theta, &case.y0).expect("a valid call").ys;
                    solver.gradients(&ys).expect("solved")
                };
                let (found, truth) = (run(adjoint), run(Adjoint::default()));
                let name = format!("{adjoint:?}, {layout:?}, {regularizer:?}");
                assert_eq!(found.penalty, truth.penalty, "{name}");
                close(&format!("{name}: theta"), &found.theta, &truth.theta, 1e-6);
                close(&format!("{name}: y0"), &found.y0, &truth.y0, 1e-6);
            }
        }
    }
}

#[test]
fn what_does_not_go_with_them_is_refused() {
    let case = Case::new([0.2, 1.7], 3);
    for adjoint in BOTH {
        let options = adaptive(Method::Tsit5, 1e-4).adjoint(adjoint);
        for save_at in [SaveAt::Steps, SaveAt::Dense] {
            let options = options.clone().save_at(save_at);
            let error = Solver::<f64>::new(&cpu(1), &case.problem, &options).expect_err("no such times");
            assert_eq!(argument(&error), "SolverOptions::save_at");
            assert!(error.to_string().contains(&format!("{adjoint:?}")), "{error}");
        }
        let mut solver = solver::<f64>(&case.problem, &options);
        let error = solver.regularize(&Global::error().into(), 1, 0).expect_err("its steps are not gone over");
        assert!(argument(&error) == "regularizer" && error.to_string().contains(&format!("{adjoint:?}")), "{error}");
        let error = solver
            .regularize(&Local::biased().gradient(PenaltyGradient::Full).into(), 1, 0)
            .expect_err("accepted steps' states have no cotangents");
        let expected = if adjoint == Adjoint::Backsolve { "Local::at" } else { "Local::gradient" };
        assert_eq!(argument(&error), expected, "{error}");
    }
    let noisy = fewsteps::Diffusion::new(Mlp::new([2, 2]), fewsteps::Calculus::Ito);
    let problem = Problem::sde(Mlp::new([2, 2]), noisy, 0.0, 1.0);
    let options = SolverOptions::sde(fewsteps::Tolerances::both(1e-2)).adjoint(Adjoint::Interpolating);
    let error = Solver::<f64>::new(&cpu(1), &problem, &options).expect_err("a path has no interpolant");
    assert_eq!(argument(&error), "SolverOptions::adjoint");
}
