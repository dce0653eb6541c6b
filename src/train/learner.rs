//! [`Learner`]: a trainer, whatever the engine and the scalar type.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;

use super::batches::Batch;
use super::config::TrainerConfig;
use super::cpu::Trainer;
use super::gpu::{GpuData, GpuTrainer};
use super::report::{Evaluation, StepReport};
use crate::cpu::{Cpu, Scalar};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
#[cfg(not(target_arch = "wasm32"))]
use crate::gpu::wait;
use crate::method::{Learnt, Regularizer, SolverOptions, Target};
use crate::problem::{Paths, Times, Trace};

/// What a [`Learner`] computes on.
pub trait Backend: Clone {
    /// Whether it has a memory of its own, for which [`Learner::hold`] is worth a copy.
    const OWN_MEMORY: bool;

    /// The native engine, beside or below this one.
    ///
    /// # Errors
    /// As [`Cpu::new`].
    fn native(&self) -> Result<Cpu>;

    /// Waits for what a learner answers, which a browser cannot.
    #[cfg(not(target_arch = "wasm32"))]
    fn wait<T>(&self, answer: impl Future<Output = T>) -> T;
}

impl Backend for Cpu {
    const OWN_MEMORY: bool = false;

    fn native(&self) -> Result<Cpu> {
        Ok(self.clone())
    }

    // The native engine's answers are there at once.
    #[cfg(not(target_arch = "wasm32"))]
    fn wait<T>(&self, answer: impl Future<Output = T>) -> T {
        wait(answer)
    }
}

impl Backend for Gpu {
    const OWN_MEMORY: bool = true;

    fn native(&self) -> Result<Cpu> {
        Cpu::new()
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn wait<T>(&self, answer: impl Future<Output = T>) -> T {
        self.block_on(answer)
    }
}

/// A model in training, whatever the engine: what [`Trainer`] and [`GpuTrainer`] have in common, for code that is generic
/// over them. Errors are those of their methods of the same names.
///
/// Answers are futures, which the native engine has ready at once: a browser cannot wait. Whoever can takes
/// [`Blocking`](super::Blocking).
///
/// ```
/// use fewsteps::{Batch, Blocking, Cpu, Learner, Loss, Mlp, NeuralDe, Problem, SolverOptions, Target, Trainer, TrainerConfig};
/// fn train<L: Learner>(engine: &L::Engine, config: TrainerConfig, batch: &Batch<'_, L::Scalar>) -> fewsteps::Result<f64> {
///     let mut learner = Blocking::<L>::new(engine, config)?;
///     (0..10).try_for_each(|_| learner.step(batch).map(|_| ()))?;
///     Ok(learner.evaluate(batch)?.loss)
/// }
/// # fn main() -> fewsteps::Result<()> {
/// let model = NeuralDe::new(Problem::ode(Mlp::new([2, 16, 2]), 0.0, 1.0), SolverOptions::default());
/// let batch = Batch { inputs: &[1.0, 0.0], target: Target::States(&[0.0, 1.0]) };
/// let loss = train::<Trainer<f32>>(&Cpu::new()?, TrainerConfig::new(model, Loss::Mse), &batch)?;
/// # assert!(loss.is_finite());
/// # Ok(())
/// # }
/// ```
#[allow(clippy::missing_errors_doc, reason = "they are those of the trainers' methods of the same names")]
pub trait Learner: Sized {
    /// What it computes on.
    type Engine: Backend;
    /// The numbers it computes with.
    type Scalar: Scalar;
    /// A data set in the engine's own memory.
    type Data;

    /// With freshly drawn parameters.
    fn new(engine: &Self::Engine, config: TrainerConfig) -> Result<Self>;

    /// From a checkpoint, with its metadata.
    fn resume(engine: &Self::Engine, path: &Path) -> Result<(Self, BTreeMap<String, String>)>;

