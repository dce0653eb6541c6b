//! The vector field on a tile

pub(crate) mod layer;
pub(crate) mod mlp;
