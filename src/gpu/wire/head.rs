//! [`Head`]: what every kernel is told.

use super::twins;

twins! {
    /// What every kernel is told; `shaders/lib/job.wgsl` says what the members are.
    Head {
        rows: u32,
        dim: u32,
        per_row: u32,
        flags: u32,
        stages: u32,
        mode: u32,
        t0: f32,
        span: f32,
        atol: f32,
        rtol: f32,
        fixed_ticks: [u32; 2],
    }
}

/// Bytes that arguments may take.
pub(crate) const ROOM: usize = 256 - size_of::<Head>();
