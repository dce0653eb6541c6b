//! Tables and series of one's own: what is learnt from them, and what is refused.

use super::*;

/// Numbers from 0 to 1 without a pattern, the same everywhere.
fn scatter(i: usize) -> f64 {
    ((i as f64 + 1.0) * 0.754_877_666_246_692_7).fract()
}

/// Two half circles that reach into each other.
fn moons(folder: &Path, rows: usize) {
    let row = |i: usize| {
        let (angle, noise) = (std::f64::consts::PI * scatter(i), 0.3 * (scatter(7 * i + 3) - 0.5));
        let (x, y, kind) = match i % 2 {
            0 => (angle.cos() + noise, angle.sin() - noise, "upper"),
            _ => (1.0 - angle.cos() + noise, 0.4 - angle.sin() + noise, "lower"),
        };
        format!("{i},{x},{y},{kind},remark\n")
    };
    let text: String = std::iter::once("nr,x,y,kind,note\n".to_owned()).chain((0..rows).map(row)).collect();
    fs::write(folder.join("moons.csv"), text).expect("written");
}

const MOONS: [&str; 9] = ["train", "--task", "csv", "--data", "moons.csv", "--label", "kind", "--inputs", "x,y"];

/// Damped oscillations from several starts.
pub(super) fn oscillations(folder: &Path, series: usize) {
    let rows = (0..series).flat_map(|s| {
        let (phase, size) = (6.0 * scatter(s), 1.0 + scatter(s + 50));
        (0..25).map(move |i| {
            let t = 0.25 * i as f64;
            let (a, b) = (size * (-0.2 * t).exp(), 1.5 * t + phase);
            format!("{t},{s},{},{}\n", 10.0 + 4.0 * a * b.cos(), a * b.sin())
        })
    });
    let text: String = std::iter::once("t,run,height,speed\n".to_owned()).chain(rows).collect();
    fs::write(folder.join("swing.csv"), text).expect("written");
}

pub(super) const SWING: [&str; 9] = ["train", "--task", "series", "--data", "swing.csv", "--time", "t", "--id", "run"];

pub(super) fn with<'a>(base: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [base, &["--threads", "1"], more].concat()
}

fn record(folder: &Path, args: &[&str]) -> Value {
    serde_json::from_str(&succeed(folder, &[args, &["--json"]].concat())).expect("stdout is JSON")
}

pub(super) fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

#[test]
fn two_moons_are_told_apart() {
    let folder = folder();
    moons(folder.path(), 500);
    let run = record(folder.path(), &with(&MOONS, &["--steps", "300", "--batch", "64", "--out", "o"]));
    assert!(number(&run["test"]["accuracy"]) > 0.95, "{}", run["test"]);
    let own = &run["settings"]["own"]["csv"];
    assert_eq!(own["output"]["label"]["classes"], serde_json::json!(["lower", "upper"]), "in the alphabet's order");
    assert_eq!((&run["settings"]["data"]["train"], &run["settings"]["data"]["test"]), (&400.into(), &100.into()));
    // The checkpoint knows its data, columns and scales.
    let checkpoint = "o/checkpoints/local-unbiased-seed0.safetensors";
    let evaluated: Value =
        serde_json::from_str(&succeed(folder.path(), &["eval", checkpoint, "--threads", "1", "--json"])).expect("JSON");
    assert_eq!(evaluated["test"]["loss"], run["test"]["loss"], "the same rows, scaled alike");
    // Rows of another file, whose own mean and deviation are others.
    let text = fs::read_to_string(folder.path().join("moons.csv")).expect("there");
    let upper: Vec<&str> = text.lines().filter(|line| !line.contains("lower")).collect();
    fs::write(folder.path().join("upper.csv"), upper.join("\n")).expect("written");
    let evaluated: Value = serde_json::from_str(&succeed(
        folder.path(),
        &["eval", checkpoint, "--test", "upper.csv", "--threads", "1", "--json"],
    ))
    .expect("JSON");
    assert!(number(&evaluated["test"]["accuracy"]) > 0.95, "scaled as in training: {}", evaluated["test"]);
    fs::write(folder.path().join("third.csv"), "x,y,kind\n1,2,middle\n3,4,upper\n").expect("written");
    let parts = ["third.csv: line 2, column \"kind\"", "\"middle\"", "lower, upper"];
    refuse(folder.path(), &["eval", checkpoint, "--test", "third.csv"], 1, &parts);
    refuse(
        folder.path(),
        &with(&MOONS, &["--steps", "300", "--raw", "--out", "o", "--resume"]),
        1,
        &["--raw", "--data"],
    );
}

