//! Measuring a model on a test set: accuracy, NFE, time. Regularizers play no part in it.

pub(crate) mod accuracy;
mod density;
pub(crate) mod stats;

pub(crate) use density::density;

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::Context;
use fewsteps::{Blocking, Evaluation, InitialStep, Learner, Paths, Real, SaveAt, Scalar, StepControl, Target};

use crate::choice::ControllerName;
use crate::data::{BatchBuffer, Column, Data, Own, Samples};
use crate::record::{Followed, FollowedState, LearntMoments, Measured, Moment, OtherPaths};

/// Passes over the test set whose batches are timed, at least ...
const PASSES: usize = 5;

/// ... and for at least this long, so that the median of a small model outlives a disturbance, but ...
const LEAST: Duration = Duration::from_millis(500);

/// ... no pass begins after this long.
const MOST: Duration = Duration::from_secs(5);

/// Paths of each sample whose mean output is evaluated beside the output of one path.
const MEAN_OF: usize = 10;

/// Evaluates all samples, in batches of their order; the last one may be smaller. Moments are of all paths together.
pub(crate) fn measure<L: Learner>(
    learner: &mut Blocking<L>,
    samples: &Samples,
    batch: usize,
    buffer: &mut BatchBuffer<L::Scalar>,
) -> anyhow::Result<Measured> {
    measure_some(learner, samples, 0..samples.len(), batch, buffer).context("evaluation on the test set")
}

/// The same of some of the samples.
pub(crate) fn measure_some<L: Learner>(
    learner: &mut Blocking<L>,
    samples: &Samples,
    some: Range<usize>,
    batch: usize,
    buffer: &mut BatchBuffer<L::Scalar>,
) -> anyhow::Result<Measured> {
    let order: Vec<usize> = some.collect();
    let batches = over(learner, samples, |learner| {
        let batches = order.chunks(samples.at_once(batch));
        let evaluations = batches.map(|indices| learner.evaluate(&buffer.gather(samples, indices)));
        Ok(evaluations.collect::<fewsteps::Result<Vec<Evaluation>>>()?)
    })?;
    let total = |count: fn(&Evaluation) -> usize| batches.iter().map(count).sum::<usize>() as f64;
    let solved: f64 = total(|e| e.count - e.failed);
    let mean = |count| total(count) / batches.len() as f64;
    let loss: f64 = batches.iter().filter(|e| e.failed < e.count).map(|e| e.loss * (e.count - e.failed) as f64).sum();
    Ok(Measured {
        step: learner.steps(),
        loss: loss / solved,
        accuracy: samples.classified().then(|| total(|e| e.correct) / total(|e| e.count)),
        nfe: mean(|e| e.nfe),
        nfe_diffusion: mean(|e| e.nfe_diffusion),
        accepted: mean(|e| e.accepted),
        rejected: mean(|e| e.rejected),
        ideal_steps: ideal_steps(&batches),
        nfe_correction: None,
        nfe_published: None,
        error: None,
        weak_error: None,
        failed: total(|e| e.failed) as usize,
        other_paths: None,
    })
}

