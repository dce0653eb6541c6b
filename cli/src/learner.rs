//! [`Learner`]: what the command asks of a trainer, whatever the engine and the scalar type.

use std::collections::BTreeMap;
use std::path::Path;

use fewsteps::{
    Batch, Cpu, Error, Evaluation, Gpu, GpuData, GpuTrainer, Learnt, Paths, Regularizer, Result, Scalar, SolverOptions,
    StepReport, Target, Trainer, TrainerConfig,
};

/// A model in training.
pub(crate) trait Learner: Sized {
    type Engine;
    type Scalar: Scalar;

    /// Whether the engine has a memory of its own, for which [`Learner::hold`] is worth a copy.
    const OWN_MEMORY: bool;

    /// The native engine, beside or below this one.
    fn native(engine: &Self::Engine) -> Result<Cpu>;

    fn new(engine: &Self::Engine, config: TrainerConfig) -> Result<Self>;
    fn resume(engine: &Self::Engine, path: &Path) -> Result<(Self, BTreeMap<String, String>)>;
    /// As it is to be predicted with, which is not as it was trained.
    fn deployed(engine: &Self::Engine, path: &Path) -> Result<(Self, BTreeMap<String, String>)>;
    fn save(&mut self, path: &Path, metadata: &BTreeMap<String, String>) -> Result<()>;

    fn config(&self) -> &TrainerConfig;
    fn steps(&self) -> u64;
    fn parameters(&mut self) -> Result<Vec<Self::Scalar>>;

    fn set_parameters(&mut self, theta: &[Self::Scalar]) -> Result<()>;

    /// What its training steps have taught the solves that follow.
    fn learnt(&mut self) -> Result<Learnt>;
    fn set_learnt(&mut self, learnt: Learnt) -> Result<()>;

    /// Goes on with another configuration of the same tensors.
    fn reconfigure(&mut self, config: TrainerConfig) -> Result<()>;

    /// Solves the model otherwise from here on. What penalised its training is of no matter for that.
    fn solve_by(&mut self, options: &SolverOptions) -> Result<()> {
        let mut config = self.config().clone();
        (config.model.options, config.regularizer) = (options.clone(), Regularizer::None);
        self.reconfigure(config)
    }

