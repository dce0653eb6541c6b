//! The reversible adjoint around any explicit method: against its recurrence, dual numbers and closed forms.

use crate::ode::argument;
use crate::oracle::{
    ADAPTIVE, Dual, LAYOUTS, Number, System, adaptive, allocated, cast, close, distance, fixed, gradient, largest,
    numbers, scaled, solver, step_times, widen,
};
use fewsteps::{
    Activation, Adjoint, Aggregate, Field, Global, Gradients, Layout, Local, Measure, Method, Mlp, PenaltyGradient,
    PenaltyStep, Pointwise, Problem, Regularizer, SaveAt, Scalar, Solver, SolverOptions, Status, TimeInput, Tolerances,
};

const COUPLING: f64 = 0.9;

fn reversible(options: SolverOptions) -> SolverOptions {
    options.adjoint(Adjoint::Reversible)
}

/// `y' = a y`.
fn linear(a: f64, t1: f64) -> Problem {
    let field = Field::build(1, |f| f.parameters("a", &[a]) * f.state()).expect("a field");
    Problem::ode(field, 0.0, t1)
}

/// A step of the wrapper, its slopes at both ends among it.
struct Step<S> {
    ends: [f64; 2],
    y: [Vec<S>; 2],
    slopes: [Vec<S>; 2],
    /// The step from `z`, with its stages.
    half: crate::oracle::Step<S>,
}

/// The recurrence in increments: `y+ = l y + (1 - l) z + Psi_h(z)`, `z+ = z - Psi_-h(y+)`.
fn walk<S: Number>(system: &System<'_>, theta: &[S], times: &[f64], y0: &[S]) -> Vec<Step<S>> {
    let (mut y, mut z) = (y0.to_vec(), y0.to_vec());
    let l = S::new(COUPLING);
    let mut steps = Vec::new();
    for ends in times.windows(2) {
        let half = system.step(theta, ends[0], ends[1], &z, None);
        let next: Vec<S> = (0..y.len()).map(|i| l * y[i] + (S::new(1.0) - l) * z[i] + half.end[i] - z[i]).collect();
        let back = system.step(theta, ends[1], ends[0], &next, None);
        z = (0..y.len()).map(|i| z[i] - (back.end[i] - next[i])).collect();
        let slopes = [half.k[0].clone(), back.k[0].clone()];
        steps.push(Step { ends: [ends[0], ends[1]], y: [y, next.clone()], slopes, half });
        y = next;
    }
    steps
}

/// The state at time `t`, by Hermite's cubic within a step.
fn state_at<S: Number>(steps: &[Step<S>], t: f64) -> Vec<S> {
    if t == steps[0].ends[0] {
        return steps[0].y[0].clone();
    }
    let covers = |s: &&Step<S>| (s.ends[0] < t && t <= s.ends[1]) || (s.ends[1] <= t && t < s.ends[0]);
    let Step { ends: [t0, t1], y, slopes, .. } = steps.iter().find(covers).expect("a time that the walk covers");
    let (h, x) = (t1 - t0, (t - t0) / (t1 - t0));
    let weights = [
        2.0 * x.powi(3) - 3.0 * x * x + 1.0,
        3.0 * x * x - 2.0 * x.powi(3),
        h * (x.powi(3) - 2.0 * x * x + x),
        h * (x.powi(3) - x * x),
    ];
    let of = [&y[0], &y[1], &slopes[0], &slopes[1]];
    let at = |i: usize| weights.iter().zip(of).fold(S::new(0.0), |sum, (&w, x)| sum + S::new(w) * x[i]);
    (0..y[0].len()).map(at).collect()
}

struct Case {
    field: Mlp,
    t: [f64; 2],
    options: SolverOptions,
    batch: usize,
}

impl Case {
    fn new(options: SolverOptions) -> Self {
        let field = Mlp::new([3, 5, 3]).activation(Activation::Gelu).time_input(TimeInput::Every);
        Self { field, t: [0.2, 1.4], options: reversible(options).coupling(COUPLING), batch: 3 }
    }

    fn point(&self) -> (Vec<f64>, Vec<f64>) {
        let theta = scaled(1.1, &numbers(1, self.field.parameter_count()));
        (theta, scaled(1.2, &numbers(2, self.batch * 3)))
    }

