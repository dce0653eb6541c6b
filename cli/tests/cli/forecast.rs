//! `fewsteps forecast`: how series go on, with and without noise.

use fewsteps::{Cpu, Diffusion, Method, Mlp, NeuralDe, Problem, SolverOptions, StepControl, Trainer, TrainerConfig};

use super::own::{SWING, cells, number, oscillations, with};
use super::*;

const CHECKPOINT: &str = "o/checkpoints/local-unbiased-seed0.safetensors";

fn forecast<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["forecast", CHECKPOINT, "--threads", "1"], more].concat()
}

#[test]
fn series_go_on_from_their_last_whole_row() {
    let folder = folder();
    let at = folder.path();
    oscillations(at, 10);
    succeed(at, &with(&SWING, &["--steps", "300", "--out", "o"]));
    // Of every series what was seen up to a time of its own, with a row behind it of which a cell is empty.
    let text = fs::read_to_string(at.join("swing.csv")).expect("there");
    let (mut seen, mut later) = (vec!["t,run,height,speed".to_owned()], Vec::new());
    for row in &cells(&text)[1..] {
        let (time, run) = (row[0].parse::<f64>().expect("a time"), row[1].parse::<f64>().expect("a number"));
        if time <= 2.0 + 0.25 * run {
            seen.push(row.join(","));
        } else if time <= 2.25 + 0.25 * run {
            seen.push(format!("{},{},,{}", row[0], row[1], row[3]));
        } else if time >= 5.0 {
            later.push(row.clone());
        }
    }
    fs::write(at.join("seen.csv"), seen.join("\n")).expect("written");
    let args = forecast(&["--data", "seen.csv", "--times", "5:6:5", "--plot", "p.svg"]);
    let table = cells(&succeed(at, &args));
    assert_eq!(table[0], ["run", "t", "forecast_height", "forecast_speed"]);
    assert_eq!(table.len(), 1 + 10 * 5, "a row a series and time");
    // Heights are 10 and up to 8 more or less.
    let mut squares = 0.0;
    for row in &table[1..] {
        let observed = later.iter().find(|other| (&other[1], &other[0]) == (&row[0], &row[1])).expect("the same row");
        let [told, observed] = [&row[2], &observed[2]].map(|x| x.parse::<f64>().expect("a number"));
        squares += (told - observed) * (told - observed);
    }
    assert!((squares / 50.0).sqrt() < 2.0, "{}", (squares / 50.0).sqrt());
    let plot = fs::read_to_string(at.join("p.svg")).expect("a picture");
    assert!(plot.starts_with("<svg xmlns=") && plot.contains("height: observed and forecast"), "{plot}");
    assert_eq!(plot.matches("<svg ").count(), 3, "a figure a state, in one file");
    // From a first row alone it is what predict tells.
    fs::write(at.join("start.csv"), "t,run,height,speed\n0,x,14,0\n").expect("written");
    let predicted = succeed(at, &["predict", CHECKPOINT, "--threads", "1", "--data", "start.csv", "--at", "0.25,7"]);
    let told = succeed(at, &forecast(&["--data", "start.csv", "--times", "0.25,7"]));
    assert_eq!(cells(&told)[1..], cells(&predicted)[1..], "to the bit");
    // What is not to be had.
    let refused = |more: &[&str], parts: &[&str]| refuse(at, &forecast(more), 1, parts);
    refused(&["--data", "seen.csv", "--times", "3,9"], &["series \"5\": the last row", "t 3.25", "not of 3"]);
    refused(&["--data", "start.csv", "--times", "0"], &["not of 0"]);
    refused(&["--data", "start.csv", "--times", "2,1"], &["--times 1", "order"]);
    refused(&["--data", "start.csv", "--times", "1", "--samples", "9"], &["--samples 9", "no noise"]);
    refused(&["--data", "start.csv", "--times", "1", "--plot", "p.svg"], &["--plot p.svg: is there already"]);
    refused(
        &["--data", "start.csv", "--times", "1", "--out", "seen.csv"],
        &["--out seen.csv: is there", "--overwrite"],
    );
    refuse(at, &forecast(&["--data", "start.csv", "--times", "1:2"]), 2, &["FROM:TO:N"]);
    fs::write(at.join("empty.csv"), "t,run,height,speed\n0,x,14,\n").expect("written");
    refused(&["--data", "empty.csv", "--times", "1"], &["series \"x\", no row has a number for every state"]);
}

