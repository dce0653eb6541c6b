//! One training run: a method, a seed, and what comes of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use fewsteps::{Batches, StepReport};

use crate::data::{BatchBuffer, Data};
use crate::interrupt::Interrupt;
use crate::learner::Learner;
use crate::machine::{self, Machine};
use crate::measure;
use crate::metrics::Metrics;
use crate::progress::Ticker;
use crate::record::{Progress, RunRecord, Times};
use crate::settings::Settings;
use crate::stats;

/// Names of our entries in a checkpoint's metadata.
pub(crate) const SETTINGS: &str = "settings";
const PROGRESS: &str = "progress";

/// What a run needs besides its data.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) settings: Settings,
    pub(crate) checkpoint: PathBuf,
    /// The file of the steps' figures.
    pub(crate) metrics: PathBuf,
    pub(crate) checkpoint_every: Duration,
    /// Whether to go on from the checkpoint if there is one.
    pub(crate) resume: bool,
}

/// A run under way.
pub(crate) struct Run<'a, L: Learner> {
    plan: &'a Plan,
    data: &'a Data,
    learner: L,
    batches: Batches,
    progress: Progress,
    metrics: Metrics,
    buffer: BatchBuffer<L::Scalar>,
}

impl<'a, L: Learner> Run<'a, L> {
    /// Begins the run, or goes on with it from its checkpoint.
    pub(crate) fn open(engine: &L::Engine, plan: &'a Plan, data: &'a Data) -> anyhow::Result<Self> {
        let start = Instant::now();
        let (mut learner, mut progress) = if plan.resume && plan.checkpoint.exists() {
            resume::<L>(engine, plan)?
        } else {
            (L::new(engine, plan.settings.config.clone())?, Progress::default())
        };
        if L::OWN_MEMORY {
            learner.hold(&BatchBuffer::default().gather_all(&data.train))?;
        }
        if progress.curve.loss.is_empty() {
            progress.setup_seconds = start.elapsed().as_secs_f64();
        }
        let batches = Batches::new(data.train.pool(plan.settings.batch), plan.settings.batch, plan.settings.seed);
        let metrics = Metrics::open(&plan.metrics, &plan.settings.run_name(), learner.steps())?;
        Ok(Self { plan, data, learner, batches, progress, metrics, buffer: BatchBuffer::default() })
    }

