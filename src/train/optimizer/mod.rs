//! How a gradient changes the parameters.

mod rule;
mod update;

pub use rule::{Clip, Optimizer, OptimizerState, Rule, Update};
pub(super) use update::norm;

#[cfg(test)]
mod tests;
