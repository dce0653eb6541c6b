//! The native trainer.

mod budgets;
mod checkpoints;
mod controls;
mod density;
mod deploy;
mod failures;
mod fields;
mod gradients;
pub(crate) mod helps;
mod latent;
mod learning;
mod memory;
mod observed;
mod own_times;
mod recurrent;
mod solved;

use std::collections::BTreeMap;

use fewsteps::{
    Batch, Budget, Controller, Cpu, Evaluation, InitialStep, Local, Loss, Mlp, NeuralDe, Optimizer, PenaltyStep,
    Problem, Purpose, Random, Regularizer, SolverOptions, StepControl, StepReport, Target, TimeInput, Tolerances,
    Trainer, TrainerConfig,
};

fn cpu() -> Cpu {
    Cpu::with_threads(2).expect("two threads start")
}

/// A small classifier with everything in it: encoder, time input, head.
fn classifier(regularizer: impl Into<Regularizer>) -> TrainerConfig {
    let field = Mlp::new([4, 12, 4]).time_input(TimeInput::Every);
    let options = SolverOptions::default().tolerances(Tolerances::both(1e-4));
    let model = NeuralDe::new(Problem::ode(field, 0.0, 1.0), options).encoder(6).head(3);
    TrainerConfig::new(model, Loss::CrossEntropy).optimizer(Optimizer::adam(1e-2)).regularizer(regularizer).seed(5)
}

/// Points around three centres.
fn points(count: usize) -> (Vec<f32>, Vec<u32>) {
    let mut random = Random::new(1, Purpose::Data, 0);
    let labels: Vec<u32> = (0..count).map(|_| u32::try_from(random.below(3)).expect("below 3")).collect();
    let inputs = labels
        .iter()
        .flat_map(|&label| (0..6).map(move |i| if i % 3 == label { 1.0 } else { 0.0 }))
        .map(|centre: f64| (centre + 0.3 * random.normal()) as f32)
        .collect();
    (inputs, labels)
}

/// A checkpoint's file with other words in its header.
fn forged(file: &[u8], from: &str, to: &str) -> Vec<u8> {
    let length = usize::try_from(u64::from_le_bytes(file[..8].try_into().expect("8 bytes"))).expect("a short header");
    let header = std::str::from_utf8(&file[8..8 + length]).expect("JSON");
    assert!(header.contains(from), "{from} is in {header}");
    let header = header.replace(from, to);
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &file[8 + length..]].concat()
}

/// A classifier that learns from its solves: first steps, ideal probes and a budget.
fn learning(target: f64) -> TrainerConfig {
    let mut config = classifier(Local::unbiased().step(PenaltyStep::Ideal).budget(Budget::nfe(target)));
    config.model.options = config.model.options.step_control(StepControl::Adaptive {
        tolerances: Tolerances::both(1e-4),
        controller: Controller::I.prompt(),
        initial_step: InitialStep::Carried,
    });
    config
}

/// Loss, penalty and counts of a batch: of an evaluation, of the gradient, and of a step, which must agree.
fn measured(config: &TrainerConfig, inputs: &[f64], target: Target<'_, f64>) -> (Evaluation, StepReport) {
    let mut trainer = Trainer::<f64>::new(&cpu(), config.clone()).expect("a valid model");
    trainer.set_parameters(&[1.0, 0.0]).expect("y' = y^3");
    let batch = Batch { inputs, target };
    let evaluation = trainer.evaluate(&batch).expect("failures are counted");
    let gradients = trainer.gradients(&batch).expect("failures are left out").report;
    let report = trainer.step(&batch).expect("failures are left out");
    let numbers = |loss: f64, failed: usize| (loss.to_bits(), failed);
    for (other, name) in [
        (numbers(evaluation.loss, evaluation.failed), "an evaluation"),
        (numbers(gradients.loss, gradients.failed), "a gradient"),
    ] {
        assert_eq!(other, numbers(report.loss, report.failed), "{name} and a step of {inputs:?}");
    }
    assert_eq!(trainer.steps(), 1, "a step counts, made or skipped");
    assert_eq!(report.skipped, trainer.parameters() == [1.0, 0.0], "skipped is without an update: {report:?}");
    (evaluation, report)
}

/// Reads a checkpoint at `f64` by what everybody knows of the format: nothing of the library takes part.
fn read_parts(path: &std::path::Path) -> Parts {
    let bytes = std::fs::read(path).expect("the file");
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).expect("a safetensors file");
    let entry = metadata.metadata().clone().expect("metadata")["fewsteps"].clone();
    let numbers = |data: &[u8]| data.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().expect("8"))).collect();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("whole").tensors();
    (entry, tensors.into_iter().map(|(name, view)| (name, (view.shape().to_vec(), numbers(view.data())))).collect())
}

/// The file again: a length, a header in JSON, the numbers.
fn write_parts(path: &std::path::Path, (entry, tensors): &Parts) {
    let (mut header, mut data) = (serde_json::json!({ "__metadata__": { "fewsteps": entry } }), Vec::new());
    for (name, (shape, numbers)) in tensors {
        let first = data.len();
        data.extend(numbers.iter().flat_map(|x| x.to_le_bytes()));
        header[name] = serde_json::json!({ "dtype": "F64", "shape": shape, "data_offsets": [first, data.len()] });
    }
    let header = header.to_string();
    let length = (header.len() as u64).to_le_bytes();
    std::fs::write(path, [&length, header.as_bytes(), &data].concat()).expect("a file");
}

/// The JSON entry of a checkpoint and its tensors: name, shape, numbers.
type Parts = (String, Tensors);

/// Shapes and numbers by name.
type Tensors = BTreeMap<String, (Vec<usize>, Vec<f64>)>;
