//! Training of driven models on a device, beside the native engine at f64.

use crate::oracle::{LAYOUTS, bits, cast, close, cpu, gpu, numbers, widen};
use fewsteps::{
    Batch, Blocking, Control, Controller, Cpu, EndTime, Error, Field, Gpu, GpuTrainer, InitialStep, Interpolation,
    Layout, Learner, Local, Loss, Method, Mlp, NeuralDe, Optimizer, Problem, Real, Regularizer, SolverOptions,
    StepControl, Target, TimeInput, Tolerances, Trace, Trainer, TrainerConfig,
};
use std::collections::BTreeMap;

const BATCH: usize = 6;
const KNOTS: [f64; 5] = [-0.3, 0.2, 0.5, 1.1, 1.9];

/// A network whose inputs a control moves, and which another one slows down.
fn field(width: usize) -> Field {
    Field::build(width, |f| {
        let (y, u) = (f.state(), f.controls("drive", width));
        let network = Mlp::new([width, 5, width]).time_input(TimeInput::Every);
        f.mlp("pushed", &network, &(&y + &u * 0.5)) + &u * 0.3 - y * f.control("rate").repeat(width)
    })
    .expect("a field")
}

fn model(width: usize, interpolation: Interpolation, options: SolverOptions) -> NeuralDe {
    let problem = Problem::ode(field(width), 0.0, 1.6)
        .driven_by(Control::new("drive", interpolation, KNOTS))
        .driven_by(Control::constant("rate"));
    NeuralDe::new(problem, options)
}

/// Steps of 0.23, but for those that end at knots: the same ones on either engine, whose errors stand above rounding.
fn given(layout: Layout) -> SolverOptions {
    let step_control = StepControl::Adaptive {
        tolerances: Tolerances::both(0.05),
        controller: Controller::default(),
        initial_step: InitialStep::Length(0.23),
    };
    SolverOptions::default().method(Method::Bosh3).layout(layout).step_control(step_control).largest_step(0.23)
}

/// Inputs and targets of `rows` samples, and values of `drive` and `rate`: each sample's own, or for all alike.
fn data(rows: usize, width: usize, own: bool) -> [Vec<f32>; 4] {
    let count = if own { rows } else { 1 };
    let lengths = [rows * width, rows * width, count * KNOTS.len() * width, count];
    let mut seed = 0;
    lengths.map(|length| {
        seed += 1;
        cast(&numbers(seed, length))
    })
}

/// The two engines, with the same parameters.
fn twins(gpu: &Gpu, config: TrainerConfig) -> (GpuTrainer, Trainer<f64>) {
    let mut device = GpuTrainer::new(gpu, config.clone()).expect("a driven model");
    let mut native = Trainer::<f64>::new(&cpu(1), config).expect("a driven model");
    let theta: Vec<f32> = native.parameters().iter().map(|x| 1.5 * *x as f32).collect();
    device.set_parameters(&theta).expect("as many");
    native.set_parameters(&widen(&theta)).expect("as many");
    (device, native)
}

fn drive<L: Learner>(learner: &mut L, [drive, rate]: [&[f32]; 2]) {
    for (name, values) in [("drive", drive), ("rate", rate)] {
        let values: Vec<L::Scalar> = values.iter().map(|x| Real::from_f64(f64::from(*x))).collect();
        learner.set_control(name, &values).expect("values of the batch");
    }
}

