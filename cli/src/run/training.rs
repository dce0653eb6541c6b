//! One training run: a method, a seed, and what comes of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use fewsteps::{Backend, Blocking, EarlyStopping, Learner, StepReport, Verdict};

use super::half_way::HalfWay;
use super::horizon::Horizon;
use super::metrics::Metrics;
use super::progress::Ticker;
use super::{best, checkpoint};
use crate::data::{BatchBuffer, Data};
use crate::files;
use crate::interrupt::{self, Interrupted};
use crate::machine::{self, Machine};
use crate::measure;
use crate::measure::accuracy;
use crate::measure::stats;
use crate::record::{BudgetOutcome, Kept, Measured, Progress, RunRecord, Tested, Times, Validated};
use crate::settings::Settings;
use crate::solvers;
use crate::validation::{Keep, Validation};

/// What a run needs besides its data.
#[derive(Debug)]
pub(crate) struct RunOrder {
    pub(crate) settings: Settings,
    /// The folder of all files, and whether it holds anything to go on with.
    pub(crate) out: PathBuf,
    pub(crate) kept: bool,
    /// Where checkpoints are written.
    pub(crate) checkpoint: PathBuf,
    /// The file of the steps' figures.
    pub(crate) metrics: PathBuf,
    pub(crate) checkpoint_every: Duration,
    /// The checkpoint to go on from, if the run is under way.
    pub(crate) resume: Option<PathBuf>,
    /// The checkpoint with whose weights a new run begins, if not with random ones.
    pub(crate) weights: Option<PathBuf>,
    /// What it is measured by half way, if it may be given up there.
    pub(crate) half_way: Option<HalfWay>,
}

/// A run under way.
pub(crate) struct TrainingRun<'a, L: Learner> {
    order: &'a RunOrder,
    data: &'a Data,
    engine: &'a L::Engine,
    learner: Blocking<L>,
    /// What is trained on now, where the engine holds it.
    held: Option<L::Data>,
    /// Whether that is what is trained on now.
    current: bool,
    /// A batch of it.
    samples: Vec<u32>,
    horizon: Horizon<'a>,
    progress: Progress,
    metrics: Metrics,
    buffer: BatchBuffer<L::Scalar>,
}

impl<'a, L: Learner> TrainingRun<'a, L> {
    /// Begins the run, or goes on with it from its checkpoint.
    pub(crate) fn open(engine: &'a L::Engine, order: &'a RunOrder, data: &'a Data) -> anyhow::Result<Self> {
        let start = Instant::now();
        let (learner, progress) = match &order.resume {
            Some(path) => resume::<L>(engine, order, path)?,
            None => (begin::<L>(engine, order)?, first(order)?),
        };
        let metrics = Metrics::open(&order.metrics, &order.settings.run_name(), learner.steps())?;
        let horizon = Horizon::new(&order.settings, &data.train)?;
        let (held, current, samples, buffer) = (None, false, Vec::new(), BatchBuffer::default());
        let mut run = Self { order, data, engine, learner, held, current, samples, horizon, progress, metrics, buffer };
        run.follow()?;
        if run.progress.curve.loss.is_empty() {
            run.progress.setup_seconds = start.elapsed().as_secs_f64();
        }
        Ok(run)
    }

    /// Goes to the horizon of the next training step; an engine with a memory of its own holds what is trained on then.
    fn follow(&mut self) -> anyhow::Result<()> {
        if let Some(config) = self.horizon.follow(self.learner.steps())? {
            self.learner.reconfigure(config)?;
            self.current = false;
        }
        if L::Engine::OWN_MEMORY && !self.current {
            self.held = None;
            self.held = self.learner.hold(&BatchBuffer::default().gather_all(self.horizon.samples()))?;
        }
        self.current = true;
        Ok(())
    }

    /// Goes to the whole horizon, which evaluations and checkpoints are of. What was learnt stays as it is.
    fn whole(&mut self) -> anyhow::Result<()> {
        if self.horizon.leave()? {
            self.learner.reconfigure(self.order.settings.config.clone())?;
            (self.held, self.current) = (None, false);
        }
        Ok(())
    }

