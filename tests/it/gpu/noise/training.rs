//! Training with noise on the device against the native engine: gradients with every regularizer option, and curves.

use crate::oracle::{LAYOUTS, NOISY_ADAPTIVE, cast, close, cpu, gpu, largest, numbers, shared, widen};
use fewsteps::{
    Adjoint, Batch, Checkpoints, Diffusion, Evaluation, GpuTrainer, Layout, Local, Loss, Measure, Method, Mlp,
    NeuralDe, Optimizer, Paths, PenaltyAt, PenaltyGradient, PenaltyNoise, PenaltyStep, Problem, SaveAt, SolverOptions,
    StepControl, Target, TimeInput, Tolerances, Trainer, TrainerConfig,
};

const INPUTS: usize = 5;
const DIM: usize = 3;
const CLASSES: usize = 4;

/// A classifier with adaptive steps.
fn model(layout: Layout, method: Method) -> NeuralDe {
    // Three layers are too many for trajectories to be solved whole.
    let whole = layout == Layout::Lockstep;
    let drift = if whole { Mlp::new([DIM, 6, DIM]) } else { Mlp::new([DIM, 6, 5, DIM]) };
    let drift = drift.time_input(TimeInput::Every);
    let network = Mlp::new([DIM, DIM]);
    let calculus = method.tableau().noise.expect("a stochastic method").calculus;
    let problem = Problem::sde(drift, Diffusion::new(network, calculus), 0.0, 2.0);
    let options = SolverOptions::sde(Tolerances::both(0.3)).method(method).layout(layout);
    NeuralDe::new(problem, options).encoder(INPUTS).head(CLASSES)
}

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

/// The gradient of a classification on the device and on the native engine at f64.
fn compare(name: &str, config: &TrainerConfig, batch: usize, tolerance: f64) {
    let Some(gpu) = gpu() else { return };
    let samples = samples(batch);
    let mut device = GpuTrainer::new(&gpu, config.clone()).expect("a valid configuration");
    let mut native = Trainer::<f64>::new(&cpu(1), config.clone()).expect("a valid configuration");
    let theta = gpu.block_on(device.parameters()).expect("a device");
    native.set_parameters(&widen(&theta)).expect("parameters of the same model");
    let inputs = widen(&samples.inputs);
    let expected = native.gradients(&Batch { inputs: &inputs, target: Target::Labels(&samples.labels) });
    let expected = expected.expect("a valid batch");
    for round in 0..2 {
        let found = gpu.block_on(device.gradients(&samples.batch())).expect("a valid batch");
        let (a, b) = (&found.report, &expected.report);
        let costs = |r: &fewsteps::StepReport| (r.nfe, r.nfe_diffusion, r.accepted, r.rejected);
        assert_eq!(costs(a), costs(b), "{name}: costs");
        assert_eq!((a.nfe_penalty, a.coefficient), (b.nfe_penalty, b.coefficient), "{name}: penalty's costs");
        assert!((a.loss - b.loss).abs() < 2e-5 * b.loss, "{name}: loss {} for {}", a.loss, b.loss);
        let bound = tolerance * b.penalty.abs() + 1e-9;
        assert!((a.penalty - b.penalty).abs() <= bound, "{name}: penalty {} for {}", a.penalty, b.penalty);
        close(&format!("{name}, round {round}"), &widen(&found.gradient), &expected.gradient, tolerance);
        assert!(largest(&expected.gradient) > 1e-4, "{name}: there is a gradient");
    }
}

/// Every combination of options, in one layout or the other, such that any two of where, which step and which noise meet
/// in either, with every way of differentiating.
fn options() -> Vec<(Layout, Local)> {
    let mut all = Vec::new();
    for (a, at) in [PenaltyAt::Unbiased, PenaltyAt::Biased].into_iter().enumerate() {
        for (s, step) in [PenaltyStep::Taken, PenaltyStep::FreshInitial].into_iter().enumerate() {
            for (n, noise) in [PenaltyNoise::Fresh, PenaltyNoise::Path].into_iter().enumerate() {
                for gradient in [PenaltyGradient::Published, PenaltyGradient::Step, PenaltyGradient::Full] {
                    let measure = if step == PenaltyStep::Taken { Measure::StepCount } else { Measure::Error };
                    let coefficient = if step == PenaltyStep::Taken { 0.3 } else { 30.0 };
                    let base = Local::unbiased().at(at).measure(measure).step(step).noise(noise);
                    let local = base.gradient(gradient).times(2).fraction(0.5).coefficient(coefficient);
                    all.push((LAYOUTS[(a + s + n) % 2], local));
                }
            }
        }
    }
    all
}

#[test]
fn every_regularizer_option() {
    for (layout, local) in options() {
        let name = format!("{layout:?} {local:?}");
        let model = model(layout, Method::Sosri);
        let config = TrainerConfig::new(model, Loss::CrossEntropy).regularizer(local).seed(3);
        compare(&name, &config, 70, 2e-3);
    }
}

