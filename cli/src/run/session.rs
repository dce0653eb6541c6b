//! [`Session`]: what the runs of one command share.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use fewsteps::{CheckpointInfo, Device, Error, GpuTrainer, Learner, Trainer};

use super::checkpoint;
use super::half_way::{GivenUp, HalfWay};
use super::outdir::{OutDir, RunFiles};
use super::progress::Ticker;
use super::training::{RunOrder, TrainingRun};
use crate::args::{EngineArgs, OutputArgs, TrainingArgs};
use crate::choice::Precision;
use crate::data::Data;
use crate::data::DataIdentity;
use crate::files;
use crate::interrupt::{self, Interrupted};
use crate::machine::Machine;
use crate::record::{OtherPaths, RunRecord};
use crate::report::table;
use crate::settings::Settings;

/// How a command ended, from the best to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ending {
    Finished,
    /// It trained, but a run has nothing to show.
    NothingToShow,
    /// A run could not be made.
    Failed,
}

impl Ending {
    /// What the error of one run makes of the whole, if it is that run's alone; `None` where the next one would meet
    /// the same, as with a full disk or a device that is gone.
    pub(crate) fn of(error: &anyhow::Error) -> Option<Self> {
        if error.is::<GivenUp>() {
            return Some(Self::Failed);
        }
        match error.downcast_ref::<Error>()? {
            Error::Diverged { .. } => Some(Self::NothingToShow),
            // How many steps are kept, and so how much memory is needed, depends on what was learnt.
            Error::Memory { .. } | Error::OutOfMemory { .. } | Error::Limit { .. } => Some(Self::Failed),
            _ => None,
        }
    }
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Finished => Self::SUCCESS,
            Ending::Failed => Self::FAILURE,
            Ending::NothingToShow => Self::from(3),
        }
    }
}

/// The engine, the data, the output folder, and the runs.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    args: &'a TrainingArgs,
    pub(crate) device: Device,
    pub(crate) out: OutDir,
    pub(crate) runs: Vec<Settings>,
    pub(crate) data: Data,
    weights: Option<PathBuf>,
}

/// Where a run begins.
#[derive(Debug)]
enum Beginning {
    /// It is finished already.
    Finished(Box<RunRecord>),
    /// It is to be trained, from a checkpoint or anew, with its files there.
    Train { from: Option<PathBuf>, files: RunFiles },
}

impl<'a> Session<'a> {
    /// Opens the engine and the output folder for runs on `data`; `results` names the file of what is told of them together, if
    /// anything is.
    /// Everything that can be refused is refused here, before training.
    pub(crate) fn open(
        args: &'a TrainingArgs,
        data: Data,
        runs: Vec<Settings>,
        results: Option<&'static str>,
    ) -> anyhow::Result<Self> {
        let device = open(args, &runs)?;
        let identity = DataIdentity::of(&data);
        let runs: Vec<Settings> =
            runs.into_iter().map(|run| Settings { data: Some(identity.clone()), ..run }).collect();
        interrupt::check()?;
        let names: Vec<String> = runs.iter().map(Settings::run_name).collect();
        let out = OutDir::open(&args.output, &names, results)?;
        for name in &names {
            out.replace(name)?;
        }
        let session = Self { args, device, out, runs, data, weights: None };
        for settings in &session.runs {
            session.beginning(settings)?;
        }
        let near = session.runs.iter().find_map(Settings::warning);
        let far = session.runs.iter().find_map(|run| run.warning_at(&session.data.train));
        for warning in near.into_iter().chain(far) {
            log::warn!("{warning}");
        }
        Ok(session)
    }

    /// Lets new runs begin with the weights of a checkpoint.
    pub(crate) fn begin_from(self, weights: Option<&Path>) -> Self {
        Self { weights: weights.map(Path::to_owned), ..self }
    }

    /// Where a run begins, by what the folder holds and what the command line says of that.
    fn beginning(&self, settings: &Settings) -> anyhow::Result<Beginning> {
        let OutputArgs { resume, overwrite, .. } = self.args.output;
        let name = settings.run_name();
        let (whole, new) = (self.out.finished(&name), self.out.replacing(&name));
        let is_there = whole.record.exists() || whole.checkpoint.exists();
        let anew = |files| Ok(Beginning::Train { from: None, files });
        if !resume {
            return anew(if is_there { new } else { whole });
        }
        match goes_on(settings, &whole, &new) {
            Err(_) if overwrite => anew(new),
            Ok(None) => anew(whole),
            Ok(Some(beginning)) => Ok(beginning),
            Err(error) => Err(error),
        }
    }

    /// Trains, unless the run is finished already.
    pub(crate) fn run(&self, settings: &Settings) -> anyhow::Result<RunRecord> {
        self.run_beyond(settings, None)
    }

