//! Activations and their derivatives, over slices.

use super::dispatch::multiversion;
use crate::math::Real;
use crate::problem::Activation;

/// Applies the activation in place.
pub(crate) fn activate<R: Real>(activation: Activation, z: &mut [R]) {
    match activation {
        Activation::Identity => {}
        Activation::Tanh => tanh(z),
        Activation::Relu => relu(z),
        Activation::Softplus => softplus(z),
        Activation::Sigmoid => sigmoid(z),
        Activation::Silu => silu(z),
        Activation::Gelu => gelu(z),
    }
}

/// Applies the activation in place and writes its derivative.
pub(crate) fn activate_with_derivative<R: Real>(activation: Activation, z: &mut [R], derivative: &mut [R]) {
    match activation {
        Activation::Identity => derivative.fill(R::ONE),
        Activation::Tanh => tanh_with_derivative(z, derivative),
        Activation::Relu => relu_with_derivative(z, derivative),
        Activation::Softplus => softplus_with_derivative(z, derivative),
        Activation::Sigmoid => sigmoid_with_derivative(z, derivative),
        Activation::Silu => silu_with_derivative(z, derivative),
        Activation::Gelu => gelu_with_derivative(z, derivative),
    }
}

/// `(f(x), f'(x))` of each activation; the pairs that the loops below share.
pub(crate) mod formula {
    use crate::math::Real;

    #[inline(always)]
    pub(crate) fn tanh<R: Real>(x: R) -> (R, R) {
        let a = x.tanh();
        (a, (-a).mul_add(a, R::ONE))
    }

    #[inline(always)]
    pub(crate) fn relu<R: Real>(x: R) -> (R, R) {
        // What is no number stays none.
        let value = if x <= R::ZERO { R::ZERO } else { x };
        (value, if x > R::ZERO { R::ONE } else { R::ZERO })
    }

    /// `1 / (1 + e^-x)`, from `e^-|x|`, so that nothing overflows on either side.
    #[inline(always)]
    pub(crate) fn sigmoid<R: Real>(x: R) -> (R, R) {
        // e^-|x| stays in (0, 1]; a direct quotient keeps relative precision in the left tail.
        let small = (-x.abs()).exp();
        let denominator = R::ONE + small;
        let s = (if x < R::ZERO { small } else { R::ONE }) / denominator;
        (s, small / (denominator * denominator))
    }

    #[inline(always)]
    pub(crate) fn softplus<R: Real>(x: R) -> (R, R) {
        let small = (-x.abs()).exp();
        let positive = if x > R::ZERO { x } else { R::ZERO };
        (positive + small.ln_1p_unit(), sigmoid(x).0)
    }

    #[inline(always)]
    pub(crate) fn silu<R: Real>(x: R) -> (R, R) {
        let (s, ds) = sigmoid(x);
        // On the far left s stays at the smallest normal number; the clamp keeps its product with x as small.
        let inside = x.max(R::from_f64(-104.0));
        // On the far right ds is 0, and infinity times that would be no number.
        (inside * s, inside.min(R::from_f64(104.0)).mul_add(ds, s))
    }

    /// `(1 + tanh u) / 2 = sigmoid(2u)`, which keeps its precision in the left tail.
    #[inline(always)]
    pub(crate) fn gelu<R: Real>(x: R) -> (R, R) {
        let c = R::from_f64(2.0 * (2.0 / std::f64::consts::PI).sqrt());
        // Beyond 20 the sigmoid is at its limit; the clamp keeps the cube finite, and what is no number none.
        let most = R::from_f64(20.0);
        let inside = if x > most { most } else { x };
        let inside = if x < -most { -most } else { inside };
        let square = inside * inside;
        let (s, ds) = sigmoid(c * inside * R::from_f64(0.044_715).mul_add(square, R::ONE));
        let du = c * R::from_f64(3.0 * 0.044_715).mul_add(square, R::ONE);
        ((if x < inside { inside } else { x }) * s, (inside * ds).mul_add(du, s))
    }
}

macro_rules! activation_loops {
    ($($name:ident $with_derivative:ident)*) => {
        $(
            multiversion! {
                fn $name<R>(z: &mut [R]) {
                    for z in z {
                        *z = formula::$name(*z).0;
                    }
                }
            }
            multiversion! {
                fn $with_derivative<R>(z: &mut [R], derivative: &mut [R]) {
                    for (z, derivative) in z.iter_mut().zip(derivative) {
                        (*z, *derivative) = formula::$name(*z);
                    }
                }
            }
        )*
    };
}

activation_loops! {
    tanh tanh_with_derivative
    relu relu_with_derivative
    softplus softplus_with_derivative
    sigmoid sigmoid_with_derivative
    silu silu_with_derivative
    gelu gelu_with_derivative
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activations_are_right_from_one_end_of_the_reals_to_the_other() {
        let grid: Vec<f64> = (-300..=300).map(|i| 10f64.powf(f64::from(i) / 10.0)).flat_map(|x| [x, -x]).collect();
        let points: Vec<f64> =
            grid.into_iter().chain((-4000..4000).map(|i| f64::from(i) / 200.0)).chain([0.0]).collect();
        for activation in Activation::ALL {
            let mut narrow: Vec<f32> = points.iter().map(|&x| x as f32).collect();
            let mut wide = points.clone();
            let (mut d_narrow, mut d_wide) = (vec![0f32; points.len()], vec![0f64; points.len()]);
            let mut plain = narrow.clone();
            activate(activation, &mut plain);
            activate_with_derivative(activation, &mut narrow, &mut d_narrow);
            activate_with_derivative(activation, &mut wide, &mut d_wide);
            for i in 0..points.len() {
                let x = points[i];
                let (f, df) = activation.definition(x);
                assert!((wide[i] - f).abs() <= 1e-13 * (f.abs() + 1e-30), "{activation:?}({x}) = {} at f64", wide[i]);
                assert!((d_wide[i] - df).abs() <= 1e-12, "{activation:?}'({x}) = {} at f64", d_wide[i]);
                // At f32 the argument's own rounding moves the value by up to eps |x f'|.
                let (f, df) = activation.definition(f64::from(x as f32));
                let bound = 1e-6 * (f.abs() + (f64::from(x as f32) * df).abs()) + 2e-36;
                let error = (f64::from(narrow[i]) - f).abs();
                assert!(error <= bound, "{activation:?}({x}) = {}, off by {error:e}", narrow[i]);
                assert!((f64::from(d_narrow[i]) - df).abs() <= 2e-6, "{activation:?}'({x}) = {}", d_narrow[i]);
                assert_eq!(plain[i].to_bits(), narrow[i].to_bits(), "{activation:?}({x}) with and without derivative");
            }
        }
    }

    #[test]
    fn slopes_at_infinity_have_their_limits() {
        for activation in Activation::ALL {
            for x in [f32::INFINITY, f32::NEG_INFINITY] {
                let (mut z, mut slope) = ([x; 16], [0.0; 16]);
                activate_with_derivative(activation, &mut z, &mut slope);
                let limit = activation.definition(200.0 * f64::from(x.signum())).1;
                assert!((f64::from(slope[0]) - limit).abs() <= 1e-34, "{activation:?}'({x}) = {}", slope[0]);
            }
        }
    }
}
