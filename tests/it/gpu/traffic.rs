//! What a training step asks of the device: one wait, one small read, and so many dispatches.

use crate::oracle::{LAYOUTS, cast, numbers, own_gpu};
use fewsteps::{
    Batch, GpuTrainer, Layout, Local, Loss, Mlp, NeuralDe, Optimizer, Problem, SolverOptions, Target, TrainerConfig,
};

fn config(layout: Layout) -> TrainerConfig {
    let problem = Problem::ode(Mlp::new([2, 4, 2]), 0.0, 1.0);
    let model = NeuralDe::new(problem, SolverOptions::default().layout(layout)).encoder(3).head(2);
    TrainerConfig::new(model, Loss::CrossEntropy)
        .optimizer(Optimizer::adam(1e-3))
        .regularizer(Local::unbiased().coefficient(1e-3))
}

#[test]
fn a_training_step_waits_once_and_reads_128_bytes() {
    let Some(gpu) = own_gpu() else { return };
    let inputs = cast::<f32>(&numbers(1, 40 * 3));
    let labels: Vec<u32> = (0..40).map(|i| i % 2).collect();
    let batch = Batch { inputs: &inputs, target: Target::Labels(&labels) };
    for layout in LAYOUTS {
        let mut trainer = GpuTrainer::new(&gpu, config(layout)).expect("a valid model");
        for _ in 0..5 {
            gpu.block_on(trainer.step(&batch)).expect("a step");
        }
        for step in 0..30 {
            let (waits, bytes) = gpu.traffic();
            gpu.block_on(trainer.step(&batch)).expect("a step");
            let (waits_after, bytes_after) = gpu.traffic();
            assert_eq!((waits_after - waits, bytes_after - bytes), (1, 128), "{layout:?}, step {step}");
        }
        // From a data set on the device too.
        let data = gpu.block_on(trainer.upload(&inputs, Target::Labels(&labels))).expect("a data set");
        gpu.block_on(trainer.step_on(&data, &[3, 1, 39, 7])).expect("a step");
        for step in 0..10 {
            let (waits, bytes) = gpu.traffic();
            gpu.block_on(trainer.step_on(&data, &[3, 1, 39, step])).expect("a step");
            let (waits_after, bytes_after) = gpu.traffic();
            assert_eq!((waits_after - waits, bytes_after - bytes), (1, 128), "{layout:?}, gathered step {step}");
        }
    }
}

/// A step of Tsit5 by layers is combination, two layers for each of six stages, norm, save and control: the last layer of a stage
/// makes the next one's state. On the walk back it is these stages again, and for each two products a layer, of which the last one
/// makes the cotangent of the stage before. What is recorded ahead is what was taken.
#[test]
fn a_training_step_by_layers_is_16_dispatches_an_attempt_and_41_a_step_back() {
    let Some(gpu) = own_gpu() else { return };
    let inputs = cast::<f32>(&numbers(1, 40 * 12));
    let targets = cast::<f32>(&numbers(2, 40 * 12));
    let batch = Batch { inputs: &inputs, target: Target::States(&targets) };
    let model = NeuralDe::new(Problem::ode(Mlp::new([12, 300, 12]), 0.0, 2.0), SolverOptions::default());
    // Every step solves the same problem.
    let config = TrainerConfig::new(model, Loss::Mse).optimizer(Optimizer::sgd(0.0));
    let mut trainer = GpuTrainer::new(&gpu, config).expect("a valid model");
    let mut last = None;
    for _ in 0..3 {
        last = Some(gpu.block_on(trainer.step(&batch)).expect("a step"));
    }
    let report = last.expect("a report");
    let attempts = report.accepted + report.rejected;
    assert!(report.accepted > 2, "{report:?}");
    let dispatches = trainer.dispatches(40).expect("a recorded step");
    assert_eq!(dispatches - 16 * attempts - 41 * report.accepted, 25, "{attempts} attempts, {} steps", report.accepted);
}
