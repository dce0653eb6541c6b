//! Frames in a window. Escape closes it.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use fewsteps::Gpu;
use winit::application::ApplicationHandler;
use winit::event::{ElementState, KeyEvent, WindowEvent};
use winit::event_loop::{ActiveEventLoop, EventLoop};
use winit::keyboard::{Key, NamedKey};
use winit::window::{Window, WindowId};

use crate::Options;
use crate::scene::Scene;

/// Frames between two looks at what one costs, each of which waits for the device.
const LOOK: u32 = 120;

pub(crate) fn run(options: Options) -> anyhow::Result<()> {
    let events = EventLoop::new().context("there is no display: use --headless DIR")?;
    let mut app = App { options, shown: None, failed: None };
    events.run_app(&mut app)?;
    app.failed.map_or(Ok(()), Err)
}

struct App {
    options: Options,
    shown: Option<Shown>,
    failed: Option<anyhow::Error>,
}

struct Shown {
    window: Arc<Window>,
    surface: wgpu::Surface<'static>,
    configuration: wgpu::SurfaceConfiguration,
    gpu: Gpu,
    scene: Scene,
    frames: u32,
    since: Instant,
}

impl ApplicationHandler for App {
    fn resumed(&mut self, events: &ActiveEventLoop) {
        if self.shown.is_none() {
            match Shown::open(events, &self.options) {
                Ok(shown) => self.shown = Some(shown),
                Err(error) => self.fail(events, error),
            }
        }
    }

    fn window_event(&mut self, events: &ActiveEventLoop, _: WindowId, event: WindowEvent) {
        let Some(shown) = &mut self.shown else { return };
        match event {
            WindowEvent::CloseRequested
            | WindowEvent::KeyboardInput {
                event: KeyEvent { logical_key: Key::Named(NamedKey::Escape), state: ElementState::Pressed, .. },
                ..
            } => events.exit(),
            WindowEvent::Resized(size) => shown.resize([size.width, size.height]),
            WindowEvent::RedrawRequested => {
                if let Err(error) = shown.draw() {
                    self.fail(events, error);
                }
            }
            _ => {}
        }
    }
}

impl App {
    fn fail(&mut self, events: &ActiveEventLoop, error: anyhow::Error) {
        self.failed = Some(error);
        events.exit();
    }
}

impl Shown {
    fn open(events: &ActiveEventLoop, options: &Options) -> anyhow::Result<Self> {
        let [width, height] = options.size;
        let size = winit::dpi::PhysicalSize::new(width, height);
        let attributes = Window::default_attributes().with_title("learning…").with_inner_size(size);
        let window = Arc::new(events.create_window(attributes)?);
        let display = Box::new(events.owned_display_handle());
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_with_display_handle_from_env(display));
        let surface = instance.create_surface(Arc::clone(&window))?;
        let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            compatible_surface: Some(&surface),
            ..Default::default()
        }))?;
        let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("particles"),
            required_features: Gpu::wanted_features(adapter.features()),
            required_limits: Gpu::wanted_limits(&adapter.limits()),
            ..Default::default()
        }))?;
        let gpu = Gpu::from_wgpu(&device, &queue)?;

        let size = window.inner_size();
        let mut configuration = surface
            .get_default_config(&adapter, size.width.max(1), size.height.max(1))
            .context("the adapter cannot draw on this window")?;
        let formats = surface.get_capabilities(&adapter).formats;
        configuration.format = formats.iter().copied().find(|f| f.is_srgb()).unwrap_or(configuration.format);
        surface.configure(&device, &configuration);
        let size = [configuration.width, configuration.height];
        let scene = Scene::new(&gpu, configuration.format, size, options.particles)?;
        scene.write_view(&gpu);
        window.request_redraw();
        Ok(Self { window, surface, configuration, gpu, scene, frames: 0, since: Instant::now() })
    }

    fn resize(&mut self, [width, height]: [u32; 2]) {
        if width > 0 && height > 0 {
            (self.configuration.width, self.configuration.height) = (width, height);
            self.surface.configure(self.gpu.device(), &self.configuration);
            self.scene.resize(&self.gpu, [width, height]);
        }
    }

    fn draw(&mut self) -> anyhow::Result<()> {
        use wgpu::CurrentSurfaceTexture as Current;
        self.window.request_redraw();
        let frame = match self.surface.get_current_texture() {
            Current::Success(frame) | Current::Suboptimal(frame) => frame,
            Current::Timeout | Current::Occluded => return Ok(()),
            Current::Outdated => {
                self.surface.configure(self.gpu.device(), &self.configuration);
                return Ok(());
            }
            Current::Lost | Current::Validation => bail!("the window's surface is lost"),
        };
        let view = frame.texture.create_view(&Default::default());
        let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
        self.scene.record(&mut encoder, &view)?;
        self.gpu.queue().submit([encoder.finish()]);
        self.window.pre_present_notify();
        self.gpu.queue().present(frame);
        self.frames += 1;
        if self.frames == LOOK {
            let ms = self.since.elapsed().as_secs_f64() * 1e3 / f64::from(LOOK);
            let (nfe, _) = self.scene.cost(&self.gpu)?;
            let title = format!("{} particles, NFE {nfe}, {ms:.1} ms a frame", self.scene.particles());
            println!("{title}");
            self.window.set_title(&title);
            (self.frames, self.since) = (0, Instant::now());
        }
        Ok(())
    }
}
