//! [`Probe`]: what two models, without and with the regularizer, differ in, and what their gradients are. All of it on the
//! native engine at `f64`.

use std::path::Path;

use fewsteps::{
    CheckpointInfo, Cpu, Learnt, Loss, Paths, Purpose, Random, Regularizer, SaveAt, Scalar, StepControl, Tolerances,
    Trainer, TrainerConfig,
};
use serde::Serialize;

use crate::data::{BatchBuffer, Samples};
use crate::numbers;

/// Trajectories that are compared, and equal parts of the interval at whose ends.
const TRAJECTORIES: usize = 32;
const PARTS: usize = 8;

/// Draws of the penalty that its gradient is a mean over.
const DRAWS: u64 = 4;

/// Equal steps of the solve whose gradient is compared with differences: a tolerance's steps would change with the
/// parameters.
const STEPS: usize = 8;

/// A trained model.
struct Trained {
    config: TrainerConfig,
    theta: Vec<f64>,
    learnt: Learnt,
}

/// How far two models are from each other at a time: root mean squares over the trajectories, relative to those without
/// the regularizer.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Apart {
    #[serde(with = "numbers")]
    pub(super) time: f64,
    #[serde(with = "numbers")]
    pub(super) trajectories: f64,
    #[serde(with = "numbers")]
    pub(super) fields: f64,
}

/// What was found.
#[derive(Debug)]
pub(super) struct Probe {
    /// At times inside the interval.
    pub(super) apart: Vec<Apart>,
    pub(super) gradient_ratio: f64,
    pub(super) field_error: f64,
    pub(super) loss_error: f64,
}

impl Probe {
    /// Of the checkpoints of trainings at `R` without and with the regularizer.
    pub(super) fn of<R: Scalar>(
        cpu: &Cpu,
        checkpoints: [&Path; 2],
        samples: &Samples,
        batch: usize,
    ) -> anyhow::Result<Self> {
        let [without, with] = [load::<R>(cpu, checkpoints[0])?, load::<R>(cpu, checkpoints[1])?];
        let (apart, field_error) = compare(cpu, &without, &with, samples)?;
        Ok(Self {
            apart,
            gradient_ratio: gradient_ratio(cpu, &without, &with, samples, batch)?,
            field_error,
            loss_error: loss_error(cpu, &without, samples, batch.min(TRAJECTORIES))?,
        })
    }
}

fn load<R: Scalar>(cpu: &Cpu, path: &Path) -> anyhow::Result<Trained> {
    let CheckpointInfo { config, learnt, .. } = CheckpointInfo::read(path)?;
    let (trainer, _) = Trainer::<R>::resume(cpu, path)?;
    Ok(Trained { config, theta: trainer.parameters().iter().map(|x| x.to_f64()).collect(), learnt })
}

impl Trained {
    /// The parameters of the field.
    fn field(&self) -> &[f64] {
        let model = &self.config.model;
        let first = model.layout().iter().find(|tensor| tensor.name.starts_with("field")).map_or(0, |t| t.offset);
        &self.theta[first..first + model.problem.field.parameter_count()]
    }

    /// The states before the head at `times`: `[times][B][D]`.
    fn states(&self, cpu: &Cpu, inputs: &[f64], times: &[f64]) -> fewsteps::Result<Vec<f64>> {
        let mut model = self.config.model.clone();
        let options = &mut model.options;
        (options.save_at, options.memory_limit, options.atol_per_feature) = (SaveAt::Times(times.to_vec()), None, None);
        if model.problem.diffusion.is_none() {
            options.step_control = StepControl::prompt(Tolerances::both(1e-8));
        }
        model.head = None;
        let mut trainer = Trainer::<f64>::new(cpu, TrainerConfig::new(model, Loss::Mse).seed(self.config.seed))?;
        let used = trainer.parameters().len();
        trainer.set_parameters(&self.theta[..used])?;
        trainer.predict_along(inputs, Paths::of_evaluation(self.config.seed, 0))
    }

    /// The gradient of a batch at this model's parameters, with another configuration.
    fn gradient(
        &self,
        cpu: &Cpu,
        config: TrainerConfig,
        samples: &Samples,
        first: usize,
        count: usize,
    ) -> fewsteps::Result<(f64, Vec<f64>)> {
        let mut trainer = Trainer::<f64>::new(cpu, config)?;
        trainer.set_parameters(&self.theta)?;
        trainer.set_learnt(self.learnt)?;
        let indices: Vec<usize> = (first..first + count).map(|i| i % samples.len()).collect();
        let found = trainer.gradients(&BatchBuffer::default().gather(samples, &indices))?;
        Ok((found.report.loss, found.gradient))
    }
}

