//! [`Controller`]: from a scaled error norm to accept or reject, and the next step size.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::math::Real;

/// A step-size controller of digital-filter form (Söderlind, ACM TOMS 29, 2003).
///
/// With `E_n` the scaled error norm of the attempt, `E_(n-1)`, `E_(n-2)` those of the last accepted steps, `h_n` and
/// `h_(n-1)` their lengths and `q` the method's error power, an accepted step's successor is larger by
/// `safety * E_n^(-beta1/q) * E_(n-1)^(-beta2/q) * E_(n-2)^(-beta3/q) * (h_n/h_(n-1))^(-alpha)`, and a rejected one is
/// tried again with `safety * E_n^(-beta_reject/q)`, both clamped to `[min_factor, max_factor]`.
///
/// [`Controller::PI`] is what the published figures were made with. Its memory starts at an error of 1e-4 that nobody
/// made, and its steps close a fifth of the gap to what the tolerance allows, so that on a short interval most of them are
/// start-up. [`Controller::prompt`] takes both away from any controller.
///
/// The literature differs in whether `safety` stands inside the power; here it stands outside, as in
/// `OrdinaryDiffEq.jl`, torchdiffeq and diffrax.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Controller {
    /// Exponents of the last three errors, before division by `q`.
    pub beta: [f64; 3],
    /// Exponent of the error of a rejected attempt, before division by `q`.
    pub beta_reject: f64,
    /// Keeps the next step somewhat under what the error would allow.
    pub safety: f64,
    /// Smallest change of the step size.
    pub min_factor: f64,
    /// Largest change of the step size.
    pub max_factor: f64,
    /// Largest change as long as no step was accepted; as `max_factor` if `None`. Nothing is known of the step size then
    /// but a guess, which may be too small by orders of magnitude: CVODE allows 1e4.
    #[serde(default)]
    pub first_factor: Option<f64>,
    /// Exponent of the ratio of the last two steps.
    #[serde(default)]
    pub alpha: f64,
    /// Smallest error that enters the memory.
    pub error_floor: f64,
    /// What the memory holds before the first accepted step; if `None`, nothing: that step's successor follows from its own
    /// error alone, as under [`Controller::I`].
    pub initial_error: Option<f64>,
    /// Whether the rest of the interval is taken in one step where the error of the last one allows it, judged as under
    /// [`Controller::I`], though the controller's own next step would be shorter. A wrong guess is a rejected step.
    #[serde(default)]
    pub finish: bool,
}

impl Controller {
    /// The elementary controller: only the last error counts (torchdiffeq's and diffrax's default).
    pub const I: Self = Self { beta: [1.0, 0.0, 0.0], beta_reject: 1.0, initial_error: Some(1.0), ..Self::PI };

    /// Proportional-integral with the constants of `OrdinaryDiffEq.jl` (`beta1 = 7/10`, `beta2 = -2/5`, memory
    /// starting at its floor): the default, and what the published figures were made with.
    pub const PI: Self = Self {
        beta: [0.7, -0.4, 0.0],
        beta_reject: 0.7,
        safety: 0.9,
        min_factor: 0.2,
        max_factor: 10.0,
        first_factor: None,
        alpha: 0.0,
        error_floor: 1e-4,
        initial_error: Some(1e-4),
        finish: false,
    };

    /// As [`Controller::PI`] with steps that grow by an eighth at most, as `StochasticDiffEq.jl` has it: the error of one
    /// path says little of the next step's.
    pub const SDE: Self = Self { max_factor: 1.125, ..Self::PI };

    /// Söderlind's H312PID filter: the smoothest step sequences, for ragged error estimates.
    pub const PID: Self =
        Self { beta: [1.0 / 18.0, 1.0 / 9.0, 1.0 / 18.0], beta_reject: 1.0, initial_error: Some(1.0), ..Self::PI };

    /// Söderlind's H211b filter with b = 4: nearly as smooth as [`Controller::PID`], and the distance to the step that the
    /// tolerance allows halves from step to step. It remembers the last step's length.
    pub const H211B: Self =
        Self { beta: [0.25, 0.25, 0.0], beta_reject: 1.0, alpha: 0.25, initial_error: None, ..Self::PI };

