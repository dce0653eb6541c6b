//! Methods ranked by evaluations, by training time and by memory, where they are good enough.

use crate::measure::stats::Spread;
use crate::record::{Measured, MethodSummary, Ranked, Rankings, Results, RunRecord};
use crate::search::{Quality, Yardstick};

/// What is good enough: `reach`, in per cent of accuracy or as a loss, or else what the best method reaches under the training's
/// solver, less what a yardstick allows or chance hides. `None` where no method has a finite loss.
fn level(summary: &[MethodSummary], runs: &[RunRecord], reach: Option<f64>) -> Option<(Quality, f64)> {
    let settings = &runs.first()?.settings;
    let quality = if settings.classifies() {
        Quality::Accuracy
    } else if settings.is_of_density() {
        Quality::Nats
    } else {
        Quality::Loss
    };
    if let Some(reach) = reach {
        return Some((quality, if quality == Quality::Accuracy { reach / 100.0 } else { reach }));
    }
    let best = summary.iter().filter_map(|method| Some((spread(quality, method)?, method.seeds)));
    let (best, seeds) = best.min_by(|(a, _), (b, _)| merit(quality, a.mean).total_cmp(&merit(quality, b.mean)))?;
    let samples = settings.data.as_ref().map_or(usize::MAX, |data| data.test);
    let allowed = Yardstick::of(None, quality, Some(best), [seeds, samples]).ok()?.tolerance();
    let level = match quality {
        Quality::Accuracy => best.mean - allowed / 100.0,
        Quality::Loss => best.mean * (1.0 + allowed / 100.0),
        Quality::Nats => best.mean + allowed,
    };
    Some((quality, level))
}

fn spread(quality: Quality, method: &MethodSummary) -> Option<Spread> {
    if quality == Quality::Accuracy { method.accuracy } else { method.test_loss }
}

/// What is smaller where the quality is better.
fn merit(quality: Quality, value: f64) -> f64 {
    if quality == Quality::Accuracy { -value } else { value }
}

/// The rankings of a benchmark, by `reach` if that is given.
pub(crate) fn of(summary: &[MethodSummary], runs: &[RunRecord], reach: Option<f64>) -> Option<Rankings> {
    let (quality, level) = level(summary, runs, reach)?;
    // A mean of shares may be a rounding below what it is compared with.
    let good = |value: f64| merit(quality, value) <= merit(quality, level) + 1e-12;
    let reached = |spread: Option<Spread>| spread.is_some_and(|spread| good(spread.mean));
    let mut nfe = Vec::new();
    for method in summary {
        let (name, own) = (method.training.to_string(), spread(quality, method));
        let value = Some(method.nfe.mean + method.nfe_diffusion.mean);
        nfe.push(Ranked { name: name.clone(), value, reached: reached(own) });
        for (what, other) in [("deployed", &method.deployed), ("hypersolver", &method.hypersolver)] {
            let Some(found) = other else { continue };
            let corrections = found.nfe_correction.map_or(0.0, |count| count.mean);
            let value = Some(found.nfe.mean + found.nfe_diffusion.mean + corrections);
            let own = if quality == Quality::Accuracy { found.accuracy } else { found.test_loss };
            nfe.push(Ranked { name: format!("{name}, {what}"), value, reached: reached(own) });
        }
    }
    let of_method = |method: &MethodSummary, value: &dyn Fn(&[&RunRecord]) -> Option<f64>| {
        let runs: Vec<&RunRecord> = runs.iter().filter(|run| run.settings.training == method.training).collect();
        let value = value(&runs);
        Ranked { name: method.training.to_string(), value, reached: value.is_some() }
    };
    let seconds = |runs: &[&RunRecord]| {
        let each: Option<Vec<f64>> = runs.iter().map(|run| seconds_to(run, good)).collect();
        Spread::of(&each?).map(|spread| spread.mean)
    };
    let bytes = |runs: &[&RunRecord]| {
        let each: Option<Vec<u64>> = runs.iter().map(|run| run.training_bytes).collect();
        each?.into_iter().max().map(|bytes| bytes as f64)
    };
    Some(Rankings {
        quality,
        level,
        nfe: ranked(nfe),
        seconds: ranked(summary.iter().map(|method| of_method(method, &seconds)).collect()),
        bytes: ranked(summary.iter().map(|method| of_method(method, &bytes)).collect()),
    })
}