    fn solver<R: Scalar>(&self, save_at: SaveAt) -> Solver<R> {
        let problem = Problem::ode(self.field.clone(), self.t[0], self.t[1]);
        solver::<R>(&problem, &self.options.clone().save_at(save_at))
    }

    fn steps(&self) -> Vec<Vec<f64>> {
        let (theta, y0) = self.point();
        let solution = self.solver::<f64>(SaveAt::Steps).predict(&theta, &y0).expect("a valid call");
        let solution = solution.check().expect("every trajectory is done");
        (0..self.batch).map(|row| step_times(&solution, row)).collect()
    }

    fn system(&self) -> System<'_> {
        let tolerances = Tolerances::both(1e-4);
        System { field: &self.field, method: self.options.method, tolerances, atol_per_feature: None }
    }

    /// States and gradients of the engine at the end, at times within, or at all steps, against the oracle's.
    fn check(&self, name: &str, save: &str) {
        let name = format!("{name}, {:?}, {save}", self.options.layout);
        let (steps, (theta, y0)) = (self.steps(), self.point());
        let at = |x: f64| if x == 1.0 { self.t[1] } else { self.t[0] + x * (self.t[1] - self.t[0]) };
        let times = match save {
            "end" => vec![at(1.0)],
            _ => vec![at(0.0), at(0.01), at(0.5), at(0.501), at(0.501), at(0.9), at(1.0)],
        };
        let save_at = match save {
            "end" => SaveAt::End,
            "times" => SaveAt::Times(times.clone()),
            _ => SaveAt::Steps,
        };
        let mut solver = self.solver::<f64>(save_at);
        let ys = solver.solve(&theta, &y0).expect("a valid call").check().expect("no failure").ys;
        let weights = numbers(3, ys.len());
        let found = solver.gradients(&weights).expect("solved");
        let own = save == "steps" && self.options.layout == Layout::Ensemble;
        let place = |row: usize, n: usize| {
            if own { steps[..row].iter().map(Vec::len).sum::<usize>() + n } else { n * self.batch + row }
        };
        let saved = |theta: &[Dual], y0: &[Dual]| -> Vec<Dual> {
            let mut all = vec![Dual::new(f64::NAN); ys.len()];
            for (row, y0) in y0.chunks(3).enumerate() {
                let walk = walk(&self.system(), theta, &steps[row], y0);
                let times = if save == "steps" { &steps[row] } else { &times };
                for (n, &t) in times.iter().enumerate() {
                    all[place(row, n) * 3..][..3].copy_from_slice(&state_at(&walk, t));
                }
            }
            all
        };
        let loss =
            |saved: Vec<Dual>| saved.iter().zip(&weights).fold(Dual::new(0.0), |sum, (y, &w)| sum + *y * Dual::new(w));
        let constants = |x: &[f64]| x.iter().map(|&x| Dual::new(x)).collect::<Vec<Dual>>();
        let (c_theta, c_y0) = (constants(&theta), constants(&y0));
        let states: Vec<f64> = saved(&c_theta, &c_y0).iter().map(|y| y.value()).collect();
        close(&format!("{name}: states"), &ys, &states, 1e-12);
        let of_theta = gradient(&theta, |theta| loss(saved(theta, &c_y0)));
        let of_y0 = gradient(&y0, |y0| loss(saved(&c_theta, y0)));
        assert!(largest(&of_theta) > 1e-2 && largest(&of_y0) > 1e-2, "{name}: the truth is not zero");
        close(&format!("{name}: theta"), &found.theta, &of_theta, 1e-10);
        close(&format!("{name}: y0"), &found.y0, &of_y0, 1e-10);
    }

    fn check_everywhere(mut self, name: &str) {
        for layout in LAYOUTS {
            self.options.layout = layout;
            ["end", "times", "steps"].into_iter().for_each(|save| self.check(name, save));
        }
    }
}

