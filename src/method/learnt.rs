//! What solves say of the dynamics, whatever the controller: [`IdealSteps`]; and what is kept of them for the solves that
//! follow: [`Learnt`].

use serde::{Deserialize, Serialize};

use super::{BudgetState, Hooks, PenaltyStep};
use crate::error::{Error, Result};
use crate::math::Real;

/// Below this error a step's own estimate is mostly rounding at `f32`, and its fifth root nothing but.
pub(crate) const RESOLVED_ERROR: f64 = 2e-3;

/// The number of steps of an ideal controller, `sum E_j^(1/q) / safety` over the accepted steps: the count that no
/// controller can bend. A step whose error is rounding is as dense in them as the last one before it with an error to
/// speak of, or the first one after it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct IdealSteps {
    /// Of the steps so far, except those that wait for a neighbour.
    sum: f64,
    /// Of the last step with an error to speak of: `E^(1/q)` over its length; 0 before the first.
    rate: f64,
    /// Of the steps that wait: their lengths, and what they say themselves.
    waiting: [f64; 2],
}

impl IdealSteps {
    /// Takes in an accepted step: its length, its error and `E^(1/q)`.
    #[inline]
    pub(crate) fn push(&mut self, length: f64, error: f64, count: f64) {
        let length = length.abs();
        if error >= RESOLVED_ERROR {
            self.rate = count / length;
            self.sum += count + self.rate * self.waiting[0];
            self.waiting = [0.0; 2];
        } else if self.rate > 0.0 {
            self.sum += self.rate * length;
        } else {
            self.waiting = [self.waiting[0] + length, self.waiting[1] + count];
        }
    }

    /// The number, for a controller with such a safety factor.
    pub(crate) fn total(&self, safety: f64) -> f64 {
        (self.sum + self.waiting[1]) / safety
    }
}

/// The longest first step that a solve may wish for, as a share of its interval: somewhat beyond the end, so that a solve in
/// one step stays one, but not so far that it takes many solves to come back.
pub(crate) const LONGEST_WISH: f64 = 2.0;

/// The largest growth of a first step that is believed.
pub(crate) const MOST_GROWTH: f64 = 10.0;

/// Shares of the old mean in the new one.
const FIRST_KEPT: f64 = 0.7;
const IDEAL_KEPT: f64 = 0.9;

/// The first step is somewhat shorter than what earlier ones wished for.
const CAUTION: f64 = 0.9;

/// Length of an ideal probe in steps of an ideal controller: an error of 0.17 for a method of order 5.
const PROBE: f64 = 0.7;

/// Which of an ensemble's wishes counts: one that a fifth of its trajectories fall short of.
const QUANTILE: f64 = 0.2;

/// What solves have taught those that follow. A trainer learns from its training steps, keeps it in its checkpoints, and
/// evaluates with it; a solver learns from every solve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Learnt {
    /// Base-2 logarithm of the first step that solves wished for, as a share of the interval: a running mean. For
    /// [`InitialStep::Carried`](super::InitialStep::Carried).
    pub first: Option<f64>,
    /// Steps of an ideal controller on the interval, as penalised steps measured them: a running mean. For
    /// [`PenaltyStep::Ideal`](super::PenaltyStep::Ideal).
    pub ideal: Option<f64>,
    /// Where a budget is. Trainers alone follow one.
    pub budget: BudgetState,
}

impl Learnt {
    /// Length of the next solve's first step, as a share of the interval.
    #[must_use]
    pub fn first_step(&self) -> Option<f64> {
        self.first.map(|log| (CAUTION * log.exp2()).min(1.0))
    }

    /// Length of the next penalised step, as a share of the interval.
    #[must_use]
    pub fn probe(&self) -> Option<f64> {
        self.ideal.map(|steps| (PROBE / steps).min(1.0))
    }

