//! [`Series`]: states observed at times, from a file of comma-separated values.

use std::path::Path;

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};

use super::columns::{self, Column};
use super::samples::{Rows, Samples, Wanted};
use super::sheet::Sheet;
use super::source::{Division, Source};
use crate::args::OwnArgs;
use crate::numbers;

const TASK: &str = "series";

/// What a later version takes.
const LATER: &str = "series with times of their own, and missing cells, come with a later release";

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
    /// Whether numbers are taken as they are.
    #[serde(default)]
    pub(crate) raw: bool,
}

/// Observations of all series at the same times, as they stand in the file.
#[derive(Debug)]
struct Observations {
    /// The series' names, in the order of the file.
    names: Vec<String>,
    /// In their order.
    times: Vec<f64>,
    /// `[series][time][state]`.
    states: Vec<f64>,
    /// States at a time.
    width: usize,
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
    let series = Series {
        time,
        id: args.id.clone(),
        states: states.into_iter().map(Column::raw).collect(),
        origin: 0.0,
        unit: 1.0,
        division: Division::asked(args, source)?,
        window: args.window,
        raw: args.raw,
    };
    series.read_anew_from(&series.observations(&sheet, 2)?)
}

impl Observations {
    fn state(&self, series: usize, time: usize) -> &[f64] {
        &self.states[(series * self.times.len() + time) * self.width..][..self.width]
    }
}

impl Series {
    /// The samples of a source, with the scales of this.
    pub(super) fn read(&self, source: &Source) -> anyhow::Result<(Self, Samples, Samples)> {
        self.divide(&self.observations(&Sheet::read(source.file(TASK)?)?, 2)?)
    }

    /// The samples of a source, with scales of their own.
    pub(super) fn read_anew(&self, source: &Source) -> anyhow::Result<(Self, Samples, Samples)> {
        self.read_anew_from(&self.observations(&Sheet::read(source.file(TASK)?)?, 2)?)
    }

    /// All series of a file.
    pub(super) fn read_test(&self, test: &Path) -> anyhow::Result<(Self, Samples, Samples)> {
        let observed = self.observations(&Sheet::read(test)?, 2)?;
        let every: Vec<usize> = (0..observed.names.len()).collect();
        let samples = || Samples::Rows(self.samples(&observed, &every, 1..observed.times.len()));
        Ok((self.clone(), samples(), samples()))
    }

    /// Fits the scales to what is trained on, and reads it.
    fn read_anew_from(&self, observed: &Observations) -> anyhow::Result<(Self, Samples, Samples)> {
        let (train, times) = self.trained_on(observed)?;
        let fitted = if self.raw {
            Self { origin: 0.0, unit: 1.0, ..self.clone() }
        } else {
            let rows: Vec<usize> =
                train.iter().flat_map(|s| (0..times).map(move |t| s * observed.times.len() + t)).collect();
            let value = |row: usize, column: usize| observed.states[row * observed.width + column];
            let states = columns::fit(&columns::names(&self.states), &rows, false, value);
            let scaled = Self { states, origin: observed.times[0], ..self.clone() };
            let unit = scaled.natural_unit(observed, &train, times);
            Self { unit, ..scaled }
        };
        fitted.divide(observed)
    }