/// Published coupling 0.999, step 0.1, `y' = -y` from 1: states, and derivatives of the third one.
#[test]
fn the_recurrence_has_its_known_values() {
    type Known = (Method, [[f64; 2]; 3], f64);
    let known: [Known; 3] = [
        (Method::Euler, [[0.9, 0.91], [0.80901, 0.829099], [0.726120189, 0.7564869811]], 0.251589223),
        (
            Method::Heun,
            [[0.905, 0.904975], [0.81902735, 0.81897712825], [0.7412244725945, 0.7411485586275774]],
            0.221102968408,
        ),
        (
            Method::Rk4,
            [
                [0.9048375, 0.90483748609375],
                [0.8187309027156972, 0.8187308747793879],
                [0.7408184258165673, 0.7408183835875713],
            ],
            0.22224447671094424,
        ),
    ];
    for layout in LAYOUTS {
        for (method, states, slope) in known {
            let options = reversible(fixed(method, 3)).layout(layout).save_at(SaveAt::Steps);
            let mut solver = solver::<f64>(&linear(-1.0, 3.0 * 0.1), &options);
            let ys = solver.solve(&[-1.0], &[1.0]).expect("a valid call").check().expect("done").ys;
            // `z` is not returned: the unit test of the scheme sees it.
            for (n, [y, _]) in states.into_iter().enumerate() {
                assert!((ys[n + 1] - y).abs() < 1e-12, "{method}, {layout:?}, step {n}: {} not {y}", ys[n + 1]);
            }
            let found = solver.gradients(&[0.0, 0.0, 0.0, 1.0]).expect("solved");
            let digits = if method == Method::Rk4 { 1e-14 } else { 5e-10 };
            assert!((found.theta[0] - slope).abs() < digits, "{method}: dy3/da {} not {slope}", found.theta[0]);
            // The problem is linear in its initial state.
            assert!((found.y0[0] - ys[3]).abs() < 1e-13, "{method}: dy3/dy0 {} not {}", found.y0[0], ys[3]);
        }
    }
}

#[test]
fn gradients_are_those_of_dual_numbers() {
    for method in Method::ODE {
        Case::new(fixed(method, 5)).check_everywhere(&format!("{method}, fixed"));
    }
    for method in ADAPTIVE {
        let tolerance = if method == Method::Heun { 1e-2 } else { 1e-4 };
        Case::new(adaptive(method, tolerance)).check_everywhere(&format!("{method}, adaptive"));
    }
    let backwards = Case { t: [1.1, -0.3], ..Case::new(adaptive(Method::Tsit5, 1e-4)) };
    backwards.check_everywhere("backwards in time");
    for (batch, layout) in [(33, Layout::Lockstep), (33, Layout::Ensemble)] {
        let options = adaptive(Method::Bosh3, 1e-3).layout(layout);
        Case { batch, ..Case::new(options) }.check("several tiles", "times");
    }
}

#[test]
fn gradients_of_the_riccati_equation_are_those_of_its_solution() {
    let field = Field::build(1, |f| f.parameters("a", &[0.5]) * f.state() * f.state()).expect("a field");
    for layout in LAYOUTS {
        for (tolerance, bound) in [(1e-4, 1e-2), (1e-7, 1e-5), (1e-10, 1e-8)] {
            let options = reversible(adaptive(Method::Tsit5, tolerance)).layout(layout);
            let mut solver = solver::<f64>(&Problem::ode(field.clone(), 0.0, 1.0), &options);
            let y = solver.solve(&[0.5], &[1.2]).expect("a valid call").check().expect("done").ys;
            let found = solver.gradients(&[1.0]).expect("solved");
            for (name, found, truth) in [("y", y[0], 3.0), ("dy0", found.y0[0], 6.25), ("da", found.theta[0], 9.0)] {
                assert!((found - truth).abs() < bound, "{tolerance:e}, {name}: {found} not {truth}");
            }
        }
    }
}

/// Two increments a step, and a stage more for the error estimate of the one from `z`.
#[test]
fn evaluations_and_products_are_as_many_as_they_are() {
    let case = |options| Case { batch: 1, ..Case::new(options) };
    for (options, forward, back) in [
        (adaptive(Method::Tsit5, 1e-4), 13, 12),
        (adaptive(Method::Bosh3, 1e-4), 7, 6),
        (adaptive(Method::Heun, 1e-2), 4, 4),
        (fixed(Method::Tsit5, 4), 12, 12),
        (fixed(Method::Rk4, 4), 8, 8),
        (fixed(Method::Euler, 4), 2, 2),
    ] {
        for layout in LAYOUTS {
            let case = case(options.clone().layout(layout));
            let (theta, y0) = case.point();
            let mut solver = case.solver::<f64>(SaveAt::End);
            let stats = solver.solve(&theta, &y0).expect("a valid call").stats[0];
            let products = solver.gradients(&[1.0; 3]).expect("solved").products;
            let name = format!("{}, {layout:?}: {stats:?}", case.options.method);
            // Adaptive: the first slopes of a rejected attempt are there, and the initial step takes one more.
            let expected = forward * (stats.accepted + stats.rejected) - stats.rejected;
            let initial = usize::from(matches!(options.step_control, fewsteps::StepControl::Adaptive { .. }));
            assert_eq!(stats.nfe, expected + initial, "{name}");
            assert_eq!(products, back * stats.accepted, "{name}");
        }
    }
}

