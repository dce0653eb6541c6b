//! Numbers as they are read again, and what is said of what a text cannot say.

use crate::error::Error;

/// That the text form does not have something.
pub(super) fn refusal(what: impl ToString, why: &str) -> Error {
    let remedy = format!("the text form cannot say it: {why}. Keep the field as JSON, which has all");
    Error::argument("Field::to_text", what, remedy)
}

/// A number that reads as itself, to the bit.
pub(super) fn number(x: f64) -> String {
    if x == 0.0 || (1e-4..1e15).contains(&x.abs()) { x.to_string() } else { format!("{x:e}") }
}
