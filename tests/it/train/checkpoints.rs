//! Checkpoints: what they hold, what goes on from them to the bit, and what is refused.

use std::collections::BTreeMap;

use super::{Tensors, classifier, cpu, forged, learning, points, read_parts, write_parts};
use fewsteps::{
    Batch, Batches, CheckpointInfo, Diffusion, Error, Local, Loss, Method, Mlp, NeuralDe, Problem, Regularizer,
    Schedule, SolverOptions, StepControl, Target, TimeInput, Tolerances, Trainer, TrainerConfig,
};

#[test]
fn resumes_to_the_same_bits() {
    let (inputs, labels) = points(100);
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("checkpoint.safetensors");
    let mut batches = Batches::new(100, 32, 3).expect("few samples");
    let step = |trainer: &mut Trainer<f32>, batches: &mut Batches| {
        let (mut x, mut y) = (Vec::new(), Vec::new());
        for &i in batches.at(trainer.steps()) {
            x.extend_from_slice(&inputs[i * 6..(i + 1) * 6]);
            y.push(labels[i]);
        }
        trainer.step(&Batch { inputs: &x, target: Target::Labels(&y) }).expect("a step")
    };
    let config = classifier(Local::biased().coefficient(Schedule::exponential(1.0, 0.1, 20)));
    let mut straight = Trainer::<f32>::new(&cpu(), config).expect("a valid model");
    for _ in 0..9 {
        step(&mut straight, &mut batches);
    }
    let metadata = BTreeMap::from([("epoch".to_owned(), "2".to_owned())]);
    straight.save(&path, &metadata).expect("a checkpoint");
    let (mut resumed, found) = Trainer::<f32>::resume(&cpu(), &path).expect("resumes");
    assert_eq!(found, metadata, "the caller's metadata comes back");
    let mut fresh = Batches::new(100, 32, 3).expect("few samples");
    for _ in 0..9 {
        let (a, b) = (step(&mut straight, &mut batches), step(&mut resumed, &mut fresh));
        assert_eq!(a, b, "reports agree");
    }
    assert_eq!(straight.parameters(), resumed.parameters(), "parameters agree to the bit");
}

#[test]
fn what_was_learnt_is_resumed_to_the_same_bits() {
    let (inputs, labels) = points(64);
    let batch = Batch { inputs: &inputs, target: Target::Labels(&labels) };
    let config = learning(9.0);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("checkpoint.safetensors");
    let mut trainer = Trainer::<f32>::new(&cpu(), config).expect("a valid configuration");
    let first = trainer.step(&batch).expect("a step");
    // Beyond the budget's warm-up, so that its coefficient moves.
    let mut learnt = trainer.learnt();
    assert_eq!(learnt.budget.steps, 1, "it follows every update");
    learnt.budget.steps = 298;
    trainer.set_learnt(learnt).expect("what solves can teach");
    for _ in 0..3 {
        trainer.step(&batch).expect("a step");
    }
    let before = trainer.learnt();
    trainer.save(&file, &BTreeMap::new()).expect("saved");
    let evaluated = trainer.evaluate(&batch).expect("an evaluation");
    assert_eq!(trainer.learnt(), before, "evaluations use what was learnt and add nothing");
    assert!(evaluated.nfe < first.nfe && evaluated.ideal_steps.is_some(), "{evaluated:?}");
    let (mut other, _) = Trainer::<f32>::resume(&cpu(), &file).expect("resumed");
    assert_eq!(other.learnt(), before);
    assert_eq!(other.evaluate(&batch).expect("an evaluation"), evaluated);
    for _ in 0..3 {
        assert_eq!(other.step(&batch).expect("a step"), trainer.step(&batch).expect("a step"));
    }
    assert_eq!((other.parameters(), other.learnt()), (trainer.parameters(), trainer.learnt()));
    assert_ne!(trainer.learnt().budget.coefficient, before.budget.coefficient, "the coefficient moves");
    assert_eq!(CheckpointInfo::read(&file).expect("read").learnt, before);
    // Numbers that nobody can have learnt are refused, and a damaged file.
    let [mut first, mut ideal, mut budget] = [before; 3];
    first.first = Some(f64::NAN);
    ideal.ideal = Some(-1.0);
    budget.budget.nfe = f64::INFINITY;
    for (field, bad) in [("Learnt::first", first), ("Learnt::ideal", ideal), ("Learnt::budget", budget)] {
        let error = other.set_learnt(bad).expect_err(field).to_string();
        assert!(error.contains(field), "{error}");
        assert_eq!(other.learnt(), trainer.learnt(), "what was learnt stays");
    }
    let bytes = std::fs::read(&file).expect("read");
    let damaged = forged(&bytes, "\\\"coefficient\\\":0.", "\\\"coefficient\\\":-1.");
    std::fs::write(&file, damaged).expect("written");
    assert!(matches!(Trainer::<f32>::resume(&cpu(), &file), Err(Error::Checkpoint { .. })));
}

