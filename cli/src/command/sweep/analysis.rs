//! [`Analysis`]: what a row of coefficients says. It knows nothing of how its points were made.

use serde::{Deserialize, Serialize};

use crate::numbers;
use crate::search::{Point, Yardstick};

/// The share of NFE at coefficient 0 below which it has begun to fall.
pub(super) const FALLS: f64 = 0.95;

/// What becomes of the regularizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Verdict {
    /// There are coefficients with fewer evaluations and a model that is as good.
    Usable,
    /// NFE falls nowhere.
    NoFall,
    /// NFE falls, and only where the model gets worse.
    TooCostly,
    /// Training fails without a regularizer already.
    NothingToCompare,
}

/// What the points say, those of rising coefficients with 0 first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Analysis {
    pub(super) yardstick: Yardstick,
    /// The first coefficient at which NFE is at most [`FALLS`] of what it is at 0.
    #[serde(with = "numbers")]
    pub(super) falls_from: Option<f64>,
    /// The coefficient from which on no model is within the tolerance.
    #[serde(with = "numbers")]
    pub(super) leaves_at: Option<f64>,
    /// The least and the largest coefficient with fewer evaluations and a model within the tolerance.
    pub(super) usable: Option<[f64; 2]>,
    /// The usable one with the fewest evaluations.
    #[serde(with = "numbers")]
    pub(super) best: Option<f64>,
    /// Elasticity of NFE: the slope of `ln NFE` over `ln coefficient`, by least squares over the models within the
    /// tolerance.
    #[serde(with = "numbers")]
    pub(super) sensitivity: Option<f64>,
    /// The same of the steps of an ideal controller, which are no whole numbers and see what NFE does not.
    #[serde(with = "numbers")]
    pub(super) sensitivity_ideal_steps: Option<f64>,
    pub(super) verdict: Verdict,
    pub(super) words: String,
}

impl Analysis {
    pub(super) fn of(points: &[Point], yardstick: Yardstick) -> Self {
        let mut analysis = Self {
            yardstick,
            falls_from: None,
            leaves_at: None,
            usable: None,
            best: None,
            sensitivity: None,
            sensitivity_ideal_steps: None,
            verdict: Verdict::NothingToCompare,
            words: String::new(),
        };
        if let Some((base, rest)) = points.split_first().filter(|(base, _)| base.whole()) {
            analysis.compare(base, rest);
        }
        analysis.words = analysis.words(points);
        analysis
    }

    fn compare(&mut self, base: &Point, rest: &[Point]) {
        let within = |point: &&Point| self.yardstick.drop(base, point).is_some_and(|d| d <= self.yardstick.tolerance());
        let falls = |point: &&Point| point.evaluations() <= FALLS * base.evaluations();
        self.falls_from = rest.iter().find(falls).map(|point| point.coefficient);
        let bad = rest.iter().rev().take_while(|point| !within(point)).last();
        self.leaves_at = bad.map(|point| point.coefficient);
        let good: Vec<&Point> = rest.iter().filter(within).filter(falls).collect();
        self.usable = good.first().zip(good.last()).map(|(a, b)| [a.coefficient, b.coefficient]);
        self.best =
            good.iter().min_by(|a, b| a.evaluations().total_cmp(&b.evaluations())).map(|point| point.coefficient);
        let kept: Vec<&Point> = rest.iter().filter(within).collect();
        self.sensitivity = elasticity(&kept, |point| Some(point.evaluations()));
        self.sensitivity_ideal_steps = elasticity(&kept, |point| point.ideal_steps.map(|steps| steps.mean));
        self.verdict = match (self.usable, self.falls_from) {
            (Some(_), _) => Verdict::Usable,
            (None, Some(_)) => Verdict::TooCostly,
            (None, None) => Verdict::NoFall,
        };
    }

