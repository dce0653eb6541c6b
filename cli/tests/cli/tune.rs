//! A search for the regularizer's coefficient.

use super::*;

const TUNE: [&str; 9] = ["tune", "--steps", "40", "--steps-fraction", "0.2", "--threads", "1", "--batch", "32"];

fn tune<'a>(more: &[&'a str]) -> Vec<&'a str> {
    TUNE.iter().chain(more).copied().collect()
}

#[test]
fn a_search_goes_on_where_it_stopped() {
    let folder = folder();
    let table = succeed(folder.path(), &tune(&["--trials", "2", "--range", "0.01,1"]));
    for part in ["coefficient", "cost: 3 trainings of 8 steps, 0.60 of a whole", "verdict: ", "without"] {
        assert!(table.contains(part), "{part:?} is in\n{table}");
    }
    let out = folder.path().join("fewsteps-out");
    let report = fs::read_to_string(out.join("report.html")).expect("a report");
    assert_eq!(report.matches("<svg").count(), 2, "what is lost, and NFE");
    let told = json(&out.join("tune.json"));
    let of = |told: &Value| -> Vec<f64> {
        let points = told["points"].as_array().expect("points");
        points.iter().map(|point| point["coefficient"].as_f64().expect("a number")).collect()
    };
    // A candidate is every twentieth of a decade: of 41 the 11th and the 31st.
    assert_eq!(of(&told), [0.0, 0.0316, 0.316]);
    assert_eq!(told["beliefs"].as_array().expect("beliefs").len(), 41, "one a candidate");
    let record = |name: &str| fs::read(out.join("runs").join(format!("{name}.json"))).expect(name);
    let names = ["vanilla-seed0", "local-unbiased-0.0316-seed0", "local-unbiased-0.316-seed0"];
    let before = names.map(record);

    let printed = succeed(folder.path(), &tune(&["--trials", "2", "--range", "0.01,1", "--resume", "--json"]));
    let again: Value = serde_json::from_str(&printed).expect("stdout is JSON");
    assert_eq!((&again["points"], &again["words"]), (&told["points"], &told["words"]), "the same answer");
    assert_eq!(names.map(record), before, "what is there is not made again");
    let table = succeed(folder.path(), &tune(&["--trials", "5", "--range", "0.01,1", "--overwrite"]));
    let told = json(&out.join("tune.json"));
    assert!(of(&told).len() <= 6 && of(&told).len() >= 4, "four starts, then as many as are worth it: {table}");
    assert_eq!(of(&told)[..2], [0.0, 0.0178], "of four the first is elsewhere");
    let wider = tune(&["--trials", "2", "--range", "0.001,0.01", "--resume"]);
    refuse(folder.path(), &wider, 1, &["results of other runs", "--range"]);
}

#[test]
fn a_search_takes_any_method_with_a_coefficient() {
    let folder = folder();
    let args = ["--trials", "1", "--regularization", "global-error", "--objective", "time", "--json"];
    let told: Value = serde_json::from_str(&succeed(folder.path(), &tune(&args))).expect("JSON");
    assert_eq!([&told["method"], &told["objective"]].map(Value::as_str), [Some("global-error"), Some("time")]);
    let beliefs = told["beliefs"].as_array().expect("beliefs");
    let [first, last] = [&beliefs[0], &beliefs[beliefs.len() - 1]].map(|at| at["coefficient"].as_f64());
    assert_eq!([first, last], [Some(1e-3), Some(1e2)], "about the method's own tenth");
}

#[test]
fn a_search_refuses_what_cannot_be_searched() {
    let folder = folder();
    let cases: [(&[&str], i32, &[&str]); 9] = [
        (&["--coefficient", "0.1"], 1, &["--coefficient: ", "leave it out"]),
        (&["--target-nfe", "20"], 1, &["--target-nfe: "]),
        (&["--regularization", "steer"], 1, &["--regularization steer", "local-*"]),
        (&["--range", "0,1"], 1, &["--range 0,1", "above 0"]),
        (&["--range", "1,0.1"], 1, &["--range 1,0.1", "the smaller one first"]),
        (&["--range", "NaN,1"], 1, &["--range NaN,1"]),
        (&["--range", "1e-300,1e300"], 1, &["twelve decades"]),
        (&["--range", "1"], 1, &["--range 1", "two numbers"]),
        (&["--trials", "0"], 2, &["--trials"]),
    ];
    for (more, code, parts) in cases {
        refuse(folder.path(), &[&["tune"], more].concat(), code, parts);
    }
    assert!(!folder.path().join("fewsteps-out").exists(), "before anything is made");
}
