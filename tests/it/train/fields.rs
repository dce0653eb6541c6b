//! Models whose parts are fields that were written out: encoders, heads, equations and noise.

use std::collections::BTreeMap;

use super::{cpu, points, read_parts};
use crate::oracle::{LAYOUTS, bits, close, numbers};
use fewsteps::{
    Activation, Adjoint, Batch, Checkpoints, Deployed, Diffusion, FailurePolicy, Field, FieldBuilder, Layout, Local,
    Loss, Measure, Method, Mlp, NeuralDe, Optimizer, PenaltyGradient, PenaltyStep, Problem, Regularizer, SaveAt,
    SolverOptions, StateMap, StepControl, Target, TimeInput, Tolerances, Trainer, TrainerConfig, Value,
};

fn build(inputs: usize, write: impl FnOnce(&FieldBuilder) -> Value) -> Field {
    Field::build(inputs, write).expect("a field")
}

/// A network of tanh layers in arithmetic on rows: the same function of the same parameters as [`Mlp`], without a layer.
fn by_hand(sizes: &[usize]) -> Field {
    build(sizes[0], |f| {
        let mut x = f.state();
        for (number, pair) in sizes.windows(2).enumerate() {
            let (inputs, outputs) = (pair[0], pair[1]);
            let weight = f.parameters(&format!("weight{number}"), &vec![0.1; inputs * outputs]);
            let mut z = f.parameters(&format!("bias{number}"), &vec![0.0; outputs]);
            for row in 0..inputs {
                z = z + weight.slice(row * outputs..(row + 1) * outputs) * x.row(row);
            }
            x = if number + 2 == sizes.len() { z } else { z.tanh() };
        }
        x
    })
}

/// A model of every part: an encoder of two layers, growth with positive rates and a term in the time, a head with a root.
fn written_model(options: SolverOptions) -> NeuralDe {
    let encoder = Mlp::new([6, 5, 3]).activation(Activation::Gelu);
    let field = build(3, |f| {
        let (y, rates) = (f.state(), f.positive("rates", &[0.4, 0.2, 0.3]));
        let push = f.mlp("push", &Mlp::new([3, 4, 3]).time_input(TimeInput::First), &y);
        push - rates * y + 0.1 * f.time().sin()
    });
    let head = build(3, |f| {
        let y = f.state();
        let first = f.mlp("first", &Mlp::new([3, 4]), &y).softplus().sqrt();
        f.mlp("second", &Mlp::new([4, 2]), &first) * f.parameters("scale", &[1.5]) + y.dot(&y)
    });
    NeuralDe::new(Problem::ode(field, 0.0, 1.0), options).encoder(encoder).head(head)
}

/// Central differences of the evaluated loss along every parameter.
fn differences(trainer: &mut Trainer<f64>, batch: &Batch<'_, f64>) -> Vec<f64> {
    let theta = trainer.parameters().to_vec();
    let mut loss = |i: usize, shift: f64| {
        let mut moved = theta.clone();
        moved[i] += shift;
        trainer.set_parameters(&moved).expect("the model's parameters");
        trainer.evaluate(batch).expect("evaluates").loss
    };
    (0..theta.len()).map(|i| (loss(i, 1e-5) - loss(i, -1e-5)) / 2e-5).collect()
}

#[test]
fn gradients_of_written_encoders_fields_and_heads_are_exact() {
    let (inputs, labels) = points(35);
    let labels: Vec<u32> = labels.iter().map(|label| label % 2).collect();
    let inputs: Vec<f64> = inputs.into_iter().map(f64::from).collect();
    let states = numbers(3, 4 * 35 * 2);
    for layout in LAYOUTS {
        let options = SolverOptions::default().step_control(StepControl::Fixed { steps: 3 }).layout(layout);
        let at_times = options.clone().save_at(SaveAt::Times(vec![0.0, 0.21, 0.5, 1.0]));
        for (loss, options, target) in [
            (Loss::CrossEntropy, options, Target::Labels(&labels)),
            (Loss::Mse, at_times.clone(), Target::States(&states)),
            (Loss::Mae, at_times, Target::States(&states)),
        ] {
            let batch = Batch { inputs: &inputs, target };
            let config = TrainerConfig::new(written_model(options), loss).seed(2);
            let mut trainer = Trainer::<f64>::new(&cpu(), config).expect("a valid model");
            let found = trainer.gradients(&batch).expect("a gradient").gradient;
            let expected = differences(&mut trainer, &batch);
            for tensor in trainer.config().model.layout() {
                let largest = found[tensor.range()].iter().fold(0.0f64, |most, g| most.max(g.abs()));
                assert!(largest > 1e-5, "{loss:?}: {} has a gradient", tensor.name);
            }
            close(&format!("{layout:?}, {loss:?}"), &found, &expected, 1e-7);
        }
    }
}

