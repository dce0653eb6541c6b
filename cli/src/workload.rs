//! `fewsteps bench-workload`: the workloads of the peer comparison, on weights and inputs dumped by `benches/peers`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use fewsteps::{
    Batch, Controller, Cpu, InitialStep, InputMap, Layout, Local, Loss, Method, Mlp, NeuralOde, OdeProblem, Optimizer,
    Regularizer, SaveAt, SolverOptions, StepControl, Target, TimeInput, Tolerances, Trainer, TrainerConfig,
};
use serde::Serialize;

/// A workload of the peer comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "verbatim")]
pub(crate) enum Workload {
    /// y' = MLP(y^3), 2-50-2 tanh, 128 trajectories, 10 save points, tolerance 1e-6, MAE
    W1,
    /// 784-100-784 with time, classifier, batch 512, tolerance 1.4e-8, cross-entropy
    W2a,
    /// as W2a, tolerance 1e-4
    W2b,
    /// W1's field, 100,000 trajectories, a step per trajectory, tolerance 1e-5
    W5,
}

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// The solve and the loss
    Forward,
    /// A training step: solve, loss, gradient, update
    Train,
}

/// Arguments of `fewsteps bench-workload`.
#[derive(Args, Debug)]
pub(crate) struct WorkloadArgs {
    /// Which workload
    workload: Workload,
    /// What is timed
    #[arg(long, value_enum, default_value = "forward")]
    mode: Mode,
    /// Directory with the dumped weights and inputs (manifest.json beside *.bin)
    #[arg(long, value_name = "DIR")]
    dump: PathBuf,
    /// Threads
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
    /// Time for at least this long
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS")]
    min_seconds: f64,
    /// Time at least this many calls
    #[arg(long, default_value_t = 5)]
    steps: usize,
    /// Runge-Kutta method
    #[arg(long, default_value = "tsit5", value_parser = ["heun", "bosh3", "dopri5", "tsit5"])]
    method: String,
    /// Add local regularization to training
    #[arg(long, value_enum)]
    reg: Option<Reg>,
    /// Learning rate; tiny, so that every timed step solves the same problem
    #[arg(long, default_value_t = 1e-6)]
    lr: f64,
    /// Print one JSON line (the default and only form; accepted for uniformity)
    #[arg(long)]
    json: bool,
}

/// Local regularization as timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Reg {
    /// The library's default at a uniform time
    Unbiased,
    /// The library's default at the start of a taken step
    Biased,
    /// The paper's code, on the whole batch
    Published,
}

/// One JSON line, with the peers' field names.
#[derive(Serialize)]
struct Line {
    peer: &'static str,
    version: &'static str,
    workload: String,
    mode: String,
    method: String,
    threads: usize,
    instruction_set: &'static str,
    steps: usize,
    ms_median: f64,
    ms_min: f64,
    ms_max: f64,
    first_call_ms: f64,
    nfe: usize,
    accepted: usize,
    rejected: usize,
    value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    grad_norm: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    penalty: Option<f64>,
    engine_bytes: usize,
    workspace_bytes: usize,
    peak_memory: Option<u64>,
}

/// Arrays of a dump.
struct Dump<'a>(&'a Path);

impl Dump<'_> {
    fn bytes(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.0.join(format!("{name}.bin"));
        let remedy = "dump the peers' problems first: python common.py --dump DIR";
        std::fs::read(&path).with_context(|| format!("{}: {remedy}", path.display()))
    }

    fn floats(&self, name: &str) -> Result<Vec<f32>> {
        let bytes = self.bytes(name)?;
        if !bytes.len().is_multiple_of(4) {
            bail!("{name}.bin: {} bytes are no whole number of f32: dump it again", bytes.len());
        }
        Ok(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
    }

    fn labels(&self, name: &str) -> Result<Vec<u32>> {
        Ok(self.bytes(name)?.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect())
    }

    /// The parameter blocks in our order: per layer its weights `(in, out)`, its time row if any, its bias.
    fn parameters(&self, names: &[&str]) -> Result<Vec<f32>> {
        names.iter().map(|name| self.floats(name)).collect::<Result<Vec<_>>>().map(|arrays| arrays.concat())
    }
}

/// A workload ready to run.
struct Prepared {
    config: TrainerConfig,
    theta: Vec<f32>,
    inputs: Vec<f32>,
    target: Answer,
}

enum Answer {
    Labels(Vec<u32>),
    States(Vec<f32>),
}

