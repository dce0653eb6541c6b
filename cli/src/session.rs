//! [`Session`]: what the runs of one command share.

use std::time::Duration;

use anyhow::Context;
use fewsteps::{Device, Trainer};

use crate::args::{EngineArgs, TrainingArgs};
use crate::data::Data;
use crate::files::{self, OutDir};
use crate::interrupt::{self, Interrupt};
use crate::learner::{Learner, OnDevice};
use crate::machine::Machine;
use crate::progress::Ticker;
use crate::record::{OtherPaths, RunRecord};
use crate::run::{Plan, Run};
use crate::settings::{Precision, Settings};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Finished,
    Interrupted,
}

/// The engine, the data, the output folder, and how to stop.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    args: &'a TrainingArgs,
    pub(crate) device: Device,
    pub(crate) out: OutDir,
    data: Data,
    interrupt: Interrupt,
}

impl<'a> Session<'a> {
    /// Opens the engine and the output folder for runs on `data`. Everything that can be refused is refused here, before
    /// training.
    pub(crate) fn open(args: &'a TrainingArgs, data: Data, runs: &[Settings]) -> anyhow::Result<Self> {
        let device = open(args, runs)?;
        let session =
            Self { args, device, out: OutDir::create(&args.output.out)?, data, interrupt: Interrupt::catch()? };
        for settings in runs {
            session.prepare(settings)?;
        }
        if let Some(warning) = runs.iter().find_map(Settings::warning) {
            log::warn!("{warning}");
        }
        Ok(session)
    }

    /// When resuming, checks the finished run's settings; otherwise removes what an earlier command left of the run,
    /// so that a later `--resume` cannot take it for this one's.
    fn prepare(&self, settings: &Settings) -> anyhow::Result<()> {
        let name = settings.run_name();
        if self.args.output.resume {
            return self.finished(settings).map(|_| ());
        }
        files::remove(&self.out.record(&name))?;
        files::remove(&self.out.checkpoint(&name))
    }

    /// The record of a run that is finished.
    fn finished(&self, settings: &Settings) -> anyhow::Result<Option<RunRecord>> {
        let path = self.out.record(&settings.run_name());
        let record = files::read_json::<RunRecord>(&path)?;
        if let Some(record) = &record {
            settings.ensure_same(&record.settings, &path)?;
        }
        Ok(record)
    }

    /// Trains, unless the run is finished already. `None` when interrupted.
    pub(crate) fn run(&self, settings: &Settings) -> anyhow::Result<Option<RunRecord>> {
        if self.args.output.resume
            && let Some(record) = self.finished(settings)?
        {
            return Ok(Some(record));
        }
        let name = settings.run_name();
        let plan = Plan {
            settings: settings.clone(),
            checkpoint: self.out.checkpoint(&name),
            metrics: self.out.metrics(),
            checkpoint_every: Duration::from_secs(self.args.output.checkpoint_every),
            resume: self.args.output.resume,
        };
        let mut ticker = Ticker::new(&name, settings.steps)?;
        let record = match (&self.device, settings.precision) {
            (Device::Cpu(cpu), Precision::F32) => self.execute::<Trainer<f32>>(cpu, &plan, &mut ticker),
            (Device::Cpu(cpu), Precision::F64) => self.execute::<Trainer<f64>>(cpu, &plan, &mut ticker),
            (Device::Gpu(gpu), _) => self.execute::<OnDevice>(gpu, &plan, &mut ticker),
        };
        drop(ticker);
        match record? {
            Some(record) => {
                files::write_json(&self.out.record(&name), &record)?;
                log::info!("{}", line(&record));
                Ok(Some(record))
            }
            None => {
                let hint = interrupt::resume_command();
                log::warn!("interrupted; {} is written. To go on:\n  {hint}", plan.checkpoint.display());
                Ok(None)
            }
        }
    }

    fn execute<L: Learner>(
        &self,
        engine: &L::Engine,
        plan: &Plan,
        ticker: &mut Ticker,
    ) -> anyhow::Result<Option<RunRecord>> {
        Run::<L>::open(engine, plan, &self.data)?.finish(Machine::of(&self.device), ticker, &self.interrupt)
    }
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
        None => format!("test loss {:.4e}", record.test.loss),
    };
    let other = match record.test.other_paths {
        Some(OtherPaths { paths, accuracy: Some(accuracy), .. }) => {
            format!(" ({:.2} % by {paths} paths)", 100.0 * accuracy)
        }
        Some(OtherPaths { paths, loss, .. }) => format!(" ({loss:.4e} over {paths} paths)"),
        None => String::new(),
    };
    let times = &record.times;
    format!(
        "{:27} {quality}{other}  NFE {:.1}  {:.2} ms a training step  {:.2} ms a prediction",
        record.settings.run_name(),
        record.test.nfe,
        1e3 * times.warm_step_seconds,
        times.prediction_milliseconds,
    )
}
