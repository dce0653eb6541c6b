//! Numbers as the device has them.

/// At `f32`, rounded.
#[expect(clippy::cast_possible_truncation, reason = "the device computes at f32")]
pub(super) const fn single(x: f64) -> f32 {
    x as f32
}
