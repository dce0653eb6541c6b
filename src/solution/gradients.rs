//! [`Gradients`]: what a backward pass returns.

use std::collections::BTreeMap;

use crate::error::Status;
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
    /// Vector-Jacobian products of the field that the backward pass took; each also evaluates the field anew. In an adjoint
    /// with steps of its own ([`Adjoint::Interpolating`], and [`Adjoint::Backsolve`] without noise) those of the states, of all
    /// attempts, and those of the parameters, of the accepted ones; of the costliest 32 trajectories.
    ///
    /// Those of an engine: the last stage of a method that hands it on to the next step has cotangents where states are saved
    /// within steps, a penalised step begins within one, or steps' errors are a penalty. Natively its product is taken together
    /// with that of the next step's first stage, so that one more is taken in all, or in a problem with controls one a step with
    /// such cotangents; a device takes one more in every step then.
    ///
    /// [`Adjoint::Interpolating`]: crate::Adjoint::Interpolating
    /// [`Adjoint::Backsolve`]: crate::Adjoint::Backsolve
    pub products: usize,
    /// Evaluations of the field that the backward pass took, likewise; with checkpoints, those of the steps that it took again
    /// too. Not counted on a device.
    pub evaluations: usize,
    /// How the backward solve of each trajectory ended, in an adjoint with steps of its own; empty in any other. The gradient
    /// by the initial state of one that did not come to the start is NaN, and that by the parameters lacks its part.
    pub status: Vec<Status>,
    /// Of [`Adjoint::Backsolve`](crate::Adjoint::Backsolve) without noise: the largest distance of a state from the same one in
    /// the solve, at saved times and at the start, as a root mean square in units of the tolerance.
    pub drift: Option<f64>,
    /// The regularizer's penalty, without its coefficient: a mean over its share of the batch, without those that
    /// failed. NaN if none is left of it, and 0 without a regularizer. `theta`, `y0` and `controls` contain its gradient, times the
    /// coefficient.
    pub penalty: f64,
    /// The penalty of all accepted steps, if there is one. Without a local one it is `penalty` too.
    pub global_penalty: Option<f64>,
    /// The penalties of measures at random times. Without a local or global one the first is `penalty` too.
    pub pointwise: PointValues,
}
