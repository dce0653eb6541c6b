//! [`Cpu`]: the native engine with its threads.

use std::sync::Arc;

use super::workers::Workers;
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

    /// The engine on threads that are there already.
    pub(crate) const fn on(workers: Arc<Workers>) -> Self {
        Self { workers }
    }

    pub(crate) fn workers(&self) -> &Arc<Workers> {
        &self.workers
    }
}