#[test]
fn a_checkpoint_is_read_by_names() {
    // One step of Euler's method from t = 0.5 shows encoder, field and head apart: head(y + h f(0.5, y)), y = encoder(x).
    let field = Mlp::new([3, 5, 3]).time_input(TimeInput::Every);
    let options = SolverOptions::default().method(Method::Euler).step_control(StepControl::Fixed { steps: 1 });
    let model = NeuralDe::new(Problem::ode(field, 0.5, 0.75), options).encoder(2).head(4);
    let config = TrainerConfig::new(model.clone(), Loss::CrossEntropy).seed(9);
    let mut trainer = Trainer::<f64>::new(&cpu(), config).expect("a valid model");
    let x = [0.3, -0.8];
    for _ in 0..3 {
        trainer.step(&Batch { inputs: &x, target: Target::Labels(&[2]) }).expect("a step");
    }
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("named.safetensors");
    trainer.save(&path, &BTreeMap::new()).expect("a checkpoint");

    let (_, tensors) = read_parts(&path);
    let affine = |name: &str, x: &[f64], t: f64| -> Vec<f64> {
        let numbers = |part: &str| tensors.get(&format!("{name}.{part}")).map(|(_, numbers)| numbers.clone());
        let (weight, bias) = (numbers("weight").expect("a weight"), numbers("bias").expect("a bias"));
        let time = numbers("time").unwrap_or_else(|| vec![0.0; bias.len()]);
        let term = |o: usize| x.iter().enumerate().map(|(i, x)| x * weight[i * bias.len() + o]).sum::<f64>();
        (0..bias.len()).map(|o| term(o) + t * time[o] + bias[o]).collect()
    };
    let y = affine("encoder", &x, 0.0);
    let hidden: Vec<f64> = affine("field.0", &y, 0.5).into_iter().map(f64::tanh).collect();
    let slope = affine("field.1", &hidden, 0.5);
    let end: Vec<f64> = y.iter().zip(slope).map(|(y, k)| y + 0.25 * k).collect();
    let found = trainer.predict(&x).expect("an output");
    for (found, expected) in found.iter().zip(affine("head", &end, 0.0)) {
        assert!((found - expected).abs() < 1e-12, "{found} is not {expected}, by the numbers of the file");
    }

    // The layout says the same, and the moments are split likewise.
    for tensor in model.layout() {
        let (shape, numbers) = &tensors[&tensor.name];
        assert_eq!((shape, &numbers[..]), (&tensor.shape, &trainer.parameters()[tensor.range()]), "{}", tensor.name);
        for moment in ["first", "second"] {
            let (shape, numbers) = &tensors[&format!("optimizer.{moment}.{}", tensor.name)];
            assert_eq!(shape, &tensor.shape, "{moment} moments of {}", tensor.name);
            assert!(numbers.iter().any(|m| *m != 0.0), "{moment} moments of {} have seen gradients", tensor.name);
        }
    }
    assert_eq!(tensors.len(), 3 * model.layout().len(), "nothing else is in the file");
    let count: usize = model.layout().iter().map(|tensor| tensor.range().len()).sum();
    assert_eq!(count, model.parameter_count(), "every parameter has a name");
    let noisy = Problem::sde(Mlp::new([2, 2]), Diffusion::ito(Mlp::new([2, 3, 2])), 0.0, 1.0);
    let names = NeuralDe::new(noisy, SolverOptions::sde(Tolerances::both(0.1))).layout();
    let places: Vec<_> = names.iter().map(|tensor| (tensor.name.as_str(), tensor.offset)).collect();
    assert_eq!(places[..3], [("field.0.weight", 0), ("field.0.bias", 4), ("diffusion.0.weight", 6)]);
    assert_eq!(places[3..], [("diffusion.0.bias", 12), ("diffusion.1.weight", 15), ("diffusion.1.bias", 21)]);
}

