//! [`Loss`]: what is minimised, and its [`Target`].

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::math::{Real, check_finite};

/// What is minimised. Means are over the trajectories that were solved; where none was, or fewer than two paths of
/// which to take a variance, the loss is NaN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
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
    /// Negative log-likelihood of a Gaussian whose mean is the output, in nats an observed number: the mean over times,
    /// trajectories and features of `d^2 / (2 std^2) + ln(std) + ln(2 pi) / 2`.
    Gaussian {
        /// Standard deviation of the observations, above 0.
        std: f64,
    },
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
            Self::Mse | Self::Mae | Self::Gaussian { .. } => times * batch * outputs,
            Self::Moments => 2 * times * outputs,
            Self::NegativeLogLikelihood => 0,
        }
    }

    /// What it makes of a difference between an output and a state.
    pub(crate) fn of_differences(self) -> Difference {
        let [factor, offset] = match self {
            Self::Gaussian { std } => [0.5 / (std * std), 0.5f64.mul_add(std::f64::consts::TAU.ln(), std.ln())],
            _ => [1.0, 0.0],
        };
        Difference { absolute: self == Self::Mae, factor, offset }
    }

    /// Checks its own numbers.
    pub(crate) fn validate(self) -> Result<()> {
        match self {
            Self::Gaussian { std } if !(std > 0.0 && (std * std).recip().is_finite() && std.is_finite()) => {
                Err(Error::argument("Loss::Gaussian::std", std, "use a finite number above 0, not below 1e-150"))
            }
            _ => Ok(()),
        }
    }
}

/// The loss of a difference `d` between an output and a state: `|d|`, or `factor d^2 + offset`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Difference {
    absolute: bool,
    pub(crate) factor: f64,
    pub(crate) offset: f64,
}

impl Difference {
    /// The loss of a difference, and its derivative.
    #[inline(always)]
    pub(crate) fn of(self, d: f64) -> [f64; 2] {
        match self {
            Self { absolute: true, .. } if d == 0.0 => [0.0, 0.0],
            Self { absolute: true, .. } => [d.abs(), d.signum()],
            Self { factor, offset, .. } => [(factor * d).mul_add(d, offset), 2.0 * factor * d],
        }
    }
}

/// What the outputs should be.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Target<'a, R> {
    /// One class a trajectory, for [`Loss::CrossEntropy`].
    Labels(&'a [u32]),
    /// `[times][B][outputs]`, for [`Loss::Mse`], [`Loss::Mae`] and [`Loss::Gaussian`].
    States(&'a [R]),
    /// States of which some are not observed, or count more than others. The loss of a trajectory is the weighted mean
    /// `sum(w l) / sum(w)` over its times and outputs, that of a batch the mean over trajectories; with equal weights it
    /// is that of [`Target::States`].
    ///
    /// ```
    /// use fewsteps::{Batch, Cpu, Loss, Mlp, NeuralDe, Problem, SaveAt, SolverOptions, Target, Trainer, TrainerConfig};
    /// # fn main() -> fewsteps::Result<()> {
    /// let options = SolverOptions::default().save_at(SaveAt::Times(vec![0.5, 1.0]));
    /// let model = NeuralDe::new(Problem::ode(Mlp::new([2, 16, 2]), 0.0, 1.0), options);
    /// let mut trainer = Trainer::<f64>::new(&Cpu::new()?, TrainerConfig::new(model, Loss::Mse))?;
    /// // Of one trajectory at two times: the second feature was not seen at the first.
    /// let target = Target::Observed { states: &[0.9, f64::NAN, 0.8, 0.1], weights: &[1.0, 0.0, 1.0, 1.0] };
    /// let report = trainer.step(&Batch { inputs: &[1.0, 0.0], target })?;
    /// assert!(report.loss.is_finite());
    /// # Ok(())
    /// # }
    /// ```
    Observed {
        /// `[times][B][outputs]`; what has weight 0 is never read and may be NaN.
        states: &'a [R],
        /// `[times][B][outputs]`, not negative, of each trajectory at least one above 0.
        weights: &'a [R],
    },
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
        self.check_where(loss, batch, times, outputs, |_, _| true).map(drop)
    }

    /// The same where a trajectory `has` but some of the times: nothing is read of its others. The sums of the trajectories'
    /// weights, if they have some.
    pub(crate) fn check_where(
        &self,
        loss: Loss,
        batch: usize,
        times: usize,
        outputs: usize,
        has: impl Fn(usize, usize) -> bool,
    ) -> Result<Vec<f64>> {
        match (self, loss) {
            (Target::Labels(labels), Loss::CrossEntropy) => {
                Error::check_len("Target::Labels", labels.len(), batch, || "one label a trajectory".into())?;
                match labels.iter().enumerate().find(|(_, label)| **label as usize >= outputs) {
                    None => Ok(Vec::new()),
                    Some((i, label)) => {
                        let remedy = format!("sample {i}: classes count from 0 to {}", outputs - 1);
                        Err(Error::argument("Target::Labels", label, remedy))
                    }
                }
            }
            (Target::States(states), Loss::Mse | Loss::Mae | Loss::Gaussian { .. }) => {
                let expected = times * batch * outputs;
                let shape = || format!("[{times}][{batch}][{outputs}]");
                Error::check_len("Target::States", states.len(), expected, shape)?;
                check_states(states, [batch, outputs], has)?;
                Ok(Vec::new())
            }
            (Target::Observed { states, weights }, Loss::Mse | Loss::Mae | Loss::Gaussian { .. }) => {
                for (name, numbers) in [("Target::Observed::states", states), ("Target::Observed::weights", weights)] {
                    let shape = || format!("[{times}][{batch}][{outputs}]");
                    Error::check_len(name, numbers.len(), times * batch * outputs, shape)?;
                }
                check_observed(states, weights, [batch, outputs], has)
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
                Ok(Vec::new())
            }
            (Target::Nothing, Loss::NegativeLogLikelihood) => Ok(Vec::new()),
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
                let remedy = "states need Loss::Mse, Loss::Mae or Loss::Gaussian";
                Err(Error::argument("Target::States", format!("{loss:?}"), remedy))
            }
            (Target::Observed { .. }, _) => {
                let remedy = "observed states need Loss::Mse, Loss::Mae or Loss::Gaussian";
                Err(Error::argument("Target::Observed", format!("{loss:?}"), remedy))
            }
        }
    }
}

