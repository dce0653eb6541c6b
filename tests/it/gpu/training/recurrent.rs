//! Recurrent encoders on the device against the native engine at `f64`.

use crate::oracle::{LAYOUTS, bits, cast, close, cpu, fixed, gpu, numbers, scaled, widen};
use fewsteps::{
    Batch, FailurePolicy, Field, FixedStep, GpuTrainer, LatentGru, Layout, Loss, Method, Mlp, NeuralDe, Optimizer,
    Problem, Reading, Recurrent, SolverOptions, Target, Tolerances, Trainer, TrainerConfig,
};

/// Series of 6 observations `[2 values, 2 masks, dt]`, of which some are none.
fn series(rows: usize) -> Vec<f64> {
    let mut all = numbers(5, rows * 30);
    for (n, x) in all.chunks_exact_mut(5).enumerate() {
        (x[2], x[3]) = (f64::from(u8::from(n % 3 == 0)), f64::from(u8::from(n % 4 == 1)));
        x[4] = if n % 6 == 5 { 0.0 } else { 0.1 + 0.3 * x[4].abs() };
    }
    all
}

/// Few rows and many, whose runs are of another kind; with a map and without one, from either end.
fn encoders() -> [Recurrent; 5] {
    let gru = |hidden| Recurrent::gru(6, 5, hidden).expect("a cell");
    let masked = |hidden| gru(hidden).masked(2..4).expect("a mask");
    let latent = |form| Recurrent::latent_gru(6, 2, [20, 7], form).expect("a cell");
    let moves = Mlp::new([3, 4, 3]);
    [
        gru(3),
        masked(36).reading(Reading::Backwards).start(vec![0.25; 36]).out(Mlp::new([36, 8, 3])),
        latent(LatentGru::Correct).out(Mlp::new([40, 3])),
        latent(LatentGru::Published).out(Mlp::new([40, 3])),
        masked(3).evolved(moves, 4, 2, FixedStep::Rk4).expect("a cell"),
    ]
}

fn config(encoder: &Recurrent, layout: Layout) -> TrainerConfig {
    let problem = Problem::ode(Mlp::new([3, 5, 3]), 0.0, 1.0);
    let model = NeuralDe::new(problem, fixed(Method::Bosh3, 2).layout(layout)).encoder(encoder.clone()).head(2);
    TrainerConfig::new(model, Loss::Mse)
}

#[test]
fn series_are_read_and_walked_back_as_natively() {
    let Some(gpu) = gpu() else { return };
    for (n, encoder) in encoders().iter().enumerate() {
        for (layout, rows) in LAYOUTS.into_iter().zip([33, 70]) {
            let name = format!("encoder {n}, {layout:?}, {rows} series");
            let mut device = GpuTrainer::new(&gpu, config(encoder, layout)).expect("a valid model");
            let mut native = Trainer::<f64>::new(&cpu(1), config(encoder, layout)).expect("a valid model");
            let theta: Vec<f32> = cast(&scaled(0.5, &numbers(11, native.parameters().len())));
            device.set_parameters(&theta).expect("as many");
            native.set_parameters(&widen(&theta)).expect("as many");
            let (inputs, targets) = (cast::<f32>(&series(rows)), cast::<f32>(&numbers(8, 2 * rows)));
            let (wide, wide_targets) = (widen(&inputs), widen(&targets));
            let batch = Batch { inputs: &inputs, target: Target::States(&targets) };
            let wide = Batch { inputs: &wide, target: Target::States(&wide_targets) };
            let found = gpu.block_on(device.predict(&inputs)).expect("solves");
            close(&name, &widen(&found), &native.predict(wide.inputs).expect("solves"), 1e-5);
            // Twice: what a step leaves in the buffers is not in the next one's way.
            for _ in 0..2 {
                let found = gpu.block_on(device.gradients(&batch)).expect("a gradient");
                let expected = native.gradients(&wide).expect("a gradient");
                assert!((found.report.loss / expected.report.loss - 1.0).abs() < 1e-5, "{name}");
                for tensor in native.config().model.layout() {
                    let [found, expected] =
                        [&widen(&found.gradient), &expected.gradient].map(|g| g[tensor.range()].to_vec());
                    let is_something = expected.iter().any(|g| *g != 0.0);
                    assert!(is_something, "{name}: {}", tensor.name);
                    close(&format!("{name}: {}", tensor.name), &found, &expected, 1e-4);
                }
            }
        }
    }
}

