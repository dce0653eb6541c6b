//! How a gradient changes the parameters.

mod frozen;
mod rule;
mod update;

pub(super) use frozen::Frozen;
pub use rule::{Clip, Optimizer, OptimizerState, Rule, Update};
pub(super) use update::norm;

#[cfg(test)]
mod tests;
