//! Updates along a gradient of the caller's.

use super::trainer::{GpuTrainer, low};
use crate::error::{Error, Result};
use crate::gpu::modes::Verdict;
use crate::gpu::{Outcome, Plan, word};
use crate::train::optimizer::Update;

impl GpuTrainer {
    /// The update of a training step along a gradient of the caller's, as [`Trainer::apply`](crate::Trainer::apply). With
    /// what [`GpuTrainer::gradients`] gives, it is [`GpuTrainer::step`] bit for bit.
    ///
    /// # Errors
    /// As [`Trainer::apply`](crate::Trainer::apply), and [`Error::Memory`], [`Error::Limit`], [`Error::DeviceLost`].
    pub async fn apply(&mut self, gradient: &[f32]) -> Result<Update> {
        let parameters = self.engine.parameters;
        Error::check_len("gradient", gradient.len(), parameters, || "the model's parameter_count()".into())?;
        self.note_recorded().await?;
        // The gradient's buffer is one of a batch's, of any size.
        self.reserve(1, self.purpose(), 0).await?;
        let plan = self.apply_plan().await?;
        let outcome = Outcome {
            // There is no loss; as many as one takes, so that the update is made.
            solved: word(self.state.config.loss.least()),
            loss: f32::NAN,
            updates: low(self.updates),
            steps: low(self.state.steps),
            ..Outcome::default()
        };
        let queue = &self.engine.gpu.queue;
        queue.write_buffer(&self.rooms()?.engine.gradient, 0, bytemuck::cast_slice(gradient));
        queue.write_buffer(&self.engine.outcome, 0, bytemuck::bytes_of(&outcome));
        queue.write_buffer(&self.engine.params, 0, bytemuck::cast_slice(&self.params(1)));
        let mut encoder = self.engine.encoder();
        encoder.clear_buffer(&self.parts.overflow, 0, None);
        {
            let mut pass = encoder
                .begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some("update"), timestamp_writes: None });
            plan.encode(&mut pass);
        }
        // From here on the device may make the update, whether or not this future is there to hear of it.
        self.unheard = true;
        self.take_entries(1);
        let outcome = self.engine.submit_for_outcome(encoder).await?;
        self.settle(&outcome).await?;
        Ok(Update { norm: f64::from(outcome.gradient_norm), made: outcome.skipped != Verdict::Skipped })
    }

    async fn apply_plan(&mut self) -> Result<Plan> {
        if let Some(plan) = self.held.as_ref().and_then(|held| held.plans.apply.as_ref()) {
            return Ok(plan.clone());
        }
        let recorder = self.recorder(0, &self.parts.schedule)?;
        let plan = self.engine.gpu.scoped(|| recorder.apply()).await?;
        if let Some(held) = &mut self.held {
            held.plans.apply = Some(plan.clone());
        }
        Ok(plan)
    }
}
