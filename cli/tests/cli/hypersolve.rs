//! Learnt corrections of few equal steps.

use super::*;

#[test]
fn a_correction_is_compared_with_plain_steps() {
    let folder = folder();
    succeed(folder.path(), &["train", "--steps", "60", "--threads", "1", "--out", "out"]);
    let path = "out/checkpoints/local-unbiased-seed0.safetensors";
    let before = fs::read(folder.path().join(path)).expect("a checkpoint");
    let hypersolve = |more: &[&str]| {
        let all = [&["hypersolve", path, "--threads", "1", "--steps", "2", "--training-steps", "200"], more].concat();
        succeed(folder.path(), &all)
    };
    let told: Value = serde_json::from_str(&hypersolve(&["--base", "midpoint", "--json"])).expect("JSON");
    let rows = told["rows"].as_array().expect("rows");
    let of = |solver: &str| rows.iter().find(|row| row["solver"] == solver).expect(solver);
    let (with, without) = (of("hyper-midpoint, 2 equal steps"), of("midpoint, 2 equal steps"));
    assert_eq!([&with["nfe"], &with["corrections"]], [&serde_json::json!(4.0), &serde_json::json!(2)], "of both");
    assert_eq!([&without["nfe"], &without["corrections"]], [&serde_json::json!(4.0), &serde_json::json!(0)]);
    // The field is 65 -> 64, 65 -> 64 with time and bias, the correction 130 -> 32 -> 64.
    let field = 2 * (64 + 1 + 1) * 64;
    let run = json(&folder.path().join("out/runs/local-unbiased-seed0.json"));
    assert_eq!(rows[0]["nfe"], run["test"]["nfe"], "with the first step that training has learnt");
    let cost = |row: &Value| row["multiply_adds"].as_u64().expect("a count");
    let plain = cost(without);
    assert!(plain >= 4 * (field - 64) && plain <= 4 * field, "four evaluations of about {field}: {plain}");
    assert_eq!(cost(with), plain + 2 * (131 * 32 + 33 * 64), "and two of the correction");
    let [left, residual] = [&told["left"], &told["residual"]].map(|x| x.as_f64().expect("a number"));
    assert!(left < 0.7 * residual, "{left} of {residual} is left");
    let [with, without] = [with, without].map(|row| row["error"].as_f64().expect("a number"));
    assert!(with < without, "nearer with the correction: {with}, {without}");
    let page = folder.path().join("out/checkpoints/local-unbiased-seed0.hypersolver.html");
    assert!(fs::read_to_string(&page).expect("a page").contains("<svg"));
    refuse(folder.path(), &["hypersolve", path], 1, &["hypersolver.html", "--overwrite"]);
    let table = hypersolve(&["--overwrite"]);
    assert!(table.contains("hyper-heun, 2 equal steps") && table.contains("verdict     "), "{table}");
    assert_eq!(fs::read(folder.path().join(path)).expect("a checkpoint"), before, "the checkpoint stays as it is");
}

#[test]
fn what_has_no_correction_is_refused() {
    let folder = folder();
    refuse(folder.path(), &["hypersolve", "there.safetensors", "--base", "rk4"], 2, &["euler, midpoint, heun"]);
    refuse(folder.path(), &["hypersolve", "there.safetensors"], 1, &["there.safetensors"]);
    let train = ["train", "--task", "spiral", "--steps", "2", "--threads", "1", "--batch", "8", "--out", "out"];
    succeed(folder.path(), &train);
    let path = "out/checkpoints/local-unbiased-seed0.safetensors";
    refuse(folder.path(), &["hypersolve", path], 1, &["states at given times", "save at the end"]);
}

/// What is written is a model of its own, which whoever loads it solves as it was measured.
#[test]
fn corrected_steps_are_a_checkpoint_of_their_own() {
    let folder = folder();
    succeed(folder.path(), &["train", "--steps", "60", "--threads", "1", "--out", "out"]);
    let path = "out/checkpoints/local-unbiased-seed0.safetensors";
    let written = "out/checkpoints/local-unbiased-seed0-hyper-midpoint-2.safetensors";
    let shared =
        ["hypersolve", path, "--threads", "1", "--steps", "1", "--training-steps", "200", "--base", "midpoint"];
    let hypersolve = |more: &[&str]| -> Value {
        let all = [&shared[..], &["--json", "--write", "2"], more].concat();
        serde_json::from_str(&succeed(folder.path(), &all)).expect("JSON")
    };
    let told = hypersolve(&[]);
    assert_eq!(told["written"], written);
    let rows = told["rows"].as_array().expect("rows");
    let row = rows.iter().find(|row| row["solver"] == "hyper-midpoint, 2 equal steps").expect("measured too");
    let parsed = |args: &[&str]| -> Value {
        let all = [args, &["--threads", "1", "--json"]].concat();
        serde_json::from_str(&succeed(folder.path(), &all)).expect("JSON")
    };
    let test = parsed(&["eval", written])["test"].clone();
    let same = ["accuracy", "loss", "nfe", "error"].map(|key| (&test[key], &row[key]));
    assert!(same.iter().all(|(test, row)| test == row), "as it was measured: {same:?}");
    assert_eq!([&test["nfe"], &test["nfe_correction"]], [&serde_json::json!(4.0), &serde_json::json!(2.0)], "both");
    assert_eq!(test["step"], 60, "of the training");
    let text = succeed(folder.path(), &["eval", written, "--threads", "1"]);
    assert!(text.contains("hyper-midpoint, 2 equal steps") && text.contains("4.0 of the field, 2.0 of the correction"));
    // Steps of another length would want another correction; a correction of a correction is nobody's.
    refuse(folder.path(), &["eval", written, "--fixed-steps", "3"], 1, &["--fixed-steps", "hyper-midpoint, 2 equal"]);
    refuse(folder.path(), &["hypersolve", written], 1, &["corrected steps already"]);

    let bytes = fs::read(folder.path().join(written)).expect("a checkpoint");
    let again = [&shared[..], &["--write", "2"]].concat();
    fs::remove_file(folder.path().join("out/checkpoints/local-unbiased-seed0.hypersolver.html")).expect("the page");
    refuse(folder.path(), &again, 1, &["--out", "hyper-midpoint-2", "--overwrite", "nothing was changed"]);
    refuse(folder.path(), &[&again[..], &["--out", path, "--overwrite"]].concat(), 1, &["the checkpoint itself"]);
    assert_eq!(fs::read(folder.path().join(written)).expect("a checkpoint"), bytes, "untouched");
    hypersolve(&["--overwrite"]);
    assert_eq!(fs::read(folder.path().join(written)).expect("a checkpoint"), bytes, "the same again, to the bit");

    let deployed = parsed(&["deploy", written, "--samples", "100"]);
    assert_eq!(deployed["test"][0]["test"]["accuracy"], row["accuracy"], "under its own steps");
    assert_eq!(
        deployed["test"][0]["test"]["error"], row["error"],
        "against the solution of the model that was trained"
    );
    let page = folder.path().join("out/checkpoints/local-unbiased-seed0-hyper-midpoint-2.html");
    let page = fs::read_to_string(page).expect("a page");
    assert!(page.contains("an evaluation is 2 of the field and one of the correction"), "what NFE is there");
}
