//! Runs that end early and go on, and checkpoints that are evaluated.

use super::*;

#[test]
fn a_killed_run_resumes_to_the_same_bits() {
    let folder = folder();
    let args = |out, more: &[&'static str]| -> Vec<&'static str> {
        let shared = ["train", "--threads", "1", "--batch", "32", "--steps", "60", "--eval-every", "7"];
        shared.into_iter().chain(["--checkpoint-every", "0", "--out", out]).chain(more.iter().copied()).collect()
    };
    succeed(folder.path(), &args("whole", &[]));

    let checkpoint = "broken/checkpoints/local-unbiased-seed0.safetensors";
    kill_at_first_checkpoint(folder.path(), &args("broken", &[]), checkpoint);
    let record = |out: &str| folder.path().join(out).join("runs/local-unbiased-seed0.json");
    assert!(!record("broken").exists(), "killed before its end");

    succeed(folder.path(), &args("broken", &["--resume"]));
    assert_eq!(outcome(&record("broken")), outcome(&record("whole")), "as if never killed");

    let finished = fs::read(record("broken")).expect("a record");
    succeed(folder.path(), &args("broken", &["--resume"]));
    assert_eq!(fs::read(record("broken")).expect("a record"), finished, "a finished run is not run again");
}

#[test]
fn resume_refuses_other_settings() {
    let folder = folder();
    let args = ["--methods", "vanilla"];
    succeed(folder.path(), &tiny(&args));
    let changed = tiny(&[&args[..], &["--resume", "--tol", "1e-4"]].concat());
    refuse(folder.path(), &changed, 1, &["vanilla-seed0.json", "--tol: 0.00001, now 0.0001"]);
    let record = folder.path().join("fewsteps-out/runs/vanilla-seed0.json");
    fs::remove_file(&record).expect("removed");
    refuse(folder.path(), &changed, 1, &["vanilla-seed0.safetensors", "--tol: 0.00001"]);
    succeed(folder.path(), &tiny(&["--methods", "vanilla,local-biased", "--resume"]));
    assert!(record.exists(), "the finished checkpoint became a record again");
}

#[cfg(unix)]
#[test]
fn an_interrupt_leaves_a_checkpoint_and_says_how_to_go_on() {
    let folder = folder();
    let args = ["train", "--threads", "1", "--steps", "100000", "--eval-every", "100000", "--out", "my out"];
    let mut child = command(folder.path(), &[&args[..], &["--checkpoint-every", "0"]].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let checkpoint = folder.path().join("my out/checkpoints/local-unbiased-seed0.safetensors");
    wait_for(&mut child, &checkpoint);
    let message = interrupt(child);
    assert!(message.contains("train --threads 1") && message.contains("'my out'"), "{message}");
    assert!(message.trim_end().ends_with("--resume"), "{message}");
    let evaluated = succeed(folder.path(), &["eval", &checkpoint.to_string_lossy(), "--threads", "1"]);
    assert!(evaluated.contains("of 100000"), "a checkpoint of an unfinished run: {evaluated}");
}

#[test]
fn eval_reads_what_train_wrote() {
    let folder = folder();
    let train = ["train", "--steps", "4", "--threads", "1", "--batch", "32", "--seed", "7", "--precision", "f64"];
    let printed = succeed(folder.path(), &[&train[..], &["--regularization", "vanilla", "--json"]].concat());
    let record: Value = serde_json::from_str(&printed).expect("stdout is JSON");
    let checkpoint = "fewsteps-out/checkpoints/vanilla-seed7.safetensors";
    let evaluate = |more: &[&str]| -> Value {
        let args = [&["eval", checkpoint, "--threads", "1", "--json"][..], more].concat();
        serde_json::from_str(&succeed(folder.path(), &args)).expect("stdout is JSON")
    };
    assert_eq!(evaluate(&[])["test"], record["test"], "the same figures");
    let tight = evaluate(&["--tol", "1e-9"]);
    assert!(tight["test"]["nfe"].as_f64() > record["test"]["nfe"].as_f64(), "a tighter tolerance takes more");
    assert!(succeed(folder.path(), &["eval", checkpoint]).contains("vanilla on digits, seed 7"), "the table");
    refuse(folder.path(), &["eval", checkpoint, "--tol", "0"], 1, &["--tol"]);
    let published = evaluate(&["--controller", "published"]);
    let prompt = evaluate(&["--controller", "i", "--first-step", "1"]);
    assert_eq!(published["test"]["nfe"], record["test"]["nfe_published"], "what training has told of it");
    let [few, many] = [&prompt, &published].map(|found| found["test"]["nfe"].as_f64().expect("a number"));
    assert!(few < many, "start-up is most of it: {few} and {many}");
    refuse(folder.path(), &["eval", checkpoint, "--first-step", "0"], 1, &["--first-step", "positive"]);
    let mut errors = vec![1.0];
    for (method, steps, evaluations) in [("euler", "4", 4.0), ("rk4", "2", 8.0), ("tsit5", "3", 19.0)] {
        let fixed = evaluate(&["--method", method, "--fixed-steps", steps]);
        assert_eq!(fixed["test"]["nfe"].as_f64(), Some(evaluations), "{method}");
        errors.push(fixed["test"]["error"].as_f64().expect("an error"));
    }
    assert!(errors.windows(2).all(|pair| pair[1] < 0.3 * pair[0]), "{errors:?}");
    let [own, start_up] = [&record, &published].map(|found| found["test"]["error"].as_f64().expect("an error"));
    assert!(
        own < 1e-4 && start_up < own,
        "what start-up buys is a smaller error than was asked for: {own}, {start_up}"
    );
    refuse(folder.path(), &["eval", checkpoint, "--method", "rk4"], 1, &["--method", "rk4"]);
    refuse(folder.path(), &["eval", checkpoint, "--fixed-steps", "3", "--tol", "1e-3"], 2, &["--fixed-steps", "--tol"]);
    refuse(folder.path(), &["eval", checkpoint, "--task", "spiral"], 1, &["--task spiral", "digits"]);
}