#[test]
fn a_regression_explains_its_targets() {
    let folder = folder();
    let row = |i: usize| {
        let (a, b) = (4.0 * scatter(i) - 2.0, 100.0 * scatter(3 * i + 1));
        format!("{a};{b};{};{}\n", a.sin() + 0.01 * b, 1e3 - 2.0 * b)
    };
    let text: String = std::iter::once("a;b;wave;line\n".to_owned()).chain((0..400).map(row)).collect();
    fs::write(folder.path().join("t.csv"), text).expect("written");
    let args = ["train", "--task", "csv", "--data", "t.csv", "--targets", "wave,line", "--threads", "1"];
    let run = record(folder.path(), &with(&args[..7], &["--steps", "300", "--batch", "64"]));
    // Losses are relative to the targets' variance.
    assert!(number(&run["test"]["loss"]) < 0.02, "98 % is explained: {}", run["test"]);
    assert_eq!(run["test"]["accuracy"], Value::Null, "nothing is classified");
    // A benchmark of the same, with its table and report.
    let bench = ["bench", "--methods", "vanilla,local-biased", "--steps", "5", "--out", "b"];
    let printed = succeed(folder.path(), &[&bench[..], &args[1..]].concat());
    assert!(printed.contains("task csv") && printed.contains("test loss (MSE)"), "{printed}");
    assert!(fs::read_to_string(folder.path().join("b/report.html")).expect("a report").contains("test loss (MSE)"));
}

#[test]
fn damped_oscillations_are_followed() {
    let folder = folder();
    oscillations(folder.path(), 10);
    let run = record(folder.path(), &with(&SWING, &["--steps", "300", "--out", "o"]));
    let losses: Vec<f64> = run["progress"]["curve"]["loss"].as_array().expect("a curve").iter().map(number).collect();
    assert!(losses[299] < 0.1 * losses[0], "from {} to {}", losses[0], losses[299]);
    assert!(number(&run["test"]["loss"]) < 0.1 * losses[0], "the two other series too: {}", run["test"]);
    assert_eq!(run["settings"]["config"]["loss"], "mse");
    // The same checkpoint at other times, and the end of a series after its beginning.
    let text = fs::read_to_string(folder.path().join("swing.csv")).expect("there");
    let some: Vec<&str> = text.lines().enumerate().filter(|(i, _)| i % 25 != 3).map(|(_, line)| line).collect();
    fs::write(folder.path().join("some.csv"), some.join("\n")).expect("written");
    let checkpoint = "o/checkpoints/local-unbiased-seed0.safetensors";
    let printed = succeed(folder.path(), &["eval", checkpoint, "--test", "some.csv", "--threads", "1", "--json"]);
    let evaluated: Value = serde_json::from_str(&printed).expect("JSON");
    assert!(number(&evaluated["test"]["loss"]) < 0.1 * losses[0], "{}", evaluated["test"]);
    let later = record(folder.path(), &with(&SWING, &["--steps", "20", "--horizon", "4", "--out", "h"]));
    let saved = &later["settings"]["config"]["model"]["options"]["save_at"]["times"];
    assert_eq!(saved.as_array().map(Vec::len), Some(16), "times after the first up to 4: {saved}");
    assert!(number(&later["test"]["loss"]).is_finite() && later["test"]["failed"] == 0, "{}", later["test"]);
    // How the first one is followed, in the units of the data, stands in the record and on the page.
    let followed = &later["followed"];
    assert_eq!((&followed["trained"], &followed["states"][0]["name"]), (&16.into(), &"height".into()));
    let observed = cells(&text);
    let given: Vec<f64> = followed["states"][0]["given"].as_array().expect("a list").iter().map(number).collect();
    for (row, (height, time)) in
        observed[2..26].iter().zip(given.iter().zip(followed["times"].as_array().expect("times")))
    {
        let [t, h] = [0, 2].map(|column| row[column].parse::<f64>().expect("a number"));
        assert!((t - number(time)).abs() < 1e-9 && (h - height).abs() < 1e-4, "{row:?}: {time} {height}");
    }
    let bench = [&["bench", "--methods", "vanilla", "--steps", "2", "--out", "r"], &SWING[1..], &["--threads", "1"]];
    succeed(folder.path(), &bench.concat());
    let page = fs::read_to_string(folder.path().join("r/report.html")).expect("a report");
    assert!(page.contains("What was learnt") && page.contains("vanilla: speed"), "figures");
}

