//! The call that is timed.

use anyhow::Result;

use super::line::Call;
use super::problem::Prepared;
use fewsteps::{Backend, Blocking, Learner};

use crate::args::{Mode, WorkloadArgs};

/// A learner with the workload's weights, and the call that is timed.
pub(super) struct Timed<L: Learner> {
    pub(super) learner: Blocking<L>,
    mode: Mode,
    pub(super) prepared: Prepared,
    held: Option<L::Data>,
    pub(super) order: Vec<u32>,
}

impl<L: Learner<Scalar = f32>> Timed<L> {
    pub(super) fn new(args: &WorkloadArgs, engine: &L::Engine, prepared: Prepared) -> Result<Self> {
        let mut learner = Blocking::<L>::new(engine, prepared.config.clone())?;
        learner.set_parameters(&prepared.theta)?;
        let train = L::Engine::OWN_MEMORY && args.mode == Mode::Train;
        let held = if train { prepared.hold(&mut learner)? } else { None };
        let order = (0u32..).take(prepared.batch()).collect();
        Ok(Self { learner, mode: args.mode, prepared, held, order })
    }

    pub(super) fn call(&mut self) -> fewsteps::Result<Call> {
        match self.mode {
            Mode::Forward => self.learner.evaluate(&self.prepared.as_batch()).map(Call::from),
            Mode::Train => match &self.held {
                Some(held) => self.learner.step_on(held, &self.order).map(Call::from),
                None => self.learner.step(&self.prepared.as_batch()).map(Call::from),
            },
        }
    }
}
