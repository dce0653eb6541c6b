//! Gradients by the values of controls at their knots.

use crate::oracle::{LAYOUTS, bits, cast, close, cpu, numbers, scaled, widen};
use fewsteps::{
    Adjoint, Checkpoints, Control, Field, FieldBuilder, Gradients, Interpolation, Layout, Local, Measure, Method,
    PenaltyGradient, Problem, Regularizer, SaveAt, Scalar, Solver, SolverOptions, Status, StepControl, Tolerances,
    Value,
};

const A: f64 = 0.7;
const END: f64 = 2.0;
const KNOTS: [f64; 4] = [0.1, 0.4, 0.9, 1.7];

fn options(layout: Layout) -> SolverOptions {
    SolverOptions::default().layout(layout).tolerances(Tolerances::both(1e-11))
}

fn solver<R: Scalar>(problem: &Problem, options: &SolverOptions) -> Solver<R> {
    Solver::new(&cpu(2), problem, options).expect("a solver")
}

/// `y' = -A y + u`
fn leaky(control: Control) -> Problem {
    let field = Field::build(1, |f| f.control("u") - A * f.state()).expect("a field");
    Problem::ode(field, 0.0, END).driven_by(control.with_gradient())
}

/// The integral of `exp(-A (END - s)) (p + q (s - from))` over an interval.
fn weighted([from, to]: [f64; 2], [p, q]: [f64; 2]) -> f64 {
    let at = |s: f64| (-A * (END - s)).exp() * ((p + q * (s - from)) / A - q / (A * A));
    at(to) - at(from)
}

/// `dy(END)/du_k` of the leaky problem: the weighted integrals of the functions that are 1 at one knot.
fn slopes(interpolation: Interpolation) -> Vec<f64> {
    let last = KNOTS.len() - 1;
    let hold = |k: usize| {
        let from = if k == 0 { 0.0 } else { KNOTS[k] };
        weighted([from, if k == last { END } else { KNOTS[k + 1] }], [1.0, 0.0])
    };
    let linear = |k: usize| {
        let (mut sum, at) = (0.0, KNOTS[k]);
        match k.checked_sub(1).map(|k| KNOTS[k]) {
            Some(before) => sum += weighted([before, at], [0.0, 1.0 / (at - before)]),
            None => sum += weighted([0.0, at], [1.0, 0.0]),
        }
        match KNOTS.get(k + 1) {
            Some(after) => sum += weighted([at, *after], [1.0, -1.0 / (after - at)]),
            None => sum += weighted([at, END], [1.0, 0.0]),
        }
        sum
    };
    (0..=last).map(|k| if interpolation == Interpolation::Hold { hold(k) } else { linear(k) }).collect()
}

#[test]
fn they_are_the_integrals_of_what_a_knot_moves() {
    const BATCH: usize = 70;
    for interpolation in [Interpolation::Hold, Interpolation::Linear] {
        let truth = slopes(interpolation);
        for layout in LAYOUTS {
            let problem = leaky(Control::new("u", interpolation, KNOTS));
            let mut solver = solver::<f64>(&problem, &options(layout));
            // All together, and each its own, with the cotangents of a sum over two saved states.
            let bars = numbers(1, BATCH);
            for values in [numbers(2, 4), numbers(3, 4 * BATCH)] {
                solver.set_control("u", &values).expect("values");
                solver.solve(&[], &numbers(4, BATCH)).expect("a solve").check().expect("a solution");
                let gradients = solver.gradients(&bars).expect("gradients");
                let expected: Vec<f64> = if values.len() == 4 {
                    scaled(bars.iter().sum(), &truth)
                } else {
                    bars.iter().flat_map(|bar| scaled(*bar, &truth)).collect()
                };
                close(&format!("{interpolation:?}, {layout:?}"), &gradients.controls["u"], &expected, 1e-9);
            }
        }
    }
}

