//! Solves against closed forms: accuracy, convergence, costs, save times, layouts, failures.

mod common;

use common::{
    ADAPTIVE, Known, LAYOUTS, Step, System, adaptive, bits, blow_up, blow_up_defect, blow_up_exact, cast, close, cpu,
    distance, fixed, known_until_failure, largest, linear, numbers, pulse, scaled, solver, step_times, warnings_of,
    widen, with_first_step, zoo,
};
use fewsteps::{
    Adjoint, Checkpoints, Controller, Diffusion, Error, InitialStep, Layout, Learnt, Method, Mlp, Problem, SaveAt,
    SavedTimes, Scalar, Solution, Solver, SolverOptions, Stats, Status, StepControl, TimeInput, Tolerances,
};

fn solve<R: Scalar>(problem: &Problem, options: &SolverOptions, theta: &[f64], y0: &[f64]) -> Solution<R> {
    solver::<R>(problem, options).solve(&cast(theta), &cast(y0)).expect("a valid call")
}

fn predict<R: Scalar>(known: &Known, options: &SolverOptions, y0: &[f64]) -> Solution<R> {
    solver::<R>(&known.problem, options).predict(&cast(&known.theta), &cast(y0)).expect("a valid call")
}

/// A small network with random weights, of size 1 or so.
fn random_field(dim: usize, hidden: usize, seed: u64) -> (Mlp, Vec<f64>) {
    let field = Mlp::new([dim, hidden, dim]);
    let theta = scaled(1.2, &numbers(seed, field.parameter_count()));
    (field, theta)
}

/// A field of many features whose slope is 1 everywhere, as one layer and as two.
fn slopes_of_one(dim: usize) -> [(Mlp, Vec<f64>); 2] {
    [Mlp::new([dim, dim]), Mlp::new([dim, 2, dim])].map(|field| {
        let count = field.parameter_count();
        let theta = (0..count).map(|i| if i + dim >= count { 1.0 } else { 0.0 }).collect();
        (field, theta)
    })
}

fn all_done<R>(name: &str, solution: &Solution<R>) {
    assert!(solution.status.iter().all(|s| *s == Status::Done), "{name}: {:?}", solution.status);
}

// --- Accuracy ---

/// Solves three trajectories and compares the ends with the solution, in units of the tolerance times the problem's
/// own amplification of errors.
fn check_closed_form<R: Scalar>(known: &Known, method: Method, layout: Layout, tolerance: f64) {
    let name = format!("{} from {}, {method}, {layout:?}, {}", known.name, known.problem.t0, R::NAME);
    let rows = known.rows(3);
    let solution = predict::<R>(known, &adaptive(method, tolerance).layout(layout), &rows);
    all_done(&name, &solution);
    let exact = known.exact(&rows, known.problem.t1);
    let error = distance(&widen(&solution.ys), &exact);
    let unit = tolerance * (1.0 + largest(&exact)) * known.growth();
    assert!(error <= 6.0 * unit, "{name}: error {error:e} is {:.1} times the tolerance", error / unit);
}

#[test]
fn ends_are_within_tolerances() {
    for backwards in [false, true] {
        for known in zoo() {
            let known = if backwards { known.backwards() } else { known };
            if known.growth() > 100.0 {
                continue; // Diffusion and fast decay cannot be integrated backwards.
            }
            for (method, wide, narrow) in [
                (Method::Heun, 1e-5, 1e-3),
                (Method::Bosh3, 1e-6, 1e-4),
                (Method::Dopri5, 1e-8, 1e-5),
                (Method::Tsit5, 1e-8, 1e-5),
            ] {
                for layout in LAYOUTS {
                    check_closed_form::<f64>(&known, method, layout, wide);
                    check_closed_form::<f32>(&known, method, layout, narrow);
                }
            }
        }
    }
}

#[test]
fn a_given_first_step_changes_the_costs_alone() {
    for known in zoo() {
        let rows = known.rows(2);
        for layout in LAYOUTS {
            for length in [1e-4, 0.1, 1e6] {
                let name = format!("{} with first step {length}, {layout:?}", known.name);
                let options = with_first_step(Method::Tsit5, 1e-7, length).layout(layout).save_at(SaveAt::Steps);
                let solution = predict::<f64>(&known, &options, &rows);
                all_done(&name, &solution);
                let times = step_times(&solution, 0);
                let first = times[1] - times[0];
                if length < 1.0 {
                    assert!(first <= length * (1.0 + 1e-12), "{name}: the first step is {first}");
                }
                let end = predict::<f64>(&known, &options.save_at(SaveAt::End), &rows);
                let error = distance(&end.ys, &known.exact(&rows, known.problem.t1));
                assert!(error < 1e-5, "{name}: error {error:e}");
            }
        }
    }
}

// --- Convergence ---

/// Asserts that halving the steps divides the error by `2^expected`.
fn check_slope(name: &str, coarse: f64, fine: f64, expected: usize) {
    let slope = (coarse / fine).log2();
    assert!(fine > 3e-14, "{name}: error {fine:e} is rounding already");
    assert!((slope - expected as f64).abs() < 0.15, "{name}: slope {slope:.3} instead of {expected}");
}

/// Steps at which a method is in its asymptotic range: the error is small, and far from rounding.
fn asymptotic_steps(method: Method) -> usize {
    match method {
        Method::Euler => 640,
        Method::Midpoint | Method::Heun => 320,
        Method::Bosh3 => 160,
        Method::Rk4 => 80,
        Method::Dopri5 | Method::Tsit5 => 56,
        stochastic => panic!("{stochastic} is for problems with noise"),
    }
}

#[test]
fn fixed_steps_converge_at_the_order_of_the_method() {
    for known in zoo().into_iter().filter(|k| ["rotation", "chain C2"].contains(&k.name)) {
        let exact = known.exact(&known.y0, known.problem.t1);
        for method in Method::ODE {
            let steps = asymptotic_steps(method);
            let [coarse, fine] =
                [steps, 2 * steps].map(|n| distance(&predict::<f64>(&known, &fixed(method, n), &known.y0).ys, &exact));
            check_slope(&format!("{} with {method}", known.name), coarse, fine, method.tableau().order);
        }
    }
}

/// On a nonlinear field that depends on time. The principal error of the pairs of order 5 is so small there that terms
/// of order 6 count until rounding takes over: their slope is only bounded from below.
#[test]
fn fixed_steps_converge_on_a_network() {
    let field = Mlp::new([3, 8, 3]).time_input(TimeInput::Every);
    let theta = scaled(1.2, &numbers(6, field.parameter_count()));
    let (problem, y0) = (Problem::ode(field, 0.0, 3.0), [0.4, -0.7, 0.9]);
    let end = |method, steps| solve::<f64>(&problem, &fixed(method, steps), &theta, &y0).ys;
    let reference = end(Method::Dopri5, 3000);
    close("two methods", &end(Method::Tsit5, 3000), &reference, 1e-13);
    for method in Method::ODE {
        let (steps, order) = (2 * asymptotic_steps(method), method.tableau().order);
        let [coarse, fine] = [steps, 2 * steps].map(|n| distance(&end(method, n), &reference));
        if order < 5 {
            check_slope(&format!("a network with {method}"), coarse, fine, order);
        } else {
            let slope = (coarse / fine).log2();
            assert!((4.85..6.15).contains(&slope), "a network with {method}: slope {slope:.3}");
        }
    }
}

/// The nonlinear problem, towards its pole.
fn cubic_until(t1: f64) -> Known {
    let mut known = zoo().remove(3);
    assert_eq!(known.name, "cubic", "the nonlinear problem");
    known.problem.t1 = t1;
    known
}

/// Between steps the error is the steps' own, of the method's order, plus that of one interpolation, of one order more
/// than the interpolant's: the smaller of the two is the slope.
#[test]
fn states_between_steps_converge_too() {
    let known = cubic_until(-0.55);
    for method in Method::ODE {
        let error = |steps: usize| {
            // The same place within a step, whatever the number of steps.
            let h = known.problem.t1 / steps as f64;
            let times = [0.5, 0.96875].map(|x| (x * steps as f64 + 0.37) * h).to_vec();
            let solution =
                predict::<f64>(&known, &fixed(method, steps).save_at(SaveAt::Times(times.clone())), &known.y0);
            let exact: Vec<f64> = times.iter().flat_map(|&t| known.exact(&known.y0, t)).collect();
            distance(&solution.ys, &exact)
        };
        let tableau = method.tableau();
        let order = tableau.order.min(tableau.interpolant_order + 1);
        check_slope(&format!("{method} between steps"), error(256), error(512), order);
    }
}

/// Within a single step from an exact state only the interpolant errs, by one order more than its own.
#[test]
fn interpolants_converge_at_their_order() {
    for method in Method::ODE {
        let error = |h: f64| {
            let known = cubic_until(h);
            let t = 0.37 * h;
            let solution = predict::<f64>(&known, &fixed(method, 1).save_at(SaveAt::Times(vec![t])), &known.y0);
            distance(&solution.ys, &known.exact(&known.y0, t))
        };
        check_slope(
            &format!("{method} within a step"),
            error(-0.03),
            error(-0.015),
            method.tableau().interpolant_order + 1,
        );
    }
}

// --- Costs ---

/// Evaluations that the counts of steps imply, `initial` of them for the first stage and the first step's size.
fn expected_nfe(method: Method, stats: &Stats, initial: usize) -> usize {
    let tableau = method.tableau();
    let attempts = stats.accepted + stats.rejected;
    // Without FSAL every accepted step but the last is followed by a first stage of its own.
    let fresh = if tableau.fsal() { 0 } else { stats.accepted - 1 };
    initial + (tableau.stages() - 1) * attempts + fresh
}

