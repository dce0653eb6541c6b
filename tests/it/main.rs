//! The library from outside, as one crate: the oracle, and what is tested against it by subject.

mod docs;
mod gpu;
mod house;
mod ode;
mod oracle;
mod sde;
mod train;