/// A checkpoint whose scaled states are `x + 0.5 W`, made of one without noise.
fn with_noise(folder: &Path) {
    let cpu = Cpu::with_threads(1).expect("a thread");
    let path = folder.join(CHECKPOINT);
    let (trainer, mut metadata) = Trainer::<f32>::resume(&cpu, &path).expect("a checkpoint");
    let own = trainer.config().model.clone();
    let noise = Diffusion::ito(Mlp::new([2, 2]));
    let mut model = own.clone();
    model.problem = Problem::sde(Mlp::new([2, 2]), noise, own.problem.t0, own.problem.t1);
    model.options = SolverOptions::sde(fewsteps::Tolerances::both(1e-2)).save_at(own.options.save_at);
    model.options = model.options.method(Method::EulerMaruyama).step_control(StepControl::Fixed { steps: 8 });
    let config = TrainerConfig::new(model, trainer.config().loss).seed(3);
    let mut settings: Value = serde_json::from_str(&metadata["settings"]).expect("JSON");
    settings["config"] = serde_json::to_value(&config).expect("JSON");
    metadata.insert("settings".to_owned(), settings.to_string());
    let mut trainer = Trainer::<f32>::new(&cpu, config).expect("a model");
    let drift = [0.0; 6];
    let diffusion = [0.0, 0.0, 0.0, 0.0, 0.5, 0.5];
    trainer.set_parameters(&[drift, diffusion].concat()).expect("as many");
    trainer.save(&path, &metadata).expect("written");
}

#[test]
fn noise_makes_bands() {
    let folder = folder();
    let at = folder.path();
    oscillations(at, 4);
    succeed(at, &with(&SWING, &["--steps", "1", "--raw", "--out", "o"]));
    with_noise(at);
    fs::write(at.join("start.csv"), "t,run,height,speed\n1,x,14,0\n1,y,-3,0\n").expect("written");
    let args = ["--data", "start.csv", "--times", "2,5", "--samples", "2000", "--plot", "p.svg"];
    let told = succeed(at, &forecast(&args));
    let table = cells(&told);
    let names = ["forecast_height_5", "forecast_height_50", "forecast_height_95"];
    assert_eq!(table[0][2..5], names, "{:?}", table[0]);
    for row in &table[1..] {
        let time = row[1].parse::<f64>().expect("a time");
        let middle = if row[0] == "x" { 14.0 } else { -3.0 };
        let deviation = 0.5 * (time - 1.0).sqrt();
        for (cell, quantile) in row[2..5].iter().zip([-1.645, 0.0, 1.645]) {
            let told = cell.parse::<f64>().expect("a number");
            // Four standard errors of a quantile of 2,000 normal numbers.
            assert!((told - middle - quantile * deviation).abs() < 0.19 * deviation, "{row:?}: {quantile}");
        }
    }
    assert_ne!(table[1][2], table[3][2], "each series has paths of its own");
    fs::remove_file(at.join("p.svg")).expect("a picture");
    assert_eq!(succeed(at, &forecast(&args)), told, "the same again");
    assert!(fs::read_to_string(at.join("p.svg")).expect("a picture").contains("<polygon"), "a band");
    refuse(at, &forecast(&["--data", "start.csv", "--times", "2", "--samples", "1"]), 1, &["--samples 1"]);
}

/// A checkpoint whose scaled states are drawn with deviation 0.5 around what was observed, and stay there.
fn with_draws(folder: &Path) {
    let cpu = Cpu::with_threads(1).expect("a thread");
    let path = folder.join(CHECKPOINT);
    let (trainer, mut metadata) = Trainer::<f32>::resume(&cpu, &path).expect("a checkpoint");
    let own = trainer.config().model.clone();
    let mut model = NeuralDe::new(Problem::ode(Mlp::new([2, 2]), own.problem.t0, own.problem.t1), own.options);
    model = model.encoder(2).latent();
    let config = TrainerConfig::new(model, trainer.config().loss).seed(3);
    let mut settings: Value = serde_json::from_str(&metadata["settings"]).expect("JSON");
    settings["config"] = serde_json::to_value(&config).expect("JSON");
    metadata.insert("settings".to_owned(), settings.to_string());
    let mut trainer = Trainer::<f32>::new(&cpu, config).expect("a model");
    let weights = [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0];
    let log_variance = 0.25f32.ln();
    let biases = [0.0, 0.0, log_variance, log_variance];
    trainer.set_parameters(&[&weights[..], &biases, &[0.0; 6]].concat()).expect("as many");
    trainer.save(&path, &metadata).expect("written");
}

