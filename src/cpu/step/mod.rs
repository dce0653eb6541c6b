//! One step of one tile.

pub(crate) mod runge_kutta;
pub(crate) mod stochastic;
