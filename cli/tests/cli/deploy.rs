//! The solver that predictions need: chosen, written, used.

use fewsteps::{CheckpointInfo, Cpu, Trainer};

use super::*;

const CHECKPOINT: &str = "o/checkpoints/local-unbiased-seed0.safetensors";

/// Trains on the digits for some steps.
fn trained(steps: &str) -> TempDir {
    let folder = folder();
    let shared = ["train", "--controller", "published", "--threads", "1", "--batch", "64", "--out", "o"];
    succeed(folder.path(), &[&shared[..], &["--steps", steps]].concat());
    folder
}

fn parsed(folder: &Path, args: &[&str]) -> Value {
    serde_json::from_str(&succeed(folder, &[args, &["--threads", "1", "--json"]].concat())).expect("stdout is JSON")
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is a number"))
}

fn read(folder: &Path, path: &str) -> Vec<u8> {
    fs::read(folder.join(path)).expect("the file is there")
}

/// What is chosen is the cheapest within the limits, is written, and is what `eval` and the library predict with.
#[test]
fn the_cheapest_solver_is_chosen_written_and_used() {
    let folder = trained("60");
    let before = parsed(folder.path(), &["eval", CHECKPOINT]);
    assert_eq!(before["deployed"], false, "nothing was chosen");
    let info = CheckpointInfo::read(&folder.path().join(CHECKPOINT)).expect("a checkpoint");

    let found = parsed(folder.path(), &["deploy", CHECKPOINT, "--max-drop", "1", "--max-error", "0.01"]);
    let scores = found["scores"].as_array().expect("scores");
    let allowed = |score: &Value| number(&score["drop"]) <= 0.01 && number(&score["error"]) <= 0.01;
    let chosen = &scores[found["chosen"].as_u64().expect("a position") as usize];
    let cheapest = scores.iter().filter(|score| allowed(score)).map(|score| number(&score["nfe"]));
    assert_eq!(number(&chosen["nfe"]), cheapest.fold(f64::INFINITY, f64::min), "the cheapest: {chosen}");
    assert!(number(&chosen["nfe"]) < 0.5 * number(&before["test"]["nfe"]), "it is much cheaper");
    assert_eq!((&found["samples"], &found["seen"]), (&1437.into(), &true.into()), "training samples, which were seen");
    assert_eq!(scores[0]["solver"], "tsit5 at 1e-5", "the training's first");
    assert_eq!((&scores[0]["drop"], &scores[0]["agreement"]), (&0.0.into(), &1.0.into()), "which loses nothing");
    for score in scores {
        // Agreement bounds what can be lost.
        let lost = number(&scores[0]["accuracy"]) - number(&score["accuracy"]);
        assert!(lost.abs() <= 1.0 - number(&score["agreement"]) + 1e-12, "{score}");
        assert!(lost <= number(&score["drop"]), "the bound is one: {score}");
    }
    let front: Vec<&Value> = found["front"].as_array().expect("a list").iter().collect();
    let of = |name: &str| -> Vec<f64> {
        front.iter().map(|i| number(&scores[i.as_u64().expect("a position") as usize][name])).collect()
    };
    assert!(of("nfe").windows(2).all(|pair| pair[0] < pair[1]), "dearer, {:?}", of("nfe"));
    assert!(of("error").windows(2).all(|pair| pair[0] > pair[1]), "and nearer, {:?}", of("error"));
    assert_eq!(found["test"][0]["test"]["accuracy"], before["test"]["accuracy"], "the test set, as eval has it");

    let after = parsed(folder.path(), &["eval", CHECKPOINT]);
    assert_eq!((&after["deployed"], &after["options"]), (&true.into(), &chosen["options"]), "eval takes it");
    assert_eq!(after["test"]["accuracy"], found["test"][1]["test"]["accuracy"], "with these figures");
    assert_eq!(after["test"]["nfe"], found["test"][1]["test"]["nfe"], "with these figures");
    for way in [&["--training-solver"][..], &["--tol", "1e-5"]] {
        let back = parsed(folder.path(), &[&["eval", CHECKPOINT], way].concat());
        assert_eq!((&back["deployed"], &back["test"]), (&false.into(), &before["test"]), "{way:?}");
    }
    let text = succeed(folder.path(), &["eval", CHECKPOINT, "--threads", "1"]);
    assert!(text.contains("deployed; --training-solver takes tsit5 at 1e-5"), "{text}");

    let path = folder.path().join(CHECKPOINT);
    let deployed = CheckpointInfo::read(&path).expect("a checkpoint");
    assert_eq!((deployed.config, deployed.metadata), (info.config, info.metadata), "nothing else has changed");
    let solver = deployed.deployed.expect("chosen");
    assert_eq!((solver.nfe, solver.samples, solver.finetuned), (chosen["nfe"].as_f64(), 1437, 0));
    let (model, _) = Trainer::<f32>::deployed(&Cpu::with_threads(1).expect("a thread"), &path).expect("loads");
    assert_eq!(model.config().model.options, solver.options, "the library has it");

    let page = String::from_utf8(read(folder.path(), "o/checkpoints/local-unbiased-seed0.html")).expect("text");
    assert!(page.starts_with("<!DOCTYPE html>") && page.trim_end().ends_with("</html>"), "a whole page");
    assert_eq!((page.matches("<svg").count(), page.matches("<tr>").count() > scores.len()), (2, true), "all of them");
    // Trained on, it has other weights: what was chosen for the old ones is gone.
    let on = [
        "train",
        "--controller",
        "published",
        "--threads",
        "1",
        "--batch",
        "64",
        "--steps",
        "61",
        "--out",
        "o",
        "--resume",
    ];
    succeed(folder.path(), &on);
    assert_eq!(CheckpointInfo::read(&path).expect("a checkpoint").deployed, None, "of other weights");
}

