//! Training on the device against the native engine: gradients with every regularizer option, every optimizer, curves.

mod common;

use std::collections::BTreeMap;

use common::{LAYOUTS, cast, close, cpu, gpu, largest, numbers, warnings_of, widen};
use fewsteps::{
    Adjoint, Batch, Budget, Checkpoints, Controller, Deployed, Diffusion, Error, FailurePolicy, GpuSolver, GpuTrainer,
    InitialStep, Layout, Learnt, Local, Loss, Measure, Method, Mlp, NeuralDe, Optimizer, Paths, PenaltyAt,
    PenaltyGradient, PenaltyNoise, PenaltyStep, Problem, Regularizer, SaveAt, Scalar, Schedule, SolverOptions,
    StepControl, Target, TimeInput, Tolerances, Trainer, TrainerConfig,
};

const INPUTS: usize = 5;
const DIM: usize = 4;
const CLASSES: usize = 3;

fn model(layout: Layout, method: Method) -> NeuralDe {
    let field = Mlp::new([DIM, 6, DIM]).time_input(TimeInput::Every);
    // With fixed steps rounding decides about nothing, and the errors measured are well above it.
    let options = SolverOptions::default().method(method).layout(layout).step_control(StepControl::Fixed { steps: 3 });
    NeuralDe::new(Problem::ode(field, 0.0, 2.0), options).encoder(INPUTS).head(CLASSES)
}

/// Inputs, labels and states of a batch.
struct Samples {
    inputs: Vec<f32>,
    labels: Vec<u32>,
}

fn samples(batch: usize) -> Samples {
    let labels = (0..batch).map(|i| (i * 7 % CLASSES) as u32).collect();
    Samples { inputs: cast(&numbers(11, batch * INPUTS)), labels }
}

impl Samples {
    fn batch(&self) -> Batch<'_, f32> {
        Batch { inputs: &self.inputs, target: Target::Labels(&self.labels) }
    }
}

/// Dynamics whose errors stand well above rounding.
fn lively(theta: &[f32]) -> Vec<f32> {
    theta.iter().map(|x| 2.5 * x).collect()
}

/// The gradient of a classification on the device and on the native engine: at f64 in lockstep, at f32 in an ensemble,
/// where single trajectories may take another number of steps at f64.
fn compare(name: &str, config: &TrainerConfig, batch: usize, tolerance: f64) {
    match config.model.options.layout {
        Layout::Lockstep => compare_with::<f64>(name, config, batch, tolerance),
        Layout::Ensemble => compare_with::<f32>(name, config, batch, tolerance),
    }
}

fn compare_with<R: Scalar>(name: &str, config: &TrainerConfig, batch: usize, tolerance: f64) {
    let Some(gpu) = gpu() else { return };
    let samples = samples(batch);
    let mut device = GpuTrainer::new(&gpu, config.clone()).expect("a valid configuration");
    let mut native = Trainer::<R>::new(&cpu(1), config.clone()).expect("a valid configuration");
    let theta = lively(&gpu.block_on(device.parameters()).expect("a device"));
    device.set_parameters(&theta).expect("parameters of the same model");
    native.set_parameters(&cast(&widen(&theta))).expect("parameters of the same model");
    // Ideal steps of half the interval or so: rounding decides about nothing there.
    let learnt = Learnt { ideal: Some(1.5), ..Learnt::default() };
    device.set_learnt(learnt).expect("what solves can teach");
    native.set_learnt(learnt).expect("what solves can teach");
    let inputs = cast::<R>(&widen(&samples.inputs));
    let expected = native.gradients(&Batch { inputs: &inputs, target: Target::Labels(&samples.labels) });
    let expected = expected.expect("a valid batch");
    for round in 0..2 {
        let found = gpu.block_on(device.gradients(&samples.batch())).expect("a valid batch");
        let (a, b) = (&found.report, &expected.report);
        assert_eq!((a.nfe, a.accepted, a.rejected), (b.nfe, b.accepted, b.rejected), "{name}: costs");
        assert_eq!((a.nfe_penalty, a.coefficient), (b.nfe_penalty, b.coefficient), "{name}: penalty's costs");
        assert!((a.loss - b.loss).abs() < 2e-5 * b.loss, "{name}: loss {} for {}", a.loss, b.loss);
        let bound = tolerance * b.penalty.abs() + 1e-9;
        assert!((a.penalty - b.penalty).abs() <= bound, "{name}: penalty {} for {}", a.penalty, b.penalty);
        close(&format!("{name}, round {round}"), &widen(&found.gradient), &widen(&expected.gradient), tolerance);
        assert!(largest(&widen(&expected.gradient)) > 1e-4, "{name}: there is a gradient");
    }
}

