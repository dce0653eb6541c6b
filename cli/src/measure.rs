//! Measuring a model on a test set: accuracy, NFE, time. Regularizers play no part in it.

use std::time::{Duration, Instant};

use anyhow::Context;
use fewsteps::Evaluation;

use crate::data::{BatchBuffer, Samples};
use crate::learner::Learner;
use crate::record::Measured;
use crate::stats;

/// Passes over the test set whose batches are timed, at least ...
const PASSES: usize = 5;

/// ... and for at least this long, so that the median of a small model outlives a disturbance, but ...
const LEAST: Duration = Duration::from_millis(500);

/// ... no pass begins after this long.
const MOST: Duration = Duration::from_secs(5);

/// Evaluates all samples, in batches of their order; the last one may be smaller.
pub(crate) fn measure<L: Learner>(
    learner: &mut L,
    samples: &Samples,
    batch: usize,
    buffer: &mut BatchBuffer<L::Scalar>,
) -> anyhow::Result<Measured> {
    let order: Vec<usize> = (0..samples.len()).collect();
    let mut batches = Vec::new();
    for indices in order.chunks(batch) {
        batches.push(learner.evaluate(&buffer.gather(samples, indices)).context("evaluation on the test set")?);
    }
    let total = |count: fn(&Evaluation) -> usize| batches.iter().map(count).sum::<usize>() as f64;
    let solved: f64 = total(|e| e.count - e.failed);
    let mean = |count| total(count) / batches.len() as f64;
    let loss: f64 = batches.iter().filter(|e| e.failed < e.count).map(|e| e.loss * (e.count - e.failed) as f64).sum();
    Ok(Measured {
        step: learner.steps(),
        loss: loss / solved,
        accuracy: matches!(samples, Samples::Images(_)).then(|| total(|e| e.correct) / total(|e| e.count)),
        nfe: mean(|e| e.nfe),
        accepted: mean(|e| e.accepted),
        rejected: mean(|e| e.rejected),
        failed: total(|e| e.failed) as usize,
    })
}

/// Median seconds of a forward pass with its loss, and the samples in a batch. Only batches of full size are timed.
pub(crate) fn time_prediction<L: Learner>(
    learner: &mut L,
    samples: &Samples,
    batch: usize,
    buffer: &mut BatchBuffer<L::Scalar>,
) -> anyhow::Result<(f64, usize)> {
    let order: Vec<usize> = (0..samples.len()).collect();
    let batch = batch.min(order.len());
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
    Ok((stats::median(seconds).unwrap_or(f64::NAN), batch))
}
