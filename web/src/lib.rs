//! A page on which a neural ODE learns on the visitor's GPU, with a regularizer and without.
//!
//! It is built for `wasm32-unknown-unknown` by `web/build.sh`. For every other target the crate is empty; its test drives a
//! browser (`web/test.sh`).

#[cfg(target_arch = "wasm32")]
mod learner;
#[cfg(target_arch = "wasm32")]
mod page;
#[cfg(target_arch = "wasm32")]
mod picture;
#[cfg(target_arch = "wasm32")]
mod task;

#[cfg(target_arch = "wasm32")]
pub use learner::{Learner, Score, Step};
#[cfg(target_arch = "wasm32")]
pub use page::Page;
