//! Reading buffers back: futures over `map_async`, and how native programs wait for them.

use std::sync::atomic::{AtomicU64, Ordering};

use futures::channel::oneshot;

use super::Gpu;
use crate::error::Result;

/// Host waits and bytes read back since the program started, for reports of what a training step costs.
static WAITS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

/// Times that this process waited for a device, and bytes that it read back.
#[must_use]
pub fn traffic() -> (u64, u64) {
    (WAITS.load(Ordering::Relaxed), BYTES.load(Ordering::Relaxed))
}

/// A mapped buffer on its way.
#[derive(Debug)]
pub(crate) struct Readback {
    buffer: wgpu::Buffer,
    bytes: u64,
    mapped: oneshot::Receiver<Result<(), wgpu::BufferAsyncError>>,
}

impl Readback {
    /// Asks for the first `bytes` of a buffer; call after the submission that fills it.
    pub(crate) fn new(buffer: &wgpu::Buffer, bytes: u64) -> Self {
        let (sender, mapped) = oneshot::channel();
        buffer.map_async(wgpu::MapMode::Read, 0..bytes, move |result| {
            // Nobody may be waiting any more.
            let _ = sender.send(result);
        });
        Self { buffer: buffer.clone(), bytes, mapped }
    }

    /// Waits, and hands the bytes to `take`.
    pub(crate) async fn read<T>(self, gpu: &Gpu, take: impl FnOnce(&[u8]) -> T) -> Result<T> {
        WAITS.fetch_add(1, Ordering::Relaxed);
        let mapped = self.mapped.await;
        gpu.check_lost()?;
        let failed = |reason: String| gpu.refusal(reason);
        mapped
            .map_err(|_| failed("the device dropped a read-back".into()))?
            .map_err(|e| failed(format!("a buffer could not be mapped: {e}")))?;
        let view = self.buffer.get_mapped_range(0..self.bytes);
        let view = view.map_err(|e| failed(format!("a mapped buffer could not be read: {e}")))?;
        BYTES.fetch_add(self.bytes, Ordering::Relaxed);
        let value = take(&view);
        drop(view);
        self.buffer.unmap();
        Ok(value)
    }
}

/// Polls the future and the device in turn. `pollster` alone would sleep for ever: nobody else polls the device.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn block_on<T>(device: &wgpu::Device, future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        // An error here is a lost device; the future then sees its channel closed.
        let _ = device.poll(wgpu::PollType::wait_indefinitely());
    }
}

/// Waits for a future that needs no device to be polled.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(value) => return value,
            std::task::Poll::Pending => std::thread::yield_now(),
        }
    }
}
