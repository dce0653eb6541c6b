//! Continuous normalizing flows on the device, beside the native engine.

use crate::oracle::{LAYOUTS, cast, close, cpu, gpu, numbers, widen};
use fewsteps::{
    Batch, Field, GpuTrainer, Learner, Local, Loss, Method, Mlp, NeuralDe, Problem, SolverOptions, StepControl, Target,
    TimeInput, Trace, Trainer, TrainerConfig,
};

/// Small enough to be solved whole, and not; exact and estimated.
fn flows() -> [(Field, Trace); 4] {
    let network = |sizes: Vec<usize>| Field::from(Mlp::new(sizes).time_input(TimeInput::Every));
    [
        (network(vec![2, 4, 2]), Trace::Exact),
        (network(vec![3, 9, 5, 3]), Trace::Exact),
        (network(vec![2, 3, 2]), Trace::Hutchinson),
        (network(vec![9, 5, 9]), Trace::Hutchinson),
    ]
}

#[test]
fn a_device_finds_the_densities_samples_and_gradients_of_the_native_engine() {
    let Some(gpu) = gpu() else { return };
    for (n, (field, trace)) in flows().into_iter().enumerate() {
        let features = field.features();
        let name = format!("{features} features, {trace:?}");
        let field = field.with_log_density(trace).expect("a vector field");
        // Errors of the probe are well above rounding.
        let options = SolverOptions::default().method(Method::Bosh3).layout(LAYOUTS[n % 2]);
        let options = options.step_control(StepControl::Fixed { steps: 5 });
        let model = NeuralDe::new(Problem::ode(field, 0.0, 1.0), options);
        let config = TrainerConfig::new(model, Loss::NegativeLogLikelihood)
            .regularizer(Local::unbiased().coefficient(0.01))
            .seed(3);
        let mut native = Trainer::<f32>::new(&cpu(1), config.clone()).expect("a flow");
        let mut device = GpuTrainer::new(&gpu, config).expect("a flow");
        let theta: Vec<f32> = native.parameters().iter().map(|x| 1.5 * x).collect();
        native.set_parameters(&theta).expect("as many");
        device.set_parameters(&theta).expect("as many");
        let points: Vec<f32> = cast(&numbers(5, 50 * features));
        let batch = Batch { inputs: &points, target: Target::Nothing };
        let densities = gpu.block_on(device.log_density(&points)).expect("densities");
        close(&name, &densities, &native.log_density(&points).expect("densities"), 1e-5);
        let samples = gpu.block_on(device.sample(30, 2)).expect("samples");
        close(&name, &widen(&samples), &widen(&native.sample(30, 2).expect("samples")), 1e-5);
        let evaluated = gpu.block_on(device.evaluate(&batch)).expect("a loss").loss;
        assert!((evaluated - native.evaluate(&batch).expect("a loss").loss).abs() < 1e-5, "{name}: {evaluated}");
        // The second step has signs of its own.
        for step in 0..2 {
            let expected = native.gradients(&batch).expect("a gradient");
            let found = gpu.block_on(device.gradients(&batch)).expect("a gradient");
            assert!((found.report.loss - expected.report.loss).abs() < 1e-5, "{name}: {:?}", found.report);
            close(&format!("{name}, step {step}"), &widen(&found.gradient), &widen(&expected.gradient), 1e-3);
            native.step(&batch).expect("a step");
            gpu.block_on(device.step(&batch)).expect("a step");
        }
        let after = gpu.block_on(device.parameters()).expect("parameters");
        close(&name, &widen(&after), &widen(native.parameters()), 1e-3);
    }
}

/// Exact traces train on a data set that the device holds; estimates draw signs for every solve, on the host.
#[test]
fn a_data_set_of_points_is_held_where_no_signs_are_drawn() {
    let Some(gpu) = gpu() else { return };
    for (field, trace) in flows() {
        let features = field.features();
        let field = field.with_log_density(trace).expect("a vector field");
        let model = NeuralDe::new(Problem::ode(field, 0.0, 1.0), SolverOptions::default());
        let config = TrainerConfig::new(model, Loss::NegativeLogLikelihood);
        let points: Vec<f32> = cast(&numbers(5, 40 * features));
        let all = Batch { inputs: &points, target: Target::Nothing };
        let mut device = GpuTrainer::new(&gpu, config.clone()).expect("a flow");
        let held = gpu.block_on(device.hold(&all)).expect("room");
        assert_eq!(held.is_some(), trace == Trace::Exact, "{trace:?}");
        let Some(held) = held else {
            let error = gpu.block_on(device.upload(&points, Target::Nothing)).expect_err("signs are of solves");
            assert!(error.to_string().contains("each solve draws its own signs"), "{error}");
            continue;
        };
        let samples: Vec<u32> = (0..33).map(|i| i * 7 % 40).collect();
        let gathered: Vec<f32> =
            samples.iter().flat_map(|&i| points[i as usize * features..][..features].to_vec()).collect();
        let mut sent = GpuTrainer::new(&gpu, config).expect("a flow");
        for _ in 0..2 {
            let found = gpu.block_on(device.step_on(&held, &samples)).expect("a step");
            let batch = Batch { inputs: &gathered, target: Target::Nothing };
            assert_eq!(found, gpu.block_on(sent.step(&batch)).expect("a step"), "the same batch");
        }
    }
}
