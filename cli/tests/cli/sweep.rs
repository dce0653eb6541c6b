//! What the coefficient of a regularizer does: a row of short trainings, and what is told of them.

use super::*;

const SWEEP: [&str; 9] = ["sweep", "--steps", "20", "--steps-fraction", "0.2", "--threads", "1", "--batch", "32"];

fn sweep<'a>(more: &[&'a str]) -> Vec<&'a str> {
    SWEEP.iter().chain(more).copied().collect()
}

#[test]
fn a_sweep_compares_and_goes_on_with_more_coefficients() {
    let folder = folder();
    let table = succeed(folder.path(), &sweep(&["--coefficients", "0.1,0"]));
    for part in
        ["coefficient", "sensitivity: d ln NFE / d ln lambda = ", "cost: 2 trainings of 4 steps, 0.40 of a whole"]
    {
        assert!(table.contains(part), "{part:?} is in\n{table}");
    }
    assert!(table.contains("verdict: ") && table.contains("tolerance: 0.2 points"), "{table}");
    let out = folder.path().join("fewsteps-out");
    let report = fs::read_to_string(out.join("report.html")).expect("a report");
    assert!(report.starts_with("<!DOCTYPE html>") && report.trim_end().ends_with("</html>"), "a whole page");
    assert_eq!(report.matches("<svg").count(), 2, "accuracy and NFE");
    assert_eq!(metrics(&out).len(), 8, "a line a step");
    let record = |name: &str| fs::read(out.join("runs").join(format!("{name}.json"))).expect(name);
    let names = ["vanilla-seed0", "local-unbiased-0.1-seed0"];
    let before = names.map(record);

    let printed = succeed(folder.path(), &sweep(&["--coefficients", "1,0.1", "--resume", "--json"]));
    let told: Value = serde_json::from_str(&printed).expect("stdout is JSON");
    assert_eq!(told, json(&out.join("sweep.json")), "the same as the file");
    assert_eq!(names.map(record), before, "what is there is not made again");
    let points = told["points"].as_array().expect("points");
    let of = |key: &str| points.iter().map(|point| point[key].clone()).collect::<Vec<_>>();
    assert_eq!(of("coefficient"), [0.0, 0.1, 1.0], "in their order");
    assert_eq!(points[0]["penalty"], Value::Null, "there is none without a regularizer");
    for (point, name) in points.iter().zip(["vanilla-seed0", "local-unbiased-0.1-seed0", "local-unbiased-1-seed0"]) {
        let run = json(&out.join("runs").join(format!("{name}.json")));
        assert_eq!(point["nfe"]["mean"], run["test"]["nfe"], "{name}");
        assert_eq!(point["accuracy"]["mean"], run["test"]["accuracy"], "{name}");
        let curve = &run["progress"]["curve"];
        assert_eq!(curve["coefficient"][0], point["coefficient"], "{name} was trained so");
        if name != "vanilla-seed0" {
            assert_eq!(point["penalty"], curve["penalty"][3], "the last of four steps is the last tenth");
        }
    }

    let again = |more: &[&'static str]| sweep(&[&["--resume"], more].concat());
    refuse(folder.path(), &again(&["--coefficients", "0.1"]), 1, &["local-unbiased-1-seed0", "--coefficients"]);
    refuse(folder.path(), &again(&["--coefficients", "0.1,1", "--lr", "0.5"]), 1, &["--lr: 0.006, now 0.5"]);
    let bench = tiny(&["--methods", "vanilla", "--resume", "--out", "fewsteps-out"]);
    refuse(folder.path(), &bench, 1, &["sweep.json", "--overwrite", "nothing was changed"]);
}

#[test]
fn a_sweep_is_of_losses_too() {
    let folder = folder();
    let table = succeed(folder.path(), &sweep(&["--task", "spiral", "--coefficients", "1e-3", "--max-drop", "3"]));
    assert!(table.contains("test loss") && table.contains("tolerance: 3 % of loss"), "{table}");
}

#[test]
fn a_sweep_refuses_what_says_the_coefficient_otherwise() {
    let folder = folder();
    let cases: [(&[&str], i32, &[&str]); 12] = [
        (&["--coefficient", "0.1"], 1, &["--coefficient: ", "leave it out"]),
        (&["--coefficient-to", "0.1"], 1, &["--coefficient-to: "]),
        (&["--target-nfe", "20"], 1, &["--target-nfe: "]),
        (&["--regularization", "vanilla"], 1, &["--regularization vanilla", "local-*"]),
        (&["--steps-fraction", "0"], 1, &["--steps-fraction 0", "at most 1"]),
        (&["--steps-fraction", "1.5"], 1, &["--steps-fraction 1.5"]),
        (&["--steps-fraction", "NaN"], 1, &["--steps-fraction NaN"]),
        (&["--max-drop", "-1"], 1, &["--max-drop -1"]),
        (&["--coefficients", "0"], 1, &["--coefficients", "one above 0"]),
        (&["--coefficients", "0.1,-3"], 1, &["--coefficients -3"]),
        (&["--coefficients", "many"], 2, &["--coefficients"]),
        (&["--seeds", "0"], 2, &["--seeds", "at least 1"]),
    ];
    for (more, code, parts) in cases {
        refuse(folder.path(), &[&["sweep"], more].concat(), code, parts);
    }
    assert!(!folder.path().join("fewsteps-out").exists(), "before anything is made");
    fs::write(folder.path().join("run.json"), "{}").expect("written");
    refuse(folder.path(), &["sweep", "--config", "run.json"], 1, &["--config: ", "bench --config"]);
}
