//! What any device takes, whatever its limits say.

/// Storage buffers that a kernel may bind: fewer than WebGPU's default maximum, 8.
pub(crate) const MAX_STORAGE_BUFFERS: u32 = 7;

/// The longest dimension of a grid: WebGPU's default `max_compute_workgroups_per_dimension`.
pub(crate) const LONGEST: u32 = 65_535;

/// Invocations of the largest workgroup that every device has.
pub(crate) const WORKGROUP: usize = 256;

/// Iterations of all loops of one invocation of a dispatch.
pub(crate) const ITERATIONS: usize = 60_000;
