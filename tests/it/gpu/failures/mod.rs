//! Failures on the device: a trajectory's own, and those of calls that cannot be carried out.

mod limits;
mod training;
mod trajectories;

use fewsteps::{Gpu, InputMap, Mlp, Problem};

/// `y' = y^3`, which reaches its pole at `t = 1 / (2 y0^2)`, and stands still at 0.
fn blow_up() -> (Problem, [f32; 2]) {
    (Problem::ode(Mlp::new([1, 1]).input_map(InputMap::Cube), 0.0, 1.0), [1.0, 0.0])
}

/// Fails with the first of all that was found, and their number.
fn none(failures: &[String]) {
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures[..failures.len().min(20)].join("\n"));
}

/// A device of WebGPU's default limits that computes nothing.
fn default_limits() -> Gpu {
    let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
    Gpu::from_wgpu(&device, &queue).expect("limits that are enough")
}