#[test]
fn evaluations_are_counted_exactly() {
    let mut rejections = 0;
    for known in zoo() {
        for layout in LAYOUTS {
            for method in ADAPTIVE {
                let name = format!("{} with {method}, {layout:?}", known.name);
                let rows = known.rows(3);
                for (options, initial) in [(adaptive(method, 1e-4), 2), (with_first_step(method, 1e-4, 1.0), 1)] {
                    for stats in &predict::<f64>(&known, &options.layout(layout), &rows).stats {
                        assert_eq!(stats.nfe, expected_nfe(method, stats, initial), "{name}: {stats:?}");
                        rejections += stats.rejected;
                    }
                }
                if method == Method::Tsit5 {
                    let stats = predict::<f64>(&known, &adaptive(method, 1e-6).layout(layout), &rows).stats[0];
                    assert_eq!(stats.nfe, 2 + 6 * (stats.accepted + stats.rejected), "{name}: SciML's nf");
                }
            }
            for method in Method::ODE {
                let stats = predict::<f64>(&known, &fixed(method, 7).layout(layout), &known.y0).stats[0];
                let stages = method.tableau().stages();
                let nfe = if method.tableau().fsal() { 1 + 7 * (stages - 1) } else { 7 * stages };
                assert_eq!(
                    (stats.nfe, stats.nfe_diffusion, stats.accepted, stats.rejected),
                    (nfe, 0, 7, 0),
                    "{} with {method}, 7 steps",
                    known.name
                );
            }
        }
    }
    assert!(rejections > 20, "only {rejections} rejected attempts: the formulas are not tried");
}

/// A change of these numbers is a change of the controller, of the initial step or of the error norm, and must be
/// explained where it is made.
#[test]
fn costs_are_what_they_were() {
    let expected: [(&str, Method, f64, [usize; 3]); 9] = [
        ("decay", Method::Tsit5, 1e-6, [116, 19, 0]),
        ("rotation", Method::Tsit5, 1e-6, [182, 30, 0]),
        ("forced", Method::Dopri5, 1e-6, [92, 15, 0]),
        ("cubic", Method::Tsit5, 1e-8, [140, 23, 0]),
        ("reaction B2", Method::Bosh3, 1e-4, [95, 31, 0]),
        ("chain C1", Method::Tsit5, 1e-6, [134, 22, 0]),
        ("chain C2", Method::Heun, 1e-3, [85, 42, 0]),
        ("diffusion C3", Method::Dopri5, 1e-5, [122, 20, 0]),
        ("diffusion C4", Method::Tsit5, 1e-3, [56, 9, 0]),
    ];
    let found: Vec<_> = expected
        .iter()
        .map(|&(name, method, tolerance, _)| {
            let known = zoo().into_iter().find(|k| k.name == name).expect("a problem of the zoo");
            let Stats { nfe, accepted, rejected, .. } =
                predict::<f64>(&known, &adaptive(method, tolerance), &known.y0).stats[0];
            (name, method, tolerance, [nfe, accepted, rejected])
        })
        .collect();
    assert_eq!(found, expected, "evaluations, accepted steps, rejected attempts");
}

/// The oracle's attempt at a step of length `h` from `t`, which ends at `t1` if it comes near, with its error.
fn attempt(system: &System<'_>, theta: &[f64], [t, h, t1]: [f64; 3], y: &[f64]) -> (Step<f64>, f64) {
    let next = if t + h * (1.0 + 1e-14) >= t1 { t1 } else { t + h };
    let step = system.step(theta, t, next, y, None);
    let error = system.error_norm(std::slice::from_ref(&step));
    (step, error)
}

/// The accepted steps and their sizes against the published rules, evaluated independently.
#[test]
fn steps_are_those_of_the_published_controller() {
    // From small states the first step is bounded by its trial step.
    for (size, known) in [1.0, 1e-3].into_iter().flat_map(|size| zoo().into_iter().map(move |known| (size, known))) {
        for method in ADAPTIVE {
            let name = format!("{} from {size} y0 with {method}", known.name);
            let y0 = scaled(size, &known.y0);
            let options = adaptive(method, 1e-4).save_at(SaveAt::Steps);
            let found = step_times(&predict::<f64>(&known, &options, &y0), 0);
            let system = System {
                field: &known.problem.field,
                method,
                tolerances: Tolerances::both(1e-4),
                atol_per_feature: None,
            };
            let Problem { t0, t1, .. } = known.problem;
            let q = method.tableau().error_power();
            let (mut t, mut y, mut old) = (t0, y0, 1e-4f64);
            let mut h = system.initial_step(&known.theta, t0, std::slice::from_ref(&y), t1 - t0);
            let mut times = vec![t0];
            while t < t1 && times.len() < 500 {
                let (step, error) = attempt(&system, &known.theta, [t, h, t1], &y);
                let factor = if error <= 1.0 {
                    (t, y) = (step.t1, step.end);
                    times.push(t);
                    let factor = 0.9 * error.powf(-0.7 / q) * old.powf(0.4 / q);
                    old = error.max(1e-4);
                    factor
                } else {
                    0.9 * error.powf(-0.7 / q)
                };
                h = (step.t1 - step.t0) * factor.clamp(0.2, 10.0);
            }
            assert_eq!(found.len(), times.len(), "{name}: accepted steps");
            close(&format!("{name}: first step"), &[found[1] - t0], &[times[1] - t0], 1e-9);
            // The error of a short step is mostly rounding, and so are some digits of the step after it.
            close(&format!("{name}: step times"), &found, &times, 1e-6);
        }
    }
}

/// The same for controllers without start-up, and for H211b, whose memory holds a step.
#[test]
fn steps_are_those_of_prompt_controllers() {
    /// From an error, the last one and the ratio of the two steps to a change, before safety.
    type Rule = fn(f64, f64, f64, f64) -> f64;
    let rules: [(&str, Controller, Rule); 3] = [
        ("I", Controller::I, |q, e, _, _| e.powf(-1.0 / q)),
        ("PI", Controller::PI, |q, e, old, _| e.powf(-0.7 / q) * old.powf(0.4 / q)),
        ("H211b", Controller::H211B, |q, e, old, ratio| (e * old).powf(-0.25 / q) * ratio.powf(-0.25)),
    ];
    let mut spared = [0; 3];
    for known in zoo() {
        for method in ADAPTIVE {
            for (spared, (name, controller, rule)) in spared.iter_mut().zip(rules) {
                let name = format!("{} with {method} under {name}", known.name);
                let tolerances = Tolerances::both(1e-4);
                let options = |controller| {
                    let initial_step = InitialStep::Automatic;
                    let control = StepControl::Adaptive { tolerances, controller, initial_step };
                    SolverOptions::default().method(method).step_control(control).save_at(SaveAt::Steps)
                };
                let solution = predict::<f64>(&known, &options(controller.prompt()), &known.y0);
                let found = step_times(&solution, 0);
                let system = System { field: &known.problem.field, method, tolerances, atol_per_feature: None };
                let Problem { t0, t1, .. } = known.problem;
                let q = method.tableau().error_power();
                let (mut t, mut y, mut rejected) = (t0, known.y0.clone(), 0);
                // The last accepted step's error and length.
                let mut last: Option<(f64, f64)> = None;
                let mut h = system.initial_step(&known.theta, t0, std::slice::from_ref(&y), t1 - t0);
                let mut times = vec![t0];
                while t < t1 && times.len() < 500 {
                    let (step, error) = attempt(&system, &known.theta, [t, h, t1], &y);
                    let taken = step.t1 - t;
                    let alone = 0.9 * error.powf(-1.0 / q);
                    let most = if last.is_none() { 1e4 } else { 10.0 };
                    if error > 1.0 {
                        rejected += 1;
                        h = taken * (0.9 * error.powf(-controller.beta_reject / q)).clamp(0.2, most);
                        continue;
                    }
                    (t, y) = (step.t1, step.end);
                    times.push(t);
                    let change = last.map_or(alone, |(old, before)| 0.9 * rule(q, error, old, taken / before));
                    h = if taken * alone.min(most) >= t1 - t { t1 - t } else { taken * change.clamp(0.2, most) };
                    last = Some((error.max(1e-4), taken));
                }
                assert_eq!(found.len(), times.len(), "{name}: accepted steps");
                assert_eq!(solution.stats[0].rejected, rejected, "{name}: rejected attempts");
                close(&format!("{name}: step times"), &found, &times, 1e-6);
                let plain = predict::<f64>(&known, &options(controller), &known.y0);
                *spared += plain.stats[0].nfe as i64 - solution.stats[0].nfe as i64;
            }
        }
    }
    assert!(spared.iter().all(|spared| *spared > 0), "evaluations that start-up took, of I, PI, H211b: {spared:?}");
}

fn check_small_states<R: Scalar>(layout: Layout, rtol: f64) {
    for (rate, t1, expected) in [(1.0, 40.0, 2.353_852_668_370_2e5), (-1.0, 10.0, 4.539_992_976_248_485e-17)] {
        let known = linear("small", vec![vec![rate]], t1, vec![1e-12]);
        let tolerances = Tolerances { atol: 1e-20, rtol };
        let options = SolverOptions::default().layout(layout).tolerances(tolerances);
        let solution = predict::<R>(&known, &options, &known.y0);
        all_done("small", &solution);
        let bound = 1e-4 + 300.0 * rtol;
        close(&format!("y' = {rate} y, {layout:?}, {}", R::NAME), &widen(&solution.ys), &[expected], bound);
        let warning = tolerances.warning_at(&known.y0, 1);
        assert!(warning.is_none(), "{warning:?}");
    }
}

#[test]
fn small_states_are_resolved_by_a_small_absolute_tolerance() {
    for layout in LAYOUTS {
        check_small_states::<f32>(layout, 1e-6);
        check_small_states::<f64>(layout, 1e-9);
    }
    let warning =
        Tolerances::both(1e-5).warning_at(&[1.0, 1e-12, -2.0, 0.0], 2).expect("atol rules the second feature");
    assert!(warning.contains("feature 1") && warning.contains("1e-12"), "{warning}");
    assert!(Tolerances::both(1e-5).warning_at(&[1.0, 0.0], 2).is_none(), "zeros have no size");
}

