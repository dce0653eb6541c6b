//! Models with fields for encoders and heads, and with groups that are frozen.

use crate::oracle::{LAYOUTS, bits, cast, close, cpu, gpu, numbers, widen};
use fewsteps::{
    Activation, Batch, Diffusion, FailurePolicy, Field, FieldBuilder, GpuTrainer, Layout, Local, Loss, Method, Mlp,
    NeuralDe, Optimizer, Problem, SaveAt, SolverOptions, StepControl, Target, TimeInput, Tolerances, Trainer,
    TrainerConfig, Value,
};

/// A network of what is scaled first. With `frozen` the network stays as it is.
fn part(inputs: usize, outputs: usize, frozen: bool) -> Field {
    Field::build(inputs, |f| {
        let scale = f.parameters("scale", &vec![0.75; inputs]);
        let value = f.mlp("net", &Mlp::new([inputs, 3, outputs]), &(scale * f.state()));
        if frozen {
            f.freeze("net");
        }
        value
    })
    .expect("a field")
}

/// Errors of low order are well above rounding.
fn options(layout: Layout) -> SolverOptions {
    SolverOptions::default().method(Method::Bosh3).layout(layout).step_control(StepControl::Fixed { steps: 2 })
}

const OPTIMIZERS: fn() -> [Optimizer; 8] = || {
    [
        Optimizer::sgd(0.1),
        Optimizer::momentum(0.1, 0.9),
        Optimizer::nesterov(0.1, 0.9),
        Optimizer::adam(0.01),
        Optimizer::adamw(0.01, 0.5).clip_norm(0.1),
        Optimizer::adamax(0.01).clip_value(0.1),
        Optimizer::adabelief(0.01),
        Optimizer::rmsprop(0.01),
    ]
};

/// Under no rule, weight decay or older moments does a frozen group move, whatever gradient is given; the others move as
/// they do on the native engine.
#[test]
fn frozen_groups_stay_as_they_are() {
    let Some(gpu) = gpu() else { return };
    let config = |optimizer: &Optimizer, [dim, layout]: [usize; 2], frozen: bool| {
        let problem = Problem::ode(part(dim, dim, frozen), 0.0, 1.0);
        let model = NeuralDe::new(problem, options(LAYOUTS[layout]));
        let model = model.encoder(part(4, dim, frozen)).head(part(dim, 3, frozen));
        TrainerConfig::new(model, Loss::CrossEntropy).optimizer(optimizer.clone()).seed(6)
    };
    let (inputs, labels) = (cast::<f32>(&numbers(1, 20 * 4)), (0..20).map(|i| i % 3).collect::<Vec<u32>>());
    let batch = Batch { inputs: &inputs, target: Target::Labels(&labels) };
    for (n, optimizer) in OPTIMIZERS().into_iter().enumerate() {
        // Few features are walked back whole, many are not.
        let kind = [if n % 3 == 0 { 11 } else { 2 }, n % 2];
        let mut device = GpuTrainer::new(&gpu, config(&optimizer, kind, false)).expect("a valid model");
        let mut native = Trainer::<f32>::new(&cpu(1), config(&optimizer, kind, false)).expect("a valid model");
        for _ in 0..2 {
            gpu.block_on(device.step(&batch)).expect("a step");
            native.step(&batch).expect("a step");
        }
        let moved = gpu.block_on(device.parameters()).expect("parameters");
        gpu.block_on(device.reconfigure(config(&optimizer, kind, true))).expect("the same tensors");
        native.reconfigure(config(&optimizer, kind, true)).expect("the same tensors");
        let found = gpu.block_on(device.gradients(&batch)).expect("a gradient");
        let report = gpu.block_on(device.step(&batch)).expect("a step");
        let expected = native.step(&batch).expect("a step");
        let apart = (report.gradient_norm / expected.gradient_norm - 1.0).abs();
        assert!(apart < 1e-4, "{optimizer:?}: a norm of {}, natively {}", report.gradient_norm, expected.gradient_norm);
        let ones = vec![1.0; moved.len()];
        let update = gpu.block_on(device.apply(&ones)).expect("an update");
        let known = native.apply(&ones).expect("an update");
        assert!(update.made && known.made, "{optimizer:?}: what is frozen forbids nothing");
        let layout = device.config().model.layout();
        let learns = |name: &str| !name.contains(".net.");
        let free: usize = layout.iter().filter(|t| learns(&t.name)).map(|t| t.range().len()).sum();
        for norm in [update.norm, known.norm] {
            assert!((norm - (free as f64).sqrt()).abs() < 1e-5, "{norm}: the norm is that of {free} which move");
        }
        let after = gpu.block_on(device.parameters()).expect("parameters");
        close(&format!("{optimizer:?}"), &widen(&after), &widen(native.parameters()), 1e-4);
        for tensor in &layout {
            let [before, after] = [&moved, &after].map(|theta| bits(&theta[tensor.range()]));
            assert_eq!(before == after, !learns(&tensor.name), "{optimizer:?}: {}", tensor.name);
            let gradient = &found.gradient[tensor.range()];
            assert!(learns(&tensor.name) || gradient.iter().all(|g| *g == 0.0), "{} has no gradient", tensor.name);
        }
    }
}

