//! Failures within a training step.

use std::collections::BTreeMap;

use super::{blow_up, none};
use crate::oracle::{LAYOUTS, bits, close, cpu, fixed, gpu, widen};
use fewsteps::{
    Batch, Error, FailurePolicy, GpuSolver, GpuTrainer, Gradients, Layout, Local, Loss, Method, Mlp, NeuralDe,
    Optimizer, Problem, SaveAt, Solver, SolverOptions, Target, Tolerances, Trainer, TrainerConfig,
};

fn explosive(failure: FailurePolicy, layout: Layout) -> TrainerConfig {
    let (problem, _) = blow_up();
    let options = SolverOptions::default().layout(layout).max_steps(400).tolerances(Tolerances::both(1e-4));
    TrainerConfig::new(NeuralDe::new(problem, options), Loss::Mse).failure(failure).optimizer(Optimizer::adam(1e-2))
}

#[test]
fn failing_trajectories_abort_or_are_left_out() {
    let Some(gpu) = gpu() else { return };
    let good = [0.1f32, 0.2, -0.3];
    let bad = [0.1f32, 0.2, 1e12, -0.3];
    let target = [0.0f32; 4];
    let start = [1.0, 0.0];
    for layout in LAYOUTS {
        let fine = Batch { inputs: &good, target: Target::States(&target[..3]) };
        let failing = Batch { inputs: &bad, target: Target::States(&target) };
        // The optimizer has a state to lose by then.
        let config = explosive(FailurePolicy::Abort, layout);
        let run = |abort: bool| {
            let mut trainer = GpuTrainer::new(&gpu, config.clone()).expect("a valid model");
            trainer.set_parameters(&start).expect("y' = y^3");
            gpu.block_on(trainer.step(&fine)).expect("a step");
            if abort {
                let before = gpu.block_on(trainer.parameters()).expect("a device");
                let error = gpu.block_on(trainer.step(&failing)).expect_err("aborts");
                let right = matches!(error, Error::Trajectory { failed: 1, batch: 4, index: 2, .. });
                assert!(right, "{layout:?}: {error}");
                let after = gpu.block_on(trainer.parameters()).expect("a device");
                assert_eq!(bits(&after), bits(&before), "{layout:?}: an aborted step changes nothing");
                assert_eq!(trainer.steps(), 1, "{layout:?}: nor does it count");
            }
            let reports: Vec<_> = (0..3).map(|_| gpu.block_on(trainer.step(&fine)).expect("a step")).collect();
            (reports, bits(&gpu.block_on(trainer.parameters()).expect("a device")))
        };
        assert_eq!(run(true), run(false), "{layout:?}: an aborted step leaves no trace");

        let config = explosive(FailurePolicy::Skip, layout);
        let mut device = GpuTrainer::new(&gpu, config.clone()).expect("a valid model");
        let mut native = Trainer::<f32>::new(&cpu(1), config).expect("a valid model");
        device.set_parameters(&start).expect("y' = y^3");
        native.set_parameters(&start).expect("y' = y^3");
        let with = gpu.block_on(device.gradients(&failing)).expect("skips");
        let without = gpu.block_on(device.gradients(&fine)).expect("a gradient");
        assert_eq!((with.report.failed, with.report.skipped), (1, false), "{layout:?}: counted");
        let expected = native.gradients(&failing).expect("skips");
        close(&format!("{layout:?}"), &widen(&with.gradient), &widen(&expected.gradient), 1e-3);
        close(&format!("{layout:?}: without"), &widen(&with.gradient), &widen(&without.gradient), 1e-3);
        let lost = Batch { inputs: &[1e12, 1e12], target: Target::States(&target[..2]) };
        let report = gpu.block_on(device.step(&lost)).expect("a batch of failures is skipped");
        assert!(report.skipped && report.failed == 2, "{layout:?}: {report:?}");
        assert_eq!(gpu.block_on(device.parameters()).expect("a device"), start, "{layout:?}: and changes nothing");
        assert_eq!(device.steps(), 1, "{layout:?}: a skipped step counts");
        // Adam's count of updates is what the native engine's is.
        native.step(&lost).expect("a batch of failures is skipped");
        for step in 0..3 {
            let (a, b) = (gpu.block_on(device.step(&fine)).expect("a step"), native.step(&fine).expect("a step"));
            assert!((a.loss - b.loss).abs() <= 1e-4 * b.loss, "{layout:?}, step {step}: {a:?} for {b:?}");
            let theta = gpu.block_on(device.parameters()).expect("a device");
            close(&format!("{layout:?}, step {step}"), &widen(&theta), &widen(native.parameters()), 1e-5);
        }
    }
}

