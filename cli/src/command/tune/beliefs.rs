//! [`Beliefs`]: where to try next, and what to choose, by what was tried. It knows nothing of how.
//!
//! Constrained expected improvement (M. Gelbart, J. Snoek, R. Adams, Bayesian optimization with unknown constraints, 2014): two
//! Gaussian processes over the logarithm of the coefficient, one of the logarithm of the cost, one of what the model loses.

use crate::search::gaussian::{Process, Value};

/// Decades over which coefficients do alike.
const LENGTH: f64 = 0.8;

/// Expected improvement of `ln cost`, times the chance that the model is good enough, below which no trial is worth its time.
const NOTHING: f64 = 0.005;

/// Share by which costs may differ and be called the same.
const SAME: f64 = 0.02;

/// What came of a coefficient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tried {
    pub(super) coefficient: f64,
    /// What the model lost and what it costs; `None` where training failed.
    pub(super) found: Option<Found>,
}

/// What a coefficient's model lost, in the yardstick's unit, and what it costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Found {
    pub(super) drop: f64,
    pub(super) cost: f64,
}

/// What is asked of a model, how well it is seen, and what is known before anything is tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Terms {
    /// What the model costs without the regularizer. A tenth of the least coefficient is taken for none.
    pub(super) without: f64,
    pub(super) least: f64,
    /// What may be lost.
    pub(super) tolerance: f64,
    /// The standard deviation of what is lost, above 0.
    pub(super) noise: f64,
    /// That of the logarithm of the cost.
    pub(super) spread: f64,
}

/// What the coefficients that were tried let one believe of the others.
#[derive(Clone, Debug)]
pub(super) struct Beliefs {
    tried: Vec<Tried>,
    terms: Terms,
    cost: Process,
    loss: Process,
}

impl Terms {
    /// What is lost, by a scale on which what is lost by far does not count for much more than what is lost: as it is up to
    /// the limit, then like a logarithm.
    fn scaled(&self, drop: f64) -> f64 {
        (drop / self.unit()).asinh()
    }

    fn unit(&self) -> f64 {
        self.tolerance.max(self.noise)
    }

    fn limit(&self) -> f64 {
        self.scaled(self.tolerance)
    }

    /// What a coefficient lost, on that scale; a training that failed lost far more than any may.
    fn lost(&self, tried: &Tried) -> Value {
        let drop = tried.found.map_or(100.0 * self.unit(), |found| found.drop);
        // The noise by the scale's slope; never so small that a wild value is taken for a fact.
        let noise = (self.noise / self.unit() / (drop / self.unit()).hypot(1.0)).max(0.05);
        Value { x: tried.coefficient.log10(), y: self.scaled(drop), noise }
    }
}

impl Beliefs {
    /// By what was tried.
    pub(super) fn new(tried: Vec<Tried>, terms: Terms) -> Self {
        let none = Tried { coefficient: 0.1 * terms.least, found: Some(Found { drop: 0.0, cost: terms.without }) };
        let known: Vec<&Tried> = std::iter::once(&none).chain(&tried).collect();
        let costs = known.iter().filter_map(|tried| {
            let found = tried.found?;
            Some(Value { x: tried.coefficient.log10(), y: found.cost.ln(), noise: terms.spread })
        });
        let cost = Process::of(&costs.collect::<Vec<_>>(), LENGTH);
        let loss = Process::of(&known.iter().map(|tried| terms.lost(tried)).collect::<Vec<_>>(), LENGTH);
        Self { tried, terms, cost, loss }
    }

    /// The coefficient of `candidates` that is most worth a trial, if any is: that of which most is expected. While none
    /// is good enough, that which is likeliest to be.
    pub(super) fn next(&self, candidates: &[f64]) -> Option<f64> {
        let best = self.choice().map(|best| self.cost.at(best.log10()).mean);
        let worth = |coefficient: f64| {
            let x = coefficient.log10();
            let good = self.loss.at(x).at_most(self.terms.limit());
            best.map_or(good, |best| good * self.cost.at(x).improvement(best))
        };
        let new = candidates.iter().filter(|&&c| self.tried.iter().all(|tried| tried.coefficient != c));
        let best = new.map(|&c| (c, worth(c))).max_by(|a, b| a.1.total_cmp(&b.1));
        best.filter(|&(_, worth)| worth > NOTHING).map(|(c, _)| c)
    }

    /// The coefficient to take, of those that were tried: the cheapest whose loss, as it is believed, with half of its
    /// deviation is within the tolerance; of those that cost as little the one that loses least.
    pub(super) fn choice(&self) -> Option<f64> {
        let good = |coefficient: &f64| {
            let loss = self.loss.at(coefficient.log10());
            loss.mean + 0.5 * loss.deviation <= self.terms.limit()
        };
        let tried = self.tried.iter().filter(|tried| tried.found.is_some()).map(|tried| tried.coefficient);
        let good: Vec<f64> = tried.filter(good).collect();
        let cost = |c: f64| self.cost.at(c.log10()).mean;
        let least = good.iter().map(|&c| cost(c)).min_by(f64::total_cmp)?;
        let as_cheap = good.into_iter().filter(|&c| cost(c) <= least + SAME);
        as_cheap.min_by(|&a, &b| self.loss.at(a.log10()).mean.total_cmp(&self.loss.at(b.log10()).mean))
    }

    /// Cost and loss at a coefficient, as they are believed: the cost, and the loss in the yardstick's unit.
    pub(super) fn at(&self, coefficient: f64) -> Found {
        let x = coefficient.log10();
        let drop = self.terms.unit() * self.loss.at(x).mean.sinh();
        Found { drop, cost: self.cost.at(x).mean.exp() }
    }
}

