//! [`Cut`]: how series are cut into segments.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use crate::numbers;

/// Segments to train on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cut {
    /// Intervals between observations in a segment.
    pub(crate) intervals: NonZeroUsize,
    /// How much more the observation counts that it shares with the next one.
    #[serde(with = "numbers")]
    pub(crate) continuity: f64,
}
