//! What `bench` and `train` take.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use fewsteps::{Measure, Method, PenaltyGradient, PenaltyNoise, PenaltyStep};

use super::own::OwnArgs;
use super::solver::SolverArgs;
use crate::choice::{GRADIENTS, MEASURES, NOISES, PENALTY_STEPS, base_method, named, positive};
use crate::method::{Methods, Training};
use crate::model_file::ModelFile;
use crate::task::TaskName;
use crate::validation::{Keep, share};

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Training methods to compare, separated by commas; ratios are to the baseline, or to vanilla where there is none
    ///
    /// Regularizers add up: steer+global-error, local-unbiased+taynode-2. --coefficient is the weight of each then.
    #[arg(long, value_parser = Methods, value_delimiter = ',', value_name = "METHOD,...", conflicts_with = "config")]
    #[arg(default_values_t = [Training::Baseline, Training::Vanilla, Training::LocalUnbiased, Training::LocalBiased])]
    pub(crate) methods: Vec<Training>,
    /// How many seeds: 0, 1, ..., N - 1 [default: the task's]
    #[arg(long, value_name = "N", value_parser = seeds, conflicts_with = "config")]
    pub(crate) seeds: Option<NonZeroUsize>,
    /// Learn a correction of few equal steps for each trained model, and tell what it predicts with them [NAME: euler,
    /// midpoint or heun, which it is unless told]
    ///
    /// A hypersolver is no way to train but a way to deploy, as `fewsteps hypersolve` has it: each method gets one more row,
    /// with the fewest of 1 to 8 corrected steps that predict as well on training samples, and evaluations of the field and
    /// of the correction. For tasks without noise whose loss is of the end. With --resume finished runs get the row too.
    #[arg(long, value_name = "NAME", value_parser = base_method, num_args = 0..=1, default_missing_value = "heun")]
    pub(crate) hypersolver: Option<Method>,
    /// What is good enough in the rankings: per cent of accuracy, or a loss [default: the best of the methods, less 0.2 points,
    /// 5 per cent or 0.02 nats, or what chance hides]
    ///
    /// Methods are ranked by the evaluations of a prediction where they are good enough, by the seconds of training until the
    /// first evaluation that is (see --eval-every), and by the memory that training holds.
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    pub(crate) reach: Option<f64>,
    #[command(flatten)]
    pub(crate) training: TrainingArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    /// The training method, or several with a + between [default: local-unbiased]
    #[arg(long, value_parser = Methods, value_name = "METHOD", conflicts_with = "config")]
    pub(crate) regularization: Option<Training>,
    /// Fixes the initial weights, the order of the samples and the regularization times
    #[arg(long, default_value_t = 0, conflicts_with = "config")]
    pub(crate) seed: u64,
    /// Begin with the weights of this checkpoint, and with a new optimizer, instead of random ones
    #[arg(long, value_name = "CHECKPOINT")]
    pub(crate) from: Option<PathBuf>,
    /// Print the model, its solver and its training as a file for --model, and train nothing
    #[arg(long)]
    pub(crate) print_model: bool,
    #[command(flatten)]
    pub(crate) training: TrainingArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ProfileArgs {
    /// The training method, or several with a + between [default: local-unbiased]
    #[arg(long, value_parser = Methods, value_name = "METHOD")]
    pub(crate) regularization: Option<Training>,
    /// Fixes the initial weights, the order of the samples and the regularization times
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Training steps that are timed, after ten that are not
    #[arg(long, default_value = "50", value_name = "N", value_parser = positive)]
    pub(crate) calls: NonZeroUsize,
    #[command(flatten)]
    pub(crate) training: TrainingArgs,
}

