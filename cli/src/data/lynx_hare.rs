//! Lynx and hares: thousands of pelts that the Hudson's Bay Company took in each year from 1900 to 1920 (as tabulated by
//! P. Howard, "Modeling Basics", 2009).

use super::columns::Column;
use super::samples::Samples;
use super::series::Series;
use super::source::{Division, NamedFile, Source};
use crate::args::OwnArgs;

/// What is trained on unless the command line says otherwise: years up to this one ...
const HORIZON: f64 = 1914.0;

/// ... in pieces of so many years. They were chosen by training up to 1910 and looking at the four years after that.
const WINDOW: usize = 8;

/// The pelts as a series, in logarithms.
pub(super) fn lynx_hare(args: &OwnArgs, source: &Source) -> anyhow::Result<(Series, Samples, Samples)> {
    let horizon = args.horizon.or_else(|| args.split.is_none().then_some(HORIZON));
    let divided = OwnArgs { horizon, ..args.clone() };
    let column = |name: &str| Column { log: true, ..Column::raw(name.to_owned()) };
    let series = Series {
        time: "year".to_owned(),
        id: None,
        states: ["lynx", "hare"].map(column).to_vec(),
        origin: 0.0,
        unit: 1.0,
        division: Division::asked(&divided, source)?,
        window: Some(args.window.unwrap_or(WINDOW)),
        segments: None,
        shown: None,
        raw: args.raw,
        file: Some(NamedFile { task: "lynx-hare".to_owned(), name: "hudson_bay_lynx_hare.csv".to_owned() }),
    };
    series.read_anew(source)
}
