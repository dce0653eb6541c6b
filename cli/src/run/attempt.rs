//! Runs of which one that fails costs none of the others.

use anyhow::bail;

use super::half_way::HalfWay;
use super::session::{Ending, Session};
use crate::interrupt::{self, Interrupted};
use crate::output;
use crate::record::RunRecord;
use crate::settings::Settings;

/// A run that did not come to its end.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) ending: Ending,
    pub(crate) error: String,
}

impl Session<'_> {
    /// Makes a run. A failure that is its own is told; what the other runs would all meet ends the command, before each of
    /// them has trained in vain.
    pub(crate) fn attempt(&self, settings: &Settings) -> anyhow::Result<Result<RunRecord, Lost>> {
        self.attempt_beyond(settings, None)
    }

    /// The same of a run that is given up half way if it is too bad there.
    pub(crate) fn attempt_beyond(
        &self,
        settings: &Settings,
        half_way: Option<HalfWay>,
    ) -> anyhow::Result<Result<RunRecord, Lost>> {
        let error = match self.run_beyond(settings, half_way) {
            Ok(record) => return Ok(Ok(record)),
            Err(error) if error.is::<Interrupted>() => return Err(error),
            Err(error) => error,
        };
        let name = settings.run_name();
        let Some(ending) = Ending::of(&error) else {
            let way = interrupt::resume_command(self.out.root());
            bail!("{name}: {error:#}; the command ends here. When that is mended, go on:\n  {way}");
        };
        let error = format!("{error:#}");
        output::note(&format!("fewsteps: error: {name}: {error}"));
        Ok(Err(Lost { ending, error }))
    }
}
