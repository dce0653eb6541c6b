//! [`Gpu`]: a device and its queue, its own or an application's.

use std::sync::{Arc, Mutex};

use super::adapter::{AdapterSummary, Pick, choose, instance};
use super::compiled::Cache;
use super::limits::{LONGEST, MAX_STORAGE_BUFFERS};
use super::profiler::{self, Profiler};
use super::scopes::Scopes;
use super::traffic::Traffic;
use crate::error::{Cure, Error, Result};

/// A device with its queue. Cheap to clone; clones share it.
///
/// ```no_run
/// # fn main() -> fewsteps::Result<()> {
/// let gpu = fewsteps::Gpu::open(&fewsteps::Pick::Any)?;
/// println!("{}", gpu.adapter());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Gpu {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    adapter: Arc<AdapterSummary>,
    lost: Arc<Mutex<Option<String>>>,
    checked: bool,
    pub(crate) cache: Arc<Mutex<Cache>>,
    pub(crate) profiler: Option<Arc<Profiler>>,
    traffic: Arc<Traffic>,
}

impl Gpu {
    /// The features that the engine asks for where the adapter has them. None is required. A pure function, so that an
    /// application can ask before it creates its device.
    #[must_use]
    pub fn wanted_features(available: wgpu::Features) -> wgpu::Features {
        available & (wgpu::Features::SHADER_F16 | profiler::FEATURES)
    }

    /// The limits that the engine asks for: WebGPU's defaults, with buffers and bindings as large as the adapter has
    /// them, so that the largest batch fits. A pure function, as [`Gpu::wanted_features`]; an application takes the
    /// larger of these and its own.
    #[must_use]
    pub fn wanted_limits(available: &wgpu::Limits) -> wgpu::Limits {
        let defaults = wgpu::Limits::default();
        wgpu::Limits {
            max_buffer_size: available.max_buffer_size.max(defaults.max_buffer_size),
            max_storage_buffer_binding_size: available
                .max_storage_buffer_binding_size
                .max(defaults.max_storage_buffer_binding_size),
            ..defaults
        }
    }

    /// Every adapter there is, in the order of [`Pick::Index`].
    pub async fn list() -> Vec<AdapterSummary> {
        let adapters = instance().enumerate_adapters(wgpu::Backends::all()).await;
        adapters.iter().map(|a| AdapterSummary::of(&a.get_info(), a.features(), &a.limits())).collect()
    }

