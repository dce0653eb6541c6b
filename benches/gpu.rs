//! The device's times on the shapes of the peer comparison: forward passes and training steps, cold and warm, beside the
//! native engine's on the same work.
//!
//! `cargo bench --bench gpu -- [W1|W2b|W5] [rows] [adapter name]`, or `crossover [most rows] [adapter name]` for the sizes
//! from which the device is faster, or `calibrate` for what its dispatches and products cost. `--json=FILE` also writes
//! every row there, one object a line.

use std::cell::RefCell;
use std::fs::File;
use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use fewsteps::{
    Batch, Cpu, Device, Gpu, GpuSolver, GpuTrainer, Layout, Loss, Mlp, NeuralDe, Optimizer, Pick, Problem, Purpose,
    Random, SaveAt, SolverOptions, StepControl, Target, TimeInput, Tolerances, Trainer, TrainerConfig, models,
};
use serde_json::{Value, json};

/// A workload and its batch size.
struct Workload {
    name: &'static str,
    config: TrainerConfig,
    rows: usize,
}

fn config(model: NeuralDe, loss: Loss) -> TrainerConfig {
    TrainerConfig::new(model, loss).optimizer(Optimizer::adam(1e-6))
}

fn workloads() -> Vec<Workload> {
    let options = |tolerance| SolverOptions::default().tolerances(Tolerances::both(tolerance));
    let times = (0..10).map(|i| 1.5 * f64::from(i) / 9.0).collect();
    let w1 = models::spiral(options(1e-6).save_at(SaveAt::Times(times)));
    let w2b = models::images(784, 100, 10, options(1e-4));
    let w5 = models::spiral(options(1e-5).layout(Layout::Ensemble));
    vec![
        Workload { name: "W1", config: config(w1, Loss::Mae), rows: 128 },
        Workload { name: "W2b", config: config(w2b, Loss::CrossEntropy), rows: 512 },
        Workload { name: "W5", config: config(w5, Loss::Mae), rows: 100_000 },
    ]
}

/// Inputs and targets.
struct Data {
    inputs: Vec<f32>,
    states: Vec<f32>,
    labels: Option<Vec<u32>>,
}

impl Data {
    fn new(config: &TrainerConfig, rows: usize) -> Self {
        let model = &config.model;
        let mut random = Random::new(0, Purpose::Data, 0);
        let mut numbers = |n: usize| -> Vec<f32> { (0..n).map(|_| random.uniform() as f32).collect() };
        let inputs = numbers(rows * model.input_width());
        let states = numbers(rows * model.output_times() * model.output_width());
        let labels = || (0..rows).map(|i| (i % model.output_width()) as u32).collect();
        Self { inputs, states, labels: (config.loss == Loss::CrossEntropy).then(labels) }
    }

    fn batch(&self) -> Batch<'_, f32> {
        let target = self.labels.as_deref().map_or(Target::States(&self.states), Target::Labels);
        Batch { inputs: &self.inputs, target }
    }
}

/// Times of a call, and what the first one returned: later training steps are of other parameters.
struct Timed<T> {
    cold: f64,
    warm: f64,
    first: T,
}

/// Milliseconds of the first call, and the median of some more over so many seconds.
fn time<T>(seconds: f64, mut call: impl FnMut() -> Result<T>) -> Result<Timed<T>> {
    let mut once = || -> Result<(f64, T)> {
        let begun = Instant::now();
        let found = call()?;
        Ok((1e3 * begun.elapsed().as_secs_f64(), found))
    };
    let (cold, first) = once()?;
    once()?;
    let mut warm = Vec::new();
    let begun = Instant::now();
    while warm.len() < 3 || (begun.elapsed().as_secs_f64() < seconds && warm.len() < 200) {
        warm.push(once()?.0);
    }
    warm.sort_by(f64::total_cmp);
    Ok(Timed { cold, warm: warm[warm.len() / 2], first })
}

/// The engines, and where rows are written besides.
struct Bench {
    gpu: Gpu,
    cpu: Cpu,
    json: RefCell<Option<File>>,
}

impl Bench {
    fn write(&self, row: &Value) -> Result<()> {
        if let Some(file) = self.json.borrow_mut().as_mut() {
            writeln!(file, "{row}")?;
        }
        Ok(())
    }