/// What a repeated run has settled, so that no option may say it otherwise.
const SETTLED: [&str; 44] = [
    "task",
    "label",
    "targets",
    "density",
    "inputs",
    "time",
    "states",
    "id",
    "split",
    "split_seed",
    "horizon",
    "window",
    "log",
    "segments",
    "continuity",
    "read",
    "raw",
    "model",
    "steps",
    "batch",
    "lr",
    "hold_out",
    "validate",
    "patience",
    "keep",
    "curriculum",
    "eval_every",
    "tol",
    "method",
    "controller",
    "first_step",
    "layout",
    "adjoint",
    "precision",
    "measure",
    "penalty_step",
    "noise",
    "gradient",
    "coefficient",
    "coefficient_to",
    "target_nfe",
    "times",
    "fraction",
    "quadrature",
];

/// What `bench` and `train` share.
#[derive(Debug, Args)]
pub(crate) struct TrainingArgs {
    /// A file of the model, its solver and its training; `fewsteps train --print-model` prints a whole one
    ///
    /// TOML with the sections field, encoder, head, solver, optimizer and regularizer, whose keys are the options'. What
    /// the file leaves out is the task's, and options of the command line come before it.
    #[arg(long, value_name = "FILE")]
    pub(crate) model: Option<PathBuf>,
    /// Repeat runs from their file: a benchmark's results.json, or a run's runs/NAME.json
    ///
    /// Settings and seeds are those of the file, and numbers come again to the bit on the same machine. --data says where
    /// the data are, if elsewhere than then; where they have changed, it is said how.
    #[arg(long, value_name = "FILE", conflicts_with_all = SETTLED)]
    pub(crate) config: Option<PathBuf>,
    /// What the file of the model says.
    #[arg(skip)]
    pub(crate) file: Option<ModelFile>,
    /// Training steps, each on one batch [default: the task's]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) steps: Option<NonZeroUsize>,
    /// Samples in a batch; of spiral-sde, paths [default: the task's]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) batch: Option<NonZeroUsize>,
    /// Learning rate [default: the task's]
    #[arg(long, value_name = "X")]
    pub(crate) lr: Option<f64>,
    /// Keep the last N samples of the training set out of training, for `deploy` to choose a solver on
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) hold_out: Option<NonZeroUsize>,
    /// Evaluate on the test set every N steps, and at the end [default: a tenth of the steps]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) eval_every: Option<NonZeroUsize>,
    /// Hold this share of the training set out of training, and keep the weights whose loss on it is the smallest
    ///
    /// It is validated on every --eval-every steps; the test set has no part in the choice. Held out are the last samples, which
    /// `deploy` chooses a solver on then, as with --hold-out.
    #[arg(long, value_name = "SHARE", value_parser = share, conflicts_with = "hold_out")]
    pub(crate) validate: Option<f64>,
    /// End training after N validations in a row that are no better than the best
    #[arg(long, value_name = "N", value_parser = positive, requires = "validate")]
    pub(crate) patience: Option<NonZeroUsize>,
    /// The weights that the run ends with [default: best]
    #[arg(long, value_enum, requires = "validate")]
    pub(crate) keep: Option<Keep>,
    /// Train on an eighth of the saved times to begin with, then on more of them in eight stages, and on all after STEPS steps
    ///
    /// For tasks whose loss is of several times: spiral, spiral-sde, physionet, series. The loss of a long trajectory is flat
    /// where a model is far from the data, that of its beginning is not. Evaluations are of all times, and what an encoder
    /// reads stays whole.
    #[arg(long, value_name = "STEPS", value_parser = positive)]
    pub(crate) curriculum: Option<NonZeroUsize>,
    // Its headings hold for all that follows.
    #[command(flatten)]
    pub(crate) data: DataArgs,
    #[command(flatten, next_help_heading = "Solver")]
    pub(crate) solver: SolverArgs,
    #[command(flatten, next_help_heading = "Regularizer of the local-* and global-* methods")]
    pub(crate) regularizer: RegularizerArgs,
    #[command(flatten, next_help_heading = "Output")]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DataArgs {
    /// What is learnt
    ///
    /// Tasks whose names end in -sde have noise: NFE counts evaluations of the drift, and those of the diffusion are
    /// counted beside.
    #[arg(long, value_enum, default_value_t = TaskName::Digits)]
    pub(crate) task: TaskName,
    /// The data: the folder of the IDX files for mnist, fashion and mnist-sde, of a CSV file of moments for spiral-sde, of two .ts
    /// files for japanese-vowels, of two archives for physionet,
    /// of a CSV file for lynx-hare; for csv and series a file
    ///
    /// Of csv and series a table with a line of column names, its cells apart by commas, semicolons or tabs.
    /// Files may be gzipped or not. Where a folder holds several sets of IDX files, the folder and what the names of
    /// one begin with: emnist/emnist-letters. The number of classes is that of the labels.
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<PathBuf>,
    #[command(flatten, next_help_heading = "Data of your own (--task csv, --task series)")]
    pub(crate) own: OwnArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RegularizerArgs {
    /// What is measured of the penalised step [default: step-count]
    #[arg(long, value_parser = named(&MEASURES))]
    pub(crate) measure: Option<Measure>,
    /// Size of the penalised step [default: ideal; of other measures than step-count, taken]
    #[arg(long, value_parser = named(&PENALTY_STEPS))]
    pub(crate) penalty_step: Option<PenaltyStep>,
    /// Noise of the penalised step, in tasks with noise [default: fresh]
    #[arg(long, value_parser = named(&NOISES))]
    pub(crate) noise: Option<PenaltyNoise>,
    /// What the penalty is differentiated through [default: step; full of physionet]
    #[arg(long, value_parser = named(&GRADIENTS))]
    pub(crate) gradient: Option<PenaltyGradient>,
    /// Weight of the penalty in the loss [default: the task's]
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    pub(crate) coefficient: Option<f64>,
    /// Weight at the end of training, which is approached by equal factors
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    pub(crate) coefficient_to: Option<f64>,
    /// A target for NFE in training, which the weight then follows; --coefficient is the one that it begins with
    ///
    /// As a mean over steps. Of several penalties all weights follow, and keep their ratio. Where training cannot reach it,
    /// the weight goes back to where it last helped, and the run says so.
    #[arg(long, value_name = "N", conflicts_with = "coefficient_to", allow_hyphen_values = true)]
    pub(crate) target_nfe: Option<f64>,
    /// Penalised steps per batch [default: 1]
    #[arg(long, value_name = "K")]
    pub(crate) times: Option<usize>,
    /// Share of the batch on which the penalised step is taken [default: 0.125]
    #[arg(long, value_name = "F", allow_hyphen_values = true)]
    pub(crate) fraction: Option<f64>,
    /// taynode-*, rnode, straightness: measure every stage of all accepted steps, as published, instead of a random time
    #[arg(long)]
    pub(crate) quadrature: bool,
}