#[test]
fn a_linear_map_is_the_network_of_one_layer() {
    let (inputs, labels) = points(40);
    let batch = Batch { inputs: &inputs, target: Target::Labels(&labels) };
    let model = NeuralDe::new(Problem::ode(Mlp::new([4, 7, 4]), 0.0, 1.0), SolverOptions::default());
    let linear = model.clone().encoder(6).head(3);
    let network = model.encoder(Mlp::new([6, 4])).head(Mlp::new([4, 3]));
    assert_eq!(linear.parameter_count(), network.parameter_count());
    let names = |model: &NeuralDe| [0, 6].map(|at| model.layout()[at].name.clone());
    assert_eq!(names(&linear), ["encoder.weight", "head.weight"]);
    assert_eq!(names(&network), ["encoder.0.weight", "head.0.weight"]);
    let config = |model| TrainerConfig::new(model, Loss::CrossEntropy).seed(3);
    let mut one = Trainer::<f32>::new(&cpu(), config(linear)).expect("a valid model");
    let mut other = Trainer::<f32>::new(&cpu(), config(network)).expect("a valid model");
    assert_ne!(one.parameters(), other.parameters(), "drawn from streams of their own");
    other.set_parameters(one.parameters()).expect("as many");
    let [one, other] = [&mut one, &mut other].map(|trainer| trainer.gradients(&batch).expect("a gradient"));
    assert_eq!(one.report, other.report);
    assert_eq!(bits(&one.gradient), bits(&other.gradient), "the same bits");
}

/// Every penalty under every adjoint, of an equation and with noise, is that of the network that computes the same.
#[test]
fn penalties_and_adjoints_of_written_fields_are_those_of_networks() {
    let every_step = Adjoint::Discrete { checkpoints: Checkpoints::EveryStep };
    let strided = Adjoint::Discrete { checkpoints: Checkpoints::Stride(3) };
    let times = SaveAt::Times(vec![0.3, 1.0]);
    let cases = [
        (Method::Tsit5, every_step, times.clone(), false),
        (Method::Tsit5, strided, SaveAt::End, false),
        (Method::Tsit5, Adjoint::Reversible, times.clone(), false),
        (Method::Tsit5, Adjoint::Interpolating, times.clone(), false),
        (Method::Tsit5, Adjoint::Backsolve, SaveAt::End, false),
        (Method::Sosri, strided, times, true),
        (Method::ReversibleHeun, Adjoint::Reversible, SaveAt::End, true),
        (Method::StratonovichHeun, Adjoint::Backsolve, SaveAt::End, true),
    ];
    let mut met = 0;
    for ((method, adjoint, save_at, noisy), layout) in
        cases.iter().flat_map(|case| LAYOUTS.map(|layout| (case.clone(), layout)))
    {
        for regularizer in regularizers() {
            let name = format!("{layout:?} {method:?} {adjoint:?} {regularizer:?}");
            let steps = match method {
                Method::Tsit5 | Method::Sosri => StepControl::adaptive(Tolerances::both(1e-2)),
                _ => StepControl::Fixed { steps: 12 },
            };
            let options = SolverOptions::default().method(method).step_control(steps).layout(layout);
            let options = options.adjoint(adjoint).save_at(save_at.clone());
            let config = |written: bool| {
                let net = |sizes: [usize; 3]| if written { by_hand(&sizes) } else { Mlp::new(sizes).into() };
                let mut problem = Problem::ode(net([2, 5, 2]), 0.0, 1.0);
                let noise = net([2, 3, 2]);
                let is_ito = method == Method::Sosri;
                let noise = if is_ito { Diffusion::ito(noise) } else { Diffusion::stratonovich(noise) };
                problem.diffusion = noisy.then_some(noise);
                let model = NeuralDe::new(problem, options.clone());
                TrainerConfig::new(model, Loss::Mse).regularizer(regularizer.clone()).seed(8)
            };
            let Ok(mut network) = Trainer::<f64>::new(&cpu(), config(false)) else {
                let refused = Trainer::<f64>::new(&cpu(), config(true));
                assert!(refused.is_err(), "{name}: what is refused of a network is refused");
                continue;
            };
            met += 1;
            let mut written = Trainer::<f64>::new(&cpu(), config(true)).expect(&name);
            written.set_parameters(network.parameters()).expect("the same parameters");
            let (inputs, states) = (numbers(6, 37 * 2), numbers(7, 37 * 2 * network.config().model.output_times()));
            let batch = Batch { inputs: &inputs, target: Target::States(&states) };
            let [found, expected] =
                [&mut written, &mut network].map(|trainer| trainer.gradients(&batch).expect("a gradient"));
            assert_eq!(
                (found.report.nfe, found.report.accepted),
                (expected.report.nfe, expected.report.accepted),
                "{name}"
            );
            close(&name, &[found.report.loss], &[expected.report.loss], 1e-9);
            let penalties = [found.report.penalty, expected.report.penalty];
            assert!((penalties[0] - penalties[1]).abs() <= 1e-7 * penalties[1], "{name}: {penalties:?}");
            close(&name, &found.gradient, &expected.gradient, 1e-6);
        }
    }
    assert!(met >= 60, "{met} combinations are none that is refused");
}

