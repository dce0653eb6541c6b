//! `fewsteps bench`: methods against each other, over several seeds.

use crate::args::BenchArgs;
use crate::files;
use crate::machine::Machine;
use crate::output;
use crate::record::Results;
use crate::report;
use crate::session::{Ending, Session};
use crate::settings::{Settings, Training};
use crate::summary;
use crate::table;

pub(crate) fn bench(args: &BenchArgs) -> anyhow::Result<Ending> {
    let methods = distinct(&args.methods);
    let seeds = args.seeds.map_or(args.training.data.task.defaults().seeds, usize::from) as u64;
    let data = args.training.data.task.load(args.training.data.data.as_deref())?;
    let runs: Vec<Settings> = (0..seeds)
        .flat_map(|seed| methods.iter().map(move |&method| (method, seed)))
        .map(|(method, seed)| Settings::resolve(&args.training, method, seed, &data))
        .collect::<anyhow::Result<_>>()?;
    args.training.regularizer.ensure_used(args.training.data.task, &methods)?;

    let session = Session::open(&args.training, data, &runs)?;
    let mut records = Vec::new();
    for settings in &runs {
        match session.run(settings)? {
            Some(record) => records.push(record),
            None => return Ok(Ending::Interrupted),
        }
    }
    publish(args, &session, &summary::summarize(Machine::of(&session.device), &methods, records))?;
    Ok(Ending::Finished)
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
