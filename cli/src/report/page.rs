//! The report: one HTML file with everything in it.

use std::fmt::Write;

use crate::method::Training;
use crate::record::{Measured, Moment, Results, RunRecord};
use crate::report::html::{escape, figure, key, opening, write_table};
use crate::report::plot::{self, Deviation, Labels, Scale, Series};
use crate::report::rankings;
use crate::report::table::{self, Cells};

/// Points in a curve's figure; each is the mean of as many steps as it takes.
const POINTS: usize = 200;

/// The report's page.
pub(crate) fn html(results: &Results) -> anyhow::Result<String> {
    let task = results.runs.first().map_or("", |run| run.settings.task.name());
    let title =
        format!("fewsteps: {} on {task}", if results.summary.len() > 1 { "methods compared" } else { "one method" });
    let mut page = opening(&title);
    for line in table::conditions(results) {
        writeln!(page, "<p class=\"faint\" style=\"margin:0\">{}</p>", escape(&line))?;
    }
    for warning in &results.warnings {
        writeln!(page, "<p class=\"warning\">{}</p>", escape(warning))?;
    }
    write_summary(&mut page, results)?;
    write_rankings(&mut page, results)?;
    write_figures(&mut page, results)?;
    write_runs(&mut page, &results.runs)?;
    write_settings(&mut page, results)?;
    writeln!(
        page,
        "<p class=\"faint\">fewsteps {}; every number is in results.json.</p>\n</body>\n</html>",
        results.version
    )?;
    Ok(page)
}

fn write_summary(page: &mut String, results: &Results) -> anyhow::Result<()> {
    let Cells { head, rows } = table::cells(results);
    page.push_str("<h2>Result</h2>\n");
    write_table(page, &head, &rows)?;
    page.push_str(
        "<p class=\"faint\">Means over the seeds ± their standard deviation; x is relative to the baseline, or to vanilla where there is none. NFE, the number \
         of function evaluations of a forward pass, is the mean over the test batches. Evaluation never \
         regularizes. A training step's time is the median without the first step, a prediction's the median over \
         full test batches.</p>\n",
    );
    for note in table::notes(results) {
        writeln!(page, "<p class=\"faint\">{}</p>", escape(&note))?;
    }
    Ok(())
}

/// Where there are methods to compare, which of them is the best at what.
fn write_rankings(page: &mut String, results: &Results) -> anyhow::Result<()> {
    let Some(found) = &results.rankings else { return Ok(()) };
    let Some((head, rows)) = rankings::places(found) else { return Ok(()) };
    page.push_str("<h2>Ranked</h2>\n");
    write_table(page, &head, &rows)?;
    Ok(writeln!(page, "<p class=\"faint\">{}.</p>", escape(&rankings::note(found, results)))?)
}

