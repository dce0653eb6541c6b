//! The wgpu engine: solves and differentiates on any adapter, in `f32`.
//!
//! The device decides, the host supervises: accept or reject, the next step and its clipping happen in small kernels on
//! the device, and the host records attempts ahead and reads one small status late. Time is an integer there, `2^63`
//! ticks to the interval, so that no step drifts and the end is met exactly.

#[cfg(test)]
mod adapter;
mod buffers;
#[cfg(test)]
mod contract;
mod controls;
mod device;
#[cfg(test)]
mod driven;
mod embed;
mod engine;
#[cfg(test)]
mod fields;
#[cfg(test)]
mod functions;
mod held;
mod interval;
mod iterations;
mod kernel;
mod knots;
mod own_times;
mod pace;
mod plan;
mod print;
#[cfg(test)]
mod programs;
mod reach;
mod recent;
mod record;
mod room;
mod schedule;
mod script;
mod small;
mod solution;
mod solve;
mod solver;
mod submission;
mod wire;

pub use device::{AdapterSummary, Gpu, KernelTime, Pick, Profile};
pub use embed::{OUTCOME_WGSL, SolveIo, SolveOutcome, SolveRecording};
pub use solver::GpuSolver;

pub(crate) use buffers::{Around, Buffers, Owner, Purpose, create};
pub(crate) use controls::Controls;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use device::readback::wait;
pub(crate) use embed::{check, check_counts, copy_in};
pub(crate) use engine::Engine;
pub(crate) use held::Held;
pub(crate) use iterations::{CLASSES, PATHS, weighting};
pub(crate) use kernel::{
    DENSE, DENSE_VJP_INPUT, GATHER, GRADIENT_NORM, IMPORTANCE, LATENT_BAR, LATENT_DRAW, LOSS, LOSS_SUM, MOMENTS,
    NEXT_STEP, SETTLE, UPDATE, product_grid,
};
pub(crate) use plan::{Jobs, Plan, Planner, SolvePlans, WalkPlans, flat};
pub(crate) use record::{
    LayerVjp, Outside, Recorder, Series, check_penalty, dense_args, dense_vjp_input_args, time_flag,
};
pub(crate) use room::Room;
pub(crate) use schedule::Schedules;
pub(crate) use submission::Submissions;
pub(crate) use wire::args;
pub(crate) use wire::head::Head;
pub(crate) use wire::job::coefficients;
pub(crate) use wire::modes;
pub(crate) use wire::records::{Outcome, Params};
pub(crate) use wire::word;
