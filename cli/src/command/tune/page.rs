//! What is told of a search: a table on a terminal, a page with figures.

use std::fmt::Write;

use super::record::{Believed, Tuned};
use crate::choice::Objective;
use crate::report::html::{self, escape};
use crate::report::plot::{self, Labels, Series};
use crate::report::table::drawn;
use crate::search::{Point, table};

const TRIED: (u8, u8, u8) = (0, 114, 178);
const WITHOUT: (u8, u8, u8) = (213, 94, 0);
const BELIEVED: (u8, u8, u8) = (150, 160, 170);

/// Conditions, table and verdict, as printed.
pub(super) fn text(tuned: &Tuned) -> String {
    let mut text = conditions(tuned) + "\n";
    text += &drawn(table::head(&tuned.yardstick), rows(tuned));
    for line in findings(tuned) {
        text += &format!("\n{line}");
    }
    text + "\n"
}

/// The report's page.
pub(super) fn html(tuned: &Tuned) -> anyhow::Result<String> {
    let title = format!("fewsteps: a coefficient for {} on {}", tuned.method, tuned.settings.task.name());
    let mut page = html::opening(&title);
    writeln!(page, "<p class=\"faint\">{}</p>", escape(&conditions(tuned)))?;
    for line in findings(tuned) {
        writeln!(page, "<p>{}</p>", escape(&line))?;
    }
    html::write_table(&mut page, &table::head(&tuned.yardstick), &rows(tuned))?;
    figures(&mut page, tuned)?;
    let settings = serde_json::to_string_pretty(&tuned.settings)?;
    writeln!(page, "<details><summary>settings</summary><pre>{}</pre></details>\n</body>\n</html>", escape(&settings))?;
    Ok(page)
}

fn figures(page: &mut String, tuned: &Tuned) -> anyhow::Result<()> {
    html::key(page, [(TRIED, "tried"), (BELIEVED, "believed"), (WITHOUT, "without the regularizer")])?;
    let Some(base) = tuned.points.first() else { return Ok(()) };
    let drop = |point: &Point| tuned.yardstick.drop(base, point).unwrap_or(f64::NAN);
    let y = format!("{} lost, {}", tuned.yardstick.quality(), tuned.yardstick.unit());
    figure(page, tuned, &y, drop, |believed| believed.drop)?;
    let cost = |point: &Point| point.objective(tuned.objective).unwrap_or(f64::NAN);
    let y = tuned.objective.text().trim_end_matches(',');
    figure(page, tuned, y, cost, |believed| believed.cost)
}

/// A value against the coefficient: of those that were tried, as it is believed of the others, and without a regularizer.
fn figure(
    page: &mut String,
    tuned: &Tuned,
    y: &str,
    value: impl Fn(&Point) -> f64,
    believed: impl Fn(&Believed) -> f64,
) -> anyhow::Result<()> {
    let Some((base, rest)) = tuned.points.split_first() else { return Ok(()) };
    let line: Vec<(f64, f64)> = tuned.beliefs.iter().map(|at| (at.coefficient, believed(at))).collect();
    let ends = [tuned.beliefs.first(), tuned.beliefs.last()];
    let across = ends.into_iter().flatten().map(|end| (end.coefficient, value(base))).collect();
    let tried = rest.iter().map(|point| (point.coefficient, value(point))).collect();
    let lines = [Series::new(WITHOUT, across), Series::new(BELIEVED, line)];
    let labels = Labels { title: y, x: "coefficient", y };
    html::figure(page, &plot::among_lines(labels, &lines, &Series::new(TRIED, tried))?)
}

/// Under what conditions the figures were measured.
fn conditions(tuned: &Tuned) -> String {
    let settings = &tuned.settings;
    format!(
        "task {}, {} at tolerance {:e}, {} steps of batch {}, learning rate {}; {}",
        settings.task.name(),
        tuned.method,
        settings.tolerance,
        settings.steps,
        settings.batch,
        settings.learning_rate,
        tuned.machine.text()
    )
}

/// Of rising coefficients.
fn rows(tuned: &Tuned) -> Vec<Vec<String>> {
    let mut points: Vec<&Point> = tuned.points.iter().collect();
    points.sort_by(|a, b| a.coefficient.total_cmp(&b.coefficient));
    points.into_iter().map(|point| table::row(point, said(tuned, point))).collect()
}

/// What is said of a coefficient.
fn said(tuned: &Tuned, point: &Point) -> String {
    if tuned.coefficient == Some(point.coefficient) {
        return "best".to_owned();
    }
    if point.coefficient == 0.0 {
        return "without".to_owned();
    }
    let drop = tuned.points.first().and_then(|base| tuned.yardstick.drop(base, point));
    match drop {
        None => "failed".to_owned(),
        Some(drop) if drop > tuned.yardstick.tolerance() => {
            format!("{} out of the tolerance", tuned.yardstick.quality())
        }
        Some(_) => String::new(),
    }
}

/// What was found, a line each; the verdict last.
fn findings(tuned: &Tuned) -> Vec<String> {
    let mut lines = vec![format!("tolerance: {}", tuned.yardstick.text()), tuned.cost.text()];
    for point in &tuned.points {
        lines.extend(point.errors.iter().map(|error| format!("coefficient {}: {error}", point.coefficient)));
    }
    lines.push(format!("verdict: {}", tuned.words));
    if let Some(coefficient) = tuned.coefficient {
        let budget = match tuned.objective {
            Objective::Nfe => "; --target-nfe N asks for a number of evaluations instead",
            Objective::Time => "",
        };
        lines.push(format!("next: add --coefficient {coefficient} to `fewsteps train` or `fewsteps bench`{budget}"));
    }
    lines
}
