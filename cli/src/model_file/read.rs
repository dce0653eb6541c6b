//! Values as the command line spells them, and where they stand in a file.

use fewsteps::{Adjoint, InitialStep, Layout, Measure, Method, PenaltyGradient, PenaltyNoise, PenaltyStep};
use serde::de::Error;
use serde::{Deserialize, Deserializer};

use crate::choice::{self, ADJOINTS, ControllerName, GRADIENTS, LAYOUTS, MEASURES, NOISES, Named, PENALTY_STEPS};

/// A word that `parse` understands.
fn word<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).map(Some).map_err(|remedy| Error::custom(format!("{text:?}: {remedy}")))
}

/// One of these by its name.
fn one_of<T: Copy>(values: &'static [Named<T>]) -> impl Fn(&str) -> Result<T, String> {
    move |name| {
        let found = values.iter().find(|named| named.name == name).map(|named| named.value);
        let names = || values.iter().map(|named| named.name).collect::<Vec<_>>().join(", ");
        found.ok_or_else(|| format!("choose one of {}", names()))
    }
}

pub(super) fn method<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Method>, D::Error> {
    word(deserializer, choice::adaptive_method)
}

pub(super) fn controller<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ControllerName>, D::Error> {
    word(deserializer, |name| {
        let names = || ControllerName::ALL.map(ControllerName::text).join(", ");
        let found = ControllerName::ALL.into_iter().find(|controller| controller.text() == name);
        found.ok_or_else(|| format!("choose one of {}", names()))
    })
}

/// A word or a length.
pub(super) fn first_step<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<InitialStep>, D::Error> {
    let text = match toml::Value::deserialize(deserializer)? {
        toml::Value::String(text) => text,
        number => number.to_string(),
    };
    choice::first_step(&text).map(Some).map_err(|remedy| Error::custom(format!("{text:?}: {remedy}")))
}

pub(super) fn adjoint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Adjoint>, D::Error> {
    word(deserializer, one_of(&ADJOINTS))
}

pub(super) fn layout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Layout>, D::Error> {
    word(deserializer, one_of(&LAYOUTS))
}

pub(super) fn measure<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Measure>, D::Error> {
    word(deserializer, one_of(&MEASURES))
}

pub(super) fn penalty_step<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PenaltyStep>, D::Error> {
    word(deserializer, one_of(&PENALTY_STEPS))
}

pub(super) fn noise<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PenaltyNoise>, D::Error> {
    word(deserializer, one_of(&NOISES))
}

pub(super) fn gradient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PenaltyGradient>, D::Error> {
    word(deserializer, one_of(&GRADIENTS))
}

/// A line of a file, the section that it is in, and the key that it begins with.
struct Place<'a> {
    line: usize,
    /// Bytes before the line.
    offset: usize,
    section: &'a str,
    key: &'a str,
}

/// The lines of a file. A value over several lines has the key of its first.
fn places(text: &str) -> impl Iterator<Item = Place<'_>> {
    let (mut section, mut key, mut offset) = ("", "", 0);
    text.split_inclusive('\n').enumerate().map(move |(index, line)| {
        let code = line.trim();
        if let Some(name) = code.strip_prefix('[').and_then(|rest| rest.split(']').next())
            && !code.contains('=')
        {
            (section, key) = (name.trim(), "");
        } else if let Some((name, _)) = code.split_once('=')
            && !name.starts_with('#')
        {
            key = name.trim();
        }
        let place = Place { line: index + 1, offset, section, key };
        offset += line.len();
        place
    })
}

fn told(place: &Place<'_>) -> String {
    let Place { line, section, key, .. } = place;
    match (section.is_empty(), key.is_empty()) {
        (true, true) => format!("line {line}: "),
        (true, false) => format!("line {line}, {key}: "),
        (false, true) => format!("line {line}, [{section}]: "),
        (false, false) => format!("line {line}, [{section}] {key}: "),
    }
}

/// Where the byte at `offset` stands, as `line 3, [solver] tol: `.
pub(super) fn place(text: &str, offset: usize) -> String {
    places(text).take_while(|place| place.offset <= offset).last().map_or(String::new(), |place| told(&place))
}

/// The line of a key, or of a section where `key` is empty.
pub(super) fn find(text: &str, section: &str, key: &str) -> Option<usize> {
    places(text).find(|place| place.section == section && place.key == key).map(|place| place.line)
}

/// Whether a file has a section.
pub(super) fn has(text: &str, section: &str) -> bool {
    places(text).any(|place| place.section == section)
}

/// As [`place`], of a key that is told to stand there.
pub(super) fn place_of(text: &str, section: &str, key: &str) -> String {
    let line = find(text, section, key).or_else(|| find(text, section, "")).unwrap_or(1);
    told(&Place { line, offset: 0, section, key })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_lines_sections_and_keys() {
        let text = "# none\n[solver]\ntol = 1\n\n[field] # widths\nmlp = [\n  2,\n  2]\n";
        for (part, expected) in [
            ("none", "line 1: "),
            ("tol", "line 3, [solver] tol: "),
            ("[field]", "line 5, [field]: "),
            ("  2]", "line 8, [field] mlp: "),
        ] {
            assert_eq!(place(text, text.find(part).expect(part)), expected, "{part}");
        }
        assert_eq!((find(text, "field", "mlp"), find(text, "field", "tol")), (Some(6), None));
        assert_eq!(place_of(text, "solver", "tol"), "line 3, [solver] tol: ");
        assert!(has(text, "field") && !has(text, "head"));
    }
}
