//! What a checkpoint says of the run that it is of.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, ensure};
use fewsteps::CheckpointInfo;

use super::identity;
use crate::settings::Settings;

/// Names of our entries in a checkpoint's metadata.
pub(crate) const SETTINGS: &str = "settings";
pub(crate) const PROGRESS: &str = "progress";

/// Refuses to go on with a run that is another, or that has come further than it should.
pub(crate) fn ensure_goes_on(asked: &Settings, stored: &Settings, done: u64, path: &Path) -> anyhow::Result<()> {
    identity::ensure_same(asked, stored, path)?;
    ensure!(
        done <= asked.steps,
        "--steps {}: {} holds {done} steps already; ask for as many or more, or choose another --out",
        asked.steps,
        path.display()
    );
    Ok(())
}

/// Refuses a checkpoint whose settings are not those of its model.
pub(crate) fn ensure_whole(settings: &Settings, info: &CheckpointInfo, path: &Path) -> anyhow::Result<()> {
    ensure!(
        settings.config == info.config,
        "{}: its settings are not those of its model; it was altered, restore it from a copy",
        path.display()
    );
    Ok(())
}

/// The settings that a checkpoint's run had.
pub(crate) fn settings_of(metadata: &BTreeMap<String, String>, path: &Path) -> anyhow::Result<Settings> {
    let foreign = || format!("{}: holds no settings; it was not written by this command", path.display());
    let settings: Settings =
        serde_json::from_str(metadata.get(SETTINGS).with_context(foreign)?).with_context(foreign)?;
    ensure!(settings.batch > 0 && settings.steps > 0, "{}: its settings say nothing was trained", path.display());
    Ok(settings)
}