    /// The same of a run that is given up half way if it is too bad there.
    pub(super) fn run_beyond(&self, settings: &Settings, half_way: Option<HalfWay>) -> anyhow::Result<RunRecord> {
        let kept = self.runs.iter().any(|run| self.out.holds(&run.run_name()));
        if interrupt::requested() {
            return Err(Interrupted::between_steps(self.out.root(), kept).into());
        }
        let (resume, files) = match self.beginning(settings)? {
            Beginning::Finished(record) => return Ok(*record),
            Beginning::Train { from, files } => (from, files),
        };
        let name = settings.run_name();
        if resume.as_ref() != Some(&files.checkpoint) {
            self.out.forget_attempt(&name)?;
        }
        let order = RunOrder {
            settings: settings.clone(),
            out: self.out.root().to_owned(),
            kept,
            checkpoint: files.checkpoint.clone(),
            metrics: files.metrics.clone(),
            checkpoint_every: Duration::from_secs(self.args.output.checkpoint_every),
            resume,
            weights: self.weights.clone(),
            half_way,
        };
        let mut ticker = Ticker::new(&name, settings.steps)?;
        let record = match (&self.device, settings.precision) {
            (Device::Cpu(cpu), Precision::F32) => self.execute::<Trainer<f32>>(cpu, &order, &mut ticker),
            (Device::Cpu(cpu), Precision::F64) => self.execute::<Trainer<f64>>(cpu, &order, &mut ticker),
            (Device::Gpu(gpu), _) => self.execute::<GpuTrainer>(gpu, &order, &mut ticker),
        };
        drop(ticker);
        let record = record?;
        files::write_json(&files.record, &record)?;
        self.out.replace(&name)?;
        log::info!("{}", line(&record));
        if let Some(kept) = &record.kept {
            log::info!("{}  {}", record.settings.run_name(), kept.text());
        }
        Ok(record)
    }

    fn execute<L: Learner>(
        &self,
        engine: &L::Engine,
        order: &RunOrder,
        ticker: &mut Ticker,
    ) -> anyhow::Result<RunRecord> {
        TrainingRun::<L>::open(engine, order, &self.data)?.finish(Machine::of(&self.device), ticker)
    }
}

/// What `--resume` finds of a run: one that was about to replace another, one that is finished, or one under way.
/// `None` where there is none.
fn goes_on(settings: &Settings, whole: &RunFiles, new: &RunFiles) -> anyhow::Result<Option<Beginning>> {
    let train = |from: &Path, files: &RunFiles| Beginning::Train { from: Some(from.to_owned()), files: files.clone() };
    let replacing = if new.checkpoint.exists() { Some(check(settings, &new.checkpoint)) } else { None };
    if let Some(Ok(())) = replacing {
        return Ok(Some(train(&new.checkpoint, new)));
    }
    if let Some(record) = files::read_json::<RunRecord>(&whole.record)? {
        let done = record.settings.steps;
        checkpoint::ensure_goes_on(settings, &record.settings, done, &whole.record)?;
        if done == settings.steps {
            return Ok(Some(Beginning::Finished(Box::new(record))));
        }
        check(settings, &whole.checkpoint)?;
        return Ok(Some(train(&whole.checkpoint, new)));
    }
    if whole.checkpoint.exists() {
        check(settings, &whole.checkpoint)?;
        return Ok(Some(train(&whole.checkpoint, whole)));
    }
    replacing.unwrap_or(Ok(())).map(|()| None)
}

/// Checks that a checkpoint is of this run.
fn check(settings: &Settings, path: &Path) -> anyhow::Result<()> {
    let info = CheckpointInfo::read(path)?;
    checkpoint::ensure_goes_on(settings, &checkpoint::settings_of(&info.metadata, path)?, info.steps, path)
}

/// The engine that all runs share: their models and batches are the same.
fn open(args: &TrainingArgs, runs: &[Settings]) -> anyhow::Result<Device> {
    let Settings { precision, config, batch, .. } = runs.first().context("there is no run")?;
    let EngineArgs { device, threads } = &args.solver.engine;
    device.open(threads.map(usize::from), *precision, &config.model, *batch)
}

/// One line that says how a run ended.
fn line(record: &RunRecord) -> String {
    let quality = match record.test.accuracy {
        Some(accuracy) => format!("accuracy {:.2} %", 100.0 * accuracy),
        None if record.settings.is_of_density() => format!("test loss {:.3} nats", record.test.loss),
        None => format!("test loss {}", table::loss(record.test.loss)),
    };
    let other = match record.test.other_paths {
        Some(OtherPaths { paths, accuracy: Some(accuracy), .. }) => {
            format!(" ({:.2} % by {paths} paths)", 100.0 * accuracy)
        }
        Some(OtherPaths { paths, loss, .. }) => format!(" ({} over {paths} paths)", table::loss(loss)),
        None => String::new(),
    };
    let times = &record.times;
    format!(
        "{:27} {quality}{}{other}  NFE {:.1}  {:.2} ms a training step  {:.2} ms a prediction",
        record.settings.run_name(),
        table::failed(record.test.failed),
        record.test.nfe,
        1e3 * times.warm_step_seconds,
        times.prediction_milliseconds,
    )
}
