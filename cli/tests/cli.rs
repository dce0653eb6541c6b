//! The built command from outside: what it prints, what it writes, how it fails and how it goes on.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use tempfile::TempDir;

#[path = "cli/deploy.rs"]
mod deploy;
#[path = "cli/folders.rs"]
mod folders;
#[path = "cli/runs.rs"]
mod runs;

fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fewsteps"));
    command.current_dir(folder).args(args).stdin(Stdio::null());
    command
}

fn run(folder: &Path, args: &[&str]) -> Output {
    command(folder, args).output().expect("the command starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("stdout is text")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("stderr is text")
}

fn succeed(folder: &Path, args: &[&str]) -> String {
    let output = run(folder, args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    stdout(&output)
}

/// Asserts that the command exits with `code`, prints nothing to stdout, and says each of `parts` in its message.
fn refuse(folder: &Path, args: &[&str], code: i32, parts: &[&str]) {
    let output = run(folder, args);
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {message}");
    assert!(output.stdout.is_empty(), "{args:?} prints nothing to stdout");
    for part in parts {
        assert!(message.contains(part), "{args:?} says {part:?} in: {message}");
    }
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).expect("the file is there")).expect("the file is JSON")
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Waits until the command has written a file; one that ends before has failed.
fn wait_for(child: &mut Child, file: &Path) {
    while !file.exists() {
        assert_eq!(child.try_wait().expect("waited"), None, "still at work on {}", file.display());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Starts a training and kills it as soon as its first checkpoint is there.
fn kill_at_first_checkpoint(folder: &Path, args: &[&str], checkpoint: &str) {
    let mut child = command(folder, args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
    wait_for(&mut child, &folder.join(checkpoint));
    child.kill().expect("killed");
    child.wait().expect("ended");
}

/// What a command says that Ctrl-C ends.
#[cfg(unix)]
fn interrupt(child: Child) -> String {
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill is there");
    assert!(kill.success(), "the signal is sent");
    let output = child.wait_with_output().expect("ended");
    assert_eq!(output.status.code(), Some(130), "as shells report Ctrl-C: {}", stderr(&output));
    stderr(&output)
}

const TINY: [&str; 9] = ["bench", "--steps", "4", "--seeds", "1", "--threads", "1", "--batch", "32"];

fn tiny<'a>(more: &[&'a str]) -> Vec<&'a str> {
    TINY.iter().chain(more).copied().collect()
}

/// Everything of a run's record that is not a time.
fn outcome(record: &Path) -> [Value; 4] {
    let record = json(record);
    let curve = &record["progress"]["curve"];
    [curve["loss"].clone(), curve["nfe"].clone(), record["test"].clone(), record["progress"]["evaluations"].clone()]
}

/// Every regular file below `folder`.
fn files(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            names.extend(files(&path));
        } else {
            names.push(path.file_name().expect("a name").to_string_lossy().into_owned());
        }
    }
    names.sort();
    names
}

#[test]
fn bench_prints_a_table_and_leaves_report_and_results() {
    let folder = folder();
    let table = succeed(folder.path(), &tiny(&["--methods", "vanilla,local-unbiased"]));
    for part in ["vanilla", "local-unbiased", "test accuracy", "NFE", "1.00x", "tolerance 1e-5", "1 seed", "1 thread,"]
    {
        assert!(table.contains(part), "{part:?} is in\n{table}");
    }
    let out = folder.path().join("fewsteps-out");
    let results = json(&out.join("results.json"));
    assert_eq!(results["summary"].as_array().map(Vec::len), Some(2), "both methods");
    assert_eq!(results["machine"]["threads"], 1, "threads");
    for run in results["runs"].as_array().expect("runs") {
        assert_eq!(run["progress"]["curve"]["loss"].as_array().map(Vec::len), Some(4), "a loss a step");
        assert!(run["times"]["cold_step_seconds"].as_f64() > Some(0.0), "times");
        assert!(run["test"]["nfe"].as_f64() > Some(0.0), "NFE");
    }
    let report = fs::read_to_string(out.join("report.html")).expect("a report");
    assert!(report.starts_with("<!DOCTYPE html>") && report.trim_end().ends_with("</html>"), "a whole page");
    assert_eq!(report.matches("<svg").count(), 4, "four figures");
    assert!(!report.contains("http://") || !report.contains("src="), "nothing is fetched");
    let names = files(&out);
    let expected = [
        ".fewsteps.lock",
        "local-unbiased-seed0.json",
        "local-unbiased-seed0.safetensors",
        "metrics.jsonl",
        "report.html",
        "results.json",
        "vanilla-seed0.json",
        "vanilla-seed0.safetensors",
    ];
    assert_eq!(names, expected, "and no temporary files");
    let expected = ["vanilla-seed0", "local-unbiased-seed0"].map(|run| (run, results["runs"].as_array()));
    let lines = metrics(&out);
    assert_eq!(lines.len(), 8, "a line a step");
    for (line, (index, step)) in lines.iter().zip((0..2).flat_map(|run| (0..4).map(move |step| (run, step)))) {
        let (run, runs) = expected[index];
        let curve = &runs.expect("runs")[index]["progress"]["curve"];
        assert_eq!((&line["run"], &line["step"]), (&run.into(), &(step + 1).into()), "in their order: {line}");
        for name in ["loss", "penalty", "nfe", "seconds"] {
            assert_eq!(line[name], curve[name][step], "{name} is the record's");
        }
        assert!(line["accepted"].as_u64() > Some(0) && line["gradient_norm"].as_f64() > Some(0.0), "{line}");
        assert_eq!((&line["rejected"].is_u64(), &line["failed"], &line["skipped"]), (&true, &0.into(), &false.into()));
    }
}

