//! The engine as a guest: an application's device, its encoder, its buffers, its passes before and after.

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use common::{LAYOUTS, adaptive, bits, cast, gpu, numbers, scaled};
use fewsteps::{
    Batch, Diffusion, Error, FailurePolicy, Gpu, GpuSolver, GpuTrainer, Layout, Local, Loss, Method, Mlp, NeuralDe,
    OUTCOME_WGSL, Optimizer, Paths, Problem, SaveAt, SolveIo, SolverOptions, Target, Tolerances, TrainIo,
    TrainerConfig,
};
use wgpu::BufferUsages as Usage;

const BATCH: usize = 70;
const DIM: usize = 3;

/// An application: a device with WebGPU's default limits and no features, buffers and passes.
struct App {
    device: wgpu::Device,
    queue: wgpu::Queue,
}

impl App {
    /// On the adapter that the tests run on.
    fn open() -> Option<Self> {
        let chosen = gpu()?;
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
        let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
        let adapter = adapters.into_iter().find(|a| a.get_info().name == chosen.adapter().name).expect("still there");
        let descriptor = wgpu::DeviceDescriptor {
            required_features: wgpu::Features::empty(),
            required_limits: wgpu::Limits::default(),
            ..Default::default()
        };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).expect("a device");
        Some(Self { device, queue })
    }

    fn noop() -> Self {
        let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
        Self { device, queue }
    }

    fn gpu(&self) -> Gpu {
        Gpu::from_wgpu(&self.device, &self.queue).expect("WebGPU's default limits suffice")
    }

    fn buffer(&self, bytes: u64, usage: Usage) -> wgpu::Buffer {
        let descriptor = wgpu::BufferDescriptor { label: None, size: bytes, usage, mapped_at_creation: false };
        self.device.create_buffer(&descriptor)
    }

    fn filled<T: bytemuck::Pod>(&self, numbers: &[T]) -> wgpu::Buffer {
        let buffer = self.buffer(size_of_val(numbers) as u64, Usage::COPY_SRC | Usage::COPY_DST);
        self.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(numbers));
        buffer
    }

    fn encoder(&self) -> wgpu::CommandEncoder {
        self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
    }

    /// A compute pass of the application's own over `buffers`, an invocation an element of the first.
    fn pass(&self, encoder: &mut wgpu::CommandEncoder, wgsl: &str, buffers: &[&wgpu::Buffer]) {
        let source = wgpu::ShaderSource::Wgsl(wgsl.into());
        let module = self.device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: None,
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        let entries: Vec<_> = (0..)
            .zip(buffers)
            .map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
            .collect();
        let layout = pipeline.get_bind_group_layout(0);
        let descriptor = wgpu::BindGroupDescriptor { label: None, layout: &layout, entries: &entries };
        let bindings = self.device.create_bind_group(&descriptor);
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &bindings, &[]);
        let invocations = u32::try_from(buffers[0].size() / 4).expect("a small buffer");
        pass.dispatch_workgroups(invocations.div_ceil(64), 1, 1);
    }

    fn read(&self, mut encoder: wgpu::CommandEncoder, buffer: &wgpu::Buffer) -> Vec<f32> {
        let staging = self.buffer(buffer.size(), Usage::MAP_READ | Usage::COPY_DST);
        encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, buffer.size());
        self.queue.submit([encoder.finish()]);
        staging.map_async(wgpu::MapMode::Read, .., |mapped| mapped.expect("mapped"));
        self.device.poll(wgpu::PollType::wait_indefinitely()).expect("the device goes on");
        bytemuck::pod_collect_to_vec(&staging.get_mapped_range(..).expect("mapped"))
    }
}

/// Writes initial states, those of `initial_states`.
const WRITE: &str = "
@group(0) @binding(0) var<storage, read_write> y0: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x < arrayLength(&y0) { y0[id.x] = f32(id.x % 61u) * 0.03125 - 0.9375; }
}";

/// Negates the solver's states once it is through, and says how many rows were not.
const READ: &str = "
@group(0) @binding(0) var<storage, read> ys: array<f32>;
@group(0) @binding(1) var<storage, read> solve: Outcome;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x < arrayLength(&ys) { out[id.x] = -ys[id.x]; }
    if id.x == 0u { out[arrayLength(&ys)] = f32(solve.unfinished); }
}";

fn initial_states() -> Vec<f32> {
    (0..BATCH * DIM).map(|i| (i % 61) as f32 * 0.03125 - 0.9375).collect()
}

/// A field that is small enough for trajectories to be solved whole, and one that is solved layer by layer.
fn fields() -> [Mlp; 2] {
    [Mlp::new([DIM, 9, DIM]), Mlp::new([DIM, 9, 7, DIM])]
}

fn problem(field: Mlp) -> (Problem, Vec<f32>) {
    let theta: Vec<f32> = field.initialize::<f32>(1).iter().map(|x| 3.0 * x).collect();
    (Problem::ode(field, 0.0, 2.0), theta)
}

fn options(layout: Layout, save_at: SaveAt) -> SolverOptions {
    adaptive(Method::Tsit5, 1e-4).layout(layout).save_at(save_at)
}

fn save_points() -> [SaveAt; 2] {
    [SaveAt::End, SaveAt::Times(vec![0.0, 0.7, 1.1, 2.0])]
}

