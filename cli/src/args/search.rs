//! What `sweep`, `tune` and `check` take.

use std::num::NonZeroUsize;

use clap::Args;

use super::training::{TrainingArgs, seeds};
use crate::choice::Objective;
use crate::method::{Methods, Training};

#[derive(Debug, Args)]
pub(crate) struct SweepArgs {
    /// Coefficients of the regularizer to train with, separated by commas; 0, training without it, is always among them
    #[arg(long, value_name = "A,B,...", value_delimiter = ',', allow_hyphen_values = true)]
    #[arg(default_values_t = [0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0])]
    pub(crate) coefficients: Vec<f64>,
    /// How many seeds: 0, 1, ..., N - 1; two or more tell how far chance alone moves the accuracy
    #[arg(long, value_name = "N", value_parser = seeds, default_value = "1")]
    pub(crate) seeds: NonZeroUsize,
    #[command(flatten)]
    pub(crate) trial: TrialArgs,
    #[command(flatten)]
    pub(crate) training: TrainingArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TuneArgs {
    /// Coefficients to try at most, besides training without the regularizer, which all are compared with
    #[arg(long, value_name = "N", default_value = "10")]
    pub(crate) trials: NonZeroUsize,
    /// What is to become small
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = Objective::Nfe)]
    pub(crate) objective: Objective,
    /// Coefficients to look among, the least and the largest [default: two decades below the method's own to three above]
    #[arg(long, value_name = "LOW,HIGH", value_delimiter = ',', allow_hyphen_values = true)]
    pub(crate) range: Vec<f64>,
    /// How many seeds a coefficient is trained with: 0, 1, ..., N - 1
    #[arg(long, value_name = "N", value_parser = seeds, default_value = "1")]
    pub(crate) seeds: NonZeroUsize,
    #[command(flatten)]
    pub(crate) trial: TrialArgs,
    #[command(flatten)]
    pub(crate) training: TrainingArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Fixes the initial weights, the order of the samples and the regularization times
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) trial: TrialArgs,
    #[command(flatten)]
    pub(crate) training: TrainingArgs,
}

/// How a method is tried out.
#[derive(Debug, Args)]
pub(crate) struct TrialArgs {
    /// The training method that is tried [default: local-unbiased]
    #[arg(long, value_parser = Methods, value_name = "METHOD")]
    pub(crate) regularization: Option<Training>,
    /// Share of the steps of a whole training that a trial makes: of --steps, or of the task's
    #[arg(long, value_name = "SHARE", default_value_t = 0.2, allow_hyphen_values = true)]
    pub(crate) steps_fraction: f64,
    /// Points of test accuracy that may be lost against coefficient 0; per cent of the loss where nothing is classified, nats of
    /// a density [default: 0.2 points, 5 per cent, or 0.02 nats]
    ///
    /// Less than chance moves cannot be seen: of a few hundred test samples one is tenths of a point. What can be seen is
    /// printed, and taken where it is more.
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    pub(crate) max_drop: Option<f64>,
}
