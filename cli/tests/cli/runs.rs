//! What a run is made of, and runs that diverge.

use super::*;

fn train<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let shared = ["train", "--threads", "1", "--batch", "32", "--steps", "4", "--regularization", "vanilla"];
    shared.into_iter().chain(more.iter().copied()).collect()
}

const CHECKPOINT: &str = "o/checkpoints/vanilla-seed0.safetensors";

#[test]
fn other_data_are_told_by_count_and_digest() {
    let folder = folder();
    images(folder.path());
    let args = |more: &[&'static str]| train(&[&["--task", "mnist", "--data", "images", "--out", "o"], more].concat());
    succeed(folder.path(), &args(&[]));
    let record = json(&folder.path().join("o/runs/vanilla-seed0.json"));
    let data = &record["settings"]["data"];
    assert_eq!((&data["train"], &data["test"]), (&96.into(), &40.into()), "what was read");
    // Packed otherwise, the data are the same.
    let packed = folder.path().join("images/train-images-idx3-ubyte.gz");
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*fs::read(&packed).expect("there")), &mut plain)
        .expect("gzip");
    fs::write(&packed, &plain).expect("written");
    succeed(folder.path(), &args(&["--resume"]));
    // One pixel is another.
    *plain.last_mut().expect("pixels") ^= 1;
    fs::write(&packed, &plain).expect("written");
    let digest = data["sha256"].as_str().expect("a digest");
    let parts = ["vanilla-seed0.json", "--data (SHA-256 of the samples)", digest, ", now ", "--overwrite"];
    refuse(folder.path(), &args(&["--resume"]), 1, &parts);
    refuse(folder.path(), &args(&["--resume", "--lr", "0.5"]), 1, &["--lr: 0.001, now 0.5", "--data (SHA-256"]);
    succeed(folder.path(), &args(&["--resume", "--overwrite"]));
    let again = json(&folder.path().join("o/runs/vanilla-seed0.json"));
    assert_ne!(again["settings"]["data"]["sha256"], digest, "trained anew on the other data");
}

#[test]
fn a_run_of_an_earlier_version_is_gone_on_with() {
    let folder = folder();
    succeed(folder.path(), &train(&["--out", "o"]));
    let record = folder.path().join("o/runs/vanilla-seed0.json");
    let mut old = json(&record);
    // No data, nothing about skipped updates, and null where a number is not finite.
    old["settings"].as_object_mut().expect("settings").remove("data");
    old["test"]["loss"] = Value::Null;
    fs::write(&record, old.to_string()).expect("written");
    let output = run(folder.path(), &train(&["--out", "o", "--resume"]));
    assert_eq!(output.status.code(), Some(3), "read, and its loss is told: {}", stderr(&output));
    assert!(stderr(&output).contains("test loss is NaN"), "{}", stderr(&output));
}

#[test]
fn fine_tuning_begins_with_the_weights() {
    let folder = folder();
    // Without what solves teach: that is the run's own.
    succeed(folder.path(), &train(&["--out", "o", "--controller", "published"]));
    let evaluate = |checkpoint: &str| -> Value {
        let printed = succeed(folder.path(), &["eval", checkpoint, "--threads", "1", "--json"]);
        serde_json::from_str::<Value>(&printed).expect("stdout is JSON")["test"]["loss"].clone()
    };
    // So small a rate leaves the weights where they were, to the rounding.
    let published = ["--controller", "published"];
    let tuned =
        train(&[&["--seed", "5", "--from", CHECKPOINT, "--lr", "1e-30", "--out", "t"][..], &published].concat());
    succeed(folder.path(), &tuned);
    let record = json(&folder.path().join("t/runs/vanilla-seed5.json"));
    assert_eq!(record["test"]["loss"], evaluate(CHECKPOINT), "the weights of the checkpoint");
    assert_eq!(record["progress"]["curve"]["loss"].as_array().map(Vec::len), Some(4), "but its own steps");
    let resumed = train(&[&["--seed", "5", "--lr", "1e-30", "--out", "t", "--resume"][..], &published].concat());
    refuse(folder.path(), &resumed, 1, &["--from (SHA-256 of the checkpoint)", "now null"]);
    succeed(folder.path(), &train(&["--precision", "f64", "--out", "d"]));
    let double = train(&["--from", "d/checkpoints/vanilla-seed0.safetensors"]);
    refuse(folder.path(), &double, 1, &["--from d/", "its numbers are f64", "add --precision f64"]);
    refuse(
        folder.path(),
        &train(&["--task", "spiral", "--from", CHECKPOINT]),
        1,
        &["--from", "another model", "--task"],
    );
}

