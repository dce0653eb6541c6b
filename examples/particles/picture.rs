//! [`Picture`]: draws the particles from the solver's states, as light that adds up and fades.

use crate::flow::FRAME;

const CANVAS: wgpu::TextureFormat = wgpu::TextureFormat::Rgba16Float;

/// Share of the light that stays from one frame to the next.
const KEPT: f64 = 0.75;

/// Half the plane's extent that is to be seen.
const PLANE: [f32; 2] = [2.1, 1.42];

pub(crate) struct Picture {
    pipelines: Pipelines,
    layout: wgpu::BindGroupLayout,
    view: wgpu::Buffer,
    states: [wgpu::Buffer; 2],
    canvas: Canvas,
}

struct Pipelines {
    streaks: wgpu::RenderPipeline,
    fade: wgpu::RenderPipeline,
    develop: wgpu::RenderPipeline,
}

/// What depends on the size: the canvas, and what is bound for either turn of the states.
struct Canvas {
    size: [u32; 2],
    view: wgpu::TextureView,
    drawing: [wgpu::BindGroup; 2],
    developing: wgpu::BindGroup,
    fresh: bool,
}

impl Picture {
    pub(crate) fn new(
        device: &wgpu::Device,
        format: wgpu::TextureFormat,
        size: [u32; 2],
        states: &[wgpu::Buffer; 2],
    ) -> Self {
        let layout = layout(device);
        let view = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("view"),
            size: 32,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let canvas = Canvas::new(device, &layout, &view, states, size);
        Self { pipelines: Pipelines::new(device, &layout, format), layout, view, states: states.clone(), canvas }
    }

    pub(crate) fn resize(&mut self, device: &wgpu::Device, size: [u32; 2]) {
        self.canvas = Canvas::new(device, &self.layout, &self.view, &self.states, size);
    }

    fn particles(&self) -> u32 {
        u32::try_from(self.states[0].size() / 8).unwrap_or(u32::MAX)
    }

    /// The view that the queue has to write before the next frame is submitted.
    pub(crate) fn write_view(&self, queue: &wgpu::Queue) {
        let [width, height] = self.canvas.size.map(|n| n as f32);
        // The whole plane is seen, whatever the window's shape.
        let unit = (width / PLANE[0]).min(height / PLANE[1]);
        let light = 0.3 * (width * height) / (self.particles() as f32 * 12.0);
        let view = [unit / width, unit / height, 2.0 / width, 2.0 / height, light.min(1.5), 0.0, 0.0, 0.0];
        queue.write_buffer(&self.view, 0, bytemuck::cast_slice(&view));
    }

    /// Records the passes of a frame whose states are in `states[after]`.
    pub(crate) fn record(&mut self, encoder: &mut wgpu::CommandEncoder, target: &wgpu::TextureView, after: usize) {
        let load = if self.canvas.fresh { wgpu::LoadOp::Clear(wgpu::Color::BLACK) } else { wgpu::LoadOp::Load };
        self.canvas.fresh = false;
        {
            let mut pass = pass(encoder, "particles", &self.canvas.view, load);
            pass.set_bind_group(0, &self.canvas.drawing[after], &[]);
            pass.set_pipeline(&self.pipelines.fade);
            pass.set_blend_constant(wgpu::Color { r: KEPT, g: KEPT, b: KEPT, a: KEPT });
            pass.draw(0..3, 0..1);
            pass.set_pipeline(&self.pipelines.streaks);
            pass.draw(0..4, 0..self.particles());
        }
        let mut pass = pass(encoder, "develop", target, wgpu::LoadOp::Clear(wgpu::Color::BLACK));
        pass.set_bind_group(0, &self.canvas.developing, &[]);
        pass.set_pipeline(&self.pipelines.develop);
        pass.draw(0..3, 0..1);
    }
}

fn pass<'a>(
    encoder: &'a mut wgpu::CommandEncoder,
    label: &str,
    view: &wgpu::TextureView,
    load: wgpu::LoadOp<wgpu::Color>,
) -> wgpu::RenderPass<'a> {
    encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
        label: Some(label),
        color_attachments: &[Some(wgpu::RenderPassColorAttachment {
            view,
            depth_slice: None,
            resolve_target: None,
            ops: wgpu::Operations { load, store: wgpu::StoreOp::Store },
        })],
        ..Default::default()
    })
}