fn build(inputs: usize, write: impl FnOnce(&FieldBuilder) -> Value) -> Field {
    Field::build(inputs, write).expect("a field")
}

/// Encoders from 4 numbers to `dim`, and heads to 3: networks of several layers and fields with sums, parameters and
/// quotients, of few rows and of many.
fn maps(dim: usize) -> [(Field, Field); 4] {
    let deep = Mlp::new([4, 7, dim]).activation(Activation::Relu).output_activation(Activation::Tanh);
    let wide = build(4, |f| {
        let y = f.state();
        let spread = f.mlp("spread", &Mlp::new([4, 40]), &y).softplus();
        let share = &spread / spread.sum();
        f.mlp("narrow", &Mlp::new([40, dim]), &share) + f.parameters("offset", &vec![0.2; dim])
    });
    let softmax = build(dim, |f| {
        let scores = f.mlp("scores", &Mlp::new([dim, 3]), &f.state());
        let sizes = scores.exp();
        let total = sizes.sum();
        sizes / total + scores * 0.5
    });
    let rows = build(dim, |f| {
        let y = f.state();
        let scale = f.positive("scale", &[1.5]);
        f.stack([y.row(0) * &scale, y.sum(), (y.dot(&y) + 1.0).sqrt().recip()])
    });
    let plain =
        build(4, |f| f.stack((0..dim).map(|i| f.state().row(i % 4) * (1.0 - 0.1 * i as f64)).collect::<Vec<_>>()));
    let identity = build(dim, |f| f.state().slice(0..3));
    [
        (deep.into(), Mlp::new([dim, 9, 3]).activation(Activation::Silu).into()),
        (wide.clone(), softmax),
        (plain, rows),
        (wide, identity),
    ]
}