    /// The unit of time in which the scaled states of these series, at the first `times` times, have a slope of 1 in the
    /// mean over squares; the whole interval if they stand still.
    fn natural_unit(&self, observed: &Observations, train: &[usize], times: usize) -> f64 {
        let slope = |s: usize, t: usize| {
            let length = observed.times[t] - observed.times[t - 1];
            let change = |c: usize| (observed.state(s, t)[c] - observed.state(s, t - 1)[c]) / self.states[c].deviation;
            (0..self.states.len()).map(|c| (change(c) / length).powi(2)).sum::<f64>() / self.states.len() as f64
        };
        let squares: f64 = train.iter().flat_map(|&s| (1..times).map(move |t| (s, t))).map(|(s, t)| slope(s, t)).sum();
        let mean = (squares / (train.len() * (times - 1)) as f64).sqrt();
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
            self.samples(observed, &train, times..all)
        } else {
            let others: Vec<usize> = (0..observed.names.len()).filter(|series| !train.contains(series)).collect();
            self.samples(observed, &others, 1..all)
        };
        let train = match self.window {
            Some(window) => self.pieces(observed, &train, times, window)?,
            None => self.samples(observed, &train, 1..times),
        };
        Ok((self.clone(), Samples::Rows(train), Samples::Rows(test)))
    }

    /// Series from their first observations on, wanted at some of the times; scaled.
    fn samples(&self, observed: &Observations, series: &[usize], times: std::ops::Range<usize>) -> Rows {
        let scaled = |s: usize, t: usize| observed.state(s, t).iter().zip(&self.states).map(|(&x, c)| c.scaled(x));
        let numbers = series.iter().flat_map(|&s| times.clone().flat_map(move |t| scaled(s, t))).collect();
        Rows {
            width: self.states.len(),
            inputs: series.iter().flat_map(|&s| scaled(s, 0)).collect(),
            wanted: Wanted::Numbers { times: times.len(), width: self.states.len(), numbers },
            times: [0].into_iter().chain(times).map(|t| self.counted(observed.times[t])).collect(),
        }
    }

    /// All pieces of `window` observations of series at their first `times` times, as if each began where the first does.
    fn pieces(&self, observed: &Observations, series: &[usize], times: usize, window: usize) -> anyhow::Result<Rows> {
        ensure!(
            (2..=times).contains(&window),
            "--window {window}: of {times} times pieces have from 2 to {times}; give as many"
        );
        let (first, last) = (observed.times[0], observed.times[times - 1]);
        let step = (last - first) / (times - 1) as f64;
        let uneven = (0..times).find(|&t| (observed.times[t] - (first + step * t as f64)).abs() > 1e-6 * step);
        if let Some(t) = uneven {
            bail!(
                "--window {window}: times have to be evenly spaced, and {} is not {step} after {}; leave it out",
                observed.times[t],
                observed.times[t - 1]
            );
        }
        let mut pieces = self.samples(observed, &[], 1..window);
        for start in 0..=times - window {
            let later = self.samples(observed, series, start..start + window);
            let Wanted::Numbers { numbers, width, .. } = later.wanted else { continue };
            for piece in numbers.chunks_exact(window * width) {
                let (begin, rest) = piece.split_at(width);
                pieces.inputs.extend_from_slice(begin);
                if let Wanted::Numbers { numbers, .. } = &mut pieces.wanted {
                    numbers.extend_from_slice(rest);
                }
            }
        }
        Ok(pieces)
    }

    /// A time as the model counts it.
    fn counted(&self, time: f64) -> f64 {
        (time - self.origin) / self.unit
    }

    /// A time that the model counts, as the data have it.
    pub(crate) fn told(&self, counted: f64) -> f64 {
        self.origin + self.unit * counted
    }

    /// What to predict from a sheet: its series' names, the times, and the series as samples that are wanted there. Times
    /// are those of the sheet after the first unless others are asked for.
    pub(crate) fn asked(&self, sheet: &Sheet, at: &[f64]) -> anyhow::Result<(Vec<String>, Vec<f64>, Rows)> {
        let observed = self.observations(sheet, if at.is_empty() { 2 } else { 1 })?;
        let first = observed.times[0];
        let every: Vec<usize> = (0..observed.names.len()).collect();
        let later = if at.is_empty() { &observed.times[1..] } else { at };
        let falls = later.windows(2).find(|pair| pair[0] >= pair[1]).map(|pair| pair[1]);
        if let Some(time) = falls.or_else(|| later.iter().copied().find(|time| !(time.is_finite() && *time >= first))) {
            bail!("--at {time}: give times in their order, from the first observation at {first} on");
        }
        let times = [&first].into_iter().chain(later).map(|&time| self.counted(time)).collect();
        let rows = Rows { times, ..self.samples(&observed, &every, 0..0) };
        Ok((observed.names, later.to_vec(), rows))
    }

    /// The observations of a sheet, at `least` times or more.
    fn observations(&self, sheet: &Sheet, least: usize) -> anyhow::Result<Observations> {
        let time = sheet.column("--time", &self.time)?;
        let states = sheet.columns("--states", &columns::names(&self.states))?;
        let id = self.id.as_ref().map(|id| sheet.column("--id", id)).transpose()?;
        // Of each series its rows with their times, in the order of time.
        let mut all: Vec<(String, Vec<(f64, usize)>)> = Vec::new();
        let mut places = std::collections::HashMap::new();
        for row in 0..sheet.len() {
            let name = id.map_or(Ok(""), |id| sheet.text(row, id))?;
            let place = *places.entry(name.to_owned()).or_insert(all.len());
            if place == all.len() {
                all.push((name.to_owned(), Vec::new()));
            }
            all[place].1.push((sheet.number(row, time)?, row));
        }
        for (name, rows) in &mut all {
            rows.sort_by(|a, b| a.0.total_cmp(&b.0));
            if let Some(pair) = rows.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                let [first, second] = [pair[0].1, pair[1].1].map(|row| sheet.line(row));
                let (file, time) = (sheet.name(), pair[0].0);
                let remedy = if id.is_some() {
                    "each series has one row a time"
                } else {
                    "name the column that tells several series apart: --id COLUMN"
                };
                bail!("{file}: lines {first} and {second}: {}time {time} is there twice; {remedy}", of(name));
            }
        }
        ensure_common(sheet, &all, least)?;
        let mut observed = Observations {
            names: all.iter().map(|(name, _)| name.clone()).collect(),
            times: all[0].1.iter().map(|(time, _)| *time).collect(),
            states: Vec::new(),
            width: states.len(),
        };
        for &(_, row) in all.iter().flat_map(|(_, rows)| rows) {
            for &state in &states {
                observed.states.push(
                    sheet
                        .number(row, state)
                        .with_context(|| format!("{TASK} wants every state at every time ({LATER})"))?,
                );
            }
        }
        Ok(observed)
    }
}

