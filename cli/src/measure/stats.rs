//! Mean, spread, median and quantiles.

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

/// The value below which a share of the values lies, on the straight line between the two that it falls between; NaN of none.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = share * last as f64;
    let low = place.floor() as usize;
    let high = (low + 1).min(last);
    sorted[low] + (place - low as f64) * (sorted[high] - sorted[low])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0), "odd");
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5), "even");
        assert_eq!(median([]), None, "none");
        let quantiles = [0.0, 0.05, 0.5, 0.95, 1.0].map(|share| quantile(&[1.0, 3.0, 11.0], share));
        let expected = [1.0, 1.2, 3.0, 10.2, 11.0];
        assert!(quantiles.iter().zip(expected).all(|(x, y)| (x - y).abs() < 1e-14), "{quantiles:?}");
        assert_eq!((quantile(&[7.0], 0.3), quantile(&[], 0.5).is_nan()), (7.0, true));
        assert_eq!(Spread::of(&[1.0, 3.0]), Some(Spread { mean: 2.0, std: 2f64.sqrt() }), "two values");
        assert_eq!(Spread::of(&[5.0]), Some(Spread { mean: 5.0, std: 0.0 }), "one value has no spread");
        assert_eq!(Spread::of(&[]), None, "none");
    }
}
