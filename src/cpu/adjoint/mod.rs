//! The backward pass.

pub(crate) mod walk;
