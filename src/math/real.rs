//! [`Real`]: the two scalar types that the native engine is written for.

use std::fmt::{Debug, Display};
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, DivAssign, Mul, MulAssign, Neg, Sub, SubAssign};

use super::{elementary, ieee};

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// A scalar of the native engine: `f32` (the fast path) or `f64` (the oracle).
///
/// The elementary functions are the library's own at `f32`: branch-free, so that a loop over lanes becomes SIMD
/// code, and the same formulas in every engine. Those of activations and of step control are finite for every finite
/// input; `exp_full`, `ln`, `sin` and `cos`, which a user's equations call, are infinite and NaN where IEEE 754 says so.
/// At `f64` they are the standard library's.
pub trait Real:
    sealed::Sealed
    + Copy
    + Send
    + Sync
    + Debug
    + Display
    + Default
    + PartialOrd
    + bytemuck::Pod
    + Sum
    + Neg<Output = Self>
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + DivAssign
    + 'static
{
    /// The additive identity.
    const ZERO: Self;
    /// The multiplicative identity.
    const ONE: Self;
    /// The distance from 1 to the next larger number.
    const EPSILON: Self;
    /// The type's name, as tables and metadata print it.
    const NAME: &'static str;

    /// Rounds an `f64` to this type.
    fn from_f64(x: f64) -> Self;
    /// Widens to `f64`, exactly.
    fn to_f64(self) -> f64;
    /// Whether the number is neither infinite nor NaN.
    fn is_finite(self) -> bool;
    /// `self * a + b`, rounded once.
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// Absolute value.
    fn abs(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// The larger of two numbers that are not NaN.
    fn max(self, other: Self) -> Self;
    /// The smaller of two numbers that are not NaN.
    fn min(self, other: Self) -> Self;
    /// Exponential function. At `f32` it stays at the smallest normal and the largest number beyond its ends.
    fn exp(self) -> Self;
    /// Exponential function that underflows to 0 and overflows to infinity.
    fn exp_full(self) -> Self;
    /// `2^x`.
    fn exp2(self) -> Self;
    /// Base-2 logarithm of a positive number.
    fn log2(self) -> Self;
    /// `ln(1 + x)` for `x` in `[0, 1]`.
    fn ln_1p_unit(self) -> Self;
    /// Natural logarithm: negative infinity at 0, NaN below.
    fn ln(self) -> Self;
    /// Sine of an angle in radians. At `f32` it is within 1e-7 of the truth up to 1e6, within 1e-6 up to 6.5e6, and 0
    /// from there on. Infinity gives NaN.
    fn sin(self) -> Self;
    /// Cosine of an angle in radians. At `f32` it is within 1e-7 of the truth up to 1e6, within 1e-6 up to 6.5e6, and 1
    /// from there on. Infinity gives NaN.
    fn cos(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// Two independent standard normal numbers from two random words: `r cos phi` and `r sin phi` with
    /// `r = sqrt(-2 ln ((radius + 1/2) / 2^32))` and `phi = 2 pi angle / 2^32` (G. E. P. Box, M. E. Muller, 1958).
    fn normal_pair(radius: u32, angle: u32) -> [Self; 2];
}

macro_rules! shared {
    ($t:ident) => {
        const ZERO: Self = 0.0;
        const ONE: Self = 1.0;
        const EPSILON: Self = $t::EPSILON;
        const NAME: &'static str = stringify!($t);

        #[inline(always)]
        fn is_finite(self) -> bool {
            $t::is_finite(self)
        }
        #[inline(always)]
        fn mul_add(self, a: Self, b: Self) -> Self {
            $t::mul_add(self, a, b)
        }
        #[inline(always)]
        fn abs(self) -> Self {
            $t::abs(self)
        }
        #[inline(always)]
        fn sqrt(self) -> Self {
            $t::sqrt(self)
        }
        // Comparisons instead of `f32::max`: one instruction, as neither argument is NaN.
        #[inline(always)]
        fn max(self, other: Self) -> Self {
            if self > other { self } else { other }
        }
        #[inline(always)]
        fn min(self, other: Self) -> Self {
            if self < other { self } else { other }
        }
    };
}

impl Real for f32 {
    shared!(f32);

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is what the method is for")]
    fn from_f64(x: f64) -> Self {
        x as Self
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn exp(self) -> Self {
        elementary::exp(self)
    }
    #[inline(always)]
    fn exp_full(self) -> Self {
        ieee::exp_full(self)
    }
    #[inline(always)]
    fn exp2(self) -> Self {
        elementary::exp2(self)
    }
    #[inline(always)]
    fn log2(self) -> Self {
        elementary::log2(self)
    }
    #[inline(always)]
    fn ln_1p_unit(self) -> Self {
        elementary::ln_1p_unit(self)
    }
    #[inline(always)]
    fn ln(self) -> Self {
        ieee::ln(self)
    }
    #[inline(always)]
    fn sin(self) -> Self {
        ieee::sin(self)
    }
    #[inline(always)]
    fn cos(self) -> Self {
        ieee::cos(self)
    }
    #[inline(always)]
    fn tanh(self) -> Self {
        elementary::tanh(self)
    }
    #[inline(always)]
    fn normal_pair(radius: u32, angle: u32) -> [Self; 2] {
        elementary::normal_pair(radius, angle)
    }
}

impl Real for f64 {
    shared!(f64);

    #[inline(always)]
    fn from_f64(x: f64) -> Self {
        x
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
    #[inline(always)]
    fn exp(self) -> Self {
        Self::exp(self)
    }
    #[inline(always)]
    fn exp_full(self) -> Self {
        Self::exp(self)
    }
    #[inline(always)]
    fn exp2(self) -> Self {
        Self::exp2(self)
    }
    #[inline(always)]
    fn log2(self) -> Self {
        Self::log2(self)
    }
    #[inline(always)]
    fn ln_1p_unit(self) -> Self {
        Self::ln_1p(self)
    }
    #[inline(always)]
    fn ln(self) -> Self {
        Self::ln(self)
    }
    #[inline(always)]
    fn sin(self) -> Self {
        Self::sin(self)
    }
    #[inline(always)]
    fn cos(self) -> Self {
        Self::cos(self)
    }
    #[inline(always)]
    fn tanh(self) -> Self {
        Self::tanh(self)
    }
    fn normal_pair(radius: u32, angle: u32) -> [Self; 2] {
        const UNIT: f64 = 1.0 / 4_294_967_296.0;
        // From the nearer end of (0, 1), so that radii near 0 keep their precision.
        let log = if radius < 1 << 31 {
            ((Self::from(radius) + 0.5) * UNIT).ln()
        } else {
            (-(Self::from(!radius) + 0.5) * UNIT).ln_1p()
        };
        let (sin, cos) = (std::f64::consts::TAU * UNIT * Self::from(angle)).sin_cos();
        let r = (-2.0 * log).sqrt();
        [r * cos, r * sin]
    }
}
