//! [`Trace`]: how the rate of a log-density is computed.

use serde::{Deserialize, Serialize};

/// How the trace of a field's Jacobian is computed, which is the rate at which the flow spreads a density.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Trace {
    /// The sum of the Jacobian's diagonal: as many derivatives as features.
    Exact,
    /// `s . (df/dy s)` with random signs `s`, which stay the same throughout a solve: one derivative, and the trace in the
    /// mean (W. Grathwohl, R. T. Q. Chen, J. Bettencourt, I. Sutskever, D. Duvenaud, FFJORD, ICLR 2019).
    Hutchinson,
}

impl Trace {
    /// Features up to which [`Trace::of`] takes the exact one.
    const FEW: usize = 8;

    /// The exact one of up to eight features, and the estimate of more.
    #[must_use]
    pub const fn of(features: usize) -> Self {
        if features <= Self::FEW { Self::Exact } else { Self::Hutchinson }
    }

    /// Rows of a state with so many features: them, the log-density, and the signs of an estimate.
    #[must_use]
    pub const fn rows(self, features: usize) -> usize {
        match self {
            Self::Exact => features.saturating_add(1),
            Self::Hutchinson => features.saturating_mul(2).saturating_add(1),
        }
    }
}
