//! What is small enough for trajectories to be solved whole, each in one invocation.

use crate::problem::Layer;

/// The most features of a state that is kept in registers.
const WIDEST_STATE: usize = 4;

/// The most parameters whose gradient an invocation keeps to itself.
const MOST_PARAMETERS: usize = 1024;

/// Whether a field is small enough to be solved whole.
pub(crate) fn is_small(layers: &[Layer]) -> bool {
    let dim = layers.first().map_or(0, |l| l.inputs);
    layers.len() <= 2 && dim <= WIDEST_STATE && (layers.len() == 1 || hidden_units(layers) <= 512)
}

/// The number of hidden units, which a kernel with such a field has among its arguments.
pub(crate) fn hidden_units(layers: &[Layer]) -> usize {
    layers.first().map_or(0, |l| l.outputs)
}

/// Whether its gradient is small enough too, with that of a diffusion if there is one.
pub(crate) fn has_small_gradient(layers: &[Layer], noise_layers: &[Layer]) -> bool {
    is_small(layers) && parameters(layers) + parameters(noise_layers) <= MOST_PARAMETERS
}

/// Parameters of a network.
pub(crate) fn parameters(layers: &[Layer]) -> usize {
    layers.iter().map(Layer::parameter_count).sum()
}
