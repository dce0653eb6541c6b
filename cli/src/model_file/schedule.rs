//! The learning rate of a model file: what it begins with, where it goes, and by which way.

use fewsteps::Schedule;
use serde::Deserialize;

/// How the learning rate falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ScheduleName {
    Constant,
    Exponential,
    Cosine,
    InverseDecay,
}

/// What a file says of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rates {
    pub(super) schedule: Option<ScheduleName>,
    pub(super) to: Option<f64>,
    pub(super) decay: Option<f64>,
    pub(super) steps: Option<u64>,
    pub(super) warmup: Option<u64>,
}

/// A key of the section, and what is wrong with it.
pub(super) type Fault = (&'static str, String);

impl ScheduleName {
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Exponential => "exponential",
            Self::Cosine => "cosine",
            Self::InverseDecay => "inverse-decay",
        }
    }

    /// The way of a schedule that begins without a warmup, if it is one of these.
    pub(super) const fn of(schedule: &Schedule) -> Option<Self> {
        match schedule {
            Schedule::Constant(_) => Some(Self::Constant),
            Schedule::Exponential { .. } => Some(Self::Exponential),
            Schedule::Cosine { .. } => Some(Self::Cosine),
            Schedule::InverseDecay { .. } => Some(Self::InverseDecay),
            _ => None,
        }
    }
}

impl Rates {
    /// The schedule from `rate` on, in a training of so many steps; what is not said is that of `base`.
    pub(super) fn schedule(self, base: &Schedule, rate: f64, steps: u64) -> Result<Schedule, Fault> {
        let warmup = self.warmup.unwrap_or(0);
        let name = self.schedule.or(ScheduleName::of(base)).unwrap_or(ScheduleName::Constant);
        let falls = matches!(name, ScheduleName::Exponential | ScheduleName::Cosine);
        for (key, given, wanted, of) in [
            ("lr-to", self.to.is_some(), falls, "exponential or cosine"),
            ("decay-steps", self.steps.is_some(), falls, "exponential or cosine"),
            ("lr-decay", self.decay.is_some(), name == ScheduleName::InverseDecay, "inverse-decay"),
        ] {
            if given && !wanted {
                return Err((key, format!("is of the schedule {of}, and this one is {}", name.text())));
            }
        }
        let end = || self.to.ok_or(("schedule", format!("{} needs lr-to, where it ends", name.text())));
        let over = self.steps.unwrap_or(steps.saturating_sub(warmup).max(1));
        let then = match name {
            ScheduleName::Constant => Schedule::constant(rate),
            ScheduleName::Exponential => Schedule::exponential(rate, end()?, over),
            ScheduleName::Cosine => Schedule::cosine(rate, self.to.unwrap_or(0.0), over),
            ScheduleName::InverseDecay => {
                let usual = if let Schedule::InverseDecay { rate, .. } = base { Some(*rate) } else { None };
                let needs = || ("schedule", "inverse-decay needs lr-decay, in lr / (1 + lr-decay n)".to_owned());
                Schedule::inverse_decay(rate, self.decay.or(usual).ok_or_else(needs)?)
            }
        };
        Ok(if warmup > 0 { Schedule::warmup(warmup, then) } else { then })
    }
}
