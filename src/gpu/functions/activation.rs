//! Numbers that are none, and the functions between layers.

use super::{NANS, apply, beyond, finite_numbers, none};
use crate::gpu::adapter::gpu;
use crate::gpu::wire::modes;
use crate::problem::Activation;

#[test]
fn numbers_that_are_not_finite_are_found_by_their_bits() {
    let Some(gpu) = gpu() else { return };
    let input: Vec<[u32; 1]> = finite_numbers()
        .iter()
        .chain(&[f32::MAX, f32::MIN, f32::INFINITY, f32::NEG_INFINITY])
        .map(|x| [x.to_bits()])
        .chain(NANS.map(|x| [x]))
        .collect();
    let body = "let v = bitcast<f32>(x[0]); y[0] = select(0u, 1u, is_finite(v)); y[1] = select(0u, 1u, is_nan(v));";
    let found = apply::<1, 2>(&gpu, &["elementary"], body, &input);
    for ([x], found) in input.iter().zip(found) {
        let x = f32::from_bits(*x);
        assert_eq!(found, [u32::from(x.is_finite()), u32::from(x.is_nan())], "{x:e}, {:08x}", x.to_bits());
    }
}

#[test]
fn activations_and_derivatives_are_right_everywhere() {
    let Some(gpu) = gpu() else { return };
    let points = finite_numbers();
    let body = "let p = activate(x[0], bitcast<f32>(x[1])); y[0] = bitcast<u32>(p.x); y[1] = bitcast<u32>(p.y);";
    let mut failures = Vec::new();
    for kind in Activation::ALL {
        let number = modes::Activation::from(kind) as u32;
        let input: Vec<[u32; 2]> =
            points.iter().map(|x| [number, x.to_bits()]).chain(NANS.map(|x| [number, x])).collect();
        let found = apply::<2, 2>(&gpu, &["elementary", "activation"], body, &input);
        let mut worst = [0f64; 2];
        for (&x, pair) in points.iter().zip(&found) {
            let [y, dy] = pair.map(|bits| f64::from(f32::from_bits(bits)));
            let x = f64::from(x);
            let (f, df) = kind.definition(x);
            // The native engine's bounds.
            let scale = f.abs() + (x * df).abs();
            let (error, mut d_error) = ((y - f).abs(), (dy - df).abs());
            // A card may take a subnormal number for 0, where a corner has the other side's slope.
            if x.abs() < f64::from(f32::MIN_POSITIVE) {
                d_error = d_error.min((dy - kind.definition(0.0).1).abs());
            }
            worst[0] = worst[0].max((error - 2e-36) / scale.max(1e-300));
            worst[1] = worst[1].max(d_error);
            if beyond(error, 1e-6 * scale + 2e-36) || beyond(d_error, 2e-6) {
                failures.push(format!("{kind:?}({x:e}) = {y:e}, {dy:e}; expected {f:e}, {df:e}"));
            }
        }
        println!("{kind:?}: relative error {:.2e}, derivative off by {:.2e}", worst[0], worst[1]);
        for (pair, bits) in found[points.len()..].iter().zip(NANS) {
            let [y, dy] = pair.map(f32::from_bits);
            // The derivatives of these two do not depend on where they are.
            let constant = matches!(kind, Activation::Identity | Activation::Relu);
            if !y.is_nan() || !(dy.is_nan() || constant) {
                failures.push(format!("{kind:?}(NaN {bits:08x}) = {y:e}, {dy:e}"));
            }
        }
    }
    none(&failures);
}

#[test]
fn activations_at_infinity_have_their_limits() {
    let Some(gpu) = gpu() else { return };
    let body =
        "let pair = activate(x[0], bitcast<f32>(x[1])); y[0] = bitcast<u32>(pair.x); y[1] = bitcast<u32>(pair.y);";
    let mut failures = Vec::new();
    for kind in Activation::ALL {
        for x in [f32::INFINITY, f32::NEG_INFINITY] {
            let input = [[modes::Activation::from(kind) as u32, x.to_bits()]];
            let [[y, slope]] = apply::<2, 2>(&gpu, &["elementary", "activation"], body, &input)[..] else {
                unreachable!()
            };
            let [y, slope] = [y, slope].map(f32::from_bits);
            let right = x > 0.0;
            let limit = match kind {
                Activation::Tanh => x.signum(),
                Activation::Sigmoid => f32::from(u8::from(right)),
                Activation::Identity => x,
                _ if right => x,
                _ => 0.0,
            };
            if !(y == limit || (y - limit).abs() <= 2e-36) {
                failures.push(format!("{kind:?}({x}) = {y:e}, its limit is {limit}"));
            }
            let limit = kind.definition(if right { 200.0 } else { -200.0 }).1;
            let off = (f64::from(slope) - limit).abs();
            if off.is_nan() || off > 1e-34 {
                failures.push(format!("{kind:?}'({x}) = {slope:e}, its limit is {limit}"));
            }
        }
    }
    none(&failures);
}
