//! [`Tolerances`]: bounds on the local error.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::math::Real;

/// Bounds on the local error: `e` is measured in units of `atol + rtol * max(|y|, |y+|)`, element by element.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tolerances {
    /// Absolute part, in units of the state, for all features alike; see
    /// [`SolverOptions::atol_per_feature`](crate::SolverOptions::atol_per_feature()) where their sizes differ. What is smaller
    /// than this is not resolved: choose it below the smallest size of a feature that matters.
    pub atol: f64,
    /// Relative part.
    pub rtol: f64,
}

impl Tolerances {
    /// Absolute and relative tolerance of the same size.
    #[must_use]
    pub const fn both(tolerance: f64) -> Self {
        Self { atol: tolerance, rtol: tolerance }
    }

    /// Checks that both are positive and within reach of `R`: the relative one is at least 1e-9 at `f32`, 1e-15 at `f64`,
    /// the absolute one a normal number.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the tolerance.
    pub fn validate<R: Real>(&self) -> Result<()> {
        let narrow = R::EPSILON.to_f64() > 1e-10;
        let least = if narrow { 1e-9 } else { 1e-15 };
        for (name, value) in [("Tolerances::atol", self.atol), ("Tolerances::rtol", self.rtol)] {
            if !(value > 0.0 && R::from_f64(value).is_finite()) {
                return Err(Error::argument(
                    name,
                    value,
                    format!("tolerances are positive, finite numbers of {}", R::NAME),
                ));
            }
        }
        if self.rtol < least {
            let remedy = format!("{} cannot resolve less than {least:e}: loosen it, or solve at f64", R::NAME);
            return Err(Error::argument("Tolerances::rtol", format!("{:e}", self.rtol), remedy));
        }
        let [smallest, largest] = normal_numbers::<R>();
        for (name, value) in [("Tolerances::atol", self.atol), ("Tolerances::rtol", self.rtol)] {
            if !(smallest..=largest).contains(&value) {
                let remedy = format!("{} has normal numbers from {smallest:e} to {largest:e}", R::NAME);
                return Err(Error::argument(name, format!("{value:e}"), remedy));
            }
        }
        Ok(())
    }

    /// A warning where the error estimate consists mostly of rounding.
    #[must_use]
    pub fn warning<R: Real>(&self) -> Option<String> {
        let noise = 80.0 * R::EPSILON.to_f64();
        (self.rtol < noise).then(|| {
            format!(
                "tolerance {:e} is near the rounding of {}: NFE partly measures noise; 1e-5 and above are safe",
                self.rtol,
                R::NAME
            )
        })
    }
}

impl Tolerances {
    /// A warning where the absolute tolerance is as large as a feature: `states` are those of a batch, `[B][D]`, the
    /// initial ones for example, and `dim` is `D`. A feature that is 0 in all of them has no size, and is passed over.
    #[must_use]
    pub fn warning_at<R: Real>(&self, states: &[R], dim: usize) -> Option<String> {
        warning_at(|_| self.atol, states, dim)
    }
}

/// The warning of [`Tolerances::warning_at`] for the first feature whose `atol` is as large as it.
pub(super) fn warning_at<R: Real>(atol: impl Fn(usize) -> f64, states: &[R], dim: usize) -> Option<String> {
    let size =
        |feature: usize| states.iter().skip(feature).step_by(dim.max(1)).fold(0f64, |m, y| m.max(y.to_f64().abs()));
    let ruled = |&(d, size): &(usize, f64)| 0.0 < size && size <= 10.0 * atol(d);
    (0..dim.min(states.len())).map(|d| (d, size(d))).find(ruled).map(|(d, size)| {
        format!(
            "atol {:e} is no less than a tenth of feature {d}, which is at most {size:e}: its error is not controlled; \
             choose atol well below it",
            atol(d)
        )
    })
}

impl Default for Tolerances {
    fn default() -> Self {
        Self::both(1e-5)
    }
}

/// The smallest and the largest positive normal number of `R`.
pub(super) fn normal_numbers<R: Real>() -> [f64; 2] {
    let narrow = R::EPSILON.to_f64() > 1e-10;
    if narrow { [f32::MIN_POSITIVE, f32::MAX].map(f64::from) } else { [f64::MIN_POSITIVE, f64::MAX] }
}