/// What the first version wrote beside three flat tensors.
const FIRST_ENTRY: &str = r#"{"format":1,"version":"0.1.0","scalar":"f64","steps":7,"optimizer_steps":5,"config":{"model":{"problem":{
"field":{"sizes":[2,2],"activation":"tanh","time_input":"every","input_map":"identity","initialization":"glorot_uniform"},
"t0":0.0,"t1":1.0},"options":{"method":"tsit5","step_control":{"adaptive":{"tolerances":{"atol":0.00001,"rtol":0.00001},
"controller":{"beta":[0.7,-0.4,0.0],"beta_reject":0.7,"safety":0.9,"min_factor":0.2,"max_factor":10.0,
"error_floor":0.0001,"initial_error":0.0001},"initial_step":"automatic"}},"layout":"lockstep","save_at":"end",
"adjoint":{"discrete":{"checkpoints":"every_step"}},"max_steps":10000,"memory_limit":null,"path_cells":null},
"encoder":null,"head":null},"loss":"mse","optimizer":{"rule":{"adam":{"beta1":0.9,"beta2":0.999,"epsilon":1e-8}},
"learning_rate":{"constant":0.001},"clip":null},"regularizer":"none","seed":0,"failure":"abort"},
"metadata":{"epoch":"3"}}"#;

#[test]
fn files_of_the_first_version_still_load() {
    let numbers = |scale: f64| (0..8).map(|i| scale * f64::from(i + 1)).collect::<Vec<_>>();
    let flat = |scale: f64| (vec![8], numbers(scale));
    let tensors = [("theta", 0.1), ("moment1", 1e-3), ("moment2", 1e-4)];
    let tensors = tensors.map(|(name, scale)| (name.to_owned(), flat(scale)));
    let directory = tempfile::tempdir().expect("a directory");
    let [old, new] = ["old", "new"].map(|name| directory.path().join(name));
    write_parts(&old, &(FIRST_ENTRY.to_owned(), BTreeMap::from(tensors)));
    let (mut trainer, metadata) = Trainer::<f64>::resume(&cpu(), &old).expect("an old file");
    assert_eq!((trainer.steps(), metadata["epoch"].as_str()), (7, "3"));
    assert_eq!(trainer.parameters(), numbers(0.1));
    trainer.save(&new, &metadata).expect("a checkpoint");
    let (_, tensors) = read_parts(&new);
    assert_eq!(tensors["optimizer.second.field.0.time"].1, numbers(1e-4)[4..6], "x, then t, then 1: rows of a block");

    let (mut again, _) = Trainer::<f64>::resume(&cpu(), &new).expect("its successor");
    let batch = Batch { inputs: &[0.5, -0.5], target: Target::States(&[0.1, 0.2]) };
    let steps = [&mut trainer, &mut again].map(|trainer| trainer.step(&batch).expect("a step"));
    assert_eq!(steps[0], steps[1]);
    assert_eq!(trainer.parameters(), again.parameters(), "both go on to the same bits");
    // Update 6 of Adam: m = 0.9 m + 0.1 g and v = 0.999 v + 0.001 g^2 are corrected by 1 - 0.9^6 and 1 - 0.999^6.
    let gradient = { Trainer::<f64>::resume(&cpu(), &old).expect("an old file").0.gradients(&batch) };
    let g = gradient.expect("a gradient").gradient[0];
    let m = (0.9 * 1e-3 + 0.1 * g) / (1.0 - 0.9f64.powi(6));
    let v = (0.999 * 1e-4 + 0.001 * g * g) / (1.0 - 0.999f64.powi(6));
    let expected = 0.1 - 1e-3 * m / (v.sqrt() + 1e-8);
    assert!((trainer.parameters()[0] - expected).abs() < 1e-15, "{} is not {expected}", trainer.parameters()[0]);
}