#[test]
fn regularized_scalar_noise() {
    for (layout, local) in options().into_iter().filter(|(_, local)| local.gradient == PenaltyGradient::Full) {
        for method in [Method::Sosri, Method::ReversibleHeun] {
            let mut model = model(layout, method);
            model.problem = shared(model.problem);
            let tolerance = if method == Method::Sosri { 0.3 } else { 0.5 };
            let control = SolverOptions::sde(Tolerances::both(tolerance)).step_control;
            model.options = model.options.step_control(control);
            let name = format!("scalar noise, {method} {layout:?} {local:?}");
            let config = TrainerConfig::new(model, Loss::CrossEntropy).regularizer(local.clone().fraction(1.0));
            compare(&name, &config, 9, 2e-3);
        }
    }
}

#[test]
fn every_method_regularized_between_checkpoints() {
    for method in NOISY_ADAPTIVE {
        let full = options().into_iter().filter(|(_, local)| local.gradient == PenaltyGradient::Full);
        for (n, (layout, local)) in full.enumerate() {
            let stride = 1 + 2 * (n % 2);
            let mut model = model(layout, method);
            // Those of order 1 would take hundreds of steps.
            let tolerance = if method.tableau().error_power() > 1.0 { 0.3 } else { 0.5 };
            let step_control = SolverOptions::sde(Tolerances::both(tolerance)).step_control;
            let checkpoints = Checkpoints::Stride(stride);
            model.options = model.options.step_control(step_control).adjoint(Adjoint::Discrete { checkpoints });
            let local = local.fraction(1.0);
            let name = format!("{layout:?} {method} {stride} {local:?}");
            let config = TrainerConfig::new(model, Loss::CrossEntropy).regularizer(local);
            compare(&name, &config, 9, 2e-3);
        }
    }
}

#[test]
fn fixed_steps_and_several_times() {
    let Some(gpu) = gpu() else { return };
    for layout in LAYOUTS {
        for method in Method::SDE {
            let mut model = model(layout, method);
            model.options = SolverOptions::default()
                .method(method)
                .layout(layout)
                .step_control(StepControl::Fixed { steps: 5 })
                .save_at(SaveAt::Times(vec![0.0, 0.3, 1.1, 2.0]));
            model.encoder = None;
            let config = TrainerConfig::new(model.clone(), Loss::Mse);
            let inputs = numbers(2, 6 * DIM);
            let states = numbers(3, 4 * 6 * model.output_width());
            let narrow = [&inputs, &states].map(|x| cast::<f32>(x));
            let mut device = GpuTrainer::new(&gpu, config.clone()).expect("a valid configuration");
            let mut native = Trainer::<f32>::new(&cpu(1), config).expect("a valid configuration");
            let batch = Batch { inputs: &narrow[0], target: Target::States(&narrow[1]) };
            let found = gpu.block_on(device.gradients(&batch)).expect("a valid batch");
            let expected = native.gradients(&batch).expect("a valid batch");
            let name = format!("{layout:?} {method}");
            close(&name, &widen(&found.gradient), &widen(&expected.gradient), 1e-4);
            let [a, b] = [gpu.block_on(device.evaluate(&batch)), native.evaluate(&batch)].map(|e| e.expect("a batch"));
            assert!((a.loss - b.loss).abs() < 1e-5 * b.loss, "{name}: {a:?} {b:?}");
            assert_eq!((a.nfe, a.nfe_diffusion, a.accepted), (b.nfe, b.nfe_diffusion, b.accepted), "{name}");
            let outputs = gpu.block_on(device.predict(&narrow[0])).expect("valid inputs");
            close(&name, &widen(&outputs), &widen(&native.predict(&narrow[0]).expect("valid inputs")), 1e-5);
        }
    }
}

/// Every step has paths of its own, which are those of the native engine, and so has an evaluation.
#[test]
fn training_follows_the_native_curve() {
    let Some(gpu) = gpu() else { return };
    for (layout, local) in [
        (Layout::Lockstep, Local::unbiased().coefficient(0.01)),
        (Layout::Lockstep, Local::published_biased_sde().coefficient(1.0)),
        (Layout::Ensemble, Local::biased().coefficient(0.01)),
    ] {
        let config = TrainerConfig::new(model(layout, Method::Sosri), Loss::CrossEntropy)
            .optimizer(Optimizer::adam(0.01))
            .regularizer(local.clone())
            .seed(8);
        let samples = samples(40);
        let mut device = GpuTrainer::new(&gpu, config.clone()).expect("a valid configuration");
        let mut native = Trainer::<f32>::new(&cpu(1), config).expect("a valid configuration");
        let mut losses = Vec::new();
        for step in 0..12 {
            let a = gpu.block_on(device.step(&samples.batch())).expect("a valid batch");
            let b = native.step(&samples.batch()).expect("a valid batch");
            assert!((a.loss - b.loss).abs() < 1e-3 * b.loss, "{local:?}, step {step}: {a:?} {b:?}");
            assert_eq!((a.nfe, a.nfe_diffusion), (b.nfe, b.nfe_diffusion), "{local:?}, step {step}");
            losses.push(a.loss);
        }
        let a = gpu.block_on(device.evaluate(&samples.batch())).expect("a valid batch");
        let b = native.evaluate(&samples.batch()).expect("a valid batch");
        assert!((a.loss - b.loss).abs() < 1e-3 * b.loss, "{local:?}: {a:?} {b:?}");
        assert_eq!(a.nfe, b.nfe, "{local:?}");
        assert!(losses[11] < losses[0], "{losses:?}");
    }
}

