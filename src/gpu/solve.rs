//! A solver's solves: the host supervises, records attempts ahead and hears of them late.

use std::sync::Arc;

use super::buffers::Purpose;
use super::engine::Engine;
use super::held::{Held, Solves};
use super::plan::SolvePlans;
use super::room::Room;
use super::wire::records::Outcome;
use crate::error::Result;

impl Engine {
    /// Makes room for a batch of a solver; room that is there already is kept.
    pub(crate) async fn reserve<'h>(
        &self,
        held: &'h mut Option<Solves>,
        batch: usize,
        purpose: Purpose,
    ) -> Result<&'h mut Solves> {
        let found = match self.room(held, batch, purpose, 0)? {
            Room::Held(found) => found,
            Room::New(sizes) => {
                *held = None;
                Held::new(self.make(&sizes).await?)
            }
        };
        Ok(held.insert(found))
    }

    /// Solves so many states, which are in the tape's first kept slot.
    ///
    /// # Errors
    /// [`Error::Memory`] when the tape outgrows a binding or the memory limit, [`Error::DeviceLost`].
    pub(crate) async fn solve(&mut self, held: &mut Solves, rows: usize, backward: bool) -> Result<Outcome> {
        let purpose = held.buffers().sizes.purpose;
        let mut plans = self.solve_plans(held, rows, backward).await?;
        let mut left = self.expected_attempts(rows, purpose);
        let mut begun = false;
        loop {
            let attempts = left.min(self.plans_per_submission(rows, purpose));
            let mut encoder = self.encoder();
            {
                let mut pass = encoder
                    .begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some("solve"), timestamp_writes: None });
                if !begun {
                    plans.start.encode(&mut pass);
                }
                for _ in 0..attempts {
                    plans.attempt.encode(&mut pass);
                }
                plans.finish.encode(&mut pass);
            }
            begun = true;
            let outcome = self.submit_for_outcome(encoder).await?;
            outcome.check()?;
            if outcome.unfinished == 0 {
                self.attempts.note((outcome.accepted + outcome.rejected) as usize);
                self.accepted.note(outcome.most_accepted as usize);
                return Ok(outcome);
            }
            left = left.saturating_sub(attempts).max(self.more_attempts(rows));
            if outcome.paused > 0 {
                *held = Held::new(self.grown(held.buffers(), rows).await?);
                plans = self.solve_plans(held, rows, backward).await?;
                self.resume(&plans);
            }
        }
    }

    /// The plans of a solve of so many rows, recorded the first time.
    async fn solve_plans(&self, held: &mut Solves, rows: usize, backward: bool) -> Result<Arc<SolvePlans>> {
        let key = (rows, backward);
        if let Some(plans) = held.plans.get(&key) {
            plans.jobs.iter().for_each(|jobs| self.tell(jobs));
            return Ok(Arc::clone(plans));
        }
        let plans = Arc::new(self.record_solve(rows, held.buffers(), backward).await?);
        held.plans.insert(key, Arc::clone(&plans));
        Ok(plans)
    }

    /// Lets a paused solve go on, in the buffers that it has room in now.
    pub(crate) fn resume(&self, plans: &SolvePlans) {
        let mut encoder = self.encoder();
        plans.resume.encode(&mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default()));
        self.gpu.queue.submit([encoder.finish()]);
    }
}
