//! The data that the command line names.

use std::path::{Path, PathBuf};

use anyhow::ensure;

use crate::args::{OutputArgs, TrainingArgs};
use crate::data::{Data, RecordDivision, Source};
use crate::task::TaskName;

/// Reads or generates them.
pub(crate) fn load(args: &TrainingArgs) -> anyhow::Result<Data> {
    let (args, output) = (&args.data, &args.output);
    let task = args.task;
    for (option, tasks) in args.own.given() {
        ensure!(
            tasks.contains(&task.name()),
            "{option}: is of --task {}, and this is --task {}; leave one of them out",
            tasks.join(" and "),
            task.name()
        );
    }
    let source = Source::named(args.data.as_deref(), args.own.test.as_deref());
    match task {
        TaskName::Csv => Data::csv(&args.own, &source),
        TaskName::Series => Data::series(&args.own, &source),
        TaskName::LynxHare => Data::lynx_hare(&args.own, &source),
        TaskName::Physionet => {
            let cached = Source { cache: Some(cache(output)), ..source };
            Data::physionet(RecordDivision::asked(&args.own), &cached)
        }
        _ => task.load_again(None, &source),
    }
}

/// Where parsed records are kept: beside the folder of the output.
fn cache(output: &OutputArgs) -> PathBuf {
    output.out.as_deref().and_then(Path::parent).unwrap_or_else(|| Path::new("")).join("physionet2012.cache")
}
