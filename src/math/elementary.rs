//! Elementary functions at `f32`, finite at their ends: branch-free scalar code that becomes SIMD code where a loop
//! inlines it.
//!
//! They call nothing and look nothing up, so that LLVM's vectoriser can take a loop over lanes whole, and every engine
//! evaluates the same operations in the same order. The coefficients are minimax fits in relative error: iteratively
//! reweighted least squares (C. L. Lawson, thesis, UCLA, 1961) on Chebyshev points, rounded to `f32`.
//!
//! The errors stated were measured against `f64` over every argument of magnitude 1e-12 and more (`log2`: from 1e-4 to
//! 1e4); the tests bound them on every 97th bit pattern. An ulp is the spacing of `f32` at the true value.

/// `1.5 * 2^23`: adding it rounds a number under `2^22` to an integer, which is then in the low bits of the sum.
pub(super) const ROUND: f32 = 12_582_912.0;

/// `ln 2` as the sum of two numbers, of which the first has 9 bits: its product with an exponent is exact
/// (W. J. Cody, W. Waite, Software Manual for the Elementary Functions, 1980).
pub(super) const LN_2_HIGH: f32 = 0.693_359_4;
pub(super) const LN_2_LOW: f32 = -2.121_944_4e-4;

/// The bits of `sqrt(1/2)`, from which on a logarithm counts its octaves.
pub(super) const SQRT_HALF: u32 = 0x3f35_04f3;

/// `e^x` to 0.91 ulp (7.7e-8 relative) for `x` in `[-87.33654, 88.72283]`.
///
/// Outside it stays at the value of the nearer end, 1.1755e-38 or 3.4028e38: never 0, never infinite.
/// NaN gives NaN.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // At the lower end `e^r` is just above 1 with `n = -126`, so that the result is a normal number.
    let (y, k) = reduced_exp(clamp(x, -87.336_54, 88.722_83));
    keep_nan(x, scale(y, k))
}

/// `e^r` and `n + ROUND`, where `x = n ln 2 + r` with `|r| <= ln 2 / 2`; [`scale`] makes `e^x` of them.
#[inline(always)]
pub(super) fn reduced_exp(x: f32) -> (f32, f32) {
    let k = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = k - ROUND;
    let r = (-n).mul_add(LN_2_LOW, (-n).mul_add(LN_2_HIGH, x));
    let q = polynomial(r, [0.499_999_93, 0.166_665_2, 0.041_668_39, 8.368_745e-3, 1.381_454e-3]);
    (r.mul_add(q, 1.0).mul_add(r, 1.0), k)
}

/// `2^x` to 0.95 ulp (8.0e-8 relative) for `x` in `[-126, 128)`.
///
/// Outside it stays at the value of the nearer end, `2^-126` or 3.4028e38: never 0, never infinite. NaN gives NaN.
#[inline(always)]
pub(crate) fn exp2(x: f32) -> f32 {
    let c = clamp(x, -126.0, 127.999_99);
    let k = c + ROUND;
    let r = c - (k - ROUND);
    let q =
        polynomial(r, [std::f32::consts::LN_2, 0.240_226_48, 0.055_503_324, 9.618_438e-3, 1.339_895_2e-3, 1.535_33e-4]);
    keep_nan(x, scale(q.mul_add(r, 1.0), k))
}

/// `log2(x)` to 1.43 ulp (1.5e-7 relative) for positive normal `x`, relative to the result also where that is near 0.
///
/// Anything below the smallest normal number, 0 and negative numbers included, counts as that number and gives -126;
/// infinity gives 128; NaN gives NaN.
///
/// `x = 2^e m` with `m` in `[sqrt(1/2), sqrt(2))`, and `log2(m) = f + f q(f)` with `f = m - 1`, which is exact.
#[inline(always)]
pub(crate) fn log2(x: f32) -> f32 {
    let c = if x < f32::MIN_POSITIVE { f32::MIN_POSITIVE } else { x };
    let bits = c.to_bits().wrapping_sub(SQRT_HALF) as i32;
    let e = (bits >> 23) as f32;
    let f = f32::from_bits((bits as u32 & 0x007f_ffff) + SQRT_HALF) - 1.0;
    let q = polynomial(
        f,
        [
            0.442_695,
            -0.721_347_35,
            0.480_910_64,
            -0.360_703_68,
            0.287_916_24,
            -0.238_944_8,
            0.215_715_66,
            -0.207_27,
            0.125_837_18,
        ],
    );
    keep_nan(x, e + q.mul_add(f, f))
}

