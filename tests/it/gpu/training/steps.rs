//! Curves of training: every optimizer, data sets, weights at 16 bits, curricula, what steps teach.

use std::collections::BTreeMap;

use super::{DIM, INPUTS, lively, model, samples};
use crate::oracle::{LAYOUTS, close, cpu, gpu, warnings_of, widen};
use fewsteps::{
    Batch, Budget, Controller, Deployed, Error, FailurePolicy, Global, GpuSolver, GpuTrainer, InitialStep, Layout,
    Learnt, Local, Loss, Method, Mlp, NeuralDe, Optimizer, PenaltyAt, PenaltyStep, Pointwise, Problem, Regularizer,
    SolverOptions, StepControl, Target, TimeInput, Tolerances, Trainer, TrainerConfig,
};

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
    other.model.encoder = Some((INPUTS + 1).into());
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
            model.problem.field = Mlp::new([width, 6, width]).time_input(TimeInput::Every).into();
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

/// What was recorded with weights at 32 bits is not gone on with.
#[test]
fn weights_at_16_bits_are_those_of_a_trainer_that_has_stepped_too() {
    let Some(gpu) = gpu() else { return };
    let samples = samples(33);
    for layout in LAYOUTS {
        let config = TrainerConfig::new(model(layout, Method::Tsit5), Loss::CrossEntropy);
        let open = || GpuTrainer::new(&gpu, config.clone()).expect("a valid configuration");
        let gradient = |trainer: &mut GpuTrainer| {
            gpu.block_on(trainer.gradients(&samples.batch())).expect("a valid batch").gradient
        };
        let mut fresh = match open().half_weights() {
            Ok(trainer) => trainer,
            Err(error) => {
                assert!(!gpu.adapter().f16, "{error}, on an adapter that has them");
                return;
            }
        };
        let mut used = open();
        let before = gradient(&mut used);
        let mut used = used.half_weights().expect("as the fresh one");
        let expected = gradient(&mut fresh);
        assert_ne!(before, expected, "{layout:?}: rounded weights have another gradient");
        assert_eq!(gradient(&mut used), expected, "{layout:?}");
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
        wider.model.problem.field = Mlp::new([DIM, 7, DIM]).time_input(TimeInput::Every).into();
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

/// First steps, ideal probes and a budget, on the device as on the native engine: before the budget's warm-up is over,
/// after it, and where it is asked what the coefficient's growth has brought.
#[test]
fn training_steps_teach_what_they_teach_on_the_native_engine() {
    let Some(gpu) = gpu() else { return };
    let samples = samples(70);
    let mut given_up = 0;
    let budget = Budget::nfe(11.0);
    let local =
        |at| -> Regularizer { Local::unbiased().at(at).step(PenaltyStep::Ideal).fraction(1.0).budget(budget).into() };
    // Several that follow keep the ratio of the coefficients that they began with.
    let mut jacobian = Pointwise::jacobian().coefficient(0.03);
    jacobian.budget = Some(budget);
    let all = [
        local(PenaltyAt::Unbiased),
        local(PenaltyAt::Biased),
        Global::step_count().budget(budget).into(),
        Regularizer::from(Pointwise::kinetic().budget(budget)).and(jacobian),
        Pointwise::jacobian().quadrature().budget(budget).into(),
    ];
    for (layout, regularizer) in LAYOUTS.into_iter().flat_map(|l| all.clone().map(|r| (l, r))) {
        let mut model = model(layout, Method::Bosh3);
        model.options = model.options.step_control(StepControl::Adaptive {
            tolerances: Tolerances::both(1e-3),
            controller: Controller::I.prompt(),
            initial_step: InitialStep::Carried,
        });
        let probes = regularizer.local().is_some();
        let config = TrainerConfig::new(model, Loss::CrossEntropy).regularizer(regularizer.clone()).seed(3);
        let mut device = GpuTrainer::new(&gpu, config.clone()).expect("a valid configuration");
        let mut native = Trainer::<f32>::new(&cpu(1), config).expect("a valid configuration");
        let theta = lively(native.parameters());
        device.set_parameters(&theta).expect("parameters of the same model");
        native.set_parameters(&theta).expect("parameters of the same model");
        let mut begun = Learnt::default();
        begun.first = Some(-4.0);
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
            let name = format!("{layout:?} {regularizer:?}, step {step}");
            assert_eq!((found.nfe, found.accepted), (expected.nfe, expected.accepted), "{name}");
            let near = |what: &str, a: f64, b: f64| {
                assert!((a - b).abs() <= 2e-3 * b.abs().max(1e-3), "{name}: {what} {a} for {b}");
            };
            near("penalty", found.penalty, expected.penalty);
            near("coefficient", found.coefficient, expected.coefficient);
            let [a, b] = [&found, &expected].map(|r| r.pointwise.iter().map(|p| p.coefficient).collect::<Vec<_>>());
            assert_eq!((a.len(), found.global_coefficient.is_some()), (b.len(), expected.global_coefficient.is_some()));
            a.iter().zip(&b).for_each(|(a, b)| near("a measure's coefficient", *a, *b));
            near(
                "that of all steps",
                found.global_coefficient.unwrap_or(0.0),
                expected.global_coefficient.unwrap_or(0.0),
            );
            near("ideal steps", found.ideal_steps.expect("some"), expected.ideal_steps.expect("some"));
            assert_eq!(found.budget_unreachable, expected.budget_unreachable, "{name}");
            let [a, b] = [gpu.block_on(device.learnt()).expect("read"), native.learnt()];
            near("first step", a.first.expect("known"), b.first.expect("known"));
            assert_eq!((a.ideal.is_some(), b.ideal.is_some()), (probes, probes), "{name}");
            near("ideal", a.ideal.unwrap_or(0.0), b.ideal.unwrap_or(0.0));
            near("mean NFE", a.budget.nfe, b.budget.nfe);
            near("the next coefficient", a.budget.coefficient, b.budget.coefficient);
            assert_eq!((a.budget.steps, a.budget.unreachable), (b.budget.steps, b.budget.unreachable), "{name}");
        }
        given_up += usize::from(native.learnt().budget.unreachable);
        let [found, expected] =
            [gpu.block_on(device.evaluate(&samples.batch())), native.evaluate(&samples.batch())].map(Result::unwrap);
        assert_eq!((found.nfe, found.correct), (expected.nfe, expected.correct), "{layout:?} {regularizer:?}");
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
