//! [`Plan`]: prepared dispatches. A solve is a recording: a plan re-encoded in a tight loop.

use std::collections::HashMap;

use super::Gpu;
use super::engine::uniform_buffer;
use super::job::Job;
use super::kernel::Compiled;

/// One dispatch, ready to be encoded.
#[derive(Clone, Debug)]
struct Dispatch {
    kernel: &'static str,
    pipeline: wgpu::ComputePipeline,
    bindings: wgpu::BindGroup,
    job: u32,
    grid: [u32; 3],
}

/// A sequence of dispatches.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    dispatches: Vec<Dispatch>,
    /// Whose profiler times the dispatches, if one does.
    timed_by: Option<Gpu>,
}

impl Plan {
    /// Number of dispatches.
    pub(crate) const fn len(&self) -> usize {
        self.dispatches.len()
    }

    /// Adds another plan's dispatches.
    pub(crate) fn append(&mut self, other: &Self) {
        self.dispatches.extend_from_slice(&other.dispatches);
        self.timed_by = self.timed_by.take().or_else(|| other.timed_by.clone());
    }

    /// Encodes the dispatches into a pass. Touches no queue and allocates nothing of the device.
    pub(crate) fn encode(&self, pass: &mut wgpu::ComputePass<'_>) {
        self.mark(pass, None);
        for dispatch in &self.dispatches {
            pass.set_pipeline(&dispatch.pipeline);
            pass.set_bind_group(0, &dispatch.bindings, &[dispatch.job]);
            let [x, y, z] = dispatch.grid;
            pass.dispatch_workgroups(x, y, z);
            self.mark(pass, Some(dispatch.kernel));
        }
    }

    fn mark(&self, pass: &mut wgpu::ComputePass<'_>, ended: Option<&'static str>) {
        if let Some(gpu) = &self.timed_by
            && let Some(profiler) = &gpu.profiler
        {
            profiler.mark(gpu, pass, ended);
        }
    }
}

/// Jobs of all plans of a batch size, collected on the host and uploaded together. Equal ones are one.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    list: Vec<Job>,
    places: HashMap<[u8; size_of::<Job>()], usize>,
    /// Where those are that the first buffer has no room for.
    more: Vec<wgpu::Buffer>,
}

impl Jobs {
    /// The buffer, of which `first` is the first one, and the offset of a job.
    fn place(&mut self, gpu: &Gpu, first: &wgpu::Buffer, job: Job) -> (wgpu::Buffer, u32) {
        const ROOM: usize = MAX_JOBS as usize;
        let new = self.list.len();
        let place = *self.places.entry(bytemuck::cast(job)).or_insert(new);
        if place == new {
            self.list.push(job);
        }
        let offset = place % ROOM * size_of::<Job>();
        let buffer = if let Some(later) = (place / ROOM).checked_sub(1) {
            if self.more.len() == later {
                self.more.push(uniform_buffer(gpu));
            }
            if place == new {
                gpu.queue.write_buffer(&self.more[later], offset as u64, bytemuck::bytes_of(&job));
            }
            &self.more[later]
        } else {
            first
        };
        (buffer.clone(), u32::try_from(offset).unwrap_or(u32::MAX))
    }

    /// What goes to the first buffer; jobs beyond its room are in theirs already.
    pub(crate) fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.list[..self.list.len().min(MAX_JOBS as usize)])
    }
}

/// Jobs that one uniform buffer has room for.
pub(crate) const MAX_JOBS: u64 = 1024;

/// Collects a plan.
#[derive(Debug)]
pub(crate) struct Planner<'a> {
    pub(crate) gpu: &'a Gpu,
    pub(crate) jobs: &'a mut Jobs,
    pub(crate) uniforms: &'a wgpu::Buffer,
    pub(crate) plan: Plan,
}

impl Planner<'_> {
    /// Adds a dispatch that binds `buffers` in the kernel's order.
    pub(crate) fn add(&mut self, kernel: &Compiled, buffers: &[&wgpu::Buffer], job: Job, grid: [u32; 3]) {
        let (uniforms, job) = self.jobs.place(self.gpu, self.uniforms, job);
        let uniform = wgpu::BufferBinding { buffer: &uniforms, offset: 0, size: wgpu::BufferSize::new(Job::SIZE) };
        let mut entries = vec![wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(uniform) }];
        for (binding, buffer) in (1..).zip(buffers) {
            entries.push(wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() });
        }
        if let Some((binding, atol)) = &kernel.atol {
            entries.push(wgpu::BindGroupEntry { binding: *binding, resource: atol.as_entire_binding() });
        }
        let bindings = self.gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &kernel.layout,
            entries: &entries,
        });
        let (kernel, pipeline) = (kernel.name, kernel.pipeline.clone());
        self.plan.dispatches.push(Dispatch { kernel, pipeline, bindings, job, grid });
    }

    /// The plan so far; the next one begins.
    pub(crate) fn take(&mut self) -> Plan {
        let timed_by = self.gpu.profiler.is_some().then(|| self.gpu.clone());
        Plan { timed_by, ..std::mem::take(&mut self.plan) }
    }
}

/// The longest dimension of a grid: WebGPU's default `max_compute_workgroups_per_dimension`.
pub(crate) const LONGEST: u32 = 65_535;

/// A grid of `groups` workgroups, folded into two dimensions where one would be too long.
pub(crate) fn flat(groups: usize) -> [u32; 3] {
    let y = groups.div_ceil(LONGEST as usize).max(1);
    let x = groups.div_ceil(y).max(1);
    [x, y, 1].map(|n| u32::try_from(n).unwrap_or(u32::MAX))
}