#[test]
fn every_regularizer_option() {
    for layout in LAYOUTS {
        for at in [PenaltyAt::Unbiased, PenaltyAt::Biased] {
            for measure in [Measure::Error, Measure::StepCount, Measure::Stiffness] {
                for step in [PenaltyStep::Taken, PenaltyStep::FreshInitial, PenaltyStep::Ideal] {
                    if step == PenaltyStep::Ideal && measure != Measure::StepCount {
                        continue; // Refused: its length follows that measure.
                    }
                    for gradient in [PenaltyGradient::Published, PenaltyGradient::Step, PenaltyGradient::Full] {
                        let base = if at == PenaltyAt::Biased { Local::biased() } else { Local::unbiased() };
                        // Weighed so that loss and penalty have gradients of one size.
                        let coefficient = match measure {
                            Measure::Error => 2.0,
                            Measure::StepCount => 0.3,
                            _ => 5.0,
                        };
                        let local = Local { at, ..base }
                            .measure(measure)
                            .step(step)
                            .gradient(gradient)
                            .times(2)
                            .fraction(0.5)
                            .coefficient(coefficient);
                        let mut model = model(layout, Method::Tsit5);
                        if step == PenaltyStep::FreshInitial {
                            // An automatic initial step that is long enough for its error to be more than rounding.
                            model.options = model.options.tolerances(Tolerances::both(0.1));
                        }
                        let config = TrainerConfig::new(model, Loss::CrossEntropy).regularizer(local).seed(3);
                        let name = format!("{layout:?} {at:?} {measure:?} {step:?} {gradient:?}");
                        // An ensemble's single trajectories have smaller errors, which rounding reaches sooner.
                        let tolerance = if layout == Layout::Ensemble { 2e-2 } else { 5e-3 };
                        compare(&name, &config, 70, tolerance);
                    }
                }
            }
        }
    }
}

/// Of a step too short for `f32`, and of a state too large, rounding is all that there is to measure.
#[test]
fn stiffness_without_digits_is_none() {
    let Some(gpu) = gpu() else { return };
    let near = cast::<f32>(&numbers(4, 6));
    let far: Vec<f32> = near.iter().map(|y| 3e4 * y).collect();
    for layout in LAYOUTS {
        for (name, length, inputs) in [
            ("a short step", 1e-5, near.clone()),
            ("large states", 0.3, far.clone()),
            ("some of them", 0.3, [&near[..], &far].concat()),
        ] {
            let options = SolverOptions::default().layout(layout).step_control(StepControl::Fixed { steps: 1 });
            let model = NeuralDe::new(Problem::ode(Mlp::new([3, 16, 3]), 0.0, length), options);
            let plain = TrainerConfig::new(model, Loss::Mae);
            let local = Local::biased().measure(Measure::Stiffness).gradient(PenaltyGradient::Full).fraction(1.0);
            let config = plain.clone().regularizer(local.coefficient(1.0));
            let batch = Batch { inputs: &inputs, target: Target::States(&vec![0.0; inputs.len()]) };
            let found = |config: &TrainerConfig| {
                let mut trainer = GpuTrainer::new(&gpu, config.clone()).expect("a valid configuration");
                gpu.block_on(trainer.gradients(&batch)).expect("a valid batch")
            };
            let (with, without) = (found(&config), found(&plain));
            let mut native = Trainer::<f32>::new(&cpu(1), config).expect("a valid configuration");
            let expected = native.gradients(&batch).expect("a valid batch");
            let name = format!("{layout:?}, {name}");
            if inputs.len() == 6 {
                assert_eq!((with.report.penalty, expected.report.penalty), (0.0, 0.0), "{name}");
                close(&name, &widen(&with.gradient), &widen(&without.gradient), 1e-5);
            } else {
                close(&name, &[with.report.penalty], &[expected.report.penalty], 1e-3);
                close(&name, &widen(&with.gradient), &widen(&expected.gradient), 1e-2);
                let share = with.gradient.iter().zip(&without.gradient).map(|(a, b)| (a - b).abs());
                assert!(share.fold(0.0, f32::max) > 1e-2, "{name}: the others are measured");
            }
        }
    }
}

#[test]
fn regularized_between_checkpoints() {
    for layout in LAYOUTS {
        for method in [Method::Heun, Method::Bosh3, Method::Dopri5] {
            let mut model = model(layout, method);
            model.options.adjoint = Adjoint::Discrete { checkpoints: Checkpoints::Stride(3) };
            for local in [Local::biased(), Local::unbiased()] {
                let local = local.gradient(PenaltyGradient::Full).fraction(1.0).coefficient(0.1);
                let config = TrainerConfig::new(model.clone(), Loss::CrossEntropy).regularizer(local);
                compare(&format!("{layout:?} {method} {:?}", config.regularizer), &config, 9, 5e-3);
            }
        }
    }
}

