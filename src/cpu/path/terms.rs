//! Elementwise kernels that increments enter.

use super::increments::Increments;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::dispatch::multiversion;
use crate::cpu::kernel::lanes::{Lanes, collect};
use crate::cpu::kernel::scalar::Scalar;
use crate::math::Real;
use crate::method::{MAX_NOISE_STAGES, NoiseScale};

/// `out += scale * sum coefficient * term`, with the scale of the increments.
pub(crate) fn add_terms<'a, R: Scalar>(
    out: &mut [R],
    scale: NoiseScale,
    increments: &Increments<R>,
    terms: impl IntoIterator<Item = (f64, &'a [R])>,
) {
    let (n, coefficients, slices) = collect::<R, MAX_NOISE_STAGES>(terms);
    let elements = match scale {
        NoiseScale::Increment => Some(&increments.w),
        NoiseScale::Mean => Some(&increments.mean),
        NoiseScale::Root => None,
    };
    macro_rules! sized {
        ($($n:literal)*) => {
            match (n, elements) {
                $(
                    ($n, Some(scale)) => add_scaled::<R, $n>(
                        out, scale, std::array::from_fn(|j| coefficients[j]), std::array::from_fn(|j| slices[j]),
                    ),
                    ($n, None) => add_scaled_by_lane::<R, $n>(
                        out, &increments.root, std::array::from_fn(|j| coefficients[j]),
                        std::array::from_fn(|j| slices[j]),
                    ),
                )*
                // None add nothing. There are no more, as is asserted where the methods are listed.
                _ => {}
            }
        };
    }
    sized!(1 2 3 4);
}

multiversion! {
    /// `out += scale * sum_j coefficients_j terms_j`, with a scale for each number.
    fn add_scaled<R, const N: usize>(out: &mut [R], scale: &[R], coefficients: [R; N], terms: [&[R]; N]) {
        let n = out.len();
        let scale = &scale[..n];
        let terms = terms.map(|term| &term[..n]);
        for i in 0..n {
            let mut sum = coefficients[0] * terms[0][i];
            for j in 1..N {
                sum = coefficients[j].mul_add(terms[j][i], sum);
            }
            out[i] = scale[i].mul_add(sum, out[i]);
        }
    }
}

multiversion! {
    /// `out += scale * sum_j coefficients_j terms_j`, with a scale for each lane.
    fn add_scaled_by_lane<R, const N: usize>(
        out: &mut [R], scale: &Lanes<R>, coefficients: [R; N], terms: [&[R]; N],
    ) {
        let n = out.len();
        let terms = terms.map(|term| &term[..n]);
        for from in (0..n - n % LANES).step_by(LANES) {
            for lane in 0..LANES {
                let i = from + lane;
                let mut sum = coefficients[0] * terms[0][i];
                for j in 1..N {
                    sum = coefficients[j].mul_add(terms[j][i], sum);
                }
                out[i] = scale[lane].mul_add(sum, out[i]);
            }
        }
    }
}

/// The four random variables of a diagonal step, `dW, chi1, chi2, chi3`, of which the last three are iterated integrals
/// over powers of the step's length; zero where a step has no length.
#[inline(always)]
fn variables<R: Real>(w: R, mean: R, h: R, root: R) -> [R; 4] {
    let rests = h == R::ZERO;
    let (half, sixth) = (R::from_f64(0.5), R::from_f64(1.0 / 6.0));
    let square = w * w;
    let chi1 = half * (square - h) / if rests { R::ONE } else { root };
    let chi3 = sixth * w * (square - R::from_f64(3.0) * h) / if rests { R::ONE } else { h };
    [w, chi1, mean, chi3]
}

