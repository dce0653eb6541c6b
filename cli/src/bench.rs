//! `fewsteps bench`: methods against each other, over several seeds.

use crate::args::BenchArgs;
use crate::files;
use crate::interrupt::{self, Interrupted};
use crate::machine::Machine;
use crate::output;
use crate::record::{Failure, Results, RunRecord};
use crate::report;
use crate::session::{Ending, Session};
use crate::settings::{Settings, Training};
use crate::summary;
use crate::table;

pub(crate) fn bench(args: &BenchArgs) -> anyhow::Result<Ending> {
    interrupt::catch()?;
    let methods = distinct(&args.methods);
    let seeds = args.seeds.map_or(args.training.data.task.defaults().seeds, usize::from) as u64;
    let data = args.training.data.task.load(args.training.data.data.as_deref())?;
    let runs: Vec<Settings> = (0..seeds)
        .flat_map(|seed| methods.iter().map(move |&method| (method, seed)))
        .map(|(method, seed)| Settings::resolve(&args.training, method, seed, &data))
        .collect::<anyhow::Result<_>>()?;
    args.training.regularizer.ensure_used(args.training.data.task, &methods)?;

    let session = Session::open(&args.training, data, runs, true)?;
    let (records, failures) = run_all(&session)?;
    if records.is_empty() {
        output::note("fewsteps: error: no run came to its end; there are no results");
        return Ok(Ending::NothingToShow);
    }
    let sound = failures.is_empty() && records.iter().all(|record| record.defect().is_none());
    publish(args, &session, &summary::summarize(Machine::of(&session.device), &methods, records, failures))?;
    Ok(if sound { Ending::Finished } else { Ending::NothingToShow })
}

/// Makes all runs. One that fails is told, and costs none of the others.
fn run_all(session: &Session<'_>) -> anyhow::Result<(Vec<RunRecord>, Vec<Failure>)> {
    let (mut records, mut failures) = (Vec::new(), Vec::new());
    for settings in &session.runs {
        match session.run(settings) {
            Ok(record) => records.push(record),
            Err(error) if error.is::<Interrupted>() => return Err(error),
            Err(error) => {
                let error = format!("{error:#}");
                output::note(&format!("fewsteps: error: {error}"));
                failures.push(Failure { training: settings.training, seed: settings.seed, error });
            }
        }
    }
    Ok((records, failures))
}

/// Writes the results and the report, and prints the table or the JSON.
fn publish(args: &BenchArgs, session: &Session<'_>, results: &Results) -> anyhow::Result<()> {
    files::write_json(&session.out.results(), results)?;
    files::write(&session.out.report(), report::html(results)?.as_bytes())?;
    if args.training.output.json {
        return output::print(&(serde_json::to_string_pretty(results)? + "\n"));
    }
    let (report, results_path) = (session.out.report(), session.out.results());
    let where_to = format!("report: {}\nresults: {}\n", report.display(), results_path.display());
    output::print(&(table::render(results) + &where_to))
}

/// The methods in their order, each once.
fn distinct(methods: &[Training]) -> Vec<Training> {
    let mut distinct = Vec::new();
    for &method in methods {
        if !distinct.contains(&method) {
            distinct.push(method);
        }
    }
    distinct
}
