//! [`Series`]: states observed at times, from a file of comma-separated values.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};

use super::columns::{self, Column};
use super::cut::Cut;
use super::observations::{self, Observations, of};
use super::samples::{Rows, Samples, Wanted};
use super::sheet::Sheet;
use super::shown::Shown;
use super::source::{Division, NamedFile, Source};
use crate::args::OwnArgs;
use crate::numbers;

const TASK: &str = "series";

/// The columns of a table of observations, and the units that the model counts in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Series {
    pub(crate) time: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    pub(crate) states: Vec<Column>,
    /// The model counts time from here ...
    #[serde(with = "numbers")]
    pub(crate) origin: f64,
    /// ... in units of this.
    #[serde(with = "numbers")]
    pub(crate) unit: f64,
    pub(crate) division: Division,
    /// Observations in a piece, where pieces are trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) window: Option<usize>,
    /// Segments, where these are trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) segments: Option<Cut>,
    /// What a recurrent encoder is shown, where one makes the state that is solved from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) shown: Option<Shown>,
    /// Whether numbers are taken as they are.
    #[serde(default)]
    pub(crate) raw: bool,
    /// The file in the folder of the data, of a task that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<NamedFile>,
}

/// Reads the series that the command line names.
pub(super) fn series(args: &OwnArgs, source: &Source) -> anyhow::Result<(Series, Samples, Samples)> {
    let sheet = Sheet::read(source.file(TASK)?)?;
    let time = args.time.clone().with_context(|| {
        let columns = sheet.header().join(", ");
        format!("--task series: say which column holds the times: --time COLUMN; {} has {columns}", sheet.name())
    })?;
    let taken = |name: &String| *name == time || Some(name) == args.id.as_ref();
    let states = if args.states.is_empty() {
        let others = sheet.header().iter().enumerate().filter(|(place, name)| !taken(name) && sheet.is_numeric(*place));
        others.map(|(_, name)| name.clone()).collect()
    } else {
        args.states.clone()
    };
    ensure!(!states.is_empty(), "{}: no column but --time holds numbers that could be states", sheet.name());
    if let Some(both) = states.iter().find(|name| taken(name)) {
        bail!("--states {both:?}: is --time or --id; name other columns");
    }
    if let Some(other) = args.log.iter().find(|name| !states.contains(name)) {
        bail!("--log {other:?}: is none of the states, {}; name some of them", states.join(", "));
    }
    let column = |name: String| Column { log: args.log.contains(&name), ..Column::raw(name) };
    let series = Series {
        time,
        id: args.id.clone(),
        states: states.into_iter().map(column).collect(),
        origin: 0.0,
        unit: 1.0,
        division: Division::asked(args, source)?,
        window: args.window,
        segments: args.segments.map(|intervals| Cut { intervals, continuity: args.continuity.unwrap_or(1.0) }),
        shown: args.read.map(Shown::asked),
        raw: args.raw,
        file: None,
    };
    series.read_anew_from(&series.observations(&sheet, 2)?)
}

impl Series {
    /// The samples of a source, with the scales of this.
    pub(super) fn read(&self, source: &Source) -> anyhow::Result<(Self, Samples, Samples)> {
        self.divide(&self.observations(&self.sheet(source)?, 2)?)
    }

    /// The samples of a source, with scales of their own.
    pub(super) fn read_anew(&self, source: &Source) -> anyhow::Result<(Self, Samples, Samples)> {
        self.read_anew_from(&self.observations(&self.sheet(source)?, 2)?)
    }

    /// The file of a source.
    fn sheet(&self, source: &Source) -> anyhow::Result<Sheet> {
        match &self.file {
            Some(file) => Sheet::read(&source.file_named(file)?),
            None => Sheet::read(source.file(TASK)?),
        }
    }