/// Every way of solving.
fn cases() -> impl Iterator<Item = (Mlp, Layout, SaveAt)> {
    let layouts = fields().into_iter().flat_map(|field| LAYOUTS.map(|layout| (field.clone(), layout)));
    layouts.flat_map(|(field, layout)| save_points().map(|save_at| (field.clone(), layout, save_at)))
}

/// A frame of the application: its pass writes initial states, a solve, its pass reads the saved ones. One submission.
fn frame(app: &App, field: Mlp, options: &SolverOptions, attempts: usize) -> (Vec<f32>, f32) {
    let (problem, theta) = problem(field);
    let gpu = app.gpu().checked(true);
    let solver = GpuSolver::new(&gpu, &problem, options).expect("a valid problem");
    let solve = gpu.block_on(solver.prepare(BATCH, attempts)).expect("room for a small batch");
    let theta = app.filled(&theta);
    let y0 = app.buffer(solve.y0_bytes(), Usage::STORAGE | Usage::COPY_SRC);
    let ys = app.buffer(solve.ys_bytes(), Usage::STORAGE | Usage::COPY_DST);
    let out = app.buffer(solve.ys_bytes() + 4, Usage::STORAGE | Usage::COPY_SRC);
    let mut encoder = app.encoder();
    app.pass(&mut encoder, WRITE, &[&y0]);
    let io = SolveIo { theta: theta.slice(..), y0: y0.slice(..), ys: ys.slice(..) };
    solve.record(&mut encoder, &io).expect("fitting buffers");
    app.pass(&mut encoder, &format!("{OUTCOME_WGSL}{READ}"), &[&ys, solve.outcome_buffer(), &out]);
    let mut found: Vec<f32> = app.read(encoder, &out).into_iter().map(|x| -x).collect();
    let unfinished = -found.pop().expect("one more");
    (found, unfinished)
}

fn predicted(gpu: &Gpu, field: Mlp, options: &SolverOptions) -> Vec<f32> {
    let (problem, theta) = problem(field);
    let mut solver = GpuSolver::new(gpu, &problem, options).expect("a valid problem");
    gpu.block_on(solver.predict(&theta, &initial_states())).expect("a valid solve").ys
}

#[test]
fn a_solve_between_an_applications_passes() {
    let Some(app) = App::open() else { return };
    for (field, layout, save_at) in cases() {
        let options = options(layout, save_at);
        let (found, unfinished) = frame(&app, field.clone(), &options, 40);
        assert_eq!(unfinished, 0.0, "{layout:?}: the attempts suffice");
        let expected = predicted(&app.gpu().checked(true), field.clone(), &options);
        assert_eq!(bits(&found), bits(&expected), "{field:?} {layout:?}: as predict has it");
    }
}

#[test]
fn a_long_solve_takes_slices_of_several_frames() {
    let Some(app) = App::open() else { return };
    for (field, layout, save_at) in cases() {
        let (problem, theta) = problem(field.clone());
        let options = options(layout, save_at);
        let gpu = app.gpu();
        let solver = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
        let mut solve = gpu.block_on(solver.prepare(BATCH, 3)).expect("room for a small batch");
        let (theta, y0) = (app.filled(&theta), app.filled(&initial_states()));
        let ys = app.buffer(solve.ys_bytes(), Usage::COPY_SRC | Usage::COPY_DST);
        // Twice, so that a solve starts from what an earlier one left.
        for _ in 0..2 {
            let mut encoder = app.encoder();
            let io = SolveIo { theta: theta.slice(..), y0: y0.slice(..), ys: ys.slice(..) };
            solve.record(&mut encoder, &io).expect("fitting buffers");
            let early = app.read(encoder, &ys);
            assert_eq!(early.len() % (BATCH * DIM), 0);
            let after = gpu.block_on(solve.outcome()).expect("a device");
            assert!(after.unfinished > 0 && after.accepted + after.rejected == 3, "{after:?}");
            if layout == Layout::Lockstep {
                let last = early.len() - BATCH * DIM;
                assert_eq!(early[last..], initial_states(), "what was not reached is where it began");
            }
            let mut frames = 1;
            while gpu.block_on(solve.outcome()).expect("a device").unfinished > 0 {
                let mut encoder = app.encoder();
                solve.record_more(&mut encoder, ys.slice(..)).expect("fitting buffers");
                app.queue.submit([encoder.finish()]);
                frames += 1;
            }
            assert!(frames > 1, "{layout:?}: it took {frames} frames");
            let found = app.read(app.encoder(), &ys);
            assert_eq!(bits(&found), bits(&predicted(&gpu, field.clone(), &options)), "{field:?} {layout:?}");
        }
    }
}

#[test]
fn trajectories_that_fail_leave_nan_and_the_others_their_states() {
    let Some(app) = App::open() else { return };
    let (problem, theta) = problem(Mlp::new([DIM, 9, DIM]));
    let gpu = app.gpu();
    let mut y0 = initial_states();
    y0[5 * DIM] = f32::NAN;
    let options = options(Layout::Ensemble, SaveAt::End);
    let mut solver = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
    let mut solve = gpu.block_on(solver.prepare(BATCH, 40)).expect("room for a small batch");
    let (parameters, start) = (app.filled(&theta), app.filled(&y0));
    let ys = app.buffer(solve.ys_bytes(), Usage::COPY_SRC | Usage::COPY_DST);
    let mut encoder = app.encoder();
    let io = SolveIo { theta: parameters.slice(..), y0: start.slice(..), ys: ys.slice(..) };
    solve.record(&mut encoder, &io).expect("fitting buffers");
    let found = app.read(encoder, &ys);
    let expected = gpu.block_on(solver.predict(&theta, &y0)).expect("a valid solve");
    assert_eq!(bits(&found), bits(&expected.ys), "as predict has it");
    let outcome = gpu.block_on(solve.outcome()).expect("a device");
    assert_eq!((outcome.failed, outcome.first_failure), (1, Some((5, expected.status[5]))));
}

