//! A patient's file of `PhysioNet`'s challenge of 2012: lines `HH:MM,Parameter,Value`.

use std::collections::BTreeMap;

/// What is followed in time, in the order of the published code; `Weight` is also told at admission.
pub(crate) const FEATURES: [&str; 37] = [
    "Weight",
    "Albumin",
    "ALP",
    "ALT",
    "AST",
    "Bilirubin",
    "BUN",
    "Cholesterol",
    "Creatinine",
    "DiasABP",
    "FiO2",
    "GCS",
    "Glucose",
    "HCO3",
    "HCT",
    "HR",
    "K",
    "Lactate",
    "Mg",
    "MAP",
    "MechVent",
    "Na",
    "NIDiasABP",
    "NIMAP",
    "NISysABP",
    "PaCO2",
    "PaO2",
    "pH",
    "Platelets",
    "RespRate",
    "SaO2",
    "SysABP",
    "Temp",
    "TroponinI",
    "TroponinT",
    "Urine",
    "WBC",
];

/// What is told of a patient once. It is no part of the series.
const DESCRIPTORS: [&str; 4] = ["Age", "Gender", "Height", "ICUType"];

const ID: &str = "RecordID";

/// The first line.
const HEADER: [&str; 3] = ["Time", "Parameter", "Value"];

/// Whole hours from 0 to 48.
pub(crate) const HOURS: usize = 49;

/// What was observed of a patient.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record {
    pub(super) id: u32,
    /// The mean of each feature in each hour in which it was observed, by `hour * 37 + feature`.
    pub(super) cells: Vec<(u16, f64)>,
}

/// Why a file is no record.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("is no text (byte {0})")]
    NoText(usize),
    #[error("begins with {0:?}, where Time,Parameter,Value is expected")]
    Header(String),
    #[error("line {line}: {found} fields, where time, parameter and value are expected")]
    Fields { line: usize, found: usize },
    #[error("line {line}: {text:?} is no time from 00:00 to 48:30")]
    Time { line: usize, text: String },
    #[error("line {line}: {text:?} is no parameter of the challenge")]
    Parameter { line: usize, text: String },
    #[error("line {line}: {text:?} is no finite number")]
    Value { line: usize, text: String },
    #[error("says that it is of record {said}, and its name that of {named}")]
    OfAnother { said: String, named: u32 },
    #[error("has no observation")]
    Empty,
}

impl Record {
    /// Takes a file apart. Numbers that fall into one hour are averaged in their order.
    pub(super) fn parse(id: u32, bytes: &[u8]) -> Result<Self, Fault> {
        let text = std::str::from_utf8(bytes).map_err(|error| Fault::NoText(error.valid_up_to()))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
        let header = lines.next().map_or("", |(_, line)| line);
        if !header.split(',').map(str::trim).eq(HEADER) {
            return Err(Fault::Header(short(header)));
        }
        // Of each cell the mean so far, and of how many.
        let mut cells = BTreeMap::<u16, (f64, u32)>::new();
        for (line, text) in lines.filter(|(_, text)| !text.is_empty()) {
            let fields: Vec<&str> = text.split(',').map(str::trim).collect();
            let [time, parameter, value] = fields[..] else {
                return Err(Fault::Fields { line, found: fields.len() });
            };
            let hour = hour(time).ok_or_else(|| Fault::Time { line, text: short(time) })?;
            let number = value.parse::<f64>().ok().filter(|x| x.is_finite());
            let number = number.ok_or_else(|| Fault::Value { line, text: short(value) })?;
            if parameter == ID {
                if number != f64::from(id) {
                    return Err(Fault::OfAnother { said: short(value), named: id });
                }
            } else if let Some(feature) = FEATURES.iter().position(|name| *name == parameter) {
                let (mean, count) = cells.entry((hour * FEATURES.len() + feature) as u16).or_insert((0.0, 0));
                *mean = (*mean * f64::from(*count) + number) / f64::from(*count + 1);
                *count += 1;
            } else if !DESCRIPTORS.contains(&parameter) {
                return Err(Fault::Parameter { line, text: short(parameter) });
            }
        }
        if cells.is_empty() {
            return Err(Fault::Empty);
        }
        Ok(Self { id, cells: cells.into_iter().map(|(place, (mean, _))| (place, mean)).collect() })
    }
}

