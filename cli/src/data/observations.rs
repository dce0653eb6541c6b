//! [`Observations`]: what a table tells of one or of several series, over the times of all of them.

use anyhow::{Context, bail, ensure};

use super::sheet::Sheet;

/// Numbers that a table of observations may take up, over all times.
const MOST: usize = 1 << 27;

/// Observations of all series, as they stand in the file, at each of the times at which any was observed.
#[derive(Debug)]
pub(super) struct Observations {
    /// The file's name.
    file: String,
    /// The series' names, in the order of the file.
    pub(super) names: Vec<String>,
    /// Of all series, rising.
    pub(super) times: Vec<f64>,
    /// The names of the states.
    columns: Vec<String>,
    /// `[series][time][state]`; NaN where nothing was observed.
    states: Vec<f64>,
    /// The line of each series at each time; 0 where there is none.
    lines: Vec<u64>,
}

/// What the columns of a table are.
#[derive(Clone, Debug)]
pub(super) struct Named<'a> {
    pub(super) time: &'a str,
    /// What tells series apart, where there are several.
    pub(super) id: Option<&'a str>,
    pub(super) states: Vec<String>,
}

/// The rows of a series by their times.
type Rows = Vec<(f64, usize)>;

impl Observations {
    /// The observations of a sheet, at `least` times or more. An empty cell was not observed.
    pub(super) fn read(named: Named<'_>, sheet: &Sheet, least: usize) -> anyhow::Result<Self> {
        let places = sheet.columns("--states", &named.states)?;
        let (all, columns) = (rows(&named, sheet)?, named.states);
        let mut times: Vec<f64> = all.iter().flat_map(|(_, rows)| rows).map(|(time, _)| *time).collect();
        times.sort_by(f64::total_cmp);
        times.dedup();
        let (file, count) = (sheet.name().to_owned(), all.len());
        ensure!(times.len() >= least, "{file}: one time is no series; two or more are");
        let size = count.checked_mul(times.len()).and_then(|rows| rows.checked_mul(places.len()));
        let size = size.filter(|size| *size <= MOST).with_context(|| {
            format!(
                "{file}: {count} series have {} times, of which they share too few; round the times, or give fewer",
                times.len()
            )
        })?;
        let (mut states, mut lines) = (vec![f64::NAN; size], vec![0; count * times.len()]);
        for (s, (_, rows)) in all.iter().enumerate() {
            for &(time, row) in rows {
                // It is one of them.
                let t = times.partition_point(|other| *other < time);
                let at = s * times.len() + t;
                lines[at] = sheet.line(row);
                for (c, &place) in places.iter().enumerate() {
                    let found = sheet.number_if_any(row, place);
                    let found = found.context("a cell where nothing was observed is left empty")?;
                    states[at * places.len() + c] = found.unwrap_or(f64::NAN);
                }
            }
        }
        Ok(Self { file, names: all.into_iter().map(|(name, _)| name).collect(), times, columns, states, lines })
    }

    /// States at a time.
    pub(super) const fn width(&self) -> usize {
        self.columns.len()
    }

    /// What of a series was observed at a time; NaN where nothing was.
    pub(super) fn state(&self, series: usize, time: usize) -> &[f64] {
        &self.states[(series * self.times.len() + time) * self.width()..][..self.width()]
    }

    /// Whether all of a series was observed at a time.
    pub(super) fn is_whole(&self, series: usize, time: usize) -> bool {
        !self.state(series, time).iter().any(|x| x.is_nan())
    }

    /// Whether anything of a series was observed at these times.
    pub(super) fn is_seen(&self, series: usize, times: std::ops::Range<usize>) -> bool {
        times.into_iter().any(|time| self.state(series, time).iter().any(|x| !x.is_nan()))
    }

    /// Checks that the states of which a logarithm is taken have one.
    pub(super) fn check_positive(&self, logarithms: &[bool]) -> anyhow::Result<()> {
        let wrong = self.states.iter().enumerate().find(|(at, x)| logarithms[at % self.width()] && **x <= 0.0);
        let Some((at, x)) = wrong else { return Ok(()) };
        bail!(
            "{}: line {}, column {:?}: {x} has no logarithm; correct it, leave the cell empty, or take the column as it is",
            self.file,
            self.lines[at / self.width()],
            self.columns[at % self.width()]
        )
    }