#[test]
fn losses_over_times_without_encoder_or_head() {
    let Some(gpu) = gpu() else { return };
    for loss in [Loss::Mse, Loss::Mae] {
        for head in [None, Some(2)] {
            let times = vec![0.0, 0.4, 1.1, 2.0];
            let mut model = model(Layout::Lockstep, Method::Tsit5);
            model.options = model.options.save_at(SaveAt::Times(times));
            (model.encoder, model.head) = (None, head);
            let config = TrainerConfig::new(model.clone(), loss);
            let inputs = cast::<f32>(&numbers(2, 6 * DIM));
            let states = cast::<f32>(&numbers(3, 4 * 6 * model.output_width()));
            let batch = Batch { inputs: &inputs, target: Target::States(&states) };
            let mut device = GpuTrainer::new(&gpu, config.clone()).expect("a valid configuration");
            let mut native = Trainer::<f32>::new(&cpu(1), config).expect("a valid configuration");
            let found = gpu.block_on(device.gradients(&batch)).expect("a valid batch");
            let expected = native.gradients(&batch).expect("a valid batch");
            let name = format!("{loss:?}, head {head:?}");
            close(&name, &widen(&found.gradient), &widen(&expected.gradient), 2e-4);
            let (a, b) = (
                gpu.block_on(device.evaluate(&batch)).expect("a valid batch"),
                native.evaluate(&batch).expect("a valid batch"),
            );
            assert!((a.loss - b.loss).abs() < 1e-5 * b.loss, "{name}: {a:?} {b:?}");
            let outputs = gpu.block_on(device.predict(&inputs)).expect("valid inputs");
            close(&name, &widen(&outputs), &widen(&native.predict(&inputs).expect("valid inputs")), 1e-4);
        }
    }
}

/// The first solve outgrows its tape, and goes on in another submission.
#[test]
fn the_first_gradient_of_a_long_solve_is_there() {
    let Some(gpu) = gpu() else { return };
    // Few features are solved and walked back whole, many are not.
    for width in [DIM, DIM + 1] {
        for layout in LAYOUTS {
            let mut model = model(layout, Method::Heun);
            model.problem.field = Mlp::new([width, 6, width]);
            model.options = model.options.step_control(StepControl::Fixed { steps: 40 });
            let config = TrainerConfig::new(model, Loss::CrossEntropy);
            let samples = samples(9);
            let mut device = GpuTrainer::new(&gpu, config.clone()).expect("a valid configuration");
            let mut native = Trainer::<f32>::new(&cpu(1), config).expect("a valid configuration");
            let found = gpu.block_on(device.gradients(&samples.batch())).expect("a valid batch");
            let expected = native.gradients(&samples.batch()).expect("a valid batch");
            assert_eq!(found.report.accepted, 40, "more than there is room for at first");
            close(&format!("{width} {layout:?}"), &widen(&found.gradient), &widen(&expected.gradient), 1e-4);
        }
    }
}

#[test]
fn every_optimizer_follows_the_native_curve() {
    let Some(gpu) = gpu() else { return };
    let samples = samples(40);
    let optimizers = [
        Optimizer::sgd(0.05),
        Optimizer::momentum(0.05, 0.9).clip_norm(0.5),
        Optimizer::nesterov(0.05, 0.9).clip_value(0.05),
        Optimizer::adam(0.01),
        Optimizer::adamw(0.01, 0.1),
        Optimizer::adamax(0.01),
        Optimizer::adabelief(0.01),
        Optimizer::rmsprop(0.005),
    ];
    for optimizer in optimizers {
        let config = TrainerConfig::new(model(Layout::Lockstep, Method::Tsit5), Loss::CrossEntropy)
            .optimizer(optimizer.clone())
            .regularizer(Local::unbiased().coefficient(0.01));
        let mut device = GpuTrainer::new(&gpu, config.clone()).expect("a valid configuration");
        let mut native = Trainer::<f32>::new(&cpu(1), config).expect("a valid configuration");
        for step in 0..10 {
            let a = gpu.block_on(device.step(&samples.batch())).expect("a valid batch");
            let b = native.step(&samples.batch()).expect("a valid batch");
            assert!((a.loss - b.loss).abs() < 5e-4 * b.loss, "{optimizer:?}, step {step}: {a:?} {b:?}");
            assert!((a.gradient_norm / b.gradient_norm - 1.0).abs() < 5e-3, "{optimizer:?}, step {step}: {a:?} {b:?}");
        }
        assert_eq!(device.steps(), 10, "every step counts");
    }
}

#[test]
fn a_data_set_serves_several_trainers() {
    let Some(gpu) = gpu() else { return };
    let samples = samples(12);
    let config = |seed| TrainerConfig::new(model(Layout::Lockstep, Method::Tsit5), Loss::CrossEntropy).seed(seed);
    let trainer = |seed| GpuTrainer::new(&gpu, config(seed)).expect("a valid configuration");
    let (mut first, mut second) = (trainer(1), trainer(2));
    let target = Target::Labels(&samples.labels);
    let data = gpu.block_on(first.upload(&samples.inputs, target)).expect("data that fit");
    let chosen = [7u32, 0, 11, 3];
    let inputs: Vec<f32> =
        chosen.iter().flat_map(|&i| samples.inputs[i as usize * INPUTS..][..INPUTS].to_vec()).collect();
    let labels: Vec<u32> = chosen.iter().map(|&i| samples.labels[i as usize]).collect();
    let batch = Batch { inputs: &inputs, target: Target::Labels(&labels) };
    for step in 0..3 {
        for (seed, gathering) in [(1, &mut first), (2, &mut second)] {
            let mut streaming = trainer(seed);
            let streamed = (0..=step).map(|_| gpu.block_on(streaming.step(&batch)).expect("a step")).last();
            let gathered = gpu.block_on(gathering.step_on(&data, &chosen)).expect("a step");
            assert_eq!(Some(gathered), streamed, "trainer {seed}, step {step}");
        }
    }
    let mut other = TrainerConfig::new(model(Layout::Lockstep, Method::Tsit5), Loss::CrossEntropy);
    other.model.encoder = Some(INPUTS + 1);
    let mut other = GpuTrainer::new(&gpu, other).expect("a valid configuration");
    let refused = gpu.block_on(other.step_on(&data, &chosen)).expect_err("other widths").to_string();
    assert!(refused.starts_with("data = [5, 1] numbers"), "{refused}");
}

