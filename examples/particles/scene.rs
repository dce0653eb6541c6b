//! [`Scene`]: the particles, and what a frame records.

use fewsteps::{Gpu, GpuSolver, Purpose, Random, SolveIo, SolveRecording};

use crate::flow;
use crate::picture::Picture;

/// More than a frame of the learned flow takes.
const ATTEMPTS: usize = 3;

pub(crate) struct Scene {
    theta: wgpu::Buffer,
    solve: SolveRecording,
    /// States before and after the frame, in turn.
    states: [wgpu::Buffer; 2],
    picture: Picture,
    frames: usize,
}

impl Scene {
    /// Learns the flow and scatters the particles.
    pub(crate) fn new(
        gpu: &Gpu,
        format: wgpu::TextureFormat,
        size: [u32; 2],
        particles: usize,
    ) -> anyhow::Result<Self> {
        println!("adapter: {}", gpu.adapter());
        let learned = flow::learn()?;
        let (problem, options) = flow::frame();
        let solver = GpuSolver::new(gpu, &problem, &options)?;
        let solve = gpu.block_on(solver.prepare(particles, ATTEMPTS))?;
        let buffer = |label, numbers: &[f32]| {
            let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
            let size = size_of_val(numbers) as u64;
            let descriptor = wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false };
            let buffer = gpu.device().create_buffer(&descriptor);
            gpu.queue().write_buffer(&buffer, 0, bytemuck::cast_slice(numbers));
            buffer
        };
        let scattered = ribbons(particles);
        let states = [buffer("particles before", &scattered), buffer("particles after", &scattered)];
        let theta = buffer("theta", &learned);
        let picture = Picture::new(gpu.device(), format, size, &states);
        Ok(Self { theta, solve, states, picture, frames: 0 })
    }

    pub(crate) fn resize(&mut self, gpu: &Gpu, size: [u32; 2]) {
        self.picture.resize(gpu.device(), size);
        self.write_view(gpu);
    }

    /// Tells the device what is to be seen; once, and after each change of size.
    pub(crate) fn write_view(&self, gpu: &Gpu) {
        self.picture.write_view(gpu.queue());
    }

    pub(crate) const fn particles(&self) -> usize {
        self.solve.batch()
    }

    /// Records a frame: every particle moves, then all are drawn.
    pub(crate) fn record(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        target: &wgpu::TextureView,
    ) -> fewsteps::Result<()> {
        let after = (self.frames + 1) % 2;
        let (theta, y0, ys) = (self.theta.slice(..), self.states[1 - after].slice(..), self.states[after].slice(..));
        self.solve.record(encoder, &SolveIo { theta, y0, ys })?;
        self.picture.record(encoder, target, after);
        self.frames += 1;
        Ok(())
    }

    /// What the last submitted frame cost, in evaluations of the field, and whether every particle arrived.
    pub(crate) fn cost(&mut self, gpu: &Gpu) -> fewsteps::Result<(usize, bool)> {
        let outcome = gpu.block_on(self.solve.outcome())?;
        Ok((outcome.nfe, outcome.unfinished + outcome.failed == 0))
    }
}

/// Particles in ribbons across the plane, which the flow winds up into spirals.
fn ribbons(particles: usize) -> Vec<f32> {
    const RIBBONS: usize = 9;
    let mut random = Random::new(1, Purpose::Data, 0);
    (0..particles)
        .flat_map(|i| {
            let middle = (i % RIBBONS) as f64 / (RIBBONS - 1) as f64 * 2.0 - 1.0;
            let scatter = 0.02 * (random.uniform() + random.uniform() - 1.0);
            [1.5 * (2.0 * random.uniform() - 1.0), 0.9 * middle + scatter].map(|y| y as f32)
        })
        .collect()
}
