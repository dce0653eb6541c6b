//! From runs to a benchmark's results.

use std::time::{SystemTime, UNIX_EPOCH};

use super::rankings;
use crate::machine::Machine;
use crate::measure::stats::Spread;
use crate::method::Training;
use crate::record::{
    DeployedSummary, Failure, Hypersolved, MethodSummary, OtherPaths, OtherSummary, Ratios, Results, RunRecord, Tested,
};

/// What came of a benchmark: its runs, those that did not come to their end, and models with corrected steps.
#[derive(Debug, Default)]
pub(crate) struct Made {
    pub(crate) runs: Vec<RunRecord>,
    pub(crate) failures: Vec<Failure>,
    pub(crate) hypersolved: Vec<Hypersolved>,
    /// Warnings of its own.
    pub(crate) remarks: Vec<String>,
}

/// Means over the seeds for each method, in the methods' order, and what a reader should beware of; ranked by what is good
/// enough, if that is said.
pub(crate) fn summarize(
    machine: Machine,
    methods: &[Training],
    Made { runs, failures, hypersolved, remarks }: Made,
    reach: Option<f64>,
) -> Results {
    let mut summary: Vec<MethodSummary> =
        methods.iter().filter_map(|&method| method_summary(method, &runs, &hypersolved)).collect();
    let base = base(&summary).cloned();
    for method in &mut summary {
        method.ratios = base.as_ref().map(|base| ratios(method, base));
        let Some(base) = &base else { continue };
        for other in [&mut method.deployed, &mut method.hypersolver].into_iter().flatten() {
            other.nfe_ratio = Some(other.nfe.mean / base.nfe.mean);
            other.prediction_ratio = Some(other.prediction_milliseconds.mean / base.prediction_milliseconds.mean);
        }
    }
    let rankings = rankings::of(&summary, &runs, reach);
    Results {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        finished_unix_seconds: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
        warnings: [warnings(&machine, &runs, &failures), remarks].concat(),
        machine,
        summary,
        runs,
        failures,
        hypersolved,
        rankings,
    }
}

/// What ratios are to: the baseline, or else vanilla.
pub(crate) fn base(summary: &[MethodSummary]) -> Option<&MethodSummary> {
    let of = |training| summary.iter().find(|method| method.training == training);
    of(Training::Baseline).or_else(|| of(Training::Vanilla))
}

fn method_summary(training: Training, runs: &[RunRecord], hypersolved: &[Hypersolved]) -> Option<MethodSummary> {
    let runs: Vec<&RunRecord> = runs.iter().filter(|run| run.settings.training == training).collect();
    let spread = |value: fn(&RunRecord) -> f64| Spread::of(&runs.iter().map(|run| value(run)).collect::<Vec<_>>());
    let accuracies: Option<Vec<f64>> = runs.iter().map(|run| run.test.accuracy).collect();
    let errors: Option<Vec<f64>> = runs.iter().map(|run| run.test.error).collect();
    let ideal: Option<Vec<f64>> = runs.iter().map(|run| run.test.ideal_steps).collect();
    let published: Option<Vec<f64>> = runs.iter().map(|run| run.test.nfe_published).collect();
    let others: Option<Vec<OtherPaths>> = runs.iter().map(|run| run.test.other_paths).collect();
    let corrected = |run: &&RunRecord| {
        let of_run = |found: &&Hypersolved| (found.training, found.seed) == (training, run.settings.seed);
        hypersolved.iter().find(of_run).map(|found| &found.tested)
    };
    Some(MethodSummary {
        training,
        seeds: runs.len(),
        accuracy: accuracies.and_then(|accuracies| Spread::of(&accuracies)),
        test_loss: spread(|run| run.test.loss).filter(|loss| loss.mean.is_finite()),
        failed: runs.iter().map(|run| run.test.failed).sum(),
        other_paths: others.and_then(|others| other_summary(&others)),
        nfe: spread(|run| run.test.nfe)?,
        nfe_diffusion: spread(|run| run.test.nfe_diffusion)?,
        error: errors.and_then(|errors| Spread::of(&errors)),
        ideal_steps: ideal.and_then(|ideal| Spread::of(&ideal)),
        nfe_published: published.and_then(|published| Spread::of(&published)),
        step_milliseconds: spread(|run| 1e3 * run.times.warm_step_seconds)?,
        prediction_milliseconds: spread(|run| run.times.prediction_milliseconds)?,
        ratios: None,
        deployed: deployed_summary(runs.iter().map(|run| run.deployed.as_ref())),
        hypersolver: deployed_summary(runs.iter().map(corrected)),
    })
}

