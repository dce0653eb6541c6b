//! [`Frozen`]: parameters that no rule moves.

use std::ops::Range;

use super::rule::{Optimizer, OptimizerState, Update};
use crate::math::Real;

/// Parameters that stay as they are, whatever the rule: some decay what has no gradient, and moments may be older than the
/// freezing.
#[derive(Debug)]
pub(crate) struct Frozen<R> {
    ranges: Vec<Range<usize>>,
    /// What they were before the update, one range after the other.
    numbers: Vec<R>,
}

impl<R: Real> Frozen<R> {
    pub(crate) fn new(ranges: Vec<Range<usize>>) -> Self {
        let count = ranges.iter().map(Range::len).sum();
        Self { ranges, numbers: vec![R::ZERO; count] }
    }

    /// As [`Optimizer::update`], of the other parameters; the frozen ones have no part in the gradient either.
    pub(crate) fn update(
        &mut self,
        optimizer: &Optimizer,
        state: &mut OptimizerState<R>,
        theta: &mut [R],
        gradient: &mut [R],
    ) -> Update {
        self.leave_out(gradient);
        let mut rest = &mut self.numbers[..];
        for range in &self.ranges {
            let (numbers, others) = rest.split_at_mut(range.len());
            numbers.copy_from_slice(&theta[range.clone()]);
            rest = others;
        }
        let update = optimizer.update(state, theta, gradient);
        let mut rest = &self.numbers[..];
        for range in &self.ranges {
            let (numbers, others) = rest.split_at(range.len());
            theta[range.clone()].copy_from_slice(numbers);
            rest = others;
        }
        update
    }

    /// Takes the frozen parameters out of a gradient.
    pub(crate) fn leave_out(&self, gradient: &mut [R]) {
        for range in &self.ranges {
            gradient[range.clone()].fill(R::ZERO);
        }
    }
}