#[test]
fn a_solver_warns_once_of_absolute_tolerances_that_rule() {
    let problem = Problem::ode(Mlp::new([2, 2]), 0.0, 1.0);
    let said = |options: SolverOptions, states: &[[f32; 2]]| {
        let mut solver = solver::<f32>(&problem, &options);
        warnings_of(|| {
            for y0 in states {
                solver.predict(&[0.1; 6], y0).expect("a valid call");
            }
        })
    };
    let (small, large) = ([1.0, 1e-6], [1.0, 0.5]);
    let all = said(SolverOptions::default(), &[small, small]);
    assert!(all.len() == 1 && all[0].contains("atol 1e-5 is no less than a tenth of feature 1"), "{all:?}");
    assert!(said(SolverOptions::default(), &[large, small]).is_empty(), "the first states count");
    let own = SolverOptions::default().atol_per_feature([1e-5, 1e-12]);
    assert!(said(own, &[small]).is_empty(), "the second feature has a smaller one");
    let all = said(SolverOptions::default().atol_per_feature([1e-5, 1e-1]), &[large]);
    assert!(all.len() == 1 && all[0].contains("atol 1e-1 is no less than a tenth of feature 1"), "{all:?}");
    assert!(said(fixed(Method::Tsit5, 3), &[small]).is_empty(), "fixed steps have no tolerances");
}

#[test]
fn an_element_at_zero_may_have_any_absolute_tolerance() {
    // Its scaled slope is 1e30 at first, whose square f32 does not hold.
    let known = linear("rotation", vec![vec![0.0, -1.0], vec![1.0, 0.0]], 2.0, vec![1.0, 0.0]);
    for layout in LAYOUTS {
        let options = SolverOptions::default().layout(layout).tolerances(Tolerances { atol: 1e-30, rtol: 1e-5 });
        let solution = predict::<f32>(&known, &options, &known.y0);
        all_done("rotation", &solution);
        close("rotation", &widen(&solution.ys), &[2f64.cos(), 2f64.sin()], 1e-4);
    }
}

/// As many such elements as a picture has, in as many trajectories as share a step.
#[test]
fn many_elements_at_zero_may_have_any_absolute_tolerance() {
    for (field, theta) in slopes_of_one(784) {
        for layout in LAYOUTS {
            let options = SolverOptions::default().layout(layout).tolerances(Tolerances { atol: 1e-20, rtol: 1e-5 });
            let problem = Problem::ode(field.clone(), 0.0, 1.0);
            let y0 = vec![0.0; 40 * 784];
            let solution = solve::<f32>(&problem, &options, &theta, &y0);
            all_done("slopes of one", &solution);
            close("slopes of one", &widen(&solution.ys), &vec![1.0; y0.len()], 1e-5);
            assert!(solution.stats[0].accepted < 30, "{layout:?}: {:?}", solution.stats[0]);
        }
    }
}

/// Entries that are all the same are the one tolerance, to the bit.
fn check_equal_atol<R: Scalar>(problem: &Problem, options: &SolverOptions) {
    let theta = scaled(0.8, &numbers(1, problem.parameter_count()));
    let y0 = numbers(2, 35 * problem.dim());
    let own = options.clone().atol_per_feature(vec![1e-3; problem.dim()]);
    let [one, each] = [options, &own].map(|options| {
        let mut solver = solver::<R>(problem, options);
        let solution = solver.solve(&cast(&theta), &cast(&y0)).expect("a valid call");
        all_done("equal", &solution);
        let gradients = solver.gradients(&cast(&vec![1.0; y0.len()])).expect("a cotangent of each state");
        ([solution.ys, gradients.theta, gradients.y0].map(|x| bits(&x)), solution.stats)
    });
    assert_eq!(one, each, "{:?}, {}", options.layout, R::NAME);
}

#[test]
fn equal_absolute_tolerances_of_features_are_one() {
    let ode = Problem::ode(Mlp::new([3, 8, 3]), 0.0, 2.0);
    let sde = Problem::sde(Mlp::new([3, 8, 3]), Diffusion::ito(Mlp::new([3, 3])), 0.0, 1.0);
    let tolerances = Tolerances { atol: 1e-3, rtol: 1e-2 };
    for layout in LAYOUTS {
        for (problem, options) in
            [(&ode, SolverOptions::default().tolerances(tolerances)), (&sde, SolverOptions::sde(tolerances))]
        {
            check_equal_atol::<f32>(problem, &options.clone().layout(layout));
            check_equal_atol::<f64>(problem, &options.layout(layout));
        }
    }
}

/// Solves with the second feature in other units, `unit` of the first one's, and returns it in the first one's.
fn in_units<R: Scalar>(problem: &Problem, options: &SolverOptions, theta: &[f64], unit: f64) -> (Vec<u64>, Vec<Stats>) {
    let y0: Vec<f64> =
        [1.0, 1.0, 0.7, -1.3].iter().enumerate().map(|(i, y)| if i % 2 == 1 { unit * y } else { *y }).collect();
    let solution = solve::<R>(problem, options, theta, &y0);
    all_done("units", &solution);
    let ys: Vec<f64> =
        widen(&solution.ys).iter().enumerate().map(|(i, y)| if i % 2 == 1 { y / unit } else { *y }).collect();
    (bits(&ys), solution.stats)
}

/// Features that know nothing of each other are solved in units of one, and of a power of two: nothing is rounded
/// differently, and the same steps lead to the same states.
fn check_units<R: Scalar>(layout: Layout) {
    let (unit, theta) = (2f64.powi(-40), [-0.1, 0.0, 0.0, 5.0, 0.0, 0.0, 0.2, 0.0, 0.0, 0.3, 0.0, 0.0]);
    let ode = Problem::ode(Mlp::new([2, 2]), 0.0, 1.0);
    let sde = Problem::sde(Mlp::new([2, 2]), Diffusion::ito(Mlp::new([2, 2])), 0.0, 1.0);
    let options = [
        SolverOptions::default().tolerances(Tolerances { atol: 1e-6, rtol: 1e-5 }),
        SolverOptions::sde(Tolerances { atol: 1e-6, rtol: 1e-1 }),
    ];
    for ((problem, options), theta) in [ode, sde].into_iter().zip(options).zip([&theta[..6], &theta]) {
        let options = options.layout(layout);
        let units = options.clone().atol_per_feature([1e-6, 1e-6 * unit]);
        let expected = in_units::<R>(&problem, &options, theta, 1.0);
        let found = in_units::<R>(&problem, &units, theta, unit);
        assert_eq!(found, expected, "{layout:?}, {}", R::NAME);
    }
}

#[test]
fn units_do_not_matter_where_each_feature_has_its_absolute_tolerance() {
    for layout in LAYOUTS {
        check_units::<f32>(layout);
        check_units::<f64>(layout);
    }
}

fn check_small_feature<R: Scalar>(layout: Layout) {
    let known = linear("uncoupled", vec![vec![-0.1, 0.0], vec![0.0, 5.0]], 1.0, vec![1.0, 1e-12]);
    let options = SolverOptions::default().layout(layout).tolerances(Tolerances { atol: 1e-6, rtol: 1e-5 });
    let exact = [(-0.1f64).exp(), 1e-12 * 5f64.exp()];
    let [(one, rough), (each, fine)] = [options.clone(), options.atol_per_feature([1e-6, 1e-18])].map(|options| {
        let solution = predict::<R>(&known, &options, &known.y0);
        all_done("uncoupled", &solution);
        let found = widen(&solution.ys);
        ([0, 1].map(|d| (found[d] / exact[d] - 1.0).abs()), solution.stats[0].nfe)
    });
    let name = format!("{layout:?}, {}: {one:?} in {rough}, {each:?} in {fine}", R::NAME);
    assert!(one[0] < 1e-4 && each[0] < 1e-4, "the large feature, {name}");
    assert!(one[1] > 1e-2 && each[1] < 5e-4, "the small feature, {name}");
    assert!(fine > rough, "what is controlled costs steps, {name}");
}

#[test]
fn a_small_feature_is_resolved_by_its_own_absolute_tolerance() {
    for layout in LAYOUTS {
        check_small_feature::<f32>(layout);
        check_small_feature::<f64>(layout);
    }
}

#[test]
fn options_without_tolerances_of_features_are_written_as_before() {
    let write = |options: &SolverOptions| serde_json::to_string(options).expect("plain data");
    assert!(!write(&SolverOptions::default()).contains("atol_per_feature"));
    let options = SolverOptions::default().atol_per_feature([1e-6, 1e-18]);
    let back: SolverOptions = serde_json::from_str(&write(&options)).expect("what was written");
    assert_eq!(back, options);
}

fn check_constant_slope<R: Scalar>(method: Method, layout: Layout) {
    for slope in [1.0 / 3.0, -3.7e5, 1.1e-3, 7.0] {
        let problem = Problem::ode(Mlp::new([2, 2]), 0.0, 3.0);
        let theta = [0.0, 0.0, 0.0, 0.0, slope, -slope / 7.0];
        let options = adaptive(method, 1e-8).layout(layout).save_at(SaveAt::Steps);
        let solution = solve::<R>(&problem, &options, &theta, &[0.1, -2.0, 3.0, 1e-3]);
        let name = format!("y' = {slope}, {method}, {layout:?}, {}", R::NAME);
        all_done(&name, &solution);
        for row in 0..2 {
            let times = step_times(&solution, row);
            let lengths: Vec<f64> = times.windows(2).map(|w| w[1] - w[0]).collect();
            let grown = lengths.windows(2).take(lengths.len() - 2).all(|w| (w[1] / w[0] - 10.0).abs() < 1e-4);
            assert!(grown, "{name}: an error of 0 grows the step by the largest factor: {lengths:?}");
        }
        assert!(solution.stats.iter().all(|stats| stats.rejected == 0), "{name}: {:?}", solution.stats);
    }
}

#[test]
fn a_constant_slope_has_no_error_at_all() {
    for (layout, method) in LAYOUTS.into_iter().flat_map(|layout| ADAPTIVE.map(|method| (layout, method))) {
        check_constant_slope::<f32>(method, layout);
        check_constant_slope::<f64>(method, layout);
    }
}