/// Seconds of the training steps before the first evaluation that is good.
fn seconds_to(run: &RunRecord, good: impl Fn(f64) -> bool) -> Option<f64> {
    let quality = |found: &Measured| found.accuracy.unwrap_or(found.loss);
    let first = run.progress.evaluations.iter().find(|found| good(quality(found)))?;
    Some(run.progress.curve.seconds.iter().take(first.step as usize).sum())
}

/// The best first: of those that are good enough, then of the others.
fn ranked(mut methods: Vec<Ranked>) -> Vec<Ranked> {
    let value = |method: &Ranked| method.value.unwrap_or(f64::INFINITY);
    methods.sort_by(|a, b| b.reached.cmp(&a.reached).then(value(a).total_cmp(&value(b))));
    methods
}

/// Headings, and cells of a row a place.
type Places = (Vec<String>, Vec<Vec<String>>);

/// A row a place, where there are places to take.
pub(crate) fn places(rankings: &Rankings) -> Option<Places> {
    let Rankings { nfe, seconds, bytes, .. } = rankings;
    if seconds.len() < 2 && nfe.len() < 2 {
        return None;
    }
    let cell = |method: Option<&Ranked>, told: &dyn Fn(f64) -> String, short: &str| match method {
        None => String::new(),
        Some(Ranked { name, value, reached }) => {
            let value = value.map_or(String::new(), |value| format!("  {}", told(value)));
            if *reached { format!("{name}{value}") } else { format!("({name}{value}: {short})") }
        }
    };
    let row = |place: usize| {
        vec![
            (place + 1).to_string(),
            cell(nfe.get(place), &|nfe| format!("{nfe:.1}"), "not good enough"),
            cell(seconds.get(place), &|seconds| format!("{seconds:.2} s"), "not reached"),
            cell(bytes.get(place), &|bytes| format!("{:.2} MB", bytes / 1e6), "not known"),
        ]
    };
    let head = ["", "fewest evaluations", "soonest good enough", "least memory"].map(str::to_owned).into();
    Some((head, (0..nfe.len().max(seconds.len())).map(row).collect()))
}

/// What the rankings mean.
pub(crate) fn note(rankings: &Rankings, results: &Results) -> String {
    let level = match rankings.quality {
        Quality::Accuracy => format!("an accuracy of at least {:.2} %", 100.0 * rankings.level),
        Quality::Loss => format!("a loss of at most {:.3e}", rankings.level),
        Quality::Nats => format!("at most {:.3} nats", rankings.level),
    };
    let every = results.runs.first().map_or(1, |run| run.settings.eval_every);
    format!(
        "good enough: {level} (the best less {}, or what chance hides; --reach sets another); evaluations of field, diffusion \
         and correction together; seconds of training steps alone up to the first evaluation that is good enough, one every \
         {every} steps, not interpolated; memory that training holds in arrays, without the data",
        rankings.quality.asked_text()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_are_good_enough_come_first() {
        let of = |name: &str, value, reached| Ranked { name: name.to_owned(), value, reached };
        let found = ranked(vec![
            of("cheap but bad", Some(1.0), false),
            of("dear", Some(9.0), true),
            of("nothing", None, false),
            of("cheap", Some(2.0), true),
        ]);
        let names: Vec<&str> = found.iter().map(|method| method.name.as_str()).collect();
        assert_eq!(names, ["cheap", "dear", "cheap but bad", "nothing"]);
    }
}
