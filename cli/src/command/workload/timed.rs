//! The call that is timed.

use anyhow::Result;

use super::line::Call;
use super::problem::Prepared;
use crate::args::{Mode, WorkloadArgs};
use crate::learner::Learner;

/// A learner with the workload's weights, and the call that is timed.
pub(super) struct Timed<L> {
    pub(super) learner: L,
    mode: Mode,
    pub(super) prepared: Prepared,
    pub(super) order: Vec<usize>,
}

impl<L: Learner<Scalar = f32>> Timed<L> {
    pub(super) fn new(args: &WorkloadArgs, engine: &L::Engine, prepared: Prepared) -> Result<Self> {
        let mut learner = L::new(engine, prepared.config.clone())?;
        learner.set_parameters(&prepared.theta)?;
        if L::OWN_MEMORY && args.mode == Mode::Train {
            prepared.hold(&mut learner)?;
        }
        let order = (0..prepared.batch()).collect();
        Ok(Self { learner, mode: args.mode, prepared, order })
    }

    pub(super) fn call(&mut self) -> fewsteps::Result<Call> {
        match self.mode {
            Mode::Forward => self.learner.evaluate(&self.prepared.as_batch()).map(Call::from),
            Mode::Train => match self.learner.step_on_held(&self.order)? {
                Some(report) => Ok(Call::from(report)),
                None => self.learner.step(&self.prepared.as_batch()).map(Call::from),
            },
        }
    }
}
