//! `fewsteps bench-workload`: the workloads of the peer comparison, on weights and inputs dumped by `benches/peers`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use fewsteps::{
    Batch, Calculus, Controller, Device, Diffusion, Evaluation, Gpu, InitialStep, InputMap, Layout, Local, Loss,
    Method, Mlp, NeuralDe, Optimizer, Paths, Problem, Regularizer, SaveAt, SolverOptions, StepControl, StepReport,
    Target, TimeInput, Tolerances, Trainer, TrainerConfig,
};
use serde::Serialize;

use crate::device::DeviceChoice;
use crate::files;
use crate::learner::{Learner, OnDevice};
use crate::settings::Precision;

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
    /// W1's field as drift, diagonal noise 2-2, 100 paths, 30 save points, dt 0.01 or tolerance 1e-2, moments
    W3,
    /// 784-32, drift 32-64-32, diagonal noise 32-32, classifier, batch 512, dt 0.05 or tolerance 1e-2, cross-entropy
    W4,
    /// W1's field, 100,000 trajectories, a step per trajectory, tolerance 1e-5
    W5,
}

impl Workload {
    /// The fixed step, or the first adaptive one, of a workload with noise.
    const fn dt(self) -> Option<f64> {
        match self {
            Self::W3 => Some(0.01),
            Self::W4 => Some(0.05),
            _ => None,
        }
    }
}

/// How steps are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Stepping {
    /// As many equal steps
    Fixed,
    /// Within tolerance 1e-2
    Adaptive,
}

/// Tolerance of the workloads with noise, where steps are adaptive.
const NOISE_TOLERANCE: f64 = 1e-2;

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// The solve and the loss
    Forward,
    /// A training step: solve, loss, gradient, update
    Train,
}

const METHODS: [&str; 8] =
    ["heun", "bosh3", "dopri5", "tsit5", "sosri", "sriw1", "heun-stratonovich", "reversible-heun"];

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
    /// What computes: auto, cpu, gpu, gpu:N or part of an adapter's name; see `fewsteps help bench`
    #[arg(long, default_value = "cpu", value_name = "DEVICE")]
    device: DeviceChoice,
    /// Threads of the native engine
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
    /// Time for at least this long
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS")]
    min_seconds: f64,
    /// Time at least this many calls
    #[arg(long, default_value_t = 5)]
    steps: usize,
    /// Runge-Kutta method [default: tsit5; for W3 and W4 heun-stratonovich, as in the peers]
    #[arg(long, value_parser = METHODS)]
    method: Option<String>,
    /// Steps of W3 and W4; the others are adaptive
    #[arg(long, value_enum, default_value = "fixed")]
    stepping: Stepping,
    /// Add local regularization to training
    #[arg(long, value_enum)]
    reg: Option<Reg>,
    /// Time every kernel of the device instead, with a timestamp after each dispatch, and print the mean of a call
    #[arg(long)]
    profile: bool,
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
    device: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    adapter: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    driver: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backend: Option<String>,
    threads: usize,
    instruction_set: &'static str,
    steps: usize,
    ms_median: f64,
    ms_min: f64,
    ms_max: f64,
    first_call_ms: f64,
    nfe: usize,
    /// Evaluations of the diffusion, where there is noise.
    #[serde(skip_serializing_if = "Option::is_none")]
    nge: Option<usize>,
    accepted: usize,
    rejected: usize,
    value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    grad_norm: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    penalty: Option<f64>,
    /// Dispatches of a training step on a device.
    #[serde(skip_serializing_if = "Option::is_none")]
    dispatches: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_per_step: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_per_step: Option<f64>,
    engine_bytes: u64,
    workspace_bytes: u64,
    peak_memory: Option<u64>,
}

/// Arrays of a dump.
struct Dump<'a>(&'a Path);

impl Dump<'_> {
    fn bytes(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.0.join(format!("{name}.bin"));
        files::read(&path).context("dump the peers' problems first: python common.py --dump DIR")
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
    Moments { means: Vec<f32>, variances: Vec<f32> },
}

