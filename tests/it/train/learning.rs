//! Learning: every optimizer, gradients taken apart from updates, curricula, penalties.

use std::collections::BTreeMap;

use super::{classifier, cpu, forged, learning, points};
use fewsteps::{
    Batch, Error, FailurePolicy, Learnt, Local, Mlp, Optimizer, PenaltyStep, Regularizer, Schedule, Target, TimeInput,
    Tolerances, Trainer,
};

#[test]
fn learns_with_every_optimizer() {
    let (inputs, labels) = points(96);
    let batch = Batch { inputs: &inputs, target: Target::Labels(&labels) };
    for optimizer in [
        Optimizer::sgd(0.3),
        Optimizer::momentum(0.05, 0.9),
        Optimizer::adam(1e-2).clip_norm(1.0),
        Optimizer::adamw(1e-2, 1e-3),
        Optimizer::adamax(2e-2),
        Optimizer::adabelief(1e-2),
        Optimizer::rmsprop(Schedule::warmup(5, Schedule::cosine(5e-3, 1e-3, 60))),
    ] {
        let config = classifier(Local::unbiased()).optimizer(optimizer.clone());
        let mut trainer = Trainer::<f32>::new(&cpu(), config).expect("a valid model");
        let before = trainer.evaluate(&batch).expect("evaluates");
        for _ in 0..60 {
            trainer.step(&batch).expect("a step");
        }
        let after = trainer.evaluate(&batch).expect("evaluates");
        assert!(after.loss < 0.5 * before.loss, "{:?}: {} -> {}", optimizer.rule, before.loss, after.loss);
        assert!(after.correct > 85, "{:?}: {} of 96 right", optimizer.rule, after.correct);
    }
}

#[test]
fn gradients_and_apply_are_a_step() {
    let (inputs, labels) = points(48);
    let batch = Batch { inputs: &inputs, target: Target::Labels(&labels) };
    let rate = Schedule::warmup(3, Schedule::cosine(2e-2, 1e-3, 10));
    for optimizer in [
        Optimizer::sgd(rate.clone()),
        Optimizer::nesterov(rate.clone(), 0.9).clip_value(0.01),
        Optimizer::adam(rate.clone()).clip_norm(0.1),
        Optimizer::adamw(rate.clone(), 0.1),
    ] {
        let config = classifier(Local::unbiased().coefficient(Schedule::exponential(1.0, 0.1, 4))).optimizer(optimizer);
        let mut whole = Trainer::<f32>::new(&cpu(), config.clone()).expect("a valid model");
        let mut halves = Trainer::<f32>::new(&cpu(), config).expect("a valid model");
        for step in 0..6 {
            let stepped = whole.step(&batch).expect("a step");
            let found = halves.gradients(&batch).expect("a gradient");
            let update = halves.apply(&found.gradient).expect("an update");
            assert_eq!(found.report, stepped, "step {step}: the norm to its last bit, too");
            assert!(update.made && update.norm == stepped.gradient_norm, "step {step}: {update:?}");
            assert_eq!(whole.parameters(), halves.parameters(), "step {step}");
        }
        assert_eq!(halves.steps(), 6, "updates are steps");
    }
}

#[test]
fn a_gradient_of_ones_own_moves_the_parameters() {
    let apply = |failure, bad: f32| {
        let config = classifier(Regularizer::None).optimizer(Optimizer::sgd(0.5).clip_norm(1.5)).failure(failure);
        let mut trainer = Trainer::<f32>::new(&cpu(), config).expect("a valid model");
        let before = trainer.parameters().to_vec();
        let mut gradient = vec![0.0; before.len()];
        gradient[7] = 3.0;
        let update = trainer.apply(&gradient).expect("an update");
        assert_eq!((update.norm, update.made), (3.0, true), "the norm is told before clipping");
        let moved = trainer.parameters().to_vec();
        // Half of the gradient's clipped norm.
        assert!((before[7] - 0.75 - moved[7]).abs() < 1e-6, "{} -> {}", before[7], moved[7]);
        assert!((0..before.len()).all(|i| i == 7 || before[i] == moved[i]), "nothing else moves");
        assert!(matches!(trainer.apply(&gradient[1..]), Err(Error::Shape { argument: "gradient", .. })), "one too few");
        gradient[9] = bad;
        let outcome = trainer.apply(&gradient);
        assert_eq!(trainer.parameters(), moved, "{bad} moves nothing");
        (outcome, trainer.steps())
    };
    for bad in [f32::NAN, f32::INFINITY] {
        let (outcome, steps) = apply(FailurePolicy::Abort, bad);
        let error = outcome.expect_err("not finite").to_string();
        assert!(error.contains("gradient[9]") && steps == 1, "after {steps} steps: {error}");
        let (outcome, steps) = apply(FailurePolicy::Skip, bad);
        assert!(!outcome.expect("a skipped update").made && steps == 2, "a skipped update is a step");
    }
}

