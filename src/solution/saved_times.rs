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
    /// Those of all accepted states, from the ends of each trajectory's steps.
    pub(crate) fn of_steps(t0: f64, shared: bool, steps: &[Vec<[f64; 2]>]) -> Self {
        let ends = |steps: &Vec<[f64; 2]>| std::iter::once(t0).chain(steps.iter().map(|s| s[1])).collect::<Vec<f64>>();
        if shared {
            Self::Shared(steps.first().map(ends).unwrap_or_default())
        } else {
            Self::PerTrajectory(steps.iter().map(ends).collect())
        }
    }

    /// Number of saved states, of all trajectories together.
    #[must_use]
    pub fn count(&self, batch: usize) -> usize {
        match self {
            Self::Shared(times) => times.len() * batch,
            Self::PerTrajectory(times) => times.iter().map(Vec::len).sum(),
        }
    }
}
