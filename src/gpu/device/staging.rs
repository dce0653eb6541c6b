//! [`Staging`]: the buffer that numbers are read back through.

use super::context::Gpu;
use super::readback::Readback;
use crate::error::Result;

/// The buffer that was read through last, for the next time.
#[derive(Debug, Default)]
pub(crate) struct Staging {
    kept: Option<wgpu::Buffer>,
}

impl Staging {
    /// Copies parts of buffers, each from a byte on and so many, after what the encoder holds; submits it, waits, and hands
    /// the bytes to `take`, one part after the other.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device), [`Error::DeviceLost`](crate::Error::DeviceLost).
    pub(crate) async fn read<T>(
        &mut self,
        gpu: &Gpu,
        mut encoder: wgpu::CommandEncoder,
        parts: &[(&wgpu::Buffer, u64, u64)],
        take: impl FnOnce(&[u8]) -> T,
    ) -> Result<T> {
        let total = parts.iter().map(|part| part.2).sum::<u64>();
        let buffer = self.buffer(gpu, total.next_multiple_of(4))?;
        let mut at = 0;
        for (from, offset, bytes) in parts.iter().filter(|part| part.2 > 0) {
            encoder.copy_buffer_to_buffer(from, *offset, &buffer, at, *bytes);
            at += bytes;
        }
        gpu.queue.submit([encoder.finish()]);
        let (taken, buffer) = Readback::new(gpu, buffer, total).read(gpu, take).await?;
        self.kept = Some(buffer);
        Ok(taken)
    }

    /// The one that was kept, if it is large enough, or a new one.
    fn buffer(&mut self, gpu: &Gpu, bytes: u64) -> Result<wgpu::Buffer> {
        if let Some(buffer) = self.kept.take().filter(|buffer| buffer.size() >= bytes) {
            return Ok(buffer);
        }
        let descriptor = wgpu::BufferDescriptor {
            label: Some("staging"),
            size: bytes,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        };
        gpu.scoped_now(|| gpu.device.create_buffer(&descriptor))
    }
}
