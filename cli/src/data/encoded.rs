//! Series as inputs of an encoder that reads them.

use anyhow::{Context, ensure};

use super::observations::{Observations, of};
use super::samples::Rows;
use super::series::Series;
use super::shown::{Shown, seen};

impl Series {
    /// Numbers of an observation that is read: the states, a mark for each that was observed, and the time since the
    /// observation before, of the first since the beginning.
    pub(crate) const fn shown_width(states: usize) -> usize {
        2 * states + 1
    }

    /// Whether anything of a series is read.
    pub(super) fn is_shown(&self, observed: &Observations, series: usize) -> bool {
        self.shown.is_none_or(|shown| seen(observed, series, shown.within(observed)).next().is_some())
    }

    /// These samples as inputs of the encoder, from the series' observations up to the time that is read to.
    pub(super) fn shown_samples(
        &self,
        shown: Shown,
        observed: &Observations,
        series: impl Iterator<Item = usize>,
        rows: Rows,
    ) -> anyhow::Result<Rows> {
        let within = shown.within(observed);
        let inputs =
            series.map(|s| self.shown(shown, observed, s, within)).collect::<anyhow::Result<Vec<_>>>()?.concat();
        let times = [self.counted(shown.begin)].into_iter().chain(rows.times.into_iter().skip(1)).collect();
        Ok(Rows { width: shown.most * Self::shown_width(self.states.len()), inputs, times, ..rows })
    }

    /// One series as the encoder's input, `[most][states, marks, step]`, padded with zeros behind what there is.
    pub(super) fn shown(
        &self,
        shown: Shown,
        observed: &Observations,
        series: usize,
        within: usize,
    ) -> anyhow::Result<Vec<f64>> {
        let (width, row) = (self.states.len(), Self::shown_width(self.states.len()));
        let (mut input, mut before) = (vec![0.0; shown.most * row], self.counted(shown.begin));
        for (n, t) in seen(observed, series, within).enumerate() {
            let time = observed.times[t];
            let whose = of(&observed.names[series]);
            ensure!(
                time >= shown.begin,
                "{whose}time {time}: is before {}, where the model begins; leave it out",
                shown.begin
            );
            let to = input.get_mut(n * row..(n + 1) * row).with_context(|| {
                let most = shown.most;
                format!(
                    "{whose}has more than {most} times, and the model reads as many; leave some of the first ones out"
                )
            })?;
            for (c, (&x, column)) in
                observed.state(series, t).iter().zip(&self.states).enumerate().filter(|(_, (x, _))| !x.is_nan())
            {
                (to[c], to[width + c]) = (column.scaled(x), 1.0);
            }
            to[2 * width] = self.counted(time) - before;
            before = self.counted(time);
        }
        Ok(input)
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{Samples, Wanted};
    use super::super::series::tests::series_of;
    use super::*;
    use crate::args::{OwnArgs, ReadUpTo, Split};

    /// Two series of two states, which begin at different times and are seen in part.
    const TEXT: &str = "t,who,a,b\n0,x,1,\n1,x,,2\n3,x,3,4\n1,y,5,6\n2,y,,\n7,y,7,\n";

    fn read(up_to: &str, more: OwnArgs) -> OwnArgs {
        let (time, id) = (Some("t".to_owned()), Some("who".to_owned()));
        OwnArgs { time, id, raw: true, read: Some(up_to.parse().expect("a time")), ..more }
    }

    fn rows(samples: &Samples) -> &Rows {
        let Samples::Rows(rows) = samples else { panic!("rows") };
        rows
    }

    #[test]
    fn inputs_are_a_series_own_observations() {
        let split = OwnArgs { split: Some(Split::Share(0.5)), ..OwnArgs::default() };
        let (series, train, test) = series_of(TEXT, &read("all", split)).expect("series");
        assert_eq!(series.shown, Some(Shown { most: 3, begin: 0.0, until: None }));
        let x = [1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 2.0, 0.0, 1.0, 1.0, 3.0, 4.0, 1.0, 1.0, 2.0];
        let y = [5.0, 6.0, 1.0, 1.0, 1.0, 7.0, 0.0, 1.0, 0.0, 6.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        let mut found = [rows(&train).inputs.clone(), rows(&test).inputs.clone()];
        found.sort_by(|a, b| a[0].total_cmp(&b[0]));
        assert_eq!(found, [x.to_vec(), y.to_vec()]);
        assert_eq!(rows(&train).times, [0.0, 0.0, 1.0, 2.0, 3.0, 7.0], "where all begin, then all times");
        let Wanted::Numbers { times, weights, .. } = &rows(&train).wanted else { panic!("numbers") };
        let marks: f64 = rows(&train).inputs.chunks(5).flat_map(|row| &row[2..4]).sum();
        assert_eq!(
            (*times, weights.iter().sum::<f64>(), train.sizes(0)),
            (5, marks, (15, 2, 5)),
            "all of it is wanted"
        );
    }

    #[test]
    fn what_is_tested_on_is_not_shown() {
        let horizon = OwnArgs { horizon: Some(2.5), ..OwnArgs::default() };
        let (series, train, test) = series_of(TEXT, &read("all", horizon.clone())).expect("series");
        assert_eq!(series.shown, Some(Shown { most: 2, begin: 0.0, until: Some(2.0) }), "the last time before");
        assert_eq!(
            (rows(&train).times.as_slice(), rows(&test).times.as_slice()),
            (&[0.0, 0.0, 1.0, 2.0][..], &[0.0, 3.0, 7.0][..])
        );
        assert_eq!(rows(&train).inputs, rows(&test).inputs, "what both are told from");
        let (series, ..) = series_of(TEXT, &read("0.5", horizon.clone())).expect("a series");
        assert_eq!(series.shown.map(|shown| (shown.most, shown.until)), Some((1, Some(0.5))));
        let (_, train, _) = series_of(TEXT, &read("0.5", horizon)).expect("a series");
        assert_eq!(train.len(), 1, "of the other nothing is read");
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        assert!("soon".parse::<ReadUpTo>().is_err() && "inf".parse::<ReadUpTo>().is_err());
        let early = format!("{:#}", series_of(TEXT, &read("-1", OwnArgs::default())).expect_err("before all"));
        assert!(early.contains("--read -1: nothing was observed before 0"), "{early}");
    }
}
