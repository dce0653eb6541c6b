//! `fewsteps bench`: methods against each other, over several seeds.

use anyhow::{Context, ensure};
use fewsteps::{Blocking, Device, GpuTrainer, Learner, Method, Trainer};

use crate::args::BenchArgs;
use crate::choice::Precision;
use crate::data::Data;
use crate::files;
use crate::input;
use crate::interrupt::{self, Interrupted};
use crate::machine::Machine;
use crate::method::Training;
use crate::output;
use crate::record::{Failure, Hypersolved, Results, RunRecord};
use crate::repeat;
use crate::report::page;
use crate::report::summary::{self, Made};
use crate::report::table;
use crate::run::{BENCH, Ending, Session};
use crate::settings::Settings;
use crate::solvers;

pub(crate) fn bench(mut args: BenchArgs) -> anyhow::Result<Ending> {
    interrupt::catch()?;
    args.training.read_model(&mut None)?;
    if let Some(reach) = args.reach {
        ensure!(reach.is_finite(), "--reach {reach}: give a finite number, per cent of accuracy or a loss");
    }
    let args = &args;
    let (data, runs) = match &args.training.config {
        Some(path) => repeat::runs(path, &args.training.data)?,
        None => planned(args)?,
    };
    let methods = distinct(runs.iter().map(|run| run.training));
    for run in args.hypersolver.iter().flat_map(|base| runs.iter().map(move |run| (*base, run))) {
        solvers::hypersolver(run.0, run.1).context("--hypersolver")?;
    }
    let session = Session::open(&args.training, data, runs, Some(BENCH))?;
    let (runs, failures, ending) = run_all(&session)?;
    if runs.is_empty() {
        output::note("fewsteps: error: no run came to its end; there are no results");
        return Ok(ending);
    }
    let (hypersolved, remarks) = match args.hypersolver {
        Some(base) => correct_all(&session, base, &runs)?,
        None => (Vec::new(), Vec::new()),
    };
    let made = Made { runs, failures, hypersolved, remarks };
    publish(args, &session, &summary::summarize(Machine::of(&session.device), &methods, made, args.reach))?;
    Ok(ending)
}

/// Learns a correction for each model from its checkpoint; what is to be said of those that get none.
fn correct_all(
    session: &Session<'_>,
    base: Method,
    records: &[RunRecord],
) -> anyhow::Result<(Vec<Hypersolved>, Vec<String>)> {
    let (mut hypersolved, mut remarks) = (Vec::new(), Vec::new());
    for RunRecord { settings, .. } in records.iter().filter(|record| record.test.loss.is_finite()) {
        if interrupt::requested() {
            return Err(Interrupted::between_steps(session.out.root(), true).into());
        }
        let name = settings.run_name();
        log::info!("{name}: learning a correction of few steps");
        let found = match (&session.device, settings.precision) {
            (Device::Cpu(cpu), Precision::F32) => correct::<Trainer<f32>>(session, cpu, settings, base),
            (Device::Cpu(cpu), Precision::F64) => correct::<Trainer<f64>>(session, cpu, settings, base),
            (Device::Gpu(gpu), _) => correct::<GpuTrainer>(session, gpu, settings, base),
        };
        match found {
            Ok(found) => hypersolved.push(found),
            // The runs and their figures are there all the same.
            Err(error) => remarks.push(format!("{name}: no corrected steps: {error:#}")),
        }
    }
    remarks.iter().for_each(|remark| log::warn!("{remark}"));
    Ok((hypersolved, remarks))
}

fn correct<L: Learner>(
    session: &Session<'_>,
    engine: &L::Engine,
    settings: &Settings,
    base: Method,
) -> anyhow::Result<Hypersolved> {
    let (mut learner, _) = Blocking::<L>::resume(engine, &session.out.finished(&settings.run_name()).checkpoint)?;
    solvers::hypersolved(engine, &mut learner, &session.data, settings, base)
}

/// The data, and the settings of all methods and seeds.
fn planned(args: &BenchArgs) -> anyhow::Result<(Data, Vec<Settings>)> {
    let BenchArgs { training, .. } = args;
    let methods = distinct(args.methods.iter().copied());
    let seeds = args.seeds.map_or(training.data.task.defaults().seeds, usize::from) as u64;
    let data = input::load(training)?;
    let runs = (0..seeds)
        .flat_map(|seed| methods.iter().map(move |&method| (method, seed)))
        .map(|(method, seed)| Settings::resolve(training, method, seed, &data))
        .collect::<anyhow::Result<_>>()?;
    training.regularizer.ensure_used(training.data.task, &methods)?;
    Ok((data, runs))
}

/// Makes all runs, and says how they ended.
fn run_all(session: &Session<'_>) -> anyhow::Result<(Vec<RunRecord>, Vec<Failure>, Ending)> {
    let (mut records, mut failures, mut ending) = (Vec::new(), Vec::new(), Ending::Finished);
    for settings in &session.runs {
        match session.attempt(settings)? {
            Ok(record) => {
                ending = ending.max(if record.defect().is_some() { Ending::NothingToShow } else { Ending::Finished });
                records.push(record);
            }
            Err(lost) => {
                ending = ending.max(lost.ending);
                failures.push(Failure { training: settings.training, seed: settings.seed, error: lost.error });
            }
        }
    }
    Ok((records, failures, ending))
}

/// Writes the results and the report, and prints the table or the JSON.
fn publish(args: &BenchArgs, session: &Session<'_>, results: &Results) -> anyhow::Result<()> {
    files::write_json(&session.out.results(), results)?;
    files::write(&session.out.report(), page::html(results)?.as_bytes())?;
    if args.training.output.json {
        return output::print(&(serde_json::to_string_pretty(results)? + "\n"));
    }
    let (report, results_path) = (session.out.report(), session.out.results());
    let where_to = format!("report: {}\nresults: {}\n", report.display(), results_path.display());
    output::print(&(table::render(results) + &where_to))
}

/// The methods in their order, each once.
fn distinct(methods: impl Iterator<Item = Training>) -> Vec<Training> {
    let mut distinct = Vec::new();
    for method in methods {
        if !distinct.contains(&method) {
            distinct.push(method);
        }
    }
    distinct
}