// --- Stops and the longest step ---

fn check_pulse<R: Scalar>(method: Method, layout: Layout) {
    let (problem, theta, end) = pulse();
    assert!((end - 0.512_57).abs() < 1e-3, "a short ramp is nearly a step");
    let name = format!("{method}, {layout:?}, {}", R::NAME);
    // Where a ramp begins and ends, in disorder, one of them twice, and the end of the interval.
    let kinks = [1.05, 1.0, 1.0 + 1.0 / 512.0, 1.0, 1.05 + 1.0 / 512.0, 2.0];
    let plain = adaptive(method, 1e-3).layout(layout);
    let over = solve::<R>(&problem, &plain, &theta, &[1.0]).ys[0].to_f64();
    assert!(method != Method::Tsit5 || over < 0.2, "{name}: a pulse is stepped over: {over}");
    for options in [plain.clone().stop_at(kinks), plain.largest_step(0.04)] {
        let solution = solve::<R>(&problem, &options.clone().save_at(SaveAt::Steps), &theta, &[1.0]);
        all_done(&name, &solution);
        let found = solution.ys[solution.ys.len() - 1].to_f64();
        assert!(
            (found - end).abs() < if options.stop_at.is_empty() { 4e-2 } else { 5e-3 },
            "{name}: {found} for {end}, {:?} {:?}",
            options.stop_at,
            options.largest_step
        );
        let times = step_times(&solution, 0);
        assert!(options.stop_at.iter().all(|stop| times.contains(stop)), "{name}: steps end at stops: {times:?}");
        let longest = times.windows(2).map(|w| w[1] - w[0]).fold(0.0, f64::max);
        assert!(longest <= options.largest_step.unwrap_or(2.0) * (1.0 + 1e-12), "{name}: a step of {longest}");
    }
}

#[test]
fn a_pulse_is_not_stepped_over() {
    for layout in LAYOUTS {
        for method in [Method::Tsit5, Method::Dopri5, Method::Bosh3, Method::Heun] {
            check_pulse::<f64>(method, layout);
            check_pulse::<f32>(method, layout);
        }
    }
}

#[test]
fn stops_cost_a_first_stage_and_change_no_solution() {
    let (field, theta) = random_field(2, 6, 8);
    let y0 = numbers(9, 2 * 3);
    let stops = [0.3, 0.31, 1.0, 1.7];
    for backwards in [false, true] {
        let (t0, t1) = if backwards { (2.0, 0.0) } else { (0.0, 2.0) };
        let problem = Problem::ode(field.clone(), t0, t1);
        for layout in LAYOUTS {
            for method in [Method::Tsit5, Method::Heun] {
                let name = format!("from {t0}, {method}, {layout:?}");
                let tolerance = if method == Method::Tsit5 { 1e-10 } else { 1e-6 };
                let save = SaveAt::Times(if backwards { vec![1.0, 0.2, 0.0] } else { vec![0.2, 1.0, 2.0] });
                let plain = adaptive(method, tolerance).layout(layout).save_at(save).max_steps(1_000_000);
                let mut free = solver::<f64>(&problem, &plain);
                let mut stopped = solver::<f64>(&problem, &plain.stop_at(stops));
                let [a, b] = [&mut free, &mut stopped].map(|s| s.solve(&theta, &y0).expect("a valid call"));
                all_done(&name, &b);
                close(&name, &b.ys, &a.ys, 1e3 * tolerance);
                let bars = numbers(10, a.ys.len());
                let [a, c] = [&mut free, &mut stopped].map(|s| s.gradients(&bars).expect("cotangents"));
                close(&format!("{name}: gradient"), &c.theta, &a.theta, 1e3 * tolerance);
                close(&format!("{name}: gradient of y0"), &c.y0, &a.y0, 1e3 * tolerance);
                for stats in &b.stats {
                    // Two for the first step; a method that shares a stage evaluates one anew after each stop.
                    let attempts = stats.accepted + stats.rejected;
                    let expected = match method {
                        Method::Tsit5 => 2 + 6 * attempts + stops.len(),
                        _ => 2 + attempts + (stats.accepted - 1),
                    };
                    assert_eq!(stats.nfe, expected, "{name}: {stats:?}");
                }
            }
        }
    }
}

// --- Save times ---

#[test]
fn steps_begin_and_end_exactly() {
    for backwards in [false, true] {
        for known in zoo().into_iter().take(5).map(|k| if backwards { k.backwards() } else { k }) {
            for layout in LAYOUTS {
                for control in [adaptive(Method::Tsit5, 1e-5), adaptive(Method::Heun, 1e-3), fixed(Method::Rk4, 13)] {
                    let name = format!("{} from {} with {}, {layout:?}", known.name, known.problem.t0, control.method);
                    let rows = known.rows(4);
                    let options = control.layout(layout).save_at(SaveAt::Steps);
                    let solution = predict::<f64>(&known, &options, &rows);
                    let end = predict::<f64>(&known, &options.clone().save_at(SaveAt::End), &rows);
                    let dim = known.y0.len();
                    assert_eq!(solution.ys.len(), solution.ts.count(4) * dim, "{name}: a state a time");
                    assert_eq!(solution.stats, end.stats, "{name}: saving changes no step");
                    let mut from = 0;
                    for row in 0..4 {
                        let times = step_times(&solution, row);
                        let Problem { t0, t1, .. } = known.problem;
                        assert_eq!((times[0], times[times.len() - 1]), (t0, t1), "{name}: ends of row {row}");
                        let ordered = times.windows(2).all(|w| (w[1] - w[0]) * (t1 - t0) > 0.0);
                        assert!(ordered, "{name}: times of row {row} in order: {times:?}");
                        let stats = solution.stats[row.min(solution.stats.len() - 1)];
                        assert_eq!(times.len(), stats.accepted + 1, "{name}: as many times as steps");
                        // [times][B][D] in lockstep, [times][D] trajectory by trajectory in an ensemble.
                        let state = |i: usize| match layout {
                            Layout::Lockstep => &solution.ys[(i * 4 + row) * dim..][..dim],
                            Layout::Ensemble => &solution.ys[from + i * dim..][..dim],
                        };
                        assert_eq!(state(0), &rows[row * dim..][..dim], "{name}: row {row} starts at y0");
                        assert_eq!(state(times.len() - 1), &end.ys[row * dim..][..dim], "{name}: row {row} ends at y1");
                        let exact = (known.flow)(t0, &rows[row * dim..][..dim], times[2]);
                        assert!(distance(state(2), &exact) < 0.1, "{name}: row {row} at its second step");
                        from += times.len() * dim;
                    }
                }
            }
        }
    }
}

fn check_times<R: Scalar>(known: &Known, method: Method, layout: Layout, bound: f64) {
    let name = format!("{} from {} with {method}, {layout:?}, {}", known.name, known.problem.t0, R::NAME);
    let (rows, dim, batch) = (known.rows(5), known.y0.len(), 5);
    let options =
        if method.tableau().b_error.is_some() { adaptive(method, 1e-4) } else { fixed(method, 9) }.layout(layout);
    let steps = predict::<R>(known, &options.clone().save_at(SaveAt::Steps), &rows);
    let on_step = step_times(&steps, 2)[3];
    let Problem { t0, t1, .. } = known.problem;
    let at = |x: f64| t0 + x * (t1 - t0);
    // Both ends, a step's end, times between, several in one step, and duplicates of all kinds.
    let mut times = vec![t0, t0, at(1e-9), at(0.31), at(0.31), at(0.32), on_step, on_step, at(0.5), at(0.999), t1, t1];
    times.sort_by(|a, b| (a - b).total_cmp(&0.0));
    if t1 < t0 {
        times.reverse();
    }
    let solution = predict::<R>(known, &options.clone().save_at(SaveAt::Times(times.clone())), &rows);
    let dense = predict::<R>(known, &options.save_at(SaveAt::Dense), &rows);
    assert_eq!(solution.stats, dense.stats, "{name}: saving changes no step");
    assert_eq!((&steps.ts, bits(&steps.ys)), (&dense.ts, bits(&dense.ys)), "{name}: dense saves the steps too");
    assert_eq!(solution.ts, SavedTimes::Shared(times.clone()), "{name}: the times asked for");
    let dense = dense.dense.expect("a dense solution");
    for (i, &t) in times.iter().enumerate() {
        for row in 0..batch {
            let state = widen(&solution.ys[(i * batch + row) * dim..][..dim]);
            let other = widen(&dense.evaluate(row, t).expect("a time within the interval"));
            let error = distance(&state, &other);
            assert!(error <= bound * (1.0 + largest(&other)), "{name}: row {row} at {t}: off by {error:e}");
            if t == t0 {
                assert_eq!(state, widen(&cast::<R>(&rows[row * dim..][..dim])), "{name}: row {row} at t0");
            }
        }
    }
    for outside in [t0 - 0.01 * (t1 - t0), t1 + 0.01 * (t1 - t0), f64::NAN] {
        assert!(dense.evaluate(0, outside).is_err(), "{name}: nothing is known at {outside}");
    }
    assert!(dense.evaluate(batch, t1).is_err(), "{name}: there is no trajectory {batch}");
}

#[test]
fn saved_times_agree_with_the_dense_solution() {
    for known in zoo().into_iter().take(5).chain(zoo().into_iter().take(4).map(Known::backwards)) {
        for layout in LAYOUTS {
            for method in Method::ODE {
                check_times::<f64>(&known, method, layout, 1e-13);
            }
            check_times::<f32>(&known, Method::Tsit5, layout, 1e-6);
        }
    }
}

#[test]
fn a_dense_solution_is_accurate_between_steps() {
    for known in zoo() {
        for layout in LAYOUTS {
            let rows = known.rows(3);
            let options = adaptive(Method::Tsit5, 1e-7).layout(layout).save_at(SaveAt::Dense);
            let dense = predict::<f64>(&known, &options, &rows).dense.expect("a dense solution");
            for i in 0..=50 {
                let t = known.problem.t0 + (known.problem.t1 - known.problem.t0) * f64::from(i) / 50.0;
                let exact = known.exact(&rows, t);
                for (row, exact) in exact.chunks_exact(known.y0.len()).enumerate() {
                    let error = distance(&dense.evaluate(row, t).expect("a time within"), exact);
                    assert!(error < 1e-5, "{} at {t}, {layout:?}, row {row}: error {error:e}", known.name);
                }
            }
        }
    }
}

