//! Data sets on the device whose samples have times of their own: what steps on them are, against steps on the same rows and the
//! native engine.

use super::own_times::model;
use crate::oracle::{LAYOUTS, adaptive, bits, cast, close, cpu, gpu, numbers, widen};
use fewsteps::{
    Batch, Elbo, EndTime, Gpu, GpuTrainer, Layout, Local, Loss, Method, Mlp, NeuralDe, Problem, Reduction,
    SolverOptions, StepReport, Target, Times, Trainer, TrainerConfig,
};

const SAMPLES: usize = 70;
const OUTPUTS: usize = 2;

/// Samples of one to five times; those of one rest.
fn all_times() -> Times {
    let row = |row: usize| {
        let mut times = numbers(row as u64, 1 + row * 7 % 5);
        times.sort_by(f64::total_cmp);
        times
    };
    Times::series(&(0..SAMPLES).map(row).collect::<Vec<_>>()).expect("series")
}

/// A data set's targets, `[samples][slots][outputs]`; NaN where a sample has no time, or it was not observed.
struct Data {
    times: Times,
    inputs: Vec<f32>,
    states: Vec<f32>,
    weights: Vec<f32>,
    labels: Vec<u32>,
}

impl Data {
    fn new() -> Self {
        let times = all_times();
        let width = times.slots() * OUTPUTS;
        let has = |i: usize| i % width / OUTPUTS < times.saved(i / width).len();
        let weight = |i: usize| if has(i) { [1.0, 2.5, 0.0, 0.5, 3.0][i * 3 % 5] } else { f32::NAN };
        let weights: Vec<f32> = (0..SAMPLES * width).map(weight).collect();
        let states: Vec<f32> = cast(&numbers(4, SAMPLES * width));
        let states = states.iter().enumerate().map(|(i, x)| if has(i) { *x } else { f32::NAN }).collect();
        let labels = (0..SAMPLES).map(|i| (i * 5 / 3 % OUTPUTS) as u32).collect();
        Self { inputs: cast(&numbers(3, 4 * SAMPLES)), states, weights, labels, times }
    }

    fn target(&self, kind: usize) -> Target<'_, f32> {
        let Self { states, weights, labels, .. } = self;
        [Target::States(states), Target::Observed { states, weights }, Target::Labels(labels)][kind]
    }

    /// Those of a batch, `[slots][batch][outputs]` with as many slots as it needs.
    fn batch(&self, samples: &[u32]) -> Self {
        let rows: Vec<usize> = samples.iter().map(|i| *i as usize).collect();
        let times = self.times.select(&rows).expect("rows");
        let slot = |numbers: &[f32], slot: usize| -> Vec<f32> {
            rows.iter()
                .flat_map(|row| numbers[(row * self.times.slots() + slot) * OUTPUTS..][..OUTPUTS].to_vec())
                .collect()
        };
        let of = |numbers: &[f32]| (0..times.slots()).flat_map(|n| slot(numbers, n)).collect();
        let inputs = rows.iter().flat_map(|row| self.inputs[4 * row..][..4].to_vec()).collect();
        let labels = rows.iter().map(|row| self.labels[*row]).collect();
        Self { inputs, states: of(&self.states), weights: of(&self.weights), labels, times }
    }
}

/// The batches of six steps: few, many, all, one that rests, and a sample that is drawn again and again.
fn batches() -> [Vec<u32>; 6] {
    let many = (0..33).map(|i| i * 7 % SAMPLES as u32).collect();
    [vec![1, 3], many, (0..SAMPLES as u32).rev().collect(), vec![0], vec![4, 9, 4, 4, 9, 2], vec![13; 33]]
}

/// Six steps on a data set beside the same on its rows, and natively.
fn check(gpu: &Gpu, config: &TrainerConfig, kind: usize) {
    let name = format!("{:?} of {kind} in {:?}, {:?}", config.loss, config.model.options.layout, config.elbo);
    let data = Data::new();
    let trainer = || GpuTrainer::new(gpu, config.clone()).expect("a model");
    let (mut held, mut sent) = (trainer(), trainer());
    let mut native = Trainer::<f64>::new(&cpu(1), config.clone()).expect("a model");
    let theta: Vec<f32> = native.parameters().iter().map(|x| (1.5 * x) as f32).collect();
    native.set_parameters(&widen(&theta)).expect("as many");
    for trainer in [&mut held, &mut sent] {
        trainer.set_parameters(&theta).expect("as many");
    }
    // Sums have the order that goes with room for so many times.
    for trainer in [&mut held, &mut sent] {
        trainer.set_times(Some(data.times.clone())).expect("own times");
    }
    let set = gpu.block_on(held.upload(&data.inputs, data.target(kind))).expect("data that fit");
    assert_eq!(set.times(), Some(&data.times));
    for (n, samples) in batches().into_iter().enumerate() {
        let name = format!("{name}, step {n}");
        let rows = data.batch(&samples);
        sent.set_times(Some(rows.times.clone())).expect("own times");
        native.set_times(Some(rows.times.clone())).expect("own times");
        let batch = Batch { inputs: &rows.inputs, target: rows.target(kind) };
        let found = gpu.block_on(held.step_on(&set, &samples)).expect("a step");
        assert_eq!(found, gpu.block_on(sent.step(&batch)).expect("a step"), "{name}");
        let found = gpu.block_on(held.evaluate_on(&set, &samples)).expect("a loss");
        assert_eq!(found, gpu.block_on(sent.evaluate(&batch)).expect("a loss"), "{name}");
        let (inputs, states, weights) = (widen(&rows.inputs), widen(&rows.states), widen(&rows.weights));
        let (states, weights) = (&states, &weights);
        let target = [Target::States(states), Target::Observed { states, weights }, Target::Labels(&rows.labels)][kind];
        native.step(&Batch { inputs: &inputs, target }).expect("a step");
        let expected = native.evaluate(&Batch { inputs: &inputs, target }).expect("a loss");
        close(&name, &[found.loss], &[expected.loss], 1e-4);
        assert_eq!((found.correct, found.failed), (expected.correct, expected.failed), "{name}");
    }
    let [found, sent] = [held, sent].map(|mut trainer| gpu.block_on(trainer.parameters()).expect("parameters"));
    assert_eq!(bits(&found), bits(&sent), "{name}");
    close(&name, &widen(&found), native.parameters(), 2e-4);
}

