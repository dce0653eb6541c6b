//! A device: how it is opened, what it has compiled, how one reads from it and what its kernels take.

mod adapter;
#[cfg(not(target_arch = "wasm32"))]
mod blocking;
pub(super) mod compiled;
pub(super) mod context;
pub(super) mod limits;
mod profile;
mod profiler;
pub(super) mod readback;
mod scopes;
pub(super) mod staging;
mod traffic;

pub use adapter::{AdapterSummary, Pick};
pub use context::Gpu;
pub use profile::{KernelTime, Profile};
