//! Stochastic tableaus against Rößler's conditions (SIAM J. Numer. Anal. 48(3), 2010, theorem 5.1, for SRI schemes with
//! diagonal noise).

use fewsteps::{Calculus, Method, NoiseScale, NoiseTableau, Tableau};

/// A table of at most four rows, filled up with zeros.
type Matrix = [[f64; 4]; 4];

fn matrix(rows: &[&[f64]]) -> Matrix {
    std::array::from_fn(|i| std::array::from_fn(|j| rows.get(i).and_then(|row| row.get(j)).copied().unwrap_or(0.0)))
}

fn vector(row: &[f64]) -> [f64; 4] {
    std::array::from_fn(|i| row.get(i).copied().unwrap_or(0.0))
}

fn times(a: &Matrix, x: [f64; 4]) -> [f64; 4] {
    a.map(|row| dot(row, x))
}

fn dot(a: [f64; 4], b: [f64; 4]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// A tableau with its noise.
fn tableaus(method: Method) -> (&'static Tableau, &'static NoiseTableau) {
    let drift = method.tableau();
    (drift, drift.noise.expect("a stochastic method"))
}

const ONES: [f64; 4] = [1.0; 4];

/// Expressions that are zero for strong order 1, and those that strong order 3/2 needs besides.
fn conditions(method: Method) -> [Vec<f64>; 2] {
    let (drift, noise) = tableaus(method);
    let (a0, b0, a1, b1) = (matrix(drift.a), matrix(noise.drift_b), matrix(noise.a), matrix(noise.b));
    let (alpha, beta) = (vector(drift.b), noise.weights.map(vector));
    let [b0e, b1e] = [times(&b0, ONES), times(&b1, ONES)];
    let square = |x: [f64; 4]| x.map(|x| x * x);
    let each = |x: [f64; 4], expected: [f64; 4]| (0..4).map(move |k| dot(beta[k], x) - expected[k]).collect::<Vec<_>>();
    let first = [vec![dot(alpha, ONES) - 1.0], each(ONES, [1.0, 0.0, 0.0, 0.0]), each(b1e, [0.0, 1.0, 0.0, 0.0])];
    let a1b0 = times(&a1, b0e);
    let second = [
        vec![
            dot(alpha, times(&a0, ONES)) - 0.5,
            dot(alpha, b0e) - 1.0,
            dot(alpha, square(b0e)) - 1.5,
            0.5 * dot(beta[0], a1b0) + dot(beta[2], a1b0) / 3.0,
        ],
        each(times(&a1, ONES), [1.0, 0.0, -1.0, 0.0]),
        each(square(b1e), [1.0, 0.0, -1.0, 2.0]),
        each(times(&b1, b1e), [0.0, 0.0, 0.0, 1.0]),
    ];
    [first.concat(), second.concat()]
}

#[test]
fn sri_schemes_satisfy_the_conditions_of_order_three_halves() {
    for method in [Method::Sriw1, Method::Sosri] {
        for (i, x) in conditions(method).concat().into_iter().enumerate() {
            assert!(x.abs() < 2e-13, "{method}: condition {i} is off by {x:e}");
        }
    }
}

#[test]
fn milstein_satisfies_those_of_order_one() {
    let [first, second] = conditions(Method::Milstein);
    assert!(first.iter().all(|x| x.abs() < 1e-15), "{first:?}");
    assert!(second.iter().any(|x| x.abs() > 0.1), "and no more: {second:?}");
    let [first, _] = conditions(Method::EulerMaruyama);
    assert!(first[..5].iter().all(|x| x.abs() < 1e-15) && first[5..].iter().any(|x| x.abs() > 0.1), "order 1/2");
}

#[test]
fn nodes_are_the_row_sums() {
    for method in Method::SDE {
        let (drift, noise) = tableaus(method);
        assert!(!drift.fsal() && noise.stages() <= 4, "{method}: stages");
        for (name, c, rows) in [("drift", drift.c, drift.a), ("diffusion", noise.c, noise.a)] {
            for (c, row) in c.iter().zip(rows) {
                assert!((c - row.iter().sum::<f64>()).abs() < 1e-15, "{method}: {name} node {c}");
            }
        }
        assert_eq!(noise.weights[0].len(), noise.stages(), "{method}: a weight a stage");
        assert!(
            noise.weights.iter().chain(&noise.error).all(|w| w.is_empty() || w.len() == noise.stages()),
            "{method}"
        );
    }
}

#[test]
fn the_estimates_are_the_published_ones() {
    // h (f1 + ... ) with delta = 1 and 1/6, and the terms of chi2 and chi3.
    for (method, delta) in [(Method::Sosri, 1.0), (Method::Sriw1, 1.0 / 6.0)] {
        let (drift, noise) = tableaus(method);
        assert!(drift.b_error.expect("an estimate").iter().all(|w| *w == delta), "{method}: drift");
        assert_eq!(noise.error, [&[], &[], noise.weights[2], noise.weights[3]], "{method}: diffusion");
    }
    for method in [Method::StratonovichHeun, Method::ReversibleHeun] {
        let (drift, noise) = tableaus(method);
        // The difference to the embedded Euler step, whose weights are 1 and 0.
        let embedded = |b: &[f64], e: &[f64]| b.iter().zip(e).map(|(b, e)| b - e).collect::<Vec<f64>>();
        assert_eq!(embedded(drift.b, drift.b_error.expect("an estimate")), [1.0, 0.0], "{method}: drift");
        assert_eq!(embedded(noise.weights[0], noise.error[0]), [1.0, 0.0], "{method}: diffusion");
    }
}

#[test]
fn methods_know_their_calculus_and_what_they_share() {
    let shares = |method| {
        let (drift, noise) = tableaus(method);
        noise.shares_states(drift)
    };
    let stratonovich = [Method::StratonovichHeun, Method::ReversibleHeun];
    for method in Method::SDE {
        let is = tableaus(method).1.calculus == Calculus::Stratonovich;
        assert_eq!(is, stratonovich.contains(&method), "{method}");
    }
    assert!(shares(Method::EulerMaruyama) && shares(Method::StratonovichHeun) && !shares(Method::Sosri), "states");
    assert_eq!(tableaus(Method::Sosri).1.drift_scale, NoiseScale::Mean, "I_10 / h");
    assert!(Method::ODE.iter().all(|m| m.tableau().noise.is_none()), "the others know no noise");
}
