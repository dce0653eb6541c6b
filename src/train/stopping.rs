//! [`EarlyStopping`]: which step's weights are kept, and when there is nothing more to wait for.

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Early stopping (L. Prechelt, 1998): of the steps whose validation loss was told, the one whose weights are the best, and
/// whether training should end because too many after it were no better.
///
/// It judges losses, and holds no weights: keep those of a step that is [`Verdict::Better`]. What it decides is a function of
/// the losses that it was told alone, and it can be written to a checkpoint's metadata and read again, so that a training
/// that is gone on with keeps and stops where the uninterrupted one does.
///
/// ```
/// use fewsteps::{EarlyStopping, Verdict};
/// # fn main() -> fewsteps::Result<()> {
/// let mut stopping = EarlyStopping::new().patience(2)?;
/// let verdicts = [(10, 0.9), (20, 0.5), (30, 0.6), (40, f64::NAN)].map(|(step, loss)| stopping.judge(step, loss));
/// assert_eq!(verdicts, [Verdict::Better, Verdict::Better, Verdict::Wait, Verdict::Stop]);
/// assert_eq!(stopping.best().map(|best| best.step), Some(20));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EarlyStopping {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    patience: Option<NonZeroU64>,
    least_gain: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    best: Option<Best>,
    /// Verdicts since the best.
    waited: u64,
}

/// The best of the losses that were told.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Best {
    /// Training steps made before it.
    pub step: u64,
    /// The loss, which is finite.
    pub loss: f64,
}

/// What becomes of a training after a validation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The best so far: keep these weights.
    Better,
    /// No better than the best: go on.
    Wait,
    /// No better than the best, as often as patience has it: end here, with the weights that were kept.
    Stop,
}

impl EarlyStopping {
    /// Without end: the best is told, and training never stopped.
    #[must_use]
    pub const fn new() -> Self {
        Self { patience: None, least_gain: 0.0, best: None, waited: 0 }
    }

    /// Stops after so many verdicts in a row that are no better than the best.
    ///
    /// # Errors
    /// [`Error::Argument`] for 0, with which the first of them would never be waited for.
    pub fn patience(self, evaluations: u64) -> Result<Self> {
        let none = || Error::argument("EarlyStopping::patience", evaluations, "wait for at least one evaluation");
        Ok(Self { patience: Some(NonZeroU64::new(evaluations).ok_or_else(none)?), ..self })
    }

    /// Sets by how much a loss has to be below the best to be better, in the units of the loss; 0 unless told.
    ///
    /// # Errors
    /// [`Error::Argument`] for one that is negative or not finite.
    pub fn least_gain(self, least_gain: f64) -> Result<Self> {
        if !(least_gain >= 0.0 && least_gain.is_finite()) {
            let remedy = "give a finite number that is not negative, in the units of the loss";
            return Err(Error::argument("EarlyStopping::least_gain", least_gain, remedy));
        }
        Ok(Self { least_gain, ..self })
    }

    /// Judges the validation loss after `step` training steps. One that is not finite is never better.
    pub fn judge(&mut self, step: u64, loss: f64) -> Verdict {
        let better = loss.is_finite() && self.best.is_none_or(|best| loss < best.loss - self.least_gain);
        if better {
            (self.best, self.waited) = (Some(Best { step, loss }), 0);
            return Verdict::Better;
        }
        self.waited += 1;
        if self.stopped() { Verdict::Stop } else { Verdict::Wait }
    }

    /// The best so far; `None` before the first loss that is finite.
    #[must_use]
    pub const fn best(&self) -> Option<Best> {
        self.best
    }

    /// Verdicts since the best.
    #[must_use]
    pub const fn waited(&self) -> u64 {
        self.waited
    }

    /// Whether the last verdict was [`Verdict::Stop`].
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.patience.is_some_and(|patience| self.waited >= patience.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(stopping: EarlyStopping, losses: &[f64]) -> (Vec<Verdict>, EarlyStopping) {
        let mut stopping = stopping;
        let verdicts = (1..).zip(losses).map(|(step, &loss)| stopping.judge(step, loss)).collect();
        (verdicts, stopping)
    }

    #[test]
    fn the_best_is_kept_and_patience_counts_from_it() {
        use Verdict::{Better, Stop, Wait};
        let patient = EarlyStopping::new().patience(2).expect("2");
        let (verdicts, stopping) = judged(patient, &[3.0, 3.0, 2.0, 2.5, 2.0]);
        assert_eq!(
            verdicts,
            [Better, Wait, Better, Wait, Stop],
            "an equal loss is no gain, and a gain is waited from anew"
        );
        assert_eq!(stopping.best(), Some(Best { step: 3, loss: 2.0 }));
        assert!(stopping.stopped() && stopping.waited() == 2, "{stopping:?}");
        let (verdicts, endless) = judged(EarlyStopping::new(), &[1.0; 50]);
        assert!(verdicts[1..].iter().all(|verdict| *verdict == Wait) && !endless.stopped(), "nobody stops it");
    }

    #[test]
    fn a_gain_has_to_be_as_large_as_was_said() {
        use Verdict::{Better, Wait};
        let (verdicts, stopping) =
            judged(EarlyStopping::new().least_gain(0.1).expect("0.1"), &[1.0, 0.95, 0.89, 0.8, -5.0]);
        assert_eq!(verdicts, [Better, Wait, Better, Wait, Better], "measured from the best, not from the last");
        assert_eq!(stopping.best().map(|best| best.step), Some(5), "a likelihood may be negative");
        for wrong in [-0.1, f64::NAN, f64::INFINITY] {
            let error = EarlyStopping::new().least_gain(wrong).expect_err("refused").to_string();
            assert!(error.contains("EarlyStopping::least_gain"), "{error}");
        }
        let error = EarlyStopping::new().patience(0).expect_err("refused").to_string();
        assert!(error.contains("EarlyStopping::patience = 0"), "{error}");
    }

    #[test]
    fn what_is_no_number_is_never_better() {
        let (verdicts, stopping) =
            judged(EarlyStopping::new().patience(3).expect("3"), &[f64::NAN, f64::NEG_INFINITY, f64::INFINITY]);
        assert_eq!(verdicts, [Verdict::Wait, Verdict::Wait, Verdict::Stop]);
        assert_eq!(stopping.best(), None);
        let (verdicts, _) = judged(stopping, &[1.0]);
        assert_eq!(verdicts, [Verdict::Better], "the first number is");
    }

    #[test]
    fn it_goes_on_from_its_json_as_if_never_written() {
        let losses = [0.7, 0.1 + 0.2, 0.6, f64::NAN, 0.3, 0.9, 0.8];
        let patient = EarlyStopping::new().patience(4).and_then(|s| s.least_gain(1e-3)).expect("good numbers");
        let (whole, at_end) = judged(patient, &losses);
        for cut in 0..losses.len() {
            let (before, stopping) = judged(patient, &losses[..cut]);
            let text = serde_json::to_string(&stopping).expect("plain data");
            let (mut again, mut after) =
                (serde_json::from_str::<EarlyStopping>(&text).expect("as written"), Vec::new());
            for (step, &loss) in (cut as u64 + 1..).zip(&losses[cut..]) {
                after.push(again.judge(step, loss));
            }
            assert_eq!([before, after].concat(), whole, "cut at {cut}: {text}");
            assert_eq!(again, at_end, "cut at {cut}");
        }
    }
}
