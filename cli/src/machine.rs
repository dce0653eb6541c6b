//! [`Machine`]: what a figure was measured on.

use fewsteps::{AdapterSummary, Device};
use serde::{Deserialize, Serialize};
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

/// The machine, as far as it explains times and NFE.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cpu_model: Option<String>,
    pub(crate) logical_cpus: usize,
    #[serde(default)]
    pub(crate) physical_cpus: Option<usize>,
    #[serde(default)]
    pub(crate) memory_bytes: Option<u64>,
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
        let memory = MemoryRefreshKind::nothing().with_ram();
        let facts = RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing()).with_memory(memory);
        let system = System::new_with_specifics(facts);
        let model = system.cpus().first().map(|cpu| cpu.brand().trim().to_owned());
        Self {
            cpu_model: model.filter(|model| !model.is_empty()),
            logical_cpus: std::thread::available_parallelism().map_or(1, usize::from),
            physical_cpus: System::physical_core_count(),
            memory_bytes: Some(system.total_memory()).filter(|&bytes| bytes > 0),
            os: std::env::consts::OS.to_owned(),
            architecture: std::env::consts::ARCH.to_owned(),
            engine: Engine::of(device),
        }
    }

    /// Whether times on both compare. Some records do not know their machine's cores and memory.
    pub(crate) fn computes_as(&self, other: &Self) -> bool {
        *self == Self { physical_cpus: self.physical_cpus, memory_bytes: self.memory_bytes, ..other.clone() }
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
                Self::Cpu { threads: cpu.threads(), instruction_set: fewsteps::instruction_set().to_owned() }
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

/// The largest memory this process has held so far, in bytes, where the system says it: on Linux.
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

#[cfg(test)]
mod tests {
    use fewsteps::Cpu;

    use super::*;

    #[test]
    fn facts_are_those_of_the_system() {
        let machine = Machine::of(&Device::Cpu(Cpu::with_threads(1).expect("a thread")));
        assert!(machine.logical_cpus >= 1, "{machine:?}");
        #[cfg(target_os = "linux")]
        {
            assert_eq!(machine.cpu_model, field("/proc/cpuinfo", "model name"), "the kernel's name for it");
            let kilobytes =
                field("/proc/meminfo", "MemTotal").and_then(|total| total.strip_suffix("kB")?.trim().parse().ok());
            assert_eq!(machine.memory_bytes, kilobytes.map(|kilobytes: u64| 1024 * kilobytes), "and for its memory");
        }
    }

    #[test]
    fn records_without_memory_compare() {
        let machine = Machine::of(&Device::Cpu(Cpu::with_threads(1).expect("a thread")));
        let before = Machine { physical_cpus: None, memory_bytes: None, ..machine.clone() };
        assert!(machine.computes_as(&before) && before.computes_as(&machine), "the same machine");
        assert!(
            !machine.computes_as(&Machine { logical_cpus: machine.logical_cpus + 1, ..machine.clone() }),
            "another"
        );
    }
}
