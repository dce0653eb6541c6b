//! Training on series that were observed at times of their own, on the device beside the native engine.

use crate::oracle::{LAYOUTS, bits, cast, close, cpu, gpu, numbers, widen};
use fewsteps::{
    Batch, Elbo, EndTime, Error, Field, Gpu, GpuTrainer, Layout, Loss, Method, Mlp, NeuralDe, Optimizer, Problem,
    Schedule, SolverOptions, StepControl, Target, TimeInput, Times, Trainer, TrainerConfig,
};

pub(super) const ROWS: usize = 37;

fn options(layout: Layout) -> SolverOptions {
    SolverOptions::default().method(Method::Bosh3).step_control(StepControl::Fixed { steps: 3 }).layout(layout)
}

pub(super) fn model(layout: Layout, outputs: usize) -> NeuralDe {
    let field = Mlp::new([3, 5, 3]).time_input(TimeInput::First);
    NeuralDe::new(Problem::ode(field, 0.0, 1.0), options(layout)).encoder(4).head(outputs)
}

/// Series of one to five times, some of one time at their start.
pub(super) fn series() -> Times {
    let row = |row: usize| {
        let mut times = numbers(row as u64, 1 + row * 7 % 5);
        times.sort_by(f64::total_cmp);
        times
    };
    Times::series(&(0..ROWS).map(row).collect::<Vec<_>>()).expect("series")
}

/// Numbers `[slots][B][outputs]`, `missing` where a row has no time.
pub(super) fn target_of(times: &Times, outputs: usize, seed: u64, missing: f32) -> Vec<f32> {
    let rows = times.rows();
    let has = |i: usize| i / outputs / rows < times.saved(i / outputs % rows).len();
    let numbers = cast::<f32>(&numbers(seed, times.slots() * rows * outputs)).into_iter().enumerate();
    numbers.map(|(i, x)| if has(i) { x } else { missing }).collect()
}

/// A target of any kind, at `f32` and at `f64`.
#[derive(Clone, Debug)]
enum Owned {
    States(Vec<f32>),
    Observed(Vec<f32>, Vec<f32>),
    Labels(Vec<u32>),
}

fn check(gpu: &Gpu, config: &TrainerConfig, times: &[Times], inputs: &[f32], target: impl Fn(&Times) -> Owned) {
    let name = format!("{:?} in {:?}", config.loss, config.model.options.layout);
    let mut native = Trainer::<f64>::new(&cpu(1), config.clone()).expect("a model");
    let mut device = GpuTrainer::new(gpu, config.clone()).expect("a model");
    let theta: Vec<f32> = native.parameters().iter().map(|x| (1.5 * x) as f32).collect();
    native.set_parameters(&widen(&theta)).expect("as many");
    device.set_parameters(&theta).expect("as many");
    for (n, times) in times.iter().enumerate() {
        let name = format!("{name}, batch {n}");
        native.set_times(Some(times.clone())).expect("own times");
        device.set_times(Some(times.clone())).expect("own times");
        let inputs = &inputs[..inputs.len() / ROWS * times.rows()];
        let (wide, target) = (widen(inputs), target(times));
        let (wide_states, wide_weights) = match &target {
            Owned::States(states) => (widen(states), Vec::new()),
            Owned::Observed(states, weights) => (widen(states), widen(weights)),
            Owned::Labels(_) => Default::default(),
        };
        let (found_of, expected_of) = match &target {
            Owned::States(states) => (Target::States(states), Target::States(&wide_states)),
            Owned::Observed(states, weights) => (
                Target::Observed { states, weights },
                Target::Observed { states: &wide_states, weights: &wide_weights },
            ),
            Owned::Labels(labels) => (Target::Labels(labels), Target::Labels(labels)),
        };
        let (found_of, expected_of) =
            (Batch { inputs, target: found_of }, Batch { inputs: &wide, target: expected_of });
        let found = gpu.block_on(device.evaluate(&found_of)).expect("a loss");
        let expected = native.evaluate(&expected_of).expect("a loss");
        close(&name, &[found.loss], &[expected.loss], 1e-5);
        assert_eq!((found.correct, found.failed), (expected.correct, expected.failed), "{name}");
        let found = gpu.block_on(device.predict(inputs)).expect("outputs");
        let expected = native.predict(&wide).expect("outputs");
        assert!(found.iter().zip(&expected).all(|(a, b)| a.is_nan() == b.is_nan()), "{name}: {found:?}");
        let there = |outputs: &[f64]| outputs.iter().copied().filter(|x| !x.is_nan()).collect::<Vec<_>>();
        close(&name, &there(&widen(&found)), &there(&expected), 1e-4);
        let found = gpu.block_on(device.gradients(&found_of)).expect("a gradient");
        let expected = native.gradients(&expected_of).expect("a gradient");
        close(&name, &[found.report.loss], &[expected.report.loss], 1e-5);
        assert_eq!(
            (found.report.nfe, found.report.accepted),
            (expected.report.nfe, expected.report.accepted),
            "{name}"
        );
        close(&format!("{name}: gradient"), &widen(&found.gradient), &expected.gradient, 2e-4);
        gpu.block_on(device.step(&found_of)).expect("a step");
        native.step(&expected_of).expect("a step");
    }
    let after = gpu.block_on(device.parameters()).expect("parameters");
    close(&name, &widen(&after), native.parameters(), 1e-4);
}