/// The lines of a folder's `metrics.jsonl`.
fn metrics(out: &Path) -> Vec<Value> {
    let text = fs::read_to_string(out.join("metrics.jsonl")).expect("metrics");
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// The steps of `metrics.jsonl`.
fn steps(out: &Path) -> Vec<u64> {
    metrics(out).iter().map(|line| line["step"].as_u64().expect("a number")).collect()
}

#[test]
fn a_run_says_what_computes_and_what_it_learnt() {
    let folder = folder();
    let says = |levels: Option<&str>, more: &[&str]| -> String {
        let mut command = command(folder.path(), &[&["train", "--steps", "2", "--batch", "32"][..], more].concat());
        command.env_remove("RUST_LOG");
        if let Some(levels) = levels {
            command.env("RUST_LOG", levels);
        }
        let output = command.output().expect("the command starts");
        assert_eq!(output.status.success(), !more.contains(&"0"), "{}", stderr(&output));
        stderr(&output)
    };
    let said = says(None, &["--out", "a"]);
    assert!(said.lines().all(|line| line.starts_with("fewsteps: ")), "who speaks: {said}");
    assert!(
        said.contains("native engine: ") && said.contains("too few for a graphics card"),
        "the engine and why: {said}"
    );
    assert!(said.contains("local-unbiased-seed0") && said.contains("accuracy"), "the outcome: {said}");
    let said = says(None, &["--device", "cpu", "--threads", "1", "--out", "b"]);
    assert!(
        said.contains("native engine, 1 thread, ") && said.contains(": --device cpu"),
        "the engine and why: {said}"
    );
    assert_eq!(says(None, &["-q", "--out", "c"]), "", "nothing");
    assert_eq!(says(Some("off"), &["--out", "d"]), "", "nothing");
    assert_eq!(says(Some("trace"), &["--quiet", "--out", "e"]), "", "the command line has the last word");
    assert!(says(Some("fewsteps=info"), &["--out", "f"]).contains("native engine"), "the environment's level");
    assert!(
        says(Some("fewsteps=loud"), &["--out", "g"]).contains("warning: RUST_LOG=\"fewsteps=loud\""),
        "a bad level is told"
    );
    let spiral =
        |tolerance, out| says(None, &["--task", "spiral", "--tol", tolerance, "--device", "cpu", "--out", out]);
    assert!(spiral("3", "h").contains("warning: atol 3e0 is no less than a tenth of feature 0"), "starts are within 2");
    assert!(!spiral("1e-3", "i").contains("warning"), "starts are well above that");
    let refused = says(Some("off"), &["-q", "--lr", "0"]);
    assert!(
        refused.starts_with("fewsteps: error: ") && refused.contains("--lr 0"),
        "an error is never kept back: {refused}"
    );
    refuse(folder.path(), &["train", "-q", "-v"], 2, &["--quiet", "--verbose"]);
}

#[test]
fn json_goes_to_stdout_alone() {
    let folder = folder();
    let printed = succeed(folder.path(), &tiny(&["--json", "--methods", "local-biased"]));
    let results: Value = serde_json::from_str(&printed).expect("stdout is JSON");
    assert_eq!(results, json(&folder.path().join("fewsteps-out/results.json")), "the same as the file");
    assert_eq!(results["summary"][0]["ratios"], Value::Null, "no ratios without vanilla");
}

#[test]
fn every_method_measure_and_layout_runs() {
    let folder = folder();
    let methods = "vanilla,local-unbiased,local-biased,published-unbiased,published-biased";
    succeed(folder.path(), &tiny(&["--methods", methods, "--precision", "f64", "--method", "dopri5"]));
    let options = ["--coefficient", "0.5", "--coefficient-to", "0.1", "--times", "2", "--fraction", "1"];
    for (measure, step, gradient) in
        [("error", "fresh-initial", "published"), ("stiffness", "taken", "step"), ("step-count", "taken", "full")]
    {
        let choice = ["--measure", measure, "--penalty-step", step, "--gradient", gradient];
        succeed(folder.path(), &tiny(&[&["--methods", "local-unbiased"][..], &options, &choice].concat()));
    }
    succeed(folder.path(), &tiny(&["--layout", "ensemble", "--methods", "local-biased"]));
}

#[test]
fn the_spiral_reports_a_test_loss() {
    let folder = folder();
    let table = succeed(folder.path(), &tiny(&["--task", "spiral", "--methods", "vanilla"]));
    assert!(table.contains("test loss (MAE)"), "{table}");
    let results = json(&folder.path().join("fewsteps-out/results.json"));
    assert_eq!(results["runs"][0]["test"]["accuracy"], Value::Null, "nothing is classified");
}

/// A folder `spiral` with the moments of a spiral's paths: any will do.
fn moments(folder: &Path) {
    let row = |i: usize| {
        let t = i as f32 / 29.0;
        format!("{t},{},{},{},{}\n", 2.0 * t.cos(), 2.0 * t.sin(), 0.1 * t, 0.05 * t)
    };
    let text: String = std::iter::once("t,mean_1,mean_2,var_1,var_2\n".to_owned()).chain((0..30).map(row)).collect();
    fs::create_dir_all(folder.join("spiral")).expect("made");
    fs::write(folder.join("spiral/spiral_sde.csv"), text).expect("written");
}

/// A folder `images` in MNIST's format, of few images.
fn images(folder: &Path) {
    images_of(folder, 96);
}

/// The same with so many images to train on.
fn images_of(folder: &Path, count: u32) {
    let write = |name: String, header: &[u32], body: &[u8]| {
        let file = fs::File::create(folder.join("images").join(name)).expect("created");
        let mut encoder = GzEncoder::new(file, Compression::fast());
        for word in header {
            encoder.write_all(&word.to_be_bytes()).expect("written");
        }
        encoder.write_all(body).expect("written");
        encoder.finish().expect("written");
    };
    fs::create_dir_all(folder.join("images")).expect("made");
    for (prefix, count) in [("train", count), ("t10k", 40)] {
        let pixels: Vec<u8> = (0..count * 784).map(|i| (i * 37 % 251) as u8).collect();
        let labels: Vec<u8> = (0..count).map(|i| (i % 10) as u8).collect();
        write(format!("{prefix}-images-idx3-ubyte.gz"), &[0x0803, count, 28, 28], &pixels);
        write(format!("{prefix}-labels-idx1-ubyte.gz"), &[0x0801, count], &labels);
    }
}

const SPIRAL_SDE: [&str; 4] = ["--task", "spiral-sde", "--data", "spiral"];
const MNIST_SDE: [&str; 4] = ["--task", "mnist-sde", "--data", "images"];

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

#[test]
fn usage_errors_say_the_remedy() {
    let folder = folder();
    for option in ["--steps", "--seeds", "--batch", "--threads", "--eval-every"] {
        refuse(folder.path(), &["bench", option, "0"], 2, &[option, "at least 1"]);
    }
    refuse(folder.path(), &["bench", "--task", "cifar"], 2, &["digits", "mnist", "fashion", "spiral"]);
    refuse(folder.path(), &["bench", "--methods", "vanilla,best"], 2, &["local-unbiased", "published-biased"]);
    refuse(folder.path(), &["bench", "--method", "rk4"], 2, &["tsit5", "dopri5"]);
    refuse(folder.path(), &["frobnicate"], 2, &["frobnicate"]);
    assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 0, "nothing is written");
}

