//! The shaders' functions on the device against the truth at `f64`, and their integers against the host's.

mod activation;
mod brownian;
mod elementary;
mod integers;
mod programs;

use wgpu::util::DeviceExt;

use super::Gpu;
use super::kernel::MODULES;

/// Applies `body` to each record of `IN` words at `x`, which leaves `OUT` words at `y`; once with all run-time checks
/// and once with none, which must agree to the bit.
fn apply<const IN: usize, const OUT: usize>(
    gpu: &Gpu,
    libraries: &[&str],
    body: &str,
    input: &[[u32; IN]],
) -> Vec<[u32; OUT]> {
    let mut text = String::new();
    for name in libraries {
        let library = MODULES.iter().find(|m| m.name == *name).expect("a library file");
        text += library.source;
    }
    text += &format!(
        "@group(0) @binding(0) var<storage, read> input_: array<array<u32, {IN}>>;
         @group(0) @binding(1) var<storage, read_write> output_: array<array<u32, {OUT}>>;
         fn f(x: array<u32, {IN}>) -> array<u32, {OUT}> {{ var y: array<u32, {OUT}>; {body} return y; }}
         @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
             if id.x < arrayLength(&input_) {{ output_[id.x] = f(input_[id.x]); }}
         }}"
    );
    let device = &gpu.device;
    let descriptor =
        || wgpu::ShaderModuleDescriptor { label: None, source: wgpu::ShaderSource::Wgsl(text.clone().into()) };
    let checked = device.create_shader_module(descriptor());
    // SAFETY: the only index is bounded by the array's length, and the libraries' loops count.
    let unchecked =
        unsafe { device.create_shader_module_trusted(descriptor(), wgpu::ShaderRuntimeChecks::unchecked()) };
    let [a, b] = [checked, unchecked].map(|module| run::<IN, OUT>(gpu, &module, input));
    assert!(a == b, "{body} depends on run-time checks");
    a
}

fn run<const IN: usize, const OUT: usize>(
    gpu: &Gpu,
    module: &wgpu::ShaderModule,
    input: &[[u32; IN]],
) -> Vec<[u32; OUT]> {
    let device = &gpu.device;
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions::default(),
        cache: None,
    });
    let buffer = |contents: &[u8], usage| {
        device.create_buffer_init(&wgpu::util::BufferInitDescriptor { label: None, contents, usage })
    };
    let from = buffer(bytemuck::cast_slice(input.as_flattened()), wgpu::BufferUsages::STORAGE);
    let zeros = vec![0u8; 4 * OUT * input.len()];
    let to = buffer(&zeros, wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC);
    let host = buffer(&zeros, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
    let bindings = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[
            wgpu::BindGroupEntry { binding: 0, resource: from.as_entire_binding() },
            wgpu::BindGroupEntry { binding: 1, resource: to.as_entire_binding() },
        ],
    });
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &bindings, &[]);
        pass.dispatch_workgroups(u32::try_from(input.len().div_ceil(64)).expect("few records"), 1, 1);
    }
    encoder.copy_buffer_to_buffer(&to, 0, &host, 0, to.size());
    gpu.queue.submit([encoder.finish()]);
    let bytes = host.size();
    let readback = super::device::readback::Readback::new(gpu, host, bytes);
    let (words, _): (Vec<u32>, _) = gpu.block_on(readback.read(gpu, bytemuck::pod_collect_to_vec)).expect("a device");
    words.as_chunks().0.to_vec()
}

/// Fails with the first of all that was found, and their number.
fn none(failures: &[String]) {
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures[..failures.len().min(20)].join("\n"));
}

/// Whether an error is above its bound, or not a number.
fn beyond(error: f64, bound: f64) -> bool {
    error.is_nan() || error > bound
}

/// From one end of the reals to the other: 1e-30 to 1e30 on a logarithmic grid, both signs; the range in which functions
/// turn, densely; zeros and denormal numbers.
fn finite_numbers() -> Vec<f32> {
    let grid = (-300..=300).map(|i| 10f64.powf(f64::from(i) / 10.0)).flat_map(|x| [x, -x]);
    let dense = (-22_000..=22_000).map(|i| f64::from(i) / 200.0);
    let tiny = [0.0, -0.0, 1e-45, -1e-45, 1e-40, -1e-40, 1.1e-38, -1.1e-38].map(|x: f32| f64::from(x));
    grid.chain(dense).chain(tiny).map(|x| x as f32).collect()
}

/// All kinds of NaN: both signs, quiet and signalling, first and last payload.
const NANS: [u32; 6] = [0x7fc0_0000, 0xffc0_0000, 0x7f80_0001, 0xff80_0001, 0x7fff_ffff, 0xffff_ffff];

/// WGSL lets a device take denormal numbers for zeros, and round their like to them.
const DENORMAL: f64 = 1.2e-38;
