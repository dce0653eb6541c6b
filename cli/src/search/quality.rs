//! [`Yardstick`]: how much worse than training without a regularizer a model may be, and how much of that can be seen.

use anyhow::ensure;
use serde::{Deserialize, Serialize};

use super::point::Point;
use crate::numbers;

/// Points of accuracy that may be lost unless the command line says otherwise.
const POINTS: f64 = 0.2;

/// Per cent by which a loss may rise.
const PER_CENT: f64 = 5.0;

/// What coefficients are measured by: points of accuracy, or per cent of the loss where nothing is classified.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Yardstick {
    pub(crate) classifies: bool,
    /// What may be lost.
    #[serde(with = "numbers")]
    pub(crate) asked: f64,
    /// The standard error that chance alone gives: over the seeds, or of one seed over the test samples; `None` where one
    /// seed says nothing of it.
    #[serde(with = "numbers")]
    pub(crate) noise: Option<f64>,
}

impl Yardstick {
    /// By what came of training without a regularizer, and so many `samples` to test on.
    pub(crate) fn new(asked: Option<f64>, base: &Point, samples: usize) -> anyhow::Result<Self> {
        let classifies = base.accuracy.is_some();
        let spread = if classifies { base.accuracy } else { base.test_loss };
        let seeds = base.seeds as f64;
        let noise = spread.and_then(|spread| match (base.seeds, classifies) {
            (2.., true) => Some(100.0 * spread.std / seeds.sqrt()),
            (2.., false) => Some(100.0 * spread.std / (spread.mean.abs() * seeds.sqrt())),
            // Of a binomial distribution.
            (_, true) => Some(100.0 * (spread.mean * (1.0 - spread.mean) / samples.max(1) as f64).sqrt()),
            (_, false) => None,
        });
        Ok(Self { classifies, asked: checked(asked)?.unwrap_or(if classifies { POINTS } else { PER_CENT }), noise })
    }

    /// What may be lost, or what can be seen where that is more.
    pub(crate) fn tolerance(&self) -> f64 {
        self.noise.map_or(self.asked, |noise| self.asked.max(noise))
    }

    /// What a coefficient costs against `base`; `None` where it left nothing to compare.
    pub(crate) fn drop(&self, base: &Point, point: &Point) -> Option<f64> {
        if !point.whole() {
            return None;
        }
        if self.classifies {
            return Some(100.0 * (base.accuracy?.mean - point.accuracy?.mean));
        }
        // Nats may be negative.
        let (before, after) = (base.test_loss?.mean, point.test_loss?.mean);
        Some(100.0 * (after - before) / before.abs())
    }

    /// The unit of a loss.
    pub(crate) const fn unit(&self) -> &'static str {
        if self.classifies { "points" } else { "%" }
    }

    /// The quality of a model in one word.
    pub(crate) const fn quality(&self) -> &'static str {
        if self.classifies { "accuracy" } else { "loss" }
    }

    /// What may be lost, in words.
    pub(crate) fn text(&self) -> String {
        let (asked, unit) = (self.asked, self.unit());
        match self.noise {
            Some(noise) if noise > asked => format!(
                "{asked} {unit} of {} may be lost, of which chance hides {noise:.2}: that is what counts here",
                self.quality()
            ),
            Some(_) => format!("{asked} {unit} of {} may be lost", self.quality()),
            None => format!(
                "{asked} {unit} of {} may be lost; what chance alone does one seed cannot tell, --seeds 3 can",
                self.quality()
            ),
        }
    }
}

/// A number that may be lost.
pub(crate) fn checked(asked: Option<f64>) -> anyhow::Result<Option<f64>> {
    if let Some(drop) = asked {
        ensure!(drop >= 0.0 && drop.is_finite(), "--max-drop {drop}: give a finite number of at least 0");
    }
    Ok(asked)
}