#[test]
fn weights_alone_are_evaluated_and_trained_on() {
    let (inputs, labels) = points(40);
    let inputs: Vec<f64> = inputs.into_iter().map(f64::from).collect();
    let batch = Batch { inputs: &inputs, target: Target::Labels(&labels) };
    let mut trainer = Trainer::<f64>::new(&cpu(), classifier(Local::unbiased())).expect("a valid model");
    for _ in 0..5 {
        trainer.step(&batch).expect("a step");
    }
    let directory = tempfile::tempdir().expect("a directory");
    let [whole, light, stripped] = ["whole", "light", "stripped"].map(|name| directory.path().join(name));
    trainer.save(&whole, &BTreeMap::new()).expect("a checkpoint");
    trainer.save_weights(&light, &BTreeMap::new()).expect("weights");
    // As a script may do that keeps the metadata.
    let (entry, mut tensors) = read_parts(&whole);
    tensors.retain(|name, _| !name.starts_with("optimizer."));
    write_parts(&stripped, &(entry, tensors.clone()));
    assert_eq!(read_parts(&light).1, tensors, "the same tensors");

    let judged = trainer.evaluate(&batch).expect("evaluates");
    let mut expected: Option<Vec<f64>> = None;
    for path in [&light, &stripped] {
        let (mut tuned, _) = Trainer::<f64>::resume(&cpu(), path).expect("weights alone");
        assert_eq!((tuned.steps(), tuned.parameters()), (5, trainer.parameters()));
        assert_eq!(tuned.evaluate(&batch).expect("evaluates"), judged);
        let g = tuned.gradients(&batch).expect("a gradient").gradient;
        let before = tuned.parameters().to_vec();
        tuned.step(&batch).expect("a step");
        // The first update of a new Adam is a g / (|g| + epsilon).
        for ((after, before), g) in tuned.parameters().iter().zip(before).zip(g) {
            let step = 1e-2 * g / (g.abs() + 1e-8);
            assert!((after - (before - step)).abs() < 1e-12, "{after} is not {}", before - step);
        }
        let after = tuned.parameters().to_vec();
        assert_eq!(expected.get_or_insert_with(|| after.clone()), &after, "both ways to the same bits");
    }
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("checkpoint.safetensors");
    let trainer = Trainer::<f64>::new(&cpu(), classifier(Regularizer::None)).expect("a valid model");
    trainer.save(&path, &BTreeMap::new()).expect("a checkpoint");
    let (entry, good) = read_parts(&path);
    let refused = |name: &str, edit: &dyn Fn(&mut Tensors)| {
        let mut tensors = good.clone();
        edit(&mut tensors);
        write_parts(&path, &(entry.clone(), tensors));
        let error = Trainer::<f64>::resume(&cpu(), &path).expect_err(name);
        assert!(matches!(error, Error::Checkpoint { .. }), "{name}: {error}");
        assert!(error.to_string().contains(name), "{name} in: {error}");
    };
    refused("field.1.weight", &|tensors| drop(tensors.remove("field.1.weight")));
    refused("optimizer.first.head.bias", &|tensors| drop(tensors.remove("optimizer.first.head.bias")));
    refused("encoder.weight is [4, 6]", &|tensors| tensors.get_mut("encoder.weight").expect("there").0.reverse());
    refused("field.2.bias", &|tensors| drop(tensors.insert("field.2.bias".into(), (vec![1], vec![0.0]))));
    refused("head.bias[1]", &|tensors| tensors.get_mut("head.bias").expect("there").1[1] = f64::INFINITY);
}