/// Lets the learner's model run over the times of these samples, where they have some of their own, while `measure` does
/// its work. The learner has its own again afterwards.
pub(crate) fn over<L: Learner, T>(
    learner: &mut Blocking<L>,
    samples: &Samples,
    measure: impl FnOnce(&mut Blocking<L>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let own = learner.config().clone();
    let mut other = own.clone();
    if let Some([start, saved @ .., end]) = samples.times() {
        let model = &mut other.model;
        (model.problem.t0, model.problem.t1) = (*start, *end);
        model.options.save_at = SaveAt::Times([saved, &[*end]].concat());
    }
    if other == own {
        return measure(learner);
    }
    learner.reconfigure(other).context("the times of the samples")?;
    let measured = measure(learner);
    learner.reconfigure(own)?;
    measured
}

/// NFE of the learner's model under the published solver, within its tolerances, where its own is another adaptive one. The
/// learner has its own again afterwards.
pub(crate) fn nfe_published<L: Learner>(
    learner: &mut Blocking<L>,
    samples: &Samples,
    batch: usize,
    buffer: &mut BatchBuffer<L::Scalar>,
) -> anyhow::Result<Option<f64>> {
    let own = learner.config().clone();
    let options = &own.model.options;
    let StepControl::Adaptive { tolerances, .. } = options.step_control else { return Ok(None) };
    let controller = ControllerName::Published.of(options.method);
    let published = StepControl::Adaptive { tolerances, controller, initial_step: InitialStep::Automatic };
    if options.step_control == published {
        return Ok(None);
    }
    learner.solve_by(&options.clone().step_control(published))?;
    let found = measure(learner, samples, batch, buffer)?;
    learner.reconfigure(own)?;
    Ok(Some(found.nfe))
}

/// Mean over the batches, if every one has a count.
fn ideal_steps(batches: &[Evaluation]) -> Option<f64> {
    let sum: Option<f64> = batches.iter().map(|batch| batch.ideal_steps).sum();
    sum.map(|sum| sum / batches.len() as f64)
}

/// With noise, evaluates all samples with another number of paths: classifiers by the mean output of [`MEAN_OF`],
/// moments over a training batch.
pub(crate) fn other_paths<L: Learner>(
    learner: &mut Blocking<L>,
    samples: &Samples,
    batch: usize,
    buffer: &mut BatchBuffer<L::Scalar>,
) -> anyhow::Result<Option<OtherPaths>> {
    let order: Vec<usize> = (0..samples.len()).collect();
    if let Samples::Moments(_) = samples {
        let order: Vec<usize> = (0..batch).collect();
        let found = learner.evaluate(&buffer.gather(samples, &order)).context("evaluation of a batch of paths")?;
        return Ok(Some(OtherPaths { paths: batch, loss: found.loss, accuracy: None, failed: found.failed }));
    }
    if learner.config().model.problem.diffusion.is_none() {
        return Ok(None);
    }
    let (mut loss, mut correct, mut solved) = (0.0, 0, 0);
    for indices in order.chunks(batch) {
        let batch = buffer.gather(samples, indices);
        let found = learner.evaluate_mean(&batch, MEAN_OF).context("evaluation of mean outputs")?;
        let counted = found.count - found.failed;
        loss += if counted > 0 { found.loss * counted as f64 } else { 0.0 };
        correct += found.correct;
        solved += counted;
    }
    let accuracy = samples.classified().then(|| correct as f64 / order.len() as f64);
    let failed = order.len() - solved;
    Ok(Some(OtherPaths { paths: MEAN_OF, loss: loss / solved as f64, accuracy, failed }))
}

/// Where moments are learnt: what the test set's paths have, beside what they should have.
pub(crate) fn moments<L: Learner>(
    learner: &mut Blocking<L>,
    samples: &Samples,
    buffer: &mut BatchBuffer<L::Scalar>,
) -> anyhow::Result<Option<LearntMoments>> {
    let Samples::Moments(given) = samples else { return Ok(None) };
    let SaveAt::Times(times) = learner.config().model.options.save_at.clone() else { return Ok(None) };
    let order: Vec<usize> = (0..given.paths).collect();
    let paths = Paths::of_evaluation(learner.config().seed, 0);
    let states = learner.predict_along(buffer.gather(samples, &order).inputs, paths)?;
    Ok(Some(LearntMoments {
        paths: given.paths,
        learnt: states.chunks_exact(2 * given.paths).map(moment).collect(),
        given: given.means.iter().zip(&given.variances).map(|(&mean, &variance)| Moment { mean, variance }).collect(),
        times,
    }))
}

/// Where series are learnt: how the model follows the first one, in the units of the data.
pub(crate) fn followed<L: Learner>(
    learner: &mut Blocking<L>,
    data: &Data,
    buffer: &mut BatchBuffer<L::Scalar>,
) -> anyhow::Result<Option<Followed>> {
    let Some(Own::Series(series)) = &data.own else { return Ok(None) };
    let divided_by_time = series.cut().is_none() && data.train.times() != data.test.times();
    let parts = if divided_by_time { vec![&data.train, &data.test] } else { vec![&data.test] };
    let state = |name: &Column| FollowedState { name: name.name.clone(), learnt: Vec::new(), given: Vec::new() };
    let (time, states) = (series.time.clone(), series.states.iter().map(state).collect());
    let mut followed = Followed { time, times: Vec::new(), trained: 0, states };
    for samples in parts {
        let batch = buffer.gather(samples, &[0]);
        let (given, weights) = match batch.target {
            Target::States(states) => (states, &[][..]),
            Target::Observed { states, weights } => (states, weights),
            _ => continue,
        };
        let is_seen = |cell: usize| weights.get(cell).is_none_or(|weight| weight.to_f64() > 0.0);
        let paths = Paths::of_evaluation(learner.config().seed, 0);
        let learnt = over(learner, samples, |learner| Ok(learner.predict_along(batch.inputs, paths)?))?;
        for (cell, (value, given)) in learnt.iter().zip(given).enumerate() {
            let c = cell % series.states.len();
            let (column, state) = (&series.states[c], &mut followed.states[c]);
            state.learnt.push(column.unscaled(value.to_f64()));
            state.given.push(if is_seen(cell) { column.unscaled(given.to_f64()) } else { f64::NAN });
        }
        let times = samples.times().unwrap_or_default().iter().skip(1);
        followed.times.extend(times.map(|&counted| series.told(counted)));
        if divided_by_time && followed.trained == 0 {
            followed.trained = followed.times.len();
        }
    }
    Ok(Some(followed))
}

/// Mean and variance of the states `[path][2]` at one time, without those of failed paths.
fn moment<R: Scalar>(states: &[R]) -> Moment {
    let of = |dimension: usize| {
        let values = || states.iter().skip(dimension).step_by(2).map(|x| x.to_f64()).filter(|x| x.is_finite());
        let count = values().count() as f64;
        let mean = values().sum::<f64>() / count;
        (mean, values().map(|x| (x - mean) * (x - mean)).sum::<f64>() / (count - 1.0))
    };
    let (first, second) = (of(0), of(1));
    Moment { mean: [first.0, second.0], variance: [first.1, second.1] }
}

/// Median seconds of a forward pass with its loss, and the samples in a batch. Only batches of full size are timed.
pub(crate) fn time_prediction<L: Learner>(
    learner: &mut Blocking<L>,
    samples: &Samples,
    batch: usize,
    buffer: &mut BatchBuffer<L::Scalar>,
) -> anyhow::Result<(f64, usize)> {
    let order: Vec<usize> = (0..samples.len()).collect();
    let batch = batch.min(order.len());
    let seconds = over(learner, samples, |learner| {
        let (started, mut seconds) = (Instant::now(), Vec::new());
        for pass in 0.. {
            let elapsed = started.elapsed();
            if pass > 0 && (elapsed > MOST || (pass >= PASSES && elapsed > LEAST)) {
                break;
            }
            for indices in order.chunks_exact(batch) {
                let batch = buffer.gather(samples, indices);
                let start = Instant::now();
                learner.evaluate(&batch)?;
                seconds.push(start.elapsed().as_secs_f64());
            }
        }
        Ok(seconds)
    })?;
    Ok((stats::median(seconds).unwrap_or(f64::NAN), batch))
}