    /// Trains to the last step. `None` when interrupted before; the checkpoint is written in either case.
    pub(crate) fn finish(
        mut self,
        machine: Machine,
        ticker: &mut Ticker,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Option<RunRecord>> {
        let settings = &self.plan.settings;
        ticker.begin(self.learner.steps());
        let mut last_checkpoint = Instant::now();
        while self.learner.steps() < settings.steps {
            if interrupt.requested() {
                self.save()?;
                return Ok(None);
            }
            let report = self.step()?;
            ticker.tick(&report);
            let last = report.step == settings.steps;
            if last || report.step.is_multiple_of(settings.eval_every) {
                self.evaluate(last)?;
            }
            if last_checkpoint.elapsed() >= self.plan.checkpoint_every {
                self.save()?;
                last_checkpoint = Instant::now();
            }
        }
        self.save()?;
        self.record(machine).map(Some)
    }

    fn step(&mut self) -> anyhow::Result<StepReport> {
        let indices = self.batches.at(self.learner.steps());
        let mut start = Instant::now();
        let report = match self.learner.step_on_held(indices)? {
            Some(report) => report,
            None => {
                let batch = self.buffer.gather(&self.data.train, indices);
                start = Instant::now();
                self.learner.step(&batch)?
            }
        };
        let elapsed = start.elapsed();
        self.progress.push(&report, elapsed);
        self.metrics.push(&report, elapsed)?;
        Ok(report)
    }

    /// Evaluates on the test set; `last` is the evaluation after training, which tries other numbers of paths too.
    fn evaluate(&mut self, last: bool) -> anyhow::Result<()> {
        let Self { plan, data, learner, buffer, progress, .. } = self;
        let batch = plan.settings.batch;
        let mut measured = measure::measure(learner, &data.test, batch, buffer)?;
        if last {
            measured.other_paths = measure::other_paths(learner, &data.test, batch, buffer)?;
        }
        progress.evaluations.push(measured);
        Ok(())
    }

    /// Writes weights and curves as one file, so that neither can be of another step than the other.
    fn save(&mut self) -> anyhow::Result<()> {
        self.metrics.flush()?;
        let metadata = BTreeMap::from([
            (SETTINGS.to_owned(), serde_json::to_string(&self.plan.settings)?),
            (PROGRESS.to_owned(), serde_json::to_string(&self.progress)?),
        ]);
        self.learner.save(&self.plan.checkpoint, &metadata).context("the checkpoint cannot be written")
    }

    fn record(mut self, machine: Machine) -> anyhow::Result<RunRecord> {
        let (batch, test) = (self.plan.settings.batch, &self.data.test);
        let (prediction, prediction_batch) =
            measure::time_prediction(&mut self.learner, test, batch, &mut self.buffer)?;
        let moments = measure::moments(&mut self.learner, test, &mut self.buffer)?;
        let seconds = &self.progress.curve.seconds;
        let first = seconds.first().copied().context("a run has at least one step")?;
        let times = Times {
            cold_step_seconds: self.progress.setup_seconds + first,
            warm_step_seconds: stats::median(seconds.iter().skip(1).copied()).unwrap_or(first),
            training_seconds: seconds.iter().sum(),
            prediction_milliseconds: 1e3 * prediction,
            prediction_batch,
        };
        Ok(RunRecord {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            settings: self.plan.settings.clone(),
            machine,
            parameters: self.learner.config().model.parameter_count(),
            test: *self.progress.evaluations.last().context("a run ends with an evaluation")?,
            times,
            moments,
            peak_memory_bytes: machine::peak_memory(),
            progress: self.progress,
        })
    }
}

/// Reads a checkpoint, and checks that it is of this run and of one step throughout.
fn resume<L: Learner>(engine: &L::Engine, plan: &Plan) -> anyhow::Result<(L, Progress)> {
    let path = &plan.checkpoint;
    let (learner, metadata) = L::resume(engine, path)?;
    plan.settings.ensure_same(&settings_of(&metadata, path)?, path)?;
    let progress = metadata.get(PROGRESS).and_then(|text| serde_json::from_str::<Progress>(text).ok());
    let progress = progress.with_context(|| format!("{}: its curves cannot be read; delete it", path.display()))?;
    ensure!(
        progress.curve.loss.len() as u64 == learner.steps(),
        "{}: its curves are of {} steps, its weights of {}; delete it",
        path.display(),
        progress.curve.loss.len(),
        learner.steps()
    );
    Ok((learner, progress))
}

/// The settings that a checkpoint's run had.
pub(crate) fn settings_of(metadata: &BTreeMap<String, String>, path: &std::path::Path) -> anyhow::Result<Settings> {
    let foreign = || format!("{}: holds no settings; it was not written by this command", path.display());
    serde_json::from_str(metadata.get(SETTINGS).with_context(foreign)?).with_context(foreign)
}

impl Progress {
    fn push(&mut self, report: &StepReport, elapsed: Duration) {
        let curve = &mut self.curve;
        curve.loss.push(report.loss);
        curve.penalty.push(report.penalty);
        curve.coefficient.push(report.coefficient);
        curve.nfe.push(report.nfe);
        curve.nfe_diffusion.push(report.nfe_diffusion);
        curve.nfe_penalty.push(report.nfe_penalty);
        curve.products.push(report.products);
        curve.seconds.push(elapsed.as_secs_f64());
        self.failed += report.failed;
        self.skipped += usize::from(report.skipped);
    }
}