// --- Units of time ---

/// An autonomous problem in other units of time, or at another time, is the same problem.
#[test]
fn time_has_no_units_and_no_origin() {
    let (field, theta) = random_field(3, 8, 5);
    let y0 = numbers(6, 12);
    let last = field.layers().last().expect("two layers").range();
    for layout in LAYOUTS {
        for method in ADAPTIVE {
            let options = adaptive(method, 1e-5).layout(layout);
            let problem = |t0, t1| Problem::ode(field.clone(), t0, t1);
            let plain = solve::<f64>(&problem(0.0, 3.0), &options, &theta, &y0);
            let narrow = solve::<f32>(&problem(0.0, 3.0), &options, &theta, &y0);
            all_done("in plain units", &plain);
            for (scale, shift) in
                [(1e-12, 0.0), (1e6, 0.0), (-1.0, 0.0), (1.0, 1e5), (1e-12, 1e-8), (1e6, -1e9), (2f64.powi(-40), 0.0)]
            {
                let name = format!("{method}, {layout:?}, time times {scale:e} from {shift:e}");
                let mut theta = theta.clone();
                theta[last.clone()].iter_mut().for_each(|w| *w /= scale);
                let problem = problem(shift, shift + 3.0 * scale);
                let solution = solve::<f64>(&problem, &options, &theta, &y0);
                assert_eq!(solution.stats, plain.stats, "{name}: costs");
                // The rounding of the shifted times is all that differs.
                let rounding = 1e-12 + 20.0 * f64::EPSILON * (shift / scale).abs();
                close(&name, &solution.ys, &plain.ys, rounding);
                let solution = solve::<f32>(&problem, &options, &theta, &y0);
                let near = solution.nfe().abs_diff(narrow.nfe()) <= 14;
                assert!(near, "{name}: {} evaluations at f32 instead of {}", solution.nfe(), narrow.nfe());
                close(&format!("{name} at f32"), &widen(&solution.ys), &widen(&narrow.ys), 2e-5);
            }
        }
    }
}

// --- Batches ---

fn check_alone_and_together<R: Scalar>(method: Method, save: &SaveAt) {
    let (field, theta) = random_field(5, 9, 11);
    let theta = cast::<R>(&theta);
    let y0 = cast::<R>(&scaled(2.0, &numbers(12, 100 * 5)));
    let problem = Problem::ode(field, 0.0, 2.0);
    let options = adaptive(method, 1e-5).layout(Layout::Ensemble).save_at(save.clone());
    let times = if let SaveAt::Times(times) = save { times.len() } else { 1 };
    let alone: Vec<Solution<R>> = y0
        .chunks_exact(5)
        .map(|row| solver::<R>(&problem, &options).solve(&theta, row).expect("a valid call"))
        .collect();
    let costs: Vec<usize> = alone.iter().map(|s| s.nfe()).collect();
    assert!(costs.iter().any(|c| *c != costs[0]), "{method}: trajectories differ in cost, or nothing is shown");
    let mut one_solver = Solver::<R>::new(&cpu(2), &problem, &options).expect("a valid problem");
    for batch in [1, 3, 31, 32, 33, 65, 100, 33] {
        let name = format!("{method} at {}, batch of {batch}", R::NAME);
        let together = one_solver.solve(&theta, &y0[..batch * 5]).expect("a valid call");
        for (row, alone) in alone.iter().enumerate().take(batch) {
            assert_eq!(
                (together.stats[row], together.status[row]),
                (alone.stats[0], alone.status[0]),
                "{name}: row {row}"
            );
            for slot in 0..times {
                let states = &together.ys[(slot * batch + row) * 5..][..5];
                assert_eq!(bits(states), bits(&alone.ys[slot * 5..][..5]), "{name}: row {row}, time {slot}");
            }
        }
    }
}

#[test]
fn a_trajectory_of_an_ensemble_does_not_know_its_batch() {
    for method in ADAPTIVE {
        check_alone_and_together::<f32>(method, &SaveAt::End);
        check_alone_and_together::<f64>(method, &SaveAt::Times(vec![0.0, 0.1, 0.7, 2.0]));
    }
}

