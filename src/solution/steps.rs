//! [`Steps`]: accepted steps, and the solutions that are saved at them.

use super::{DenseSolution, SavedTimes};
use crate::math::Real;
use crate::method::Method;

/// The accepted steps of a solve.
#[derive(Debug)]
pub(crate) struct Steps {
    t0: f64,
    /// Whether all trajectories took the same ones.
    shared: bool,
    /// Start and end of each step: one list for all trajectories, or one for each.
    ends: Vec<Vec<[f64; 2]>>,
    /// States of each trajectory that are its own, the initial one among them. In lockstep one that was given up is carried
    /// along through steps that are not its own.
    own: Vec<usize>,
}

impl Steps {
    pub(crate) const fn new(t0: f64, shared: bool, ends: Vec<Vec<[f64; 2]>>, own: Vec<usize>) -> Self {
        Self { t0, shared, ends, own }
    }

    /// Times of all states: the start, and the ends of the steps.
    pub(crate) fn times(&self) -> SavedTimes {
        let times =
            |ends: &Vec<[f64; 2]>| std::iter::once(self.t0).chain(ends.iter().map(|e| e[1])).collect::<Vec<_>>();
        if self.shared {
            SavedTimes::Shared(self.ends.first().map(times).unwrap_or_default())
        } else {
            SavedTimes::PerTrajectory(self.ends.iter().map(times).collect())
        }
    }

    /// All states in the order of [`SavedTimes`]; `append` adds a trajectory's state before a step, or after the last one.
    /// NaN where it is not the trajectory's own, or not finite.
    pub(crate) fn states<R: Real>(&self, mut append: impl FnMut(&mut Vec<R>, usize, usize)) -> Vec<R> {
        let mut ys = Vec::new();
        let mut push = |row: usize, step: usize| {
            let at = ys.len();
            append(&mut ys, row, step);
            let state = &mut ys[at..];
            if step >= self.own[row] || !state.iter().all(|y| y.is_finite()) {
                state.fill(R::from_f64(f64::NAN));
            }
        };
        if self.shared {
            for step in 0..=self.ends.first().map_or(0, Vec::len) {
                (0..self.own.len()).for_each(|row| push(row, step));
            }
        } else {
            for (row, ends) in self.ends.iter().enumerate() {
                (0..=ends.len()).for_each(|step| push(row, step));
            }
        }
        ys
    }

    /// Steps that are a trajectory's own.
    pub(crate) fn own_steps(&self, row: usize) -> usize {
        self.own[row].saturating_sub(1)
    }

    /// The solution at any time, from each trajectory's states and stages as [`DenseSolution`] keeps them.
    pub(crate) fn dense<R: Real>(self, dim: usize, method: Method, nodes: Vec<Vec<R>>) -> DenseSolution<R> {
        DenseSolution::from_parts(dim, self.t0, self.shared, self.ends, nodes, method)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two trajectories of one number each; the second one was given up after its first step.
    fn states(steps: &Steps) -> Vec<f64> {
        steps.states(|ys, row, step| ys.push((10 * row + step) as f64))
    }

    #[test]
    fn states_that_are_not_a_trajectorys_own_are_nan() {
        let ends = vec![[0.0, 0.5], [0.5, 1.0]];
        let shared = Steps::new(0.0, true, vec![ends.clone()], vec![3, 2]);
        let apart = Steps::new(0.0, false, vec![ends.clone(), ends[..1].to_vec()], vec![3, 2]);
        assert_eq!(shared.times(), SavedTimes::Shared(vec![0.0, 0.5, 1.0]));
        assert_eq!(apart.times(), SavedTimes::PerTrajectory(vec![vec![0.0, 0.5, 1.0], vec![0.0, 0.5]]));
        let found = states(&shared);
        assert_eq!(found[..5], [0.0, 10.0, 1.0, 11.0, 2.0]);
        assert!(found[5].is_nan() && found.len() == 6, "{found:?}");
        assert_eq!(states(&apart), [0.0, 1.0, 2.0, 10.0, 11.0]);
        assert_eq!([0, 1].map(|row| shared.own_steps(row)), [2, 1]);
        let lost = apart.states(|ys, _, step| ys.push([1.0, f64::INFINITY, 2.0][step]));
        assert!(lost[1].is_nan() && lost[4].is_nan(), "not finite: {lost:?}");
        assert_eq!([lost[0], lost[2], lost[3]], [1.0, 2.0, 1.0]);
    }
}