#[test]
fn a_zero_cotangent_gives_zeros() {
    for layout in LAYOUTS {
        let case = Case::new(adaptive(Method::Tsit5, 1e-4).layout(layout));
        let (theta, y0) = case.point();
        let mut solver = case.solver::<f64>(SaveAt::Times(vec![0.5, 1.4]));
        let ys = solver.solve(&theta, &y0).expect("a valid call").ys;
        let Gradients { theta, y0, .. } = solver.gradients(&vec![0.0; ys.len()]).expect("solved");
        assert!(theta.iter().chain(&y0).all(|g| *g == 0.0), "{layout:?}");
    }
}

/// Rounding grows by one over the coupling a step, and no faster.
#[test]
fn single_precision_undoes_what_it_is_let_to() {
    for layout in LAYOUTS {
        for (coupling, steps, bound) in [(0.999, 100, 4e-6), (0.999, 1000, 2e-5), (0.99, 100, 2e-5)] {
            let mut case = Case::new(fixed(Method::Rk4, steps).layout(layout));
            case.options.coupling = coupling;
            let (theta, y0) = case.point();
            let (narrow_theta, narrow_y0) = (cast::<f32>(&theta), cast::<f32>(&y0));
            let mut narrow = case.solver::<f32>(SaveAt::End);
            narrow.solve(&narrow_theta, &narrow_y0).expect("a valid call");
            let narrow = narrow.gradients(&[1.0; 9]).expect("solved");
            let mut wide = case.solver::<f64>(SaveAt::End);
            wide.solve(&widen(&narrow_theta), &widen(&narrow_y0)).expect("a valid call");
            let wide = wide.gradients(&[1.0; 9]).expect("solved");
            let error = distance(&widen(&narrow.y0), &wide.y0) / largest(&wide.y0);
            assert!(error < bound, "{layout:?}, {coupling}, {steps} steps: {error:e}");
        }
    }
}

#[test]
fn steps_that_rounding_does_not_let_undo_are_refused() {
    // ln(1/0.999) is 1.0005e-3: 1998 steps at f32, 22 000 at f64.
    let new = |options: &SolverOptions| Solver::<f32>::new(&crate::oracle::cpu(1), &linear(-1.0, 1.0), options);
    new(&reversible(fixed(Method::Euler, 1998))).expect("as many as there may be");
    let error = new(&reversible(fixed(Method::Euler, 1999))).expect_err("one more");
    assert_eq!(argument(&error), "StepControl::Fixed::steps");
    assert!(error.to_string().contains("1998") && error.to_string().contains("Adjoint::Discrete"), "{error}");
    solver::<f64>(&linear(-1.0, 1.0), &reversible(fixed(Method::Euler, 1999)));
    for coupling in [0.0, 1.0, -0.5, f64::NAN] {
        let error = new(&reversible(fixed(Method::Euler, 3)).coupling(coupling)).expect_err("no coupling");
        assert_eq!(argument(&error), "SolverOptions::coupling", "{coupling}");
    }
    let error = new(&reversible(fixed(Method::Euler, 3)).save_at(SaveAt::Dense)).expect_err("no interpolant");
    assert_eq!(argument(&error), "SolverOptions::save_at");
    // How many steps an adaptive solve takes shows on the way: with a coupling of 0.6, three at f32.
    for layout in LAYOUTS {
        let options = reversible(adaptive(Method::Heun, 1e-4)).coupling(0.6).layout(layout);
        let solution = solver::<f32>(&linear(1.0, 1.0), &options).solve(&[1.0], &[1.0]).expect("a valid call");
        assert_eq!((solution.status[0], solution.stats[0].accepted), (Status::Irreversible, 3), "{layout:?}");
        assert!(solution.ys[0].is_nan() && solution.check().is_err(), "{layout:?}");
    }
}

