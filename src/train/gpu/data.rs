//! [`GpuData`]: a data set on the device.

use crate::method::{Loss, Target};
use crate::problem::Trace;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::drawn::repeated;
use super::held::Gather;
use super::plans::BatchBuffers;
use super::times::Shares;
use super::trainer::GpuTrainer;
use crate::error::{Cure, Error, Result};
use crate::gpu::args::GatherArgs;
use crate::gpu::{GATHER, Planner, Purpose, create, flat, word};
use crate::train::drawing::Drawing;

/// A data set on the device, from which training steps take their samples without a copy from the host.
#[derive(Debug)]
pub struct GpuData {
    inputs: wgpu::Buffer,
    targets: wgpu::Buffer,
    /// Of states that have weights each number's share of its sample's loss, and what a sample's are shares of.
    weights: Option<[wgpu::Buffer; 2]>,
    samples: usize,
    /// Numbers in an input, and in a target.
    widths: [usize; 2],
    /// Which data set it is, for the plans of those who gather from it, as long as it is there.
    id: Arc<u64>,
}

impl GpuData {
    /// Samples.
    #[must_use]
    pub const fn samples(&self) -> usize {
        self.samples
    }
}

impl GpuTrainer {
    /// Puts a data set on the device: inputs `[N][inputs]`, and labels or `[N][times][outputs]` states, observed in part or
    /// whole.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::NonFinite`] for data that do not fit the model, [`Error::Limit`] when they do not
    /// fit into a binding of the device: stream batches with [`GpuTrainer::step`] then.
    pub async fn upload(&self, inputs: &[f32], target: Target<'_, f32>) -> Result<GpuData> {
        self.refuse_times()?;
        let model = &self.state.config.model;
        let samples = model.check_inputs(inputs)?;
        let (times, outputs) = (model.output_times(), model.output_width());
        // Of weights it is looked at a sample's, whose times are one after the other here.
        let [times, outputs] = match target {
            Target::Observed { .. } => [1, times * outputs],
            _ => [times, outputs],
        };
        target.check(self.state.config.loss, samples, times, outputs)?;
        let targets: &[u8] = match target {
            Target::Labels(labels) => bytemuck::cast_slice(labels),
            Target::States(states) | Target::Observed { states, .. } => bytemuck::cast_slice(states),
            Target::Nothing => &[],
            Target::Moments { .. } => {
                let remedy = "moments belong to a batch, not to its samples: use GpuTrainer::step";
                return Err(Error::argument("Target::Moments", "in a data set", remedy));
            }
        };
        let shares = match target {
            Target::Observed { weights, .. } => Some(Shares::new(weights, [samples, outputs], |_, _| true)),
            _ => None,
        };
        if model.of_points() == Some(Trace::Hutchinson) {
            let remedy = "each solve draws its own signs: use GpuTrainer::step";
            return Err(Error::argument("Trace::Hutchinson", "in a data set", remedy));
        }
        self.warn_at(inputs);
        let inputs = &*model.initial_states(inputs, self.state.evaluation_signs());
        let gpu = &self.engine.gpu;
        let [inputs_bytes, targets_bytes] = [size_of_val(inputs), targets.len()].map(|bytes| bytes as u64);
        let stream = || Cure::Other("stream batches by GpuTrainer::step");
        gpu.check_binding(|| "the inputs of the data set".into(), inputs_bytes, stream)?;
        gpu.check_binding(|| "the targets of the data set".into(), targets_bytes, stream)?;
        let weights: Option<[&[f32]; 2]> = shares.as_ref().map(|shares| [&shares.of_numbers[..], &shares.sums]);
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let data = gpu
            .scoped(|| GpuData {
                inputs: create(gpu, "data inputs", inputs_bytes, false),
                targets: create(gpu, "data targets", targets_bytes, false),
                weights: weights
                    .map(|weights| weights.map(|all| create(gpu, "data weights", size_of_val(all) as u64, false))),
                samples,
                widths: self.widths(),
                id: Arc::new(NEXT.fetch_add(1, Ordering::Relaxed)),
            })
            .await?;
        gpu.queue.write_buffer(&data.inputs, 0, bytemuck::cast_slice(inputs));
        gpu.queue.write_buffer(&data.targets, 0, targets);
        for (to, numbers) in data.weights.iter().flatten().zip(weights.iter().flatten()) {
            gpu.queue.write_buffer(to, 0, bytemuck::cast_slice(numbers));
        }
        Ok(data)
    }

