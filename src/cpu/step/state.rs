//! [`StepState`]: what a step starts from and what it leaves; [`Shape`], how large that is.

use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::lanes::{Lanes, add};
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::path::Cuts;

/// How large the arrays of a scheme's tiles are, and how often a step evaluates its networks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Features `D` of a state.
    pub(crate) features: usize,
    /// Rows of a state: twice `D` where a second state follows the first.
    pub(crate) rows: usize,
    /// Stages of the drift, and of the diffusion if there is any.
    pub(crate) stages: [usize; 2],
    /// Whether the last slopes are the first of the next step.
    pub(crate) fsal: bool,
}

impl Shape {
    /// Networks, 1 or 2.
    pub(crate) const fn networks(&self) -> usize {
        if self.stages[1] > 0 { 2 } else { 1 }
    }

    /// Evaluations of each network that an attempt makes, where the first ones are there already or not.
    pub(crate) fn evaluations(&self, shared: bool) -> [usize; 2] {
        self.stages.map(|stages| stages.saturating_sub(usize::from(shared)))
    }

    /// Evaluations of each network at one point.
    pub(crate) fn point(&self) -> [usize; 2] {
        self.stages.map(|stages| stages.min(1))
    }

    /// An array of one number a feature and lane.
    pub(crate) fn array<R: Scalar>(&self) -> Vec<R> {
        vec![R::ZERO; self.features * LANES]
    }

    /// An array of states.
    pub(crate) fn states<R: Scalar>(&self) -> Vec<R> {
        vec![R::ZERO; self.rows * LANES]
    }

    /// An array of slopes.
    pub(crate) fn slopes<R: Scalar>(&self) -> Vec<R> {
        vec![R::ZERO; self.networks() * self.features * LANES]
    }

    /// The part of a state at which the networks are evaluated: all of it, or the second state.
    pub(crate) fn point_of<'a, R>(&self, y: &'a [R]) -> &'a [R] {
        &y[y.len() - self.features * LANES..]
    }
}

/// What a step of a tile's lanes starts from, and what an attempt leaves. *Slopes* are the networks' values at one point,
/// `[networks][D][LANES]`: the drift, then the diffusion if there is any.
#[derive(Debug)]
pub(crate) struct StepState<R> {
    /// The state, `[rows][LANES]`, and the end of the last attempt.
    pub(crate) y: Vec<R>,
    pub(crate) y1: Vec<R>,
    /// Slopes at the first and the last stage.
    pub(crate) first: Vec<R>,
    pub(crate) last: Vec<R>,
    /// Number of each lane's trajectory, which selects its path.
    pub(crate) trajectories: Lanes<u32>,
    /// What is known of the paths near the last step.
    pub(crate) cuts: Cuts<R>,
}

impl<R: Scalar> StepState<R> {
    pub(crate) fn new(shape: &Shape) -> Self {
        Self {
            y: shape.states(),
            y1: shape.states(),
            first: shape.slopes(),
            last: shape.slopes(),
            trajectories: [0; LANES],
            cuts: Cuts::default(),
        }
    }
}

/// A second state, where there is one, starts as the first one.
pub(crate) fn begin_second<R: Scalar>(y: &mut [R], n: usize) {
    if y.len() > n {
        y.copy_within(..n, n);
    }
}

/// The transpose: adds the cotangent of a second state to that of the first.
pub(crate) fn fold_second<R: Scalar>(bar: &mut [R], n: usize) {
    let (first, second) = bar.split_at_mut(n);
    if !second.is_empty() {
        add(first, second);
        second.fill(R::ZERO);
    }
}