#[test]
fn weights_at_16_bits_give_what_rounded_weights_do() {
    let Some(gpu) = gpu() else { return };
    let samples = samples(33);
    // Four features are few enough for trajectories to be walked back whole, five are not.
    for width in [DIM, DIM + 1] {
        for layout in LAYOUTS {
            let mut model = model(layout, Method::Tsit5);
            model.problem.field = Mlp::new([width, 6, width]).time_input(TimeInput::Every);
            let config = TrainerConfig::new(model, Loss::CrossEntropy).regularizer(Local::unbiased().coefficient(0.01));
            let half = GpuTrainer::new(&gpu, config.clone()).and_then(GpuTrainer::half_weights);
            let mut half = match half {
                Ok(trainer) => trainer,
                Err(error) => {
                    assert!(!gpu.adapter().f16, "{error}, on an adapter that has them");
                    return;
                }
            };
            let mut native = Trainer::<f64>::new(&cpu(1), config).expect("a valid configuration");
            let theta = lively(&gpu.block_on(half.parameters()).expect("a device"));
            half.set_parameters(&theta).expect("parameters of the same model");
            let rounded: Vec<f64> = theta.iter().map(|&x| f64::from(half::f16::from_f32(x))).collect();
            native.set_parameters(&rounded).expect("parameters of the same model");
            let inputs = widen(&samples.inputs);
            let batch = Batch { inputs: &inputs, target: Target::Labels(&samples.labels) };
            let expected = native.gradients(&batch).expect("a valid batch");
            let found = gpu.block_on(half.gradients(&samples.batch())).expect("a valid batch");
            let name = format!("width {width}, {layout:?}");
            close(&name, &widen(&found.gradient), &expected.gradient, 2e-3);
            let same: Vec<f32> = gpu.block_on(half.parameters()).expect("a device");
            assert_eq!(same, theta, "{name}: the parameters themselves keep their bits");
        }
    }
}

#[test]
fn weights_at_16_bits_stay_through_another_configuration() {
    let Some(gpu) = gpu() else { return };
    let samples = samples(33);
    let mut short = TrainerConfig::new(model(Layout::Lockstep, Method::Tsit5), Loss::CrossEntropy)
        .optimizer(Optimizer::adam(0.01))
        .regularizer(Local::unbiased().coefficient(0.01));
    let mut long = short.clone();
    (short.model.problem.t1, long.model.problem.t1) = (1.0, 2.0);
    let half = |config: &TrainerConfig| GpuTrainer::new(&gpu, config.clone()).and_then(GpuTrainer::half_weights);
    let mut trainer = match half(&short) {
        Ok(trainer) => trainer,
        Err(error) => {
            assert!(!gpu.adapter().f16, "{error}, on an adapter that has them");
            return;
        }
    };
    for _ in 0..2 {
        gpu.block_on(trainer.step(&samples.batch())).expect("a step");
    }
    gpu.block_on(trainer.reconfigure(long.clone())).expect("the same tensors");
    let theta = gpu.block_on(trainer.parameters()).expect("a device");
    let learnt = gpu.block_on(trainer.learnt()).expect("a device");
    assert!(theta.iter().any(|&x| half::f16::from_f32(x).to_f32() != x), "parameters are not rounded");
    let gradients = |trainer: &mut GpuTrainer| gpu.block_on(trainer.gradients(&samples.batch())).expect("a batch");
    let found = gradients(&mut trainer);
    // Step 2 has draws of its own.
    let at_step = |mut other: GpuTrainer| {
        for _ in 0..2 {
            gpu.block_on(other.apply(&vec![0.0; theta.len()])).expect("a step");
        }
        other.set_parameters(&theta).expect("parameters of the same model");
        other.set_learnt(learnt).expect("what solves can teach");
        gradients(&mut other)
    };
    let expected = at_step(half(&long).expect("as before"));
    assert_eq!((&found.gradient, &found.report), (&expected.gradient, &expected.report), "rounded weights");
    let single = at_step(GpuTrainer::new(&gpu, long).expect("a valid configuration"));
    assert_ne!(found.gradient, single.gradient, "weights that are not rounded have another gradient");
    // The moments go on with the rounded weights' gradient.
    let next = gpu.block_on(trainer.step(&samples.batch())).expect("a step");
    assert_eq!((next.step, next.loss), (3, found.report.loss));
}

