//! [`Plan`]: prepared dispatches. A solve is a recording: a plan re-encoded in a tight loop.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::device::Gpu;
use super::device::compiled::Compiled;
use super::device::limits::LONGEST;
use super::wire::args::Args;
use super::wire::args::parts::Controller;
use super::wire::head::Head;
use super::wire::job::Job;
use super::wire::word;

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
        self.encode_part(0..self.len(), pass);
    }

    /// So many parts of about as many dispatches, one after the other.
    pub(crate) fn pieces(&self, count: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let len = self.len();
        (0..count).map(move |n| n * len / count..(n + 1) * len / count)
    }

    /// Encodes some of the dispatches.
    pub(crate) fn encode_part(&self, part: Range<usize>, pass: &mut wgpu::ComputePass<'_>) {
        self.mark(pass, None);
        for dispatch in &self.dispatches[part] {
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
            profiler.mark(&gpu.device, pass, ended);
        }
    }
}

/// The jobs of plans that were recorded together: what they say about the interval may change.
#[derive(Debug)]
pub(crate) struct Jobs {
    uniforms: Vec<wgpu::Buffer>,
    /// Each with whether its arguments are [controlled](Args::CONTROLLED).
    jobs: Vec<(Job, bool)>,
    /// Bits of the time at which they say that the interval ends.
    end: AtomicU64,
}

impl Jobs {
    /// Says so of another end, unless they do: the interval's length, and what a controller knows.
    pub(crate) fn set_end(&self, gpu: &Gpu, end: f64, span: f32, control: impl Fn(Controller) -> Controller) {
        if self.end.swap(end.to_bits(), Ordering::Relaxed) == end.to_bits() {
            return;
        }
        let changed = |(mut job, controlled): (Job, bool)| {
            job.set_interval(span, controlled.then_some(&control));
            job
        };
        for (buffer, jobs) in self.uniforms.iter().zip(self.jobs.chunks(MAX_JOBS)) {
            let jobs: Vec<Job> = jobs.iter().copied().map(changed).collect();
            gpu.queue.write_buffer(buffer, 0, bytemuck::cast_slice(&jobs));
        }
    }
}

/// The recorded parts of a solve.
#[derive(Clone, Debug, Default)]
pub(crate) struct SolvePlans {
    pub(crate) start: Plan,
    pub(crate) attempt: Plan,
    pub(crate) resume: Plan,
    pub(crate) finish: Plan,
    /// Their jobs, once all are recorded.
    pub(crate) jobs: Option<Arc<Jobs>>,
}

/// The recorded parts of a backward pass.
#[derive(Clone, Debug)]
pub(crate) struct WalkPlans {
    pub(crate) begin: Plan,
    /// From one checkpoint to the one before it: `stride` steps.
    pub(crate) segment: Plan,
    pub(crate) end: Plan,
    /// Steps of a segment.
    pub(crate) stride: usize,
    /// Whether trajectories are walked back whole.
    pub(crate) whole: bool,
}

impl WalkPlans {
    /// Segments to record after a solve that was not through when it was last looked at; the walk says afterwards how many
    /// steps remain. Of whole trajectories one is enough for most.
    pub(crate) fn segments_ahead(&self) -> usize {
        usize::from(self.whole)
    }
}

/// Jobs that one uniform buffer has room for.
const MAX_JOBS: usize = 1024;

/// Collects plans. Their jobs lie in uniform buffers, equal ones once; they are uploaded together in the end.
#[derive(Debug)]
pub(crate) struct Planner<'a> {
    gpu: &'a Gpu,
    /// Each with whether its arguments are [controlled](Args::CONTROLLED).
    jobs: Vec<(Job, bool)>,
    places: HashMap<(Job, bool), usize>,
    uniforms: Vec<wgpu::Buffer>,
    plan: Plan,
}

impl Planner<'_> {
    /// Has `work` collect plans, and uploads what their dispatches have to do.
    pub(crate) fn record<T>(gpu: &Gpu, work: impl FnOnce(&mut Planner<'_>) -> T) -> T {
        Self::record_until(gpu, 0.0, work).0
    }

    /// The same with the jobs, which are told of an interval that ends at `end`.
    pub(crate) fn record_until<T>(gpu: &Gpu, end: f64, work: impl FnOnce(&mut Planner<'_>) -> T) -> (T, Arc<Jobs>) {
        let mut planner =
            Planner { gpu, jobs: Vec::new(), places: HashMap::new(), uniforms: Vec::new(), plan: Plan::default() };
        let plans = work(&mut planner);
        (plans, Arc::new(planner.finish(end)))
    }

    fn finish(self, end: f64) -> Jobs {
        for (buffer, jobs) in self.uniforms.iter().zip(self.jobs.chunks(MAX_JOBS)) {
            let jobs: Vec<Job> = jobs.iter().map(|(job, _)| *job).collect();
            self.gpu.queue.write_buffer(buffer, 0, bytemuck::cast_slice(&jobs));
        }
        Jobs { uniforms: self.uniforms, jobs: self.jobs, end: AtomicU64::new(end.to_bits()) }
    }

    /// The buffer of a job, and its offset there.
    fn place(&mut self, job: Job, controlled: bool) -> (wgpu::Buffer, u32) {
        let new = self.jobs.len();
        let place = *self.places.entry((job, controlled)).or_insert(new);
        if place == new {
            self.jobs.push((job, controlled));
        }
        if self.uniforms.len() == place / MAX_JOBS {
            self.uniforms.push(self.gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("jobs"),
                size: MAX_JOBS as u64 * Job::SIZE,
                usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            }));
        }
        let offset = place % MAX_JOBS * size_of::<Job>();
        (self.uniforms[place / MAX_JOBS].clone(), word(offset))
    }

    /// Adds a dispatch that binds `buffers` in the kernel's order.
    pub(crate) fn add<A: Args>(
        &mut self,
        kernel: &Compiled<A>,
        buffers: &[&wgpu::Buffer],
        head: Head,
        args: A,
        grid: [u32; 3],
    ) {
        let (uniforms, job) = self.place(Job::new(&head, &args), A::CONTROLLED);
        let uniform = wgpu::BufferBinding { buffer: &uniforms, offset: 0, size: wgpu::BufferSize::new(Job::SIZE) };
        let mut entries = vec![wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(uniform) }];
        for (binding, buffer) in kernel.shader.bindings.iter().zip(buffers) {
            entries.push(wgpu::BindGroupEntry { binding: *binding, resource: buffer.as_entire_binding() });
        }
        if let Some((binding, atol)) = &kernel.atol {
            entries.push(wgpu::BindGroupEntry { binding: *binding, resource: atol.as_entire_binding() });
        }
        let bindings = self.gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &kernel.shader.layout,
            entries: &entries,
        });
        let (kernel, pipeline) = (kernel.name, kernel.shader.pipeline.clone());
        self.plan.dispatches.push(Dispatch { kernel, pipeline, bindings, job, grid });
    }

    /// The plan so far; the next one begins.
    pub(crate) fn take(&mut self) -> Plan {
        let timed_by = self.gpu.profiler.is_some().then(|| self.gpu.clone());
        Plan { timed_by, ..std::mem::take(&mut self.plan) }
    }
}

/// A grid of `groups` workgroups, folded into two dimensions where one would be too long.
pub(crate) fn flat(groups: usize) -> [u32; 3] {
    let y = groups.div_ceil(LONGEST as usize).max(1);
    let x = groups.div_ceil(y).max(1);
    [x, y, 1].map(word)
}
