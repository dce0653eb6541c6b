//! What the emitter makes simpler, and what it leaves as it is.

use super::super::Program;
use super::super::emitter::Emitter;
use super::super::function::Function;
use super::super::interpret::interpret;
use super::super::operation::{Arithmetic, Node, Number, Operation, Source};

/// The listing of what is written on a state of three rows `x` and its first row `s`.
fn listing(write: impl Fn(&mut Emitter, Node, Node) -> Node) -> String {
    program(write).to_string()
}

fn program(write: impl Fn(&mut Emitter, Node, Node) -> Node) -> Program {
    let mut emitter = Emitter::default();
    let x = emitter.emit(Operation::Input { source: Source::State, rows: 3 });
    let s = emitter.emit(Operation::Rows { x, first: 0, count: 1 });
    let output = write(&mut emitter, x, s);
    emitter.finish(&[output]).expect("it fits")
}

fn numbers(e: &mut Emitter, numbers: &[f64]) -> Node {
    e.emit(Operation::Literal(numbers.iter().copied().map(Number).collect()))
}

fn repeat(x: Node, count: usize) -> Operation {
    Operation::Repeat { x, count }
}

fn rows(x: Node, first: usize, count: usize) -> Operation {
    Operation::Rows { x, first, count }
}

#[test]
fn nothing_is_computed_for_zeros_and_ones_that_change_nothing() {
    use Arithmetic::{Add, Div, Mul, Sub};
    for (op, left, number) in
        [(Add, true, 0.0), (Add, false, 0.0), (Sub, false, 0.0), (Mul, true, 1.0), (Mul, false, 1.0), (Div, false, 1.0)]
    {
        for many in [1, 3] {
            let found = listing(|e, x, _| {
                let n = numbers(e, &vec![number; many]);
                if left { e.zip(op, n, x) } else { e.zip(op, x, n) }
            });
            assert_eq!(found, "return state", "{op:?} {left} {number} in {many} rows");
        }
        // The one row of the value would go with the number's three: something is left to do.
        let found = listing(|e, _, s| {
            let n = numbers(e, &[number; 3]);
            if left { e.zip(op, n, s) } else { e.zip(op, s, n) }
        });
        assert_eq!(found.lines().count(), 2, "{op:?}: {found}");
    }
}

#[test]
fn what_may_be_no_number_stays() {
    // Infinity times zero, and minus itself, and a quotient of zeros are no numbers.
    let found = listing(|e, x, _| {
        let zero = e.literal(0.0);
        e.mul(x, zero)
    });
    assert_eq!(found, "v2[3] = state * 0\nreturn v2");
    assert_eq!(listing(|e, x, _| e.sub(x, x)), "v1[3] = state - state\nreturn v1");
    assert_eq!(listing(|e, x, _| e.zip(Arithmetic::Div, x, x)), "v1[3] = state / state\nreturn v1");
    for x in [f64::INFINITY, f64::NAN] {
        let product = program(|e, x, _| {
            let zero = e.literal(0.0);
            e.mul(x, zero)
        });
        assert!(interpret(&product, &[], |_| vec![x; 3])[0].iter().all(|x| x.is_nan()));
    }
    // So are numbers that have no value: the engine says so, at the trajectory.
    let found = listing(|e, _, _| {
        let (one, zero) = (e.literal(1.0), e.literal(0.0));
        e.zip(Arithmetic::Div, one, zero)
    });
    assert_eq!(found, "v2 = 1 / 0\nreturn v2");
    let found = listing(|e, _, _| {
        let one = e.literal(-1.0);
        e.map(Function::Ln, one)
    });
    assert_eq!(found, "v1 = ln(-1)\nreturn v1");
}

#[test]
fn what_is_known_is_computed_at_once() {
    type Write = fn(&mut Emitter) -> Node;
    let cases: [(&str, Write); 8] = [
        ("[0.5, 0.25]", |e| {
            let n = numbers(e, &[2.0, 4.0]);
            e.map(Function::Recip, n)
        }),
        ("[4, 8]", |e| {
            let n = numbers(e, &[2.0, 4.0]);
            e.emit(Operation::Slope(Function::Square, n))
        }),
        ("[3, 5]", |e| {
            let (n, one) = (numbers(e, &[2.0, 4.0]), e.literal(1.0));
            e.add(one, n)
        }),
        ("[4, 6]", |e| {
            let n = numbers(e, &[2.0, 4.0, 6.0]);
            e.emit(rows(n, 1, 2))
        }),
        ("[7; 3]", |e| {
            let n = e.literal(7.0);
            e.emit(repeat(n, 3))
        }),
        ("12", |e| {
            let n = numbers(e, &[2.0, 4.0, 6.0]);
            e.emit(Operation::Sum(n))
        }),
        ("56", |e| {
            let n = numbers(e, &[2.0, 4.0, 6.0]);
            e.emit(Operation::Dot(n, n))
        }),
        ("[7, 2, 4]", |e| {
            let (n, m) = (e.literal(7.0), numbers(e, &[2.0, 4.0]));
            e.emit(Operation::Stack(vec![n, m]))
        }),
    ];
    for (expected, write) in cases {
        assert_eq!(listing(|e, _, _| write(e)), format!("return {expected}"));
    }
}