fn training(field: Mlp, layout: Layout, at: Local) -> TrainerConfig {
    let model = NeuralDe::new(Problem::ode(field, 0.0, 2.0), options(layout, SaveAt::End)).encoder(2).head(4);
    TrainerConfig::new(model, Loss::CrossEntropy)
        .optimizer(Optimizer::adamw(0.02, 0.01))
        .regularizer(at.coefficient(0.1).fraction(0.5))
        .failure(FailurePolicy::Skip)
}

/// The inputs and labels of step `n`. All trajectories of step 2 fail, so it makes no update.
fn batch(n: u64) -> (Vec<f32>, Vec<u32>) {
    let scale = if n == 2 { 3e38 } else { 1.0 };
    (cast(&scaled(scale, &numbers(n, BATCH * 2))), (0..BATCH as u32).map(|i| (i + n as u32) % 4).collect())
}

#[test]
fn recorded_training_steps_are_those_of_step() {
    const STEPS: u64 = 6;
    let Some(app) = App::open() else { return };
    let gpu = app.gpu();
    for (field, layout) in fields().into_iter().flat_map(|field| LAYOUTS.map(|layout| (field.clone(), layout))) {
        for local in [Local::unbiased(), Local::biased()] {
            let config = training(field.clone(), layout, local);
            let mut stepped = GpuTrainer::new(&gpu, config.clone()).expect("a valid configuration");
            let mut recorded = GpuTrainer::new(&gpu, config).expect("a valid configuration");
            gpu.block_on(recorded.prepare(BATCH, STEPS as usize, 30)).expect("room for a small batch");
            let mut encoder = app.encoder();
            for n in 0..STEPS {
                let (inputs, labels) = batch(n);
                let target = Target::Labels(&labels);
                let report = gpu.block_on(stepped.step(&Batch { inputs: &inputs, target })).expect("a valid batch");
                assert_eq!(report.skipped, n == 2, "{report:?}");
                let (inputs, labels) = (app.filled(&inputs), app.filled(&labels));
                let io = TrainIo { inputs: inputs.slice(..), targets: labels.slice(..) };
                recorded.record(&mut encoder, &io).expect("fitting buffers");
            }
            // All steps are one submission.
            app.queue.submit([encoder.finish()]);
            let report = gpu.block_on(recorded.sync()).expect("a device");
            assert_eq!((report.made, report.unfinished, recorded.steps()), (STEPS, false, STEPS), "{report:?}");
            let [a, b] = [&mut stepped, &mut recorded].map(|t| gpu.block_on(t.parameters()).expect("a device"));
            assert_eq!(bits(&a), bits(&b), "{layout:?}: the same parameters");
            // The host may go on where the device is.
            let (inputs, labels) = batch(STEPS);
            let next = Batch { inputs: &inputs, target: Target::Labels(&labels) };
            let [a, b] = [&mut stepped, &mut recorded].map(|t| gpu.block_on(t.step(&next)).expect("a valid batch"));
            assert_eq!((a.step, a.loss, a.penalty, a.nfe), (b.step, b.loss, b.penalty, b.nfe), "{layout:?}");
            let [a, b] = [&mut stepped, &mut recorded].map(|t| gpu.block_on(t.parameters()).expect("a device"));
            assert_eq!(bits(&a), bits(&b), "{layout:?}: the same parameters after a step of the host");
        }
    }
}

#[test]
fn recorded_steps_and_updates_of_the_host_take_turns() {
    let Some(app) = App::open() else { return };
    let gpu = app.gpu();
    let config = training(fields()[0].clone(), Layout::Lockstep, Local::unbiased());
    let mut stepped = GpuTrainer::new(&gpu, config.clone()).expect("a valid configuration");
    let mut recorded = GpuTrainer::new(&gpu, config).expect("a valid configuration");
    let gradient = cast::<f32>(&numbers(8, recorded.config().model.parameter_count()));
    gpu.block_on(recorded.prepare(BATCH, 5, 30)).expect("room for a small batch");
    // Step 2 makes no update, so that updates are fewer than steps.
    for n in [0, 2, 3] {
        let (inputs, labels) = batch(n);
        let target = Target::Labels(&labels);
        gpu.block_on(stepped.step(&Batch { inputs: &inputs, target })).expect("a valid batch");
        let (inputs, labels) = (app.filled(&inputs), app.filled(&labels));
        let io = TrainIo { inputs: inputs.slice(..), targets: labels.slice(..) };
        let mut encoder = app.encoder();
        recorded.record(&mut encoder, &io).expect("fitting buffers");
        app.queue.submit([encoder.finish()]);
        if n == 2 {
            // Nobody has asked yet what the two have come to.
            let [a, b] = [&mut stepped, &mut recorded].map(|t| gpu.block_on(t.apply(&gradient)).expect("an update"));
            assert!(a == b && a.made, "{a:?}, {b:?}");
            assert_eq!(recorded.steps(), 3, "two recorded steps and the update");
        }
    }
    assert_eq!(gpu.block_on(recorded.sync()).expect("a device").made, 1, "the one after the update");
    assert_eq!(recorded.steps(), 4, "all of them");
    let [a, b] = [&mut stepped, &mut recorded].map(|t| gpu.block_on(t.parameters()).expect("a device"));
    assert_eq!(bits(&a), bits(&b), "the same parameters");
}