    /// Trains to the last step, and writes the checkpoint; when interrupted before, that of the step that was reached.
    pub(crate) fn finish(mut self, machine: Machine, ticker: &mut Ticker) -> anyhow::Result<RunRecord> {
        let (settings, first) = (&self.order.settings, self.learner.steps());
        ticker.begin(first);
        let mut last_checkpoint = Instant::now();
        while self.learner.steps() < settings.steps && !self.stopped() {
            if interrupt::requested() {
                let RunOrder { out, kept, checkpoint, .. } = self.order;
                if self.learner.steps() == first {
                    return Err(Interrupted::between_steps(out, *kept).into());
                }
                self.save()?;
                return Err(Interrupted::after_writing(checkpoint, out).into());
            }
            let report = self.step()?;
            ticker.tick(&report);
            if let Some(half_way) = &self.order.half_way {
                half_way.judge(report.step, &self.progress.curve.loss)?;
            }
            if report.step.is_multiple_of(settings.eval_every) {
                self.look(report.step)?;
            }
            if last_checkpoint.elapsed() >= self.order.checkpoint_every {
                self.save()?;
                last_checkpoint = Instant::now();
            }
        }
        // Rooms grow, and do not shrink.
        let training_bytes = self.learner.bytes();
        self.whole()?;
        let kept = self.keep()?;
        let test = self.conclude()?;
        // The best checkpoint takes its place as soon as the record is written.
        if !self.keeps_best() {
            self.save()?;
        }
        Ok(RunRecord { training_bytes: Some(training_bytes), kept, ..self.record(machine, test)? })
    }

    /// Whether patience is at its end.
    fn stopped(&self) -> bool {
        self.progress.stopping.is_some_and(|stopping| stopping.stopped())
    }

    /// Whether weights were kept that are the best.
    fn keeps_best(&self) -> bool {
        let best = self.progress.stopping.and_then(|stopping| stopping.best());
        best.is_some() && self.order.settings.validation.is_some_and(|validation| validation.keep == Keep::Best)
    }

    /// Looks at what comes of the training after `step` steps: on the test set, which decides nothing, and on what was held out.
    fn look(&mut self, step: u64) -> anyhow::Result<()> {
        let Settings { steps, validation, .. } = self.order.settings;
        // The evaluation at the end is of the weights that are kept.
        if step < steps || validation.is_some() {
            let found = self.evaluate()?;
            self.progress.evaluations.push(found);
        }
        let Some(Validation { keep, .. }) = validation else { return Ok(()) };
        let Self { order, data, learner, buffer, progress, .. } = self;
        let Settings { hold_out, batch, .. } = order.settings;
        let samples = data.train.len();
        let found = measure::measure_some(learner, &data.train, samples - hold_out..samples, batch, buffer);
        let loss = found.context("validation")?.loss;
        progress.validation.push(Validated { step, loss });
        let verdict = progress.stopping.as_mut().map(|stopping| stopping.judge(step, loss));
        if verdict == Some(Verdict::Better) && keep == Keep::Best {
            self.save()?;
            best::keep(&self.order.checkpoint, &self.order.checkpoint)?;
        }
        Ok(())
    }

    /// Takes the weights that the run ends with.
    fn keep(&mut self) -> anyhow::Result<Option<Kept>> {
        let Some(stopping) = self.progress.stopping else { return Ok(None) };
        let (trained, stopped) = (self.learner.steps(), stopping.stopped());
        let last = || self.progress.validation.last().map_or(f64::NAN, |found| found.loss);
        let Some(best) = stopping.best().filter(|_| self.keeps_best()) else {
            return Ok(Some(Kept { step: trained, loss: last(), trained, stopped }));
        };
        if best.step != trained {
            let (learner, _) = Blocking::<L>::resume(self.engine, &best::path(&self.order.checkpoint))?;
            (self.learner, self.held) = (learner, None);
        }
        Ok(Some(Kept { step: best.step, loss: best.loss, trained, stopped }))
    }

