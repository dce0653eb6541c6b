//! Going on with another configuration.

use super::trainer::{GpuTrainer, low};
use crate::error::Result;
use crate::gpu::Outcome;
use crate::train::config::TrainerConfig;

impl GpuTrainer {
    /// Goes on with another configuration, as [`Trainer::reconfigure`](crate::Trainer::reconfigure). Weights at 16 bits
    /// stay, and [`GpuTrainer::theta_buffer`] and [`GpuTrainer::outcome_buffer`] are the same buffers; steps for
    /// recording have to be prepared anew.
    ///
    /// # Errors
    /// As [`Trainer::reconfigure`](crate::Trainer::reconfigure) and [`GpuTrainer::new`]; the trainer is as before then.
    pub async fn reconfigure(&mut self, config: TrainerConfig) -> Result<()> {
        self.state.check_change::<f32>(&config)?;
        let mut new = Self::new(&self.engine.gpu, config)?;
        new.set_times(self.times.clone())?;
        if self.engine.has_half_weights() {
            new.engine.use_half_weights()?;
        }
        self.note_recorded().await?;
        if new.state.shares_moments(&self.state) {
            new.parts.moments = self.parts.moments.clone();
            new.updates = self.updates;
        }
        new.state.steps = self.state.steps;
        new.engine.theta = self.engine.theta.clone();
        new.engine.outcome = self.engine.outcome.clone();
        new.engine.learnt = self.engine.learnt.clone();
        new.follow_controls(self);
        // What was recorded may still be submitted.
        new.embedded = self.embedded;
        let outcome = Outcome { updates: low(new.updates), steps: low(new.state.steps), ..Outcome::default() };
        new.engine.gpu.queue.write_buffer(&new.engine.outcome, 0, bytemuck::bytes_of(&outcome));
        *self = new;
        Ok(())
    }
}
