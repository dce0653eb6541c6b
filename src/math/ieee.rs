//! Elementary functions at `f32` with the ends of IEEE 754: those that a user's equations call.
//!
//! As in [`elementary`](super::elementary) they are branch-free, call nothing and look nothing up. Unlike there, they
//! are infinite and NaN where the truth is: an equation that leaves its domain must be seen, where an activation must
//! not fail. Quotients and square roots are the processor's own.
//!
//! The coefficients are minimax fits in relative error by E. Y. Remez's exchange (1934), rounded to `f32`. The errors
//! stated were measured against `f64` over every 7th bit pattern; the tests bound them on every 97th.

use super::elementary::{LN_2_HIGH, LN_2_LOW, ROUND, SQRT_HALF, clamp, keep_nan, polynomial, reduced_exp, scale};

/// `e^x` to 0.91 ulp (7.7e-8 relative), denormal results included.
///
/// It is 0 below -103.97, infinite above 88.72283, and NaN for NaN.
#[inline(always)]
pub(crate) fn exp_full(x: f32) -> f32 {
    let (y, k) = reduced_exp(clamp(x, -104.0, 88.722_83));
    // Near the lower end 2^n is no normal number, but 2^(n + 32) is, and the last product rounds to the denormal ones.
    let (lift, unit) = if x < -87.0 { (32.0, 1.0 / 4_294_967_296.0) } else { (0.0, 1.0) };
    let y = scale(y, k + lift) * unit;
    keep_nan(x, if x > 88.722_83 { f32::INFINITY } else { y })
}

/// `ln(x)` to 0.80 ulp (8.0e-8 relative), relative to the result also where that is near 0, denormal `x` included.
///
/// It is negative infinity at 0, NaN below, infinite at infinity, and NaN for NaN.
///
/// `x = 2^e m` with `m` in `[sqrt(1/2), sqrt(2))`, and `ln(m) = f - f^2 / 2 + f^3 q(f)` with `f = m - 1`, which is
/// exact; the own relative error of the formula is 6.4e-9. The terms are added from the smallest on.
#[inline(always)]
pub(crate) fn ln(x: f32) -> f32 {
    // A denormal number is 2^-149 times what its bits are as an integer, which is a normal number.
    let (c, unit) = if x < f32::MIN_POSITIVE { (x.to_bits() as i32 as f32, -149.0) } else { (x, 0.0) };
    let bits = c.to_bits().wrapping_sub(SQRT_HALF) as i32;
    let e = (bits >> 23) as f32 + unit;
    let f = f32::from_bits((bits as u32 & 0x007f_ffff) + SQRT_HALF) - 1.0;
    let q = polynomial(
        f,
        [
            0.333_333_3,
            -0.250_008_2,
            0.200_012_27,
            -0.166_233_57,
            0.142_017_56,
            -0.131_601_84,
            0.127_615_9,
            -0.076_345_034,
        ],
    );
    let small = (-0.5 * f).mul_add(f, e.mul_add(LN_2_LOW, f * (f * f) * q));
    let y = e.mul_add(LN_2_HIGH, f + small);
    // Infinity and NaN are their own logarithms.
    let y = if x < f32::INFINITY { y } else { x };
    let y = if x == 0.0 { f32::NEG_INFINITY } else { y };
    if x < 0.0 { f32::NAN } else { y }
}

/// `sin(x)` within 9.5e-8 of the truth up to 1e6, within 1e-6 up to 6.5e6, and to 0.70 ulp up to `pi / 4`; exactly odd.
///
/// From 6.5e6 on, where the numbers of `f32` are half a radian apart and more, it is 0, the sine of the angle 0.
/// Infinity and NaN give NaN.
#[inline(always)]
pub(crate) fn sin(x: f32) -> f32 {
    f32::from_bits(quarter_turns(x.abs(), 0).to_bits() ^ (x.to_bits() & SIGN))
}

/// `cos(x)` within 9.5e-8 of the truth up to 1e6, and within 1e-6 up to 6.5e6; exactly even.
///
/// From 6.5e6 on it is 1; see [`sin`]. Infinity and NaN give NaN.
#[inline(always)]
pub(crate) fn cos(x: f32) -> f32 {
    quarter_turns(x.abs(), 1)
}

const SIGN: u32 = 1 << 31;

