//! Times of an interval, and what rounding makes of them.

/// `t`, or the nearer of the two ends if rounding alone parts them.
pub(crate) fn settled(t: f64, [t0, t1]: [f64; 2]) -> f64 {
    let end = if (t1 - t).abs() <= (t0 - t).abs() { t1 } else { t0 };
    if (end - t).abs() <= 8.0 * f64::EPSILON * t0.abs().max(t1.abs()) { end } else { t }
}

/// The length up to which a step between two times is lost in their rounding, or in that of the interval's length.
pub(crate) fn shortest_step(t: f64, t_next: f64, span: f64) -> f64 {
    (16.0 * f64::EPSILON * t.abs().max(t_next.abs())).max(f64::EPSILON * span.abs())
}

/// Whether `t` lies in the half-open step from `t0` (excluded) to `t1` (included), in either direction; without a branch,
/// for lanes that differ in it.
#[inline]
pub(crate) fn within(t: f64, t0: f64, t1: f64) -> bool {
    ((t0 < t) & (t <= t1)) | ((t1 <= t) & (t < t0))
}