fn regularizers() -> Vec<Regularizer> {
    let mut all = vec![Regularizer::None];
    for measure in [Measure::Error, Measure::Stiffness, Measure::StepCount] {
        for step in [PenaltyStep::FreshInitial, PenaltyStep::Taken, PenaltyStep::Ideal] {
            for gradient in [PenaltyGradient::Published, PenaltyGradient::Step, PenaltyGradient::Full] {
                for local in [Local::biased(), Local::unbiased()] {
                    all.push(local.measure(measure).step(step).gradient(gradient).coefficient(0.3).into());
                }
            }
        }
    }
    all
}

/// A trajectory that fails, at a pole of the encoder or on its way, has no part in any gradient: not even zero times infinity.
#[test]
fn poles_of_failed_trajectories_spoil_nothing() {
    let options = SolverOptions::default().tolerances(Tolerances::both(1e-8)).layout(Layout::Ensemble);
    let encoder = build(1, |f| f.state().recip() * f.parameters("a", &[1.0]));
    let field = build(1, |f| f.state().cube() * f.parameters("b", &[1.0]));
    let head = build(1, |f| f.state().ln() + f.parameters("c", &[0.5]));
    let model = NeuralDe::new(Problem::ode(field, 0.0, 1.0), options).encoder(encoder).head(head);
    let config = TrainerConfig::new(model, Loss::Mse).failure(FailurePolicy::Skip);
    let mut trainer = Trainer::<f64>::new(&cpu(), config).expect("a valid model");
    let mut gradients = |inputs: &[f64]| {
        let batch = Batch { inputs, target: Target::States(&vec![0.0; inputs.len()]) };
        trainer.gradients(&batch).expect("a gradient")
    };
    // From 1/0.2 the solution is infinite after 0.02.
    let (found, expected) = (gradients(&[0.0, 0.2, 2.0, 0.2, 4.0]), gradients(&[2.0, 4.0]));
    assert_eq!((found.report.failed, expected.report.failed), (3, 0));
    close("the loss", &[found.report.loss], &[expected.report.loss], 1e-12);
    close("the gradient", &found.gradient, &expected.gradient, 1e-12);
    // y = (y0^-2 - 2 b t)^-1/2 from y0 = a / x, of which the loss is the mean of (ln y + c)^2.
    let terms = [2.0f64, 4.0].map(|x| (-0.5 * (x * x - 2.0).ln() + 0.5, x));
    let mean = |term: &dyn Fn(f64, f64) -> f64| terms.iter().map(|&(out, x)| term(out, x)).sum::<f64>() / 2.0;
    let truth = [
        mean(&|out, x| 2.0 * out * x * x / (x * x - 2.0)),
        mean(&|out, x| 2.0 * out / (x * x - 2.0)),
        mean(&|out, _| 2.0 * out),
    ];
    close("the closed form", &found.gradient, &truth, 1e-6);
}

