//! [`Desk`]: what the steps of a tile are attempted and judged in.

use super::Scheme;
use super::state::Shape;

/// What the steps of a tile are attempted and judged in.
#[derive(Debug)]
pub(crate) struct Desk<S: Scheme> {
    pub(crate) attempt: S::Attempt,
    /// An error estimate `[D]`.
    pub(crate) error: Vec<S::Real>,
    /// Slopes at one point.
    pub(crate) scratch: Vec<S::Real>,
}

impl<S: Scheme> Desk<S> {
    pub(crate) fn new(scheme: &S, shape: &Shape) -> Self {
        Self { attempt: scheme.attempt_room(), error: shape.array(), scratch: shape.slopes() }
    }
}