    /// All series of a file.
    pub(super) fn read_test(&self, test: &Path) -> anyhow::Result<(Self, Samples, Samples)> {
        let observed = self.observations(&Sheet::read(test)?, 2)?;
        let every: Vec<usize> = (0..observed.names.len()).collect();
        let samples = || self.samples(&observed, &every, self.first_wanted()..observed.times.len()).map(Samples::Rows);
        Ok((self.clone(), samples()?, samples()?))
    }

    /// Fits the scales to what is trained on, and reads it.
    fn read_anew_from(&self, observed: &Observations) -> anyhow::Result<(Self, Samples, Samples)> {
        let (train, times) = self.trained_on(observed)?;
        let shown = self.shown.map(|shown| shown.of(observed, times)).transpose()?;
        let fitted = if self.raw {
            Self { origin: 0.0, unit: 1.0, ..self.clone() }
        } else {
            let rows: Vec<usize> =
                train.iter().flat_map(|s| (0..times).map(move |t| s * observed.times.len() + t)).collect();
            let every = observed.times.len();
            let value = |row: usize, column: usize| observed.state(row / every, row % every)[column];
            let states = columns::fit(&self.states, &rows, false, value);
            if let Some(never) = states.iter().find(|column| column.mean.is_nan()) {
                bail!("--states {:?}: was never observed in what is trained on; leave it out", never.name);
            }
            let scaled = Self { states, origin: observed.times[0], ..self.clone() };
            let unit = scaled.natural_unit(observed, &train, times);
            Self { unit, ..scaled }
        };
        Self { shown, ..fitted }.divide(observed)
    }

    /// The unit of time in which the scaled states of these series, at the first `times` times, have a slope of 1 in the
    /// mean over squares, from each observation to the next; the whole interval if they stand still.
    fn natural_unit(&self, observed: &Observations, train: &[usize], times: usize) -> f64 {
        let width = self.states.len() as f64;
        let (mut squares, mut count) = (0.0, 0.0);
        for &s in train {
            // Where each state was observed last.
            let mut before = vec![0; self.states.len()];
            for t in 1..times {
                let (mut of_time, mut seen) = (0.0, 0.0);
                for (c, (&x, column)) in observed.state(s, t).iter().zip(&self.states).enumerate() {
                    if x.is_finite() {
                        let length = observed.times[t] - observed.times[before[c]];
                        let past = column.taken(observed.state(s, before[c])[c]);
                        before[c] = t;
                        // Nothing precedes a state's first observation.
                        if past.is_finite() {
                            let change = (column.taken(x) - past) / column.deviation;
                            of_time += (change / length).powi(2);
                            seen += 1.0;
                        }
                    }
                }
                squares += of_time / width;
                count += seen / width;
            }
        }
        let mean = (squares / count).sqrt();
        let whole = observed.times[times - 1] - observed.times[0];
        if mean * whole > 1e-6 { 1.0 / mean } else { whole }
    }

    /// The series that are trained on, and how many of their first times.
    fn trained_on(&self, observed: &Observations) -> anyhow::Result<(Vec<usize>, usize)> {
        let (count, times) = (observed.names.len(), observed.times.len());
        let every: Vec<usize> = (0..count).collect();
        match self.division {
            Division::Share { share, seed } if count > 1 => Ok((columns::split(count, share, seed).0, times)),
            Division::Share { share, .. } => {
                let later = ((share * times as f64).round() as usize).max(1);
                let before = times.saturating_sub(later);
                ensure!(
                    before >= 2,
                    "--split {share}: {times} times leave {before} to train on; there have to be 2 or more"
                );
                Ok((every, before))
            }
            Division::Horizon(horizon) => {
                let before = observed.times.iter().filter(|&&time| time <= horizon).count();
                let [first, last] = [observed.times[0], observed.times[times - 1]];
                ensure!(
                    (2..times).contains(&before),
                    "--horizon {horizon}: {before} of {times} times, from {first} to {last}, lie up to it; 2 or more have \
                     to, and one after it"
                );
                Ok((every, before))
            }
            Division::File => bail!("--test: series are divided by --split or by --horizon"),
        }
    }