#[test]
fn what_cannot_be_deployed_is_refused_and_left_alone() {
    let folder = trained("4");
    let whole = read(folder.path(), CHECKPOINT);
    for (args, code, parts) in [
        (&["--max-drop", "-1"][..], 1, &["--max-drop -1", "at least 0"][..]),
        (&["--max-drop", "inf"], 1, &["--max-drop inf", "finite"]),
        (&["--max-error", "0"], 1, &["--max-error 0", "positive"]),
        (&["--max-error", "1e-30"], 1, &["--max-error 1e-30", "allow more"]),
        (&["--finetune", "0"], 2, &["--finetune", "at least 1"]),
        (&["--out", CHECKPOINT], 1, &["--out", "nothing was changed", "--overwrite"]),
        (&["--samples", "0"], 2, &["--samples", "at least 1"]),
    ] {
        refuse(folder.path(), &[&["deploy", CHECKPOINT, "--threads", "1"], args].concat(), code, parts);
    }
    refuse(folder.path(), &["deploy", "none.safetensors"], 1, &["none.safetensors"]);
    assert_eq!(read(folder.path(), CHECKPOINT), whole, "as it was");
    // The page beside it has a name of its own, and may not take another file's place unasked.
    let page = "o/checkpoints/local-unbiased-seed0.html";
    fs::write(folder.path().join(page), "mine").expect("written");
    refuse(folder.path(), &["deploy", CHECKPOINT], 1, &[page, "nothing was changed", "--out", "--overwrite"]);
    refuse(folder.path(), &["deploy", CHECKPOINT, "--out", "x.html", "--overwrite"], 1, &["--out x.html", "another"]);
    assert_eq!((read(folder.path(), page), read(folder.path(), CHECKPOINT)), (b"mine".to_vec(), whole.clone()));
    // Elsewhere, the checkpoint stays as it is.
    let found = parsed(folder.path(), &["deploy", CHECKPOINT, "--out", "other.safetensors", "--samples", "100"]);
    assert_eq!((&found["samples"], &found["written"]), (&100.into(), &"other.safetensors".into()));
    assert_eq!(found["max_error"], 0.01, "samples that were seen say little");
    assert!(number(&found["drop"]) > number(&found["asked_drop"]), "so few show less than was asked for");
    assert_eq!(read(folder.path(), CHECKPOINT), whole, "as it was");
    assert!(CheckpointInfo::read(&folder.path().join("other.safetensors")).expect("ours").deployed.is_some());

    images(folder.path());
    let data = ["--task", "mnist", "--data", "images"];
    succeed(
        folder.path(),
        &[&["train", "--threads", "1", "--batch", "32", "--steps", "2", "--out", "m"], &data[..]].concat(),
    );
    let checkpoint = "m/checkpoints/local-unbiased-seed0.safetensors";
    fs::remove_dir_all(folder.path().join("images")).expect("removed");
    images_of(folder.path(), 128);
    let args = ["deploy", checkpoint, "--data", "images", "--threads", "1"];
    refuse(folder.path(), &args, 1, &["--data", "not the samples", "m/checkpoints"]);
}

