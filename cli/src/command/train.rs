//! `fewsteps train`: one method, one seed.

use anyhow::ensure;
use fewsteps::CheckpointInfo;

use crate::args::TrainArgs;
use crate::data;
use crate::files;
use crate::interrupt;
use crate::output;
use crate::run::{Ending, Session};
use crate::settings::Settings;

pub(crate) fn train(args: &TrainArgs) -> anyhow::Result<Ending> {
    interrupt::catch()?;
    let data = args.training.data.task.load(args.training.data.data.as_deref())?;
    let mut settings = Settings::resolve(&args.training, args.regularization, args.seed, &data)?;
    args.training.regularizer.ensure_used(args.training.data.task, &[args.regularization])?;
    if let Some(path) = &args.from {
        settings.from = Some(data::digest(&files::read(path)?));
        let CheckpointInfo { scalar, .. } = CheckpointInfo::read(path)?;
        ensure!(
            scalar == settings.precision_name(),
            "--from {}: its numbers are {scalar}, and this run's {}; add --precision {scalar}",
            path.display(),
            settings.precision_name()
        );
    }
    let session = Session::open(&args.training, data, vec![settings], false)?.begin_from(args.from.as_deref());
    let record = session.run(&session.runs[0])?;
    if args.training.output.json {
        output::print(&(serde_json::to_string_pretty(&record)? + "\n"))?;
    } else {
        let files = session.out.finished(&record.settings.run_name());
        output::print(&format!("checkpoint: {}\nrecord: {}\n", files.checkpoint.display(), files.record.display()))?;
    }
    let remark = record.settings.budget().and_then(|budget| record.budget?.remark(&budget));
    if let Some(remark) = remark {
        log::warn!("{}: {remark}", record.settings.run_name());
    }
    let Some(defect) = record.defect() else { return Ok(Ending::Finished) };
    output::note(&format!("fewsteps: error: {defect}"));
    Ok(Ending::NothingToShow)
}
