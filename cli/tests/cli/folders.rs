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

/// Starts a training and kills it as soon as its first checkpoint is there.
fn kill_at_first_checkpoint(folder: &Path, args: &[&str], checkpoint: &str) {
    let mut child = command(folder, args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
    while !folder.join(checkpoint).exists() {
        assert_eq!(child.try_wait().expect("waited"), None, "still training");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().expect("killed");
    child.wait().expect("ended");
}

#[test]
fn the_default_folder_is_a_new_one_each_time() {
    let folder = folder();
    let bench = tiny(&["--methods", "vanilla"]);
    succeed(folder.path(), &bench);
    let first = contents(&folder.path().join("fewsteps-out"));
    let second = run(folder.path(), &bench);
    assert!(second.status.success(), "{}", stderr(&second));
    assert!(stderr(&second).contains("this one goes to fewsteps-out-2"), "{}", stderr(&second));
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
    let mut first = command(folder.path(), &train(&[&long[..], &["--out", "o"]].concat()))
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    let checkpoint = folder.path().join("o/checkpoints/vanilla-seed0.safetensors");
    while !checkpoint.exists() {
        assert_eq!(first.try_wait().expect("waited"), None, "still training");
        std::thread::sleep(Duration::from_millis(1));
    }
    for more in [&["--resume"][..], &["--overwrite"], &["--seed", "1"]] {
        let args = train(&[&long[..], &["--out", "o"], more].concat());
        refuse(folder.path(), &args, 1, &["o: another fewsteps writes to this folder", "--out"]);
    }
    first.kill().expect("killed");
    first.wait().expect("ended");
    succeed(folder.path(), &train(&["--steps", "2", "--out", "o", "--seed", "1"]));
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
    let child =
        command(folder.path(), &long).arg(name).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    let checkpoint = folder.path().join(name).join("checkpoints/vanilla-seed0.safetensors");
    while !checkpoint.exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill is there");
    assert!(kill.success(), "the signal is sent");
    let output = child.wait_with_output().expect("ended");
    assert_eq!(output.status.code(), Some(130), "as shells report Ctrl-C");
    let message = stderr(&output);
    assert!(message.contains(r"--out $'o\xff\x1b[2J' --resume"), "{message}");
    assert!(!message.contains('\u{1b}'), "nothing reaches the terminal raw");
}

#[cfg(unix)]
#[test]
fn an_interrupt_before_the_first_step_writes_nothing() {
    let folder = folder();
    moments(folder.path());
    // The lock is the first thing that is made, long after the signal is caught; reading a slow folder takes its time.
    let child = command(folder.path(), &[&train(&["--steps", "100000", "--out", "o"])[..], &SPIRAL_SDE].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    while !folder.path().join("o/.fewsteps.lock").exists() {
        std::thread::yield_now();
    }
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill is there");
    assert!(kill.success(), "the signal is sent");
    let output = child.wait_with_output().expect("ended");
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(stderr(&output).contains("interrupted"), "{}", stderr(&output));
    assert!(files(folder.path()).iter().all(|name| !name.ends_with(".json")), "no record");
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