/// The sine of `x + quarters pi / 2` for an `x` of no negative sign.
///
/// `x = n pi / 2 + r` with `|r|` little above `pi / 4` (up to 1 far out, where the rounding of `x 2 / pi` is part of
/// it). Cody and Waite's reduction in four parts, the first three so short that their products with an `n` of 16 bits,
/// `x` up to 1e5, are exact: a device may round twice in a multiplication and addition, and still has the same `r`.
/// Sine and cosine of `r` have own relative errors of 4.6e-9 and 1.6e-10 up to 0.8.
#[inline(always)]
fn quarter_turns(x: f32, quarters: u32) -> f32 {
    const HALF_PI: [f32; 4] = [1.570_312_5, 4.825_592e-4, 1.192_092_9e-6, 7.549_79e-8];
    const FAR: f32 = 6.5e6;
    // The product makes 0 of what is finite, and NaN of infinity and NaN.
    let c = if x < FAR { x } else { x * 0.0 };
    let k = c.mul_add(std::f32::consts::FRAC_2_PI, ROUND);
    let n = k - ROUND;
    let r = HALF_PI.iter().fold(c, |r, part| (-n).mul_add(*part, r));
    let t = r * r;
    let sin = (r * t).mul_add(polynomial(t, [-0.166_666_54, 8.332_095e-3, -1.950_554e-4]), r);
    let cos = (t * t).mul_add(polynomial(t, [0.041_666_64, -1.388_713e-3, 2.441_208_6e-5]), (-0.5f32).mul_add(t, 1.0));
    let quadrant = k.to_bits().wrapping_add(quarters);
    let y = if quadrant & 1 == 0 { sin } else { cos };
    f32::from_bits(y.to_bits() ^ (quadrant << 30 & SIGN))
}

#[cfg(test)]
mod tests {
    use super::super::elementary::tests::{close, scan};
    use super::super::real::Real;
    use super::*;

    const INF: f32 = f32::INFINITY;

    #[test]
    fn exp_full_everywhere() {
        scan(0, u32::MAX, exp_full, |x, y| match x {
            _ if x.is_nan() => assert!(y.is_nan(), "exp({x:e}) = {y:e} for {:08x}", x.to_bits()),
            _ if x > 88.722_83 => assert_eq!(y, INF, "exp({x:e}) overflows"),
            _ if x < -103.98 => assert_eq!(y, 0.0, "exp({x:e}) underflows"),
            _ => close("exp", x, y, f64::from(x).exp(), 8e-8),
        });
        assert_eq!([exp_full(INF), exp_full(-INF), exp_full(0.0)], [INF, 0.0, 1.0], "the limits, and exact at 0");
        // Every number about the ends: the largest finite result, and all denormal ones.
        for bits in 88.7f32.to_bits()..=88.722_83f32.to_bits() {
            close(
                "exp",
                f32::from_bits(bits),
                exp_full(f32::from_bits(bits)),
                f64::from(f32::from_bits(bits)).exp(),
                8e-8,
            );
        }
        for bits in 87f32.to_bits()..=104f32.to_bits() {
            let x = -f32::from_bits(bits);
            close("exp", x, exp_full(x), f64::from(x).exp(), 8e-8);
        }
    }

    #[test]
    fn exp_full_is_exp_between_its_ends() {
        scan(0, u32::MAX, exp_full, |x, y| {
            if (-87.336_54..=88.722_83).contains(&x) {
                assert_eq!(y.to_bits(), super::super::elementary::exp(x).to_bits(), "exp({x:e})");
            }
        });
    }

    #[test]
    fn ln_everywhere() {
        scan(0, u32::MAX, ln, |x, y| match x {
            _ if x.is_nan() || x < 0.0 => assert!(y.is_nan(), "ln({x:e}) = {y:e} for {:08x}", x.to_bits()),
            _ if x == 0.0 => assert_eq!(y, -INF, "the pole"),
            _ => close("ln", x, y, f64::from(x).ln(), 8.5e-8),
        });
        // Ten thousand numbers on either side of 1, where the result is near 0, and the smallest of all.
        for bits in (1f32.to_bits() - 10_000..1f32.to_bits() + 10_000).chain(1..10_000) {
            let x = f32::from_bits(bits);
            close("ln", x, ln(x), f64::from(x).ln(), 8.5e-8);
        }
        assert_eq!([ln(0.0), ln(-0.0), ln(1.0), ln(INF)], [-INF, -INF, 0.0, INF], "poles, root and limit");
        assert!([-INF, -1.0, -1e-45, f32::NAN].iter().all(|x| ln(*x).is_nan()), "NaN outside the domain");
    }

