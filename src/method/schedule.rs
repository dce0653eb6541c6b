//! [`Schedule`]: a hyperparameter as a function of the training step.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A non-negative hyperparameter, such as a learning rate, as a function of the training step `n = 0, 1, 2, ...`.
///
/// A number converts into a constant schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Schedule {
    /// The same value at every step.
    Constant(f64),
    /// `from exp(-n ln(from / to) / steps)`, then `to`: equal factors at equal distances.
    Exponential {
        /// The value at step 0, positive.
        from: f64,
        /// The value from step `steps` on, positive.
        to: f64,
        /// How many steps the decay takes, at least 1.
        steps: u64,
    },
    /// `initial / (1 + rate n)`.
    InverseDecay {
        /// The value at step 0.
        initial: f64,
        /// The decay per step, relative to `initial`.
        rate: f64,
    },
    /// `to + (from - to) (1 + cos(pi n / steps)) / 2`, then `to` (I. Loshchilov, F. Hutter, ICLR 2017).
    Cosine {
        /// The value at step 0.
        from: f64,
        /// The value from step `steps` on.
        to: f64,
        /// How many steps the decay takes, at least 1.
        steps: u64,
    },
    /// See [`Schedule::annealed`].
    Annealed {
        /// The value that it comes to.
        to: f64,
        /// Share of the distance that is left after each step.
        rate: f64,
        /// Steps at 0 before.
        after: u64,
    },
    /// `then(0) (n + 1) / steps` during the first `steps` steps, and `then(n - steps)` after them.
    Warmup {
        /// How many steps the ascent takes, at least 1.
        steps: u64,
        /// The schedule that follows, whose own step 0 is here `steps`.
        then: Box<Self>,
    },
}

impl Schedule {
    /// `value` at every step.
    #[must_use]
    pub const fn constant(value: f64) -> Self {
        Self::Constant(value)
    }

    /// From `from` to `to` by equal factors within `steps` steps.
    #[must_use]
    pub const fn exponential(from: f64, to: f64, steps: u64) -> Self {
        Self::Exponential { from, to, steps }
    }

    /// `initial / (1 + rate n)`.
    #[must_use]
    pub const fn inverse_decay(initial: f64, rate: f64) -> Self {
        Self::InverseDecay { initial, rate }
    }

    /// From `from` to `to` along half a cosine within `steps` steps.
    #[must_use]
    pub const fn cosine(from: f64, to: f64, steps: u64) -> Self {
        Self::Cosine { from, to, steps }
    }

    /// A linear ascent to the first value of `then` within `steps` steps, followed by `then`.
    #[must_use]
    pub fn warmup(steps: u64, then: impl Into<Self>) -> Self {
        Self::Warmup { steps, then: Box::new(then.into()) }
    }

    /// 0 for `after` steps, then `to (1 - rate^n)`: so the weight of a divergence comes in, once the rest is learnt.
    #[must_use]
    pub const fn annealed(to: f64, rate: f64, after: u64) -> Self {
        Self::Annealed { to, rate, after }
    }

    /// The value at the training step `step`, of which 0 is the first.
    #[must_use]
    pub fn value(&self, step: u64) -> f64 {
        let n = step as f64;
        match *self {
            Self::Constant(value) => value,
            Self::InverseDecay { initial, rate } => initial / rate.mul_add(n, 1.0),
            Self::Exponential { to, steps, .. } | Self::Cosine { to, steps, .. } if step >= steps => to,
            Self::Exponential { from, to, steps } => from * (-n * (from / to).ln() / steps as f64).exp(),
            Self::Cosine { from, to, steps } => {
                (0.5 * (from - to)).mul_add(1.0 + (std::f64::consts::PI * n / steps as f64).cos(), to)
            }
            Self::Annealed { to, rate, after } => to * (1.0 - rate.powf(step.saturating_sub(after) as f64)),
            Self::Warmup { steps, ref then } if step >= steps => then.value(step - steps),
            Self::Warmup { steps, ref then } => then.value(0) * (n + 1.0) / steps as f64,
        }
    }

    /// Whether every value of the schedule is finite and not negative; `argument` is the name that an error carries.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] where a number is negative, infinite or NaN, an endpoint of an exponential schedule is 0, or
    /// `steps` is 0.
    pub fn validate(&self, argument: &'static str) -> Result<()> {
        let natural = |x: f64| x.is_finite() && x >= 0.0;
        let refuse = |remedy: &str| Err(Error::argument(argument, format!("{self:?}"), remedy));
        match *self {
            Self::Exponential { steps: 0, .. } | Self::Cosine { steps: 0, .. } | Self::Warmup { steps: 0, .. } => {
                refuse("let the schedule take at least one step")
            }
            Self::Exponential { from, to, .. } if !(natural(from) && natural(to) && from > 0.0 && to > 0.0) => {
                refuse("use positive, finite endpoints, or a cosine schedule to end at 0")
            }
            Self::Constant(value) if !natural(value) => refuse("use a finite number that is not negative"),
            Self::InverseDecay { initial: a, rate: b } | Self::Cosine { from: a, to: b, .. }
                if !(natural(a) && natural(b)) =>
            {
                refuse("use finite numbers that are not negative")
            }
            Self::Annealed { to, rate, .. } if !(natural(to) && (0.0..1.0).contains(&rate)) => {
                refuse("use a finite end that is not negative, and a rate from 0 to below 1")
            }
            Self::Warmup { ref then, .. } => then.validate(argument),
            _ => Ok(()),
        }
    }
}

