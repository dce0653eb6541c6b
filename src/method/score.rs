//! The loss of outputs that are at hand, without gradients: [`Loss::of_each`], and [`score`] of a batch.

use super::loss::{Loss, Target};
use crate::error::{Error, Result};
use crate::math::Real;

impl Loss {
    /// The loss of each trajectory alone, of outputs `[times][batch][width]`; that of a batch is their mean.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Argument`] for a target that is not of this loss or not of these outputs, and for
    /// [`Loss::Moments`] and [`Loss::NegativeLogLikelihood`], which are not of outputs alone.
    pub fn of_each<R: Real>(
        self,
        target: &Target<'_, R>,
        outputs: &[R],
        batch: usize,
        width: usize,
    ) -> Result<Vec<f64>> {
        let times = Error::check_rows("outputs", outputs.len(), batch.max(1) * width.max(1))?;
        target.check(self, batch, times, width)?;
        match of_each(self, target, outputs, batch, width) {
            Some(losses) => Ok(losses),
            None => Err(Error::argument("Loss", format!("{self:?}"), "it is not of a trajectory's outputs alone")),
        }
    }
}

/// Where the largest output of a row is.
fn best<R: Real>(row: &[R]) -> usize {
    (0..row.len()).fold(0, |best, o| if row[o] > row[best] { o } else { best })
}

/// `-log softmax(row)[label]`.
pub(crate) fn cross_entropy<R: Real>(row: &[R], label: u32) -> f64 {
    let largest = row[best(row)].to_f64();
    let sum: f64 = row.iter().map(|x| (x.to_f64() - largest).exp()).sum();
    sum.ln() + largest - row[label as usize].to_f64()
}

/// The last time's rows.
fn last<R: Real>(outputs: &[R], batch: usize, width: usize) -> std::slice::ChunksExact<'_, R> {
    outputs[outputs.len() - batch * width..].chunks_exact(width)
}

/// The loss of each trajectory, where it has one of its own.
fn of_each<R: Real, X: Real>(
    loss: Loss,
    target: &Target<'_, R>,
    outputs: &[X],
    batch: usize,
    width: usize,
) -> Option<Vec<f64>> {
    if let Target::Labels(labels) = target {
        let rows = last(outputs, batch, width).zip(*labels);
        return Some(rows.map(|(row, label)| cross_entropy(row, *label)).collect());
    }
    let (states, weights) = target.states()?;
    let difference = loss.of_differences();
    let mut sums = vec![[0.0; 2]; batch];
    for (i, (x, state)) in outputs.iter().zip(states).enumerate() {
        let weight = weights.map_or(1.0, |weights| weights[i].to_f64());
        if weight > 0.0 {
            let [of, all] = &mut sums[i / width % batch];
            *of += weight * difference.of(x.to_f64() - state.to_f64())[0];
            *all += weight;
        }
    }
    Some(sums.into_iter().map(|[of, all]| of / all).collect())
}

/// Loss and correctly classified trajectories of outputs `[times][B][outputs]`, of those that were `solved`; the mean over
/// none is NaN.
pub(crate) fn score<R: Real>(
    loss: Loss,
    target: &Target<'_, R>,
    outputs: &[f64],
    width: usize,
    solved: &[bool],
) -> (f64, usize) {
    let batch = solved.len();
    let Some(losses) = of_each(loss, target, outputs, batch, width) else { return (f64::NAN, 0) };
    let kept = || losses.iter().zip(solved).filter(|(_, solved)| **solved).map(|(loss, _)| loss);
    let mean = kept().sum::<f64>() / kept().count() as f64;
    let Target::Labels(labels) = target else { return (mean, 0) };
    let rows = last(outputs, batch, width).zip(*labels).zip(solved);
    (mean, rows.filter(|((row, label), solved)| **solved && best(row) == **label as usize).count())
}
