//! What both engines return: states at saved times, what they cost, gradients, and the bytes that it takes.

mod dense;
mod gradients;
mod saved_times;
mod stats;
mod steps;
mod workspace;

pub use dense::DenseSolution;
pub use gradients::Gradients;
pub use saved_times::SavedTimes;
pub use stats::Stats;
pub(crate) use steps::Steps;
pub use workspace::Workspace;

use crate::error::{Error, Result, Status};
use crate::math::Real;

/// What a solve returns.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Solution<R> {
    /// Times of the saved states.
    pub ts: SavedTimes,
    /// Saved states, in the order that [`SavedTimes`] describes. Of a trajectory that failed, those at times it came to
    /// are there; the others are NaN.
    pub ys: Vec<R>,
    /// One entry for a lockstep batch, one a trajectory for an ensemble.
    pub stats: Vec<Stats>,
    /// In the order of `stats`, the number of steps of an ideal controller: `sum E_j^(1/q) / safety` over the accepted steps,
    /// of error `E_j`, which hardly depends on the controller that took them. A step with an error below 2e-3, which may be
    /// rounding, counts as its neighbour does. Empty with fixed steps, which estimate no error.
    pub ideal_steps: Vec<f64>,
    /// How each trajectory ended.
    pub status: Vec<Status>,
    /// With [`SaveAt::Dense`](crate::SaveAt::Dense), the solution at any time.
    pub dense: Option<DenseSolution<R>>,
}

impl<R: Real> Solution<R> {
    /// Evaluations of the vector field that the costliest trajectory took.
    #[must_use]
    pub fn nfe(&self) -> usize {
        self.stats.iter().map(|s| s.nfe).max().unwrap_or(0)
    }

    /// The solution, or the first failure.
    ///
    /// # Errors
    /// [`Error::Trajectory`] when any trajectory failed.
    pub fn check(self) -> Result<Self> {
        let batch = self.status.len();
        let failed = self.status.iter().filter(|&&s| s != Status::Done).count();
        match self.status.iter().copied().enumerate().find(|(_, s)| *s != Status::Done) {
            None => Ok(self),
            Some((index, status)) => Err(Error::Trajectory { failed, batch, index, status }),
        }
    }
}