/// Name, loss, saved times, attempts, inputs and targets of a batch.
type Case<'a> = (&'a str, Loss, &'a SaveAt, usize, &'a [f32], Target<'a, f32>);

/// Losses, penalties and counts over what is left are the native engine's, NaN where nothing is left.
#[test]
fn losses_and_penalties_are_of_what_is_left() {
    let Some(gpu) = gpu() else { return };
    let mut failures = Vec::new();
    let (problem, _) = blow_up();
    let (two, three) = (Target::States(&[0.1; 2]), Target::States(&[0.1; 3]));
    let mut forty = [1e30f32; 40];
    forty[32..].fill(0.5);
    let moments = Target::Moments { means: &[0.1, 0.2], variances: &[0.3, 0.4] };
    let (end, times) = (SaveAt::End, SaveAt::Times(vec![0.25, 1.0]));
    let cases: [Case<'_>; 9] = [
        ("nothing is left", Loss::Mse, &end, 400, &[1e30, 2e30, -1e30], three),
        ("one is left", Loss::Mse, &end, 400, &[1e30, 0.5, -1e30], three),
        ("two are left", Loss::Mae, &end, 400, &[0.6, 0.5, -1e30], three),
        ("attempts run out", Loss::Mse, &end, 1, &[0.5, 0.6], two),
        ("the penalised tile is lost", Loss::Mse, &end, 400, &forty, Target::States(&[0.0; 40])),
        ("no class is left", Loss::CrossEntropy, &end, 400, &[1e30, 2e30], Target::Labels(&[0, 0])),
        ("no path is left", Loss::Moments, &times, 400, &[1e30, 2e30, -1e30], moments),
        ("a path is left", Loss::Moments, &times, 400, &[1e30, 0.5, -1e30], moments),
        ("two paths are left", Loss::Moments, &times, 400, &[0.6, 0.5, -1e30], moments),
    ];
    for (layout, (name, loss, save_at, attempts, inputs, target)) in
        LAYOUTS.into_iter().flat_map(|layout| cases.map(|case| (layout, case)))
    {
        let name = format!("{layout:?}, {name}");
        let options = SolverOptions::default().layout(layout).tolerances(Tolerances::both(1e-3));
        let options = options.max_steps(attempts).save_at(save_at.clone());
        let model = NeuralDe::new(problem.clone(), options);
        let local = Local::unbiased().fraction(0.5).coefficient(1e-3);
        let config = TrainerConfig::new(model, loss).failure(FailurePolicy::Skip).regularizer(local);
        let mut device = GpuTrainer::new(&gpu, config.clone()).expect("a valid model");
        let mut native = Trainer::<f32>::new(&cpu(1), config).expect("a valid model");
        device.set_parameters(&[1.0, 0.0]).expect("y' = y^3");
        native.set_parameters(&[1.0, 0.0]).expect("y' = y^3");
        let batch = Batch { inputs, target };
        let (a, b) =
            (gpu.block_on(device.evaluate(&batch)).expect("counted"), native.evaluate(&batch).expect("counted"));
        let (c, d) = (gpu.block_on(device.gradients(&batch)).expect("skips"), native.gradients(&batch).expect("skips"));
        let (e, f) = (gpu.block_on(device.step(&batch)).expect("skips"), native.step(&batch).expect("skips"));
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-3 * b.abs() || (a.is_nan() && b.is_nan());
        for (what, device, native) in
            [("evaluation", a.loss, b.loss), ("loss", c.report.loss, d.report.loss), ("loss of a step", e.loss, f.loss)]
        {
            if !near(device, native) {
                failures.push(format!("{name}: {what} {device}, natively {native}"));
            }
        }
        // The error of a single trajectory's short step is of rounding at this precision: whether there is one is not.
        let penalties = [c.report.penalty, d.report.penalty, e.penalty, f.penalty].map(f64::is_nan);
        if penalties != [d.report.penalty.is_nan(); 4] || !(e.gradient_norm.is_finite() && f.gradient_norm.is_finite())
        {
            failures.push(format!("{name}: penalties that are NaN {penalties:?}; {e:?}, natively {f:?}"));
        }
        let counts = [(a.failed, a.correct, e.failed, e.skipped), (b.failed, b.correct, f.failed, f.skipped)];
        if counts[0] != counts[1] {
            failures.push(format!("{name}: failed, correct and skipped {:?}, natively {:?}", counts[0], counts[1]));
        }
        if !f.loss.is_nan() {
            close(&name, &widen(&c.gradient), &widen(&d.gradient), 1e-2);
        }
        let lost = name.contains("nothing") || name.contains("no ") || name.contains("a path") || attempts == 1;
        if lost != e.loss.is_nan() || lost != e.skipped {
            failures.push(format!("{name}: a step says {e:?}"));
        }
        if loss != Loss::Moments {
            let mean = gpu.block_on(device.evaluate_mean(&batch, 2)).expect("counted");
            let native = native.evaluate_mean(&batch, 2).expect("counted");
            if !near(mean.loss, native.loss) || mean.failed != native.failed {
                failures.push(format!("{name}: of mean outputs {mean:?}, natively {native:?}"));
            }
        }
    }
    none(&failures);
}

