//! `fewsteps check`: whether local regularization suits a task, by two short trainings and a look at what came of them.

mod page;
mod probe;
mod record;
mod verdict;

use std::path::Path;

use fewsteps::{Cpu, Device};

use self::probe::{Apart, Probe};
use self::record::Check;
use self::verdict::Found;
use crate::args::CheckArgs;
use crate::choice::Precision;
use crate::data::Samples;
use crate::files;
use crate::input;
use crate::interrupt;
use crate::machine::Machine;
use crate::output;
use crate::record::RunRecord;
use crate::run::{CHECK, Ending, Session};
use crate::search::{Plan, Point, Yardstick};
use crate::settings::Settings;

pub(crate) fn check(mut args: CheckArgs) -> anyhow::Result<Ending> {
    interrupt::catch()?;
    let plan = Plan::new(&args.trial, &mut args.training)?;
    let data = input::load(&args.training)?;
    let regularized = plan.regularized(&args.training, args.seed, &data)?;
    let runs = vec![plan.settings(&mut args.training, 0.0, args.seed, &data)?, regularized];
    let session = Session::open(&args.training, data, runs, Some(CHECK))?;
    let without = session.run(&session.runs[0])?;
    let with = session.run(&session.runs[1])?;
    let defect = [&without, &with].into_iter().find_map(RunRecord::defect);
    if let Some(defect) = defect {
        output::note(&format!("fewsteps: error: {defect}"));
        return Ok(Ending::NothingToShow);
    }
    let probe = probe(&session)?;
    let found = found(&args, &session, [&without, &with], &probe)?;
    let (verdict, reasons) = verdict::judge(&found);
    let check = Check {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        machine: Machine::of(&session.device),
        verdict,
        reasons,
        found,
        apart: probe.apart,
        runs: session.runs.iter().map(Settings::run_name).collect(),
        settings: session.runs[1].clone(),
    };
    publish(&args, &session, &check)?;
    Ok(Ending::Finished)
}

/// Looks at both models.
fn probe(session: &Session<'_>) -> anyhow::Result<Probe> {
    let cpu = match &session.device {
        Device::Cpu(cpu) => cpu.clone(),
        Device::Gpu(_) => Cpu::new()?,
    };
    let [without, with] = [0, 1].map(|run| session.out.finished(&session.runs[run].run_name()).checkpoint);
    let checkpoints: [&Path; 2] = [&without, &with];
    let (samples, Settings { batch, precision, .. }) = (&session.data.train, &session.runs[0]);
    match precision {
        Precision::F32 => Probe::of::<f32>(&cpu, checkpoints, samples, *batch),
        Precision::F64 => Probe::of::<f64>(&cpu, checkpoints, samples, *batch),
    }
}

fn found(args: &CheckArgs, session: &Session<'_>, runs: [&RunRecord; 2], probe: &Probe) -> anyhow::Result<Found> {
    let settings = &session.runs[0];
    let model = &settings.config.model;
    let points = [(0.0, runs[0]), (1.0, runs[1])].map(|(c, run)| Point::of(c, std::slice::from_ref(run), Vec::new()));
    let yardstick = Yardstick::new(args.trial.max_drop, &points[0], session.data.test.len())?;
    let seen = match &session.data.train {
        Samples::Moments(moments) => moments.means.len(),
        _ => model.output_times(),
    };
    let root_mean_square = |of: fn(&Apart) -> f64| {
        (probe.apart.iter().map(|apart| of(apart).powi(2)).sum::<f64>() / probe.apart.len() as f64).sqrt()
    };
    Ok(Found {
        output_times: seen,
        trajectories: root_mean_square(|apart| apart.trajectories),
        fields: root_mean_square(|apart| apart.fields),
        nfe: runs.map(|run| run.test.nfe),
        ideal_steps: runs[0].test.ideal_steps,
        nfe_of_a_step: model.options.method.tableau().stages(),
        nfe_deployed: runs[0].deployed.as_ref().map(|deployed| deployed.test.nfe),
        drop: yardstick.drop(&points[0], &points[1]),
        tolerance: yardstick.tolerance(),
        unit: format!("{} of {}", yardstick.unit(), yardstick.quality()),
        gradient_ratio: probe.gradient_ratio,
        field_error: probe.field_error,
        loss_error: probe.loss_error,
        failed: runs.iter().map(|run| run.progress.failed + run.test.failed).sum(),
        skipped: runs.iter().map(|run| run.progress.skipped).sum(),
        rounding: settings.warning(),
    })
}

/// Writes the results and the report, and prints the findings or the JSON.
fn publish(args: &CheckArgs, session: &Session<'_>, check: &Check) -> anyhow::Result<()> {
    let (results, report) = (session.out.results(), session.out.report());
    files::write_json(&results, check)?;
    files::write(&report, page::html(check)?.as_bytes())?;
    if args.training.output.json {
        return output::print(&(serde_json::to_string_pretty(check)? + "\n"));
    }
    let where_to = format!("report: {}\nresults: {}\n", report.display(), results.display());
    output::print(&(page::text(check) + &where_to))
}
