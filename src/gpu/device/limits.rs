//! What any device takes, whatever its limits say.

/// Storage buffers that a kernel may bind: WebGPU's default maximum.
pub(crate) const MAX_STORAGE_BUFFERS: u32 = 8;

/// The longest dimension of a grid: WebGPU's default `max_compute_workgroups_per_dimension`.
pub(crate) const LONGEST: u32 = 65_535;

/// Invocations of the largest workgroup that every device has.
pub(crate) const WORKGROUP: usize = 256;

/// Iterations of all loops of one invocation of a dispatch.
pub(crate) const ITERATIONS: usize = 60_000;
