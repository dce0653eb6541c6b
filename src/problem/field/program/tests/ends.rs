//! Every operation as a field, for the ends of the numbers.

use super::super::emitter::Emitter;
use super::super::function::Function;
use super::super::operation::{Arithmetic, Block, Number, Operation, Source};
use crate::problem::field::group::{Bound, Group, Initial};
use crate::problem::field::written::Written;
use crate::problem::field::{Field, Form};

/// Weights of a layer of two inputs and two outputs, and its biases; one of them is zero.
const LAYER: [f64; 6] = [0.5, -1.0, 2.0, 0.0, 0.25, -0.75];

/// Numbers at which an engine may go wrong: none, the infinities, large and denormal ones, and zeros of either sign.
pub(crate) const NUMBERS: [f32; 12] =
    [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30, 1e-40, -1e-40, 0.0, -0.0, 1.5, -0.7, 90.0];

/// A field of two rows `[a, b]` with a row for each operation of them, the functions of `a` first with their slopes, and what
/// those are; and its parameters.
pub(crate) fn operations() -> (Field, Vec<String>, Vec<f64>) {
    let mut emitter = Emitter::default();
    let x = emitter.emit(Operation::Input { source: Source::State, rows: 2 });
    let a = emitter.emit(Operation::Rows { x, first: 0, count: 1 });
    let b = emitter.emit(Operation::Rows { x, first: 1, count: 1 });
    let block = Block { offset: 0, inputs: 2, outputs: 2, time: false };
    let mut all: Vec<(String, Operation)> = Vec::new();
    for f in Function::ALL {
        all.push((f.name().to_owned(), Operation::Map(f, a)));
        all.push((f.slope_name().to_owned(), Operation::Slope(f, a)));
    }
    all.extend(Arithmetic::ALL.map(|op| (op.name().to_owned(), Operation::Zip(op, a, b))));
    let others = [
        Operation::Sum(x),
        Operation::Dot(x, x),
        Operation::Dense { x, block, affine: true },
        Operation::Dense { x, block, affine: false },
        Operation::Repeat { x: a, count: 2 },
        Operation::Stack(vec![b, a]),
    ];
    all.extend(others.map(|operation| (operation.name().to_owned(), operation)));
    let (mut names, mut parts) = (Vec::new(), Vec::new());
    for (name, operation) in all {
        let node = emitter.emit(operation);
        let rows = emitter.rows(node);
        names.extend(vec![name; rows]);
        parts.push(node);
    }
    let stack = emitter.emit(Operation::Stack(parts));
    let program = emitter.finish(&[stack]).expect("few operations");
    let numbers = LAYER.map(Number).to_vec();
    let group = Group {
        name: "layer".to_owned(),
        offset: 0,
        count: LAYER.len(),
        frozen: false,
        bound: Bound::None,
        initial: Initial::Numbers(numbers),
    };
    let written = Written { inputs: 2, program, groups: vec![group], controls: Vec::new() };
    written.validate().expect("a field");
    (Field(Form::Written(Box::new(written))), names, LAYER.to_vec())
}

/// What a function and its slope come to far out, where the definitions have zero times infinity.
pub(crate) fn limits(f: Function, x: f32) -> [f64; 2] {
    let (value, slope) = f.definition(f64::from(x));
    match f {
        Function::Silu | Function::Gelu if x == f32::INFINITY => [f64::INFINITY, 1.0],
        Function::Silu | Function::Gelu if x == f32::NEG_INFINITY => [0.0, 0.0],
        _ => [value, slope],
    }
}

/// Whether a number that an engine at `f32` found is a wrong one: none of those that are expected. What is not finite is no
/// wrong number where a limit is: it ends its trajectory. Denormal numbers may be zeros, before an operation and after it;
/// `expected` has what they lead to.
pub(crate) fn is_wrong(found: f32, expected: &[f64], is_limit: bool) -> bool {
    if is_limit && !found.is_finite() {
        return false;
    }
    let is = |expected: f64| {
        let rounded = expected as f32;
        if rounded.is_nan() {
            return found.is_nan();
        }
        // Where f32 ends the last digits decide.
        let ends = rounded.is_infinite() || rounded.abs() > 0.999_99 * f32::MAX;
        if ends && found.is_infinite() {
            return (found > 0.0) == (expected > 0.0);
        }
        (f64::from(found) - expected).abs() <= 3e-6 * expected.abs() + 1e-34
    };
    !expected.iter().any(|expected| is(*expected))
}
