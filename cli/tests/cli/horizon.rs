//! Horizons that grow, and series in segments.

use super::*;

fn curves(folder: &Path, out: &str) -> [Value; 4] {
    outcome(&folder.join(out).join("runs/vanilla-seed0.json"))
}

fn train<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let shared = ["train", "--threads", "1", "--regularization", "vanilla", "--out", out];
    shared.into_iter().chain(more.iter().copied()).collect()
}

/// An oscillation of 41 evenly spaced times with a cell that is empty, and a column of zeros and ones in it.
fn oscillation(folder: &Path, step: impl Fn(usize) -> f64) {
    let row = |i: usize| {
        let t: f64 = (0..i).map(&step).sum();
        let x = if i == 9 { String::new() } else { (2.0 * t).cos().to_string() };
        format!("{t},{x},{}\n", (2.0 * t).sin())
    };
    fs::write(folder.join("s.csv"), "t,x,v\n".to_owned() + &(0..41).map(row).collect::<String>()).expect("written");
}

const SERIES: [&str; 6] = ["--task", "series", "--data", "s.csv", "--time", "t"];

#[test]
fn a_horizon_grows_to_the_whole_and_a_killed_run_goes_on_to_the_same() {
    let folder = folder();
    let args = |out, more: &[&'static str]| {
        let shared = ["--task", "spiral", "--batch", "16", "--steps", "24", "--eval-every", "5", "--curriculum", "16"];
        train(out, &[&shared[..], &["--checkpoint-every", "0"], more].concat())
    };
    succeed(folder.path(), &args("whole", &[]));
    let record = json(&folder.path().join("whole/runs/vanilla-seed0.json"));
    assert_eq!(record["settings"]["curriculum"]["over"], 16);
    let config = &record["settings"]["config"]["model"];
    assert_eq!(config["problem"]["t1"], 1.5, "the settings are of the whole: {}", config["problem"]);
    let info = fewsteps::CheckpointInfo::read(&folder.path().join("whole/checkpoints/vanilla-seed0.safetensors"));
    assert_eq!(
        serde_json::to_value(info.expect("a checkpoint").config.model).expect("JSON"),
        *config,
        "and the checkpoint"
    );
    // Short horizons take fewer evaluations than the whole.
    let nfe: Vec<u64> =
        record["progress"]["curve"]["nfe"].as_array().expect("a curve").iter().flat_map(Value::as_u64).collect();
    assert!(2 * nfe[0] < nfe[23], "{nfe:?}");

    kill_at_first_checkpoint(folder.path(), &args("broken", &[]), "broken/checkpoints/vanilla-seed0.safetensors");
    succeed(folder.path(), &args("broken", &["--resume"]));
    assert_eq!(curves(folder.path(), "broken"), curves(folder.path(), "whole"), "as if never killed");
    // However seldom checkpoints are written, and with them the horizon left.
    succeed(
        folder.path(),
        &args("seldom", &[]).iter().map(|&word| if word == "0" { "99" } else { word }).collect::<Vec<_>>(),
    );
    assert_eq!(curves(folder.path(), "seldom"), curves(folder.path(), "whole"));
    let other = args("whole", &["--resume"]);
    let other: Vec<&str> = other.iter().map(|&word| if word == "16" { "8" } else { word }).collect();
    refuse(folder.path(), &other, 1, &["--curriculum"]);
}

#[test]
fn series_that_are_seen_late_come_in_late() {
    let folder = folder();
    // Of two series that were seen all the time one at least is trained on; the others are seen again late.
    let rows = (0..17).map(|i| format!("{i},a,{0}\n{i},d,{0}\n", 0.1 * f64::from(i)));
    let text = "t,who,x\n".to_owned() + &rows.collect::<String>() + "0,b,1\n16,b,2\n0,c,1\n3,c,2\n";
    fs::write(folder.path().join("s.csv"), text).expect("written");
    let more = ["--id", "who", "--split", "0.3", "--steps", "12", "--curriculum", "8", "--batch", "2"];
    for seed in ["0", "1", "2"] {
        let out = format!("o{seed}");
        succeed(folder.path(), &train(&out, &[&SERIES[..], &more, &["--split-seed", seed]].concat()));
        let record = json(&folder.path().join(&out).join("runs/vanilla-seed0.json"));
        assert_eq!((&record["progress"]["failed"], &record["progress"]["skipped"]), (&0.into(), &0.into()));
    }
}

