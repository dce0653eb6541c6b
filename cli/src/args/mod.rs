//! The command line.

mod checkpoint;
mod own;
mod search;
mod solver;
mod training;
mod workload;

use clap::{ArgAction, Args, Parser, Subcommand};

pub(crate) use checkpoint::{DeployArgs, EvalArgs, ForecastArgs, HypersolveArgs, PredictArgs};
pub(crate) use own::{OwnArgs, ReadUpTo, Split};
pub(crate) use search::{CheckArgs, SweepArgs, TrialArgs, TuneArgs};
pub(crate) use solver::{EngineArgs, StepArgs};
pub(crate) use training::{BenchArgs, DataArgs, OutputArgs, ProfileArgs, RegularizerArgs, TrainArgs, TrainingArgs};
pub(crate) use workload::{Mode, NOISE_TOLERANCE, PenaltyKind, Stepping, Workload, WorkloadArgs};

const EXAMPLES: &str = "\
Examples:
  fewsteps                                   compare the methods on the embedded digits, in minutes
  fewsteps bench --seeds 5 --tol 1e-6        the same with more seeds and a tighter tolerance
  fewsteps bench --task mnist --data DIR     the papers' MNIST model; DIR holds the four IDX files
  fewsteps bench --task spiral-sde --data DIR  paths with noise; DIR holds spiral_sde.csv
  fewsteps bench --task japanese-vowels --data DIR  series of unequal length; DIR holds two .ts files
  fewsteps bench --resume                    go on where an interrupted benchmark stopped
  fewsteps train --regularization vanilla    one run, which leaves a checkpoint
  fewsteps eval fewsteps-out/checkpoints/vanilla-seed0.safetensors --tol 1e-4
  fewsteps check --task csv --data FILE.csv --label COLUMN     is local regularization for this task?
  fewsteps sweep --coefficients 0.03,0.1,0.3 what the regularizer's coefficient does, by short trainings
  fewsteps tune --trials 8                   look for the coefficient with the fewest evaluations
  fewsteps deploy fewsteps-out/checkpoints/vanilla-seed0.safetensors
  fewsteps train --task csv --data FILE.csv --label COLUMN     a table of your own: classes, or --targets A,B
  fewsteps train --task series --data FILE.csv --time COLUMN   observed trajectories of your own
  fewsteps predict CHECKPOINT --data NEW.csv
  fewsteps forecast CHECKPOINT --data FILE.csv --times 1921:1930:10 --plot forecast.svg     how series go on
  fewsteps check-field FILE                  a text of equations: operations, costs, and whether gradients are right
  fewsteps train --device gpu                on an adapter; `fewsteps devices` lists them
  fewsteps profile --device gpu              where a training step's time goes, kernel by kernel
  fewsteps completions bash > fewsteps.bash  shell completions

Exit codes:
  0    done
  1    an error; what it is, and what helps, stands on stderr
  2    the command line cannot be understood
  3    trained, but a run has nothing to show: it diverged, or none of its test trajectories can be solved
  130  interrupted; what was reached is kept for --resume";

const TRAIN_EXAMPLES: &str = "\
Data of your own, step by step. flowers.csv begins so:
  length,width,kind
  5.1,3.5,setosa
  7.0,3.2,versicolor

  fewsteps train --task csv --data flowers.csv --label kind         learn kind from the columns of numbers
  fewsteps eval fewsteps-out/checkpoints/local-unbiased-seed0.safetensors           on rows that were kept apart
  fewsteps predict fewsteps-out/checkpoints/local-unbiased-seed0.safetensors --data new.csv
  fewsteps train --task csv --data flowers.csv --label kind --print-model > model.toml
  fewsteps train --task csv --data flowers.csv --label kind --model model.toml      a model of your own, edited

How likely a row is, by a continuous normalizing flow of the columns of numbers:
  fewsteps train --task csv --data flowers.csv --density

