//! Long trainings on the device: memory stays flat.
//!
//! A crate of its own: the system tells memory of a process.

#[path = "it/oracle/adapter.rs"]
mod adapter;

use adapter::own_gpu;
use fewsteps::{
    Batch, Gpu, GpuTrainer, Local, Loss, Method, Mlp, NeuralDe, Problem, SolverOptions, StepControl, Target,
    TrainerConfig,
};

/// As few dispatches as a regularized training step can have.
fn tiny() -> TrainerConfig {
    let problem = Problem::ode(Mlp::new([2, 2]), 0.0, 1.0);
    let options = SolverOptions::default().method(Method::Heun).step_control(StepControl::Fixed { steps: 1 });
    let model = NeuralDe::new(problem, options).head(2);
    TrainerConfig::new(model, Loss::CrossEntropy).regularizer(Local::unbiased().coefficient(1e-3))
}

/// Numbers in `[-1, 1)`.
fn numbers(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i * 7 % 16) as f32 / 8.0 - 1.0).collect()
}

/// Bytes of the device's live allocations, where its driver's are wgpu's to count, and buffers that live.
fn device_memory(gpu: &Gpu) -> Option<(u64, usize)> {
    let report = gpu.device().generate_allocator_report()?;
    Some((report.total_allocated_bytes, report.allocations.len()))
}

/// Resident pages of this process, in bytes, where the system says.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(4096 * text.split_whitespace().nth(1)?.parse::<u64>().ok()?)
}

/// `FEWSTEPS_SOAK` says how many steps.
#[test]
fn memory_is_flat_over_a_long_training() {
    let Some(gpu) = own_gpu() else { return };
    let steps: usize = std::env::var("FEWSTEPS_SOAK").map_or(2000, |n| n.parse().expect("a number of steps"));
    let inputs = numbers(8 * 2);
    let labels: Vec<u32> = (0..8).map(|i| i % 2).collect();
    let full = Batch { inputs: &inputs, target: Target::Labels(&labels) };
    let partial = Batch { inputs: &inputs[..5 * 2], target: Target::Labels(&labels[..5]) };
    let mut trainer = GpuTrainer::new(&gpu, tiny()).expect("a valid model");
    let mut run = |count: usize| {
        for step in 0..count {
            // Every tenth batch is the last of an epoch, every fiftieth is evaluated.
            let batch = if step % 10 == 9 { &partial } else { &full };
            let report = gpu.block_on(trainer.step(batch)).expect("a step");
            assert!(report.loss.is_finite(), "step {step}: {report:?}");
            if step % 50 == 49 {
                gpu.block_on(trainer.evaluate(&full)).expect("an evaluation");
            }
        }
        (trainer.bytes(), device_memory(&gpu), resident())
    };
    let (bytes, device, process) = run(steps / 4);
    let (bytes_after, device_after, process_after) = run(steps - steps / 4);
    println!("{steps} steps of {:?} dispatches, {bytes} bytes held", trainer.dispatches(8));
    println!("device {device:?}, then {device_after:?}; process {process:?}, then {process_after:?}");
    assert_eq!(bytes_after, bytes, "bytes that the trainer holds");
    // Vulkan and DX12 report it, and must; elsewhere the driver owns the memory.
    let reports = ["vulkan", "dx12"].contains(&gpu.adapter().backend.as_str());
    assert_eq!(device.is_some(), reports, "{}: a report of its memory", gpu.adapter());
    if let Some(((before, count), (after, count_after))) = device.zip(device_after) {
        // Staging memory of the queue comes and goes.
        assert!(count_after <= count + 4, "{count} allocations became {count_after}");
        assert!(after <= before + (1 << 20), "{before} bytes of the device became {after}");
    }
    if let Some((before, after)) = process.zip(process_after) {
        let per_step = after.saturating_sub(before) as f64 / (steps - steps / 4) as f64;
        assert!(after < before + (8 << 20), "{before} bytes of the process became {after}: {per_step:.0} a step");
    }
}