/// A penalty beside trajectories that fail is that of the others alone, to the bit. Between the engines there is rounding,
/// which a high order's error estimate over a short step is made of at `f32`; a low order's stands well above it.
#[test]
fn a_penalty_is_of_the_survivors_alone() {
    let Some(gpu) = gpu() else { return };
    let (problem, theta) = blow_up();
    let penalised = |gradients: Gradients<f32>| (gradients.penalty.to_bits(), gradients.theta);
    for layout in LAYOUTS {
        for (method, rounding) in [(Method::Heun, 2e-3), (Method::Tsit5, f64::INFINITY)] {
            for (all, left) in [([1e30f32, 0.5, -1e30], &[0.5f32][..]), ([0.6, 0.5, -1e30], &[0.6, 0.5])] {
                let name = format!("{method} {layout:?}, {left:?} of {all:?}");
                let options = SolverOptions::default().method(method).layout(layout).tolerances(Tolerances::both(1e-3));
                let regularizer = Local::unbiased().fraction(0.5).into();
                let mut device = GpuSolver::new(&gpu, &problem, &options).expect("a valid problem");
                let mut native = Solver::<f32>::new(&cpu(1), &problem, &options).expect("a valid problem");
                let mut wide = Solver::<f64>::new(&cpu(1), &problem, &options).expect("a valid problem");
                device.regularize(&regularizer, 3, 0).expect("a valid regularizer");
                native.regularize(&regularizer, 3, 0).expect("a valid regularizer");
                wide.regularize(&regularizer, 3, 0).expect("a valid regularizer");
                let mut run = |y0: &[f32]| {
                    gpu.block_on(device.solve(&theta, y0)).expect("failures are no error");
                    native.solve(&theta, y0).expect("failures are no error");
                    let bars = vec![0.0; y0.len()];
                    let found = gpu.block_on(device.gradients(&bars)).expect("a solved problem");
                    (found, native.gradients(&bars).expect("a solved problem"))
                };
                let (beside, alone) = (run(&all), run(left));
                wide.solve(&widen(&theta), &widen(left)).expect("a valid solve");
                let truth = wide.gradients(&vec![0.0; left.len()]).expect("a solved problem").penalty;
                let off = [&alone.0, &alone.1].map(|g| (g.penalty / truth - 1.0).abs());
                assert!(truth > 0.1 && off.iter().all(|off| *off < rounding), "{name}: {off:?} of {truth}");
                assert_eq!(penalised(beside.0), penalised(alone.0), "{name}: device");
                assert_eq!(penalised(beside.1), penalised(alone.1), "{name}: native engine");
            }
        }
    }
}