    /// From a checkpoint, as it is to be predicted with, which is not as it was trained.
    fn deployed(engine: &Self::Engine, path: &Path) -> Result<(Self, BTreeMap<String, String>)>;

    /// What it computes on.
    fn engine(&self) -> Self::Engine;

    /// The configuration.
    fn config(&self) -> &TrainerConfig;

    /// Updates made or skipped so far.
    fn steps(&self) -> u64;

    /// Bytes that the engine holds now.
    fn bytes(&self) -> u64;

    /// Bytes that a training step on `batch` trajectories needs when `steps` steps are accepted.
    fn workspace(&self, batch: usize, steps: usize) -> u64;

    /// Dispatches of the last training step on `batch` trajectories, where the engine has such.
    fn dispatches(&self, _batch: usize) -> Option<usize> {
        None
    }

    /// Replaces the parameters; the optimizer's state stays.
    fn set_parameters(&mut self, theta: &[Self::Scalar]) -> Result<()>;

    /// Sets the values of a control at its knots, for the batches after this one.
    fn set_control(&mut self, name: &str, values: &[Self::Scalar]) -> Result<()>;

    /// Gives the trajectories of the batches after this one intervals and saved times of their own, where the engine knows
    /// such.
    fn set_times(&mut self, times: Option<Times>) -> Result<()>;

    /// Goes on with what other solves have taught.
    fn set_learnt(&mut self, learnt: Learnt) -> Result<()>;

    /// The parameters.
    fn parameters(&mut self) -> impl Future<Output = Result<Vec<Self::Scalar>>>;

    /// What its training steps have taught the solves that follow.
    fn learnt(&mut self) -> impl Future<Output = Result<Learnt>>;

    /// Goes on with another configuration of the same tensors.
    fn reconfigure(&mut self, config: TrainerConfig) -> impl Future<Output = Result<()>>;

    /// Solves the model otherwise from here on. What penalised its training is of no matter for that.
    fn solve_by(&mut self, options: &SolverOptions) -> impl Future<Output = Result<()>> {
        let mut config = self.config().clone();
        (config.model.options, config.regularizer) = (options.clone(), Regularizer::None);
        self.reconfigure(config)
    }

