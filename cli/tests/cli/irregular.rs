//! Series of unequal length, and records that were seen in part.

use super::own::number;
use super::*;

fn gzipped(path: &Path, bytes: &[u8]) {
    let mut encoder = GzEncoder::new(fs::File::create(path).expect("created"), Compression::fast());
    encoder.write_all(bytes).expect("written");
    encoder.finish().expect("written");
}

/// Utterances of three speakers, of 5 to 9 times: each swings at a pace of its own.
fn utterances(folder: &Path) {
    let case = |i: usize| {
        let (speaker, length) = (i % 3, 5 + i % 5);
        let pace = 0.5 + 0.6 * speaker as f64;
        let channel = |c: usize| {
            let at = |t: usize| ((pace * t as f64 + 0.3 * c as f64 + 0.01 * i as f64).sin() * 0.8).to_string();
            (0..length).map(at).collect::<Vec<_>>().join(",")
        };
        format!("{}:{}\n", (0..12).map(channel).collect::<Vec<_>>().join(":"), ["x", "y", "z"][speaker])
    };
    fs::create_dir_all(folder.join("vowels")).expect("made");
    for (file, cases) in [("TRAIN", 0..60), ("TEST", 60..90)] {
        let text = format!("@classLabel true x y z\n@data\n{}", cases.map(case).collect::<String>());
        gzipped(&folder.join(format!("vowels/JapaneseVowels_{file}.ts.gz")), text.as_bytes());
    }
}

#[test]
fn speakers_are_told_apart() {
    let folder = folder();
    let at = folder.path();
    utterances(at);
    let options = ["--steps", "60", "--batch", "20", "--hold-out", "15", "--threads", "1", "--out", "o", "--json"];
    let train = ["train", "--task", "japanese-vowels", "--data", "vowels"];
    let run: Value = serde_json::from_str(&succeed(at, &[&train[..], &options].concat())).expect("JSON");
    assert!(number(&run["test"]["accuracy"]) > 0.9, "{}", run["test"]);
    assert_eq!((&run["settings"]["data"]["train"], &run["settings"]["data"]["test"]), (&60.into(), &30.into()));
    let checkpoint = "o/checkpoints/local-unbiased-seed0.safetensors";
    let evaluated: Value =
        serde_json::from_str(&succeed(at, &["eval", checkpoint, "--threads", "1", "--json"])).expect("JSON");
    assert_eq!(evaluated["test"]["accuracy"], run["test"]["accuracy"], "the same utterances again");
    let printed = |more: &[&str]| succeed(at, &[&train[..], &["--batch", "20", "--print-model"], more].concat());
    fs::write(at.join("m.toml"), printed(&[])).expect("written");
    assert_eq!(printed(&["--model", "m.toml"]), printed(&[]), "the model in a file");
    fs::write(at.join("n.toml"), "[encoder]\ncell = \"latent-gru\"\n").expect("written");
    refuse(at, &[&train[..], &["--model", "n.toml"]].concat(), 1, &["[encoder] cell", "take \"gru\" here"]);
    refuse(at, &["train", "--task", "japanese-vowels"], 1, &["--data DIR", "JapaneseVowels_TRAIN.ts.gz"]);
}

/// Pelts that follow Lotka and Volterra's equations: of 1908 there is no row, and of 1905 no lynx.
fn pelts(folder: &Path) {
    let slope = |[hare, lynx]: [f64; 2]| [hare * (0.5 - 0.025 * lynx), lynx * (0.025 * hare - 0.8)];
    let add = |y: [f64; 2], h: f64, k: [f64; 2]| [y[0] + h * k[0], y[1] + h * k[1]];
    let (mut y, mut text, h) = ([30.0, 4.0], "year,lynx,hare\n".to_owned(), 0.02);
    for year in 1900..=1920 {
        if year != 1908 {
            let lynx = if year == 1905 { String::new() } else { y[1].to_string() };
            text += &format!("{year},{lynx},{}\n", y[0]);
        }
        for _ in 0..50 {
            let first = slope(y);
            let second = slope(add(y, h / 2.0, first));
            let third = slope(add(y, h / 2.0, second));
            let fourth = slope(add(y, h, third));
            for (k, weight) in [(first, 1.0), (second, 2.0), (third, 2.0), (fourth, 1.0)] {
                y = add(y, weight * h / 6.0, k);
            }
        }
    }
    fs::create_dir_all(folder.join("pelts")).expect("made");
    fs::write(folder.join("pelts/hudson_bay_lynx_hare.csv"), text).expect("written");
}

