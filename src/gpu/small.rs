//! What is small enough for trajectories to be solved whole, each in one invocation.

use super::controls::Drive;
use super::script::{NARROW, Script, Scripts};
use crate::problem::Layer;

/// The most features of a state that is kept in registers.
const WIDEST_STATE: usize = 4;

/// The most parameters whose gradient an invocation keeps to itself.
const MOST_PARAMETERS: usize = 1024;

/// The most statements of what was written out. Each of a method's stages repeats them, and a driver compiles them all.
const MOST_STATEMENTS: usize = 512;

/// The most numbers that it keeps in arrays, which are no registers.
const MOST_NUMBERS: usize = 1024;

/// The most multiply-adds of its vector-Jacobian product, which one invocation makes one after the other: some more than
/// those of two layers with 512 units between four features.
const MOST_MULTIPLY_ADDS: usize = 1 << 14;

/// Whether a field is small enough to be solved whole.
pub(crate) fn is_small(layers: &[Layer]) -> bool {
    let dim = layers.first().map_or(0, |l| l.inputs);
    (1..=2).contains(&layers.len()) && dim <= WIDEST_STATE && (layers.len() == 1 || hidden_units(layers) <= 512)
}

/// The number of hidden units, which a kernel with such a field has among its arguments.
pub(crate) fn hidden_units(layers: &[Layer]) -> usize {
    layers.first().map_or(0, |l| l.outputs)
}

/// Whether the gradient of so many parameters is small enough too.
pub(crate) const fn has_small_gradient(parameters: usize) -> bool {
    parameters <= MOST_PARAMETERS
}

/// Whether a field that was written out is small enough to be solved whole, by what its vector-Jacobian product comes to.
pub(crate) fn is_brief(scripts: &Scripts, dim: usize, drives: &[Drive]) -> bool {
    let Script { program, .. } = &scripts.product;
    let driving: usize = drives.iter().map(|drive| drive.rows).sum();
    dim <= NARROW
        && scripts.product.statements() <= MOST_STATEMENTS
        && scripts.product.numbers() + driving <= MOST_NUMBERS
        && program.cost().multiply_adds <= MOST_MULTIPLY_ADDS
}
