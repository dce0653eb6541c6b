//! Densities: of generated points, and of a table of one's own.

use super::*;

fn record(folder: &Path, args: &[&str]) -> Value {
    serde_json::from_str(&succeed(folder, &[args, &["--threads", "1", "--json"]].concat())).expect("stdout is JSON")
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(number).collect()
}

/// Every kind of method trains, and the report shows data, densities and samples.
#[test]
fn densities_are_learnt_drawn_and_sampled() {
    let folder = folder();
    let methods = "vanilla,local-unbiased,global-error,steer,taynode-2,rnode";
    let args = ["bench", "--task", "gaussians", "--methods", methods, "--steps", "60", "--seeds", "1", "--tol", "1e-3"];
    let results = record(folder.path(), &[&args[..], &["--batch", "128", "--out", "o"]].concat());
    let runs = results["runs"].as_array().expect("runs");
    assert_eq!(runs.len(), 6);
    for run in runs {
        assert_eq!(run["settings"]["config"]["loss"], "negative_log_likelihood");
        // A normal density of their moments has `ln(2 pi e) + ln(4 + 1/8)` nats, and the best `ln 8 + ln(2 pi e / 8)`.
        let nats = number(&run["test"]["loss"]);
        assert!(nats < 4.25 && nats > 2.8, "{nats}");
        let (density, picture) = (&run["density"], &run["density"]["picture"]);
        assert_eq!(density["failed"], 0);
        assert!(number(&density["nfe"]) >= 8.0, "{}", density["nfe"]);
        let (side, log_density) = (number(&picture["side"]), numbers(&picture["log_density"]));
        let width = |ends: &Value| number(&ends[1]) - number(&ends[0]);
        let square = width(&picture["x"]) * width(&picture["y"]) / (side * side);
        let mass: f64 = log_density.iter().map(|density| density.exp() * square).sum();
        assert!((0.8..1.05).contains(&mass), "a sum over squares around the data: {mass}");
        let samples = numbers(&picture["samples"]);
        let radius = samples.chunks(2).map(|x| x[0].hypot(x[1])).sum::<f64>() / (samples.len() / 2) as f64;
        assert!((radius - 2.83).abs() < 0.8, "samples lie around the circle of the data: {radius}");
    }
    let page = fs::read_to_string(folder.path().join("o/report.html")).expect("a report");
    for title in ["points of the test set", "vanilla: density", "rnode: samples", "test loss, nats"] {
        assert!(page.contains(title), "{title}");
    }
    // A checkpoint evaluates to what the run found.
    let checkpoint = "o/checkpoints/vanilla-seed0.safetensors";
    let evaluated = record(folder.path(), &["eval", checkpoint]);
    assert_eq!(evaluated["test"]["loss"], runs[0]["test"]["loss"]);
    let refused = ["eval", checkpoint, "--task", "digits"];
    refuse(folder.path(), &refused, 1, &["do not fit the model", "gaussians"]);
}

/// The density that is told of rows is that of the columns as they are: their scales are taken back.
#[test]
fn a_table_has_a_density() {
    let folder = folder();
    let row = |i: usize| {
        let at = |k: usize| ((i * k) as f64 * 0.618_033_988_749_895).fract();
        format!("{},{},{}\n", 100.0 + 20.0 * (at(1) + at(7) + at(29)), 0.01 * (at(3) + at(11) - at(5)), "word")
    };
    let table = |rows: std::ops::Range<usize>| format!("mass,length,kind\n{}", rows.map(row).collect::<String>());
    for (name, rows) in [("train.csv", 0..300), ("test.csv", 300..400)] {
        fs::write(folder.path().join(name), table(rows)).expect("written");
    }
    let args = ["train", "--task", "csv", "--data", "train.csv", "--test", "test.csv", "--density", "--steps", "80"];
    let run = record(folder.path(), &[&args[..], &["--batch", "64", "--out", "o"]].concat());
    let columns = run["settings"]["own"]["csv"]["inputs"].as_array().expect("columns").clone();
    assert_eq!(columns.len(), 2, "of numbers");
    let scale: f64 = columns.iter().map(|column| number(&column["deviation"]).ln()).sum();
    let nats = number(&run["test"]["loss"]);
    assert!(nats < 2.95, "the best normal density has 2.84 nats: {nats}");
    let checkpoint = "o/checkpoints/local-unbiased-seed0.safetensors";
    let told = succeed(folder.path(), &["predict", checkpoint, "--data", "test.csv", "--threads", "1"]);
    let mut lines = told.lines();
    assert_eq!(lines.next(), Some("mass,length,kind,log_density"));
    let densities: Vec<f64> =
        lines.map(|line| line.rsplit(',').next().and_then(|x| x.parse().ok()).expect("a number")).collect();
    let mean = densities.iter().sum::<f64>() / densities.len() as f64;
    assert!((mean + nats + scale).abs() < 1e-3, "{mean}, {nats} nats of scaled columns, {scale}");
    // Whoever asks for two things at once is told.
    refuse(
        folder.path(),
        &["train", "--task", "csv", "--data", "train.csv", "--density", "--label", "kind"],
        2,
        &["--label"],
    );
    refuse(
        folder.path(),
        &["train", "--task", "csv", "--data", "train.csv"],
        1,
        &["or --density for how likely rows are"],
    );
    refuse(folder.path(), &["train", "--density"], 1, &["--density: is of --task csv"]);
}

/// A file of the model says the field; what belongs to the density stays.
#[test]
fn the_field_of_a_flow_is_edited() {
    let folder = folder();
    let printed = succeed(folder.path(), &["train", "--task", "moons", "--print-model"]);
    assert!(printed.contains("mlp = [2, 64, 64, 2]"), "{printed}");
    let smaller = printed.replace("mlp = [2, 64, 64, 2]", "mlp = [2, 12, 2]");
    fs::write(folder.path().join("model.toml"), &smaller).expect("written");
    let args = ["train", "--task", "moons", "--model", "model.toml", "--steps", "3", "--out", "o"];
    let run = record(folder.path(), &args);
    assert_eq!(run["parameters"], (2 + 2) * 12 + (12 + 2) * 2);
    assert_eq!(run["settings"]["config"]["model"]["problem"]["field"]["trace"], "exact");
    let head = smaller.replacen("[head]\nlayer = \"none\"", "[head]\nlayer = \"linear\"", 1);
    assert_ne!(head, smaller, "{smaller}");
    fs::write(folder.path().join("head.toml"), head).expect("written");
    let refused = ["train", "--task", "moons", "--model", "head.toml", "--out", "p"];
    refuse(folder.path(), &refused, 1, &["head.toml", "a density is of the equation alone"]);
}
