//! What a benchmark prints, and what it leaves.

use super::*;

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
fn global_methods_and_steer_run_and_refuse_what_they_do_not_take() {
    let folder = folder();
    let methods = "vanilla,global-error,global-step-count,global-stiffness,steer,steer+global-error,steer+local-unbiased,taynode-2,taynode-3,rnode,\
                   straightness";
    succeed(folder.path(), &tiny(&["--methods", methods, "--coefficient", "0.1", "--coefficient-to", "0.01"]));
    let results = json(&folder.path().join("fewsteps-out/results.json"));
    let names: Vec<_> =
        results["summary"].as_array().expect("methods").iter().map(|row| row["training"].clone()).collect();
    assert_eq!(names.len(), 11, "{names:?}");
    let weight = ["bench", "--methods", "steer", "--coefficient", "0.1"];
    refuse(folder.path(), &weight, 1, &["--coefficient applies to methods with a penalty of their own"]);
    let measure = ["bench", "--methods", "global-error", "--measure", "error"];
    refuse(folder.path(), &measure, 1, &["--measure applies to local-unbiased and local-biased"]);
}

#[test]
fn the_spiral_reports_a_test_loss() {
    let folder = folder();
    let table = succeed(folder.path(), &tiny(&["--task", "spiral", "--methods", "vanilla"]));
    assert!(table.contains("test loss (MAE)"), "{table}");
    let results = json(&folder.path().join("fewsteps-out/results.json"));
    assert_eq!(results["runs"][0]["test"]["accuracy"], Value::Null, "nothing is classified");
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

/// The adjoints that keep no states train the digits too, and say so; what they cannot do is refused.
#[test]
fn adjoints_are_chosen() {
    let folder = folder();
    for adjoint in ["reversible", "interpolating", "backsolve"] {
        let out = format!("out-{adjoint}");
        let args = ["--methods", "local-unbiased", "--adjoint", adjoint, "--json", "--out", &out];
        let told: Value = serde_json::from_str(&succeed(folder.path(), &tiny(&args))).expect("JSON");
        let run = &told["runs"][0];
        assert_eq!(run["settings"]["config"]["model"]["options"]["adjoint"], adjoint);
        assert!(run["test"]["loss"].as_f64().is_some_and(f64::is_finite), "{adjoint}: {}", run["test"]);
    }
    let biased = tiny(&["--methods", "local-biased", "--adjoint", "backsolve"]);
    refuse(folder.path(), &biased, 1, &["Backsolve", "Local::at"]);
}

/// A row with corrected steps, which finished runs get too, and which is what `hypersolve` finds.
#[test]
fn corrected_steps_are_a_row_of_the_comparison() {
    let folder = folder();
    let shared = tiny(&["--methods", "vanilla", "--out", "o"]);
    succeed(folder.path(), &shared);
    let before = json(&folder.path().join("o/results.json"));
    assert_eq!((&before["hypersolved"], &before["summary"][0]["hypersolver"]), (&Value::Null, &Value::Null), "unasked");
    let table = succeed(folder.path(), &[&shared[..], &["--resume", "--hypersolver"]].concat());
    let results = json(&folder.path().join("o/results.json"));
    assert_eq!(results["runs"], before["runs"], "no run is made anew");
    let found = &results["hypersolved"][0];
    let steps = found["steps"].as_u64().expect("a count");
    let counts = ["nfe", "nfe_correction"].map(|key| found["tested"]["test"][key].as_f64().expect("a count"));
    assert_eq!(counts, [2.0 * steps as f64, steps as f64], "Heun's method and a correction a step");
    let row = &results["summary"][0]["hypersolver"];
    for (key, value) in ["nfe", "nfe_correction"].into_iter().zip(counts) {
        assert_eq!(row[key]["mean"], value, "{key}");
    }
    let ratio = row["nfe_ratio"].as_f64().expect("a ratio");
    let vanilla = results["summary"][0]["nfe"]["mean"].as_f64().expect("a number");
    assert!((ratio - counts[0] / vanilla).abs() < 1e-12, "{ratio}");
    let cell = format!("{:.1} + {:.1}  {ratio:.2}x", counts[0], counts[1]);
    for text in [table, fs::read_to_string(folder.path().join("o/report.html")).expect("a page")] {
        assert!(text.contains("vanilla, hypersolver") && text.contains(&cell), "{cell} in {text}");
        assert!(text.contains("NFE is of the field + of the correction"), "{text}");
    }
    let steps = steps.to_string();
    let alone =
        ["hypersolve", "o/checkpoints/vanilla-seed0.safetensors", "--steps", &steps, "--threads", "1", "--json"];
    let alone: Value = serde_json::from_str(&succeed(folder.path(), &alone)).expect("JSON");
    let same = |key: &str| (found["tested"]["test"][key].clone(), alone["rows"][1][key].clone());
    for key in ["accuracy", "loss", "error"] {
        assert_eq!(same(key).0, same(key).1, "{key}");
    }
    assert_eq!(found["multiply_adds"], alone["rows"][1]["multiply_adds"]);
    let spiral = ["bench", "--task", "spiral", "--hypersolver", "euler", "--out", "p"];
    refuse(folder.path(), &spiral, 1, &["--hypersolver", "states at given times"]);
    assert!(!folder.path().join("p").exists(), "before anything is trained");
}

/// Rankings follow from the runs: evaluations where a method is good enough, seconds up to the first evaluation that is, and
/// memory; `--reach` says what is good enough, also of runs that are there.
#[test]
fn methods_are_ranked_where_they_are_good_enough() {
    let folder = folder();
    let methods = ["--methods", "vanilla,local-unbiased", "--seeds", "2", "--out", "o"];
    let sizes = ["bench", "--steps", "4", "--threads", "1", "--batch", "32", "--eval-every", "2"];
    let bench = |more: &[&str]| -> (Value, String) {
        let text = succeed(folder.path(), &[&sizes[..], &methods[..], more].concat());
        (json(&folder.path().join("o/results.json")), text)
    };
    let list = |results: &Value, key: &str| results["rankings"][key].as_array().expect("a list").clone();
    let (results, text) = bench(&["--reach", "0"]);
    assert!(text.contains("soonest good enough") && text.contains("an accuracy of at least 0.00 %"), "{text}");
    let page = fs::read_to_string(folder.path().join("o/report.html")).expect("a page");
    assert!(page.contains("<h2>Ranked</h2>") && page.contains("one every 2 steps, not interpolated"));
    for method in ["vanilla", "local-unbiased"] {
        let runs: Vec<&Value> = results["runs"].as_array().expect("runs").iter().collect();
        let runs = || runs.iter().filter(|run| run["settings"]["training"] == method);
        let place = |key: &str, name: &str| -> f64 {
            let ranking = list(&results, key);
            let found = ranking.iter().find(|place| place["name"] == name).expect(name);
            assert_eq!(found["reached"], true, "{key} of {name}");
            found["value"].as_f64().expect("a number")
        };
        let seconds: f64 = runs()
            .flat_map(|run| run["progress"]["curve"]["seconds"].as_array().expect("a list").iter().take(2))
            .map(|seconds| seconds.as_f64().expect("a number"))
            .sum();
        assert!(
            (place("seconds", method) / (seconds / 2.0) - 1.0).abs() < 1e-9,
            "two of four steps, mean of two seeds"
        );
        let bytes = runs().map(|run| run["training_bytes"].as_u64().expect("a count")).max().expect("two runs");
        assert_eq!(place("bytes", method), bytes as f64);
        let summary = results["summary"].as_array().expect("a list");
        let own = summary.iter().find(|row| row["training"] == method).expect("there");
        assert_eq!(place("nfe", method), own["nfe"]["mean"].as_f64().expect("a number"));
        let deployed = format!("{method}, deployed");
        assert_eq!(place("nfe", &deployed), own["deployed"]["nfe"]["mean"].as_f64().expect("a number"));
    }
    for key in ["nfe", "seconds", "bytes"] {
        let values: Vec<f64> = list(&results, key).iter().map(|place| place["value"].as_f64().expect("one")).collect();
        assert!(values.is_sorted() && values.len() == if key == "nfe" { 4 } else { 2 }, "{key}: {values:?}");
    }
    let (results, text) = bench(&["--resume", "--reach", "100"]);
    assert!(list(&results, "seconds").iter().all(|place| place["reached"] == false && place["value"].is_null()));
    assert!(text.contains("(vanilla: not reached)") && text.contains(": not good enough)"), "{text}");
    let (results, _) = bench(&["--resume"]);
    let level = results["rankings"]["level"].as_f64().expect("a number");
    let accuracies = || results["summary"].as_array().expect("a list").iter().map(|row| row["accuracy"].clone());
    let best = accuracies().max_by(|a, b| a["mean"].as_f64().partial_cmp(&b["mean"].as_f64()).expect("numbers"));
    let best = best.expect("two methods");
    let [mean, std] = ["mean", "std"].map(|key| best[key].as_f64().expect("a number"));
    assert!((level - (mean - (std / 2f64.sqrt()).max(0.002))).abs() < 1e-12, "{level} of {mean} and {std}");
    refuse(folder.path(), &[&sizes[..], &methods[..], &["--reach", "NaN"]].concat(), 1, &["--reach", "finite"]);
}
