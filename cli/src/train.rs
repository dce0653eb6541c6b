//! `fewsteps train`: one method, one seed.

use crate::args::TrainArgs;
use crate::output;
use crate::session::{Ending, Session};
use crate::settings::Settings;

pub(crate) fn train(args: &TrainArgs) -> anyhow::Result<Ending> {
    let data = args.training.data.task.load(args.training.data.data.as_deref())?;
    let settings = Settings::resolve(&args.training, args.regularization, args.seed, &data)?;
    args.training.regularizer.ensure_used(args.training.data.task, &[args.regularization])?;
    let session = Session::open(&args.training, data, std::slice::from_ref(&settings))?;
    let Some(record) = session.run(&settings)? else { return Ok(Ending::Interrupted) };
    if args.training.output.json {
        output::print(&(serde_json::to_string_pretty(&record)? + "\n"))?;
    } else {
        let name = settings.run_name();
        let (checkpoint, record) = (session.out.checkpoint(&name), session.out.record(&name));
        output::print(&format!("checkpoint: {}\nrecord: {}\n", checkpoint.display(), record.display()))?;
    }
    Ok(Ending::Finished)
}
