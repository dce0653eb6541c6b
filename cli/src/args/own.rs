//! What says how somebody's own data are read.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct OwnArgs {
    /// csv: the column of the classes, words or whole numbers; it makes the task a classification
    #[arg(long, value_name = "COLUMN", conflicts_with = "targets")]
    pub(crate) label: Option<String>,
    /// csv: the columns of the numbers to predict, separated by commas; they make the task a regression
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(crate) targets: Vec<String>,
    /// csv: learn how likely rows are, from the columns of --inputs; `predict` tells the logarithm of a row's density
    #[arg(long, conflicts_with_all = ["label", "targets"])]
    pub(crate) density: bool,
    /// csv: the columns to predict from [default: all others that begin with a number]
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(crate) inputs: Vec<String>,
    /// series: the column of the times
    #[arg(long, value_name = "COLUMN")]
    pub(crate) time: Option<String>,
    /// series: the columns of the states [default: all others that begin with a number]
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(crate) states: Vec<String>,
    /// series: the column that says which series a row is of, where there are several
    #[arg(long, value_name = "COLUMN")]
    pub(crate) id: Option<String>,
    /// Share that is kept from training and tested on: of the rows, the series or the records; of a single series its end
    /// [default: 0.2]
    ///
    /// physionet takes `published` too, for comparison with the published tables: their shuffle copies records one over the
    /// other, so that most of what is tested on is trained on.
    #[arg(long, value_name = "SHARE", value_parser = split, conflicts_with_all = ["test", "horizon"])]
    #[arg(allow_hyphen_values = true)]
    pub(crate) split: Option<Split>,
    /// Draws which rows, series or records these are [default: 0]
    #[arg(long, value_name = "N", conflicts_with_all = ["test", "horizon"])]
    pub(crate) split_seed: Option<u64>,
    /// csv: a file of rows to test on, with the same columns; all rows of --data are trained on then
    #[arg(long, value_name = "FILE")]
    pub(crate) test: Option<PathBuf>,
    /// series: train on what is observed up to this time, and test on what is observed later
    #[arg(long, value_name = "TIME", conflicts_with = "test", allow_hyphen_values = true)]
    pub(crate) horizon: Option<f64>,
    /// series: train on all pieces of N observations, each from its own first one, instead of on whole series
    ///
    /// A long oscillation is hard to learn as a whole: a field that does nothing is nearer to it than one that is a little
    /// too slow. Times have to be evenly spaced, and the field must not see them. Tests are of whole series.
    #[arg(long, value_name = "N")]
    pub(crate) window: Option<usize>,
    /// series: states that are taken in logarithms, separated by commas: positive numbers whose ratios count
    ///
    /// The model sees them, and losses are told of them; predictions and forecasts are of the numbers themselves.
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(crate) log: Vec<String>,
    /// series: train on segments of N intervals that meet at their ends, each solved from what was observed at its start
    ///
    /// Multiple shooting: unlike the pieces of --window they do not overlap, and times may be any. A segment starts where all
    /// states were observed. Fields must not see the time. Tests are of whole series.
    #[arg(long, value_name = "N", conflicts_with = "window", value_parser = crate::choice::positive)]
    pub(crate) segments: Option<std::num::NonZeroUsize>,
    /// series: how much more than others the last observation of a segment counts, at which the next one starts [default: 1]
    #[arg(long, value_name = "W", requires = "segments", allow_hyphen_values = true)]
    pub(crate) continuity: Option<f64>,
    /// series: let a recurrent encoder read what was observed up to TIME, or all, and draw the state that is solved from
    ///
    /// A latent ODE, for series that are seen in part and at times of their own: nothing has to be observed at the first time.
    /// What is tested on by --horizon is never read. `predict` and `forecast` read all that their file has.
    #[arg(long, value_name = "TIME|all", conflicts_with_all = ["window", "segments"], allow_hyphen_values = true)]
    pub(crate) read: Option<ReadUpTo>,
    /// Take numbers as they are
    ///
    /// Otherwise every column has mean 0 and deviation 1 over what is trained on, and the time of series is counted from
    /// its beginning in units in which such a state has a slope of 1, in the mean over squares. Losses are told in these
    /// units. Checkpoints keep means and deviations: `eval` and `predict` apply them.
    #[arg(long)]
    pub(crate) raw: bool,
}

/// How what is tested on is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Split {
    /// A share, drawn.
    Share(f64),
    /// As a published code has it.
    Published,
}

/// Up to when observations are read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ReadUpTo {
    All,
    Time(f64),
}

impl FromStr for ReadUpTo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let time = || text.parse().ok().filter(|time: &f64| time.is_finite());
        let remedy = || "give a time, or all".to_owned();
        if text == "all" { Ok(Self::All) } else { time().map(Self::Time).ok_or_else(remedy) }
    }
}

fn split(text: &str) -> Result<Split, String> {
    match text {
        "published" => Ok(Split::Published),
        _ => text.parse().map(Split::Share).map_err(|_| "give a share between 0 and 1, or published".to_owned()),
    }
}

impl OwnArgs {
    /// The options that were given, each with the names of the tasks that take it.
    pub(crate) fn given(&self) -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
        const CSV: &[&str] = &["csv"];
        const SERIES: &[&str] = &["series"];
        const BY_TIME: &[&str] = &["series", "lynx-hare"];
        const TABLES: &[&str] = &["csv", "series", "lynx-hare"];
        const DIVIDED: &[&str] = &["csv", "series", "lynx-hare", "physionet"];
        let all = [
            ("--label", self.label.is_some(), CSV),
            ("--targets", !self.targets.is_empty(), CSV),
            ("--density", self.density, CSV),
            ("--inputs", !self.inputs.is_empty(), CSV),
            ("--test", self.test.is_some(), CSV),
            ("--time", self.time.is_some(), SERIES),
            ("--states", !self.states.is_empty(), SERIES),
            ("--id", self.id.is_some(), SERIES),
            ("--log", !self.log.is_empty(), SERIES),
            ("--horizon", self.horizon.is_some(), BY_TIME),
            ("--window", self.window.is_some(), BY_TIME),
            ("--segments", self.segments.is_some(), SERIES),
            ("--continuity", self.continuity.is_some(), SERIES),
            ("--read", self.read.is_some(), SERIES),
            ("--split", self.split.is_some(), DIVIDED),
            ("--split-seed", self.split_seed.is_some(), DIVIDED),
            ("--raw", self.raw, TABLES),
        ];
        all.into_iter().filter(|option| option.1).map(|(name, _, tasks)| (name, tasks))
    }
}
