//! Reading buffers back: futures over `map_async`, and how native programs wait for them.
//!
//! A future may be polled by any executor and dropped at any await. Somebody has to poll the device meanwhile:
//! [`Gpu::block_on`] does, a browser does, and for every other executor a thread does as long as the future waits.

#[cfg(not(target_arch = "wasm32"))]
use std::cell::RefCell;
use std::pin::Pin;
#[cfg(not(target_arch = "wasm32"))]
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use std::task::{Context, Poll};
#[cfg(not(target_arch = "wasm32"))]
use std::time::Duration;

use futures::channel::oneshot;

use super::context::Gpu;
use crate::error::Result;

/// A mapped buffer on its way. It owns the buffer, and [`read`](Self::read) gives it back unmapped. Where it is dropped
/// before it has come, the buffer goes with it: unmapping a buffer that another thread's poll is just mapping may be
/// answered with "not mapped" by wgpu, and the mapping stands afterwards, so such a buffer could never be used again.
#[derive(Debug)]
pub(crate) struct Readback {
    buffer: wgpu::Buffer,
    bytes: u64,
    mapped: oneshot::Receiver<Result<(), wgpu::BufferAsyncError>>,
    #[cfg(not(target_arch = "wasm32"))]
    device: wgpu::Device,
    #[cfg(not(target_arch = "wasm32"))]
    gpu: usize,
    #[cfg(not(target_arch = "wasm32"))]
    helper: Option<Helper>,
}

impl Readback {
    /// Asks for the first `bytes` of a buffer that nobody else maps; call after the submission that fills it.
    #[cfg_attr(target_arch = "wasm32", expect(unused_variables, reason = "browsers drive their devices themselves"))]
    pub(crate) fn new(gpu: &Gpu, buffer: wgpu::Buffer, bytes: u64) -> Self {
        let (sender, mapped) = oneshot::channel();
        buffer.map_async(wgpu::MapMode::Read, 0..bytes, move |result| {
            // Nobody may be waiting any more.
            let _ = sender.send(result);
        });
        Self {
            buffer,
            bytes,
            mapped,
            #[cfg(not(target_arch = "wasm32"))]
            device: gpu.device.clone(),
            #[cfg(not(target_arch = "wasm32"))]
            gpu: gpu.identity(),
            #[cfg(not(target_arch = "wasm32"))]
            helper: None,
        }
    }

    /// Waits, hands the bytes to `take`, and gives the buffer back for the next time.
    pub(crate) async fn read<T>(mut self, gpu: &Gpu, take: impl FnOnce(&[u8]) -> T) -> Result<(T, wgpu::Buffer)> {
        gpu.counters().wait();
        let mapped = std::future::poll_fn(|context| self.poll_mapped(context)).await;
        gpu.check_lost()?;
        let failed = |reason: String| gpu.refusal(reason);
        mapped
            .map_err(|_| failed("the device dropped a read-back".into()))?
            .map_err(|e| failed(format!("a buffer could not be mapped: {e}")))?;
        let view = self.buffer.get_mapped_range(0..self.bytes);
        let view = view.map_err(|e| failed(format!("a mapped buffer could not be read: {e}")))?;
        gpu.counters().read(self.bytes);
        let taken = take(&view);
        drop(view);
        self.buffer.unmap();
        Ok((taken, self.buffer))
    }

    fn poll_mapped(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Result<(), wgpu::BufferAsyncError>, oneshot::Canceled>> {
        let polled = Pin::new(&mut self.mapped).poll(context);
        // Browsers drive their devices themselves.
        #[cfg(not(target_arch = "wasm32"))]
        if polled.is_pending() && !is_waited_for(self.gpu) && self.helper.is_none() {
            self.helper = Helper::start(&self.device);
            if self.helper.is_none() {
                // No thread to be had: the executor asks again until the device is through.
                let _ = self.device.poll(wgpu::PollType::Poll);
                context.waker().wake_by_ref();
            }
        }
        polled
    }
}

#[cfg(not(target_arch = "wasm32"))]
thread_local! {
    /// Those that this thread waits for in [`block_on`], the innermost last: that one's device is polled.
    static WAITING: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

#[cfg(not(target_arch = "wasm32"))]
fn is_waited_for(gpu: usize) -> bool {
    WAITING.with_borrow(|waiting| waiting.last() == Some(&gpu))
}

/// Notes that this thread waits for a device, until it is dropped.
#[cfg(not(target_arch = "wasm32"))]
struct Waiting;

#[cfg(not(target_arch = "wasm32"))]
impl Waiting {
    fn on(gpu: &Gpu) -> Self {
        WAITING.with_borrow_mut(|waiting| waiting.push(gpu.identity()));
        Self
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl Drop for Waiting {
    fn drop(&mut self) {
        WAITING.with_borrow_mut(Vec::pop);
    }
}

/// How often a [`Helper`] looks at the device.
#[cfg(not(target_arch = "wasm32"))]
const LOOKS: Duration = Duration::from_micros(100);

/// A thread that polls the device for one future, where the future's executor does not know how. It never blocks the
/// device, as waiting for a submission would, and ends with the future.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Debug)]
struct Helper {
    done: Arc<AtomicBool>,
}

#[cfg(not(target_arch = "wasm32"))]
impl Helper {
    fn start(device: &wgpu::Device) -> Option<Self> {
        let done = Arc::new(AtomicBool::new(false));
        let (device, stop) = (device.clone(), Arc::clone(&done));
        let looks = move || {
            while !stop.load(Ordering::Relaxed) {
                // An error here is a lost device; the future then sees its channel closed.
                let _ = device.poll(wgpu::PollType::Poll);
                std::thread::sleep(LOOKS);
            }
        };
        std::thread::Builder::new().name("fewsteps-poll".into()).spawn(looks).ok()?;
        Some(Self { done })
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl Drop for Helper {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
    }
}

/// Polls the future and the device in turn: no thread is needed, and no time is lost.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn block_on<T>(gpu: &Gpu, future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = Context::from_waker(std::task::Waker::noop());
    loop {
        let waiting = Waiting::on(gpu);
        let polled = future.as_mut().poll(&mut context);
        drop(waiting);
        if let Poll::Ready(value) = polled {
            return value;
        }
        // An error here is a lost device; the future then sees its channel closed.
        let _ = gpu.device.poll(wgpu::PollType::wait_indefinitely());
    }
}

/// Waits for a future that needs no device to be polled.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = Context::from_waker(std::task::Waker::noop());
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::yield_now(),
        }
    }
}