fn noisy_problem() -> Problem {
    Problem::sde(Mlp::new([DIM, 9, DIM]), Diffusion::ito(Mlp::new([DIM, DIM])), 0.0, 2.0)
}

#[test]
fn recorded_solves_follow_the_given_paths() {
    let Some(app) = App::open() else { return };
    let gpu = app.gpu();
    for (layout, save_at) in LAYOUTS.into_iter().zip(save_points()) {
        let problem = noisy_problem();
        let options = SolverOptions::sde(Tolerances::both(0.1)).layout(layout).save_at(save_at);
        let theta = problem.initialize::<f32>(1);
        let mut solver = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
        let mut solve = gpu.block_on(solver.prepare(BATCH, 5)).expect("room for a small batch");
        let (parameters, y0) = (app.filled(&theta), app.filled(&initial_states()));
        let ys = app.buffer(solve.ys_bytes(), Usage::COPY_SRC | Usage::COPY_DST);
        for paths in [Paths::default(), Paths { seed: 7, first: 3 }] {
            solve.set_paths(paths).expect("few trajectories");
            solver.set_paths(paths);
            let mut encoder = app.encoder();
            let io = SolveIo { theta: parameters.slice(..), y0: y0.slice(..), ys: ys.slice(..) };
            solve.record(&mut encoder, &io).expect("fitting buffers");
            app.queue.submit([encoder.finish()]);
            while gpu.block_on(solve.outcome()).expect("a device").unfinished > 0 {
                let mut encoder = app.encoder();
                solve.record_more(&mut encoder, ys.slice(..)).expect("fitting buffers");
                app.queue.submit([encoder.finish()]);
            }
            let found = app.read(app.encoder(), &ys);
            let expected = gpu.block_on(solver.predict(&theta, &initial_states())).expect("a valid solve");
            assert_eq!(bits(&found), bits(&expected.ys), "{layout:?} {paths:?}");
        }
    }
}

#[test]
fn recorded_training_steps_have_the_paths_of_step() {
    const STEPS: usize = 4;
    let Some(app) = App::open() else { return };
    let gpu = app.gpu();
    for local in [Local::unbiased(), Local::biased()] {
        let options = SolverOptions::sde(Tolerances::both(0.3));
        let config = TrainerConfig::new(NeuralDe::new(noisy_problem(), options), Loss::Moments)
            .optimizer(Optimizer::adam(0.02))
            .regularizer(local.coefficient(0.1));
        let mut stepped = GpuTrainer::new(&gpu, config.clone()).expect("a valid configuration");
        let mut recorded = GpuTrainer::new(&gpu, config).expect("a valid configuration");
        gpu.block_on(recorded.prepare(BATCH, STEPS, 120)).expect("room for a small batch");
        let (inputs, moments) = (initial_states(), [0.1f32, 0.2, 0.3, 1.0, 0.5, 0.25]);
        let target = Target::Moments { means: &moments[..3], variances: &moments[3..] };
        let (states, targets) = (app.filled(&inputs), app.filled(&moments));
        let mut encoder = app.encoder();
        for _ in 0..STEPS {
            gpu.block_on(stepped.step(&Batch { inputs: &inputs, target })).expect("a valid batch");
            let io = TrainIo { inputs: states.slice(..), targets: targets.slice(..) };
            recorded.record(&mut encoder, &io).expect("fitting buffers");
        }
        app.queue.submit([encoder.finish()]);
        let report = gpu.block_on(recorded.sync()).expect("a device");
        assert_eq!((report.made, report.unfinished), (STEPS as u64, false), "{report:?}");
        let [a, b] = [&mut stepped, &mut recorded].map(|t| gpu.block_on(t.parameters()).expect("a device"));
        assert_eq!(bits(&a), bits(&b), "the same parameters");
    }
}

#[test]
fn a_recorded_step_with_too_few_attempts_changes_nothing() {
    let Some(app) = App::open() else { return };
    let gpu = app.gpu();
    // Small fields are solved whole, in as many attempts as it takes; this one is not.
    let [_, field] = fields();
    let config = training(field, Layout::Lockstep, Local::unbiased());
    let mut trainer = GpuTrainer::new(&gpu, config).expect("valid");
    let before = gpu.block_on(trainer.parameters()).expect("a device");
    gpu.block_on(trainer.prepare(BATCH, 2, 1)).expect("room for a small batch");
    let (inputs, labels) = batch(0);
    let (inputs, labels) = (app.filled(&inputs), app.filled(&labels));
    let io = TrainIo { inputs: inputs.slice(..), targets: labels.slice(..) };
    let mut encoder = app.encoder();
    trainer.record(&mut encoder, &io).expect("fitting buffers");
    app.queue.submit([encoder.finish()]);
    let report = gpu.block_on(trainer.sync()).expect("a device");
    assert_eq!((report.made, report.unfinished), (0, true), "{report:?}");
    let after = gpu.block_on(trainer.parameters()).expect("a device");
    assert_eq!(bits(&before), bits(&after), "no update");
    // What is prepared runs out, and says so.
    let mut encoder = app.encoder();
    trainer.record(&mut encoder, &io).expect("the second of two");
    refused(trainer.record(&mut encoder, &io), "steps", "prepare more");
}