#[test]
fn those_of_a_spline_go_through_its_bends() {
    // The integral of the natural spline through three knots at distance h is h (3/8, 5/4, 3/8) . values, by hand; before
    // and after the knots it keeps theirs.
    let field = Field::build(1, |f| f.control("u") + 0.0 * f.state()).expect("a field");
    let control = Control::new("u", Interpolation::Cubic, [0.5, 1.25, 2.0]).with_gradient();
    for (t0, t1, sign) in [(0.25, 2.5, 1.0), (2.5, 0.25, -1.0)] {
        let problem = Problem::ode(field.clone(), t0, t1).driven_by(control.clone());
        for layout in LAYOUTS {
            let mut solver = solver::<f64>(&problem, &options(layout).largest_step(0.05));
            solver.set_control("u", &[1.0, -2.0, 0.5]).expect("values");
            solver.solve(&[], &[0.0]).expect("a solve").check().expect("a solution");
            let gradients = solver.gradients(&[1.0]).expect("gradients");
            let expected = [0.25 + 0.75 * 0.375, 0.75 * 1.25, 0.75 * 0.375 + 0.5];
            close("spline", &gradients.controls["u"], &scaled(sign, &expected), 1e-7);
        }
    }
}

/// A pendulum that a control of two rows and a constant one drive.
fn pendulum(interpolation: Interpolation) -> (Problem, Vec<f64>) {
    let field = Field::build(2, |f| {
        let (y, k, u) = (f.state(), f.positive("k", &[2.0, 0.3]), f.controls("u", 2));
        let (angle, speed) = (y.row(0), y.row(1));
        let pull = k.row(0) * angle.sin() * f.control("length").recip();
        f.stack([speed.clone() + 0.1 * u.row(0).sin(), u.row(1) - pull - k.row(1) * speed])
    });
    let field = field.expect("a field");
    let theta = field.initialize::<f64>(0);
    let problem = Problem::ode(field, 0.0, 2.5)
        .driven_by(Control::new("u", interpolation, [0.0, 0.5, 1.1, 2.0]).with_gradient())
        .driven_by(Control::constant("length").with_gradient());
    (problem, theta)
}

/// Gradients of a weighted sum of two saved states a trajectory, with a shared `u` and own lengths, or the other way round.
fn of_pendulum<R: Scalar>(
    (problem, theta): &(Problem, Vec<f64>),
    options: &SolverOptions,
    [u, length]: [&[f64]; 2],
    batch: usize,
) -> (f64, Gradients<R>) {
    let options = options.clone().save_at(SaveAt::Times(vec![1.3, 2.5]));
    let mut solver = solver::<R>(problem, &options);
    solver.set_control("u", &cast(u)).expect("values");
    solver.set_control("length", &cast(length)).expect("values");
    let (y0, bars) = (numbers(5, 2 * batch), numbers(6, 4 * batch));
    let ys = solver.solve(&cast(theta), &cast(&y0)).expect("a solve").check().expect("a solution").ys;
    let value = widen(&ys).iter().zip(&bars).map(|(y, bar)| y * bar).sum();
    (value, solver.gradients(&cast(&bars)).expect("gradients"))
}

#[test]
fn they_agree_with_differences_for_every_way_and_adjoint() {
    const BATCH: usize = 3;
    let lengths = |count: usize| -> Vec<f64> { (0..count).map(|i| 1.0 + 0.3 * i as f64).collect() };
    for interpolation in [Interpolation::Hold, Interpolation::Linear, Interpolation::Cubic] {
        let case = pendulum(interpolation);
        for (layout, [u, length]) in [
            (Layout::Lockstep, [numbers(7, 8), lengths(BATCH)]),
            (Layout::Ensemble, [numbers(8, 8 * BATCH), lengths(1)]),
            (Layout::Ensemble, [numbers(8, 8), lengths(BATCH)]),
        ] {
            let fixed = StepControl::Fixed { steps: 60 };
            let options = match interpolation {
                Interpolation::Cubic => options(layout).step_control(fixed),
                _ => options(layout),
            };
            let (_, gradients) = of_pendulum::<f64>(&case, &options, [&u, &length], BATCH);
            let values = [u, length];
            for (which, name) in ["u", "length"].into_iter().enumerate() {
                let differences: Vec<f64> = (0..values[which].len())
                    .map(|i| {
                        let [up, down] = [1e-5, -1e-5].map(|step| {
                            let mut moved = values.clone();
                            moved[which][i] += step;
                            of_pendulum::<f64>(&case, &options, [&moved[0], &moved[1]], BATCH).0
                        });
                        (up - down) / 2e-5
                    })
                    .collect();
                close(&format!("{interpolation:?}, {layout:?}"), &gradients.controls[name], &differences, 1e-6);
            }
            // Taken again between checkpoints, the steps are the same to the bit; and f32 has its own digits.
            let checkpoints = Adjoint::Discrete { checkpoints: Checkpoints::Stride(5) };
            let again =
                of_pendulum::<f64>(&case, &options.clone().adjoint(checkpoints), [&values[0], &values[1]], BATCH).1;
            assert_eq!(again.controls, gradients.controls, "checkpoints");
            let single = options.clone().tolerances(Tolerances::both(1e-5));
            let single = if interpolation == Interpolation::Cubic { options } else { single };
            let single = of_pendulum::<f32>(&case, &single, [&values[0], &values[1]], BATCH).1;
            for (name, expected) in &gradients.controls {
                close("f32", &widen(&single.controls[name]), expected, 1e-3);
            }
        }
    }
}

