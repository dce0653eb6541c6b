//! [`RecordDivision`]: which records are trained on, and which are tested on.

use anyhow::ensure;
use fewsteps::{Purpose, Random};
use serde::{Deserialize, Serialize};

use crate::args::{OwnArgs, Split};
use crate::data::columns;
use crate::data::source::SHARE;
use crate::numbers;

/// How records are divided.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RecordDivision {
    /// Each record is trained on or tested on, never both.
    ByRecord {
        /// What is tested on.
        #[serde(with = "numbers")]
        share: f64,
        seed: u64,
    },
    /// As the published code shuffles: Python's `random.shuffle` of an array with three columns, whose rows are views, so that
    /// a swap of two copies one over the other. About half of the records are lost, others are there several times, and most of
    /// what is tested on is also trained on. For comparison with published figures alone.
    Published { seed: u64 },
}

/// Share of the shuffled rows that the published code keeps, and share of these that is trained on.
const KEPT: f64 = 0.8;

impl Default for RecordDivision {
    fn default() -> Self {
        Self::ByRecord { share: SHARE, seed: 0 }
    }
}

impl RecordDivision {
    /// The division that is asked for.
    pub(crate) fn asked(args: &OwnArgs) -> Self {
        let seed = args.split_seed.unwrap_or(0);
        match args.split.unwrap_or(Split::Share(SHARE)) {
            Split::Share(share) => Self::ByRecord { share, seed },
            Split::Published => Self::Published { seed },
        }
    }

    /// Which of so many records are trained on and tested on.
    pub(super) fn of(self, count: usize) -> anyhow::Result<(Vec<u32>, Vec<u32>)> {
        let narrow = |indices: Vec<usize>| indices.into_iter().map(|index| index as u32).collect::<Vec<u32>>();
        match self {
            Self::ByRecord { share, seed } => {
                ensure!(share > 0.0 && share < 1.0, "--split {share}: give a share between 0 and 1, or published");
                let (train, test) = columns::split(count, share, seed);
                Ok((narrow(train), narrow(test)))
            }
            Self::Published { seed } => {
                let mut random = Random::new(seed, Purpose::Split, 1);
                let mut rows = overwritten(count, &mut random);
                rows.truncate((KEPT * count as f64).round() as usize);
                random.shuffle(&mut rows);
                let test = rows.split_off((KEPT * rows.len() as f64).round() as usize);
                Ok((narrow(rows), narrow(test)))
            }
        }
    }

    /// What it is, in few words.
    pub(crate) fn told(self) -> String {
        match self {
            Self::ByRecord { share, seed } => format!("{} % tested on, by record (seed {seed})", 100.0 * share),
            Self::Published { seed } => {
                format!("divided as published, with records that are both trained on and tested on (seed {seed})")
            }
        }
    }
}

/// What a shuffle of Fisher and Yates from the end makes of `0..count` where each swap of `i` and `j <= i` copies `j` over `i`
/// and leaves `j`.
fn overwritten(count: usize, random: &mut Random) -> Vec<usize> {
    let mut rows: Vec<usize> = (0..count).collect();
    for i in (1..count).rev() {
        let j = random.below(i as u64 + 1) as usize;
        rows[i] = rows[j];
    }
    rows
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn distinct(rows: &[u32]) -> BTreeSet<u32> {
        rows.iter().copied().collect()
    }

    #[test]
    fn no_record_is_on_both_sides() {
        let (train, test) = RecordDivision::ByRecord { share: 0.2, seed: 0 }.of(8000).expect("a share");
        assert_eq!((train.len(), test.len()), (6400, 1600));
        let both: BTreeSet<u32> = distinct(&train).union(&distinct(&test)).copied().collect();
        assert_eq!(both.len(), 8000, "each once");
        assert_ne!(RecordDivision::ByRecord { share: 0.2, seed: 1 }.of(8000).expect("a share").1, test, "by the seed");
        for share in [0.0, 1.0, -0.5, f64::NAN] {
            let refused = RecordDivision::ByRecord { share, seed: 0 }.of(8000).expect_err("refused");
            assert!(refused.to_string().contains("--split"), "{refused}");
        }
    }

    #[test]
    fn the_published_shuffle_loses_half_and_tests_on_what_it_trains_on() {
        // Of k the chance to be lost is k / n: n / 2 survive. A replay of the code on numpy arrays kept 4,011 of 8,000, and 3,217
        // among the first 6,400. There k is copied ln(6400 / k) times in the mean, as if by a Poisson process, so that with
        // u = k / 6400 a tested row is trained on too with probability 1 - int u^0.8 ln(1/u) du = 1 - 1 / 1.8^2 = 0.69.
        for seed in 0..4 {
            let mut random = Random::new(seed, Purpose::Split, 1);
            let rows: Vec<u32> = overwritten(8000, &mut random).into_iter().map(|row| row as u32).collect();
            let survivors = distinct(&rows).len();
            assert!((3850..4150).contains(&survivors), "{survivors}");
            let kept = distinct(&rows[..6400]).len();
            assert!((3070..3360).contains(&kept), "{kept}");
            let (train, test) = RecordDivision::Published { seed }.of(8000).expect("no share");
            assert_eq!((train.len(), test.len()), (5120, 1280));
            let trained = distinct(&train);
            let leaked = test.iter().filter(|row| trained.contains(row)).count() as f64 / 1280.0;
            assert!((0.65..0.73).contains(&leaked), "{leaked}");
        }
    }

    #[test]
    fn a_swap_copies() {
        let mut random = Random::new(3, Purpose::Split, 1);
        let expected = {
            let mut random = random.clone();
            let drawn: Vec<usize> = (1..6).rev().map(|i| random.below(i + 1) as usize).collect();
            // x[i], x[j] = x[j], x[i] with views: x[i] is overwritten by x[j], and then x[j] by what x[i] is now.
            let mut rows: Vec<usize> = (0..6).collect();
            for (i, &j) in (1..6).rev().zip(&drawn) {
                for (to, from) in [(i, j), (j, i)] {
                    rows[to] = rows[from];
                }
            }
            rows
        };
        assert_eq!(overwritten(6, &mut random), expected);
    }
}