#[test]
fn slices_of_slices_and_stacks_are_slices() {
    let both = |e: &mut Emitter, x: Node| {
        let sin = e.map(Function::Sin, x);
        (sin, e.emit(Operation::Stack(vec![x, sin])))
    };
    // All rows; rows of rows; rows of one part; rows of two parts, which stay.
    assert_eq!(listing(|e, x, _| e.emit(rows(x, 0, 3))), "return state");
    let inner = listing(|e, x, _| {
        let tail = e.emit(rows(x, 1, 2));
        e.emit(rows(tail, 1, 1))
    });
    assert_eq!(inner, "return state[2]");
    let part = listing(|e, x, _| {
        let (_, stack) = both(e, x);
        e.emit(rows(stack, 4, 2))
    });
    assert_eq!(part, "v1[3] = sin(state)\nreturn v1[1..3]");
    let across = listing(|e, x, _| {
        let (_, stack) = both(e, x);
        e.emit(rows(stack, 2, 2))
    });
    assert_eq!(across, "v1[3] = sin(state)\nv2[6] = stack(state, v1)\nreturn v2[2..4]");
    let repeated = listing(|e, _, s| {
        let many = e.emit(repeat(s, 5));
        e.emit(rows(many, 2, 2))
    });
    assert_eq!(repeated, "v2[2] = repeat(state[0], 2)\nreturn v2");
}

#[test]
fn stacks_are_flat_and_neighbours_are_one_slice() {
    let slices = |places: &'static [(usize, usize)]| {
        listing(move |e, x, _| {
            let parts = places.iter().map(|(first, count)| e.emit(rows(x, *first, *count))).collect();
            e.emit(Operation::Stack(parts))
        })
    };
    assert_eq!(slices(&[(0, 1), (1, 1), (2, 1)]), "return state");
    assert_eq!(slices(&[(1, 1), (2, 1)]), "return state[1..3]");
    assert_eq!(slices(&[(2, 1)]), "return state[2]");
    // Order, gaps and repetitions matter.
    assert_eq!(slices(&[(1, 1), (0, 1)]), "v3[2] = stack(state[1], state[0])\nreturn v3");
    assert_eq!(slices(&[(0, 1), (2, 1)]), "v3[2] = stack(state[0], state[2])\nreturn v3");
    assert_eq!(slices(&[(0, 1), (0, 1)]), "v2[2] = stack(state[0], state[0])\nreturn v2");
    let nested = listing(|e, x, s| {
        let inner = e.emit(Operation::Stack(vec![s, x]));
        e.emit(Operation::Stack(vec![inner, s]))
    });
    assert_eq!(nested, "v2[5] = stack(state[0], state, state[0])\nreturn v2");
}

#[test]
fn operations_of_one_row_are_simpler() {
    assert_eq!(listing(|e, _, s| e.emit(repeat(s, 1))), "return state[0]");
    assert_eq!(listing(|e, _, s| e.emit(Operation::Sum(s))), "return state[0]");
    assert_eq!(listing(|e, _, s| e.emit(Operation::Dot(s, s))), "v2 = state[0] * state[0]\nreturn v2");
    assert_eq!(listing(|e, x, _| e.emit(Operation::Dot(x, x))), "v1 = dot(state, state)\nreturn v1");
}

#[test]
fn functions_that_are_slopes_of_others_are_found_again() {
    let twice = listing(|e, x, _| {
        let minus = e.map(Function::Neg, x);
        e.map(Function::Neg, minus)
    });
    assert_eq!(twice, "return state");
    for (f, expected) in [
        (Function::Exp, "v1[3] = exp(state)\nreturn v1"),
        (Function::Sin, "v1[3] = cos(state)\nreturn v1"),
        (Function::Ln, "v1[3] = recip(state)\nreturn v1"),
        (Function::Neg, "return [-1; 3]"),
        (Function::Tanh, "v1[3] = tanh'(state)\nreturn v1"),
    ] {
        assert_eq!(listing(|e, x, _| e.emit(Operation::Slope(f, x))), expected);
    }
    // Nothing is computed twice, and nothing that no one needs.
    let shared = listing(|e, x, _| {
        let (a, b) = (e.map(Function::Sin, x), e.map(Function::Sin, x));
        e.map(Function::Cos, x);
        e.mul(a, b)
    });
    assert_eq!(shared, "v1[3] = sin(state)\nv2[3] = v1 * v1\nreturn v2");
}

#[test]
fn long_lists_of_numbers_are_cut() {
    let long: Vec<f64> = (0..1000).map(f64::from).collect();
    assert_eq!(listing(|e, _, _| numbers(e, &long)), "return [0, 1, 2, 3, 4, 5, 6, 7, 992 more]");
    assert_eq!(listing(|e, _, _| numbers(e, &[1e-9, 1e30, -2.5])), "return [1e-9, 1e30, -2.5]");
}
