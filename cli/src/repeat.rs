//! A run again, from the file of its results: the same settings and seeds, on the same data if they are still there.

use std::path::Path;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use crate::args::DataArgs;
use crate::data::{Data, DataIdentity, Source};
use crate::files;
use crate::settings::Settings;

/// What is read of a benchmark's results, or of a run's record.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Recorded {
    Results {
        runs: Vec<Run>,
        #[serde(default)]
        failures: Vec<serde::de::IgnoredAny>,
    },
    Run(Box<Run>),
}

#[derive(Debug, Deserialize)]
struct Run {
    settings: Settings,
}

/// The data and the settings of the runs that a file tells of. The command line says where the data are, if elsewhere.
pub(crate) fn runs(path: &Path, args: &DataArgs) -> anyhow::Result<(Data, Vec<Settings>)> {
    let name = path.display();
    let no_record = || format!("--config {name}: is neither a benchmark's results.json nor a run's record");
    let runs = match serde_json::from_slice(&files::read(path)?).with_context(no_record)? {
        Recorded::Run(run) => vec![*run],
        Recorded::Results { runs, failures } => {
            if !failures.is_empty() {
                let count = failures.len();
                log::warn!(
                    "--config {name}: {count} runs did not come to their end, have no settings, and are not repeated"
                );
            }
            runs
        }
    };
    let runs: Vec<Settings> = runs.into_iter().map(|run| run.settings).collect();
    let first = runs.first().with_context(|| format!("--config {name}: holds no run"))?;
    let source = Source::named(args.data.as_deref(), args.own.test.as_deref()).or(first.source.as_ref());
    let data = match &first.own {
        Some(own) => own.read_anew(&source)?,
        None => first.task.load_again(None, &source)?,
    };
    ensure_fits(first, &data)?;
    if let Some(difference) = difference(first, &data) {
        log::warn!(
            "--config {name}: the data are not those of that run, so that its numbers will not come again: {difference}"
        );
    }
    let source = source.data.is_some().then_some(source);
    let again = |run| Settings { source: source.clone(), own: data.own.clone(), ..run };
    let runs = runs.into_iter().map(again).collect();
    Ok((data, runs))
}

/// The settings of the one run that a file tells of.
pub(crate) fn run(path: &Path, args: &DataArgs) -> anyhow::Result<(Data, Settings)> {
    let (data, mut runs) = runs(path, args)?;
    match (runs.pop(), runs.len()) {
        (Some(run), 0) => Ok((data, run)),
        (_, others) => bail!(
            "--config {}: tells of {} runs; `fewsteps bench --config` repeats them all, and runs/NAME.json beside it is one",
            path.display(),
            others + 1
        ),
    }
}

/// Refuses data that the model cannot take.
fn ensure_fits(run: &Settings, data: &Data) -> anyhow::Result<()> {
    let model = &run.config.model;
    let found = data.train.sizes(data.classes());
    let learnt = (model.input_width(), model.output_width(), model.output_times());
    let told = |(inputs, outputs, times): (usize, usize, usize)| match times {
        1 => format!("{inputs} inputs and {outputs} outputs"),
        times => format!("{inputs} inputs and {outputs} outputs at {times} times"),
    };
    ensure!(found == learnt, "--config: the data have {} now, and that run had {}", told(found), told(learnt));
    ensure!(
        run.batch + run.hold_out <= data.train.len(),
        "--config: the training set holds {} samples now, which are fewer than that run's batch of {}",
        data.train.len(),
        run.batch
    );
    Ok(())
}

/// How the data differ from those of a run.
fn difference(run: &Settings, data: &Data) -> Option<String> {
    let (before, now) = (run.data.as_ref()?, DataIdentity::of(data));
    let counts = [("samples to train on", before.train, now.train), ("samples to test on", before.test, now.test)];
    let counts = counts.into_iter().filter(|(_, before, now)| before != now);
    let mut differences: Vec<String> =
        counts.map(|(what, before, now)| format!("{what}: {before}, now {now}")).collect();
    if before.sha256 != now.sha256 {
        differences.push(format!("SHA-256: {}, now {}", before.sha256, now.sha256));
    }
    (!differences.is_empty()).then(|| differences.join("; "))
}