#[test]
fn a_device_trains_on_series_as_the_native_engine_does() {
    let Some(gpu) = gpu() else { return };
    let (all, inputs) = (series(), cast::<f32>(&numbers(3, 4 * ROWS)));
    // Fewer rows and times, then more times than before, and all that rest.
    let some = all.select(&[0, 3, 5, 10]).expect("rows");
    let more = Times::within(&[[0.0, 2.0], [1.0, -1.0]], &[vec![0.3; 9], vec![0.5]]).expect("times");
    let still = Times::series(&[vec![0.5], vec![0.25, 0.25]]).expect("series");
    let batches = [all, some, more, still];
    for layout in LAYOUTS {
        for loss in [Loss::Mse, Loss::Mae, Loss::Gaussian { std: 0.4 }] {
            let config = TrainerConfig::new(model(layout, 2), loss);
            check(&gpu, &config, &batches, &inputs, |times| Owned::States(target_of(times, 2, 4, f32::NAN)));
            check(&gpu, &config, &batches, &inputs, |times| {
                let weights = target_of(times, 2, 5, -1e30).iter().map(|x| x.abs() + 0.1).collect();
                Owned::Observed(target_of(times, 2, 4, f32::NAN), weights)
            });
        }
        let config = TrainerConfig::new(model(layout, 2), Loss::CrossEntropy);
        check(&gpu, &config, &batches, &inputs, |times| {
            Owned::Labels((0..times.rows() as u32).map(|i| i % 2).collect())
        });
        // Encoder and head that were written out; no head.
        let field = Mlp::new([3, 5, 3]).time_input(TimeInput::First);
        let problem = Problem::ode(field, 0.0, 1.0);
        let written =
            NeuralDe::new(problem.clone(), options(layout)).encoder(Mlp::new([4, 6, 3])).head(Mlp::new([3, 5, 2]));
        let config = TrainerConfig::new(written, Loss::Mse);
        check(&gpu, &config, &batches, &inputs, |times| Owned::States(target_of(times, 2, 4, f32::NAN)));
        let bare = NeuralDe::new(problem, options(layout)).encoder(4);
        let config = TrainerConfig::new(bare, Loss::Mse);
        check(&gpu, &config, &batches, &inputs, |times| Owned::States(target_of(times, 3, 4, f32::NAN)));
    }
}

/// Trajectories that are drawn of a sample have its times.
#[test]
fn drawn_initial_states_have_their_samples_times() {
    let Some(gpu) = gpu() else { return };
    let inputs = cast::<f32>(&numbers(3, 4 * ROWS));
    for layout in LAYOUTS {
        let field = Mlp::new([3, 4, 3]).time_input(TimeInput::First);
        let model = NeuralDe::new(Problem::ode(field, 0.0, 1.0), options(layout));
        let model = model.encoder(Mlp::new([4, 6])).latent().head(2);
        let config = TrainerConfig::new(model, Loss::Gaussian { std: 0.4 }).elbo(Elbo::default().samples(2));
        check(&gpu, &config, &[series()], &inputs, |times| Owned::States(target_of(times, 2, 4, f32::NAN)));
    }
}

#[test]
fn a_rate_is_learnt_from_series() {
    let Some(gpu) = gpu() else { return };
    let field = Field::build(1, |f| -f.positive("rate", &[0.3]) * f.state()).expect("a field");
    let times = Times::series(&[vec![0.0, 0.2, 1.5], vec![4.0, 4.1], vec![2.0], vec![-1.0, 0.5, 0.5, 0.8]]);
    let times = times.expect("series");
    let mut target = vec![f32::NAN; times.slots() * 4];
    for row in 0..4 {
        for (slot, t) in times.saved(row).iter().enumerate() {
            target[slot * 4 + row] = 2.0 * (-1.1 * (t - times.span(row)[0])).exp() as f32;
        }
    }
    for layout in LAYOUTS {
        let options = SolverOptions::default().layout(layout);
        let config = TrainerConfig::new(NeuralDe::new(Problem::ode(field.clone(), 0.0, 1.0), options), Loss::Mse)
            .optimizer(Optimizer::adam(Schedule::constant(0.05)));
        let mut trainer = GpuTrainer::new(&gpu, config).expect("a valid model");
        trainer.set_times(Some(times.clone())).expect("own times");
        for _ in 0..200 {
            gpu.block_on(trainer.step(&Batch { inputs: &[2.0; 4], target: Target::States(&target) })).expect("a step");
        }
        let theta = gpu.block_on(trainer.parameters()).expect("parameters");
        let rate = trainer.config().model.problem.field.values("rate", &theta).expect("a rate")[0];
        assert!((rate - 1.1).abs() < 5e-3, "{layout:?}: {rate}");
    }
}

