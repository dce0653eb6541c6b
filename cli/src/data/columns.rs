//! Columns of numbers, and how they are scaled and divided.

use fewsteps::{Purpose, Random};
use serde::{Deserialize, Serialize};

use crate::numbers;

/// A column of numbers. The model sees `(x - mean) / deviation`, of a column that is taken in logarithms
/// `(ln x - mean) / deviation`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// Of the rows that are trained on; 0 where numbers are taken as they are.
    #[serde(with = "numbers")]
    pub(crate) mean: f64,
    /// The square root of their mean squared difference from it; 1 where numbers are taken as they are, or are all alike.
    #[serde(with = "numbers")]
    pub(crate) deviation: f64,
    /// Whether it is taken in logarithms.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) log: bool,
}

impl Column {
    /// A column whose numbers are taken as they are.
    pub(crate) const fn raw(name: String) -> Self {
        Self { name, mean: 0.0, deviation: 1.0, log: false }
    }

    /// The same column with mean 0 and deviation 1 over these values.
    pub(crate) fn standardised(&self, values: impl Iterator<Item = f64> + Clone) -> Self {
        let values = values.map(|x| self.taken(x));
        let count = values.clone().count() as f64;
        let mean = values.clone().sum::<f64>() / count;
        let deviation = (values.map(|x| (x - mean) * (x - mean)).sum::<f64>() / count).sqrt();
        // What is left of equal numbers is rounding.
        let varies = deviation > 1e-12 * mean.abs();
        Self { mean, deviation: if varies { deviation } else { 1.0 }, ..self.clone() }
    }

    /// A number, or its logarithm where the column is taken so.
    pub(crate) fn taken(&self, x: f64) -> f64 {
        if self.log { x.ln() } else { x }
    }

    pub(crate) fn scaled(&self, x: f64) -> f64 {
        (self.taken(x) - self.mean) / self.deviation
    }

    /// The number behind a scaled one.
    pub(crate) fn unscaled(&self, x: f64) -> f64 {
        let taken = self.mean + self.deviation * x;
        if self.log { taken.exp() } else { taken }
    }
}

/// Scales columns by what is trained on, unless they are to be as they are. `value` is a column's at a row; NaN where there is
/// none.
pub(super) fn fit(columns: &[Column], rows: &[usize], raw: bool, value: impl Fn(usize, usize) -> f64) -> Vec<Column> {
    let column = |(c, column): (usize, &Column)| {
        if raw {
            Column { mean: 0.0, deviation: 1.0, ..column.clone() }
        } else {
            column.standardised(rows.iter().map(|&row| value(row, c)).filter(|x| !x.is_nan()))
        }
    };
    columns.iter().enumerate().map(column).collect()
}

/// The names of columns.
pub(super) fn names(columns: &[Column]) -> Vec<String> {
    columns.iter().map(|column| column.name.clone()).collect()
}

/// Divides `count` things into what is trained on and what is tested on, each in its order: a share that is drawn by
/// `seed`, at least one of either. A single one is nothing to divide.
pub(super) fn split(count: usize, share: f64, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let mut order: Vec<usize> = (0..count).collect();
    Random::new(seed, Purpose::Split, 0).shuffle(&mut order);
    let test = ((share * count as f64).round() as usize).clamp(1, count.saturating_sub(1).max(1));
    let mut train = order.split_off(test.min(count));
    order.sort_unstable();
    train.sort_unstable();
    (train, order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaled_columns_have_mean_zero_and_deviation_one() {
        let values = [1.0, 2.0, 3.0, 6.0];
        let x = Column::raw("x".to_owned());
        let column = x.standardised(values.into_iter());
        assert_eq!((column.mean, column.deviation), (3.0, 3.5f64.sqrt()), "by hand");
        for x in values {
            assert!((column.unscaled(column.scaled(x)) - x).abs() < 1e-15, "there and back");
        }
        let alike = x.standardised([0.1; 7].into_iter());
        assert_eq!(alike.deviation, 1.0, "nothing to divide by");
        let log = Column { log: true, ..x };
        let column = log.standardised([1.0, 100.0].into_iter());
        let ten = 10f64.ln();
        assert!((column.mean - ten).abs() < 1e-15 && (column.deviation - ten).abs() < 1e-15, "{column:?}");
        assert!((column.scaled(1000.0) - 2.0).abs() < 1e-15 && (column.unscaled(-2.0) - 0.1).abs() < 1e-15, "in tens");
    }

    #[test]
    fn a_split_uses_everything_once() {
        for (count, share, expected) in [(10, 0.2, 2), (10, 0.01, 1), (10, 0.99, 9), (2, 0.2, 1), (7, 0.5, 4)] {
            let (train, test) = split(count, share, 3);
            assert_eq!((train.len(), test.len()), (count - expected, expected), "{share} of {count}");
            let mut all = [train, test].concat();
            all.sort_unstable();
            assert_eq!(all, (0..count).collect::<Vec<_>>(), "each once");
        }
        assert_eq!(split(100, 0.2, 3), split(100, 0.2, 3), "a seed's own");
        assert_ne!(split(100, 0.2, 3), split(100, 0.2, 4), "another's is another");
    }
}
