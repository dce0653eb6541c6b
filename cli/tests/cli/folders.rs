//! What becomes of what is in a folder already.

use super::*;

/// A training of few steps, quick but for its start.
fn train<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let shared = ["train", "--threads", "1", "--batch", "32", "--regularization", "vanilla"];
    shared.into_iter().chain(more.iter().copied()).collect()
}

/// Every file below `folder` with its contents, but for the lock.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else if path.file_name().is_some_and(|name| name != ".fewsteps.lock") {
            found.push((path.to_string_lossy().into_owned(), fs::read(&path).expect("read")));
        }
    }
    found.sort();
    found
}

#[test]
fn the_default_folder_is_a_new_one_each_time() {
    let folder = folder();
    let bench = tiny(&["--methods", "vanilla"]);
    succeed(folder.path(), &bench);
    let first = contents(&folder.path().join("fewsteps-out"));
    let second = run(folder.path(), &bench);
    assert!(second.status.success(), "{}", stderr(&second));
    assert!(stderr(&second).contains("output goes to fewsteps-out-2"), "{}", stderr(&second));
    assert!(stdout(&second).contains("fewsteps-out-2/report.html"), "{}", stdout(&second));
    succeed(folder.path(), &train(&["--steps", "3"]));
    succeed(folder.path(), &train(&["--steps", "3", "--seed", "7"]));
    assert!(folder.path().join("fewsteps-out/runs/vanilla-seed7.json").exists(), "what clashes with nothing fits in");
    assert!(folder.path().join("fewsteps-out-3/runs/vanilla-seed0.json").exists(), "what clashes does not");
    for (path, bytes) in first.into_iter().filter(|(path, _)| !path.ends_with("metrics.jsonl")) {
        assert!(fs::read(&path).expect("still there") == bytes, "{path} is as it was");
    }
    succeed(folder.path(), &train(&["--steps", "4", "--resume"]));
    let record = |out: &str| json(&folder.path().join(out).join("runs/vanilla-seed0.json"));
    assert_eq!(record("fewsteps-out-3")["settings"]["steps"], 4, "the last folder with such a run is gone on with");
    assert_eq!(record("fewsteps-out-2")["settings"]["steps"], 4, "and the bench's is its own");
    fs::remove_dir_all(folder.path().join("fewsteps-out")).expect("removed");
    let resumed = run(folder.path(), &train(&["--steps", "5", "--resume"]));
    assert!(stderr(&resumed).contains("fewsteps-out-2 holds such runs too"), "{}", stderr(&resumed));
    assert_eq!(record("fewsteps-out-3")["settings"]["steps"], 5, "still the last");
    let anew = run(folder.path(), &train(&["--steps", "2", "--seed", "99", "--resume"]));
    assert!(anew.status.success() && stderr(&anew).contains("holds none of these runs"), "{}", stderr(&anew));
}

