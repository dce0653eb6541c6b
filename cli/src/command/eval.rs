//! `fewsteps eval`: a checkpoint on its test set.

use anyhow::{Context, bail, ensure};
use fewsteps::{
    Blocking, CheckpointInfo, Device, GpuTrainer, Learner, SolverOptions, StepControl, Tolerances, Trainer,
};
use serde::Serialize;

use crate::args::{EvalArgs, StepArgs};
use crate::choice::Precision;
use crate::data::{BatchBuffer, Data, Samples, Source};
use crate::machine::Machine;
use crate::measure;
use crate::measure::accuracy;
use crate::numbers;
use crate::output;
use crate::record::{Measured, OtherPaths};
use crate::report::table;
use crate::run::checkpoint;
use crate::settings::Settings;
use crate::solvers;
use crate::task::TaskName;

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct EvalRecord {
    task: TaskName,
    #[serde(with = "numbers")]
    tolerance: f64,
    /// What it was solved with.
    options: SolverOptions,
    /// Whether that was chosen by `fewsteps deploy`.
    deployed: bool,
    machine: Machine,
    test: Measured,
    #[serde(with = "numbers")]
    prediction_milliseconds: f64,
    prediction_batch: usize,
    settings: Settings,
}

pub(crate) fn eval(args: &EvalArgs) -> anyhow::Result<()> {
    let info = CheckpointInfo::read(&args.checkpoint)?;
    let settings = checkpoint::settings_of(&info.metadata, &args.checkpoint)?;
    checkpoint::ensure_whole(&settings, &info, &args.checkpoint)?;
    let precision = if info.scalar == "f64" { Precision::F64 } else { Precision::F32 };
    let batch = args.batch.map_or(settings.batch, usize::from);
    let threads = args.engine.threads.map(usize::from);
    let opened = args.engine.device.open(threads, precision, &info.config.model, batch);
    let device = opened.with_context(|| args.checkpoint.display().to_string())?;
    let machine = Machine::of(&device);
    let record = match (&device, precision) {
        (Device::Cpu(cpu), Precision::F32) => evaluate::<Trainer<f32>>(args, cpu, &info, settings, machine)?,
        (Device::Cpu(cpu), Precision::F64) => evaluate::<Trainer<f64>>(args, cpu, &info, settings, machine)?,
        (Device::Gpu(gpu), _) => evaluate::<GpuTrainer>(args, gpu, &info, settings, machine)?,
    };
    if args.json {
        return output::print(&(serde_json::to_string_pretty(&record)? + "\n"));
    }
    output::print(&render(&record))
}

fn evaluate<L: Learner>(
    args: &EvalArgs,
    engine: &L::Engine,
    info: &CheckpointInfo,
    settings: Settings,
    machine: Machine,
) -> anyhow::Result<EvalRecord> {
    let tolerance = args.tol.unwrap_or(settings.tolerance);
    let StepArgs { controller, first_step } = args.steps;
    let given = [
        ("--tol", args.tol.is_some()),
        ("--controller", controller.is_some()),
        ("--first-step", first_step.is_some()),
        ("--method", args.method.is_some()),
        ("--fixed-steps", args.fixed_steps.is_some()),
    ];
    let given: Vec<&str> = given.into_iter().filter_map(|(name, given)| given.then_some(name)).collect();
    let deployed = info.deployed.is_some() && given.is_empty() && !args.training_solver;
    let load = if deployed { Blocking::<L>::deployed } else { Blocking::<L>::resume };
    let (mut learner, _) = load(engine, &args.checkpoint)?;
    let corrected = settings.corrected.as_deref();
    let step = if corrected.is_some() { settings.steps } else { learner.steps() };
    if let Some(corrected) = corrected.filter(|_| !given.is_empty()) {
        bail!(
            "{}: the model is {}, whose correction is of steps of this length; evaluate the checkpoint that they were learnt \
             of otherwise",
            given.join(", "),
            corrected.name()
        );
    }
    if !given.is_empty() {
        solve_otherwise(args, &mut learner).with_context(|| given.join(", "))?;
    }
    let task = args.task.unwrap_or(settings.task);
    let source =
        Source::named(args.data.as_deref(), None).or(settings.source.as_ref().filter(|_| task == settings.task));
    let data = match (&args.test, settings.own.as_ref().filter(|_| task == settings.task)) {
        (Some(test), Some(own)) => own.read_test(test)?,
        (Some(_), None) => bail!("--test: is for checkpoints that were trained on data of one's own; take --data"),
        (None, own) => task.load_again(own, &source)?,
    };
    check_fit(task, &data, &settings)?;
    let batch = args.batch.map_or(settings.batch, usize::from);
    let mut buffer = BatchBuffer::default();
    if matches!(data.test, Samples::Moments(_)) {
        ensure!((2..=data.test.len()).contains(&batch), "--batch {batch}: take 2 to {} paths", data.test.len());
    }
    let found = measure::measure(&mut learner, &data.test, batch, &mut buffer)?;
    let other_paths = measure::other_paths(&mut learner, &data.test, batch, &mut buffer)?;
    let found = accuracy::with_error(engine, &mut learner, &data.test, corrected, found)?;
    let nfe_published = measure::nfe_published(&mut learner, &data.test, batch, &mut buffer)?;
    let found = Measured { step, other_paths, nfe_published, ..found };
    let test = corrected.filter(|_| !deployed).map_or(found, |corrected| corrected.counted(found));
    let options = learner.config().model.options.clone();
    let (seconds, prediction_batch) = measure::time_prediction(&mut learner, &data.test, batch, &mut buffer)?;
    Ok(EvalRecord {
        task,
        tolerance,
        options,
        deployed,
        machine,
        test,
        prediction_milliseconds: 1e3 * seconds,
        prediction_batch,
        settings,
    })
}