/// `out += sum_i (beta1_i dW + beta2_i chi1 + beta3_i chi2 + beta4_i chi3) g_i`, with no weights for what a method does
/// not use.
pub(crate) fn add_noise<R: Scalar>(out: &mut [R], increments: &Increments<R>, weights: &[&[f64]; 4], g: &[&[R]]) {
    let only_w = weights[1..].iter().all(|w| w.is_empty());
    if only_w {
        let terms = weights[0].iter().copied().zip(g.iter().copied());
        return add_terms(out, NoiseScale::Increment, increments, terms);
    }
    macro_rules! sized {
        ($($n:literal)*) => {
            match g.len() {
                $(
                    $n => {
                        let table = std::array::from_fn(|i| {
                            std::array::from_fn(|k| R::from_f64(weights[k].get(i).copied().unwrap_or(0.0)))
                        });
                        add_weighted_noise::<R, $n>(
                            out, &increments.w, &increments.mean, &increments.h, &increments.root, table,
                            std::array::from_fn(|i| g[i]),
                        );
                    }
                )*
                // None add nothing. There are no more, as is asserted where the methods are listed.
                _ => {}
            }
        };
    }
    sized!(1 2 3 4);
}

multiversion! {
    fn add_weighted_noise<R, const N: usize>(
        out: &mut [R], w: &[R], mean: &[R], h: &Lanes<R>, root: &Lanes<R>, weights: [[R; 4]; N], g: [&[R]; N],
    ) {
        let n = out.len();
        let (w, mean) = (&w[..n], &mean[..n]);
        let g = g.map(|g| &g[..n]);
        for from in (0..n - n % LANES).step_by(LANES) {
            for lane in 0..LANES {
                let i = from + lane;
                let x = variables(w[i], mean[i], h[lane], root[lane]);
                let mut sum = out[i];
                for j in 0..N {
                    let mut factor = weights[j][0] * x[0];
                    for k in 1..4 {
                        factor = weights[j][k].mul_add(x[k], factor);
                    }
                    sum = factor.mul_add(g[j][i], sum);
                }
                out[i] = sum;
            }
        }
    }
}

/// `out += (weights_i . (dW, chi1, chi2, chi3)) bar`: the cotangent that diffusion stage `i` has from a step's end.
pub(crate) fn add_noise_vjp<R: Scalar>(
    out: &mut [R],
    increments: &Increments<R>,
    weights: &[&[f64]; 4],
    i: usize,
    bar: &[R],
) {
    let weights = weights.map(|row| R::from_f64(row.get(i).copied().unwrap_or(0.0)));
    let Increments { w, mean, h, root, .. } = increments;
    if weights[1..] == [R::ZERO; 3] {
        add_product(out, weights[0], w, bar);
    } else {
        add_factor(out, w, mean, h, root, weights, bar);
    }
}

multiversion! {
    /// `out += weight w bar`, number by number.
    fn add_product<R>(out: &mut [R], weight: R, w: &[R], bar: &[R]) {
        for ((out, &w), &bar) in out.iter_mut().zip(w).zip(bar) {
            *out = (weight * w).mul_add(bar, *out);
        }
    }
}

multiversion! {
    /// `out += (weights . (dW, chi1, chi2, chi3)) bar`, number by number.
    fn add_factor<R>(
        out: &mut [R], w: &[R], mean: &[R], h: &Lanes<R>, root: &Lanes<R>, weights: [R; 4], bar: &[R],
    ) {
        let n = out.len();
        let (w, mean, bar) = (&w[..n], &mean[..n], &bar[..n]);
        for from in (0..n - n % LANES).step_by(LANES) {
            for lane in 0..LANES {
                let i = from + lane;
                let x = variables(w[i], mean[i], h[lane], root[lane]);
                let mut factor = weights[0] * x[0];
                for k in 1..4 {
                    factor = weights[k].mul_add(x[k], factor);
                }
                out[i] = factor.mul_add(bar[i], out[i]);
            }
        }
    }
}

multiversion! {
    /// `out = |f| + 3 |g|`: three standard deviations of a path's speed.
    pub(crate) fn speed<R>(out: &mut [R], f: &[R], g: &[R]) {
        for ((out, f), g) in out.iter_mut().zip(f).zip(g) {
            *out = R::from_f64(3.0).mul_add(g.abs(), f.abs());
        }
    }
}

multiversion! {
    /// `f1 = |f1 - f| + 3 (|g| + |g1|)`: its largest change, within three standard deviations.
    pub(crate) fn speed_change<R>(f1: &mut [R], f: &[R], g: &[R], g1: &[R]) {
        for (((f1, f), g), g1) in f1.iter_mut().zip(f).zip(g).zip(g1) {
            *f1 = R::from_f64(3.0).mul_add(g.abs() + g1.abs(), (*f1 - *f).abs());
        }
    }
}
