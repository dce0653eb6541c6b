//! [`SavedTimes`]: when the saved states are.

/// Times of the saved states.
#[derive(Clone, Debug, PartialEq)]
pub enum SavedTimes {
    /// The same for all trajectories; states are `[times][B][D]`.
    Shared(Vec<f64>),
    /// Each trajectory's own (accepted steps of an ensemble); states are those of the first trajectory, `[times][D]`,
    /// then those of the second, and so on.
    PerTrajectory(Vec<Vec<f64>>),
}

impl SavedTimes {
    /// Number of saved states, of all trajectories together.
    #[must_use]
    pub fn count(&self, batch: usize) -> usize {
        match self {
            Self::Shared(times) => times.len() * batch,
            Self::PerTrajectory(times) => times.iter().map(Vec::len).sum(),
        }
    }
}
