//! The native engine: solves and differentiates on the processor, in `f32` or `f64`.
//!
//! The batch is cut into tiles of 32 trajectories, `[feature][lane]`. A tile goes through a whole step before the
//! next one begins, so that its stages stay in cache, and every operation is a loop over lanes. The two layouts share
//! all of that: a step takes one time and one size a lane, which are equal in lockstep.

mod backward;
mod dense;
mod dispatch;
mod engine;
mod ensemble;
mod field;
mod lanes;
mod lockstep;
mod loss;
mod noise;
mod penalty;
mod scalar;
mod solution;
mod solver;
mod step;
mod stochastic;
mod tile;
mod workers;

pub use dispatch::instruction_set;
pub use scalar::Scalar;
pub use solver::Solver;

pub(crate) use dense::LANES;
pub(crate) use engine::{Engine, Owner};
pub(crate) use field::DenseLayer;
#[cfg(test)]
pub(crate) use lanes::largest_square_root;
#[cfg(test)]
pub(crate) use lockstep::PATIENCE;
pub(crate) use loss::Task;
#[cfg(test)]
pub(crate) use penalty::{RESOLVED, STIFFNESS_EPSILON};
pub(crate) use workers::Workers;

use std::sync::Arc;

use crate::error::{Error, Result};

/// The native engine with its threads. Cheap to clone; clones share the threads.
#[derive(Clone, Debug)]
pub struct Cpu {
    workers: Arc<Workers>,
}

impl Cpu {
    /// The engine with as many threads as the machine runs at once.
    ///
    /// # Errors
    /// [`Error::Threads`] when the operating system refuses to start them.
    pub fn new() -> Result<Self> {
        Self::with_threads(std::thread::available_parallelism().map_or(1, usize::from))
    }

    /// The engine with the given number of threads. Results do not depend on it.
    ///
    /// # Errors
    /// [`Error::Argument`] for none, [`Error::Threads`] when the operating system refuses to start them.
    pub fn with_threads(threads: usize) -> Result<Self> {
        if threads == 0 || threads > 1024 {
            return Err(Error::argument("threads", threads, "ask for 1 to 1024 threads"));
        }
        Ok(Self { workers: Arc::new(Workers::new(threads)?) })
    }

    /// Number of threads.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.workers.count()
    }

    pub(crate) fn workers(&self) -> &Arc<Workers> {
        &self.workers
    }
}
