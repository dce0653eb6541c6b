//! `fewsteps tune`: the coefficient with the fewest evaluations at the same quality, by short trainings where most is expected.

mod beliefs;
mod page;
mod record;

use anyhow::{bail, ensure};
use fewsteps::Regularizer;

use self::beliefs::{Beliefs, Found, Terms, Tried, candidates, starts};
use self::record::{Believed, Tuned, Verdict};
use crate::args::TuneArgs;
use crate::choice::Objective;
use crate::files;
use crate::input;
use crate::interrupt;
use crate::machine::Machine;
use crate::output;
use crate::record::RunRecord;
use crate::run::{Ending, HalfWay, Session, TUNE};
use crate::search::{Cost, Plan, Point, Quality, Yardstick, ensure_free};
use crate::settings::Settings;

/// Candidates in a decade of coefficients.
const PER_DECADE: f64 = 20.0;

/// Coefficients that are tried before anything is believed.
const STARTS: usize = 4;

/// The least that is taken for the noise of what is lost.
const fn least_noise(quality: Quality) -> f64 {
    match quality {
        Quality::Accuracy => 0.1,
        Quality::Loss => 1.0,
        Quality::Nats => 0.01,
    }
}

/// A trial is given up whose loss half way is so many times that without a regularizer.
const GIVEN_UP: f64 = 2.0;

pub(crate) fn tune(mut args: TuneArgs) -> anyhow::Result<Ending> {
    interrupt::catch()?;
    let plan = Plan::new(&args.trial, &mut args.training)?;
    ensure_free(&args.training)?;
    let data = input::load(&args.training)?;
    let samples = data.test.len();
    let regularized = plan.regularized(&args.training, 0, &data)?;
    let all = candidates(range(&args, &regularized.config.regularizer)?, PER_DECADE);
    // Every run that there may be, so that what can be refused is refused before the first.
    let mut runs = Vec::new();
    for coefficient in std::iter::once(0.0).chain(all.iter().copied()) {
        for seed in 0..args.seeds.get() as u64 {
            runs.push(plan.settings(&mut args.training, coefficient, seed, &data)?);
        }
    }
    let session = Session::open(&args.training, data, runs, Some(TUNE))?;
    let search = Search { args: &args, session: &session, candidates: &all };
    let tuned = search.run(&plan, samples)?;
    publish(&args, &session, &tuned)?;
    let compared = tuned.verdict != Verdict::NothingToCompare;
    Ok(if compared { Ending::Finished } else { Ending::NothingToShow })
}

/// The coefficients to look among: two decades below and three above what the method has by itself, if nothing else is said.
fn range(args: &TuneArgs, regularizer: &Regularizer) -> anyhow::Result<[f64; 2]> {
    let own = own_coefficient(regularizer);
    let [low, high] = match args.range[..] {
        [low, high] => [low, high],
        [] => [0.01 * own, 1000.0 * own],
        ref other => {
            let given: Vec<String> = other.iter().map(f64::to_string).collect();
            bail!("--range {}: give two numbers, the least coefficient and the largest", given.join(","));
        }
    };
    ensure!(
        low > 0.0 && low < high && high.is_finite(),
        "--range {low},{high}: give two finite numbers above 0, the smaller one first"
    );
    ensure!(high / low <= 1e12, "--range {low},{high}: twelve decades at most");
    Ok([low, high])
}

/// The coefficient that a method has by itself.
fn own_coefficient(regularizer: &Regularizer) -> f64 {
    let local = regularizer.local().map(|local| local.coefficient.value(0));
    let global = || regularizer.global().map(|global| global.coefficient.value(0));
    let pointwise = || regularizer.pointwise().first().map(|pointwise| pointwise.coefficient.value(0));
    local.or_else(global).or_else(pointwise).filter(|c| *c > 0.0).unwrap_or(0.1)
}

/// A search under way.
struct Search<'a> {
    args: &'a TuneArgs,
    session: &'a Session<'a>,
    candidates: &'a [f64],
}