    /// The same controller without start-up: nothing in its memory at first, growth by up to 1e4 as long as no step was
    /// accepted, and the rest in one step where that is allowed.
    #[must_use]
    pub const fn prompt(self) -> Self {
        Self { first_factor: Some(1e4), initial_error: None, finish: true, ..self }
    }

    /// Checks that the controller can shrink and grow steps.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the number that is out of range.
    pub fn validate(&self) -> Result<()> {
        let check = |name, value: f64, good: bool, remedy: &str| {
            if good { Ok(()) } else { Err(Error::argument(name, value, remedy)) }
        };
        check("Controller::safety", self.safety, self.safety > 0.0 && self.safety <= 1.0, "choose it in (0, 1]")?;
        let min = self.min_factor;
        check("Controller::min_factor", min, min > 0.0 && min < 1.0, "choose it in (0, 1)")?;
        let max = self.max_factor;
        check("Controller::max_factor", max, max > 1.0 && max.is_finite(), "choose it above 1")?;
        let reject = self.beta_reject;
        check("Controller::beta_reject", reject, reject > 0.0 && reject.is_finite(), "choose it above 0")?;
        let floor = self.error_floor;
        check("Controller::error_floor", floor, floor > 0.0 && floor.is_finite(), "choose it above 0")?;
        if let Some(first) = self.initial_error {
            check("Controller::initial_error", first, first > 0.0 && first.is_finite(), "choose it above 0")?;
        }
        if let Some(first) = self.first_factor {
            let fits = first >= max && first.is_finite();
            check("Controller::first_factor", first, fits, "choose it no less than max_factor")?;
        }
        let alpha = self.alpha;
        check("Controller::alpha", alpha, (0.0..1.0).contains(&alpha), "choose it in [0, 1)")?;
        let sum: f64 = self.beta.iter().sum();
        check("Controller::beta", sum, sum > 0.0 && sum.is_finite(), "the exponents must sum to more than 0")
    }

    /// The controller's memory before the first step.
    #[must_use]
    pub fn memory<R: Real>(&self) -> ControllerMemory<R> {
        let log = R::from_f64(self.initial_error.map_or(0.0, f64::log2));
        ControllerMemory { log_errors: [log; 2] }
    }

    /// Judges an attempt: accepted when its scaled error norm is at most 1.
    ///
    /// A non-finite error rejects, shrinks the step by `min_factor` and leaves the memory as it was, as does any
    /// rejection. `error_power` is [`Tableau::error_power`](super::Tableau::error_power). Branch-free up to selects,
    /// so that a loop over lanes becomes SIMD code.
    #[inline(always)]
    pub fn adapt<R: Real>(
        &self,
        error_power: f64,
        memory: &mut ControllerMemory<R>,
        attempt: Attempt<R>,
    ) -> Decision<R> {
        let Attempt { error, ratio, first } = attempt;
        let q = error_power;
        let beta = self.beta.map(|b| R::from_f64(b / q));
        let log_safety = R::from_f64(self.safety.log2());
        let floor = R::from_f64(self.error_floor.log2());
        let min_factor = R::from_f64(self.min_factor);

        let [last, before] = memory.log_errors;
        let log_error = error.log2();
        let accept = error <= R::ONE;
        let mut grow = log_safety - beta[0] * log_error - beta[1] * last - beta[2] * before;
        if self.alpha != 0.0 && !first {
            grow -= R::from_f64(self.alpha) * ratio.log2();
        }
        // What the attempt's own error allows.
        let alone = log_safety - R::from_f64(1.0 / q) * log_error;
        let blank = first && self.initial_error.is_none();
        let grow = if blank { alone } else { grow };
        let shrink = log_safety - R::from_f64(self.beta_reject / q) * log_error;
        let factor = (if accept { grow } else { shrink }).exp2();
        let largest = R::from_f64(self.first_factor.filter(|_| first).unwrap_or(self.max_factor));
        let factor = factor.max(min_factor).min(largest);
        let reach = if self.finish && accept { alone.exp2().min(largest) } else { R::ZERO };
        if accept {
            let newest = log_error.max(floor);
            memory.log_errors = [newest, if blank { newest } else { last }];
        }
        let count = (R::from_f64(1.0 / q) * log_error).exp2();
        Decision { accept, factor: if error.is_finite() { factor } else { min_factor }, reach, count }
    }
}