    fn words(&self, points: &[Point]) -> String {
        let at = |coefficient: f64| points.iter().find(|point| point.coefficient == coefficient);
        let Some(base) = points.first() else { return String::new() };
        let (quality, before) = (self.yardstick.quality(), base.evaluations());
        match (self.verdict, self.best.and_then(at), self.usable) {
            (Verdict::Usable, Some(best), Some([low, high])) => {
                let drop = self.yardstick.drop(base, best).unwrap_or(f64::NAN);
                let (after, unit) = (best.evaluations(), self.yardstick.unit());
                let range = if low == high { format!("at {low}") } else { format!("from {low} to {high}") };
                let change = if drop <= 0.0 { "gained" } else { "lost" };
                format!(
                    "usable {range}; coefficient {} is best: NFE {before:.1} becomes {after:.1} ({:.2}x) with {:.2} {unit} of \
                     {quality} {change}",
                    best.coefficient,
                    after / before,
                    drop.abs(),
                )
            }
            (Verdict::TooCostly, ..) => format!(
                "not usable here: NFE falls from {} on, and only where the {quality} is out of the tolerance; try smaller \
                 coefficients, or more steps",
                self.falls_from.unwrap_or(f64::NAN)
            ),
            (Verdict::NothingToCompare, ..) => {
                "nothing to compare: training fails without a regularizer already; try a smaller --lr".to_owned()
            }
            _ if self.leaves_at.is_some() => format!(
                "not usable here: NFE stays at {before:.1} or above, and from {} on the {quality} is out of the tolerance",
                self.leaves_at.unwrap_or(f64::NAN)
            ),
            _ => format!(
                "no effect: NFE stays at {before:.1} or above, and the {quality} is kept; try larger coefficients or more \
                 steps, and see `fewsteps deploy`, which needs no training"
            ),
        }
    }
}

