//! Elementary functions at `f32`: branch-free scalar code that becomes SIMD code where a loop inlines it.
//!
//! They call nothing and look nothing up, so that LLVM's vectoriser can take a loop over lanes whole, and every engine
//! evaluates the same operations in the same order. The coefficients are minimax fits in relative error: iteratively
//! reweighted least squares (C. L. Lawson, thesis, UCLA, 1961) on Chebyshev points, rounded to `f32`. Each bound below
//! was measured over every argument in question against `f64`; ulp means the spacing of `f32` at the true value.

/// `1.5 * 2^23`: adding it rounds a number under `2^22` to an integer, which is then in the low bits of the sum.
const ROUND: f32 = 12_582_912.0;

/// `e^x` to 1.1 ulp (7.5e-8 relative) for `x` in `[-87.33654, 88.72283]`.
///
/// Outside it stays at the value of the nearer end, 1.1754945e-38 or 3.4027893e38: never 0, never infinite.
/// NaN gives NaN.
///
/// `x = n ln 2 + r` with `|r| <= ln 2 / 2`, where `ln 2` is the sum of two constants so that `r` keeps its last bits
/// (W. J. Cody, W. Waite, Software Manual for the Elementary Functions, 1980).
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // The lower end is the first number at which `e^r >= 1` with `n = -126`, so that the result is a normal number.
    let c = clamp(x, -87.336_54, 88.722_83);
    let k = c.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = k - ROUND;
    let r = (-n).mul_add(LN_2_LOW, (-n).mul_add(LN_2_HIGH, c));
    let q = polynomial(r, [0.499_999_93, 0.166_665_2, 0.041_668_39, 8.368_745e-3, 1.381_454e-3]);
    keep_nan(x, scale(r.mul_add(q, 1.0).mul_add(r, 1.0), k))
}

/// `2^x` to 1.1 ulp (7.5e-8 relative) for `x` in `[-126, 128)`.
///
/// Outside it stays at the value of the nearer end, `2^-126` or 3.4028e38: never 0, never infinite. NaN gives NaN.
#[inline(always)]
pub(crate) fn exp2(x: f32) -> f32 {
    let c = clamp(x, -126.0, 127.999_99);
    let k = c + ROUND;
    let r = c - (k - ROUND);
    let q = polynomial(r, [0.693_147_2, 0.240_226_48, 0.055_503_324, 9.618_438e-3, 1.339_895_2e-3, 1.535_33e-4]);
    keep_nan(x, scale(q.mul_add(r, 1.0), k))
}

/// `log2(x)` to 1.6 ulp for positive normal `x`, relative to the result also where that is near 0.
///
/// Anything below the smallest normal number, 0 and negative numbers included, counts as that number and gives -126;
/// infinity gives 128; NaN gives NaN.
///
/// `x = 2^e m` with `m` in `[sqrt(1/2), sqrt(2))`, and `log2(m) = f + f q(f)` with `f = m - 1`, which is exact.
#[inline(always)]
pub(crate) fn log2(x: f32) -> f32 {
    const SQRT_HALF: u32 = 0x3f35_04f3;
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

/// `ln(1 + x)` to 1.3 ulp for `x` in `[0, 1]`, relative to the result also where that is near 0.
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

/// `tanh(x)` for every `x`; NaN gives NaN.
///
/// Exactly odd, and exactly 1 at and above the clamp, where the true value is within half an ulp of 1 + ulp; never
/// above 1.
///
/// `x p(x^2) / q(x^2)` with both of degree 4, whose relative error on the clamped interval is 1.7e-8. The common
/// factor of the coefficients is free: it and their last bits were chosen by a random search over the rounded formula.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    const CLAMP: f32 = 8.650_541;
    let c = clamp(x, -CLAMP, CLAMP);
    let t = c * c;
    let p = polynomial(t, [1.745_222_3, 0.233_755_53, 6.127_573e-3, 3.641_483e-5, 2.393_527_2e-8]);
    let q = polynomial(t, [1.745_222_3, 0.815_496_1, 0.045_263_633, 5.778_436e-4, 1.382_707e-6]);
    c * p / q
}

/// `sum_i c[i] x^i` by Horner's rule, every step rounded once.
#[inline(always)]
fn polynomial<const N: usize>(x: f32, c: [f32; N]) -> f32 {
    let mut sum = c[N - 1];
    for i in (0..N - 1).rev() {
        sum = sum.mul_add(x, c[i]);
    }
    sum
}

/// `x` within `[low, high]`. A NaN fails both comparisons and stays, as in the `min` and `max` instructions of x86.
#[inline(always)]
fn clamp(x: f32, low: f32, high: f32) -> f32 {
    let x = if x > high { high } else { x };
    if x < low { low } else { x }
}

/// `y 2^n`, where `n` is in the low bits of `k = n + ROUND`, by adding to the exponent of a normal `y`.
#[inline(always)]
fn scale(y: f32, k: f32) -> f32 {
    f32::from_bits(y.to_bits().wrapping_add(k.to_bits() << 23))
}

/// `y`, or NaN where `x` is NaN: integer arithmetic on the bits would turn some NaNs into numbers.
#[inline(always)]
fn keep_nan(x: f32, y: f32) -> f32 {
    if x.is_nan() { x } else { y }
}
