//! [`Point`]: what came of the runs at one coefficient.

use serde::{Deserialize, Serialize};

use crate::choice::Objective;
use crate::measure::stats::Spread;
use crate::numbers;
use crate::record::RunRecord;

/// Means over the seeds that came to their end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Point {
    #[serde(with = "numbers")]
    pub(crate) coefficient: f64,
    pub(crate) seeds: usize,
    pub(crate) nats: bool,
    pub(crate) accuracy: Option<Spread>,
    /// Absent where a seed's is not a finite number. In nats, if the model is a density.
    pub(crate) test_loss: Option<Spread>,
    pub(crate) nfe: Option<Spread>,
    pub(crate) ideal_steps: Option<Spread>,
    /// Of a prediction, in milliseconds a batch.
    pub(crate) prediction: Option<Spread>,
    /// Without its coefficient, over the last tenth of the steps; there is none at coefficient 0.
    #[serde(with = "numbers")]
    pub(crate) penalty: Option<f64>,
    /// Trajectories that failed, in training and in tests.
    pub(crate) failed: usize,
    /// Updates that were left out.
    pub(crate) skipped: usize,
    /// Why runs did not come to their end.
    pub(crate) errors: Vec<String>,
    #[serde(with = "numbers")]
    pub(crate) training_seconds: f64,
}

impl Point {
    /// What came of the runs of a coefficient.
    pub(crate) fn of(coefficient: f64, runs: &[RunRecord], errors: Vec<String>) -> Self {
        let values = |value: fn(&RunRecord) -> Option<f64>| -> Option<Spread> {
            let values: Option<Vec<f64>> = runs.iter().map(|run| value(run).filter(|x| x.is_finite())).collect();
            Spread::of(&values?)
        };
        let penalties: Vec<f64> = runs.iter().filter_map(penalty).collect();
        Self {
            coefficient,
            seeds: runs.len(),
            nats: runs.first().is_some_and(|run| run.settings.is_of_density()),
            accuracy: values(|run| run.test.accuracy),
            test_loss: values(|run| Some(run.test.loss)),
            nfe: values(|run| Some(run.test.nfe)),
            ideal_steps: values(|run| run.test.ideal_steps),
            prediction: values(|run| Some(run.times.prediction_milliseconds)),
            penalty: Spread::of(&penalties).map(|spread| spread.mean).filter(|_| coefficient > 0.0),
            failed: runs.iter().map(|run| run.progress.failed + run.test.failed).sum(),
            skipped: runs.iter().map(|run| run.progress.skipped).sum(),
            errors,
            // A sum of nothing is a negative zero.
            training_seconds: runs.iter().fold(0.0, |sum, run| sum + run.times.training_seconds),
        }
    }

    /// The mean number of evaluations; infinite where nothing could be tested.
    pub(crate) fn evaluations(&self) -> f64 {
        self.nfe.map_or(f64::INFINITY, |nfe| nfe.mean)
    }

    /// What a search makes small, if the point has a model that can be tested.
    pub(crate) fn objective(&self, objective: Objective) -> Option<f64> {
        let spread = match objective {
            Objective::Nfe => self.nfe,
            Objective::Time => self.prediction,
        };
        spread.map(|spread| spread.mean).filter(|mean| *mean > 0.0)
    }

    /// The quality of the model, by which it is drawn: per cent of accuracy, or its loss.
    pub(crate) fn quality(&self) -> f64 {
        match (self.accuracy, self.test_loss) {
            (Some(accuracy), _) => 100.0 * accuracy.mean,
            (None, loss) => loss.map_or(f64::NAN, |loss| loss.mean),
        }
    }

    /// Whether every run came to its end with a model that can be tested.
    pub(crate) fn whole(&self) -> bool {
        self.errors.is_empty() && self.test_loss.is_some()
    }
}

/// The mean penalty of the last tenth of the steps, of those that have one.
fn penalty(run: &RunRecord) -> Option<f64> {
    let penalties = &run.progress.curve.penalty;
    let last = &penalties[penalties.len() - penalties.len().div_ceil(10)..];
    let finite: Vec<f64> = last.iter().copied().filter(|x| x.is_finite()).collect();
    Spread::of(&finite).map(|spread| spread.mean)
}