#[test]
fn identical_rows_in_lockstep_are_one_row() {
    let (field, theta) = random_field(4, 7, 21);
    let row = numbers(22, 4);
    let problem = Problem::ode(field, 0.0, 2.0);
    let alone = solve::<f64>(&problem, &adaptive(Method::Tsit5, 1e-6), &theta, &row);
    for batch in [2, 3, 32, 33, 64, 70] {
        let together = solve::<f64>(&problem, &adaptive(Method::Tsit5, 1e-6), &theta, &row.repeat(batch));
        assert_eq!(together.stats, alone.stats, "batch of {batch}: costs");
        for (r, state) in together.ys.chunks_exact(4).enumerate() {
            if batch == 2 {
                // The sum of two equal numbers is exact, so that the norms agree to the bit.
                assert_eq!(bits(state), bits(&alone.ys), "batch of {batch}, row {r}");
            } else {
                close(&format!("batch of {batch}, row {r}"), state, &alone.ys, 1e-13);
            }
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let (field, theta) = random_field(6, 60, 31);
    let y0 = numbers(32, 200 * 6);
    let problem = Problem::ode(field, 0.0, 1.0);
    for layout in LAYOUTS {
        let options = adaptive(Method::Tsit5, 1e-6).layout(layout).save_at(SaveAt::Times(vec![0.3, 1.0]));
        let run = |threads: usize| {
            let mut solver = Solver::<f32>::new(&cpu(threads), &problem, &options).expect("a valid problem");
            let solution = solver.solve(&cast(&theta), &cast(&y0)).expect("a valid call");
            let gradients =
                solver.gradients(&cast(&numbers(33, solution.ys.len()))).expect("cotangents of every state");
            (bits(&solution.ys), solution.stats, bits(&gradients.theta), bits(&gradients.y0), gradients.products)
        };
        let one = run(1);
        for threads in [2, 3, 1] {
            assert!(run(threads) == one, "{layout:?}: {threads} threads and 1 differ");
        }
    }
}

#[test]
fn a_solver_keeps_nothing_of_what_it_solved_before() {
    let (field, theta) = random_field(3, 6, 41);
    let y0 = numbers(42, 2000 * 3);
    let problem = Problem::ode(field, 0.0, 1.0);
    for layout in LAYOUTS {
        let options = adaptive(Method::Tsit5, 1e-5).layout(layout);
        let run = |solver: &mut Solver<f64>, batch: usize| {
            let solution = solver.solve(&theta, &y0[..batch * 3]).expect("a valid call");
            let gradients = solver.gradients(&numbers(43, batch * 3)).expect("cotangents of every state");
            (bits(&solution.ys), solution.stats, bits(&gradients.theta), bits(&gradients.y0))
        };
        let mut used = solver::<f64>(&problem, &options);
        let spoilt: Vec<f64> = y0.iter().map(|_| f64::NAN).collect();
        used.solve(&theta, &spoilt).expect("failures have a status");
        for batch in [2000, 1, 70, 2000, 33] {
            let fresh = run(&mut solver::<f64>(&problem, &options), batch);
            assert!(run(&mut used, batch) == fresh, "{layout:?}: a used and a fresh solver differ on {batch} rows");
        }
    }
}

// --- f32 ---

/// With given steps only rounding differs. Each step rounds the state once and its increment, `h` times a sum of slopes
/// whose networks add some ten numbers, a few times: in all `C eps` a step, amplified by the flow.
#[test]
fn f32_differs_from_f64_by_its_rounding() {
    const C: f64 = 1.5;
    for known in zoo() {
        for layout in LAYOUTS {
            for method in Method::ODE {
                for steps in [20, 200] {
                    // Initial states that f32 holds exactly.
                    let rows = widen(&cast::<f32>(&known.rows(3)));
                    let theta = widen(&cast::<f32>(&known.theta));
                    let options = fixed(method, steps).layout(layout);
                    let narrow = widen(&solve::<f32>(&known.problem, &options, &theta, &rows).ys);
                    let wide = solve::<f64>(&known.problem, &options, &theta, &rows).ys;
                    let error = distance(&narrow, &wide);
                    let bound = C
                        * f64::from(f32::EPSILON)
                        * (steps as f64).sqrt()
                        * largest(&rows).max(largest(&wide))
                        * known.growth();
                    assert!(
                        error <= bound,
                        "{} with {steps} steps of {method}, {layout:?}: {error:e} > {bound:e}",
                        known.name
                    );
                }
            }
        }
    }
}

// --- Failures ---

fn check_failures<R: Scalar>(bad: f64, layout: Layout, method: Method, tolerance: f64, batch: usize) {
    let name = format!("y0 = {bad} among {batch}, {method}, {layout:?}, {}", R::NAME);
    let (problem, theta) = blow_up(1.0);
    let theta = cast::<R>(&theta);
    let good: Vec<f64> = (0..batch - 1).map(|i| 0.1 + 0.5 * i as f64 / batch as f64).collect();
    let at = batch / 2;
    let rows: Vec<f64> = good[..at].iter().copied().chain([bad]).chain(good[at..].iter().copied()).collect();
    let without = |v: &[f64]| [&v[..at], &v[at + 1..]].concat();
    let options = adaptive(method, tolerance).layout(layout);
    let mut solver = solver::<R>(&problem, &options);
    let solution = solver.solve(&theta, &cast(&rows)).expect("a failure has a status");
    let (status, others) = (solution.status[at], solution.status.iter().filter(|s| **s == Status::Done).count());
    assert!(matches!(status, Status::NonFinite | Status::StepTooSmall | Status::MaxSteps), "{name}: {status}");
    assert_eq!(others, batch - 1, "{name}: the others are done, {:?}", solution.status);
    let ys = widen(&solution.ys);
    assert!(ys[at].is_nan(), "{name}: the failed state is NaN, not {}", ys[at]);
    let exact: Vec<f64> = good.iter().map(|&y| blow_up_exact(y, 1.0)).collect();
    let error = distance(&without(&ys), &exact);
    assert!(error < 50.0 * tolerance, "{name}: the others are off by {error:e}");

    let ys_bar = numbers(51, batch);
    let gradients = solver.gradients(&cast(&ys_bar)).expect("cotangents of every state");
    let (theta_bar, y0_bar) = (widen(&gradients.theta), widen(&gradients.y0));
    assert_eq!(y0_bar[at], 0.0, "{name}: a failed trajectory contributes nothing");
    // The same again without the bad trajectory.
    let expected = solver.solve(&theta, &cast(&good)).expect("a valid call");
    let gradients = solver.gradients(&cast(&without(&ys_bar))).expect("cotangents of every state");
    let rounding =
        if layout == Layout::Ensemble || bad.is_nan() { 30.0 * R::EPSILON.to_f64() } else { 100.0 * tolerance };
    close(&format!("{name}: gradient of theta"), &theta_bar, &widen(&gradients.theta), rounding);
    close(&format!("{name}: gradient of y0"), &without(&y0_bar), &widen(&gradients.y0), rounding);
    if layout == Layout::Ensemble {
        assert_eq!(bits(&without(&ys)), bits(&widen(&expected.ys)), "{name}: the others' states");
        assert_eq!(bits(&without(&y0_bar)), bits(&widen(&gradients.y0)), "{name}: the others' gradients");
    }
}

#[test]
fn a_failing_trajectory_fails_alone() {
    for layout in LAYOUTS {
        for method in [Method::Tsit5, Method::Bosh3] {
            for batch in [2, 20, 40, 70] {
                for bad in [f64::NAN, f64::INFINITY, 1e30, 0.9, -5.0] {
                    check_failures::<f64>(bad, layout, method, 1e-6, batch);
                    check_failures::<f32>(bad, layout, method, 1e-4, batch);
                }
            }
        }
    }
}

#[test]
fn fixed_steps_fail_alone_too() {
    let (problem, theta) = blow_up(1.0);
    for layout in LAYOUTS {
        for method in Method::ODE {
            for bad in [f64::NAN, 10.0] {
                let name = format!("y0 = {bad} with {method}, {layout:?}");
                let mut solver = solver::<f64>(&problem, &fixed(method, 30).layout(layout));
                let solution = solver.solve(&theta, &[0.3, bad, 0.5]).expect("a failure has a status");
                let expected = [Status::Done, Status::NonFinite, Status::Done];
                assert_eq!(solution.status, expected, "{name}");
                assert!(solution.ys[1].is_nan(), "{name}: the failed state is NaN");
                let gradients = solver.gradients(&[1.0, 1.0, 1.0]).expect("cotangents of every state");
                let expected = solver.solve(&theta, &[0.3, 0.5]).expect("a valid call");
                assert_eq!([solution.ys[0], solution.ys[2]], [expected.ys[0], expected.ys[1]], "{name}: the others");
                let others = solver.gradients(&[1.0, 1.0]).expect("cotangents of every state");
                close(&format!("{name}: gradient of theta"), &gradients.theta, &others.theta, 1e-14);
                assert_eq!(gradients.y0, [others.y0[0], 0.0, others.y0[1]], "{name}: gradient of y0");
            }
        }
    }
}

#[test]
fn a_batch_in_which_all_fail_says_so() {
    let (problem, theta) = blow_up(1.0);
    for layout in LAYOUTS {
        for save in [SaveAt::End, SaveAt::Times(vec![0.0, 0.5]), SaveAt::Steps, SaveAt::Dense] {
            let name = format!("{save:?}, {layout:?}");
            let mut solver = solver::<f64>(&problem, &adaptive(Method::Tsit5, 1e-6).layout(layout).save_at(save));
            let solution = solver.solve(&theta, &[f64::NAN, f64::NAN]).expect("failures have a status");
            assert_eq!(solution.status, [Status::NonFinite; 2], "{name}");
            assert!(solution.ys.iter().all(|y| y.is_nan()), "{name}: {:?}", solution.ys);
            assert_eq!(solution.ys.len(), solution.ts.count(2), "{name}: a state a time");
            let gradients = solver.gradients(&vec![1.0; solution.ys.len()]).expect("cotangents of every state");
            assert_eq!((gradients.theta, gradients.y0), (vec![0.0; 2], vec![0.0; 2]), "{name}: nothing contributes");
            if let Some(dense) = &solution.dense {
                assert!(dense.evaluate(0, 0.5).is_err(), "{name}: the trajectory did not come that far");
            }
            let error = solution.check().expect_err("all have failed");
            let expected =
                matches!(error, Error::Trajectory { failed: 2, batch: 2, index: 0, status: Status::NonFinite });
            assert!(expected, "{name}: {error}");
        }
    }
}

#[test]
fn a_dense_solution_ends_where_its_trajectory_failed() {
    let (problem, theta) = blow_up(1.0);
    for layout in LAYOUTS {
        let options = adaptive(Method::Tsit5, 1e-6).layout(layout).save_at(SaveAt::Dense);
        let solution = solve::<f64>(&problem, &options, &theta, &[0.4, f64::NAN, 0.9]);
        let dense = solution.dense.expect("a dense solution");
        let good = dense.evaluate(0, 1.0).expect("it came that far")[0];
        assert!((good - blow_up_exact(0.4, 1.0)).abs() < 1e-5, "{layout:?}: the good trajectory");
        for t in [0.0, 0.5] {
            let error = dense.evaluate(1, t).expect_err("it failed at once");
            assert_eq!(argument(&error), "t", "{layout:?}: {error}");
        }
        // The pole is at 0.617.
        for t in [0.0, 0.31, 0.6] {
            let found = dense.evaluate(2, t).expect("it came that far")[0];
            assert!((found / blow_up_exact(0.9, t) - 1.0).abs() < 1e-4, "{layout:?}: {found} at {t}");
        }
        let error = dense.evaluate(2, 0.7).expect_err("it did not come that far").to_string();
        assert!(error.contains("integrated from 0 to 0.617"), "{layout:?}: {error}");
    }
}

fn check_states_before_failure<R: Scalar>(layout: Layout, tolerance: f64) {
    let (problem, theta) = blow_up(1.0);
    let times = SaveAt::Times(vec![0.0, 0.1, 0.2, 0.9, 1.0]);
    // The first of them fails, of 33 all that do, or everybody.
    let rows = |bad: &[usize], batch: usize| -> Vec<f64> {
        (0..batch)
            .map(|row| if bad.contains(&row) { 1.0 + row as f64 / 200.0 } else { 0.3 + row as f64 / 200.0 })
            .collect()
    };
    for (bad, batch) in [(vec![0], 1), (vec![1], 3), (vec![0, 7, 32], 33), (vec![0, 1, 2], 3)] {
        for (save, stops) in [
            (times.clone(), false),
            (SaveAt::End, false),
            (SaveAt::Steps, false),
            (SaveAt::Dense, false),
            (times.clone(), true),
        ] {
            for method in [Method::Tsit5, Method::Bosh3] {
                let y0 = rows(&bad, batch);
                let mut options = adaptive(method, tolerance).layout(layout).save_at(save.clone());
                if stops {
                    // Enough for 0.2, and not for the end.
                    options = options.max_steps(if method == Method::Tsit5 { 12 } else { 150 });
                }
                let name = format!("{} of {batch}, {method}, {layout:?}, {save:?}, {}", bad.len(), R::NAME);
                let mut solver = solver::<R>(&problem, &options);
                for tape in [false, true] {
                    let solve = if tape { Solver::solve } else { Solver::predict };
                    let solution = solve(&mut solver, &cast(&theta), &cast(&y0)).expect("failures have a status");
                    for (row, status) in solution.status.iter().enumerate() {
                        assert!(
                            stops || (*status == Status::Done) != bad.contains(&row),
                            "{name}: row {row} is {status}"
                        );
                    }
                    let bound = 1e3 * tolerance;
                    let kept = known_until_failure(&name, &solution, bound, |row, t, y| blow_up_defect(y0[row], t, y));
                    let least = match save {
                        SaveAt::End => 0,
                        SaveAt::Times(_) => 3 * bad.len(),
                        _ => 5 * bad.len(),
                    };
                    assert!(kept >= least, "{name}: {kept} states of failed trajectories, not {least}");
                    if tape {
                        let ones = vec![R::ONE; solution.ys.len()];
                        let bars = widen(&solver.gradients(&ones).expect("cotangents of every state").y0);
                        for (row, status) in solution.status.iter().enumerate() {
                            assert_eq!(bars[row] == 0.0, *status != Status::Done, "{name}: gradient of row {row}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn states_that_were_reached_outlive_a_failure() {
    for layout in LAYOUTS {
        check_states_before_failure::<f64>(layout, 1e-7);
        check_states_before_failure::<f32>(layout, 1e-5);
    }
}

#[test]
fn fixed_steps_save_what_they_reach_too() {
    let (problem, _) = blow_up(1.0);
    for layout in LAYOUTS {
        let options = fixed(Method::Rk4, 400).layout(layout).save_at(SaveAt::Times(vec![0.0, 0.1, 0.2, 0.9]));
        let solution = solve::<f64>(&problem, &options, &[1.0, 0.0], &[1.0, 0.3]);
        assert_eq!(solution.status, [Status::NonFinite, Status::Done], "{layout:?}");
        let kept = known_until_failure("fixed", &solution, 1e-6, |row, t, y| blow_up_defect([1.0, 0.3][row], t, y));
        assert_eq!(kept, 3, "{layout:?}: at 0, 0.1 and 0.2");
    }
}

#[test]
fn the_bound_on_steps_is_kept() {
    let known = zoo().remove(1);
    for layout in LAYOUTS {
        let options = adaptive(Method::Tsit5, 1e-8).layout(layout);
        let Stats { accepted, rejected, .. } = predict::<f64>(&known, &options, &known.y0).stats[0];
        let enough = predict::<f64>(&known, &options.clone().max_steps(accepted + rejected), &known.y0);
        all_done(&format!("{layout:?}, just enough steps"), &enough);
        let fewer = accepted + rejected - 1;
        let solution = predict::<f64>(&known, &options.max_steps(fewer), &known.y0);
        assert_eq!(solution.status, [Status::MaxSteps], "{layout:?}, one step less");
        assert_eq!(solution.stats[0].accepted + solution.stats[0].rejected, fewer, "{layout:?}: attempts made");
        assert!(solution.ys.iter().all(|y| y.is_nan()), "{layout:?}: no end was reached");
    }
}

#[test]
fn a_field_without_slope_is_solved_in_few_steps() {
    let problem = Problem::ode(Mlp::new([2, 2]), -1.0, 5.0);
    for layout in LAYOUTS {
        for method in ADAPTIVE {
            let solution =
                solve::<f32>(&problem, &adaptive(method, 1e-6).layout(layout), &[0.0; 6], &[1.5, -2.0, 0.0, 0.0]);
            all_done("no slope", &solution);
            assert_eq!(solution.ys, [1.5, -2.0, 0.0, 0.0], "{method}, {layout:?}: nothing moves");
            assert!(solution.stats[0].accepted <= 12, "{method}, {layout:?}: {:?}", solution.stats);
        }
    }
}

#[test]
fn no_time_is_no_change() {
    let (field, theta) = random_field(2, 5, 3);
    let y0 = numbers(4, 2 * 40);
    for layout in LAYOUTS {
        for control in [adaptive(Method::Tsit5, 1e-6), fixed(Method::Rk4, 7)] {
            for (save, count) in
                [(SaveAt::End, 1), (SaveAt::Times(vec![1.5, 1.5]), 2), (SaveAt::Steps, 1), (SaveAt::Dense, 1)]
            {
                let name = format!("{save:?}, {layout:?}, {}", control.method);
                let options = control.clone().layout(layout).save_at(save.clone());
                let mut solver = solver::<f64>(&Problem::ode(field.clone(), 1.5, 1.5), &options);
                let solution = solver.solve(&theta, &y0).expect("nothing to do");
                all_done(&name, &solution);
                assert_eq!(solution.ys, y0.repeat(count), "{name}: the initial states");
                assert_eq!(solution.ts.count(40), 40 * count, "{name}: their times");
                assert!(solution.stats.iter().all(|stats| *stats == Stats::default()), "{name}: no costs");
                let bars = numbers(5, solution.ys.len());
                let gradients = solver.gradients(&bars).expect("cotangents of every state");
                let sums: Vec<f64> = (0..y0.len()).map(|i| bars.iter().skip(i).step_by(y0.len()).sum()).collect();
                close(&name, &gradients.y0, &sums, 1e-15);
                assert_eq!(gradients.theta, vec![0.0; theta.len()], "{name}: no parameter matters");
                if let Some(dense) = &solution.dense {
                    assert_eq!(dense.evaluate(3, 1.5).expect("the only time"), y0[6..8], "{name}");
                    assert!(dense.evaluate(3, 1.6).is_err(), "{name}: there is no other time");
                }
            }
        }
    }
}

#[test]
fn a_time_next_to_an_end_is_the_end() {
    let known = linear("decay", vec![vec![-1.0]], 0.3, vec![1.0]);
    let exact = (-0.3f64).exp();
    for layout in LAYOUTS {
        let sums = vec![-1e-17, 0.1, 0.1 + 0.2];
        assert!(sums[2] > 0.3, "a sum beyond the end");
        let options = adaptive(Method::Tsit5, 1e-9).layout(layout).save_at(SaveAt::Times(sums.clone()));
        let solution = predict::<f64>(&known, &options, &known.y0);
        assert_eq!(solution.ts, SavedTimes::Shared(sums), "{layout:?}: the times that were asked for");
        close("saved", &solution.ys, &[1.0, (-0.1f64).exp(), exact], 1e-8);
        let dense = predict::<f64>(&known, &options.save_at(SaveAt::Dense), &known.y0).dense.expect("dense");
        close("dense", &dense.evaluate(0, 0.1 + 0.2).expect("the end"), &[exact], 1e-8);
        assert!(dense.evaluate(0, 0.3001).is_err(), "{layout:?}: after the end");
    }
}

#[test]
fn fixed_steps_are_as_many_as_they_are() {
    let known = zoo().remove(0);
    for layout in LAYOUTS {
        let options = fixed(Method::Euler, 20_000).layout(layout);
        let solution = predict::<f64>(&known, &options, &known.y0);
        all_done("20,000 steps", &solution);
        assert_eq!(solution.stats[0].accepted, 20_000, "{layout:?}");
        close("20,000 steps", &solution.ys, &[(1.0f64 - 4.0 / 2e4).powi(20_000)], 1e-11);
    }
}

#[test]
fn both_layouts_call_the_same_step_too_small() {
    let (problem, theta) = blow_up(1.0);
    for first in [1e-30, 1e-17, 1e-16] {
        let found = LAYOUTS.map(|layout| {
            let options = with_first_step(Method::Tsit5, 1e-6, first).layout(layout);
            let solution = solve::<f64>(&problem, &options, &theta, &[0.3]);
            all_done(&format!("first step {first}, {layout:?}"), &solution);
            (solution.stats[0].accepted, solution.ys[0])
        });
        assert_eq!(found[0].0, found[1].0, "steps from {first}");
        assert!((found[0].1 - found[1].1).abs() < 1e-12, "states from {first}: {found:?}");
    }
}

// --- Errors ---

/// The argument that an error names.
fn argument(error: &Error) -> &'static str {
    match error {
        Error::Argument { argument, .. } | Error::Shape { argument, .. } | Error::NonFinite { argument, .. } => {
            argument
        }
        other => panic!("{other} names no argument"),
    }
}

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
        assert_eq!(argument(&error), "gradients", "{error}");
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
        assert_eq!(argument(&error), "gradients", "{error}");
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

// --- Memory ---

#[test]
fn a_solve_keeps_within_its_memory_limit() {
    let (field, theta) = random_field(8, 16, 61);
    let problem = Problem::ode(field, 0.0, 20.0);
    let y0 = numbers(62, 96 * 8);
    for layout in LAYOUTS {
        for control in [adaptive(Method::Tsit5, 1e-8), fixed(Method::Tsit5, 60)] {
            let name = format!("{:?}, {layout:?}", control.step_control);
            let options = control.layout(layout);
            let mut unlimited = solver::<f64>(&problem, &options);
            let steps =
                unlimited.solve(&theta, &y0).expect("no limit").stats.iter().map(|s| s.accepted).max().unwrap_or(0);
            let needed = unlimited.workspace(96, steps).total();
            let limited = |bytes: usize| solver::<f64>(&problem, &options.clone().memory_limit(bytes));
            limited(2 * needed).solve(&theta, &y0).unwrap_or_else(|e| panic!("{name}: twice what is needed: {e}"));
            let limit = (unlimited.workspace(96, 0).total() + needed) / 2;
            let error = limited(limit).solve(&theta, &y0).err();
            let Some(Error::Memory { needed: told, limit: l, batch, largest_batch, .. }) = error else {
                panic!("{name}: half the tape of {steps} steps does not fit {limit} bytes: {error:?}");
            };
            assert!((l, batch) == (limit, 96) && told > limit, "{name}: {told} bytes needed, limit {l}, batch {batch}");
            assert!(largest_batch < 96 && largest_batch % 32 == 0, "{name}: the largest batch is {largest_batch}");
            if largest_batch > 0 {
                let fits = limited(limit).solve(&theta, &y0[..largest_batch * 8]);
                assert!(fits.is_ok(), "{name}: the batch that is said to fit: {:?}", fits.err());
            }
            // The weights, 280 numbers of 8 bytes, fit twice; a tile does not.
            let error = limited(4480).solve(&theta, &y0).expect_err("weights alone");
            assert!(matches!(error, Error::Memory { limit: 4480, largest_batch: 0, .. }), "{name}: {error}");
            let options = options.clone().memory_limit(4479);
            let error = Solver::<f64>::new(&cpu(2), &problem, &options).expect_err("not even the weights");
            assert!(error.to_string().contains("4480 bytes"), "{name}: {error}");
            let error = limited(10_000).predict(&theta, &y0).expect_err("a prediction holds its batch");
            assert!(matches!(error, Error::Memory { steps: 0, .. }), "{name}: {error}");
            assert!(!error.to_string().contains("Checkpoints"), "{name}: a prediction keeps no states: {error}");
            limited(limit).predict(&theta, &y0).unwrap_or_else(|e| panic!("{name}: a prediction keeps no tape: {e}"));
        }
    }
}

/// What a stretch between checkpoints takes is taken once, however many steps there are.
#[test]
fn a_solve_with_checkpoints_fits_into_what_it_is_said_to_take() {
    let (field, theta) = random_field(8, 16, 61);
    let problem = Problem::ode(field, 0.0, 2.0);
    let y0 = numbers(62, 8 * 8);
    for layout in LAYOUTS {
        for stride in [1, 7, 32, 900] {
            let checkpoints = Checkpoints::Stride(stride);
            let options = fixed(Method::Tsit5, 1000).layout(layout).adjoint(Adjoint::Discrete { checkpoints });
            let needed = solver::<f64>(&problem, &options).workspace(8, 1000).total();
            let limited = |bytes: usize| solver::<f64>(&problem, &options.clone().memory_limit(bytes));
            let fits = limited(needed).solve(&theta, &y0);
            assert!(fits.is_ok(), "{layout:?}, every {stride} steps, {needed} bytes: {:?}", fits.err());
            let error = limited(needed - 1).solve(&theta, &y0).expect_err("a byte less");
            let Error::Memory { needed: told, limit, .. } = error else { panic!("{error}") };
            assert!(told > limit, "{layout:?}, every {stride} steps: {told} bytes needed, limit {limit}");
        }
    }
}

#[test]
fn the_workspace_of_anything_is_a_number() {
    let problem = Problem::ode(Mlp::new([2, 8, 2]), 0.0, 1.0);
    for layout in LAYOUTS {
        for save in [SaveAt::End, SaveAt::Times(vec![0.5]), SaveAt::Steps, SaveAt::Dense] {
            for stride in [1, usize::MAX] {
                let adjoint = Adjoint::Discrete { checkpoints: Checkpoints::Stride(stride) };
                let options = adaptive(Method::Tsit5, 1e-5).layout(layout).save_at(save.clone()).adjoint(adjoint);
                let solver = solver::<f32>(&problem, &options);
                let name = format!("{layout:?}, {save:?}, stride {stride}");
                let mut last = [0; 2];
                for size in [0, 1, 1000, 100_000_000, usize::MAX / 2, usize::MAX] {
                    let totals = [10, size].map(|steps| solver.workspace(size, steps).total());
                    assert!(
                        totals[0] >= last[0] && totals[1] >= last[1],
                        "{name}: {totals:?} bytes for {size}, {last:?} for less"
                    );
                    last = totals;
                }
                assert_eq!(last, [usize::MAX; 2], "{name}: it does not wrap");
            }
        }
    }
}

#[test]
fn absurd_widths_are_refused_before_anything_is_allocated() {
    for widths in [vec![2, 1_000_000_000, 2], vec![1 << 62, 2], vec![usize::MAX; 3], vec![2, usize::MAX, 2]] {
        let network = Mlp::new(widths.clone());
        let error = network.validate().expect_err("too many parameters");
        assert!(matches!(error, Error::Argument { argument: "Mlp::sizes", .. }), "{error}");
        assert!(error.to_string().contains(&format!("{widths:?}")), "it names the widths: {error}");
        assert!(network.initialize::<f32>(0).is_empty(), "{widths:?}: there is nothing to draw");
        let problem = Problem::ode(network, 0.0, 1.0);
        let error = Solver::<f32>::new(&cpu(2), &problem, &SolverOptions::default()).expect_err("too many parameters");
        assert!(matches!(error, Error::Argument { .. }), "{error}");
    }
    assert_eq!(Mlp::new([2, 1_000_000_000, 2]).parameter_count(), 3_000_000_000 + 2_000_000_002);
}

#[test]
fn a_stride_beyond_the_steps_is_one_segment() {
    let (field, theta) = random_field(3, 8, 63);
    let problem = Problem::ode(field, 0.0, 2.0);
    let y0 = numbers(64, 3 * 40);
    for layout in LAYOUTS {
        let gradients = |stride: usize| {
            let adjoint = Adjoint::Discrete { checkpoints: Checkpoints::Stride(stride) };
            let mut solver = solver::<f64>(&problem, &fixed(Method::Tsit5, 12).layout(layout).adjoint(adjoint));
            solver.solve(&theta, &y0).expect("a valid call");
            let gradients = solver.gradients(&[1.0; 120]).expect("cotangents");
            (gradients, solver.bytes())
        };
        let (every, _) = gradients(1);
        for stride in [11, 12, 13, 1 << 40, usize::MAX] {
            let (found, bytes) = gradients(stride);
            assert_eq!(found, every, "{layout:?}, stride {stride}");
            assert!(bytes < 1 << 20, "{layout:?}, stride {stride}: {bytes} bytes");
        }
    }
}

#[test]
fn a_solver_holds_what_it_said() {
    for (dim, hidden, batch) in [(1, 4, 3), (2, 50, 200), (20, 40, 64), (100, 30, 33)] {
        let (field, theta) = random_field(dim, hidden, 71);
        let theta = scaled(1.0 / (hidden as f64).sqrt(), &theta);
        let problem = Problem::ode(field, 0.0, 3.0);
        for layout in LAYOUTS {
            for stride in [1, 5] {
                for save in [SaveAt::End, SaveAt::Times(vec![0.1, 0.2, 0.3]), SaveAt::Steps, SaveAt::Dense] {
                    let name = format!("{dim} features, {batch} rows, {layout:?}, every {stride}th state, {save:?}");
                    let adjoint = Adjoint::Discrete { checkpoints: Checkpoints::Stride(stride) };
                    let options = adaptive(Method::Tsit5, 1e-5).layout(layout).save_at(save).adjoint(adjoint);
                    let mut solver = solver::<f32>(&problem, &options);
                    let solution = solver.solve(&cast(&theta), &cast(&numbers(72, batch * dim))).expect("a valid call");
                    let steps = solution.stats.iter().map(|s| s.accepted).max().unwrap_or(0);
                    solver.gradients(&vec![1.0; solution.ys.len()]).expect("cotangents of every state");
                    let (said, held) = (solver.workspace(batch, steps).total(), solver.bytes());
                    assert!(held <= said, "{name}: {held} bytes held, {said} said");
                    assert!(said <= 3 * held, "{name}: {said} bytes said, only {held} held");
                }
            }
        }
    }
}

fn rotation() -> Known {
    zoo().swap_remove(1)
}

/// First steps that are carried on: in lockstep, of a controller that goes by the last error alone, nine tenths of the
/// second step of the solve before, and an evaluation less.
#[test]
fn first_steps_are_carried_on() {
    let known = rotation();
    let control = |initial_step| StepControl::Adaptive {
        tolerances: Tolerances::both(1e-6),
        controller: Controller::I,
        initial_step,
    };
    for layout in LAYOUTS {
        let options = |initial_step| {
            SolverOptions::default().step_control(control(initial_step)).layout(layout).save_at(SaveAt::Steps)
        };
        let automatic = solver::<f64>(&known.problem, &options(InitialStep::Automatic));
        let mut carried = solver::<f64>(&known.problem, &options(InitialStep::Carried));
        let y0 = &known.y0[..known.problem.dim()];
        let plain = { automatic }.solve(&known.theta, y0).expect("a valid solve");
        let first = carried.solve(&known.theta, y0).expect("a valid solve");
        assert_eq!(bits(&first.ys), bits(&plain.ys), "{layout:?}: there is nothing to begin with yet");
        let times = step_times(&first, 0);
        let wished = 0.9 * (times[2] - times[1]);
        let second = carried.solve(&known.theta, y0).expect("a valid solve");
        let taken = step_times(&second, 0)[1] - times[0];
        // An ensemble's wishes are told apart by an eighth of an octave.
        let bound = if layout == Layout::Ensemble { 2f64.powf(1.0 / 16.0) - 1.0 } else { 1e-12 };
        assert!((taken / wished - 1.0).abs() <= bound, "{layout:?}: {taken} where {wished} was wished for");
        let Stats { nfe, accepted, rejected, .. } = second.stats[0];
        assert_eq!(nfe, 1 + 6 * (accepted + rejected), "{layout:?}: one evaluation before the first attempt");
        // The mean of logarithms, three tenths of it new.
        let third = step_times(&carried.solve(&known.theta, y0).expect("a valid solve"), 0);
        let second = step_times(&second, 0);
        let expected = 0.9 * (wished / 0.9).powf(0.7) * (second[2] - second[1]).powf(0.3);
        assert!(((third[1] - third[0]) / expected - 1.0).abs() <= bound, "{layout:?}: {third:?}, {expected}");
    }
}

/// A first step that is far too long costs rejected attempts, and nothing else.
#[test]
fn a_wrong_guess_is_rejected() {
    let known = rotation();
    let control = StepControl::Adaptive {
        tolerances: Tolerances::both(1e-6),
        controller: Controller::I.prompt(),
        initial_step: InitialStep::Carried,
    };
    for layout in LAYOUTS {
        let mut solver = solver::<f64>(&known.problem, &SolverOptions::default().step_control(control).layout(layout));
        let right = solver.solve(&known.theta, &known.y0).expect("a valid solve");
        solver.set_learnt(Learnt { first: Some(1.0), ..Learnt::default() }).expect("what solves can teach");
        let found = solver.solve(&known.theta, &known.y0).expect("a valid solve");
        let rejected = found.stats.iter().map(|stats| stats.rejected).max().expect("there are some");
        assert!((1..=3).contains(&rejected), "{layout:?}: {:?}", found.stats);
        close("a wrong guess", &found.ys, &right.ys, 1e-5);
        assert!(solver.learnt().first.expect("known") < 1.0, "and it is learnt from");
    }
}

/// The steps of an ideal controller are those of any.
#[test]
fn ideal_steps_are_the_same_whatever_the_controller() {
    let known = rotation();
    for layout in LAYOUTS {
        let count = |controller: Controller| {
            let initial_step = InitialStep::Length(0.05 * (known.problem.t1 - known.problem.t0).abs());
            let tolerances = Tolerances::both(1e-8);
            let control = StepControl::Adaptive { tolerances, controller, initial_step };
            let options = SolverOptions::default().step_control(control).layout(layout);
            let found = solver::<f64>(&known.problem, &options).solve(&known.theta, &known.y0).expect("solved");
            assert_eq!(found.ideal_steps.len(), found.stats.len(), "one each");
            (found.ideal_steps[0], found.stats[0].accepted)
        };
        let counts = [Controller::PI, Controller::I.prompt(), Controller::H211B, Controller::PID].map(count);
        let ideal = counts.map(|count| count.0);
        let (least, most) = (ideal.iter().copied().fold(f64::MAX, f64::min), ideal.iter().copied().fold(0.0, f64::max));
        assert!(most < 1.06 * least, "{layout:?}: ideal steps and steps taken {counts:?}");
        assert!(counts[0].1 as f64 > most, "{layout:?}: nobody takes fewer: {counts:?}");
    }
    let fixed = solver::<f64>(&known.problem, &fixed(Method::Tsit5, 3)).solve(&known.theta, &known.y0);
    assert!(fixed.expect("solved").ideal_steps.is_empty(), "fixed steps estimate no error");
}