    /// Divides observations into what is trained on and what is tested on.
    fn divide(&self, observed: &Observations) -> anyhow::Result<(Self, Samples, Samples)> {
        let (train, times) = self.trained_on(observed)?;
        let all = observed.times.len();
        let test = if times < all {
            self.samples(observed, &train, times..all)?
        } else {
            let others: Vec<usize> = (0..observed.names.len()).filter(|series| !train.contains(series)).collect();
            self.samples(observed, &others, self.first_wanted()..all)?
        };
        let train = match (self.window, self.segments) {
            (Some(window), _) => self.pieces(observed, &train, times, window)?,
            (None, Some(cut)) => self.segmented(observed, &train, times, cut)?,
            (None, None) => self.samples(observed, &train, self.first_wanted()..times)?,
        };
        Ok((self.clone(), Samples::Rows(train), Samples::Rows(test)))
    }

    /// Series from their first observations on, wanted at some of the times; scaled. One of which nothing was observed then is
    /// left out, and said.
    fn samples(&self, observed: &Observations, series: &[usize], times: Range<usize>) -> anyhow::Result<Rows> {
        let (read, unread): (Vec<usize>, Vec<usize>) =
            series.iter().copied().partition(|&s| self.is_shown(observed, s));
        for &s in &unread {
            log::warn!("{}nothing was observed before --read: it is left out", of(&observed.names[s]));
        }
        let (seen, unseen): (Vec<usize>, Vec<usize>) =
            read.into_iter().partition(|&s| observed.is_seen(s, times.clone()));
        let between = || [times.start, times.end - 1].map(|t| observed.times[t]);
        for &s in &unseen {
            let [first, last] = between();
            log::warn!("{}nothing was observed from {first} to {last}: it is left out", of(&observed.names[s]));
        }
        ensure!(
            !seen.is_empty(),
            "nothing was observed from {} to {}; there is nothing to compare with",
            between()[0],
            between()[1]
        );
        let starts: Vec<(usize, usize)> = seen.iter().map(|&s| (s, 0)).collect();
        let counted = [0].into_iter().chain(times.clone()).map(|t| self.counted(observed.times[t])).collect();
        let rows = Rows { times: counted, ..self.solved(observed, &starts, times.len(), |_, i| times.start + i) };
        match self.shown {
            Some(shown) => self.shown_samples(shown, observed, seen.into_iter(), rows),
            None => Ok(rows),
        }
    }

    /// The first of the times that are wanted: the one that is solved from is known, but where it is read.
    pub(super) fn first_wanted(&self) -> usize {
        usize::from(self.shown.is_none())
    }

    /// States that are solved from, each of a series at a time, and what of them is wanted at `count` times: of a start at `t`
    /// the `i`-th at `later(t, i)`. Scaled.
    pub(super) fn solved(
        &self,
        observed: &Observations,
        starts: &[(usize, usize)],
        count: usize,
        later: impl Fn(usize, usize) -> usize,
    ) -> Rows {
        let scaled = |s: usize, t: usize| observed.state(s, t).iter().zip(&self.states).map(|(&x, c)| c.scaled(x));
        let later = &later;
        let at = starts.iter().flat_map(|&(s, t)| (0..count).map(move |i| (s, later(t, i))));
        let mut numbers: Vec<f64> = at.flat_map(|(s, t)| scaled(s, t)).collect();
        let is_seen = |x: &f64| !x.is_nan();
        let weights = if numbers.iter().all(is_seen) {
            Vec::new()
        } else {
            numbers.iter().map(|x| f64::from(u8::from(is_seen(x)))).collect()
        };
        // What was not observed has no number.
        numbers.iter_mut().filter(|x| !is_seen(x)).for_each(|x| *x = 0.0);
        Rows {
            width: self.states.len(),
            inputs: starts.iter().flat_map(|&(s, t)| scaled(s, t)).collect(),
            wanted: Wanted::Numbers { times: count, width: self.states.len(), numbers, weights },
            times: Vec::new(),
        }
    }

