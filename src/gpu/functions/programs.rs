//! What is printed of programs: functions, arithmetic, literals.

use super::elementary::fault;
use super::{apply, none};
use crate::gpu::adapter::gpu;
use crate::gpu::print;
use crate::problem::program::function::Function;
use crate::problem::program::operation::{Arithmetic, Number};
use crate::problem::program::tests::ends::{NUMBERS, is_wrong, limits};

/// The libraries of printed operations.
const OF_PROGRAMS: [&str; 4] = ["elementary", "ieee", "activation", "functions"];

#[test]
fn printed_functions_are_their_definitions() {
    let Some(gpu) = gpu() else { return };
    // With the places where slopes jump and where values are infinite, or none.
    let grid = (-400..=400).map(|i| i as f32 / 16.0);
    let points: Vec<f32> = grid.chain([-0.0, 1e-3, -1e-3, 80.0, -80.0, 1e4, -1e4, f32::NAN]).collect();
    let input: Vec<[u32; 1]> = points.iter().map(|x| [x.to_bits()]).collect();
    let mut failures = Vec::new();
    for f in Function::ALL {
        let [value, slope] = [print::map(f, "v"), print::slope(f, "v")];
        let body = format!("let v = bitcast<f32>(x[0]); y[0] = bitcast<u32>({value}); y[1] = bitcast<u32>({slope});");
        for (&x, found) in points.iter().zip(apply::<1, 2>(&gpu, &OF_PROGRAMS, &body, &input)) {
            let (value, slope) = f.definition(f64::from(x));
            for (name, found, expected) in [("", found[0], value), ("'", found[1], slope)] {
                let found = f32::from_bits(found);
                if fault(found, expected, 3e-6 * expected.abs().max(0.3)) {
                    failures.push(format!("{}{name}({x}) = {found:e}, expected {expected:e}", f.name()));
                }
            }
        }
    }
    none(&failures);
}

/// Values and slopes at numbers that are infinite, large or denormal, which may be zeros to a device.
#[test]
fn printed_functions_are_their_definitions_at_the_ends_of_numbers() {
    let Some(gpu) = gpu() else { return };
    let input: Vec<[u32; 1]> = NUMBERS.iter().map(|x| [x.to_bits()]).collect();
    let mut failures = Vec::new();
    for f in Function::ALL {
        let [value, slope] = [print::map(f, "v"), print::slope(f, "v")];
        let body = format!("let v = bitcast<f32>(x[0]); y[0] = bitcast<u32>({value}); y[1] = bitcast<u32>({slope});");
        for (&x, found) in NUMBERS.iter().zip(apply::<1, 2>(&gpu, &OF_PROGRAMS, &body, &input)) {
            let zero = if x.is_subnormal() { 0f32.copysign(x) } else { x };
            let [at, at_zero] = [x, zero].map(|x| limits(f, x));
            // Angles so far out count as zero.
            if matches!(f, Function::Sin | Function::Cos) && x.abs() == 1e30 {
                continue;
            }
            for (name, found, expected) in [("", found[0], [at[0], at_zero[0]]), ("'", found[1], [at[1], at_zero[1]])] {
                let found = f32::from_bits(found);
                if is_wrong(found, &expected, x.is_infinite()) {
                    failures.push(format!("{}{name}({x:e}) = {found:e}, expected {expected:?}", f.name()));
                }
            }
        }
    }
    none(&failures);
}

#[test]
fn printed_arithmetic_is_that_of_programs() {
    let Some(gpu) = gpu() else { return };
    let numbers = [0.0, -0.0, 1.0, -1.0, 1.5, 3e-5, -7e7, 1e30, -1e30, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    let pairs: Vec<[f32; 2]> = numbers.iter().flat_map(|a| numbers.map(|b| [*a, b])).collect();
    let input: Vec<[u32; 2]> = pairs.iter().map(|pair| pair.map(f32::to_bits)).collect();
    let mut failures = Vec::new();
    for op in Arithmetic::ALL {
        let body = format!(
            "let a = bitcast<f32>(x[0]); let b = bitcast<f32>(x[1]); y[0] = bitcast<u32>({});",
            print::zip(op, "a", "b")
        );
        for (&[a, b], [y]) in pairs.iter().zip(apply::<2, 1>(&gpu, &OF_PROGRAMS, &body, &input)) {
            let (y, expected) = (f32::from_bits(y), op.apply(f64::from(a), f64::from(b)));
            if fault(y, expected, 3e-7 * expected.abs()) {
                failures.push(format!("{a:e} {} {b:e} = {y:e}, expected {expected:e}", op.name()));
            }
        }
    }
    none(&failures);
}

/// Literals that come to infinity, or to nothing, are no constants that a compiler refuses.
#[test]
fn quotients_of_literals_are_left_to_the_device() {
    let Some(gpu) = gpu() else { return };
    let [one, zero] = [1.0, 0.0].map(|x| print::number(Number(x)));
    let body = format!(
        "y[0] = bitcast<u32>({}); y[1] = bitcast<u32>({});",
        print::zip(Arithmetic::Div, &one, &zero),
        print::map(Function::Recip, &zero),
    );
    let found = apply::<1, 2>(&gpu, &OF_PROGRAMS, &body, &[[0]]);
    assert!(found[0].iter().all(|y| f32::from_bits(*y) == f32::INFINITY), "{found:?}");
}
