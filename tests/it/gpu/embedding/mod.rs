//! The engine as a guest: an application's device, its encoder, its buffers, its passes before and after.

mod futures;
mod solves;
mod training;

use crate::oracle::{LAYOUTS, adaptive, cast, gpu, numbers, scaled};
use fewsteps::{
    Control, Diffusion, Error, FailurePolicy, Field, Gpu, Interpolation, Layout, Local, Loss, Method, Mlp, NeuralDe,
    Optimizer, Problem, SaveAt, SolverOptions, TrainerConfig,
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

fn noisy_problem() -> Problem {
    Problem::sde(Mlp::new([DIM, 9, DIM]), Diffusion::ito(Mlp::new([DIM, DIM])), 0.0, 2.0)
}

/// A network that a control of three knots drives.
fn driven_problem() -> Problem {
    let network = Mlp::new([DIM, 9, DIM]);
    let field = Field::build(DIM, |f| f.mlp("net", &network, &(f.state() + f.control("u").repeat(DIM))) - f.state());
    let knots = Control::new("u", Interpolation::Linear, [0.0, 0.6, 2.0]);
    Problem::ode(field.expect("a field"), 0.0, 2.0).driven_by(knots)
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

/// Asserts a refusal that names the argument and the remedy.
fn refused<T: std::fmt::Debug>(result: fewsteps::Result<T>, argument: &str, remedy: &str) {
    let error = result.expect_err("refused");
    assert!(matches!(&error, Error::Argument { argument: a, .. } if *a == argument), "{error:?}");
    assert!(error.to_string().contains(remedy), "{error}");
}
