//! Solvers that are deployed beside that of the training.

use std::collections::BTreeMap;

use super::{classifier, cpu, forged, points, read_parts};
use fewsteps::{
    Batch, CheckpointInfo, Deployed, Error, Local, Method, Regularizer, SaveAt, SolverOptions, StepControl, Target,
    Tolerances, Trainer,
};

/// One step of the classical method, where the training had adaptive ones.
fn one_step() -> SolverOptions {
    SolverOptions::default().method(Method::Rk4).step_control(StepControl::Fixed { steps: 1 })
}

#[test]
fn a_deployed_solver_lies_beside_that_of_the_training() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("checkpoint.safetensors");
    let config = classifier(Local::unbiased().coefficient(0.1)).seed(9);
    let mut trainer = Trainer::<f64>::new(&cpu(), config).expect("a valid model");
    let (inputs, labels) = points(24);
    let inputs: Vec<f64> = inputs.iter().map(|&x| f64::from(x)).collect();
    let batch = Batch { inputs: &inputs, target: Target::Labels(&labels) };
    trainer.step(&batch).expect("a step");
    let metadata = BTreeMap::from([("note".to_owned(), "kept \u{1f9ed}".to_owned())]);
    trainer.save(&path, &metadata).expect("a checkpoint");
    let (before, tensors) = read_parts(&path);
    assert_eq!(CheckpointInfo::read(&path).expect("ours").deployed, None, "none was chosen");
    let error = Trainer::<f64>::deployed(&cpu(), &path).expect_err("none was chosen").to_string();
    assert!(error.contains("checkpoint.safetensors") && error.contains("fewsteps deploy"), "{error}");

    let mut deployed = Deployed::new(one_step());
    (deployed.samples, deployed.nfe, deployed.error, deployed.drop) = (24, Some(4.0), Some(0.1 + 0.2), Some(f64::NAN));
    deployed.write(&path).expect("written");
    // Nothing but the entry is other than before.
    let (after, same) = read_parts(&path);
    assert_eq!(same, tensors, "the numbers");
    let [mut after, before] =
        [after, before].map(|text| serde_json::from_str::<serde_json::Value>(&text).expect("JSON"));
    after.as_object_mut().expect("an object").remove("deployed").expect("the entry");
    assert_eq!(after, before, "the header");
    assert_eq!(std::fs::read_dir(directory.path()).expect("listed").count(), 1, "no temporary file is left");
    let info = CheckpointInfo::read(&path).expect("ours");
    deployed.drop = None;
    assert_eq!((info.deployed.as_ref(), &info.metadata), (Some(&deployed), &metadata), "and it is read");
    assert_eq!(&info.config, trainer.config(), "the training's solver stays named");

    // The model under it is the model with that solver.
    let (mut model, found) = Trainer::<f64>::deployed(&cpu(), &path).expect("loads");
    assert_eq!((found, model.steps(), model.config().seed), (metadata, 1, 9));
    assert_eq!(model.evaluate(&batch).expect("evaluates").nfe, 4, "one step of four stages");
    let mut other = trainer.config().clone();
    other.model.options = one_step();
    other.regularizer = Regularizer::None;
    let (mut resumed, _) = Trainer::<f64>::resume(&cpu(), &path).expect("resumes as it was trained");
    assert_eq!(resumed.config(), trainer.config(), "as it was trained");
    resumed.reconfigure(other).expect("the same tensors");
    assert_eq!(model.predict(&inputs).expect("solved"), resumed.predict(&inputs).expect("solved"), "the same outputs");
    // It may be trained on, with its moments; what comes of that has other weights, and no solver yet.
    assert_eq!(model.step(&batch).expect("a step"), resumed.step(&batch).expect("a step"), "from the same moments");
    model.save(&path, &BTreeMap::new()).expect("a checkpoint");
    assert_eq!(CheckpointInfo::read(&path).expect("ours").deployed, None, "of other weights");
}

#[test]
fn a_deployed_solver_that_does_not_fit_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let [path, damaged] = ["good", "damaged"].map(|name| directory.path().join(name));
    let trainer = Trainer::<f32>::new(&cpu(), classifier(Regularizer::None)).expect("a valid model");
    trainer.save(&path, &BTreeMap::new()).expect("a checkpoint");
    let good = std::fs::read(&path).expect("the file");
    for (options, parts) in [
        (one_step().save_at(SaveAt::Times(vec![0.5])), ["save_at", "[0.5]"]),
        (one_step().step_control(StepControl::Fixed { steps: 0 }), ["StepControl::Fixed::steps", "at least one"]),
        (SolverOptions::default().method(Method::Rk4), ["rk4", "fixed steps"]),
        (SolverOptions::default().tolerances(Tolerances::both(1e-12)), ["rtol", "f64"]),
        (SolverOptions::default().method(Method::EulerMaruyama), ["euler-maruyama", "noise"]),
    ] {
        let error = Deployed::new(options).write(&path).expect_err(parts[0]);
        assert!(matches!(error, Error::Argument { .. }), "{error}");
        let error = error.to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{parts:?}: {error}");
        assert_eq!(std::fs::read(&path).expect("the file"), good, "as it was");
    }
    let missing = Deployed::new(one_step()).write(&damaged).expect_err("no such file");
    assert!(matches!(missing, Error::Io { .. }), "{missing}");
    Deployed::new(one_step()).write(&path).expect("it fits");
    let good = std::fs::read(&path).expect("the file");
    // What is unknown is not read, and what does not fit is not solved.
    for (from, to, part) in [
        (r#"\"rk4\""#, r#"\"rk9\""#, "rk9"),
        (r#"\"steps\":1}"#, r#"\"steps\":0}"#, "its deployed solver is refused"),
        (r#"\"deployed\":{"#, r#"\"deployed\":[],\"x\":{"#, "unreadable metadata"),
    ] {
        std::fs::write(&damaged, forged(&good, from, to)).expect("a file");
        let error = Trainer::<f32>::deployed(&cpu(), &damaged).expect_err(part);
        assert!(matches!(error, Error::Checkpoint { .. }), "{error}");
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    let error = Trainer::<f64>::deployed(&cpu(), &path).expect_err("the wrong scalar").to_string();
    assert!(error.contains("f32"), "names the scalar: {error}");
}