/// The parasitic root of `y' = -10 y` grows as `e^(10 t)`, and no error estimate sees it.
#[test]
fn states_that_come_apart_are_told() {
    for layout in LAYOUTS {
        for options in [adaptive(Method::Tsit5, 1e-6), fixed(Method::Rk4, 10)] {
            let options = reversible(options).layout(layout);
            let name = format!("{:?}, {layout:?}", options.step_control);
            // The second trajectory's rate is its own: a control of each.
            let field = Field::build(1, |f| -(f.control("rate") * f.state())).expect("a field");
            let problem = Problem::ode(field, 0.0, 1.0).driven_by(fewsteps::Control::constant("rate"));
            let mut solver = solver::<f64>(&problem, &options);
            solver.set_control("rate", &[10.0, 0.5]).expect("a control");
            let solution = solver.solve(&[], &[1.0, 1.0]).expect("a valid call");
            assert_eq!(solution.status[0], Status::Irreversible, "{name}");
            assert_eq!(solution.status[1], Status::Done, "{name}");
            assert!((solution.ys[1] - (-0.5f64).exp()).abs() < 1e-5, "{name}: {}", solution.ys[1]);
            let found = solver.gradients(&[1.0, 1.0]).expect("solved");
            assert_eq!(found.y0[0], 0.0, "{name}: a trajectory that failed contributes nothing");
            assert!((found.y0[1] - (-0.5f64).exp()).abs() < 1e-5, "{name}: {}", found.y0[1]);
        }
    }
}

/// No state is kept: neither what is told, nor what is held, nor what is asked of the system grows with the steps.
#[test]
fn memory_does_not_grow_with_the_steps() {
    for layout in LAYOUTS {
        let held = |adjoint: Adjoint, steps: usize| {
            let case = Case::new(fixed(Method::Tsit5, steps).layout(layout));
            let options = case.options.clone().adjoint(adjoint).coupling(0.999);
            let mut solver = solver::<f64>(&Problem::ode(case.field.clone(), 0.2, 1.4), &options);
            let (theta, y0) = case.point();
            solver.solve(&theta, &y0).expect("a valid call");
            solver.gradients(&[1.0; 9]).expect("solved");
            // Once warm, a solve asks for what it returns.
            let before = allocated();
            solver.solve(&theta, &y0).expect("a valid call");
            solver.gradients(&[1.0; 9]).expect("solved");
            [solver.bytes(), solver.workspace(3, steps).tape, allocated() - before]
        };
        let (short, long) = (held(Adjoint::Reversible, 10), held(Adjoint::Reversible, 1000));
        let discrete = held(Adjoint::default(), 1000);
        // Two numbers a step are kept, its ends: of each of a tile's 32 lanes in an ensemble, in a list that grows by doubling.
        let ends = if layout == Layout::Ensemble { 1024 * 2 * 32 * 8 } else { 0 };
        assert!(long[0] <= short[0] + ends, "{layout:?}: {short:?} and {long:?} bytes");
        assert!(long[1] <= short[1] + ends, "{layout:?}: {short:?} and {long:?} bytes");
        assert!(long[2] <= short[2] + 1000 * 64, "{layout:?}: {short:?} and {long:?} bytes");
        assert!(discrete[0] >= long[0] + 900 * 3 * 32 * 8, "{layout:?}: {discrete:?} with states");
    }
}

