//! [`Stats`]: what a solve cost.

/// What a solve cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct Stats {
    /// Evaluations of the vector field: stages of all attempts, less those shared by successive steps, plus those of
    /// the automatic initial step. Of the whole batch in lockstep, of one trajectory in an ensemble.
    pub nfe: usize,
    /// Evaluations of the diffusion, counted likewise; 0 without noise.
    pub nfe_diffusion: usize,
    /// Accepted steps.
    pub accepted: usize,
    /// Rejected attempts.
    pub rejected: usize,
}
