//! `fewsteps profile`: what a training step spends its time with. On a device by its kernels, on the native engine by its parts.

mod table;

use std::time::Instant;

use anyhow::{Context, ensure};
use fewsteps::{Batches, Cpu, Device, Gpu, GpuTrainer, Scalar, StepReport, Trainer};
use serde::Serialize;

use crate::args::ProfileArgs;
use crate::choice::Precision;
use crate::data::{BatchBuffer, Data};
use crate::input;
use crate::method::Training;
use crate::output;
use crate::run::Ending;
use crate::settings::Settings;

/// Steps before those that are timed: pipelines are compiled and rooms are made then, and a first step is carried over.
const WARM_UP: usize = 10;

/// Where a training step's time goes: means of the steps that were timed.
#[derive(Debug, Serialize)]
struct Profile {
    task: String,
    method: String,
    engine: String,
    batch: usize,
    steps: usize,
    /// Milliseconds of a step, from its batch to its update.
    wall_ms: f64,
    /// Evaluations of the field in the solve, and accepted steps.
    nfe: f64,
    accepted: f64,
    /// The parts of it, or the kernels, the longest first. On a device they leave out what the host does.
    parts: Vec<Part>,
    device: Option<OnDevice>,
}

/// What a device tells besides.
#[derive(Debug, Serialize)]
struct OnDevice {
    dispatches: f64,
    /// Times that the host waited for the device in a step, and bytes that it read.
    waits: f64,
    bytes_read: f64,
    /// Dispatches that no timestamp was left for.
    untimed: usize,
}

#[derive(Debug, Serialize)]
struct Part {
    name: String,
    ms: f64,
    /// Of a kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    dispatches: Option<f64>,
}

pub(crate) fn profile(mut args: ProfileArgs) -> anyhow::Result<Ending> {
    ensure!(
        args.training.config.is_none(),
        "--config: repeats a run, and a profile makes steps of its own; leave it out"
    );
    args.training.read_model(&mut args.regularization)?;
    let data = input::load(&args.training)?;
    let method = args.regularization.unwrap_or(Training::LocalUnbiased);
    let settings = Settings::resolve(&args.training, method, args.seed, &data)?;
    args.training.regularizer.ensure_used(settings.task, &[method])?;
    let engine = &args.training.solver.engine;
    let Settings { precision, batch, .. } = settings;
    let device = engine.device.open(engine.threads.map(usize::from), precision, &settings.config.model, batch)?;
    let timed = Timed { settings: &settings, data: &data, steps: args.calls.get() };
    let found = match (&device, precision) {
        (Device::Cpu(cpu), Precision::F32) => timed.on_processor::<f32>(cpu)?,
        (Device::Cpu(cpu), Precision::F64) => timed.on_processor::<f64>(cpu)?,
        (Device::Gpu(gpu), _) => timed.on_device(gpu)?,
    };
    if args.training.output.json {
        output::print(&(serde_json::to_string_pretty(&found)? + "\n"))?;
    } else {
        output::print(&table::render(&found))?;
    }
    Ok(Ending::Finished)
}

/// What is timed.
struct Timed<'a> {
    settings: &'a Settings,
    data: &'a Data,
    steps: usize,
}