#[test]
fn gradients_and_apply_are_a_step() {
    let Some(gpu) = gpu() else { return };
    let samples = samples(40);
    for optimizer in [Optimizer::nesterov(0.05, 0.9).clip_value(0.01), Optimizer::adam(0.01).clip_norm(0.1)] {
        let config = TrainerConfig::new(model(Layout::Lockstep, Method::Tsit5), Loss::CrossEntropy)
            .optimizer(optimizer)
            .regularizer(Local::unbiased().coefficient(0.01));
        let trainer = || GpuTrainer::new(&gpu, config.clone()).expect("a valid configuration");
        let (mut whole, mut halves) = (trainer(), trainer());
        for step in 0..4 {
            let stepped = gpu.block_on(whole.step(&samples.batch())).expect("a step");
            let found = gpu.block_on(halves.gradients(&samples.batch())).expect("a gradient");
            // Others may work with the trainer in between.
            gpu.block_on(halves.evaluate(&samples.batch())).expect("an evaluation");
            let update = gpu.block_on(halves.apply(&found.gradient)).expect("an update");
            assert_eq!(found.report.loss, stepped.loss, "step {step}");
            assert!(update.made && update.norm == stepped.gradient_norm, "step {step}: {update:?}");
            let theta = [&mut whole, &mut halves].map(|t| gpu.block_on(t.parameters()).expect("a device"));
            assert_eq!(theta[0], theta[1], "step {step}");
        }
        assert_eq!(halves.steps(), 4, "updates are steps");
    }
}

#[test]
fn a_gradient_of_ones_own_moves_the_parameters() {
    let Some(gpu) = gpu() else { return };
    for failure in [FailurePolicy::Abort, FailurePolicy::Skip] {
        let config = TrainerConfig::new(model(Layout::Lockstep, Method::Tsit5), Loss::CrossEntropy)
            .optimizer(Optimizer::sgd(0.5).clip_norm(1.5))
            .failure(failure);
        let mut trainer = GpuTrainer::new(&gpu, config).expect("a valid configuration");
        let before = gpu.block_on(trainer.parameters()).expect("a device");
        let mut gradient = vec![0.0; before.len()];
        gradient[7] = 3.0;
        // No batch was ever loaded.
        let update = gpu.block_on(trainer.apply(&gradient)).expect("an update");
        assert_eq!((update.norm, update.made), (3.0, true), "the norm is told before clipping");
        let moved = gpu.block_on(trainer.parameters()).expect("a device");
        assert!((before[7] - 0.75 - moved[7]).abs() < 1e-6, "{} -> {}", before[7], moved[7]);
        assert!((0..before.len()).all(|i| i == 7 || before[i] == moved[i]), "nothing else moves");
        let short = gpu.block_on(trainer.apply(&gradient[1..]));
        assert!(matches!(short, Err(Error::Shape { argument: "gradient", .. })), "one too few");
        gradient[9] = f32::NAN;
        let outcome = gpu.block_on(trainer.apply(&gradient));
        match failure {
            FailurePolicy::Abort => {
                let error = outcome.expect_err("not finite").to_string();
                assert!(error.contains("gradient[9]") && trainer.steps() == 1, "{error}");
            }
            _ => assert!(!outcome.expect("a skipped update").made && trainer.steps() == 2, "it is a step"),
        }
        assert_eq!(gpu.block_on(trainer.parameters()).expect("a device"), moved, "NaN moves nothing");
        let report = gpu.block_on(trainer.step(&samples(8).batch())).expect("a step");
        assert_eq!(report.step, trainer.steps(), "and training goes on");
    }
}

#[test]
fn a_curriculum_goes_on_as_from_a_checkpoint() {
    let Some(gpu) = gpu() else { return };
    let samples = samples(40);
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("checkpoint.safetensors");
    let mut short = TrainerConfig::new(model(Layout::Lockstep, Method::Tsit5), Loss::CrossEntropy)
        .optimizer(Optimizer::adam(0.01))
        .regularizer(Local::biased().coefficient(0.1));
    let mut long = short.clone();
    (short.model.problem.t1, long.model.problem.t1) = (0.5, 1.0);
    let belief = long.clone().optimizer(Optimizer::adabelief(0.01));
    // With the same rule, and with one whose moments begin anew.
    for next in [long, belief] {
        let mut trainer = GpuTrainer::new(&gpu, short.clone()).expect("a valid configuration");
        for _ in 0..3 {
            gpu.block_on(trainer.step(&samples.batch())).expect("a step");
        }
        let buffers = [trainer.theta_buffer(), trainer.outcome_buffer()].map(Clone::clone);
        let mut wider = short.clone();
        wider.model.problem.field = Mlp::new([DIM, 7, DIM]).time_input(TimeInput::Every);
        let error = gpu.block_on(trainer.reconfigure(wider)).expect_err("other tensors").to_string();
        assert!(error.contains("field.0.weight [4, 7]"), "{error}");
        gpu.block_on(trainer.save(&path, &BTreeMap::new())).expect("a checkpoint");
        // The native engine puts the state under the other configuration.
        let (mut native, _) = Trainer::<f32>::resume(&cpu(1), &path).expect("resumes");
        assert_eq!(native.config(), &short, "what was refused is not there");
        native.reconfigure(next.clone()).expect("the same tensors");
        native.save(&path, &BTreeMap::new()).expect("a checkpoint");
        let (mut fresh, _) = GpuTrainer::resume(&gpu, &path).expect("resumes");
        gpu.block_on(trainer.reconfigure(next)).expect("the same tensors");
        for _ in 0..3 {
            let [a, b] = [&mut trainer, &mut fresh].map(|t| gpu.block_on(t.step(&samples.batch())).expect("a step"));
            assert_eq!(a, b, "reports agree");
        }
        let theta = [&mut trainer, &mut fresh].map(|t| gpu.block_on(t.parameters()).expect("a device"));
        assert_eq!(theta[0], theta[1], "parameters agree to the bit");
        assert_eq!(trainer.steps(), 6, "steps are counted on");
        assert!(
            buffers == [trainer.theta_buffer(), trainer.outcome_buffer()].map(Clone::clone),
            "applications hold them"
        );
    }
}