/// `ln(1 + x)` to 1.54 ulp (1.4e-7 relative) for `x` in `[0, 1]`, relative to the result also where that is near 0.
///
/// The formula is `x + x^2 q(x)`: exact in its leading term, and `x^2 q(x)` is at most `0.45` of the result.
#[inline(always)]
pub(crate) fn ln_1p_unit(x: f32) -> f32 {
    let q = polynomial(
        x,
        [
            -0.499_996_48,
            0.333_213_24,
            -0.248_571_63,
            0.191_536_52,
            -0.137_537_95,
            0.079_204_44,
            -0.030_065_73,
            5.364_807_5e-3,
        ],
    );
    (x * x).mul_add(q, x)
}

/// `tanh(x)` to 4.33 ulp (2.7e-7 relative) for every `x`; NaN gives NaN.
///
/// Exactly odd, never beyond 1 in magnitude, and exactly 1 from 8.31 on, where the true value is 1 - 1.2e-7.
///
/// The formula is `x p(x^2) / q(x^2)` with both of degree 4, whose own relative error up to there is 1e-8. A common
/// factor of the coefficients is free: it and their last bits were chosen by a random search for the smallest error of
/// the rounded formula.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    const CLAMP: f32 = 8.300_036;
    let c = clamp(x, -CLAMP, CLAMP);
    let t = c * c;
    let p = quartic(t, [1.469_020_8, 0.197_173_42, 5.207_149e-3, 3.148_289_4e-5, 2.135_034_4e-8]);
    let q = quartic(t, [1.469_020_8, 0.686_846_9, 0.038_286_87, 4.945_365e-4, 1.211_935e-6]);
    c * p / q
}

/// `-ln((bits + 1/2) / 2^32)` to 4e-7 relative, also where it is near 0.
#[inline(always)]
fn minus_ln_unit(bits: u32) -> f32 {
    const UNIT: f32 = 1.0 / 4_294_967_296.0;
    let upper = bits >= 1 << 31;
    // The distance from the nearer end of the unit interval, at most one half.
    let d = ((if upper { !bits } else { bits }) as f32 + 0.5) * UNIT;
    // Above one half: -ln(1 - d) = ln(1 + d / (1 - d)).
    let near_one = ln_1p_unit(d / (1.0 - d));
    if upper { near_one } else { -std::f32::consts::LN_2 * log2(d) }
}

/// Two standard normal numbers from two random words by Box and Muller's formula, within 4e-7 of the radius times the
/// true one. See [`Real::normal_pair`](super::Real::normal_pair).
///
/// The angle is reduced on its integer, which is exact; on the remaining `[-pi/4, pi/4)` sine and cosine are S. L.
/// Moshier's polynomials (Cephes).
#[inline(always)]
pub(crate) fn normal_pair(radius: u32, angle: u32) -> [f32; 2] {
    const RADIANS: f32 = (std::f64::consts::TAU / 4_294_967_296.0) as f32;
    let r = (2.0 * minus_ln_unit(radius)).sqrt();
    let quadrant = angle.wrapping_add(1 << 29) >> 30;
    let x = angle.wrapping_sub(quadrant << 30) as i32 as f32 * RADIANS;
    let t = x * x;
    let sin = (x * t).mul_add(polynomial(t, [-1.666_665_5e-1, 8.332_161e-3, -1.951_529_6e-4]), x);
    let cos = (t * t).mul_add(polynomial(t, [4.166_664_6e-2, -1.388_731_6e-3, 2.443_315_7e-5]), 1.0 - 0.5 * t);
    let swapped = quadrant & 1 == 1;
    let (c, s) = if swapped { (sin, cos) } else { (cos, sin) };
    // The cosine is negative in quadrants 1 and 2, the sine in 2 and 3.
    let sign = |negative: u32| if negative & 2 == 2 { -r } else { r };
    [sign(quadrant + 1) * c, sign(quadrant) * s]
}

