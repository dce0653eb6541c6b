//! The wgpu engine: solves and differentiates on any adapter, in `f32`.
//!
//! The device decides, the host supervises: accept or reject, the next step and its clipping happen in small kernels on
//! the device, and the host records attempts ahead and reads one small status late. Time is an integer there, `2^63`
//! ticks to the interval, so that no step drifts and the end is met exactly.

#[cfg(test)]
mod adapter;
mod backward;
mod buffers;
mod context;
#[cfg(test)]
mod contract;
mod engine;
mod forward;
#[cfg(test)]
mod functions;
mod fused;
mod held;
mod iterations;
mod kernel;
mod learnt;
mod noise;
mod penalty;
mod plan;
mod profile;
mod readback;
mod recording;
mod solver;
mod submission;
mod wire;

pub use context::{AdapterSummary, Gpu, Pick};
pub use profile::{KernelTime, Profile};
pub use readback::traffic;
pub use recording::{OUTCOME_WGSL, SolveIo, SolveOutcome, SolveRecording};
pub use solver::GpuSolver;

pub(crate) use backward::{LayerVjp, WalkPlans, layer_job};
pub(crate) use buffers::{Buffers, Owner, Purpose, create};
pub(crate) use engine::Engine;
pub(crate) use forward::SolvePlans;
pub(crate) use held::{Held, Room};
pub(crate) use iterations::{CLASSES, PATHS};
pub(crate) use kernel::{
    DENSE, DENSE_VJP_INPUT, GATHER, GRADIENT_NORM, LOSS, LOSS_SUM, MOMENTS, NEXT_STEP, SETTLE, UPDATE, product_grid,
};
pub(crate) use penalty::check_penalty;
pub(crate) use plan::{Plan, Planner, flat};
pub(crate) use readback::Readback;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use readback::wait;
pub(crate) use recording::{check, check_counts, copy_in};
pub(crate) use submission::Submissions;
pub(crate) use wire::job::Job;
pub(crate) use wire::modes;
pub(crate) use wire::records::{Outcome, Params};
pub(crate) use wire::word;