#[test]
fn a_deployed_solver_is_that_of_both_engines() {
    let Some(gpu) = gpu() else { return };
    let samples = samples(40);
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("checkpoint.safetensors");
    let mut config = TrainerConfig::new(model(Layout::Lockstep, Method::Tsit5), Loss::CrossEntropy);
    config.model.options = SolverOptions::default().tolerances(Tolerances::both(1e-4));
    let mut trainer = GpuTrainer::new(&gpu, config.clone()).expect("a valid configuration");
    gpu.block_on(trainer.step(&samples.batch())).expect("a step");
    gpu.block_on(trainer.save(&path, &BTreeMap::new())).expect("a checkpoint");
    let error = GpuTrainer::deployed(&gpu, &path).expect_err("none was chosen").to_string();
    assert!(error.contains("fewsteps deploy"), "{error}");
    Deployed::new(model(Layout::Lockstep, Method::Bosh3).options).write(&path).expect("written");
    let (mut device, _) = GpuTrainer::deployed(&gpu, &path).expect("loads");
    let (mut native, _) = Trainer::<f32>::deployed(&cpu(1), &path).expect("loads");
    assert_eq!((device.config(), device.steps()), (native.config(), 1), "the same model");
    let [a, b] = [gpu.block_on(device.evaluate(&samples.batch())), native.evaluate(&samples.batch())];
    let [a, b] = [a, b].map(|found| found.expect("evaluates"));
    assert_eq!((a.nfe, a.accepted, a.correct), (b.nfe, 3, b.correct), "three steps");
    let outputs = gpu.block_on(device.predict(&samples.inputs)).expect("solved");
    let expected = native.predict(&samples.inputs).expect("solved");
    let off = outputs.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
    assert!(off < 1e-5, "the same outputs, {off:e}");
    let (resumed, _) = GpuTrainer::resume(&gpu, &path).expect("resumes");
    assert_eq!(resumed.config(), &config, "as it was trained");
}

#[test]
fn a_solver_with_a_regularizer_has_the_trainers_gradient() {
    let Some(gpu) = gpu() else { return };
    let inputs = cast::<f32>(&numbers(2, 40 * 2));
    let targets = cast::<f32>(&numbers(3, 2 * 40 * 2));
    let field = Mlp::new([2, 9, 2]).time_input(TimeInput::Every);
    let noisy = Problem::sde(field.clone(), Diffusion::ito(Mlp::new([2, 3, 2])), 0.0, 1.0);
    let problems = [(Problem::ode(field, 0.0, 1.0), Method::Tsit5), (noisy, Method::Sosri)];
    for ((problem, method), layout) in problems.iter().flat_map(|case| LAYOUTS.map(|layout| (case, layout))) {
        for local in [Local::unbiased(), Local::biased(), Local::biased().gradient(PenaltyGradient::Full)] {
            let options = SolverOptions::default().method(*method).tolerances(Tolerances::both(0.05)).layout(layout);
            let model = NeuralDe::new(problem.clone(), options.save_at(SaveAt::Times(vec![0.4, 1.0])));
            let regularizer =
                Regularizer::from(local.times(2).fraction(0.6).coefficient(Schedule::exponential(3.0, 0.1, 4)));
            let config = TrainerConfig::new(model.clone(), Loss::Mse).regularizer(regularizer.clone()).seed(4);
            let mut trainer = GpuTrainer::new(&gpu, config).expect("a valid model");
            let mut solver = GpuSolver::new(&gpu, &model.problem, &model.options).expect("a valid problem");
            solver.regularize(&regularizer, 4, 0).expect("a valid regularizer");
            // There is room for 32 steps at first, and then for twice as many.
            let told = [32, 64].map(|steps| [trainer.workspace(40, steps), solver.workspace(40, steps, true)]);
            let batch = Batch { inputs: &inputs, target: Target::States(&targets) };
            for step in 0..3 {
                let expected = gpu.block_on(trainer.gradients(&batch)).expect("a gradient");
                let theta = gpu.block_on(trainer.parameters()).expect("a device");
                solver.set_paths(Paths::of_step(4, step));
                solver.regularize(&regularizer, 4, step).expect("a valid regularizer");
                let ys = gpu.block_on(solver.solve(&theta, &inputs)).expect("solved").ys;
                let bars: Vec<f32> = ys.iter().zip(&targets).map(|(y, t)| 2.0 * (y - t) / 160.0).collect();
                let found = gpu.block_on(solver.gradients(&bars)).expect("solved before");
                let name = format!("{method:?}, {layout:?}, {regularizer:?}, step {step}");
                // Both learn how long the penalised step is, one of them on the host.
                close(&format!("{name}: penalty"), &[found.penalty], &[expected.report.penalty], 1e-5);
                close(&name, &widen(&found.theta), &widen(&expected.gradient), 1e-5);
                let held = [trainer.bytes(), solver.bytes()].map(|bytes| bytes as u64);
                assert!(told.contains(&held), "{name}: {held:?} bytes, {told:?} were told");
                gpu.block_on(trainer.apply(&found.theta)).expect("an update");
            }
        }
    }
}

