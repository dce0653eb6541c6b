//! What is kept of a run, as JSON.

use fewsteps::Budget;
use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::numbers;
use crate::settings::{Settings, Training};
use crate::stats::Spread;

/// A finished run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RunRecord {
    /// Version of the program that finished it.
    pub(crate) version: String,
    pub(crate) settings: Settings,
    pub(crate) machine: Machine,
    pub(crate) parameters: usize,
    /// On the whole test set, after the last step.
    pub(crate) test: Measured,
    pub(crate) times: Times,
    /// The test set under the cheapest solver that predicts as well, chosen on training samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deployed: Option<Tested>,
    /// Where moments of paths are learnt: those of the test set's paths after training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) moments: Option<LearntMoments>,
    /// Where NFE had a target: what came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) budget: Option<BudgetOutcome>,
    /// The largest memory the process had held when the run ended; earlier runs of the process count.
    pub(crate) peak_memory_bytes: Option<u64>,
    pub(crate) progress: Progress,
}

impl RunRecord {
    /// Why the run has nothing to show, if so, and what helps.
    pub(crate) fn defect(&self) -> Option<String> {
        let Progress { failed, skipped, first_skipped, .. } = self.progress;
        let steps = self.settings.steps;
        let what = if skipped as u64 >= steps {
            format!("all {steps} updates were left out")
        } else if self.test.loss.is_finite() {
            return None;
        } else if skipped > 0 {
            format!("its test loss is {}, and {skipped} of {steps} updates were left out", self.test.loss)
        } else {
            format!("its test loss is {}", self.test.loss)
        };
        let cause = match first_skipped {
            // Where no trajectory failed it was the update itself that would not have been finite.
            Some(1) if failed > 0 => {
                "the first step failed already, so it is not the learning rate: check the data, --tol \
                                      and --batch"
                    .to_owned()
            }
            Some(step) => format!("steps fail from step {step} on: {}", smaller_rate(&self.settings)),
            None => smaller_rate(&self.settings),
        };
        Some(format!("{}: {what}; {cause}", self.settings.run_name()))
    }
}

/// What to do about a run that diverged.
fn smaller_rate(settings: &Settings) -> String {
    let (rate, usual) = (settings.learning_rate, settings.task.defaults().learning_rate);
    let smaller = if rate > usual { usual } else { rate / 10.0 };
    format!("the learning rate {rate:?} is probably too large, try --lr {smaller:?}")
}

/// What came of a target for NFE.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct BudgetOutcome {
    #[serde(with = "numbers")]
    pub(crate) target: f64,
    /// Mean of the last 200 training steps.
    #[serde(with = "numbers")]
    pub(crate) nfe: f64,
    /// The smallest running mean.
    #[serde(with = "numbers")]
    pub(crate) best: f64,
    /// The coefficient in the end.
    #[serde(with = "numbers")]
    pub(crate) coefficient: f64,
    /// Whether the target was found to be beyond reach.
    pub(crate) unreachable: bool,
}

impl BudgetOutcome {
    /// What there is to say of it, if the target was not met by the penalty.
    pub(crate) fn remark(&self, budget: &Budget) -> Option<String> {
        let Self { target, nfe, best, coefficient, unreachable } = self;
        if *unreachable {
            return Some(format!(
                "NFE {target} is beyond reach: the mean came down to {best:.1}, where the coefficient, {coefficient:.2e}, \
                 has been kept since"
            ));
        }
        let idle = *coefficient < 10.0 * budget.lowest && nfe < target;
        idle.then(|| format!("NFE is below {target} anyway ({nfe:.1}): the budget has nothing to do"))
    }
}

/// Where the time goes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Times {
    /// Setting up the trainer and the first training step, which also reserves memory and, on a device, compiles
    /// those pipelines that no earlier run of the process did.
    #[serde(with = "numbers")]
    pub(crate) cold_step_seconds: f64,
    /// Median of the other steps.
    #[serde(with = "numbers")]
    pub(crate) warm_step_seconds: f64,
    /// Sum of all steps, without evaluations and checkpoints.
    #[serde(with = "numbers")]
    pub(crate) training_seconds: f64,
    /// Median over test batches of one forward pass with its loss.
    #[serde(with = "numbers")]
    pub(crate) prediction_milliseconds: f64,
    /// Samples in those batches.
    pub(crate) prediction_batch: usize,
}