    /// Checks `f` against `truth`: 9.5e-8 up to 1e6, 1e-6 up to 6.5e6, `far` from there on, NaN for all else.
    fn turns(name: &str, f: fn(f32) -> f32, truth: fn(f64) -> f64, far: f32) {
        let check = |x: f32, y: f32| match x.abs() {
            _ if !x.is_finite() => assert!(y.is_nan(), "{name}({x:e}) = {y:e} for {:08x}", x.to_bits()),
            size if size >= 6.5e6 => assert_eq!(y, far, "{name}({x:e}), far out"),
            size => {
                let (error, bound) = ((f64::from(y) - truth(x.into())).abs(), if size <= 1e6 { 9.5e-8 } else { 1e-6 });
                assert!(error <= bound, "{name}({x:e}) = {y:e} is off by {error:e}");
                assert!(y.abs() <= 1.0, "{name}({x:e}) = {y:e} is beyond 1");
            }
        };
        scan(0, u32::MAX, f, check);
        // The numbers beside multiples of pi / 2, where little of the argument is left.
        for n in 1..700_000u32 {
            let x = (f64::from(n) * std::f64::consts::FRAC_PI_2) as f32;
            [x.next_down(), x, x.next_up()].into_iter().for_each(|x| check(x, f(x)));
        }
    }

    #[test]
    fn sin_everywhere() {
        turns("sin", sin, f64::sin, 0.0);
        scan(0, (std::f32::consts::FRAC_PI_4).to_bits(), sin, |x, y| close("sin", x, y, f64::from(x).sin(), 9e-8));
        scan(0, INF.to_bits(), sin, |x, y| {
            assert!(y.is_nan() || sin(-x).to_bits() == (-y).to_bits(), "sin is odd at {x:e}");
        });
    }

    #[test]
    fn cos_everywhere() {
        turns("cos", cos, f64::cos, 1.0);
        scan(0, INF.to_bits(), cos, |x, y| {
            assert!(y.is_nan() || cos(-x).to_bits() == y.to_bits(), "cos is even at {x:e}");
        });
        assert_eq!(cos(0.0), 1.0, "exact at 0");
    }

    /// Series to 50 digits, rounded: the larger precision is right where the smaller one is compared with it.
    #[test]
    fn wide_functions_are_those_of_their_series() {
        let cases = [
            ("sin 1.0", <f64 as Real>::sin(1.0), 0.841_470_984_807_896_5),
            ("sin 22.0", <f64 as Real>::sin(22.0), -0.008_851_309_290_403_876),
            ("sin 1e5", <f64 as Real>::sin(1e5), 0.035_748_797_972_016_51),
            ("sin 1e6", <f64 as Real>::sin(1e6), -0.349_993_502_171_292_94),
            ("cos 1.0", <f64 as Real>::cos(1.0), 0.540_302_305_868_139_8),
            ("cos 11.0", <f64 as Real>::cos(11.0), 0.004_425_697_988_050_785),
            ("cos 1e5", <f64 as Real>::cos(1e5), -0.999_360_807_438_212_4),
            ("cos 1e6", <f64 as Real>::cos(1e6), 0.936_752_127_533_144_7),
            ("ln 3.0", <f64 as Real>::ln(3.0), 1.098_612_288_668_109_8),
            ("ln 0.75", <f64 as Real>::ln(0.75), -0.287_682_072_451_780_9),
            ("ln 1e-310", <f64 as Real>::ln(1e-310), -713.801_378_828_154_2),
            ("ln 1e300", <f64 as Real>::ln(1e300), 690.775_527_898_213_7),
            ("exp_full 1.5", <f64 as Real>::exp_full(1.5), 4.481_689_070_338_064_5),
            ("exp_full -700.0", <f64 as Real>::exp_full(-700.0), 9.859_676_543_759_77e-305),
            ("exp_full 700.0", <f64 as Real>::exp_full(700.0), 1.014_232_054_735_004_5e304),
        ];
        for (name, found, expected) in cases {
            assert!((found - expected).abs() <= 4e-16 * expected.abs(), "{name}: {found:e}, not {expected:e}");
        }
        assert_eq!([f64::exp_full(-746.0), f64::exp_full(710.0)], [0.0, f64::INFINITY], "the ends of exp");
        assert_eq!([<f64 as Real>::ln(0.0), <f64 as Real>::ln(f64::INFINITY)], [f64::NEG_INFINITY, f64::INFINITY]);
        let outside = [<f64 as Real>::ln(-1.0), <f64 as Real>::sin(f64::INFINITY), <f64 as Real>::cos(f64::NAN)];
        assert!(outside.iter().all(|y| y.is_nan()), "{outside:?}");
    }
}
