//! What `fewsteps deploy` says: lines for a terminal, and a page.

use std::fmt::Write;

use comfy_table::{CellAlignment, Table, TableComponent, presets};

use super::record::{DeployRecord, Finetuned};
use crate::record::Tested;
use crate::report::html;
use crate::report::plot::{self, Labels, Scale, Series};
use crate::report::table;
use crate::solvers::Score;

const TRAINED: (u8, u8, u8) = (213, 94, 0);
const EQUAL_STEPS: (u8, u8, u8) = (0, 114, 178);
const ADAPTIVE: (u8, u8, u8) = (0, 158, 115);
const CHOSEN: (u8, u8, u8) = (204, 121, 167);

impl DeployRecord {
    fn classifies(&self) -> bool {
        self.settings.classifies()
    }

    /// What was chosen on.
    fn samples(&self) -> String {
        let samples = grouped(self.samples);
        match (self.scores[0].accuracy, self.seen) {
            (None, _) if self.settings.config.loss == fewsteps::Loss::Moments => {
                format!("{samples} batches of {} paths that training has not seen", self.batch)
            }
            (_, true) => format!(
                "the last {samples} training samples, which the model has seen: agreement on them says little, so the states \
                 have to be near too (train with --hold-out N to keep some unseen)"
            ),
            (_, false) => format!("{samples} samples that training was kept from"),
        }
    }

    /// What may be lost, and what of that the samples can show.
    fn limit(&self) -> String {
        let mut text = if self.classifies() {
            format!("an accuracy at most {} points lower at 95 %", points(self.asked_drop))
        } else {
            format!("a loss at most {} % higher at 95 %", points(self.asked_drop))
        };
        if let Some(error) = self.max_error {
            write!(text, ", an error of at most {error:.1e}").unwrap_or(());
        }
        text + ", each solver by itself"
    }

    /// Where fewer samples than that would take cannot show it.
    fn reach(&self) -> Option<String> {
        (self.drop > self.asked_drop).then(|| {
            format!(
                "{} points cannot be shown by {} samples: even without one that is classified otherwise, {} are left open. Taken is \
                 the cheapest solver of which no more is",
                points(self.asked_drop),
                grouped(self.samples),
                points(self.drop)
            )
        })
    }

    /// What an evaluation is, where the model is one of corrected steps.
    fn corrected(&self) -> Option<String> {
        let corrected = self.settings.corrected.as_ref()?;
        let [field, _] = corrected.hypersolver.evaluations(1);
        Some(format!(
            "{}: here an evaluation is {field} of the field and one of the correction, which was learnt for these steps",
            corrected.name()
        ))
    }

    fn head(&self) -> Vec<String> {
        let quality: &[&str] = if self.classifies() {
            &["loss", "accuracy, %", "agreement, %", "drop at most"]
        } else {
            &["loss", "rise at most, %"]
        };
        ["solver", "NFE"].iter().chain(quality).chain(&["error", "ms a batch"]).map(|&cell| cell.to_owned()).collect()
    }

    fn row(&self, score: &Score) -> Vec<String> {
        let percent =
            |share: Option<f64>| share.map_or_else(|| "-".to_owned(), |share| format!("{:.2}", 100.0 * share));
        let mut row =
            vec![score.solver.clone(), evaluations(score.nfe, score.nfe_diffusion), format!("{:.4e}", score.loss)];
        if self.classifies() {
            row.extend([percent(score.accuracy), percent(score.agreement)]);
        }
        row.extend([points(score.drop), table::error(score.error), format!("{:.2}", score.milliseconds)]);
        row
    }

    fn chosen(&self) -> &Score {
        &self.scores[self.chosen]
    }

    /// The front, with the training's solver and the chosen one, by cost.
    fn shown(&self) -> Vec<usize> {
        let mut shown: Vec<usize> = self.front.iter().copied().chain([0, self.chosen]).collect();
        shown.sort_by(|&a, &b| self.scores[a].cost().total_cmp(&self.scores[b].cost()).then(a.cmp(&b)));
        shown.dedup();
        shown
    }

    fn marked(&self, index: usize) -> Vec<String> {
        let mut row = self.row(&self.scores[index]);
        row[0] += match (index == self.chosen, index == 0) {
            (true, true) => " (training's, chosen)",
            (true, false) => " (chosen)",
            (false, true) => " (training's)",
            _ => "",
        };
        row
    }

    fn finetuned(&self) -> Option<String> {
        let Finetuned { steps, skipped, test: [before, after] } = self.finetuned.as_ref()?;
        let left_out = if *skipped > 0 { format!(", {skipped} of which were left out") } else { String::new() };
        Some(format!(
            "after {steps} more steps with {}{left_out}: {}; under the training's solver: {}. The network has adapted to its \
             solver: it is a residual network now, whose equation may have another solution",
            after.solver,
            tested(after),
            tested(before)
        ))
    }
}

/// Lines for a terminal.
pub(super) fn text(record: &DeployRecord) -> String {
    let mut table = Table::new();
    let rows = record.shown().into_iter().map(|index| record.marked(index));
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY).set_header(record.head()).add_rows(rows);
    for line in [TableComponent::HorizontalLines, TableComponent::MiddleIntersections] {
        table.remove_style(line);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let settings = &record.settings;
    let [before, after] = &record.test;
    let mut lines = vec![
        format!("checkpoint  {} on {}, seed {}", settings.training, record.task.name(), settings.seed),
        format!("chosen on   {}", record.samples()),
        format!("allowed     {}", record.limit()),
    ];
    lines.extend(record.reach().map(|reach| format!("            {reach}")));
    lines.extend(record.corrected().map(|text| format!("model       {text}")));
    lines.push(format!("the front of {} solvers: what costs more is nearer to the solution", record.scores.len()));
    lines.extend([table.to_string(), format!("chosen      {}", record.chosen().solver)]);
    lines.push("test set, which had no part in the choice".to_owned());
    lines.extend([before, after].map(|found| format!("  {}: {}", found.solver, tested(found))));
    lines.extend(record.finetuned().map(|text| format!("finetuned   {text}")));
    lines.push(format!("written to  {} (fewsteps eval takes it from there)", record.written.display()));
    lines.join("\n") + "\n"
}