fn prepare(args: &WorkloadArgs) -> Result<Prepared> {
    let dump = Dump(&args.dump);
    let method = args.method()?;
    // The peers run the elementary controller; so do we here.
    let options = |tolerance: f64| {
        SolverOptions::default().method(method).step_control(StepControl::Adaptive {
            tolerances: Tolerances::both(tolerance),
            controller: Controller::I,
            initial_step: InitialStep::Automatic,
        })
    };
    let spiral = || Mlp::new([2, 50, 2]).input_map(InputMap::Cube);
    let noise_options = |dt: f64| {
        let step_control = match args.stepping {
            Stepping::Fixed => StepControl::Fixed { steps: (1.0 / dt).round() as usize },
            Stepping::Adaptive => StepControl::Adaptive {
                tolerances: Tolerances::both(NOISE_TOLERANCE),
                controller: Controller::I,
                initial_step: InitialStep::Length(dt),
            },
        };
        SolverOptions::default().method(method).step_control(step_control)
    };
    let noise = |width: usize| Diffusion {
        network: Mlp::new([width, width]),
        calculus: method.tableau().noise.map_or(Calculus::Ito, |noise| noise.calculus),
    };
    let (model, loss, theta, inputs, target) = match args.workload {
        Workload::W1 => {
            let ts: Vec<f64> = dump.floats("W1_data_ts")?.into_iter().map(f64::from).collect();
            let options = options(1e-6).save_at(SaveAt::Times(ts));
            let model = NeuralDe::new(Problem::ode(spiral(), 0.0, 1.5), options);
            let theta = dump.parameters(&["W1_params_w1", "W1_params_b1", "W1_params_w2", "W1_params_b2"])?;
            (model, Loss::Mae, theta, dump.floats("W1_data_y0")?, Answer::States(dump.floats("W1_data_target")?))
        }
        Workload::W2a | Workload::W2b => {
            let tolerance = if args.workload == Workload::W2a { 1.4e-8 } else { 1e-4 };
            let field = Mlp::new([784, 100, 784]).time_input(TimeInput::Every);
            let model = NeuralDe::new(Problem::ode(field, 0.0, 1.0), options(tolerance)).head(10);
            let names = ["w1", "u1", "b1", "w2", "u2", "b2", "wc", "bc"].map(|n| format!("W2_params_{n}"));
            let theta = dump.parameters(&names.each_ref().map(String::as_str))?;
            let labels = Answer::Labels(dump.labels("W2_data_label")?);
            (model, Loss::CrossEntropy, theta, dump.floats("W2_data_x")?, labels)
        }
        Workload::W3 => {
            let ts: Vec<f64> = dump.floats("W3_data_ts")?.into_iter().map(f64::from).collect();
            let options = noise_options(0.01).save_at(SaveAt::Times(ts));
            let model = NeuralDe::new(Problem::sde(spiral(), noise(2), 0.0, 1.0), options);
            let names = ["w1", "b1", "w2", "b2", "wg", "bg"].map(|n| format!("W3_params_{n}"));
            let theta = dump.parameters(&names.each_ref().map(String::as_str))?;
            let (means, variances) = (dump.floats("W3_data_mean")?, dump.floats("W3_data_var")?);
            (model, Loss::Moments, theta, dump.floats("W3_data_y0")?, Answer::Moments { means, variances })
        }
        Workload::W4 => {
            let drift = Mlp::new([32, 64, 32]);
            let problem = Problem::sde(drift, noise(32), 0.0, 1.0);
            let model = NeuralDe::new(problem, noise_options(0.05)).encoder(784).head(10);
            let names = ["wi", "bi", "w1", "b1", "w2", "b2", "wg", "bg", "wc", "bc"].map(|n| format!("W4_params_{n}"));
            let theta = dump.parameters(&names.each_ref().map(String::as_str))?;
            let labels = Answer::Labels(dump.labels("W4_data_label")?);
            (model, Loss::CrossEntropy, theta, dump.floats("W4_data_x")?, labels)
        }
        Workload::W5 => {
            let options = options(1e-5).layout(Layout::Ensemble);
            let model = NeuralDe::new(Problem::ode(spiral(), 0.0, 1.5), options);
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
        Some(Reg::Published) if args.workload.dt().is_some() => Local::published_unbiased_sde().into(),
        Some(Reg::Published) => Local::published_unbiased().into(),
    };
    let optimizer = if args.workload == Workload::W1 { Optimizer::rmsprop(args.lr) } else { Optimizer::adam(args.lr) };
    let config = TrainerConfig::new(model, loss).optimizer(optimizer).regularizer(regularizer);
    Ok(Prepared { config, theta, inputs, target })
}

impl Prepared {
    fn batch(&self) -> usize {
        self.inputs.len() / self.config.model.input_width()
    }

    fn as_batch(&self) -> Batch<'_, f32> {
        let target = match &self.target {
            Answer::Labels(labels) => Target::Labels(labels),
            Answer::States(states) => Target::States(states),
            Answer::Moments { means, variances } => Target::Moments { means, variances },
        };
        Batch { inputs: &self.inputs, target }
    }

    /// Has the batch held by the learner, sample by sample: `[times][B][D]` states become `[B][times][D]`.
    fn hold(&self, learner: &mut impl Learner<Scalar = f32>) -> fewsteps::Result<()> {
        let Answer::States(states) = &self.target else { return learner.hold(&self.as_batch()) };
        let (batch, width) = (self.batch(), self.config.model.output_width());
        let times = states.len() / (batch * width).max(1);
        let state = |row: usize, time: usize| &states[(time * batch + row) * width..][..width];
        let rows = (0..batch).flat_map(|row| (0..times).flat_map(move |time| state(row, time)));
        let held: Vec<f32> = rows.copied().collect();
        learner.hold(&Batch { inputs: &self.inputs, target: Target::States(&held) })
    }
}

