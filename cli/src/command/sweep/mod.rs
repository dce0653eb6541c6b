//! `fewsteps sweep`: what a regularizer's coefficient does to accuracy and NFE, by short trainings at a row of them.

mod analysis;
mod page;
mod record;

use anyhow::ensure;

use self::analysis::Analysis;
use self::record::Sweep;
use crate::args::SweepArgs;
use crate::files;
use crate::input;
use crate::interrupt;
use crate::machine::Machine;
use crate::output;
use crate::record::RunRecord;
use crate::run::{Ending, SWEEP, Session};
use crate::search::{Cost, Plan, Point, Yardstick, ensure_free};
use crate::settings::Settings;

pub(crate) fn sweep(mut args: SweepArgs) -> anyhow::Result<Ending> {
    interrupt::catch()?;
    let coefficients = coefficients(&args.coefficients)?;
    let plan = Plan::new(&args.trial, &mut args.training)?;
    ensure_free(&args.training)?;
    let data = input::load(&args.training)?;
    let samples = data.test.len();
    let seeds = args.seeds.get() as u64;
    let mut runs = Vec::new();
    for &coefficient in &coefficients {
        for seed in 0..seeds {
            runs.push(plan.settings(&mut args.training, coefficient, seed, &data)?);
        }
    }
    let session = Session::open(&args.training, data, runs, Some(SWEEP))?;
    let mut points = Vec::new();
    for (runs, &coefficient) in session.runs.chunks(args.seeds.get()).zip(&coefficients) {
        points.push(point(&session, coefficient, runs)?);
    }
    let yardstick = Yardstick::new(args.trial.max_drop, &points[0], samples)?;
    let sweep = told(&session, &plan, points, yardstick);
    publish(&args, &session, &sweep)?;
    let compared = sweep.points[0].whole();
    Ok(if compared { Ending::Finished } else { Ending::NothingToShow })
}

/// The coefficients in their order, each once, and 0 first.
fn coefficients(asked: &[f64]) -> anyhow::Result<Vec<f64>> {
    for c in asked {
        ensure!(*c >= 0.0 && c.is_finite(), "--coefficients {c}: give finite numbers of at least 0");
    }
    let mut coefficients: Vec<f64> = std::iter::once(0.0).chain(asked.iter().map(|c| c.abs())).collect();
    coefficients.sort_by(f64::total_cmp);
    coefficients.dedup();
    ensure!(coefficients.len() > 1, "--coefficients: name one above 0; 0 is what the others are compared with");
    Ok(coefficients)
}

/// Makes the runs of one coefficient. One that fails says something of the coefficient, and costs none of the others.
fn point(session: &Session<'_>, coefficient: f64, runs: &[Settings]) -> anyhow::Result<Point> {
    let (mut records, mut errors): (Vec<RunRecord>, Vec<String>) = (Vec::new(), Vec::new());
    for settings in runs {
        match session.attempt(settings)? {
            Ok(record) => records.push(record),
            Err(lost) => errors.push(lost.error),
        }
    }
    Ok(Point::of(coefficient, &records, errors))
}

fn told(session: &Session<'_>, plan: &Plan, points: Vec<Point>, yardstick: Yardstick) -> Sweep {
    let last = &session.runs[session.runs.len() - 1];
    let cost = Cost {
        trials: session.runs.len(),
        steps: last.steps,
        whole_trainings: session.runs.len() as f64 * last.steps as f64 / plan.whole as f64,
        seconds: points.iter().map(|point| point.training_seconds).sum(),
    };
    Sweep {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        machine: Machine::of(&session.device),
        method: last.training,
        analysis: Analysis::of(&points, yardstick),
        points,
        cost,
        runs: session.runs.iter().map(Settings::run_name).collect(),
        settings: last.clone(),
    }
}

/// Writes the results and the report, and prints the table or the JSON.
fn publish(args: &SweepArgs, session: &Session<'_>, sweep: &Sweep) -> anyhow::Result<()> {
    let (results, report) = (session.out.results(), session.out.report());
    files::write_json(&results, sweep)?;
    files::write(&report, page::html(sweep)?.as_bytes())?;
    if args.training.output.json {
        return output::print(&(serde_json::to_string_pretty(sweep)? + "\n"));
    }
    let where_to = format!("report: {}\nresults: {}\n", report.display(), results.display());
    output::print(&(page::text(sweep) + &where_to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coefficients_are_in_order_and_begin_with_none() {
        assert_eq!(coefficients(&[3.0, 0.1, 3.0, -0.0]).expect("good"), [0.0, 0.1, 3.0]);
        for bad in [&[-1.0][..], &[f64::NAN], &[f64::INFINITY], &[0.0], &[]] {
            assert!(coefficients(bad).expect_err("refused").to_string().contains("--coefficients"), "{bad:?}");
        }
    }
}
