//! [`Streams`]: random numbers of each trajectory, a pure function of what they are for.

use crate::math::{Purpose, Random};

/// Random numbers of each trajectory of a solve.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Streams {
    seed: u64,
    purpose: Purpose,
    first: u64,
}

impl Streams {
    /// The bit of streams that no training step has.
    const EVALUATION: u64 = 1 << 63;

    /// Those of a purpose, in the training step after `step` others.
    pub(crate) const fn of_step(purpose: Purpose, seed: u64, step: u64) -> Self {
        Self { seed, purpose, first: step << 32 }
    }

    /// Those of a purpose in an evaluation's `sample`-th sample, the same in all evaluations.
    pub(crate) const fn of_evaluation(purpose: Purpose, seed: u64, sample: u64) -> Self {
        Self { seed, purpose, first: Self::EVALUATION | (sample << 32) }
    }

    /// A trajectory's signs.
    pub(crate) fn signs(self, trajectory: usize) -> impl Iterator<Item = f64> {
        let mut random = self.random(trajectory);
        std::iter::repeat_with(move || if random.next_u32() >> 31 == 0 { 1.0 } else { -1.0 })
    }

    /// A trajectory's standard normal numbers.
    pub(crate) fn normals(self, trajectory: usize) -> impl Iterator<Item = f64> {
        let mut random = self.random(trajectory);
        std::iter::repeat_with(move || random.normal())
    }

    fn random(self, trajectory: usize) -> Random {
        Random::new(self.seed, self.purpose, self.first + trajectory as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normals_are_standard_normal_and_their_own() {
        let purpose = Purpose::InitialState;
        let of = |streams: Streams| (0..400).flat_map(|b| streams.normals(b).take(50)).collect::<Vec<f64>>();
        let all = of(Streams::of_step(purpose, 3, 7));
        let mean = |power: i32| all.iter().map(|x| x.powi(power)).sum::<f64>() / all.len() as f64;
        // Four standard errors of 20,000 numbers.
        for (power, expected, error) in [(1, 0.0, 1.0), (2, 1.0, 2.0), (4, 3.0, 96.0)] {
            let off = (mean(power) - expected).abs();
            assert!(off < 4.0 * f64::sqrt(error / 20_000.0), "moment {power}: {off}");
        }
        for other in
            [Streams::of_step(purpose, 4, 7), Streams::of_step(purpose, 3, 8), Streams::of_evaluation(purpose, 3, 7)]
        {
            let same = of(other).iter().zip(&all).filter(|(a, b)| a == b).count();
            assert_eq!(same, 0, "{other:?}");
        }
    }
}