#[test]
fn drawn_states_make_bands() {
    let folder = folder();
    let at = folder.path();
    oscillations(at, 4);
    succeed(at, &with(&SWING, &["--steps", "1", "--raw", "--out", "o"]));
    with_draws(at);
    fs::write(at.join("start.csv"), "t,run,height,speed\n1,x,14,0\n1,y,-3,0\n").expect("written");
    let args = ["--data", "start.csv", "--times", "2,5", "--samples", "2000", "--plot", "p.svg"];
    let told = succeed(at, &forecast(&args));
    let table = cells(&told);
    assert_eq!(table[0][2..5], ["forecast_height_5", "forecast_height_50", "forecast_height_95"]);
    for row in &table[1..] {
        let middle = if row[0] == "x" { 14.0 } else { -3.0 };
        for (cell, quantile) in row[2..5].iter().zip([-1.645, 0.0, 1.645]) {
            let told = cell.parse::<f64>().expect("a number");
            // Four standard errors of a quantile of 2,000 normal numbers.
            assert!((told - middle - quantile * 0.5).abs() < 0.19 * 0.5, "{row:?}: {quantile}");
        }
    }
    assert_eq!(table[1][2..], table[2][2..], "a state that stands still");
    let off = |row: usize, middle: f64| table[row][2].parse::<f64>().expect("a number") - middle;
    assert!((off(1, 14.0) - off(3, -3.0)).abs() > 1e-5, "each series has draws of its own");
    assert!(fs::read_to_string(at.join("p.svg")).expect("a picture").contains("<polygon"), "a band");
    fs::remove_file(at.join("p.svg")).expect("a picture");
    assert_eq!(succeed(at, &forecast(&args)), told, "the same again");
    // Without draws it is the mean.
    let predicted = succeed(at, &["predict", CHECKPOINT, "--threads", "1", "--data", "start.csv", "--at", "2"]);
    assert_eq!(cells(&predicted)[1][2..], ["14", "0"], "{predicted}");
}

#[test]
fn a_file_makes_a_model_that_draws() {
    let folder = folder();
    let at = folder.path();
    oscillations(at, 10);
    let text = "[field]\nmlp = [4, 32, 4]\n[encoder]\nmlp = [2, 16, 8]\nlatent = true\nkl = 0.01\n[head]\nlayer = \"linear\"\n";
    fs::write(at.join("m.toml"), text).expect("written");
    let train = with(&SWING, &["--model", "m.toml", "--steps", "300", "--out", "o", "--json"]);
    let run: Value = serde_json::from_str(&succeed(at, &train)).expect("JSON");
    let losses: Vec<f64> = run["progress"]["curve"]["loss"].as_array().expect("a curve").iter().map(number).collect();
    assert!(losses[299] < 0.3 * losses[0], "from {} to {}", losses[0], losses[299]);
    assert_eq!(run["settings"]["config"]["elbo"]["kl"]["constant"], 0.01, "{}", run["settings"]["config"]["elbo"]);
    let table = cells(&succeed(at, &forecast(&["--data", "swing.csv", "--times", "7", "--samples", "50"])));
    let [low, middle, high] = [2, 3, 4].map(|cell: usize| table[1][cell].parse::<f64>().expect("a number"));
    assert!(low < middle && middle < high, "{table:?}");
    // What is printed makes it again.
    let printed = succeed(at, &with(&SWING, &["--model", "m.toml", "--print-model"]));
    assert!(printed.contains("latent = true") && printed.contains("kl = 0.01"), "{printed}");
    let refused = |from: &str, to: &str, parts: &[&str]| {
        fs::write(at.join("other.toml"), text.replace(from, to)).expect("written");
        refuse(at, &with(&SWING, &["--model", "other.toml", "--print-model"]), 1, parts);
    };
    refused("mlp = [2, 16, 8]", "mlp = [2, 16, 4]", &["[encoder] mlp", "goes from 2 to 8"]);
    refused("mlp = [2, 16, 8]", "", &["[encoder] latent", "give it a layer"]);
    refused("latent = true\n", "", &["[encoder] mlp", "goes from 2 to 4"]);
    refused("kl = 0.01", "kl = -1.0", &["[encoder] kl", "-1 is no weight"]);
    refused("[head]\n", "[head]\nlatent = true\n", &["[head] latent", "put it into [encoder]"]);
}

/// Oscillations of which each series has rows at times of its own, and half of the cells.
fn glimpses(at: &Path, count: usize) {
    oscillations(at, count);
    let text = fs::read_to_string(at.join("swing.csv")).expect("there");
    let mut some = vec!["t,run,height,speed".to_owned()];
    for (i, row) in cells(&text)[1..].iter().enumerate() {
        let [height, speed] = [0, 1].map(|c| if (i * 7 + c * 3) % 4 < 2 { row[2 + c].as_str() } else { "" });
        if i % 3 != 1 {
            some.push(format!("{},{},{height},{speed}", row[0], row[1]));
        }
    }
    fs::write(at.join("glimpses.csv"), some.join("\n")).expect("written");
}

