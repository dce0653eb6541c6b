//! `fewsteps deploy`: the cheapest solver that a trained model predicts well enough with.

mod page;
mod record;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use fewsteps::{
    Batches, Blocking, CheckpointInfo, Deployed, Device, GpuTrainer, Learner, SolverOptions, StepControl, Trainer,
};

use self::record::{DeployRecord, Finetuned};
use crate::args::DeployArgs;
use crate::choice::Precision;
use crate::data::{BatchBuffer, Data, DataIdentity, Source};
use crate::files;
use crate::machine::Machine;
use crate::output;
use crate::record::Tested;
use crate::run::checkpoint;
use crate::settings::Settings;
use crate::solvers::{self, Judge, Limits, Score};

pub(crate) fn deploy(args: &DeployArgs) -> anyhow::Result<()> {
    let info = CheckpointInfo::read(&args.checkpoint)?;
    let settings = checkpoint::settings_of(&info.metadata, &args.checkpoint)?;
    checkpoint::ensure_whole(&settings, &info, &args.checkpoint)?;
    let classifies = settings.classifies();
    let drop = args.max_drop.unwrap_or(Limits::default_drop(classifies));
    ensure!(drop >= 0.0 && drop.is_finite(), "--max-drop {drop}: give a finite number of at least 0");
    if let Some(error) = args.max_error {
        ensure!(error > 0.0, "--max-error {error}: give a positive number, relative to the states");
    }
    let written = destination(args)?;
    let report = beside(args, &written)?;
    let precision = if info.scalar == "f64" { Precision::F64 } else { Precision::F32 };
    let threads = args.engine.threads.map(usize::from);
    let opened = args.engine.device.open(threads, precision, &info.config.model, settings.batch);
    let device = opened.with_context(|| args.checkpoint.display().to_string())?;
    let machine = Machine::of(&device);
    let source = Source::named(args.data.as_deref(), None).or(settings.source.as_ref());
    let data = settings.task.load_again(settings.own.as_ref(), &source)?;
    ensure!(
        settings.data.as_ref().is_none_or(|trained| *trained == DataIdentity::of(&data)),
        "--data: not the samples that {} was trained on; give those",
        args.checkpoint.display()
    );
    let limits = Limits { drop: drop / 100.0, error: args.max_error };
    let deployment = Deployment { args, settings: &settings, data: &data, limits, written };
    let record = match (&device, precision) {
        (Device::Cpu(cpu), Precision::F32) => deployment.carry_out::<Trainer<f32>>(cpu, machine)?,
        (Device::Cpu(cpu), Precision::F64) => deployment.carry_out::<Trainer<f64>>(cpu, machine)?,
        (Device::Gpu(gpu), _) => deployment.carry_out::<GpuTrainer>(gpu, machine)?,
    };
    files::write(&report, page::html(&record)?.as_bytes())?;
    if args.json {
        return output::print(&(serde_json::to_string_pretty(&record)? + "\n"));
    }
    output::print(&(page::text(&record) + &format!("report      {}\n", report.display())))
}

/// The file that the solver is written into: the checkpoint itself, or one that is not there yet.
fn destination(args: &DeployArgs) -> anyhow::Result<PathBuf> {
    let beside = || {
        let stem = args.checkpoint.file_stem().unwrap_or_default().to_string_lossy();
        args.checkpoint.with_file_name(format!("{stem}-deployed.safetensors"))
    };
    let path = match (&args.out, args.finetune) {
        (Some(out), _) => out.clone(),
        (None, Some(_)) => beside(),
        (None, None) => return Ok(args.checkpoint.clone()),
    };
    ensure!(
        args.overwrite || !path.exists(),
        "--out {}: is there already, and nothing was changed; name another file, or add --overwrite",
        path.display()
    );
    Ok(path)
}

/// The file of the page beside it, which is not there yet.
fn beside(args: &DeployArgs, written: &Path) -> anyhow::Result<PathBuf> {
    let page = written.with_extension("html");
    ensure!(page != written, "--out {}: that is what the page is called; name another file", page.display());
    ensure!(
        args.overwrite || !page.exists(),
        "{}: is there already, where the page is written to, and nothing was changed; name another file with --out, or add \
         --overwrite",
        page.display()
    );
    Ok(page)
}

/// What is to be done.
struct Deployment<'a> {
    args: &'a DeployArgs,
    settings: &'a Settings,
    data: &'a Data,
    limits: Limits,
    written: PathBuf,
}

