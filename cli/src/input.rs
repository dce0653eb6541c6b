//! The data that the command line names.

use anyhow::ensure;

use crate::args::DataArgs;
use crate::data::{Data, Source};
use crate::task::TaskName;

/// Reads or generates them.
pub(crate) fn load(args: &DataArgs) -> anyhow::Result<Data> {
    let task = args.task;
    for (option, csv, series) in args.own.given() {
        let of = match (csv, series) {
            (true, true) => "csv and series",
            (true, false) => "csv",
            _ => "series",
        };
        let takes = match task {
            TaskName::Csv => csv,
            TaskName::Series => series,
            _ => false,
        };
        ensure!(takes, "{option}: is of --task {of}, and this is --task {}; leave one of them out", task.name());
    }
    let source = Source::named(args.data.as_deref(), args.own.test.as_deref());
    match task {
        TaskName::Csv => Data::csv(&args.own, &source),
        TaskName::Series => Data::series(&args.own, &source),
        _ => task.load_again(None, &source),
    }
}