    fn workload(&self, workload: &Workload, rows: usize) -> Result<()> {
        let Self { gpu, cpu, .. } = self;
        let data = Data::new(&workload.config, rows);
        let batch = data.batch();
        let row = |engine: &str, pass: &str, timed: Timed<(usize, f64)>| -> Result<()> {
            let Timed { cold, warm, first: (nfe, loss) } = timed;
            let name = workload.name;
            println!("{name:8}  {engine:6} {rows:8}  {pass:8} {cold:9.2} {warm:9.3}  {nfe:4}  {loss:.6}");
            self.write(&json!({
                "workload": name, "engine": engine, "rows": rows, "mode": pass, "first_call_ms": cold, "ms_median": warm,
                "nfe": nfe, "value": loss.is_finite().then_some(loss), "adapter": gpu.adapter().name,
            }))
        };
        let mut native = Trainer::<f32>::new(cpu, workload.config.clone())?;
        let theta = native.parameters().to_vec();
        row("native", "forward", time(2.0, || Ok(native.evaluate(&batch).map(|e| (e.nfe, e.loss))?))?)?;
        row("native", "train", time(2.0, || Ok(native.step(&batch).map(|r| (r.nfe, r.loss))?))?)?;
        drop(native);
        let mut device = GpuTrainer::new(gpu, workload.config.clone())?;
        row("device", "forward", time(2.0, || Ok(gpu.block_on(device.evaluate(&batch)).map(|e| (e.nfe, e.loss))?))?)?;
        row("device", "train", time(2.0, || Ok(gpu.block_on(device.step(&batch)).map(|r| (r.nfe, r.loss))?))?)?;
        drop(device);
        let model = &workload.config.model;
        if workload.config.loss != Loss::Mae {
            return Ok(());
        }
        // The solver alone reads the states back, so that its two rows compare with each other, not with the trainer's.
        let count = data.states.len();
        let mae = |ys: &[f32]| {
            let apart = ys.iter().zip(&data.states).map(|(y, state)| f64::from((y - state).abs()));
            apart.sum::<f64>() / count as f64
        };
        let cotangents = vec![1.0 / count as f32; count];
        for engine in ["whole", "layers"] {
            let mut solver = GpuSolver::new(gpu, &model.problem, &model.options)?;
            if engine == "layers" {
                solver = solver.layer_by_layer();
            }
            let timed = time(2.0, || Ok(gpu.block_on(solver.predict(&theta, &data.inputs))?))?;
            let first = (timed.first.nfe(), mae(&timed.first.ys));
            row(engine, "forward", Timed { cold: timed.cold, warm: timed.warm, first })?;
            let timed = time(2.0, || {
                let solution = gpu.block_on(solver.solve(&theta, &data.inputs))?;
                gpu.block_on(solver.gradients(&cotangents))?;
                Ok(solution)
            })?;
            let first = (timed.first.nfe(), mae(&timed.first.ys));
            row(engine, "gradient", Timed { cold: timed.cold, warm: timed.warm, first })?;
        }
        Ok(())
    }