#[test]
fn driven_models_train_as_natively() {
    let Some(gpu) = gpu() else { return };
    let local = Local::unbiased().fraction(1.0).coefficient(0.05);
    let regularizers: [Regularizer; 3] = [Regularizer::None, local.into(), EndTime::within(0.6).into()];
    let interpolations = [Interpolation::Hold, Interpolation::Linear, Interpolation::Cubic];
    // Few features are solved and walked back whole, many are not.
    for (n, (width, layout)) in [2, 35].into_iter().flat_map(|width| LAYOUTS.map(|l| (width, l))).enumerate() {
        for (m, regularizer) in regularizers.iter().enumerate().skip(usize::from(width > 2)) {
            let own = (n + m) % 2 == 0;
            let name = format!("{width} {layout:?} {regularizer:?}, own {own}");
            let config = TrainerConfig::new(model(width, interpolations[(n + m) % 3], given(layout)), Loss::Mse)
                .optimizer(Optimizer::momentum(0.1, 0.9))
                .regularizer(regularizer.clone())
                .seed(4);
            let (mut device, mut native) = twins(&gpu, config);
            let [inputs, targets, values, rates] = data(BATCH, width, own);
            drive(&mut device, [&values, &rates]);
            drive(&mut native, [&values, &rates]);
            let [wide_inputs, wide_targets] = [&inputs, &targets].map(|numbers| widen(numbers));
            let batch = Batch { inputs: &inputs, target: Target::States(&targets) };
            let wide = Batch { inputs: &wide_inputs, target: Target::States(&wide_targets) };
            for step in 0..3 {
                let found = gpu.block_on(device.step(&batch)).expect("a step");
                let expected = native.step(&wide).expect("a step");
                assert_eq!((found.nfe, found.end_time), (expected.nfe, expected.end_time), "{name}, step {step}");
                close(&format!("{name}, step {step}: loss"), &[found.loss], &[expected.loss], 2e-5);
                let apart = (found.penalty - expected.penalty).abs();
                assert!(apart <= 2e-2 * expected.penalty, "{name}, step {step}: a penalty of {}", found.penalty);
                // To the problem's own end, and of fewer samples.
                let [few, few_targets, values, rates] = data(BATCH - 2, width, own);
                if own {
                    drive(&mut device, [&values, &rates]);
                    drive(&mut native, [&values, &rates]);
                }
                let part = Batch { inputs: &few, target: Target::States(&few_targets) };
                let found = gpu.block_on(device.evaluate(&part)).expect("a loss").loss;
                let [few, few_targets] = [few, few_targets].map(|numbers| widen(&numbers));
                let part = Batch { inputs: &few, target: Target::States(&few_targets) };
                let expected = native.evaluate(&part).expect("a loss").loss;
                close(&format!("{name}, step {step}: evaluation"), &[found], &[expected], 5e-5);
                if own {
                    let [_, _, values, rates] = data(BATCH, width, own);
                    drive(&mut device, [&values, &rates]);
                    drive(&mut native, [&values, &rates]);
                }
            }
            let after = gpu.block_on(device.parameters()).expect("parameters");
            close(&format!("{name}: parameters"), &widen(&after), native.parameters(), 1e-3);
        }
    }
}

#[test]
fn steps_end_at_knots_in_training() {
    let Some(gpu) = gpu() else { return };
    for layout in LAYOUTS {
        let options = SolverOptions::default().layout(layout).tolerances(Tolerances::both(10.0));
        let config = TrainerConfig::new(model(2, Interpolation::Hold, options), Loss::Mse);
        let (mut device, mut native) = twins(&gpu, config);
        let [inputs, targets, values, rates] = data(BATCH, 2, false);
        drive(&mut device, [&values, &rates]);
        drive(&mut native, [&values, &rates]);
        let batch = Batch { inputs: &inputs, target: Target::States(&targets) };
        let found = gpu.block_on(device.gradients(&batch)).expect("a gradient");
        let [inputs, targets] = [&inputs, &targets].map(|numbers| widen(numbers));
        let expected = native.gradients(&Batch { inputs: &inputs, target: Target::States(&targets) }).expect("one");
        assert!(found.report.accepted >= 4, "{layout:?}: {} steps between three knots", found.report.accepted);
        assert_eq!(found.report.accepted, expected.report.accepted, "{layout:?}");
        close(&format!("{layout:?}"), &widen(&found.gradient), &expected.gradient, 2e-4);
    }
}

