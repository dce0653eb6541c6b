//! [`Yardstick`]: how much worse than training without a regularizer a model may be, and how much of that can be seen.

use anyhow::ensure;
use serde::{Deserialize, Serialize};

use super::point::Point;
use crate::measure::stats::Spread;
use crate::numbers;

/// Points of accuracy that may be lost unless the command line says otherwise.
const POINTS: f64 = 0.2;

/// Per cent by which a loss may rise.
const PER_CENT: f64 = 5.0;

/// Nats by which minus the logarithm of a density may rise: it may be negative, so that no share of it means anything.
const NATS: f64 = 0.02;

/// What a model is good at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Quality {
    /// It classifies: points of accuracy.
    Accuracy,
    /// Per cent of its loss.
    Loss,
    /// It is a density: nats.
    Nats,
}

impl Quality {
    /// What the models of a point are good at.
    const fn of(point: &Point) -> Self {
        match point.accuracy {
            Some(_) => Self::Accuracy,
            None if point.nats => Self::Nats,
            None => Self::Loss,
        }
    }

    /// What may be lost unless the command line says otherwise.
    const fn asked(self) -> f64 {
        match self {
            Self::Accuracy => POINTS,
            Self::Loss => PER_CENT,
            Self::Nats => NATS,
        }
    }

    /// The same in words.
    pub(crate) fn asked_text(self) -> String {
        format!("{} {}", self.asked(), self.unit())
    }

    /// The unit of a loss.
    const fn unit(self) -> &'static str {
        match self {
            Self::Accuracy => "points",
            Self::Loss => "%",
            Self::Nats => "nats",
        }
    }
}

/// What coefficients are measured by.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Yardstick {
    pub(crate) quality: Quality,
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
        let quality = Quality::of(base);
        let spread = if quality == Quality::Accuracy { base.accuracy } else { base.test_loss };
        Self::of(asked, quality, spread, [base.seeds, samples])
    }

    /// By the means over so many seeds of a quality on so many test samples.
    pub(crate) fn of(
        asked: Option<f64>,
        quality: Quality,
        spread: Option<Spread>,
        [count, samples]: [usize; 2],
    ) -> anyhow::Result<Self> {
        let seeds = count as f64;
        let noise = spread.and_then(|spread| match (count, quality) {
            (2.., Quality::Accuracy) => Some(100.0 * spread.std / seeds.sqrt()),
            (2.., Quality::Loss) => Some(100.0 * spread.std / (spread.mean * seeds.sqrt())),
            (2.., Quality::Nats) => Some(spread.std / seeds.sqrt()),
            // Of a binomial distribution.
            (_, Quality::Accuracy) => Some(100.0 * (spread.mean * (1.0 - spread.mean) / samples.max(1) as f64).sqrt()),
            _ => None,
        });
        Ok(Self { quality, asked: checked(asked)?.unwrap_or(quality.asked()), noise })
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
        Some(match self.quality {
            Quality::Accuracy => 100.0 * (base.accuracy?.mean - point.accuracy?.mean),
            Quality::Loss => 100.0 * (point.test_loss?.mean / base.test_loss?.mean - 1.0),
            Quality::Nats => point.test_loss?.mean - base.test_loss?.mean,
        })
    }

    /// The unit of a loss.
    pub(crate) const fn unit(&self) -> &'static str {
        self.quality.unit()
    }

    /// The quality of a model in one word.
    pub(crate) const fn quality(&self) -> &'static str {
        match self.quality {
            Quality::Accuracy => "accuracy",
            Quality::Loss => "loss",
            Quality::Nats => "likelihood",
        }
    }

    /// The head of its column.
    pub(crate) const fn column(&self) -> &'static str {
        match self.quality {
            Quality::Accuracy => "test accuracy, %",
            Quality::Loss => "test loss",
            Quality::Nats => "test loss, nats",
        }
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
