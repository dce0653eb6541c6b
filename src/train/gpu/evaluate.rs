//! Evaluations and predictions, which keep nothing for gradients.

use super::data::GpuData;
use super::trainer::{GpuTrainer, costs};
use crate::error::{Result, Status};
use crate::gpu::modes::status;
use crate::gpu::{Engine, Outcome, Purpose, Submissions};
use crate::problem::Paths;
use crate::train::batches::Batch;
use crate::train::drawing::Drawing;
use crate::train::report::{Costs, Evaluation};
use crate::train::state::MeanOutputs;

impl GpuTrainer {
    /// Evaluates the model on a batch. Never regularizes.
    ///
    /// # Errors
    /// As [`GpuTrainer::step`], but failed trajectories are counted, not an error.
    pub async fn evaluate(&mut self, batch: &Batch<'_, f32>) -> Result<Evaluation> {
        let count = self.load(batch, false).await?;
        let outcome = self.solve_and_measure(count, self.state.evaluation_paths(0), true).await?;
        Ok(evaluation(&self.engine, &outcome, count))
    }

    /// As [`GpuTrainer::evaluate`], on the given samples of a data set on the device.
    ///
    /// # Errors
    /// As [`GpuTrainer::step_on`].
    pub async fn evaluate_on(&mut self, data: &GpuData, samples: &[u32]) -> Result<Evaluation> {
        self.gather(data, samples, false).await?;
        let outcome = self.solve_and_measure(samples.len(), self.state.evaluation_paths(0), true).await?;
        Ok(evaluation(&self.engine, &outcome, samples.len()))
    }

    /// As [`GpuTrainer::evaluate`], of the mean output over `samples` paths of each trajectory, or drawn initial states of
    /// it; costs are the first one's. A trajectory of which any path fails has failed.
    ///
    /// # Errors
    /// As [`GpuTrainer::evaluate`], and [`Error::Argument`](crate::Error::Argument) for no samples, or
    /// [`Loss::Moments`](crate::Loss::Moments), which is of single paths.
    pub async fn evaluate_mean(&mut self, batch: &Batch<'_, f32>, samples: usize) -> Result<Evaluation> {
        let mut outputs = self.state.mean_outputs(samples)?;
        let count = self.load(batch, false).await?;
        let of_first = self.add_sample(count, 0, &mut outputs).await?;
        for sample in 1..samples {
            self.add_sample(count, sample, &mut outputs).await?;
        }
        Ok(self.state.evaluate_mean(&outputs, &batch.target, of_first))
    }

    /// Solves the loaded batch along the paths of one sample, and adds its outputs to the mean. The costs.
    async fn add_sample(&mut self, count: usize, sample: usize, outputs: &mut MeanOutputs) -> Result<Costs> {
        self.send_normals(count, self.state.evaluation_drawing(sample))?;
        let outcome = self.solve_and_measure(count, self.state.evaluation_paths(sample), false).await?;
        let (of_sample, solved) = self.read_outputs(count).await?;
        outputs.add(&of_sample, solved.into_iter());
        Ok(costs(&self.engine, &outcome))
    }

    /// The model's outputs for a batch of inputs `[B][inputs]`: `[times][B][outputs]`, NaN for trajectories that fail.
    /// Never regularizes.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) and [`Error::NonFinite`](crate::Error::NonFinite) for inputs that do not fit
    /// the model; [`Error::DeviceLost`](crate::Error::DeviceLost).
    pub async fn predict(&mut self, inputs: &[f32]) -> Result<Vec<f32>> {
        self.predict_along(inputs, self.state.evaluation_paths(0)).await
    }

    /// As [`GpuTrainer::predict`], along the given paths.
    ///
    /// # Errors
    /// As [`GpuTrainer::predict`], and [`Error::Argument`](crate::Error::Argument) for paths beyond the last trajectory number.
    pub async fn predict_along(&mut self, inputs: &[f32], paths: Paths) -> Result<Vec<f32>> {
        self.predict_by(inputs, paths, Drawing::NONE).await
    }

    /// As [`Trainer::predict_drawn`](crate::Trainer::predict_drawn).
    ///
    /// # Errors
    /// As [`GpuTrainer::predict`].
    pub async fn predict_drawn(&mut self, inputs: &[f32], sample: usize) -> Result<Vec<f32>> {
        self.predict_by(inputs, self.state.evaluation_paths(sample), self.state.evaluation_drawing(sample)).await
    }