#[test]
fn a_folder_that_holds_a_run_is_refused_with_the_ways_to_go_on() {
    let folder = folder();
    let args = |more: &[&'static str]| train(&[&["--out", "o"], more].concat());
    succeed(folder.path(), &args(&["--steps", "4"]));
    let before = contents(folder.path());
    let ways = ["--out o", "vanilla-seed0 (finished)", "nothing was changed", "--resume", "--overwrite", "--out o-2"];
    // A shorter run, one of other settings, and the same.
    for more in [&["--steps", "2"][..], &["--steps", "4", "--lr", "0.1"], &["--steps", "4"]] {
        refuse(folder.path(), &args(more), 1, &ways);
    }
    refuse(folder.path(), &["bench", "--steps", "4", "--methods", "vanilla", "--out", "o"], 1, &ways);
    assert!(contents(folder.path()) == before, "nothing was changed indeed");
    fs::remove_file(folder.path().join("o/runs/vanilla-seed0.json")).expect("removed");
    refuse(folder.path(), &args(&["--steps", "4"]), 1, &["vanilla-seed0 (unfinished)", "--resume", "--overwrite"]);
    let results = folder.path().join("p/results.json");
    fs::create_dir(folder.path().join("p")).expect("made");
    fs::write(&results, "somebody else's").expect("written");
    refuse(folder.path(), &["bench", "--out", "p"], 1, &["results.json", "--overwrite", "--out p-2"]);
    assert_eq!(fs::read_dir(folder.path().join("p")).expect("listed").count(), 1, "nothing was made there");
}

#[test]
fn the_old_goes_when_the_new_is_whole() {
    let folder = folder();
    let args = |more: &[&'static str]| train(&[&["--out", "o", "--checkpoint-every", "0"], more].concat());
    succeed(folder.path(), &args(&["--steps", "4"]));
    let old = contents(folder.path());
    let other = ["--lr", "0.001", "--overwrite"];
    let long = args(&[&other[..], &["--steps", "100000", "--eval-every", "100000"]].concat());
    kill_at_first_checkpoint(folder.path(), &long, "o/checkpoints/vanilla-seed0.new.safetensors");
    for (path, bytes) in &old {
        assert!(fs::read(path).expect("still there") == *bytes, "{path} is as it was while the new one is made");
    }
    succeed(folder.path(), &args(&[&other[..], &["--steps", "40"]].concat()));
    let record = json(&folder.path().join("o/runs/vanilla-seed0.json"));
    assert_eq!((&record["settings"]["learning_rate"], &record["settings"]["steps"]), (&0.001.into(), &40.into()));
    assert_eq!(steps(&folder.path().join("o")), (1..=40).collect::<Vec<_>>(), "the lines of the new one");
    let evaluated = succeed(folder.path(), &["eval", "o/checkpoints/vanilla-seed0.safetensors", "--threads", "1"]);
    assert!(evaluated.contains("step 40 of 40"), "the checkpoint too: {evaluated}");
    let names: Vec<String> = contents(folder.path()).into_iter().map(|(path, _)| path).collect();
    assert!(names.iter().all(|name| !name.contains(".new.")) && names.len() == 3, "nothing is left over: {names:?}");
}

#[test]
fn more_steps_go_on_to_the_same_bits_and_fewer_are_told() {
    let folder = folder();
    let args = |out, steps, more: &[&'static str]| train(&[&["--out", out, "--steps", steps], more].concat());
    succeed(folder.path(), &args("whole", "12", &[]));
    succeed(folder.path(), &args("o", "5", &["--eval-every", "5"]));
    refuse(folder.path(), &args("o", "3", &["--resume"]), 1, &["--steps 3", "5 steps", "as many or more", "--out"]);
    succeed(folder.path(), &args("o", "12", &["--resume", "--eval-every", "4"]));
    let curve = |out: &str| {
        let record = json(&folder.path().join(out).join("runs/vanilla-seed0.json"));
        (
            record["progress"]["curve"]["loss"].clone(),
            record["test"]["loss"].clone(),
            record["settings"]["steps"].clone(),
        )
    };
    assert_eq!(curve("o"), curve("whole"), "as if never ended");
    assert_eq!(steps(&folder.path().join("o")), (1..=12).collect::<Vec<_>>(), "a line a step");
}

#[test]
fn two_runs_do_not_write_to_one_folder() {
    let folder = folder();
    let long = ["--steps", "100000", "--eval-every", "100000", "--checkpoint-every", "0"];
    let mut first = command(folder.path(), &train(&long)).stderr(Stdio::null()).spawn().expect("started");
    wait_for(&mut first, &folder.path().join("fewsteps-out/checkpoints/vanilla-seed0.safetensors"));
    let out = ["--out", "fewsteps-out"];
    for more in [&["--resume"][..], &["--overwrite"], &["--seed", "1"]] {
        let args = train(&[&long[..], &out, more].concat());
        refuse(folder.path(), &args, 1, &["fewsteps-out: another fewsteps writes to this folder", "--out"]);
    }
    let beside = run(folder.path(), &train(&["--steps", "2", "--seed", "1"]));
    let message = stderr(&beside);
    assert!(beside.status.success(), "{message}");
    assert!(message.contains("fewsteps-out is written to by another fewsteps now"), "{message}");
    assert!(message.contains("output goes to fewsteps-out-2"), "{message}");
    first.kill().expect("killed");
    first.wait().expect("ended");
    succeed(folder.path(), &train(&[&out[..], &["--steps", "2", "--seed", "1"]].concat()));
}

#[test]
fn temporaries_of_killed_runs_are_removed_and_no_other_files() {
    let folder = folder();
    let checkpoints = folder.path().join("o/checkpoints");
    fs::create_dir_all(&checkpoints).expect("made");
    let (ours, others) = (".fewsteps-Xq31ab.tmp", ["notes.tmp", ".tmpXq31ab", "x.safetensors"]);
    for name in others.iter().chain([&ours]) {
        fs::write(checkpoints.join(name), name).expect("written");
    }
    succeed(folder.path(), &train(&["--steps", "2", "--out", "o"]));
    assert!(!checkpoints.join(ours).exists(), "ours is gone");
    assert!(others.iter().all(|name| checkpoints.join(name).exists()), "the others stay");
}

#[cfg(unix)]
#[test]
fn pipes_and_folders_are_no_files() {
    let folder = folder();
    let pipe = |name: &str| {
        let made = Command::new("mkfifo").arg(folder.path().join(name)).status().expect("mkfifo is there");
        assert!(made.success(), "{name} is made");
    };
    pipe("pipe");
    fs::create_dir(folder.path().join("folder")).expect("made");
    for name in ["pipe", "folder"] {
        refuse(folder.path(), &["eval", name], 1, &[name, "not a regular file"]);
        refuse(folder.path(), &train(&["--from", name]), 1, &[name, "not a regular file"]);
    }
    fs::create_dir_all(folder.path().join("o/runs")).expect("made");
    fs::create_dir_all(folder.path().join("o/checkpoints/vanilla-seed0.safetensors")).expect("made");
    refuse(folder.path(), &train(&["--out", "o", "--resume"]), 1, &["vanilla-seed0.safetensors", "regular file"]);
    pipe("o/runs/vanilla-seed0.json");
    refuse(folder.path(), &train(&["--out", "o", "--resume"]), 1, &["vanilla-seed0.json", "not a regular file"]);
    refuse(folder.path(), &train(&["--out", "o"]), 1, &["vanilla-seed0"]);
    refuse(folder.path(), &["bench-workload", "W1", "--dump", "pipe"], 1, &["W1_"]);
}

#[cfg(unix)]
#[test]
fn any_bytes_may_name_the_folder_and_the_hint_spells_them() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = folder();
    let name = OsStr::from_bytes(b"o\xff\x1b[2J");
    let long = train(&["--steps", "100000", "--eval-every", "100000", "--checkpoint-every", "0", "--out"]);
    let mut child =
        command(folder.path(), &long).arg(name).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    wait_for(&mut child, &folder.path().join(name).join("checkpoints/vanilla-seed0.safetensors"));
    let message = interrupt(child);
    assert!(message.contains(r"--out $'o\xff\x1b[2J' --resume"), "{message}");
    assert!(!message.contains('\u{1b}'), "nothing reaches the terminal raw");
}

/// What is said when there is nothing to go on with, and so no way to do so.
#[cfg(unix)]
fn nothing_was_reached(message: &str) {
    assert!(message.contains("interrupted before a step was made"), "{message}");
    assert!(!message.contains("To go on") && !message.contains("kept"), "{message}");
}

/// Linux tells from when on a process catches the signal; these data take it much longer to read.
#[cfg(target_os = "linux")]
#[test]
fn an_interrupt_before_the_folder_is_opened_writes_nothing() {
    let folder = folder();
    images(folder.path());
    let count = 100_000u32;
    let pack = |name: &str, header: &[u32], body: Vec<u8>| {
        let file = fs::File::create(folder.path().join(format!("images/train-{name}-ubyte.gz"))).expect("created");
        let mut encoder = GzEncoder::new(file, Compression::fast());
        let header: Vec<u8> = header.iter().flat_map(|word| word.to_be_bytes()).collect();
        encoder.write_all(&[header, body].concat()).expect("written");
        encoder.finish().expect("written");
    };
    pack("images-idx3", &[0x0803, count, 28, 28], vec![0; 784 * count as usize]);
    pack("labels-idx1", &[0x0801, count], (0..count).map(|i| (i % 10) as u8).collect());
    let args = train(&["--steps", "2", "--out", "o", "--task", "mnist", "--data", "images"]);
    let mut child =
        command(folder.path(), &args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    let catches = |child: &Child| {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).expect("a process");
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("a mask");
        u64::from_str_radix(caught.trim(), 16).expect("a number") & 2 != 0
    };
    while !catches(&child) {
        assert_eq!(child.try_wait().expect("waited"), None, "still reading");
    }
    nothing_was_reached(&interrupt(child));
    assert!(!folder.path().join("o").exists(), "nothing was made");
}

#[cfg(unix)]
#[test]
fn an_interrupt_before_the_first_step_offers_nothing_to_go_on_with() {
    let folder = folder();
    // The lock is made first; then it takes its time to pass over other lines.
    fs::create_dir(folder.path().join("o")).expect("made");
    fs::write(folder.path().join("o/metrics.jsonl"), "{\"run\":\"another\",\"step\":1}\n".repeat(1 << 20))
        .expect("written");
    let mut child = command(folder.path(), &train(&["--steps", "100000", "--out", "o"]))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    wait_for(&mut child, &folder.path().join("o/.fewsteps.lock"));
    nothing_was_reached(&interrupt(child));
    assert_eq!(files(folder.path()), [".fewsteps.lock", "metrics.jsonl"], "no checkpoint, no record");
}

#[test]
fn as_many_steps_as_were_made_end_with_their_evaluation() {
    let folder = folder();
    moments(folder.path());
    // Stopped without an evaluation, and with one that was none of the last step.
    for (out, every) in [("o", "100000"), ("p", "1")] {
        let checkpoint = format!("{out}/checkpoints/vanilla-seed0.safetensors");
        let shared =
            [&train(&["--out", out, "--checkpoint-every", "0", "--eval-every", every])[..], &SPIRAL_SDE].concat();
        kill_at_first_checkpoint(folder.path(), &[&shared[..], &["--steps", "100000"]].concat(), &checkpoint);
        let args = ["eval", &checkpoint, "--data", "spiral", "--threads", "1", "--json"];
        let reached: Value = serde_json::from_str(&succeed(folder.path(), &args)).expect("stdout is JSON");
        let steps = reached["test"]["step"].to_string();
        succeed(folder.path(), &[&shared[..], &["--steps", &steps, "--resume"]].concat());
        let record = json(&folder.path().join(out).join("runs/vanilla-seed0.json"));
        assert_eq!(record["test"], reached["test"], "of the last step, with other numbers of paths");
        let evaluations = record["progress"]["evaluations"].as_array().expect("a list");
        let of: Vec<_> = evaluations.iter().map(|found| found["step"].as_u64().expect("a step")).collect();
        assert!(of.is_sorted_by(|a, b| a < b) && evaluations.last() == Some(&record["test"]), "each step once: {of:?}");
    }
}

#[test]
fn results_of_other_runs_are_not_replaced_by_going_on() {
    let folder = folder();
    let bench = |methods: &'static str| tiny(&["--out", "o", "--methods", methods]);
    succeed(folder.path(), &bench("vanilla,local-biased"));
    let before = contents(folder.path());
    let other = [&bench("local-unbiased")[..], &["--resume"]].concat();
    let ways = ["results of other runs, vanilla-seed0, local-biased-seed0", "--methods", "--overwrite", "--out o-2"];
    refuse(folder.path(), &other, 1, &ways);
    assert!(contents(folder.path()) == before, "nothing was changed");
    succeed(folder.path(), &[&bench("local-unbiased,local-biased,vanilla")[..], &["--resume"]].concat());
    let methods = |results: &Value| results["summary"].as_array().map(Vec::len);
    assert_eq!(methods(&json(&folder.path().join("o/results.json"))), Some(3), "of all");
    succeed(folder.path(), &[&other[..], &["--overwrite"]].concat());
    assert_eq!(methods(&json(&folder.path().join("o/results.json"))), Some(1), "as was asked for");
}

/// A file that is not to grow is as good as a disk that is full.
#[cfg(unix)]
#[test]
fn a_full_disk_ends_a_benchmark() {
    let folder = folder();
    let limited = "trap '' XFSZ; ulimit -f 16; exec \"$0\" \"$@\"";
    let output = Command::new("sh")
        .current_dir(folder.path())
        .args(["-c", limited, env!("CARGO_BIN_EXE_fewsteps")])
        .args(tiny(&["--methods", "vanilla,local-biased", "--out", "o"]))
        .output()
        .expect("a shell");
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    for part in ["error: vanilla-seed0: the checkpoint cannot be written", "the command ends here", "--out o --resume"]
    {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert!(!message.contains("local-biased-seed0"), "the next would have met the same: {message}");
}

#[test]
fn what_a_file_says_does_not_reach_the_terminal_raw() {
    let folder = folder();
    succeed(folder.path(), &train(&["--steps", "2", "--out", "o"]));
    let record = folder.path().join("o/runs/vanilla-seed0.json");
    let text = fs::read_to_string(&record).expect("a record");
    fs::write(&record, text.replace("\"digits\"", "\"\\u001b[2J\\u009b31m\"")).expect("written");
    let output = run(folder.path(), &train(&["--steps", "2", "--out", "o", "--resume"]));
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains(r"\u001b[2J\u009b31m"), "{message}");
    assert!(!message.contains(['\u{1b}', '\u{9b}']), "escaped: {message:?}");
}
