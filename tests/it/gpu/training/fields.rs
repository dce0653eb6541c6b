//! Models of which parts were written out, with groups that are frozen.

use crate::oracle::{LAYOUTS, bits, cast, close, cpu, gpu, numbers, widen};
use fewsteps::{
    Batch, Field, GpuTrainer, Layout, Loss, Method, Mlp, NeuralDe, Optimizer, Problem, SolverOptions, StepControl,
    Target, Trainer, TrainerConfig,
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

fn options(layout: Layout) -> SolverOptions {
    SolverOptions::default().method(Method::Tsit5).layout(layout).step_control(StepControl::Fixed { steps: 2 })
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
        let model = NeuralDe::new(problem, options(LAYOUTS[layout])).encoder(4).head(3);
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