#[test]
fn bad_values_are_refused_before_training() {
    let folder = folder();
    refuse(folder.path(), &["bench", "--tol", "0"], 1, &["--tol", "positive"]);
    refuse(folder.path(), &["bench", "--tol", "-1e-5"], 1, &["--tol", "positive"]);
    refuse(folder.path(), &["bench", "--tol", "1e-12"], 1, &["f32", "solve at f64"]);
    refuse(folder.path(), &["bench", "--lr", "0"], 1, &["--lr", "positive"]);
    refuse(folder.path(), &["bench", "--lr", "NaN"], 1, &["--lr"]);
    refuse(folder.path(), &["bench", "--coefficient=-1"], 1, &["coefficient", "not negative"]);
    refuse(folder.path(), &["bench", "--fraction", "2"], 1, &["fraction", "(0, 1]"]);
    refuse(folder.path(), &["bench", "--times", "0"], 1, &["times"]);
    refuse(folder.path(), &["bench", "--method", "heun", "--measure", "stiffness"], 1, &["stiffness", "tsit5"]);
    refuse(folder.path(), &["bench", "--batch", "9999"], 1, &["--batch", "1437"]);
    refuse(folder.path(), &["bench", "--methods", "vanilla", "--times", "2"], 1, &["--times", "local-unbiased"]);
    refuse(folder.path(), &["bench", "--threads", "9999"], 1, &["threads", "1024"]);
    assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 0, "nothing is written");
}