    /// Numbers in an input, and in a target.
    fn widths(&self) -> [usize; 2] {
        [self.parts.inputs, self.state.config.loss.target_len(1, self.parts.times, self.parts.outputs)]
    }

    /// Collects a batch from a data set on the device; the number of its trajectories.
    pub(super) async fn gather(
        &mut self,
        data: &GpuData,
        samples: &[u32],
        purpose: Purpose,
        drawing: Drawing,
    ) -> Result<usize> {
        self.refuse_times()?;
        if samples.is_empty() {
            return Err(Error::argument("samples", "[]", "name at least one sample"));
        }
        if let Some(index) = samples.iter().find(|i| **i as usize >= data.samples) {
            return Err(Error::argument("samples", index, format!("samples count from 0 to {}", data.samples - 1)));
        }
        if data.widths != self.widths() {
            let remedy = format!("inputs and targets of this model have {:?} numbers: upload its own", self.widths());
            return Err(Error::argument("data", format!("{:?} numbers", data.widths), remedy));
        }
        let samples = repeated(samples, 1, drawing.copies);
        let count = samples.len();
        self.weigh(data.weights.is_some());
        self.aim(count, purpose)?;
        self.reserve(count, purpose, 0).await?;
        self.send_normals(count, drawing)?;
        let gather = self.gather_of(data, count).await?;
        let queue = &self.engine.gpu.queue;
        queue.write_buffer(&gather.samples, 0, bytemuck::cast_slice(&samples));
        let mut encoder = self.engine.encoder();
        gather.plan.encode(&mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default()));
        queue.submit([encoder.finish()]);
        Ok(count)
    }

    /// How so many samples of a data set are gathered, recorded the first time.
    async fn gather_of(&mut self, data: &GpuData, count: usize) -> Result<Gather> {
        let key = (*data.id, count);
        if let Some(gather) = self.held.as_ref().and_then(|held| held.plans.gathers.get(&key)) {
            return Ok(gather.clone());
        }
        let batch = &self.rooms()?.batch;
        let gather = self.engine.gpu.scoped(|| self.record_gather(data, batch, count)).await?;
        if let Some(held) = &mut self.held {
            // Data sets that are gone would stay on the device for the plans that bind them.
            held.plans.gathers.retain(|_, gather| gather.from.strong_count() > 0);
            held.plans.gathers.insert(key, gather.clone());
        }
        Ok(gather)
    }

    fn record_gather(&self, data: &GpuData, batch: &BatchBuffers, count: usize) -> Gather {
        let samples = create(&self.engine.gpu, "samples", 4 * count as u64, false);
        let kernel = self.engine.kernels.get(&GATHER, &[]);
        let (times, width) = match self.state.config.loss {
            Loss::CrossEntropy => (1, 1),
            Loss::NegativeLogLikelihood => (0, 0),
            _ => (self.parts.times, self.parts.outputs),
        };
        let targets = times * count * width;
        let mut gathered = vec![(&data.inputs, &batch.inputs, [1, self.parts.inputs], 0)];
        gathered.push((&data.targets, &batch.targets, [times, width], 0));
        if let Some([shares, sums]) = &data.weights {
            gathered.push((shares, &batch.targets, [times, width], targets));
            gathered.push((sums, &batch.targets, [1, 1], 2 * targets));
        }
        let plan = Planner::record(&self.engine.gpu, |planner| {
            for (from, to, [times, width], first) in gathered {
                if width == 0 {
                    continue;
                }
                let args = GatherArgs { held: word(times), times: word(times), width: word(width), first: word(first) };
                let grid = flat((times * count * width).div_ceil(64));
                planner.add(&kernel, &[&samples, from, to], self.engine.head(count), args, grid);
            }
            planner.take()
        });
        Gather { from: Arc::downgrade(&data.id), samples, plan }
    }
}