impl From<f64> for Schedule {
    fn from(value: f64) -> Self {
        Self::Constant(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-14 * expected.abs().max(1e-3), "found {found}, expected {expected}");
    }

    #[test]
    fn constant() {
        let schedule = Schedule::from(0.25);
        assert_eq!(schedule, Schedule::constant(0.25), "a number is a constant schedule");
        assert_eq!(schedule.value(0) + schedule.value(u64::MAX), 0.5, "the same value at every step");
    }

    #[test]
    fn exponential() {
        let schedule = Schedule::exponential(1e-1, 1e-3, 10);
        for (step, expected) in [(0, 1e-1), (5, 1e-2), (10, 1e-3), (11, 1e-3), (u64::MAX, 1e-3)] {
            close(schedule.value(step), expected);
        }
    }

    #[test]
    fn inverse_decay() {
        let schedule = Schedule::inverse_decay(0.1, 0.5);
        for (step, expected) in [(0, 0.1), (2, 0.05), (18, 0.01)] {
            close(schedule.value(step), expected);
        }
    }

    #[test]
    fn cosine() {
        let schedule = Schedule::cosine(1.0, 0.2, 6);
        for (step, expected) in [(0, 1.0), (2, 0.8), (3, 0.6), (4, 0.4), (6, 0.2), (7, 0.2)] {
            close(schedule.value(step), expected);
        }
    }

    #[test]
    fn annealed() {
        let schedule = Schedule::annealed(2.0, 0.5, 3);
        for (step, expected) in [(0, 0.0), (3, 0.0), (4, 1.0), (5, 1.5), (6, 1.75), (u64::MAX, 2.0)] {
            close(schedule.value(step), expected);
        }
        for (to, rate) in [(-1.0, 0.5), (f64::NAN, 0.5), (1.0, 1.0), (1.0, -0.1), (1.0, f64::NAN)] {
            Schedule::annealed(to, rate, 0).validate("kl").expect_err("refused");
        }
    }

    #[test]
    fn warmup() {
        let schedule = Schedule::warmup(4, Schedule::exponential(0.8, 0.2, 2));
        for (step, expected) in [(0, 0.2), (1, 0.4), (3, 0.8), (4, 0.8), (5, 0.4), (6, 0.2), (9, 0.2)] {
            close(schedule.value(step), expected);
        }
    }

    #[test]
    fn validate() {
        let good = [
            Schedule::constant(0.0),
            Schedule::exponential(1.0, 2.0, 1),
            Schedule::inverse_decay(1.0, 0.0),
            Schedule::cosine(1.0, 0.0, 1),
            Schedule::warmup(1, 1e-3),
        ];
        let bad = [
            Schedule::constant(-1.0),
            Schedule::constant(f64::NAN),
            Schedule::exponential(1.0, 0.0, 1),
            Schedule::exponential(f64::INFINITY, 1.0, 1),
            Schedule::exponential(1.0, 2.0, 0),
            Schedule::inverse_decay(1.0, -0.1),
            Schedule::cosine(1.0, -1.0, 3),
            Schedule::cosine(1.0, 0.0, 0),
            Schedule::warmup(0, 1.0),
            Schedule::warmup(1, Schedule::warmup(1, f64::INFINITY)),
        ];
        for schedule in good {
            assert!(schedule.validate("learning_rate").is_ok(), "{schedule:?} is valid");
        }
        for schedule in bad {
            let error = schedule.validate("learning_rate").expect_err("an invalid schedule");
            assert!(error.to_string().starts_with("learning_rate = "), "{error} names the argument");
        }
    }

    #[test]
    fn serde() {
        let schedule = Schedule::warmup(2, Schedule::inverse_decay(1.0, 0.5));
        let json = serde_json::to_string(&schedule).expect("plain data");
        assert_eq!(
            json, r#"{"warmup":{"steps":2,"then":{"inverse_decay":{"initial":1.0,"rate":0.5}}}}"#,
            "the tags are in snake case"
        );
        assert_eq!(serde_json::from_str::<Schedule>(&json).expect("what was written"), schedule, "the round trip");
    }
}