#[test]
fn damaged_checkpoints_are_refused_and_the_old_file_survives_a_failed_write() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("checkpoint.safetensors");
    let trainer = Trainer::<f32>::new(&cpu(), classifier(Regularizer::None)).expect("a valid model");
    trainer.save(&path, &BTreeMap::new()).expect("a checkpoint");
    let good = std::fs::read(&path).expect("the file");
    for (name, bytes) in [
        ("empty", Vec::new()),
        ("truncated", good[..good.len() - 100].to_vec()),
        ("header cut", good[..50].to_vec()),
        ("not ours", b"hello, world, this is no checkpoint".to_vec()),
        ("nan inside", {
            let mut bytes = good.clone();
            let at = bytes.len() - 4;
            bytes[at..].copy_from_slice(&f32::NAN.to_le_bytes());
            bytes
        }),
    ] {
        let damaged = directory.path().join("damaged.safetensors");
        std::fs::write(&damaged, bytes).expect("a file");
        let error = Trainer::<f32>::resume(&cpu(), &damaged).expect_err(name);
        assert!(matches!(error, Error::Checkpoint { .. }), "{name}: {error}");
    }
    let error = Trainer::<f64>::resume(&cpu(), &path).expect_err("the wrong scalar");
    assert!(error.to_string().contains("f32"), "names the scalar: {error}");
    let missing = Trainer::<f32>::resume(&cpu(), &directory.path().join("none")).expect_err("no such file");
    assert!(matches!(missing, Error::Io { .. }), "{missing}");
    let unwritable = path.join("below-a-file.safetensors");
    assert!(matches!(trainer.save(&unwritable, &BTreeMap::new()), Err(Error::Io { .. })), "not a directory");
    assert_eq!(std::fs::read(&path).expect("the file"), good, "the checkpoint is as it was");
}

#[test]
fn sizes_in_a_checkpoint_are_checked_before_they_are_used() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("checkpoint.safetensors");
    let config = classifier(Local::unbiased());
    let mut trainer = Trainer::<f32>::new(&cpu(), config).expect("a valid model");
    trainer.save(&path, &BTreeMap::new()).expect("a checkpoint");
    let good = std::fs::read(&path).expect("the file");
    let resume = |bytes: &[u8]| {
        std::fs::write(&path, bytes).expect("a file");
        Trainer::<f32>::resume(&cpu(), &path)
    };
    let wide = |n: u64| format!("[4,{n},4]");
    let encoder = |n: u64| format!("\\\"encoder\\\":{n}");
    let head = |n: u64| format!("\\\"head\\\":{n}");
    let mut cases = Vec::new();
    for n in [0, 13, 1_000_000_000, 1 << 62, u64::MAX] {
        cases.extend([(wide(12), wide(n)), (encoder(6), encoder(n)), (head(3), head(n))]);
    }
    let times = |n: u64| format!("\\\"times\\\":{n}");
    let steps = |n: u64| format!("\\\"steps\\\":{n},\\\"optimizer_steps\\\":{n}");
    cases.extend([0, 65, u64::MAX].map(|n| (times(1), times(n))));
    cases.extend([1 << 53, u64::MAX].map(|n| (steps(0), steps(n))));
    for (from, to) in cases {
        let error = resume(&forged(&good, &from, &to)).expect_err(&to);
        assert!(matches!(error, Error::Checkpoint { .. } | Error::Argument { .. }), "{to}: {error}");
    }
    // What only bounds a solve is no size: a stride is a segment of what steps there are.
    let stride = format!("{{\\\"stride\\\":{}}}", u64::MAX);
    let strided = resume(&forged(&good, "\\\"every_step\\\"", &stride)).expect("a valid configuration");
    let (inputs, labels) = points(40);
    let batch = Batch { inputs: &inputs, target: Target::Labels(&labels) };
    let [expected, found] = [&mut trainer, &mut { strided }.0].map(|t| t.gradients(&batch).expect("a gradient"));
    assert_eq!(found, expected, "the same bits");
}