    /// From which size on the device is faster, field by field: what the threshold of `Device::suits_gpu` is set from.
    fn crossover(&self, most: usize) -> Result<()> {
        let mut fields = Vec::new();
        for hidden in [32, 256] {
            let problem = Problem::ode(Mlp::new([2, hidden, 2]), 0.0, 1.5);
            let options = SolverOptions::default().tolerances(Tolerances::both(1e-5)).layout(Layout::Ensemble);
            fields.push((format!("2-{hidden}-2"), "ensemble", NeuralDe::new(problem, options)));
        }
        for [width, hidden] in [[64, 64], [784, 100]] {
            let problem = Problem::ode(Mlp::new([width, hidden, width]).time_input(TimeInput::Every), 0.0, 1.0);
            let options = SolverOptions::default().tolerances(Tolerances::both(1e-4));
            fields.push((format!("{width}-{hidden}-{width}"), "lockstep", NeuralDe::new(problem, options)));
        }
        println!("crossover: warm ms of native engine and device; multiply-adds of an attempt as a power of two");
        println!(
            "field       layout        rows  log2   forward: native    device  faster   train: native    device  faster"
        );
        let mut thresholds = Vec::new();
        for (name, layout, model) in fields {
            // A field of its own must not take the others' time.
            let begun = Instant::now();
            let width = model.input_width();
            let config = config(model, Loss::Mae);
            let mut known: [[Option<Point>; 2]; 2] = Default::default();
            let mut trained = Vec::new();
            for rows in [32, 128, 512, 2048, 8192, 32_768, 100_000] {
                // States of 200 MB say no more than those of 50 MB.
                if rows > most || rows * width > 1 << 24 || begun.elapsed() > FIELD_TIME {
                    continue;
                }
                let data = Data::new(&config, rows);
                for (pass, known) in known.iter_mut().enumerate() {
                    // Engines are compared or left out together.
                    if known.iter().flatten().any(|point| point.predicted(rows) > MOST_MS) {
                        *known = known.map(|point| point.map(Point::stopped));
                        continue;
                    }
                    *known = match self.crossover_point(&config, &data.batch(), pass == 1) {
                        Ok([native, device]) => [native, device].map(|ms| Some(Point { rows, ms })),
                        Err(error) => {
                            println!("{name:11} {layout:9} {rows:8}  {}: {error:#}", PASSES[pass]);
                            known.map(|_| Some(Point { rows: 1, ms: f64::INFINITY }))
                        }
                    };
                }
                let work = Device::multiply_adds(&config.model, rows);
                let power = (work as f64).log2();
                let at = |pass: usize| {
                    let [native, device] = known[pass].map(|p| p.filter(|p| p.rows == rows && p.ms.is_finite()));
                    Some([native?.ms, device?.ms])
                };
                let [forward, train] = [at(0), at(1)];
                if forward.is_none() && train.is_none() {
                    break;
                }
                let cells = |times: Option<[f64; 2]>| match times {
                    Some([native, device]) => format!("{native:10.3} {device:10.3}  {}", faster(native, device)),
                    None => format!("{:>10} {:>10}  {:6}", "-", "-", "-"),
                };
                println!("{name:11} {layout:9} {rows:8}  {power:4.1}       {}      {}", cells(forward), cells(train));
                self.write(&json!({
                    "workload": "crossover", "field": name, "layout": layout, "rows": rows, "multiply_adds": work,
                    "forward_native_ms": forward.map(|t| t[0]), "forward_device_ms": forward.map(|t| t[1]),
                    "train_native_ms": train.map(|t| t[0]), "train_device_ms": train.map(|t| t[1]),
                    "rule": if Device::suits_gpu(work) { "device" } else { "native" },
                    "adapter": self.gpu.adapter().name,
                }))?;
                trained.extend(train.map(|[native, device]| (rows, power, device < native)));
            }
            // The device is faster from the first row after the last that the native engine won.
            let from = trained.iter().rposition(|(.., device)| !device).map_or(0, |last| last + 1);
            thresholds.push(match trained.get(from) {
                Some((rows, power, _)) => format!("{name}: the device trains faster from {rows} rows, 2^{power:.1}"),
                None => format!("{name}: the device does not train faster at the sizes measured"),
            });
        }
        for line in thresholds {
            println!("{line}");
        }
        Ok(())
    }

    /// Warm milliseconds of the native engine and of the device.
    fn crossover_point(&self, config: &TrainerConfig, batch: &Batch<'_, f32>, train: bool) -> Result<[f64; 2]> {
        let mut native = Trainer::<f32>::new(&self.cpu, config.clone())?;
        let mut device = GpuTrainer::new(&self.gpu, config.clone())?;
        let native = time(0.2, || Ok(if train { native.step(batch)?.loss } else { native.evaluate(batch)?.loss }))?;
        let device = time(0.2, || {
            let gpu = &self.gpu;
            Ok(if train { gpu.block_on(device.step(batch))?.loss } else { gpu.block_on(device.evaluate(batch))?.loss })
        })?;
        // Engines that do not solve the same problem are not to be compared.
        let apart = (native.first - device.first).abs();
        anyhow::ensure!(apart <= 1e-3 * native.first.abs(), "losses differ: {} and {}", native.first, device.first);
        Ok([native.warm, device.warm])
    }
}

/// Adds to one number, so that each dispatch waits for the one before.
const STEP_WGSL: &str = "@group(0) @binding(0) var<storage, read_write> x: array<u32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) { x[id.x] += 1u; }";