/// What a run has recorded so far. It lies in the checkpoint beside the weights, so that both are of the same step.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Seconds from nothing to a trainer that holds its data.
    #[serde(with = "numbers")]
    pub(crate) setup_seconds: f64,
    pub(crate) curve: Curve,
    pub(crate) evaluations: Vec<Measured>,
    /// Trajectories that failed in training, and were left out.
    pub(crate) failed: usize,
    /// Updates that were left out.
    pub(crate) skipped: usize,
    /// The step of the first of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) first_skipped: Option<u64>,
}

/// One number a training step.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Curve {
    /// The task's loss, without the penalty.
    #[serde(with = "numbers")]
    pub(crate) loss: Vec<f64>,
    /// The penalty, without its coefficient.
    #[serde(with = "numbers")]
    pub(crate) penalty: Vec<f64>,
    #[serde(with = "numbers")]
    pub(crate) coefficient: Vec<f64>,
    /// Evaluations in the forward solve: of the field, which with noise is the drift.
    pub(crate) nfe: Vec<usize>,
    /// Evaluations of the diffusion; 0 without noise.
    #[serde(default)]
    pub(crate) nfe_diffusion: Vec<usize>,
    /// Steps of an ideal controller; empty where none were told.
    #[serde(default, with = "numbers")]
    pub(crate) ideal_steps: Vec<f64>,
    /// Evaluations for the penalty, each on the regularizer's share of the batch.
    pub(crate) nfe_penalty: Vec<usize>,
    /// Vector-Jacobian products of the backward pass.
    pub(crate) products: Vec<usize>,
    #[serde(with = "numbers")]
    pub(crate) seconds: Vec<f64>,
}

impl Curve {
    /// Steps that it is of, if all its lists are of as many.
    pub(crate) fn steps(&self) -> Option<usize> {
        let Self { loss, penalty, coefficient, nfe, nfe_diffusion, ideal_steps, nfe_penalty, products, seconds } = self;
        let numbers = [loss, penalty, coefficient, seconds].map(Vec::len);
        let counts = [nfe, nfe_penalty, products].map(Vec::len);
        // Runs of earlier versions have no counts of the diffusion or of ideal steps.
        let alike = numbers.into_iter().chain(counts).all(|n| n == loss.len());
        let later = [nfe_diffusion.len(), ideal_steps.len()];
        (alike && later.iter().all(|n| [0, loss.len()].contains(n))).then_some(loss.len())
    }
}

/// An evaluation of the whole test set. Counts of the solver are means over its batches.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Training steps made before it.
    pub(crate) step: u64,
    #[serde(with = "numbers")]
    pub(crate) loss: f64,
    /// Share of the samples that are classified correctly; failed ones are not.
    #[serde(with = "numbers", default)]
    pub(crate) accuracy: Option<f64>,
    /// Evaluations of the field, which with noise is the drift.
    #[serde(with = "numbers")]
    pub(crate) nfe: f64,
    /// Evaluations of the diffusion; 0 without noise.
    #[serde(with = "numbers", default)]
    pub(crate) nfe_diffusion: f64,
    #[serde(with = "numbers")]
    pub(crate) accepted: f64,
    #[serde(with = "numbers")]
    pub(crate) rejected: f64,
    /// Relative error of the saved states against a converged solve of the first samples; with noise along the same
    /// paths, the strong error.
    #[serde(with = "numbers", default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<f64>,
    /// With noise: that of mean and variance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) weak_error: Option<WeakError>,
    /// Steps of an ideal controller; with fixed steps none.
    #[serde(with = "numbers", default)]
    pub(crate) ideal_steps: Option<f64>,
    /// NFE of the same model under the published solver, within the same tolerances, where its own is another.
    #[serde(with = "numbers", default, skip_serializing_if = "Option::is_none")]
    pub(crate) nfe_published: Option<f64>,
    /// Trajectories that failed.
    pub(crate) failed: usize,
    /// With noise: the same after another number of paths, if that was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) other_paths: Option<OtherPaths>,
}

/// The whole test set under a solver that need not be the training's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tested {
    /// The solver in few words.
    pub(crate) solver: String,
    pub(crate) test: Measured,
    /// Median over test batches of one forward pass with its loss.
    #[serde(with = "numbers")]
    pub(crate) prediction_milliseconds: f64,
    /// Samples in those batches.
    pub(crate) prediction_batch: usize,
}

/// Relative errors of the mean and of the variance of saved states over trajectories.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct WeakError {
    #[serde(with = "numbers")]
    pub(crate) mean: f64,
    #[serde(with = "numbers")]
    pub(crate) variance: f64,
}

