//! [`Page`]: the visitor's GPU, and the canvas that trajectories are drawn on.

use fewsteps::{Gpu, wgpu};
use wasm_bindgen::prelude::*;
use web_sys::HtmlCanvasElement;

use crate::learner::Learner;
use crate::picture::Picture;
use crate::task;

/// The visitor's GPU and a canvas.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Page {
    gpu: Gpu,
    adapter: String,
    surface: wgpu::Surface<'static>,
    configuration: wgpu::SurfaceConfiguration,
}

/// Panics are written to the console with their place.
#[wasm_bindgen(start)]
pub(crate) fn start() {
    std::panic::set_hook(Box::new(|panic| error(&panic.to_string())));
}

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = console)]
    fn error(text: &str);
}

#[wasm_bindgen]
impl Page {
    /// Asks for the fastest adapter that can draw on the canvas.
    pub async fn open(canvas: HtmlCanvasElement) -> Result<Self, JsError> {
        let (width, height) = (canvas.width().max(1), canvas.height().max(1));
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        let surface = instance.create_surface(wgpu::SurfaceTarget::Canvas(canvas))?;
        let wanted = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            compatible_surface: Some(&surface),
            ..Default::default()
        };
        let adapter = instance.request_adapter(&wanted).await?;
        let opened = adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("fewsteps"),
            required_features: Gpu::wanted_features(adapter.features()),
            required_limits: Gpu::wanted_limits(&adapter.limits()),
            ..Default::default()
        });
        let (device, queue) = opened.await?;
        let configuration = surface
            .get_default_config(&adapter, width, height)
            .ok_or_else(|| JsError::new("the adapter cannot draw on this canvas"))?;
        surface.configure(&device, &configuration);
        let info = adapter.get_info();
        let told = [info.name, info.driver, info.driver_info].join(" ");
        let adapter = if told.trim().is_empty() { "the browser does not tell its name".into() } else { told };
        device.set_device_lost_callback(|reason, message| error(&format!("the device is lost: {reason:?}: {message}")));
        Ok(Self { gpu: Gpu::from_wgpu(&device, &queue)?, adapter, surface, configuration })
    }

    /// What the browser says of the adapter.
    #[wasm_bindgen(getter)]
    pub fn adapter(&self) -> String {
        self.adapter.clone()
    }

    /// A model that learns where a spiral takes the points of a square; at a price for steps, or without.
    pub async fn spiral(&self, seed: u32, price: Option<f64>) -> Result<Learner, JsError> {
        let task = task::spiral(seed.into(), price);
        let picture = Picture::new(&self.gpu, &task.config.model.problem, self.configuration.format).await?;
        let mut learner = Learner::new(&self.gpu, task, seed.into())?;
        learner.picture = Some(picture);
        Ok(learner)
    }

    /// A model that learns to tell digits apart, from rows of 64 pixels from 0 to 16 and a label.
    pub async fn digits(&self, rows: Vec<u8>, seed: u32, price: Option<f64>) -> Result<Learner, JsError> {
        let task = task::digits(&rows, seed.into(), price).map_err(|reason| JsError::new(&reason))?;
        Ok(Learner::new(&self.gpu, task, seed.into())?)
    }

    /// Solves the model's equation from a row of starts, and draws the trajectories from the solver's own buffer; nothing is
    /// read back. A model without trajectories in the plane leaves the canvas as it is.
    pub fn draw(&self, learner: &Learner) -> Result<(), JsError> {
        use wgpu::CurrentSurfaceTexture as Current;
        let Some(picture) = &learner.picture else { return Ok(()) };
        let frame = match self.surface.get_current_texture() {
            Current::Success(frame) | Current::Suboptimal(frame) => frame,
            Current::Timeout | Current::Occluded => return Ok(()),
            Current::Outdated => {
                self.surface.configure(self.gpu.device(), &self.configuration);
                return Ok(());
            }
            Current::Lost | Current::Validation => return Err(JsError::new("the canvas is lost")),
        };
        let view = frame.texture.create_view(&Default::default());
        let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
        picture.record(&mut encoder, learner.trainer.theta_buffer(), &view)?;
        self.gpu.queue().submit([encoder.finish()]);
        self.gpu.queue().present(frame);
        Ok(())
    }
}