/// With equal steps of their own length, penalties of states that gradients reach are smooth functions of everything.
#[test]
fn penalties_of_single_steps_and_of_points_have_their_gradients() {
    let full = |measure| Local::unbiased().measure(measure).step(PenaltyStep::Taken).gradient(PenaltyGradient::Full);
    let mut kinetic = Pointwise::kinetic();
    kinetic.gradient = PenaltyGradient::Full;
    let all: [Regularizer; 4] = [
        full(Measure::Error).coefficient(300.0).into(),
        full(Measure::StepCount).coefficient(0.3).into(),
        full(Measure::Stiffness).coefficient(0.3).into(),
        kinetic.coefficient(0.3).into(),
    ];
    for layout in LAYOUTS {
        for regularizer in &all {
            let name = format!("{regularizer:?}, {layout:?}");
            let case = Case::new(fixed(Method::Tsit5, 4).layout(layout));
            let (theta, y0) = case.point();
            let mut solver = case.solver::<f64>(SaveAt::End);
            let mut at = |theta: &[f64], y0: &[f64]| {
                solver.regularize(regularizer, 1, 0).expect("an error estimate");
                let ys = solver.solve(theta, y0).expect("a valid call").ys;
                (ys.iter().sum::<f64>(), solver.gradients(&[1.0; 9]).expect("solved"))
            };
            let coefficient = if name.contains("300") { 300.0 } else { 0.3 };
            let found = at(&theta, &y0).1;
            assert!(found.penalty > 0.0, "{name}");
            let mut slopes = |count: usize, moved: &dyn Fn(usize, f64) -> (Vec<f64>, Vec<f64>)| -> Vec<f64> {
                let mut value = |i, by| {
                    let (theta, y0) = moved(i, by);
                    let (task, gradients) = at(&theta, &y0);
                    task + coefficient * gradients.penalty
                };
                (0..count).map(|i| (value(i, 1e-5) - value(i, -1e-5)) / 2e-5).collect()
            };
            let with = |x: &[f64], i: usize, by: f64| {
                let mut x = x.to_vec();
                x[i] += by;
                x
            };
            let of_theta = slopes(theta.len(), &|i, by| (with(&theta, i, by), y0.clone()));
            let of_y0 = slopes(y0.len(), &|i, by| (theta.clone(), with(&y0, i, by)));
            close(&format!("{name}: theta"), &found.theta, &of_theta, 1e-6);
            close(&format!("{name}: y0"), &found.y0, &of_y0, 1e-6);
        }
    }
}

#[test]
fn the_penalty_of_all_steps_has_its_gradient() {
    let case = Case::new(adaptive(Method::Tsit5, 1e-4));
    let ((theta, y0), steps, system) = (case.point(), case.steps(), case.system());
    let mut solver = case.solver::<f64>(SaveAt::End);
    let global = Global::error().aggregate(Aggregate::Sum).coefficient(0.7);
    solver.regularize(&global.into(), 1, 0).expect("adaptive steps");
    let ys = solver.solve(&theta, &y0).expect("a valid call").ys;
    let found = solver.gradients(&ys).expect("solved");
    let total = |theta: &[Dual], y0: &[Dual]| {
        let walks: Vec<_> = y0.chunks(3).zip(&steps).map(|(y0, times)| walk(&system, theta, times, y0)).collect();
        let mut penalty = Dual::new(0.0);
        for n in 0..walks[0].len() {
            // The error of the step from `z`, in the scale of `y`.
            let judged = |step: &Step<Dual>| {
                let [y, end] = step.y.clone();
                crate::oracle::Step { y, end, ..step.half.clone() }
            };
            let all: Vec<_> = walks.iter().map(|walk| judged(&walk[n])).collect();
            penalty = penalty + crate::oracle::penalty(&system, Measure::Error, 1.0, &all);
        }
        let ends = walks.iter().flat_map(|walk| walk[walk.len() - 1].y[1].clone());
        let task = ends.fold(Dual::new(0.0), |sum, y| sum + Dual::new(0.5) * y * y);
        (task + Dual::new(0.7) * penalty, penalty.value())
    };
    let constants = |x: &[f64]| x.iter().map(|&x| Dual::new(x)).collect::<Vec<Dual>>();
    let (c_theta, c_y0) = (constants(&theta), constants(&y0));
    let value = total(&c_theta, &c_y0).1;
    assert!((found.penalty - value).abs() < 1e-8 * value, "{} not {value}", found.penalty);
    close("theta", &found.theta, &gradient(&theta, |theta| total(theta, &c_y0).0), 1e-8);
    close("y0", &found.y0, &gradient(&y0, |y0| total(&c_theta, y0).0), 1e-8);
}

#[test]
fn a_penalty_of_states_that_nobody_kept_is_refused() {
    let mut solver = solver::<f64>(&linear(-1.0, 1.0), &reversible(adaptive(Method::Tsit5, 1e-4)));
    let error = solver.regularize(&Local::biased().into(), 1, 0).expect_err("no states to start from");
    assert_eq!(argument(&error), "Local::at");
}