    /// All pieces of `window` observations of series at their first `times` times, as if each began where the first does; times
    /// that are missing between them count, with nothing observed. A
    /// piece begins where all states were observed, and something was later.
    fn pieces(&self, observed: &Observations, series: &[usize], times: usize, window: usize) -> anyhow::Result<Rows> {
        let observed = &observed.evenly(times).with_context(|| format!("--window {window}"))?;
        let times = observed.times.len();
        ensure!(
            (2..=times).contains(&window),
            "--window {window}: of {times} times pieces have from 2 to {times}; give as many"
        );
        let starts = (0..=times - window).flat_map(|t| series.iter().map(move |&s| (s, t)));
        let taken = |&(s, t): &(usize, usize)| observed.is_whole(s, t) && observed.is_seen(s, t + 1..t + window);
        let starts: Vec<(usize, usize)> = starts.filter(taken).collect();
        ensure!(
            !starts.is_empty(),
            "--window {window}: no piece begins with a time at which every state was observed and has an observation after it"
        );
        let counted = (0..window).map(|t| self.counted(observed.times[t])).collect();
        Ok(Rows { times: counted, ..self.solved(observed, &starts, window - 1, |t, i| t + 1 + i) })
    }

    /// The option that cuts what is trained on into pieces, if one does.
    pub(crate) fn cut(&self) -> Option<String> {
        let window = self.window.map(|window| format!("--window {window}"));
        window.or_else(|| self.segments.map(|cut| format!("--segments {}", cut.intervals)))
    }

    /// A time as the model counts it.
    pub(crate) fn counted(&self, time: f64) -> f64 {
        (time - self.origin) / self.unit
    }

    /// A time that the model counts, as the data have it.
    pub(crate) fn told(&self, counted: f64) -> f64 {
        self.origin + self.unit * counted
    }