#[test]
fn batches_and_threads_do_not_matter() {
    const BATCH: usize = 300;
    let case = pendulum(Interpolation::Linear);
    let (u, lengths) = (numbers(9, 8 * BATCH), vec![1.2; BATCH]);
    let options = options(Layout::Ensemble).tolerances(Tolerances::both(1e-4));
    let y0 = numbers(10, 2 * BATCH);
    let gradients = |threads: usize, rows: std::ops::Range<usize>, shared: bool| {
        let mut solver = Solver::<f64>::new(&cpu(threads), &case.0, &options).expect("a solver");
        let own = &u[8 * rows.start..8 * rows.end];
        solver.set_control("u", if shared { &u[..8] } else { own }).expect("values");
        solver.set_control("length", &lengths[rows.clone()]).expect("values");
        let y0 = &y0[2 * rows.start..2 * rows.end];
        let ys = solver.solve(&case.1, y0).expect("a solve").check().expect("a solution").ys;
        solver.gradients(&ys).expect("gradients").controls
    };
    let whole = gradients(2, 0..BATCH, false);
    assert_eq!(gradients(1, 0..BATCH, false), whole, "one thread or two, each its own");
    assert_eq!(gradients(1, 0..BATCH, true), gradients(2, 0..BATCH, true), "one thread or two, shared");
    for row in [0, 31, 32, 150, 299] {
        let alone = gradients(1, row..row + 1, false);
        assert_eq!(bits(&alone["u"]), bits(&whole["u"][8 * row..8 * row + 8]), "trajectory {row} alone");
        assert_eq!(bits(&alone["length"]), bits(&whole["length"][row..=row]), "trajectory {row} alone");
    }
    // A sum over trajectories, of which some have no neighbours in their tile.
    let own = gradients(1, 0..70, false);
    assert_eq!((own["u"].len(), own["length"].len()), (8 * 70, 70));
}

#[test]
fn nobody_pays_who_does_not_ask() {
    let case = pendulum(Interpolation::Linear);
    let (u, options) = (numbers(7, 8), options(Layout::Lockstep));
    let asked = of_pendulum::<f64>(&case, &options, [&u, &[1.0]], 5).1;
    let mut silent = case.clone();
    silent.0.controls.iter_mut().for_each(|control| control.gradient = false);
    let silent = of_pendulum::<f64>(&silent, &options, [&u, &[1.0]], 5).1;
    assert!(silent.controls.is_empty());
    assert_eq!((bits(&silent.theta), bits(&silent.y0)), (bits(&asked.theta), bits(&asked.y0)));
    // One of the two.
    let mut one = case;
    one.0.controls[0].gradient = false;
    let one = of_pendulum::<f64>(&one, &options, [&u, &[1.0]], 5).1;
    assert_eq!(one.controls.keys().collect::<Vec<_>>(), ["length"]);
    assert_eq!(one.controls["length"], asked.controls["length"]);
}

