//! [`DenseSolution`]: a solution at any time.

use crate::error::{Error, Result};
use crate::math::Real;
use crate::method::Method;
use crate::problem::{settled, within};

/// A solution that can be evaluated at any time, by the method's interpolant.
#[derive(Clone, Debug, PartialEq)]
pub struct DenseSolution<R> {
    dim: usize,
    t0: f64,
    shared: bool,
    /// Ends of the accepted steps, one list for all trajectories or one for each.
    steps: Vec<Vec<[f64; 2]>>,
    /// Per trajectory and step that it took: the state before it, then its stages, `[1 + stages][D]`; after all steps its
    /// last state, `[D]`.
    nodes: Vec<Vec<R>>,
    method: Method,
}

impl<R: Real> DenseSolution<R> {
    /// From the ends of the accepted steps, and each trajectory's states and stages.
    pub(super) const fn from_parts(
        dim: usize,
        t0: f64,
        shared: bool,
        steps: Vec<Vec<[f64; 2]>>,
        nodes: Vec<Vec<R>>,
        method: Method,
    ) -> Self {
        Self { dim, t0, shared, steps, nodes, method }
    }

    /// The state of a trajectory at time `t`, `[D]`.
    ///
    /// # Errors
    /// [`Error::Argument`] when there is no such trajectory, or it did not come by that time.
    pub fn evaluate(&self, trajectory: usize, t: f64) -> Result<Vec<R>> {
        let Some(nodes) = self.nodes.get(trajectory) else {
            let remedy = format!("the batch has {} trajectories", self.nodes.len());
            return Err(Error::argument("trajectory", trajectory, remedy));
        };
        let tableau = self.method.tableau();
        let size = (1 + tableau.stages()) * self.dim;
        let steps = &self.steps[if self.shared { 0 } else { trajectory }][..nodes.len() / size];
        let end = steps.last().map_or(self.t0, |step| step[1]);
        let t = settled(t, [self.t0, end]);
        let last = &nodes[nodes.len() - self.dim..];
        if t == end && last.iter().all(|y| y.is_finite()) {
            return Ok(last.to_vec());
        }
        let Some(i) = steps.iter().position(|s| t == s[0] || within(t, s[0], s[1])) else {
            let remedy = format!("the trajectory was integrated from {} to {end}", self.t0);
            return Err(Error::argument("t", t, remedy));
        };
        let [t0, t1] = steps[i];
        let weights = tableau.interpolant_weights((t - t0) / (t1 - t0));
        let (y, stages) = nodes[i * size..][..size].split_at(self.dim);
        let mut out: Vec<f64> = y.iter().map(|y| y.to_f64()).collect();
        for (k, weight) in stages.chunks_exact(self.dim).zip(weights) {
            for (out, k) in out.iter_mut().zip(k) {
                *out += (t1 - t0) * weight * k.to_f64();
            }
        }
        Ok(out.into_iter().map(R::from_f64).collect())
    }
}
