//! What is refused, and how it is said.

use super::*;

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
