//! [`Validation`]: what is held out of training to choose its weights by, and how long better ones are waited for.

use std::num::NonZeroUsize;

use anyhow::ensure;
use clap::ValueEnum;
use fewsteps::EarlyStopping;
use serde::{Deserialize, Serialize};

use crate::data::Samples;

/// The weights that a run ends with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Keep {
    /// Those of the smallest validation loss
    #[default]
    Best,
    /// Those of the last step
    Last,
}

/// How a run is validated. How many samples that is on are held out says, how often says how often it evaluates.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Validation {
    /// The share of the training set that was asked for.
    pub(crate) share: f64,
    /// Validations without gain after which training ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) patience: Option<NonZeroUsize>,
    pub(crate) keep: Keep,
}

impl Validation {
    /// How many samples are held out of so many.
    pub(crate) fn held_out(&self, samples: &Samples) -> anyhow::Result<usize> {
        let (share, count) = (self.share, samples.len());
        ensure!(
            !matches!(samples, Samples::Moments(_)),
            "--validate {share}: paths are drawn anew for each batch, so that there are none to hold out; leave it out"
        );
        let held_out = (share * count as f64).round() as usize;
        ensure!(
            held_out > 0,
            "--validate {share}: of {count} training samples that is none; give a larger share or more samples, or cut \
             series into pieces (--window)"
        );
        Ok(held_out)
    }

    /// Before the first validation.
    pub(crate) fn stopping(&self) -> anyhow::Result<EarlyStopping> {
        let stopping = EarlyStopping::new();
        Ok(match self.patience {
            Some(patience) => stopping.patience(patience.get() as u64)?,
            None => stopping,
        })
    }
}

/// A share of something, of which some is left.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| *share > 0.0 && *share < 1.0);
    share.ok_or_else(|| "give a share above 0 and below 1, such as 0.2".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data;

    #[test]
    fn a_share_is_of_the_training_set() {
        let digits = data::digits().expect("embedded").train;
        let of = |share| Validation { share, patience: None, keep: Keep::Best }.held_out(&digits);
        assert_eq!(of(0.2).expect("a fifth"), 287, "of 1437");
        let error = of(1e-4).expect_err("none").to_string();
        assert!(error.contains("--validate 0.0001") && error.contains("of 1437 training samples"), "{error}");
        assert_eq!((share("0.25"), share("1").is_err(), share("0").is_err()), (Ok(0.25), true, true));
        assert!(share("NaN").is_err() && share("a fifth").is_err());
    }
}