#[test]
fn updates_that_overflow_are_left_out_as_on_the_native_engine() {
    let Some(gpu) = gpu() else { return };
    let options = fixed(Method::Heun, 2);
    let model = NeuralDe::new(Problem::ode(Mlp::new([2, 2]), 0.0, 1.0), options);
    let inputs = [0.5f32, -0.3, 0.1, 0.9];
    let batch = Batch { inputs: &inputs, target: Target::States(&[1.0, 1.0, -1.0, 0.0]) };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("last.safetensors");
    // The first update overflows, in one parameter or in all; or the second, whose dynamics are still zero.
    let optimizers = [Optimizer::sgd(1e39), Optimizer::momentum(3e39, 0.9), Optimizer::adamw(3.4e38, 1.0)];
    for optimizer in optimizers {
        let config = TrainerConfig::new(model.clone(), Loss::Mse).optimizer(optimizer.clone());
        let name = format!("{:?}", optimizer.rule);
        let skip = config.clone().failure(FailurePolicy::Skip);
        let mut device = GpuTrainer::new(&gpu, skip.clone()).expect("a valid model");
        let mut native = Trainer::<f32>::new(&cpu(1), skip).expect("a valid model");
        let start = native.parameters().to_vec();
        for step in 1..=2 {
            let (a, b) = (gpu.block_on(device.step(&batch)).expect("skips"), native.step(&batch).expect("skips"));
            assert_eq!((a.step, a.skipped, a.failed), (b.step, b.skipped, b.failed), "{name}: {a:?} for {b:?}");
            assert!(a.skipped && a.gradient_norm.is_finite(), "{name}, step {step}: {a:?}");
            assert_eq!(gpu.block_on(device.parameters()).expect("a device"), start, "{name}: nothing moves");
        }
        // No moment has moved either, and no update counts: both files are the same, and load.
        gpu.block_on(device.save(&path, &BTreeMap::new())).expect("a checkpoint");
        let saved = std::fs::read(&path).expect("a file");
        native.save(&path, &BTreeMap::new()).expect("a checkpoint");
        assert!(saved == std::fs::read(&path).expect("a file"), "{name}: the engines save the same");
        let (resumed, _) = GpuTrainer::resume(&gpu, &path).expect("what was saved");
        assert_eq!(resumed.steps(), 2, "{name}: skipped steps count");

        let mut device = GpuTrainer::new(&gpu, config.clone()).expect("a valid model");
        let mut native = Trainer::<f32>::new(&cpu(1), config).expect("a valid model");
        for _ in 0..2 {
            let errors = [gpu.block_on(device.step(&batch)).err(), native.step(&batch).err()];
            for error in errors {
                let right = matches!(error, Some(Error::Diverged { step: 1, learning_rate, .. })
                    if learning_rate == optimizer.learning_rate.value(0));
                assert!(right, "{name}: {error:?}");
            }
        }
        assert_eq!((device.steps(), native.steps()), (0, 0), "{name}: aborted steps do not count");
        assert_eq!(gpu.block_on(device.parameters()).expect("a device"), start, "{name}: nothing moves");
    }
}

#[test]
fn what_is_not_finite_is_not_saved_over_what_is() {
    let Some(gpu) = gpu() else { return };
    let model = NeuralDe::new(Problem::ode(Mlp::new([2, 2]), 0.0, 1.0), fixed(Method::Heun, 2));
    let mut trainer = GpuTrainer::new(&gpu, TrainerConfig::new(model, Loss::Mse)).expect("a valid model");
    let batch = Batch { inputs: &[0.5, -0.3], target: Target::States(&[1.0, 1.0]) };
    gpu.block_on(trainer.step(&batch)).expect("a step");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("last.safetensors");
    gpu.block_on(trainer.save(&path, &BTreeMap::new())).expect("a checkpoint");
    let good = std::fs::read(&path).expect("a file");
    // An application writes to the parameters itself: the second of the bias.
    gpu.queue().write_buffer(trainer.theta_buffer(), 4 * 5, bytemuck::cast_slice(&[f32::NEG_INFINITY]));
    for error in [
        gpu.block_on(trainer.save(&path, &BTreeMap::new())).expect_err("infinite"),
        gpu.block_on(trainer.save_weights(&path, &BTreeMap::new())).expect_err("infinite"),
    ] {
        assert!(matches!(error, Error::Diverged { step: 1, .. }), "{error}");
        assert!(error.to_string().contains("field.0.bias[1] = -inf"), "{error}");
    }
    assert_eq!(std::fs::read(&path).expect("a file"), good, "the last good file is there");
}
