//! `fewsteps hypersolve`: what a learnt correction of few equal steps is worth, beside plain methods of the same cost.

mod page;
mod record;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure};
use fewsteps::{
    Blocking, CheckpointInfo, Cpu, HyperTraining, Hypersolver, Learnt, Method, NeuralDe, Regularizer, Scalar, Trainer,
    TrainerConfig,
};

use self::record::{Hypersolved, Kind, Row};
use crate::args::HypersolveArgs;
use crate::corrected::Corrected;
use crate::data::{BatchBuffer, Data, DataIdentity, Samples, Source};
use crate::files;
use crate::machine::Machine;
use crate::measure::accuracy::Reference;
use crate::measure::{measure, time_prediction};
use crate::output;
use crate::run::checkpoint;
use crate::settings::Settings;
use crate::solvers;

/// Plain methods that a hypersolver is compared with, and their steps.
const RIVALS: [(Method, &[usize]); 3] =
    [(Method::Bosh3, &[1, 2, 3]), (Method::Rk4, &[1, 2, 3]), (Method::Tsit5, &[1, 2])];

pub(crate) fn hypersolve(args: &HypersolveArgs) -> anyhow::Result<()> {
    let path = &args.checkpoint;
    let info = CheckpointInfo::read(path)?;
    let settings = checkpoint::settings_of(&info.metadata, path)?;
    checkpoint::ensure_whole(&settings, &info, path)?;
    let page = path.with_extension("hypersolver.html");
    ensure!(
        args.overwrite || !page.exists(),
        "{}: is there already, where the page is written to, and nothing was changed; add --overwrite",
        page.display()
    );
    if let Some(corrected) = &settings.corrected {
        bail!(
            "{}: is of corrected steps already, {}; give the checkpoint of the training",
            path.display(),
            corrected.name()
        );
    }
    let written = destination(args, &page)?;
    let hyper = Hypersolver::new(args.base, info.config.model.problem.dim(), args.hidden.get())?;
    hyper.apply(&info.config.model, 1)?;
    let source = Source::named(args.data.as_deref(), None).or(settings.source.as_ref());
    let data = settings.task.load_again(settings.own.as_ref(), &source)?;
    ensure!(
        settings.data.as_ref().is_none_or(|trained| *trained == DataIdentity::of(&data)),
        "--data: not the samples that {} was trained on; give those",
        path.display()
    );
    let cpu = args.threads.map_or_else(Cpu::new, |threads| Cpu::with_threads(threads.get()))?;
    let comparison = Comparison { args, hyper, settings: &settings, data: &data, written };
    let record =
        if info.scalar == "f64" { comparison.carry_out::<f64>(&cpu)? } else { comparison.carry_out::<f32>(&cpu)? };
    files::write(&page, page::html(&record)?.as_bytes())?;
    if args.json {
        return output::print(&(serde_json::to_string_pretty(&record)? + "\n"));
    }
    output::print(&(page::text(&record) + &format!("page        {}\n", page.display())))
}

/// The file that the corrected model is written into, if it is to be.
fn destination(args: &HypersolveArgs, page: &Path) -> anyhow::Result<Option<PathBuf>> {
    let Some(steps) = args.write else { return Ok(None) };
    let beside = || {
        let stem = args.checkpoint.file_stem().unwrap_or_default().to_string_lossy();
        args.checkpoint.with_file_name(format!("{stem}-{}.safetensors", label(args.base, steps.get())))
    };
    let out = args.out.clone().unwrap_or_else(beside);
    ensure!(out != page, "--out {}: that is what the page is called; name another file", out.display());
    let is_checkpoint = out.canonicalize().ok().is_some_and(|out| args.checkpoint.canonicalize().ok() == Some(out));
    ensure!(!is_checkpoint, "--out {}: is the checkpoint itself, which stays; name another file", out.display());
    ensure!(
        args.overwrite || !out.exists(),
        "--out {}: is there already, and nothing was changed; name another file, or add --overwrite",
        out.display()
    );
    Ok(Some(out))
}

/// What tells corrected steps from others in names of files and runs.
fn label(base: Method, steps: usize) -> String {
    format!("hyper-{base}-{steps}")
}

/// What is to be compared.
struct Comparison<'a> {
    args: &'a HypersolveArgs,
    hyper: Hypersolver,
    settings: &'a Settings,
    data: &'a Data,
    /// The file of the model of `--write`.
    written: Option<PathBuf>,
}