/// Asserts a refusal that names the argument and the remedy.
fn refused<T: std::fmt::Debug>(result: fewsteps::Result<T>, argument: &str, remedy: &str) {
    let error = result.expect_err("refused");
    assert!(matches!(&error, Error::Argument { argument: a, .. } if *a == argument), "{error:?}");
    assert!(error.to_string().contains(remedy), "{error}");
}

#[test]
fn buffers_that_do_not_fit_are_refused_before_anything_is_recorded() {
    let app = App::noop();
    let gpu = app.gpu();
    let (problem, _) = problem(Mlp::new([DIM, 9, DIM]));
    let solver = GpuSolver::new(&gpu, &problem, &options(Layout::Ensemble, SaveAt::End)).expect("a valid problem");
    refused(gpu.block_on(solver.prepare(0, 4)), "batch", "at least one");
    refused(gpu.block_on(solver.prepare(4, 0)), "attempts", "at least one");
    let stepwise = GpuSolver::new(&gpu, &problem, &options(Layout::Ensemble, SaveAt::Steps)).expect("a valid problem");
    refused(gpu.block_on(stepwise.prepare(4, 4)), "SolverOptions::save_at", "known ahead");

    let solve = gpu.block_on(solver.prepare(BATCH, 4)).expect("room for a small batch");
    let copies = Usage::COPY_SRC | Usage::COPY_DST;
    let theta = app.buffer(solve.theta_bytes(), copies);
    let y = app.buffer(solve.y0_bytes() + 8, copies);
    let storage = app.buffer(solve.y0_bytes(), Usage::STORAGE);
    let fits = SolveIo { theta: theta.slice(..), y0: y.slice(4..), ys: y.slice(..) };
    let mut encoder = app.encoder();
    solve.record(&mut encoder, &fits).expect("fitting buffers");
    let mut refuse = |io: SolveIo<'_>, argument, remedy| refused(solve.record(&mut encoder, &io), argument, remedy);
    refuse(SolveIo { theta: theta.slice(4..), ..fits }, "SolveIo::theta", "larger buffer");
    refuse(SolveIo { y0: y.slice(..16), ..fits }, "SolveIo::y0", "840 bytes are needed");
    refuse(SolveIo { ys: y.slice(2..), ..fits }, "SolveIo::ys", "a multiple of 4");
    refuse(SolveIo { y0: storage.slice(..), ..fits }, "SolveIo::y0", "COPY_SRC");
    refuse(SolveIo { ys: storage.slice(..), ..fits }, "SolveIo::ys", "COPY_DST");
    refused(solve.record_more(&mut encoder, y.slice(..4)), "ys", "larger buffer");

    let config = training(Mlp::new([DIM, 9, DIM]), Layout::Lockstep, Local::unbiased());
    let mut trainer = GpuTrainer::new(&gpu, config).expect("valid");
    let io = TrainIo { inputs: y.slice(..), targets: y.slice(..) };
    refused(trainer.record(&mut encoder, &io), "record", "call prepare");
    gpu.block_on(trainer.prepare(BATCH, 2, 4)).expect("room for a small batch");
    refused(
        trainer.record(&mut encoder, &TrainIo { inputs: y.slice(..8), ..io }),
        "TrainIo::inputs",
        "560 bytes are needed",
    );
    refused(
        trainer.record(&mut encoder, &TrainIo { targets: storage.slice(..), ..io }),
        "TrainIo::targets",
        "COPY_SRC",
    );
    app.queue.submit([encoder.finish()]);
}

#[test]
fn recordings_validate_without_a_driver() {
    let app = App::noop();
    let gpu = app.gpu();
    for (field, layout, save_at) in cases() {
        let (problem, theta) = problem(field.clone());
        let solver = GpuSolver::new(&gpu, &problem, &options(layout, save_at)).expect("a valid problem");
        let solve = gpu.block_on(solver.prepare(BATCH, 4)).expect("kernels compile");
        let (theta, y0) = (app.filled(&theta), app.filled(&initial_states()));
        let ys = app.buffer(solve.ys_bytes(), Usage::COPY_DST);
        let mut trainer = GpuTrainer::new(&gpu, training(field, layout, Local::unbiased())).expect("valid");
        gpu.block_on(trainer.prepare(BATCH, 2, 4)).expect("kernels compile");
        let scope = app.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let mut encoder = app.encoder();
        let io = SolveIo { theta: theta.slice(..), y0: y0.slice(..), ys: ys.slice(..) };
        solve.record(&mut encoder, &io).expect("fitting buffers");
        solve.record_more(&mut encoder, ys.slice(..)).expect("fitting buffers");
        let io = TrainIo { inputs: y0.slice(..), targets: y0.slice(..) };
        trainer.record(&mut encoder, &io).expect("fitting buffers");
        app.queue.submit([encoder.finish()]);
        let error = pollster::block_on(scope.pop());
        assert!(error.is_none(), "{layout:?}: {error:?}");
    }
}

