//! [`Shares`]: what numbers count in the losses of their trajectories, where not all count alike.

use crate::method::row_weights;

/// What numbers count in their trajectories' losses.
pub(super) struct Shares {
    /// Each number's share of its trajectory's loss where that is a mean, `[times][batch][outputs]`.
    pub(super) of_numbers: Vec<f32>,
    /// What a trajectory's are shares of: the sum of its weights, with which they make a sum of the mean.
    pub(super) sums: Vec<f32>,
}

impl Shares {
    /// Those of so many weights `[times][batch][outputs]` with these sums, at the times that trajectories have.
    #[expect(clippy::cast_possible_truncation, reason = "the device computes at f32")]
    pub(super) fn new(
        weight: impl Fn(usize) -> f32,
        count: usize,
        (sums, outputs): (&[f64], usize),
        has: impl Fn(usize, usize) -> bool,
    ) -> Self {
        let share = |i: usize| {
            let (row, slot) = (i / outputs % sums.len(), i / outputs / sums.len());
            if has(row, slot) { (f64::from(weight(i)) / sums[row]) as f32 } else { 0.0 }
        };
        Self { of_numbers: (0..count).map(share).collect(), sums: sums.iter().map(|sum| *sum as f32).collect() }
    }

    /// Those of a data set's weights `[samples][times][outputs]`.
    pub(super) fn of_samples(
        weights: &[f32],
        [times, outputs]: [usize; 2],
        has: impl Fn(usize, usize) -> bool,
    ) -> Self {
        let mut all = Self { of_numbers: Vec::with_capacity(weights.len()), sums: Vec::new() };
        for (sample, weights) in weights.chunks_exact(times * outputs).enumerate() {
            let has = |_: usize, time: usize| has(sample, time);
            let sums = row_weights(weights, [1, outputs], has);
            let of_sample = Self::new(|i| weights[i], weights.len(), (&sums, outputs), has);
            all.of_numbers.extend(of_sample.of_numbers);
            all.sums.extend(of_sample.sums);
        }
        all
    }
}