impl Bench {
    /// What dispatches cost that wait for each other and do nearly nothing, by how many there are in a submission:
    /// recording, and all of it with one wait.
    fn dispatches(&self) -> Result<()> {
        let Self { gpu, .. } = self;
        let (device, queue) = (gpu.device(), gpu.queue());
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(STEP_WGSL.into()),
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        let buffer = |usage| {
            device.create_buffer(&wgpu::BufferDescriptor { label: None, size: 256, usage, mapped_at_creation: false })
        };
        let numbers = buffer(wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC);
        let bindings = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: numbers.as_entire_binding() }],
        });
        println!("dispatches  record ms   all ms   us each, beyond one");
        let mut one = 0.0;
        for count in [1, 10, 100, 1000, 4000] {
            let mut recorded = Vec::new();
            let timed = time(0.5, || {
                let begun = Instant::now();
                let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                for _ in 0..count {
                    pass.set_pipeline(&pipeline);
                    pass.set_bind_group(0, &bindings, &[]);
                    pass.dispatch_workgroups(1, 1, 1);
                }
                drop(pass);
                let commands = encoder.finish();
                recorded.push(1e3 * begun.elapsed().as_secs_f64());
                queue.submit([commands]);
                Ok(device.poll(wgpu::PollType::wait_indefinitely())?)
            })?;
            recorded.sort_by(f64::total_cmp);
            let record = recorded[recorded.len() / 2];
            if count == 1 {
                one = timed.warm;
            }
            let each = if count == 1 { 0.0 } else { 1e3 * (timed.warm - one) / f64::from(count - 1) };
            println!("{count:10} {record:10.3} {:8.3} {each:8.2}", timed.warm);
            self.write(&json!({
                "workload": "dispatches", "count": count, "record_ms": record, "ms": timed.warm, "us_each": each,
            }))?;
        }
        Ok(())
    }

    /// What the dense products take on the device, by timestamps, forward and backward.
    fn products(&self, most: usize) -> Result<()> {
        const STEPS: usize = 4;
        let gpu = self.gpu.clone().profiled()?;
        println!("field          rows  kernel              us a dispatch  GFLOP/s");
        for [width, hidden] in [[784, 100], [64, 64]] {
            let field = Mlp::new([width, hidden, width]).time_input(TimeInput::Every);
            let problem = Problem::ode(field, 0.0, 1.0);
            let options = SolverOptions::default().step_control(StepControl::Fixed { steps: STEPS });
            let mut solver = GpuSolver::new(&gpu, &problem, &options)?.layer_by_layer();
            let theta = vec![1e-3; problem.parameter_count()];
            for rows in [128, 512, 4096, 32_768].into_iter().filter(|rows| *rows <= most) {
                let states = vec![0.5; rows * width];
                let mut profile = fewsteps::Profile::default();
                for _ in 0..3 {
                    gpu.block_on(solver.solve(&theta, &states))?;
                    gpu.block_on(solver.gradients(&states))?;
                    profile = gpu.block_on(gpu.take_profile())?;
                }
                let products = profile.kernels.iter().filter(|k| k.kernel.starts_with("dense"));
                for kernel in products {
                    let each = 1e3 * kernel.milliseconds / kernel.dispatches as f64;
                    let flops = 2.0 * (rows * width * hidden) as f64;
                    let name = format!("{width}-{hidden}-{width}");
                    println!("{name:11} {rows:7}  {:18} {each:14.2} {:8.0}", kernel.kernel, 1e-3 * flops / each);
                    self.write(&json!({
                        "workload": "products", "field": name, "rows": rows, "kernel": kernel.kernel,
                        "us_each": each, "gflops": 1e-3 * flops / each, "dispatches": kernel.dispatches,
                    }))?;
                }
            }
        }
        Ok(())
    }
}

const PASSES: [&str; 2] = ["forward", "train"];

/// A size whose call is expected to take longer is left out.
const MOST_MS: f64 = 1000.0;

/// Time after which a field's larger sizes are left out.
const FIELD_TIME: Duration = Duration::from_secs(25);

/// A measured size.
#[derive(Clone, Copy)]
struct Point {
    rows: usize,
    ms: f64,
}

impl Point {
    /// In proportion: too long for a device that is not busy yet, so that a size may be left out early, never late.
    fn predicted(self, rows: usize) -> f64 {
        self.ms * rows as f64 / self.rows as f64
    }

    /// Nothing larger is measured.
    fn stopped(self) -> Self {
        Self { ms: f64::INFINITY, ..self }
    }
}

const fn faster(native: f64, device: f64) -> &'static str {
    if device < native { "device" } else { "native" }
}

fn main() -> Result<()> {
    let (flags, arguments): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|a| a.starts_with("--"));
    let wanted = arguments.first().map(String::as_str);
    let rows: Option<usize> = arguments.get(1).and_then(|a| a.parse().ok());
    let pick = arguments.get(2).map_or(Pick::Any, |name| Pick::Name(name.clone()));
    let json = match flags.iter().find_map(|flag| flag.strip_prefix("--json=")) {
        Some(path) => Some(File::create(path).with_context(|| path.to_owned())?),
        None => None,
    };
    let bench = Bench { gpu: Gpu::open(&pick)?.checked(false), cpu: Cpu::new()?, json: RefCell::new(json) };
    println!("device {}; native engine on {} threads", bench.gpu.adapter(), bench.cpu.threads());
    match wanted {
        Some("crossover") => return bench.crossover(rows.unwrap_or(usize::MAX)),
        Some("calibrate") => {
            bench.dispatches()?;
            return bench.products(rows.unwrap_or(usize::MAX));
        }
        _ => {}
    }
    println!("workload  engine     rows  pass       cold ms   warm ms   NFE  loss");
    for workload in workloads().into_iter().filter(|w| wanted.is_none_or(|name| name == w.name)) {
        bench.workload(&workload, rows.unwrap_or(workload.rows))?;
    }
    Ok(())
}