impl WorkloadArgs {
    /// The method, which is of the workload's kind.
    fn method(&self) -> Result<Method> {
        let (default, kind) = match self.workload.dt() {
            Some(_) => (Method::StratonovichHeun, &Method::SDE[..]),
            None => (Method::Tsit5, &Method::ODE[..]),
        };
        let Some(name) = &self.method else { return Ok(default) };
        kind.iter().copied().find(|method| method.tableau().name == name).with_context(|| {
            let of_kind = |name: &&&str| kind.iter().any(|method| method.tableau().name == **name);
            let names: Vec<&str> = METHODS.iter().filter(of_kind).copied().collect();
            format!("--method {name}: choose one for {:?}: {}", self.workload, names.join(", "))
        })
    }

    /// Method, layout, steps and regularizer, as the peers print them.
    fn method_name(&self, method: Method) -> String {
        let layout = if self.workload == Workload::W5 { "per-trajectory" } else { "joint" };
        let steps = match (self.workload.dt(), self.stepping) {
            (None, _) => String::new(),
            (Some(dt), Stepping::Fixed) => format!("/dt={dt}"),
            (Some(_), Stepping::Adaptive) => format!("/tol={NOISE_TOLERANCE}"),
        };
        let reg = self.reg.map(|reg| format!("/reg={reg:?}").to_lowercase()).unwrap_or_default();
        format!("{method}/{layout}{steps}{reg}")
    }
}

/// The peers' loss of moments: squared differences of means and biased variances, summed over times and features. Ours
/// is a mean, of variances over one path less.
fn sum_of_squares(states: &[f32], batch: usize, means: &[f32], variances: &[f32]) -> f64 {
    let width = 2;
    let at = |(time, (mean, variance)): (usize, (&f32, &f32))| {
        let (slot, feature) = (time / width, time % width);
        let values = || states[slot * batch * width..][..batch * width].iter().skip(feature).step_by(width);
        let found = values().map(|&x| f64::from(x)).sum::<f64>() / batch as f64;
        let spread = values().map(|&x| (f64::from(x) - found).powi(2)).sum::<f64>() / batch as f64;
        (found - f64::from(*mean)).powi(2) + (spread - f64::from(*variance)).powi(2)
    };
    means.iter().zip(variances).enumerate().map(at).sum()
}

/// What the engine takes up.
struct Footprint {
    dispatches: Option<usize>,
    engine_bytes: u64,
    workspace_bytes: u64,
}

/// Host waits for the device, and bytes read back from it, a call.
#[derive(Clone, Copy)]
struct Traffic {
    waits: f64,
    bytes: f64,
}

impl Traffic {
    fn since((waits, bytes): (u64, u64), calls: usize) -> Self {
        let (waits_now, bytes_now) = fewsteps::gpu::traffic();
        let mean = |now: u64, then: u64| (now - then) as f64 / calls as f64;
        Self { waits: mean(waits_now, waits), bytes: mean(bytes_now, bytes) }
    }
}

/// What one call found.
#[derive(Clone, Copy, Default)]
struct Call {
    value: f64,
    grad_norm: Option<f64>,
    penalty: Option<f64>,
    nfe: usize,
    nfe_diffusion: usize,
    accepted: usize,
    rejected: usize,
}

impl From<Evaluation> for Call {
    fn from(e: Evaluation) -> Self {
        let Evaluation { loss: value, nfe, nfe_diffusion, accepted, rejected, .. } = e;
        Self { value, nfe, nfe_diffusion, accepted, rejected, ..Self::default() }
    }
}