#[test]
fn segments_of_a_series_are_trained_on() {
    let folder = folder();
    oscillation(folder.path(), |_| 0.1);
    let cut = ["--segments", "4", "--steps", "6", "--validate", "0.3", "--eval-every", "2", "--json"];
    let printed = succeed(folder.path(), &train("o", &[&SERIES[..], &cut].concat()));
    let record: Value = serde_json::from_str(&printed).expect("JSON");
    let own = &record["settings"]["own"]["series"]["segments"];
    assert_eq!((&own["intervals"], &own["continuity"]), (&4.into(), &1.0.into()));
    // 33 times are trained on: starts at 0, 4, 8 (which is whole), 12, ..., 28.
    assert_eq!((&record["settings"]["data"]["train"], &record["settings"]["hold_out"]), (&8.into(), &2.into()));
    let saved = record["settings"]["config"]["model"]["options"]["save_at"]["times"].as_array().expect("times");
    assert_eq!(saved.len(), 4, "evenly spaced, they share their times");
    let checkpoint = "o/checkpoints/vanilla-seed0.safetensors";
    let evaluated = succeed(folder.path(), &["eval", checkpoint, "--threads", "1", "--json"]);
    let evaluated: Value = serde_json::from_str(&evaluated).expect("JSON");
    assert_eq!(evaluated["test"], record["test"], "read again in the same way");
    succeed(folder.path(), &["deploy", checkpoint, "--threads", "1"]);
    let again = train("o", &[&SERIES[..], &cut[..8], &["--resume", "--continuity", "2"]].concat());
    refuse(folder.path(), &again, 1, &["--segments, --continuity"]);

    // Times that are not evenly spaced share the grid of all of them.
    oscillation(folder.path(), |i| if i % 3 == 0 { 0.1 } else { 0.2 });
    let uneven = ["--segments", "4", "--steps", "4", "--curriculum", "2", "--json"];
    let printed = succeed(folder.path(), &train("u", &[&SERIES[..], &uneven].concat()));
    let record: Value = serde_json::from_str(&printed).expect("JSON");
    let saved = record["settings"]["config"]["model"]["options"]["save_at"]["times"].as_array().expect("times");
    assert_eq!(saved.len(), 7, "0.1 to 0.7: {saved:?}");
}

#[test]
fn what_cannot_grow_or_be_cut_is_refused() {
    let folder = folder();
    oscillation(folder.path(), |_| 0.1);
    let run = |more: &[&'static str]| train("o", more);
    for task in ["digits", "moons"] {
        let refused = run(&["--task", task, "--curriculum", "9"]);
        refuse(folder.path(), &refused, 1, &["--curriculum 9", "train without"]);
    }
    refuse(
        folder.path(),
        &run(&["--task", "spiral", "--curriculum", "1000"]),
        1,
        &["--curriculum 1000", "of 1000 steps"],
    );
    refuse(folder.path(), &run(&["--task", "spiral", "--curriculum", "0"]), 2, &["--curriculum", "at least 1"]);
    let series = |more: &[&'static str]| train("o", &[&SERIES[..], more].concat());
    refuse(folder.path(), &series(&["--segments", "0"]), 2, &["--segments", "at least 1"]);
    refuse(folder.path(), &series(&["--continuity", "1"]), 2, &["--segments <N>"]);
    refuse(folder.path(), &series(&["--segments", "4", "--window", "4"]), 2, &["--segments", "--window"]);
    refuse(folder.path(), &series(&["--segments", "4", "--continuity", "-1"]), 1, &["--continuity -1", "not negative"]);
    refuse(folder.path(), &run(&["--segments", "4"]), 1, &["--segments", "series"]);
    fs::write(folder.path().join("m.toml"), "[field]\ntime-input = \"first\"\n").expect("written");
    let sees = series(&["--segments", "4", "--model", "m.toml"]);
    refuse(folder.path(), &sees, 1, &["--segments 4", "time-input"]);
    assert!(!folder.path().join("o").exists(), "nothing is written");
}
