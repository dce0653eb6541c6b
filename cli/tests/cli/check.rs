//! Whether local regularization suits a task.

use super::*;

fn reasons(told: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let reasons = told["reasons"].as_array().expect("reasons");
    reasons.iter().map(|reason| (text(&reason["about"]), text(&reason["grade"]))).collect()
}

#[test]
fn the_digits_are_suitable() {
    let folder = folder();
    let printed = succeed(folder.path(), &["check", "--threads", "1", "--json"]);
    let told: Value = serde_json::from_str(&printed).expect("stdout is JSON");
    let out = folder.path().join("fewsteps-out");
    assert_eq!(told, json(&out.join("check.json")), "the same as the file");
    assert_eq!(told["verdict"], "suitable", "{:#}", told["reasons"]);
    let found = &told["found"];
    assert_eq!(found["output_times"], 1, "the last");
    assert!(found["trajectories"].as_f64() > Some(0.05), "another way to the same end: {found}");
    assert!(found["field_error"].as_f64() < Some(1e-6) && found["loss_error"].as_f64() < Some(1e-4), "{found}");
    for (n, name) in ["vanilla-seed0", "local-unbiased-seed0"].iter().enumerate() {
        assert_eq!(found["nfe"][n], json(&out.join("runs").join(format!("{name}.json")))["test"]["nfe"], "{name}");
    }
    let report = fs::read_to_string(out.join("report.html")).expect("a report");
    assert_eq!(report.matches("<svg").count(), 1, "differences against time");
    let text = succeed(folder.path(), &["check", "--threads", "1", "--resume"]);
    assert!(text.contains("verdict: suitable") && text.contains("do not use for system identification"), "{text}");
}

#[test]
fn series_with_saved_times_are_not_or_want_care() {
    let folder = folder();
    let row = |i: usize| {
        let t = i as f64 * 0.25;
        format!("{t},{},{}\n", t.cos() * (-0.1 * t).exp(), t.sin() * (-0.1 * t).exp())
    };
    let text: String = std::iter::once("t,x,y\n".to_owned()).chain((0..24).map(row)).collect();
    fs::write(folder.path().join("series.csv"), text).expect("written");
    let args = ["check", "--task", "series", "--data", "series.csv", "--time", "t", "--threads", "1", "--steps", "200"];
    let printed = succeed(folder.path(), &[&args[..], &["--json"]].concat());
    let told: Value = serde_json::from_str(&printed).expect("stdout is JSON");
    assert!(told["verdict"] == "with-care" || told["verdict"] == "not", "{:#}", told["reasons"]);
    assert!(reasons(&told).contains(&("loss".to_owned(), "with-care".to_owned())), "the way is fitted");
    assert!(told["found"]["output_times"].as_u64() > Some(10), "saved times");
}

#[test]
fn a_check_refuses_what_it_cannot_take() {
    let folder = folder();
    let cases: [(&[&str], &[&str]); 4] = [
        (&["--regularization", "vanilla"], &["--regularization vanilla", "local-*"]),
        (&["--steps-fraction", "2"], &["--steps-fraction 2"]),
        (&["--max-drop", "NaN"], &["--max-drop NaN"]),
        (&["--coefficient", "-1"], &["coefficient"]),
    ];
    for (more, parts) in cases {
        refuse(folder.path(), &[&["check"], more].concat(), 1, parts);
    }
    assert!(!folder.path().join("fewsteps-out").exists(), "before anything is made");
}
