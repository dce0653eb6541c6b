//! [`Increments`]: what a step of a tile needs of its paths.

use super::pair::{Pair, draw};
use super::shared::Cuts;
use super::walk::Walk;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::interval::Interval;
use crate::cpu::kernel::lanes::Lanes;
use crate::cpu::kernel::scalar::Scalar;
use crate::problem::Brownian;
use crate::problem::brownian::{APART, key};

/// Increments over the steps that the lanes of a tile take, `[D][LANES]`.
#[derive(Clone, Debug)]
pub(crate) struct Increments<R> {
    /// `dW`.
    pub(crate) w: Vec<R>,
    /// `chi2 = (dW + dZ / sqrt 3) / 2`, which is `dW / 2` plus the Lévy area.
    pub(crate) mean: Vec<R>,
    /// The steps' lengths and their square roots.
    pub(crate) h: Lanes<R>,
    pub(crate) root: Lanes<R>,
    /// What is known of the path near the last steps.
    pub(crate) cuts: Cuts<R>,
    /// Wiener processes of a trajectory: one a feature, or one that all features share.
    channels: usize,
}

impl<R: Scalar> Increments<R> {
    pub(crate) fn new(features: usize, channels: usize) -> Self {
        let zeros = || vec![R::ZERO; features * LANES];
        Self { w: zeros(), mean: zeros(), h: [R::ZERO; LANES], root: [R::ZERO; LANES], cuts: Cuts::default(), channels }
    }

    /// Those of the path.
    pub(crate) fn follow(&mut self, brownian: &Brownian, trajectories: &Lanes<u32>, interval: &Interval<R>) {
        self.set_lengths(interval);
        let walk = Walk::new(brownian, trajectories, interval);
        if !interval.shared {
            for pair in 0..self.pairs() {
                let (w, mean) = self.rows(pair);
                walk.apart(pair, w, mean);
            }
            return self.share();
        }
        let mut cuts = std::mem::take(&mut self.cuts);
        cuts.prepare(&walk, self.pairs());
        for pair in 0..self.pairs() {
            let (w, mean) = self.rows(pair);
            walk.shared(pair, &cuts).write(w, mean);
        }
        self.cuts = cuts;
        self.share();
    }

    /// The `n`-th ones apart from the path, which belong to no time.
    pub(crate) fn draw_apart(
        &mut self,
        brownian: &Brownian,
        trajectories: &Lanes<u32>,
        interval: &Interval<R>,
        n: usize,
    ) {
        self.set_lengths(interval);
        let node = APART + u32::try_from(n).unwrap_or(0);
        let (h, key) = (self.h, key(brownian.paths().seed));
        for pair in 0..self.pairs() {
            let (w, mean) = self.rows(pair);
            let mut drawn = Pair::default();
            draw(&mut drawn, &[0; LANES], &[node; LANES], trajectories, pair, key, &h);
            drawn.write(w, mean);
        }
        self.share();
    }

    /// Gives all features what the one process does, where they share it.
    fn share(&mut self) {
        for rows in [&mut self.w, &mut self.mean] {
            for from in (self.channels * LANES..rows.len()).step_by(LANES) {
                rows.copy_within(..LANES, from);
            }
        }
    }

    fn set_lengths(&mut self, interval: &Interval<R>) {
        self.h = interval.h;
        self.root = interval.h.map(R::sqrt);
    }

    fn pairs(&self) -> u32 {
        u32::try_from(self.channels.div_ceil(2)).unwrap_or(0)
    }

    fn rows(&mut self, pair: u32) -> (&mut [R], &mut [R]) {
        let from = 2 * pair as usize * LANES;
        let to = (from + 2 * LANES).min(self.channels * LANES);
        (&mut self.w[from..to], &mut self.mean[from..to])
    }