/// Of what each run has, if every one has it.
fn deployed_summary<'a>(runs: impl Iterator<Item = Option<&'a Tested>>) -> Option<DeployedSummary> {
    let tested: Vec<&Tested> = runs.collect::<Option<_>>()?;
    let spread = |value: fn(&Tested) -> f64| Spread::of(&tested.iter().map(|found| value(found)).collect::<Vec<_>>());
    let perhaps = |value: fn(&Tested) -> Option<f64>| {
        let values: Option<Vec<f64>> = tested.iter().map(|found| value(found)).collect();
        values.and_then(|values| Spread::of(&values))
    };
    let mut solvers: Vec<String> = Vec::new();
    for found in &tested {
        if !solvers.contains(&found.solver) {
            solvers.push(found.solver.clone());
        }
    }
    Some(DeployedSummary {
        solvers,
        accuracy: perhaps(|found| found.test.accuracy),
        test_loss: spread(|found| found.test.loss).filter(|loss| loss.mean.is_finite()),
        failed: tested.iter().map(|found| found.test.failed).sum(),
        nfe: spread(|found| found.test.nfe)?,
        nfe_diffusion: spread(|found| found.test.nfe_diffusion)?,
        nfe_correction: perhaps(|found| found.test.nfe_correction),
        error: perhaps(|found| found.test.error),
        prediction_milliseconds: spread(|found| found.prediction_milliseconds)?,
        nfe_ratio: None,
        prediction_ratio: None,
    })
}

fn other_summary(others: &[OtherPaths]) -> Option<OtherSummary> {
    let accuracies: Option<Vec<f64>> = others.iter().map(|other| other.accuracy).collect();
    let losses: Vec<f64> = others.iter().map(|other| other.loss).collect();
    Some(OtherSummary {
        paths: others.first()?.paths,
        accuracy: accuracies.and_then(|accuracies| Spread::of(&accuracies)),
        test_loss: Spread::of(&losses).filter(|loss| loss.mean.is_finite()),
        failed: others.iter().map(|other| other.failed).sum(),
    })
}

fn ratios(method: &MethodSummary, base: &MethodSummary) -> Ratios {
    Ratios {
        nfe: method.nfe.mean / base.nfe.mean,
        step_time: method.step_milliseconds.mean / base.step_milliseconds.mean,
        prediction_time: method.prediction_milliseconds.mean / base.prediction_milliseconds.mean,
    }
}

/// Whatever makes the figures less comparable than they look.
fn warnings(machine: &Machine, runs: &[RunRecord], failures: &[Failure]) -> Vec<String> {
    let mut warnings: Vec<String> = runs.first().and_then(|run| run.settings.warning()).into_iter().collect();
    warnings.extend(failures.iter().map(|Failure { error, .. }| format!("a run failed: {error}")));
    warnings.extend(runs.iter().filter_map(RunRecord::defect));
    for run in runs {
        let (name, progress) = (run.settings.run_name(), &run.progress);
        if progress.failed + progress.skipped > 0 {
            let (failed, skipped) = (progress.failed, progress.skipped);
            warnings.push(format!("{name}: {failed} trajectories failed in training, {skipped} updates were left out"));
        }
        if run.test.failed > 0 {
            let fate = if run.test.accuracy.is_some() { "count as wrong" } else { "are left out of the loss" };
            warnings.push(format!("{name}: {} test trajectories failed and {fate}", run.test.failed));
        }
        let remark = run.settings.budget().and_then(|budget| run.budget?.remark(&budget));
        warnings.extend(remark.map(|remark| format!("{name}: {remark}")));
        if !run.machine.computes_as(machine) {
            warnings.push(format!(
                "{name}: ran on another engine, other threads or another machine; its times do not compare"
            ));
        }
    }
    warnings
}
