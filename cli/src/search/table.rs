//! The table of coefficients that were tried.

use super::point::Point;
use super::quality::Yardstick;
use crate::report::table;

/// Its columns, the last of which is for what is said of a coefficient.
pub(crate) fn head(yardstick: &Yardstick) -> Vec<String> {
    ["coefficient", yardstick.column(), "NFE", "ideal steps", "penalty", "failures", "training, s", ""]
        .map(str::to_owned)
        .into()
}

/// The row of a coefficient, of which `said` is said.
pub(crate) fn row(point: &Point, said: String) -> Vec<String> {
    let seeds = point.seeds;
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let failures = point.failed + point.skipped + point.errors.len();
    vec![
        point.coefficient.to_string(),
        table::quality(point.accuracy, point.test_loss, seeds, point.nats),
        or_dash(point.nfe.map(|nfe| table::with_spread(nfe, seeds, 1))),
        or_dash(point.ideal_steps.map(|steps| table::with_spread(steps, seeds, 2))),
        or_dash(point.penalty.map(|penalty| format!("{penalty:.2e}"))),
        failures.to_string(),
        format!("{:.1}", point.training_seconds),
        said,
    ]
}
