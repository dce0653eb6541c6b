//! [`Plan`]: the settings of a trial, which differ in nothing but the coefficient and the seed.

use anyhow::{bail, ensure};

use super::quality;
use crate::args::{TrainingArgs, TrialArgs};
use crate::data::Data;
use crate::method::Training;
use crate::settings::Settings;

/// What all trials share.
#[derive(Debug)]
pub(crate) struct Plan {
    method: Training,
    /// Steps of a whole training, of which a trial makes a part.
    pub(crate) whole: u64,
}

impl Plan {
    /// Checks what was asked for, and cuts the training to the share that trials make of it.
    pub(crate) fn new(trial: &TrialArgs, training: &mut TrainingArgs) -> anyhow::Result<Self> {
        let mut method = trial.regularization;
        training.read_model(&mut method)?;
        ensure!(
            training.config.is_none(),
            "--config: repeats runs as they were, and these are new ones; `fewsteps bench --config` repeats runs"
        );
        let method = method.unwrap_or(Training::LocalUnbiased);
        ensure!(
            method.takes_coefficient(),
            "--regularization {method}: its coefficient is not to be chosen; take one of local-*, global-*, taynode-*, rnode, or a combination"
        );
        quality::checked(trial.max_drop)?;
        let share = trial.steps_fraction;
        ensure!(
            share > 0.0 && share <= 1.0,
            "--steps-fraction {share}: give a share of a whole training, above 0 and at most 1"
        );
        let whole = training.steps.map_or(training.data.task.defaults().steps, usize::from);
        let steps = ((share * whole as f64).round() as usize).max(1);
        training.steps = std::num::NonZeroUsize::new(steps);
        training.regularizer.ensure_used(training.data.task, &[method])?;
        Ok(Self { method, whole: whole as u64 })
    }

    /// The settings with the coefficient that the command line says, or the task's.
    pub(crate) fn regularized(&self, training: &TrainingArgs, seed: u64, data: &Data) -> anyhow::Result<Settings> {
        Settings::resolve(training, self.method, seed, data)
    }

    /// The settings at a coefficient; at 0 there is no regularizer.
    pub(crate) fn settings(
        &self,
        training: &mut TrainingArgs,
        coefficient: f64,
        seed: u64,
        data: &Data,
    ) -> anyhow::Result<Settings> {
        if coefficient == 0.0 {
            training.regularizer.coefficient = None;
            return Settings::resolve(training, Training::Vanilla, seed, data);
        }
        training.regularizer.coefficient = Some(coefficient);
        let settings = Settings::resolve(training, self.method, seed, data)?;
        Ok(Settings { label: Some(coefficient.to_string()), ..settings })
    }
}

/// Refuses what would say the coefficient otherwise, where it is looked for.
pub(crate) fn ensure_free(training: &TrainingArgs) -> anyhow::Result<()> {
    let regularizer = &training.regularizer;
    let fixed = [
        ("--coefficient", regularizer.coefficient.is_some()),
        ("--coefficient-to", regularizer.coefficient_to.is_some()),
        ("--target-nfe", regularizer.target_nfe.is_some()),
    ];
    if let Some((option, _)) = fixed.into_iter().find(|(_, given)| *given) {
        bail!("{option}: the coefficient is what is looked for here; leave it out, of the file of --model too");
    }
    Ok(())
}
