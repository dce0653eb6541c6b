//! Numbers: the two precisions, their elementary functions, random numbers, and what is checked of them.

mod check;
mod elementary;
mod ieee;
pub(crate) mod number;
pub(crate) mod philox;
mod real;

pub(crate) use check::check_finite;
pub(crate) use philox::low;
pub use philox::{Purpose, Random, philox4x32};
pub use real::Real;
