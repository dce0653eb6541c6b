//! Whether two runs are the same: one goes on only where settings and data are as they were.

use std::path::Path;

use anyhow::ensure;
use serde_json::Value;

use crate::settings::Settings;

/// Refuses to go on with a run that was made of other things, and says of each what it was. How long to train and how
/// often to evaluate may change.
pub(crate) fn ensure_same(asked: &Settings, stored: &Settings, path: &Path) -> anyhow::Result<()> {
    let differences = differences(stored, asked)?;
    ensure!(
        differences.is_empty(),
        "{}: was made otherwise than this command asks for: {}; give the same options, choose another --out, or add \
         --overwrite to train anew",
        path.display(),
        differences.join("; ")
    );
    Ok(())
}

/// The differences of two runs, each as `option: old value, now new value`.
fn differences(stored: &Settings, asked: &Settings) -> anyhow::Result<Vec<String>> {
    let [mut old, mut new] = [serde_json::to_value(stored)?, serde_json::to_value(asked)?];
    for settings in [&mut old, &mut new].into_iter().filter_map(Value::as_object_mut) {
        settings.remove("steps");
        // The best weights are those of a step that was validated.
        if stored.validation.is_none() {
            settings.remove("eval_every");
        }
        settings.remove("source");
        // Earlier versions took no note of the data.
        if stored.data.is_none() {
            settings.remove("data");
        }
    }
    let mut leaves = Vec::new();
    leaves_that_differ("", &old, &new, &mut leaves);
    // What an option sets stands in the trainer's configuration once more.
    let (plain, nested): (Vec<_>, Vec<_>) = leaves.into_iter().partition(|leaf| !leaf.path.starts_with("config."));
    let repeated = |leaf: &Leaf| plain.iter().any(|plain| (&plain.old, &plain.new) == (&leaf.old, &leaf.new));
    let nested: Vec<Leaf> = nested.into_iter().filter(|leaf| !repeated(leaf)).collect();
    let name = |leaf: &Leaf| format!("{}: {}, now {}", option_of(&leaf.path), short(&leaf.old), short(&leaf.new));
    Ok(plain.iter().chain(&nested).map(name).collect())
}

/// A value's beginning: a table may have hundreds of columns.
fn short(value: &str) -> String {
    let most = 200;
    let beginning: String = value.chars().take(most).collect();
    if beginning.len() == value.len() { beginning } else { beginning + "..." }
}

/// A place where two JSON values differ, and what is there.
#[derive(Debug, PartialEq)]
struct Leaf {
    path: String,
    old: String,
    new: String,
}

fn leaves_that_differ(path: &str, old: &Value, new: &Value, found: &mut Vec<Leaf>) {
    let (Value::Object(left), Value::Object(right)) = (old, new) else {
        if old != new {
            found.push(Leaf { path: path.to_owned(), old: old.to_string(), new: new.to_string() });
        }
        return;
    };
    for key in left.keys().chain(right.keys().filter(|key| !left.contains_key(*key))) {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let of = |entries: &serde_json::Map<String, Value>| entries.get(key).cloned().unwrap_or(Value::Null);
        leaves_that_differ(&path, &of(left), &of(right), found);
    }
}