    /// The first `times` times, and those that are missing between them, at which nothing was observed: they are evenly
    /// spaced then.
    ///
    /// The step is the median of what lies between times, as the whole interval has it.
    pub(super) fn evenly(&self, times: usize) -> anyhow::Result<Self> {
        let told = &self.times[..times];
        let (first, last) = (told[0], told[times - 1]);
        let mut between: Vec<f64> = told.windows(2).map(|pair| pair[1] - pair[0]).collect();
        between.sort_by(f64::total_cmp);
        let count = ((last - first) / between[(between.len() - 1) / 2]).round().max(1.0);
        let step = (last - first) / count;
        let place = |t: usize| ((told[t] - first) / step).round();
        let uneven =
            (1..times).find(|&t| (told[t] - (first + step * place(t))).abs() > 1e-6 * step || place(t) <= place(t - 1));
        if let Some(t) = uneven {
            bail!("times have to be evenly spaced, and {} is not {step} after {}; leave it out", told[t], told[t - 1]);
        }
        let (count, width, series) = (count as usize + 1, self.width(), self.names.len());
        ensure!(count.saturating_mul(width * series) <= MOST, "{count} times, {step} after each other, are too many");
        let mut even: Vec<f64> = (0..count).map(|t| first + step * t as f64).collect();
        let (mut states, mut lines) = (vec![f64::NAN; series * count * width], vec![0; series * count]);
        for t in 0..times {
            let to = place(t) as usize;
            even[to] = told[t];
            for s in 0..series {
                states[(s * count + to) * width..][..width].copy_from_slice(self.state(s, t));
                lines[s * count + to] = self.lines[s * self.times.len() + t];
            }
        }
        let (file, names, columns) = (self.file.clone(), self.names.clone(), self.columns.clone());
        Ok(Self { file, names, times: even, columns, states, lines })
    }

    /// Checks that all of each series was observed at the first time, where it is solved from.
    pub(super) fn check_starts(&self) -> anyhow::Result<()> {
        let Some(s) = (0..self.names.len()).find(|&s| !self.is_whole(s, 0)) else { return Ok(()) };
        let (file, first, whose) = (&self.file, self.times[0], of(&self.names[s]));
        let lines = &self.lines[s * self.times.len()..][..self.times.len()];
        if lines[0] == 0 {
            let begin = lines.iter().position(|&line| line > 0).unwrap_or(0);
            bail!(
                "{file}: {whose}begins at {}, and others at {first}: all are solved from one time on; leave out what is earlier, \
                 or count the times of each series from its own beginning",
                self.times[begin]
            );
        }
        let missing = self.state(s, 0).iter().position(|x| x.is_nan()).unwrap_or(0);
        bail!(
            "{file}: line {}, column {:?}: {whose}the state that is solved from has to be observed, and the cell is empty; fill it \
             in, or leave out the rows before the first whole one",
            lines[0],
            self.columns[missing]
        )
    }
}

/// Of each series its rows with their times, in the order of time.
fn rows(named: &Named<'_>, sheet: &Sheet) -> anyhow::Result<Vec<(String, Rows)>> {
    let time = sheet.column("--time", named.time)?;
    let id = named.id.map(|id| sheet.column("--id", id)).transpose()?;
    let mut all: Vec<(String, Rows)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for row in 0..sheet.len() {
        let name = id.map_or(Ok(""), |id| sheet.text(row, id))?;
        let place = *places.entry(name.to_owned()).or_insert(all.len());
        if place == all.len() {
            all.push((name.to_owned(), Vec::new()));
        }
        // Of the two zeros one is the time.
        all[place].1.push((sheet.number(row, time)? + 0.0, row));
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
    ensure!(!all.is_empty(), "{}: there are no observations", sheet.name());
    Ok(all)
}

/// Whose something is, if series have names.
pub(super) fn of(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!("series {name:?}, ") }
}