/// What an evaluation finds with another number of paths.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct OtherPaths {
    /// Of classifiers, the paths of each sample whose mean output counts, where one path counts otherwise. Of moments,
    /// the paths that they are taken of: a training batch, as published, where the whole test set is otherwise.
    pub(crate) paths: usize,
    #[serde(with = "numbers")]
    pub(crate) loss: f64,
    #[serde(with = "numbers", default)]
    pub(crate) accuracy: Option<f64>,
    /// Trajectories that failed.
    #[serde(default)]
    pub(crate) failed: usize,
}

/// Means and variances over paths, learnt and given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LearntMoments {
    /// Paths that were taken.
    pub(crate) paths: usize,
    #[serde(with = "numbers")]
    pub(crate) times: Vec<f64>,
    /// `[time]`.
    pub(crate) learnt: Vec<Moment>,
    /// `[time]`.
    pub(crate) given: Vec<Moment>,
}

/// Mean and variance of each dimension at one time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Moment {
    #[serde(with = "numbers")]
    pub(crate) mean: [f64; 2],
    #[serde(with = "numbers")]
    pub(crate) variance: [f64; 2],
}

/// A benchmark's `results.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) version: String,
    /// Seconds since 1970.
    pub(crate) finished_unix_seconds: u64,
    pub(crate) machine: Machine,
    pub(crate) warnings: Vec<String>,
    pub(crate) summary: Vec<MethodSummary>,
    pub(crate) runs: Vec<RunRecord>,
    /// Runs that did not come to their end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) failures: Vec<Failure>,
}

/// A run that did not come to its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) training: Training,
    pub(crate) seed: u64,
    pub(crate) error: String,
}

/// A method's means and spreads over the seeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct MethodSummary {
    pub(crate) training: Training,
    pub(crate) seeds: usize,
    pub(crate) accuracy: Option<Spread>,
    /// Absent where a seed's test loss is not a finite number.
    pub(crate) test_loss: Option<Spread>,
    /// Test trajectories that failed, over all seeds: they count as wrong, and the loss is of the others.
    #[serde(default)]
    pub(crate) failed: usize,
    /// As `test_loss` and `accuracy`, of another number of paths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) other_paths: Option<OtherSummary>,
    pub(crate) nfe: Spread,
    /// Evaluations of the diffusion; 0 without noise.
    #[serde(default)]
    pub(crate) nfe_diffusion: Spread,
    /// Relative error of the saved states; absent where a seed has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<Spread>,
    /// Steps of an ideal controller; absent where a seed has none.
    #[serde(default)]
    pub(crate) ideal_steps: Option<Spread>,
    /// NFE under the published solver, where the runs' own is another.
    #[serde(default)]
    pub(crate) nfe_published: Option<Spread>,
    pub(crate) step_milliseconds: Spread,
    pub(crate) prediction_milliseconds: Spread,
    /// Relative to the baseline, or to vanilla where there is none.
    pub(crate) ratios: Option<Ratios>,
    /// Under the solvers that predictions need, where every seed has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deployed: Option<DeployedSummary>,
}

/// A method's means and spreads over the seeds, each under the cheapest solver that predicts as well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct DeployedSummary {
    /// The seeds' solvers, each once.
    pub(crate) solvers: Vec<String>,
    pub(crate) accuracy: Option<Spread>,
    /// Absent where a seed's test loss is not a finite number.
    pub(crate) test_loss: Option<Spread>,
    /// Test trajectories that failed, over all seeds.
    pub(crate) failed: usize,
    pub(crate) nfe: Spread,
    /// Evaluations of the diffusion; 0 without noise.
    pub(crate) nfe_diffusion: Spread,
    /// Relative error of the saved states; absent where a seed has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<Spread>,
    pub(crate) prediction_milliseconds: Spread,
    /// NFE and prediction time relative to the baseline, or to vanilla where there is none, under the training's solver.
    #[serde(with = "numbers", default)]
    pub(crate) nfe_ratio: Option<f64>,
    #[serde(with = "numbers", default)]
    pub(crate) prediction_ratio: Option<f64>,
}

/// Means and spreads of [`OtherPaths`] over the seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct OtherSummary {
    pub(crate) paths: usize,
    pub(crate) accuracy: Option<Spread>,
    /// Absent where a seed's loss is not a finite number.
    pub(crate) test_loss: Option<Spread>,
    /// Trajectories that failed, over all seeds.
    #[serde(default)]
    pub(crate) failed: usize,
}

