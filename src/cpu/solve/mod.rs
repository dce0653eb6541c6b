//! The two layouts of a solve.

pub(crate) mod ensemble;
pub(crate) mod lockstep;
