//! [`Profile`]: how long each kernel takes on the device, by a timestamp after every dispatch.
//!
//! Dispatches depend on each other, so that the time between two timestamps is a kernel's own and that of its launch.

use super::context::Gpu;
use super::profiler::{FEATURES, Marks, Profiler, SET};
use super::readback::Readback;
use crate::error::{Error, Result};

/// How long the device was at each kernel.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct Profile {
    /// By kernel, the one that took longest first.
    pub kernels: Vec<KernelTime>,
    /// Dispatches that were not timed, because there were too many since the last profile was taken.
    pub untimed: usize,
}

/// How long the device was at one kernel.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct KernelTime {
    /// The kernel's name, that of its file in `shaders/kernels`.
    pub kernel: &'static str,
    /// Times that it was dispatched.
    pub dispatches: usize,
    /// Milliseconds of all of them, launches included.
    pub milliseconds: f64,
}

impl Profile {
    /// Milliseconds of all kernels.
    #[must_use]
    pub fn milliseconds(&self) -> f64 {
        self.kernels.iter().map(|k| k.milliseconds).sum()
    }

    fn add(&mut self, kernel: &'static str, milliseconds: f64) {
        match self.kernels.iter_mut().find(|k| k.kernel == kernel) {
            Some(known) => {
                known.dispatches += 1;
                known.milliseconds += milliseconds;
            }
            None => self.kernels.push(KernelTime { kernel, dispatches: 1, milliseconds }),
        }
    }
}

impl Gpu {
    /// Has every kernel timed, of engines that are made from what this returns; see [`Gpu::take_profile`]. The timestamps
    /// themselves cost about a microsecond a dispatch.
    ///
    /// # Errors
    /// [`Error::Device`] where the device cannot write timestamps within a pass, as Metal's and browsers' cannot.
    pub fn profiled(mut self) -> Result<Self> {
        let missing = FEATURES - self.device.features();
        if !missing.is_empty() {
            let reason = format!("kernels cannot be timed on {}: it has no {missing}", self.adapter());
            return Err(Error::Device { reason });
        }
        self.profiler = Some(std::sync::Arc::new(Profiler::new()));
        Ok(self)
    }

    /// What the kernels took since the last time that this was asked for; empty where [`Gpu::profiled`] is not in force.
    /// Everything that was recorded has to be submitted before.
    ///
    /// # Errors
    /// [`Error::DeviceLost`], [`Error::Memory`].
    pub async fn take_profile(&self) -> Result<Profile> {
        let Some(profiler) = &self.profiler else { return Ok(Profile::default()) };
        let marks = profiler.take();
        if marks.ended.is_empty() {
            return Ok(Profile::default());
        }
        let times = self.timestamps(&marks).await?;
        let mut profile = Profile { untimed: marks.untimed, ..Profile::default() };
        let tick = 1e-6 * f64::from(self.queue.get_timestamp_period());
        for (pair, ended) in times.windows(2).zip(&marks.ended[1..]) {
            if let Some(kernel) = ended {
                profile.add(kernel, tick * pair[1].saturating_sub(pair[0]) as f64);
            }
        }
        profile.kernels.sort_by(|a, b| b.milliseconds.total_cmp(&a.milliseconds));
        Ok(profile)
    }

    /// The timestamps that were written, in ticks.
    async fn timestamps(&self, marks: &Marks) -> Result<Vec<u64>> {
        let bytes = (8 * marks.ended.len()) as u64;
        let (resolved, staging) = self
            .scoped(|| {
                let buffer = |usage| {
                    let label = Some("timestamps");
                    let size = bytes.next_multiple_of(wgpu::QUERY_RESOLVE_BUFFER_ALIGNMENT);
                    self.device.create_buffer(&wgpu::BufferDescriptor { label, size, usage, mapped_at_creation: false })
                };
                (
                    buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC),
                    buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST),
                )
            })
            .await?;
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut left = marks.ended.len();
        for (i, set) in marks.sets.iter().enumerate() {
            let count = left.min(SET as usize);
            left -= count;
            // At most 4,096 each.
            let range = 0..u32::try_from(count).unwrap_or(SET);
            encoder.resolve_query_set(set, range, &resolved, 8 * u64::from(SET) * i as u64);
        }
        encoder.copy_buffer_to_buffer(&resolved, 0, &staging, 0, bytes);
        self.queue.submit([encoder.finish()]);
        Ok(Readback::new(self, staging, bytes).read(self, bytemuck::pod_collect_to_vec).await?.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::adapter::gpu;
    use super::*;
    use crate::{GpuSolver, Mlp, Problem, SolverOptions, StepControl};

    #[test]
    fn every_dispatch_is_timed_once() {
        let Some(gpu) = gpu() else { return };
        let Ok(gpu) = gpu.clone().profiled() else {
            assert!(!gpu.device.features().contains(FEATURES), "refused with the features");
            return;
        };
        let problem = Problem::ode(Mlp::new([2, 8, 2]), 0.0, 1.0);
        let options = SolverOptions::default().step_control(StepControl::Fixed { steps: 5 });
        let mut solver = GpuSolver::new(&gpu, &problem, &options).expect("a solver").layer_by_layer();
        let theta = vec![0.1; problem.parameter_count()];
        gpu.block_on(solver.solve(&theta, &[0.5; 2 * 7])).expect("a solution");
        let profile = gpu.block_on(gpu.take_profile()).expect("a profile");
        let of = |name| profile.kernels.iter().find(|k| k.kernel == name).map_or(0, |k| k.dispatches);
        // Five steps of seven stages, the first of each the last of the one before, two layers each; all but the first stage of
        // all and the last one of a step go on to the next state.
        assert_eq!(
            (of("dense") + of("dense_stage"), of("dense_stage"), profile.untimed),
            (2 * 31, 5 * 5, 0),
            "{profile:?}"
        );
        assert_eq!(of("row_norm"), 2, "of the start and the end: equal steps are not judged");
        assert!(profile.kernels.iter().all(|k| k.milliseconds > 0.0), "{profile:?}");
        assert!(profile.kernels.is_sorted_by(|a, b| a.milliseconds >= b.milliseconds), "{profile:?}");
        let again = gpu.block_on(gpu.take_profile()).expect("a profile");
        assert_eq!(again, Profile::default(), "what was taken is gone");
    }
}
