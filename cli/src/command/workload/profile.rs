//! A workload's time by the kernels of a device.

use std::time::Instant;

use anyhow::Result;
use fewsteps::{Gpu, GpuTrainer};
use serde::Serialize;

use super::problem::Prepared;
use super::timed::Timed;
use crate::args::WorkloadArgs;

/// The time of a call by kernels.
#[derive(Serialize)]
pub(super) struct ProfileLine {
    workload: String,
    mode: String,
    method: String,
    adapter: String,
    calls: usize,
    /// Of a call, timestamps included.
    wall_ms: f64,
    /// Of the kernels of a call.
    device_ms: f64,
    /// Means of a call.
    kernels: Vec<KernelLine>,
    untimed: usize,
}

#[derive(Serialize)]
struct KernelLine {
    kernel: &'static str,
    dispatches: f64,
    ms: f64,
}

/// Calls the workload until enough calls are timed, kernel by kernel.
pub(super) fn profile(args: &WorkloadArgs, gpu: &Gpu, prepared: Prepared) -> Result<ProfileLine> {
    let gpu = gpu.clone().profiled()?;
    let method = prepared.config.model.options.method;
    let mut timed = Timed::<GpuTrainer>::new(args, &gpu, prepared)?;
    for _ in 0..3 {
        timed.call()?;
        gpu.block_on(gpu.take_profile())?;
    }
    let mut sums: Vec<KernelLine> = Vec::new();
    let (mut calls, mut untimed, mut wall) = (0, 0, 0.0);
    let begun = Instant::now();
    while calls < args.steps || begun.elapsed().as_secs_f64() < args.min_seconds {
        let t = Instant::now();
        timed.call()?;
        wall += 1e3 * t.elapsed().as_secs_f64();
        let profile = gpu.block_on(gpu.take_profile())?;
        calls += 1;
        untimed += profile.untimed;
        for found in profile.kernels {
            let (kernel, dispatches, ms) = (found.kernel, found.dispatches as f64, found.milliseconds);
            match sums.iter_mut().find(|k| k.kernel == kernel) {
                Some(sum) => *sum = KernelLine { kernel, dispatches: sum.dispatches + dispatches, ms: sum.ms + ms },
                None => sums.push(KernelLine { kernel, dispatches, ms }),
            }
        }
    }
    let mean = |sum: f64| sum / calls as f64;
    let mut kernels: Vec<KernelLine> =
        sums.iter().map(|k| KernelLine { dispatches: mean(k.dispatches), ms: mean(k.ms), ..*k }).collect();
    kernels.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    Ok(ProfileLine {
        workload: format!("{:?}", args.workload),
        mode: format!("{:?}", args.mode).to_lowercase(),
        method: args.method_name(method),
        adapter: gpu.adapter().name.clone(),
        calls,
        wall_ms: mean(wall),
        device_ms: kernels.iter().map(|k| k.ms).sum(),
        kernels,
        untimed,
    })
}
