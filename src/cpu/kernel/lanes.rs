//! Elementwise kernels over tiles `[feature][LANES]`, each one pass over memory.

use std::ops::Range;

use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::dispatch::multiversion;
use crate::math::Real;
use crate::method::MAX_STAGES;

/// One number a trajectory of a tile.
pub(crate) type Lanes<R> = [R; LANES];

multiversion! {
    /// `out = base + scale * sum_j coefficients_j terms_j`, with one `scale` a lane.
    fn combine_onto<R, const N: usize>(out: &mut [R], base: &[R], scale: &Lanes<R>, coefficients: [R; N], terms: [&[R]; N]) {
        let n = out.len();
        let base = &base[..n];
        let terms = terms.map(|term| &term[..n]);
        for from in (0..n - n % LANES).step_by(LANES) {
            for lane in 0..LANES {
                let i = from + lane;
                let mut sum = coefficients[0] * terms[0][i];
                for j in 1..N {
                    sum = coefficients[j].mul_add(terms[j][i], sum);
                }
                out[i] = scale[lane].mul_add(sum, base[i]);
            }
        }
    }
}

multiversion! {
    /// `out = scale * sum_j coefficients_j terms_j`.
    fn combine_alone<R, const N: usize>(out: &mut [R], scale: &Lanes<R>, coefficients: [R; N], terms: [&[R]; N]) {
        let n = out.len();
        let terms = terms.map(|term| &term[..n]);
        for from in (0..n - n % LANES).step_by(LANES) {
            for lane in 0..LANES {
                let i = from + lane;
                let mut sum = coefficients[0] * terms[0][i];
                for j in 1..N {
                    sum = coefficients[j].mul_add(terms[j][i], sum);
                }
                out[i] = scale[lane] * sum;
            }
        }
    }
}

multiversion! {
    /// `out = scale * sum_j coefficients_j (terms_j - from)`.
    fn combine_from<R, const N: usize>(out: &mut [R], from: &[R], scale: &Lanes<R>, coefficients: [R; N], terms: [&[R]; N]) {
        let n = out.len();
        let from = &from[..n];
        let terms = terms.map(|term| &term[..n]);
        for start in (0..n - n % LANES).step_by(LANES) {
            for lane in 0..LANES {
                let i = start + lane;
                let mut sum = coefficients[0] * (terms[0][i] - from[i]);
                for j in 1..N {
                    sum = coefficients[j].mul_add(terms[j][i] - from[i], sum);
                }
                out[i] = scale[lane] * sum;
            }
        }
    }
}

/// `out = scale * sum coefficient * (term - from)` over the terms with non-zero coefficients: exactly 0 where all terms
/// are `from`, whatever rounding does to the coefficients.
pub(crate) fn combine_differences<'a, R: Real>(
    out: &mut [R],
    from: &[R],
    scale: &Lanes<R>,
    terms: impl IntoIterator<Item = (f64, &'a [R])>,
) {
    let (n, coefficients, slices) = collect::<R, MAX_STAGES>(terms);
    macro_rules! sized {
        ($($n:literal)*) => {
            match n {
                0 => out.fill(R::ZERO),
                $($n => combine_from::<R, $n>(
                    out, from, scale, std::array::from_fn(|j| coefficients[j]), std::array::from_fn(|j| slices[j]),
                ),)*
                // The first stage is what the others differ from.
                _ => unreachable!("a method is asserted to have at most seven stages"),
            }
        };
    }
    sized!(1 2 3 4 5 6);
}

