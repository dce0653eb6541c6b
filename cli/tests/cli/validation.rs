//! Weights that are chosen on what was held out of training.

use super::*;

const SHARED: [&str; 12] = [
    "train",
    "--threads",
    "1",
    "--batch",
    "32",
    "--eval-every",
    "3",
    "--regularization",
    "vanilla",
    "--validate",
    "0.2",
    "--checkpoint-every",
];

/// A run that learns so fast that it soon gets no better.
fn args<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    SHARED.into_iter().chain(["0", "--lr", "0.1", "--out", out]).chain(more.iter().copied()).collect()
}

fn record(folder: &Path, out: &str) -> Value {
    json(&folder.join(out).join("runs/vanilla-seed0.json"))
}

/// All that is not a time, with what validation decided.
fn decided(folder: &Path, out: &str) -> (Value, Value, Value, [Value; 4]) {
    let found = record(folder, out);
    let progress = &found["progress"];
    let outcome = outcome(&folder.join(out).join("runs/vanilla-seed0.json"));
    (found["kept"].clone(), progress["validation"].clone(), progress["stopping"].clone(), outcome)
}

const CHECKPOINT: &str = "checkpoints/vanilla-seed0.safetensors";
const BEST: &str = "checkpoints/vanilla-seed0.best.safetensors";

/// The step and the validation loss of the best.
fn best(record: &Value) -> (u64, f64) {
    let told = record["progress"]["validation"].as_array().expect("validations").iter();
    let told = told.map(|found| (found["step"].as_u64().expect("a step"), found["loss"].as_f64().expect("a loss")));
    told.min_by(|a, b| a.1.total_cmp(&b.1)).expect("some")
}

#[test]
fn patience_ends_a_run_with_its_best_weights_and_a_killed_one_goes_on_to_the_same() {
    let folder = folder();
    let patient = ["--steps", "120", "--patience", "3"];
    let said = stderr(&run(folder.path(), &args("whole", &patient)));
    let whole = record(folder.path(), "whole");
    let (step, loss) = best(&whole);
    let (kept, trained) = (&whole["kept"], whole["kept"]["trained"].as_u64().expect("a count"));
    assert!(trained < 120 && kept["stopped"] == true, "patience ended it: {kept}");
    assert_eq!((kept["step"].as_u64(), kept["loss"].as_f64()), (Some(step), Some(loss)), "the smallest loss");
    assert_eq!(trained, step + 9, "three validations after the best");
    assert_eq!(whole["test"]["step"], step, "the figures are of those weights");
    assert!(said.contains(&format!("weights of step {step} of {trained}")), "{said}");
    let names = files(&folder.path().join("whole/checkpoints"));
    assert_eq!(names, ["vanilla-seed0.safetensors"], "the best is the one that stays");
    let evaluated = succeed(folder.path(), &["eval", &format!("whole/{CHECKPOINT}"), "--threads", "1", "--json"]);
    let evaluated: Value = serde_json::from_str(&evaluated).expect("JSON");
    assert_eq!(evaluated["test"], whole["test"], "and so is the checkpoint");
    let evaluations = whole["progress"]["evaluations"].as_array().expect("evaluations");
    let steps: Vec<u64> = evaluations.iter().map(|found| found["step"].as_u64().expect("a step")).collect();
    assert_eq!(steps, (1..=trained / 3).map(|n| 3 * n).collect::<Vec<_>>(), "each once, in their order");

    // Killed as soon as something is the best: its copy is about to be made, or there.
    kill_at_first_checkpoint(folder.path(), &args("early", &patient), &format!("early/{BEST}"));
    succeed(folder.path(), &args("early", &[&patient[..], &["--resume"]].concat()));
    assert_eq!(decided(folder.path(), "early"), decided(folder.path(), "whole"), "as if never killed");

    // Interrupted while better weights are waited for: cut off by hand, so that it is always there.
    succeed(folder.path(), &args("late", &["--steps", &(step + 3).to_string(), "--patience", "3"]));
    succeed(folder.path(), &args("late", &[&patient[..], &["--resume"]].concat()));
    assert_eq!(decided(folder.path(), "late"), decided(folder.path(), "whole"), "more steps go on from the best");
}

