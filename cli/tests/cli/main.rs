//! The built command from outside: what it prints, what it writes, how it fails and how it goes on.

mod bench;
mod check;
mod density;
mod deploy;
mod device;
mod fields;
mod folders;
mod forecast;
mod horizon;
mod hypersolve;
mod irregular;
mod noise;
mod own;
mod profile;
mod refusals;
mod resume;
mod runs;
mod sweep;
mod tune;
mod validation;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use tempfile::TempDir;

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

/// The lines of a folder's `metrics.jsonl`.
fn metrics(out: &Path) -> Vec<Value> {
    let text = fs::read_to_string(out.join("metrics.jsonl")).expect("metrics");
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// The steps of `metrics.jsonl`.
fn steps(out: &Path) -> Vec<u64> {
    metrics(out).iter().map(|line| line["step"].as_u64().expect("a number")).collect()
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