impl Default for Controller {
    fn default() -> Self {
        Self::PI
    }
}

/// Base-2 logarithms of the last two accepted errors.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ControllerMemory<R> {
    /// The last one, then the one before.
    pub log_errors: [R; 2],
}

/// An attempt at a step, to be judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attempt<R> {
    /// Its scaled error norm.
    pub error: R,
    /// Its length over that of the last accepted step; of no matter as long as there is none.
    pub ratio: R,
    /// Whether no step was accepted yet.
    pub first: bool,
}

/// What the controller makes of an attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Decision<R> {
    /// Whether the step is taken.
    pub accept: bool,
    /// Size of the next step, or of the next attempt at this one, relative to the attempt's.
    pub factor: R,
    /// How far, relative to the attempt, a step may go that would be the last one; 0 where the controller does not
    /// [`finish`](Controller::finish).
    pub reach: R,
    /// The attempt's length over that of a step with an error of 1: `E^(1/q)`, how many steps of an ideal controller it
    /// stands for.
    pub count: R,
}

impl Decision<f64> {
    /// Length of the step after an accepted one of length `taken`, with `rest` before the solve has to stop.
    pub(crate) fn next_step(&self, taken: f64, rest: f64) -> f64 {
        if (taken * self.reach).abs() >= rest.abs() { rest } else { taken * self.factor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(controller: Controller, errors: &[f64]) -> Vec<(bool, f64)> {
        let mut memory = controller.memory::<f64>();
        let mut first = true;
        errors
            .iter()
            .map(|&error| {
                let d = controller.adapt(5.0, &mut memory, Attempt { error, ratio: 1.0, first });
                first &= !d.accept;
                (d.accept, d.factor)
            })
            .collect()
    }

    #[test]
    fn accepts_and_rejects_by_the_table() {
        let rows = run(Controller::PI, &[0.0, 0.5, 1.0, 1.0 + 1e-12, 4.0, f64::INFINITY, f64::NAN, 0.5]);
        let accepted: Vec<bool> = rows.iter().map(|r| r.0).collect();
        assert_eq!(accepted, [true, true, true, false, false, false, false, true], "error at most 1 accepts");
        assert_eq!(rows[0].1, 10.0, "a zero error grows by the largest factor");
        assert_eq!((rows[5].1, rows[6].1), (0.2, 0.2), "infinite and NaN errors shrink by the smallest factor");
    }

    #[test]
    fn pi_follows_its_formula() {
        // E_old starts at its floor, is the last accepted error afterwards, and a rejection leaves it alone.
        let rows = run(Controller::PI, &[0.5, 0.3, 2.0, f64::NAN, 0.9]);
        let accepted = |e: f64, old: f64| 0.9 * e.powf(-0.7 / 5.0) * old.powf(0.4 / 5.0);
        let expect = [accepted(0.5, 1e-4), accepted(0.3, 0.5), 0.9 * 2f64.powf(-0.14), 0.2, accepted(0.9, 0.3)];
        for (row, expected) in rows.iter().zip(expect) {
            assert!((row.1 - expected).abs() < 1e-14, "factor {} instead of {expected}", row.1);
        }
    }

    #[test]
    fn i_and_pid_follow_their_formulas() {
        let rows = run(Controller::I, &[0.5, 32.0]);
        assert!((rows[0].1 - 0.9 * 0.5f64.powf(-0.2)).abs() < 1e-14, "I on acceptance");
        assert!((rows[1].1 - 0.45).abs() < 1e-14, "I on rejection: 0.9 * 32^(-1/5)");
        let rows = run(Controller::PID, &[0.5, 0.25, 0.125]);
        let e = |e: f64, k: f64| e.powf(-k / 5.0);
        let expect = 0.9 * e(0.125, 1.0 / 18.0) * e(0.25, 1.0 / 9.0) * e(0.5, 1.0 / 18.0);
        assert!((rows[2].1 - expect).abs() < 1e-14, "PID uses three errors");
    }

    #[test]
    fn a_blank_memory_leaves_the_first_step_to_its_own_error() {
        let prompt = Controller::PI.prompt();
        let rows = run(prompt, &[1e-10, 0.3, 0.5]);
        assert!((rows[0].1 - 0.9 * 1e2).abs() < 1e-12, "0.9 * (1e-10)^(-1/5), beyond the largest factor");
        // The memory holds that error, at its floor.
        let accepted = |e: f64, old: f64| 0.9 * e.powf(-0.7 / 5.0) * old.powf(0.4 / 5.0);
        assert!((rows[1].1 - accepted(0.3, 1e-4)).abs() < 1e-13, "{rows:?}");
        assert!((rows[2].1 - accepted(0.5, 0.3)).abs() < 1e-13, "{rows:?}");
        assert_eq!(run(prompt, &[0.0])[0].1, 1e4, "the largest factor of the first step");
        assert_eq!(run(prompt, &[0.9, 0.0])[1].1, 10.0, "and of any other");
        // A rejected attempt is no first step: the next one is.
        let rows = run(prompt, &[32.0, 1e-10]);
        assert_eq!((rows[0].0, rows[1].0), (false, true));
        assert!((rows[1].1 - 90.0).abs() < 1e-12, "{rows:?}");
    }

    #[test]
    fn h211b_remembers_the_last_step() {
        let mut memory = Controller::H211B.memory::<f64>();
        let mut judge =
            |error, ratio, first| Controller::H211B.adapt(5.0, &mut memory, Attempt { error, ratio, first }).factor;
        assert!((judge(0.5, 1.0, true) - 0.9 * 0.5f64.powf(-0.2)).abs() < 1e-14, "the first by its own error");
        let expected = 0.9 * (0.2f64 * 0.5).powf(-0.25 / 5.0) * 1.7f64.powf(-0.25);
        assert!((judge(0.2, 1.7, false) - expected).abs() < 1e-14, "two errors, and the ratio of two steps");
    }

    /// In the model E = (h/h*)^5 the gap ln(h/h*) shrinks by the largest root of the controller's recurrence from step to
    /// step: 0.8 for PI, 0.5 for H211b, 0 for I, and the fixed points are E = 0.17, 0.35 and 0.59.
    #[test]
    fn gaps_close_at_the_rates_of_theory() {
        for (name, controller, root, fixed) in [
            ("PI", Controller::PI, 0.8, 0.9f64.powf(5.0 / 0.3)),
            ("H211b", Controller::H211B, 0.5, 0.9f64.powf(10.0)),
            ("I", Controller::I, 0.0, 0.9f64.powf(5.0)),
        ] {
            let mut memory = controller.memory::<f64>();
            let (mut h, mut last, mut gaps) = (0.3, 0.3, Vec::new());
            for n in 0..60 {
                let error = f64::powi(h, 5);
                let decision = controller.adapt(5.0, &mut memory, Attempt { error, ratio: h / last, first: n == 0 });
                assert!(decision.accept, "{name}");
                gaps.push((error / fixed).ln().abs());
                (last, h) = (h, h * decision.factor);
            }
            assert!(gaps[59] < 2e-5, "{name}: the fixed point, {:?}", gaps.last());
            if root > 0.0 {
                let rate = (gaps[35] / gaps[15]).powf(1.0 / 20.0);
                assert!((rate - root).abs() < 0.02, "{name}: {rate} instead of {root}");
            } else {
                assert!(gaps[2] < 1e-12, "{name}: at once, {gaps:?}");
            }
        }
    }

    #[test]
    fn f32_follows_f64() {
        let (mut narrow, mut wide) = (Controller::PI.memory::<f32>(), Controller::PI.memory::<f64>());
        for e in [0.7f32, 0.01, 3.0, 1e-7, 0.99, 1e4] {
            let of = |e| Attempt { error: e, ratio: 1.0, first: false };
            let a = Controller::PI.adapt(5.0, &mut narrow, Attempt { error: e, ratio: 1.0, first: false });
            let b = Controller::PI.adapt(5.0, &mut wide, of(f64::from(e)));
            assert_eq!(a.accept, b.accept, "decision at {e}");
            assert!((f64::from(a.factor) / b.factor - 1.0).abs() < 2e-6, "factor at {e}");
        }
    }
}
