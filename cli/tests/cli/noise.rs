//! Tasks with noise.

use super::*;

#[test]
fn moments_of_paths_are_learnt() {
    let folder = folder();
    moments(folder.path());
    let args = ["--methods", "vanilla,local-unbiased,published-biased", "--noise", "path"];
    let table = succeed(folder.path(), &tiny(&[&SPIRAL_SDE[..], &args].concat()));
    for part in ["test loss (moments)", "32 paths", "sosri at tolerance 3e-1", "NFE is the drift's", "over 1000 paths"]
    {
        assert!(table.contains(part), "{part:?} is in\n{table}");
    }
    let results = json(&folder.path().join("fewsteps-out/results.json"));
    for run in results["runs"].as_array().expect("runs") {
        let (test, curve) = (&run["test"], &run["progress"]["curve"]);
        assert!(test["nfe"].as_f64() > Some(0.0) && test["nfe_diffusion"].as_f64() > Some(0.0), "both NFE: {test}");
        assert_eq!(curve["nfe_diffusion"].as_array().map(Vec::len), Some(4), "of every step");
        assert!(test["other_paths"]["loss"].is_f64() && test["other_paths"]["paths"] == 32, "a batch's loss: {test}");
        assert_eq!(test["accuracy"], Value::Null, "nothing is classified");
        let moments = &run["moments"];
        for side in ["learnt", "given", "times"] {
            assert_eq!(moments[side].as_array().map(Vec::len), Some(30), "{side} at every time");
        }
        let loss = loss_of(&moments["learnt"], &moments["given"]);
        assert!(
            (loss - test["loss"].as_f64().expect("a loss")).abs() < 1e-4 * loss,
            "{loss} is about {}",
            test["loss"]
        );
    }
    let report = fs::read_to_string(folder.path().join("fewsteps-out/report.html")).expect("a report");
    assert_eq!(report.matches("<svg").count(), 4 + 3 * 2, "and a figure a method and dimension");
    assert!(report.contains("<polygon") && report.contains("What was learnt"), "bands");
}

/// The loss of moments, as written: the mean square difference of means and variances.
fn loss_of(learnt: &Value, given: &Value) -> f64 {
    let numbers = |moments: &Value, of: &str| -> Vec<f64> {
        let moments = moments.as_array().expect("a list").iter();
        moments.flat_map(|m| [0, 1].map(|d| m[of][d].as_f64().expect("a number"))).collect()
    };
    let square = |of| -> f64 {
        let pairs = numbers(learnt, of).into_iter().zip(numbers(given, of));
        pairs.map(|(a, b)| (a - b).powi(2)).sum()
    };
    (square("mean") + square("variance")) / 60.0
}

#[test]
fn digits_are_classified_along_paths() {
    let folder = folder();
    images(folder.path());
    let args = ["--methods", "vanilla,published-unbiased,local-biased", "--tol", "1"];
    let table = succeed(folder.path(), &tiny(&[&MNIST_SDE[..], &args].concat()));
    for part in ["test accuracy", "by 10 paths, %", "NFE is the drift's", "the mean output of 10"] {
        assert!(table.contains(part), "{part:?} is in\n{table}");
    }
    let results = json(&folder.path().join("fewsteps-out/results.json"));
    for method in results["summary"].as_array().expect("methods") {
        assert!(method["other_paths"]["accuracy"]["mean"].is_f64(), "the accuracy by ten paths: {method}");
        assert!(method["nfe_diffusion"]["mean"].as_f64() > Some(0.0), "the diffusion's NFE: {method}");
    }
    let checkpoint = "fewsteps-out/checkpoints/vanilla-seed0.safetensors";
    let args = ["eval", checkpoint, "--data", "images", "--threads", "1"];
    let evaluated = succeed(folder.path(), &[&args[..], &["--json"]].concat());
    let evaluated: Value = serde_json::from_str(&evaluated).expect("stdout is JSON");
    assert_eq!(evaluated["test"], results["runs"][0]["test"], "the same figures");
    let printed = succeed(folder.path(), &args);
    assert!(printed.contains("of the diffusion") && printed.contains("of 10 paths"), "{printed}");
    refuse(folder.path(), &["eval", checkpoint, "--task", "digits"], 1, &["--task digits", "mnist-sde"]);
}

