//! What is computed before and after a solve.

mod difference;
mod importance;
pub(crate) mod latent;
pub(crate) mod loss;
