//! The cheapest solver that is good enough.

use fewsteps::{Blocking, Learner};

use super::judge::{Judge, Score, held_out};
use super::{candidates, paired};
use crate::corrected::Corrected;
use crate::data::{BatchBuffer, Data, Samples};
use crate::measure::{self, accuracy};
use crate::record::Tested;
use crate::settings::Settings;

/// Relative error of the states at which a prediction is still the solution's.
const NEAR: f64 = 1e-2;

/// How much worse than the training's solver a solver may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Limits {
    /// Loss of accuracy as a share, or relative rise of the loss.
    pub(crate) drop: f64,
    /// Relative error of the saved states.
    pub(crate) error: Option<f64>,
}

impl Limits {
    /// Points of accuracy, or per cent of the loss.
    pub(crate) const fn default_drop(classifies: bool) -> f64 {
        if classifies { 0.1 } else { 1.0 }
    }

    /// Samples that training has seen are classified with larger margins than others, so that agreement on them says too
    /// little. Where no error is asked for, [`NEAR`] is then, or what the training's solver has, if that is known.
    pub(crate) fn on_seen(self, trained: &Score) -> Self {
        let known = trained.error.filter(|_| trained.nfe_diffusion == 0.0);
        Self { error: self.error.or(known.map(|error| error.max(NEAR))), ..self }
    }

    /// What may be asked of so many samples: a smaller loss of accuracy than they would leave open if none of them were
    /// classified otherwise cannot be shown. Asked for is the least that can be, then.
    pub(crate) fn within_reach(self, samples: usize, classifies: bool) -> Self {
        let least = if classifies { paired::drop_of_accuracy(0, 0, samples) } else { 0.0 };
        Self { drop: self.drop.max(least), ..self }
    }

    /// Whether a solver is good enough.
    pub(crate) fn allow(&self, score: &Score) -> bool {
        let near = |limit: f64| score.error.is_some_and(|error| error <= limit);
        score.drop <= self.drop && self.error.is_none_or(near)
    }
}

/// Which of the scores is the cheapest that the limits allow; of equally cheap ones the one with the smaller error.
pub(crate) fn cheapest(scores: &[Score], limits: &Limits) -> Option<usize> {
    let order = |&a: &usize, &b: &usize| {
        let [a, b] = [a, b].map(|i| (scores[i].cost(), scores[i].error.unwrap_or(scores[i].drop)));
        a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1))
    };
    (0..scores.len()).filter(|&i| limits.allow(&scores[i])).min_by(order)
}

/// The scores that no cheaper one is nearer to the solution than, by cost; where no error is known, of a smaller loss.
pub(crate) fn front(scores: &[Score]) -> Vec<usize> {
    let merit = |score: &Score| score.error.unwrap_or(score.loss);
    let mut order: Vec<usize> = (0..scores.len()).filter(|&i| merit(&scores[i]).is_finite()).collect();
    order.sort_by(|&a, &b| {
        let [a, b] = [a, b].map(|i| &scores[i]);
        a.cost().total_cmp(&b.cost()).then(merit(a).total_cmp(&merit(b)))
    });
    let mut best = f64::INFINITY;
    order.retain(|&i| {
        let better = merit(&scores[i]) < best;
        best = best.min(merit(&scores[i]));
        better
    });
    order
}

/// How much worse than the training's solver, whose score on so many samples this is, another of a run may be.
pub(super) fn allowed(trained: &Score, samples: usize, settings: &Settings) -> Limits {
    let classifies = settings.classifies();
    let limits = Limits { drop: Limits::default_drop(classifies) / 100.0, error: None };
    let limits = limits.within_reach(samples, classifies);
    if settings.hold_out == 0 { limits.on_seen(trained) } else { limits }
}

/// The cheapest of the solvers with equal steps that is good enough, judged on training samples; the training's own where
/// none is cheaper. Solvers are tried from the cheapest on, until one serves. The learner has its own solver again
/// afterwards.
fn choose<L: Learner>(
    engine: &L::Engine,
    learner: &mut Blocking<L>,
    samples: &Samples,
    settings: &Settings,
) -> anyhow::Result<Score> {
    let Settings { hold_out, batch, .. } = *settings;
    let mut judge = Judge::new(engine, learner, samples, held_out(samples, hold_out, batch, None), batch, None)?;
    let trained = judge.trained()?;
    let limits = allowed(&trained, judge.samples(), settings);
    let mut chosen = trained;
    for options in candidates::equal_steps(judge.model()) {
        if candidates::evaluations(&options) as f64 >= chosen.cost() {
            break;
        }
        let score = judge.score(&options)?;
        if limits.allow(&score) && score.cost() < chosen.cost() {
            chosen = score;
            break;
        }
    }
    judge.end()?;
    Ok(chosen)
}

