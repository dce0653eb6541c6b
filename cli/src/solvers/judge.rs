//! [`Judge`]: how well each solver predicts, on the same samples.

use std::ops::Range;
use std::time::Instant;

use fewsteps::{
    Backend, Batch, Blocking, Evaluation, Learner, Loss, NeuralDe, Paths, Scalar, SolverOptions, Target, TrainerConfig,
};
use serde::{Deserialize, Serialize};

use super::{candidates, paired};
use crate::corrected::Corrected;
use crate::data::{BatchBuffer, Samples};
use crate::measure::accuracy::{Achieved, Reference};
use crate::measure::stats;
use crate::numbers;
use crate::record::WeakError;

/// Samples that a choice is made on, at most, where none were kept out of training.
const MOST: usize = 2000;

/// Batches of paths whose losses are compared, where a loss is of many paths together.
const GROUPS: usize = 20;

/// What a solver makes of the samples.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Score {
    /// The solver in few words.
    pub(crate) solver: String,
    pub(crate) options: SolverOptions,
    /// Evaluations of the field, a mean over the batches.
    #[serde(with = "numbers")]
    pub(crate) nfe: f64,
    /// Evaluations of the diffusion; 0 without noise.
    #[serde(with = "numbers")]
    pub(crate) nfe_diffusion: f64,
    #[serde(with = "numbers")]
    pub(crate) loss: f64,
    /// Share of the samples that is classified correctly.
    #[serde(with = "numbers")]
    pub(crate) accuracy: Option<f64>,
    /// Share that is classified as under the training's solver.
    #[serde(with = "numbers")]
    pub(crate) agreement: Option<f64>,
    /// Bound at 95 % on the loss of accuracy against the training's solver, as a share; without classes on the relative
    /// rise of the loss.
    #[serde(with = "numbers")]
    pub(crate) drop: f64,
    /// Relative error of the saved states against a converged solve.
    #[serde(with = "numbers")]
    pub(crate) error: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) weak_error: Option<WeakError>,
    /// Median of a batch's forward pass with its loss.
    #[serde(with = "numbers")]
    pub(crate) milliseconds: f64,
    /// Samples that could not be solved.
    pub(crate) failed: usize,
}

impl Score {
    /// Evaluations of either network.
    pub(crate) fn cost(&self) -> f64 {
        self.nfe + self.nfe_diffusion
    }
}

/// The prediction of a sample, or of a group of paths.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Prediction {
    loss: f64,
    /// The class that is predicted, and whether it is the right one.
    class: Option<(usize, bool)>,
}

impl Prediction {
    fn is_right(&self) -> bool {
        self.class.is_some_and(|class| class.1)
    }
}

/// The samples, and what the training's solver makes of them.
pub(crate) struct Judge<'a, L: Learner> {
    engine: &'a L::Engine,
    learner: &'a mut Blocking<L>,
    config: TrainerConfig,
    samples: &'a Samples,
    held_out: Vec<usize>,
    batch: usize,
    reference: Reference<L::Scalar>,
    before: Vec<Prediction>,
    buffer: BatchBuffer<L::Scalar>,
}

impl<'a, L: Learner> Judge<'a, L> {
    /// A judge of the learner's model on some samples of the training set, in batches of `batch`. A model of `corrected` steps
    /// is as far from the solution as that of the model that they are of says.
    pub(crate) fn new(
        engine: &'a L::Engine,
        learner: &'a mut Blocking<L>,
        samples: &'a Samples,
        held_out: Range<usize>,
        batch: usize,
        corrected: Option<&Corrected>,
    ) -> anyhow::Result<Self> {
        let (config, held_out) = (learner.config().clone(), Vec::from_iter(held_out));
        let reference = Reference::of(&engine.native()?, learner, corrected, samples, &held_out)?;
        let buffer = BatchBuffer::default();
        Ok(Self { engine, learner, config, samples, held_out, batch, reference, before: Vec::new(), buffer })
    }

    /// The model, as it was trained.
    pub(crate) const fn model(&self) -> &NeuralDe {
        &self.config.model
    }

    /// Samples that are judged by; of paths, their batches.
    pub(crate) fn samples(&self) -> usize {
        match self.samples {
            Samples::Moments(_) => GROUPS,
            _ => self.held_out.len(),
        }
    }

