//! Random numbers as a pure function of where they are used: [`philox4x32`], and [`Random`] over it.

/// What a round multiplies words 0 and 2 with.
pub(crate) const MULTIPLIER: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];

/// What the key grows by in a round.
pub(crate) const WEYL: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];

/// Philox4x32-10: 128 random bits as a bijection of `counter`, selected by `key`.
///
/// J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, Parallel random numbers: as easy as 1, 2, 3, SC 2011. It passes
/// `BigCrush`, and its outputs agree with the Random123 library's.
#[must_use]
#[inline]
pub const fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    let mut round = 0;
    while round < 10 {
        let [low0, high0] = halves(counter[0] as u64 * MULTIPLIER[0] as u64);
        let [low1, high1] = halves(counter[2] as u64 * MULTIPLIER[1] as u64);
        counter = [high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
        round += 1;
    }
    counter
}

/// The low and the high word of `x`.
const fn halves(x: u64) -> [u32; 2] {
    [low(x), low(x >> 32)]
}

/// The low word of `x`.
pub(crate) const fn low(x: u64) -> u32 {
    x as u32
}

/// What a stream of random numbers is for. The numbers of a purpose stay as they are when another one draws more.
///
/// The discriminants take part in every stream, and hence never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
#[non_exhaustive]
pub enum Purpose {
    /// The initial weights of a network.
    Initialization = 0,
    /// The order of the samples in an epoch.
    Shuffle = 1,
    /// The time at which a regularizer is evaluated.
    RegularizationTime = 2,
    /// The end of an interval of integration that is itself random.
    EndTime = 3,
    /// The noise of a stochastic differential equation, whose counters [`Brownian`](crate::Brownian) lays out.
    Noise = 4,
    /// Synthetic data.
    Data = 5,
    /// The division of a data set into parts.
    Split = 6,
    /// The seeds of the paths that a training step follows.
    Paths = 7,
    /// The directions in which a regularizer looks.
    RegularizationDirection = 8,
    /// The directions along which a trace is estimated.
    TraceDirection = 9,
    /// Points of the density that a flow begins with.
    Base = 10,
    /// The steps whose residuals a hypersolver learns.
    ResidualSteps = 11,
    /// Initial states that are drawn.
    InitialState = 12,
}

/// A source of random numbers that is fixed by `(seed, purpose, index)` alone.
///
/// The seed is Philox's key; the purpose and the index are the upper three words of its counter, so that no two
/// triples share a block. The lowest word counts the blocks of a stream: it repeats after `2^34` words. To resume at,
/// say, a training step, make the source of that step's index anew: there is no state to store.
#[derive(Clone, Debug)]
pub struct Random {
    key: [u32; 2],
    counter: [u32; 4],
    block: [u32; 4],
    used: usize,
}

impl Random {
    /// The stream number `index` (an epoch, a training step, a layer, ...) of `purpose` under `seed`.
    #[must_use]
    pub const fn new(seed: u64, purpose: Purpose, index: u64) -> Self {
        let [low, high] = halves(index);
        Self { key: halves(seed), counter: [0, low, high, purpose as u32], block: [0; 4], used: 4 }
    }

    /// The next 32 random bits.
    pub const fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            self.block = philox4x32(self.counter, self.key);
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    /// The next 64 random bits, of which the first word is the lower half.
    pub const fn next_u64(&mut self) -> u64 {
        let low = self.next_u32() as u64;
        low | (self.next_u32() as u64) << 32
    }

    /// A multiple of `2^-53`, uniform in `[0, 1)`. Takes two words.
    pub const fn uniform(&mut self) -> f64 {
        const UNIT: f64 = 1.0 / (1u64 << 53) as f64;
        (self.next_u64() >> 11) as f64 * UNIT
    }

    /// An integer, uniform in `0..n` without bias; 0 where `n` is 0.
    ///
    /// The high half of a 64-bit random number times `n`, where the few low halves that would make some results more
    /// frequent are rejected (D. Lemire, ACM TOMACS 29(1), 2019).
    pub const fn below(&mut self, n: u64) -> u64 {
        let mut product = self.next_u64() as u128 * n as u128;
        if (product as u64) < n {
            let threshold = n.wrapping_neg() % n;
            while (product as u64) < threshold {
                product = self.next_u64() as u128 * n as u128;
            }
        }
        (product >> 64) as u64
    }

    /// A standard normal number, of magnitude under 8.6. Takes four words.
    ///
    /// `sqrt(-2 ln u) cos(2 pi v)` with `u` uniform in `(0, 1]` and `v` in `[0, 1)` (G. E. P. Box, M. E. Muller, 1958).
    /// The sine, which would be a second one, is not used, so that the `n`-th number depends on the `n`-th block only.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Brings `items` into a uniformly random order (Fisher and Yates, as D. E. Knuth, TAOCP 2, algorithm 3.4.2P).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kolmogorov's statistic `sqrt(n) sup |F_n - F|` of `sample`; 1.9495 is its critical value at 0.1 %.
    fn kolmogorov(mut sample: Vec<f64>, distribution: impl Fn(f64) -> f64) -> f64 {
        sample.sort_by(f64::total_cmp);
        let n = sample.len() as f64;
        let gap = |(i, x): (usize, &f64)| {
            let f = distribution(*x);
            (f - i as f64 / n).max((i as f64 + 1.0) / n - f)
        };
        sample.iter().enumerate().map(gap).fold(0.0, f64::max) * n.sqrt()
    }

