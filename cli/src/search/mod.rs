//! Looking for a regularizer's coefficient: what is trained at each, and what came of it.

mod cost;
pub(crate) mod gaussian;
mod plan;
mod point;
mod quality;
pub(crate) mod table;

pub(crate) use cost::Cost;
pub(crate) use plan::{Plan, ensure_free};
pub(crate) use point::Point;
pub(crate) use quality::{Quality, Yardstick};