#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// Folder of the report, the results, the finished runs and the checkpoints [default: fewsteps-out]
    ///
    /// A folder that holds such a run already is refused, with the ways to go on. Where none is named, the first is
    /// taken of fewsteps-out, fewsteps-out-2, fewsteps-out-3, ... that does not; --resume and --overwrite take the last
    /// that does.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Print the results as JSON, and nothing else, to stdout
    #[arg(long)]
    pub(crate) json: bool,
    /// Go on with unfinished runs from their checkpoints, and keep finished ones
    ///
    /// Options and data must be those that the runs were made with; --out, --eval-every, --checkpoint-every, --device,
    /// --threads and the output may change. More --steps than before go on from the last one, except where a
    /// coefficient falls over the steps: --coefficient-to, and the published-* methods on tasks without noise. Results
    /// of other methods or seeds are not replaced.
    #[arg(long)]
    pub(crate) resume: bool,
    /// Make runs anew that are there already; the old ones stay until the new ones are whole
    ///
    /// With --resume only those that cannot be gone on with.
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Write a checkpoint every so many seconds; 0 means after every step
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    pub(crate) checkpoint_every: u64,
}

/// Seeds, of which nobody waits for more than some.
pub(super) fn seeds(text: &str) -> Result<NonZeroUsize, String> {
    let most = 10_000;
    positive(text).ok().filter(|n| n.get() <= most).ok_or_else(|| format!("give at least 1 and at most {most}"))
}
