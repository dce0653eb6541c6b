//! `fewsteps predict`: what a checkpoint's model makes of a table.

use anyhow::{Context, bail, ensure};
use csv::Writer;
use fewsteps::{Blocking, CheckpointInfo, Device, GpuTrainer, Learner, Paths, Real, Trainer};

use crate::args::PredictArgs;
use crate::choice::Precision;
use crate::data::{BatchBuffer, Output, Own, Rows, Samples, Series, Sheet, Table, Wanted};
use crate::files;
use crate::measure;
use crate::output;
use crate::run::checkpoint;
use crate::settings::Settings;

pub(crate) fn predict(args: &PredictArgs) -> anyhow::Result<()> {
    let info = CheckpointInfo::read(&args.checkpoint)?;
    let settings = checkpoint::settings_of(&info.metadata, &args.checkpoint)?;
    checkpoint::ensure_whole(&settings, &info, &args.checkpoint)?;
    files::ensure_free("--out", args.out.as_deref(), args.overwrite)?;
    let precision = if info.scalar == "f64" { Precision::F64 } else { Precision::F32 };
    let threads = args.engine.threads.map(usize::from);
    let opened = args.engine.device.open(threads, precision, &info.config.model, settings.batch);
    let device = opened.with_context(|| args.checkpoint.display().to_string())?;
    let asked = Asked { args, settings: &settings, deployed: info.deployed.is_some() };
    let table = match (&device, precision) {
        (Device::Cpu(cpu), Precision::F32) => asked.answer::<Trainer<f32>>(cpu)?,
        (Device::Cpu(cpu), Precision::F64) => asked.answer::<Trainer<f64>>(cpu)?,
        (Device::Gpu(gpu), _) => asked.answer::<GpuTrainer>(gpu)?,
    };
    match &args.out {
        Some(out) => files::write(out, &table),
        None => output::print(&String::from_utf8(table)?),
    }
}

/// What is to be predicted.
struct Asked<'a> {
    args: &'a PredictArgs,
    settings: &'a Settings,
    /// Whether a solver was chosen for predictions.
    deployed: bool,
}