    /// One training step: solve, loss, penalty, gradient, update.
    fn step(&mut self, batch: &Batch<'_, Self::Scalar>) -> impl Future<Output = Result<StepReport>>;

    /// Evaluates the model on a batch. Never regularizes.
    fn evaluate(&mut self, batch: &Batch<'_, Self::Scalar>) -> impl Future<Output = Result<Evaluation>>;

    /// As [`Learner::evaluate`], of the mean output over as many paths of each trajectory.
    fn evaluate_mean(
        &mut self,
        batch: &Batch<'_, Self::Scalar>,
        paths: usize,
    ) -> impl Future<Output = Result<Evaluation>>;

    /// The outputs, `[times][B][outputs]`, along these paths if there is noise.
    fn predict_along(
        &mut self,
        inputs: &[Self::Scalar],
        paths: Paths,
    ) -> impl Future<Output = Result<Vec<Self::Scalar>>>;

    /// The outputs from initial states that are drawn, and along paths of their own, the `sample`-th draw.
    fn predict_drawn(
        &mut self,
        inputs: &[Self::Scalar],
        sample: usize,
    ) -> impl Future<Output = Result<Vec<Self::Scalar>>>;

    /// The log-density of each point, of a model that has one.
    fn log_density(&mut self, points: &[Self::Scalar]) -> impl Future<Output = Result<Vec<f64>>>;

    /// Samples `[count][D]`, of a model that has a density.
    fn sample(&mut self, count: usize, seed: u64) -> impl Future<Output = Result<Vec<Self::Scalar>>>;

    /// Writes a checkpoint, whole or not at all.
    fn save(&mut self, path: &Path, metadata: &BTreeMap<String, String>) -> impl Future<Output = Result<()>>;

    /// Copies a data set, sample by sample, into the engine's own memory; `None` where it has none, or the data do not
    /// fit, or are moments, which belong to a batch and not to its samples, or a flow draws signs for each solve. Times of the
    /// samples' own are those that were set before.
    fn hold(&self, data: &Batch<'_, Self::Scalar>) -> impl Future<Output = Result<Option<Self::Data>>>;

    /// A training step on these samples of a data set that is held.
    fn step_on(&mut self, data: &Self::Data, samples: &[u32]) -> impl Future<Output = Result<StepReport>>;
}

impl<R: Scalar> Learner for Trainer<R> {
    type Engine = Cpu;
    type Scalar = R;
    /// The memory is the host's: no data set is held elsewhere.
    type Data = Infallible;

    fn new(cpu: &Cpu, config: TrainerConfig) -> Result<Self> {
        Self::new(cpu, config)
    }

    fn resume(cpu: &Cpu, path: &Path) -> Result<(Self, BTreeMap<String, String>)> {
        Self::resume(cpu, path)
    }

    fn deployed(cpu: &Cpu, path: &Path) -> Result<(Self, BTreeMap<String, String>)> {
        Self::deployed(cpu, path)
    }

    fn engine(&self) -> Cpu {
        self.cpu()
    }

    fn config(&self) -> &TrainerConfig {
        self.config()
    }

    fn steps(&self) -> u64 {
        self.steps()
    }

    fn bytes(&self) -> u64 {
        self.bytes() as u64
    }

    fn workspace(&self, batch: usize, steps: usize) -> u64 {
        self.workspace(batch, steps).total() as u64
    }

    fn set_parameters(&mut self, theta: &[R]) -> Result<()> {
        self.set_parameters(theta)
    }

    fn set_control(&mut self, name: &str, values: &[R]) -> Result<()> {
        self.set_control(name, values)
    }

    fn set_times(&mut self, times: Option<Times>) -> Result<()> {
        self.set_times(times)
    }

    fn set_learnt(&mut self, learnt: Learnt) -> Result<()> {
        self.set_learnt(learnt)
    }

    async fn parameters(&mut self) -> Result<Vec<R>> {
        Ok(Self::parameters(self).to_vec())
    }

    async fn learnt(&mut self) -> Result<Learnt> {
        Ok(Self::learnt(self))
    }

    async fn reconfigure(&mut self, config: TrainerConfig) -> Result<()> {
        self.reconfigure(config)
    }

    async fn step(&mut self, batch: &Batch<'_, R>) -> Result<StepReport> {
        self.step(batch)
    }

    async fn evaluate(&mut self, batch: &Batch<'_, R>) -> Result<Evaluation> {
        self.evaluate(batch)
    }

    async fn evaluate_mean(&mut self, batch: &Batch<'_, R>, paths: usize) -> Result<Evaluation> {
        self.evaluate_mean(batch, paths)
    }

    async fn predict_along(&mut self, inputs: &[R], paths: Paths) -> Result<Vec<R>> {
        self.predict_along(inputs, paths)
    }

    async fn predict_drawn(&mut self, inputs: &[R], sample: usize) -> Result<Vec<R>> {
        self.predict_drawn(inputs, sample)
    }

    async fn log_density(&mut self, points: &[R]) -> Result<Vec<f64>> {
        self.log_density(points)
    }

    async fn sample(&mut self, count: usize, seed: u64) -> Result<Vec<R>> {
        self.sample(count, seed)
    }

    async fn save(&mut self, path: &Path, metadata: &BTreeMap<String, String>) -> Result<()> {
        Self::save(self, path, metadata)
    }

    async fn hold(&self, _: &Batch<'_, R>) -> Result<Option<Infallible>> {
        Ok(None)
    }

    async fn step_on(&mut self, data: &Infallible, _: &[u32]) -> Result<StepReport> {
        match *data {}
    }
}

impl Learner for GpuTrainer {
    type Engine = Gpu;
    type Scalar = f32;
    type Data = GpuData;

    fn new(gpu: &Gpu, config: TrainerConfig) -> Result<Self> {
        Self::new(gpu, config)
    }

    fn resume(gpu: &Gpu, path: &Path) -> Result<(Self, BTreeMap<String, String>)> {
        Self::resume(gpu, path)
    }

    fn deployed(gpu: &Gpu, path: &Path) -> Result<(Self, BTreeMap<String, String>)> {
        Self::deployed(gpu, path)
    }

    fn engine(&self) -> Gpu {
        self.gpu().clone()
    }

    fn config(&self) -> &TrainerConfig {
        self.config()
    }

    fn steps(&self) -> u64 {
        self.steps()
    }

    fn bytes(&self) -> u64 {
        self.bytes() as u64
    }

    fn workspace(&self, batch: usize, steps: usize) -> u64 {
        self.workspace(batch, steps)
    }

    fn dispatches(&self, batch: usize) -> Option<usize> {
        self.dispatches(batch)
    }

    fn set_parameters(&mut self, theta: &[f32]) -> Result<()> {
        self.set_parameters(theta)
    }

    fn set_control(&mut self, name: &str, values: &[f32]) -> Result<()> {
        self.set_control(name, values)
    }

    fn set_times(&mut self, times: Option<Times>) -> Result<()> {
        self.set_times(times)
    }

    fn set_learnt(&mut self, learnt: Learnt) -> Result<()> {
        self.set_learnt(learnt)
    }

    async fn parameters(&mut self) -> Result<Vec<f32>> {
        self.parameters().await
    }

    async fn learnt(&mut self) -> Result<Learnt> {
        self.learnt().await
    }

    async fn reconfigure(&mut self, config: TrainerConfig) -> Result<()> {
        self.reconfigure(config).await
    }

    async fn step(&mut self, batch: &Batch<'_, f32>) -> Result<StepReport> {
        self.step(batch).await
    }

    async fn evaluate(&mut self, batch: &Batch<'_, f32>) -> Result<Evaluation> {
        self.evaluate(batch).await
    }

    async fn evaluate_mean(&mut self, batch: &Batch<'_, f32>, paths: usize) -> Result<Evaluation> {
        self.evaluate_mean(batch, paths).await
    }

    async fn predict_along(&mut self, inputs: &[f32], paths: Paths) -> Result<Vec<f32>> {
        self.predict_along(inputs, paths).await
    }

    async fn predict_drawn(&mut self, inputs: &[f32], sample: usize) -> Result<Vec<f32>> {
        self.predict_drawn(inputs, sample).await
    }

    async fn log_density(&mut self, points: &[f32]) -> Result<Vec<f64>> {
        self.log_density(points).await
    }

    async fn sample(&mut self, count: usize, seed: u64) -> Result<Vec<f32>> {
        self.sample(count, seed).await
    }

    async fn save(&mut self, path: &Path, metadata: &BTreeMap<String, String>) -> Result<()> {
        self.save(path, metadata).await
    }

    async fn hold(&self, data: &Batch<'_, f32>) -> Result<Option<GpuData>> {
        let signs = self.config().model.of_points() == Some(Trace::Hutchinson);
        if matches!(data.target, Target::Moments { .. }) || signs {
            return Ok(None);
        }
        match self.upload(data.inputs, data.target).await {
            Err(Error::Limit { needed, limit, .. }) => {
                let why = format!("{needed} bytes in one array, of which a binding takes {limit}");
                log::info!("the training set stays off the device ({why}); batches are sent instead");
                Ok(None)
            }
            held => held.map(Some),
        }
    }

    async fn step_on(&mut self, data: &GpuData, samples: &[u32]) -> Result<StepReport> {
        self.step_on(data, samples).await
    }
}
