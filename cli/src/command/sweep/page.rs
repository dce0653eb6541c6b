//! What is told of a sweep: a table on a terminal, a page with figures.

use std::fmt::Write;

use super::analysis::Analysis;
use super::record::Sweep;
use crate::report::html::{self, escape};
use crate::report::plot::{self, Labels, Series};
use crate::report::table::drawn;
use crate::search::{Point, table};

const TRIED: (u8, u8, u8) = (0, 114, 178);
const WITHOUT: (u8, u8, u8) = (213, 94, 0);

/// Conditions, table and verdict, as printed.
pub(super) fn text(sweep: &Sweep) -> String {
    let mut text = conditions(sweep) + "\n";
    text +=
        &drawn(table::head(&sweep.analysis.yardstick), sweep.points.iter().map(|point| row(sweep, point)).collect());
    for line in findings(sweep) {
        text += &format!("\n{line}");
    }
    text + "\n"
}

/// The report's page.
pub(super) fn html(sweep: &Sweep) -> anyhow::Result<String> {
    let mut page = html::opening(&format!("fewsteps: coefficients of {} on {}", sweep.method, task(sweep)));
    writeln!(page, "<p class=\"faint\">{}</p>", escape(&conditions(sweep)))?;
    for line in findings(sweep) {
        writeln!(page, "<p>{}</p>", escape(&line))?;
    }
    html::write_table(
        &mut page,
        &table::head(&sweep.analysis.yardstick),
        &sweep.points.iter().map(|p| row(sweep, p)).collect::<Vec<_>>(),
    )?;
    figures(&mut page, sweep)?;
    let settings = serde_json::to_string_pretty(&sweep.settings)?;
    writeln!(page, "<details><summary>settings</summary><pre>{}</pre></details>\n</body>\n</html>", escape(&settings))?;
    Ok(page)
}

fn figures(page: &mut String, sweep: &Sweep) -> anyhow::Result<()> {
    html::key(page, [(TRIED, "with the regularizer"), (WITHOUT, "without")])?;
    let y = sweep.analysis.yardstick.column();
    figure(page, sweep, y, Point::quality)?;
    figure(page, sweep, "NFE", Point::evaluations)
}

/// A value against the coefficient, and what it is without a regularizer as a line across.
fn figure(page: &mut String, sweep: &Sweep, y: &str, value: impl Fn(&Point) -> f64) -> anyhow::Result<()> {
    let Some((base, rest)) = sweep.points.split_first() else { return Ok(()) };
    let tried: Vec<(f64, f64)> = rest.iter().map(|point| (point.coefficient, value(point))).collect();
    let ends = [tried.first(), tried.last()];
    let across = ends.into_iter().flatten().map(|end| (end.0, value(base))).collect();
    let series = [Series::new(WITHOUT, across), Series::new(TRIED, tried)];
    html::figure(page, &plot::over_decades(Labels { title: y, x: "coefficient", y }, &series)?)
}

fn task(sweep: &Sweep) -> &'static str {
    sweep.settings.task.name()
}

/// Under what conditions the figures were measured.
fn conditions(sweep: &Sweep) -> String {
    let settings = &sweep.settings;
    format!(
        "task {}, {} at tolerance {:e}, {} steps of batch {}, learning rate {}; {}",
        task(sweep),
        sweep.method,
        settings.tolerance,
        settings.steps,
        settings.batch,
        settings.learning_rate,
        sweep.machine.text()
    )
}

fn row(sweep: &Sweep, point: &Point) -> Vec<String> {
    table::row(point, marks(&sweep.analysis, point.coefficient).join("; "))
}

/// What happens at a coefficient.
fn marks(analysis: &Analysis, coefficient: f64) -> Vec<String> {
    let quality = analysis.yardstick.quality();
    let marks = [
        (analysis.falls_from, "NFE begins to fall".to_owned()),
        (analysis.best, "best".to_owned()),
        (analysis.leaves_at, format!("{quality} out of the tolerance")),
    ];
    marks.into_iter().filter(|(at, _)| *at == Some(coefficient)).map(|(_, mark)| mark).collect()
}

/// What was found, a line each; the verdict last.
fn findings(sweep: &Sweep) -> Vec<String> {
    let (analysis, cost) = (&sweep.analysis, sweep.cost);
    let told = |slope: Option<f64>| slope.map_or("unknown, for want of two models".to_owned(), |s| format!("{s:.3}"));
    let mut lines = vec![
        format!("tolerance: {}", analysis.yardstick.text()),
        format!(
            "sensitivity: d ln NFE / d ln lambda = {} (of ideal steps {})",
            told(analysis.sensitivity),
            told(analysis.sensitivity_ideal_steps)
        ),
        cost.text(),
    ];
    for point in &sweep.points {
        lines.extend(point.errors.iter().map(|error| format!("coefficient {}: {error}", point.coefficient)));
    }
    lines.push(format!("verdict: {}", analysis.words));
    if let Some(best) = analysis.best {
        lines.push(format!("next: add --coefficient {best} to `fewsteps train` or `fewsteps bench`"));
    }
    lines
}