#[test]
fn checkpoints_of_written_models_have_names_and_go_on() {
    let (inputs, labels) = points(30);
    let inputs: Vec<f64> = inputs.into_iter().map(f64::from).collect();
    let labels: Vec<u32> = labels.iter().map(|label| label % 2).collect();
    let batch = Batch { inputs: &inputs, target: Target::Labels(&labels) };
    let model = written_model(SolverOptions::default());
    let config = TrainerConfig::new(model.clone(), Loss::CrossEntropy).regularizer(Local::unbiased());
    let mut trainer = Trainer::<f64>::new(&cpu(), config.optimizer(Optimizer::adam(1e-2))).expect("a valid model");
    trainer.step(&batch).expect("a step");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("written.safetensors");
    trainer.save(&path, &BTreeMap::new()).expect("a checkpoint");

    let (_, tensors) = read_parts(&path);
    let names = [
        "encoder.0.weight",
        "encoder.0.bias",
        "encoder.1.weight",
        "encoder.1.bias",
        "field.rates",
        "field.push.0.weight",
        "field.push.0.time",
        "field.push.0.bias",
        "field.push.1.weight",
        "field.push.1.bias",
        "head.first.0.weight",
        "head.first.0.bias",
        "head.second.0.weight",
        "head.second.0.bias",
        "head.scale",
    ];
    let layout = model.layout();
    assert_eq!(layout.iter().map(|tensor| tensor.name.as_str()).collect::<Vec<_>>(), names);
    assert_eq!(layout.last().map(|last| last.range().end), Some(model.parameter_count()), "one after the other");
    for tensor in layout {
        let (shape, numbers) = &tensors[&tensor.name];
        assert_eq!((shape, &numbers[..]), (&tensor.shape, &trainer.parameters()[tensor.range()]), "{}", tensor.name);
    }

    let (mut resumed, _) = Trainer::<f64>::resume(&cpu(), &path).expect("resumes");
    assert_eq!(resumed.config(), trainer.config(), "the fields come back");
    let one_step = SolverOptions::default().method(Method::Rk4).step_control(StepControl::Fixed { steps: 1 });
    Deployed::new(one_step).write(&path).expect("written");
    let (mut deployed, _) = Trainer::<f64>::deployed(&cpu(), &path).expect("loads");
    assert_eq!(deployed.evaluate(&batch).expect("evaluates").nfe, 4, "one step of four stages");
    for _ in 0..3 {
        assert_eq!(resumed.step(&batch).expect("a step"), trainer.step(&batch).expect("a step"));
    }
    assert_eq!(bits(resumed.parameters()), bits(trainer.parameters()), "the same bits");
}