/// A smaller batch in the room of a larger one, and samples of a data set that the device holds.
#[test]
fn batches_of_other_sizes_and_held_data_train_as_natively() {
    let Some(gpu) = gpu() else { return };
    let config = || config(&encoders()[1], Layout::Lockstep).optimizer(Optimizer::adam(1e-2)).seed(3);
    let mut device = GpuTrainer::new(&gpu, config()).expect("a valid model");
    let mut native = Trainer::<f32>::new(&cpu(1), config()).expect("a valid model");
    let (inputs, targets) = (cast::<f32>(&series(70)), cast::<f32>(&numbers(8, 140)));
    for rows in [70, 33, 50] {
        let batch = Batch { inputs: &inputs[..rows * 30], target: Target::States(&targets[..2 * rows]) };
        gpu.block_on(device.step(&batch)).expect("a step");
        native.step(&batch).expect("a step");
    }
    let data = gpu.block_on(device.upload(&inputs, Target::States(&targets))).expect("room");
    gpu.block_on(device.step_on(&data, &[69, 4, 33, 0])).expect("a step");
    let pick = |all: &[f32], width: usize| [69, 4, 33, 0].map(|n: usize| all[n * width..][..width].to_vec()).concat();
    native.step(&Batch { inputs: &pick(&inputs, 30), target: Target::States(&pick(&targets, 2)) }).expect("a step");
    let found = gpu.block_on(device.parameters()).expect("parameters");
    close("parameters", &widen(&found), &widen(native.parameters()), 1e-4);
}

/// Padding changes no bit, and a series that fails spoils nothing.
#[test]
fn padding_changes_no_bit_and_failed_series_spoil_nothing() {
    let Some(gpu) = gpu() else { return };
    let of = |steps: usize| {
        let gru = Recurrent::gru(steps, 5, 36).and_then(|gru| gru.masked(2..4)).expect("a cell");
        gru.out(Mlp::new([36, 3]))
    };
    let (inputs, targets) = (cast::<f32>(&series(33)), cast::<f32>(&numbers(8, 66)));
    let pad = |row: &[f32]| [&row[..10], &[9.0, 9.0, 0.0, 0.0, 0.0], &row[10..], &[0.0; 5]].concat();
    let longer: Vec<f32> = inputs.chunks_exact(30).flat_map(pad).collect();
    let found = [(of(6), &inputs), (of(8), &longer)].map(|(encoder, inputs)| {
        let mut device = GpuTrainer::new(&gpu, config(&encoder, Layout::Lockstep)).expect("a valid model");
        let batch = Batch { inputs, target: Target::States(&targets) };
        bits(&gpu.block_on(device.gradients(&batch)).expect("a gradient").gradient)
    });
    assert_eq!(found[0], found[1], "padding");

    // h becomes a layer of 1 / x with the last observation: a series that ends in 0 is nowhere.
    let cell = Field::build(2, |f| {
        let (h, x) = (f.state().row(0), f.state().row(1));
        f.mlp("a", &Mlp::new([1, 1]), &x.recip()) + 0.0 * h
    });
    let encoder = Recurrent::new(cell.expect("a field"), 2, 1);
    let field = Field::build(1, |f| f.parameters("b", &[-0.5]) * f.state()).expect("a field");
    let options = SolverOptions::default().tolerances(Tolerances::both(1e-5)).layout(Layout::Ensemble);
    let model = NeuralDe::new(Problem::ode(field, 0.0, 1.0), options).encoder(encoder);
    let config = TrainerConfig::new(model, Loss::Mse).failure(FailurePolicy::Skip);
    let mut device = GpuTrainer::new(&gpu, config).expect("a valid model");
    let mut gradients = |inputs: &[f32]| {
        let targets = vec![0.0; inputs.len() / 2];
        let batch = Batch { inputs, target: Target::States(&targets) };
        gpu.block_on(device.gradients(&batch)).expect("a gradient")
    };
    let (found, expected) = (gradients(&[1.0, 0.0, 3.0, 2.0, 2.0, 0.5]), gradients(&[3.0, 2.0, 3.0, 0.5]));
    assert_eq!((found.report.failed, expected.report.failed), (1, 0));
    assert!(found.gradient.iter().all(|g| g.is_finite()), "{:?}", found.gradient);
    close("the gradient", &widen(&found.gradient), &widen(&expected.gradient), 1e-5);
}

#[test]
fn solves_between_observations_are_refused() {
    let Some(gpu) = gpu() else { return };
    let options = SolverOptions::default().layout(Layout::Ensemble);
    let encoder = Recurrent::gru(6, 5, 3).and_then(|gru| gru.solved(Mlp::new([3, 3]), 4, options)).expect("an encoder");
    let refused = GpuTrainer::new(&gpu, config(&encoder, Layout::Lockstep)).expect_err("refused").to_string();
    assert!(refused.starts_with("NeuralDe::encoder = Recurrent::solved: a device does not solve"), "{refused}");
    assert!(refused.contains("Recurrent::evolved, or Trainer"), "{refused}");
}

#[test]
fn more_observations_than_a_device_reads_are_refused() {
    let Some(gpu) = gpu() else { return };
    let trainer = |steps| {
        let config = config(&Recurrent::gru(steps, 5, 3).expect("a cell"), Layout::Lockstep);
        GpuTrainer::new(&gpu, config)
    };
    assert!(trainer(1024).is_ok(), "as many as there may be");
    let refused = trainer(1025).expect_err("too many").to_string();
    assert!(refused.starts_with("NeuralDe::encoder = 1025 observations"), "{refused}");
}
