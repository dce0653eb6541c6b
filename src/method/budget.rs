//! [`Budget`]: a number of evaluations in place of a coefficient, by dual ascent.

use serde::{Deserialize, Serialize};

use super::Schedule;
use crate::error::{Error, Result};

/// Minimise the task such that a solve takes `nfe` evaluations: the penalty's coefficient is the constraint's multiplier.
///
/// After each update, with `m = ln(running mean of NFE / nfe)`, the coefficient is multiplied by
/// `exp(rate clip(m, -1/2, 1/2) + 3 (m - m of the step before))`, within its bounds: proportional and integral control. In
/// lockstep NFE is a multiple of the stages and two more, so instead of it `stages n + c` is fed back, with `n` the steps of an
/// ideal controller and `c` the running mean of what NFE has beside.
///
/// Some targets are beyond what training can reach: past a point a larger coefficient lowers NFE no more, and then harms the
/// task. Where 300 steps bring nothing though the coefficient grew tenfold, or is at its bound, it goes back to where it last
/// helped and stays there; [`BudgetState::unreachable`] says so.
///
/// Any penalty of a [`Regularizer`](super::Regularizer) can follow one. There is one NFE, and so one multiplier: several
/// penalties that follow have the same budget, and keep the ratio of the coefficients that they began with.
///
/// ```
/// use fewsteps::{Budget, Local};
/// let local = Local::unbiased().budget(Budget::nfe(19.0));
/// # assert!(local.validate().is_ok());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Budget {
    /// Evaluations of the field that a training step's solve should take, as a mean.
    pub nfe: f64,
    /// How fast the coefficient follows. 40 over the number of training steps, within 0.01 and 0.1, is a good choice.
    pub rate: f64,
    /// The smallest coefficient.
    pub lowest: f64,
    /// The largest coefficient, so that no target destroys the task.
    pub highest: f64,
}

impl Budget {
    /// A target, with the rate for 1,300 steps or more, and coefficients from 1e-6 to 10.
    #[must_use]
    pub const fn nfe(nfe: f64) -> Self {
        Self { nfe, rate: 0.03, lowest: 1e-6, highest: 10.0 }
    }

    /// Sets the rate that suits so many training steps.
    #[must_use]
    pub fn for_steps(self, steps: u64) -> Self {
        Self { rate: (40.0 / steps.max(1) as f64).clamp(0.01, 0.1), ..self }
    }

    /// What a coefficient begins with that is to follow a budget: a tenth of what it was.
    pub(crate) fn begin(coefficient: &mut Schedule) {
        if let Schedule::Constant(coefficient) = coefficient {
            *coefficient /= 10.0;
        }
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the one that is out of range.
    pub fn validate(&self) -> Result<()> {
        let Self { nfe, rate, lowest, highest } = *self;
        if !(nfe >= 1.0 && nfe.is_finite()) {
            return Err(Error::argument("Budget::nfe", nfe, "ask for at least one evaluation"));
        }
        if !(rate > 0.0 && rate <= 1.0) {
            return Err(Error::argument("Budget::rate", rate, "choose it in (0, 1]"));
        }
        if !(lowest > 0.0 && lowest < highest && highest.is_finite()) {
            let remedy = "the smallest coefficient is above 0 and below the largest";
            return Err(Error::argument("Budget::lowest", format!("{lowest} to {highest}"), remedy));
        }
        Ok(())
    }
}

/// Share of the old mean in the new one.
const KEPT: f64 = 0.95;

/// Steps after which the coefficient begins to follow.
pub(crate) const WARMUP: u32 = 100;

/// The largest distance that is gone after at once.
const LARGEST_GAP: f64 = 0.5;

/// Weight of the last step's change.
const PROPORTIONAL: f64 = 3.0;

/// Steps after which it is asked what the coefficient's growth has brought.
pub(crate) const WINDOW: u32 = 300;

/// What counts as no progress, and as too far from the target to be content.
const PROGRESS: f64 = 0.01;
const CONTENT: f64 = 0.05;

/// What the shaders have too, by its name there.
#[cfg(test)]
pub(crate) const BUDGET_NUMBERS: [(&str, f64); 5] = [
    ("BUDGET_KEPT", KEPT),
    ("LARGEST_GAP", LARGEST_GAP),
    ("PROPORTIONAL", PROPORTIONAL),
    ("PROGRESS", PROGRESS),
    ("CONTENT", CONTENT),
];

/// Where a [`Budget`] is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BudgetState {
    /// Updates that it has followed.
    pub steps: u64,
    /// The penalty's coefficient; 0 before the first update.
    pub coefficient: f64,
    /// Running mean of NFE.
    pub nfe: f64,
    /// Running mean of what NFE has beside the stages of ideal steps.
    pub offset: f64,
    /// The smallest `ln(mean NFE / target)` so far, and its coefficient.
    pub best: [f64; 2],
    /// Those when it was last asked what has come of it.
    pub mark: [f64; 2],
    /// Whether the target is beyond reach, and the coefficient stays where it last helped.
    pub unreachable: bool,
}

impl BudgetState {
    /// The smallest running mean of NFE so far.
    #[must_use]
    pub fn best_nfe(&self, budget: &Budget) -> f64 {
        budget.nfe * self.best[0].exp()
    }

    /// The coefficient of the next training step, where training began with `start`.
    pub(crate) fn coefficient(&self, start: f64) -> f64 {
        if self.steps == 0 { start } else { self.coefficient }
    }