#[test]
fn a_finetuned_model_is_told_under_both_solvers() {
    let folder = trained("60");
    let whole = read(folder.path(), CHECKPOINT);
    let tuned = "o/checkpoints/local-unbiased-seed0-deployed.safetensors";
    let found = parsed(folder.path(), &["deploy", CHECKPOINT, "--finetune", "5", "--max-drop", "2"]);
    assert_eq!(read(folder.path(), CHECKPOINT), whole, "another file is written");
    assert_eq!((&found["finetuned"]["steps"], &found["finetuned"]["skipped"]), (&5.into(), &0.into()));
    let chosen = &found["scores"][found["chosen"].as_u64().expect("a position") as usize];
    assert!(chosen["options"]["step_control"]["fixed"].is_object(), "equal steps: {chosen}");
    let tests = &found["finetuned"]["test"];
    assert_ne!(tests[1]["test"]["loss"], found["test"][1]["test"]["loss"], "other weights");
    for (index, way) in [(0, &["--training-solver"][..]), (1, &[])] {
        let evaluated = parsed(folder.path(), &[&["eval", tuned], way].concat());
        for name in ["loss", "nfe", "error"] {
            assert_eq!(evaluated["test"][name], tests[index]["test"][name], "{way:?}: {name}");
        }
        assert_eq!(evaluated["test"]["step"], 65, "five more");
    }
    let info = CheckpointInfo::read(&folder.path().join(tuned)).expect("a checkpoint");
    assert_eq!(info.deployed.expect("chosen").finetuned, 5);
    refuse(
        folder.path(),
        &["deploy", CHECKPOINT, "--finetune", "5", "--threads", "1"],
        1,
        &["-deployed", "--overwrite"],
    );
    let text = succeed(folder.path(), &["deploy", CHECKPOINT, "--finetune", "1", "--overwrite", "--threads", "1"]);
    assert!(text.contains("finetuned") && text.contains("residual network"), "{text}");
}

/// Samples that are held out have no part in training, and are what is chosen on.
#[test]
fn samples_may_be_kept_out_of_training() {
    let folder = folder();
    images(folder.path());
    let train = |out: &'static str| {
        let shared =
            ["train", "--task", "mnist", "--data", "images", "--threads", "1", "--batch", "16", "--steps", "8"];
        succeed(folder.path(), &[&shared[..], &["--hold-out", "20", "--out", out]].concat());
        json(&folder.path().join(out).join("runs/local-unbiased-seed0.json"))
    };
    let first = train("a");
    // The last twenty images are others.
    let packed = folder.path().join("images/train-images-idx3-ubyte.gz");
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*fs::read(&packed).expect("there")), &mut plain)
        .expect("gzip");
    let length = plain.len();
    plain[length - 20 * 784..].fill(200);
    fs::write(&packed, &plain).expect("written");
    let second = train("b");
    assert_ne!(first["settings"]["data"], second["settings"]["data"], "other data");
    assert_eq!(first["progress"]["curve"]["loss"], second["progress"]["curve"]["loss"], "not seen in training");
    let found =
        parsed(folder.path(), &["deploy", "b/checkpoints/local-unbiased-seed0.safetensors", "--data", "images"]);
    assert_eq!((&found["samples"], &found["seen"]), (&20.into(), &false.into()));
    assert!(found["max_error"].is_null(), "unseen ones say enough");
    let train = ["train", "--threads", "1", "--batch", "128", "--hold-out"];
    refuse(folder.path(), &[&train[..], &["1400"]].concat(), 1, &["--hold-out 1400", "hold out fewer"]);
    moments(folder.path());
    refuse(folder.path(), &[&train[..], &["20"], &SPIRAL_SDE].concat(), 1, &["--hold-out 20", "leave it out"]);
}

#[test]
fn trajectories_and_paths_are_deployed_too() {
    let folder = folder();
    moments(folder.path());
    for (task, batch) in [(&["--task", "spiral"][..], "64"), (&SPIRAL_SDE, "10")] {
        let train = ["train", "--threads", "1", "--steps", "3", "--tol", "0.1", "--out", "o", "--overwrite", "--batch"];
        succeed(folder.path(), &[&train[..], &[batch], task].concat());
        let data = if task.len() > 2 { &task[2..] } else { &[] };
        let found = parsed(folder.path(), &[&["deploy", CHECKPOINT, "--max-drop", "50", "--overwrite"], data].concat());
        let scores = found["scores"].as_array().expect("scores");
        assert!(scores.iter().all(|score| score["accuracy"].is_null()), "nothing is classified");
        let chosen = &scores[found["chosen"].as_u64().expect("a position") as usize];
        assert!(number(&chosen["drop"]) <= 0.5 && number(&chosen["nfe"]) > 0.0, "{chosen}");
        let evaluated = parsed(folder.path(), &[&["eval", CHECKPOINT], data].concat());
        assert_eq!(evaluated["test"]["loss"], found["test"][1]["test"]["loss"], "eval takes it");
    }
}

#[test]
fn a_device_chooses_as_the_native_engine_does() {
    if !adapter() {
        return;
    }
    let folder = trained("20");
    let choose = |device: &str| {
        let args = ["deploy", CHECKPOINT, "--finetune", "1", "--overwrite", "--samples", "64", "--device", device];
        parsed(folder.path(), &args)
    };
    let [device, native] = ["gpu", "cpu"].map(choose);
    assert_eq!(device["chosen"], native["chosen"], "the same solver");
    for name in ["nfe", "accuracy", "drop"] {
        let of = |found: &Value| -> Vec<Value> {
            found["scores"].as_array().expect("scores").iter().map(|score| score[name].clone()).collect()
        };
        assert_eq!(of(&device), of(&native), "{name}");
    }
}
