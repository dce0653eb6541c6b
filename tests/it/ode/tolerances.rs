//! What tolerances resolve: small states, elements at zero, features in units of their own.

use super::{all_done, predict, slopes_of_one, solve};
use crate::oracle::{
    ADAPTIVE, LAYOUTS, adaptive, bits, cast, close, fixed, linear, numbers, scaled, solver, step_times, warnings_of,
    widen,
};
use fewsteps::{Diffusion, Layout, Method, Mlp, Problem, SaveAt, Scalar, SolverOptions, Stats, Tolerances};

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