    /// Follows an update whose solve took `nfe` evaluations, where ideal steps would have taken `ideal_evaluations`.
    pub(crate) fn follow(&mut self, budget: &Budget, start: f64, nfe: f64, ideal_evaluations: f64) {
        let beside = nfe - ideal_evaluations;
        let first = self.steps == 0;
        let mean = |old: f64, new: f64| if first { new } else { KEPT * old + (1.0 - KEPT) * new };
        self.coefficient = self.coefficient(start).clamp(budget.lowest, budget.highest);
        self.offset = mean(self.offset, beside);
        let gap = |nfe: f64| (nfe / budget.nfe).ln();
        let now = (ideal_evaluations + self.offset).max(1.0);
        let before = gap(if first { now } else { self.nfe });
        self.nfe = mean(self.nfe, now);
        let gap = gap(self.nfe);
        self.steps += 1;
        if first {
            (self.best, self.mark) = ([gap, self.coefficient], [gap, self.coefficient]);
        }
        if self.steps <= u64::from(WARMUP) || self.unreachable {
            return;
        }
        if gap < self.best[0] - PROGRESS {
            self.best = [gap, self.coefficient];
        }
        if self.steps.is_multiple_of(u64::from(WINDOW)) {
            let [marked, coefficient] = self.mark;
            let grown = self.coefficient >= 10.0 * coefficient || self.coefficient >= budget.highest;
            if gap > CONTENT && grown && gap >= marked - PROGRESS {
                (self.unreachable, self.coefficient) = (true, self.best[1]);
                return;
            }
            self.mark = [gap, self.coefficient];
        }
        let exponent = budget.rate * gap.clamp(-LARGEST_GAP, LARGEST_GAP) + PROPORTIONAL * (gap - before);
        self.coefficient = (self.coefficient * exponent.exp()).clamp(budget.lowest, budget.highest);
    }

    /// Whether a file's numbers can be gone on with.
    pub(crate) fn is_valid(&self) -> bool {
        let numbers = [self.coefficient, self.nfe, self.offset, self.best[0], self.best[1], self.mark[0], self.mark[1]];
        numbers.iter().all(|x| x.is_finite()) && self.coefficient >= 0.0 && self.steps < 1 << 53
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A plant whose ideal steps fall with the coefficient and lag behind it, and whose NFE is quantised: the mean NFE of
    /// the last 300 of so many steps, and the state in the end.
    fn run(budget: Budget, steps: u32, floor: f64, gain: f64) -> (f64, BudgetState) {
        let mut state = BudgetState::default();
        let (mut ideal, mut noise, mut sum) = (floor + gain, 0.37, 0.0);
        for n in 0..steps {
            let wanted = floor + gain / (1.0 + state.coefficient(0.01) / 0.1).powf(0.35);
            ideal += (wanted - ideal) / 150.0;
            // A logistic map is noise enough: in (0, 1), never the same.
            noise = 3.99 * noise * (1.0 - noise);
            let now = ideal * (1.0 + 0.16 * (noise - 0.5));
            let nfe = 2.0 + 6.0 * (now + 0.5).ceil();
            state.follow(&budget, 0.01, nfe, 6.0 * now);
            sum += if n >= steps - 300 { nfe } else { 0.0 };
        }
        (sum / 300.0, state)
    }

    #[test]
    fn targets_are_hit() {
        for target in [44.0, 50.0, 60.0] {
            let (nfe, state) = run(Budget::nfe(target), 3000, 3.0, 9.0);
            assert!((nfe / target - 1.0).abs() < 0.02, "{nfe} for {target}: {state:?}");
            assert!(!state.unreachable && (state.nfe / target - 1.0).abs() < 0.05);
        }
    }

    #[test]
    fn an_unreachable_target_is_said_to_be_and_harms_nobody() {
        // Seven evaluations less than the floor.
        let budget = Budget::nfe(16.0);
        let (nfe, state) = run(budget, 4000, 3.0, 9.0);
        assert!(state.unreachable && state.coefficient <= budget.highest, "{state:?}");
        assert!(nfe > 20.0 && state.best_nfe(&budget) > 20.0, "{nfe}, {state:?}");
        // Without any effect the coefficient comes back to where it began to grow.
        let (_, state) = run(budget, 2000, 12.0, 0.0);
        assert!(state.unreachable && state.coefficient < 1.0, "{state:?}");
    }

    #[test]
    fn a_coefficient_that_has_not_grown_yet_gives_nothing_up() {
        // A slow one: in a window it grows by a factor of 2.5, and nothing comes of it.
        let budget = Budget { rate: 0.006, ..Budget::nfe(20.0) };
        let mut state = BudgetState::default();
        let after = |state: &mut BudgetState, windows: u32| {
            (0..windows * WINDOW).for_each(|_| state.follow(&budget, 0.01, 44.0, 42.0));
            (state.unreachable, state.coefficient)
        };
        let (unreachable, coefficient) = after(&mut state, 8);
        assert!(!unreachable && (9.5..10.0).contains(&coefficient), "asked eight times on its way up: {state:?}");
        assert_eq!(after(&mut state, 1), (true, 0.01), "at its bound, and back to where it began");
    }

    #[test]
    fn a_target_that_is_met_anyway_costs_nothing() {
        let (_, state) = run(Budget::nfe(200.0), 2000, 3.0, 9.0);
        assert!(!state.unreachable && state.coefficient < 1e-5, "{state:?}");
    }
}
