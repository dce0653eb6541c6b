//! [`BudgetOutcome`]: what came of a target for NFE.

use fewsteps::Budget;
use serde::{Deserialize, Serialize};

use crate::numbers;

/// What came of a target for NFE.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct BudgetOutcome {
    #[serde(with = "numbers")]
    pub(crate) target: f64,
    /// Mean of the last 200 training steps.
    #[serde(with = "numbers")]
    pub(crate) nfe: f64,
    /// The smallest running mean.
    #[serde(with = "numbers")]
    pub(crate) best: f64,
    /// The coefficient in the end.
    #[serde(with = "numbers")]
    pub(crate) coefficient: f64,
    /// Whether the target was found to be beyond reach.
    pub(crate) unreachable: bool,
}

impl BudgetOutcome {
    /// What there is to say of it, if the target was not met by the penalty.
    pub(crate) fn remark(&self, budget: &Budget) -> Option<String> {
        let Self { target, nfe, best, coefficient, unreachable } = self;
        if *unreachable {
            return Some(format!(
                "NFE {target} is beyond reach: the mean came down to {best:.1}, where the coefficient, {coefficient:.2e}, \
                 has been kept since"
            ));
        }
        let idle = *coefficient < 10.0 * budget.lowest && nfe < target;
        idle.then(|| format!("NFE is below {target} anyway ({nfe:.1}): the budget has nothing to do"))
    }
}