/// The option that sets what lies at `path` in the settings; the path itself where none does.
fn option_of(path: &str) -> &str {
    const OPTIONS: [(&str, &str); 33] = [
        ("task", "--task"),
        ("training", "--regularization"),
        ("seed", "--seed"),
        ("batch", "--batch"),
        ("hold_out", "--hold-out"),
        ("curriculum", "--curriculum"),
        ("validation.patience", "--patience"),
        ("validation.keep", "--keep"),
        ("validation", "--validate"),
        ("eval_every", "--eval-every (at which weights are chosen; unless told a tenth of --steps)"),
        ("learning_rate", "--lr"),
        ("tolerance", "--tol"),
        ("precision", "--precision"),
        ("data.train", "--data (samples to train on)"),
        ("data.test", "--data (samples to test on)"),
        ("data.sha256", "--data (SHA-256 of the samples)"),
        ("own.csv.inputs", "--inputs (columns, with mean and deviation)"),
        ("own.csv.output", "--label or --targets"),
        (
            "own.series",
            "--time, --states, --id, --log, --horizon, --window, --segments, --continuity, --read, --split or --raw",
        ),
        ("own.csv", "--test, --split, --split-seed or --raw"),
        ("own.physionet.division", "--split or --split-seed"),
        ("from", "--from (SHA-256 of the checkpoint)"),
        ("config.model.options.method", "--method"),
        ("config.model.options.layout", "--layout"),
        ("config.model.options.adjoint", "--adjoint"),
        ("config.model.options.step_control.adaptive.controller", "--controller"),
        ("config.model.options.step_control.adaptive.initial_step", "--first-step"),
        ("config.regularizer.local.measure", "--measure"),
        ("config.regularizer.local.step", "--penalty-step"),
        ("config.regularizer.local.noise", "--noise"),
        ("config.regularizer.local.gradient", "--gradient"),
        ("config.regularizer.local.times", "--times"),
        ("config.regularizer.local.fraction", "--fraction"),
    ];
    /// What every kind of penalty has.
    const OF_A_PENALTY: [(&str, &str); 4] = [
        ("budget.rate", "--steps (which say how fast a coefficient follows --target-nfe)"),
        ("budget", "--target-nfe"),
        // A schedule: --coefficient, --coefficient-to, and the steps it is spread over. With more of them every step
        // before would have had another coefficient.
        ("coefficient.exponential.steps", "--steps (over which the coefficient falls)"),
        ("coefficient", "the coefficient's schedule"),
    ];
    let of = |path: &str, options: &[(&'static str, &'static str)]| {
        let within = |key: &str| path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        options.iter().find(|(key, _)| within(key)).map(|(_, option)| *option)
    };
    let of_a_penalty = || {
        let (_kind, own) = path.strip_prefix("config.regularizer.")?.split_once('.')?;
        of(own, &OF_A_PENALTY)
    };
    of(path, &OPTIONS).or_else(of_a_penalty).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};
    use crate::data::{self, DataIdentity};
    use crate::method::Training;

    fn settings(options: &[&str]) -> Settings {
        let words = [&["fewsteps", "train"], options].concat();
        let Some(Command::Train(args)) = Cli::parse_from(words).command else { panic!("train") };
        let data = data::digits().expect("embedded");
        Settings {
            data: Some(DataIdentity::of(&data)),
            ..Settings::resolve(&args.training, Training::LocalUnbiased, 0, &data).expect("good options")
        }
    }

    #[test]
    fn every_difference_is_named_by_its_option() {
        let differ = |options: &[&str]| differences(&settings(&[]), &settings(options)).expect("plain data");
        assert_eq!(differ(&[]), [""; 0], "the same");
        assert_eq!(differ(&["--steps", "9999", "--eval-every", "7"]), [""; 0], "how long to train may change");
        assert_eq!(differ(&["--tol", "1e-4", "--batch", "64"]), ["--batch: 128, now 64", "--tol: 0.00001, now 0.0001"]);
        let validated = |more: &[&str]| settings(&[&["--validate", "0.2"], more].concat());
        let differ_validated = |more: &[&str]| differences(&validated(&[]), &validated(more)).expect("plain data");
        assert_eq!(differ_validated(&["--patience", "3"]), ["--patience: null, now 3"]);
        assert_eq!(differ_validated(&["--keep", "last"]), ["--keep: \"best\", now \"last\""]);
        let often = differ_validated(&["--eval-every", "7"]);
        assert!(
            often.len() == 1 && often[0].starts_with("--eval-every (at which"),
            "weights would be others: {often:?}"
        );
        assert_eq!(differ(&["--validate", "0.2"]).len(), 2, "with what is held out");
        assert_eq!(differ(&["--lr", "0.5"]), ["--lr: 0.006, now 0.5"]);
        assert_eq!(differ(&["--method", "dopri5", "--layout", "ensemble"]).len(), 2, "of the solver");
        let steps = differ(&["--controller", "pi", "--first-step", "0.5"]);
        assert!(steps.iter().any(|line| line.starts_with("--first-step: ")), "{steps:?}");
        assert!(
            steps.iter().all(|line| line.starts_with("--controller: ") || line.starts_with("--first-step: ")),
            "{steps:?}"
        );
        assert_eq!(differ(&["--controller", "i"]), [""; 0], "the default");
        let measure = ["--measure: \"step_count\", now \"error\"", "--penalty-step: \"ideal\", now \"taken\""];
        assert_eq!(differ(&["--measure", "error"]), measure, "an ideal step's length follows the step count");
        let schedule = differ(&["--coefficient-to", "0.5"]);
        assert!(schedule.iter().all(|line| line.starts_with("the coefficient's schedule")), "{schedule:?}");
        assert!(!schedule.is_empty(), "another schedule is another run");
        let over = |steps| settings(&["--coefficient-to", "0.1", "--steps", steps]);
        let spread = differences(&over("600"), &over("900")).expect("plain data");
        assert_eq!(spread, ["--steps (over which the coefficient falls): 600, now 900"]);
    }

    #[test]
    fn other_data_are_another_run() {
        let (mut stored, asked) = (settings(&[]), settings(&[]));
        let Some(data) = &mut stored.data else { panic!("there") };
        assert_eq!((data.train, data.test, data.sha256.len()), (1437, 360, 64), "what was read");
        (data.train, data.sha256) = (1400, "0".repeat(64));
        let found = differences(&stored, &asked).expect("plain data");
        assert_eq!(found.len(), 2, "count and digest: {found:?}");
        assert!(found.iter().any(|line| line == "--data (samples to train on): 1400, now 1437"), "{found:?}");
        stored.data = None;
        assert_eq!(differences(&stored, &asked).expect("plain data"), [""; 0], "a run of an earlier version");
    }
}
