//! Continuous normalizing flows: what a model whose field has a log-density knows of densities, and draws from them.

use std::borrow::Cow;
use std::f64::consts::TAU;

use super::config::TrainerConfig;
use super::cpu::Trainer;
use super::gpu::GpuTrainer;
use super::model::NeuralDe;
use crate::cpu::Scalar;
use crate::error::{Error, Result};
use crate::math::{Purpose, Random, Real};
use crate::method::{Loss, SaveAt, Streams};
use crate::problem::Trace;

/// `log N(z)` of a standard normal density.
fn log_normal(z: impl ExactSizeIterator<Item = f64>) -> f64 {
    let features = z.len() as f64;
    -0.5 * (z.map(|x| x * x).sum::<f64>() + features * TAU.ln())
}

impl NeuralDe {
    /// How the trace is computed, where inputs are points and initial states are made of them: of a field that has a
    /// log-density, with nothing before it.
    pub(super) const fn of_points(&self) -> Option<Trace> {
        if self.encoder.is_some() { None } else { self.problem.field.trace() }
    }

    /// Refuses a loss of densities for a model that has none.
    pub(super) fn check_density(&self, loss: Loss) -> Result<()> {
        if loss != Loss::NegativeLogLikelihood {
            return Ok(());
        }
        let refuse = |remedy: &str| Err(Error::argument("TrainerConfig::loss", "NegativeLogLikelihood", remedy));
        if self.problem.field.trace().is_none() {
            return refuse("it is of a field that has a log-density: take Field::with_log_density");
        }
        if self.encoder.is_some() || self.head.is_some() {
            return refuse("it is of the equation alone: leave encoder and head out");
        }
        if self.problem.diffusion.is_some() {
            return refuse("noise moves densities otherwise: take a problem without");
        }
        if self.options.save_at != SaveAt::End {
            return refuse("it is of the end of the interval: take SaveAt::End");
        }
        Ok(())
    }

    /// The initial states of points `[B][D]`: them, a log-density of 0, and signs where they are asked for. Other models'
    /// inputs are what they are.
    pub(super) fn initial_states<'a, R: Real>(&self, inputs: &'a [R], signs: Streams) -> Cow<'a, [R]> {
        let Some(trace) = self.of_points() else { return Cow::Borrowed(inputs) };
        let features = self.problem.field.features();
        let mut states = Vec::with_capacity(inputs.len() / features * self.problem.dim());
        for (trajectory, point) in inputs.chunks_exact(features).enumerate() {
            states.extend_from_slice(point);
            states.push(R::ZERO);
            let estimates = trace == Trace::Hutchinson;
            states.extend(signs.signs(trajectory).take(if estimates { features } else { 0 }).map(R::from_f64));
        }
        Cow::Owned(states)
    }

    /// The log-density of each point, in nats, from the model's outputs for them: `log N(z) - c` where a point ends at `z` and
    /// its log-density has changed by `c`. NaN for a trajectory that failed.
    ///
    /// # Errors
    /// [`Error::Argument`] for a model that has no density, [`Error::Shape`] for outputs of another width.
    pub fn log_densities<R: Real>(&self, outputs: &[R]) -> Result<Vec<f64>> {
        self.check_density(Loss::NegativeLogLikelihood)?;
        Error::check_rows("outputs", outputs.len(), self.problem.dim())?;
        let features = self.problem.field.features();
        let density = |state: &[R]| log_normal(state[..features].iter().map(|x| x.to_f64())) - state[features].to_f64();
        Ok(outputs.chunks_exact(self.problem.dim()).map(density).collect())
    }

    /// The model that draws samples: the field alone, solved backwards, so that its inputs are points of the standard normal
    /// density ([`NeuralDe::base`]) and its outputs are samples. Its parameters are those of this model.
    ///
    /// # Errors
    /// [`Error::Argument`] for a model that has no density.
    pub fn sampler(&self) -> Result<Self> {
        self.check_density(Loss::NegativeLogLikelihood)?;
        let mut sampler = self.clone();
        let problem = &mut sampler.problem;
        let features = problem.field.features();
        problem.field = problem.field.without_log_density().clone();
        (problem.t0, problem.t1) = (self.problem.t1, self.problem.t0);
        if let Some(atol) = &mut sampler.options.atol_per_feature {
            atol.truncate(features);
        }
        Ok(sampler)
    }

    /// Points of the standard normal density, `[count][D]` with as many features as the model has: a pure function of `seed`,
    /// and of each point's place.
    #[must_use]
    pub fn base<R: Real>(&self, count: usize, seed: u64) -> Vec<R> {
        let features = self.problem.field.features();
        let point = |place: usize| {
            let mut random = Random::new(seed, Purpose::Base, place as u64);
            (0..features).map(move |_| R::from_f64(random.normal()))
        };
        (0..count).flat_map(point).collect()
    }

    /// The configuration of a trainer that draws samples.
    pub(super) fn sampling(&self, config: &TrainerConfig) -> Result<TrainerConfig> {
        Ok(TrainerConfig::new(self.sampler()?, Loss::Mse).seed(config.seed))
    }
}

impl<R: Scalar> Trainer<R> {
    /// The log-density of each of the points `[B][D]`, in nats: of a model that was trained with
    /// [`Loss::NegativeLogLikelihood`]. NaN where the solve fails. With [`Trace::Hutchinson`] it is an estimate.
    ///
    /// # Errors
    /// Those of [`Trainer::predict`], and [`Error::Argument`] for a model that has no density.
    pub fn log_density(&mut self, points: &[R]) -> Result<Vec<f64>> {
        self.config().model.check_density(Loss::NegativeLogLikelihood)?;
        let outputs = self.predict(points)?;
        self.config().model.log_densities(&outputs)
    }

    /// Draws `count` samples `[count][D]`: points of the standard normal density, moved back through the flow. A pure function
    /// of parameters and `seed`; NaN where the solve fails.
    ///
    /// # Errors
    /// Those of [`Trainer::predict`], and [`Error::Argument`] for a model that has no density, and for no samples.
    pub fn sample(&mut self, count: usize, seed: u64) -> Result<Vec<R>> {
        let model = &self.config().model;
        let mut sampler = Self::new(&self.cpu(), model.sampling(self.config())?)?;
        sampler.set_parameters(self.parameters())?;
        sampler.follow_controls(self);
        sampler.predict(&model.base::<R>(count, seed))
    }
}

impl GpuTrainer {
    /// The log-density of each point, as [`Trainer::log_density`].
    ///
    /// # Errors
    /// As [`Trainer::log_density`], and [`Error::DeviceLost`].
    pub async fn log_density(&mut self, points: &[f32]) -> Result<Vec<f64>> {
        self.config().model.check_density(Loss::NegativeLogLikelihood)?;
        let outputs = self.predict(points).await?;
        self.config().model.log_densities(&outputs)
    }

    /// Draws samples, as [`Trainer::sample`].
    ///
    /// # Errors
    /// As [`Trainer::sample`], and [`Error::DeviceLost`].
    pub async fn sample(&mut self, count: usize, seed: u64) -> Result<Vec<f32>> {
        let config = self.config().model.sampling(self.config())?;
        let points = self.config().model.base::<f32>(count, seed);
        let mut sampler = Self::new(self.gpu(), config)?;
        let theta = self.parameters().await?;
        sampler.follow_controls(self);
        sampler.set_parameters(&theta)?;
        sampler.predict(&points).await
    }
}
