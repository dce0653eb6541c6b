//! Errors of fixed steps and of interpolants against their orders.

use super::{predict, solve};
use crate::oracle::{Known, close, distance, fixed, numbers, scaled, zoo};
use fewsteps::{Method, Mlp, Problem, SaveAt, TimeInput};

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