#[test]
fn the_last_weights_are_kept_where_that_is_asked_for() {
    let folder = folder();
    succeed(folder.path(), &args("o", &["--steps", "12", "--keep", "last"]));
    let last = record(folder.path(), "o");
    assert_eq!((&last["kept"]["step"], &last["test"]["step"]), (&12.into(), &12.into()));
    assert_eq!(last["kept"]["stopped"], false);
    assert_eq!(files(&folder.path().join("o/checkpoints")), ["vanilla-seed0.safetensors"]);
    let refused = args("o", &["--steps", "12", "--resume"]);
    refuse(folder.path(), &refused, 1, &["--keep: \"last\", now \"best\""]);
    // Without validation nothing is told of it.
    succeed(folder.path(), &tiny(&["--methods", "vanilla", "--out", "p"]));
    let plain = record(folder.path(), "p");
    assert!(plain.get("kept").is_none() && plain["progress"].get("validation").is_none(), "{}", plain["progress"]);
}

#[test]
fn the_best_is_never_lost_in_silence() {
    let folder = folder();
    let patient = ["--steps", "120", "--patience", "3"];
    let mut child = command(folder.path(), &args("k", &patient))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    let (checkpoint, copy) = (folder.path().join("k").join(CHECKPOINT), folder.path().join("k").join(BEST));
    wait_for(&mut child, &copy);
    // A step later the checkpoint is another one than the copy.
    let first = fs::read(&copy).expect("there");
    while fs::read(&checkpoint).expect("whole") == first {
        assert_eq!(child.try_wait().expect("waited"), None, "still at work");
    }
    child.kill().expect("killed");
    child.wait().expect("ended");
    fs::remove_file(&copy).expect("removed");
    let again = args("k", &[&patient[..], &["--resume"]].concat());
    let message = stderr(&run(folder.path(), &again));
    assert!(message.contains("vanilla-seed0.best.safetensors") && message.contains("--overwrite"), "{message}");
}

#[test]
fn what_cannot_be_validated_is_refused() {
    let folder = folder();
    moments(folder.path());
    let train = |more: &[&'static str]| [&["train", "--threads", "1"], more].concat();
    for wrong in ["0", "1", "-0.5", "NaN", "some"] {
        let option = format!("--validate={wrong}");
        refuse(folder.path(), &["train", &option], 2, &["--validate", "above 0 and below 1"]);
    }
    refuse(folder.path(), &train(&["--patience", "3"]), 2, &["--validate <SHARE>"]);
    refuse(folder.path(), &train(&["--keep", "best"]), 2, &["--validate <SHARE>"]);
    refuse(folder.path(), &train(&["--validate", "0.2", "--patience", "0"]), 2, &["--patience", "at least 1"]);
    refuse(folder.path(), &train(&["--validate", "0.2", "--hold-out", "9"]), 2, &["--hold-out"]);
    refuse(folder.path(), &train(&["--validate", "0.99"]), 1, &["--validate 0.99", "a batch of 128", "hold out fewer"]);
    refuse(folder.path(), &train(&["--validate", "0.0001"]), 1, &["--validate 0.0001", "of 1437", "larger share"]);
    let rare = train(&["--validate", "0.2", "--steps", "9", "--eval-every", "10"]);
    refuse(folder.path(), &rare, 1, &["--eval-every 10", "of 9 steps none"]);
    let paths = train(&[&["--validate", "0.2"], &SPIRAL_SDE[..]].concat());
    refuse(folder.path(), &paths, 1, &["--validate 0.2", "drawn anew", "leave it out"]);
    fs::write(folder.path().join("s.csv"), "t,a\n0,1\n1,2\n2,3\n3,4\n").expect("written");
    let one = train(&["--task", "series", "--data", "s.csv", "--time", "t", "--validate", "0.2"]);
    refuse(folder.path(), &one, 1, &["--validate 0.2", "of 1 training samples", "--window"]);
    assert!(!folder.path().join("fewsteps-out").exists(), "nothing is written");
}

#[test]
fn a_benchmark_says_which_weights_it_kept() {
    let folder = folder();
    let printed = succeed(folder.path(), &tiny(&["--methods", "vanilla", "--validate", "0.1", "--eval-every", "2"]));
    assert!(printed.contains("kept, as validation") && printed.contains("vanilla-seed0: weights of step"), "{printed}");
    let page = fs::read_to_string(folder.path().join("fewsteps-out/report.html")).expect("a page");
    assert!(page.contains("Loss on what was held out of training") && page.contains("kept, as validation"), "told");
    let results = json(&folder.path().join("fewsteps-out/results.json"));
    let run = &results["runs"][0];
    assert_eq!(run["kept"]["step"], run["test"]["step"], "{}", run["kept"]);
    assert_eq!(run["settings"]["hold_out"], 144, "a tenth of 1437");
    succeed(folder.path(), &["train", "--config", "fewsteps-out/runs/vanilla-seed0.json", "--out", "again"]);
    let again = record(folder.path(), "again");
    assert_eq!((&again["kept"], &again["test"]), (&run["kept"], &run["test"]), "repeated");
}