Trajectories. pelts.csv begins so, one row a time (and a series, if --id names their column):
  year,lynx,hare
  1900,4.0,30.0
  1901,6.1,47.2

  fewsteps train --task series --data pelts.csv --time year --horizon 1914          learn up to 1914, test on the rest
  fewsteps predict fewsteps-out/checkpoints/local-unbiased-seed0.safetensors --data pelts.csv --at 1921,1922

A run again:
  fewsteps train --config fewsteps-out/runs/local-unbiased-seed0.json";

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
    #[command(after_long_help = TRAIN_EXAMPLES)]
    Train(TrainArgs),
    /// Find out what a regularizer's coefficient does to accuracy and NFE: short trainings at a row of coefficients
    ///
    /// Trains at each coefficient with the same settings and seeds, and once without the regularizer, which all are compared
    /// with. The table marks where NFE begins to fall (to 0.95 of what it is at 0) and where the model gets worse than
    /// --max-drop allows; between the two the coefficient is usable. Short trainings tell where to look, not what a whole
    /// training reaches: add --steps-fraction 1 for that. The page has accuracy and NFE against the coefficient. Goes on with
    /// --resume, also with more coefficients; a point that is there is not made again.
    Sweep(SweepArgs),
    /// Look for the regularizer's coefficient with the fewest evaluations, or the fastest prediction, at the same quality
    ///
    /// Trains without the regularizer, at four coefficients of --range, and then where most is expected by what was found so
    /// far (constrained Bayesian optimization), until --trials are made or nothing worth a trial is expected. Of the
    /// coefficients whose models lose no more than --max-drop it takes the cheapest. A trial whose loss half way is twice that
    /// without the regularizer is given up. Goes on with --resume, also with more trials. Where it is known how many
    /// evaluations there may be, --target-nfe of `train` needs one training instead.
    Tune(TuneArgs),
    /// Find out whether local regularization suits a task: two short trainings, and a look at what came of them
    ///
    /// Looks at whether the loss is of the last time only; how far trajectories and fields are from those without the
    /// regularizer (beyond 5 % do not use the model for system identification); how many evaluations there are to save, and
    /// whether they fall; what that costs; whether the penalty's gradient counts beside the task's (0.001 to 1 of it);
    /// whether gradients agree with differences; and whether solves fail or the tolerance is near the rounding. The verdict,
    /// suitable, with care or not, is that of the worst, with its reasons.
    Check(CheckArgs),
    /// Measure a checkpoint on its test set: accuracy, NFE, time per batch
    Eval(EvalArgs),
    /// Predict from a table with a checkpoint that was trained on one: classes, numbers, or states at times
    ///
    /// The predictions are a table too: the rows of --data with what is predicted of each, in the units of the training's
    /// table. The solver is the deployed one, if `fewsteps deploy` has chosen one.
    Predict(PredictArgs),
    /// Tell how series go on after what was observed, by a checkpoint's model
    ///
    /// Each series begins with the last row that has a number for every state. The table has a row a series and time, in the
    /// units of the data; where the model has noise or draws initial states, quantiles of many draws. The solver is the
    /// training's: one that `deploy` chose has as many steps as the training's interval wants.
    Forecast(ForecastArgs),
    /// Choose the cheapest solver that a checkpoint's model predicts well enough with, and write it into the checkpoint
    ///
    /// A trained model does not need the steps that its training's tolerance asks for. This tries every method with few
    /// equal steps, and adaptive ones with looser tolerances, on samples of the training set: never on the test set, whose
    /// figures are told at the end. It takes the cheapest whose predictions are as good, and writes it into the checkpoint
    /// beside the training's solver: `fewsteps eval` takes it from there, and so do `Trainer::deployed` and
    /// `GpuTrainer::deployed` of the library. A page beside the checkpoint has every solver.
    Deploy(DeployArgs),
    /// Learn a correction of few equal steps for a checkpoint's model, and measure what it is worth
    ///
    /// A small network learns what a step of Euler's, the midpoint or Heun's method leaves out, from training inputs without
    /// their labels; the model stays as it is (hypersolvers; M. Poli and others, 2020). The table has evaluations of the
    /// field f and of the correction g, the multiply-adds of both, accuracy or loss on the test set, and the error against
    /// a converged solve, beside plain methods. It is worth it where no plain method of as many multiply-adds is as near.
    /// --write makes a checkpoint of it, for any device.
    Hypersolve(HypersolveArgs),
    /// Tell what a training step spends its time with: by kernels on a device, by parts on the native engine
    ///
    /// Makes some training steps as `train` would, and leaves nothing of them; physionet keeps what it has read in its cache, as
    /// ever. Options of the output, and --curriculum, do nothing here. On a device a timestamp follows each dispatch, where the
    /// adapter can do that (Metal's and browsers' cannot): the table has the kernels with their dispatches, and says what the
    /// host waits for and reads. On the native engine the parts are solve, loss, the way back, and update.
    Profile(ProfileArgs),
    /// Time one workload of the peer comparison and print its JSON line
    #[command(hide = true)]
    BenchWorkload(WorkloadArgs),
    /// Check a text of equations: list its operations and those of its gradient, what they cost, and whether they agree
    ///
    /// FILE has an equation a line, with the states, parameters and networks that it names:
    ///
    ///   # Lotka and Volterra's equations, and a friction that nobody knows
    ///   state prey, hunters
    ///   positive parameter a = 1.1, b = 0.4
    ///   network friction = mlp(1, 16, 1) tanh
    ///   let meet = prey * hunters
    ///   prey' = a*prey - b*meet
    ///   hunters' = 0.1*meet - 0.4*hunters + friction(hunters)
    ///   prey ~ 0.05*prey        # noise, if there is any
    ///
    /// The exact derivatives are compared with central differences at points with rows between 0.5 and 1.5, or at --state.
    /// Exit code 0 says that they agree. The guide's chapter Fields has the grammar; `Field::parse` and `Problem::parse` read
    /// the same text.
    #[command(verbatim_doc_comment)]
    CheckField(CheckFieldArgs),
    /// List what this machine computes with: the native engine and every adapter, each with a check of its results
    Devices(DevicesArgs),
    /// Print a shell's completion script
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DevicesArgs {
    /// Print the list as JSON, and nothing else, to stdout
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckFieldArgs {
    /// The text of equations
    pub(crate) file: std::path::PathBuf,
    /// The state to compare derivatives at, a number a row, with commas between
    #[arg(long, value_delimiter = ',', allow_hyphen_values = true, value_name = "X,Y,...")]
    pub(crate) state: Option<Vec<f64>>,
    /// The time to compare them at
    #[arg(long, default_value_t = 0.0, allow_hyphen_values = true)]
    pub(crate) time: f64,
    /// Seed of weights, points and directions
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Print all as JSON, and nothing else, to stdout
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

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
    fn a_repeated_run_is_not_said_otherwise() {
        let free = [
            "data",
            "test",
            "out",
            "json",
            "resume",
            "overwrite",
            "checkpoint_every",
            "device",
            "threads",
            "from",
            "hypersolver",
            "reach",
        ];
        let other = ["config", "print_model", "help", "version", "quiet", "verbose"];
        let mut root = Cli::command();
        root.build();
        for name in ["train", "bench"] {
            let command = root.find_subcommand(name).expect(name);
            let config = command.get_arguments().find(|arg| arg.get_id() == "config").expect("--config");
            let of_config: Vec<&str> =
                command.get_arg_conflicts_with(config).iter().map(|arg| arg.get_id().as_str()).collect();
            for arg in command.get_arguments() {
                let id = arg.get_id().as_str();
                let with_arg = command.get_arg_conflicts_with(arg);
                let conflicts = of_config.contains(&id) || with_arg.iter().any(|other| other.get_id() == "config");
                assert_ne!(conflicts, free.contains(&id) || other.contains(&id), "{name} --{id} beside --config");
            }
        }
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
