//! [`Horizon`]: what a run's training steps see of its training set.

use fewsteps::{Batches, TrainerConfig};

use crate::data::Samples;
use crate::settings::Settings;

/// The samples that are not held out, at all times that are wanted of them, or at the first of these while a curriculum has it
/// so. It is a function of the training step.
pub(super) struct Horizon<'a> {
    settings: &'a Settings,
    whole: &'a Samples,
    /// Samples that training draws from.
    pool: usize,
    /// Times of the outputs now.
    slots: usize,
    /// The samples at these, where they are not all.
    cut: Option<Samples>,
    batches: Batches,
}

impl<'a> Horizon<'a> {
    /// All times.
    pub(super) fn new(settings: &'a Settings, whole: &'a Samples) -> anyhow::Result<Self> {
        let pool = whole.pool(settings.batch) - settings.hold_out;
        let batches = Batches::new(pool, settings.batch, settings.seed)?;
        Ok(Self { settings, whole, pool, slots: settings.config.model.output_times(), cut: None, batches })
    }

    /// Goes to the times of the training step after `step` others. The trainer's configuration there, where it is another.
    pub(super) fn follow(&mut self, step: u64) -> anyhow::Result<Option<TrainerConfig>> {
        let Some(curriculum) = &self.settings.curriculum else { return Ok(None) };
        let all = self.settings.config.model.output_times();
        let slots = curriculum.slots(step, all);
        if slots == self.slots {
            return Ok(None);
        }
        self.slots = slots;
        self.cut = (slots < all).then(|| self.whole.up_to(slots, self.pool));
        let count = self.cut.as_ref().map_or(self.pool, |cut| cut.pool(self.settings.batch));
        self.batches = Batches::new(count, self.settings.batch, self.settings.seed)?;
        Ok(Some(curriculum.config(&self.settings.config, step)?))
    }

    /// Leaves a horizon that is not the whole one, if it is not: whether that is so.
    pub(super) fn leave(&mut self) -> anyhow::Result<bool> {
        let is_cut = self.cut.is_some();
        if is_cut {
            *self = Self::new(self.settings, self.whole)?;
        }
        Ok(is_cut)
    }

    /// What there is to train on now.
    pub(super) fn samples(&self) -> &Samples {
        self.cut.as_ref().unwrap_or(self.whole)
    }

    /// The samples with the batch of the training step after `step` others.
    pub(super) fn batch(&mut self, step: u64) -> (&Samples, &[usize]) {
        (self.cut.as_ref().unwrap_or(self.whole), self.batches.at(step))
    }
}
