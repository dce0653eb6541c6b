//! [`Controller`]: from a scaled error norm to accept or reject, and the next step size.

use serde::{Deserialize, Serialize};

use super::Real;
use crate::error::{Error, Result};

/// A step-size controller of digital-filter form (Söderlind, ACM TOMS 29, 2003).
///
/// With `E_n` the scaled error norm of the attempt, `E_(n-1)`, `E_(n-2)` those of the last accepted steps and `q` the
/// method's error power, an accepted step's successor is larger by
/// `safety * E_n^(-beta1/q) * E_(n-1)^(-beta2/q) * E_(n-2)^(-beta3/q)`, and a rejected one is tried again with
/// `safety * E_n^(-beta_reject/q)`, both clamped to `[min_factor, max_factor]`.
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
    /// Smallest error that enters the memory.
    pub error_floor: f64,
    /// What the memory holds before the first accepted step.
    pub initial_error: f64,
}

impl Controller {
    /// The elementary controller: only the last error counts (torchdiffeq's and diffrax's default).
    pub const I: Self = Self { beta: [1.0, 0.0, 0.0], beta_reject: 1.0, initial_error: 1.0, ..Self::PI };

    /// Proportional-integral with the constants of `OrdinaryDiffEq.jl` (`beta1 = 7/10`, `beta2 = -2/5`, memory
    /// starting at its floor): the default, and what the published figures were made with.
    pub const PI: Self = Self {
        beta: [0.7, -0.4, 0.0],
        beta_reject: 0.7,
        safety: 0.9,
        min_factor: 0.2,
        max_factor: 10.0,
        error_floor: 1e-4,
        initial_error: 1e-4,
    };

    /// As [`Controller::PI`] with steps that grow by an eighth at most, as `StochasticDiffEq.jl` has it: the error of one
    /// path says little of the next step's.
    pub const SDE: Self = Self { max_factor: 1.125, ..Self::PI };

    /// Söderlind's H312PID filter: the smoothest step sequences, for ragged error estimates.
    pub const PID: Self =
        Self { beta: [1.0 / 18.0, 1.0 / 9.0, 1.0 / 18.0], beta_reject: 1.0, initial_error: 1.0, ..Self::PI };

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
        let first = self.initial_error;
        check("Controller::initial_error", first, first > 0.0 && first.is_finite(), "choose it above 0")?;
        let sum: f64 = self.beta.iter().sum();
        check("Controller::beta", sum, sum > 0.0 && sum.is_finite(), "the exponents must sum to more than 0")
    }

    /// The controller's memory before the first step.
    #[must_use]
    pub fn memory<R: Real>(&self) -> ControllerMemory<R> {
        let log = R::from_f64(self.initial_error.log2());
        ControllerMemory { log_errors: [log; 2] }
    }

    /// Judges an attempt with scaled error norm `error`: accepted when it is at most 1.
    ///
    /// A non-finite error rejects, shrinks the step by `min_factor` and leaves the memory as it was, as does any
    /// rejection. `error_power` is [`Tableau::error_power`](super::Tableau::error_power). Branch-free up to selects,
    /// so that a loop over lanes becomes SIMD code.
    #[inline(always)]
    pub fn adapt<R: Real>(&self, error_power: f64, memory: &mut ControllerMemory<R>, error: R) -> Decision<R> {
        let q = error_power;
        let beta = self.beta.map(|b| R::from_f64(b / q));
        let log_safety = R::from_f64(self.safety.log2());
        let floor = R::from_f64(self.error_floor.log2());
        let min_factor = R::from_f64(self.min_factor);

        let [last, before] = memory.log_errors;
        let log_error = error.log2();
        let accept = error <= R::ONE;
        let grow = log_safety - beta[0] * log_error - beta[1] * last - beta[2] * before;
        let shrink = log_safety - R::from_f64(self.beta_reject / q) * log_error;
        let factor = (if accept { grow } else { shrink }).exp2();
        let factor = factor.max(min_factor).min(R::from_f64(self.max_factor));
        if accept {
            memory.log_errors = [log_error.max(floor), last];
        }
        Decision { accept, factor: if error.is_finite() { factor } else { min_factor } }
    }
}

impl Default for Controller {
    fn default() -> Self {
        Self::PI
    }
}

/// Base-2 logarithms of the last two accepted errors.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ControllerMemory<R> {
    /// The last one, then the one before.
    pub log_errors: [R; 2],
}

/// What the controller makes of an attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Decision<R> {
    /// Whether the step is taken.
    pub accept: bool,
    /// Size of the next step, or of the next attempt at this one, relative to the attempt's.
    pub factor: R,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(controller: Controller, errors: &[f64]) -> Vec<(bool, f64)> {
        let mut memory = controller.memory::<f64>();
        errors
            .iter()
            .map(|&e| {
                let d = controller.adapt(5.0, &mut memory, e);
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
    fn f32_follows_f64() {
        let (mut narrow, mut wide) = (Controller::PI.memory::<f32>(), Controller::PI.memory::<f64>());
        for e in [0.7f32, 0.01, 3.0, 1e-7, 0.99, 1e4] {
            let (a, b) =
                (Controller::PI.adapt(5.0, &mut narrow, e), Controller::PI.adapt(5.0, &mut wide, f64::from(e)));
            assert_eq!(a.accept, b.accept, "decision at {e}");
            assert!((f64::from(a.factor) / b.factor - 1.0).abs() < 2e-6, "factor at {e}");
        }
    }
}
