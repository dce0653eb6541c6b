//! [`Pick`]: adapters, and which one to take.

use crate::error::{Error, Result};

/// What an adapter is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct AdapterSummary {
    /// The adapter's name.
    pub name: String,
    /// The driver and its version.
    pub driver: String,
    /// The graphics interface, such as `vulkan`.
    pub backend: String,
    /// Discrete, integrated, virtual, software or other.
    pub kind: String,
    /// Whether it is a processor that plays a graphics card.
    pub software: bool,
    /// Whether shaders can compute with and store 16-bit numbers.
    pub f16: bool,
    /// Whether shaders can use subgroups.
    pub subgroups: bool,
    /// Bytes that one binding may have.
    pub max_binding: u64,
}

impl AdapterSummary {
    pub(super) fn of(info: &wgpu::AdapterInfo, features: wgpu::Features, limits: &wgpu::Limits) -> Self {
        Self {
            name: info.name.clone(),
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            backend: info.backend.to_string(),
            kind: match info.device_type {
                wgpu::DeviceType::DiscreteGpu => "discrete",
                wgpu::DeviceType::IntegratedGpu => "integrated",
                wgpu::DeviceType::VirtualGpu => "virtual",
                wgpu::DeviceType::Cpu => "software",
                wgpu::DeviceType::Other => "other",
            }
            .to_owned(),
            software: info.device_type == wgpu::DeviceType::Cpu,
            f16: features.contains(wgpu::Features::SHADER_F16),
            subgroups: features.contains(wgpu::Features::SUBGROUP),
            max_binding: limits.max_storage_buffer_binding_size,
        }
    }
}

impl std::fmt::Display for AdapterSummary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, driver, backend, kind, .. } = self;
        write!(f, "{name} ({kind}, {backend}, {driver})")
    }
}

/// Which adapter to take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pick {
    /// The one that `WGPU_ADAPTER_NAME` names, else the fastest that is no software.
    #[default]
    Fastest,
    /// As [`Pick::Fastest`], software too if there is nothing else.
    Any,
    /// The n-th of [`Gpu::list`](crate::Gpu::list).
    Index(usize),
    /// The first whose name contains this, whatever the case.
    Name(String),
}

pub(super) fn instance() -> wgpu::Instance {
    // OpenGL would list every card a second time; it is there for whoever asks for it by WGPU_BACKEND, which is honoured
    // like wgpu's other variables.
    let descriptor = wgpu::InstanceDescriptor {
        backends: wgpu::Backends::PRIMARY,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    };
    wgpu::Instance::new(descriptor.with_env())
}

/// The adapter, and why it is that one.
pub(super) async fn choose(instance: &wgpu::Instance, pick: &Pick) -> Result<(wgpu::Adapter, String)> {
    let mut adapters = instance.enumerate_adapters(wgpu::Backends::all()).await;
    let infos: Vec<wgpu::AdapterInfo> = adapters.iter().map(wgpu::Adapter::get_info).collect();
    let named = |name: &str| infos.iter().position(|i| i.name.to_lowercase().contains(&name.to_lowercase()));
    let names = || infos.iter().map(|i| i.name.clone()).collect::<Vec<_>>().join(", ");
    let none = |wanted: String| Error::NoAdapter { wanted, found: names() };
    let (index, why) = match pick {
        Pick::Index(index) if *index < infos.len() => (*index, format!("adapter {index} was asked for")),
        Pick::Index(index) => return Err(none(format!("adapter {index}"))),
        Pick::Name(name) => {
            (named(name).ok_or_else(|| none(format!("an adapter named {name}")))?, format!("{name} was asked for"))
        }
        Pick::Fastest | Pick::Any => {
            if let Ok(name) = std::env::var("WGPU_ADAPTER_NAME")
                && !name.is_empty()
            {
                let index = named(&name).ok_or_else(|| none(format!("WGPU_ADAPTER_NAME={name}")))?;
                (index, "WGPU_ADAPTER_NAME names it".to_owned())
            } else {
                let best = (0..infos.len())
                    .filter(|&i| *pick == Pick::Any || infos[i].device_type != wgpu::DeviceType::Cpu)
                    .min_by_key(|&i| (rank(infos[i].device_type), infos[i].backend == wgpu::Backend::Gl, i));
                (best.ok_or_else(|| none("a graphics card".into()))?, "the fastest there is".to_owned())
            }
        }
    };
    Ok((adapters.swap_remove(index), why))
}

/// The faster kinds first, as a high-performance power preference has it.
const fn rank(kind: wgpu::DeviceType) -> u32 {
    match kind {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::VirtualGpu => 1,
        wgpu::DeviceType::IntegratedGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    }
}