#[test]
fn a_latent_equation_reads_what_was_seen() {
    let folder = folder();
    let at = folder.path();
    glimpses(at, 40);
    let task = ["train", "--task", "series", "--data", "glimpses.csv", "--time", "t", "--id", "run"];
    // A first time at which not all was observed is nothing to begin with.
    refuse(at, &with(&task, &["--steps", "1"]), 1, &["the state that is solved from has to be observed"]);
    let run = with(&task, &["--read", "all", "--steps", "400", "--out", "o", "--json"]);
    let run: Value = serde_json::from_str(&succeed(at, &run)).expect("JSON");
    let losses: Vec<f64> = run["progress"]["curve"]["loss"].as_array().expect("a curve").iter().map(number).collect();
    assert!(losses[399] < 0.5 * losses[0], "from {} to {}", losses[0], losses[399]);
    assert_eq!(run["settings"]["config"]["model"]["latent"], true);
    let evaluated = succeed(at, &["eval", CHECKPOINT, "--threads", "1", "--json"]);
    let evaluated: Value = serde_json::from_str(&evaluated).expect("JSON");
    assert_eq!(evaluated["test"]["loss"], run["test"]["loss"], "the same again");
    // What the file has is told at its own times, or at others, the first one too, and goes on in bands.
    let predicted =
        cells(&succeed(at, &["predict", CHECKPOINT, "--threads", "1", "--data", "glimpses.csv", "--at", "0,1.5"]));
    assert_eq!(
        (predicted.len(), predicted[0].join(",")),
        (1 + 40 * 2, "run,t,predicted_height,predicted_speed".to_owned())
    );
    let early: Vec<String> = vec!["t,run,height,speed".to_owned(), "0.5,x,12,".to_owned(), "1,x,,-4".to_owned()];
    fs::write(at.join("early.csv"), early.join("\n")).expect("written");
    let args = forecast(&["--data", "early.csv", "--times", "2,3", "--samples", "50", "--plot", "p.svg"]);
    let table = cells(&succeed(at, &args));
    let [low, middle, high] = [2, 3, 4].map(|cell: usize| table[1][cell].parse::<f64>().expect("a number"));
    assert!(table.len() == 3 && low < middle && middle < high, "{table:?}");
    assert_eq!(
        cells(&succeed(at, &forecast(&["--data", "early.csv", "--times", "2,3", "--samples", "50"]))),
        table,
        "again"
    );
    let refused = |text: &str, parts: &[&str]| {
        fs::write(at.join("bad.csv"), format!("t,run,height,speed\n{text}")).expect("written");
        refuse(at, &forecast(&["--data", "bad.csv", "--times", "9"]), 1, parts);
    };
    refused("-1,x,12,3\n", &["series \"x\", time -1: is before 0"]);
    refused("1,x,,\n2,x,,\n", &["series \"x\", no row has a number"]);
    let many: String = (0..99).map(|i| format!("{},x,12,3\n", f64::from(i) / 20.0)).collect();
    refused(&many, &["has more than", "leave some of the first ones out"]);
    // A later horizon is not seen by what is read.
    let horizon = with(&task, &["--read", "all", "--horizon", "3", "--steps", "2", "--out", "h", "--json"]);
    let run: Value = serde_json::from_str(&succeed(at, &horizon)).expect("JSON");
    assert_eq!(run["settings"]["own"]["series"]["shown"]["until"], 3.0, "{}", run["settings"]["own"]);
    let options = ["--read", "all", "--window", "3"];
    refuse(at, &with(&task, &options), 2, &["--window"]);
}

