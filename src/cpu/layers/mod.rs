//! What is computed before and after a solve.

mod importance;
pub(crate) mod latent;
pub(crate) mod loss;
