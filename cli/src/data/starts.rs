//! What predictions of series begin with.

use anyhow::{Context, bail};

use super::observations::{Observations, of};
use super::samples::Rows;
use super::series::Series;
use super::sheet::Sheet;

/// What a forecast is told from: the last time of a series at which all of its states were observed, or all of its observations
/// where these are read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Start {
    /// The series' name.
    pub(crate) name: String,
    /// The time after which it goes on, as the file has it ...
    pub(crate) time: f64,
    /// ... and that which is solved from.
    pub(crate) begin: f64,
    /// The model's: the state, or what is read; scaled.
    pub(crate) input: Vec<f64>,
    /// What was observed of each state, as the file has it: `[state]` of times and numbers.
    pub(crate) observed: Vec<Vec<(f64, f64)>>,
}

impl Series {
    /// What to predict from a sheet: its series' names, the times, and the series as samples that are wanted there. Times
    /// are those of the sheet after the first unless others are asked for.
    pub(crate) fn asked(&self, sheet: &Sheet, at: &[f64]) -> anyhow::Result<(Vec<String>, Vec<f64>, Rows)> {
        let observed = self.observations(sheet, if at.is_empty() { 1 + self.first_wanted() } else { 1 })?;
        let first = self.shown.map_or(observed.times[0], |shown| shown.begin);
        let every = 0..observed.names.len();
        let later = if at.is_empty() { &observed.times[self.first_wanted()..] } else { at };
        let falls = later.windows(2).find(|pair| pair[0] >= pair[1]).map(|pair| pair[1]);
        if let Some(time) = falls.or_else(|| later.iter().copied().find(|time| !(time.is_finite() && *time >= first))) {
            bail!("--at {time}: give times in their order, from the beginning at {first} on");
        }
        let times = [&first].into_iter().chain(later).map(|&time| self.counted(time)).collect();
        let starts: Vec<(usize, usize)> = every.clone().map(|s| (s, 0)).collect();
        let rows = Rows { times, ..self.solved(&observed, &starts, 0, |_, _| 0) };
        let rows = match self.shown {
            Some(shown) => self.shown_samples(shown.whole(), &observed, every, rows)?,
            None => rows,
        };
        let later = later.to_vec();
        Ok((observed.names, later, rows))
    }

    /// Where forecasts of a sheet's series begin. One row a series is enough.
    pub(crate) fn starts(&self, sheet: &Sheet) -> anyhow::Result<Vec<Start>> {
        let observed = Observations::read(self.named(), sheet, 1)?;
        self.check_logarithms(&observed)?;
        let start = |(s, name): (usize, &String)| {
            let told_from = |&t: &usize| match self.shown {
                Some(_) => observed.is_seen(s, t..t + 1),
                None => observed.is_whole(s, t),
            };
            let last = (0..observed.times.len()).rev().find(told_from).with_context(|| {
                let what = if self.shown.is_some() { "has a number" } else { "has a number for every state" };
                format!("{}: {}no row {what}, and forecasts begin with one", sheet.name(), of(name))
            })?;
            let time = observed.times[last];
            let state =
                || observed.state(s, last).iter().zip(&self.states).map(|(&x, column)| column.scaled(x)).collect();
            let (begin, input) = match self.shown {
                Some(shown) => (shown.begin, self.shown(shown, &observed, s, observed.times.len())?),
                None => (time, state()),
            };
            let of_state = |c: usize| {
                let at = |t: usize| (observed.times[t], observed.state(s, t)[c]);
                (0..observed.times.len()).map(at).filter(|point| !point.1.is_nan()).collect()
            };
            Ok(Start {
                name: name.clone(),
                time,
                begin,
                input,
                observed: (0..observed.width()).map(of_state).collect(),
            })
        };
        observed.names.iter().enumerate().map(start).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::columns::Column;
    use super::super::source::Division;
    use super::*;

    fn series() -> Series {
        let state = |name: &str| Column { name: name.to_owned(), mean: 1.0, deviation: 2.0, log: false };
        Series {
            time: "t".to_owned(),
            id: Some("who".to_owned()),
            states: vec![state("a"), state("b")],
            origin: 0.0,
            unit: 1.0,
            division: Division::Horizon(1.0),
            window: None,
            segments: None,
            shown: None,
            raw: false,
            file: None,
        }
    }

    fn sheet(text: &str) -> Sheet {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s.csv");
        std::fs::write(&path, text).expect("written");
        Sheet::read(&path).expect("a table")
    }

    #[test]
    fn a_forecast_begins_with_the_last_whole_row() {
        let text = "t,who,a,b\n0,x,5,7\n1,x,3,5\n2,x,,9\n7,y,1,1\n";
        let found = series().starts(&sheet(text)).expect("starts");
        let x = Start {
            name: "x".to_owned(),
            time: 1.0,
            begin: 1.0,
            input: vec![1.0, 2.0],
            observed: vec![vec![(0.0, 5.0), (1.0, 3.0)], vec![(0.0, 7.0), (1.0, 5.0), (2.0, 9.0)]],
        };
        let y = Start {
            name: "y".to_owned(),
            time: 7.0,
            begin: 7.0,
            input: vec![0.0; 2],
            observed: vec![vec![(7.0, 1.0)]; 2],
        };
        assert_eq!(found, [x, y]);
        let error = series().starts(&sheet("t,who,a,b\n0,x,5,7\n0,y,,1\n1,y,2,\n")).expect_err("never whole");
        assert!(error.to_string().contains("series \"y\", no row has a number for every state"), "{error}");
    }
}
