//! `fewsteps train`: one method, one seed.

use anyhow::ensure;
use fewsteps::CheckpointInfo;

use crate::args::TrainArgs;
use crate::data::{self, Data};
use crate::files;
use crate::input;
use crate::interrupt;
use crate::method::Training;
use crate::model_file;
use crate::output;
use crate::repeat;
use crate::report::followed;
use crate::run::{Ending, Session};
use crate::settings::Settings;

pub(crate) fn train(mut args: TrainArgs) -> anyhow::Result<Ending> {
    interrupt::catch()?;
    args.training.read_model(&mut args.regularization)?;
    let (data, mut settings) = planned(&args)?;
    if args.print_model {
        return output::print(&model_file::text(&settings)?).map(|()| Ending::Finished);
    }
    let before = settings.from.take();
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
    if args.training.config.is_some() && settings.from != before {
        let told = |digest: Option<String>| {
            digest.map_or("random weights".to_owned(), |d| format!("a checkpoint of SHA-256 {d}"))
        };
        let (before, now) = (told(before), told(settings.from));
        anyhow::bail!(
            "--config: that run began with {before}, and this would with {now}; name that checkpoint with --from"
        );
    }
    let session = Session::open(&args.training, data, vec![settings], None)?.begin_from(args.from.as_deref());
    let record = session.run(&session.runs[0])?;
    if args.training.output.json {
        output::print(&(serde_json::to_string_pretty(&record)? + "\n"))?;
    } else {
        let files = session.out.finished(&record.settings.run_name());
        let off = followed::of_run(&record).map_or(String::new(), |off| off + "\n");
        output::print(&format!(
            "{off}checkpoint: {}\nrecord: {}\n",
            files.checkpoint.display(),
            files.record.display()
        ))?;
    }
    let remark = record.settings.budget().and_then(|budget| record.budget?.remark(&budget));
    if let Some(remark) = remark {
        log::warn!("{}: {remark}", record.settings.run_name());
    }
    let Some(defect) = record.defect() else { return Ok(Ending::Finished) };
    output::note(&format!("fewsteps: error: {defect}"));
    Ok(Ending::NothingToShow)
}

/// The data and the settings that the command line asks for.
fn planned(args: &TrainArgs) -> anyhow::Result<(Data, Settings)> {
    let TrainArgs { training, .. } = args;
    if let Some(path) = &training.config {
        return repeat::run(path, &training.data);
    }
    let data = input::load(training)?;
    let method = args.regularization.unwrap_or(Training::LocalUnbiased);
    let settings = Settings::resolve(training, method, args.seed, &data)?;
    training.regularizer.ensure_used(training.data.task, &[method])?;
    Ok((data, settings))
}
