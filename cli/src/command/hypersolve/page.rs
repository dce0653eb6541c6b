//! What `fewsteps hypersolve` says: a table on a terminal, and a page with a figure.

use std::fmt::Write;

use super::record::{Hypersolved, Kind, Row};
use crate::report::html::{self, escape};
use crate::report::plot::{self, Labels, Scale, Series};
use crate::report::table::{self, drawn};

const COLOURS: [(Kind, &str, (u8, u8, u8)); 3] = [
    (Kind::Corrected, "with the correction", (204, 121, 167)),
    (Kind::Plain, "plain", (0, 114, 178)),
    (Kind::Training, "the training's solver", (213, 94, 0)),
];

pub(super) fn text(record: &Hypersolved) -> String {
    let mut text = facts(record).join("\n") + "\n";
    text += &drawn(head(record), by_cost(record).into_iter().map(row).collect());
    text += &format!("\nverdict     {}\n", record.words);
    match &record.written {
        Some(path) => text + &format!("written to  {} (fewsteps eval takes it from there)\n", path.display()),
        None => text,
    }
}

pub(super) fn html(record: &Hypersolved) -> anyhow::Result<String> {
    let mut page = html::opening(&format!("fewsteps: hyper-{} on {}", record.base, record.task.name()));
    for line in facts(record) {
        writeln!(page, "<p class=\"faint\">{}</p>", escape(&line))?;
    }
    writeln!(page, "<p>verdict: {}</p>", escape(&record.words))?;
    html::write_table(&mut page, &head(record), &by_cost(record).into_iter().map(row).collect::<Vec<_>>())?;
    html::key(&mut page, COLOURS.map(|(_, text, colour)| (colour, text)))?;
    let point = |row: &Row| Some((row.multiply_adds? as f64, row.error?));
    let series = COLOURS.map(|(kind, _, colour)| {
        Series::new(colour, record.rows.iter().filter(|row| row.kind == kind).filter_map(point).collect())
    });
    let labels = Labels { title: "error against cost", x: "multiply-adds a sample", y: "relative error of the states" };
    html::figure(&mut page, &plot::scatter(labels, &series, Scale::Logarithmic)?)?;
    page.push_str("</body>\n</html>\n");
    Ok(page)
}

fn facts(record: &Hypersolved) -> Vec<String> {
    vec![
        format!("checkpoint  {}, {}", record.checkpoint.display(), record.machine.text()),
        format!(
            "correction  {} hidden units, {} updates on training inputs: residuals of {:.2e} become {:.2e}",
            record.hidden, record.training_steps, record.residual, record.left
        ),
    ]
}

fn by_cost(record: &Hypersolved) -> Vec<&Row> {
    let mut rows: Vec<&Row> = record.rows.iter().collect();
    rows.sort_by_key(|row| row.multiply_adds);
    rows
}

fn head(record: &Hypersolved) -> Vec<String> {
    let quality = if record.rows.iter().any(|row| row.accuracy.is_some()) { "accuracy, %" } else { "loss" };
    ["solver", "evaluations of f", "of g", "multiply-adds", quality, "error", "ms a batch"].map(str::to_owned).into()
}

fn row(row: &Row) -> Vec<String> {
    let quality = row.accuracy.map_or_else(|| format!("{:.4e}", row.loss), |share| format!("{:.2}", 100.0 * share));
    vec![
        row.solver.clone(),
        format!("{:.1}", row.nfe),
        row.corrections.to_string(),
        row.multiply_adds.map_or_else(|| "-".to_owned(), |cost| cost.to_string()),
        quality,
        table::error(row.error),
        format!("{:.2}", row.milliseconds),
    ]
}