    /// What the training's solver makes of them; before any other.
    pub(crate) fn trained(&mut self) -> anyhow::Result<Score> {
        let options = self.config.model.options.clone();
        self.before = self.outcomes(None)?;
        let score = self.score(&options)?;
        Ok(Score { drop: 0.0, ..score })
    }

    /// What another solver makes of them.
    pub(crate) fn score(&mut self, options: &SolverOptions) -> anyhow::Result<Score> {
        // With noise the paths should be those of the training's solver, where the engine knows them.
        let trained = &self.config.model;
        let cells = trained.options.path(&trained.problem, Paths::default())?.ticks() >> 24;
        let alike = match trained.problem.diffusion {
            Some(_) if !L::Engine::OWN_MEMORY => options.clone().path_cells(usize::try_from(cells)?),
            _ => options.clone(),
        };
        self.solve_by(&alike)?;
        let after = self.outcomes(None)?;
        let achieved = if self.reference.is_of(&self.learner.config().model)? {
            self.reference.error(self.engine, self.learner)?
        } else {
            None
        };
        self.solve_by(options)?;
        let costs = self.costs(None)?;
        Ok(self.judged(options, &after, achieved, costs))
    }

    /// What another model makes of them, by its own solver. Its solution has to be this one's.
    pub(crate) fn score_of(&mut self, other: &mut Blocking<L>) -> anyhow::Result<Score> {
        let after = self.outcomes(Some(other))?;
        let achieved = self.reference.error(self.engine, other)?;
        let costs = self.costs(Some(other))?;
        Ok(self.judged(&other.config().model.options, &after, achieved, costs))
    }

    /// The score of predictions, with what they are off by and their costs: evaluations of field and diffusion, and
    /// milliseconds.
    fn judged(
        &self,
        options: &SolverOptions,
        after: &[Prediction],
        achieved: Option<Achieved>,
        [nfe, nfe_diffusion, milliseconds]: [f64; 3],
    ) -> Score {
        let solved = || after.iter().filter(|outcome| outcome.loss.is_finite());
        let share = |count: usize| count as f64 / after.len() as f64;
        let agreed = || self.before.iter().zip(after).filter(|(a, b)| a.class.is_some() && a.class == b.class).count();
        let classes = self.samples.classified();
        Score {
            solver: candidates::name(options),
            options: options.clone(),
            nfe,
            nfe_diffusion,
            loss: solved().map(|outcome| outcome.loss).sum::<f64>() / solved().count() as f64,
            accuracy: classes.then(|| share(after.iter().filter(|outcome| outcome.is_right()).count())),
            agreement: classes.then(|| share(agreed())),
            drop: if classes { self.drop_of_accuracy(after) } else { self.rise_of_loss(after) },
            error: achieved.map(|found| found.relative),
            weak_error: achieved.and_then(|found| found.weak),
            milliseconds,
            failed: after.len() - solved().count(),
        }
    }

    /// Evaluations of field and diffusion, means over the batches, and the median of a full batch's milliseconds; of the
    /// learner, or of another one.
    fn costs(&mut self, other: Option<&mut Blocking<L>>) -> anyhow::Result<[f64; 3]> {
        let Self { learner, samples, held_out, batch, buffer, .. } = self;
        let learner = other.unwrap_or(learner);
        let (mut seconds, mut batches) = (Vec::new(), Vec::new());
        for indices in held_out.chunks(*batch) {
            let gathered = buffer.gather(samples, indices);
            let start = Instant::now();
            batches.push(learner.evaluate(&gathered)?);
            if indices.len() == held_out.len().min(*batch) {
                seconds.push(start.elapsed().as_secs_f64());
            }
        }
        let mean =
            |count: fn(&Evaluation) -> usize| batches.iter().map(count).sum::<usize>() as f64 / batches.len() as f64;
        Ok([mean(|e| e.nfe), mean(|e| e.nfe_diffusion), 1e3 * stats::median(seconds).unwrap_or(f64::NAN)])
    }

    /// A bound on the loss of accuracy against the training's solver.
    fn drop_of_accuracy(&self, after: &[Prediction]) -> f64 {
        let pairs = || self.before.iter().zip(after).map(|(a, b)| (a.is_right(), b.is_right()));
        let count = |pair| pairs().filter(|found| *found == pair).count();
        paired::drop_of_accuracy(count((true, false)), count((false, true)), after.len())
    }

    /// A bound on the relative rise of the loss.
    fn rise_of_loss(&self, after: &[Prediction]) -> f64 {
        let [before, after] =
            [&self.before, after].map(|outcomes| outcomes.iter().map(|outcome| outcome.loss).collect::<Vec<f64>>());
        paired::rise_of_loss(&before, &after)
    }

