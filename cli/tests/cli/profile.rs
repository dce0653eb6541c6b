//! `fewsteps profile`: where a training step's time goes.

use super::own::number;
use super::*;

const STEPS: [&str; 5] = ["profile", "--calls", "3", "--batch", "32"];

fn profile(folder: &Path, more: &[&str]) -> Value {
    serde_json::from_str(&succeed(folder, &[&STEPS[..], &["--json"], more].concat())).expect("stdout is JSON")
}

fn parts(profile: &Value) -> Vec<(String, f64)> {
    let parts = profile["parts"].as_array().expect("parts");
    parts.iter().map(|part| (part["name"].as_str().expect("a name").to_owned(), number(&part["ms"]))).collect()
}

#[test]
fn the_native_engine_tells_its_parts() {
    let folder = folder();
    let at = folder.path();
    let found = profile(at, &["--threads", "1", "--regularization", "local-biased"]);
    let parts = parts(&found);
    let names: Vec<&str> = parts.iter().map(|part| part.0.as_str()).collect();
    assert_eq!(names, ["solve", "loss", "backward", "update"]);
    let sum: f64 = parts.iter().map(|part| part.1).sum();
    let wall = number(&found["wall_ms"]);
    assert!(sum <= wall && sum > 0.5 * wall, "{sum} of {wall} ms");
    assert!(parts.iter().all(|part| part.1 > 0.0) && number(&found["nfe"]) >= 6.0, "{found}");
    assert_eq!((&found["method"], &found["steps"], &found["batch"]), (&"local-biased".into(), &3.into(), &32.into()));
    let table = succeed(at, &[&STEPS[..], &["--threads", "1"]].concat());
    for line in
        ["digits, local-unbiased, batch 32, on native engine, 1 thread", "encoder and solve", "walk back", "share"]
    {
        assert!(table.contains(line), "{line:?} in {table}");
    }
    assert_eq!(fs::read_dir(at).expect("the folder").count(), 0, "no file is written");
    refuse(at, &["profile", "--config", "x.json"], 1, &["--config", "leave it out"]);
    refuse(at, &["profile", "--calls", "0"], 2, &["--calls"]);
}

#[test]
fn a_device_tells_its_kernels() {
    if !adapter() {
        return;
    }
    let folder = folder();
    let found = profile(folder.path(), &["--device", "gpu", "--regularization", "vanilla"]);
    let device = &found["device"];
    let of_parts: f64 =
        found["parts"].as_array().expect("kernels").iter().map(|part| number(&part["dispatches"])).sum();
    assert_eq!((number(&device["dispatches"]), &device["untimed"]), (of_parts, &0.into()), "{found}");
    assert_eq!((number(&device["waits"]), number(&device["bytes_read"])), (1.0, 128.0), "one wait and one small read");
    let parts = parts(&found);
    assert!(parts.windows(2).all(|pair| pair[0].1 >= pair[1].1), "the longest first: {parts:?}");
    assert!(parts.iter().any(|part| part.0 == "update") && parts.iter().all(|part| part.1 >= 0.0), "{parts:?}");
    let table = succeed(folder.path(), &[&STEPS[..], &["--device", "gpu"]].concat());
    assert!(table.contains("dispatches") && table.contains("the host waits 1.0 times a step"), "{table}");
}