/// Whose something is, if series have names.
fn of(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!("series {name:?}, ") }
}

/// Checks that all series have the same times, `least` or more.
fn ensure_common(sheet: &Sheet, all: &[(String, Vec<(f64, usize)>)], least: usize) -> anyhow::Result<()> {
    let file = sheet.name();
    let Some((first, grid)) = all.first() else { bail!("{file}: there are no observations") };
    ensure!(grid.len() >= least, "{file}: {}one time is no series; two or more are", of(first));
    for (name, rows) in &all[1..] {
        let differ = (0..grid.len().max(rows.len())).find(|&i| grid.get(i).map(|x| x.0) != rows.get(i).map(|x| x.0));
        if let Some(i) = differ {
            let line = rows.get(i).or(grid.get(i)).map_or(0, |&(_, row)| sheet.line(row));
            bail!(
                "{file}: line {line}: series {name:?} has {} times and differs from series {first:?}, which has {}, at the \
                 {}. of them; all have to be observed at the same times ({LATER})",
                rows.len(),
                grid.len(),
                i + 1
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Divided {
        train: Samples,
        test: Samples,
    }

    fn data(text: &str, args: &OwnArgs) -> anyhow::Result<Divided> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s.csv");
        std::fs::write(&path, text).expect("written");
        series(args, &Source { data: Some(path), test: None }).map(|(_, train, test)| Divided { train, test })
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
    fn what_is_not_taken_yet_is_said() {
        let refused = |text: &str, args: &OwnArgs| format!("{:#}", data(text, args).expect_err("refused"));
        let ragged = text(2, 4).replace("1903,s1,13,5\n", "");
        let message = refused(&ragged, &by_time(Some("who")));
        assert!(message.contains("series \"s1\" has 3 times") && message.contains("later release"), "{message}");
        let missing = text(2, 4).replace("1902,s1,12,5\n", "1902,s1,,5\n");
        let message = refused(&missing, &by_time(Some("who")));
        assert!(message.contains("line 7, column \"a\"") && message.contains("later release"), "{message}");
        assert!(refused(&text(2, 4), &by_time(None)).contains("--id COLUMN"), "a time is there twice");
        assert!(refused(&text(1, 1), &by_time(None)).contains("one time"), "no series");
        assert!(refused(&text(1, 4), &OwnArgs::default()).contains("--time COLUMN"), "no times");
        for horizon in [1899.0, 1900.0, 1903.0, f64::INFINITY] {
            assert!(refused(&text(1, 4), &OwnArgs { horizon: Some(horizon), ..by_time(None) }).contains("--horizon"));
        }
    }
}