/// Means relative to those of another method.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ratios {
    #[serde(with = "numbers")]
    pub(crate) nfe: f64,
    #[serde(with = "numbers")]
    pub(crate) step_time: f64,
    #[serde(with = "numbers")]
    pub(crate) prediction_time: f64,
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use fewsteps::{Cpu, Device};
    use serde_json::Value;

    use super::*;
    use crate::args::{Cli, Command};
    use crate::{data, summary};

    /// A record that lacks nothing.
    fn record() -> RunRecord {
        let Some(Command::Train(args)) = Cli::parse_from(["fewsteps", "train"]).command else { panic!("train") };
        let digits = data::digits().expect("embedded");
        let measured = Measured {
            step: 2,
            loss: 0.5,
            accuracy: Some(0.5),
            nfe: 0.5,
            nfe_diffusion: 0.5,
            accepted: 0.5,
            rejected: 0.5,
            ideal_steps: Some(0.5),
            nfe_published: Some(0.5),
            error: Some(0.5),
            weak_error: Some(WeakError { mean: 0.5, variance: 0.5 }),
            failed: 0,
            other_paths: Some(OtherPaths { paths: 3, loss: 0.5, accuracy: Some(0.5), failed: 1 }),
        };
        let (list, moment) = (vec![0.5, 0.5], Moment { mean: [0.5; 2], variance: [0.5; 2] });
        RunRecord {
            version: "0.0.0".to_owned(),
            settings: Settings::resolve(&args.training, Training::Vanilla, 0, &digits).expect("the defaults"),
            machine: Machine::of(&Device::Cpu(Cpu::with_threads(1).expect("a thread"))),
            parameters: 1,
            test: measured,
            times: Times {
                cold_step_seconds: 0.5,
                warm_step_seconds: 0.5,
                training_seconds: 0.5,
                prediction_milliseconds: 0.5,
                prediction_batch: 1,
            },
            deployed: Some(Tested {
                solver: "rk4, 1 step".to_owned(),
                test: measured,
                prediction_milliseconds: 0.5,
                prediction_batch: 1,
            }),
            moments: Some(LearntMoments { paths: 3, times: list.clone(), learnt: vec![moment], given: vec![moment] }),
            budget: Some(BudgetOutcome { target: 0.5, nfe: 0.5, best: 0.5, coefficient: 0.5, unreachable: false }),
            peak_memory_bytes: None,
            progress: Progress {
                setup_seconds: 0.5,
                curve: Curve {
                    loss: list.clone(),
                    penalty: list.clone(),
                    coefficient: list.clone(),
                    seconds: list,
                    ..Curve::default()
                },
                evaluations: vec![measured],
                failed: 0,
                skipped: 0,
                first_skipped: None,
            },
        }
    }

    /// JSON pointers of all numbers with a fraction, but for those that a command was given: they are checked.
    fn measured_numbers(value: &Value, path: &str, found: &mut Vec<String>) {
        match value {
            Value::Number(number) if number.is_f64() => found.push(path.to_owned()),
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(i, item)| measured_numbers(item, &format!("{path}/{i}"), found));
            }
            Value::Object(entries) => entries
                .iter()
                .filter(|(key, _)| *key != "settings")
                .for_each(|(key, item)| measured_numbers(item, &format!("{path}/{key}"), found)),
            _ => {}
        }
    }

    /// Puts every number that is not finite in the place of every number: it is read, and written again as it was.
    fn comes_back<T: Serialize + for<'de> Deserialize<'de>>(value: &T, count: usize) {
        let good = serde_json::to_value(value).expect("plain data");
        let mut paths = Vec::new();
        measured_numbers(&good, "", &mut paths);
        assert_eq!(paths.len(), count, "{paths:?}");
        for path in &paths {
            for word in ["NaN", "inf", "-inf"] {
                let mut diverged = good.clone();
                *diverged.pointer_mut(path).expect("found above") = word.into();
                let back: T = serde_json::from_value(diverged.clone()).unwrap_or_else(|e| panic!("{path}: {e}"));
                assert_eq!(serde_json::to_value(&back).expect("plain data"), diverged, "{path}: {word}");
            }
            let mut old = good.clone();
            *old.pointer_mut(path).expect("found above") = Value::Null;
            serde_json::from_value::<T>(old).unwrap_or_else(|e| panic!("{path}: null, as once written: {e}"));
        }
    }

    #[test]
    fn every_number_of_a_record_may_be_any() {
        let evaluation = 6 + 3 + 2 + 2;
        comes_back(&record(), 3 * evaluation + 1 + 4 + (2 + 2 * 4) + 4 + 1 + 4 * 2);
    }

    #[test]
    fn every_number_of_results_may_be_any() {
        let mut results = summary::summarize(record().machine, &[Training::Vanilla], vec![record()], Vec::new());
        results.runs.clear();
        comes_back(&results, 2 * (2 + 2 + 7) + 3 + 2 * 6 + 2);
    }
}