fn write_figures(page: &mut String, results: &Results) -> anyhow::Result<()> {
    page.push_str("<h2>Training</h2>\n");
    key(page, results.summary.iter().map(|method| (colour(method.training), method.training)))?;
    let curve = |values: fn(&RunRecord) -> Vec<f64>| -> Vec<Series> {
        results.runs.iter().map(|run| Series::new(colour(run.settings.training), thin(&values(run)))).collect()
    };
    let labels = Labels { title: "Loss of the task on the training batches", x: "training step", y: "loss" };
    // Nats may be negative.
    let nats = results.runs.iter().any(|run| run.settings.is_of_density());
    let scale = if nats { Scale::Linear } else { Scale::Logarithmic };
    figure(page, &plot::lines(labels, &curve(|run| run.progress.curve.loss.clone()), scale)?)?;
    let validated = |run: &RunRecord| {
        let points = run.progress.validation.iter().map(|found| (found.step as f64, found.loss)).collect();
        Series::new(colour(run.settings.training), points)
    };
    if results.runs.iter().any(|run| !run.progress.validation.is_empty()) {
        let labels = Labels { title: "Loss on what was held out of training", x: "training step", y: "loss" };
        let validated: Vec<Series> = results.runs.iter().map(validated).collect();
        figure(page, &plot::lines(labels, &validated, scale)?)?;
    }
    let labels = Labels { title: "NFE on the training batches", x: "training step", y: "NFE" };
    let nfe = curve(|run| run.progress.curve.nfe.iter().map(|&nfe| nfe as f64).collect());
    figure(page, &plot::lines(labels, &nfe, Scale::Linear)?)?;
    let labels =
        Labels { title: "Steps of an ideal controller, whatever the solver", x: "training step", y: "ideal steps" };
    figure(page, &plot::lines(labels, &curve(|run| run.progress.curve.ideal_steps.clone()), Scale::Linear)?)?;
    page.push_str("<h2>What a function evaluation buys</h2>\n");
    let classifies = results.runs.iter().any(|run| run.test.accuracy.is_some());
    let y = if classifies {
        "test accuracy, %"
    } else if nats {
        "test loss, nats"
    } else {
        "test loss"
    };
    let labels = Labels { title: "Test set after training: a disc a run, a ring where it is deployed", x: "NFE", y };
    let point = |test: &Measured| (test.nfe, test.accuracy.map_or(test.loss, |accuracy| 100.0 * accuracy));
    let end = |run: &RunRecord| Series::new(colour(run.settings.training), vec![point(&run.test)]);
    let deployed = |run: &RunRecord| {
        let points = run.deployed.iter().map(|deployed| point(&deployed.test)).collect();
        Series { rings: true, ..Series::new(colour(run.settings.training), points) }
    };
    let ends: Vec<Series> = results.runs.iter().flat_map(|run| [end(run), deployed(run)]).collect();
    figure(page, &plot::scatter(labels, &ends, Scale::Linear)?)?;
    write_moments(page, results)?;
    write_densities(page, results)?;
    write_followed(page, results)
}

/// Where densities in the plane are learnt: the first seed's, with samples of it, beside the data, three figures a method.
fn write_densities(page: &mut String, results: &Results) -> anyhow::Result<()> {
    let of = |training| results.runs.iter().find(|run: &&RunRecord| run.settings.training == training);
    let learnt = results.summary.iter().filter_map(|m| Some((m.training, of(m.training)?.density.as_ref()?)));
    let pictures = learnt.filter_map(|(training, density)| Some((training, density.picture.as_ref()?)));
    for (index, (training, picture)) in pictures.enumerate() {
        let points = |title: &str, colour, points: &[f64]| {
            let points = points.chunks_exact(2).map(|point| (point[0], point[1])).collect();
            plot::dots(title, [picture.x, picture.y], colour, points)
        };
        if index == 0 {
            writeln!(
                page,
                "<h2>What was learnt</h2>\n<p class=\"faint\">The density, darker where it is higher, and as many samples of it \
                 as there are points of the test set. The first seed of each method.</p>"
            )?;
            figure(page, &points("points of the test set", INK, &picture.given)?)?;
        }
        let density: Vec<f64> = picture.log_density.iter().map(|density| density.exp()).collect();
        let heat = plot::heat(&format!("{training}: density"), [picture.x, picture.y], colour(training), &density)?;
        figure(page, &heat)?;
        figure(page, &points(&format!("{training}: samples"), colour(training), &picture.samples)?)?;
    }
    Ok(())
}

/// The colour of what is given.
const INK: (u8, u8, u8) = (120, 120, 120);