    async fn predict_by(&mut self, inputs: &[f32], paths: Paths, drawing: Drawing) -> Result<Vec<f32>> {
        let count = self.state.config.model.check_inputs(inputs)?;
        paths.validate(count)?;
        self.take_times_back()?;
        self.check_own_times(count, Purpose::FORWARD)?;
        self.warn_at(inputs);
        self.aim(count, Purpose::FORWARD)?;
        self.reserve(count, Purpose::FORWARD, 0).await?;
        self.send_normals(count, drawing)?;
        self.engine.use_times(&self.rooms()?.engine, 1);
        let states = self.state.config.model.initial_states(inputs, self.state.evaluation_signs());
        self.engine.gpu.queue.write_buffer(&self.rooms()?.batch.inputs, 0, bytemuck::cast_slice(&states));
        self.solve_and_measure(count, paths, false).await?;
        Ok(self.read_outputs(count).await?.0)
    }

    /// The solved batch's outputs, NaN for trajectories that failed and at times that one has not, and which ones did not.
    async fn read_outputs(&mut self, count: usize) -> Result<(Vec<f32>, Vec<bool>)> {
        let size = count * self.parts.outputs;
        let rooms = self.rooms()?;
        let (outputs, rows) =
            (rooms.batch.outputs(&rooms.engine, &self.parts).clone(), rooms.engine.row_status.clone());
        let [mut outputs]: [Vec<f32>; 1] = self.engine.read([(&outputs, 0, self.state.output_times() * size)]).await?;
        let [rows]: [Vec<u32>; 1] = self.engine.read([(&rows, 0, count)]).await?;
        let solved: Vec<bool> = rows.into_iter().map(|code| status(code) == Status::Done).collect();
        let times = self.state.times.as_ref();
        for (slot, outputs) in outputs.chunks_exact_mut(size).enumerate() {
            for (row, outputs) in outputs.chunks_exact_mut(self.parts.outputs).enumerate() {
                if !(solved[row] && times.is_none_or(|times| times.has(row, slot))) {
                    outputs.fill(f32::NAN);
                }
            }
        }
        Ok((outputs, solved))
    }

    /// Solves the loaded batch along `paths`, and measures the loss if that is asked for. What the last training step left
    /// is there afterwards: whoever recorded it may not have asked yet.
    async fn solve_and_measure(&mut self, count: usize, paths: Paths, loss: bool) -> Result<Outcome> {
        let plans = self.evaluation_plans(count).await?;
        let rooms = self.rooms()?;
        let purpose = rooms.engine.sizes.purpose;
        self.engine.use_paths(paths, &rooms.engine);
        let mut encoder = self.engine.encoder();
        self.encode_inputs(rooms, count, &mut encoder);
        let [own, found] = self.parts.outcomes.clone();
        let mut begun = false;
        let mut attempts = self.engine.expected_attempts(count, purpose);
        loop {
            copy(&mut encoder, &self.engine.outcome, &own);
            if !begun {
                let work = self.encoder_work(count);
                Submissions::new(&self.engine, &mut encoder).record(&plans.prologue, 1, work);
            }
            {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                    label: Some("evaluation"),
                    timestamp_writes: None,
                });
                if !begun {
                    plans.solve.start.encode(&mut pass);
                }
                for _ in 0..attempts.min(self.engine.plans_per_submission(count, purpose)) {
                    plans.solve.attempt.encode(&mut pass);
                }
                plans.solve.finish.encode(&mut pass);
                plans.outputs.encode(&mut pass);
                if loss {
                    plans.loss.encode(&mut pass);
                }
            }
            begun = true;
            copy(&mut encoder, &self.engine.outcome, &found);
            copy(&mut encoder, &own, &self.engine.outcome);
            let outcome = self.engine.submit_for(encoder, &found).await?;
            outcome.check()?;
            if outcome.unfinished == 0 {
                self.engine.attempts.note((outcome.accepted + outcome.rejected) as usize);
                return Ok(outcome);
            }
            attempts = self.engine.more_attempts(count);
            encoder = self.engine.encoder();
        }
    }
}

/// Copies what a solve left.
fn copy(encoder: &mut wgpu::CommandEncoder, from: &wgpu::Buffer, to: &wgpu::Buffer) {
    encoder.copy_buffer_to_buffer(from, 0, to, 0, size_of::<Outcome>() as u64);
}

fn evaluation(engine: &Engine, outcome: &Outcome, count: usize) -> Evaluation {
    let (loss, correct) = (f64::from(outcome.loss), outcome.correct as usize);
    costs(engine, outcome).evaluation(count, outcome.failed as usize, loss, correct)
}