impl From<StepReport> for Call {
    fn from(r: StepReport) -> Self {
        let StepReport { nfe, nfe_diffusion, accepted, rejected, .. } = r;
        let (grad_norm, penalty) = (Some(r.gradient_norm), Some(r.penalty));
        Self { value: r.loss, grad_norm, penalty, nfe, nfe_diffusion, accepted, rejected }
    }
}

/// Runs the workload and prints its JSON line.
pub(crate) fn run(args: &WorkloadArgs) -> Result<()> {
    let prepared = prepare(args)?;
    let (model, batch) = (&prepared.config.model, prepared.batch());
    let device = args.device.open(Some(usize::from(args.threads)), Precision::F32, model, batch)?;
    let line = match &device {
        Device::Cpu(_) if args.profile => bail!("--profile times a device's kernels: choose one with --device gpu"),
        Device::Gpu(gpu) if args.profile => serde_json::to_string(&profile(args, gpu, prepared)?)?,
        Device::Cpu(cpu) => serde_json::to_string(&time::<Trainer<f32>>(args, cpu, &device, prepared)?)?,
        Device::Gpu(gpu) => serde_json::to_string(&time::<OnDevice>(args, gpu, &device, prepared)?)?,
    };
    crate::output::print(&format!("{line}\n"))
}

/// A learner with the workload's weights, and the call that is timed.
struct Timed<L> {
    learner: L,
    mode: Mode,
    prepared: Prepared,
    order: Vec<usize>,
}

impl<L: Learner<Scalar = f32>> Timed<L> {
    fn new(args: &WorkloadArgs, engine: &L::Engine, prepared: Prepared) -> Result<Self> {
        let mut learner = L::new(engine, prepared.config.clone())?;
        learner.set_parameters(&prepared.theta)?;
        if L::OWN_MEMORY && args.mode == Mode::Train {
            prepared.hold(&mut learner)?;
        }
        let order = (0..prepared.batch()).collect();
        Ok(Self { learner, mode: args.mode, prepared, order })
    }

    fn call(&mut self) -> fewsteps::Result<Call> {
        match self.mode {
            Mode::Forward => self.learner.evaluate(&self.prepared.as_batch()).map(Call::from),
            Mode::Train => match self.learner.step_on_held(&self.order)? {
                Some(report) => Ok(Call::from(report)),
                None => self.learner.step(&self.prepared.as_batch()).map(Call::from),
            },
        }
    }
}

/// The time of a call by kernels.
#[derive(Serialize)]
struct ProfileLine {
    workload: String,
    mode: String,
    method: String,
    adapter: String,
    calls: usize,
    /// Of a call, timestamps included.
    wall_ms: f64,
    /// Of the kernels of a call.
    device_ms: f64,
    /// Means of a call.
    kernels: Vec<KernelLine>,
    untimed: usize,
}

#[derive(Serialize)]
struct KernelLine {
    kernel: &'static str,
    dispatches: f64,
    ms: f64,
}

/// Calls the workload until enough calls are timed, kernel by kernel.
fn profile(args: &WorkloadArgs, gpu: &Gpu, prepared: Prepared) -> Result<ProfileLine> {
    let gpu = gpu.clone().profiled()?;
    let method = prepared.config.model.options.method;
    let mut timed = Timed::<OnDevice>::new(args, &gpu, prepared)?;
    for _ in 0..3 {
        timed.call()?;
        gpu.block_on(gpu.take_profile())?;
    }
    let mut sums: Vec<KernelLine> = Vec::new();
    let (mut calls, mut untimed, mut wall) = (0, 0, 0.0);
    let begun = Instant::now();
    while calls < args.steps || begun.elapsed().as_secs_f64() < args.min_seconds {
        let t = Instant::now();
        timed.call()?;
        wall += 1e3 * t.elapsed().as_secs_f64();
        let profile = gpu.block_on(gpu.take_profile())?;
        calls += 1;
        untimed += profile.untimed;
        for found in profile.kernels {
            let (kernel, dispatches, ms) = (found.kernel, found.dispatches as f64, found.milliseconds);
            match sums.iter_mut().find(|k| k.kernel == kernel) {
                Some(sum) => *sum = KernelLine { kernel, dispatches: sum.dispatches + dispatches, ms: sum.ms + ms },
                None => sums.push(KernelLine { kernel, dispatches, ms }),
            }
        }
    }
    let mean = |sum: f64| sum / calls as f64;
    let mut kernels: Vec<KernelLine> =
        sums.iter().map(|k| KernelLine { dispatches: mean(k.dispatches), ms: mean(k.ms), ..*k }).collect();
    kernels.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    Ok(ProfileLine {
        workload: format!("{:?}", args.workload),
        mode: format!("{:?}", args.mode).to_lowercase(),
        method: args.method_name(method),
        adapter: gpu.adapter().name.clone(),
        calls,
        wall_ms: mean(wall),
        device_ms: kernels.iter().map(|k| k.ms).sum(),
        kernels,
        untimed,
    })
}