    fn moments(sample: &[f64]) -> (f64, f64) {
        let n = sample.len() as f64;
        let mean = sample.iter().sum::<f64>() / n;
        (mean, sample.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n)
    }

    /// The normal distribution by the trapezoidal rule from -9, which converges geometrically; `x` ascends.
    fn normal_distribution(x: f64) -> f64 {
        const PIECES: u32 = 400;
        let h = (x + 9.0) / f64::from(PIECES);
        let density = |i: u32| (-0.5 * (h * f64::from(i) - 9.0).powi(2)).exp();
        let inner: f64 = (1..PIECES).map(density).sum();
        h * (inner + 0.5 * (density(0) + density(PIECES))) / std::f64::consts::TAU.sqrt()
    }

    #[test]
    fn known_answers() {
        // Random123's kat_vectors, philox4x32 with 10 rounds.
        let answers = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, key, expected) in answers {
            assert_eq!(philox4x32(counter, key), expected, "counter {counter:08x?}, key {key:08x?}");
        }
    }

    #[test]
    fn words() {
        let mut random = Random::new(0x1_0000_0002, Purpose::Noise, 0x3_0000_0004);
        let expected: Vec<u32> = (0..2).flat_map(|block| philox4x32([block, 4, 3, 4], [2, 1])).collect();
        let found: Vec<u32> = (0..8).map(|_| random.next_u32()).collect();
        assert_eq!(found, expected, "the words of a stream are those of its blocks in order");
    }

    #[test]
    fn streams() {
        let mut first = std::collections::HashSet::new();
        for seed in 0..4 {
            for purpose in [Purpose::Initialization, Purpose::Shuffle, Purpose::Noise, Purpose::Split] {
                for index in [0, 1, 2, 1 << 32, 2 << 32, u64::MAX] {
                    let word = Random::new(seed, purpose, index).next_u64();
                    assert!(first.insert(word), "seed {seed}, {purpose:?}, index {index} repeats a stream");
                }
            }
        }
    }

    #[test]
    fn uniform() {
        let mut random = Random::new(1, Purpose::Data, 0);
        let sample: Vec<f64> = (0..100_000).map(|_| random.uniform()).collect();
        let (mean, variance) = moments(&sample);
        assert!(sample.iter().all(|x| (0.0..1.0).contains(x)), "the numbers are in [0, 1)");
        assert!((mean - 0.5).abs() < 3.3 * (1.0 / 12e5f64).sqrt(), "the mean is {mean}");
        assert!((variance - 1.0 / 12.0).abs() < 3.3 * (1.0 / 180e5f64).sqrt(), "the variance is {variance}");
        let statistic = kolmogorov(sample, |x| x);
        assert!(statistic < 1.9495, "Kolmogorov's statistic is {statistic}");
    }

    #[test]
    fn normal() {
        let mut random = Random::new(2, Purpose::Noise, 0);
        let sample: Vec<f64> = (0..100_000).map(|_| random.normal()).collect();
        let (mean, variance) = moments(&sample);
        assert!((mean).abs() < 3.3 * 1e-5f64.sqrt(), "the mean is {mean}");
        assert!((variance - 1.0).abs() < 3.3 * 2e-5f64.sqrt(), "the variance is {variance}");
        let statistic = kolmogorov(sample, normal_distribution);
        assert!(statistic < 1.9495, "Kolmogorov's statistic is {statistic}");
    }

    #[test]
    fn below() {
        let mut random = Random::new(3, Purpose::Data, 7);
        let mut counts = [0u32; 10];
        for _ in 0..100_000 {
            counts[random.below(10) as usize] += 1;
        }
        let chi_square: f64 = counts.iter().map(|&c| (f64::from(c) - 1e4).powi(2) / 1e4).sum();
        assert!(chi_square < 27.88, "chi-square with 9 degrees of freedom is {chi_square}");
        // Of the numbers under 3 * 2^62, half the 64-bit numbers are rejected: a bias would be plain.
        let thirds = (0..30_000).filter(|_| random.below(3 << 62) < 1 << 62).count();
        assert!((thirds as f64 - 1e4).abs() < 3.3 * (2e4f64 / 3.0).sqrt(), "{thirds} of 30000 in the lowest third");
        assert_eq!([random.below(0), random.below(1)], [0, 0], "there is one result only");
    }

    #[test]
    fn shuffle() {
        let order = |seed| {
            let mut items: Vec<u32> = (0..1000).collect();
            Random::new(seed, Purpose::Shuffle, 5).shuffle(&mut items);
            items
        };
        let mut items = order(1);
        assert_eq!(items, order(1), "the order is a function of the seed");
        assert_ne!(items, order(2), "another seed gives another order");
        let fixed = items.iter().enumerate().filter(|&(i, &x)| i == x as usize).count();
        assert!(fixed < 8, "{fixed} items stayed in place, expected about one");
        items.sort_unstable();
        assert!(items.into_iter().eq(0..1000), "every item is there once");
    }
}