/// A page with every solver.
pub(super) fn html(record: &DeployRecord) -> anyhow::Result<String> {
    let title = format!("fewsteps: a solver for {} on {}", record.settings.training, record.task.name());
    let mut page = html::opening(&title);
    let faint = |page: &mut String, text: &str| writeln!(page, "<p class=\"faint\">{}</p>", html::escape(text));
    faint(&mut page, &format!("Chosen on {}. Allowed: {}.", record.samples(), record.limit()))?;
    if let Some(reach) = record.reach() {
        writeln!(page, "<p class=\"warning\">{}.</p>", html::escape(&reach))?;
    }
    if let Some(text) = record.corrected() {
        faint(&mut page, &format!("The model is {text}."))?;
    }
    page.push_str("<h2>What was chosen</h2>\n");
    let rows: Vec<Vec<String>> = record.shown().into_iter().map(|index| record.marked(index)).collect();
    html::write_table(&mut page, &record.head(), &rows)?;
    faint(
        &mut page,
        "The front: what costs more is nearer to the solution. NFE is of a batch; a drop or rise is a bound at 95 % \
         against the training's solver, from the samples on which both differ; the error is relative, of the states \
         before the head, against a converged solve.",
    )?;
    page.push_str("<h2>On the test set</h2>\n<p>It had no part in the choice.</p>\n<ul>\n");
    for found in &record.test {
        writeln!(page, "<li>{}: {}</li>", html::escape(&found.solver), html::escape(&tested(found)))?;
    }
    page.push_str("</ul>\n");
    if let Some(text) = record.finetuned() {
        writeln!(page, "<p>Finetuned: {}.</p>", html::escape(&text))?;
    }
    figures(&mut page, record)?;
    page.push_str("<h2>Every solver</h2>\n");
    let mut order: Vec<usize> = (0..record.scores.len()).collect();
    order.sort_by(|&a, &b| record.scores[a].cost().total_cmp(&record.scores[b].cost()));
    let rows: Vec<Vec<String>> = order.into_iter().map(|index| record.marked(index)).collect();
    html::write_table(&mut page, &record.head(), &rows)?;
    page.push_str("</body>\n</html>\n");
    Ok(page)
}

/// Error and loss against cost, a dot a solver.
fn figures(page: &mut String, record: &DeployRecord) -> anyhow::Result<()> {
    page.push_str("<h2>What an evaluation buys</h2>\n");
    let keys = [(EQUAL_STEPS, "equal steps"), (ADAPTIVE, "adaptive"), (TRAINED, "the training's"), (CHOSEN, "chosen")];
    html::key(page, keys)?;
    let series = |merit: &dyn Fn(&Score) -> f64| -> Vec<Series> {
        let dot = |(index, score): (usize, &Score)| {
            let colour = match score.options.step_control {
                _ if index == record.chosen => CHOSEN,
                _ if index == 0 => TRAINED,
                fewsteps::StepControl::Fixed { .. } => EQUAL_STEPS,
                _ => ADAPTIVE,
            };
            Series::new(colour, vec![(score.cost(), merit(score))])
        };
        // What was trained with and what was chosen lie on top.
        let (some, others): (Vec<_>, Vec<_>) =
            record.scores.iter().enumerate().partition(|(index, _)| *index == 0 || *index == record.chosen);
        others.into_iter().chain(some).map(dot).collect()
    };
    let labels = Labels { title: "Distance from the solution", x: "NFE", y: "relative error" };
    let errors = series(&|score| score.error.unwrap_or(f64::NAN));
    html::figure(page, &plot::scatter(labels, &errors, Scale::Logarithmic)?)?;
    let labels = Labels { title: "Loss on the samples that were chosen on", x: "NFE", y: "loss" };
    html::figure(page, &plot::scatter(labels, &series(&|score| score.loss), Scale::Logarithmic)?)
}

/// A solver's figures on the test set.
fn tested(found: &Tested) -> String {
    let measured = &found.test;
    let quality = match measured.accuracy {
        Some(accuracy) => format!("{:.2} %, loss {}", 100.0 * accuracy, table::loss(measured.loss)),
        None => format!("loss {}", table::loss(measured.loss)),
    };
    format!(
        "{quality}{}, NFE {}, error {}, {:.2} ms a batch of {}",
        table::failed(measured.failed),
        evaluations(measured.nfe, measured.nfe_diffusion),
        table::error(measured.error),
        found.prediction_milliseconds,
        found.prediction_batch
    )
}

/// Of the field, and of the diffusion if there is one.
fn evaluations(nfe: f64, nfe_diffusion: f64) -> String {
    if nfe_diffusion > 0.0 { format!("{nfe:.1} + {nfe_diffusion:.1}") } else { format!("{nfe:.1}") }
}

/// A share in points of a hundred.
fn points(share: f64) -> String {
    format!("{:.2}", 100.0 * share)
}

fn grouped(count: usize) -> String {
    if count < 1000 { count.to_string() } else { format!("{},{:03}", count / 1000, count % 1000) }
}