    pub(crate) const fn bytes(features: usize) -> usize {
        2 * features * LANES * size_of::<R>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::Real;
    use crate::problem::Paths;

    fn check<R: Scalar>(brownian: &Brownian, ends: &[[f64; 2]], bound: f64) {
        let trajectories: Lanes<u32> = std::array::from_fn(|l| brownian.paths().first + 5 * l as u32);
        let (features, n) = (3, ends.len());
        for shift in 0..n {
            let t = |end: usize| std::array::from_fn(|l| ends[(shift + l) % n][end]);
            for shared in [false, true] {
                let interval = if shared {
                    Interval::<R>::shared(ends[shift][0], ends[shift][1])
                } else {
                    Interval::new(t(0), t(1))
                };
                let mut found = Increments::<R>::new(features, features);
                found.follow(brownian, &trajectories, &interval);
                for channel in 0..features {
                    for l in 0..LANES {
                        let (s, t) = (interval.t0[l], interval.t1[l]);
                        let truth = brownian.increment::<f64>(5 * l as u32, channel as u32, s, t);
                        let i = channel * LANES + l;
                        let scale = (t - s).sqrt();
                        let (w, mean) = (found.w[i].to_f64(), found.mean[i].to_f64());
                        assert!((w - truth.w).abs() <= bound * scale, "dW over {s}..{t}: {w} not {}", truth.w);
                        let expected = 0.5 * truth.w + truth.levy;
                        assert!((mean - expected).abs() <= bound * scale, "chi2 over {s}..{t}: {mean}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_known_of_a_path_changes_no_bit_of_it() {
        let brownian = Brownian::adaptive(Paths::new(3), 0.0, 1.0);
        let trajectories: Lanes<u32> = std::array::from_fn(|l| l as u32);
        let mut random = crate::math::Random::new(1, crate::math::Purpose::Data, 0);
        // Steps as an adaptive solve takes them, some of which are rejected; then back.
        let (mut t, mut steps) = (0.0, Vec::new());
        while t < 1.0 {
            let h = 0.004 + 0.03 * random.uniform();
            steps.push([t, brownian.end_of_step(t, h)]);
            if random.uniform() < 0.7 {
                t = steps[steps.len() - 1][1];
            }
        }
        let back: Vec<[f64; 2]> = steps.iter().rev().copied().collect();
        let mut with_memory = Increments::<f32>::new(3, 3);
        for [t0, t1] in steps.into_iter().chain(back) {
            let interval = Interval::shared(t0, t1);
            let mut anew = Increments::<f32>::new(3, 3);
            with_memory.follow(&brownian, &trajectories, &interval);
            anew.follow(&brownian, &trajectories, &interval);
            assert_eq!((&with_memory.w, &with_memory.mean), (&anew.w, &anew.mean), "from {t0} to {t1}");
            let truth = brownian.increment::<f64>(5, 2, t0, t1);
            let found = anew.w[2 * LANES + 5].to_f64();
            assert!((found - truth.w).abs() < 1e-5, "from {t0} to {t1}: {found} not {}", truth.w);
        }
        // Another path's numbers are not taken for this one's.
        let other = Brownian::adaptive(Paths::new(4), 0.0, 1.0);
        let (interval, mut anew) = (Interval::shared(0.1, 0.125), Increments::<f32>::new(3, 3));
        with_memory.follow(&brownian, &trajectories, &interval);
        with_memory.follow(&other, &trajectories, &interval);
        anew.follow(&other, &trajectories, &interval);
        assert_eq!(with_memory.w, anew.w, "another seed");
    }

    #[test]
    fn lanes_walk_the_tree_as_one_by_one() {
        let paths = Paths { seed: 0x1234_5678_9abc_def0, first: 3 };
        let brownian = Brownian::adaptive(paths, -1.0, 3.0);
        let whole = [[-1.0, 3.0], [0.0, 0.0], [3.0, 3.0]];
        let unit = 2f64.powi(-28);
        let random = (0..60u64).map(|i| {
            let mut random = crate::math::Random::new(i, crate::math::Purpose::Data, 0);
            let width = 2f64.powi(-(random.below(27) as i32));
            let s = (random.uniform() * (1.0 - width) / unit).floor() * unit;
            [4.0 * s - 1.0, 4.0 * (s + width) - 1.0]
        });
        let ends: Vec<[f64; 2]> = whole.into_iter().chain(random).collect();
        check::<f64>(&brownian, &ends, 1e-11);
        check::<f32>(&brownian, &ends, 1e-4);
        let steps = Brownian::with_cells(paths, 30, 0.0, 1.0).expect("cells");
        let ends: Vec<[f64; 2]> = (0..30).map(|i| [i, i + 1].map(|i| f64::from(i) / 30.0)).collect();
        check::<f64>(&steps, &ends, 1e-14);
        check::<f32>(&steps, &ends, 1e-6);
    }
}
