//! The command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use fewsteps::{
    Controller, InitialStep, Layout, Measure, Method, PenaltyGradient, PenaltyNoise, PenaltyStep, SolverOptions,
    StepControl,
};

use crate::device::DeviceChoice;
use crate::settings::{Precision, Training};
use crate::task::TaskName;
use crate::workload::WorkloadArgs;

const EXAMPLES: &str = "\
Examples:
  fewsteps                                   compare the methods on the embedded digits, in minutes
  fewsteps bench --seeds 5 --tol 1e-6        the same with more seeds and a tighter tolerance
  fewsteps bench --task mnist --data DIR     the papers' MNIST model; DIR holds the four IDX files
  fewsteps bench --task spiral-sde --data DIR  paths with noise; DIR holds spiral_sde.csv
  fewsteps bench --resume                    go on where an interrupted benchmark stopped
  fewsteps train --regularization vanilla    one run, which leaves a checkpoint
  fewsteps eval fewsteps-out/checkpoints/vanilla-seed0.safetensors --tol 1e-4
  fewsteps deploy fewsteps-out/checkpoints/vanilla-seed0.safetensors
  fewsteps train --device gpu                on an adapter; `fewsteps devices` lists them
  fewsteps completions bash > fewsteps.bash  shell completions

Exit codes:
  0    done
  1    an error; what it is, and what helps, stands on stderr
  2    the command line cannot be understood
  3    trained, but a run has nothing to show: it diverged, or none of its test trajectories can be solved
  130  interrupted; what was reached is kept for --resume";

/// Train neural ODEs that need few solver steps, and measure what that costs.
///
/// NFE, the number of function evaluations, says how often the solver evaluates the network during one forward pass. A
/// regularizer that prices the solver's own error estimate at a random time lowers NFE, and with it the time of a
/// prediction. Without a subcommand, `fewsteps` runs `bench` on the embedded digits.
#[derive(Debug, Parser)]
#[command(name = "fewsteps", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// Say nothing but warnings and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    #[arg(
        short,
        long,
        global = true,
        action = ArgAction::Count,
        help = "Say more; -vv and -vvv say more still. Without either, RUST_LOG says how much"
    )]
    pub(crate) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Compare training methods: accuracy, NFE, training and prediction time, over several seeds
    Bench(BenchArgs),
    /// Train one model with one method and one seed, and keep its checkpoint
    Train(TrainArgs),
    /// Measure a checkpoint on its test set: accuracy, NFE, time per batch
    Eval(EvalArgs),
    /// Choose the cheapest solver that a checkpoint's model predicts well enough with, and write it into the checkpoint
    ///
    /// A trained model does not need the steps that its training's tolerance asks for. This tries every method with few
    /// equal steps, and adaptive ones with looser tolerances, on samples of the training set: never on the test set, whose
    /// figures are told at the end. It takes the cheapest whose predictions are as good, and writes it into the checkpoint
    /// beside the training's solver: `fewsteps eval` takes it from there, and so do `Trainer::deployed` and
    /// `GpuTrainer::deployed` of the library. A page beside the checkpoint has every solver.
    Deploy(DeployArgs),
    /// Time one workload of the peer comparison and print its JSON line
    BenchWorkload(WorkloadArgs),
    /// List what this machine computes with: the native engine and every adapter, each with a check of its results
    Devices(DevicesArgs),
    /// Print a shell's completion script
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Training methods to compare, separated by commas; ratios are to the baseline, or to vanilla where there is none
    #[arg(long, value_enum, value_delimiter = ',')]
    #[arg(default_values_t = [Training::Baseline, Training::Vanilla, Training::LocalUnbiased, Training::LocalBiased])]
    pub(crate) methods: Vec<Training>,
    /// How many seeds: 0, 1, ..., N - 1 [default: the task's]
    #[arg(long, value_name = "N", value_parser = seeds)]
    pub(crate) seeds: Option<NonZeroUsize>,
    #[command(flatten)]
    pub(crate) training: TrainingArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    /// The training method
    #[arg(long, value_enum, default_value_t = Training::LocalUnbiased, value_name = "METHOD")]
    pub(crate) regularization: Training,
    /// Fixes the initial weights, the order of the samples and the regularization times
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Begin with the weights of this checkpoint, and with a new optimizer, instead of random ones
    #[arg(long, value_name = "CHECKPOINT")]
    pub(crate) from: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) training: TrainingArgs,
}

