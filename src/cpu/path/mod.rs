//! Increments of Brownian motion for the lanes of a tile.
//!
//! [`Brownian`] says what the increments are; here they are drawn for all lanes at once.

mod apart;
mod increments;
mod pair;
mod shared;
mod terms;
mod walk;

pub(crate) use increments::Increments;
pub(crate) use shared::Cuts;
pub(crate) use terms::{add_noise, add_noise_vjp, add_terms, speed, speed_change};
