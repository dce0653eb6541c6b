//! [`Traffic`]: what goes between the host and a device, for reports of what a training step costs.

use std::sync::atomic::{AtomicU64, Ordering};

/// Waits of the host, and bytes read back.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    waits: AtomicU64,
    bytes: AtomicU64,
}

impl Traffic {
    pub(super) fn wait(&self) {
        self.waits.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> (u64, u64) {
        (self.waits.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}