#[test]
fn values_that_are_set_after_a_solve_are_those_of_the_next() {
    let mut solver = solver::<f64>(&leaky(Control::constant("u")), &options(Layout::Lockstep));
    solver.set_control("u", &[1.0]).expect("values");
    solver.solve(&[], &[0.0, 0.0]).expect("a solve");
    solver.set_control("u", &[1.0, 2.0]).expect("values");
    let whole = weighted([0.0, END], [1.0, 0.0]);
    close("shared", &solver.gradients(&[1.0, 3.0]).expect("gradients").controls["u"], &[4.0 * whole], 1e-9);
    solver.solve(&[], &[0.0, 0.0]).expect("a solve");
    close("own", &solver.gradients(&[1.0, 3.0]).expect("gradients").controls["u"], &[whole, 3.0 * whole], 1e-9);
}

#[test]
fn who_fails_has_none_and_harms_nobody() {
    // `y' = u^2 y^2 + y / (y + 9)` is infinite at a finite time, and not defined at -9.
    let field = Field::build(1, |f| {
        let (y, u) = (f.state(), f.control("u"));
        (u.clone() * y.clone()).square() + 0.01 * u / (y + 9.0)
    });
    let problem = Problem::ode(field.expect("a field"), 0.0, 1.0).driven_by(Control::constant("u").with_gradient());
    for layout in LAYOUTS {
        let options = options(layout).tolerances(Tolerances::both(1e-6)).max_steps(2000);
        let mut solver = solver::<f64>(&problem, &options);
        let gradients = |solver: &mut Solver<f64>, u: &[f64], y0: &[f64], done: usize| {
            solver.set_control("u", u).expect("values");
            let status = solver.solve(&[], y0).expect("a solve").status;
            assert_eq!(status.iter().filter(|status| **status == Status::Done).count(), done, "{status:?}");
            solver.gradients(&vec![1.0; y0.len()]).expect("gradients").controls.remove("u").expect("asked")
        };
        let own = gradients(&mut solver, &[0.5, 3.0, -0.5, 0.25], &[0.5, 2.0, 0.5, -9.0], 2);
        assert_eq!((own[1], own[3]), (0.0, 0.0), "{layout:?}: {own:?}");
        assert!(own[0] > 0.1 && own[2] < -0.1, "{layout:?}: {own:?}");
        let shared = gradients(&mut solver, &[0.5], &[0.5, 20.0, -9.0], 1);
        let alone = gradients(&mut solver, &[0.5], &[0.5], 1);
        close("shared", &shared, &alone, 1e-5);
    }
}

#[test]
fn a_trajectory_at_rest_is_driven_as_its_stand_in_is() {
    // `y' = k u sqrt(u y)`: a state of one trajectory with the control of another may have no root.
    let field = Field::build(1, |f| {
        let (y, u) = (f.state(), f.control("u"));
        f.parameters("k", &[1.0]) * u.clone() * (u * y).sqrt()
    });
    let problem = Problem::ode(field.expect("a field"), 0.0, 1.0).driven_by(Control::constant("u").with_gradient());
    let mut solver = solver::<f64>(&problem, &options(Layout::Ensemble));
    let u: [f64; 4] = [0.1, -3.0, 1.0, -0.5];
    solver.set_control("u", &u).expect("values");
    let y0 = u.map(f64::signum);
    let stats = solver.solve(&[1.0], &y0).expect("a solve").check().expect("a solution").stats;
    assert!(stats.iter().any(|one| one.accepted != stats[0].accepted), "{stats:?}");
    let gradients = solver.gradients(&[1.0; 4]).expect("gradients");
    // With `z = |y|` and `c = k |u|^(3/2)`: `z' = c sqrt(z)`, so `z = (1 + c/2)^2`.
    let by_c = |u: f64| u.signum() * (1.0 + u.abs().powf(1.5) / 2.0);
    let by_u = u.map(|u| by_c(u) * 1.5 * u.abs().sqrt() * u.signum());
    close("u", &gradients.controls["u"], &by_u, 1e-8);
    let by_k: f64 = u.iter().map(|u| by_c(*u) * u.abs().powf(1.5)).sum();
    close("k", &gradients.theta, &[by_k], 1e-8);
}