impl Asked<'_> {
    /// The table of the predictions.
    fn answer<L: Learner>(&self, engine: &L::Engine) -> anyhow::Result<Vec<u8>> {
        let load = if self.deployed { Blocking::<L>::deployed } else { Blocking::<L>::resume };
        let (mut learner, _) = load(engine, &self.args.checkpoint)?;
        let sheet = || Sheet::read(&self.args.data);
        match &self.settings.own {
            Some(Own::Csv(table)) => {
                ensure!(self.args.at.is_empty(), "--at: a table of rows has no times; leave it out");
                self.of_rows(&mut learner, table, &sheet()?)
            }
            Some(Own::Series(series)) => self.of_series(&mut learner, series, &sheet()?),
            Some(Own::Physionet(_)) | None => {
                let (path, task) = (self.args.checkpoint.display(), self.settings.task.name());
                bail!("{path}: was trained on {task}; predict takes what was trained on --task csv or series");
            }
        }
    }

    /// The outputs of samples, `[sample][time][output]`; those that cannot be solved are told.
    fn outputs<L: Learner>(&self, learner: &mut Blocking<L>, samples: &Samples) -> anyhow::Result<Vec<f64>> {
        let paths = Paths::of_evaluation(learner.config().seed, 0);
        let (order, mut buffer): (Vec<usize>, _) = ((0..samples.len()).collect(), BatchBuffer::default());
        let outputs = measure::over(learner, samples, |learner| {
            let width = learner.config().model.output_width();
            let mut outputs = Vec::new();
            for indices in order.chunks(self.settings.batch) {
                let found = learner.predict_along(buffer.gather(samples, indices).inputs, paths)?;
                let times = found.len() / (indices.len() * width);
                let row = |sample: usize, time: usize| &found[(time * indices.len() + sample) * width..][..width];
                let rows = (0..indices.len()).flat_map(|sample| (0..times).flat_map(move |time| row(sample, time)));
                outputs.extend(rows.map(|x| x.to_f64()));
            }
            Ok(outputs)
        })?;
        let each = outputs.len() / samples.len().max(1);
        let failed = outputs.chunks(each.max(1)).filter(|sample| sample.iter().any(|x| !x.is_finite())).count();
        if failed > 0 {
            log::warn!("{failed} of {} cannot be solved to the end; NaN stands for what is missing", samples.len());
        }
        Ok(outputs)
    }

    fn of_rows<L: Learner>(&self, learner: &mut Blocking<L>, table: &Table, sheet: &Sheet) -> anyhow::Result<Vec<u8>> {
        let every: Vec<usize> = (0..sheet.len()).collect();
        let inputs = table.inputs(sheet, &every)?;
        let samples = Samples::Rows(Rows { width: table.inputs.len(), inputs, wanted: nothing(), times: Vec::new() });
        let outputs = self.outputs(learner, &samples)?;
        let width = learner.config().model.output_width();
        let mut writer = Writer::from_writer(Vec::new());
        let names: Vec<String> = match &table.output {
            Output::Label { column, classes } => {
                let shares = classes.iter().map(|class| format!("probability_{class}"));
                [format!("predicted_{column}")].into_iter().chain(shares).collect()
            }
            Output::Targets(columns) => columns.iter().map(|column| format!("predicted_{}", column.name)).collect(),
            Output::Density => vec!["log_density".to_owned()],
        };
        writer.write_record(sheet.header().iter().chain(&names))?;
        for (row, output) in outputs.chunks_exact(width).enumerate() {
            let cells: Vec<String> = match &table.output {
                Output::Label { classes, .. } => {
                    let shares = softmax(output);
                    let best = (0..width).fold(0, |best, o| if shares[o] > shares[best] { o } else { best });
                    let known = shares[best].is_finite().then(|| classes[best].clone());
                    [known.unwrap_or_default()].into_iter().chain(shares.iter().map(f64::to_string)).collect()
                }
                Output::Targets(columns) => {
                    output.iter().zip(columns).map(|(&x, column)| column.unscaled(x).to_string()).collect()
                }
                // That of the columns as they are.
                Output::Density => {
                    let density = learner.config().model.log_densities(output)?[0];
                    let scale: f64 = table.inputs.iter().map(|column| column.deviation.ln()).sum();
                    vec![(density - scale).to_string()]
                }
            };
            writer.write_record(sheet.row(row).iter().chain(cells.iter().map(String::as_str)))?;
        }
        Ok(writer.into_inner()?)
    }

    fn of_series<L: Learner>(
        &self,
        learner: &mut Blocking<L>,
        series: &Series,
        sheet: &Sheet,
    ) -> anyhow::Result<Vec<u8>> {
        let (names, times, rows) = series.asked(sheet, &self.args.at)?;
        let outputs = self.outputs(learner, &Samples::Rows(rows))?;
        let mut writer = Writer::from_writer(Vec::new());
        let predicted = series.states.iter().map(|column| format!("predicted_{}", column.name));
        let header: Vec<String> = series.id.iter().chain([&series.time]).cloned().chain(predicted).collect();
        writer.write_record(&header)?;
        for (index, state) in outputs.chunks_exact(series.states.len()).enumerate() {
            let name = series.id.as_ref().map(|_| names[index / times.len()].clone());
            let time = times[index % times.len()].to_string();
            let states = state.iter().zip(&series.states).map(|(&x, column)| column.unscaled(x).to_string());
            let cells: Vec<String> = name.into_iter().chain([time]).chain(states).collect();
            writer.write_record(&cells)?;
        }
        Ok(writer.into_inner()?)
    }
}

/// Of what is predicted nothing is wanted.
const fn nothing() -> Wanted {
    Wanted::Nothing
}

/// The probabilities of classes from a classifier's outputs.
fn softmax(outputs: &[f64]) -> Vec<f64> {
    let largest = outputs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = outputs.iter().map(|x| (x - largest).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}
