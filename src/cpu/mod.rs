//! The native engine: solves and differentiates on the processor, in `f32` or `f64`.
//!
//! The batch is cut into tiles of 32 trajectories, `[feature][lane]`. A tile goes through a whole step before the
//! next one begins, so that its stages stay in cache, and every operation is a loop over lanes. The two layouts share
//! all of that: a step takes one time and one size a lane, which are equal in lockstep.

mod adjoint;
mod crew;
mod encoder;
mod engine;
mod field;
mod kernel;
mod layers;
mod path;
mod regularize;
mod solution;
mod solve;
mod solver;
mod step;
mod tile;

pub use crew::cpu::Cpu;
pub use kernel::dispatch::instruction_set;
pub use kernel::scalar::Scalar;
pub use solver::Solver;

pub(crate) use encoder::Encoder;
pub(crate) use encoder::recurrent::Recurrent;
pub(crate) use engine::{Engine, Owner};
pub(crate) use field::map::Map;
#[cfg(test)]
pub(crate) use kernel::lanes::largest_square_root;
pub(crate) use layers::latent::Latent;
pub(crate) use layers::loss::Task;
#[cfg(test)]
pub(crate) use solve::lockstep::PATIENCE;
#[cfg(test)]
pub(crate) use step::stiffness::RESOLVED;