#[test]
fn a_file_makes_a_model_that_reads() {
    let folder = folder();
    let at = folder.path();
    glimpses(at, 10);
    let task = ["train", "--task", "series", "--data", "glimpses.csv", "--time", "t", "--id", "run"];
    let read = [&task[..], &["--read", "all"]].concat();
    let printed = |more: &[&str]| succeed(at, &with(&read, &[more, &["--print-model"]].concat()));
    let own = printed(&[]);
    for line in
        ["latent = true", "cell = \"latent-gru\"", "hidden = 20", "inner = 40", "kl-rate = 0.99", "kl-after = 100"]
    {
        assert!(own.contains(line), "{line} in {own}");
    }
    let write = |text: &str| fs::write(at.join("m.toml"), text).expect("written");
    let same = |text: &str| {
        write(text);
        let shown = printed(&["--model", "m.toml"]);
        write(&shown);
        assert_eq!(printed(&["--model", "m.toml"]), shown, "{text}");
        shown
    };
    assert_eq!(same(&own), own, "what is printed makes it again");
    let shown = same("[encoder]\ncell = \"gru\"\nhidden = 8\nkl = 0.5\nkl-rate = 0.0\nkl-after = 0\n");
    assert!(
        shown.contains("cell = \"gru\"") && shown.contains("mlp = [8, 12]") && shown.contains("kl-rate = 0.0"),
        "{shown}"
    );
    let shown =
        same("[field]\nmlp = [4, 8, 4]\n[encoder]\ncell = \"latent-gru-published\"\ninner = 6\nlayer = \"linear\"\n");
    assert!(shown.contains("hidden = 32") && shown.contains("mlp = [64, 8]"), "{shown}");
    let shown =
        same("[field]\nmlp = [4, 8, 4]\n[encoder]\nlatent = false\ncell = \"gru\"\nhidden = 4\nlayer = \"none\"\n");
    assert!(shown.contains("layer = \"none\""), "{shown}");
    write("[encoder]\ncell = \"gru\"\nhidden = 8\n");
    let run = with(&read, &["--model", "m.toml", "--steps", "2", "--out", "g", "--json"]);
    let run: Value = serde_json::from_str(&succeed(at, &run)).expect("JSON");
    assert!(number(&run["test"]["loss"]).is_finite());
    let refused = |task: &[&str], text: &str, parts: &[&str]| {
        write(text);
        refuse(at, &with(task, &["--model", "m.toml", "--print-model"]), 1, parts);
    };
    refused(&read, "[encoder]\ncell = \"gru\"\ninner = 3\n", &["[encoder] inner", "leave it out"]);
    refused(&read, "[encoder]\ncell = \"gru\"\nlayer = \"none\"\n", &["[encoder] layer", "32 numbers, and 12"]);
    refused(&read, "[encoder]\ncell = \"gru\"\nhidden = 0\n", &["[encoder]"]);
    refused(&read, "[encoder]\nhidden = 8\nmlp = [8, 12]\n", &["[encoder] mlp", "goes from 16 to 12"]);
    refused(&read, "[encoder]\nkl-rate = 1.0\n", &["[encoder] kl-rate", "from 0 to below 1"]);
    refused(&read, "[head]\ncell = \"gru\"\n", &["[head] cell", "put it into [encoder]"]);
    refused(&SWING, "[encoder]\ncell = \"gru\"\n", &["[encoder] cell", "--read"]);
}

#[test]
fn missing_cells_are_learnt_around() {
    let folder = folder();
    let at = folder.path();
    oscillations(at, 10);
    let text = fs::read_to_string(at.join("swing.csv")).expect("there");
    // A third of the cells behind the first times is empty, and every seventh row is not there.
    let mut some = vec!["t,run,height,speed".to_owned()];
    for (i, row) in cells(&text)[1..].iter().enumerate() {
        let keep =
            |cell: usize| if row[0] == "0" || !(7 * i + cell).is_multiple_of(3) { row[cell].as_str() } else { "" };
        if row[0] == "0" || !i.is_multiple_of(7) {
            some.push(format!("{},{},{},{}", row[0], row[1], keep(2), keep(3)));
        }
    }
    fs::write(at.join("swing.csv"), some.join("\n")).expect("written");
    let printed = succeed(at, &with(&SWING, &["--steps", "300", "--out", "o", "--json"]));
    let run: Value = serde_json::from_str(&printed).expect("JSON");
    let losses: Vec<f64> = run["progress"]["curve"]["loss"].as_array().expect("a curve").iter().map(number).collect();
    assert!(losses[299] < 0.15 * losses[0], "from {} to {}", losses[0], losses[299]);
    assert!(number(&run["test"]["loss"]) < 0.15 * losses[0], "{}", run["test"]);
    let given = run["followed"]["states"][0]["given"].as_array().expect("a list");
    assert!(given.iter().any(|x| x == "NaN") && given.iter().any(Value::is_number), "{given:?}");
    let evaluated = succeed(at, &["eval", CHECKPOINT, "--threads", "1", "--json"]);
    let evaluated: Value = serde_json::from_str(&evaluated).expect("JSON");
    assert_eq!(evaluated["test"]["loss"], run["test"]["loss"], "the same cells again");
}
