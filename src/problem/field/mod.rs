//! The vector field. It is a network for now; its seam, where other fields will enter, is this folder.

mod mlp;

pub(crate) use mlp::check_parameters;
pub use mlp::{Activation, Initialization, InputMap, Layer, Mlp, TimeInput};
