//! [`Run`]: what a lockstep solve did.

use crate::error::Status;
use crate::method::IdealSteps;
use crate::solution::Stats;

/// What a lockstep solve did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Run {
    /// Ends of the accepted steps.
    pub(crate) steps: Vec<[f64; 2]>,
    /// Their error norms, of adaptive steps, and of how many numbers each is the mean.
    pub(crate) norms: Vec<([f64; 2], usize)>,
    pub(crate) nfe: usize,
    pub(crate) nfe_diffusion: usize,
    pub(crate) rejected: usize,
    pub(crate) status: Status,
    pub(crate) ideal: IdealSteps,
    /// The first step that it wished for, as a share of the interval, if a step was accepted.
    pub(crate) wish: Option<f64>,
}

impl Run {
    pub(crate) fn stats(&self) -> Stats {
        let Self { nfe, nfe_diffusion, rejected, .. } = *self;
        Stats { nfe, nfe_diffusion, accepted: self.steps.len(), rejected }
    }

    /// Begins anew, in the room that there is.
    pub(crate) fn begin(&mut self) {
        self.steps.clear();
        self.norms.clear();
        let (steps, norms) = (std::mem::take(&mut self.steps), std::mem::take(&mut self.norms));
        *self = Self { steps, norms, status: Status::Running, ..Self::default() };
    }

    /// Counts evaluations of each network.
    pub(crate) fn count(&mut self, [drift, diffusion]: [usize; 2]) {
        self.nfe += drift;
        self.nfe_diffusion += diffusion;
    }
}