    fn step(&mut self, batch: &Batch<'_, Self::Scalar>) -> Result<StepReport>;
    fn evaluate(&mut self, batch: &Batch<'_, Self::Scalar>) -> Result<Evaluation>;

    /// As [`Learner::evaluate`], of the mean output over as many paths of each trajectory.
    fn evaluate_mean(&mut self, batch: &Batch<'_, Self::Scalar>, paths: usize) -> Result<Evaluation>;

    /// The outputs, `[times][B][outputs]`, along these paths if there is noise.
    fn predict(&mut self, inputs: &[Self::Scalar], paths: Paths) -> Result<Vec<Self::Scalar>>;

    /// Copies the training set, sample by sample, into the engine's memory if it fits there.
    fn hold(&mut self, data: &Batch<'_, Self::Scalar>) -> Result<()>;

    /// A training step on samples of the set that is held; `None` where none is.
    fn step_on_held(&mut self, indices: &[usize]) -> Result<Option<StepReport>>;

    /// Bytes that the engine holds now.
    fn bytes(&self) -> u64;

    /// Bytes that a training step on `batch` trajectories needs when `steps` steps are accepted.
    fn workspace(&self, batch: usize, steps: usize) -> u64;

    /// Dispatches of a training step on `batch` trajectories, where the engine has such.
    fn dispatches(&self, batch: usize) -> Option<usize>;
}

impl<R: Scalar> Learner for Trainer<R> {
    type Engine = Cpu;
    type Scalar = R;

    const OWN_MEMORY: bool = false;

    fn native(cpu: &Cpu) -> Result<Cpu> {
        Ok(cpu.clone())
    }

    fn new(cpu: &Cpu, config: TrainerConfig) -> Result<Self> {
        Self::new(cpu, config)
    }

    fn resume(cpu: &Cpu, path: &Path) -> Result<(Self, BTreeMap<String, String>)> {
        Self::resume(cpu, path)
    }

    fn deployed(cpu: &Cpu, path: &Path) -> Result<(Self, BTreeMap<String, String>)> {
        Self::deployed(cpu, path)
    }

    fn save(&mut self, path: &Path, metadata: &BTreeMap<String, String>) -> Result<()> {
        Self::save(self, path, metadata)
    }

    fn config(&self) -> &TrainerConfig {
        self.config()
    }

    fn steps(&self) -> u64 {
        self.steps()
    }

    fn parameters(&mut self) -> Result<Vec<R>> {
        Ok(Self::parameters(self).to_vec())
    }

    fn set_parameters(&mut self, theta: &[R]) -> Result<()> {
        self.set_parameters(theta)
    }

    fn learnt(&mut self) -> Result<Learnt> {
        Ok(Self::learnt(self))
    }

    fn set_learnt(&mut self, learnt: Learnt) -> Result<()> {
        self.set_learnt(learnt)
    }

    fn reconfigure(&mut self, config: TrainerConfig) -> Result<()> {
        self.reconfigure(config)
    }

    fn step(&mut self, batch: &Batch<'_, R>) -> Result<StepReport> {
        self.step(batch)
    }

    fn evaluate(&mut self, batch: &Batch<'_, R>) -> Result<Evaluation> {
        self.evaluate(batch)
    }

    fn evaluate_mean(&mut self, batch: &Batch<'_, R>, paths: usize) -> Result<Evaluation> {
        self.evaluate_mean(batch, paths)
    }

    fn predict(&mut self, inputs: &[R], paths: Paths) -> Result<Vec<R>> {
        self.predict_along(inputs, paths)
    }

    fn hold(&mut self, _: &Batch<'_, R>) -> Result<()> {
        Ok(())
    }

    fn step_on_held(&mut self, _: &[usize]) -> Result<Option<StepReport>> {
        Ok(None)
    }

    fn bytes(&self) -> u64 {
        self.bytes() as u64
    }

    fn workspace(&self, batch: usize, steps: usize) -> u64 {
        self.workspace(batch, steps).total() as u64
    }

    fn dispatches(&self, _: usize) -> Option<usize> {
        None
    }
}

/// A trainer on a device, which waits for each of its answers.
#[derive(Debug)]
pub(crate) struct OnDevice {
    trainer: GpuTrainer,
    held: Option<GpuData>,
    indices: Vec<u32>,
}

impl OnDevice {
    fn of(trainer: GpuTrainer) -> Self {
        Self { trainer, held: None, indices: Vec::new() }
    }

    fn gpu(&self) -> Gpu {
        self.trainer.gpu().clone()
    }
}

impl Learner for OnDevice {
    type Engine = Gpu;
    type Scalar = f32;

    const OWN_MEMORY: bool = true;

    fn native(_: &Gpu) -> Result<Cpu> {
        Cpu::new()
    }

    fn new(gpu: &Gpu, config: TrainerConfig) -> Result<Self> {
        GpuTrainer::new(gpu, config).map(Self::of)
    }

    fn resume(gpu: &Gpu, path: &Path) -> Result<(Self, BTreeMap<String, String>)> {
        let (trainer, metadata) = GpuTrainer::resume(gpu, path)?;
        Ok((Self::of(trainer), metadata))
    }

    fn deployed(gpu: &Gpu, path: &Path) -> Result<(Self, BTreeMap<String, String>)> {
        let (trainer, metadata) = GpuTrainer::deployed(gpu, path)?;
        Ok((Self::of(trainer), metadata))
    }

    fn save(&mut self, path: &Path, metadata: &BTreeMap<String, String>) -> Result<()> {
        self.gpu().block_on(self.trainer.save(path, metadata))
    }

    fn config(&self) -> &TrainerConfig {
        self.trainer.config()
    }

    fn steps(&self) -> u64 {
        self.trainer.steps()
    }

    fn parameters(&mut self) -> Result<Vec<f32>> {
        self.gpu().block_on(self.trainer.parameters())
    }

    fn set_parameters(&mut self, theta: &[f32]) -> Result<()> {
        self.trainer.set_parameters(theta)
    }

    fn learnt(&mut self) -> Result<Learnt> {
        self.gpu().block_on(self.trainer.learnt())
    }

    fn set_learnt(&mut self, learnt: Learnt) -> Result<()> {
        self.trainer.set_learnt(learnt)
    }

    fn reconfigure(&mut self, config: TrainerConfig) -> Result<()> {
        self.gpu().block_on(self.trainer.reconfigure(config))
    }

    fn step(&mut self, batch: &Batch<'_, f32>) -> Result<StepReport> {
        self.gpu().block_on(self.trainer.step(batch))
    }

    fn evaluate(&mut self, batch: &Batch<'_, f32>) -> Result<Evaluation> {
        self.gpu().block_on(self.trainer.evaluate(batch))
    }

    fn evaluate_mean(&mut self, batch: &Batch<'_, f32>, paths: usize) -> Result<Evaluation> {
        self.gpu().block_on(self.trainer.evaluate_mean(batch, paths))
    }

    fn predict(&mut self, inputs: &[f32], paths: Paths) -> Result<Vec<f32>> {
        self.gpu().block_on(self.trainer.predict_along(inputs, paths))
    }

    fn hold(&mut self, data: &Batch<'_, f32>) -> Result<()> {
        if matches!(data.target, Target::Moments { .. }) {
            return Ok(()); // They belong to a batch and not to its samples, so they go along with each.
        }
        match self.gpu().block_on(self.trainer.upload(data.inputs, data.target)) {
            Ok(held) => self.held = Some(held),
            Err(Error::Limit { needed, limit, .. }) => {
                let why = format!("{needed} bytes in one array, of which a binding takes {limit}");
                log::info!("the training set stays off the device ({why}); batches are sent instead");
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn step_on_held(&mut self, indices: &[usize]) -> Result<Option<StepReport>> {
        let gpu = self.gpu();
        let Some(held) = &self.held else { return Ok(None) };
        self.indices.clear();
        // An index beyond u32 is beyond any data set that a binding takes: it is refused as such.
        self.indices.extend(indices.iter().map(|&i| u32::try_from(i).unwrap_or(u32::MAX)));
        gpu.block_on(self.trainer.step_on(held, &self.indices)).map(Some)
    }

    fn bytes(&self) -> u64 {
        self.trainer.bytes() as u64
    }

    fn workspace(&self, batch: usize, steps: usize) -> u64 {
        self.trainer.workspace(batch, steps)
    }

    fn dispatches(&self, batch: usize) -> Option<usize> {
        self.trainer.dispatches(batch)
    }
}
