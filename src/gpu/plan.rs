//! [`Plan`]: prepared dispatches. A solve is a recording: a plan re-encoded in a tight loop.

use super::Gpu;
use super::job::Job;
use super::kernel::Compiled;

/// One dispatch, ready to be encoded.
#[derive(Clone, Debug)]
struct Dispatch {
    pipeline: wgpu::ComputePipeline,
    bindings: wgpu::BindGroup,
    job: u32,
    grid: [u32; 3],
}

/// A sequence of dispatches.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    dispatches: Vec<Dispatch>,
}

impl Plan {
    /// Number of dispatches.
    pub(crate) const fn len(&self) -> usize {
        self.dispatches.len()
    }

    /// Adds another plan's dispatches.
    pub(crate) fn append(&mut self, other: &Self) {
        self.dispatches.extend_from_slice(&other.dispatches);
    }

    /// Encodes the dispatches into a pass. Touches no queue and allocates nothing of the device.
    pub(crate) fn encode(&self, pass: &mut wgpu::ComputePass<'_>) {
        for dispatch in &self.dispatches {
            pass.set_pipeline(&dispatch.pipeline);
            pass.set_bind_group(0, &dispatch.bindings, &[dispatch.job]);
            let [x, y, z] = dispatch.grid;
            pass.dispatch_workgroups(x, y, z);
        }
    }
}

/// Jobs of all plans of a batch size, collected on the host and uploaded together.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    list: Vec<Job>,
}

impl Jobs {
    fn push(&mut self, job: Job) -> u32 {
        self.list.push(job);
        u32::try_from((self.list.len() - 1) * size_of::<Job>()).unwrap_or(u32::MAX)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.list)
    }
}

/// Jobs that a plan's uniform buffer has room for.
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
        let uniform = wgpu::BufferBinding { buffer: self.uniforms, offset: 0, size: wgpu::BufferSize::new(Job::SIZE) };
        let mut entries = vec![wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(uniform) }];
        for (binding, buffer) in (1..).zip(buffers) {
            entries.push(wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() });
        }
        let bindings = self.gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &kernel.layout,
            entries: &entries,
        });
        let job = self.jobs.push(job);
        self.plan.dispatches.push(Dispatch { pipeline: kernel.pipeline.clone(), bindings, job, grid });
    }

    /// The plan so far; the next one begins.
    pub(crate) fn take(&mut self) -> Plan {
        std::mem::take(&mut self.plan)
    }
}

/// A grid of `groups` workgroups, folded into two dimensions where one would be too long.
pub(crate) fn flat(groups: usize) -> [u32; 3] {
    const LONGEST: usize = 65_535;
    let y = groups.div_ceil(LONGEST).max(1);
    let x = groups.div_ceil(y).max(1);
    [x, y, 1].map(|n| u32::try_from(n).unwrap_or(u32::MAX))
}
