//! The result table on a terminal, and the cells it shares with the report.

use comfy_table::{CellAlignment, Table, presets};
use fewsteps::Adjoint;

use crate::data::Own;
use crate::measure::stats::Spread;
use crate::method::Training;
use crate::record::{DeployedSummary, Failure, Hypersolved, MethodSummary, Results, RunRecord};
use crate::report::{followed, rankings, summary};
use crate::settings::Settings;

/// Headings and cells, one row a method.
pub(crate) struct Cells {
    pub(crate) head: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

pub(crate) fn cells(results: &Results) -> Cells {
    let settings = results.runs.first().map(|run| &run.settings);
    let classifies = settings.is_none_or(Settings::classifies);
    let other = results.summary.iter().find_map(|method| method.other_paths);
    let quality = if classifies {
        "test accuracy, %".into()
    } else {
        format!("test loss ({})", settings.map_or("loss", Settings::loss_name))
    };
    let mut head = vec!["method".to_owned(), quality];
    if let Some(other) = other {
        head.push(if classifies { format!("by {} paths, %", other.paths) } else { format!("{} paths", other.paths) });
    }
    let published = results.summary.iter().any(|method| method.nfe_published.is_some());
    if published {
        head.push("NFE, published solver".to_owned());
    }
    head.extend(
        ["NFE", "ideal steps", "solution error", "training, ms a step", "prediction, ms a batch"].map(str::to_owned),
    );
    let nats = settings.is_some_and(Settings::is_of_density);
    let shape = Shape { other: other.is_some(), published, nats };
    let mut rows: Vec<Vec<String>> = results.summary.iter().map(|method| row(method, shape)).collect();
    rows.extend(results.summary.iter().filter_map(|m| Some(deployed_row(m, "deployed", m.deployed.as_ref()?, shape))));
    let corrected = |m: &MethodSummary| Some(deployed_row(m, "hypersolver", m.hypersolver.as_ref()?, shape));
    rows.extend(results.summary.iter().filter_map(corrected));
    mark_failures(results, head.len(), &mut rows);
    Cells { head, rows }
}

/// Which columns there are, and whether losses are nats.
#[derive(Clone, Copy)]
struct Shape {
    other: bool,
    published: bool,
    nats: bool,
}

/// What NFE and the columns of paths mean.
pub(crate) fn notes(results: &Results) -> Vec<String> {
    let Some(run) = results.runs.first() else { return Vec::new() };
    let mut notes = Vec::new();
    if run.test.nfe_diffusion > 0.0 {
        let of = |method: &MethodSummary| format!("{} {:.1}", method.training, method.nfe_diffusion.mean);
        let diffusion: Vec<String> = results.summary.iter().map(of).collect();
        notes.push(format!("NFE is the drift's; the diffusion's: {}", diffusion.join(", ")));
    }
    let of = |method: &MethodSummary| {
        method.deployed.as_ref().map(|deployed| format!("{}: {}", method.training, deployed.solvers.join(" or ")))
    };
    let deployed: Vec<String> = results.summary.iter().filter_map(of).collect();
    if !deployed.is_empty() {
        notes.push(format!(
            "deployed: the cheapest equal steps that predict as well on training samples, as fewsteps deploy has it, or the \
             training's solver ({})",
            deployed.join("; ")
        ));
    }
    notes.extend(corrections(results));
    let kept = |run: &RunRecord| Some(format!("{}: {}", run.settings.run_name(), run.kept?.text()));
    let kept: Vec<String> = results.runs.iter().filter_map(kept).collect();
    if !kept.is_empty() {
        notes.push(format!("kept, as validation on held-out training samples chose: {}", kept.join("; ")));
    }
    let sampling = |run: &RunRecord| Some((run.settings.training, run.density.as_ref()?.nfe));
    let sampling: Vec<String> =
        results.runs.iter().filter_map(sampling).map(|(training, nfe)| format!("{training} {nfe}")).collect();
    if !sampling.is_empty() {
        notes.push(format!(
            "nats: minus the logarithm of the density, mean over the test set; NFE is that of densities, and of samples, a run \
             after the other: {}",
            sampling.join(", ")
        ));
    }
    notes.extend(followed::note(results));
    if run.test.error.is_some() {
        notes.push(match run.test.weak_error {
            None => "solution error: relative, of the states before the head, against a converged solve".to_owned(),
            Some(_) => {
                "solution error: relative, of the states before the head, against fine steps along the same paths"
                    .to_owned()
            }
        });
    }
    match (run.test.other_paths, &run.moments) {
        (Some(other), Some(moments)) => notes.push(format!(
            "losses are of means and variances over {} paths, and over {} as in training",
            moments.paths, other.paths
        )),
        (Some(other), None) => notes.push(format!(
            "a sample is classified by the output of one path, and by the mean output of {}",
            other.paths
        )),
        _ => {}
    }
    notes
}

/// What the rows with corrected steps are.
fn corrections(results: &Results) -> Option<String> {
    let first = results.hypersolved.first()?;
    let of = |found: &Hypersolved| {
        let short = if found.as_good { "" } else { ", not as good" };
        format!("{}-seed{}: {}{short}", found.training, found.seed, found.tested.solver)
    };
    Some(format!(
        "hypersolver: the fewest steps of {} with a correction of {} hidden units, learnt after training in {:.1} s, that \
         predict as well on training samples ({}); NFE is of the field + of the correction",
        first.base,
        first.hidden,
        first.training_seconds,
        results.hypersolved.iter().map(of).collect::<Vec<_>>().join("; ")
    ))
}

/// Says at each method how many of its runs failed; a method of which none is left gets a row of its own.
fn mark_failures(results: &Results, columns: usize, rows: &mut Vec<Vec<String>>) {
    let mut failed: Vec<(Training, usize)> = Vec::new();
    for Failure { training, .. } in &results.failures {
        match failed.iter_mut().find(|(method, _)| method == training) {
            Some((_, count)) => *count += 1,
            None => failed.push((*training, 1)),
        }
    }
    for (method, count) in failed {
        let name = format!("{method} ({count} failed)");
        match results.summary.iter().position(|summary| summary.training == method) {
            Some(index) => rows[index][0] = name,
            None => {
                let mut row = vec!["-".to_owned(); columns];
                row[0] = name;
                rows.push(row);
            }
        }
    }
}

/// The method under the solvers that its predictions need, or with corrected steps.
fn deployed_row(
    method: &MethodSummary,
    name: &str,
    found: &DeployedSummary,
    Shape { other, published, nats }: Shape,
) -> Vec<String> {
    let seeds = method.seeds;
    let corrections =
        found.nfe_correction.map_or(String::new(), |count| format!(" + {}", with_spread(count, seeds, 1)));
    let ratio = |ratio: Option<f64>| ratio.map_or(String::new(), |ratio| format!("  {ratio:.2}x"));
    let mut row = vec![
        format!("{}, {name}", method.training),
        quality(found.accuracy, found.test_loss, seeds, nats) + &failed(found.failed),
    ];
    row.extend([other, published].into_iter().filter(|&there| there).map(|_| "-".to_owned()));
    row.extend([
        with_spread(found.nfe, seeds, 1) + &corrections + &ratio(found.nfe_ratio),
        "-".to_owned(),
        error(found.error.map(|error| error.mean)),
        "-".to_owned(),
        cell(found.prediction_milliseconds, seeds, 2, found.prediction_ratio),
    ]);
    row
}

/// A mean with its spread, and relative to what ratios are to.
fn cell(spread: Spread, seeds: usize, digits: usize, ratio: Option<f64>) -> String {
    with_spread(spread, seeds, digits) + &ratio.map_or(String::new(), |ratio| format!("  {ratio:.2}x"))
}

fn row(method: &MethodSummary, Shape { other, published, nats }: Shape) -> Vec<String> {
    let ratios = method.ratios;
    let mut row = vec![
        method.training.to_string(),
        quality(method.accuracy, method.test_loss, method.seeds, nats) + &failed(method.failed),
    ];
    if other {
        let found = method
            .other_paths
            .map(|other| quality(other.accuracy, other.test_loss, method.seeds, nats) + &failed(other.failed));
        row.push(found.unwrap_or_else(|| "-".to_owned()));
    }
    if published {
        // Without a figure of its own the solver is that one.
        row.push(with_spread(method.nfe_published.unwrap_or(method.nfe), method.seeds, 1));
    }
    row.extend([
        cell(method.nfe, method.seeds, 1, ratios.map(|r| r.nfe)),
        method.ideal_steps.map_or_else(|| "-".to_owned(), |ideal| with_spread(ideal, method.seeds, 2)),
        error(method.error.map(|error| error.mean)),
        cell(method.step_milliseconds, method.seeds, 2, ratios.map(|r| r.step_time)),
        cell(method.prediction_milliseconds, method.seeds, 2, ratios.map(|r| r.prediction_time)),
    ]);
    row
}

/// Accuracy where there is one, otherwise the loss, which may be nats.
pub(crate) fn quality(accuracy: Option<Spread>, loss: Option<Spread>, seeds: usize, nats: bool) -> String {
    match (accuracy, loss) {
        (Some(accuracy), _) => {
            let percent = Spread { mean: 100.0 * accuracy.mean, std: 100.0 * accuracy.std };
            with_spread(percent, seeds, 2)
        }
        (None, Some(loss)) if nats => with_spread(loss, seeds, 3),
        (None, Some(loss)) if seeds > 1 => format!("{:.2e} ± {:.0e}", loss.mean, loss.std),
        (None, Some(loss)) => format!("{:.2e}", loss.mean),
        (None, None) => "not finite".to_owned(),
    }
}

/// A loss, which is not a number where nothing is left of it.
pub(crate) fn loss(loss: f64) -> String {
    if loss.is_finite() { format!("{loss:.4e}") } else { "not finite".to_owned() }
}

/// A relative error, if there is one.
pub(crate) fn error(error: Option<f64>) -> String {
    error.map_or_else(|| "-".to_owned(), |error| format!("{error:.1e}"))
}

/// The trajectories without which a figure is, if there are any.
pub(crate) fn failed(count: usize) -> String {
    if count == 0 { String::new() } else { format!(" ({count} failed)") }
}

/// A mean with its spread, which a single seed does not have.
pub(crate) fn with_spread(spread: Spread, seeds: usize, digits: usize) -> String {
    if seeds > 1 {
        format!("{:.digits$} ± {:.digits$}", spread.mean, spread.std)
    } else {
        format!("{:.digits$}", spread.mean)
    }
}

/// Under what conditions the figures were measured: without them a table says little.
pub(crate) fn conditions(results: &Results) -> Vec<String> {
    let Some(RunRecord { settings, parameters, times, .. }) = results.runs.first() else { return Vec::new() };
    let machine = &results.machine;
    let seeds = results.summary.iter().map(|method| method.seeds).max().unwrap_or(0);
    let records = match &settings.own {
        Some(Own::Physionet(records)) => Some(records.told()),
        _ => None,
    };
    let first = format!("task {}, {parameters} parameters, {}", settings.task.name(), training(settings));
    let others = [
        format!("{}, {}", solver(settings), if seeds == 1 { "1 seed".into() } else { format!("{seeds} seeds") }),
        format!("predictions in batches of {}; {}", times.prediction_batch, machine.text()),
        format!(
            "set-up and first step {:.0} ms, later steps {:.2} ms (the first run)",
            1e3 * times.cold_step_seconds,
            1e3 * times.warm_step_seconds
        ),
    ];
    [first].into_iter().chain(records).chain(others).collect()
}

fn training(settings: &Settings) -> String {
    format!("{} steps of batch {}, learning rate {}", settings.steps, settings.batch, settings.learning_rate)
}

fn solver(settings: &Settings) -> String {
    let method = settings.config.model.options.method;
    let (tolerance, layout, precision) = (settings.tolerance, settings.layout_name(), settings.precision_name());
    let adjoint = match settings.config.model.options.adjoint {
        Adjoint::Discrete { .. } => String::new(),
        _ => format!(", {} adjoint", settings.adjoint_name()),
    };
    format!("{method} at tolerance {tolerance:e}, {layout}, {precision}{adjoint}")
}

/// Conditions, table and warnings, as printed at the end of a benchmark.
pub(crate) fn render(results: &Results) -> String {
    let Cells { head, rows } = cells(results);
    let note = match summary::base(&results.summary) {
        Some(base) => format!("x: relative to {}; NFE: mean over the test batches", base.training),
        None => "NFE: mean over the test batches".to_owned(),
    };
    let warnings = results.warnings.iter().map(|warning| format!("warning: {warning}"));
    let lines: Vec<String> = conditions(results)
        .into_iter()
        .chain([drawn(head, rows), note])
        .chain(notes(results))
        .chain(ranked(results).into_iter().flatten())
        .chain(warnings)
        .collect();
    lines.join("\n") + "\n"
}

/// The rankings and what they mean, where there are methods to compare.
fn ranked(results: &Results) -> Option<[String; 2]> {
    let found = results.rankings.as_ref()?;
    let (head, rows) = rankings::places(found)?;
    Some([drawn(head, rows), rankings::note(found, results)])
}

/// A table for a terminal: words in the first column, numbers in the others.
pub(crate) fn drawn(head: Vec<String>, rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY).set_header(head).add_rows(rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}
