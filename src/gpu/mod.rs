//! The wgpu engine: solves and differentiates on any adapter, in `f32`.
//!
//! The device decides, the host supervises: accept or reject, the next step and its clipping happen in small kernels on
//! the device, and the host records attempts ahead and reads one small status late. Time is an integer there, `2^63`
//! ticks to the interval, so that no step drifts and the end is met exactly.

mod backward;
mod buffers;
mod context;
mod engine;
mod job;
mod kernel;
mod plan;
mod readback;
mod solver;

pub use context::{AdapterSummary, Gpu, Pick};
pub use readback::traffic;
pub use solver::GpuSolver;
