//! Training steps recorded into an application's own command encoder: a few of them in each of its frames.
//!
//! What changes from step to step (random draws, learning rate, penalty's coefficient) is written ahead into a
//! schedule, from which the device takes the entry of the step that it is at.

use super::held::{Rooms, Slice};
use super::plans::Schedule;
use super::trainer::{GpuTrainer, low};
use crate::error::{Cure, Error, Result};
use crate::gpu::modes::Verdict;
use crate::gpu::{Outcome, Params, Submissions, check, check_counts, copy_in};
use crate::memory::Size;
use crate::train::report::StepReport;

/// The application's buffers that a recorded training step reads. Usage `COPY_SRC`.
#[derive(Clone, Copy, Debug)]
pub struct TrainIo<'a> {
    /// Inputs at `f32`, `[B][inputs]`.
    pub inputs: wgpu::BufferSlice<'a>,
    /// Labels `[B]` at `u32`, below the number of classes, or states `[times][B][outputs]` at `f32`; or means
    /// `[times][outputs]`, then variances. States that are observed in part ([`Target::Observed`](crate::Target)) go
    /// through [`GpuTrainer::step`] or [`GpuTrainer::step_on`].
    pub targets: wgpu::BufferSlice<'a>,
}

/// What recorded training steps have come to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SliceReport {
    /// Steps that were made or skipped since the last report.
    pub made: u64,
    /// Whether the step submitted last needed more attempts than were prepared. It changed nothing, and the next one
    /// takes its number; if it stays so, prepare more attempts.
    pub unfinished: bool,
    /// The step submitted last.
    pub last: StepReport,
}

impl GpuTrainer {
    /// Prepares the next `steps` training steps for recording: each on `batch` trajectories, with room for `attempts`
    /// attempted solver steps. Preparing again goes on where the device is.
    ///
    /// # Errors
    /// [`Error::Argument`] for an empty batch, no steps, no attempts or more than 65,536, for a regularizer with an
    /// [`EndTime`](crate::EndTime) and for a latent model, of which the host draws; [`Error::Memory`], [`Error::Limit`],
    /// [`Error::Device`], [`Error::DeviceLost`].
    pub async fn prepare(&mut self, batch: usize, steps: usize, attempts: usize) -> Result<()> {
        check_counts(batch, attempts)?;
        self.take_times_back()?;
        self.engine.refuse_times("recorded steps have one interval for all trajectories: use GpuTrainer::step")?;
        // A solve makes no more.
        let attempts = attempts.min(self.state.config.model.options.most_attempts());
        if steps == 0 {
            return Err(Error::argument("steps", 0, "ask for at least one"));
        }
        if self.state.config.regularizer.lower(0).end_time.is_some() {
            let remedy = "only the host draws a step's end, and is not there between those: use GpuTrainer::step";
            return Err(Error::argument("regularizer", "end time in recorded steps", remedy));
        }
        if self.state.config.model.latent {
            let remedy = "only the host draws initial states, and is not there between those: use GpuTrainer::step";
            return Err(Error::argument("NeuralDe::latent", "in recorded steps", remedy));
        }
        let schedule_bytes = (Size(steps) * size_of::<Params>()).0 as u64;
        let cure = || Cure::Other("prepare fewer");
        self.engine.gpu.check_binding(|| "the schedule of so many steps".into(), schedule_bytes, cure)?;
        self.note_recorded().await?;
        // What an application records comes without weights.
        self.weigh(false);
        let purpose = self.purpose();
        self.aim(batch, purpose)?;
        self.reserve(batch, purpose, attempts).await?;
        let gpu = self.engine.gpu.clone();
        let schedule = gpu.scoped(|| Schedule::new(&gpu, steps)).await?;
        let plans = self.record_training(batch, &schedule).await?;
        gpu.queue.write_buffer(&schedule.buffer, 0, bytemuck::cast_slice(&self.params(steps)));
        if let Some(held) = &mut self.held {
            held.plans.slice = Some(Slice { plans, schedule, attempts, taken: 0 });
        }
        Ok(())
    }

