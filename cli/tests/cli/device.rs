//! The command on a device, workloads, and what it says of devices.

use super::*;

/// Asserts that the losses of two records, a step each, are equal but for what rounding grows to.
pub(super) fn same_losses(a: &Value, b: &Value) {
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

/// A dump of the latent ODE's workload with few records, of which a third of the cells was seen.
fn latent_dump(folder: &Path, rows: usize) {
    let nets =
        [("u", vec![175, 40, 50]), ("r", vec![175, 40, 50]), ("c", vec![175, 40, 100]), ("e", vec![100, 50, 40])];
    let ends = [("f", vec![20, 40, 20, 40, 20, 40, 20, 40, 20]), ("h", vec![20, 37])];
    for (net, sizes) in nets.iter().chain(&ends) {
        for (i, pair) in sizes.windows(2).enumerate() {
            let [weights, biases] = ["w", "b"].map(|part| format!("W7_params_{net}{part}{}", i + 1));
            dump_arrays(folder, &[(&weights, pair[0] * pair[1]), (&biases, pair[1])]);
        }
    }
    dump_arrays(folder, &[("W7_data_x", rows * 49 * 75), ("W7_data_values", 49 * rows * 37)]);
    dump_array(folder, "W7_data_mask", 49 * rows * 37, &|i| f32::from(i.is_multiple_of(3)));
    dump_array(folder, "W7_data_ts", 49, &|i| i as f32 / 48.0);
}

#[test]
fn what_a_workload_finds_is_written_for_the_peers() {
    let folder = folder();
    let at = folder.path();
    latent_dump(at, 3);
    let workload = ["bench-workload", "W7", "--dump", ".", "--steps", "1", "--min-seconds", "0", "--threads", "1"];
    let forward: Value = serde_json::from_str(&succeed(at, &workload)).expect("stdout is JSON");
    fs::create_dir(at.join("found")).expect("made");
    let train = [&workload[..], &["--mode", "train", "--found", "found"]].concat();
    let line: Value = serde_json::from_str(&succeed(at, &train)).expect("stdout is JSON");
    assert!(line["value"].as_f64() != forward["value"].as_f64(), "the bound is not the loss at the mean");
    let bytes = |name: &str| fs::read(at.join(format!("found/W7_found_{name}.bin"))).expect("written");
    let doubles = |name: &str| -> Vec<f64> {
        bytes(name).as_chunks::<8>().0.iter().map(|number| f64::from_le_bytes(*number)).collect()
    };
    assert_eq!(doubles("loss"), [line["value"].as_f64().expect("a loss")], "of the step that is timed first");
    let gradient = bytes("gradient");
    let gradient = gradient.as_chunks::<4>().0.iter().map(|number| f64::from(f32::from_le_bytes(*number)));
    let norm = gradient.map(|g| g * g).sum::<f64>().sqrt();
    let told = line["grad_norm"].as_f64().expect("a norm");
    assert!((norm - told).abs() < 1e-6 * told, "{norm} is {told}");
    let normals = doubles("normals");
    assert_eq!(normals.len(), 3 * 20, "a number a row of the state");
    assert!(normals.iter().all(|e| e.abs() < 6.0) && normals.iter().any(|e| *e < 0.0), "{normals:?}");
    let none = [&workload[..], &["--found", "found"]].concat();
    refuse(at, &none, 1, &["--found", "--mode train"]);
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
