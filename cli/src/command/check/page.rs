//! What is told of a check: findings on a terminal, a page with a figure.

use std::fmt::Write;

use super::probe::Apart;
use super::record::Check;
use super::verdict::Verdict;
use crate::report::html::{self, escape};
use crate::report::plot::{self, Labels, Scale, Series};

const TRAJECTORIES: (u8, u8, u8) = (0, 114, 178);
const FIELDS: (u8, u8, u8) = (213, 94, 0);

/// Conditions, findings and verdict, as printed.
pub(super) fn text(check: &Check) -> String {
    let mut text = conditions(check) + "\n";
    for reason in &check.reasons {
        text += &format!("{:13} {:10} {}\n", reason.about, reason.grade.words(), reason.text);
    }
    text + &verdict(check) + "\n"
}

/// The report's page.
pub(super) fn html(check: &Check) -> anyhow::Result<String> {
    let mut page = html::opening(&format!("fewsteps: is local regularization for {}?", check.settings.task.name()));
    writeln!(page, "<p class=\"faint\">{}</p>\n<p>{}</p>", escape(&conditions(check)), escape(&verdict(check)))?;
    page.push_str("<dl>\n");
    for reason in &check.reasons {
        let (about, grade) = (&reason.about, reason.grade.words());
        writeln!(page, "<dt><b>{about}</b>: {grade}</dt><dd>{}</dd>", escape(&reason.text))?;
    }
    page.push_str("</dl>\n");
    html::key(&mut page, [(TRAJECTORIES, "trajectories"), (FIELDS, "fields")])?;
    let labels = Labels {
        title: "With the regularizer against without it, inside the interval",
        x: "time",
        y: "relative difference, %",
    };
    let of = |value: fn(&Apart) -> f64| check.apart.iter().map(|apart| (apart.time, 100.0 * value(apart))).collect();
    let series = [Series::new(TRAJECTORIES, of(|a| a.trajectories)), Series::new(FIELDS, of(|a| a.fields))];
    html::figure(&mut page, &plot::lines(labels, &series, Scale::Linear)?)?;
    let settings = serde_json::to_string_pretty(&check.settings)?;
    writeln!(page, "<details><summary>settings</summary><pre>{}</pre></details>\n</body>\n</html>", escape(&settings))?;
    Ok(page)
}

fn conditions(check: &Check) -> String {
    let settings = &check.settings;
    format!(
        "task {}, {} at tolerance {:e}, {} steps of batch {}; {}",
        settings.task.name(),
        settings.training,
        settings.tolerance,
        settings.steps,
        settings.batch,
        check.machine.text()
    )
}

fn verdict(check: &Check) -> String {
    let because: Vec<&str> =
        check.reasons.iter().filter(|r| r.grade == check.verdict).map(|reason| reason.about.as_str()).collect();
    match check.verdict {
        Verdict::Suitable => "verdict: suitable".to_owned(),
        verdict => format!("verdict: {}, for {}", verdict.words(), because.join(", ")),
    }
}