/// How far the models are apart inside the interval, and the largest error of the field's derivatives there.
fn compare(cpu: &Cpu, without: &Trained, with: &Trained, samples: &Samples) -> anyhow::Result<(Vec<Apart>, f64)> {
    let problem = &without.config.model.problem;
    let (t0, t1, dim) = (problem.t0, problem.t1, problem.dim());
    let times: Vec<f64> = (1..=PARTS).map(|k| t0 + (t1 - t0) * k as f64 / PARTS as f64).collect();
    let first: Vec<usize> = (0..samples.len().min(TRAJECTORIES)).collect();
    let mut buffer = BatchBuffer::<f64>::default();
    let inputs = buffer.gather(samples, &first).inputs;
    let [a, b] = [without.states(cpu, inputs, &times)?, with.states(cpu, inputs, &times)?];
    let (mut apart, mut error) = (Vec::new(), 0f64);
    let at_once = first.len() * dim;
    for (k, (&time, (a, b))) in times.iter().zip(a.chunks_exact(at_once).zip(b.chunks_exact(at_once))).enumerate() {
        if k + 1 == PARTS {
            break;
        }
        let (mut f, mut g) = (Vec::new(), Vec::new());
        for y in a.chunks_exact(dim).filter(|y| y.iter().all(|x| x.is_finite())) {
            f.extend(problem.field.evaluate(without.field(), time, y, &[])?);
            g.extend(with.config.model.problem.field.evaluate(with.field(), time, y, &[])?);
        }
        if let Some(y) = a.chunks_exact(dim).find(|y| y.iter().all(|x| x.is_finite())).filter(|_| k % 3 == 0) {
            let worst = problem.field.check_gradient(without.field(), time, y, &[], k as u64)?.worst();
            error = if worst.is_nan() { worst } else { error.max(worst) };
        }
        apart.push(Apart { time, trajectories: relative(b, a), fields: relative(&g, &f) });
    }
    Ok((apart, error))
}

/// Norm of the gradient of coefficient times penalty over that of the task's loss, at the parameters of the model without
/// the regularizer.
fn gradient_ratio(
    cpu: &Cpu,
    without: &Trained,
    with: &Trained,
    samples: &Samples,
    batch: usize,
) -> anyhow::Result<f64> {
    let mut sum = 0.0;
    for draw in 0..DRAWS {
        let config = with.config.clone().seed(draw);
        let first = draw as usize * batch;
        let plain = config.clone().regularizer(Regularizer::None);
        let (_, task) = without.gradient(cpu, plain, samples, first, batch)?;
        let (_, both) = without.gradient(cpu, config, samples, first, batch)?;
        let penalty: Vec<f64> = both.iter().zip(&task).map(|(both, task)| both - task).collect();
        sum += norm(&penalty) / norm(&task);
    }
    Ok(sum / DRAWS as f64)
}

/// The largest error of the loss's gradient through a solve of equal steps, against central differences in some
/// directions, relative to the derivative.
fn loss_error(cpu: &Cpu, model: &Trained, samples: &Samples, batch: usize) -> anyhow::Result<f64> {
    let mut config = model.config.clone().regularizer(Regularizer::None);
    config.model.options.step_control = StepControl::Fixed { steps: STEPS };
    let (_, gradient) = model.gradient(cpu, config.clone(), samples, 0, batch)?;
    let mut worst = 0f64;
    for draw in 0..3 {
        let mut random = Random::new(0, Purpose::Data, draw);
        let mut direction: Vec<f64> = gradient.iter().map(|_| random.normal()).collect();
        for tensor in config.model.layout() {
            let range = tensor.offset..tensor.offset + tensor.shape.iter().product::<usize>();
            // One without any gradient is frozen.
            if gradient[range.clone()].iter().all(|&x| x == 0.0) {
                direction[range].fill(0.0);
            }
        }
        let step = 1e-5 * norm(&model.theta).max(1.0) / norm(&direction);
        let mut losses = [0.0; 2];
        for (loss, sign) in losses.iter_mut().zip([1.0, -1.0]) {
            let theta = model.theta.iter().zip(&direction).map(|(x, d)| x + sign * step * d).collect();
            let moved = Trained { config: config.clone(), theta, learnt: model.learnt };
            (*loss, _) = moved.gradient(cpu, config.clone(), samples, 0, batch)?;
        }
        let exact: f64 = gradient.iter().zip(&direction).map(|(g, d)| g * d).sum();
        let difference = (losses[0] - losses[1]) / (2.0 * step);
        let scale = exact.abs().max(1e-2 * norm(&gradient) * norm(&direction) / (direction.len() as f64).sqrt());
        let error = (difference - exact).abs() / scale;
        worst = if error.is_nan() { error } else { worst.max(error) };
    }
    Ok(worst)
}

/// Norm of the difference over that of the second, over the numbers that both have.
fn relative(a: &[f64], b: &[f64]) -> f64 {
    let pairs = a.iter().zip(b).filter(|(a, b)| a.is_finite() && b.is_finite());
    let (apart, size) = pairs.fold((0.0, 0.0), |(apart, size), (a, b)| (apart + (a - b) * (a - b), size + b * b));
    (apart / size).sqrt()
}

fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_relative() {
        assert_eq!(relative(&[3.0, 4.5, f64::NAN], &[3.0, 4.0, 1.0]), 0.1, "a half of five");
        assert_eq!(relative(&[1.0], &[1.0]), 0.0, "none");
        assert!(relative(&[], &[]).is_nan(), "of nothing");
    }
}
