//! [`Gradients`]: what a backward pass returns.

use std::collections::BTreeMap;

use crate::method::PointValues;

/// Gradients of a loss.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Gradients<R> {
    /// With respect to the problem's parameters, as [`Mlp::layers`](crate::Mlp::layers) lays them out.
    pub theta: Vec<R>,
    /// With respect to the initial states, `[B][D]`.
    pub y0: Vec<R>,
    /// With respect to the values of the controls that asked for it
    /// ([`Control::with_gradient`](crate::Control::with_gradient)), by name, each in the shape of the values that were set:
    /// `[T][rows]`, of all trajectories together, or `[B][T][rows]`.
    pub controls: BTreeMap<String, Vec<R>>,
    /// Vector-Jacobian products of the field that the backward pass took; each also evaluates the field anew.
    pub products: usize,
    /// The regularizer's penalty, without its coefficient: a mean over its share of the batch, without those that
    /// failed. NaN if none is left of it, and 0 without a regularizer. `theta`, `y0` and `controls` contain its gradient, times the
    /// coefficient.
    pub penalty: f64,
    /// The penalty of all accepted steps, if there is one. Without a local one it is `penalty` too.
    pub global_penalty: Option<f64>,
    /// The penalties of measures at random times. Without a local or global one the first is `penalty` too.
    pub pointwise: PointValues,
}
