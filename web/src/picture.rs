//! [`Picture`]: trajectories in the plane, drawn from the buffer that the solver leaves them in.

use std::f64::consts::TAU;

use fewsteps::{
    Gpu, GpuSolver, Layout, Problem, SaveAt, SolveIo, SolveRecording, SolverOptions, StepControl, Tolerances, wgpu,
};

use crate::task::{SQUARE, spiral_end};

/// Trajectories, on two circles, and their saved times.
const STARTS: usize = 48;
const TIMES: usize = 49;

/// Attempted steps that a trajectory has.
const ATTEMPTS: usize = 24;

/// Behind the lines.
const BACKGROUND: wgpu::Color = wgpu::Color { r: 0.004, g: 0.006, b: 0.012, a: 1.0 };

#[derive(Debug)]
pub(crate) struct Picture {
    solve: SolveRecording,
    starts: wgpu::Buffer,
    states: wgpu::Buffer,
    bound: wgpu::BindGroup,
    lines: wgpu::RenderPipeline,
    squares: wgpu::RenderPipeline,
}

impl Picture {
    pub(crate) async fn new(gpu: &Gpu, problem: &Problem, format: wgpu::TextureFormat) -> fewsteps::Result<Self> {
        let times = (0..TIMES).map(|i| i as f64 / (TIMES - 1) as f64).collect();
        let steps = StepControl::prompt(Tolerances::both(1e-3));
        let options =
            SolverOptions::default().layout(Layout::Ensemble).step_control(steps).save_at(SaveAt::Times(times));
        let solve = GpuSolver::new(gpu, problem, &options)?.prepare(STARTS, ATTEMPTS).await?;
        let circles: Vec<[f64; 2]> = (0..STARTS).map(start).collect();
        let numbers = |of: fn([f64; 2]) -> [f64; 2]| -> Vec<u8> {
            circles.iter().flat_map(|&y| of(y)).flat_map(|y| (y as f32).to_le_bytes()).collect()
        };
        let view = [(1.0 / (1.15 * SQUARE)) as f32, f32::from_bits(STARTS as u32), f32::from_bits(TIMES as u32), 0.0];
        let view: Vec<u8> = view.iter().flat_map(|number| number.to_le_bytes()).collect();
        use wgpu::BufferUsages as Usages;
        let starts = buffer(gpu, "starts", &numbers(|y| y), Usages::COPY_SRC);
        let states = buffer(gpu, "states", &vec![0; 8 * STARTS * TIMES], Usages::STORAGE);
        let ends = buffer(gpu, "ends", &numbers(spiral_end), Usages::STORAGE);
        let view = buffer(gpu, "view", &view, Usages::UNIFORM);
        let layout = layout(gpu.device());
        let buffers = [&view, &states, &ends];
        let entries: Vec<wgpu::BindGroupEntry<'_>> = (0..)
            .zip(buffers)
            .map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
            .collect();
        let bound = gpu.device().create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("picture"),
            layout: &layout,
            entries: &entries,
        });
        let [lines, squares] = pipelines(gpu.device(), &layout, format);
        Ok(Self { solve, starts, states, bound, lines, squares })
    }

    /// Records the solve with these parameters, and what is drawn of it.
    pub(crate) fn record(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        theta: &wgpu::Buffer,
        target: &wgpu::TextureView,
    ) -> fewsteps::Result<()> {
        let io = SolveIo { theta: theta.slice(..), y0: self.starts.slice(..), ys: self.states.slice(..) };
        self.solve.record(encoder, &io)?;
        let mut pass = encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
            label: Some("picture"),
            color_attachments: &[Some(wgpu::RenderPassColorAttachment {
                view: target,
                depth_slice: None,
                resolve_target: None,
                ops: wgpu::Operations { load: wgpu::LoadOp::Clear(BACKGROUND), store: wgpu::StoreOp::Store },
            })],
            ..Default::default()
        });
        pass.set_bind_group(0, &self.bound, &[]);
        pass.set_pipeline(&self.lines);
        pass.draw(0..2 * (TIMES as u32 - 1), 0..STARTS as u32);
        pass.set_pipeline(&self.squares);
        pass.draw(0..4, 0..STARTS as u32);
        Ok(())
    }
}

/// A start on the outer circle, or on the inner one, by turns.
fn start(i: usize) -> [f64; 2] {
    let (sin, cos) = (TAU * i as f64 / STARTS as f64).sin_cos();
    let radius = SQUARE * if i.is_multiple_of(2) { 1.0 } else { 0.6 };
    [radius * cos, radius * sin]
}

fn buffer(gpu: &Gpu, label: &str, bytes: &[u8], usage: wgpu::BufferUsages) -> wgpu::Buffer {
    let usage = usage | wgpu::BufferUsages::COPY_DST;
    let descriptor =
        wgpu::BufferDescriptor { label: Some(label), size: bytes.len() as u64, usage, mapped_at_creation: false };
    let buffer = gpu.device().create_buffer(&descriptor);
    gpu.queue().write_buffer(&buffer, 0, bytes);
    buffer
}

fn layout(device: &wgpu::Device) -> wgpu::BindGroupLayout {
    let storage = wgpu::BufferBindingType::Storage { read_only: true };
    let entry = |binding, ty| wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::VERTEX,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
        count: None,
    };
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: Some("picture"),
        entries: &[entry(0, wgpu::BufferBindingType::Uniform), entry(1, storage), entry(2, storage)],
    })
}

/// That of lines, and that of squares.
fn pipelines(
    device: &wgpu::Device,
    layout: &wgpu::BindGroupLayout,
    format: wgpu::TextureFormat,
) -> [wgpu::RenderPipeline; 2] {
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some("picture"),
        source: wgpu::ShaderSource::Wgsl(include_str!("picture.wgsl").into()),
    });
    let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some("picture"),
        bind_group_layouts: &[Some(layout)],
        immediate_size: 0,
    });
    let shapes = [("line", wgpu::PrimitiveTopology::LineList), ("square", wgpu::PrimitiveTopology::TriangleStrip)];
    shapes.map(|(vertex, topology)| {
        device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
            label: Some(vertex),
            layout: Some(&layout),
            vertex: wgpu::VertexState {
                module: &module,
                entry_point: Some(vertex),
                compilation_options: Default::default(),
                buffers: &[],
            },
            primitive: wgpu::PrimitiveState { topology, ..Default::default() },
            depth_stencil: None,
            multisample: Default::default(),
            fragment: Some(wgpu::FragmentState {
                module: &module,
                entry_point: Some("paint"),
                compilation_options: Default::default(),
                targets: &[Some(wgpu::ColorTargetState { format, blend: None, write_mask: wgpu::ColorWrites::ALL })],
            }),
            multiview_mask: None,
            cache: None,
        })
    })
}
