//! What is computed before and after a solve.

pub(crate) mod loss;