#[test]
fn bad_tables_and_options_are_named() {
    let folder = folder();
    let at = folder.path();
    moons(at, 20);
    oscillations(at, 3);
    let write = |name: &str, text: &str| fs::write(at.join(name), text).expect("written");
    write("bad.csv", "x,y,kind\n1,2,a\n3,oops,b\n4,,a\n");
    let csv = |more: &[&'static str]| with(&["train", "--task", "csv"], more);
    refuse(at, &csv(&[]), 1, &["csv needs its data", "--data FILE"]);
    refuse(at, &csv(&["--data", "none.csv", "--label", "kind"]), 1, &["none.csv"]);
    refuse(at, &csv(&["--data", ".", "--label", "kind"]), 1, &["is a folder"]);
    refuse(at, &csv(&["--data", "moons.csv"]), 1, &["--label COLUMN", "--targets A,B", "nr, x, y, kind, note"]);
    refuse(at, &csv(&["--data", "moons.csv", "--label", "sort"]), 1, &["--label \"sort\"", "nr, x, y, kind, note"]);
    let parts = ["bad.csv: line 3, column \"y\"", "\"oops\" is not a finite number"];
    refuse(at, &csv(&["--data", "bad.csv", "--label", "kind", "--split", "0.1"]), 1, &parts);
    write("bad.csv", "x,y,kind\n1,2,a\n3,5,b\n4,,a\n");
    refuse(at, &csv(&["--data", "bad.csv", "--label", "kind"]), 1, &["line 4, column \"y\"", "empty"]);
    refuse(at, &csv(&["--data", "moons.csv", "--label", "kind", "--time", "x"]), 1, &["--time", "of --task series"]);
    refuse(at, &with(&["train", "--raw"], &[]), 1, &["--raw", "of --task csv and series", "digits"]);
    refuse(at, &csv(&["--data", "moons.csv", "--label", "kind", "--targets", "x"]), 2, &["--targets"]);
    let text = fs::read_to_string(at.join("swing.csv")).expect("there");
    write("ragged.csv", &text.replacen("\n0,1,", "\n0.1,1,", 1));
    let ragged: Vec<&str> = SWING.iter().map(|&word| if word == "swing.csv" { "ragged.csv" } else { word }).collect();
    refuse(at, &with(&ragged, &[]), 1, &["ragged.csv: series \"1\", begins at 0.1", "others at 0"]);
    refuse(at, &with(&SWING, &["--horizon", "99"]), 1, &["--horizon 99", "from 0 to 6"]);
    write("time.toml", "[field]\ntime-input = \"first\"\n");
    refuse(at, &with(&SWING, &["--window", "4", "--model", "time.toml"]), 1, &["--window 4", "which the field sees"]);
    assert!(!at.join("fewsteps-out").exists(), "no output folder is made");
}

#[test]
fn a_single_oscillation_is_learnt_from_its_pieces() {
    let folder = folder();
    // Five periods, of which the last is tested on.
    let row = |i: usize| {
        let angle = std::f64::consts::TAU * i as f64 / 12.0;
        format!("{},{},{}\n", 1950 + i, 40.0 + 20.0 * angle.cos(), 7.0 * angle.sin())
    };
    let text: String = std::iter::once("year,prey,hunters\n".to_owned()).chain((0..60).map(row)).collect();
    fs::write(folder.path().join("cycle.csv"), text).expect("written");
    let args = ["train", "--task", "series", "--data", "cycle.csv", "--time", "year", "--steps", "300"];
    let losses = |more: &[&str]| {
        let run = record(folder.path(), &with(&args, more));
        assert!(run["test"]["failed"] == 0, "{}", run["test"]);
        (number(&run["test"]["loss"]), run["settings"]["data"]["train"].clone())
    };
    let (whole, series) = losses(&[]);
    let (pieces, count) = losses(&["--window", "6"]);
    assert_eq!((series, count), (1.into(), (48 - 5).into()), "a series, and its pieces");
    // Both are tested on the last fifth, solved from the first observation.
    assert!(pieces < 0.1 && pieces < 0.1 * whole, "pieces {pieces}, as a whole {whole}");
}

/// The lines of a table, taken apart.
pub(super) fn cells(text: &str) -> Vec<Vec<String>> {
    text.lines().map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

#[test]
fn predictions_are_tables_in_the_units_of_the_data() {
    let folder = folder();
    moons(folder.path(), 300);
    oscillations(folder.path(), 8);
    succeed(folder.path(), &with(&MOONS, &["--steps", "300", "--batch", "64", "--out", "o"]));
    let checkpoint = "o/checkpoints/local-unbiased-seed0.safetensors";
    // Without the label: nobody knows it yet.
    fs::write(folder.path().join("new.csv"), "name,y,x\na,1,0\nb,-0.6,1\n").expect("written");
    let predict = |args: &[&str]| succeed(folder.path(), &[&["predict"], args, &["--threads", "1"]].concat());
    let table = cells(&predict(&[checkpoint, "--data", "new.csv"]));
    assert_eq!(table[0], ["name", "y", "x", "predicted_kind", "probability_lower", "probability_upper"]);
    assert_eq!((&table[1][3][..], &table[2][3][..]), ("upper", "lower"), "the top of one, the bottom of the other");
    let shares = |row: &[String]| row[4..].iter().map(|cell| cell.parse::<f64>().expect("a number")).sum::<f64>();
    assert!(table[1..].iter().all(|row| (shares(row) - 1.0).abs() < 1e-12), "{table:?}");
    refuse(folder.path(), &["predict", checkpoint, "--data", "swing.csv"], 1, &["--inputs \"x\"", "t, run, height"]);
    refuse(folder.path(), &["predict", checkpoint, "--data", "new.csv", "--at", "1"], 1, &["--at"]);
    fs::write(folder.path().join("p.csv"), "mine").expect("written");
    let onto = ["predict", checkpoint, "--data", "new.csv", "--out", "p.csv"];
    refuse(folder.path(), &onto, 1, &["p.csv: is there already", "--overwrite"]);
    assert_eq!(fs::read_to_string(folder.path().join("p.csv")).expect("there"), "mine", "untouched");

    succeed(folder.path(), &with(&SWING, &["--steps", "300", "--out", "s"]));
    let checkpoint = "s/checkpoints/local-unbiased-seed0.safetensors";
    let table = cells(&predict(&[checkpoint, "--data", "swing.csv"]));
    assert_eq!(table[0], ["run", "t", "predicted_height", "predicted_speed"]);
    assert_eq!(table.len(), 1 + 8 * 24, "every time after the first");
    let observed = cells(&fs::read_to_string(folder.path().join("swing.csv")).expect("there"));
    // Heights are 10 and up to 8 more or less: what is not in their units is far away.
    let height = |row: &[String]| row[2].parse::<f64>().expect("a number");
    let later = observed[1..].iter().filter(|row| row[0] != "0");
    let squares: f64 = table[1..].iter().zip(later).map(|(p, o)| (height(p) - height(o)).powi(2)).sum();
    assert!((squares / 192.0).sqrt() < 2.5, "{}", (squares / 192.0).sqrt());
    fs::write(folder.path().join("start.csv"), "t,run,height,speed\n0,x,14,0\n").expect("written");
    let table = cells(&predict(&[checkpoint, "--data", "start.csv", "--at", "0.25,7"]));
    let times: Vec<[&str; 2]> = table[1..].iter().map(|row| [&row[0][..], &row[1]]).collect();
    assert_eq!(times, [["x", "0.25"], ["x", "7"]], "beyond the training's times too");
    refuse(folder.path(), &["predict", checkpoint, "--data", "start.csv"], 1, &["one time"]);
    refuse(folder.path(), &["predict", checkpoint, "--data", "start.csv", "--at", "2,1"], 1, &["--at 1", "order"]);
}

#[test]
fn a_run_is_repeated_to_the_bit() {
    let folder = folder();
    let at = folder.path();
    moons(at, 100);
    oscillations(at, 4);
    let record = |out: &str| at.join(out).join("runs/local-biased-seed3.json");
    let weights = |out: &str| {
        let cpu = fewsteps::Cpu::with_threads(1).expect("a thread");
        let path = at.join(out).join("checkpoints/local-biased-seed3.safetensors");
        fewsteps::Trainer::<f32>::resume(&cpu, &path).expect("a checkpoint").0.parameters().to_vec()
    };
    let options = ["--regularization", "local-biased", "--seed", "3", "--steps", "6", "--lr", "0.02", "--split", "0.3"];
    for (task, first, again) in [(&MOONS, "a", "a2"), (&SWING, "b", "b2")] {
        succeed(at, &with(task, &[&options[..], &["--out", first]].concat()));
        let file = format!("{first}/runs/local-biased-seed3.json");
        let printed = run(at, &["train", "--config", &file, "--out", again, "--threads", "1"]);
        assert!(printed.status.success() && !stderr(&printed).contains("not those"), "{}", stderr(&printed));
        assert_eq!(outcome(&record(again)), outcome(&record(first)), "{file}");
        assert_eq!(json(&record(again))["settings"], json(&record(first))["settings"], "{file}");
        assert_eq!(weights(again), weights(first), "{file}");
    }
    // A benchmark, all of it; and what the file has settled is not said otherwise.
    succeed(at, &tiny(&["--methods", "vanilla,local-biased", "--out", "c"]));
    succeed(at, &["bench", "--config", "c/results.json", "--out", "c2", "--threads", "1"]);
    for run in ["vanilla-seed0.json", "local-biased-seed0.json"] {
        assert_eq!(outcome(&at.join("c2/runs").join(run)), outcome(&at.join("c/runs").join(run)), "{run}");
    }
    refuse(at, &["train", "--config", "c/results.json"], 1, &["tells of 2 runs", "fewsteps bench --config"]);
    refuse(at, &["train", "--config", "c/results.json", "--lr", "1"], 2, &["--lr", "--config"]);
    refuse(at, &["train", "--config", "moons.csv"], 1, &["moons.csv", "results.json"]);
    // Other data are told, and taken where they fit.
    let text = fs::read_to_string(at.join("moons.csv")).expect("there");
    fs::write(at.join("moons.csv"), text.replacen("0.", "0.5", 1)).expect("written");
    let printed = run(at, &["train", "--config", "a/runs/local-biased-seed3.json", "--out", "a3", "--threads", "1"]);
    assert!(printed.status.success() && stderr(&printed).contains("SHA-256"), "{}", stderr(&printed));
    let words = ["train", "--config", "a/runs/local-biased-seed3.json", "--data", "swing.csv"];
    refuse(at, &words, 1, &["swing.csv", "\"kind\""]);
}

#[test]
fn a_model_is_read_from_a_file_and_printed() {
    let folder = folder();
    let at = folder.path();
    moons(at, 60);
    oscillations(at, 3);
    let write = |name: &str, text: &str| fs::write(at.join(name), text).expect("written");
    let model = "[field]\nmlp = [2, 24, 24, 2]\nactivation = \"softplus\"\noutput-activation = \"tanh\"\nt1 = 0.5\n[encoder]\nlayer = \"none\"\n\
                 [solver]\ntol = 1e-3\nmethod = \"bosh3\"\nfirst-step = 0.25\n[optimizer]\nrule = \"adamw\"\n\
                 weight-decay = 0.1\nclip-norm = 2\nsteps = 3\nlr = 0.5\n[regularizer]\nregularization = \"vanilla\"\n";
    write("m.toml", model);
    let run = record(at, &with(&MOONS, &["--model", "m.toml", "--lr", "0.01"]));
    let settings = &run["settings"];
    let config = &settings["config"];
    assert_eq!(config["model"]["problem"]["field"]["sizes"], serde_json::json!([2, 24, 24, 2]));
    assert_eq!(config["model"]["problem"]["field"]["activation"], "softplus");
    assert_eq!(config["model"]["problem"]["field"]["output_activation"], "tanh");
    assert_eq!((&config["model"]["problem"]["t1"], &config["model"]["encoder"]), (&0.5.into(), &Value::Null));
    assert_eq!((&config["model"]["head"], &config["model"]["options"]["method"]), (&2.into(), &"bosh3".into()));
    assert_eq!(config["optimizer"]["rule"]["adamw"]["weight_decay"], 0.1);
    assert_eq!(config["optimizer"]["clip"]["norm"], 2.0);
    assert_eq!((&settings["training"], &settings["steps"]), (&"vanilla".into(), &3.into()));
    assert_eq!(settings["learning_rate"], 0.01, "the command line comes first");
    // What is printed makes the same model again, of every kind of task.
    let tasks: [&[&str]; 4] = [&MOONS, &SWING, &["train"], &["train", "--task", "spiral"]];
    for (task, more) in tasks.into_iter().flat_map(|task| [(task, &[][..]), (task, &["--model", "m2.toml"][..])]) {
        write(
            "m2.toml",
            "[optimizer]\nrule = \"rmsprop\"\n[regularizer]\ntarget-nfe = 20.0\n[field]\nactivation = \"silu\"\n",
        );
        let shown = succeed(at, &[task, more, &["--print-model"]].concat());
        write("printed.toml", &shown);
        let again = succeed(at, &[task, &["--model", "printed.toml", "--print-model"]].concat());
        assert_eq!(shown, again, "{task:?}");
    }
    let schedules = [
        ("schedule = \"cosine\"\n", serde_json::json!({ "cosine": { "from": 0.5, "to": 0.0, "steps": 3 } })),
        (
            "warmup = 2\nlr-to = 0.25\nschedule = \"exponential\"\n",
            serde_json::json!({ "warmup": { "steps": 2, "then": { "exponential": { "from": 0.5, "to": 0.25, "steps": 1 } } } }),
        ),
        (
            "schedule = \"inverse-decay\"\nlr-decay = 0.5\n",
            serde_json::json!({ "inverse_decay": { "initial": 0.5, "rate": 0.5 } }),
        ),
        (
            "schedule = \"cosine\"\nlr-to = 0.1\ndecay-steps = 7\n",
            serde_json::json!({ "cosine": { "from": 0.5, "to": 0.1, "steps": 7 } }),
        ),
    ];
    for (n, (keys, expected)) in schedules.into_iter().enumerate() {
        write("m3.toml", &format!("[optimizer]\nsteps = 3\n{keys}"));
        let folder = format!("schedule{n}");
        let out = ["--model", "m3.toml", "--lr", "0.5", "--regularization", "vanilla", "--out", &folder];
        let run = record(at, &with(&MOONS, &out));
        assert_eq!(run["settings"]["config"]["optimizer"]["learning_rate"], expected, "{keys}");
        let shown = succeed(at, &[&MOONS[..], &out[..4], &["--print-model"]].concat());
        write("printed.toml", &shown);
        assert_eq!(shown, succeed(at, &[&MOONS[..], &["--model", "printed.toml", "--print-model"]].concat()), "{keys}");
    }
    let refused = |text: &str, parts: &[&str]| {
        write("bad.toml", text);
        refuse(at, &with(&MOONS, &["--model", "bad.toml", "--batch", "8"]), 1, &[&["bad.toml: line "], parts].concat());
    };
    refused("[solver]\ntolerance = 1\n", &["line 2, [solver] tolerance", "unknown field", "`tol`"]);
    refused("[solver]\n\ntol = \"small\"\n", &["line 3, [solver] tol", "string"]);
    refused("[solver]\nmethod = \"rk4\"\n", &["line 2, [solver] method", "tsit5"]);
    refused("[solver]\ntol = -1.0\n", &["line 2, [solver] tol", "positive"]);
    refused("[sovler]\n", &["line 1, [sovler]", "unknown field", "`solver`"]);
    refused("[field]\nmlp = [2, 8, 3]\n[head]\nlayer = \"linear\"\n", &["line 2, [field] mlp"]);
    refused("[field]\nmlp = [3, 8, 3]\n[encoder]\nlayer = \"none\"\n", &["[field] mlp", "2 inputs", "linear"]);
    refused("[optimizer]\nrule = \"sgd\"\nbeta1 = 0.5\n", &["line 3, [optimizer] beta1", "no number of this rule"]);
    refused("[optimizer]\nlr-to = 0.1\n", &["line 2, [optimizer] lr-to", "exponential or cosine", "constant"]);
    refused("[optimizer]\nschedule = \"exponential\"\n", &["line 2, [optimizer] schedule", "needs lr-to"]);
    refused("[optimizer]\nschedule = \"inverse-decay\"\n", &["line 2, [optimizer] schedule", "needs lr-decay"]);
    refused("[optimizer]\nschedule = \"exponential\"\nlr-to = 0.0\n", &["[optimizer] lr-to", "positive, finite"]);
    refused("[optimizer]\nbeta1 = 1.5\n", &["line 2, [optimizer] beta1", "[0, 1)"]);
    refused("[regularizer]\nmeasure = \"length\"\n", &["line 2, [regularizer] measure", "stiffness"]);
    refused("[field\n", &["line 1"]);
    refuse(at, &["train", "--model", "none.toml"], 1, &["none.toml"]);
    write("t1.toml", "[field]\nt1 = 2.0\n");
    refuse(at, &with(&SWING, &["--model", "t1.toml"]), 1, &["t1.toml: line 2, [field] t1", "leave it out"]);
    moments(at);
    refuse(at, &[&["train", "--model", "t1.toml"][..], &SPIRAL_SDE].concat(), 1, &["[field]", "leave the section out"]);
}

#[test]
fn equations_are_trained_from_a_file() {
    let folder = folder();
    let at = folder.path();
    let write = |text: &str| fs::write(at.join("m.toml"), text).expect("written");
    // A residual field on the digits of the command: a network of the state, beside its decay.
    let text = "[field]\ntext = \"\"\"\nstate y[64]\nnetwork move = mlp(64, 16, 64) gelu\npositive parameter k = 0.1\n\
                y' = move(y) - k * y\n\"\"\"\n[optimizer]\nsteps = 40\nlr = 0.01\n[solver]\ntol = 1e-2\n";
    write(text);
    let run = record(at, &["train", "--task", "digits", "--model", "m.toml", "--seed", "0"]);
    let accuracy = number(&run["test"]["accuracy"]);
    assert!(accuracy > 0.8, "{accuracy}");
    // What is printed says the same equations, and makes the same run.
    let shown = succeed(at, &["train", "--task", "digits", "--model", "m.toml", "--print-model"]);
    for part in ["text = '''\nstate y[64]\n", "network move = mlp(64, 16, 64) gelu\n", "\ny' = move(y) - k*y\n'''\n"] {
        assert!(shown.contains(part), "{part:?} in\n{shown}");
    }
    write(&shown);
    let again = record(at, &["train", "--task", "digits", "--model", "m.toml", "--seed", "0", "--out", "again"]);
    assert_eq!(again["settings"]["config"], run["settings"]["config"]);
    assert_eq!(again["test"]["loss"], run["test"]["loss"]);
    write("[field]\ntext = \"y' = - z\"\n");
    refuse(at, &["train", "--model", "m.toml"], 1, &["m.toml: line 2, [field] text", "unknown", "`z`"]);
    write("[field]\nactivation = \"tanh\"\ntext = \"y' = - y\"\n");
    refuse(at, &["train", "--model", "m.toml"], 1, &["m.toml: line 2, [field] activation", "equations"]);
    write("[field]\ntext = \"state y[3]; y' = -y\"\n[encoder]\nlayer = \"none\"\n");
    refuse(at, &["train", "--model", "m.toml"], 1, &["m.toml: line 2, [field] text", "3 numbers"]);
}

/// Encoder and head of several layers, and as equations, on both engines.
#[test]
fn maps_are_trained_from_a_file() {
    let folder = folder();
    let at = folder.path();
    moons(at, 60);
    let write = |text: &str| fs::write(at.join("m.toml"), text).expect("written");
    let model = "[field]\nmlp = [5, 16, 5]\n[encoder]\nmlp = [2, 9, 5]\nactivation = \"relu\"\noutput-activation = \"tanh\"\n\
                 [head]\ntext = '''\ninput y[5]\nnetwork f = mlp(5, 6, 2)\npositive parameter k = 0.5\n\
                 output scores = f(y) * k\n'''\n[optimizer]\nsteps = 3\n[regularizer]\nregularization = \"vanilla\"\n";
    write(model);
    let train = |device: &str| {
        record(at, &with(&MOONS, &["--model", "m.toml", "--batch", "8", "--device", device, "--out", device]))
    };
    let native = train("cpu");
    let parts = &native["settings"]["config"]["model"];
    assert_eq!(parts["encoder"]["sizes"], serde_json::json!([2, 9, 5]));
    assert_eq!(parts["encoder"]["output_activation"], "tanh");
    assert_eq!(parts["head"]["groups"][1]["name"], "k");
    let shown = succeed(at, &with(&MOONS, &["--model", "m.toml", "--print-model"]));
    write(&shown);
    assert_eq!(succeed(at, &with(&MOONS, &["--model", "m.toml", "--print-model"])), shown);
    assert!(shown.contains("[head]\ntext = '''\ninput x[5]\nnetwork f = mlp(5, 6, 2)\n"), "{shown}");
    assert!(shown.contains("[encoder]\nlatent = false") && shown.contains("\nmlp = [2, 9, 5]"), "{shown}");
    write(model);
    if adapter() {
        device::same_losses(&train("gpu"), &native);
    }
    let refused = |text: &str, parts: &[&str]| {
        write(text);
        refuse(at, &with(&MOONS, &["--model", "m.toml"]), 1, parts);
    };
    refused("[encoder]\nmlp = [3, 8]\n", &["m.toml: line 2, [encoder] mlp", "from 3 numbers to 8", "from 2 to 8"]);
    refused("[head]\ntext = 'input y; output z = y'\n", &["line 2, [head] text", "from 1 numbers to 1", "from 8 to 2"]);
    refused("[head]\ntext = 'input y; output z = x'\n", &["line 2, [head] text", "unknown name `x`"]);
    let timed = "[head]\ntext = 'input y[8]; output z = y[0] * t, w = y[1]'\n";
    refused(timed, &["line 2, [head] text", "no time passes"]);
    refused("[head]\nlayer = \"linear\"\nmlp = [8, 2]\n", &["line 2, [head] layer", "one of layer, text and mlp"]);
    refused("[head]\nactivation = \"relu\"\n", &["line 2, [head] activation", "widths with mlp"]);
    refused("[head]\nmlp = [8]\n", &["line 2, [head] mlp", "an output width"]);
}

#[test]
fn data_of_ones_own_train_on_a_device_as_natively() {
    if !adapter() {
        return;
    }
    let folder = folder();
    moons(folder.path(), 60);
    oscillations(folder.path(), 4);
    let numbers = ["train", "--task", "csv", "--data", "moons.csv", "--targets", "x,y", "--inputs", "nr"];
    let later = [&SWING[..], &["--horizon", "4"]].concat();
    for (name, task) in [("moons", &MOONS[..]), ("numbers", &numbers), ("swing", &SWING), ("later", &later)] {
        let options = ["--steps", "3", "--tol", "1e-4", "--regularization", "vanilla", "--batch", "3"];
        let train = |device: &str| {
            let out = format!("{name}-{device}");
            record(folder.path(), &[task, &options, &["--device", device, "--out", &out]].concat())
        };
        let (device, native) = (train("gpu"), train("cpu"));
        device::same_losses(&device, &native);
        let [a, b] = [&device, &native].map(|record| number(&record["test"]["loss"]));
        assert!((a - b).abs() < 1e-3 * b, "{name}: test losses {a} and {b}");
    }
}

/// Corrected steps of a table's model predict as they were measured.
#[test]
fn corrected_steps_predict_from_a_table() {
    let folder = folder();
    moons(folder.path(), 300);
    succeed(folder.path(), &with(&MOONS, &["--steps", "200", "--batch", "64", "--out", "o"]));
    let path = "o/checkpoints/local-unbiased-seed0.safetensors";
    let hypersolve = ["hypersolve", path, "--threads", "1", "--training-steps", "200", "--steps", "1"];
    succeed(
        folder.path(),
        &[&hypersolve[..], &["--base", "heun", "--write", "1", "--out", "fast.safetensors"]].concat(),
    );
    let test =
        record(folder.path(), &["eval", "fast.safetensors", "--test", "moons.csv", "--threads", "1"])["test"].clone();
    assert_eq!(test["nfe"], 2.0, "one step of two evaluations");
    let table = succeed(folder.path(), &["predict", "fast.safetensors", "--data", "moons.csv", "--threads", "1"]);
    let mut rows = table.lines();
    let header: Vec<&str> = rows.next().expect("a header").split(',').collect();
    let column = |name: &str| header.iter().position(|found| *found == name).expect(name);
    let (kind, predicted) = (column("kind"), column("predicted_kind"));
    let right = rows.filter(|row| {
        let cells: Vec<&str> = row.split(',').collect();
        cells[kind] == cells[predicted]
    });
    let share = right.count() as f64 / 300.0;
    assert!((share - number(&test["accuracy"])).abs() < 1e-12 && share > 0.9, "{share} of {}", test["accuracy"]);
}