/// Calls the workload until enough calls are timed.
fn time<L: Learner<Scalar = f32>>(
    args: &WorkloadArgs,
    engine: &L::Engine,
    device: &Device,
    prepared: Prepared,
) -> Result<Line> {
    let begun = Instant::now();
    let mut timed = Timed::<L>::new(args, engine, prepared)?;
    let mut first = timed.call()?;
    let first_call_ms = 1e3 * begun.elapsed().as_secs_f64();
    timed.call()?;
    let traffic = fewsteps::gpu::traffic();
    let mut ms = Vec::new();
    let begun = Instant::now();
    while ms.len() < args.steps || begun.elapsed().as_secs_f64() < args.min_seconds {
        let t = Instant::now();
        timed.call()?;
        ms.push(1e3 * t.elapsed().as_secs_f64());
    }
    let traffic = Traffic::since(traffic, ms.len());
    let Timed { mut learner, prepared, order, .. } = timed;
    let count = order.len();
    let engine = Footprint {
        dispatches: learner.dispatches(count),
        engine_bytes: learner.bytes(),
        workspace_bytes: learner.workspace(count, first.accepted),
    };
    ms.sort_by(f64::total_cmp);
    if let Answer::Moments { means, variances } = &prepared.target {
        // The first call's paths again, from the weights that it began with.
        learner.set_parameters(&prepared.theta)?;
        let seed = prepared.config.seed;
        let paths = if args.mode == Mode::Train { Paths::of_step(seed, 0) } else { Paths::of_evaluation(seed, 0) };
        let states = learner.predict(&prepared.inputs, paths)?;
        first.value = sum_of_squares(&states, count, means, variances);
        first.grad_norm = first.grad_norm.map(|norm| norm * means.len() as f64);
    }
    Ok(line(args, prepared.config.model.options.method, device, first, &ms, first_call_ms, &engine, traffic))
}

fn line(
    args: &WorkloadArgs,
    method: Method,
    device: &Device,
    first: Call,
    ms: &[f64],
    first_call_ms: f64,
    engine: &Footprint,
    traffic: Traffic,
) -> Line {
    let (threads, adapter) = match device {
        Device::Cpu(cpu) => (cpu.threads(), None),
        Device::Gpu(gpu) => (1, Some(gpu.adapter())),
    };
    let on_device = |number: f64| adapter.is_some().then_some(number);
    Line {
        peer: "fewsteps",
        version: env!("CARGO_PKG_VERSION"),
        workload: format!("{:?}", args.workload),
        mode: format!("{:?}", args.mode).to_lowercase(),
        method: args.method_name(method),
        device: if adapter.is_some() { "gpu" } else { "cpu" },
        adapter: adapter.map(|a| a.name.clone()),
        driver: adapter.map(|a| a.driver.clone()),
        backend: adapter.map(|a| a.backend.clone()),
        threads,
        instruction_set: fewsteps::cpu::instruction_set(),
        steps: ms.len(),
        ms_median: ms[ms.len() / 2],
        ms_min: ms[0],
        ms_max: ms[ms.len() - 1],
        first_call_ms,
        nfe: first.nfe,
        nge: args.workload.dt().map(|_| first.nfe_diffusion),
        accepted: first.accepted,
        rejected: first.rejected,
        value: first.value,
        grad_norm: first.grad_norm,
        penalty: first.penalty.filter(|_| args.reg.is_some()),
        dispatches: engine.dispatches,
        waits_per_step: on_device(traffic.waits),
        bytes_per_step: on_device(traffic.bytes),
        engine_bytes: engine.engine_bytes,
        workspace_bytes: engine.workspace_bytes,
        peak_memory: crate::machine::peak_memory(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_compared_as_the_peers_do() {
        // Two times of two paths: means (1, 2) and (0, 0), variances (1, 0) and (4, 1).
        let states = [0.0, 2.0, 2.0, 2.0, -2.0, 1.0, 2.0, -1.0];
        let value = sum_of_squares(&states, 2, &[1.0, 2.0, 0.0, 0.5], &[1.0, 0.0, 1.0, 1.0]);
        assert_eq!(value, 0.25 + 9.0, "one mean is off by a half, one variance by three");
    }
}
