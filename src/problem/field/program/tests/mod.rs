//! Programs against arithmetic that shares nothing with them: values, products with Jacobians, and derivatives in time.

pub(crate) mod ends;
mod folding;
mod jet;
pub(crate) mod random;
mod text;

use std::ops::Range;

use proptest::prelude::*;

use super::Program;
use super::function::Function;
use super::interpret::{Ring, interpret};
use super::linearize::Linearized;
use super::operation::{Node, Operation, Source};
use super::tangent::second;
use crate::problem::Trace;
use jet::{Dual, Jet};
use random::{Case, Kinds};

/// The values of a program and its largest number on the way, which rounding is measured by.
fn values(program: &Program, theta: &[f64], input: impl Fn(Source) -> Vec<f64>) -> (Vec<Vec<f64>>, f64) {
    let all = Program { outputs: program.operations().map(|(node, _)| node).collect(), ..program.clone() };
    let all = interpret(&all, theta, input);
    let largest = all.iter().flatten().fold(1.0, |largest: f64, x| largest.max(x.abs()));
    (program.outputs().iter().map(|output| all[output.index()].clone()).collect(), largest)
}

/// The largest number on the way forward and back.
fn largest(linearized: &Linearized, theta: &[f64], input: &dyn Fn(Source) -> Vec<f64>, cotangent: &[f64]) -> f64 {
    let (forward, there) = values(&linearized.forward, theta, input);
    let (_, back) = values(&linearized.backward, theta, |source| match source {
        Source::Cotangent => cotangent.to_vec(),
        Source::Kept(n) => forward[linearized.values + n].clone(),
        _ => input(source),
    });
    there.max(back)
}

/// `cotangent . d(values)` along each parameter, state row and control row, by dual numbers.
fn slopes(
    program: &Program,
    theta: &[f64],
    input: &dyn Fn(Source) -> Vec<f64>,
    cotangent: &[f64],
    along: Source,
) -> Vec<f64> {
    // `Kept` stands for the parameters, which are no source.
    let count = if along == Source::Kept(0) { theta.len() } else { input(along).len() };
    let seeded = |numbers: &[f64], seed: Option<usize>| -> Vec<Dual> {
        numbers.iter().enumerate().map(|(i, x)| Dual::new(*x, f64::from(u8::from(seed == Some(i))))).collect()
    };
    (0..count)
        .map(|seed| {
            let theta = seeded(theta, (along == Source::Kept(0)).then_some(seed));
            let values = interpret(program, &theta, |source| seeded(&input(source), (source == along).then_some(seed)));
            values.iter().flatten().zip(cotangent).map(|(value, bar)| value.0[1] * bar).sum()
        })
        .collect()
}

fn check(what: &str, found: &[f64], expected: &[f64], tolerance: f64) -> Result<(), TestCaseError> {
    prop_assert_eq!(found.len(), expected.len(), "{}", what);
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let apart = (found - expected).abs();
        prop_assert!(apart <= tolerance, "{what}[{i}]: {found} and not {expected}, tolerance {tolerance:e}");
    }
    Ok(())
}