    /// Gives a penalised step the length that was learnt, where it takes one, and penalties that follow a budget the
    /// coefficients to which it has moved them.
    pub(crate) fn prepare(&self, mut hooks: Hooks) -> Hooks {
        if let Some(penalty) = &mut hooks.penalty {
            penalty.length = self.probe().filter(|_| penalty.step == PenaltyStep::Ideal);
        }
        hooks.follow(|followed| self.budget.coefficient(followed.start));
        hooks
    }

    /// Takes in the first step that a solve wished for, as [`wish`] has it.
    pub(crate) fn note_first(&mut self, wish: f64) {
        let log = wish.log2();
        self.first = Some(self.first.map_or(log, |old| FIRST_KEPT * old + (1.0 - FIRST_KEPT) * log));
    }

    /// Takes in the steps of an ideal controller that penalised steps measured.
    pub(crate) fn note_ideal(&mut self, steps: f64) {
        if steps.is_finite() {
            self.ideal = Some(self.ideal.map_or(steps, |old| IDEAL_KEPT * old + (1.0 - IDEAL_KEPT) * steps));
        }
    }

    /// The same in numbers of `R`, so that a checkpoint is one of its scalar type, and a device takes what it says.
    pub(crate) fn at<R: Real>(self) -> Self {
        let round = |x: f64| R::from_f64(x).to_f64();
        let budget = self.budget;
        Self {
            first: self.first.map(round),
            ideal: self.ideal.map(round),
            budget: BudgetState {
                coefficient: round(budget.coefficient),
                nfe: round(budget.nfe),
                offset: round(budget.offset),
                best: budget.best.map(round),
                mark: budget.mark.map(round),
                ..budget
            },
        }
    }

    /// Checks that solves can have taught it.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the number that is out of range.
    pub fn validate(&self) -> Result<()> {
        let remedy = "take what learnt() of another solver or trainer gives, or Learnt::default()";
        let refused = |name, value: String| Err(Error::argument(name, value, remedy));
        match self {
            Self { first: Some(first), .. } if !first.is_finite() => refused("Learnt::first", first.to_string()),
            Self { ideal: Some(ideal), .. } if !(ideal.is_finite() && *ideal >= 0.0) => {
                refused("Learnt::ideal", ideal.to_string())
            }
            Self { budget, .. } if !budget.is_valid() => refused("Learnt::budget", format!("{budget:?}")),
            _ => Ok(()),
        }
    }
}

/// The first step that a solve would have begun with, as a share of the interval, from its first accepted step: its share
/// and `E^(1/q)`.
pub(crate) fn wish(share: f64, count: f64, safety: f64) -> f64 {
    (share.abs() * (safety / count).min(MOST_GROWTH)).min(LONGEST_WISH)
}

/// The wish of a batch whose trajectories have their own: the 20 % quantile, to an eighth of an octave. NaN of none.
pub(crate) fn quantile_of_wishes(wishes: impl Iterator<Item = f64>) -> Option<f64> {
    let mut counts = [0usize; BINS];
    wishes.for_each(|wish| counts[bin(wish)] += 1);
    let total: usize = counts.iter().sum();
    let mut passed = 0;
    let found = counts.iter().position(|count| {
        passed += count;
        passed as f64 > QUANTILE * total as f64
    });
    found.map(|bin| ((bin as f64 + 0.5) / PER_OCTAVE + LOWEST).exp2())
}

/// What the shaders have too, by its name there.
#[cfg(test)]
pub(crate) const LEARNT_NUMBERS: [(&str, f64); 10] = [
    ("RESOLVED_ERROR", RESOLVED_ERROR),
    ("MOST_GROWTH", MOST_GROWTH),
    ("LONGEST_WISH", LONGEST_WISH),
    ("CAUTION", CAUTION),
    ("PROBE", PROBE),
    ("FIRST_KEPT", FIRST_KEPT),
    ("IDEAL_KEPT", IDEAL_KEPT),
    ("QUANTILE", QUANTILE),
    ("PER_OCTAVE", PER_OCTAVE),
    ("LOWEST", LOWEST),
];

/// Eighths of octaves from 2^-30 to 2^2.
const BINS: usize = 256;
const PER_OCTAVE: f64 = 8.0;
const LOWEST: f64 = -30.0;