#[test]
fn regularizers_that_a_solver_cannot_have_are_refused() {
    let Some(gpu) = gpu() else { return };
    let field = Mlp::new([2, 9, 2]);
    let ode = Problem::ode(field.clone(), 0.0, 1.0);
    let noisy = Problem::sde(field.clone(), Diffusion::ito(Mlp::new([2, 2])), 0.0, 1.0);
    let refused = |problem: &Problem, options: SolverOptions, local: Local| {
        let mut solver = GpuSolver::new(&gpu, problem, &options).expect("a valid problem");
        solver.regularize(&Regularizer::None, 0, 0).expect("nothing to refuse");
        solver.regularize(&local.into(), 0, 0).expect_err("not to be had").to_string()
    };
    for save_at in [SaveAt::Steps, SaveAt::Dense] {
        let error = refused(&ode, SolverOptions::default().save_at(save_at), Local::unbiased());
        assert!(error.starts_with("SolverOptions::save_at = "), "{error}");
    }
    let fixed = SolverOptions::default().method(Method::Sosri).step_control(StepControl::Fixed { steps: 4 });
    let error = refused(&noisy, fixed, Local::unbiased().noise(PenaltyNoise::Path));
    assert!(error.starts_with("Local::noise = Path"), "{error}");
    let error = refused(&ode, SolverOptions::default(), Local::unbiased().times(65));
    assert!(error.starts_with("Local::times = 65"), "{error}");
    // Where no time passes nothing is penalised.
    let mut solver =
        GpuSolver::new(&gpu, &Problem::ode(field, 2.0, 2.0), &SolverOptions::default()).expect("a valid problem");
    solver.regularize(&Local::unbiased().into(), 0, 0).expect("a valid regularizer");
    let theta = vec![0.1; ode.parameter_count()];
    gpu.block_on(solver.solve(&theta, &[1.0, 2.0])).expect("solved");
    let found = gpu.block_on(solver.gradients(&[3.0, 4.0])).expect("solved before");
    assert_eq!((found.penalty, found.y0), (0.0, vec![3.0, 4.0]), "the state itself");
}

#[test]
fn solvers_and_trainers_warn_once_of_absolute_tolerances_that_rule() {
    let Some(gpu) = gpu() else { return };
    let model = NeuralDe::new(Problem::ode(Mlp::new([2, 2]), 0.0, 1.0), SolverOptions::default());
    let config = TrainerConfig::new(model.clone(), Loss::Mse);
    let encoded = TrainerConfig::new(model.clone().encoder(2), Loss::Mse);
    let inputs = [1.0f32, 1e-6];
    let batch = Batch { inputs: &inputs, target: Target::States(&[0.0; 2]) };
    let mut solver = GpuSolver::new(&gpu, &model.problem, &model.options).expect("a valid problem");
    let mut device = [&config, &encoded].map(|c| GpuTrainer::new(&gpu, c.clone()).expect("a valid configuration"));
    let mut native = [&config, &encoded].map(|c| Trainer::<f32>::new(&cpu(1), c.clone()).expect("a valid model"));
    let said = [
        warnings_of(|| [(); 2].map(|()| gpu.block_on(solver.predict(&[0.1; 6], &inputs)).expect("solved"))),
        warnings_of(|| [(); 2].map(|()| gpu.block_on(device[0].step(&batch)).expect("a step"))),
        warnings_of(|| [(); 2].map(|()| native[0].step(&batch).expect("a step"))),
    ];
    for said in said {
        assert!(said.len() == 1 && said[0].contains("atol 1e-5 is no less than a tenth of feature 1"), "{said:?}");
    }
    let said = warnings_of(|| {
        let encoded = gpu.block_on(device[1].step(&batch)).expect("a step");
        [encoded, native[1].step(&batch).expect("a step")]
    });
    assert!(said.is_empty(), "an encoder's inputs are no states: {said:?}");
}