/// The coefficients among which one is looked for, `per_decade` of them in each: three digits each.
pub(super) fn candidates([low, high]: [f64; 2], per_decade: f64) -> Vec<f64> {
    let steps = ((high / low).log10() * per_decade).round().max(1.0);
    let at = |n: f64| rounded(low * (high / low).powf(n / steps));
    let mut all: Vec<f64> = (0..=steps as usize).map(|n| at(n as f64)).collect();
    all.dedup();
    all
}

/// Where a search begins: so many candidates, at equal distances and at half of them from the ends.
pub(super) fn starts(candidates: &[f64], count: usize) -> Vec<f64> {
    let last = (candidates.len() - 1) as f64;
    let at = |n: usize| candidates[(last * (n as f64 + 0.5) / count as f64).round() as usize];
    let mut starts: Vec<f64> = (0..count).map(at).collect();
    starts.dedup();
    starts
}

/// To three digits.
fn rounded(x: f64) -> f64 {
    format!("{x:.2e}").parse().unwrap_or(x)
}

#[cfg(test)]
mod tests {
    use fewsteps::Batches;

    use super::*;

    const TERMS: Terms = Terms { without: 60.0, least: 1e-3, tolerance: 0.2, noise: 0.1, spread: 0.02 };

    fn tried(coefficient: f64, drop: f64, cost: f64) -> Tried {
        Tried { coefficient, found: Some(Found { drop, cost }) }
    }

    #[test]
    fn candidates_are_short_numbers() {
        let all = candidates([1e-3, 1e2], 20.0);
        assert_eq!((all.len(), all[0], all[1], all[100]), (101, 1e-3, 1.12e-3, 1e2));
        assert_eq!(starts(&all, 4), [0.00447, 0.0794, 1.41, 25.1], "in the middle of four quarters");
        assert_eq!(candidates([0.1, 0.1], 20.0), [0.1], "one");
        assert_eq!(starts(&[0.1], 4), [0.1]);
    }

    #[test]
    fn the_cheapest_that_is_good_enough_is_chosen() {
        let beliefs = Beliefs::new(vec![tried(0.01, 0.0, 40.0), tried(0.1, 0.05, 20.0), tried(10.0, 5.0, 7.0)], TERMS);
        assert_eq!(beliefs.choice(), Some(0.1), "10 loses too much");
        let next = beliefs.next(&candidates([1e-3, 1e2], 20.0)).expect("there is more to gain");
        assert!(next > 0.1 && next < 10.0, "between the best and the first that is no longer good: {next}");
        let alike = Beliefs::new(vec![tried(0.01, 0.1, 7.0), tried(0.3, -0.2, 7.0), tried(10.0, 0.1, 7.0)], TERMS);
        assert_eq!(alike.choice(), Some(0.3), "of those that cost the same the best");
        assert_eq!(alike.next(&[0.01, 0.3, 10.0]), None, "and nothing is left to try");
    }

    #[test]
    fn failures_are_kept_away_from() {
        let lost = |coefficient| Tried { coefficient, found: None };
        let all = candidates([1e-3, 1e2], 20.0);
        let beliefs = Beliefs::new(vec![lost(1.0), lost(10.0)], TERMS);
        assert_eq!(beliefs.choice(), None, "nothing to choose");
        let next = beliefs.next(&all).expect("the smallest may do");
        assert!(next < 0.1, "far from what failed: {next}");
        let beliefs = Beliefs::new(vec![tried(0.01, 0.0, 30.0), lost(1.0), lost(10.0)], TERMS);
        assert_eq!(beliefs.choice(), Some(0.01));
        assert!(beliefs.next(&all).is_none_or(|next| next < 1.0));
    }

    /// The toy that the settings come from: its optimum is 0.781, at 45.80.
    #[test]
    fn ten_trials_find_the_optimum_of_a_noisy_problem() {
        let cost = |l: f64| 44.0 + 18.0 / (1.0 + (l / 0.05).powf(0.8));
        let drop = |l: f64| 1.5 / (1.0 + (2.0 / l).powi(2));
        assert!((drop(0.7845) - 0.2).abs() < 1e-3 && (cost(0.7845) - 45.79).abs() < 0.01, "the toy");
        let all = candidates([1e-3, 1e2], 20.0);
        let (mut excess, mut beyond, searches) = (0.0, 0, 30);
        for seed in 0..searches {
            // Sums of twelve uniform numbers, as good as normal here.
            let mut uniform = Batches::new(1000, 1000, seed).expect("a permutation");
            let mut draws = uniform.at(0).iter().map(|&n| n as f64 / 999.0).collect::<Vec<_>>().into_iter();
            let mut normal = || draws.by_ref().take(12).sum::<f64>() - 6.0;
            let mut found: Vec<Tried> = Vec::new();
            for n in 0..10 {
                let next = match starts(&all, 4).get(n) {
                    Some(&start) => Some(start),
                    None => Beliefs::new(found.clone(), TERMS).next(&all),
                };
                let Some(l) = next else { break };
                found.push(tried(l, drop(l) + 0.1 * normal(), cost(l) + normal()));
            }
            let choice = Beliefs::new(found, TERMS).choice().expect("something is good enough");
            excess += (cost(choice) - 45.80) / searches as f64;
            beyond += usize::from(drop(choice) > 0.3);
        }
        assert!(excess < 1.0, "{excess:.2} evaluations more than the optimum's, in the mean");
        assert!(beyond <= 3, "{beyond} of {searches} lose a tenth of a point more than may be lost");
    }
}
