//! [`Data`]: a data set. One's [`Own`] is known by the columns that it is read from.

use std::path::Path;

use anyhow::bail;
use serde::{Deserialize, Serialize};

use super::lynx_hare::lynx_hare;
use super::physionet::{Physionet, RecordDivision, physionet};
use super::samples::Samples;
use super::series::{Series, series};
use super::source::Source;
use super::table::{Table, csv};
use crate::args::OwnArgs;

/// A task's samples, divided into what is trained on and what is tested on.
#[derive(Debug)]
pub(crate) struct Data {
    pub(crate) train: Samples,
    pub(crate) test: Samples,
    /// Of one's own data: what columns they are, and how they were scaled.
    pub(crate) own: Option<Own>,
}

/// Which columns data are read from, how they are divided, and how they were scaled: all that reads them again in the same
/// way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Own {
    Csv(Table),
    Series(Series),
    Physionet(Physionet),
}

impl Data {
    /// Of a task that brings its own data.
    pub(crate) const fn new(train: Samples, test: Samples) -> Self {
        Self { train, test, own: None }
    }

    fn of_table((table, train, test): (Table, Samples, Samples)) -> Self {
        Self { train, test, own: Some(Own::Csv(table)) }
    }

    fn of_series((series, train, test): (Series, Samples, Samples)) -> Self {
        Self { train, test, own: Some(Own::Series(series)) }
    }

    fn of_physionet((physionet, train, test): (Physionet, Samples, Samples)) -> Self {
        Self { train, test, own: Some(Own::Physionet(physionet)) }
    }

    /// The records of the challenge, divided so.
    pub(crate) fn physionet(division: RecordDivision, source: &Source) -> anyhow::Result<Self> {
        physionet(division, source).map(Self::of_physionet)
    }

    /// The table that the command line names.
    pub(crate) fn csv(args: &OwnArgs, source: &Source) -> anyhow::Result<Self> {
        csv(args, source).map(Self::of_table)
    }

    /// The series that the command line names.
    pub(crate) fn series(args: &OwnArgs, source: &Source) -> anyhow::Result<Self> {
        series(args, source).map(Self::of_series)
    }

    /// The pelts of lynx and hares, as a series.
    pub(crate) fn lynx_hare(args: &OwnArgs, source: &Source) -> anyhow::Result<Self> {
        lynx_hare(args, source).map(Self::of_series)
    }

    /// How many classes the labels tell apart; 0 where nothing is classified.
    pub(crate) fn classes(&self) -> usize {
        let named = self.own.as_ref().map_or(0, |own| own.classes().len());
        self.train.classes().max(self.test.classes()).max(named)
    }
}

impl Own {
    /// The names of the classes, if there are such.
    pub(crate) fn classes(&self) -> &[String] {
        match self {
            Self::Csv(table) => table.classes(),
            Self::Series(_) | Self::Physionet(_) => &[],
        }
    }

    /// Reads data as these were read, with their scales and classes.
    pub(crate) fn read(&self, source: &Source) -> anyhow::Result<Data> {
        match self {
            Self::Csv(table) => table.read(source).map(Data::of_table),
            Self::Series(series) => series.read(source).map(Data::of_series),
            Self::Physionet(records) => Data::physionet(records.division, source),
        }
    }

    /// Reads data from the same columns, divided as these were, with scales and classes of their own.
    pub(crate) fn read_anew(&self, source: &Source) -> anyhow::Result<Data> {
        match self {
            Self::Csv(table) => table.read_anew(source).map(Data::of_table),
            Self::Series(series) => series.read_anew(source).map(Data::of_series),
            Self::Physionet(records) => Data::physionet(records.division, source),
        }
    }

    /// Reads the rows of a file all as samples to test on.
    pub(crate) fn read_test(&self, test: &Path) -> anyhow::Result<Data> {
        match self {
            Self::Csv(table) => table.read_test(test).map(Data::of_table),
            Self::Series(series) => series.read_test(test).map(Data::of_series),
            Self::Physionet(_) => bail!("--test: the challenge's records are divided by --split; take --data"),
        }
    }
}
