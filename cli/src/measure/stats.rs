//! Mean, spread and median.

use serde::{Deserialize, Serialize};

use crate::numbers;

/// A mean over seeds with its sample standard deviation, 0 for a single one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    #[serde(with = "numbers")]
    pub(crate) mean: f64,
    #[serde(with = "numbers")]
    pub(crate) std: f64,
}

impl Spread {
    /// `None` where there are no values.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|x| (x - mean) * (x - mean)).sum();
        let std = if values.len() > 1 { (squares / (n - 1.0)).sqrt() } else { 0.0 };
        (!values.is_empty()).then_some(Self { mean, std })
    }
}

/// The middle value, or the mean of the two middle ones; `None` where there are no values.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let high = *values.get(middle)?;
    Some(if values.len().is_multiple_of(2) { 0.5 * (values[middle - 1] + high) } else { high })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0), "odd");
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5), "even");
        assert_eq!(median([]), None, "none");
        assert_eq!(Spread::of(&[1.0, 3.0]), Some(Spread { mean: 2.0, std: 2f64.sqrt() }), "two values");
        assert_eq!(Spread::of(&[5.0]), Some(Spread { mean: 5.0, std: 0.0 }), "one value has no spread");
        assert_eq!(Spread::of(&[]), None, "none");
    }
}
