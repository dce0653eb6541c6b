//! What is kept of runs and benchmarks, as JSON.

mod budget;
mod measured;
mod rankings;
mod results;
mod run;

pub(crate) use budget::BudgetOutcome;
pub(crate) use measured::{
    Followed, FollowedState, LearntDensity, LearntMoments, Measured, Moment, OtherPaths, Picture, Tested, Validated,
    WeakError,
};
pub(crate) use rankings::{Ranked, Rankings};
pub(crate) use results::{DeployedSummary, Failure, Hypersolved, MethodSummary, OtherSummary, Ratios, Results};
pub(crate) use run::{Kept, Progress, RunRecord, Times};

#[cfg(test)]
mod tests {
    use clap::Parser;
    use fewsteps::{Cpu, Device};
    use serde::{Deserialize, Serialize};
    use serde_json::Value;

    use super::run::Curve;
    use super::*;
    use crate::args::{Cli, Command};
    use crate::data;
    use crate::machine::Machine;
    use crate::method::Training;
    use crate::report::summary::{self, Made};
    use crate::settings::Settings;

    /// A record that lacks nothing.
    fn record() -> RunRecord {
        let Some(Command::Train(args)) = Cli::parse_from(["fewsteps", "train"]).command else { panic!("train") };
        let digits = data::digits().expect("embedded");
        let measured = Measured {
            step: 2,
            loss: 0.5,
            accuracy: Some(0.5),
            nfe: 0.5,
            nfe_diffusion: 0.5,
            nfe_correction: Some(0.5),
            accepted: 0.5,
            rejected: 0.5,
            ideal_steps: Some(0.5),
            nfe_published: Some(0.5),
            error: Some(0.5),
            weak_error: Some(WeakError { mean: 0.5, variance: 0.5 }),
            failed: 0,
            other_paths: Some(OtherPaths { paths: 3, loss: 0.5, accuracy: Some(0.5), failed: 1 }),
        };
        let (list, moment) = (vec![0.5, 0.5], Moment { mean: [0.5; 2], variance: [0.5; 2] });
        RunRecord {
            version: "0.0.0".to_owned(),
            settings: Settings::resolve(&args.training, Training::Vanilla, 0, &digits).expect("the defaults"),
            machine: Machine::of(&Device::Cpu(Cpu::with_threads(1).expect("a thread"))),
            parameters: 1,
            test: measured,
            kept: Some(Kept { step: 2, loss: 0.5, trained: 2, stopped: false }),
            times: Times {
                cold_step_seconds: 0.5,
                warm_step_seconds: 0.5,
                training_seconds: 0.5,
                prediction_milliseconds: 0.5,
                prediction_batch: 1,
            },
            deployed: Some(Tested {
                solver: "rk4, 1 step".to_owned(),
                test: measured,
                prediction_milliseconds: 0.5,
                prediction_batch: 1,
            }),
            moments: Some(LearntMoments { paths: 3, times: list.clone(), learnt: vec![moment], given: vec![moment] }),
            followed: Some(Followed {
                time: "t".to_owned(),
                times: list.clone(),
                trained: 1,
                states: vec![FollowedState { name: "x".to_owned(), learnt: list.clone(), given: list.clone() }],
            }),
            density: Some(LearntDensity {
                nfe: 1,
                failed: 0,
                picture: Some(Picture {
                    x: [0.5; 2],
                    y: [0.5; 2],
                    side: 1,
                    log_density: list.clone(),
                    given: list.clone(),
                    samples: list.clone(),
                }),
            }),
            budget: Some(BudgetOutcome { target: 0.5, nfe: 0.5, best: 0.5, coefficient: 0.5, unreachable: false }),
            peak_memory_bytes: None,
            training_bytes: Some(1),
            progress: Progress {
                setup_seconds: 0.5,
                curve: Curve {
                    loss: list.clone(),
                    penalty: list.clone(),
                    coefficient: list.clone(),
                    seconds: list,
                    ..Curve::default()
                },
                evaluations: vec![measured],
                validation: vec![Validated { step: 2, loss: 0.5 }],
                stopping: None,
                failed: 0,
                skipped: 0,
                first_skipped: None,
            },
        }
    }

    /// JSON pointers of all numbers with a fraction, but for those that a command was given: they are checked.
    fn measured_numbers(value: &Value, path: &str, found: &mut Vec<String>) {
        match value {
            Value::Number(number) if number.is_f64() => found.push(path.to_owned()),
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(i, item)| measured_numbers(item, &format!("{path}/{i}"), found));
            }
            Value::Object(entries) => entries
                .iter()
                .filter(|(key, _)| *key != "settings")
                .for_each(|(key, item)| measured_numbers(item, &format!("{path}/{key}"), found)),
            _ => {}
        }
    }

    /// Puts every number that is not finite in the place of every number: it is read, and written again as it was.
    fn comes_back<T: Serialize + for<'de> Deserialize<'de>>(value: &T, count: usize) {
        let good = serde_json::to_value(value).expect("plain data");
        let mut paths = Vec::new();
        measured_numbers(&good, "", &mut paths);
        assert_eq!(paths.len(), count, "{paths:?}");
        for path in &paths {
            for word in ["NaN", "inf", "-inf"] {
                let mut diverged = good.clone();
                *diverged.pointer_mut(path).expect("found above") = word.into();
                let back: T = serde_json::from_value(diverged.clone()).unwrap_or_else(|e| panic!("{path}: {e}"));
                assert_eq!(serde_json::to_value(&back).expect("plain data"), diverged, "{path}: {word}");
            }
            let mut old = good.clone();
            *old.pointer_mut(path).expect("found above") = Value::Null;
            serde_json::from_value::<T>(old).unwrap_or_else(|e| panic!("{path}: null, as once written: {e}"));
        }
    }

    #[test]
    fn every_number_of_a_record_may_be_any() {
        let evaluation = 6 + 3 + 2 + 2 + 1;
        let picture = 2 * 2 + 3 * 2;
        comes_back(&record(), 3 * evaluation + 2 + 1 + 4 + (2 + 2 * 4) + 3 * 2 + picture + 4 + 1 + 4 * 2);
    }

    #[test]
    fn every_number_of_results_may_be_any() {
        let hypersolved = Hypersolved {
            training: Training::Vanilla,
            seed: 0,
            base: "heun".to_owned(),
            hidden: 32,
            training_steps: 1,
            training_seconds: 0.5,
            residual: 0.5,
            left: 0.5,
            steps: 1,
            as_good: true,
            multiply_adds: 1,
            tested: record().deployed.expect("there"),
        };
        let made = Made { runs: vec![record()], hypersolved: vec![hypersolved], ..Made::default() };
        let mut results = summary::summarize(record().machine, &[Training::Vanilla], made, None);
        results.runs.clear();
        let deployed = 2 * 7 + 2;
        comes_back(&results, 2 * (2 + 2 + 7) + 3 + 2 * deployed + 3 + 15 + 1 + 3 + 1 + 1);
    }
}