/// Moments of paths against those that the native engine finds, and the mean output over several paths.
#[test]
fn moments_and_means_over_paths() {
    let Some(gpu) = gpu() else { return };
    for layout in LAYOUTS {
        let mut model = model(layout, Method::Sosri);
        model.encoder = None;
        model.options = model.options.save_at(SaveAt::Times(vec![0.0, 0.7, 2.0]));
        let inputs = cast::<f32>(&numbers(2, 70 * DIM));
        let config = TrainerConfig::new(model.clone(), Loss::Moments);
        let mut device = GpuTrainer::new(&gpu, config.clone()).expect("a valid configuration");
        let mut native = Trainer::<f32>::new(&cpu(1), config.clone()).expect("a valid configuration");
        let [means, variances] = [5, 6].map(|seed| cast::<f32>(&numbers(seed, 3 * CLASSES)));
        let batch = Batch { inputs: &inputs, target: Target::Moments { means: &means, variances: &variances } };
        let found = gpu.block_on(device.gradients(&batch)).expect("a valid batch");
        let expected = native.gradients(&batch).expect("a valid batch");
        let (a, b) = (found.report.loss, expected.report.loss);
        assert!((a - b).abs() < 1e-5 * b, "{layout:?}: loss {a} for {b}");
        close(&format!("{layout:?}"), &widen(&found.gradient), &widen(&expected.gradient), 1e-4);
        let [a, b] = [gpu.block_on(device.evaluate(&batch)), native.evaluate(&batch)].map(|e| e.expect("a batch"));
        assert!((a.loss - b.loss).abs() < 1e-5 * b.loss, "{layout:?}: {a:?} {b:?}");
        let refused = gpu.block_on(device.evaluate_mean(&batch, 3)).expect_err("single paths").to_string();
        assert!(refused.contains("use evaluate"), "{refused}");
        let refused = gpu.block_on(device.upload(&inputs, batch.target)).expect_err("of a batch").to_string();
        assert!(refused.contains("GpuTrainer::step"), "{refused}");

        model.options = model.options.save_at(SaveAt::End);
        let config = TrainerConfig::new(model, Loss::CrossEntropy);
        let mut device = GpuTrainer::new(&gpu, config.clone()).expect("a valid configuration");
        let mut native = Trainer::<f32>::new(&cpu(1), config).expect("a valid configuration");
        let labels = samples(70).labels;
        let batch = Batch { inputs: &inputs, target: Target::Labels(&labels) };
        let a = gpu.block_on(device.evaluate_mean(&batch, 4)).expect("a valid batch");
        let b = native.evaluate_mean(&batch, 4).expect("a valid batch");
        assert!((a.loss - b.loss).abs() < 1e-5 * b.loss, "{layout:?}: {a:?} {b:?}");
        let costs = |e: &Evaluation| (e.correct, e.count, e.nfe, e.nfe_diffusion, e.accepted, e.rejected, e.failed);
        assert_eq!(costs(&a), costs(&b), "{layout:?}");
        let paths = Paths { seed: 3, first: 9 };
        let found = gpu.block_on(device.predict_along(&inputs, paths)).expect("valid inputs");
        let expected = native.predict_along(&inputs, paths).expect("valid inputs");
        close(&format!("{layout:?}: outputs"), &widen(&found), &widen(&expected), 2e-5);
    }
}

#[test]
fn what_a_device_does_not_do_is_refused() {
    let Some(gpu) = gpu() else { return };
    let refused = |config: TrainerConfig| GpuTrainer::new(&gpu, config).expect_err("not on a device yet").to_string();
    let base = || model(Layout::Lockstep, Method::Sosri);
    let mut model = base();
    model.options.path_cells = Some(128);
    let error = refused(TrainerConfig::new(model, Loss::CrossEntropy));
    assert!(error.contains("SolverOptions::path_cells"), "{error}");
    let mut model = base();
    model.options.step_control = StepControl::Fixed { steps: 4 };
    let local = Local::unbiased().noise(PenaltyNoise::Path);
    let error = refused(TrainerConfig::new(model, Loss::CrossEntropy).regularizer(local));
    assert!(error.contains("Local::noise"), "{error}");
    for (method, adjoint) in
        [(Method::ReversibleHeun, Adjoint::Reversible), (Method::StratonovichHeun, Adjoint::Backsolve)]
    {
        let mut model = self::model(Layout::Lockstep, method);
        model.options.adjoint = adjoint;
        let error = refused(TrainerConfig::new(model, Loss::CrossEntropy));
        assert!(error.contains("SolverOptions::adjoint"), "{error}");
    }
}