    /// The names of its columns.
    pub(super) fn named(&self) -> observations::Named<'_> {
        observations::Named { time: &self.time, id: self.id.as_deref(), states: columns::names(&self.states) }
    }

    /// Refuses numbers that have no logarithm where one is taken.
    pub(super) fn check_logarithms(&self, observed: &Observations) -> anyhow::Result<()> {
        let logarithms = self.states.iter().map(|column| column.log).collect::<Vec<_>>();
        observed.check_positive(&logarithms)
    }

    /// The observations of a sheet, at `least` times or more, of which the first are all there where series are solved from them.
    pub(super) fn observations(&self, sheet: &Sheet, least: usize) -> anyhow::Result<Observations> {
        let observed = Observations::read(self.named(), sheet, least)?;
        if self.shown.is_none() {
            observed.check_starts()?;
        }
        self.check_logarithms(&observed)?;
        Ok(observed)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::args::Split;

    #[derive(Debug)]
    struct Divided {
        train: Samples,
        test: Samples,
    }

    pub(in crate::data) fn series_of(text: &str, args: &OwnArgs) -> anyhow::Result<(Series, Samples, Samples)> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s.csv");
        std::fs::write(&path, text).expect("written");
        series(args, &Source { data: Some(path), ..Source::default() })
    }

    fn data(text: &str, args: &OwnArgs) -> anyhow::Result<Divided> {
        series_of(text, args).map(|(_, train, test)| Divided { train, test })
    }

    fn by_time(id: Option<&str>) -> OwnArgs {
        OwnArgs { time: Some("t".to_owned()), id: id.map(str::to_owned), ..OwnArgs::default() }
    }

    /// Two states of `series` series at `times` times, not in the order of time.
    fn text(series: usize, times: usize) -> String {
        let row = |s: usize, t: usize| format!("{},s{s},{},{}\n", 1900 + t, t + 10 * s, 5);
        let rows = (0..series).flat_map(|s| (0..times).rev().map(move |t| row(s, t)));
        format!("t,who,a,b\n{}", rows.collect::<String>())
    }

    #[test]
    fn a_single_series_is_tested_on_its_end() {
        let found = data(&text(1, 10), &by_time(Some("who"))).expect("a series");
        assert_eq!((found.train.sizes(0), found.test.sizes(0)), ((2, 2, 7), (2, 2, 2)), "the first is the start");
        let (train, test) = (found.train.times().expect("own"), found.test.times().expect("own"));
        assert_eq!((train.len(), test.len(), train[0], test[0]), (8, 3, 0.0, 0.0), "times count from the first");
        // The state changes by 1 / deviation a year, the constant one not at all: a slope of 1 in the mean over squares.
        let deviation = ((8.0 * 8.0 - 1.0) / 12.0f64).sqrt();
        assert!((train[1] - 1.0 / (2f64.sqrt() * deviation)).abs() < 1e-12, "{train:?}");
        let horizon = OwnArgs { horizon: Some(1904.5), ..by_time(None) };
        let found = data(&text(1, 10), &horizon).expect("a series");
        assert_eq!((found.train.sizes(0).2, found.test.sizes(0).2), (4, 5), "up to the horizon and after it");
        let raw = data(&text(1, 10), &OwnArgs { raw: true, ..by_time(None) }).expect("a series");
        assert_eq!(raw.train.times().expect("own")[..2], [1900.0, 1901.0], "as they are");
    }

    #[test]
    fn pieces_are_all_that_there_are() {
        let pieces = OwnArgs { window: Some(3), raw: true, ..by_time(Some("who")) };
        let found = data(&text(3, 5), &pieces).expect("series");
        let Samples::Rows(train) = &found.train else { panic!("rows") };
        assert_eq!((train.len(), found.train.sizes(0)), (2 * 3, (2, 2, 2)), "two series, three pieces of each");
        let Wanted::Numbers { numbers, .. } = &train.wanted else { panic!("numbers") };
        for (start, rest) in train.inputs.chunks(2).zip(numbers.chunks(4)) {
            assert_eq!(rest, [start[0] + 1.0, 5.0, start[0] + 2.0, 5.0], "what follows {start:?}");
        }
        assert_eq!(found.train.times(), Some(&[1900.0, 1901.0, 1902.0][..]), "as if all began together");
        assert_eq!(found.test.sizes(0).2, 4, "tested on whole series");
        let refused = |text: &str, window| {
            format!("{:#}", data(text, &OwnArgs { window: Some(window), ..pieces.clone() }).expect_err("refused"))
        };
        assert!(refused(&text(3, 5), 1).contains("--window 1") && refused(&text(3, 5), 6).contains("from 2 to 5"));
        // A time that nobody has counts too, with nothing observed: no piece begins there.
        let cut: String =
            text(3, 6).lines().filter(|line| !line.starts_with("1902")).map(|l| format!("{l}\n")).collect();
        let found = data(&cut, &pieces).expect("series");
        let Samples::Rows(Rows { inputs, wanted: Wanted::Numbers { weights, .. }, .. }) = &found.train else {
            panic!("numbers")
        };
        let starts: Vec<f64> = inputs.chunks(2).map(|start| start[0] % 10.0).collect();
        assert_eq!(starts, [0.0, 0.0, 1.0, 1.0, 3.0, 3.0], "of 1900, 1901 and 1903");
        assert_eq!(weights[..4], [1.0, 1.0, 0.0, 0.0], "of 1901 and 1902");
        assert_eq!(found.train.times(), Some(&[1900.0, 1901.0, 1902.0][..]));
        let uneven = text(3, 5).replace("1903,", "1903.5,");
        assert!(refused(&uneven, 3).contains("evenly spaced, and 1903.5"), "{}", refused(&uneven, 3));
    }

    #[test]
    fn several_series_are_divided() {
        let found = data(&text(5, 4), &by_time(Some("who"))).expect("series");
        assert_eq!((found.train.len(), found.test.len()), (4, 1), "a fifth");
        assert_eq!(found.train.times(), found.test.times(), "all times are trained on");
    }

    #[test]
    fn what_was_not_observed_has_no_weight() {
        // One cell of the first series is empty, and the second has a row less.
        let some = text(2, 4).replace("1902,s0,2,5\n", "1902,s0,,5\n").replace("1903,s1,13,5\n", "");
        let raw = OwnArgs { raw: true, split: Some(Split::Share(0.5)), ..by_time(Some("who")) };
        let found = data(&some, &raw).expect("series");
        let mut seen = Vec::new();
        for samples in [&found.train, &found.test] {
            let Samples::Rows(Rows { inputs, wanted: Wanted::Numbers { numbers, weights, .. }, .. }) = samples else {
                panic!("numbers")
            };
            seen.push((inputs[0], numbers.clone(), weights.clone()));
        }
        seen.sort_by(|a, b| a.0.total_cmp(&b.0));
        let first = (0.0, vec![1.0, 5.0, 0.0, 5.0, 3.0, 5.0], vec![1.0, 1.0, 0.0, 1.0, 1.0, 1.0]);
        let second = (10.0, vec![11.0, 5.0, 12.0, 5.0, 0.0, 0.0], vec![1.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
        assert_eq!(seen, [first, second]);
        let whole = data(&text(2, 4), &raw).expect("series");
        let Samples::Rows(Rows { wanted: Wanted::Numbers { weights, .. }, .. }) = &whole.train else {
            panic!("numbers")
        };
        assert!(weights.is_empty(), "nothing is missing");
    }

    #[test]
    fn scales_are_of_what_was_observed() {
        // a is 0, 1, (2), 3 of which the third is missing: mean 4/3; slopes 1 and 1, of b 0.
        let some = text(1, 4).replace("1902,s0,2,5\n", "1902,s0,,5\n");
        let own = OwnArgs { split: Some(Split::Share(0.01)), ..by_time(None) };
        let (series, _, _) = series_of(&format!("{some}1904,s0,100,5\n"), &own).expect("a series");
        let deviation = (14.0f64 / 9.0).sqrt();
        let [a, b] = &series.states[..] else { panic!("two") };
        assert!((a.mean - 4.0 / 3.0).abs() < 1e-15 && (a.deviation - deviation).abs() < 1e-15, "{a:?}");
        assert_eq!((b.mean, b.deviation), (5.0, 1.0));
        // Squares of the slope over five observed cells after the first time: of a from 0 to 1 and from 1 to 3.
        let unit = (5.0f64 / 2.0).sqrt() * deviation;
        assert!((series.unit - unit).abs() < 1e-12, "{} {unit}", series.unit);
    }

    #[test]
    fn logarithms_are_scaled_and_told_as_numbers() {
        let text = "t,a,b\n0,1,3\n1,10,4\n2,100,5\n3,1000,6\n";
        let args = OwnArgs { log: vec!["a".to_owned()], horizon: Some(2.5), ..by_time(None) };
        let (series, train, _) = series_of(text, &args).expect("a series");
        let [a, b] = &series.states[..] else { panic!("two") };
        let ten = 10f64.ln();
        assert!((a.mean - ten).abs() < 1e-14 && (a.deviation - ten * (2.0f64 / 3.0).sqrt()).abs() < 1e-14, "{a:?}");
        assert_eq!((a.log, b.log, b.mean), (true, false, 4.0));
        let Samples::Rows(Rows { inputs, wanted: Wanted::Numbers { numbers, .. }, .. }) = &train else {
            panic!("rows")
        };
        assert!((a.unscaled(inputs[0]) - 1.0).abs() < 1e-14 && (a.unscaled(numbers[2]) - 100.0).abs() < 1e-11);
        // Both states go by one deviation in the same time, so that time is counted in years over sqrt(3/2).
        assert!((series.unit - (2.0f64 / 3.0).sqrt()).abs() < 1e-14, "{}", series.unit);
        let refused = |text: &str, log: &str| {
            let log = vec![log.to_owned()];
            format!("{:#}", series_of(text, &OwnArgs { log, ..args.clone() }).expect_err("refused"))
        };
        assert!(refused(text, "c").contains("--log \"c\": is none of the states, a, b"), "{}", refused(text, "c"));
        let message = refused(&text.replace("100,", "0,"), "a");
        assert!(message.contains("line 4, column \"a\": 0 has no logarithm"), "{message}");
    }

    #[test]
    fn pieces_begin_where_all_was_observed() {
        let some = text(1, 6).replace("1902,s0,2,5\n", "1902,s0,,5\n");
        let pieces = OwnArgs { window: Some(2), raw: true, split: Some(Split::Share(0.01)), ..by_time(None) };
        let found = data(&some, &pieces).expect("series");
        let Samples::Rows(Rows { inputs, wanted: Wanted::Numbers { weights, .. }, .. }) = &found.train else {
            panic!("numbers")
        };
        assert_eq!(inputs, &[0.0, 5.0, 1.0, 5.0, 3.0, 5.0], "of 1900 to 1904 without 1902");
        assert_eq!(weights, &[1.0, 1.0, 0.0, 1.0, 1.0, 1.0], "what follows 1901 is half observed");
    }

    #[test]
    fn a_start_has_to_be_observed() {
        let refused = |text: &str, args: &OwnArgs| format!("{:#}", data(text, args).expect_err("refused"));
        let empty = text(2, 4).replace("1900,s1,10,5\n", "1900,s1,,5\n");
        let message = refused(&empty, &by_time(Some("who")));
        assert!(message.contains("line 9, column \"a\": series \"s1\"") && message.contains("fill it in"), "{message}");
        let late = text(2, 4).replace("1900,s1,10,5\n", "");
        let message = refused(&late, &by_time(Some("who")));
        assert!(message.contains("\"s1\", begins at 1901, and others at 1900"), "{message}");
        let word = text(2, 4).replace("1902,s1,12,5\n", "1902,s1,NaN,5\n");
        let message = refused(&word, &by_time(Some("who")));
        assert!(message.contains("line 7, column \"a\": \"NaN\"") && message.contains("left empty"), "{message}");
    }

    #[test]
    fn what_is_no_series_is_refused() {
        let refused = |text: &str, args: &OwnArgs| format!("{:#}", data(text, args).expect_err("refused"));
        assert!(refused(&text(2, 4), &by_time(None)).contains("--id COLUMN"), "a time is there twice");
        assert!(refused(&text(1, 1), &by_time(None)).contains("one time"), "no series");
        assert!(refused(&text(1, 4), &OwnArgs::default()).contains("--time COLUMN"), "no times");
        for horizon in [1899.0, 1900.0, 1903.0, f64::INFINITY] {
            assert!(refused(&text(1, 4), &OwnArgs { horizon: Some(horizon), ..by_time(None) }).contains("--horizon"));
        }
        let only_first = "t,a\n0,1\n1,\n2,\n3,4\n";
        let horizon = |horizon| OwnArgs { horizon: Some(horizon), ..by_time(None) };
        assert!(refused(only_first, &horizon(2.5)).contains("nothing was observed from 1 to 2"), "to train on");
        assert!(
            refused("t,a\n0,1\n1,2\n2,\n", &horizon(1.5)).contains("nothing was observed from 2 to 2"),
            "to test on"
        );
        let never = OwnArgs { states: vec!["a".to_owned(), "b".to_owned()], ..horizon(1.5) };
        let error = refused("t,a,b\n0,1,\n1,2,3\n2,3,4\n", &never);
        assert!(error.contains("line 2, column \"b\""), "{error}");
    }
}