#[test]
fn two_devices_give_the_same_bits() {
    let (Some(one), Some(other)) = (App::open(), App::open()) else { return };
    for layout in LAYOUTS {
        let options = options(layout, SaveAt::End);
        let [_, field] = fields();
        let found = std::thread::scope(|scope| {
            let frames = [&one, &other].map(|app| scope.spawn(|| frame(app, field.clone(), &options, 40).0));
            frames.map(|frame| frame.join().expect("a frame"))
        });
        assert_eq!(bits(&found[0]), bits(&found[1]), "{layout:?}");
    }
}

/// Whoever waits for one device may wait for another within.
#[test]
fn a_wait_for_one_device_hears_of_another() {
    let (Some(one), Some(other)) = (App::open(), App::open()) else { return };
    let (one, other) = (one.gpu(), other.gpu());
    let (problem, theta) = problem(Mlp::new([DIM, 9, DIM]));
    let options = options(Layout::Ensemble, SaveAt::End);
    let [mut first, mut second] =
        [&one, &other].map(|gpu| GpuSolver::new(gpu, &problem, &options).expect("a valid problem"));
    let y0 = initial_states();
    let both = one.block_on(async {
        let there = second.predict(&theta, &y0).await?;
        // And one that waits in the middle of another's wait.
        let again = other.block_on(second.predict(&theta, &y0))?;
        let here = first.predict(&theta, &y0).await?;
        Ok::<_, Error>([there, again, here])
    });
    let [there, again, here] = both.expect("two devices").map(|solution| bits(&solution.ys));
    assert!(there == here && again == here, "the same bits");
}

#[test]
fn the_applications_device_keeps_its_callbacks() {
    let Some(app) = App::open() else { return };
    let (sender, heard) = std::sync::mpsc::channel();
    app.device.set_device_lost_callback(move |_, reason| drop(sender.send(reason)));
    let gpu = app.gpu();
    let (problem, theta) = problem(Mlp::new([DIM, 9, DIM]));
    let mut solver = GpuSolver::new(&gpu, &problem, &options(Layout::Ensemble, SaveAt::End)).expect("a valid problem");
    gpu.block_on(solver.predict(&theta, &initial_states())).expect("a valid solve");
    app.device.destroy();
    let _ = app.device.poll(wgpu::PollType::wait_indefinitely());
    gpu.note_lost(&heard.recv().expect("the application hears of it"));
    let error = gpu.block_on(solver.predict(&theta, &initial_states())).expect_err("the device is gone");
    assert!(matches!(error, Error::DeviceLost { .. }), "{error}");
}

// --- Executors and dropped futures ---

/// A waker that rings.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    ring: Condvar,
}

impl std::task::Wake for Bell {
    fn wake(self: Arc<Self>) {
        *self.rung.lock().expect("no panic") = true;
        self.ring.notify_all();
    }
}

impl Bell {
    /// Waits until somebody wakes, and fails where nobody does.
    fn wait(&self) {
        let rung = self.rung.lock().expect("no panic");
        let (mut rung, late) =
            self.ring.wait_timeout_while(rung, Duration::from_secs(60), |rung| !*rung).expect("no panic");
        assert!(!late.timed_out(), "the future sleeps for ever");
        *rung = false;
    }
}

/// An executor that gives a future up after so many polls, each of which was asked for by its waker.
fn polled<T>(future: impl Future<Output = T>, times: usize) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let bell = Arc::new(Bell::default());
    let waker = Arc::clone(&bell).into();
    let mut context = Context::from_waker(&waker);
    for n in 0..times {
        if n > 0 {
            bell.wait();
        }
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return Some(value);
        }
    }
    None
}

/// Options under which a solve takes several submissions and outgrows its first tape.
fn long_options(layout: Layout) -> SolverOptions {
    adaptive(Method::Tsit5, 1e-6).layout(layout)
}