/// `sum_i c[i] x^i` by Horner's rule, every step rounded once.
#[inline(always)]
pub(super) fn polynomial<const N: usize>(x: f32, c: [f32; N]) -> f32 {
    let mut sum = c[N - 1];
    for i in (0..N - 1).rev() {
        sum = sum.mul_add(x, c[i]);
    }
    sum
}

/// `(c0 + c1 x) + x^2 (c2 + x (c3 + c4 x))`: where all terms are positive it rounds less often at full size than
/// Horner's rule, and the rounding of `x^2` cancels between numerator and denominator.
#[inline(always)]
fn quartic(x: f32, c: [f32; 5]) -> f32 {
    c[4].mul_add(x, c[3]).mul_add(x, c[2]).mul_add(x * x, c[1].mul_add(x, c[0]))
}

/// `x` within `[low, high]`. A NaN fails both comparisons and stays, as in the `min` and `max` instructions of x86.
#[inline(always)]
pub(super) fn clamp(x: f32, low: f32, high: f32) -> f32 {
    let x = if x > high { high } else { x };
    if x < low { low } else { x }
}

/// `y 2^n`, where `n` is in the low bits of `k = n + ROUND`, by adding to the exponent of a normal `y`.
#[inline(always)]
pub(super) fn scale(y: f32, k: f32) -> f32 {
    f32::from_bits(y.to_bits().wrapping_add(k.to_bits() << 23))
}