#[test]
fn maps_are_numbers_or_objects_in_files() {
    let model = NeuralDe::new(Problem::ode(Mlp::new([3, 3]), 0.0, 1.0), SolverOptions::default());
    let json = |model: &NeuralDe| serde_json::to_value(model).expect("JSON");
    let linear = json(&model.clone().encoder(784).head(10));
    assert_eq!((&linear["encoder"], &linear["head"]), (&784.into(), &10.into()), "as ever");
    let written = json(&written_model(SolverOptions::default()));
    assert_eq!(written["encoder"]["sizes"], serde_json::json!([6, 5, 3]));
    assert!(written["head"]["program"].is_array() || written["head"]["program"].is_object(), "{}", written["head"]);
    for whole in [linear.clone(), written] {
        let read: NeuralDe = serde_json::from_value(whole.clone()).expect("what was written");
        assert_eq!(json(&read), whole, "the round trip");
    }
    for (bad, part) in
        [(serde_json::json!(-1), "-1"), ("x".into(), "usize"), (serde_json::json!({ "sizes": 3 }), "sequence")]
    {
        let mut damaged = linear.clone();
        damaged["encoder"] = bad;
        let error = serde_json::from_value::<NeuralDe>(damaged).expect_err(part).to_string();
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn maps_that_do_not_fit_are_refused() {
    let model = NeuralDe::new(Problem::ode(Mlp::new([3, 3]), 0.0, 1.0), SolverOptions::default());
    let timed = |sizes: [usize; 2]| Mlp::new(sizes).time_input(TimeInput::First);
    let driven = |inputs: usize| build(inputs, |f| f.state() * f.control("force"));
    let clocked = build(3, |f| f.state() * f.time());
    let wide = |inputs: usize| build(inputs, |f| f.stack([f.state(), f.state()]));
    for (refused, argument, part) in [
        (model.clone().encoder(Mlp::new([6, 4])), "NeuralDe::encoder = [6, 4]", "3 numbers each, not 4"),
        (model.clone().head(Mlp::new([4, 6])), "NeuralDe::head = [4, 6]", "3 numbers each, not 4"),
        (model.clone().encoder(wide(3)), "NeuralDe::encoder = [3, 6]", "3 numbers each, not 6"),
        (model.clone().encoder(timed([6, 3])), "NeuralDe::encoder = [6, 3]", "no time passes"),
        (model.clone().head(timed([3, 6])), "NeuralDe::head = [3, 6]", "no time passes"),
        (model.clone().head(clocked), "NeuralDe::head = [3, 3]", "no time passes"),
        (model.clone().encoder(driven(3)), "NeuralDe::encoder = control \"force\"", "nothing drives it"),
        (model.clone().head(driven(3)), "NeuralDe::head = control \"force\"", "nothing drives it"),
        (model.clone().head(Mlp::new([3, 0])), "Mlp::sizes", ""),
        (model.clone().head(0), "NeuralDe::head = 0", "at least one number wide"),
        (model.clone().encoder(Mlp::new([1 << 40, 3])), "", "parameters"),
        (model.clone().encoder(Mlp::new([(1 << 20) + 1, 3])), "Mlp::sizes", "at most 1048576 inputs"),
        (model.clone().head((1 << 20) + 1), "NeuralDe::head = [1048577]", "at most 1048576 inputs and outputs"),
    ] {
        let error = refused.validate::<f64>().expect_err(argument).to_string();
        assert!(error.contains(argument) && error.contains(part), "{argument}, {part}: {error}");
        assert!(Trainer::<f32>::new(&cpu(), TrainerConfig::new(refused, Loss::Mse)).is_err(), "{argument}");
    }
    assert_eq!(StateMap::from(wide(2)), StateMap::Field(wide(2)));
}

/// Under no rule, weight decay or older moments does a frozen group move, whatever gradient is given.
#[test]
fn frozen_groups_stay_as_they_are() {
    let part = |inputs: usize, outputs: usize, frozen: bool| {
        build(inputs, |f| {
            let scale = f.parameters("scale", &vec![0.75; inputs]);
            let value = f.mlp("net", &Mlp::new([inputs, 3, outputs]), &(scale * f.state()));
            if frozen {
                f.freeze("net");
            }
            value
        })
    };
    let config = |optimizer: &Optimizer, frozen: bool| {
        let problem = Problem::sde(part(2, 2, frozen), Diffusion::ito(part(2, 2, frozen)), 0.0, 1.0);
        let model = NeuralDe::new(problem, SolverOptions::sde(Tolerances::both(0.1)));
        let model = model.encoder(part(4, 2, frozen)).head(part(2, 3, frozen));
        TrainerConfig::new(model, Loss::CrossEntropy).optimizer(optimizer.clone()).seed(6)
    };
    let (inputs, labels) = (numbers(1, 20 * 4), (0..20).map(|i| i % 3).collect::<Vec<u32>>());
    let batch = Batch { inputs: &inputs, target: Target::Labels(&labels) };
    for optimizer in [
        Optimizer::sgd(0.1),
        Optimizer::momentum(0.1, 0.9),
        Optimizer::nesterov(0.1, 0.9),
        Optimizer::adam(0.1),
        Optimizer::adamw(0.1, 0.5).clip_norm(0.1),
        Optimizer::adamax(0.1).clip_value(0.1),
        Optimizer::adabelief(0.1),
        Optimizer::rmsprop(0.1),
    ] {
        let mut trainer = Trainer::<f64>::new(&cpu(), config(&optimizer, false)).expect("a valid model");
        for _ in 0..2 {
            trainer.step(&batch).expect("a step");
        }
        let moved = trainer.parameters().to_vec();
        trainer.reconfigure(config(&optimizer, true)).expect("the same tensors");
        let found = trainer.gradients(&batch).expect("a gradient").gradient;
        trainer.step(&batch).expect("a step");
        trainer.apply(&vec![1.0; moved.len()]).expect("an update");
        for tensor in trainer.config().model.layout() {
            let range = tensor.range();
            let (before, after) = (bits(&moved[range.clone()]), bits(&trainer.parameters()[range.clone()]));
            if tensor.name.contains(".net.") {
                assert_eq!(before, after, "{:?}: {}", optimizer.rule, tensor.name);
                assert!(found[range].iter().all(|g| *g == 0.0), "{} has no gradient", tensor.name);
            } else {
                assert_ne!(before, after, "{:?}: {}", optimizer.rule, tensor.name);
            }
        }
        // A norm that is clipped is that of what moves.
        let free = trainer
            .config()
            .model
            .layout()
            .iter()
            .filter(|t| !t.name.contains(".net."))
            .map(|t| t.range().len())
            .sum::<usize>();
        let update = trainer.apply(&vec![1.0; moved.len()]).expect("an update");
        assert!((update.norm - (free as f64).sqrt()).abs() < 1e-12, "{} of {free}", update.norm);
    }
}