impl Comparison<'_> {
    fn carry_out<R: Scalar>(&self, cpu: &Cpu) -> anyhow::Result<Hypersolved> {
        let Self { args, hyper, settings, data, .. } = self;
        let (mut learner, _) = Blocking::<Trainer<R>>::resume(cpu, &args.checkpoint)?;
        let (config, theta, learnt_steps) = (learner.config().clone(), learner.parameters()?, learner.learnt()?);
        let training = HyperTraining::default().steps(args.training_steps).seed(settings.seed);
        let mut buffer = BatchBuffer::<R>::default();
        // Inputs alone: labels have no part in it.
        let first: Vec<usize> = (0..data.train.len().min(training.trajectories)).collect();
        let inputs = buffer.gather(&data.train, &first).inputs.to_vec();
        let learnt = hyper.train(cpu, &config.model, &theta, &inputs, &training)?;
        let order: Vec<usize> = (0..data.test.len()).collect();
        let reference = Reference::new(cpu, &config, &theta, &data.test, &order)?;
        let bench = Bench {
            cpu,
            config: &config,
            steps: learnt_steps,
            reference: &reference,
            samples: &data.test,
            batch: settings.batch,
        };
        let all = hyper.parameters(&config.model, &theta, &learnt.parameters)?;
        let mut rows = vec![bench.row(Kind::Training, config.model.clone(), &theta, None)?];
        let written = args.write.filter(|steps| !args.steps.contains(steps));
        for steps in args.steps.iter().copied().chain(written).map(usize::from) {
            rows.push(bench.corrected(self.corrected(&config.model, steps), &all)?);
            rows.push(bench.plain(args.base, steps, &theta)?);
        }
        for (method, steps) in RIVALS {
            for &steps in steps {
                rows.push(bench.plain(method, steps, &theta)?);
            }
        }
        let (verdict, words) = record::judged(&rows);
        if let (Some(steps), Some(path)) = (args.write, &self.written) {
            self.write(cpu, &config, &all, [steps.get(), learner.steps() as usize], path)?;
        }
        Ok(Hypersolved {
            task: settings.task,
            checkpoint: args.checkpoint.clone(),
            machine: Machine::of(&fewsteps::Device::Cpu(cpu.clone())),
            base: args.base.to_string(),
            hidden: args.hidden.get(),
            training_steps: args.training_steps,
            residual: learnt.residual,
            left: learnt.left,
            rows,
            verdict,
            words,
            written: self.written.clone(),
        })
    }

    fn corrected(&self, model: &NeuralDe, steps: usize) -> Corrected {
        Corrected { hypersolver: self.hyper.clone(), steps, model: model.clone() }
    }

    /// Writes the model of so many corrected steps, learnt after so many of the training, whole or not at all.
    fn write<R: Scalar>(
        &self,
        cpu: &Cpu,
        trained: &TrainerConfig,
        theta: &[R],
        [steps, after]: [usize; 2],
        path: &Path,
    ) -> anyhow::Result<()> {
        let mut config = trained.clone();
        (config.model, config.regularizer) = (self.hyper.apply(&trained.model, steps)?, Regularizer::None);
        let settings = Settings {
            label: Some(label(self.args.base, steps)),
            steps: after as u64,
            corrected: Some(Box::new(self.corrected(&trained.model, steps))),
            config: config.clone(),
            ..self.settings.clone()
        };
        let mut learner = Trainer::<R>::new(cpu, config)?;
        learner.set_parameters(theta)?;
        let metadata = BTreeMap::from([(checkpoint::SETTINGS.to_owned(), serde_json::to_string(&settings)?)]);
        Ok(learner.save_weights(path, &metadata)?)
    }
}

/// What solvers are measured with.
struct Bench<'a, R: Scalar> {
    cpu: &'a Cpu,
    config: &'a TrainerConfig,
    /// What training has learnt of the first step.
    steps: Learnt,
    reference: &'a Reference<R>,
    samples: &'a Samples,
    batch: usize,
}

impl<R: Scalar> Bench<'_, R> {
    /// The model with corrected steps.
    fn corrected(&self, corrected: Corrected, theta: &[R]) -> anyhow::Result<Row> {
        let Corrected { hypersolver, steps, model } = &corrected;
        let cost = hypersolver.multiply_adds(&model.problem.field, *steps)?;
        let row = self.row(Kind::Corrected, hypersolver.apply(model, *steps)?, theta, Some(cost))?;
        let [evaluations, corrections] = hypersolver.evaluations(*steps);
        Ok(Row { solver: corrected.name(), nfe: evaluations as f64, corrections, ..row })
    }

    /// The model with equal steps of a method.
    fn plain(&self, method: Method, steps: usize, theta: &[R]) -> anyhow::Result<Row> {
        let mut model = self.config.model.clone();
        model.options = solvers::with_steps(model.options.method(method), steps);
        let evaluations = solvers::evaluations(&model.options);
        let cost = evaluations * model.problem.field.cost()?.value.multiply_adds;
        let row = self.row(Kind::Plain, model, theta, Some(cost))?;
        Ok(Row { nfe: evaluations as f64, ..row })
    }

    /// The test set by a model as it solves itself.
    fn row(&self, kind: Kind, model: NeuralDe, theta: &[R], cost: Option<usize>) -> anyhow::Result<Row> {
        let mut config = self.config.clone();
        (config.model, config.regularizer) = (model, Regularizer::None);
        let mut learner = Blocking::<Trainer<R>>::new(self.cpu, config)?;
        learner.set_parameters(theta)?;
        learner.set_learnt(self.steps)?;
        let mut buffer = BatchBuffer::default();
        let found = measure(&mut learner, self.samples, self.batch, &mut buffer)?;
        let error = self.reference.error(self.cpu, &mut learner)?;
        let (seconds, _) = time_prediction(&mut learner, self.samples, self.batch, &mut buffer)?;
        let options = &learner.config().model.options;
        let multiply_adds = match cost {
            None => Some((found.nfe * self.config.model.problem.field.cost()?.value.multiply_adds as f64) as usize),
            cost => cost,
        };
        Ok(Row {
            kind,
            solver: solvers::name(options),
            nfe: found.nfe,
            corrections: 0,
            multiply_adds,
            loss: found.loss,
            accuracy: found.accuracy,
            error: error.map(|error| error.relative),
            milliseconds: 1e3 * seconds,
        })
    }
}