#[test]
fn a_solver_goes_on_wherever_its_futures_were_dropped() {
    let Some(gpu) = gpu() else { return };
    let problem = Problem::ode(Mlp::new([DIM, 8, DIM]), 0.0, 30.0);
    let theta = cast::<f32>(&scaled(1.5, &numbers(1, problem.parameter_count())));
    let y0 = cast::<f32>(&numbers(2, 5 * DIM));
    let bar = vec![1.0; 5 * DIM];
    for layout in LAYOUTS {
        for whole in [true, false] {
            let name = format!("{layout:?}, whole {whole}");
            let fresh = || {
                let solver = GpuSolver::new(&gpu, &problem, &long_options(layout)).expect("a valid problem");
                let solver = if whole { solver } else { solver.layer_by_layer() };
                solver.attempts_per_submission(12).expect("a bound")
            };
            let mut expected = fresh();
            let solution = gpu.block_on(expected.solve(&theta, &y0)).expect("a valid call");
            assert!(solution.stats[0].accepted > 32, "{name}: {:?} outgrows the first tape", solution.stats[0]);
            let gradients = gpu.block_on(expected.gradients(&bar)).expect("cotangents");
            let mut solver = fresh();
            let mut awaits = [0; 3];
            // Each of the calls is dropped at each of its awaits; the next one is as if it had not been.
            for (call, awaits) in awaits.iter_mut().enumerate() {
                for times in 0.. {
                    let through = match call {
                        0 => polled(solver.solve(&theta, &y0), times).map(|s| s.map(|_| ())),
                        1 => polled(solver.predict(&theta, &y0), times).map(|s| s.map(|_| ())),
                        _ => polled(solver.gradients(&bar), times).map(|g| g.map(|_| ())),
                    };
                    if call < 2 {
                        let found = gpu.block_on(solver.solve(&theta, &y0)).expect("a valid call");
                        assert_eq!(found.stats, solution.stats, "{name}: call {call} dropped at {times}");
                        assert_eq!(bits(&found.ys), bits(&solution.ys), "{name}: call {call} dropped at {times}");
                    }
                    let found = gpu.block_on(solver.gradients(&bar)).expect("cotangents");
                    assert_eq!(bits(&found.theta), bits(&gradients.theta), "{name}: call {call} dropped at {times}");
                    assert_eq!(bits(&found.y0), bits(&gradients.y0), "{name}: call {call} dropped at {times}");
                    if let Some(result) = through {
                        result.expect("a valid call");
                        break;
                    }
                    *awaits = times;
                }
            }
            assert!(awaits[0] > 1 && awaits[2] > 0, "{name}: there are awaits to be dropped at: {awaits:?}");
        }
    }
}

/// Sets a flag when it is dropped, by a failing assertion too.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// An application's other threads poll the device too, at any instant: one between a buffer's being asked for and its
/// being given up is the one at which wgpu maps it.
#[test]
fn what_is_given_up_while_others_poll_spoils_nothing() {
    let Some(gpu) = gpu() else { return };
    let model = NeuralDe::new(Problem::ode(Mlp::new([DIM, 4, DIM]), 0.0, 1.0), long_options(Layout::Lockstep));
    let mut trainer = GpuTrainer::new(&gpu, TrainerConfig::new(model, Loss::Mse)).expect("a valid model");
    let expected = bits(&gpu.block_on(trainer.parameters()).expect("a device"));
    let done = AtomicBool::new(false);
    let mut given_up = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                gpu.device().poll(wgpu::PollType::Poll).expect("a device");
            }
        });
        // Whatever happens, the other thread ends.
        let _done = Done(&done);
        for round in 0..8_000_u64 {
            let patience = Duration::from_nanos(round * 7_919 % 300_000);
            let asked = std::time::Instant::now();
            let mut future = std::pin::pin!(trainer.parameters());
            let mut context = Context::from_waker(std::task::Waker::noop());
            if future.as_mut().poll(&mut context).is_pending() {
                while asked.elapsed() < patience {
                    std::hint::spin_loop();
                }
                given_up += 1;
            }
        }
    });
    assert!(given_up > 1_000, "{given_up} were given up");
    assert_eq!(bits(&gpu.block_on(trainer.parameters()).expect("a device")), expected);
}

#[test]
fn a_trainer_goes_on_wherever_its_futures_were_dropped() {
    let Some(gpu) = gpu() else { return };
    let model = NeuralDe::new(Problem::ode(Mlp::new([DIM, 8, DIM]), 0.0, 10.0), long_options(Layout::Lockstep)).head(2);
    let config = TrainerConfig::new(model, Loss::Mse).regularizer(Local::unbiased()).optimizer(Optimizer::adam(1e-2));
    let fresh = || GpuTrainer::new(&gpu, config.clone()).expect("a valid model");
    let inputs = cast::<f32>(&numbers(3, 5 * DIM));
    let targets = cast::<f32>(&numbers(4, 5 * 2));
    let batch = Batch { inputs: &inputs, target: Target::States(&targets) };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("checkpoint");
    let parameters = |trainer: &mut GpuTrainer| bits(&gpu.block_on(trainer.parameters()).expect("a device"));

    // What a trainer that nobody disturbs does: parameters after 0, 1, ... steps, and the reports of the steps.
    let mut undisturbed = fresh();
    let mut after = vec![parameters(&mut undisturbed)];
    let mut reports = Vec::new();
    for _ in 0..3 {
        reports.push(gpu.block_on(undisturbed.step(&batch)).expect("a step"));
        after.push(parameters(&mut undisturbed));
    }
    let evaluation = gpu.block_on(fresh().evaluate(&batch)).expect("an evaluation");
    let gradient = gpu.block_on(fresh().gradients(&batch)).expect("a gradient");
    let outputs = gpu.block_on(fresh().predict(&inputs)).expect("outputs");

    let mut made = Vec::new();
    for call in ["step", "evaluate", "gradients", "predict", "save", "parameters"] {
        for times in 0.. {
            let name = format!("{call} dropped at {times}");
            let mut trainer = fresh();
            let none = BTreeMap::new();
            let through = match call {
                "step" => polled(trainer.step(&batch), times).map(|r| r.map(|_| ())),
                "evaluate" => polled(trainer.evaluate(&batch), times).map(|r| r.map(|_| ())),
                "gradients" => polled(trainer.gradients(&batch), times).map(|r| r.map(|_| ())),
                "predict" => polled(trainer.predict(&inputs), times).map(|r| r.map(|_| ())),
                "save" => polled(trainer.save(&file, &none), times),
                _ => polled(trainer.parameters(), times).map(|r| r.map(|_| ())),
            };
            // A step of which nobody heard was made as a whole or not at all, and counts if it was.
            gpu.block_on(trainer.sync()).expect("a device");
            let steps = usize::try_from(trainer.steps()).expect("few steps");
            assert!(steps == 0 || call == "step", "{name}: {steps} steps");
            assert_eq!(parameters(&mut trainer), after[steps], "{name}: parameters of {steps} steps");
            if steps == 0 {
                assert_eq!(gpu.block_on(trainer.evaluate(&batch)).expect("an evaluation"), evaluation, "{name}");
                let found = gpu.block_on(trainer.predict(&inputs)).expect("outputs");
                assert_eq!(bits(&found), bits(&outputs), "{name}: outputs");
                let found = gpu.block_on(trainer.gradients(&batch)).expect("a gradient");
                assert_eq!(bits(&found.gradient), bits(&gradient.gradient), "{name}: gradient");
            }
            assert_eq!(gpu.block_on(trainer.step(&batch)).expect("a step"), reports[steps], "{name}: the next step");
            assert_eq!(parameters(&mut trainer), after[steps + 1], "{name}: parameters after the next step");
            gpu.block_on(trainer.save(&file, &none)).expect("a checkpoint");
            let (mut resumed, _) = GpuTrainer::resume(&gpu, &file).expect("the checkpoint");
            assert_eq!(resumed.steps(), steps as u64 + 1, "{name}: saved steps");
            assert_eq!(gpu.block_on(resumed.step(&batch)).expect("a step"), reports[steps + 1], "{name}: resumed");
            if call == "step" {
                made.push(steps);
            }
            if let Some(result) = through {
                result.expect("a valid call");
                break;
            }
        }
    }
    // It is not submitted before it is polled, and made at last.
    assert!(made.first() == Some(&0) && made.last() == Some(&1) && made.len() > 2, "{made:?}");
}

