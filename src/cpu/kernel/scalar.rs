//! [`Scalar`]: a [`Real`] with its SIMD registers.

use pulp::Simd;

use crate::math::Real;

/// A [`Real`] that the native engine has SIMD registers for: `f32` and `f64`.
pub trait Scalar: Real {
    /// A register full of these numbers.
    #[doc(hidden)]
    type Register<S: Simd>: Copy + bytemuck::Pod;

    /// The same number in every lane.
    #[doc(hidden)]
    fn splat<S: Simd>(simd: S, x: Self) -> Self::Register<S>;

    /// `a * b + c`, lane by lane, rounded once where the hardware can.
    #[doc(hidden)]
    fn fused<S: Simd>(simd: S, a: Self::Register<S>, b: Self::Register<S>, c: Self::Register<S>) -> Self::Register<S>;
}

impl Scalar for f32 {
    type Register<S: Simd> = S::f32s;

    #[inline(always)]
    fn splat<S: Simd>(simd: S, x: Self) -> S::f32s {
        simd.splat_f32s(x)
    }
    #[inline(always)]
    fn fused<S: Simd>(simd: S, a: S::f32s, b: S::f32s, c: S::f32s) -> S::f32s {
        simd.mul_add_e_f32s(a, b, c)
    }
}

impl Scalar for f64 {
    type Register<S: Simd> = S::f64s;

    #[inline(always)]
    fn splat<S: Simd>(simd: S, x: Self) -> S::f64s {
        simd.splat_f64s(x)
    }
    #[inline(always)]
    fn fused<S: Simd>(simd: S, a: S::f64s, b: S::f64s, c: S::f64s) -> S::f64s {
        simd.mul_add_e_f64s(a, b, c)
    }
}