#[test]
fn a_curriculum_goes_on_as_from_a_checkpoint() {
    let (inputs, labels) = points(48);
    let batch = Batch { inputs: &inputs, target: Target::Labels(&labels) };
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("checkpoint.safetensors");
    let rate = Schedule::warmup(8, Schedule::cosine(2e-2, 1e-3, 20));
    let mut short = classifier(Local::biased().coefficient(0.2)).optimizer(Optimizer::adam(rate));
    short.model.problem.t1 = 0.5;
    let mut trainer = Trainer::<f32>::new(&cpu(), short.clone()).expect("a valid model");
    for _ in 0..5 {
        trainer.step(&batch).expect("a step");
    }
    trainer.save(&path, &BTreeMap::new()).expect("a checkpoint");
    let saved = std::fs::read(&path).expect("the file");

    // What cannot be gone on with is refused, and changes nothing.
    let wider = {
        let mut config = short.clone();
        config.model.problem.field = Mlp::new([4, 13, 4]).time_input(TimeInput::Every).into();
        config
    };
    let error = trainer.reconfigure(wider).expect_err("other tensors").to_string();
    assert!(error.contains("field.0.weight [4, 13]") && error.contains("field.0.weight [4, 12]"), "{error}");
    let mut headless = short.clone();
    headless.model.head = None;
    let error = trainer.reconfigure(headless).expect_err("fewer tensors").to_string();
    assert!(error.contains("no more tensors") && error.contains("head.weight [4, 3]"), "{error}");
    trainer.reconfigure(short.clone().optimizer(Optimizer::adam(f64::NAN))).expect_err("no learning rate");
    trainer.save(&path, &BTreeMap::new()).expect("a checkpoint");
    assert_eq!(std::fs::read(&path).expect("the file"), saved, "the trainer is as it was");

    let mut long = short;
    long.model.problem.t1 = 1.0;
    std::fs::write(&path, forged(&saved, "\\\"t1\\\":0.5", "\\\"t1\\\":1.0")).expect("a file");
    let (mut fresh, _) = Trainer::<f32>::resume(&cpu(), &path).expect("resumes");
    assert_eq!(fresh.config(), &long, "the file says the longer horizon");
    trainer.reconfigure(long).expect("the same tensors");
    for _ in 0..5 {
        let (a, b) = (trainer.step(&batch).expect("a step"), fresh.step(&batch).expect("a step"));
        assert_eq!(a, b, "reports agree");
    }
    assert_eq!(trainer.parameters(), fresh.parameters(), "parameters agree to the bit");
    assert_eq!(trainer.steps(), 10, "steps are counted on");
}

#[test]
fn moments_are_kept_by_the_rules_that_share_them() {
    let (inputs, labels) = points(48);
    let batch = Batch { inputs: &inputs, target: Target::Labels(&labels) };
    let trained = || {
        let mut trainer = Trainer::<f32>::new(&cpu(), classifier(Regularizer::None)).expect("a valid model");
        for _ in 0..4 {
            trainer.step(&batch).expect("a step");
        }
        trainer
    };
    let step = |trainer: &mut Trainer<f32>| {
        trainer.step(&batch).expect("a step");
        trainer.parameters().to_vec()
    };
    let (mut straight, mut decayed, mut other) = (trained(), trained(), trained());
    // Without decay AdamW is Adam.
    let adamw = classifier(Regularizer::None).optimizer(Optimizer::adamw(1e-2, 0.0));
    decayed.reconfigure(adamw).expect("the same tensors");
    assert_eq!(step(&mut decayed), step(&mut straight), "the moments are kept");
    let belief = classifier(Regularizer::None).optimizer(Optimizer::adabelief(1e-2));
    let mut fresh = Trainer::<f32>::new(&cpu(), belief.clone()).expect("a valid model");
    fresh.set_parameters(other.parameters()).expect("parameters");
    other.reconfigure(belief).expect("the same tensors");
    assert_eq!(step(&mut other), step(&mut fresh), "the moments begin anew");
    assert_eq!(other.steps(), 5, "steps are counted on");
}

#[test]
fn penalties_are_apart_from_the_loss_and_off_at_evaluation() {
    let (inputs, labels) = points(64);
    let batch = Batch { inputs: &inputs, target: Target::Labels(&labels) };
    let mut vanilla = Trainer::<f32>::new(&cpu(), classifier(Regularizer::None)).expect("a valid model");
    let mut local = Trainer::<f32>::new(&cpu(), classifier(Local::unbiased().coefficient(3.0))).expect("a valid model");
    let (a, b) = (vanilla.gradients(&batch).expect("a gradient"), local.gradients(&batch).expect("a gradient"));
    assert_eq!(a.report.loss, b.report.loss, "the task's loss does not contain the penalty");
    assert_eq!((a.report.nfe, a.report.penalty), (b.report.nfe, 0.0), "an unbiased penalty leaves the solve alone");
    assert!(b.report.penalty > 0.0 && b.report.coefficient == 3.0, "the penalty is reported: {:?}", b.report);
    assert_ne!(a.gradient, b.gradient, "and is in the gradient");
    assert_eq!(vanilla.evaluate(&batch).expect("evaluates"), local.evaluate(&batch).expect("evaluates"), "evaluation");
}

