//! [`SaveAt`]: which states a solve returns.

use serde::{Deserialize, Serialize};

/// Which states a solve returns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SaveAt {
    /// The last one.
    #[default]
    End,
    /// Those at the given times, in the direction of integration, by interpolation within steps. A time that rounding
    /// alone parts from an end of the interval is that end.
    Times(Vec<f64>),
    /// All accepted ones, the initial state included.
    Steps,
    /// All accepted ones with their stages, so that the solution can be evaluated at any time.
    Dense,
}
