//! [`FrozenMask`]: the parameters that no rule moves, as a device has them.

use std::ops::Range;

use crate::error::Result;
use crate::gpu::{Gpu, create};
use crate::memory::Size;

/// A bit a parameter, in words of 32: those that stay as they are.
#[derive(Debug)]
pub(super) struct FrozenMask {
    pub(super) words: wgpu::Buffer,
    /// Whether there are any. Without, no word is looked at.
    pub(super) any: bool,
}

impl FrozenMask {
    pub(super) fn new(gpu: &Gpu, frozen: &[Range<usize>], parameters: usize) -> Result<Self> {
        let bytes = Self::bytes(frozen, parameters);
        let words = gpu.scoped_now(|| create(gpu, "frozen", bytes.0 as u64, false))?;
        if !frozen.is_empty() {
            gpu.queue.write_buffer(&words, 0, bytemuck::cast_slice(&mask(frozen, parameters)));
        }
        Ok(Self { words, any: !frozen.is_empty() })
    }

    /// What it takes, of a model with these parameters.
    pub(super) fn bytes(frozen: &[Range<usize>], parameters: usize) -> Size {
        Size(if frozen.is_empty() { 0 } else { 4 * parameters.div_ceil(32) })
    }
}

fn mask(frozen: &[Range<usize>], parameters: usize) -> Vec<u32> {
    let mut words = vec![0; parameters.div_ceil(32)];
    for i in frozen.iter().cloned().flatten() {
        words[i / 32] |= 1 << (i % 32);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_is_a_parameter() {
        assert_eq!(mask(&[0..1, 31..34, 95..96], 97), [1 << 31 | 1, 0b11, 1 << 31, 0]);
        assert_eq!(mask(&[], 33), [0, 0]);
    }
}