/// Where series are learnt: the first seed's beside what was observed, a figure a method and state.
fn write_followed(page: &mut String, results: &Results) -> anyhow::Result<()> {
    let of = |training| results.runs.iter().find(|run: &&RunRecord| run.settings.training == training);
    let learnt = results.summary.iter().filter_map(|m| Some((m.training, of(m.training)?.followed.as_ref()?)));
    for (index, (training, followed)) in learnt.enumerate() {
        if index == 0 {
            let what = match followed.times.get(followed.trained.wrapping_sub(1)) {
                Some(time) => format!("It was trained on up to {} {time}, and is tested on after it", followed.time),
                None => "Training has not seen what is shown".to_owned(),
            };
            writeln!(
                page,
                "<h2>What was learnt</h2>\n<p class=\"faint\">A series from its first observation on: the model's (line) and \
                 the observed (dots). {} The first seed of each method.</p>",
                escape(&(what + "."))
            )?;
        }
        for state in &followed.states {
            let title = format!("{training}: {}", state.name);
            let points = |values: &[f64]| -> Vec<Deviation> {
                let point = |(&x, &mean): (&f64, &f64)| Deviation { x, mean, deviation: 0.0 };
                followed.times.iter().zip(values).map(point).collect()
            };
            let labels = Labels { title: &title, x: &followed.time, y: &state.name };
            figure(page, &plot::band(labels, colour(training), &points(&state.learnt), &points(&state.given))?)?;
        }
    }
    Ok(())
}

/// Where moments are learnt: the first seed's beside the given ones, a figure a method and dimension.
fn write_moments(page: &mut String, results: &Results) -> anyhow::Result<()> {
    let of = |training| results.runs.iter().find(|run: &&RunRecord| run.settings.training == training);
    let learnt = results.summary.iter().filter_map(|method| of(method.training)?.moments.as_ref().map(|m| (method, m)));
    for (index, (method, moments)) in learnt.enumerate() {
        if index == 0 {
            writeln!(
                page,
                "<h2>What was learnt</h2>\n<p class=\"faint\">Mean of {} paths after training (line) and one standard \
                 deviation to either side (band); dots and bars are the data's. The first seed of each method.</p>",
                moments.paths
            )?;
        }
        for dimension in [0, 1] {
            let title = format!("{}: dimension {}", method.training, dimension + 1);
            let band = |values: &[Moment]| -> Vec<Deviation> {
                let deviation = |(&x, m): (&f64, &Moment)| Deviation {
                    x,
                    mean: m.mean[dimension],
                    deviation: m.variance[dimension].sqrt(),
                };
                moments.times.iter().zip(values).map(deviation).collect()
            };
            let labels = Labels { title: &title, x: "time", y: "state" };
            figure(page, &plot::band(labels, colour(method.training), &band(&moments.learnt), &band(&moments.given))?)?;
        }
    }
    Ok(())
}

/// One row a run, with what the summary leaves out.
fn write_runs(page: &mut String, runs: &[RunRecord]) -> anyhow::Result<()> {
    let head = [
        "run",
        "test loss",
        "accuracy, %",
        "NFE",
        "ideal steps",
        "solution error",
        "steps",
        "rejected",
        "set-up and first step, ms",
        "training, s",
        "peak memory, MB",
    ];
    let row = |run: &RunRecord| {
        vec![
            run.settings.run_name(),
            table::loss(run.test.loss) + &table::failed(run.test.failed),
            run.test.accuracy.map_or("-".to_owned(), |accuracy| format!("{:.2}", 100.0 * accuracy)),
            format!("{:.1}", run.test.nfe),
            run.test.ideal_steps.map_or("-".to_owned(), |ideal| format!("{ideal:.2}")),
            table::error(run.test.error),
            format!("{:.1}", run.test.accepted),
            format!("{:.1}", run.test.rejected),
            format!("{:.1}", 1e3 * run.times.cold_step_seconds),
            format!("{:.1}", run.times.training_seconds),
            run.peak_memory_bytes.map_or("-".to_owned(), |bytes| format!("{:.0}", bytes as f64 / 1e6)),
        ]
    };
    page.push_str("<h2>Runs</h2>\n");
    write_table(page, &head.map(str::to_owned), &runs.iter().map(row).collect::<Vec<_>>())?;
    page.push_str(
        "<p class=\"faint\">Steps and rejected attempts are the solver's, means over the test batches. The first \
         step also reserves memory and, on a device, compiles what no earlier run did. Peak memory is the process's so \
         far, earlier runs included.</p>\n",
    );
    Ok(())
}

