//! [`Learner`]: a model in training, as the page sees it.

use fewsteps::{Gpu, GpuTrainer};
use wasm_bindgen::prelude::*;

use crate::picture::Picture;
use crate::task::Task;

/// A model in training.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Learner {
    pub(crate) trainer: GpuTrainer,
    pub(crate) picture: Option<Picture>,
    task: Task,
    seed: u64,
}

/// What a training step cost and brought.
#[wasm_bindgen]
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The task's loss: a mean squared error, or nats.
    pub loss: f64,
    /// Evaluations of the field in the solve.
    pub nfe: f64,
    /// What the regularizer measured, without its price.
    pub penalty: f64,
}

/// What came of the samples that are tested on.
#[wasm_bindgen]
#[derive(Clone, Copy, Debug)]
pub struct Score {
    /// Their loss.
    pub loss: f64,
    /// Evaluations of the field.
    pub nfe: f64,
    /// Share of the labels that were told right; NaN where there are none.
    pub accuracy: f64,
}

impl Learner {
    pub(crate) fn new(gpu: &Gpu, task: Task, seed: u64) -> fewsteps::Result<Self> {
        Ok(Self { trainer: GpuTrainer::new(gpu, task.config.clone())?, picture: None, task, seed })
    }
}

#[wasm_bindgen]
impl Learner {
    /// Makes a training step.
    pub async fn step(&mut self) -> Result<Step, JsError> {
        let samples = self.task.train.draw(self.seed, self.trainer.steps(), self.task.batch);
        let report = self.trainer.step(&samples.batch()).await?;
        Ok(Step { loss: report.loss, nfe: report.nfe as f64, penalty: report.penalty })
    }

    /// Measures the samples that are tested on.
    pub async fn evaluate(&mut self) -> Result<Score, JsError> {
        let found = self.trainer.evaluate(&self.task.test.batch()).await?;
        let labelled = matches!(self.task.test.targets, crate::task::Targets::Labels(_));
        let accuracy = if labelled { found.correct as f64 / found.count as f64 } else { f64::NAN };
        Ok(Score { loss: found.loss, nfe: found.nfe as f64, accuracy })
    }

    /// The parameters, in the order of the model's tensors.
    pub async fn parameters(&mut self) -> Result<js_sys::Float32Array, JsError> {
        Ok(js_sys::Float32Array::from(self.trainer.parameters().await?.as_slice()))
    }
}
