//! What commands on a checkpoint take.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use fewsteps::Method;

use super::solver::{EngineArgs, StepArgs};
use crate::choice::{CORRECTION_UNITS, any_method, base_method, positive};
use crate::task::TaskName;

#[derive(Debug, Args)]
pub(crate) struct EvalArgs {
    /// A checkpoint that `bench` or `train` wrote
    pub(crate) checkpoint: PathBuf,
    /// The task, if another than the checkpoint was trained on
    #[arg(long, value_enum)]
    pub(crate) task: Option<TaskName>,
    /// The folder or file of the data, if they lie elsewhere than in training
    ///
    /// One's own data are divided as in training, and tested on is what training did not see.
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<PathBuf>,
    /// A file of one's own data that is tested on as a whole
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    pub(crate) test: Option<PathBuf>,
    /// Solve as in training, though `deploy` has chosen another solver
    ///
    /// So do the options that follow: they change the training's solver.
    #[arg(long)]
    pub(crate) training_solver: bool,
    /// Tolerance of the solver, if another than in training
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    pub(crate) tol: Option<f64>,
    #[command(flatten)]
    pub(crate) steps: StepArgs,
    /// Runge-Kutta method, if another than in training
    ///
    /// Any that takes the noise as the model does; euler, midpoint and rk4 estimate no error and want --fixed-steps.
    #[arg(long, value_parser = any_method, value_name = "NAME")]
    pub(crate) method: Option<Method>,
    /// As many equal steps instead of those that a tolerance asks for
    ///
    /// Nothing says how wrong they are: compare with a tight --tol.
    #[arg(long, value_name = "N", value_parser = positive, conflicts_with_all = ["tol", "controller", "first_step"])]
    pub(crate) fixed_steps: Option<NonZeroUsize>,
    /// Samples in a batch, of spiral-sde paths, if others than in training
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) batch: Option<NonZeroUsize>,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
    /// Print the result as JSON, and nothing else, to stdout
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PredictArgs {
    /// A checkpoint that was trained on --task csv or series
    pub(crate) checkpoint: PathBuf,
    /// The table to predict from, with the columns of the inputs, or of series with time, id and states
    #[arg(long, value_name = "FILE")]
    pub(crate) data: PathBuf,
    /// series: times to predict at, separated by commas, from the first observations on [default: those of the table]
    #[arg(long, value_name = "T1,T2", value_delimiter = ',', allow_hyphen_values = true)]
    pub(crate) at: Vec<f64>,
    /// The file that the predictions are written to [default: stdout]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Replace that file if it is there
    #[arg(long)]
    pub(crate) overwrite: bool,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ForecastArgs {
    /// A checkpoint that was trained on --task series
    pub(crate) checkpoint: PathBuf,
    /// A table with the columns of time, id and states; of each series its last row with a number for every state is begun with
    #[arg(long, value_name = "FILE")]
    pub(crate) data: PathBuf,
    /// The times to forecast: FROM:TO:N, as many from one to the other, or a list, separated by commas
    #[arg(long, value_name = "FROM:TO:N|T1,T2", value_parser = times, allow_hyphen_values = true)]
    pub(crate) times: std::sync::Arc<[f64]>,
    /// Of a model with noise or initial states that are drawn, draws whose quantiles (5, 50 and 95 per cent) are told
    /// [default: 200]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) samples: Option<NonZeroUsize>,
    /// The file that the forecasts are written to [default: stdout]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// A file for a picture of them, beside what was observed (SVG)
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
    /// Replace these files if they are there
    #[arg(long)]
    pub(crate) overwrite: bool,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}

/// Most times of a forecast.
const MOST_TIMES: usize = 1_000_000;

/// Times in a row or one by one.
fn times(text: &str) -> Result<std::sync::Arc<[f64]>, String> {
    let number = |text: &str| {
        let number = text.trim().parse::<f64>().ok().filter(|x| x.is_finite());
        number.ok_or_else(|| format!("{text:?} is not a finite number"))
    };
    let parts: Vec<&str> = text.split(':').collect();
    let [from, to, count] = parts[..] else {
        if parts.len() > 1 {
            return Err("give FROM:TO:N, or times separated by commas".to_owned());
        }
        return text.split(',').map(number).collect();
    };
    let (from, to) = (number(from)?, number(to)?);
    let count = count.trim().parse::<usize>().ok().filter(|count| (2..=MOST_TIMES).contains(count));
    let count = count.ok_or_else(|| format!("of FROM:TO:N the N is from 2 to {MOST_TIMES}"))?;
    let at = |i: usize| if i + 1 == count { to } else { from + (to - from) * i as f64 / (count - 1) as f64 };
    Ok((0..count).map(at).collect())
}

#[derive(Debug, Args)]
pub(crate) struct HypersolveArgs {
    /// A checkpoint that `bench` or `train` wrote, of a task whose loss is of the end
    pub(crate) checkpoint: PathBuf,
    /// The folder or file of the data, if they lie elsewhere than in training
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<PathBuf>,
    /// The method whose residuals are learnt
    #[arg(long, value_parser = base_method, value_name = "NAME", default_value = "heun")]
    pub(crate) base: Method,
    /// Equal steps to measure, separated by commas
    #[arg(long, value_name = "A,B,...", value_delimiter = ',', value_parser = positive, default_value = "1,2,4")]
    pub(crate) steps: Vec<NonZeroUsize>,
    /// Hidden units of the correction
    #[arg(long, value_name = "N", value_parser = positive, default_value_t = CORRECTION_UNITS)]
    pub(crate) hidden: NonZeroUsize,
    /// Updates of the correction
    #[arg(long, value_name = "N", default_value_t = 1500)]
    pub(crate) training_steps: u64,
    /// Write the model of N corrected steps as a checkpoint of its own, which `eval`, `predict` and `deploy` take
    ///
    /// It is Euler's method on another field, so that any device solves it. Its parameters are the checkpoint's and the
    /// correction's; there is no going on with its training.
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) write: Option<NonZeroUsize>,
    /// The file of that checkpoint [default: the checkpoint's name with `-hyper-BASE-N`]
    #[arg(long, value_name = "FILE", requires = "write")]
    pub(crate) out: Option<PathBuf>,
    /// Threads of the native engine, on which all of it runs [default: one a core]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Replace the page beside the checkpoint, and the file of --write, if they are there
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Print the result as JSON, and nothing else, to stdout
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DeployArgs {
    /// A checkpoint that `bench` or `train` wrote
    pub(crate) checkpoint: PathBuf,
    /// The folder or file of the data, if they lie elsewhere than in training
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<PathBuf>,
    /// Points of accuracy that may be lost against the training's solver; per cent of the loss where nothing is classified
    /// [default: 0.1 points, or 1 per cent]
    ///
    /// A bound at 95 %, from the samples on which both differ, for each solver by itself. 2,000 samples of which all are
    /// classified alike show 0.08 points; of fewer, the least that they can show is asked for, and said.
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    pub(crate) max_drop: Option<f64>,
    /// Relative error of the states before the head that is allowed, against a converged solve [default: 0.01 without noise
    /// where the model has seen the samples, or what the training's solver has; any otherwise]
    ///
    /// Samples that were trained on are classified with larger margins than others: that a solver agrees on them says
    /// little. See `fewsteps train --hold-out`.
    #[arg(long, value_name = "E", allow_hyphen_values = true)]
    pub(crate) max_error: Option<f64>,
    /// Samples that are chosen on, the last of the training set [default: 2,000, or those that training was kept from]
    ///
    /// The more there are, the smaller a loss they can show. With noise, where a sample is classified by one path, 2,000 leave
    /// several tenths of a point open.
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) samples: Option<NonZeroUsize>,
    /// Train N more steps with the chosen solver, of equal steps then, and without regularizer
    ///
    /// The network adapts to its solver: it is a residual network of as many blocks as there are steps, and the solution
    /// of its equation may move away from what it computes. The accuracy under the training's solver is printed too.
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) finetune: Option<NonZeroUsize>,
    /// The file that the solver is written into [default: the checkpoint itself; with --finetune its name with `-deployed`]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Replace that file, and the page beside it, if they are there
    #[arg(long)]
    pub(crate) overwrite: bool,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
    /// Print the result as JSON, and nothing else, to stdout
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use super::times;

    #[test]
    fn times_are_a_row_or_a_list() {
        let found = |text| times(text).expect("times").to_vec();
        assert_eq!(found("1921:1930:10"), (1921..=1930).map(f64::from).collect::<Vec<_>>());
        assert_eq!(found("0:0.3:4")[3], 0.3, "the end itself");
        assert_eq!((found("-1.5"), found("1, 2,5e0")), (vec![-1.5], vec![1.0, 2.0, 5.0]));
        for wrong in ["", "1:2", "1:2:1", "1:2:3:4", "1:2:x", "1,x", "NaN", "inf:2:3", "0:1:1000001", "1,,2"] {
            assert!(times(wrong).is_err(), "{wrong:?}");
        }
    }
}
