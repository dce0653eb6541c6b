//! [`Machine`]: what a figure was measured on.

use fewsteps::Cpu;
use serde::{Deserialize, Serialize};

/// The machine, as far as it explains times and NFE.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cpu_model: Option<String>,
    pub(crate) logical_cpus: usize,
    pub(crate) threads: usize,
    pub(crate) instruction_set: String,
    pub(crate) os: String,
    pub(crate) architecture: String,
}

impl Machine {
    pub(crate) fn of(cpu: &Cpu) -> Self {
        Self {
            cpu_model: cpu_model(),
            logical_cpus: std::thread::available_parallelism().map_or(1, usize::from),
            threads: cpu.threads(),
            instruction_set: fewsteps::cpu::instruction_set().to_owned(),
            os: std::env::consts::OS.to_owned(),
            architecture: std::env::consts::ARCH.to_owned(),
        }
    }

    pub(crate) fn threads_text(&self) -> String {
        if self.threads == 1 { "1 thread".to_owned() } else { format!("{} threads", self.threads) }
    }

    pub(crate) fn model(&self) -> &str {
        self.cpu_model.as_deref().unwrap_or("unknown processor")
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