#[test]
fn pelts_are_learnt_with_years_cut_out() {
    let folder = folder();
    let at = folder.path();
    pelts(at);
    let train = ["train", "--task", "lynx-hare", "--data", "pelts", "--threads", "1"];
    // The equations that the pelts follow, from a start that is learnt, over all years at once.
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/lynx_hare.toml");
    let equations = ["--model", model, "--raw", "--window", "15", "--out", "lv"];
    let printed = succeed(at, &[&train[..], &equations].concat());
    assert!(printed.contains("off where it is tested") && printed.contains("in logarithms"), "{printed}");
    let run = json(&at.join("lv/runs/vanilla-seed0.json"));
    // Mean squares of logarithms; those of the numbers themselves swing by more than 1.
    assert!(number(&run["test"]["loss"]) < 1e-4, "{}", run["test"]);
    // Pieces of eight, of which those that hold 1908 or begin with 1905 have less or are none.
    let found = succeed(at, &[&train[..], &["--steps", "300", "--out", "o", "--json"]].concat());
    let run: Value = serde_json::from_str(&found).expect("JSON");
    let losses: Vec<f64> = run["progress"]["curve"]["loss"].as_array().expect("a curve").iter().map(number).collect();
    assert!(losses[299] < 0.2 * losses[0], "from {} to {}", losses[0], losses[299]);
    let own = &run["settings"]["own"]["series"];
    assert_eq!((&own["division"], &own["window"]), (&serde_json::json!({"horizon": 1914.0}), &8.into()), "{own}");
    assert_eq!(own["states"][0]["log"], true, "{own}");
    assert_eq!(run["settings"]["data"]["train"], 7, "1905 begins none of eight");
    let checkpoint = "o/checkpoints/local-unbiased-seed0.safetensors";
    let evaluated: Value =
        serde_json::from_str(&succeed(at, &["eval", checkpoint, "--threads", "1", "--json"])).expect("JSON");
    assert_eq!(evaluated["test"]["loss"], run["test"]["loss"], "the same years again, from the folder");
    let file = "pelts/hudson_bay_lynx_hare.csv";
    let told = succeed(at, &["forecast", checkpoint, "--threads", "1", "--data", file, "--times", "1921,1922"]);
    assert!(told.starts_with("year,forecast_lynx,forecast_hare\n1921,"), "{told}");
    let cells: Vec<f64> = told.lines().nth(1).expect("1921").split(',').map(|x| x.parse().expect("a number")).collect();
    assert!(cells[1] > 0.5 && cells[2] > 0.5, "pelts are numbers again: {cells:?}");
    refuse(at, &["train", "--task", "lynx-hare"], 1, &["--data DIR", "hudson_bay_lynx_hare.csv"]);
    refuse(at, &["train", "--task", "lynx-hare", "--data", "o"], 1, &["--data o: holds no hudson_bay_lynx_hare.csv"]);
    refuse(at, &[&train[..], &["--log", "lynx"]].concat(), 1, &["--log: is of --task series"]);
}

/// Archives of forty patients, whose hearts beat at a rate of their own, and of three that are none.
fn patients(folder: &Path) {
    let patient = |id: usize| {
        let rate = |hour: usize| 60.0 + 2.0 * (id % 20) as f64 + 10.0 * (0.2 * hour as f64 + 0.1 * id as f64).sin();
        let hours = (0..48).filter(|hour| (hour * 7 + id).is_multiple_of(4));
        let rows: String = hours.map(|hour| format!("{hour:02}:10,HR,{:.1}\n", rate(hour))).collect();
        format!("Time,Parameter,Value\n00:00,RecordID,{id}\n00:00,Age,50\n00:00,Weight,{}\n{rows}", 60 + id % 9)
    };
    fs::create_dir_all(folder.join("stays")).expect("made");
    let broken = [
        (98, "Time,Parameter,Value\n99:99,HR,70\n".to_owned()),
        (99, "Time,Parameter,Value\n00:00,RecordID,99\n".to_owned()),
        (100, "Time,Parameter,Value\n01:00,HR,NaN\n".to_owned()),
    ];
    for (set, ids) in [("set-a", 1..21), ("set-b", 21..41)] {
        let mut builder = tar::Builder::new(Vec::new());
        let whole = ids.map(|id| (id, patient(id)));
        let others = broken.iter().filter(|_| set == "set-b").cloned();
        for (id, text) in whole.chain(others) {
            let mut header = tar::Header::new_ustar();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, format!("{set}/{id}.txt"), text.as_bytes()).expect("in memory");
        }
        gzipped(&folder.join(format!("stays/{set}.tar.gz")), &builder.into_inner().expect("in memory"));
    }
}

