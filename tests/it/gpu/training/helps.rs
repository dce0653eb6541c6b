//! Horizons that grow, segments and early stopping on the device.

use crate::oracle::gpu;
use crate::train::helps;
use fewsteps::{Batch, Curriculum, GpuTrainer, Mlp, NeuralDe, Problem, SaveAt, SolverOptions, Target, Trainer};
use fewsteps::{Loss, Optimizer, TrainerConfig};

use crate::oracle::{cast, cpu, numbers};

#[test]
fn a_curriculum_ends_as_plain_training() {
    let Some(gpu) = gpu() else { return };
    helps::curricula_end_as_plain_training::<GpuTrainer, f32>(&gpu);
}

#[test]
fn early_stopping_keeps_the_best_weights() {
    let Some(gpu) = gpu() else { return };
    helps::the_best_weights_are_kept::<GpuTrainer, f32>(&gpu);
}

#[test]
fn segments_are_followed_as_on_the_native_engine() {
    let Some(gpu) = gpu() else { return };
    let device = helps::learnt_on_segments::<GpuTrainer, f32>(&gpu, 2.0, 25);
    let native = helps::learnt_on_segments::<Trainer<f64>, f64>(&cpu(1), 2.0, 25);
    assert!(native > 1.5, "it moves: {native}");
    assert!((device / native - 1.0).abs() < 1e-3, "{device} and {native}");
}

/// A data set on the device is of as many times as the model saves: one for each stage.
#[test]
fn data_that_are_held_follow_a_horizon() {
    let Some(gpu) = gpu() else { return };
    const SAMPLES: usize = 40;
    const SLOTS: usize = 4;
    let options = SolverOptions::default().save_at(SaveAt::Times((1..=SLOTS).map(|i| i as f64).collect()));
    let model = NeuralDe::new(Problem::ode(Mlp::new([2, 8, 2]), 0.0, 4.0), options);
    let whole = TrainerConfig::new(model, Loss::Mse).optimizer(Optimizer::adam(0.01));
    let curriculum = Curriculum::new(1, 4).and_then(|c| c.stages(2)).expect("good numbers");
    let (inputs, states): (Vec<f32>, Vec<f32>) =
        (cast(&numbers(1, 2 * SAMPLES)), cast(&numbers(2, 2 * SAMPLES * SLOTS)));
    // [samples][times][2] as a data set, [times][samples][2] as a batch.
    let of = |sample: usize, slot: usize| &states[(sample * SLOTS + slot) * 2..][..2];
    let mut device = GpuTrainer::new(&gpu, whole.clone()).expect("a valid model");
    let mut native = Trainer::<f32>::new(&cpu(1), whole.clone()).expect("a valid model");
    let chosen: Vec<u32> = (0..33).map(|i| i * 7 % 40).collect();
    for step in 0..6 {
        let slots = curriculum.slots(step, SLOTS);
        let config = curriculum.config(&whole, step).expect("a horizon");
        gpu.block_on(device.reconfigure(config.clone())).expect("the same tensors");
        native.reconfigure(config).expect("the same tensors");
        let held: Vec<f32> = (0..SAMPLES).flat_map(|i| (0..slots).flat_map(move |slot| of(i, slot))).copied().collect();
        let data = gpu.block_on(device.upload(&inputs, Target::States(&held))).expect("data that fit");
        let a = gpu.block_on(device.step_on(&data, &chosen)).expect("a step").loss;
        let picked: Vec<f32> = chosen.iter().flat_map(|&i| inputs[2 * i as usize..][..2].to_vec()).collect();
        let wanted: Vec<f32> =
            (0..SLOTS).flat_map(|slot| chosen.iter().flat_map(move |&i| of(i as usize, slot))).copied().collect();
        let target = Target::States(&wanted).up_to(slots, SLOTS);
        let b = native.step(&Batch { inputs: &picked, target }).expect("a step").loss;
        assert!((a / b - 1.0).abs() < 1e-3, "step {step}, {slots} times: {a} and {b}");
    }
}
