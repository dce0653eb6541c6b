//! [`EndTime`]: STEER, a random end of the interval.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::math::{Purpose, Random};

/// Training integrates to a random time about the end, a fresh one each step and the same for the whole batch:
/// `t1' ~ U(t1 - b, t1 + b)` with `b` a share of the interval (A. Ghosh, H. Behl, E. Dupont, P. Torr, V. Namboodiri, STEER:
/// simple temporal regularization for neural ODEs, Neural Information Processing Systems 2020). Nothing is added to the loss. The end is a constant, time is
/// not rescaled, and evaluation goes to `t1`.
///
/// For states that are saved at the end alone, without noise.
///
/// ```
/// use fewsteps::{EndTime, Local, Regularizer};
/// let both = Regularizer::from(EndTime::within(0.5)).and(Local::unbiased());
/// # assert!(both.lower(0).end_time.is_some() && both.lower(0).penalty.is_some());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EndTime {
    /// How far the end moves to either side, as a share of the interval, in `(0, 1)`.
    pub half_width: f64,
}

impl EndTime {
    /// An end within so large a share of the interval to either side. The paper's code has 0.75 for flows, Pal et al. 0.5 for
    /// MNIST.
    #[must_use]
    pub const fn within(half_width: f64) -> Self {
        Self { half_width }
    }

    /// The end of training step `step`, of the interval from `t0` to `t1`.
    #[must_use]
    pub fn draw(&self, [t0, t1]: [f64; 2], seed: u64, step: u64) -> f64 {
        let uniform = Random::new(seed, Purpose::EndTime, step << 32).uniform();
        t1 + (2.0 * uniform - 1.0) * self.half_width * (t1 - t0)
    }

    /// Checks the number.
    ///
    /// # Errors
    /// [`Error::Argument`] for a share outside `(0, 1)`.
    pub fn validate(&self) -> Result<()> {
        if self.half_width > 0.0 && self.half_width < 1.0 {
            return Ok(());
        }
        Err(Error::argument("EndTime::half_width", self.half_width, "choose a share of the interval in (0, 1)"))
    }
}