    /// Gives the learner its own solver back.
    pub(crate) fn end(self) -> anyhow::Result<()> {
        Ok(self.learner.reconfigure(self.config)?)
    }

    fn solve_by(&mut self, options: &SolverOptions) -> anyhow::Result<()> {
        if self.learner.config().model.options != *options {
            self.learner.solve_by(options)?;
        }
        Ok(())
    }

    /// The predictions of all samples, by the learner or by another one.
    fn outcomes(&mut self, other: Option<&mut Blocking<L>>) -> anyhow::Result<Vec<Prediction>> {
        let Self { learner, config, samples, held_out, batch, buffer, .. } = self;
        let learner = other.unwrap_or(learner);
        let (loss, width) = (config.loss, config.model.output_width());
        let paths = Paths::of_evaluation(config.seed, 0);
        let mut outcomes = Vec::new();
        if let Samples::Moments(_) = samples {
            let indices: Vec<usize> = (0..*batch).collect();
            for group in 0..GROUPS {
                let gathered = buffer.gather(samples, &indices);
                // Paths that neither training nor the test has seen.
                let paths = Paths::of_evaluation(config.seed, 1 + group as u64);
                let outputs = learner.predict_along(gathered.inputs, paths)?;
                outcomes.push(Prediction { loss: loss_of_moments(&outputs, &gathered, width), class: None });
            }
            return Ok(outcomes);
        }
        for indices in held_out.chunks(*batch) {
            let gathered = buffer.gather(samples, indices);
            let outputs = learner.predict_along(gathered.inputs, paths)?;
            if samples.of_density() {
                let densities = config.model.log_densities(&outputs)?.into_iter();
                outcomes.extend(densities.map(|density| Prediction { loss: -density, class: None }));
                continue;
            }
            outcomes.extend(predictions(loss, &outputs, &gathered.target, width, indices.len())?);
        }
        Ok(outcomes)
    }
}

/// The samples of a training set that a choice is made on: those that training was kept from, or, where there are none,
/// the last; `most` of them, if that is said.
pub(crate) fn held_out(samples: &Samples, kept: usize, batch: usize, most: Option<usize>) -> Range<usize> {
    if matches!(samples, Samples::Moments(_)) {
        return 0..batch;
    }
    let count = samples.len();
    let own = if kept > 0 { kept } else { count };
    count - own.min(most.unwrap_or(if kept > 0 { kept } else { MOST }))..count
}

/// What the outputs `[times][count][width]` say of each sample.
fn predictions<R: Scalar>(
    loss: Loss,
    outputs: &[R],
    target: &Target<'_, R>,
    width: usize,
    count: usize,
) -> anyhow::Result<Vec<Prediction>> {
    let losses = loss.of_each(target, outputs, count, width)?;
    let Target::Labels(labels) = target else {
        return Ok(losses.into_iter().map(|loss| Prediction { loss, class: None }).collect());
    };
    let last = outputs[outputs.len() - count * width..].chunks_exact(width);
    let judged = losses.into_iter().zip(last.zip(*labels)).map(|(loss, (scores, label))| {
        if scores.iter().any(|x| !x.is_finite()) {
            return Prediction { loss: f64::NAN, class: None };
        }
        let best = (0..width).fold(0, |best, o| if scores[o] > scores[best] { o } else { best });
        Prediction { loss, class: Some((best, best == *label as usize)) }
    });
    Ok(judged.collect())
}

/// The loss of the means and variances of paths, `[times][paths][width]`.
fn loss_of_moments<R: Scalar>(outputs: &[R], batch: &Batch<'_, R>, width: usize) -> f64 {
    let Target::Moments { means, variances } = batch.target else { return f64::NAN };
    let times = means.len() / width;
    let paths = outputs.len() / (times * width);
    let squares = (0..times * width).map(|k| {
        let (time, feature) = (k / width, k % width);
        let values = || (0..paths).map(move |path| outputs[(time * paths + path) * width + feature].to_f64());
        let mean = values().sum::<f64>() / paths as f64;
        let variance = values().map(|x| (x - mean) * (x - mean)).sum::<f64>() / (paths as f64 - 1.0);
        (mean - means[k].to_f64()).powi(2) + (variance - variances[k].to_f64()).powi(2)
    });
    squares.sum::<f64>() / (times * width) as f64
}
