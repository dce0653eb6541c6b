//! [`Batch`]: what a training step sees; [`Batches`]: which samples those are.

use crate::error::{Error, Result};
use crate::math::{Purpose, Random};
use crate::method::Target;

/// A mini-batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Batch<'a, R> {
    /// `[B][inputs]`.
    pub inputs: &'a [R],
    /// What the outputs should be.
    pub target: Target<'a, R>,
}

/// Shuffled mini-batches as a pure function of the training step, so that training resumes anywhere.
///
/// Every epoch is a new permutation and visits each sample once; its last batch may be smaller.
#[derive(Clone, Debug)]
pub struct Batches {
    batch: usize,
    seed: u64,
    epoch: Option<u64>,
    order: Vec<usize>,
}

impl Batches {
    /// Batches of `batch` of `samples` samples; both are taken as at least 1.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] for more samples than the system has memory to put in order.
    pub fn new(samples: usize, batch: usize, seed: u64) -> Result<Self> {
        let mut order = Vec::new();
        let bytes = samples.saturating_mul(size_of::<usize>());
        let refused = |_| Error::OutOfMemory { what: "the order of the samples", bytes };
        order.try_reserve_exact(samples.max(1)).map_err(refused)?;
        order.extend(0..samples.max(1));
        Ok(Self { batch: batch.max(1), seed, epoch: None, order })
    }

    /// Batches in an epoch.
    #[must_use]
    pub fn per_epoch(&self) -> usize {
        self.order.len().div_ceil(self.batch)
    }

    /// Indices of the samples of training step `step`, counted from 0.
    pub fn at(&mut self, step: u64) -> &[usize] {
        let per_epoch = self.per_epoch() as u64;
        let (epoch, within) = (step / per_epoch, step % per_epoch);
        if self.epoch != Some(epoch) {
            self.order.sort_unstable();
            Random::new(self.seed, Purpose::Shuffle, epoch).shuffle(&mut self.order);
            self.epoch = Some(epoch);
        }
        let first = usize::try_from(within).unwrap_or(0) * self.batch;
        &self.order[first..first.saturating_add(self.batch).min(self.order.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(samples: usize, batch: usize, seed: u64) -> Batches {
        Batches::new(samples, batch, seed).expect("few samples")
    }

    #[test]
    fn any_size_is_a_batch_or_an_error() {
        for samples in [usize::MAX, 1 << 61] {
            let error = Batches::new(samples, 1, 0).expect_err("more than there is").to_string();
            assert!(error.contains("the order of the samples"), "{error}");
        }
        let mut whole = batches(3, usize::MAX, 0);
        assert_eq!((whole.per_epoch(), whole.at(0).len(), whole.at(u64::MAX).len()), (1, 3, 3), "one batch holds all");
    }

    #[test]
    fn an_epoch_visits_every_sample_once_and_resumes_anywhere() {
        let mut seven = batches(10, 4, 7);
        let mut seen: Vec<usize> = (3..6).flat_map(|step| seven.at(step).to_vec()).collect();
        assert_eq!(seven.at(5).len(), 2, "the last batch of an epoch holds what is left");
        let middle = seven.at(4).to_vec();
        seen.sort_unstable();
        assert_eq!(seen, (0..10).collect::<Vec<_>>(), "steps 3, 4 and 5 are the second epoch");
        assert_eq!(batches(10, 4, 7).at(4), middle, "a step's batch does not depend on the steps before");
        assert_ne!(batches(10, 4, 8).at(4), middle, "another seed, another order");
    }
}