#[test]
fn where_no_time_passes_the_layers_around_the_field_learn() {
    for layout in LAYOUTS {
        for local in [Local::unbiased(), Local::biased().step(PenaltyStep::FreshInitial)] {
            let mut model = model(layout, Method::Tsit5);
            (model.problem.t0, model.options) = (2.0, model.options.tolerances(Tolerances::both(1e-3)));
            let config = TrainerConfig::new(model, Loss::CrossEntropy).regularizer(local).seed(3);
            compare(&format!("no time, {layout:?}"), &config, 40, 1e-5);
        }
    }
}

/// First steps, ideal probes and a budget, on the device as on the native engine: before the budget's warm-up is over,
/// after it, and where it is asked what the coefficient's growth has brought.
#[test]
fn training_steps_teach_what_they_teach_on_the_native_engine() {
    let Some(gpu) = gpu() else { return };
    let samples = samples(70);
    let mut given_up = 0;
    for (layout, at) in LAYOUTS.into_iter().flat_map(|l| [(l, PenaltyAt::Unbiased), (l, PenaltyAt::Biased)]) {
        let mut model = model(layout, Method::Bosh3);
        model.options = model.options.step_control(StepControl::Adaptive {
            tolerances: Tolerances::both(1e-3),
            controller: Controller::I.prompt(),
            initial_step: InitialStep::Carried,
        });
        let local = Local { at, ..Local::unbiased() }.step(PenaltyStep::Ideal).fraction(1.0).budget(Budget::nfe(11.0));
        let config = TrainerConfig::new(model, Loss::CrossEntropy).regularizer(local).seed(3);
        let mut device = GpuTrainer::new(&gpu, config.clone()).expect("a valid configuration");
        let mut native = Trainer::<f32>::new(&cpu(1), config).expect("a valid configuration");
        let theta = lively(native.parameters());
        device.set_parameters(&theta).expect("parameters of the same model");
        native.set_parameters(&theta).expect("parameters of the same model");
        let begun = Learnt { first: Some(-4.0), ..Learnt::default() };
        native.set_learnt(begun).expect("what solves can teach");
        device.set_learnt(begun).expect("what solves can teach");
        for step in 0..7 {
            if step == 2 {
                let mut learnt = native.learnt();
                let gap = (learnt.budget.nfe / 11.0).ln();
                // At 300 steps the growth from a tenth of this coefficient has brought nothing.
                (learnt.budget.steps, learnt.budget.coefficient) = (297, 0.04);
                (learnt.budget.mark, learnt.budget.best) = ([gap, 0.004], [gap, 0.003]);
                native.set_learnt(learnt).expect("what solves can teach");
                device.set_learnt(learnt).expect("what solves can teach");
            }
            let expected = native.step(&samples.batch()).expect("a step");
            let found = gpu.block_on(device.step(&samples.batch())).expect("a step");
            let name = format!("{layout:?} {at:?}, step {step}");
            assert_eq!((found.nfe, found.accepted), (expected.nfe, expected.accepted), "{name}");
            let near = |what: &str, a: f64, b: f64| {
                assert!((a - b).abs() <= 2e-3 * b.abs().max(1e-3), "{name}: {what} {a} for {b}");
            };
            near("penalty", found.penalty, expected.penalty);
            near("coefficient", found.coefficient, expected.coefficient);
            near("ideal steps", found.ideal_steps.expect("some"), expected.ideal_steps.expect("some"));
            assert_eq!(found.budget_unreachable, expected.budget_unreachable, "{name}");
            let [a, b] = [gpu.block_on(device.learnt()).expect("read"), native.learnt()];
            near("first step", a.first.expect("known"), b.first.expect("known"));
            near("ideal", a.ideal.expect("known"), b.ideal.expect("known"));
            near("mean NFE", a.budget.nfe, b.budget.nfe);
            near("the next coefficient", a.budget.coefficient, b.budget.coefficient);
            assert_eq!((a.budget.steps, a.budget.unreachable), (b.budget.steps, b.budget.unreachable), "{name}");
        }
        given_up += usize::from(native.learnt().budget.unreachable);
        let [found, expected] =
            [gpu.block_on(device.evaluate(&samples.batch())), native.evaluate(&samples.batch())].map(Result::unwrap);
        assert_eq!((found.nfe, found.correct), (expected.nfe, expected.correct), "{layout:?} {at:?}");
        // Either engine goes on from the other's checkpoint.
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("checkpoint.safetensors");
        gpu.block_on(device.save(&file, &BTreeMap::new())).expect("saved");
        let (mut again, _) = GpuTrainer::resume(&gpu, &file).expect("resumed");
        let (on, _) = Trainer::<f32>::resume(&cpu(1), &file).expect("resumed");
        assert_eq!(on.learnt(), gpu.block_on(device.learnt()).expect("read"));
        let [a, b] = [&mut again, &mut device].map(|trainer| gpu.block_on(trainer.step(&samples.batch())));
        assert_eq!(a.expect("a step"), b.expect("a step"), "to the same bits");
        let [a, b] = [&mut again, &mut device].map(|trainer| gpu.block_on(trainer.learnt()).expect("read"));
        assert_eq!(a, b);
    }
    assert!(given_up > 0, "a target is given up in none of the cases");
}
