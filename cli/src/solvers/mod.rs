//! The solvers that a model may be deployed with, and which of them is the cheapest that is good enough.

mod candidates;
mod cheapest;
mod corrected;
mod judge;
mod paired;

pub(crate) use candidates::{adaptive, equal_steps, evaluations, name, with_steps};
pub(crate) use cheapest::{Limits, cheapest, front, of_run, tested};
pub(crate) use corrected::{hypersolved, hypersolver};
pub(crate) use judge::{Judge, Score, held_out};
