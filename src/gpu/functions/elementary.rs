//! Elementary functions, and what equations are written with, everywhere and at their ends.

use super::{DENORMAL, NANS, apply, beyond, finite_numbers, none};
use crate::gpu::adapter::gpu;
use crate::math::Real;

#[test]
fn elementary_functions_are_right_everywhere() {
    let Some(gpu) = gpu() else { return };
    type Function = (&'static str, fn(f64) -> f64, f64, fn(f32) -> bool);
    // The twins' bounds, and half an ulp more: WGSL lets a device round twice in `fma`.
    let twice = 0.5 * f64::from(f32::EPSILON);
    let functions: [Function; 5] = [
        ("own_exp", f64::exp, 8e-8, |x| (-87.336_54..88.722_83).contains(&x)),
        ("own_exp2", f64::exp2, 8e-8, |x| (-126.0..127.999_99).contains(&x)),
        ("own_log2", f64::log2, 1.5e-7, |x| x >= f32::MIN_POSITIVE),
        ("own_ln_1p_unit", f64::ln_1p, 1.4e-7, |x| (0.0..=1.0).contains(&x)),
        ("own_tanh", f64::tanh, 3e-7, |_| true),
    ];
    let points = finite_numbers();
    let mut failures = Vec::new();
    for (name, truth, bound, within) in functions {
        let input: Vec<[u32; 1]> = points.iter().map(|x| [x.to_bits()]).chain(NANS.map(|x| [x])).collect();
        let body = format!("y[0] = bitcast<u32>({name}(bitcast<f32>(x[0])));");
        let found = apply::<1, 1>(&gpu, &["elementary"], &body, &input);
        let mut worst = 0f64;
        for (&x, [y]) in points.iter().zip(&found) {
            let y = f32::from_bits(*y);
            let expected = truth(f64::from(x));
            let bound = bound + twice;
            if within(x) {
                let error = (f64::from(y) - expected).abs();
                worst = worst.max((error - DENORMAL) / expected.abs().max(1e-300));
                if beyond(error, bound * expected.abs() + DENORMAL) {
                    failures.push(format!("{name}({x:e}) = {y:e}, expected {expected:e}"));
                }
            }
            // The polynomial of `ln_1p` is for shares alone.
            if !y.is_finite() && name != "own_ln_1p_unit" {
                failures.push(format!("{name}({x:e}) = {y:e}"));
            }
            if name == "own_tanh" && y.abs() > 1.0 {
                failures.push(format!("tanh({x:e}) = {y:e} is beyond 1"));
            }
        }
        println!("{name}: largest relative error {worst:.2e}, bound {:.2e}", bound + twice);
        for ([y], x) in found[points.len()..].iter().zip(NANS) {
            if !f32::from_bits(*y).is_nan() {
                failures.push(format!("{name}(NaN {x:08x}) = {:e}", f32::from_bits(*y)));
            }
        }
    }
    none(&failures);
}

#[test]
fn elementary_functions_stay_at_their_ends() {
    let Some(gpu) = gpu() else { return };
    let (inf, low) = (f32::INFINITY, f32::MIN_POSITIVE);
    let cases = [
        ("own_exp", -1e30, Real::exp(-88f32)),
        ("own_exp", -inf, Real::exp(-88f32)),
        ("own_exp", inf, Real::exp(89f32)),
        ("own_exp", 0.0, 1.0),
        ("own_exp2", -inf, low),
        ("own_exp2", inf, Real::exp2(128f32)),
        ("own_exp2", -126.0, low),
        ("own_exp2", 13.0, 8192.0),
        ("own_log2", 0.0, -126.0),
        ("own_log2", -0.0, -126.0),
        ("own_log2", -1.0, -126.0),
        ("own_log2", -inf, -126.0),
        ("own_log2", 1e-40, -126.0),
        ("own_log2", 1.0, 0.0),
        ("own_log2", 1024.0, 10.0),
        ("own_log2", inf, 128.0),
        ("own_tanh", 8.31, 1.0),
        ("own_tanh", -8.31, -1.0),
        ("own_tanh", 1e30, 1.0),
        ("own_tanh", inf, 1.0),
        ("own_tanh", -inf, -1.0),
    ];
    let mut failures = Vec::new();
    for (name, x, expected) in cases {
        let body = format!("y[0] = bitcast<u32>({name}(bitcast<f32>(x[0])));");
        let [[y]] = apply::<1, 1>(&gpu, &["elementary"], &body, &[[x.to_bits()]])[..] else { unreachable!() };
        if f32::from_bits(y) != expected {
            failures.push(format!("{name}({x:e}) = {:e}, expected {expected:e}", f32::from_bits(y)));
        }
    }
    none(&failures);
}

/// The infinities, and the largest numbers.
pub(super) const ENDS: [f32; 4] = [f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN];

/// Whether `y` is not `expected`: another kind of number, another infinity, or off by more than `bound`.
pub(super) fn fault(y: f32, expected: f64, bound: f64) -> bool {
    let rounded = expected as f32;
    match rounded {
        _ if rounded.is_nan() => !y.is_nan(),
        _ if rounded.is_infinite() => y != rounded,
        _ => beyond((f64::from(y) - expected).abs(), bound),
    }
}

#[test]
fn functions_of_equations_are_right_everywhere() {
    let Some(gpu) = gpu() else { return };
    /// A function, the truth, the bounds of its relative and of its absolute error, and where they hold.
    type Function = (&'static str, fn(f64) -> f64, f64, f64, fn(f32) -> bool);
    // As above: half an ulp more than the twins', and denormal arguments may be zeros.
    let twice = 0.5 * f64::from(f32::EPSILON);
    let normal = |x: f32| !x.is_subnormal();
    let near = |x: f32| !(x.abs() > 1e5 && x.is_finite());
    let functions: [Function; 6] = [
        ("own_exp_full", f64::exp, 8e-8 + twice, DENORMAL, |_| true),
        ("own_ln", f64::ln, 8.5e-8 + twice, 0.0, normal),
        ("own_sin", f64::sin, 0.0, 1.5e-7, near),
        ("own_cos", f64::cos, 0.0, 1.5e-7, near),
        ("own_recip", f64::recip, 3.0 * f64::from(f32::EPSILON), DENORMAL, normal),
        ("own_sqrt", f64::sqrt, 3.0 * f64::from(f32::EPSILON), 0.0, normal),
    ];
    // Beside multiples of pi / 2 little is left of an angle.
    let angles = (1..63_000).step_by(5).map(|n| (f64::from(n) * std::f64::consts::FRAC_PI_2) as f32);
    let angles = angles.flat_map(|x| [x.next_down(), -x, x.next_up()]);
    let points = finite_numbers().into_iter().chain(angles).chain(ENDS).chain(NANS.map(f32::from_bits));
    let points: Vec<f32> = points.collect();
    let input: Vec<[u32; 1]> = points.iter().map(|x| [x.to_bits()]).collect();
    let mut failures = Vec::new();
    for (name, truth, relative, absolute, within) in functions {
        let body = format!("y[0] = bitcast<u32>({name}(bitcast<f32>(x[0])));");
        let found = apply::<1, 1>(&gpu, &["elementary", "ieee"], &body, &input);
        let mut worst = 0f64;
        for (&x, [y]) in points.iter().zip(&found) {
            let (y, expected) = (f32::from_bits(*y), truth(f64::from(x)));
            let wrong = if within(x) {
                let share = (f64::from(y) - expected).abs() / (relative * expected.abs() + absolute);
                worst = worst.max(if share.is_finite() { share } else { 0.0 });
                fault(y, expected, relative * expected.abs() + absolute)
            } else {
                // Of denormal numbers and of angles far out: that of zero at the worst, or of some angle.
                let zero = truth(f64::from(0f32.copysign(x))) as f32;
                let other = if name == "own_sin" || name == "own_cos" { y.abs() <= 1.0 } else { y == zero };
                !other && fault(y, expected, 1e-6 * expected.abs())
            };
            if wrong {
                failures.push(format!("{name}({x:e}, {:08x}) = {y:e}, expected {expected:e}", x.to_bits()));
            }
        }
        println!("{name}: largest error {worst:.2} of its bound");
    }
    none(&failures);
}

#[test]
fn angles_far_out_count_as_zero() {
    let Some(gpu) = gpu() else { return };
    let input: Vec<[u32; 1]> = [6.5e6, -6.5e6, 1e7, 1e20, -1e30, f32::MAX].map(|x: f32| [x.to_bits()]).to_vec();
    let body = "let v = bitcast<f32>(x[0]); y[0] = bitcast<u32>(own_sin(v)); y[1] = bitcast<u32>(own_cos(v));";
    for ([x], y) in input.iter().zip(apply::<1, 2>(&gpu, &["elementary", "ieee"], body, &input)) {
        assert_eq!(y.map(f32::from_bits), [0.0, 1.0], "sine and cosine of {:e}", f32::from_bits(*x));
    }
}

#[test]
fn quotients_have_the_ends_of_ieee() {
    let Some(gpu) = gpu() else { return };
    let sizes = [0.0, f32::MIN_POSITIVE, 1e-30, 1e-3, 1.0, 3.0, 1e3, 1e30, 1.7e38, f32::MAX, f32::INFINITY, f32::NAN];
    let all = sizes.into_iter().flat_map(|x| [x, -x]).map(f32::to_bits).chain(NANS);
    let input: Vec<[u32; 2]> = all.clone().flat_map(|a| all.clone().map(move |b| [a, b])).collect();
    let body = "y[0] = bitcast<u32>(own_divide(bitcast<f32>(x[0]), bitcast<f32>(x[1])));";
    let mut failures = Vec::new();
    for (x, [y]) in input.iter().zip(apply::<2, 1>(&gpu, &["elementary", "ieee"], body, &input)) {
        let ([a, b], y) = (x.map(f32::from_bits), f32::from_bits(y));
        let expected = f64::from(a) / f64::from(b);
        let signed = y.is_nan() || expected == 0.0 || y.is_sign_negative() == expected.is_sign_negative();
        if !signed || fault(y, expected, 3.0 * f64::from(f32::EPSILON) * expected.abs() + DENORMAL) {
            failures.push(format!("{a:e} / {b:e} = {y:e}, expected {expected:e}"));
        }
    }
    none(&failures);
}