/// Loss, penalty, gradient, evaluation and outputs of models with all kinds of maps are those of the native engine.
#[test]
fn encoders_and_heads_are_fields() {
    let Some(gpu) = gpu() else { return };
    let inputs = cast::<f32>(&numbers(1, 37 * 4));
    let (labels, states) = ((0..37).map(|i| i % 3).collect::<Vec<u32>>(), cast::<f32>(&numbers(2, 2 * 37 * 3)));
    // Few features are solved whole, many are not.
    for (n, (dim, (encoder, head))) in [3, 35].into_iter().flat_map(|dim| maps(dim).map(|maps| (dim, maps))).enumerate()
    {
        let field = Mlp::new([dim, 6, dim]).time_input(TimeInput::Every);
        let noisy = n % 4 == 1;
        let problem = match noisy {
            true => Problem::sde(field, Diffusion::ito(Mlp::new([dim, dim])), 0.0, 1.0),
            false => Problem::ode(field, 0.0, 1.0),
        };
        let options = if noisy { SolverOptions::sde(Tolerances::both(0.3)) } else { options(LAYOUTS[n % 2]) };
        let classified = n % 3 != 0;
        let options = if classified { options } else { options.save_at(SaveAt::Times(vec![0.4, 1.0])) };
        let model = NeuralDe::new(problem, options).encoder(encoder).head(head);
        let loss = if classified { Loss::CrossEntropy } else { Loss::Mse };
        let config = TrainerConfig::new(model, loss).regularizer(Local::unbiased().coefficient(0.1)).seed(3);
        let mut device = GpuTrainer::new(&gpu, config.clone()).expect("a valid model");
        let mut native = Trainer::<f64>::new(&cpu(1), config).expect("a valid model");
        let told = [2, 32, 64].map(|steps| device.workspace(37, steps));
        let (wide_inputs, wide_states) = (widen(&inputs), widen(&states));
        let target = if classified { Target::Labels(&labels) } else { Target::States(&states) };
        let wide_target = if classified { Target::Labels(&labels) } else { Target::States(&wide_states) };
        let batch = Batch { inputs: &inputs, target };
        let wide = Batch { inputs: &wide_inputs, target: wide_target };
        for step in 0..2 {
            let name = format!("maps {n}, step {step}");
            let theta = gpu.block_on(device.parameters()).expect("parameters");
            native.set_parameters(&widen(&theta)).expect("the same model");
            let found = gpu.block_on(device.gradients(&batch)).expect("a gradient");
            let known = native.gradients(&wide).expect("a gradient");
            assert!((found.report.loss / known.report.loss - 1.0).abs() < 1e-5, "{name}: {found:?}");
            close(&name, &widen(&found.gradient), &known.gradient, 2e-3);
            let layout = device.config().model.layout();
            for tensor in layout.iter().filter(|tensor| !tensor.name.starts_with("diffusion")) {
                let [found, known] = [&widen(&found.gradient), &known.gradient].map(|all| all[tensor.range()].to_vec());
                close(&format!("{name}: {}", tensor.name), &found, &known, if noisy { 5e-3 } else { 1e-3 });
            }
            let evaluated = gpu.block_on(device.evaluate(&batch)).expect("an evaluation");
            let truth = native.evaluate(&wide).expect("an evaluation");
            assert!((evaluated.loss / truth.loss - 1.0).abs() < 1e-5, "{name}: {evaluated:?}, natively {truth:?}");
            let outputs = gpu.block_on(device.predict(&inputs)).expect("outputs");
            close(&format!("{name}: outputs"), &widen(&outputs), &native.predict(&wide_inputs).expect("outputs"), 1e-5);
            // Twice the same bits.
            assert_eq!(bits(&gpu.block_on(device.gradients(&batch)).expect("one").gradient), bits(&found.gradient));
            assert!(told.contains(&(device.bytes() as u64)), "{name}: {} bytes, {told:?} were told", device.bytes());
            gpu.block_on(device.step(&batch)).expect("a step");
            native.step(&wide).expect("a step");
        }
    }
}

/// An encoder without a value at 0, and a head without one at what stands for a failed state: the others' gradient is that
/// of a batch without the trajectory.
#[test]
fn a_trajectory_at_an_encoder_s_pole_fails_alone() {
    let Some(gpu) = gpu() else { return };
    let encoder = build(1, |f| {
        let recip = f.mlp("first", &Mlp::new([1, 2]), &f.state().recip());
        f.mlp("second", &Mlp::new([2, 2]).output_activation(Activation::Relu), &recip.square())
    });
    let head = build(2, |f| {
        let y = f.state();
        f.mlp("net", &Mlp::new([2, 2]), &(y.square().sum().recip() * f.parameters("scale", &[0.5, 0.25])))
    });
    let model = NeuralDe::new(Problem::ode(Mlp::new([2, 4, 2]), 0.0, 1.0), options(Layout::Ensemble));
    let config = TrainerConfig::new(model.encoder(encoder).head(head), Loss::Mse).failure(FailurePolicy::Skip).seed(4);
    let (inputs, states) = ([0.5, 0.0, -1.5, 2.0], [0.1f32, 0.2, 0.0, 0.0, 0.3, -0.1, 0.5, 0.4]);
    let keep = |all: &[f32], width: usize| [&all[..width], &all[2 * width..]].concat();
    let mut device = GpuTrainer::new(&gpu, config).expect("a valid model");
    let mut gradient = |inputs: &[f32], states: &[f32]| {
        let found = gpu.block_on(device.gradients(&Batch { inputs, target: Target::States(states) })).expect("one");
        (found.report.failed, found.report.loss, found.gradient)
    };
    let (failed, loss, found) = gradient(&inputs, &states);
    let (none, truth, known) = gradient(&keep(&inputs, 1), &keep(&states, 2));
    assert_eq!((failed, none), (1, 0));
    assert!((loss / truth - 1.0).abs() < 1e-6, "a loss of {loss} with the pole, {truth} without");
    close("with a pole", &widen(&found), &widen(&known), 1e-5);
    assert!(known.iter().all(|g| g.is_finite()) && known.iter().any(|g| *g != 0.0));
}