fn layout(device: &wgpu::Device) -> wgpu::BindGroupLayout {
    let both = wgpu::ShaderStages::VERTEX_FRAGMENT;
    let entry = |binding, visibility, ty| wgpu::BindGroupLayoutEntry { binding, visibility, ty, count: None };
    let buffer = |ty| wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None };
    let states = buffer(wgpu::BufferBindingType::Storage { read_only: true });
    let canvas = wgpu::BindingType::Texture {
        sample_type: wgpu::TextureSampleType::Float { filterable: false },
        view_dimension: wgpu::TextureViewDimension::D2,
        multisampled: false,
    };
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: Some("picture"),
        entries: &[
            entry(0, both, buffer(wgpu::BufferBindingType::Uniform)),
            entry(1, wgpu::ShaderStages::VERTEX, states),
            entry(2, wgpu::ShaderStages::VERTEX, states),
            entry(3, wgpu::ShaderStages::FRAGMENT, canvas),
        ],
    })
}

impl Canvas {
    fn new(
        device: &wgpu::Device,
        layout: &wgpu::BindGroupLayout,
        uniforms: &wgpu::Buffer,
        states: &[wgpu::Buffer; 2],
        size: [u32; 2],
    ) -> Self {
        let usage = wgpu::TextureUsages::RENDER_ATTACHMENT | wgpu::TextureUsages::TEXTURE_BINDING;
        let view = texture(device, "canvas", size, CANVAS, usage).create_view(&Default::default());
        // A texture that is drawn to is not bound meanwhile.
        let blank = texture(device, "blank", [1, 1], CANVAS, usage).create_view(&Default::default());
        let bind = |before: usize, canvas: &wgpu::TextureView| {
            let entry = |binding, resource| wgpu::BindGroupEntry { binding, resource };
            device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some("picture"),
                layout,
                entries: &[
                    entry(0, uniforms.as_entire_binding()),
                    entry(1, states[before].as_entire_binding()),
                    entry(2, states[1 - before].as_entire_binding()),
                    entry(3, wgpu::BindingResource::TextureView(canvas)),
                ],
            })
        };
        let (drawing, developing) = ([bind(1, &blank), bind(0, &blank)], bind(0, &view));
        Self { size, view, drawing, developing, fresh: true }
    }
}

pub(crate) fn texture(
    device: &wgpu::Device,
    label: &str,
    [width, height]: [u32; 2],
    format: wgpu::TextureFormat,
    usage: wgpu::TextureUsages,
) -> wgpu::Texture {
    device.create_texture(&wgpu::TextureDescriptor {
        label: Some(label),
        size: wgpu::Extent3d { width, height, depth_or_array_layers: 1 },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format,
        usage,
        view_formats: &[],
    })
}

impl Pipelines {
    fn new(device: &wgpu::Device, layout: &wgpu::BindGroupLayout, format: wgpu::TextureFormat) -> Self {
        let source = format!("const FRAME = {FRAME:?};\n{}", include_str!("picture.wgsl"));
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some("picture"),
            source: wgpu::ShaderSource::Wgsl(source.into()),
        });
        let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some("picture"),
            bind_group_layouts: &[Some(layout)],
            immediate_size: 0,
        });
        let blend = |src_factor, dst_factor| {
            let both = wgpu::BlendComponent { src_factor, dst_factor, operation: wgpu::BlendOperation::Add };
            Some(wgpu::BlendState { color: both, alpha: both })
        };
        let pipeline = |vertex, fragment, topology, format, blend| {
            device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
                label: Some(fragment),
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
                    entry_point: Some(fragment),
                    compilation_options: Default::default(),
                    targets: &[Some(wgpu::ColorTargetState { format, blend, write_mask: wgpu::ColorWrites::ALL })],
                }),
                multiview_mask: None,
                cache: None,
            })
        };
        use wgpu::{BlendFactor::*, PrimitiveTopology::*};
        Self {
            streaks: pipeline("streak", "glow", TriangleStrip, CANVAS, blend(One, One)),
            fade: pipeline("screen", "fade", TriangleList, CANVAS, blend(Zero, Constant)),
            develop: pipeline("screen", "develop", TriangleList, format, None),
        }
    }
}