/// `y`, or NaN where `x` is NaN: integer arithmetic on the bits would turn some NaNs into numbers.
#[inline(always)]
pub(super) fn keep_nan(x: f32, y: f32) -> f32 {
    if x.is_nan() { x } else { y }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Calls `check(x, f(x))` for every 97th bit pattern from `first` to `last`, with `f` in vector registers.
    pub(crate) fn scan(first: u32, last: u32, f: impl Fn(f32) -> f32, mut check: impl FnMut(f32, f32)) {
        let (mut x, mut y) = ([0.0; 1024], [0.0; 1024]);
        let mut patterns = (first..=last).step_by(97).map(f32::from_bits);
        loop {
            let n = x.iter_mut().zip(&mut patterns).map(|(slot, next)| *slot = next).count();
            if n == 0 {
                break;
            }
            pulp::Arch::new().dispatch(
                #[inline(always)]
                || y.iter_mut().zip(&x).for_each(|(y, x)| *y = f(*x)),
            );
            x[..n].iter().zip(&y).for_each(|(&x, &y)| check(x, y));
        }
    }

    /// Asserts that `y` is `expected` but for the relative error `bound` or the smallest denormal number.
    pub(crate) fn close(name: &str, x: f32, y: f32, expected: f64, bound: f64) {
        let error = (f64::from(y) - expected).abs();
        assert!(error <= bound * expected.abs() + 1.5e-45, "{name}({x:e}) = {y:e}, expected {expected:e}");
    }

    #[test]
    fn exp_everywhere() {
        let (low, high) = (exp(-87.336_54), exp(88.722_83));
        scan(0, u32::MAX, exp, |x, y| match x {
            _ if x.is_nan() => assert!(y.is_nan(), "exp({x:e}) = {y:e} for {:08x}", x.to_bits()),
            _ if x <= -87.336_54 => assert_eq!(y, low, "exp({x:e}) stays at the lower end"),
            _ if x >= 88.722_83 => assert_eq!(y, high, "exp({x:e}) stays at the upper end"),
            _ => close("exp", x, y, f64::from(x).exp(), 8e-8),
        });
        assert!(low.is_normal() && high.is_finite(), "the ends are {low:e} and {high:e}");
        assert_eq!(exp(0.0), 1.0, "exact at 0");
    }

    #[test]
    fn exp2_everywhere() {
        let high = exp2(127.999_99);
        scan(0, u32::MAX, exp2, |x, y| match x {
            _ if x.is_nan() => assert!(y.is_nan(), "exp2({x:e}) = {y:e} for {:08x}", x.to_bits()),
            _ if x <= -126.0 => assert_eq!(y, f32::MIN_POSITIVE, "exp2({x:e}) stays at the lower end"),
            _ if x >= 127.999_99 => assert_eq!(y, high, "exp2({x:e}) stays at the upper end"),
            _ => close("exp2", x, y, f64::from(x).exp2(), 8e-8),
        });
        assert!(high.is_finite(), "the upper end is {high:e}");
        for n in -126..128i16 {
            assert_eq!(f64::from(exp2(f32::from(n))), f64::from(n).exp2(), "exact at {n}");
        }
    }

    #[test]
    fn log2_everywhere() {
        scan(f32::MIN_POSITIVE.to_bits(), f32::MAX.to_bits(), log2, |x, y| {
            close("log2", x, y, f64::from(x).log2(), 1.5e-7);
        });
        // Ten thousand numbers on either side of 1, where the result is near 0.
        for bits in 1f32.to_bits() - 10_000..1f32.to_bits() + 10_000 {
            let x = f32::from_bits(bits);
            close("log2", x, log2(x), f64::from(x).log2(), 1.5e-7);
        }
        for x in [0.0, -0.0, 1e-45, 1e-39, -1.0, f32::NEG_INFINITY] {
            assert_eq!(log2(x), -126.0, "log2({x:e}) is that of the smallest normal number");
        }
        assert_eq!(log2(f32::INFINITY), 128.0, "infinity counts as 2^128");
        assert!(log2(f32::NAN).is_nan(), "NaN stays");
    }

    #[test]
    fn ln_1p_unit_everywhere() {
        scan(0, 1f32.to_bits(), ln_1p_unit, |x, y| close("ln_1p", x, y, f64::from(x).ln_1p(), 1.4e-7));
        assert!(ln_1p_unit(f32::NAN).is_nan(), "NaN stays");
    }

    #[test]
    fn tanh_everywhere() {
        scan(0, u32::MAX, tanh, |x, y| {
            if x.is_nan() {
                assert!(y.is_nan(), "tanh({x:e}) = {y:e} for {:08x}", x.to_bits());
            } else {
                close("tanh", x, y, f64::from(x).tanh(), 3e-7);
                assert!(y.abs() <= 1.0, "tanh({x:e}) = {y:e} is beyond 1");
            }
        });
        scan(0, f32::INFINITY.to_bits(), tanh, |x, y| {
            assert_eq!(tanh(-x).to_bits(), (-y).to_bits(), "tanh is odd at {x:e}");
        });
    }

    #[test]
    fn tanh_saturates() {
        // Every number of the interval in which the error could pass 1.
        for bits in 7.5f32.to_bits()..=8.31f32.to_bits() {
            let y = tanh(f32::from_bits(bits));
            assert!(y <= 1.0, "tanh({}) = {y:e}", f32::from_bits(bits));
        }
        for x in [8.31, 9.0, 1e30, f32::MAX, f32::INFINITY] {
            assert_eq!([tanh(x), tanh(-x)], [1.0, -1.0], "tanh is saturated at {x:e}");
        }
    }

    #[test]
    fn normal_pairs_are_those_of_f64() {
        use crate::math::Real;
        let words = |i: u32| crate::math::philox4x32([i, 0, 0, 0], [1, 2]);
        let ends = [0, 1, 2, (1 << 31) - 1, 1 << 31, u32::MAX - 1, u32::MAX];
        let ends = ends.into_iter().flat_map(|a| ends.map(|b| (a, b)));
        let eighths = (0..64u32).map(|i| (1 << 28, (i << 26).wrapping_sub(1)));
        let mut worst = 0f64;
        for (a, b) in ends.chain(eighths).chain((0..200_000).map(|i| (words(i)[0], words(i)[1]))) {
            let (narrow, wide) = (normal_pair(a, b), f64::normal_pair(a, b));
            let r = wide[0].hypot(wide[1]);
            for (x, y) in narrow.into_iter().zip(wide) {
                worst = worst.max((f64::from(x) - y).abs() / r);
            }
            assert!(r < 6.77, "radius {r} of {a:x}");
        }
        assert!(worst < 4e-7, "the worst error is {worst:e} of the radius");
    }

    #[test]
    fn finite() {
        for i in -300..=300i16 {
            let x = 10f32.powf(f32::from(i) * 0.1);
            for x in [x, -x, 0.0] {
                let values = [exp(x), exp2(x), log2(x), ln_1p_unit(x.abs().min(1.0)), tanh(x)];
                assert!(values.iter().all(|y| y.is_finite()), "{values:?} at {x:e}");
            }
        }
    }
}