impl Search<'_> {
    fn run(&self, plan: &Plan, samples: usize) -> anyhow::Result<Tuned> {
        let (base, records) = self.trial(0.0, None)?;
        let half_way = HalfWay::of(&records, GIVEN_UP);
        let yardstick = Yardstick::new(self.args.trial.max_drop, &base, samples)?;
        let terms = self.terms(&yardstick, &base);
        let mut points = vec![base];
        if points[0].whole() {
            let starts = starts(self.candidates, STARTS.min(self.args.trials.get()));
            while points.len() <= self.args.trials.get() {
                let next = match starts.get(points.len() - 1) {
                    Some(&start) => Some(start),
                    None => self.beliefs(&points, &yardstick, terms).next(self.candidates),
                };
                let Some(coefficient) = next else { break };
                points.push(self.trial(coefficient, half_way)?.0);
            }
        }
        Ok(self.told(plan, points, yardstick, terms))
    }

    /// Makes the runs of one coefficient. One that fails says something of the coefficient, and costs none of the others.
    fn trial(&self, coefficient: f64, half_way: Option<HalfWay>) -> anyhow::Result<(Point, Vec<RunRecord>)> {
        let (mut records, mut errors) = (Vec::new(), Vec::new());
        for settings in self.runs(coefficient) {
            match self.session.attempt_beyond(settings, half_way)? {
                Ok(record) => records.push(record),
                Err(lost) => errors.push(lost.error),
            }
        }
        Ok((Point::of(coefficient, &records, errors), records))
    }

    /// The runs of a coefficient, one a seed.
    fn runs(&self, coefficient: f64) -> &[Settings] {
        let seeds = self.args.seeds.get();
        let place = self.candidates.iter().position(|c| *c == coefficient).map_or(0, |place| place + 1);
        &self.session.runs[place * seeds..][..seeds]
    }

    fn terms(&self, yardstick: &Yardstick, base: &Point) -> Terms {
        Terms {
            without: base.objective(self.args.objective).unwrap_or(1.0),
            least: self.candidates[0],
            tolerance: yardstick.tolerance(),
            noise: yardstick.noise.unwrap_or(0.0).max(least_noise(yardstick.quality)),
            spread: self.args.objective.spread(),
        }
    }

    /// What the points without the first, which the others are compared with, let one believe.
    fn beliefs(&self, points: &[Point], yardstick: &Yardstick, terms: Terms) -> Beliefs {
        let cost = |point: &Point| point.objective(self.args.objective);
        let tried = points[1..].iter().map(|point| {
            let found = yardstick.drop(&points[0], point).zip(cost(point));
            Tried { coefficient: point.coefficient, found: found.map(|(drop, cost)| Found { drop, cost }) }
        });
        Beliefs::new(tried.collect(), terms)
    }

    fn told(&self, plan: &Plan, points: Vec<Point>, yardstick: Yardstick, terms: Terms) -> Tuned {
        let (session, objective) = (self.session, self.args.objective);
        let beliefs = (points.len() > 1).then(|| self.beliefs(&points, &yardstick, terms));
        let choice = beliefs.as_ref().and_then(Beliefs::choice);
        let (verdict, words) = judged(&points, choice, &yardstick, objective);
        let coefficient = choice.filter(|_| verdict == Verdict::Tuned);
        let runs: Vec<&Settings> = points.iter().flat_map(|point| self.runs(point.coefficient)).collect();
        let believed = |beliefs: &Beliefs| -> Vec<Believed> {
            let at = |&coefficient: &f64| {
                let Found { drop, cost } = beliefs.at(coefficient);
                Believed { coefficient, drop, cost }
            };
            self.candidates.iter().map(at).collect()
        };
        let last = points.last().map_or(0.0, |point| point.coefficient);
        let settings = self.runs(coefficient.unwrap_or(last))[0].clone();
        Tuned {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            machine: Machine::of(&session.device),
            method: self.runs(self.candidates[0])[0].training,
            objective,
            yardstick,
            verdict,
            coefficient,
            words,
            beliefs: beliefs.as_ref().map(believed).unwrap_or_default(),
            cost: Cost {
                trials: runs.len(),
                steps: settings.steps,
                whole_trainings: runs.len() as f64 * settings.steps as f64 / plan.whole as f64,
                seconds: points.iter().map(|point| point.training_seconds).sum(),
            },
            runs: runs.iter().map(|run| run.run_name()).collect(),
            points,
            settings,
        }
    }
}

/// The verdict, and what is told of it.
fn judged(points: &[Point], choice: Option<f64>, yardstick: &Yardstick, objective: Objective) -> (Verdict, String) {
    let base = &points[0];
    let Some(before) = base.objective(objective).filter(|_| base.whole()) else {
        let words = "nothing to compare: training fails without a regularizer already; try a smaller --lr";
        return (Verdict::NothingToCompare, words.to_owned());
    };
    let best = choice.and_then(|choice| points[1..].iter().find(|point| point.coefficient == choice));
    let found = best.and_then(|best| Some((best, best.objective(objective)?, yardstick.drop(base, best)?)));
    let (name, quality, unit) = (objective.text(), yardstick.quality(), yardstick.unit());
    match found {
        Some((best, after, drop)) if after <= (1.0 - objective.spread()) * before => {
            let change = if drop <= 0.0 { "gained" } else { "lost" };
            let words = format!(
                "coefficient {}: {name} {before:.1} becomes {after:.1} ({:.2}x) with {:.2} {unit} of {quality} {change}",
                best.coefficient,
                after / before,
                drop.abs()
            );
            (Verdict::Tuned, words)
        }
        Some(_) => {
            let words = format!(
                "no gain: with coefficients that leave the {quality} within the tolerance {name} stays at {before:.1} or \
                 above; try a larger --range or --steps-fraction, and see `fewsteps deploy`, which needs no training"
            );
            (Verdict::NoGain, words)
        }
        None => {
            let words = format!(
                "no gain: no coefficient that was tried leaves the {quality} within the tolerance for sure; try a --range \
                 of smaller ones, more --seeds, or more steps"
            );
            (Verdict::NoGain, words)
        }
    }
}

/// Writes the results and the report, and prints the table or the JSON.
fn publish(args: &TuneArgs, session: &Session<'_>, tuned: &Tuned) -> anyhow::Result<()> {
    let (results, report) = (session.out.results(), session.out.report());
    files::write_json(&results, tuned)?;
    files::write(&report, page::html(tuned)?.as_bytes())?;
    if args.training.output.json {
        return output::print(&(serde_json::to_string_pretty(tuned)? + "\n"));
    }
    let where_to = format!("report: {}\nresults: {}\n", report.display(), results.display());
    output::print(&(page::text(tuned) + &where_to))
}