#[test]
fn missing_and_damaged_data_are_named() {
    let folder = folder();
    refuse(folder.path(), &["bench", "--task", "mnist"], 1, &["--data", "train-images-idx3-ubyte.gz"]);
    refuse(
        folder.path(),
        &["bench", "--task", "fashion", "--data", "."],
        1,
        &["t10k-labels-idx1-ubyte.gz", "not found"],
    );
    for name in ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"] {
        fs::write(folder.path().join(format!("{name}-ubyte.gz")), [0x1f, 0x8b, 8, 0]).expect("written");
    }
    let parts = ["train-images-idx3-ubyte.gz", "truncated", "fetch"];
    refuse(folder.path(), &["bench", "--task", "mnist", "--data", "."], 1, &parts);
    assert!(!folder.path().join("fewsteps-out").exists(), "no output folder is made");
}

#[test]
fn the_reason_of_a_missing_file_is_told_once() {
    let folder = folder();
    let missing: [&[&str]; 3] = [
        &["eval", "none.safetensors"],
        &["train", "--from", "none.safetensors"],
        &["bench-workload", "W4", "--dump", "none"],
    ];
    for args in missing {
        let message = stderr(&run(folder.path(), args));
        assert_eq!(message.matches("os error").count(), 1, "{args:?}: {message}");
        assert_eq!(message.matches("none").count(), 1, "{args:?}: {message}");
    }
}

#[test]
fn an_unwritable_folder_is_found_before_training() {
    let folder = folder();
    fs::write(folder.path().join("file"), "").expect("written");
    let start = Instant::now();
    refuse(folder.path(), &["bench", "--out", "file/below"], 1, &["file/below", "--out"]);
    assert!(start.elapsed() < Duration::from_secs(20), "the default benchmark takes longer than that");
}