/// Of a data set that the device holds, samples have their own values too.
#[test]
fn held_samples_are_driven_by_their_own_values() {
    let Some(gpu) = gpu() else { return };
    for layout in LAYOUTS {
        let config = TrainerConfig::new(model(3, Interpolation::Linear, given(layout)), Loss::Mse);
        let mut streamed = GpuTrainer::new(&gpu, config.clone()).expect("a driven model");
        let mut held = GpuTrainer::new(&gpu, config).expect("a driven model");
        let [inputs, targets, values, rates] = data(BATCH, 3, true);
        let set = gpu.block_on(held.upload(&inputs, Target::States(&targets))).expect("a small set");
        for samples in [[4u32, 0, 3], [1, 1, 5]] {
            let gathered = |numbers: &[f32]| -> Vec<f32> {
                let one = numbers.len() / BATCH;
                samples.iter().flat_map(|s| &numbers[*s as usize * one..][..one]).copied().collect()
            };
            let [inputs, targets, values, rates] = [&inputs, &targets, &values, &rates].map(|all| gathered(all));
            drive(&mut streamed, [&values, &rates]);
            drive(&mut held, [&values, &rates]);
            let batch = Batch { inputs: &inputs, target: Target::States(&targets) };
            let expected = gpu.block_on(streamed.step(&batch)).expect("a step");
            assert_eq!(gpu.block_on(held.step_on(&set, &samples)).expect("a step").loss, expected.loss, "{layout:?}");
            let evaluated = gpu.block_on(held.evaluate_on(&set, &samples)).expect("a loss");
            assert_eq!(evaluated.loss, gpu.block_on(streamed.evaluate(&batch)).expect("a loss").loss, "{layout:?}");
        }
    }
}

#[test]
fn values_stay_with_another_configuration_and_not_in_checkpoints() {
    let Some(gpu) = gpu() else { return };
    let config = TrainerConfig::new(model(2, Interpolation::Hold, given(Layout::Lockstep)), Loss::Mse);
    let mut trainer = GpuTrainer::new(&gpu, config.clone()).expect("a driven model");
    let [inputs, targets, values, rates] = data(BATCH, 2, false);
    drive(&mut trainer, [&values, &rates]);
    let batch = Batch { inputs: &inputs, target: Target::States(&targets) };
    gpu.block_on(trainer.step(&batch)).expect("a step");
    let before = gpu.block_on(trainer.predict(&inputs)).expect("predictions");
    let mut longer = config;
    longer.optimizer = Optimizer::sgd(0.5);
    gpu.block_on(trainer.reconfigure(longer.clone())).expect("the same tensors");
    let after = gpu.block_on(trainer.predict(&inputs)).expect("predictions");
    assert_eq!(bits(&before), bits(&after), "the same controls have the same values");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("driven.safetensors");
    gpu.block_on(trainer.save(&path, &BTreeMap::new())).expect("a checkpoint");
    let (mut resumed, _) = GpuTrainer::resume(&gpu, &path).expect("a checkpoint");
    let missing = gpu.block_on(resumed.step(&batch)).expect_err("values are data");
    assert!(matches!(missing, Error::Order { needs: "GpuTrainer::set_control", .. }), "{missing}");
    drive(&mut resumed, [&values, &rates]);
    let [a, b] = [&mut trainer, &mut resumed].map(|t| {
        gpu.block_on(t.step(&batch)).expect("a step");
        gpu.block_on(t.parameters()).expect("parameters")
    });
    assert_eq!(bits(&a), bits(&b), "it goes on as if nothing had happened");
    longer.model.problem.controls[0].interpolation = Interpolation::Linear;
    gpu.block_on(trainer.reconfigure(longer)).expect("the same tensors");
    assert!(matches!(gpu.block_on(trainer.predict(&inputs)), Err(Error::Order { .. })), "another control has none");
}