fn prepare(args: &WorkloadArgs) -> Result<Prepared> {
    let dump = Dump(&args.dump);
    let method = Method::ALL.into_iter().find(|m| m.tableau().name == args.method).unwrap_or_default();
    // The peers run the elementary controller; so do we here.
    let options = |tolerance: f64| {
        SolverOptions::default().method(method).step_control(StepControl::Adaptive {
            tolerances: Tolerances::both(tolerance),
            controller: Controller::I,
            initial_step: InitialStep::Automatic,
        })
    };
    let spiral = || Mlp::new([2, 50, 2]).input_map(InputMap::Cube);
    let (model, loss, theta, inputs, target) = match args.workload {
        Workload::W1 => {
            let ts: Vec<f64> = dump.floats("W1_data_ts")?.into_iter().map(f64::from).collect();
            let options = options(1e-6).save_at(SaveAt::Times(ts));
            let model = NeuralOde::new(OdeProblem::new(spiral(), 0.0, 1.5), options);
            let theta = dump.parameters(&["W1_params_w1", "W1_params_b1", "W1_params_w2", "W1_params_b2"])?;
            (model, Loss::Mae, theta, dump.floats("W1_data_y0")?, Answer::States(dump.floats("W1_data_target")?))
        }
        Workload::W2a | Workload::W2b => {
            let tolerance = if args.workload == Workload::W2a { 1.4e-8 } else { 1e-4 };
            let field = Mlp::new([784, 100, 784]).time_input(TimeInput::Every);
            let model = NeuralOde::new(OdeProblem::new(field, 0.0, 1.0), options(tolerance)).head(10);
            let names = ["w1", "u1", "b1", "w2", "u2", "b2", "wc", "bc"].map(|n| format!("W2_params_{n}"));
            let theta = dump.parameters(&names.each_ref().map(String::as_str))?;
            let labels = Answer::Labels(dump.labels("W2_data_label")?);
            (model, Loss::CrossEntropy, theta, dump.floats("W2_data_x")?, labels)
        }
        Workload::W5 => {
            let options = options(1e-5).layout(Layout::Ensemble);
            let model = NeuralOde::new(OdeProblem::new(spiral(), 0.0, 1.5), options);
            let theta = dump.parameters(&["W5_params_w1", "W5_params_b1", "W5_params_w2", "W5_params_b2"])?;
            let y0 = dump.floats("W5_data_y0")?;
            // The peers report the mean of |y(t1)|: the MAE against zero.
            let zeros = Answer::States(vec![0.0; y0.len()]);
            (model, Loss::Mae, theta, y0, zeros)
        }
    };
    let regularizer = match args.reg {
        None => Regularizer::None,
        Some(Reg::Unbiased) => Local::unbiased().into(),
        Some(Reg::Biased) => Local::biased().into(),
        Some(Reg::Published) => Local::published_unbiased().into(),
    };
    let optimizer = if args.workload == Workload::W1 { Optimizer::rmsprop(args.lr) } else { Optimizer::adam(args.lr) };
    let config = TrainerConfig::new(model, loss).optimizer(optimizer).regularizer(regularizer);
    Ok(Prepared { config, theta, inputs, target })
}

/// What one call found.
#[derive(Clone, Copy, Default)]
struct Call {
    value: f64,
    grad_norm: Option<f64>,
    penalty: Option<f64>,
    nfe: usize,
    accepted: usize,
    rejected: usize,
}

/// Runs the workload and prints its JSON line.
pub(crate) fn run(args: &WorkloadArgs) -> Result<()> {
    let prepared = prepare(args)?;
    let cpu = Cpu::with_threads(usize::from(args.threads))?;
    let mut trainer = Trainer::<f32>::new(&cpu, prepared.config)?;
    trainer.set_parameters(&prepared.theta)?;
    let target = match &prepared.target {
        Answer::Labels(labels) => Target::Labels(labels),
        Answer::States(states) => Target::States(states),
    };
    let batch = Batch { inputs: &prepared.inputs, target };
    let mut call = || -> Result<Call> {
        Ok(match args.mode {
            Mode::Forward => {
                let e = trainer.evaluate(&batch)?;
                Call { value: e.loss, nfe: e.nfe, accepted: e.accepted, rejected: e.rejected, ..Call::default() }
            }
            Mode::Train => {
                let r = trainer.step(&batch)?;
                Call {
                    value: r.loss,
                    grad_norm: Some(r.gradient_norm),
                    penalty: args.reg.map(|_| r.penalty),
                    nfe: r.nfe,
                    accepted: r.accepted,
                    rejected: r.rejected,
                }
            }
        })
    };
    let begun = Instant::now();
    let first = call()?;
    let first_call_ms = 1e3 * begun.elapsed().as_secs_f64();
    call()?;
    let mut ms = Vec::new();
    let begun = Instant::now();
    while ms.len() < args.steps || begun.elapsed().as_secs_f64() < args.min_seconds {
        let t = Instant::now();
        call()?;
        ms.push(1e3 * t.elapsed().as_secs_f64());
    }
    ms.sort_by(f64::total_cmp);
    let width = trainer.config().model.input_width();
    let line = Line {
        peer: "fewsteps",
        version: env!("CARGO_PKG_VERSION"),
        workload: format!("{:?}", args.workload),
        mode: format!("{:?}", args.mode).to_lowercase(),
        method: format!("{}/{}", args.method, if args.workload == Workload::W5 { "per-trajectory" } else { "joint" })
            + &args.reg.map(|reg| format!("/reg={reg:?}").to_lowercase()).unwrap_or_default(),
        threads: cpu.threads(),
        instruction_set: fewsteps::cpu::instruction_set(),
        steps: ms.len(),
        ms_median: ms[ms.len() / 2],
        ms_min: ms[0],
        ms_max: ms[ms.len() - 1],
        first_call_ms,
        nfe: first.nfe,
        accepted: first.accepted,
        rejected: first.rejected,
        value: first.value,
        grad_norm: first.grad_norm,
        penalty: first.penalty,
        engine_bytes: trainer.bytes(),
        workspace_bytes: trainer.workspace(prepared.inputs.len() / width, first.accepted).total(),
        peak_memory: crate::machine::peak_memory(),
    };
    crate::output::print(&format!("{}\n", serde_json::to_string(&line)?))
}