impl<'a, R: Real> Target<'a, R> {
    /// Its states, with their weights if they have any.
    pub(crate) const fn states(&self) -> Option<(&'a [R], Option<&'a [R]>)> {
        match *self {
            Target::States(states) => Some((states, None)),
            Target::Observed { states, weights } => Some((states, Some(weights))),
            Target::Labels(_) | Target::Moments { .. } | Target::Nothing => None,
        }
    }
}

/// The sum of each trajectory's weights, of `[times][batch][outputs]`, at the times that it `has`.
pub(crate) fn row_weights<R: Real>(
    weights: &[R],
    [batch, outputs]: [usize; 2],
    has: impl Fn(usize, usize) -> bool,
) -> Vec<f64> {
    let mut sums = vec![0.0; batch];
    for (time, rows) in weights.chunks_exact(batch * outputs).enumerate() {
        for (row, (sum, weights)) in sums.iter_mut().zip(rows.chunks_exact(outputs)).enumerate() {
            if has(row, time) {
                *sum += weights.iter().map(|weight| weight.to_f64()).sum::<f64>();
            }
        }
    }
    sums
}

/// Checks the states of times that trajectories have.
fn check_states<R: Real>(states: &[R], [batch, outputs]: [usize; 2], has: impl Fn(usize, usize) -> bool) -> Result<()> {
    if check_finite("Target::States", states).is_ok() {
        return Ok(());
    }
    for (cell, numbers) in states.chunks_exact(outputs).enumerate() {
        if let Some(bad) = numbers.iter().position(|x| !x.is_finite()).filter(|_| has(cell % batch, cell / batch)) {
            let (index, value) = (cell * outputs + bad, numbers[bad].to_string());
            return Err(Error::NonFinite { argument: "Target::States", index, value });
        }
    }
    Ok(())
}

/// Checks weights, and the states that have one; the sums of the trajectories' weights.
fn check_observed<R: Real>(
    states: &[R],
    weights: &[R],
    [batch, outputs]: [usize; 2],
    has: impl Fn(usize, usize) -> bool,
) -> Result<Vec<f64>> {
    let here = |i: usize| has(i / outputs % batch, i / outputs / batch);
    let place =
        |i: usize| format!("time {}, trajectory {}, output {}", i / outputs / batch, i / outputs % batch, i % outputs);
    let wrong = |weight: &R| !(weight.is_finite() && *weight >= R::ZERO);
    if let Some((i, weight)) = weights.iter().enumerate().find(|(i, weight)| wrong(weight) && here(*i)) {
        let remedy = format!("{}: weights are finite and not negative", place(i));
        return Err(Error::argument("Target::Observed::weights", weight, remedy));
    }
    let seen = states.iter().zip(weights).enumerate().filter(|(_, (_, weight))| **weight > R::ZERO);
    if let Some((i, (state, _))) = seen.into_iter().find(|(i, (state, _))| !state.is_finite() && here(*i)) {
        let remedy = format!("{}: what has a weight is finite; what was not observed has weight 0", place(i));
        return Err(Error::argument("Target::Observed::states", state, remedy));
    }
    let sums = row_weights(weights, [batch, outputs], has);
    match sums.iter().enumerate().find(|(_, sum)| !(**sum > 0.0 && sum.recip().is_finite())) {
        None => Ok(sums),
        Some((row, sum)) => {
            let remedy = format!("trajectory {row}: its weights add up to this, so that it has no mean: leave it out");
            Err(Error::argument("Target::Observed::weights", sum, remedy))
        }
    }
}