/// Solves the same model within another tolerance, by other steps or another method.
fn solve_otherwise<L: Learner>(args: &EvalArgs, learner: &mut Blocking<L>) -> fewsteps::Result<()> {
    let mut options = learner.config().model.options.clone();
    if let (Some(tolerance), StepControl::Adaptive { tolerances, .. }) = (args.tol, &mut options.step_control) {
        *tolerances = Tolerances::both(tolerance);
        options.atol_per_feature = None;
    }
    options.method = args.method.unwrap_or(options.method);
    args.steps.apply(&mut options);
    if let Some(steps) = args.fixed_steps {
        options = solvers::with_steps(options, steps.into());
    }
    learner.solve_by(&options)
}

/// Refuses a task whose data the model cannot take.
fn check_fit(task: TaskName, data: &Data, settings: &Settings) -> anyhow::Result<()> {
    let model = &settings.config.model;
    let (classes, learnt) = (data.classes(), model.output_width());
    if task == settings.task && settings.classifies() {
        ensure!(
            classes <= learnt,
            "--data: labels of {classes} classes, but the model tells {learnt} apart; give data like those that it was \
             trained on"
        );
        if classes < learnt {
            log::warn!("--data: no label is of the last of the {learnt} classes that the model tells apart");
        }
    }
    // Samples of the last class may be missing, and samples may have times of their own.
    let (inputs, outputs, times) = data.test.sizes(classes.max(learnt));
    let times = if data.test.times().is_some() { model.output_times() } else { times };
    ensure!(
        (inputs, outputs, times, task.loss(data))
            == (model.input_width(), learnt, model.output_times(), settings.config.loss),
        "--task {}: its data do not fit the model, which was trained on {}",
        task.name(),
        settings.task.name()
    );
    Ok(())
}

fn render(record: &EvalRecord) -> String {
    let EvalRecord { settings, test, machine, .. } = record;
    let quality = match test.accuracy {
        Some(accuracy) => format!("accuracy    {:.2} %, loss {:.4}", 100.0 * accuracy, test.loss),
        None => format!("loss        {} ({})", table::loss(test.loss), settings.loss_name()),
    };
    let other = match test.other_paths {
        Some(OtherPaths { paths, accuracy: Some(accuracy), loss, .. }) => {
            format!("\n            {:.2} %, loss {loss:.4}, by the mean output of {paths} paths", 100.0 * accuracy)
        }
        Some(OtherPaths { paths, loss, .. }) => format!("\n            {} over {paths} paths", table::loss(loss)),
        None => String::new(),
    };
    let of = match test.nfe_correction {
        Some(corrections) => format!(" of the field, {corrections:.1} of the correction"),
        None if test.nfe_diffusion > 0.0 => format!(" of the drift, {:.1} of the diffusion", test.nfe_diffusion),
        None => String::new(),
    };
    let corrected = settings.corrected.as_ref().filter(|_| !record.deployed);
    let mut solver = corrected.map_or_else(|| solvers::name(&record.options), |corrected| corrected.name());
    if record.deployed {
        let trained = solvers::name(&settings.config.model.options);
        solver += &format!(" (deployed; --training-solver takes {trained})");
    }
    let achieved = match (test.error, test.weak_error) {
        (Some(error), None) => {
            format!("error       {error:.1e}, relative, of the states before the head, to a converged solve\n")
        }
        (Some(error), Some(weak)) => format!(
            "error       {error:.1e}, relative, of the states before the head, to fine steps along the same paths;\n            \
             {:.1e} of their mean, {:.1e} of their variance\n",
            weak.mean, weak.variance
        ),
        _ => String::new(),
    };
    let ideal = test.ideal_steps.map_or(String::new(), |n| format!("; {n:.2} of an ideal controller"));
    let published =
        test.nfe_published.map_or(String::new(), |nfe| format!("            {nfe:.1} under the published solver\n"));
    let failed = if test.failed > 0 { format!("failed      {} trajectories\n", test.failed) } else { String::new() };
    format!(
        "checkpoint  {} on {}, seed {}, step {} of {}\n\
         solver      {solver}, {}, {}\n\
         {quality}{other}\n\
         NFE         {:.1}{of}, {:.1} steps accepted and {:.1} rejected, mean over the test batches{ideal}\n\
         {published}{achieved}\
         prediction  {:.2} ms a batch of {}; {}\n{failed}",
        settings.training,
        settings.task.name(),
        settings.seed,
        test.step,
        settings.steps,
        settings.layout_name(),
        settings.precision_name(),
        test.nfe,
        test.accepted,
        test.rejected,
        record.prediction_milliseconds,
        record.prediction_batch,
        machine.text(),
    )
}