/// The whole hour that is nearest to a time `HH:MM`, the even one of two.
fn hour(time: &str) -> Option<usize> {
    let (hours, minutes) = time.split_once(':')?;
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u16>().ok())?;
    let (hours, minutes) = (number(hours)?, number(minutes).filter(|minutes| *minutes < 60)?);
    let up = minutes > 30 || (minutes == 30 && hours % 2 == 1);
    Some(usize::from(hours) + usize::from(up)).filter(|hour| *hour < HOURS)
}

/// The beginning of what a file says, which may be anything.
fn short(text: &str) -> String {
    let beginning: String = text.chars().take(40).collect();
    if beginning.len() == text.len() { beginning } else { beginning + "..." }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: &str = "Time,Parameter,Value\n00:00,RecordID,132539\n00:00,Age,54\n00:00,Gender,0\n00:00,Height,-1\n\
                         00:00,ICUType,4\n";

    fn parsed(rows: &str) -> Result<Record, Fault> {
        Record::parse(132_539, format!("{BEGIN}{rows}").as_bytes())
    }

    fn feature(name: &str) -> usize {
        FEATURES.iter().position(|feature| *feature == name).expect(name)
    }

    #[test]
    fn half_hours_go_to_the_even_hour() {
        let expected = [
            ("00:00", Some(0)),
            ("00:07", Some(0)),
            ("00:30", Some(0)),
            ("00:31", Some(1)),
            ("01:29", Some(1)),
            ("01:30", Some(2)),
            ("02:30", Some(2)),
            ("47:30", Some(48)),
            ("48:30", Some(48)),
            ("48:31", None),
            ("99:99", None),
            ("10:60", None),
            ("1030", None),
            (":", None),
            ("-1:00", None),
            ("+1:00", None),
            ("00:00:00", None),
            ("70000:00", None),
        ];
        for (text, nearest) in expected {
            assert_eq!(hour(text), nearest, "{text}");
        }
    }

    #[test]
    fn what_falls_into_an_hour_is_averaged_in_its_order() {
        let found = parsed("00:00,Weight,-1\r\n00:10,HR,0.1\n00:30,HR,0.2\n00:31,HR,7\n00:20,HR,0.4\n\n01:30,pH,7.4\n");
        let mean = (f64::midpoint(0.0, 0.1 + 0.2) * 2.0 + 0.4) / 3.0;
        let at = |hour: usize, name: &str| (hour * 37 + feature(name)) as u16;
        let cells = vec![(at(0, "Weight"), -1.0), (at(0, "HR"), mean), (at(1, "HR"), 7.0), (at(2, "pH"), 7.4)];
        assert_eq!(found, Ok(Record { id: 132_539, cells }), "descriptors are left out, weights are not");
    }

    #[test]
    fn whatever_is_wrong_is_told_by_its_line() {
        let line = 7;
        let text = |text: &str| text.to_owned();
        for (row, fault) in [
            ("12:00", Fault::Fields { line, found: 1 }),
            ("12:00,HR", Fault::Fields { line, found: 2 }),
            ("12:00,HR,1,2", Fault::Fields { line, found: 4 }),
            ("99:99,HR,70", Fault::Time { line, text: text("99:99") }),
            ("12:00,HR,NaN", Fault::Value { line, text: text("NaN") }),
            ("12:00,HR,inf", Fault::Value { line, text: text("inf") }),
            ("12:00,HR,", Fault::Value { line, text: text("") }),
            ("12:00,Heart,70", Fault::Parameter { line, text: text("Heart") }),
            ("12:00,,70", Fault::Parameter { line, text: text("") }),
            ("12:00,RecordID,5", Fault::OfAnother { said: text("5"), named: 132_539 }),
            ("", Fault::Empty),
        ] {
            assert_eq!(parsed(row), Err(fault), "{row:?}");
        }
        assert_eq!(Record::parse(1, b""), Err(Fault::Header(String::new())), "nothing");
        assert_eq!(Record::parse(1, b"Time;Parameter;Value\n"), Err(Fault::Header(text("Time;Parameter;Value"))));
        assert_eq!(Record::parse(1, b"Time,\xff"), Err(Fault::NoText(5)), "bytes");
        let long = "9".repeat(5000);
        let Err(Fault::Header(told)) = Record::parse(1, long.as_bytes()) else { panic!("refused") };
        assert_eq!(told.len(), 43, "its beginning");
    }
}