/// What `bench` and `train` share.
#[derive(Debug, Args)]
pub(crate) struct TrainingArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
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
    #[command(flatten, next_help_heading = "Solver")]
    pub(crate) solver: SolverArgs,
    #[command(flatten, next_help_heading = "Regularizer of the local-* methods")]
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
    /// The folder of the data: the IDX files for mnist, fashion and mnist-sde, a CSV file of moments for spiral-sde
    ///
    /// Files may be gzipped or not. Where a folder holds several sets of IDX files, the folder and what the names of
    /// one begin with: emnist/emnist-letters. The number of classes is that of the labels.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct SolverArgs {
    /// Absolute and relative tolerance of the solver [default: the task's]
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    pub(crate) tol: Option<f64>,
    /// Runge-Kutta method [default: tsit5; for tasks with noise sosri]
    ///
    /// Without noise heun, bosh3, dopri5 and tsit5. For spiral-sde and mnist-sde sosri and sriw1, which take the noise
    /// in the sense of Itô, heun-stratonovich and reversible-heun, which take it in that of Stratonovich.
    #[arg(long, value_parser = adaptive_method, value_name = "NAME")]
    pub(crate) method: Option<Method>,
    #[command(flatten)]
    pub(crate) steps: StepArgs,
    /// Who shares a step: the batch, or nobody
    #[arg(long, value_enum, default_value_t = LayoutName::Lockstep)]
    pub(crate) layout: LayoutName,
    /// Scalar type; adapters compute at f32
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    pub(crate) precision: Precision,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}

#[derive(Debug, Args)]
pub(crate) struct EngineArgs {
    /// What computes
    ///
    /// auto: the fastest graphics card if there is one and the problem is large enough for it, otherwise cpu;
    /// cpu: the native engine; gpu: any adapter, one in software too; gpu:N: the N-th of `fewsteps devices`; anything
    /// else: the first adapter whose name contains it.
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub(crate) device: DeviceChoice,
    /// Worker threads of the native engine [default: as many as the machine runs at once]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) threads: Option<NonZeroUsize>,
}

#[derive(Debug, Args)]
pub(crate) struct RegularizerArgs {
    /// What is measured of the penalised step [default: step-count]
    #[arg(long, value_enum)]
    pub(crate) measure: Option<MeasureName>,
    /// Size of the penalised step [default: ideal; of other measures than step-count, taken]
    #[arg(long, value_enum)]
    pub(crate) penalty_step: Option<PenaltyStepName>,
    /// Noise of the penalised step, in tasks with noise [default: fresh]
    #[arg(long, value_enum)]
    pub(crate) noise: Option<NoiseName>,
    /// What the penalty is differentiated through [default: step]
    #[arg(long, value_enum)]
    pub(crate) gradient: Option<GradientName>,
    /// Weight of the penalty in the loss [default: the task's]
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    pub(crate) coefficient: Option<f64>,
    /// Weight at the end of training, which is approached by equal factors
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    pub(crate) coefficient_to: Option<f64>,
    /// A target for NFE in training, which the weight then follows; --coefficient is the one that it begins with
    ///
    /// As a mean over steps. Where training cannot reach it, the weight goes back to where it last helped, and the run says
    /// so.
    #[arg(long, value_name = "N", conflicts_with = "coefficient_to", allow_hyphen_values = true)]
    pub(crate) target_nfe: Option<f64>,
    /// Penalised steps per batch [default: 1]
    #[arg(long, value_name = "K")]
    pub(crate) times: Option<usize>,
    /// Share of the batch on which the penalised step is taken [default: 0.125]
    #[arg(long, value_name = "F", allow_hyphen_values = true)]
    pub(crate) fraction: Option<f64>,
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

/// How steps follow from each other.
#[derive(Debug, Args)]
pub(crate) struct StepArgs {
    /// The controller, which makes the next step from the errors of the last ones
    ///
    /// A short solve under the published controller is mostly start-up: six steps of ever greater length from an automatic
    /// first one, whatever the dynamics. The others have a blank memory at first, may grow the first step by orders of
    /// magnitude, and take the rest in one step where the error allows it. They keep the same tolerance with fewer steps,
    /// and come nearer to it: compare NFE under one controller only. [default: i]
    #[arg(long, value_enum, value_name = "NAME")]
    pub(crate) controller: Option<ControllerName>,
    /// The first step: automatic, carried, or its length [default: carried; under the published controller automatic]
    ///
    /// automatic: from tolerance and slope, after Hairer, Norsett and Wanner. carried: as long as earlier solves would have
    /// wished for, a running mean that training keeps in its checkpoint and evaluations begin with. A step that is too long
    /// costs a rejected attempt.
    #[arg(long, value_name = "STEP", value_parser = first_step, allow_hyphen_values = true)]
    pub(crate) first_step: Option<InitialStep>,
}

impl StepArgs {
    /// Those of the published solver.
    pub(crate) const fn published() -> Self {
        Self { controller: Some(ControllerName::Published), first_step: None }
    }

