//! What regularizers add to a backward pass.

pub(crate) mod local;
