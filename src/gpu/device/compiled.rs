//! [`Compiled`]: a compiled kernel. Those of one device are compiled once, whoever asks for them.

use std::collections::HashMap;

/// A compiled kernel.
#[derive(Clone, Debug)]
pub(crate) struct Compiled {
    pub(crate) name: &'static str,
    pub(crate) pipeline: wgpu::ComputePipeline,
    pub(crate) layout: wgpu::BindGroupLayout,
    /// What it binds besides the plan's buffers, and where.
    pub(crate) atol: Option<(u32, wgpu::Buffer)>,
}

/// Kernels that a device has compiled, by name, prelude and constants.
pub(crate) type Cache = HashMap<(&'static str, String, String), Compiled>;