#[test]
fn a_run_that_diverges_is_told_kept_and_read_again() {
    let folder = folder();
    moments(folder.path());
    // Such a rate throws the weights where no path can be solved: moments and losses are NaN from there on.
    let args = [&train(&["--lr", "1e6", "--out", "o"])[..], &SPIRAL_SDE].concat();
    let output = run(folder.path(), &args);
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(3), "{message}");
    for part in ["error: vanilla-seed0", "test loss", "from step 2 on", "learning rate 1000000.0", "--lr 0.01"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let record = fs::read(folder.path().join("o/runs/vanilla-seed0.json")).expect("a record");
    let again = run(folder.path(), &[&args[..], &["--resume"]].concat());
    assert_eq!(again.status.code(), Some(3), "read again, and told again: {}", stderr(&again));
    assert_eq!(fs::read(folder.path().join("o/runs/vanilla-seed0.json")).expect("a record"), record, "as it was");
}

#[test]
fn a_diverged_run_does_not_stop_a_benchmark() {
    let folder = folder();
    let bench = |more: &[&'static str]| [&["bench", "--threads", "1", "--batch", "32", "--steps", "4"], more].concat();
    let output = run(folder.path(), &bench(&["--lr", "1e38", "--seeds", "2", "--methods", "vanilla,local-biased"]));
    let said = stdout(&output) + &stderr(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    for run in ["vanilla-seed0", "vanilla-seed1", "local-biased-seed0", "local-biased-seed1"] {
        assert!(said.contains(run), "{run} was made: {said}");
    }
    assert!(said.contains("learning rate"), "{said}");
}

#[test]
fn parameters_that_are_no_numbers_are_not_saved() {
    let folder = folder();
    // At f64 a step of 1e307 leaves the parameters finite, and of what they compute nothing.
    let args = ["--precision", "f64", "--lr", "1e307", "--checkpoint-every", "0", "--out", "o"];
    let output = run(folder.path(), &train(&args));
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(3), "{message}");
    assert!(message.contains("steps fail from step 2 on") && message.contains("try --lr"), "{message}");
    let cpu = fewsteps::Cpu::with_threads(1).expect("a thread");
    let (saved, _) = fewsteps::Trainer::<f64>::resume(&cpu, &folder.path().join(CHECKPOINT)).expect("a checkpoint");
    assert_eq!(saved.steps(), 4, "of the last step");
    assert!(saved.parameters().iter().all(|x| x.is_finite()), "finite");
    assert!(saved.parameters().iter().any(|x| x.abs() > 1e306), "as step 1 left them");
}

#[test]
fn good_runs_exit_with_zero_and_codes_are_told() {
    let folder = folder();
    let help = succeed(folder.path(), &["--help"]);
    assert!(help.contains("Exit codes:") && help.contains("130"), "{help}");
    refuse(folder.path(), &["bench", "--seeds", "18446744073709551615"], 2, &["--seeds", "10000"]);
    refuse(folder.path(), &train(&["--lr", "1e39"]), 1, &["--lr", "finite"]);
}

/// Rewrites what a checkpoint says of itself, in both places where it says it.
fn alter(checkpoint: &[u8], change: impl Fn(&mut Value)) -> Vec<u8> {
    let (length, rest) = checkpoint.split_at(8);
    let length = u64::from_le_bytes(length.try_into().expect("eight bytes")) as usize;
    let mut header: Value = serde_json::from_slice(&rest[..length]).expect("a header");
    let parse = |text: &Value| -> Value { serde_json::from_str(text.as_str().expect("text")).expect("JSON") };
    let mut ours = parse(&header["__metadata__"]["fewsteps"]);
    let mut settings = parse(&ours["metadata"]["settings"]);
    change(&mut ours);
    change(&mut settings);
    ours["metadata"]["settings"] = settings.to_string().into();
    header["__metadata__"]["fewsteps"] = ours.to_string().into();
    let mut header = header.to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    [&(header.len() as u64).to_le_bytes()[..], &header, &rest[length..]].concat()
}

#[test]
fn absurd_sizes_in_a_checkpoint_are_errors() {
    let folder = folder();
    succeed(folder.path(), &train(&["--out", "o"]));
    let whole = fs::read(folder.path().join(CHECKPOINT)).expect("a checkpoint");
    let sizes = |sizes: &[u64]| {
        let sizes = Value::from(sizes);
        alter(&whole, |said| said["config"]["model"]["problem"]["field"]["sizes"] = sizes.clone())
    };
    let cases = [
        sizes(&[64, 1_000_000_000, 64]),
        sizes(&[1 << 62, 1 << 62]),
        sizes(&[64, u64::MAX, 64]),
        sizes(&[]),
        alter(&whole, |said| said["config"]["model"]["head"] = (1u64 << 63).into()),
        alter(&whole, |said| said["config"]["model"]["encoder"] = (1u64 << 40).into()),
        alter(&whole, |said| said["batch"] = 0.into()),
    ];
    for bytes in cases {
        fs::write(folder.path().join("altered.safetensors"), bytes).expect("written");
        refuse(folder.path(), &["eval", "altered.safetensors", "--threads", "1"], 1, &["altered.safetensors"]);
    }
    let same = alter(&whole, |_| {});
    fs::write(folder.path().join("altered.safetensors"), same).expect("written");
    succeed(folder.path(), &["eval", "altered.safetensors", "--threads", "1"]);
}

#[test]
fn a_target_for_nfe_is_part_of_a_run() {
    let folder = folder();
    let local = |more: &[&'static str]| -> Vec<&str> {
        let shared = ["train", "--threads", "1", "--batch", "32", "--steps", "4"];
        [&shared[..], &["--out", "o"], more].concat()
    };
    let printed = succeed(folder.path(), &local(&["--target-nfe", "19", "--json"]));
    let record: Value = serde_json::from_str(&printed).expect("JSON");
    let local_options = &record["settings"]["config"]["regularizer"]["local"];
    assert_eq!((&local_options["budget"]["nfe"], &local_options["step"]), (&19.0.into(), &"ideal".into()));
    assert_eq!(local_options["coefficient"]["constant"], 0.01, "a tenth of the usual one to begin with");
    assert_eq!((&record["budget"]["target"], &record["budget"]["unreachable"]), (&19.0.into(), &false.into()));
    let ideal = record["progress"]["curve"]["ideal_steps"].as_array().expect("one a step");
    assert!(ideal.len() == 4 && ideal.iter().all(|n| n.as_f64().is_some_and(|n| n > 0.0)), "{ideal:?}");
    refuse(folder.path(), &local(&["--target-nfe", "13", "--resume"]), 1, &["--target-nfe: 19.0, now 13.0"]);
    refuse(folder.path(), &local(&["--target-nfe", "0.5"]), 1, &["Budget::nfe", "0.5"]);
    refuse(folder.path(), &local(&["--target-nfe", "9", "--coefficient-to", "1"]), 2, &["--coefficient-to"]);
    let vanilla = ["--target-nfe", "9", "--regularization", "vanilla"];
    refuse(folder.path(), &local(&vanilla), 1, &["--target-nfe", "local-*"]);
    // Every penalty follows one, and those of a sum together.
    let sum = ["train", "--threads", "1", "--steps", "4", "--regularization", "rnode", "--target-nfe", "19"];
    let printed = succeed(folder.path(), &[&sum[..], &["--batch", "32", "--out", "r", "--json"]].concat());
    let record: Value = serde_json::from_str(&printed).expect("JSON");
    let both = record["settings"]["config"]["regularizer"]["all"].as_array().expect("two");
    for measure in both {
        let of = &measure["pointwise"];
        assert_eq!((&of["budget"]["nfe"], &of["coefficient"]["constant"]), (&19.0.into(), &0.001.into()), "{measure}");
    }
    assert_eq!((both.len(), &record["budget"]["target"]), (2, &19.0.into()));
    let model = succeed(folder.path(), &[&sum[..], &["--print-model"]].concat());
    let said = ["coefficient = 0.001", "target-nfe = 19.0"].map(|line| model.matches(line).count());
    assert_eq!(said, [1, 1], "{model}");
}

/// The published solver is the baseline's, whatever the others take; the others tell their NFE under it too.
#[test]
fn the_baseline_is_solved_as_published() {
    let folder = folder();
    let args = tiny(&["--methods", "baseline,vanilla", "--json"]);
    let results: Value = serde_json::from_str(&succeed(folder.path(), &args)).expect("JSON");
    let control =
        |run: usize| &results["runs"][run]["settings"]["config"]["model"]["options"]["step_control"]["adaptive"];
    assert_eq!(control(0)["initial_step"], "automatic");
    assert_eq!(
        (&control(0)["controller"]["finish"], &control(0)["controller"]["initial_error"]),
        (&false.into(), &1e-4.into())
    );
    assert_eq!((&control(1)["initial_step"], &control(1)["controller"]["finish"]), (&"carried".into(), &true.into()));
    let [baseline, vanilla] = [0, 1].map(|method| &results["summary"][method]);
    assert_eq!((&baseline["ratios"]["nfe"], &baseline["nfe_published"]), (&1.0.into(), &Value::Null));
    let nfe = |value: &Value| value["mean"].as_f64().expect("a number");
    // After four steps both models are nearly those that training began with.
    assert!((nfe(&vanilla["nfe_published"]) - nfe(&baseline["nfe"])).abs() <= 6.0, "{results}");
    assert!(nfe(&vanilla["nfe"]) < nfe(&baseline["nfe"]) && nfe(&vanilla["ideal_steps"]) > 0.0, "{results}");
    // The first step is automatic, carried, or a length.
    let checkpoint = "fewsteps-out/checkpoints/vanilla-seed0.safetensors";
    let solved = |first: &str| succeed(folder.path(), &["eval", checkpoint, "--threads", "1", "--first-step", first]);
    assert!(solved("automatic") != solved("1") && solved("carried").contains("of an ideal controller"));
    refuse(folder.path(), &["eval", checkpoint, "--first-step", "long"], 2, &["automatic, carried, or a length"]);
    refuse(folder.path(), &["eval", checkpoint, "--first-step", "-1"], 1, &["InitialStep::Length", "-1"]);
}