/// The first run's settings of each method, in full.
fn write_settings(page: &mut String, results: &Results) -> anyhow::Result<()> {
    page.push_str("<h2>Settings</h2>\n");
    for method in &results.summary {
        let Some(run) = results.runs.iter().find(|run| run.settings.training == method.training) else { continue };
        let json = serde_json::to_string_pretty(&run.settings)?;
        writeln!(page, "<details><summary>{}</summary><pre>{}</pre></details>", method.training, escape(&json))?;
    }
    let machine = serde_json::to_string_pretty(&results.machine)?;
    Ok(writeln!(page, "<details><summary>machine</summary><pre>{}</pre></details>", escape(&machine))?)
}

/// Means over consecutive steps, at most [`POINTS`] of them, at the step where each group ends. Steps of which nothing
/// was left have no part in them.
fn thin(values: &[f64]) -> Vec<(f64, f64)> {
    let group = values.len().div_ceil(POINTS).max(1);
    let mean = |(i, chunk): (usize, &[f64])| {
        let left = || chunk.iter().filter(|x| !x.is_nan());
        ((i * group + chunk.len()) as f64, left().sum::<f64>() / left().count() as f64)
    };
    values.chunks(group).enumerate().map(mean).collect()
}

/// Colours that stay apart for readers who do not see all of them (M. Okabe, K. Ito, 2008).
fn colour(training: Training) -> (u8, u8, u8) {
    match training {
        Training::Baseline => (120, 120, 120),
        Training::Vanilla => (213, 94, 0),
        Training::LocalUnbiased => (0, 114, 178),
        Training::LocalBiased => (0, 158, 115),
        Training::PublishedUnbiased => (204, 121, 167),
        Training::PublishedBiased => (230, 159, 0),
        Training::GlobalError => (86, 180, 233),
        Training::GlobalStepCount => (0, 60, 90),
        Training::GlobalStiffness => (120, 90, 40),
        Training::Steer => (150, 110, 0),
        Training::Taynode2 => (140, 30, 30),
        Training::Taynode3 => (190, 80, 80),
        Training::Rnode => (90, 90, 200),
        Training::Straightness => (40, 130, 130),
        Training::Sum(_) => mixed(training.parts().map(colour)),
    }
}

/// The mean of colours, darkened so that it is none of them.
fn mixed(colours: impl Iterator<Item = (u8, u8, u8)>) -> (u8, u8, u8) {
    let (mut sum, mut count) = ([0_u16; 3], 0);
    for (r, g, b) in colours {
        sum = [sum[0] + u16::from(r), sum[1] + u16::from(g), sum[2] + u16::from(b)];
        count += 1;
    }
    // Three quarters of it.
    let [r, g, b] = sum.map(|sum| u8::try_from(3 * sum / (4 * count.max(1))).unwrap_or(u8::MAX));
    (r, g, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinned_curves_keep_their_mean_and_end() {
        let values: Vec<f64> = (0..1000).map(f64::from).collect();
        let points = thin(&values);
        assert_eq!((points.len(), points[0], points[199]), (200, (5.0, 2.0), (1000.0, 997.0)), "groups of five");
        assert_eq!(thin(&[3.0]), [(1.0, 3.0)], "a single step");
        assert_eq!(thin(&[]), [], "none");
        let values: Vec<f64> = (0..400).map(|i| if i < 2 || i == 4 { f64::NAN } else { f64::from(i) }).collect();
        let points = thin(&values);
        assert!(
            points[0].1.is_nan() && points[1].1 == 2.5,
            "nothing is left of the first two steps: {:?}",
            &points[..2]
        );
        assert_eq!(points[2], (6.0, 5.0), "one of two");
    }
}
