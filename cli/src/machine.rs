//! [`Machine`]: what a figure was measured on.

use fewsteps::{AdapterSummary, Device};
use serde::{Deserialize, Serialize};

/// The machine, as far as it explains times and NFE.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cpu_model: Option<String>,
    pub(crate) logical_cpus: usize,
    pub(crate) os: String,
    pub(crate) architecture: String,
    #[serde(flatten)]
    pub(crate) engine: Engine,
}

/// What computed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "device", rename_all = "snake_case")]
pub(crate) enum Engine {
    /// The native engine.
    Cpu { threads: usize, instruction_set: String },
    /// The wgpu engine on an adapter.
    Gpu { adapter: AdapterSummary },
}

impl Machine {
    pub(crate) fn of(device: &Device) -> Self {
        Self {
            cpu_model: cpu_model(),
            logical_cpus: std::thread::available_parallelism().map_or(1, usize::from),
            os: std::env::consts::OS.to_owned(),
            architecture: std::env::consts::ARCH.to_owned(),
            engine: Engine::of(device),
        }
    }

    pub(crate) fn model(&self) -> &str {
        self.cpu_model.as_deref().unwrap_or("unknown processor")
    }

    /// The engine and the hardware under it.
    pub(crate) fn text(&self) -> String {
        match &self.engine {
            Engine::Cpu { .. } => format!("native engine, {}, {}", self.engine.text(), self.model()),
            Engine::Gpu { .. } => format!("wgpu engine, {}", self.engine.text()),
        }
    }
}

impl Engine {
    fn of(device: &Device) -> Self {
        match device {
            Device::Cpu(cpu) => {
                Self::Cpu { threads: cpu.threads(), instruction_set: fewsteps::cpu::instruction_set().to_owned() }
            }
            Device::Gpu(gpu) => Self::Gpu { adapter: gpu.adapter().clone() },
        }
    }

    pub(crate) fn text(&self) -> String {
        match self {
            Self::Cpu { threads: 1, instruction_set } => format!("1 thread, {instruction_set}"),
            Self::Cpu { threads, instruction_set } => format!("{threads} threads, {instruction_set}"),
            Self::Gpu { adapter } => adapter.to_string(),
        }
    }
}

fn cpu_model() -> Option<String> {
    field("/proc/cpuinfo", "model name")
}

/// The largest memory this process has held so far, in bytes, where the system says it.
pub(crate) fn peak_memory() -> Option<u64> {
    let kilobytes: u64 = field("/proc/self/status", "VmHWM")?.strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// The value of the first line `name : value` of a file under `/proc`.
fn field(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let value = text.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.trim() == name)?.1;
    Some(value.trim().to_owned())
}