#[test]
fn stays_are_learnt_from_what_was_seen() {
    let folder = folder();
    let at = folder.path();
    patients(at);
    let small = ["--task", "physionet", "--data", "stays", "--batch", "16", "--threads", "1"];
    let train = |more: &[&str]| run(at, &[&["train"], &small[..], more].concat());
    let first = train(&["--steps", "30", "--out", "o/first", "--json"]);
    assert!(first.status.success(), "{}", stderr(&first));
    let found: Value = serde_json::from_str(&stdout(&first)).expect("JSON");
    let losses: Vec<f64> = found["progress"]["curve"]["loss"].as_array().expect("a curve").iter().map(number).collect();
    assert!(losses[29] < 0.5 * losses[0], "from {} to {}", losses[0], losses[29]);
    assert!(number(&found["test"]["loss"]).is_finite(), "{}", found["test"]);
    let own = &found["settings"]["own"]["physionet"];
    assert_eq!((&own["records"], &own["left_out"]), (&40.into(), &3.into()), "{own}");
    assert_eq!((&found["settings"]["data"]["train"], &found["settings"]["data"]["test"]), (&32.into(), &8.into()));
    // What is left out is said by name and line, and what is kept is taken the next time.
    let said = stderr(&first);
    for part in [
        "set-b/98.txt: left out: line 2: \"99:99\"",
        "99.txt: left out: has no",
        "100.txt: left out",
        "o/physionet2012.cache",
    ] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    let published = train(&["--steps", "2", "--split", "published", "--out", "o/second", "--json"]);
    let said = stderr(&published);
    assert!(said.contains("40 records as o/physionet2012.cache has them") && said.contains("99.txt"), "{said}");
    let found: Value = serde_json::from_str(&stdout(&published)).expect("JSON");
    assert_eq!(found["settings"]["own"]["physionet"]["division"], serde_json::json!({"published": {"seed": 0}}));
    assert_eq!((&found["settings"]["data"]["train"], &found["settings"]["data"]["test"]), (&26.into(), &6.into()));
    // A checkpoint is tested on the records that it was kept from.
    let checkpoint = "o/second/checkpoints/local-unbiased-seed0.safetensors";
    let evaluated: Value =
        serde_json::from_str(&succeed(at, &["eval", checkpoint, "--threads", "1", "--json"])).expect("JSON");
    assert_eq!(evaluated["test"]["loss"], found["test"]["loss"], "divided alike");
    let other = train(&["--steps", "2", "--out", "o/second", "--resume"]);
    assert!(stderr(&other).contains("--split or --split-seed"), "{}", stderr(&other));
    // The report says which division it is.
    let bench = [&["bench", "--methods", "vanilla", "--steps", "1", "--out", "o/third"], &small[..]].concat();
    let printed = succeed(at, &[&bench[..], &["--split", "published"]].concat());
    assert!(printed.contains("divided as published, with records that are both trained on and tested on"), "{printed}");
    assert!(fs::read_to_string(at.join("o/third/report.html")).expect("a report").contains("divided as published"));
    // Options of others, and archives that end too early.
    refuse(
        at,
        &["train", "--split", "published"],
        1,
        &["--split: is of --task csv and series and lynx-hare and physionet"],
    );
    let csv = ["train", "--task", "csv", "--data", "x.csv", "--label", "a", "--split", "published"];
    fs::write(at.join("x.csv"), "a,b\n1,2\n2,3\n1,4\n2,5\n").expect("written");
    let printed = |more: &[&str]| succeed(at, &[&["train"], &small[..], more, &["--print-model"]].concat());
    fs::write(at.join("m.toml"), printed(&[])).expect("written");
    assert_eq!(printed(&["--model", "m.toml"]), printed(&[]), "the model in a file");
    let certain = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/physionet_certain.toml");
    let shown = printed(&["--model", certain]);
    for line in ["mlp = [100, 50, 20]", "rule = \"adam\"", "network layers = mlp(20, 40"] {
        assert!(shown.contains(line), "{line:?} in {shown}");
    }
    assert!(!shown.contains("latent = true"), "its state is certain: {shown}");
    fs::write(at.join("n.toml"), "[field]\nactivation = \"relu\"\n").expect("written");
    refuse(
        at,
        &[&["train"], &small[..], &["--model", "n.toml"]].concat(),
        1,
        &["[field] activation", "widths with mlp"],
    );
    refuse(at, &csv, 1, &["--split published: is of --task physionet"]);
    let whole = fs::read(at.join("stays/set-b.tar.gz")).expect("there");
    fs::write(at.join("stays/set-b.tar.gz"), &whole[..whole.len() / 2]).expect("written");
    let cut = train(&["--steps", "2", "--out", "o/fourth"]);
    let said = stderr(&cut);
    assert_eq!(cut.status.code(), Some(1), "{said}");
    assert!(said.contains("is of other archives") && said.contains("set-b.tar.gz: cannot be unpacked after"), "{said}");
}