/// The terms with non-zero coefficients: how many, their coefficients, and themselves. There are at most `MAX`, as sums go
/// over the stages of a method, whose number is asserted where methods are listed.
#[inline(always)]
pub(crate) fn collect<'a, R: Real, const MAX: usize>(
    terms: impl IntoIterator<Item = (f64, &'a [R])>,
) -> (usize, [R; MAX], [&'a [R]; MAX]) {
    let (mut n, mut coefficients, mut slices): (_, _, [&[R]; MAX]) = (0, [R::ZERO; MAX], [&[]; MAX]);
    for (coefficient, term) in terms {
        if coefficient != 0.0 {
            (coefficients[n], slices[n]) = (R::from_f64(coefficient), term);
            n += 1;
        }
    }
    (n, coefficients, slices)
}

/// The most terms a [`combine`] can have: the stages of a step, its end and its error.
const MAX_TERMS: usize = MAX_STAGES + 2;

/// `out = base + scale * sum coefficient * term` over the terms with non-zero coefficients; `base` may be absent.
/// Fixed-size copies of the list let the inner loop keep every pointer in a register.
pub(crate) fn combine<'a, R: Real>(
    out: &mut [R],
    base: Option<&[R]>,
    scale: &Lanes<R>,
    terms: impl IntoIterator<Item = (f64, &'a [R])>,
) {
    let (n, coefficients, slices) = collect::<R, MAX_TERMS>(terms);
    macro_rules! sized {
        ($($n:literal)*) => {
            match (n, base) {
                (0, Some(base)) => out.copy_from_slice(base),
                (0, None) => out.fill(R::ZERO),
                $(
                    ($n, Some(base)) => combine_onto::<R, $n>(
                        out, base, scale, std::array::from_fn(|j| coefficients[j]), std::array::from_fn(|j| slices[j]),
                    ),
                    ($n, None) => combine_alone::<R, $n>(
                        out, scale, std::array::from_fn(|j| coefficients[j]), std::array::from_fn(|j| slices[j]),
                    ),
                )*
                // Their stages, their end and their error: `collect` has no room for more.
                _ => unreachable!("a method is asserted to have at most seven stages"),
            }
        };
    }
    sized!(1 2 3 4 5 6 7 8 9);
}

multiversion! {
    /// `out += weight * term`, with one weight a lane.
    pub(crate) fn add_weighted<R>(out: &mut [R], weight: &Lanes<R>, term: &[R]) {
        for (out, term) in out.chunks_exact_mut(LANES).zip(term.chunks_exact(LANES)) {
            for lane in 0..LANES {
                out[lane] = weight[lane].mul_add(term[lane], out[lane]);
            }
        }
    }
}

multiversion! {
    /// `out += term`.
    pub(crate) fn add<R>(out: &mut [R], term: &[R]) {
        for (out, &term) in out.iter_mut().zip(term) {
            *out += term;
        }
    }
}

multiversion! {
    /// `out *= factor`, element by element.
    pub(crate) fn multiply<R>(out: &mut [R], factor: &[R]) {
        for (out, &factor) in out.iter_mut().zip(factor) {
            *out *= factor;
        }
    }
}

multiversion! {
    /// `out = x^3`
    pub(crate) fn cube<R>(x: &[R], out: &mut [R]) {
        for (out, &x) in out.iter_mut().zip(x) {
            *out = x * x * x;
        }
    }
}

multiversion! {
    /// `bar *= 3 x^2`
    pub(crate) fn cube_bar<R>(bar: &mut [R], x: &[R]) {
        for (bar, &x) in bar.iter_mut().zip(x) {
            *bar *= R::from_f64(3.0) * x * x;
        }
    }
}

multiversion! {
    /// Replaces the lanes of `out` for which `mask` holds.
    pub(crate) fn select<R>(out: &mut [R], mask: &[bool; LANES], term: &[R]) {
        for (out, term) in out.chunks_exact_mut(LANES).zip(term.chunks_exact(LANES)) {
            for lane in 0..LANES {
                out[lane] = if mask[lane] { term[lane] } else { out[lane] };
            }
        }
    }
}

multiversion! {
    /// Sets the lanes of `tile` to zero unless `mask` holds, whatever they held.
    pub(crate) fn rest_unless<R>(tile: &mut [R], mask: &[bool; LANES]) {
        for row in tile.chunks_exact_mut(LANES) {
            for lane in 0..LANES {
                row[lane] = if mask[lane] { row[lane] } else { R::ZERO };
            }
        }
    }
}

/// Lanes at rest stand where the first lane does for which `mask` holds: a field that is finite there is finite for them,
/// so that zero cotangents stay zero. Where it holds for none they rest at zero.
pub(crate) fn stand_in_unless<R: Real>(tile: &mut [R], mask: &[bool; LANES]) {
    let Some(model) = mask.iter().position(|holds| *holds) else { return rest_unless(tile, mask) };
    for row in tile.chunks_exact_mut(LANES) {
        let stand_in = row[model];
        for (number, holds) in row.iter_mut().zip(mask) {
            *number = if *holds { *number } else { stand_in };
        }
    }
}

/// The largest number of whose square there are as many as one in a sum without overflow, and some to spare.
pub(crate) const fn largest_square_root<R: Real>() -> f64 {
    if size_of::<R>() == 4 { 9.2e18 } else { 6.7e153 }
}

/// The largest scaled error of one of so many features: any larger one says the same, and the sum of their squares would
/// overflow. A scaled slope has a unit, so that it is no smaller than it must be.
#[inline(always)]
fn largest_scaled<R: Real>(features: usize) -> R {
    R::from_f64(largest_square_root::<R>() / (features as f64).sqrt())
}

/// `e / s`, at most `largest` in size where `e` is finite.
#[inline(always)]
fn scaled<R: Real>(e: R, s: R, largest: R) -> R {
    let r = e / s;
    if r.abs() > largest && e.is_finite() { largest } else { r }
}

multiversion! {
    /// Sum over features of `(term / (atol + rtol max(|y|, |y1|)))^2`, a lane, with one `atol` a feature.
    pub(crate) fn scaled_squares<R>(sums: &mut Lanes<R>, atol: &[R], rtol: R, term: &[R], y: &[R], y1: &[R]) {
        *sums = [R::ZERO; LANES];
        let largest = largest_scaled::<R>(term.len() / LANES);
        let states = y.chunks_exact(LANES).zip(y1.chunks_exact(LANES));
        for ((e, (y, y1)), &atol) in term.chunks_exact(LANES).zip(states).zip(atol) {
            for lane in 0..LANES {
                let r = scaled(e[lane], rtol.mul_add(y[lane].abs().max(y1[lane].abs()), atol), largest);
                sums[lane] = r.mul_add(r, sums[lane]);
            }
        }
    }
}

multiversion! {
    /// Sum over features of `((y - other) / (atol + rtol |y|))^2`, a lane, with one `atol` a feature.
    pub(crate) fn scaled_distances<R>(sums: &mut Lanes<R>, atol: &[R], rtol: R, y: &[R], other: &[R]) {
        *sums = [R::ZERO; LANES];
        let largest = largest_scaled::<R>(y.len() / LANES);
        let states = y.chunks_exact(LANES).zip(other.chunks_exact(LANES));
        for ((y, other), &atol) in states.zip(atol) {
            for lane in 0..LANES {
                let r = scaled(y[lane] - other[lane], rtol.mul_add(y[lane].abs(), atol), largest);
                sums[lane] = r.mul_add(r, sums[lane]);
            }
        }
    }
}

multiversion! {
    /// Sums over features of `(a - b)^2`, and of `a^2` in `sizes`, a lane.
    pub(crate) fn squared_difference<R>(sums: &mut Lanes<R>, sizes: &mut Lanes<R>, a: &[R], b: &[R]) {
        (*sums, *sizes) = ([R::ZERO; LANES], [R::ZERO; LANES]);
        for (a, b) in a.chunks_exact(LANES).zip(b.chunks_exact(LANES)) {
            for lane in 0..LANES {
                let d = a[lane] - b[lane];
                sums[lane] = d.mul_add(d, sums[lane]);
                sizes[lane] = a[lane].mul_add(a[lane], sizes[lane]);
            }
        }
    }
}

multiversion! {
    /// Cotangents of `E = sqrt(mean r^2)`, `r = e / s`, `s = atol + rtol max(|y|, |y1|)` with one `atol` a feature, where
    /// `weight` holds `dR/dE / (N E)` a lane: `e_bar = w r / s` in place of `e`; `-w r^2 / s * rtol * sign` goes to the larger of
    /// `y` and `y1`.
    pub(crate) fn scaled_norm_vjp<R>(
        e: &mut [R], y_bar: &mut [R], y1_bar: &mut [R], weight: &Lanes<R>, atol: &[R], rtol: R, y: &[R], y1: &[R],
    ) {
        let n = e.len();
        let largest = largest_scaled::<R>(n / LANES);
        let (y, y1, y_bar, y1_bar) = (&y[..n], &y1[..n], &mut y_bar[..n], &mut y1_bar[..n]);
        for (from, &atol) in (0..n - n % LANES).step_by(LANES).zip(atol) {
            for lane in 0..LANES {
                let i = from + lane;
                let (a, b) = (y[i].abs(), y1[i].abs());
                let end_larger = b > a;
                let s = rtol.mul_add(if end_larger { b } else { a }, atol);
                let r = e[i] / s;
                // Where the norm does not follow the error, it has no slope.
                let slope = if r.abs() > largest { R::ZERO } else { r };
                let r_over_s = weight[lane] * slope / s;
                let larger = if end_larger { y1[i] } else { y[i] };
                let sign = if larger < R::ZERO { -R::ONE } else { R::ONE };
                let toward = -(r_over_s * slope) * rtol * sign;
                e[i] = r_over_s;
                y_bar[i] = if end_larger { R::ZERO } else { toward };
                y1_bar[i] = if end_larger { toward } else { R::ZERO };
            }
        }
    }
}

multiversion! {
    /// `out = weight * (a - b)`, with one weight a lane.
    pub(crate) fn weighted_difference<R>(out: &mut [R], weight: &Lanes<R>, a: &[R], b: &[R]) {
        for ((out, a), b) in out.chunks_exact_mut(LANES).zip(a.chunks_exact(LANES)).zip(b.chunks_exact(LANES)) {
            for lane in 0..LANES {
                out[lane] = weight[lane] * (a[lane] - b[lane]);
            }
        }
    }
}

/// Copies rows `[lane][feature]` of the caller into a tile, repeating the last row in unused lanes so that they stay
/// as harmless as their neighbour.
pub(crate) fn gather<R: Real>(tile: &mut [R], rows: &[R], features: usize) {
    gather_part(tile, rows, features, 0..features);
}

/// The same of some features of each row.
pub(crate) fn gather_part<R: Real>(tile: &mut [R], rows: &[R], features: usize, part: Range<usize>) {
    let used = rows.len() / features;
    for lane in 0..LANES {
        let row = &rows[lane.min(used - 1) * features..][part.clone()];
        for (slot, &x) in tile[lane..].iter_mut().step_by(LANES).zip(row) {
            *slot = x;
        }
    }
}

/// Copies the used lanes of a tile to rows `[lane][feature]` of the caller.
pub(crate) fn scatter<R: Real>(tile: &[R], rows: &mut [R], features: usize) {
    for (lane, row) in rows.chunks_exact_mut(features).enumerate() {
        for (slot, &x) in row.iter_mut().zip(tile[lane..].iter().step_by(LANES)) {
            *slot = x;
        }
    }
}

/// Copies one lane of a tile to a lane of another.
pub(crate) fn copy_lane<R: Real>(out: &mut [R], lane: usize, tile: &[R], from_lane: usize) {
    for (out, x) in out[lane..].iter_mut().step_by(LANES).zip(tile[from_lane..].iter().step_by(LANES)) {
        *out = *x;
    }
}

/// Which lanes hold finite numbers only.
pub(crate) fn finite_lanes<R: Real>(tile: &[R]) -> [bool; LANES] {
    let mut finite = [true; LANES];
    for row in tile.chunks_exact(LANES) {
        for (finite, x) in finite.iter_mut().zip(row) {
            *finite &= x.is_finite();
        }
    }
    finite
}

/// 1 where the mask holds, else 0.
pub(crate) fn indicator<R: Real>(mask: &[bool; LANES]) -> Lanes<R> {
    mask.map(|m| if m { R::ONE } else { R::ZERO })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combinations_skip_zeros_and_take_any_number_of_terms() {
        let terms: Vec<Vec<f64>> = (0..9).map(|j| vec![1.0 + j as f64; 2 * LANES]).collect();
        let base = vec![10.0; 2 * LANES];
        let scale: Lanes<f64> = std::array::from_fn(|l| l as f64);
        for n in 0..=9 {
            let mut out = vec![f64::NAN; 2 * LANES];
            let list =
                terms.iter().take(n).enumerate().map(|(j, t)| (if j % 2 == 0 { 2.0 } else { 0.0 }, t.as_slice()));
            combine(&mut out, Some(&base), &scale, list);
            let sum: f64 = (0..n).step_by(2).map(|j| 2.0 * (1.0 + j as f64)).sum();
            assert_eq!(out[LANES + 3], 10.0 + 3.0 * sum, "{n} terms onto a base");
        }
    }

    #[test]
    fn tiles_hold_rows_and_give_them_back() {
        let rows: Vec<f32> = (0..15).map(|i| i as f32).collect();
        let mut tile = vec![f32::NAN; 3 * LANES];
        gather(&mut tile, &rows, 3);
        assert_eq!(tile[LANES + 4], 13.0, "feature 1 of row 4");
        assert_eq!(tile[LANES + 31], 13.0, "unused lanes repeat the last row");
        let mut back = vec![0.0; 15];
        scatter(&tile, &mut back, 3);
        assert_eq!(back, rows, "rows come back");
        gather_part(&mut tile, &rows, 3, 1..3);
        assert_eq!(
            (tile[4], tile[LANES + 4], tile[31]),
            (13.0, 14.0, 13.0),
            "two features of row 4, and of its neighbours"
        );
    }
}
