//! [`Hypersolved`]: what came of `fewsteps hypersolve`.

use std::path::PathBuf;

use serde::Serialize;

use crate::machine::Machine;
use crate::numbers;
use crate::task::TaskName;

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub(super) struct Hypersolved {
    pub(super) task: TaskName,
    pub(super) checkpoint: PathBuf,
    pub(super) machine: Machine,
    pub(super) base: String,
    pub(super) hidden: usize,
    pub(super) training_steps: u64,
    /// Root mean squares of the residuals, and of what the correction leaves of them.
    #[serde(with = "numbers")]
    pub(super) residual: f64,
    #[serde(with = "numbers")]
    pub(super) left: f64,
    /// The training's solver first.
    pub(super) rows: Vec<Row>,
    pub(super) verdict: Verdict,
    pub(super) words: String,
    /// The checkpoint of --write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) written: Option<PathBuf>,
}

/// What a row is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// The training's solver.
    Training,
    /// Steps with the correction.
    Corrected,
    /// Equal steps of a method as it is.
    Plain,
}

/// The test set by one solver.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Row {
    pub(super) kind: Kind,
    pub(super) solver: String,
    /// Evaluations of the field, and of the correction.
    #[serde(with = "numbers")]
    pub(super) nfe: f64,
    pub(super) corrections: usize,
    /// Multiplications with an addition that both take for a sample.
    pub(super) multiply_adds: Option<usize>,
    #[serde(with = "numbers")]
    pub(super) loss: f64,
    #[serde(with = "numbers")]
    pub(super) accuracy: Option<f64>,
    /// Of the states, relative to a converged solve.
    #[serde(with = "numbers")]
    pub(super) error: Option<f64>,
    /// A prediction of a batch.
    #[serde(with = "numbers")]
    pub(super) milliseconds: f64,
}

/// Whether the correction is worth it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Verdict {
    /// With it there is a solver that no plain one of the same cost comes as near as.
    Worth,
    /// For each with it there is a plain one that is no dearer and as near.
    NotWorth,
}

/// The verdict, and what is told of it.
pub(super) fn judged(rows: &[Row]) -> (Verdict, String) {
    let known = |row: &&Row| row.error.is_some_and(f64::is_finite) && row.multiply_adds.is_some();
    let cost = |row: &Row| row.multiply_adds.unwrap_or(usize::MAX);
    let error = |row: &Row| row.error.unwrap_or(f64::INFINITY);
    let of = |kind: Kind| rows.iter().filter(move |row| row.kind == kind).filter(known);
    // The nearest plain solver that costs no more.
    let rival = |row: &Row| {
        of(Kind::Plain).filter(|plain| cost(plain) <= cost(row)).min_by(|a, b| error(a).total_cmp(&error(b))).cloned()
    };
    let gain = |row: &Row| rival(row).map_or(f64::INFINITY, |rival| error(&rival)) / error(row);
    let Some(best) = of(Kind::Corrected).max_by(|a, b| gain(a).total_cmp(&gain(b))) else {
        return (Verdict::NotWorth, "no solve with the correction came to an end".to_owned());
    };
    let beside = rival(best).map_or_else(
        || "no plain solver costs as little".to_owned(),
        |rival| {
            format!("the nearest plain solver of no more multiply-adds, {}, one of {:.1e}", rival.solver, error(&rival))
        },
    );
    let found = format!("{} has an error of {:.1e}, {beside}", best.solver, error(best));
    if gain(best) > 1.0 {
        (Verdict::Worth, format!("worth it: {found}"))
    } else {
        (Verdict::NotWorth, format!("not worth it here: {found}; see `fewsteps deploy`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(kind: Kind, solver: &str, cost: usize, error: f64) -> Row {
        Row {
            kind,
            solver: solver.to_owned(),
            nfe: 1.0,
            corrections: 0,
            multiply_adds: Some(cost),
            loss: 0.5,
            accuracy: None,
            error: Some(error),
            milliseconds: 1.0,
        }
    }

    #[test]
    fn a_correction_has_to_beat_plain_solvers_of_its_cost() {
        let plain = [row(Kind::Plain, "heun", 200, 1e-2), row(Kind::Plain, "rk4", 400, 1e-4)];
        let judged_with = |cost, error| judged(&[&plain[..], &[row(Kind::Corrected, "hyper", cost, error)]].concat());
        let (verdict, words) = judged_with(300, 1e-3);
        assert_eq!(verdict, Verdict::Worth, "{words}");
        assert!(words.contains("heun, one of 1.0e-2"), "not rk4, which costs more: {words}");
        assert_eq!(judged_with(400, 1e-3).0, Verdict::NotWorth, "rk4 costs no more, and is nearer");
        assert_eq!(judged_with(100, 0.5).0, Verdict::Worth, "nothing costs as little");
        assert_eq!(judged_with(300, f64::NAN).0, Verdict::NotWorth, "it failed");
    }
}
