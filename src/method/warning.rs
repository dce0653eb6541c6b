//! [`ToleranceWarning`]: what a solver or trainer says, once, of tolerances that control nothing.

use std::sync::Once;

use super::SolverOptions;
use crate::math::Real;

/// Whom a logger knows these warnings by.
const TARGET: &str = "fewsteps::tolerances";

/// Warns once, and looks at the first states alone.
#[derive(Debug)]
pub(crate) struct ToleranceWarning(Once);

impl ToleranceWarning {
    pub(crate) const fn new() -> Self {
        Self(Once::new())
    }

    /// Warns where an absolute tolerance is as large as a feature of the states `[B][D]` that solves begin with.
    pub(crate) fn look<R: Real>(&self, options: &SolverOptions, states: &[R], dim: usize) {
        if self.0.is_completed() || !log::log_enabled!(target: TARGET, log::Level::Warn) {
            return;
        }
        self.0.call_once(|| {
            if let Some(warning) = options.warning_at(states, dim) {
                log::warn!(target: TARGET, "{warning}");
            }
        });
    }
}
