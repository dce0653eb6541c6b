//! [`SavedTimes`]: when the saved states are.

use crate::problem::Times;

/// Times of the saved states.
#[derive(Clone, Debug, PartialEq)]
pub enum SavedTimes {
    /// The same for all trajectories; states are `[times][B][D]`.
    Shared(Vec<f64>),
    /// Each trajectory's own (accepted steps of an ensemble); states are those of the first trajectory, `[times][D]`,
    /// then those of the second, and so on.
    PerTrajectory(Vec<Vec<f64>>),
    /// Those that were given as each trajectory's own; states are `[slots][B][D]`, where the longest row has as many times as
    /// there are slots. States of slots beyond a trajectory's own times are NaN.
    Own(Times),
}

impl SavedTimes {
    /// Number of saved states, of all trajectories together.
    #[must_use]
    pub fn count(&self, batch: usize) -> usize {
        match self {
            Self::Shared(times) => times.len() * batch,
            Self::PerTrajectory(times) => times.iter().map(Vec::len).sum(),
            Self::Own(times) => times.count(),
        }
    }
}
