//! Bad input, trajectories that fail, and updates that diverge.

use std::collections::BTreeMap;

use super::{classifier, cpu, measured, points};
use fewsteps::{
    Batch, Cpu, Error, Evaluation, FailurePolicy, Layout, Local, Loss, Mlp, NeuralDe, Optimizer, Problem, Regularizer,
    SaveAt, SolverOptions, StepReport, Target, Tolerances, Trainer, TrainerConfig,
};

#[test]
fn bad_batches_are_named() {
    let (inputs, labels) = points(8);
    let mut trainer = Trainer::<f32>::new(&cpu(), classifier(Regularizer::None)).expect("a valid model");
    let theta = trainer.parameters().to_vec();
    let mut nan = inputs.clone();
    nan[13] = f32::NAN;
    let cases: [(&[f32], Target<'_, f32>, &str); 7] = [
        (&[], Target::Labels(&[]), "Batch::inputs"),
        (&inputs[..7], Target::Labels(&labels), "Batch::inputs"),
        (&nan, Target::Labels(&labels), "Batch::inputs[13]"),
        (&inputs, Target::Labels(&labels[..7]), "Target::Labels"),
        (&inputs, Target::Labels(&[0, 1, 2, 3, 0, 0, 0, 0]), "sample 3"),
        (&inputs, Target::States(&[0.0; 24]), "Target::States"),
        (&inputs, Target::States(&[f32::INFINITY; 24]), "Target::States"),
    ];
    for (inputs, target, name) in cases {
        let error = trainer.step(&Batch { inputs, target }).expect_err(name);
        assert!(error.to_string().contains(name), "{error} should name {name}");
    }
    assert_eq!((trainer.steps(), trainer.parameters()), (0, &theta[..]), "nothing was changed");
}

#[test]
fn absurd_sizes_of_a_model_are_refused() {
    let model = classifier(Regularizer::None).model;
    for n in [1_000_000_000, 1 << 62, usize::MAX] {
        for (name, model) in [("encoder", model.clone().encoder(n)), ("head", model.clone().head(n))] {
            assert!(model.parameter_count() >= n, "{name}({n}): it does not wrap");
            assert!(model.initialize::<f32>(0).is_empty(), "{name}({n}): there is nothing to draw");
            let error = Trainer::<f32>::new(&cpu(), TrainerConfig::new(model, Loss::Mse)).expect_err("too many");
            let message = error.to_string();
            assert!(message.contains(name) && message.contains(&n.to_string()), "it names {name} and {n}: {message}");
        }
    }
    let trainer = Trainer::<f64>::new(&cpu(), classifier(Local::unbiased())).expect("a valid model");
    assert_eq!(trainer.workspace(usize::MAX, usize::MAX).total(), usize::MAX, "it does not wrap");
    assert!(trainer.workspace(100_000_000, 100).total() > 100_000_000 * 4 * 8, "more than the states");
}

#[test]
fn tolerances_beyond_f32_are_refused_there() {
    let model = |tolerances| {
        let options = SolverOptions::default().tolerances(tolerances);
        NeuralDe::new(Problem::ode(Mlp::new([2, 2]), 0.0, 1.0), options)
    };
    for tolerances in [Tolerances { rtol: 1e39, ..Tolerances::both(1.0) }, Tolerances::both(f64::MAX)] {
        let error = model(tolerances).validate::<f32>().expect_err("infinite at f32").to_string();
        assert!(error.contains("Tolerances::") && error.contains("f32"), "{error}");
        model(tolerances).validate::<f64>().expect("finite at f64");
    }
}

/// A field that one sample of the batch drives over a pole.
fn explosive(failure: FailurePolicy, layout: Layout) -> Trainer<f32> {
    let field = Mlp::new([1, 1]).input_map(fewsteps::InputMap::Cube);
    let options = SolverOptions::default().layout(layout).max_steps(400);
    let model = NeuralDe::new(Problem::ode(field, 0.0, 1.0), options);
    let config = TrainerConfig::new(model, Loss::Mse).failure(failure).optimizer(Optimizer::sgd(1e-2));
    let mut trainer = Trainer::new(&cpu(), config).expect("a valid model");
    trainer.set_parameters(&[1.0, 0.0]).expect("y' = y^3");
    trainer
}

#[test]
fn failing_trajectories_abort_or_are_left_out() {
    let good = [0.1f32, 0.2, -0.3];
    let bad = [0.1f32, 0.2, 1e12, -0.3];
    let target = [0.0f32; 4];
    for layout in [Layout::Lockstep, Layout::Ensemble] {
        let mut trainer = explosive(FailurePolicy::Abort, layout);
        let error = trainer.step(&Batch { inputs: &bad, target: Target::States(&target) }).expect_err("aborts");
        assert!(matches!(error, Error::Trajectory { failed: 1, batch: 4, index: 2, .. }), "{layout:?}: {error}");
        assert_eq!(trainer.parameters(), [1.0, 0.0], "{layout:?}: an aborted step changes nothing");

        let mut skipping = explosive(FailurePolicy::Skip, layout);
        let with = skipping.gradients(&Batch { inputs: &bad, target: Target::States(&target) }).expect("skips");
        let without =
            skipping.gradients(&Batch { inputs: &good, target: Target::States(&target[..3]) }).expect("a gradient");
        assert_eq!(with.report.failed, 1, "{layout:?}: counted");
        for (a, b) in with.gradient.iter().zip(&without.gradient) {
            assert!((a - b).abs() <= 1e-4 * b.abs().max(1e-3), "{layout:?}: {a} with the failing one, {b} without");
        }
        let report = skipping
            .step(&Batch { inputs: &[1e12, 1e12], target: Target::States(&[0.0, 0.0]) })
            .expect("a batch of failures is skipped");
        assert!(report.skipped && report.failed == 2, "{layout:?}: {report:?}");
        assert_eq!(skipping.parameters(), [1.0, 0.0], "{layout:?}: and changes nothing");
    }
}

/// `y' = y^3` from `y0` at time `t`, before its pole at `1 / (2 y0^2)`.
fn cubic(y0: f64, t: f64) -> f64 {
    y0 / (1.0 - 2.0 * y0 * y0 * t).sqrt()
}

/// A mean over what is left, and over nothing NaN: 0 would be a perfect loss.
#[test]
fn losses_and_penalties_are_of_what_is_left() {
    let field = Mlp::new([1, 1]).input_map(fewsteps::InputMap::Cube);
    let config = |loss: Loss, layout: Layout, max_steps: usize, save_at: SaveAt| {
        let options = SolverOptions::default().layout(layout).tolerances(Tolerances::both(1e-8));
        let model = NeuralDe::new(Problem::ode(field.clone(), 0.0, 1.0), options.max_steps(max_steps).save_at(save_at));
        let local = Local::unbiased().fraction(1.0).coefficient(1e-3);
        TrainerConfig::new(model, loss).failure(FailurePolicy::Skip).regularizer(local)
    };
    let near = |found: f64, expected: f64, name: &str| {
        assert!((found - expected).abs() <= 1e-6 * expected.abs(), "{name}: {found}, not {expected}");
    };
    for layout in [Layout::Lockstep, Layout::Ensemble] {
        let mse = config(Loss::Mse, layout, 2000, SaveAt::End);
        let none = Target::States(&[0.0; 40][..3]);
        let (evaluation, report) = measured(&mse, &[1e120, f64::MAX, -1e120], none);
        let name = format!("{layout:?}: {evaluation:?}, {report:?}");
        assert!(report.loss.is_nan() && report.penalty.is_nan() && report.skipped, "nothing is left: {name}");
        assert_eq!((evaluation.failed, evaluation.count, report.gradient_norm), (3, 3, 0.0), "{name}");

        let mut mae = mse.clone();
        mae.loss = Loss::Mae;
        let (evaluation, report) = measured(&mae, &[0.5, 1e120, -0.6, 1e120], Target::States(&[0.0; 4]));
        near(evaluation.loss, (cubic(0.5, 1.0) + cubic(0.6, 1.0)) / 2.0, "a mean over two of four");
        assert!(report.penalty > 0.0 && !report.skipped && report.failed == 2, "{report:?}");

        // All stop at the bound on attempts, with finite states.
        let one = config(Loss::Mse, layout, 1, SaveAt::End);
        let (_, report) = measured(&one, &[0.5, 0.6], Target::States(&[0.0; 2]));
        assert!(report.loss.is_nan() && report.penalty.is_nan() && report.skipped && report.failed == 2, "{report:?}");

        // A mean over the tile that is penalised, which is the first of two, all of whose trajectories fail.
        let half = mse.regularizer(Local::unbiased().fraction(0.5));
        let (_, report) = measured(&half, &[[1e120; 32].as_slice(), &[0.5; 8]].concat(), Target::States(&[0.0; 40]));
        near(report.loss, cubic(0.5, 1.0).powi(2), "eight of forty");
        assert!(report.penalty.is_nan() && !report.skipped && report.failed == 32, "{report:?}");

        let moments = config(Loss::Moments, layout, 2000, SaveAt::Times(vec![0.25, 1.0]));
        let target = Target::Moments { means: &[0.1, 0.2], variances: &[0.3, 0.4] };
        for survivors in 0..3 {
            let inputs = [[0.5, 0.6][..survivors].to_vec(), vec![1e120; 3 - survivors]].concat();
            let (_, report) = measured(&moments, &inputs, target);
            let name = format!("{layout:?}, {survivors} paths left: {report:?}");
            assert_eq!((report.failed, report.skipped), (3 - survivors, survivors < 2), "{name}");
            if survivors < 2 {
                assert!(report.loss.is_nan() && report.gradient_norm.is_finite(), "no variance: {name}");
                continue;
            }
            let at = |t: f64, [mean, variance]: [f64; 2]| {
                let (a, b) = (cubic(0.5, t), cubic(0.6, t));
                ((a + b) / 2.0 - mean).powi(2) + ((a - b).powi(2) / 2.0 - variance).powi(2)
            };
            near(report.loss, (at(0.25, [0.1, 0.3]) + at(1.0, [0.2, 0.4])) / 2.0, &name);
        }
    }
}

/// Fewer trajectories than a loss takes have outputs all the same.
#[test]
fn predictions_need_no_loss() {
    let options = SolverOptions::default().tolerances(Tolerances::both(1e-8));
    for layout in [Layout::Lockstep, Layout::Ensemble] {
        let problem = Problem::ode(Mlp::new([2, 8, 2]), 0.0, 1.0);
        let model = NeuralDe::new(problem, options.clone().layout(layout)).head(3);
        let mut trainer =
            Trainer::<f64>::new(&Cpu::with_threads(1).expect("a thread"), TrainerConfig::new(model, Loss::Moments))
                .expect("a valid model");
        let inputs = [0.4, -0.3, 0.1, 0.7];
        let both = trainer.predict(&inputs).expect("two trajectories");
        let one = trainer.predict(&inputs[..2]).expect("one trajectory");
        let apart = one.iter().zip(&both[..3]).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(apart < 1e-6, "{layout:?}: {one:?} alone, {both:?} together");
    }
}

/// A trajectory that fails after the last saved time has failed, in an evaluation of mean outputs too.
#[test]
fn mean_outputs_are_of_what_is_left() {
    let field = Mlp::new([1, 1]).input_map(fewsteps::InputMap::Cube);
    let options = SolverOptions::default().tolerances(Tolerances::both(1e-8)).save_at(SaveAt::Times(vec![0.1, 0.3]));
    for (loss, layout) in [(Loss::Mse, Layout::Lockstep), (Loss::Mae, Layout::Ensemble)] {
        let model = NeuralDe::new(Problem::ode(field.clone(), 0.0, 1.0), options.clone().layout(layout));
        let config = TrainerConfig::new(model, loss).failure(FailurePolicy::Skip);
        let mut trainer = Trainer::<f64>::new(&cpu(), config).expect("a valid model");
        trainer.set_parameters(&[1.0, 0.0]).expect("y' = y^3");
        for (inputs, failed) in [(vec![0.5, 1.0, 0.6], 1), (vec![1.0, 1e120], 2)] {
            let states = vec![0.0; 2 * inputs.len()];
            let batch = Batch { inputs: &inputs, target: Target::States(&states) };
            let found = trainer.evaluate_mean(&batch, 3).expect("failures are counted");
            let plain = trainer.evaluate(&batch).expect("failures are counted");
            assert_eq!((found.failed, plain.failed, found.count), (failed, failed, inputs.len()), "{found:?}");
            if failed == inputs.len() {
                assert!(found.loss.is_nan() && plain.loss.is_nan(), "{found:?}");
                continue;
            }
            let size = |y: f64| if loss == Loss::Mse { y * y } else { y };
            let expected = [(0.5, 0.1), (0.6, 0.1), (0.5, 0.3), (0.6, 0.3)].map(|(y, t)| size(cubic(y, t)));
            let expected = expected.iter().sum::<f64>() / 4.0;
            assert!((found.loss - expected).abs() < 1e-6, "{} not {expected}", found.loss);
            assert!((plain.loss - expected).abs() < 1e-6, "{} not {expected}", plain.loss);
        }
    }
}

/// Reports survive JSON, which has no NaN.
#[test]
fn reports_without_a_loss_can_be_written_down() {
    let mut report = StepReport::default();
    (report.loss, report.penalty, report.gradient_norm) = (f64::NAN, f64::INFINITY, 0.1 + 0.2);
    let text = serde_json::to_string(&report).expect("plain data");
    let back: StepReport = serde_json::from_str(&text).expect("what was written");
    assert!(back.loss.is_nan() && back.penalty == f64::INFINITY, "{text}");
    assert_eq!(back.gradient_norm, report.gradient_norm, "to the bit");
    assert!(text.contains(r#""loss":"NaN","penalty":"inf""#), "the form of records: {text}");
    let old: StepReport = serde_json::from_str(&text.replace(r#""NaN""#, "null")).expect("an earlier version's");
    assert!(old.loss.is_nan(), "null is NaN");
    serde_json::from_str::<StepReport>(&text.replace("inf", "much")).expect_err("no number");
    let mut evaluation = Evaluation::default();
    (evaluation.loss, evaluation.correct) = (f64::NAN, 0);
    let text = serde_json::to_string(&evaluation).expect("plain data");
    assert!(serde_json::from_str::<Evaluation>(&text).expect("what was written").loss.is_nan(), "{text}");
}

#[test]
fn a_learning_rate_that_diverges_is_named_and_nothing_of_it_is_kept() {
    let (inputs, labels) = points(32);
    let batch = Batch { inputs: &inputs, target: Target::Labels(&labels) };
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("last.safetensors");
    // A rate beyond f32; a few steps of momentum; two steps of Adam, each of the rate.
    for optimizer in [Optimizer::sgd(1e39), Optimizer::momentum(1e38, 0.9), Optimizer::adam(3e38)] {
        let name = format!("{:?}", optimizer.rule);
        let config = classifier(Regularizer::None).optimizer(optimizer.clone());
        let run = |failure: FailurePolicy| {
            let mut trainer = Trainer::<f32>::new(&cpu(), config.clone().failure(failure)).expect("a valid model");
            let reports: Vec<_> = (0..20).map(|_| trainer.step(&batch)).collect();
            trainer.save(&path, &BTreeMap::new()).expect("what is saved is finite");
            let (resumed, _) = Trainer::<f32>::resume(&cpu(), &path).expect("and comes back");
            assert_eq!(resumed.parameters(), trainer.parameters(), "{name}: to the bit");
            assert_eq!(resumed.steps(), reports.iter().flatten().count() as u64, "{name}: steps that were made");
            reports
        };
        let error = run(FailurePolicy::Abort).into_iter().find_map(Result::err).expect("training breaks");
        let named = ["learning rate", "step"].iter().all(|words| error.to_string().contains(words));
        assert!(named && matches!(error, Error::Diverged { .. } | Error::Trajectory { .. }), "{name}: {error}");
        if let Error::Diverged { learning_rate, step, .. } = error {
            assert_eq!((learning_rate, step <= 20), (optimizer.learning_rate.value(0), true), "{name}");
        }
        let skipped = run(FailurePolicy::Skip).into_iter().filter(|r| r.as_ref().is_ok_and(|r| r.skipped)).count();
        assert!(skipped > 0, "{name}: updates are left out, and counted");
    }
}
