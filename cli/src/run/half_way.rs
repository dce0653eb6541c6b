//! [`HalfWay`]: when a run is given up before its end.

use thiserror::Error;

use crate::measure::stats;
use crate::record::RunRecord;

/// Share of a training over whose steps losses are compared, up to the middle.
const WINDOW: u64 = 20;

/// What a run is measured by half way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct HalfWay {
    /// The step after which it is measured.
    pub(crate) step: u64,
    /// What its loss, the median of the steps before, may be at most.
    most: f64,
}

/// A run that was given up half way: more steps would not have made it good.
#[derive(Clone, Copy, Debug, Error)]
#[error("given up after {step} steps: the loss, {loss:.3e}, is above {most:.3e}, as others of as many steps have it")]
pub(crate) struct GivenUp {
    step: u64,
    loss: f64,
    most: f64,
}

impl HalfWay {
    /// `times` the largest loss that these runs had half way. `None` where they have none to measure by: of a likelihood, which
    /// may be negative, twice as much says nothing.
    pub(crate) fn of(runs: &[RunRecord], times: f64) -> Option<Self> {
        let step = runs.first()?.settings.steps / 2;
        let losses = runs.iter().map(|run| loss_at(step, &run.progress.curve.loss));
        let most = losses.collect::<Option<Vec<f64>>>()?.into_iter().fold(f64::NEG_INFINITY, f64::max);
        (most > 0.0 && most.is_finite()).then_some(Self { step, most: times * most })
    }

    /// Gives a run up that is too bad at this step.
    pub(crate) fn judge(&self, step: u64, losses: &[f64]) -> Result<(), GivenUp> {
        let Some(loss) = loss_at(self.step, losses).filter(|_| step == self.step) else { return Ok(()) };
        // A NaN is no good either.
        if loss <= self.most { Ok(()) } else { Err(GivenUp { step, loss, most: self.most }) }
    }
}

/// The median of the losses of the last steps up to this one.
fn loss_at(step: u64, losses: &[f64]) -> Option<f64> {
    let until = usize::try_from(step).ok().filter(|&until| until > 0)?;
    let from = until - until.div_ceil(WINDOW as usize / 2);
    stats::median(losses.get(from..until)?.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_compared_in_the_middle_alone() {
        let half_way = HalfWay { step: 20, most: 2.0 };
        let with = |last: f64| [vec![9.0; 18], vec![last; 2]].concat();
        assert!(half_way.judge(20, &with(1.9)).is_ok(), "what came before does not count");
        for bad in [2.1, f64::NAN, f64::INFINITY] {
            let error = half_way.judge(20, &with(bad)).expect_err("too bad").to_string();
            assert!(error.contains("given up after 20 steps"), "{error}");
        }
        assert!(half_way.judge(19, &with(9.0)).is_ok() && half_way.judge(21, &[9.0; 21]).is_ok(), "not then");
        assert_eq!(loss_at(0, &[]), None, "a training of one step has no middle");
        assert_eq!(loss_at(1, &[3.0]), Some(3.0), "one of two");
    }
}
