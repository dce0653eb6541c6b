//! [`Fault`]: what is wrong with a text, and where; and what a name may have been meant to be.

use std::ops::Range;

use crate::error::Error;

/// Where something stands in a text, in bytes.
pub(super) type Span = Range<usize>;

/// What is wrong with a text.
#[derive(Debug)]
pub(super) struct Fault {
    at: Span,
    reason: String,
}

impl Fault {
    pub(super) fn new(at: &Span, reason: impl Into<String>) -> Self {
        Self { at: at.clone(), reason: reason.into() }
    }

    /// With the place in lines and columns of `text`, and its line.
    pub(super) fn error(self, text: &str) -> Error {
        let Self { at, reason } = self;
        let start = text[..at.start].rfind('\n').map_or(0, |end| end + 1);
        let line = &text[start..];
        let line = line[..line.find('\n').unwrap_or(line.len())].trim_end();
        let before = text[start..at.start].chars().count();
        let marked = text[at.start..at.end.clamp(at.start, (start + line.len()).max(at.start))].chars().count();
        let number = line_of(text, at.start);
        Error::Text { line: number, column: before + 1, reason, excerpt: excerpt(number, line, before, marked) }
    }
}

/// The number of a place's line, from 1.
pub(super) fn line_of(text: &str, place: usize) -> usize {
    text[..place].matches('\n').count() + 1
}

/// Characters of a line that are shown.
const SHOWN: usize = 100;

/// A line and, below it, marks under `marked` characters from `before` on. Of a long line, what is around them.
fn excerpt(number: usize, line: &str, before: usize, marked: usize) -> String {
    let count = line.chars().count();
    let first = if count <= SHOWN { 0 } else { before.saturating_sub(SHOWN / 2) };
    let plain = |c: char| if c.is_control() || c.is_whitespace() { ' ' } else { c };
    let shown: String = line.chars().skip(first).take(SHOWN).map(plain).collect();
    let (left, right) = (if first > 0 { "…" } else { "" }, if count > first + SHOWN { "…" } else { "" });
    let margin = number.to_string();
    let indent = " ".repeat(margin.len() + 3 + left.chars().count() + before - first);
    let carets = "^".repeat(marked.clamp(1, (first + SHOWN).saturating_sub(before).max(1)));
    format!("{margin} | {left}{shown}{right}\n{indent}{carets}")
}

/// `: did you mean ...?`, if one of the known names is near.
pub(super) fn meant<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> String {
    near(name, known).map_or(String::new(), |near| format!(": did you mean `{near}`?"))
}

/// The nearest of the known names, if it is near enough to be a slip.
fn near<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let slips = match name.chars().count() {
        0..=2 => 0,
        3..=5 => 1,
        _ => 2,
    };
    let name = name.to_lowercase();
    let distance = |other: &str| strsim::osa_distance(&name, &other.to_lowercase());
    let distances = known.into_iter().map(|other| (distance(other), other));
    distances.filter(|(distance, _)| *distance <= slips).min_by_key(|(distance, _)| *distance).map(|(_, near)| near)
}

/// `1 row`, `2 rows`.
pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
