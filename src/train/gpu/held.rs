//! What a trainer holds for its batches: buffers, and all that it has recorded for them.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use super::plans::{BatchBuffers, EvaluationPlans, Schedule, TrainPlans};
use crate::gpu::{Buffers, Plan};

/// What a trainer's plans bind: the engine's buffers of a batch, and the trainer's.
#[derive(Debug)]
pub(super) struct Rooms {
    pub(super) engine: Buffers,
    pub(super) batch: BatchBuffers,
}

impl AsRef<Buffers> for Rooms {
    fn as_ref(&self) -> &Buffers {
        &self.engine
    }
}

/// What a trainer has recorded, by numbers of trajectories.
#[derive(Debug, Default)]
pub(super) struct Plans {
    pub(super) training: HashMap<usize, Arc<TrainPlans>>,
    pub(super) evaluation: HashMap<usize, Arc<EvaluationPlans>>,
    /// By data set too.
    pub(super) gathers: HashMap<(u64, usize), Gather>,
    /// The update along a gradient of the caller's.
    pub(super) apply: Option<Plan>,
    /// Steps prepared for an application's encoder.
    pub(super) slice: Option<Slice>,
}

/// How a batch is gathered: its samples' numbers, and the plan that binds them and the data set.
#[derive(Clone, Debug)]
pub(super) struct Gather {
    pub(super) from: Weak<u64>,
    pub(super) samples: wgpu::Buffer,
    pub(super) plan: Plan,
}

/// Training steps ready to be recorded.
#[derive(Debug)]
pub(super) struct Slice {
    pub(super) plans: TrainPlans,
    pub(super) schedule: Schedule,
    pub(super) attempts: usize,
    /// Entries of the schedule that are taken.
    pub(super) taken: usize,
}
