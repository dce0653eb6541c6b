//! [`Loss`]: what is minimised, and its [`Target`].

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::math::{Real, check_finite};

/// What is minimised. Means are over the trajectories that were solved; where none was, or fewer than two paths of
/// which to take a variance, the loss is NaN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Loss {
    /// Softmax cross-entropy of the output at the last saved time, mean over trajectories.
    #[default]
    CrossEntropy,
    /// Mean of squared differences over times, trajectories and features.
    Mse,
    /// Mean of absolute differences over times, trajectories and features; derivative 0 where they are 0.
    Mae,
    /// For paths: mean over times and features of the squared differences of their means, plus that of their variances
    /// (over one less than their number).
    Moments,
    /// Of a flow, a model whose field has a log-density ([`Field::with_log_density`](crate::Field::with_log_density)):
    /// `-log p(x)` in nats, mean over trajectories, of inputs that are points. The density at the interval's end is the
    /// standard normal one.
    NegativeLogLikelihood,
}

impl Loss {
    /// Solved trajectories that the loss takes at least: a mean one, a variance two.
    pub(crate) const fn least(self) -> usize {
        if matches!(self, Self::Moments) { 2 } else { 1 }
    }

    /// Numbers in the target of a batch, as [`Target`] lays them out.
    pub(crate) const fn target_len(self, batch: usize, times: usize, outputs: usize) -> usize {
        match self {
            Self::CrossEntropy => batch,
            Self::Mse | Self::Mae => times * batch * outputs,
            Self::Moments => 2 * times * outputs,
            Self::NegativeLogLikelihood => 0,
        }
    }
}

/// What the outputs should be.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Target<'a, R> {
    /// One class a trajectory, for [`Loss::CrossEntropy`].
    Labels(&'a [u32]),
    /// `[times][B][outputs]`, for [`Loss::Mse`] and [`Loss::Mae`].
    States(&'a [R]),
    /// Means and variances over the batch, `[times][outputs]` each, for [`Loss::Moments`].
    Moments {
        /// What the batch's means should be.
        means: &'a [R],
        /// What its variances should be.
        variances: &'a [R],
    },
    /// Nothing, for [`Loss::NegativeLogLikelihood`]: the inputs alone are to be likely.
    Nothing,
}

impl<R: Real> Target<'_, R> {
    pub(crate) fn check(&self, loss: Loss, batch: usize, times: usize, outputs: usize) -> Result<()> {
        match (self, loss) {
            (Target::Labels(labels), Loss::CrossEntropy) => {
                Error::check_len("Target::Labels", labels.len(), batch, || "one label a trajectory".into())?;
                match labels.iter().enumerate().find(|(_, label)| **label as usize >= outputs) {
                    None => Ok(()),
                    Some((i, label)) => {
                        let remedy = format!("sample {i}: classes count from 0 to {}", outputs - 1);
                        Err(Error::argument("Target::Labels", label, remedy))
                    }
                }
            }
            (Target::States(states), Loss::Mse | Loss::Mae) => {
                let expected = times * batch * outputs;
                let shape = || format!("[{times}][{batch}][{outputs}]");
                Error::check_len("Target::States", states.len(), expected, shape)?;
                check_finite("Target::States", states)
            }
            (Target::Moments { means, variances }, Loss::Moments) => {
                for (name, moments) in [("Target::Moments::means", means), ("Target::Moments::variances", variances)] {
                    let shape = || format!("[{times}][{outputs}]");
                    Error::check_len(name, moments.len(), times * outputs, shape)?;
                    check_finite(name, moments)?;
                }
                if batch < 2 {
                    return Err(Error::argument("Batch::inputs", batch, "a variance needs at least two paths"));
                }
                Ok(())
            }
            (Target::Nothing, Loss::NegativeLogLikelihood) => Ok(()),
            (Target::Nothing, _) => Err(Error::argument(
                "Target::Nothing",
                format!("{loss:?}"),
                "only Loss::NegativeLogLikelihood wants nothing",
            )),
            (Target::Moments { .. }, _) => {
                Err(Error::argument("Target::Moments", format!("{loss:?}"), "moments need Loss::Moments"))
            }
            (Target::Labels(_), _) => {
                Err(Error::argument("Target::Labels", format!("{loss:?}"), "labels need Loss::CrossEntropy"))
            }
            (Target::States(_), _) => {
                Err(Error::argument("Target::States", format!("{loss:?}"), "states need Loss::Mse or Loss::Mae"))
            }
        }
    }
}

/// Loss and correctly classified trajectories of outputs `[times][B][outputs]`, of those that were `solved`.
pub(crate) fn score<R: Real>(
    loss: Loss,
    target: &Target<'_, R>,
    outputs: &[f64],
    width: usize,
    solved: &[bool],
) -> (f64, usize) {
    // Of every time in turn; the mean over none is NaN.
    let counts = || solved.iter().copied().cycle();
    match target {
        Target::Labels(labels) => {
            let last = &outputs[outputs.len() - labels.len() * width..];
            let all = || last.chunks_exact(width).zip(*labels).zip(counts());
            let rows = || all().filter(|(_, solved)| *solved).map(|(row, _)| row);
            let best = |row: &[f64]| (0..width).fold(0, |best, o| if row[o] > row[best] { o } else { best });
            let entropy = |(row, label): (&[f64], &u32)| {
                let largest = row[best(row)];
                row.iter().map(|x| (x - largest).exp()).sum::<f64>().ln() + largest - row[*label as usize]
            };
            let sum: f64 = rows().map(entropy).sum();
            (sum / rows().count() as f64, rows().filter(|(row, label)| best(row) == **label as usize).count())
        }
        Target::States(states) => {
            let all = || outputs.chunks_exact(width).zip(states.chunks_exact(width)).zip(counts());
            let rows = || all().filter(|(_, solved)| *solved).map(|(row, _)| row);
            let size = |d: f64| if loss == Loss::Mae { d.abs() } else { d * d };
            let sum: f64 =
                rows().flat_map(|(row, target)| row.iter().zip(target)).map(|(x, y)| size(x - y.to_f64())).sum();
            (sum / (rows().count() * width) as f64, 0)
        }
        Target::Moments { .. } | Target::Nothing => (f64::NAN, 0),
    }
}
