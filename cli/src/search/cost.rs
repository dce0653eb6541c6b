//! [`Cost`]: what a search cost.

use serde::Serialize;

use crate::numbers;

/// What the answer cost.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Cost {
    pub(crate) trials: usize,
    /// Training steps of a trial.
    pub(crate) steps: u64,
    /// All steps in units of those of a whole training.
    #[serde(with = "numbers")]
    pub(crate) whole_trainings: f64,
    /// Of training, of earlier commands that were gone on with too.
    #[serde(with = "numbers")]
    pub(crate) seconds: f64,
}

impl Cost {
    /// In words.
    pub(crate) fn text(self) -> String {
        format!(
            "cost: {} trainings of {} steps, {:.2} of a whole one, {:.1} s",
            self.trials, self.steps, self.whole_trainings, self.seconds
        )
    }
}
