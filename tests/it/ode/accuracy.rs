//! Ends of solves against closed forms, at both precisions and in any units of time.

use super::{all_done, predict, random_field, solve};
use crate::oracle::{ADAPTIVE, Known, LAYOUTS, adaptive, cast, close, distance, fixed, largest, numbers, widen, zoo};
use fewsteps::{Layout, Method, Mlp, Problem, Scalar};

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