impl Timed<'_> {
    /// The batches of the first steps of a run.
    fn batches(&self) -> anyhow::Result<Batches> {
        let pool = self.data.train.pool(self.settings.batch) - self.settings.hold_out;
        Ok(Batches::new(pool, self.settings.batch, self.settings.seed)?)
    }

    fn on_processor<R: Scalar>(&self, cpu: &Cpu) -> anyhow::Result<Profile> {
        let mut trainer = Trainer::<R>::new(cpu, self.settings.config.clone())?;
        let (mut batches, mut buffer) = (self.batches()?, BatchBuffer::default());
        let (mut sums, mut parts) = (Sums::default(), Vec::new());
        for step in 0..WARM_UP + self.steps {
            let batch = buffer.gather(&self.data.train, batches.at(step as u64));
            let begun = Instant::now();
            let report = trainer.step(&batch)?;
            if step >= WARM_UP {
                sums.add(begun, &report);
                for (name, time) in trainer.step_times().parts() {
                    add(&mut parts, name, 1e3 * time.as_secs_f64(), None);
                }
            }
        }
        let threads = cpu.threads();
        let engine = format!("native engine, {threads} thread{}", if threads == 1 { "" } else { "s" });
        Ok(self.profile(engine, &sums, parts, None))
    }

    fn on_device(&self, gpu: &Gpu) -> anyhow::Result<Profile> {
        let gpu = gpu.clone().profiled().context("--device")?;
        let mut trainer = GpuTrainer::new(&gpu, self.settings.config.clone())?;
        let (mut batches, mut buffer) = (self.batches()?, BatchBuffer::default());
        let (mut sums, mut parts) = (Sums::default(), Vec::new());
        let [mut untimed, mut dispatches] = [0; 2];
        let mut traffic = [0; 2];
        for step in 0..WARM_UP + self.steps {
            let batch = buffer.gather(&self.data.train, batches.at(step as u64));
            let (begun, (waits, bytes)) = (Instant::now(), gpu.traffic());
            let report = gpu.block_on(trainer.step(&batch))?;
            let (waits_after, bytes_after) = gpu.traffic();
            if step >= WARM_UP {
                sums.add(begun, &report);
                traffic = [traffic[0] + (waits_after - waits) as usize, traffic[1] + (bytes_after - bytes) as usize];
            }
            let kernels = gpu.block_on(gpu.take_profile())?;
            if step >= WARM_UP {
                untimed += kernels.untimed;
                for kernel in kernels.kernels {
                    dispatches += kernel.dispatches;
                    add(&mut parts, kernel.kernel, kernel.milliseconds, Some(kernel.dispatches as f64));
                }
            }
        }
        parts.sort_by(|a, b| b.ms.total_cmp(&a.ms));
        let mean = |sum: usize| sum as f64 / self.steps as f64;
        let device = OnDevice {
            dispatches: mean(dispatches + untimed),
            waits: mean(traffic[0]),
            bytes_read: mean(traffic[1]),
            untimed,
        };
        Ok(self.profile(gpu.adapter().name.clone(), &sums, parts, Some(device)))
    }

    fn profile(&self, engine: String, sums: &Sums, parts: Vec<Part>, device: Option<OnDevice>) -> Profile {
        let mean = |sum: f64| sum / self.steps as f64;
        let of_step = |part: Part| Part { ms: mean(part.ms), dispatches: part.dispatches.map(mean), ..part };
        Profile {
            task: self.settings.task.name().to_owned(),
            method: self.settings.training.to_string(),
            engine,
            batch: self.settings.batch,
            steps: self.steps,
            wall_ms: mean(sums.wall_ms),
            nfe: mean(sums.nfe),
            accepted: mean(sums.accepted),
            parts: parts.into_iter().map(of_step).collect(),
            device,
        }
    }
}

/// Sums over the steps that are timed.
#[derive(Default)]
struct Sums {
    wall_ms: f64,
    nfe: f64,
    accepted: f64,
}

impl Sums {
    fn add(&mut self, begun: Instant, report: &StepReport) {
        self.wall_ms += 1e3 * begun.elapsed().as_secs_f64();
        self.nfe += report.nfe as f64;
        self.accepted += report.accepted as f64;
    }
}

/// Adds to a part's time.
fn add(parts: &mut Vec<Part>, name: &str, ms: f64, dispatches: Option<f64>) {
    match parts.iter_mut().find(|part| part.name == name) {
        Some(part) => {
            part.ms += ms;
            part.dispatches = part.dispatches.zip(dispatches).map(|(sum, more)| sum + more);
        }
        None => parts.push(Part { name: name.to_owned(), ms, dispatches }),
    }
}