    /// Opens an adapter's device.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] when there is none such, [`Error::Device`] when it refuses to open.
    pub async fn request(pick: &Pick) -> Result<Self> {
        let instance = instance();
        let (adapter, why) = choose(&instance, pick).await?;
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("fewsteps"),
            required_features: Self::wanted_features(adapter.features()),
            required_limits: Self::wanted_limits(&adapter.limits()),
            ..Default::default()
        };
        let opened = adapter.request_device(&descriptor).await;
        let (device, queue) = opened.map_err(|e| Error::Device { reason: e.to_string() })?;
        let gpu = Self::from_wgpu(&device, &queue)?;
        // Not the whole `Gpu`: a device whose callback owned it would never go.
        let lost = Arc::clone(&gpu.lost);
        device.set_device_lost_callback(move |reason, message| note(&lost, format!("{reason:?}: {message}")));
        log::info!("{}: {why}", gpu.adapter);
        Ok(gpu)
    }

    /// An application's device. It needs no features and no more than WebGPU's default limits; see
    /// [`Gpu::wanted_features`] and [`Gpu::wanted_limits`] for what makes it faster and larger.
    ///
    /// The device's callbacks stay the application's: let the one for a lost device call [`Gpu::note_lost`].
    ///
    /// # Errors
    /// [`Error::Device`] when the device has less than WebGPU's default limits.
    pub fn from_wgpu(device: &wgpu::Device, queue: &wgpu::Queue) -> Result<Self> {
        let limits = device.limits();
        let needed = wgpu::Limits::default();
        for (name, has, needs) in [
            ("max_storage_buffers_per_shader_stage", limits.max_storage_buffers_per_shader_stage, MAX_STORAGE_BUFFERS),
            (
                "max_compute_invocations_per_workgroup",
                limits.max_compute_invocations_per_workgroup,
                needed.max_compute_invocations_per_workgroup,
            ),
            (
                "max_compute_workgroup_storage_size",
                limits.max_compute_workgroup_storage_size,
                needed.max_compute_workgroup_storage_size,
            ),
            ("max_compute_workgroups_per_dimension", limits.max_compute_workgroups_per_dimension, LONGEST),
        ] {
            if has < needs {
                let reason = format!("{name} is {has}, the engine needs {needs}: ask for WebGPU's default limits");
                return Err(Error::Device { reason });
            }
        }
        Ok(Self {
            device: device.clone(),
            queue: queue.clone(),
            adapter: Arc::new(AdapterSummary::of(&device.adapter_info(), device.features(), &limits)),
            lost: Arc::default(),
            checked: cfg!(debug_assertions),
            cache: Arc::default(),
            profiler: None,
            traffic: Arc::default(),
        })
    }

    /// What the device computes with.
    #[must_use]
    pub fn adapter(&self) -> &AdapterSummary {
        &self.adapter
    }

    /// The device, for buffers and encoders of one's own.
    #[must_use]
    pub const fn device(&self) -> &wgpu::Device {
        &self.device
    }

    /// The device's queue.
    #[must_use]
    pub const fn queue(&self) -> &wgpu::Queue {
        &self.queue
    }

    /// Makes calls that wait for the device return [`Error::DeviceLost`]. [`Gpu::request`] sees to it; an application
    /// that brought its own device calls this when it hears of its loss.
    pub fn note_lost(&self, reason: &str) {
        note(&self.lost, reason.to_owned());
    }

    /// Compiles shaders with bounds checks and bounded loops, as debug builds do.
    #[must_use]
    pub fn checked(mut self, checked: bool) -> Self {
        if self.checked != checked {
            (self.checked, self.cache) = (checked, Arc::default());
        }
        self
    }

    /// The same device, of which the engine thinks that it is a card.
    #[cfg(test)]
    pub(crate) fn into_card(mut self) -> Self {
        self.adapter = Arc::new(AdapterSummary { software: false, ..(*self.adapter).clone() });
        self.cache = Arc::default();
        self
    }

    /// What it shares with its clones and with no other; devices of two instances compare equal.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn identity(&self) -> usize {
        Arc::as_ptr(&self.lost).addr()
    }

    pub(crate) const fn runtime_checks(&self) -> bool {
        self.checked
    }

    /// Times that the host has waited for the device, and bytes that it has read back, since the device was opened.
    #[must_use]
    pub fn traffic(&self) -> (u64, u64) {
        self.traffic.counts()
    }

    /// What counts waits and bytes.
    pub(super) fn counters(&self) -> &Traffic {
        &self.traffic
    }

    /// An error if the device is lost.
    pub(crate) fn check_lost(&self) -> Result<()> {
        match self.lost.lock().ok().and_then(|reason| reason.clone()) {
            None => Ok(()),
            Some(reason) => Err(Error::DeviceLost { reason }),
        }
    }

    /// What a refused request means: that of a lost device is refused too, perhaps before its loss was reported.
    pub(crate) fn refusal(&self, reason: String) -> Error {
        self.check_alive().err().unwrap_or(Error::Device { reason })
    }

    /// As [`Gpu::check_lost`], after asking the device. What is created on a lost device is silently invalid, and
    /// touching it later is an error that nobody captures.
    pub(crate) fn check_alive(&self) -> Result<()> {
        // Delivers the report of a loss; an error here says no more.
        let _ = self.device.poll(wgpu::PollType::Poll);
        self.check_lost()
    }

    /// The first of the device's limits that a bound buffer of so many bytes is beyond, and that limit.
    pub(crate) fn limit_below(&self, bytes: u64) -> Option<(&'static str, u64)> {
        // Shaders count numbers of a buffer in 32 bits.
        const ADDRESSED: u64 = 4 * u32::MAX as u64;
        let limits = self.device.limits();
        let all = [
            ("max_storage_buffer_binding_size", limits.max_storage_buffer_binding_size),
            ("max_buffer_size", limits.max_buffer_size),
            ("what 32 bits address", ADDRESSED),
        ];
        all.into_iter().find(|(_, limit)| bytes > *limit)
    }

    /// Refuses a buffer that the device cannot bind.
    pub(crate) fn check_binding(
        &self,
        what: impl FnOnce() -> String,
        bytes: u64,
        cure: impl FnOnce() -> Cure,
    ) -> Result<()> {
        match self.limit_below(bytes) {
            None => Ok(()),
            Some((name, limit)) => Err(Error::limit(what(), name, bytes, limit, cure())),
        }
    }

    /// Errors that nobody else captures become the result of `work`: creation of buffers, pipelines and bind groups.
    ///
    /// The scopes are closed before anything is awaited: they belong to a thread, which a future may leave at any await.
    pub(crate) async fn scoped<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        let scopes = Scopes::open(&self.device);
        let value = work();
        let error = scopes.close();
        self.judge(value, error.await)
    }

    /// As [`Gpu::scoped`], where nothing can be awaited. In a browser an error is not known yet then; what was refused is
    /// invalid there, and the first use of it is in a scope.
    pub(crate) fn scoped_now<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        let scopes = Scopes::open(&self.device);
        let value = work();
        let error = scopes.close();
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::pin!(error).poll(&mut context) {
            std::task::Poll::Ready(error) => self.judge(value, error),
            std::task::Poll::Pending => Ok(value),
        }
    }

    fn judge<T>(&self, value: T, error: Option<wgpu::Error>) -> Result<T> {
        match error {
            Some(error) => Err(self.refusal(error.to_string())),
            None => self.check_alive().map(|()| value),
        }
    }
}

fn note(lost: &Mutex<Option<String>>, reason: String) {
    if let Ok(mut lost) = lost.lock() {
        *lost = Some(reason);
    }
}
