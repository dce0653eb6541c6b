//! [`Compiled`]: a compiled kernel. Those of one device are compiled once, whoever asks for them.

use std::collections::HashMap;
use std::marker::PhantomData;

/// A compiled shader.
#[derive(Clone, Debug)]
pub(crate) struct CompiledShader {
    pub(crate) pipeline: wgpu::ComputePipeline,
    pub(crate) layout: wgpu::BindGroupLayout,
    /// The bindings of the buffers, in the order of the table.
    pub(crate) bindings: Vec<u32>,
}

/// A compiled kernel, to be dispatched with its arguments.
#[derive(Clone, Debug)]
pub(crate) struct Compiled<A> {
    pub(crate) name: &'static str,
    pub(crate) shader: CompiledShader,
    /// What it binds besides the plan's buffers, and where.
    pub(crate) atol: Option<(u32, wgpu::Buffer)>,
    pub(crate) args: PhantomData<A>,
}

/// Kernels that a device has compiled, by name, prelude and constants.
pub(crate) type Cache = HashMap<(&'static str, String, String), CompiledShader>;