/// The slope of `ln value` over `ln coefficient` by least squares; of one coefficient there is none.
fn elasticity(points: &[&Point], value: impl Fn(&Point) -> Option<f64>) -> Option<f64> {
    let of = |point: &&Point| Some((point.coefficient.ln(), value(point).filter(|&x| x > 0.0)?.ln()));
    let pairs: Vec<(f64, f64)> = points.iter().filter_map(of).filter(|(_, y)| y.is_finite()).collect();
    let count = pairs.len() as f64;
    let (mx, my) = pairs.iter().fold((0.0, 0.0), |(mx, my), (x, y)| (mx + x / count, my + y / count));
    let across: f64 = pairs.iter().map(|(x, y)| (x - mx) * (y - my)).sum();
    let along: f64 = pairs.iter().map(|(x, _)| (x - mx).powi(2)).sum();
    (pairs.len() > 1 && along > 0.0).then(|| across / along)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::stats::Spread;

    fn point(coefficient: f64, accuracy: f64, nfe: f64) -> Point {
        let one = |mean| Some(Spread { mean, std: 0.0 });
        Point {
            coefficient,
            seeds: 1,
            nats: false,
            accuracy: one(accuracy),
            test_loss: one(1.0 - accuracy),
            nfe: one(nfe),
            ideal_steps: one(nfe / 10.0),
            prediction: one(nfe / 7.0),
            penalty: None,
            failed: 0,
            skipped: 0,
            errors: Vec::new(),
            training_seconds: 1.0,
        }
    }

    fn of(points: &[Point]) -> Analysis {
        // 2,500 samples hide 0.28 points at 98 %.
        Analysis::of(points, Yardstick::new(Some(0.5), &points[0], 2500).expect("a good drop"))
    }

    #[test]
    fn a_power_law_is_found_to_the_digit() {
        let law = |c: f64| point(c, 0.98, 10.0 * c.powf(-0.25));
        let found = of(&[point(0.0, 0.98, 40.0), law(0.01), law(0.1), law(1.0)]);
        assert!((found.sensitivity.expect("three") + 0.25).abs() < 1e-12, "{found:?}");
        assert!((found.sensitivity_ideal_steps.expect("three") + 0.25).abs() < 1e-12, "{found:?}");
        // 31.6 at 0.01 is 0.79 of 40.
        assert_eq!((found.falls_from, found.leaves_at), (Some(0.01), None), "{found:?}");
        assert_eq!((found.usable, found.best), (Some([0.01, 1.0]), Some(1.0)), "{found:?}");
    }

    #[test]
    fn the_range_ends_where_accuracy_does() {
        let points = [
            point(0.0, 0.98, 40.0),
            point(0.01, 0.981, 39.0),
            point(0.1, 0.979, 38.0),
            point(0.3, 0.976, 20.0),
            point(1.0, 0.974, 14.0),
            point(3.0, 0.9, 7.0),
        ];
        let found = of(&points);
        assert_eq!(found.verdict, Verdict::Usable);
        assert_eq!(
            (found.falls_from, found.leaves_at),
            (Some(0.1), Some(1.0)),
            "38 is 0.95 of 40; 0.6 points are lost"
        );
        assert_eq!((found.usable, found.best), (Some([0.1, 0.3]), Some(0.3)), "the fewest within the tolerance");
        assert!(found.words.contains("0.3 is best") && found.words.contains("0.50x"), "{}", found.words);
    }

    #[test]
    fn every_verdict_has_its_case() {
        let flat = of(&[point(0.0, 0.98, 20.0), point(0.1, 0.98, 20.0), point(1.0, 0.981, 19.5)]);
        assert_eq!((flat.verdict, flat.best), (Verdict::NoFall, None), "no fall");
        assert!(flat.words.contains("larger coefficients"), "{}", flat.words);
        let worse = of(&[point(0.0, 0.98, 20.0), point(0.1, 0.97, 21.0)]);
        assert_eq!((worse.verdict, worse.leaves_at), (Verdict::NoFall, Some(0.1)), "neither");
        let costly = of(&[point(0.0, 0.98, 20.0), point(0.1, 0.98, 20.0), point(1.0, 0.5, 2.0)]);
        assert_eq!((costly.verdict, costly.falls_from), (Verdict::TooCostly, Some(1.0)), "a useless model is fast");
        let dead = Point { test_loss: None, ..point(0.0, 0.1, 20.0) };
        assert_eq!(of(&[dead, point(1.0, 0.98, 2.0)]).verdict, Verdict::NothingToCompare, "nothing");
        let lost = Point { errors: vec!["memory".to_owned()], ..point(1.0, 0.98, 2.0) };
        let found = of(&[point(0.0, 0.98, 20.0), point(0.1, 0.98, 10.0), lost]);
        assert_eq!((found.leaves_at, found.best), (Some(1.0), Some(0.1)), "a seed that is lost is no success");
    }

    #[test]
    fn chance_hides_small_losses() {
        // Of 360 samples at 96.4 %: the root of 0.964 * 0.036 / 360 is 0.98 points.
        let base = point(0.0, 0.964, 37.0);
        let yardstick = Yardstick::new(None, &base, 360).expect("the default");
        assert_eq!(yardstick.asked, 0.2, "of accuracy");
        assert!((yardstick.tolerance() - 0.9818).abs() < 1e-3, "{yardstick:?}");
        let seeds = Point { seeds: 4, accuracy: Some(Spread { mean: 0.964, std: 0.006 }), ..base.clone() };
        let yardstick = Yardstick::new(None, &seeds, 360).expect("the default");
        assert!((yardstick.tolerance() - 0.3).abs() < 1e-12, "0.6 points over the root of four seeds: {yardstick:?}");
        let loss = Point { accuracy: None, test_loss: Some(Spread { mean: 2.0, std: 0.0 }), ..base };
        let yardstick = Yardstick::new(None, &loss, 360).expect("the default");
        assert_eq!((yardstick.tolerance(), yardstick.noise), (5.0, None), "per cent");
        let risen = Point { test_loss: Some(Spread { mean: 2.2, std: 0.0 }), ..loss.clone() };
        assert!((yardstick.drop(&loss, &risen).expect("whole") - 10.0).abs() < 1e-9, "a tenth more");
        let density = Point { nats: true, test_loss: Some(Spread { mean: -0.1, std: 0.0 }), ..loss.clone() };
        let yardstick = Yardstick::new(None, &density, 360).expect("the default");
        let risen = Point { test_loss: Some(Spread { mean: 0.2, std: 0.0 }), ..density.clone() };
        assert!(
            (yardstick.drop(&density, &risen).expect("whole") - 0.3).abs() < 1e-12,
            "of nats, which may be negative"
        );
        assert_eq!((yardstick.tolerance(), yardstick.unit()), (0.02, "nats"));
        assert!(Yardstick::new(Some(-1.0), &loss, 9).is_err() && Yardstick::new(Some(f64::NAN), &loss, 9).is_err());
    }
}
