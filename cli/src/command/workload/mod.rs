//! `fewsteps bench-workload`: the workloads of the peer comparison, on weights and inputs dumped by `benches/peers`. For
//! `benches/` alone: users' help does not name it.

mod found;
mod line;
mod problem;
mod profile;
mod timed;

use std::time::Instant;

use anyhow::{Result, bail};
use fewsteps::{Device, GpuTrainer, Learner, Paths, Trainer};

use self::line::{Footprint, Line, Timing, Traffic};
use self::problem::{Answer, Prepared};
use self::timed::Timed;
use crate::args::{Mode, WorkloadArgs};
use crate::choice::Precision;
use crate::output;

/// Runs the workload and prints its JSON line.
pub(crate) fn bench_workload(args: &WorkloadArgs) -> Result<()> {
    let prepared = Prepared::new(args)?;
    let (model, batch) = (&prepared.config.model, prepared.batch());
    let device = args.device.open(Some(usize::from(args.threads)), Precision::F32, model, batch)?;
    if let Some(folder) = &args.found {
        let Device::Cpu(cpu) = &device else { bail!("--found is of the native engine: leave --device out") };
        found::write(folder, args, cpu, &prepared)?;
    }
    let line = match &device {
        Device::Cpu(_) if args.profile => bail!("--profile times a device's kernels: choose one with --device gpu"),
        Device::Gpu(gpu) if args.profile => serde_json::to_string(&profile::profile(args, gpu, prepared)?)?,
        Device::Cpu(cpu) => serde_json::to_string(&time::<Trainer<f32>>(args, cpu, &device, prepared)?)?,
        Device::Gpu(gpu) => serde_json::to_string(&time::<GpuTrainer>(args, gpu, &device, prepared)?)?,
    };
    output::print(&format!("{line}\n"))
}

/// Calls the workload until enough calls are timed.
fn time<L: Learner<Scalar = f32>>(
    args: &WorkloadArgs,
    engine: &L::Engine,
    device: &Device,
    prepared: Prepared,
) -> Result<Line> {
    let begun = Instant::now();
    let mut timed = Timed::<L>::new(args, engine, prepared)?;
    let mut first = timed.call()?;
    let first_call_ms = 1e3 * begun.elapsed().as_secs_f64();
    timed.call()?;
    let traffic = Traffic::of(device);
    let mut ms = Vec::new();
    let begun = Instant::now();
    while ms.len() < args.steps || begun.elapsed().as_secs_f64() < args.min_seconds {
        let t = Instant::now();
        timed.call()?;
        ms.push(1e3 * t.elapsed().as_secs_f64());
    }
    let traffic = Traffic::since(device, traffic, ms.len());
    let Timed { mut learner, prepared, order, .. } = timed;
    let count = order.len();
    let footprint = Footprint {
        dispatches: learner.dispatches(count),
        engine_bytes: learner.bytes(),
        workspace_bytes: learner.workspace(count, first.accepted),
    };
    ms.sort_by(f64::total_cmp);
    if let Answer::Moments { means, variances } = &prepared.target {
        // The first call's paths again, from the weights that it began with.
        learner.set_parameters(&prepared.theta)?;
        let seed = prepared.config.seed;
        let paths = if args.mode == Mode::Train { Paths::of_step(seed, 0) } else { Paths::of_evaluation(seed, 0) };
        let states = learner.predict_along(&prepared.inputs, paths)?;
        first.value = sum_of_squares(&states, count, means, variances);
        first.grad_norm = first.grad_norm.map(|norm| norm * means.len() as f64);
    }
    let timing = Timing { ms, first_call_ms, footprint, traffic };
    Ok(Line::new(args, prepared.config.model.options.method, device, first, &timing))
}

/// The peers' loss of moments: squared differences of means and biased variances, summed over times and features. Ours
/// is a mean, of variances over one path less.
fn sum_of_squares(states: &[f32], batch: usize, means: &[f32], variances: &[f32]) -> f64 {
    let width = 2;
    let at = |(time, (mean, variance)): (usize, (&f32, &f32))| {
        let (slot, feature) = (time / width, time % width);
        let values = || states[slot * batch * width..][..batch * width].iter().skip(feature).step_by(width);
        let found = values().map(|&x| f64::from(x)).sum::<f64>() / batch as f64;
        let spread = values().map(|&x| (f64::from(x) - found).powi(2)).sum::<f64>() / batch as f64;
        (found - f64::from(*mean)).powi(2) + (spread - f64::from(*variance)).powi(2)
    };
    means.iter().zip(variances).enumerate().map(at).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_compared_as_the_peers_do() {
        // Two times of two paths: means (1, 2) and (0, 0), variances (1, 0) and (4, 1).
        let states = [0.0, 2.0, 2.0, 2.0, -2.0, 1.0, 2.0, -1.0];
        let value = sum_of_squares(&states, 2, &[1.0, 2.0, 0.0, 0.5], &[1.0, 0.0, 1.0, 1.0]);
        assert_eq!(value, 0.25 + 9.0, "one mean is off by a half, one variance by three");
    }
}