    /// Sets what was asked for.
    pub(crate) fn apply(&self, options: &mut SolverOptions) {
        let StepControl::Adaptive { controller, initial_step, .. } = &mut options.step_control else { return };
        if let Some(name) = self.controller {
            *controller = name.of(options.method);
            if name == ControllerName::Published {
                *initial_step = InitialStep::Automatic;
            }
        }
        *initial_step = self.first_step.unwrap_or(*initial_step);
    }
}

/// A step-size controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ControllerName {
    /// Proportional-integral, with what the papers' figures were made with; growth by an eighth with noise
    Published,
    /// Proportional-integral: smooth sequences of steps
    Pi,
    /// The last error alone: the fewest steps
    I,
    /// Soderlind's H211b filter, in between
    H211b,
}

impl ControllerName {
    pub(crate) const ALL: [Self; 4] = [Self::Published, Self::Pi, Self::I, Self::H211b];

    /// The name, as the command line spells it.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Pi => "pi",
            Self::I => "i",
            Self::H211b => "h211b",
        }
    }

    /// The controller of that name for a method.
    pub(crate) fn of(self, method: Method) -> Controller {
        match self {
            Self::Published if method.tableau().noise.is_some() => Controller::SDE,
            Self::Published => Controller::PI,
            Self::Pi => Controller::PI.prompt(),
            Self::I => Controller::I.prompt(),
            Self::H211b => Controller::H211B.prompt(),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct EvalArgs {
    /// A checkpoint that `bench` or `train` wrote
    pub(crate) checkpoint: PathBuf,
    /// The task, if another than the checkpoint was trained on
    #[arg(long, value_enum)]
    pub(crate) task: Option<TaskName>,
    /// The folder of the data, for the tasks that are read from files
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
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
pub(crate) struct DeployArgs {
    /// A checkpoint that `bench` or `train` wrote
    pub(crate) checkpoint: PathBuf,
    /// The folder of the data, for the tasks that are read from files
    #[arg(long, value_name = "DIR")]
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
    /// Replace that file if it is there
    #[arg(long)]
    pub(crate) overwrite: bool,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
    /// Print the result as JSON, and nothing else, to stdout
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DevicesArgs {
    /// Print the list as JSON, and nothing else, to stdout
    #[arg(long)]
    pub(crate) json: bool,
}

/// How a solve begins.
fn first_step(text: &str) -> Result<InitialStep, String> {
    match text {
        "automatic" => Ok(InitialStep::Automatic),
        "carried" => Ok(InitialStep::Carried),
        length => length.parse().map(InitialStep::Length).map_err(|_| "say automatic, carried, or a length".to_owned()),
    }
}

/// A count of which there is at least one.
fn positive(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "give a whole number of at least 1".to_owned())
}

/// Seeds, of which nobody waits for more than some.
fn seeds(text: &str) -> Result<NonZeroUsize, String> {
    let most = 10_000;
    positive(text).ok().filter(|n| n.get() <= most).ok_or_else(|| format!("give at least 1 and at most {most}"))
}

/// Every method.
fn any_method(name: &str) -> Result<Method, String> {
    Method::all().find(|m| m.tableau().name == name).ok_or_else(|| {
        let names: Vec<&str> = Method::all().map(|m| m.tableau().name).collect();
        format!("choose one of {}", names.join(", "))
    })
}

/// The methods that estimate their error: the others cannot keep a tolerance.
fn adaptive_method(name: &str) -> Result<Method, String> {
    let adaptive = || Method::all().filter(|m| m.tableau().b_error.is_some());
    adaptive().find(|m| m.tableau().name == name).ok_or_else(|| {
        let names: Vec<&str> = adaptive().map(|m| m.tableau().name).collect();
        format!("choose one with an error estimate: {}", names.join(", "))
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LayoutName {
    /// One step size for the whole batch, as in the papers
    Lockstep,
    /// A step size for each trajectory
    Ensemble,
}

impl From<LayoutName> for Layout {
    fn from(name: LayoutName) -> Self {
        match name {
            LayoutName::Lockstep => Self::Lockstep,
            LayoutName::Ensemble => Self::Ensemble,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MeasureName {
    /// The scaled error times the step size, as published
    Error,
    /// An estimate of the stiffness; published as of no help locally
    Stiffness,
    /// The number of steps an ideal controller would need
    StepCount,
}

impl From<MeasureName> for Measure {
    fn from(name: MeasureName) -> Self {
        match name {
            MeasureName::Error => Self::Error,
            MeasureName::Stiffness => Self::Stiffness,
            MeasureName::StepCount => Self::StepCount,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PenaltyStepName {
    /// The automatic initial step at that state, as published
    FreshInitial,
    /// The step the solver took there
    Taken,
    /// Seven tenths of an ideal controller's, from a running mean of what penalised steps measured
    Ideal,
}

impl From<PenaltyStepName> for PenaltyStep {
    fn from(name: PenaltyStepName) -> Self {
        match name {
            PenaltyStepName::FreshInitial => Self::FreshInitial,
            PenaltyStepName::Taken => Self::Taken,
            PenaltyStepName::Ideal => Self::Ideal,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum NoiseName {
    /// Increments of its own, as published
    Fresh,
    /// Those of the path that the solve follows
    Path,
}

impl From<NoiseName> for PenaltyNoise {
    fn from(name: NoiseName) -> Self {
        match name {
            NoiseName::Fresh => Self::Fresh,
            NoiseName::Path => Self::Path,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GradientName {
    /// The stages after the first, as published
    Published,
    /// Every stage of the penalised step
    Step,
    /// Every stage, and the state through the adjoint
    Full,
}

impl From<GradientName> for PenaltyGradient {
    fn from(name: GradientName) -> Self {
        match name {
            GradientName::Published => Self::Published,
            GradientName::Step => Self::Step,
            GradientName::Full => Self::Full,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The command lines of a Markdown text: lines of shell blocks, and code within a sentence.
    fn commands(text: &str) -> Vec<String> {
        let code = text.split('`').skip(1).step_by(2);
        let lines = code.flat_map(|code| match code.strip_prefix("sh\n") {
            Some(block) => block.lines().map(str::to_owned).collect(),
            // Two words name a subcommand.
            None if code.split_whitespace().count() < 3 => Vec::new(),
            None => vec![code.split_whitespace().collect::<Vec<_>>().join(" ")],
        });
        let plain = |line: String| line.split(['#', '>']).next().unwrap_or_default().trim().to_owned();
        lines.map(plain).filter(|line| line == "fewsteps" || line.starts_with("fewsteps ")).collect()
    }

    /// A word of a command line, or what stands for it.
    fn word(word: &str) -> &str {
        match word {
            "METHOD" => "vanilla",
            "C" => "0.5",
            word => word,
        }
    }

    fn understood(line: &str, place: &str) {
        if let Err(error) = Cli::try_parse_from(line.split_whitespace().map(word)) {
            assert!(!error.use_stderr(), "{place}: {line}\n{error}");
        }
    }

    /// The number of commands that a text prints, each of which is understood.
    fn understood_commands(file: &std::path::Path) -> usize {
        let text = std::fs::read_to_string(file).expect("a text");
        let commands = commands(&text);
        commands.iter().for_each(|line| understood(line, &file.display().to_string()));
        commands.len()
    }

    #[test]
    fn printed_commands_are_commands() {
        let crate_root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        // A package has its README beside the manifest, and nothing of the guide and the benches.
        let own = crate_root.join("README.md");
        if own.exists() {
            assert!(understood_commands(&own) >= 10, "the README has commands");
            return;
        }
        let root = crate_root.join("..");
        let chapters = std::fs::read_dir(root.join("docs")).expect("the guide is there");
        let guide: usize = chapters.map(|chapter| understood_commands(&chapter.expect("a chapter").path())).sum();
        let [readme, benches] = ["README.md", "benches/README.md"].map(|name| understood_commands(&root.join(name)));
        assert!(readme >= 10 && benches >= 4 && guide >= 20, "{readme}, {benches} and {guide} commands");
    }
}