/// The one that a wish falls into.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number from 0 to 255")]
fn bin(wish: f64) -> usize {
    ((wish.log2() - LOWEST) * PER_OCTAVE).clamp(0.0, (BINS - 1) as f64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps of errors (h/h*)^q count as length over h*, however they are cut.
    #[test]
    fn no_controller_bends_the_count() {
        let (q, star, safety) = (5.0, 0.2, 0.9);
        for lengths in [vec![0.1; 10], vec![0.06, 0.14, 0.2, 0.2, 0.2, 0.2], vec![0.19, 0.19, 0.19, 0.19, 0.19, 0.05]] {
            let mut ideal = IdealSteps::default();
            for h in lengths {
                let error = f64::powf(h / star, q);
                ideal.push(h, error, error.powf(1.0 / q));
            }
            assert!((ideal.total(safety) - 1.0 / star / safety).abs() < 1e-12, "{ideal:?}");
        }
    }

    /// Short steps at both ends, whose errors are rounding, count as their neighbours do.
    #[test]
    fn steps_of_rounding_count_as_their_neighbours() {
        let mut ideal = IdealSteps::default();
        for (h, error) in [(0.01, 1e-4), (0.02, 1e-4), (0.3, 0.1), (0.6, 0.9), (0.07, 1.9e-3)] {
            ideal.push(h, error, f64::powf(error, 0.2));
        }
        let [first, last] = [0.1f64, 0.9].map(|e| e.powf(0.2));
        let expected = first * 0.33 / 0.3 + last * 0.67 / 0.6;
        assert!((ideal.total(1.0) - expected).abs() < 1e-12, "{} for {expected}", ideal.total(1.0));
        // Where all are, there is nothing better to go by.
        let mut ideal = IdealSteps::default();
        ideal.push(1.0, 1e-5, 0.1);
        assert!((ideal.total(1.0) - 0.1).abs() < 1e-15);
    }

    #[test]
    fn the_first_step_follows_its_formula() {
        let mut learnt = Learnt::default();
        assert_eq!((learnt.first_step(), learnt.probe()), (None, None));
        // A first step of 0.02 with E = 1e-3, where 0.02 * 0.9 * 1000^(1/5) = 0.0717 would have done.
        let first = wish(0.02, f64::powf(1e-3, 0.2), 0.9);
        assert!((first - 0.018 * f64::powf(1000.0, 0.2)).abs() < 1e-15);
        learnt.note_first(first);
        assert!((learnt.first_step().expect("known") - 0.9 * first).abs() < 1e-15);
        learnt.note_first(0.2);
        let expected = 0.9 * (0.7 * first.ln() + 0.3 * f64::ln(0.2)).exp();
        assert!((learnt.first_step().expect("known") - expected).abs() < 1e-15);
        // Growth that nobody believes, and wishes beyond the end.
        assert_eq!((wish(0.01, 0.0, 0.9), wish(1.0, 1e-3, 0.9)), (0.1, 2.0));
        (0..20).for_each(|_| learnt.note_first(2.0));
        assert_eq!(learnt.first_step(), Some(1.0));
        learnt.note_ideal(3.5);
        learnt.note_ideal(1.5);
        learnt.note_ideal(f64::NAN);
        assert!((learnt.probe().expect("known") - 0.7 / 3.3).abs() < 1e-15);
        assert_eq!(Learnt { ideal: Some(0.0), ..learnt }.probe(), Some(1.0), "as long as the interval");
    }

    #[test]
    fn an_ensemble_wishes_for_what_four_fifths_exceed() {
        let wishes = (1..=1000).map(|n| f64::from(n) / 1000.0);
        let found = quantile_of_wishes(wishes).expect("there are some");
        assert!((found / 0.2).log2().abs() <= 1.0 / 16.0 + 1e-3, "{found}");
        assert_eq!(quantile_of_wishes(std::iter::empty()), None);
        assert!(quantile_of_wishes([0.0, 1e-30].into_iter()).expect("two") < 1e-8);
    }
}