#[test]
fn steps_on_a_data_set_are_those_on_its_rows() {
    let Some(gpu) = gpu() else { return };
    for layout in LAYOUTS {
        check(&gpu, &TrainerConfig::new(model(layout, OUTPUTS), Loss::Gaussian { std: 0.5 }), 0);
        let penalised = TrainerConfig::new(model(layout, OUTPUTS), Loss::Mse);
        check(&gpu, &penalised.regularizer(Local::unbiased().coefficient(0.01)), 1);
        check(&gpu, &TrainerConfig::new(model(layout, OUTPUTS), Loss::CrossEntropy), 2);
    }
}

#[test]
fn draws_of_a_data_set_have_their_samples_times() {
    let Some(gpu) = gpu() else { return };
    for (n, elbo) in [
        Elbo::default().samples(3),
        Elbo::default().samples(2).reduction(Reduction::Sum),
        Elbo::default().samples(3).reduction(Reduction::Sum).importance(),
    ]
    .into_iter()
    .enumerate()
    {
        let mut latent = model(LAYOUTS[n % 2], OUTPUTS).encoder(Mlp::new([4, 6]));
        latent = latent.latent();
        for kind in [0, 1] {
            check(&gpu, &TrainerConfig::new(latent.clone(), Loss::Gaussian { std: 0.5 }).elbo(elbo.clone()), kind);
        }
    }
}

/// Stops of all samples have room in the record of each.
#[test]
fn steps_on_a_data_set_end_where_they_have_to() {
    let Some(gpu) = gpu() else { return };
    let data = Data::new();
    let options = adaptive(Method::Bosh3, 1e-4).layout(Layout::Ensemble).stop_at([-0.6, 0.1, 0.7]);
    let model = NeuralDe::new(Problem::ode(Mlp::new([3, 5, 3]), -1.0, 1.0), options).encoder(4).head(OUTPUTS);
    let config = TrainerConfig::new(model, Loss::Mse);
    let trainer = || GpuTrainer::new(&gpu, config.clone()).expect("a model");
    let (mut held, mut sent) = (trainer(), trainer());
    held.set_times(Some(data.times.clone())).expect("own times");
    let set = gpu.block_on(held.upload(&data.inputs, data.target(0))).expect("data that fit");
    for samples in batches() {
        let rows = data.batch(&samples);
        sent.set_times(Some(rows.times.clone())).expect("own times");
        let batch = Batch { inputs: &rows.inputs, target: rows.target(0) };
        let found = gpu.block_on(held.step_on(&set, &samples)).expect("a step");
        let expected = gpu.block_on(sent.step(&batch)).expect("a step");
        assert_eq!((found.nfe, found.accepted), (expected.nfe, expected.accepted), "{samples:?}");
        let numbers = |report: &StepReport| [report.loss, report.gradient_norm];
        close("loss and gradient", &numbers(&found), &numbers(&expected), 1e-6);
    }
}