/// A field with a control, and the same with the values at its knots as parameters: the control is a spline through
/// values at 0, 1 and 2, or a line through two at 0 and 2.
fn twins(interpolation: Interpolation) -> [Field; 2] {
    let field = |f: &FieldBuilder, u: Value| {
        let (y, w) = (f.state(), f.parameters("w", &[0.8, -0.6]));
        let (a, b) = (y.row(0), y.row(1));
        f.stack([w.row(0) * (b.clone() * u.clone()).sin() - a.clone(), w.row(1) * a.tanh() + 0.5 * u.cos() - b])
    };
    let written = |f: &FieldBuilder| {
        let (v, t) = (
            f.parameters("v", &[0.5, -1.0, 0.7][..if interpolation == Interpolation::Cubic { 3 } else { 2 }]),
            f.time(),
        );
        if interpolation == Interpolation::Linear {
            return v.row(0) + (v.row(1) - v.row(0)) * t * 0.5;
        }
        // With the second derivative `m` at 1: `v0 + c t + m/6 (t^3 - 2 max(t - 1, 0)^3)`.
        let m = 1.5 * (v.row(0) - 2.0 * v.row(1) + v.row(2));
        let c = 0.5 * (v.row(2) - v.row(0) - m.clone());
        v.row(0) + c * t.clone() + m * (t.cube() - 2.0 * (t - 1.0).max(&f.literal(&[0.0])).cube()) * (1.0 / 6.0)
    };
    let driven = Field::build(2, |f| field(f, f.control("u"))).expect("a field");
    let plain = Field::build(2, |f| {
        let u = written(f);
        field(f, u)
    });
    [driven, plain.expect("a field")]
}

#[test]
fn they_are_those_of_parameters_in_their_place_with_penalties() {
    for interpolation in [Interpolation::Linear, Interpolation::Cubic] {
        let [driven, plain] = twins(interpolation);
        let (times, values): (&[f64], &[f64]) = match interpolation {
            Interpolation::Linear => (&[0.0, 2.0], &[0.5, -1.0]),
            _ => (&[0.0, 1.0, 2.0], &[0.5, -1.0, 0.7]),
        };
        let control = Control::new("u", interpolation, times).with_gradient();
        let driven = Problem::ode(driven, 0.0, 2.0).driven_by(control);
        let plain = Problem::ode(plain, 0.0, 2.0);
        for layout in LAYOUTS {
            for (method, measure, gradient) in [
                (Method::Tsit5, Measure::Error, PenaltyGradient::Full),
                (Method::Tsit5, Measure::Stiffness, PenaltyGradient::Step),
                (Method::Bosh3, Measure::StepCount, PenaltyGradient::Published),
                (Method::Heun, Measure::Error, PenaltyGradient::Full),
            ] {
                let options = SolverOptions::default().layout(layout).method(method);
                let options = options.tolerances(Tolerances::both(1e-4));
                let local: Regularizer =
                    Local::unbiased().measure(measure).gradient(gradient).times(2).coefficient(5.0).into();
                let (y0, bars) = (numbers(11, 2 * 40), numbers(12, 2 * 40));
                let of = |problem: &Problem, theta: &[f64], u: Option<&[f64]>| {
                    let mut solver = solver::<f64>(problem, &options);
                    if let Some(u) = u {
                        solver.set_control("u", u).expect("values");
                    }
                    solver.regularize(&local, 3, 0).expect("fits");
                    solver.solve(theta, &y0).expect("a solve").check().expect("a solution");
                    solver.gradients(&bars).expect("gradients")
                };
                let found = of(&driven, &[0.8, -0.6], Some(values));
                // Groups in the order in which they are named: the values come first.
                let expected = of(&plain, &[values, &[0.8, -0.6]].concat(), None);
                let name = format!("{interpolation:?}, {layout:?}, {method}, {measure:?}");
                assert!((found.penalty - expected.penalty).abs() < 1e-9 * expected.penalty, "{name}");
                let (v, w) = expected.theta.split_at(values.len());
                close(&name, &found.controls["u"], v, 1e-8);
                close(&name, &found.theta, w, 1e-8);
                // Each its own: their sum is that of all.
                let each = of(&driven, &[0.8, -0.6], Some(&values.repeat(40))).controls.remove("u").expect("asked");
                let sum = |k: usize| each.iter().skip(k).step_by(values.len()).sum::<f64>();
                close(&name, &(0..values.len()).map(sum).collect::<Vec<_>>(), v, 1e-8);
            }
        }
    }
}