/// The test set under the cheapest equal steps that predict as well as the training's solver, whose figures are `trained`;
/// that solver's own where it is the cheapest. The learner has its own solver again afterwards.
pub(crate) fn of_run<L: Learner>(
    engine: &L::Engine,
    learner: &mut Blocking<L>,
    data: &Data,
    settings: &Settings,
    trained: &Tested,
) -> anyhow::Result<Tested> {
    let chosen = choose(engine, learner, &data.train, settings)?;
    let own = learner.config().clone();
    if chosen.options == own.model.options {
        return Ok(trained.clone());
    }
    learner.solve_by(&chosen.options)?;
    let found = tested(engine, learner, &data.test, settings.batch, None)?;
    learner.reconfigure(own)?;
    Ok(found)
}

/// The test set under the learner's solver. A model of `corrected` steps is as far from the solution as that of the model
/// that they are of says.
pub(crate) fn tested<L: Learner>(
    engine: &L::Engine,
    learner: &mut Blocking<L>,
    samples: &Samples,
    batch: usize,
    corrected: Option<&Corrected>,
) -> anyhow::Result<Tested> {
    let mut buffer = BatchBuffer::default();
    let test = measure::measure(learner, samples, batch, &mut buffer)?;
    let test = accuracy::with_error(engine, learner, samples, corrected, test)?;
    let (seconds, prediction_batch) = measure::time_prediction(learner, samples, batch, &mut buffer)?;
    let solver = candidates::name(&learner.config().model.options);
    Ok(Tested { solver, test, prediction_milliseconds: 1e3 * seconds, prediction_batch })
}

#[cfg(test)]
mod tests {
    use fewsteps::SolverOptions;

    use super::*;

    fn score(nfe: f64, error: Option<f64>, drop: f64) -> Score {
        Score {
            solver: String::new(),
            options: SolverOptions::default(),
            nfe,
            nfe_diffusion: 0.0,
            loss: 1.0 + drop,
            accuracy: Some(0.9),
            agreement: Some(1.0),
            drop,
            error,
            weak_error: None,
            milliseconds: 1.0,
            failed: 0,
        }
    }

    #[test]
    fn the_cheapest_within_both_limits_is_taken() {
        let scores = [
            score(1.0, Some(1e-1), 0.004),
            score(3.0, Some(1e-2), 0.0009),
            score(4.0, Some(1e-3), 0.0005),
            score(4.0, Some(1e-4), 0.0005),
            score(7.0, None, 0.0),
            score(2.0, Some(f64::NAN), f64::NAN),
        ];
        let cheapest = |drop, error| cheapest(&scores, &Limits { drop, error });
        assert_eq!(cheapest(0.001, None), Some(1));
        assert_eq!(cheapest(0.01, None), Some(0));
        assert_eq!(cheapest(0.001, Some(5e-3)), Some(3), "of two the nearer");
        assert_eq!(cheapest(0.0001, None), Some(4), "exactly as good");
        assert_eq!(cheapest(0.0001, Some(1e-3)), None, "an unknown error is none within a limit");
        assert_eq!(front(&scores), [0, 1, 3], "one that costs more has to be nearer");
    }

    #[test]
    fn seen_samples_need_states_that_are_near() {
        let limits = |error, trained| Limits { drop: 0.001, error }.on_seen(&score(60.0, trained, 0.0)).error;
        assert_eq!(limits(None, Some(1e-6)), Some(NEAR));
        assert_eq!(limits(None, Some(0.3)), Some(0.3), "the training's solver itself is allowed");
        assert_eq!(limits(Some(0.5), Some(1e-6)), Some(0.5), "what was asked for");
        assert_eq!(limits(None, None), None, "nothing is known");
        let noisy = Score { nfe_diffusion: 1.0, ..score(60.0, Some(0.03), 0.0) };
        assert_eq!(Limits { drop: 0.001, error: None }.on_seen(&noisy).error, None, "paths are not so near");
    }

    #[test]
    fn no_more_is_asked_than_samples_can_show() {
        let limits = |drop, samples| Limits { drop, error: None }.within_reach(samples, true).drop;
        assert_eq!(limits(0.001, 100_000), 0.001, "many");
        let least = limits(0.001, 1000);
        assert!((0.0016..0.0017).contains(&least), "without a disagreement: {least}");
        assert!(Limits { drop: least, error: None }.allow(&score(1.0, None, paired::drop_of_accuracy(0, 0, 1000))));
        assert!(!Limits { drop: least, error: None }.allow(&score(1.0, None, paired::drop_of_accuracy(1, 0, 1000))));
        assert_eq!(Limits { drop: 0.0, error: None }.within_reach(9, false).drop, 0.0, "losses have no such grain");
    }
}