/// What does not fit, as either engine tells it.
fn refusals<L: Learner>(engine: &L::Engine) -> Vec<String> {
    let config = TrainerConfig::new(model(2, Interpolation::Hold, given(Layout::Lockstep)), Loss::Mse);
    let mut asked = config.clone();
    asked.model.problem.controls[0].gradient = true;
    let mut texts = vec![L::new(engine, asked).err().expect("no gradient of a control").to_string()];
    let mut learner = Blocking::<L>::new(engine, config).expect("a driven model");
    let of = |count: usize| vec![L::Scalar::from_f64(0.5); count];
    let (inputs, targets) = (of(4), of(4));
    let batch = Batch { inputs: &inputs, target: Target::States(&targets) };
    texts.extend([
        learner.step(&batch).expect_err("no values").to_string(),
        learner.evaluate(&batch).expect_err("no values").to_string(),
        learner.predict_along(&inputs, fewsteps::Paths::default()).expect_err("no values").to_string(),
        learner.set_control("wind", &of(1)).expect_err("no such control").to_string(),
        learner.set_control("drive", &of(9)).expect_err("five knots of two rows").to_string(),
        learner.set_control("rate", &[L::Scalar::from_f64(f64::NAN)]).expect_err("no number").to_string(),
    ]);
    learner.set_control("drive", &of(10)).expect("values");
    texts.push(learner.step(&batch).expect_err("one of two has values").to_string());
    learner.set_control("rate", &of(3)).expect("three trajectories");
    texts.push(learner.step(&batch).expect_err("two trajectories").to_string());
    texts.push(learner.evaluate(&batch).expect_err("two trajectories").to_string());
    assert_eq!(learner.steps(), 0);
    learner.set_control("rate", &of(2)).expect("two trajectories");
    learner.step(&batch).expect("they fit");
    texts
}

#[test]
fn what_does_not_fit_is_refused_as_natively() {
    let Some(gpu) = gpu() else { return };
    let native = refusals::<Trainer<f32>>(&Cpu::with_threads(1).expect("a thread"));
    let renamed: Vec<String> = native.iter().map(|text| text.replace("Trainer::", "GpuTrainer::")).collect();
    assert_eq!(refusals::<GpuTrainer>(&gpu), renamed);
    assert!(renamed[8].contains("values of rate are for 3 trajectories"), "{}", renamed[8]);
}

/// `z = x exp(u T)` and `log p(x) = log N(z) + D u T`, of a flow that a control drives alone.
#[test]
fn a_driven_flow_draws_samples_by_its_control() {
    let Some(gpu) = gpu() else { return };
    let field = Field::build(2, |f| f.control("u").repeat(2) * f.state() + f.parameters("p", &[0.0]).repeat(2));
    let field = field.expect("a field").with_log_density(Trace::Exact).expect("a vector field");
    let problem = Problem::ode(field, 0.0, 1.0).driven_by(Control::new("u", Interpolation::Linear, [0.0, 1.0]));
    let options = SolverOptions::default().tolerances(Tolerances::both(1e-6));
    let config = TrainerConfig::new(NeuralDe::new(problem, options), Loss::NegativeLogLikelihood);
    // A line from 0.1 to 0.7: its integral is 0.4.
    let ends = [0.1f32, 0.7];
    let mut native = Trainer::<f64>::new(&cpu(1), config.clone()).expect("a flow");
    let mut device = GpuTrainer::new(&gpu, config).expect("a flow");
    native.set_control("u", &ends.map(f64::from)).expect("values");
    device.set_control("u", &ends).expect("values");
    let base: Vec<f64> = native.config().model.base(12, 5);
    let expected: Vec<f64> = base.iter().map(|z| z * (-0.4f64).exp()).collect();
    close("native samples", &native.sample(12, 5).expect("samples"), &expected, 1e-5);
    let samples = gpu.block_on(device.sample(12, 5)).expect("samples");
    close("samples", &widen(&samples), &expected, 1e-5);
    let density = |z: &[f64]| -0.5 * (z[0] * z[0] + z[1] * z[1]) - std::f64::consts::TAU.ln() + 0.8;
    let expected: Vec<f64> = base.chunks_exact(2).map(density).collect();
    close("densities", &gpu.block_on(device.log_density(&samples)).expect("densities"), &expected, 1e-4);
}