    fn step(&mut self) -> anyhow::Result<StepReport> {
        self.follow()?;
        let (trained_on, indices) = self.horizon.batch(self.learner.steps());
        let mut start = Instant::now();
        let report = match &self.held {
            Some(held) => {
                self.samples.clear();
                // An index beyond u32 is beyond any data set that a binding takes: it is refused as such.
                self.samples.extend(indices.iter().map(|&i| u32::try_from(i).unwrap_or(u32::MAX)));
                self.learner.step_on(held, &self.samples)?
            }
            None => {
                let batch = self.buffer.gather(trained_on, indices);
                start = Instant::now();
                self.learner.step(&batch)?
            }
        };
        let elapsed = start.elapsed();
        self.progress.push(&report, elapsed);
        self.metrics.push(&report, elapsed)?;
        Ok(report)
    }

    /// Evaluates on the test set.
    fn evaluate(&mut self) -> anyhow::Result<Measured> {
        self.whole()?;
        let Self { order, data, learner, buffer, .. } = self;
        measure::measure(learner, &data.test, order.settings.batch, buffer)
    }

    /// The evaluation of the weights that the run ends with, which tries other numbers of paths too, and finds the error of the
    /// solves. It takes the place of one that was made on the way.
    fn conclude(&mut self) -> anyhow::Result<Measured> {
        let steps = self.learner.steps();
        self.progress.evaluations.retain(|found| found.step != steps);
        let found = self.evaluate()?;
        let (engine, Self { order, data, learner, buffer, progress, .. }) = (self.engine, self);
        let found = accuracy::with_error(engine, learner, &data.test, None, found)?;
        let other_paths = measure::other_paths(learner, &data.test, order.settings.batch, buffer)?;
        let batch = order.settings.batch;
        let nfe_published = measure::nfe_published(learner, &data.test, batch, buffer)?;
        let found = Measured { other_paths, nfe_published, ..found };
        let place = progress.evaluations.partition_point(|other| other.step < steps);
        progress.evaluations.insert(place, found);
        Ok(found)
    }

    /// Writes weights and curves as one file, so that neither can be of another step than the other. Weights that are
    /// no numbers are refused by the library, and what was there stays.
    fn save(&mut self) -> anyhow::Result<()> {
        self.whole()?;
        self.metrics.flush()?;
        let metadata = BTreeMap::from([
            (checkpoint::SETTINGS.to_owned(), serde_json::to_string(&self.order.settings)?),
            (checkpoint::PROGRESS.to_owned(), serde_json::to_string(&self.progress)?),
        ]);
        self.learner.save(&self.order.checkpoint, &metadata).context("the checkpoint cannot be written")
    }

    /// What came of a target for NFE, if there is one.
    fn budget(&mut self) -> anyhow::Result<Option<BudgetOutcome>> {
        let Some(budget) = self.order.settings.budget() else { return Ok(None) };
        let state = self.learner.learnt()?.budget;
        let last = &self.progress.curve.nfe[self.progress.curve.nfe.len().saturating_sub(200)..];
        Ok(Some(BudgetOutcome {
            target: budget.nfe,
            nfe: last.iter().sum::<usize>() as f64 / last.len() as f64,
            best: state.best_nfe(&budget),
            coefficient: state.coefficient,
            unreachable: state.unreachable,
        }))
    }