/// Batches keep the times that they were given, and data sets theirs.
#[test]
fn times_of_batches_and_of_data_sets_are_their_own() {
    let Some(gpu) = gpu() else { return };
    let data = Data::new();
    let (samples, others) = ([3u32, 1, 2], [8u32, 9, 6]);
    let (rows, apart) = (data.batch(&samples), data.batch(&others));
    for layout in LAYOUTS {
        let trainer = || GpuTrainer::new(&gpu, TrainerConfig::new(model(layout, OUTPUTS), Loss::Mse)).expect("a model");
        let (mut held, mut sent) = (trainer(), trainer());
        held.set_times(Some(data.times.clone())).expect("own times");
        let set = gpu.block_on(held.upload(&data.inputs, data.target(0))).expect("data that fit");
        // Times of the same number of rows, none, and again some; there is room for more times than samples have then.
        let more = Times::within(&[[0.0, 1.0]], &[vec![0.5; 7]]).expect("times");
        for times in [Some(apart.times.clone()), None, Some(apart.times.clone())] {
            held.set_times(Some(more.clone())).expect("times");
            held.set_times(times.clone()).expect("times");
            sent.set_times(Some(rows.times.clone())).expect("own times");
            let found = gpu.block_on(held.step_on(&set, &samples)).expect("a step");
            let batch = Batch { inputs: &rows.inputs, target: rows.target(0) };
            assert_eq!(found, gpu.block_on(sent.step(&batch)).expect("a step"), "{layout:?}");
            let at_the_end = Target::States(&[0.5; 6]);
            let target = if times.is_some() { apart.target(0) } else { at_the_end };
            let batch = Batch { inputs: &apart.inputs, target };
            sent.set_times(times).expect("times");
            for _ in 0..2 {
                let found = gpu.block_on(held.evaluate(&batch)).expect("a loss");
                assert_eq!(found, gpu.block_on(sent.evaluate(&batch)).expect("a loss"), "{layout:?}");
                let found = gpu.block_on(held.predict(&apart.inputs)).expect("outputs");
                let expected = gpu.block_on(sent.predict(&apart.inputs)).expect("outputs");
                assert_eq!(bits(&found), bits(&expected), "{layout:?}");
                gpu.block_on(held.evaluate_on(&set, &others)).expect("a loss");
            }
            let found = gpu.block_on(held.step(&batch)).expect("a step");
            assert_eq!(found, gpu.block_on(sent.step(&batch)).expect("a step"), "{layout:?}");
        }
    }
}

#[test]
fn what_stands_where_a_sample_has_no_time_changes_no_bit() {
    let Some(gpu) = gpu() else { return };
    let step = |missing: f32, missing_weight: f32| {
        let mut data = Data::new();
        let width = data.times.slots() * OUTPUTS;
        for i in 0..SAMPLES * width {
            if i % width / OUTPUTS >= data.times.saved(i / width).len() {
                (data.states[i], data.weights[i]) = (missing, missing_weight);
            }
        }
        let config = TrainerConfig::new(model(Layout::Ensemble, OUTPUTS), Loss::Mse);
        let mut trainer = GpuTrainer::new(&gpu, config).expect("a model");
        trainer.set_times(Some(data.times.clone())).expect("own times");
        let set = gpu.block_on(trainer.upload(&data.inputs, data.target(1))).expect("data that fit");
        gpu.block_on(trainer.step_on(&set, &[3, 60, 2, 3])).expect("a step");
        bits(&gpu.block_on(trainer.parameters()).expect("parameters"))
    };
    assert_eq!(step(f32::NAN, f32::NAN), step(1e30, -7.0));
}

#[test]
fn data_sets_that_do_not_fit_their_times_say_so() {
    let Some(gpu) = gpu() else { return };
    let mut data = Data::new();
    let config = TrainerConfig::new(model(Layout::Ensemble, OUTPUTS), Loss::Mse);
    let mut trainer = GpuTrainer::new(&gpu, config.clone()).expect("a model");
    let shared = gpu.block_on(trainer.upload(&[0.1; 8], Target::States(&[0.5; 4]))).expect("a data set");
    trainer.set_times(Some(data.times.clone())).expect("own times");
    let refused = |trainer: &GpuTrainer, inputs: &[f32], target: Target<'_, f32>, said: &str| {
        let error = gpu.block_on(trainer.upload(inputs, target)).expect_err(said).to_string();
        assert!(error.contains(said), "{error}, not {said}");
    };
    refused(&trainer, &data.inputs[..8], Target::States(&[0.5; 20]), "Times = 70 rows: ");
    refused(&trainer, &data.inputs, Target::States(&data.states[..20]), "[70][5][2]");
    // Of sample 2, which has five times.
    let at = (2 * data.times.slots() + 4) * OUTPUTS + 1;
    data.states[at] = f32::NAN;
    refused(&trainer, &data.inputs, data.target(0), &format!("Target::States[{at}]"));
    data.weights[at] = 1.0;
    refused(&trainer, &data.inputs, data.target(1), "trajectory 2, output 9");
    let error = gpu.block_on(trainer.step_on(&shared, &[0, 1])).expect_err("no times").to_string();
    assert!(error.starts_with("Times = 70 rows: the data set has none"), "{error}");
    trainer.set_times(None).expect("none");
    gpu.block_on(trainer.step_on(&shared, &[0, 1])).expect("at the end");

    let mut drawn = config.regularizer(EndTime::within(0.2));
    drawn.model.options = SolverOptions::default();
    let mut drawn = GpuTrainer::new(&gpu, drawn).expect("a model");
    let data = Data::new();
    drawn.set_times(Some(data.times.clone())).expect("own times");
    let set = gpu.block_on(drawn.upload(&data.inputs, data.target(0))).expect("data that fit");
    let error = gpu.block_on(drawn.step_on(&set, &[0, 1])).expect_err("a drawn end").to_string();
    assert!(error.starts_with("Regularizer::EndTime"), "{error}");
}