    /// Records one training step: copies the batch, solves, measures, walks back and updates. No submission, no map,
    /// no write to the queue; the same numbers as [`GpuTrainer::step`], bit for bit. Several steps may be recorded into
    /// one encoder.
    ///
    /// The batch is not looked at: trajectories that start from numbers that are not finite fail, and count as failed.
    ///
    /// # Errors
    /// [`Error::Order`] when nothing is prepared, or a larger batch or more values of controls were used since:
    /// call [`GpuTrainer::prepare`]; [`Error::Argument`] when as many steps were recorded as were prepared, for values of controls
    /// that are another batch's, and for slices that are too small, not aligned, or of a buffer without the usage it needs.
    pub fn record(&mut self, encoder: &mut wgpu::CommandEncoder, io: &TrainIo<'_>) -> Result<()> {
        let (rooms, slice) = self.prepared()?;
        if slice.taken == slice.schedule.entries {
            return Err(Error::argument("steps", slice.taken, "all of them are recorded: prepare more"));
        }
        let rows = slice.plans.rows;
        self.check_driven(rows)?;
        let [inputs, targets] = self.batch_bytes(rows);
        check("TrainIo::inputs", &io.inputs, inputs, wgpu::BufferUsages::COPY_SRC)?;
        check("TrainIo::targets", &io.targets, targets, wgpu::BufferUsages::COPY_SRC)?;
        copy_in(encoder, &io.inputs, &rooms.batch.inputs, 0, inputs);
        copy_in(encoder, &io.targets, &rooms.batch.targets, 0, targets);
        let whole = self.engine.solves_whole(rows);
        let purpose = rooms.engine.sizes.purpose;
        let attempts =
            if whole { self.engine.dispatches_after_start(rows, purpose, slice.attempts) } else { slice.attempts };
        let segments = slice.attempts.div_ceil(slice.plans.walk.stride);
        let mut to = Submissions::uncut(&self.engine, encoder);
        self.record_step(&mut to, rooms, &slice.plans, [attempts, segments], true);
        drop(to);
        self.take_entries(1);
        self.embedded = true;
        Ok(())
    }

    /// The steps that are prepared, and the buffers that they are recorded for.
    fn prepared(&self) -> Result<(&Rooms, &Slice)> {
        let prepared = self.held.as_ref().and_then(|held| Some((held.buffers(), held.plans.slice.as_ref()?)));
        prepared.ok_or(Error::Order {
            call: "record",
            needs: "prepare",
            remedy: "call prepare; larger batches, or more values of controls, undo it",
        })
    }

    /// Bytes of a batch's inputs and targets.
    fn batch_bytes(&self, batch: usize) -> [u64; 2] {
        let target = self.state.config.loss.target_len(batch, self.parts.times, self.parts.outputs);
        [batch * self.parts.inputs, target].map(|numbers| 4 * numbers as u64)
    }

    /// Reads back what the recorded steps that were submitted have come to, and counts them. Waits for the device, so
    /// not for every frame.
    ///
    /// # Errors
    /// As [`GpuTrainer::step`].
    pub async fn sync(&mut self) -> Result<SliceReport> {
        let outcome = self.engine.read_outcome().await?;
        outcome.check()?;
        let before = self.state.steps;
        let made = self.count(&outcome);
        let unfinished = outcome.skipped == Verdict::Incomplete;
        if !unfinished {
            self.judge(&outcome).await?;
        }
        let last = self.report(&outcome, before + made.saturating_sub(1));
        Ok(SliceReport { made, unfinished, last })
    }

    /// Takes over the device's counts; how many steps are new.
    fn count(&mut self, outcome: &Outcome) -> u64 {
        // The device counts in 32 bits.
        let made = u64::from(outcome.steps.wrapping_sub(low(self.state.steps)));
        self.updates += u64::from(outcome.updates.wrapping_sub(low(self.updates)));
        self.state.steps += made;
        self.unheard = false;
        made
    }

    /// Counts steps of which the host has not heard, recorded or of a dropped future, before it makes one of its own.
    pub(super) async fn note_recorded(&mut self) -> Result<()> {
        // Who else submits what was recorded, and when, is not known here: so each time.
        if self.embedded || self.unheard {
            let outcome = self.engine.read_outcome().await?;
            self.count(&outcome);
        }
        Ok(())
    }

    /// The model's parameters, for copies and shaders: those that [`SolveIo::theta`](crate::SolveIo::theta) wants if
    /// the model has neither encoder nor head. Usage `STORAGE`, `COPY_SRC` and `COPY_DST`.
    #[must_use]
    pub const fn theta_buffer(&self) -> &wgpu::Buffer {
        &self.engine.theta
    }

    /// What the last step left, for copies and shaders: [`OUTCOME_WGSL`](crate::OUTCOME_WGSL) declares its fields.
    /// Usage `STORAGE` and `COPY_SRC`; bind it read-only.
    #[must_use]
    pub const fn outcome_buffer(&self) -> &wgpu::Buffer {
        &self.engine.outcome
    }
}