/// The vector-Jacobian product of a program, which need not be a field, against dual numbers.
fn check_pullback(
    program: &Program,
    case: &Case,
    frozen: &[Range<usize>],
    input: &dyn Fn(Source) -> Vec<f64>,
) -> Result<(), TestCaseError> {
    let linearized = program.linearize(frozen).expect("few operations");
    let cotangent: Vec<f64> = case.extra[20..][..program.output_rows()].to_vec();
    let found = linearized.pull_back(&case.theta, input, &cotangent);
    let expected = |along: Source| slopes(program, &case.theta, input, &cotangent, along);
    let mut theta = expected(Source::Kept(0));
    for range in frozen {
        theta[range.clone()].fill(0.0);
        prop_assert!(found.theta[range.clone()].iter().all(|x| *x == 0.0), "frozen parameters have a gradient");
    }
    let size = largest(&linearized, &case.theta, input, &cotangent).powi(2);
    let tolerance = 1e-11 * theta.iter().fold(size, |largest: f64, x| largest.max(x.abs()));
    check("theta", &found.theta, &theta, tolerance)?;
    for source in [Source::State, Source::Control(0), Source::Control(1)] {
        let expected = expected(source);
        check("input", &found.of(source, expected.len()), &expected, tolerance)?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_folded_program_has_the_value_that_was_written(case in Case::any(12, Kinds::All)) {
        let folded = case.folded();
        prop_assert!(folded.len() <= case.raw.len());
        let input = |source| case.input(source);
        let (found, expected) = (interpret(&folded, &case.theta, input), interpret(&case.raw, &case.theta, input));
        prop_assert_eq!(found, expected, "to the bit, but for the sign of a zero:\n{}\nof\n{}", folded, case.raw);
    }

    #[test]
    fn a_program_that_is_emitted_again_is_the_same(case in Case::any(12, Kinds::All)) {
        let folded = case.folded();
        let again = folded.reopen();
        prop_assert_eq!(&again.finish(folded.outputs()).expect("it fits"), &folded);
        let json = serde_json::to_string(&folded).expect("plain data");
        prop_assert_eq!(serde_json::from_str::<Program>(&json).expect("what was written"), folded);
    }

    #[test]
    fn cotangents_are_those_of_dual_numbers(case in Case::any(12, Kinds::All)) {
        check_pullback(&case.folded(), &case, std::slice::from_ref(&case.frozen), &|source| case.input(source))?;
    }

    #[test]
    fn several_values_have_cotangents_together(case in Case::any(12, Kinds::All)) {
        let folded = case.folded();
        let outputs = (0..folded.len()).step_by(2).map(Node::new).collect();
        check_pullback(&Program { outputs, ..folded }, &case, &[], &|source| case.input(source))?;
    }

    #[test]
    fn jacobian_vector_products_are_those_of_dual_numbers(case in Case::any(12, Kinds::All)) {
        let rows = case.state.len();
        let direction = case.extra[40..][..rows].to_vec();
        let program = case.folded().jacobian_vector(rows).expect("few operations");
        let input = |source| if source == Source::Direction { direction.clone() } else { case.input(source) };
        let (found, largest) = values(&program, &case.theta, input);
        let theta: Vec<Dual> = case.theta.iter().map(|x| Dual::constant(*x)).collect();
        let expected = interpret(&case.raw, &theta, |source| {
            let rates = if source == Source::State { direction.clone() } else { vec![0.0; 5] };
            case.input(source).into_iter().zip(rates).map(|(x, rate)| Dual::new(x, rate)).collect()
        });
        let part = |k: usize| expected[0].iter().map(|x| x.0[k]).collect::<Vec<f64>>();
        check("value", &found[0], &part(0), 1e-12 * largest)?;
        check("product", &found[1], &part(1), 1e-11 * largest * largest)?;
        // What RNODE learns from.
        check_pullback(&program, &case, std::slice::from_ref(&case.frozen), &input)?;
    }

    #[test]
    fn log_densities_change_by_the_traces_of_dual_numbers(case in Case::any(10, Kinds::All)) {
        let rows = case.state.len();
        let theta: Vec<Dual> = case.theta.iter().map(|x| Dual::constant(*x)).collect();
        let column = |feature: usize| -> Vec<Dual> {
            interpret(&case.raw, &theta, |source| {
                let rate = |i: usize| f64::from(u8::from(source == Source::State && i == feature));
                case.input(source).into_iter().enumerate().map(|(i, x)| Dual::new(x, rate(i))).collect()
            }).remove(0)
        };
        let columns: Vec<Vec<Dual>> = (0..rows).map(column).collect();
        let field: Vec<f64> = columns[0].iter().map(|x| x.0[0]).collect();
        let entry = |i: usize, j: usize| columns[j][i].0[1];
        let signs_of = |n: usize| move |i: usize| if n >> i & 1 == 0 { 1.0 } else { -1.0 };
        let state = |extra: &[f64]| [&case.state[..], &[0.7], extra].concat();
        let exact = case.folded().with_log_density(Trace::Exact).expect("few operations");
        let input = |source| if source == Source::State { state(&[]) } else { case.input(source) };
        let (found, largest) = values(&exact, &case.theta, input);
        let trace: f64 = (0..rows).map(|i| entry(i, i)).sum();
        check("exact", &found[0], &[&field[..], &[-trace]].concat(), 1e-11 * largest * largest)?;
        check_pullback(&exact, &case, std::slice::from_ref(&case.frozen), &input)?;
        let estimate = case.folded().with_log_density(Trace::Hutchinson).expect("few operations");
        let mut mean = 0.0;
        for n in 0..1 << rows {
            let signs: Vec<f64> = (0..rows).map(signs_of(n)).collect();
            let input = |source| if source == Source::State { state(&signs) } else { case.input(source) };
            let (found, largest) = values(&estimate, &case.theta, input);
            let product: f64 = (0..rows * rows).map(|n| signs[n / rows] * entry(n / rows, n % rows) * signs[n % rows]).sum();
            let expected = [&field[..], &[-product], &vec![0.0; rows]].concat();
            check("estimate", &found[0], &expected, 1e-11 * largest * largest)?;
            mean -= found[0][rows] / f64::from(1u32 << rows);
        }
        check("mean over all signs", &[mean], &[trace], 1e-10 * largest * largest)?;
    }

    #[test]
    fn derivatives_along_a_solution_are_its_taylor_series(case in Case::any(8, Kinds::Autonomous)) {
        const ORDER: usize = 4;
        // `y' = f(t, y)`, one coefficient after the other.
        let mut series: Vec<Jet<ORDER>> = case.state.iter().map(|y| Jet::constant(*y)).collect();
        let theta: Vec<Jet<ORDER>> = case.theta.iter().map(|x| Jet::constant(*x)).collect();
        let mut rates = Vec::new();
        for k in 1..=ORDER {
            rates = interpret(&case.raw, &theta, |source| match source {
                Source::State => series.clone(),
                _ => vec![Jet::new(case.time, 1.0)],
            }).remove(0);
            for (y, rate) in series.iter_mut().zip(&rates).filter(|_| k < ORDER) {
                y.0[k] = rate.0[k - 1] / k as f64;
            }
        }
        let program = case.folded();
        for order in 1..=ORDER {
            let derivatives = program.derivatives(order).expect("few operations");
            let (found, largest) = values(&derivatives, &case.theta, |source| case.input(source));
            prop_assert_eq!(found.len(), order);
            for (k, found) in found.iter().enumerate() {
                let factorial: f64 = (1..=k).map(|i| i as f64).product();
                let expected: Vec<f64> = rates.iter().map(|rate| factorial * rate.0[k]).collect();
                check("derivative", found, &expected, 1e-10 * largest)?;
            }
        }
        // What TayNODE learns from: the second derivative, and the third.
        for order in 2..=3 {
            let derivatives = program.derivatives(order).expect("few operations");
            let last = derivatives.outputs()[order - 1];
            let program = Program { outputs: vec![last], ..derivatives };
            check_pullback(&program, &case, std::slice::from_ref(&case.frozen), &|source| case.input(source))?;
        }
    }
}

#[test]
fn derivatives_of_functions_are_those_of_series() {
    // Where a function is not defined, neither is its series; kinks are away.
    for x in [-3.7, -1.1, -0.31, -0.02, 0.02, 0.4, 1.3, 2.9, 6.5] {
        for f in Function::ALL {
            if x < 0.0 && matches!(f, Function::Sqrt | Function::Ln) {
                continue;
            }
            let series = Jet::<3>::new(x, 1.0).map(f).0;
            let (value, slope) = f.definition(x);
            let mut emitter = super::emitter::Emitter::default();
            let input = emitter.emit(Operation::Input { source: Source::State, rows: 1 });
            let curvature = second(&mut emitter, f, input).map_or(0.0, |node| {
                let program = emitter.finish(&[node]).expect("it fits");
                interpret(&program, &[], |_| vec![x])[0][0]
            });
            for (what, found, expected) in
                [("value", value, series[0]), ("slope", slope, series[1]), ("second", curvature, 2.0 * series[2])]
            {
                let apart = (found - expected).abs();
                assert!(apart <= 1e-13 * expected.abs().max(1.0), "{what} of {} at {x}: {found}, {expected}", f.name());
            }
        }
    }
}

#[test]
fn functions_stay_finite_where_their_limits_are() {
    use Function::{Gelu, Relu, Sigmoid, Silu, Softplus, Tanh};
    for (f, value, second_at) in [
        (Tanh, [-1.0, 1.0], 0.0),
        (Sigmoid, [0.0, 1.0], 0.0),
        (Softplus, [0.0, 1e30], 0.0),
        (Relu, [0.0, 1e30], 0.0),
        (Silu, [0.0, 1e30], 0.0),
        (Gelu, [0.0, 1e30], 0.0),
    ] {
        for (x, value) in [-1e30, 1e30].into_iter().zip(value) {
            assert_eq!(f.definition(x).0, value, "{} at {x}", f.name());
            assert!(f.definition(x).1.is_finite(), "{}' at {x}", f.name());
            let mut emitter = super::emitter::Emitter::default();
            let input = emitter.emit(Operation::Input { source: Source::State, rows: 1 });
            if let Some(node) = second(&mut emitter, f, input) {
                let program = emitter.finish(&[node]).expect("it fits");
                let found = interpret(&program, &[], |_| vec![x])[0][0];
                assert!((found - second_at).abs() < 1e-30, "{}'' at {x}: {found}", f.name());
            }
        }
    }
}
