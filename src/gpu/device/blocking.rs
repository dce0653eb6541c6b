//! Blocking forms of futures, for native programs.

use super::adapter::{AdapterSummary, Pick};
use super::context::Gpu;
use super::readback::{block_on, wait};
use crate::error::Result;

impl Gpu {
    /// As [`Gpu::request`], and waits.
    ///
    /// # Errors
    /// As [`Gpu::request`].
    pub fn open(pick: &Pick) -> Result<Self> {
        wait(Self::request(pick))
    }

    /// As [`Gpu::list`], and waits.
    #[must_use]
    pub fn list_all() -> Vec<AdapterSummary> {
        wait(Self::list())
    }

    /// Waits for a future of this device, polling the device between polls of the future.
    ///
    /// Other executors do as well (pollster, tokio, a loop that looks once a frame): while a future waits under one of
    /// them, a thread polls the device. A future may be dropped at any time; what it had submitted is still done by the
    /// device, and the next call goes on from there.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        block_on(self, future)
    }
}