#[test]
fn predictions_are_what_evaluation_judges() {
    let (inputs, labels) = points(40);
    let mut trainer = Trainer::<f32>::new(&cpu(), classifier(Regularizer::None)).expect("a valid model");
    let outputs = trainer.predict(&inputs).expect("predicts");
    assert_eq!(outputs.len(), 40 * 3, "[times][B][outputs]");
    let correct = outputs.chunks_exact(3).zip(&labels).filter(|(row, label)| {
        let best = (0..3).fold(0, |best, o| if row[o] > row[best] { o } else { best });
        best == **label as usize
    });
    let found = trainer.evaluate(&Batch { inputs: &inputs, target: Target::Labels(&labels) }).expect("evaluates");
    assert_eq!(correct.count(), found.correct, "the same classes");
    let alone = trainer.predict(&inputs[6..12]).expect("predicts");
    for (a, b) in alone.iter().zip(&outputs[3..6]) {
        assert!((a - b).abs() < 1e-3, "one trajectory, alone {a} and in the batch {b}");
    }
}

#[test]
fn regularization_lowers_nfe() {
    let (inputs, labels) = points(96);
    let batch = Batch { inputs: &inputs, target: Target::Labels(&labels) };
    let nfe = |regularizer: Regularizer| {
        let config = classifier(regularizer);
        let mut config = config.optimizer(Optimizer::adam(3e-2));
        config.model.options = config.model.options.tolerances(Tolerances::both(1e-6));
        let mut trainer = Trainer::<f32>::new(&cpu(), config).expect("a valid model");
        for _ in 0..150 {
            trainer.step(&batch).expect("a step");
        }
        let e = trainer.evaluate(&batch).expect("evaluates");
        assert!(e.correct > 90, "{} of 96 right", e.correct);
        e.nfe
    };
    let vanilla = nfe(Regularizer::None);
    for (name, local) in [("unbiased", Local::unbiased()), ("biased", Local::biased())] {
        let regularized = nfe(local.coefficient(0.3).into());
        assert!(regularized < vanilla, "{name}: {regularized} instead of {vanilla}");
    }
}

#[test]
fn gradients_and_apply_learn_as_a_step_does() {
    let (inputs, labels) = points(64);
    let batch = Batch { inputs: &inputs, target: Target::Labels(&labels) };
    let new = || Trainer::<f32>::new(&cpu(), learning(9.0)).expect("a valid configuration");
    let (mut whole, mut parts) = (new(), new());
    for _ in 0..3 {
        whole.step(&batch).expect("a step");
        let found = parts.gradients(&batch).expect("a gradient");
        let before = parts.learnt();
        // A gradient alone teaches nothing, and an evaluation between the two changes nothing.
        assert_eq!(parts.gradients(&batch).expect("a gradient").gradient, found.gradient);
        parts.evaluate(&batch).expect("an evaluation");
        assert_eq!(parts.learnt(), before);
        parts.apply(&found.gradient).expect("an update");
        assert_eq!((whole.parameters(), whole.learnt()), (parts.parameters(), parts.learnt()));
    }
}

/// The probe's own length keeps what is measured above rounding. At f32 the published controller's short steps measure
/// several times too much of smooth dynamics.
#[test]
fn ideal_probes_measure_the_same_at_f32() {
    let (inputs, labels) = points(256);
    let wide: Vec<f64> = inputs.iter().map(|&x| f64::from(x)).collect();
    for tolerance in [1e-4, 1e-5, 1e-6] {
        let measured = |step: PenaltyStep, narrow: bool| {
            let mut config = classifier(Local::unbiased().step(step).times(8).fraction(1.0));
            config.model.options = config.model.options.tolerances(Tolerances::both(tolerance));
            let mut learnt = Learnt::default();
            learnt.ideal = Some(2.0);
            if narrow {
                let mut trainer = Trainer::<f32>::new(&cpu(), config).expect("a valid configuration");
                trainer.set_learnt(learnt).expect("what solves can teach");
                trainer.gradients(&Batch { inputs: &inputs, target: Target::Labels(&labels) }).expect("one").report
            } else {
                let mut trainer = Trainer::<f64>::new(&cpu(), config.clone()).expect("a valid configuration");
                let theta: Vec<f32> = config.model.initialize(config.seed);
                trainer.set_parameters(&theta.iter().map(|&x| f64::from(x)).collect::<Vec<_>>()).expect("finite");
                trainer.set_learnt(learnt).expect("what solves can teach");
                trainer.gradients(&Batch { inputs: &wide, target: Target::Labels(&labels) }).expect("one").report
            }
            .penalty
        };
        let [ideal, taken] =
            [PenaltyStep::Ideal, PenaltyStep::Taken].map(|step| measured(step, true) / measured(step, false) - 1.0);
        assert!(ideal.abs() < 0.02, "tolerance {tolerance}: {ideal}");
        assert!(tolerance > 5e-6 || taken.abs() > 0.05, "tolerance {tolerance}: taken steps {taken}");
    }
}