impl Deployment<'_> {
    fn carry_out<L: Learner>(self, engine: &L::Engine, machine: Machine) -> anyhow::Result<DeployRecord> {
        let Self { args, settings, data, limits, .. } = &self;
        let (mut learner, metadata) = Blocking::<L>::resume(engine, &args.checkpoint)?;
        let (batch, kept) = (settings.batch, settings.hold_out);
        let held_out = solvers::held_out(&data.train, kept, batch, args.samples.map(usize::from));
        let mut judge = Judge::new(engine, &mut learner, &data.train, held_out, batch, settings.corrected.as_deref())?;
        let samples = judge.samples();
        let within = limits.within_reach(samples, settings.classifies());
        let mut scores = vec![judge.trained()?];
        let within = if kept == 0 { within.on_seen(&scores[0]) } else { within };
        let mut candidates = solvers::equal_steps(judge.model());
        // A network adapts to steps that are always the same.
        if args.finetune.is_none() {
            candidates.extend(solvers::adaptive(judge.model()));
        }
        for options in &candidates {
            scores.push(judge.score(options)?);
        }
        judge.end()?;
        let chosen = solvers::cheapest(&scores, &within).with_context(|| self.beyond(&scores[0]))?;
        let (front, options) = (solvers::front(&scores), scores[chosen].options.clone());
        ensure!(
            args.finetune.is_none() || matches!(options.step_control, StepControl::Fixed { .. }),
            "--finetune: no solver with equal steps is within --max-drop; allow more, or leave it out"
        );
        let test = self.test(engine, &mut learner, &options)?;
        let finetuned = args.finetune.map(|steps| self.finetune(engine, &mut learner, &options, usize::from(steps)));
        let finetuned = finetuned.transpose()?;
        self.write(&mut learner, &metadata, &scores[chosen], samples, finetuned.as_ref())?;
        Ok(DeployRecord {
            task: settings.task,
            checkpoint: args.checkpoint.clone(),
            machine,
            samples,
            seen: kept == 0,
            batch,
            asked_drop: limits.drop,
            drop: within.drop,
            max_error: within.error,
            scores,
            front,
            chosen,
            test,
            finetuned,
            settings: (*settings).clone(),
            written: self.written,
        })
    }

    /// Why not even the training's solver is good enough.
    fn beyond(&self, trained: &Score) -> String {
        let error = self.limits.error.unwrap_or(f64::NAN);
        let found = trained.error.map_or_else(|| "not known".to_owned(), |error| format!("{error:.1e}"));
        format!(
            "--max-error {error:e}: no solver is so near; that of the training has an error of {found}: allow more, or leave \
             it out"
        )
    }

    /// The test set under the training's solver, and under another. The learner has its own again afterwards.
    fn test<L: Learner>(
        &self,
        engine: &L::Engine,
        learner: &mut Blocking<L>,
        options: &SolverOptions,
    ) -> anyhow::Result<[Tested; 2]> {
        let trained = learner.config().clone();
        let (batch, corrected) = (self.settings.batch, self.settings.corrected.as_deref());
        let before = solvers::tested(engine, learner, &self.data.test, batch, corrected)?;
        learner.solve_by(options)?;
        let after = solvers::tested(engine, learner, &self.data.test, batch, corrected)?;
        learner.reconfigure(trained)?;
        Ok([before, after])
    }

    /// Trains on with another solver, as before but for that and the regularizer.
    fn finetune<L: Learner>(
        &self,
        engine: &L::Engine,
        learner: &mut Blocking<L>,
        options: &SolverOptions,
        steps: usize,
    ) -> anyhow::Result<Finetuned> {
        let Settings { batch, seed, hold_out, .. } = *self.settings;
        let trained = learner.config().clone();
        learner.solve_by(options)?;
        let mut batches = Batches::new(self.data.train.pool(batch) - hold_out, batch, seed)?;
        let (mut buffer, mut skipped) = (BatchBuffer::default(), 0);
        for _ in 0..steps {
            let report = learner.step(&buffer.gather(&self.data.train, batches.at(learner.steps())))?;
            skipped += usize::from(report.skipped);
        }
        learner.reconfigure(trained)?;
        Ok(Finetuned { steps: steps as u64, skipped, test: self.test(engine, learner, options)? })
    }

    /// Writes the choice into its file.
    fn write<L: Learner>(
        &self,
        learner: &mut Blocking<L>,
        metadata: &BTreeMap<String, String>,
        chosen: &Score,
        samples: usize,
        finetuned: Option<&Finetuned>,
    ) -> anyhow::Result<()> {
        let Self { args, settings, written, .. } = self;
        if let Some(finetuned) = finetuned {
            // The curves are those of the steps before.
            let settings = Settings { steps: learner.steps(), ..(*settings).clone() };
            let mut metadata = metadata.clone();
            metadata.remove(checkpoint::PROGRESS);
            metadata.insert(checkpoint::SETTINGS.to_owned(), serde_json::to_string(&settings)?);
            learner.save(written, &metadata)?;
            let [_, Tested { test: measured, .. }] = &finetuned.test;
            let mut deployed = Deployed::new(chosen.options.clone());
            (deployed.nfe, deployed.error, deployed.finetuned) = (Some(measured.nfe), measured.error, finetuned.steps);
            return Ok(deployed.write(written)?);
        }
        if *written != args.checkpoint {
            files::write(written, &files::read(&args.checkpoint)?)?;
        }
        let mut deployed = Deployed::new(chosen.options.clone());
        deployed.samples = samples;
        (deployed.nfe, deployed.loss, deployed.accuracy) = (Some(chosen.nfe), Some(chosen.loss), chosen.accuracy);
        (deployed.drop, deployed.error) = (Some(chosen.drop), chosen.error);
        Ok(deployed.write(written)?)
    }
}
