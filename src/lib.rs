//! Train neural ODEs that need few solver steps.

pub mod cpu;
pub mod error;
pub mod spec;
pub mod train;

pub use cpu::{Cpu, DenseSolution, Gradients, SavedTimes, Scalar, Solution, Solver, Stats, Workspace};
pub use error::{Error, Result, Status};
pub use spec::*;
pub use train::*;
