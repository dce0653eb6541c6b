//! The JSON line of a timed workload.

use fewsteps::{Device, Evaluation, Method, StepReport};
use serde::Serialize;

use crate::args::WorkloadArgs;
use crate::machine;

/// One JSON line, with the peers' field names.
#[derive(Serialize)]
pub(super) struct Line {
    peer: &'static str,
    version: &'static str,
    workload: String,
    mode: String,
    method: String,
    device: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    adapter: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    driver: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backend: Option<String>,
    threads: usize,
    instruction_set: &'static str,
    steps: usize,
    ms_median: f64,
    ms_min: f64,
    ms_max: f64,
    first_call_ms: f64,
    nfe: usize,
    /// Evaluations of the diffusion, where there is noise.
    #[serde(skip_serializing_if = "Option::is_none")]
    nge: Option<usize>,
    accepted: usize,
    rejected: usize,
    value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    grad_norm: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    penalty: Option<f64>,
    /// Dispatches of a training step on a device.
    #[serde(skip_serializing_if = "Option::is_none")]
    dispatches: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_per_step: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_per_step: Option<f64>,
    engine_bytes: u64,
    workspace_bytes: u64,
    peak_memory: Option<u64>,
}

/// What the engine takes up.
pub(super) struct Footprint {
    pub(super) dispatches: Option<usize>,
    pub(super) engine_bytes: u64,
    pub(super) workspace_bytes: u64,
}

/// Host waits for the device, and bytes read back from it, a call.
#[derive(Clone, Copy)]
pub(super) struct Traffic {
    pub(super) waits: f64,
    pub(super) bytes: f64,
}

impl Traffic {
    /// Waits and bytes so far; the native engine has none.
    pub(super) fn of(device: &Device) -> (u64, u64) {
        match device {
            Device::Cpu(_) => (0, 0),
            Device::Gpu(gpu) => gpu.traffic(),
        }
    }

    pub(super) fn since(device: &Device, (waits, bytes): (u64, u64), calls: usize) -> Self {
        let (waits_now, bytes_now) = Self::of(device);
        let mean = |now: u64, then: u64| (now - then) as f64 / calls as f64;
        Self { waits: mean(waits_now, waits), bytes: mean(bytes_now, bytes) }
    }
}

/// What one call found.
#[derive(Clone, Copy, Default)]
pub(super) struct Call {
    pub(super) value: f64,
    pub(super) grad_norm: Option<f64>,
    pub(super) penalty: Option<f64>,
    pub(super) nfe: usize,
    pub(super) nfe_diffusion: usize,
    pub(super) accepted: usize,
    pub(super) rejected: usize,
}

impl From<Evaluation> for Call {
    fn from(e: Evaluation) -> Self {
        let Evaluation { loss: value, nfe, nfe_diffusion, accepted, rejected, .. } = e;
        Self { value, nfe, nfe_diffusion, accepted, rejected, ..Self::default() }
    }
}

impl From<StepReport> for Call {
    fn from(r: StepReport) -> Self {
        let StepReport { nfe, nfe_diffusion, accepted, rejected, .. } = r;
        let (grad_norm, penalty) = (Some(r.gradient_norm), Some(r.penalty));
        Self { value: r.loss, grad_norm, penalty, nfe, nfe_diffusion, accepted, rejected }
    }
}

/// What is measured over many calls.
pub(super) struct Timing {
    /// Milliseconds of each call, from the fastest to the slowest.
    pub(super) ms: Vec<f64>,
    pub(super) first_call_ms: f64,
    pub(super) footprint: Footprint,
    pub(super) traffic: Traffic,
}

impl Line {
    pub(super) fn new(args: &WorkloadArgs, method: Method, device: &Device, first: Call, timing: &Timing) -> Self {
        let (threads, adapter) = match device {
            Device::Cpu(cpu) => (cpu.threads(), None),
            Device::Gpu(gpu) => (1, Some(gpu.adapter())),
        };
        let on_device = |number: f64| adapter.is_some().then_some(number);
        let Timing { ms, first_call_ms, footprint, traffic } = timing;
        Self {
            peer: "fewsteps",
            version: env!("CARGO_PKG_VERSION"),
            workload: format!("{:?}", args.workload),
            mode: format!("{:?}", args.mode).to_lowercase(),
            method: args.method_name(method),
            device: if adapter.is_some() { "gpu" } else { "cpu" },
            adapter: adapter.map(|a| a.name.clone()),
            driver: adapter.map(|a| a.driver.clone()),
            backend: adapter.map(|a| a.backend.clone()),
            threads,
            instruction_set: fewsteps::instruction_set(),
            steps: ms.len(),
            ms_median: ms[ms.len() / 2],
            ms_min: ms[0],
            ms_max: ms[ms.len() - 1],
            first_call_ms: *first_call_ms,
            nfe: first.nfe,
            nge: args.workload.dt().map(|_| first.nfe_diffusion),
            accepted: first.accepted,
            rejected: first.rejected,
            value: first.value,
            grad_norm: first.grad_norm,
            penalty: first.penalty.filter(|_| args.reg.is_some()),
            dispatches: footprint.dispatches,
            waits_per_step: on_device(traffic.waits),
            bytes_per_step: on_device(traffic.bytes),
            engine_bytes: footprint.engine_bytes,
            workspace_bytes: footprint.workspace_bytes,
            peak_memory: machine::peak_memory(),
        }
    }
}