#[test]
fn a_report_that_was_dropped_loses_no_recorded_step() {
    let Some(app) = App::open() else { return };
    let gpu = app.gpu();
    let model = NeuralDe::new(Problem::ode(Mlp::new([DIM, 8, DIM]), 0.0, 1.0), SolverOptions::default());
    let config = TrainerConfig::new(model, Loss::Mse).optimizer(Optimizer::adam(1e-2));
    let numbers = cast::<f32>(&numbers(5, 5 * DIM));
    let states = app.filled(&numbers);
    let io = TrainIo { inputs: states.slice(..), targets: states.slice(..) };
    for times in 0.. {
        let mut trainer = GpuTrainer::new(&gpu, config.clone()).expect("a valid model");
        gpu.block_on(trainer.prepare(5, 3, 20)).expect("three steps");
        let mut encoder = app.encoder();
        trainer.record(&mut encoder, &io).expect("a step");
        trainer.record(&mut encoder, &io).expect("a step");
        app.queue.submit([encoder.finish()]);
        let report = polled(trainer.sync(), times);
        let heard = if report.is_some() { 0 } else { 2 };
        assert_eq!(gpu.block_on(trainer.sync()).expect("a report").made, heard, "dropped at {times}");
        assert_eq!(trainer.steps(), 2, "dropped at {times}");
        if let Some(report) = report {
            assert_eq!((report.expect("a report").made, times > 0), (2, true));
            break;
        }
    }
}

#[test]
fn any_executor_polls_from_any_thread() {
    fn sendable<F: Future + Send>(future: F) -> F {
        future
    }
    let Some(gpu) = gpu() else { return };
    let problem = Problem::ode(Mlp::new([DIM, 8, DIM]), 0.0, 3.0);
    let theta = cast::<f32>(&numbers(6, problem.parameter_count()));
    let y0 = cast::<f32>(&numbers(7, BATCH * DIM));
    let solver = || GpuSolver::new(&gpu, &problem, &long_options(Layout::Ensemble)).expect("a valid problem");
    let expected = gpu.block_on(solver().solve(&theta, &y0)).expect("a valid call");
    // Nobody else polls the device.
    let alone = pollster::block_on(sendable(solver().solve(&theta, &y0))).expect("a valid call");
    assert_eq!(bits(&alone.ys), bits(&expected.ys), "pollster");
    // Another thread's executor, while this one polls the device as a game loop does, and solves too.
    let through = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let mut solver = solver();
            let found: Vec<_> = (0..5).map(|_| pollster::block_on(solver.solve(&theta, &y0))).collect();
            through.store(true, Ordering::Relaxed);
            found
        });
        while !through.load(Ordering::Relaxed) {
            gpu.device().poll(wgpu::PollType::Poll).expect("a device");
            let here = gpu.block_on(solver().solve(&theta, &y0)).expect("a valid call");
            assert_eq!(bits(&here.ys), bits(&expected.ys), "this thread");
        }
        for found in other.join().expect("no panic") {
            assert_eq!(bits(&found.expect("a valid call").ys), bits(&expected.ys), "the other thread");
        }
    });
    // A step's future is as free; it need not be run for that.
    let model = NeuralDe::new(problem.clone(), SolverOptions::default());
    let mut trainer = GpuTrainer::new(&gpu, TrainerConfig::new(model, Loss::Mse)).expect("a valid model");
    drop(sendable(trainer.step(&Batch { inputs: &y0, target: Target::States(&y0) })));
}
