//! [`GpuData`]: a data set on the device.

use crate::method::{Loss, Target};
use crate::problem::{Times, Trace};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::drawn::repeated;
use super::held::Gather;
use super::plans::BatchBuffers;
use super::shares::Shares;
use super::trainer::{BatchUse, GpuTrainer};
use crate::error::{Cure, Error, Result};
use crate::gpu::args::GatherArgs;
use crate::gpu::{GATHER, Planner, create, flat, word};

/// A data set on the device, from which training steps take their samples without a copy from the host.
#[derive(Debug)]
pub struct GpuData {
    inputs: wgpu::Buffer,
    targets: wgpu::Buffer,
    /// Of states that have weights each number's share of its sample's loss, and what a sample's are shares of.
    weights: Option<[wgpu::Buffer; 2]>,
    samples: usize,
    /// Intervals and saved times of the samples' own, if they have some, and for how many times there are targets.
    times: Option<Times>,
    slots: usize,
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

    /// Times of its samples' own, if they have some.
    #[must_use]
    pub const fn times(&self) -> Option<&Times> {
        self.times.as_ref()
    }
}

impl GpuTrainer {
    /// Puts a data set on the device: inputs `[N][inputs]`, and labels or `[N][times][outputs]` states, observed in part or
    /// whole.
    ///
    /// Times of the samples' own are those that [`GpuTrainer::set_times`] was given before, a row a sample; targets are
    /// `[N][slots][outputs]` then, as many slots as the longest sample has times, and nothing is read where a sample has fewer. The
    /// data set keeps these times: [`GpuTrainer::step_on`] and [`GpuTrainer::evaluate_on`] take those of the samples that they
    /// are told, whatever times batches are given meanwhile.
    ///
    /// ```no_run
    /// use fewsteps::{Field, Gpu, GpuTrainer, Loss, NeuralDe, Pick, Problem, SolverOptions, Target, Times, TrainerConfig};
    /// # fn main() -> fewsteps::Result<()> {
    /// let field = Field::build(1, |f| -f.positive("rate", &[0.3]) * f.state())?;
    /// let model = NeuralDe::new(Problem::ode(field, 0.0, 1.0), SolverOptions::default());
    /// let gpu = Gpu::open(&Pick::Any)?;
    /// let mut trainer = GpuTrainer::new(&gpu, TrainerConfig::new(model, Loss::Mse))?;
    /// trainer.set_times(Some(Times::series(&[vec![0.0, 0.5, 2.0], vec![3.0, 3.5]])?))?;
    /// // Two samples of at most three times: the second one has two.
    /// let states = [1.0, 0.61, 0.14, 2.0, 1.21, f32::NAN];
    /// let data = gpu.block_on(trainer.upload(&[1.0, 2.0], Target::States(&states)))?;
    /// let report = gpu.block_on(trainer.step_on(&data, &[1, 0, 1]))?;
    /// # assert!(report.loss.is_finite());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::NonFinite`] for data that do not fit the model, [`Error::Argument`] for other targets than its
    /// loss takes, and times of another number of rows; [`Error::Limit`] when they do not fit into a binding of the device: stream
    /// batches with [`GpuTrainer::step`] then.
    pub async fn upload(&self, inputs: &[f32], target: Target<'_, f32>) -> Result<GpuData> {
        let model = &self.state.config.model;
        let samples = model.check_inputs(inputs)?;
        let slots = self.times.as_ref().map_or_else(|| model.output_times(), Times::slots);
        let shares = self.check_data(samples, slots, &target)?;
        let targets: &[u8] = match target {
            Target::Labels(labels) => bytemuck::cast_slice(labels),
            Target::States(states) | Target::Observed { states, .. } => bytemuck::cast_slice(states),
            Target::Nothing => &[],
            Target::Moments { .. } => {
                let remedy = "moments belong to a batch, not to its samples: use GpuTrainer::step";
                return Err(Error::argument("Target::Moments", "in a data set", remedy));
            }
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
                times: self.times.clone(),
                slots,
                widths: self.widths(slots),
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

    /// Checks a data set's targets, in which the times of a sample are one after the other; what its numbers count, where not all
    /// count alike.
    fn check_data(&self, samples: usize, slots: usize, target: &Target<'_, f32>) -> Result<Option<Shares>> {
        let (loss, outputs) = (self.state.config.loss, self.parts.outputs);
        let of_a_sample = slots * outputs;
        let has = |sample: usize, slot: usize| self.times.as_ref().is_none_or(|times| times.has(sample, slot));
        let check_len = |name, numbers: &[f32]| {
            let shape = || format!("[{samples}][{slots}][{outputs}]");
            Error::check_len(name, numbers.len(), samples * of_a_sample, shape)
        };
        if let Some(times) = &self.times {
            times.check_batch(samples)?;
        }
        match *target {
            Target::States(states) => {
                check_len("Target::States", states)?;
                target.check_where(loss, 1, samples * slots, outputs, |_, at| has(at / slots, at % slots))?;
                let all_alike = || vec![1.0; states.len()];
                Ok(self.times.as_ref().map(|_| Shares::of_samples(&all_alike(), [slots, outputs], has)))
            }
            Target::Observed { states, weights } => {
                check_len("Target::Observed::states", states)?;
                check_len("Target::Observed::weights", weights)?;
                let there = |i: usize| has(i / of_a_sample, i % of_a_sample / outputs);
                let seen: Vec<f32> =
                    weights.iter().enumerate().map(|(i, weight)| if there(i) { *weight } else { 0.0 }).collect();
                // It is looked at all numbers of a sample at once.
                Target::Observed { states, weights: &seen }.check(loss, samples, 1, of_a_sample)?;
                Ok(Some(Shares::of_samples(weights, [slots, outputs], has)))
            }
            _ => target.check(loss, samples, slots, outputs).map(|()| None),
        }
    }

    /// Numbers in an input, and in a target of so many times.
    fn widths(&self, times: usize) -> [usize; 2] {
        [self.parts.inputs, self.state.config.loss.target_len(1, times, self.parts.outputs)]
    }

    /// Has the solves that follow those times that samples of a data set have.
    ///
    /// # Errors
    /// [`Error::Argument`] where they have none, and batches have.
    fn take_times_of(&mut self, data: &GpuData, samples: &[u32]) -> Result<()> {
        let Some(all) = &data.times else {
            self.take_times_back()?;
            let remedy = "the data set has none: upload it while they are its samples', or set_times(None)";
            return self.engine.refuse_times(remedy);
        };
        let rows: Vec<usize> = samples.iter().map(|sample| *sample as usize).collect();
        let chosen = all.select(&rows)?;
        if self.lent != Some(*data.id) {
            self.take_times(Some(all.clone()))?;
            self.lent = Some(*data.id);
        }
        if self.engine.choose_times(chosen.clone()) {
            self.held = None;
        }
        self.state.times = Some(chosen);
        Ok(())
    }

    /// Collects a batch from a data set on the device, for a training step or an evaluation; the number of its trajectories.
    pub(super) async fn gather(&mut self, data: &GpuData, samples: &[u32], training: bool) -> Result<usize> {
        if samples.is_empty() {
            return Err(Error::argument("samples", "[]", "name at least one sample"));
        }
        if let Some(index) = samples.iter().find(|i| **i as usize >= data.samples) {
            return Err(Error::argument("samples", index, format!("samples count from 0 to {}", data.samples - 1)));
        }
        self.take_times_of(data, samples)?;
        let widths = self.widths(if data.times.is_some() { data.slots } else { self.parts.times });
        if data.widths != widths {
            let remedy = format!("inputs and targets of this model have {widths:?} numbers: upload its own");
            return Err(Error::argument("data", format!("{:?} numbers", data.widths), remedy));
        }
        let BatchUse { purpose, drawing, .. } = self.asked(training);
        self.check_own_times(samples.len(), purpose)?;
        let samples = repeated(samples, 1, drawing.copies);
        let count = samples.len();
        self.weigh(data.weights.is_some());
        self.aim(count, purpose)?;
        self.reserve(count, purpose, 0).await?;
        self.send_normals(count, drawing)?;
        self.engine.use_times(&self.rooms()?.engine, drawing.copies);
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
        // Times that the data set has and the batch has room for, and numbers at each.
        let shape = match self.state.config.loss {
            Loss::CrossEntropy => [1, 1, 1],
            Loss::NegativeLogLikelihood => [0, 0, 0],
            _ => [data.slots, self.parts.times, self.parts.outputs],
        };
        let targets = shape[1] * count * shape[2];
        let mut gathered = vec![(&data.inputs, &batch.inputs, [1, 1, self.parts.inputs], 0)];
        gathered.push((&data.targets, &batch.targets, shape, 0));
        if let Some([shares, sums]) = &data.weights {
            gathered.push((shares, &batch.targets, shape, targets));
            gathered.push((sums, &batch.targets, [1, 1, 1], 2 * targets));
        }
        let plan = Planner::record(&self.engine.gpu, |planner| {
            for (from, to, [held, times, width], first) in gathered {
                if width == 0 {
                    continue;
                }
                let args = GatherArgs { held: word(held), times: word(times), width: word(width), first: word(first) };
                let grid = flat((times * count * width).div_ceil(64));
                planner.add(&kernel, &[&samples, from, to], self.engine.head(count), args, grid);
            }
            planner.take()
        });
        Gather { from: Arc::downgrade(&data.id), samples, plan }
    }
}
