//! [`Signs`]: random signs, a pure function of what they are for.

use crate::math::{Purpose, Random};

/// Random signs of each trajectory of a solve, one a feature.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signs {
    seed: u64,
    purpose: Purpose,
    first: u64,
}

impl Signs {
    /// The bit of streams that no training step has.
    const EVALUATION: u64 = 1 << 63;

    /// Those of a purpose, in the training step after `step` others.
    pub(crate) const fn of_step(purpose: Purpose, seed: u64, step: u64) -> Self {
        Self { seed, purpose, first: step << 32 }
    }

    /// Those of a purpose in an evaluation, the same in all of them.
    pub(crate) const fn of_evaluation(purpose: Purpose, seed: u64) -> Self {
        Self { seed, purpose, first: Self::EVALUATION }
    }

    /// A trajectory's.
    pub(crate) fn of(self, trajectory: usize) -> impl Iterator<Item = f64> {
        let mut random = Random::new(self.seed, self.purpose, self.first + trajectory as u64);
        std::iter::repeat_with(move || if random.next_u32() >> 31 == 0 { 1.0 } else { -1.0 })
    }
}