    fn record(mut self, machine: Machine, test: Measured) -> anyhow::Result<RunRecord> {
        let (settings, engine, data) = (&self.order.settings, self.engine, self.data);
        let (batch, samples) = (settings.batch, &data.test);
        // How long it takes to fail is of no use to anybody, and may be long.
        let (prediction, prediction_batch) = if test.loss.is_finite() {
            measure::time_prediction(&mut self.learner, samples, batch, &mut self.buffer)?
        } else {
            (f64::NAN, batch)
        };
        let solver = solvers::name(&self.learner.config().model.options);
        let trained = Tested { solver, test, prediction_milliseconds: 1e3 * prediction, prediction_batch };
        let deployed = if test.loss.is_finite() {
            Some(solvers::of_run(engine, &mut self.learner, data, settings, &trained)?)
        } else {
            None
        };
        let moments = measure::moments(&mut self.learner, samples, &mut self.buffer)?;
        let followed = measure::followed(&mut self.learner, data, &mut self.buffer)?;
        let density = if test.loss.is_finite() {
            measure::density(engine, &mut self.learner, data, &mut self.buffer)?
        } else {
            None
        };
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
            settings: self.order.settings.clone(),
            machine,
            parameters: self.learner.config().model.parameter_count(),
            test,
            kept: None,
            times,
            deployed,
            moments,
            followed,
            density,
            budget: self.budget()?,
            peak_memory_bytes: machine::peak_memory(),
            training_bytes: None,
            progress: self.progress,
        })
    }
}

/// What a run has recorded before its first step.
fn first(order: &RunOrder) -> anyhow::Result<Progress> {
    files::remove(&best::path(&order.checkpoint))?;
    let stopping = order.settings.validation.map(|validation| validation.stopping()).transpose()?;
    Ok(Progress { stopping, ..Progress::default() })
}

/// A run's model before its first step.
fn begin<L: Learner>(engine: &L::Engine, order: &RunOrder) -> anyhow::Result<Blocking<L>> {
    let mut learner = Blocking::<L>::new(engine, order.settings.config.clone())?;
    if let Some(path) = &order.weights {
        let (mut other, _) = Blocking::<L>::resume(engine, path).context("--from")?;
        let layouts = [&other, &learner].map(|learner| learner.config().model.layout());
        ensure!(
            layouts[0] == layouts[1],
            "--from {}: its weights are of another model than {}'s; give the --task that it was trained on",
            path.display(),
            order.settings.task.name()
        );
        learner.set_parameters(&other.parameters()?)?;
    }
    Ok(learner)
}

/// Reads a checkpoint, and checks that it is of this run and of one step throughout.
fn resume<L: Learner>(engine: &L::Engine, order: &RunOrder, path: &Path) -> anyhow::Result<(Blocking<L>, Progress)> {
    let (learner, metadata) = Blocking::<L>::resume(engine, path)?;
    checkpoint::ensure_goes_on(&order.settings, &checkpoint::settings_of(&metadata, path)?, learner.steps(), path)?;
    let progress = metadata.get(checkpoint::PROGRESS).and_then(|text| serde_json::from_str::<Progress>(text).ok());
    let remedy = "add --overwrite to train anew";
    let progress = progress.with_context(|| format!("{}: its curves cannot be read; {remedy}", path.display()))?;
    let (curves, steps) = (progress.curve.steps(), learner.steps());
    ensure!(
        curves == Some(steps as usize),
        "{}: its curves are of {}, its weights of {steps} steps; {remedy}",
        path.display(),
        curves.map_or_else(|| "different lengths".to_owned(), |curves| format!("{curves} steps"))
    );
    if let Some(best) = progress.stopping.as_ref().and_then(EarlyStopping::best)
        && order.settings.validation.is_some_and(|validation| validation.keep == Keep::Best)
    {
        best::restore(path, steps, best, &order.checkpoint)?;
    }
    Ok((learner, progress))
}

impl Progress {
    fn push(&mut self, report: &StepReport, elapsed: Duration) {
        let curve = &mut self.curve;
        curve.loss.push(report.loss);
        curve.penalty.push(report.penalty);
        curve.coefficient.push(report.coefficient);
        curve.nfe.push(report.nfe);
        curve.nfe_diffusion.push(report.nfe_diffusion);
        curve.ideal_steps.extend(report.ideal_steps);
        curve.nfe_penalty.push(report.nfe_penalty);
        curve.products.push(report.products);
        curve.seconds.push(elapsed.as_secs_f64());
        self.failed += report.failed;
        self.skipped += usize::from(report.skipped);
        if report.skipped {
            self.first_skipped.get_or_insert(report.step);
        }
    }
}