#[test]
fn every_method_with_noise_and_layout_runs() {
    let folder = folder();
    moments(folder.path());
    for (method, calculus) in
        [("sosri", "ito"), ("sriw1", "ito"), ("heun-stratonovich", "stratonovich"), ("reversible-heun", "stratonovich")]
    {
        let args = ["train", "--steps", "2", "--batch", "32", "--threads", "1", "--json", "--method", method];
        for layout in ["lockstep", "ensemble"] {
            let printed = succeed(folder.path(), &[&args[..], &SPIRAL_SDE, &["--layout", layout]].concat());
            let record: Value = serde_json::from_str(&printed).expect("stdout is JSON");
            let problem = &record["settings"]["config"]["model"]["problem"];
            assert_eq!(problem["diffusion"]["calculus"], calculus, "{method}: what its noise means");
        }
    }
}

#[test]
fn training_with_noise_resumes_to_the_same_bits() {
    let folder = folder();
    moments(folder.path());
    let args = |out, more: &[&'static str]| -> Vec<&'static str> {
        let shared = ["train", "--threads", "1", "--batch", "32", "--steps", "40", "--eval-every", "9", "--out", out];
        shared.into_iter().chain(SPIRAL_SDE).chain(["--checkpoint-every", "0"]).chain(more.iter().copied()).collect()
    };
    succeed(folder.path(), &args("whole", &[]));
    let checkpoint = "broken/checkpoints/local-unbiased-seed0.safetensors";
    kill_at_first_checkpoint(folder.path(), &args("broken", &[]), checkpoint);
    let record = |out: &str| folder.path().join(out).join("runs/local-unbiased-seed0.json");
    assert!(!record("broken").exists(), "killed before its end");
    succeed(folder.path(), &args("broken", &["--resume"]));
    assert_eq!(outcome(&record("broken")), outcome(&record("whole")), "as if never killed");
    for out in ["broken", "whole"] {
        let lines = steps(&folder.path().join(out));
        assert_eq!(lines, (1..=lines.len() as u64).collect::<Vec<_>>(), "{out}: every step once");
        assert_eq!(lines.len(), steps(&folder.path().join("whole")).len(), "{out}: to the last");
    }
    assert_eq!(json(&record("broken"))["moments"], json(&record("whole"))["moments"], "moments too");
}

#[test]
fn what_does_not_suit_noise_is_refused_with_the_remedy() {
    let folder = folder();
    moments(folder.path());
    let spiral = |more: &[&'static str]| [&["bench"][..], &SPIRAL_SDE, more].concat();
    refuse(folder.path(), &spiral(&["--method", "tsit5"]), 1, &["--method tsit5", "has noise", "sosri"]);
    refuse(folder.path(), &spiral(&["--method", "milstein"]), 2, &["error estimate", "sosri"]);
    refuse(folder.path(), &["bench", "--method", "sosri"], 1, &["--method sosri", "no noise", "tsit5", "spiral-sde"]);
    refuse(folder.path(), &["bench", "--noise", "path"], 1, &["--noise", "digits has no noise"]);
    let vanilla = spiral(&["--methods", "vanilla", "--noise", "path"]);
    refuse(folder.path(), &vanilla, 1, &["--noise", "local-unbiased"]);
    refuse(folder.path(), &spiral(&["--noise", "pink"]), 2, &["fresh", "path"]);
    refuse(folder.path(), &spiral(&["--tol", "0"]), 1, &["--tol", "positive"]);
    refuse(folder.path(), &spiral(&["--batch", "1"]), 1, &["--batch 1", "2 to"]);
    refuse(folder.path(), &spiral(&["--measure", "stiffness"]), 1, &["stiffness", "step-count"]);
    refuse(folder.path(), &["bench", "--task", "spiral-sde"], 1, &["--data", "spiral_sde.csv"]);
    refuse(folder.path(), &["bench", "--task", "spiral-sde", "--data", "."], 1, &["spiral_sde.csv", "not found"]);
    refuse(folder.path(), &["bench", "--task", "mnist-sde"], 1, &["--data", "train-images-idx3-ubyte.gz"]);
    fs::write(folder.path().join("spiral/spiral_sde.csv"), "t,mean\n").expect("written");
    refuse(folder.path(), &spiral(&[]), 1, &["spiral_sde.csv", "line 1", "t,mean_1,mean_2,var_1,var_2"]);
    assert!(!folder.path().join("fewsteps-out").exists(), "no output folder is made");
}
