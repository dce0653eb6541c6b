//! [`Paths`]: which paths a batch follows.

use crate::error::{Error, Result};
use crate::math::{Purpose, Random};

/// Which paths a batch follows: trajectory `i` of it that of number `first + i` under `seed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Paths {
    /// Selects the noise. Any number will do.
    pub seed: u64,
    /// Number of the batch's first trajectory, so that a part of a batch can be solved alone.
    pub first: u32,
}

impl Paths {
    /// The paths of trajectory 0 onwards.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed, first: 0 }
    }

    /// The paths that training with `seed` takes at a step; every step has its own.
    #[must_use]
    pub const fn of_step(seed: u64, step: u64) -> Self {
        Self::new(Random::new(seed, Purpose::Paths, step).next_u64())
    }

    /// The `sample`-th paths that an evaluation of a model trained with `seed` takes, always the same.
    #[must_use]
    pub const fn of_evaluation(seed: u64, sample: u64) -> Self {
        Self::of_step(seed, u64::MAX - sample)
    }

    /// Checks that a batch's trajectories have numbers.
    pub(crate) fn validate(self, batch: usize) -> Result<()> {
        let last = u64::from(self.first) + batch as u64;
        if last > 1 << 32 {
            let remedy = format!("a batch of {batch} would pass trajectory 2^32: begin with a smaller one");
            return Err(Error::argument("Paths::first", self.first, remedy));
        }
        Ok(())
    }
}