#[test]
fn what_stands_where_there_is_no_time_changes_no_bit() {
    let Some(gpu) = gpu() else { return };
    let (times, inputs) = (series(), cast::<f32>(&numbers(3, 4 * ROWS)));
    for layout in LAYOUTS {
        let mut trainer = GpuTrainer::new(&gpu, TrainerConfig::new(model(layout, 2), Loss::Mse)).expect("a model");
        trainer.set_times(Some(times.clone())).expect("own times");
        let mut gradient = |missing: f32| {
            let states = target_of(&times, 2, 4, missing);
            let batch = Batch { inputs: &inputs, target: Target::States(&states) };
            bits(&gpu.block_on(trainer.gradients(&batch)).expect("a gradient").gradient)
        };
        let first = gradient(f32::NAN);
        assert_eq!(first, gradient(1e30), "{layout:?}");
        // Room for more times than the rows have.
        let more = Times::within(&[[0.0, 1.0]], &[vec![0.5; 70]]).expect("times");
        trainer.set_times(Some(more)).expect("own times");
        let states = vec![0.5; 140];
        gpu.block_on(trainer.step(&Batch { inputs: &inputs[..4], target: Target::States(&states) })).expect("a step");
        let mut again = GpuTrainer::new(&gpu, TrainerConfig::new(model(layout, 2), Loss::Mse)).expect("a model");
        let theta = gpu.block_on(again.parameters()).expect("parameters");
        trainer.set_parameters(&theta).expect("as many");
        trainer.set_times(Some(times.clone())).expect("own times");
        let states = target_of(&times, 2, 4, f32::NAN);
        let batch = Batch { inputs: &inputs, target: Target::States(&states) };
        let found = gpu.block_on(trainer.gradients(&batch)).expect("a gradient").gradient;
        assert_eq!(first, bits(&found), "{layout:?}: room for more");
    }
}

#[test]
fn what_knows_no_own_times_says_so() {
    let Some(gpu) = gpu() else { return };
    let times = Times::series(&[vec![0.0, 1.0], vec![0.5, 0.7, 2.0]]).expect("series");
    let config = TrainerConfig::new(model(Layout::Lockstep, 2), Loss::Mse);
    let mut trainer = GpuTrainer::new(&gpu, config.clone()).expect("a valid model");
    let (inputs, states) = ([0.1; 8], [0.5; 12]);
    let data = gpu.block_on(trainer.upload(&inputs, Target::States(&[0.5; 4]))).expect("a data set");
    trainer.set_times(Some(times.clone())).expect("own times");
    let batch = Batch { inputs: &inputs, target: Target::States(&states) };
    let errors = [
        gpu.block_on(trainer.step_on(&data, &[0, 1])).map(drop),
        gpu.block_on(trainer.evaluate_on(&data, &[0, 1])).map(drop),
        gpu.block_on(trainer.prepare(2, 1, 4)).map(drop),
        gpu.block_on(trainer.predict(&[0.1; 12])).map(drop),
    ];
    for error in errors {
        let error = error.expect_err("refused").to_string();
        assert!(error.starts_with("Times = 2 rows: "), "{error}");
    }
    let narrow = Batch { inputs: &inputs, target: Target::States(&states[..8]) };
    assert!(
        matches!(gpu.block_on(trainer.step(&narrow)), Err(Error::Shape { expected: 12, .. })),
        "two slots of three"
    );
    let mut drawn = config.clone().regularizer(EndTime::within(0.2));
    drawn.model.options = SolverOptions::default();
    let mut drawn = GpuTrainer::new(&gpu, drawn).expect("a model");
    drawn.set_times(Some(times.clone())).expect("own times");
    let error = gpu.block_on(drawn.step(&batch)).expect_err("a drawn end").to_string();
    assert!(error.starts_with("Regularizer::EndTime"), "{error}");
    gpu.block_on(drawn.evaluate(&batch)).expect("evaluations are not regularized");
    let mut other = config;
    other.loss = Loss::Moments;
    let mut moments = GpuTrainer::new(&gpu, other.clone()).expect("a valid model");
    let error = moments.set_times(Some(times)).expect_err("moments").to_string();
    assert!(error.starts_with("TrainerConfig::loss = Moments"), "{error}");
    // A change of the configuration that own times do not go with leaves the trainer as it is; others keep them.
    let error = gpu.block_on(trainer.reconfigure(other.clone())).expect_err("moments").to_string();
    assert!(error.starts_with("TrainerConfig::loss"), "{error}");
    gpu.block_on(trainer.step(&batch)).expect("as before");
    other.loss = Loss::Mae;
    gpu.block_on(trainer.reconfigure(other)).expect("another loss");
    gpu.block_on(trainer.step(&batch)).expect("with the same times");
    trainer.set_times(None).expect("none");
    let shared = Batch { inputs: &inputs, target: Target::States(&states[..4]) };
    gpu.block_on(trainer.step(&shared)).expect("at the end");
}