#[test]
fn a_killed_run_resumes_to_the_same_bits() {
    let folder = folder();
    let args = |out, more: &[&'static str]| -> Vec<&'static str> {
        let shared = ["train", "--threads", "1", "--batch", "32", "--steps", "60", "--eval-every", "7"];
        shared.into_iter().chain(["--checkpoint-every", "0", "--out", out]).chain(more.iter().copied()).collect()
    };
    succeed(folder.path(), &args("whole", &[]));

    let checkpoint = "broken/checkpoints/local-unbiased-seed0.safetensors";
    kill_at_first_checkpoint(folder.path(), &args("broken", &[]), checkpoint);
    let record = |out: &str| folder.path().join(out).join("runs/local-unbiased-seed0.json");
    assert!(!record("broken").exists(), "killed before its end");

    succeed(folder.path(), &args("broken", &["--resume"]));
    assert_eq!(outcome(&record("broken")), outcome(&record("whole")), "as if never killed");

    let finished = fs::read(record("broken")).expect("a record");
    succeed(folder.path(), &args("broken", &["--resume"]));
    assert_eq!(fs::read(record("broken")).expect("a record"), finished, "a finished run is not run again");
}

#[test]
fn resume_refuses_other_settings() {
    let folder = folder();
    let args = ["--methods", "vanilla"];
    succeed(folder.path(), &tiny(&args));
    let changed = tiny(&[&args[..], &["--resume", "--tol", "1e-4"]].concat());
    refuse(folder.path(), &changed, 1, &["vanilla-seed0.json", "--tol: 0.00001, now 0.0001"]);
    let record = folder.path().join("fewsteps-out/runs/vanilla-seed0.json");
    fs::remove_file(&record).expect("removed");
    refuse(folder.path(), &changed, 1, &["vanilla-seed0.safetensors", "--tol: 0.00001"]);
    succeed(folder.path(), &tiny(&["--methods", "vanilla,local-biased", "--resume"]));
    assert!(record.exists(), "the finished checkpoint became a record again");
}

#[cfg(unix)]
#[test]
fn an_interrupt_leaves_a_checkpoint_and_says_how_to_go_on() {
    let folder = folder();
    let args = ["train", "--threads", "1", "--steps", "100000", "--eval-every", "100000", "--out", "my out"];
    let mut child = command(folder.path(), &[&args[..], &["--checkpoint-every", "0"]].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let checkpoint = folder.path().join("my out/checkpoints/local-unbiased-seed0.safetensors");
    wait_for(&mut child, &checkpoint);
    let message = interrupt(child);
    assert!(message.contains("train --threads 1") && message.contains("'my out'"), "{message}");
    assert!(message.trim_end().ends_with("--resume"), "{message}");
    let evaluated = succeed(folder.path(), &["eval", &checkpoint.to_string_lossy(), "--threads", "1"]);
    assert!(evaluated.contains("of 100000"), "a checkpoint of an unfinished run: {evaluated}");
}

#[test]
fn eval_reads_what_train_wrote() {
    let folder = folder();
    let train = ["train", "--steps", "4", "--threads", "1", "--batch", "32", "--seed", "7", "--precision", "f64"];
    let printed = succeed(folder.path(), &[&train[..], &["--regularization", "vanilla", "--json"]].concat());
    let record: Value = serde_json::from_str(&printed).expect("stdout is JSON");
    let checkpoint = "fewsteps-out/checkpoints/vanilla-seed7.safetensors";
    let evaluate = |more: &[&str]| -> Value {
        let args = [&["eval", checkpoint, "--threads", "1", "--json"][..], more].concat();
        serde_json::from_str(&succeed(folder.path(), &args)).expect("stdout is JSON")
    };
    assert_eq!(evaluate(&[])["test"], record["test"], "the same figures");
    let tight = evaluate(&["--tol", "1e-9"]);
    assert!(tight["test"]["nfe"].as_f64() > record["test"]["nfe"].as_f64(), "a tighter tolerance takes more");
    assert!(succeed(folder.path(), &["eval", checkpoint]).contains("vanilla on digits, seed 7"), "the table");
    refuse(folder.path(), &["eval", checkpoint, "--tol", "0"], 1, &["--tol"]);
    let published = evaluate(&["--controller", "published"]);
    let prompt = evaluate(&["--controller", "i", "--first-step", "1"]);
    assert_eq!(published["test"]["nfe"], record["test"]["nfe_published"], "what training has told of it");
    let [few, many] = [&prompt, &published].map(|found| found["test"]["nfe"].as_f64().expect("a number"));
    assert!(few < many, "start-up is most of it: {few} and {many}");
    refuse(folder.path(), &["eval", checkpoint, "--first-step", "0"], 1, &["--first-step", "positive"]);
    let mut errors = vec![1.0];
    for (method, steps, evaluations) in [("euler", "4", 4.0), ("rk4", "2", 8.0), ("tsit5", "3", 19.0)] {
        let fixed = evaluate(&["--method", method, "--fixed-steps", steps]);
        assert_eq!(fixed["test"]["nfe"].as_f64(), Some(evaluations), "{method}");
        errors.push(fixed["test"]["error"].as_f64().expect("an error"));
    }
    assert!(errors.windows(2).all(|pair| pair[1] < 0.3 * pair[0]), "{errors:?}");
    let [own, start_up] = [&record, &published].map(|found| found["test"]["error"].as_f64().expect("an error"));
    assert!(
        own < 1e-4 && start_up < own,
        "what start-up buys is a smaller error than was asked for: {own}, {start_up}"
    );
    refuse(folder.path(), &["eval", checkpoint, "--method", "rk4"], 1, &["--method", "rk4"]);
    refuse(folder.path(), &["eval", checkpoint, "--fixed-steps", "3", "--tol", "1e-3"], 2, &["--fixed-steps", "--tol"]);
    refuse(folder.path(), &["eval", checkpoint, "--task", "spiral"], 1, &["--task spiral", "digits"]);
}

#[test]
fn letters_have_as_many_classes_as_labels() {
    let folder = folder();
    fs::create_dir(folder.path().join("emnist")).expect("made");
    // Unpacked, by EMNIST's names; letters count from 1 to 26, `balanced` from 0 to 46.
    for (set, first, classes) in [("letters", 1u32, 26u32), ("balanced", 0, 47), ("a-to-y", 1, 25)] {
        for (part, count) in [("train", 96u32), ("test", 40)] {
            let write = |name: &str, header: &[u32], body: Vec<u8>| {
                let bytes: Vec<u8> = header.iter().flat_map(|word| word.to_be_bytes()).chain(body).collect();
                fs::write(folder.path().join(format!("emnist/emnist-{set}-{part}-{name}-ubyte")), bytes)
                    .expect("written");
            };
            write("images-idx3", &[0x0803, count, 28, 28], (0..count * 784).map(|i| (i * 37 % 251) as u8).collect());
            write("labels-idx1", &[0x0801, count], (0..count).map(|i| (first + i % classes) as u8).collect());
        }
    }
    let train = ["train", "--task", "mnist", "--steps", "2", "--batch", "32", "--threads", "1", "--data"];
    refuse(folder.path(), &[&train[..], &["emnist"]].concat(), 1, &["emnist-letters", "emnist-balanced"]);
    for (set, out, classes) in [("emnist/emnist-letters", "letters", 26), ("emnist/emnist-balanced", "balanced", 47)] {
        let printed = succeed(folder.path(), &[&train[..], &[set, "--json", "--out", out]].concat());
        let record: Value = serde_json::from_str(&printed).expect("stdout is JSON");
        let parameters = 784 * 100 + 100 + 100 + 100 * 784 + 784 + 784 + 784 * classes + classes;
        assert_eq!(record["parameters"], parameters, "{set}: field with time, and a head of {classes}");
    }
    let letters = "letters/checkpoints/local-unbiased-seed0.safetensors";
    succeed(folder.path(), &["eval", letters, "--data", "emnist/emnist-letters"]);
    let without_z = run(folder.path(), &["eval", letters, "--data", "emnist/emnist-a-to-y"]);
    let message = stderr(&without_z);
    assert!(without_z.status.success() && message.contains("the last of the 26 classes"), "{message}");
    refuse(folder.path(), &["eval", letters, "--data", "emnist/emnist-balanced"], 1, &["47", "26", "--data"]);
}

#[test]
fn damaged_checkpoints_are_errors() {
    let folder = folder();
    succeed(folder.path(), &["train", "--steps", "2", "--threads", "1", "--batch", "32"]);
    let name = "fewsteps-out/checkpoints/local-unbiased-seed0.safetensors";
    let path = folder.path().join(name);
    let whole = fs::read(&path).expect("a checkpoint");
    let mut flipped = whole.clone();
    flipped[40] ^= 0xff;
    let cases =
        [whole[..whole.len() / 2].to_vec(), whole[..whole.len() - 1].to_vec(), flipped, Vec::new(), vec![0xff; 64]];
    fs::remove_file(folder.path().join("fewsteps-out/runs/local-unbiased-seed0.json")).expect("removed");
    for bytes in cases {
        fs::write(&path, bytes).expect("written");
        refuse(folder.path(), &["eval", name], 1, &["local-unbiased-seed0.safetensors"]);
        let resume = ["train", "--steps", "2", "--threads", "1", "--batch", "32", "--resume"];
        refuse(folder.path(), &resume, 1, &["local-unbiased-seed0.safetensors"]);
    }
    refuse(folder.path(), &["eval", "nowhere.safetensors"], 1, &["nowhere.safetensors"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_under_stdout_is_an_error() {
    let folder = folder();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("every Linux has it");
    let output = command(folder.path(), &["devices"]).stdout(full).output().expect("started");
    assert_eq!(output.status.code(), Some(1), "a failure");
    assert!(stderr(&output).contains("cannot write to stdout"), "{}", stderr(&output));
}

/// Whether there is an adapter to test on. `GPU_TESTS`: `require` (the default) fails without one, `auto` passes over
/// the tests that need one, `off` does not look for one; both say so.
fn adapter() -> bool {
    let mode = std::env::var("GPU_TESTS").unwrap_or_else(|_| "require".into());
    if mode == "off" {
        println!("GPU_TESTS=off: skipped");
        return false;
    }
    let found = !fewsteps::Device::list().is_empty();
    assert!(found || mode == "auto", "GPU_TESTS={mode}: there is no adapter");
    if !found {
        println!("GPU_TESTS=auto: skipped, there is no adapter");
    }
    found
}

/// Asserts that the losses of two records, a step each, are equal but for what rounding grows to.
fn same_losses(a: &Value, b: &Value) {
    let losses = |record: &Value| -> Vec<f64> {
        let losses = record["progress"]["curve"]["loss"].as_array().expect("a curve");
        losses.iter().map(|loss| loss.as_f64().expect("a finite loss")).collect()
    };
    let (a, b) = (losses(a), losses(b));
    assert_eq!(a.len(), b.len(), "steps");
    for (a, b) in a.iter().zip(&b) {
        assert!((a - b).abs() < 1e-3 * b.abs(), "{a} is about {b}");
    }
}

#[test]
fn a_device_trains_as_the_native_engine_does() {
    if !adapter() {
        return;
    }
    let folder = folder();
    let options = ["--steps", "3", "--batch", "64", "--seeds", "1", "--methods", "vanilla,local-unbiased"];
    let bench = |device| {
        let printed = succeed(folder.path(), &[&["bench", "--json", "--device", device][..], &options].concat());
        serde_json::from_str::<Value>(&printed).expect("stdout is JSON")
    };
    let (device, native) = (bench("gpu"), bench("cpu"));
    assert_eq!(native["machine"]["device"], "cpu", "the native engine says so");
    assert_eq!(device["machine"]["device"], "gpu", "and the other");
    for name in ["name", "driver", "backend"] {
        let value = device["machine"]["adapter"][name].as_str().expect("text");
        assert!(!value.is_empty(), "the adapter's {name}");
    }
    for run in 0..2 {
        same_losses(&device["runs"][run], &native["runs"][run]);
        let times = &device["runs"][run]["times"];
        assert!(
            times["cold_step_seconds"].as_f64() > device["runs"][run]["progress"]["setup_seconds"].as_f64(),
            "cold"
        );
    }
    let table = succeed(folder.path(), &[&["bench", "--resume", "--device", "gpu"][..], &options].concat());
    assert!(table.contains("wgpu engine") && table.contains("set-up and first step"), "{table}");
    assert!(table.contains("ran on another engine"), "finished runs of the native engine are kept, and told: {table}");
}

#[test]
fn paths_with_noise_are_the_same_on_a_device() {
    if !adapter() {
        return;
    }
    let folder = folder();
    moments(folder.path());
    images(folder.path());
    for task in [&SPIRAL_SDE, &MNIST_SDE] {
        let options = ["--steps", "2", "--batch", "32", "--tol", "1", "--json", "--regularization", "local-biased"];
        let train = |device| {
            let printed = succeed(folder.path(), &[&["train", "--device", device][..], &options, task].concat());
            serde_json::from_str::<Value>(&printed).expect("stdout is JSON")
        };
        let (device, native) = (train("gpu"), train("cpu"));
        same_losses(&device, &native);
        for nfe in ["nfe", "nfe_diffusion"] {
            assert_eq!(device["test"][nfe], native["test"][nfe], "{nfe}");
        }
        let others = [&device, &native].map(|record| record["test"]["other_paths"]["loss"].as_f64().expect("a loss"));
        assert!((others[0] - others[1]).abs() < 1e-3 * others[1], "losses of other numbers of paths: {others:?}");
    }
}

#[test]
fn either_engine_goes_on_from_the_others_checkpoint() {
    if !adapter() {
        return;
    }
    let folder = folder();
    let args = |out, device, more: &[&'static str]| -> Vec<&'static str> {
        let shared = ["train", "--task", "spiral", "--batch", "64", "--steps", "12", "--regularization", "vanilla"];
        let output = ["--checkpoint-every", "0", "--out", out, "--device", device];
        shared.into_iter().chain(output).chain(more.iter().copied()).collect()
    };
    succeed(folder.path(), &args("whole", "cpu", &[]));
    for (begun, ended) in [("gpu", "cpu"), ("cpu", "gpu:0")] {
        let checkpoint = format!("{begun}/checkpoints/vanilla-seed0.safetensors");
        kill_at_first_checkpoint(folder.path(), &args(begun, begun, &[]), &checkpoint);
        succeed(folder.path(), &args(begun, ended, &["--resume"]));
        let record = |out: &str| json(&folder.path().join(out).join("runs/vanilla-seed0.json"));
        same_losses(&record(begun), &record("whole"));
    }
}

/// Writes arrays of a dump with no particular numbers.
fn dump_arrays(folder: &Path, arrays: &[(&str, usize)]) {
    let irregular = |i: usize| (i * 37 % 101) as f32 / 101.0 - 0.5;
    for (name, count) in arrays {
        dump_array(folder, name, *count, &irregular);
    }
}

fn dump_array(folder: &Path, name: &str, count: usize, number: &dyn Fn(usize) -> f32) {
    let bytes: Vec<u8> = (0..count).flat_map(|i| number(i).to_le_bytes()).collect();
    fs::write(folder.join(format!("{name}.bin")), bytes).expect("written");
}

/// A dump of the peers' first workload with few trajectories.
fn dump(folder: &Path) {
    let (rows, times) = (9, 10);
    let weights = [("W1_params_w1", 100), ("W1_params_b1", 50), ("W1_params_w2", 100), ("W1_params_b2", 2)];
    dump_arrays(folder, &weights);
    dump_arrays(folder, &[("W1_data_y0", rows * 2), ("W1_data_target", times * rows * 2)]);
    dump_array(folder, "W1_data_ts", times, &|i| 1.5 * i as f32 / (times - 1) as f32);
}

#[test]
fn workloads_with_noise_are_timed() {
    let folder = folder();
    let (rows, times) = (9, 30);
    dump_arrays(folder.path(), &[("W3_params_w1", 100), ("W3_params_b1", 50), ("W3_params_w2", 100)]);
    dump_arrays(folder.path(), &[("W3_params_b2", 2), ("W3_params_wg", 4), ("W3_params_bg", 2)]);
    dump_arrays(folder.path(), &[("W3_data_y0", rows * 2), ("W3_data_mean", times * 2), ("W3_data_var", times * 2)]);
    dump_array(folder.path(), "W3_data_ts", times, &|i| i as f32 / (times - 1) as f32);
    let workload = ["bench-workload", "W3", "--dump", ".", "--steps", "1", "--min-seconds", "0", "--threads", "1"];
    for (mode, more, method, nfe) in [
        ("forward", &[][..], "heun-stratonovich/joint/dt=0.01", 200),
        ("train", &["--method", "sosri", "--reg", "biased"], "sosri/joint/dt=0.01/reg=biased", 400),
        ("train", &["--stepping", "adaptive"], "heun-stratonovich/joint/tol=0.01", 0),
    ] {
        let printed = succeed(folder.path(), &[&workload[..], &["--mode", mode], more].concat());
        let line: Value = serde_json::from_str(&printed).expect("stdout is JSON");
        assert_eq!(line["method"], method, "as the peers print it");
        assert!(line["value"].as_f64() > Some(0.0) && line["ms_median"].is_f64(), "{line}");
        assert_eq!(line["nfe"], line["nge"], "the same number of evaluations of drift and diffusion");
        assert!(nfe == 0 || line["nfe"] == nfe, "{nfe} evaluations: {line}");
        assert_eq!(line["grad_norm"].is_f64(), mode == "train", "{line}");
    }
    refuse(folder.path(), &[&workload[..], &["--method", "tsit5"]].concat(), 1, &["--method tsit5", "W3", "sosri"]);
    let missing = ["bench-workload", "W4", "--dump", "."];
    refuse(folder.path(), &missing, 1, &["W4_params_wi.bin", "common.py"]);
}

#[test]
fn a_workload_is_the_same_on_a_device() {
    if !adapter() {
        return;
    }
    let folder = folder();
    dump(folder.path());
    let line = |mode, device| -> Value {
        let args = ["bench-workload", "W1", "--dump", ".", "--steps", "2", "--min-seconds", "0"];
        let printed = succeed(folder.path(), &[&args[..], &["--mode", mode, "--device", device]].concat());
        serde_json::from_str(&printed).expect("stdout is JSON")
    };
    for mode in ["forward", "train"] {
        let (native, device) = (line(mode, "cpu"), line(mode, "gpu"));
        let (a, b) = (native["value"].as_f64().expect("a loss"), device["value"].as_f64().expect("a loss"));
        assert!((a - b).abs() < 1e-4 * a, "{mode}: {a} is about {b}");
        assert_eq!((&native["device"], &device["device"]), (&"cpu".into(), &"gpu".into()), "{mode}: engines");
        assert!(device["adapter"].is_string() && device["backend"].is_string(), "{mode}: {device}");
        assert!(native["adapter"].is_null() && native["waits_per_step"].is_null(), "{mode}: {native}");
        assert_eq!(device["waits_per_step"], 1.0, "{mode}: the host waits once");
        assert_eq!(device["dispatches"].is_u64(), mode == "train", "{mode}: {device}");
    }
}

#[test]
fn devices_that_cannot_be_had_are_named() {
    let folder = folder();
    for bad in ["gpu:x", "gpu:-1", ""] {
        refuse(folder.path(), &["bench", "--device", bad], 2, &["--device", bad]);
    }
    refuse(folder.path(), &["bench", "--device", "gpu:999"], 1, &["--device gpu:999", "no such adapter", "native"]);
    refuse(folder.path(), &["train", "--device", "abacus"], 1, &["--device abacus", "no such adapter"]);
    refuse(folder.path(), &["train", "--device", "gpu", "--precision", "f64"], 1, &["--precision f64", "--device cpu"]);
    assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 0, "nothing is written");
}

#[test]
fn every_adapter_is_listed_with_its_check() {
    let folder = folder();
    let listing = |backend: Option<&str>, args: &[&str]| {
        let mut command = command(folder.path(), args);
        if let Some(backend) = backend {
            command.env("WGPU_BACKEND", backend);
        }
        stdout(&command.output().expect("the command starts"))
    };
    let none = listing(Some("webgpu"), &["devices"]);
    assert!(none.contains("native engine") && none.contains("gpu: no adapter was found"), "{none}");
    if !adapter() {
        return;
    }
    let listing: Value = serde_json::from_str(&listing(None, &["devices", "--json"])).expect("stdout is JSON");
    assert!(listing["native"]["threads"].as_u64() > Some(0), "{listing}");
    for (index, adapter) in listing["adapters"].as_array().expect("a list").iter().enumerate() {
        assert_eq!(adapter["index"].as_u64(), Some(index as u64), "what gpu:N counts");
        assert!(adapter["self_check"]["result"].is_string() && adapter["max_binding"].is_u64(), "{adapter}");
    }
    let output = command(folder.path(), &["devices"]).env_remove("XDG_RUNTIME_DIR").output().expect("started");
    assert_eq!(stderr(&output), "", "no driver looks for a window system");
    assert_eq!(listing["adapters"][0]["self_check"]["result"], "passed", "{listing}");
}

#[test]
fn devices_completions_and_help() {
    let folder = folder();
    let devices = succeed(folder.path(), &["devices"]);
    assert!(devices.contains("cpu: native engine") && devices.contains("thread"), "{devices}");
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(succeed(folder.path(), &["completions", shell]).contains("fewsteps"), "{shell}");
    }
    let help = succeed(folder.path(), &["--help"]);
    assert!(help.contains("Examples:") && help.contains("NFE"), "{help}");
    assert!(!help.contains("bench-workload"), "of no use without the peers' dumps: {help}");
    assert!(succeed(folder.path(), &["--version"]).starts_with("fewsteps "), "version");
    assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 0, "nothing is written");
}
