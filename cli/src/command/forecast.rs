//! `fewsteps forecast`: how series go on after what was observed, by a checkpoint's model.
//!
//! Each series is solved from its last whole row, or from what all of its rows tell a model that reads them. Where there is
//! noise, or initial states are drawn, it is solved several times and told by quantiles.

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};
use csv::Writer;
use fewsteps::{Blocking, CheckpointInfo, Device, GpuTrainer, Learner, NeuralDe, Paths, Real, SaveAt, Scalar, Trainer};

use crate::args::ForecastArgs;
use crate::choice::Precision;
use crate::data::{Column, Own, Series, Sheet, Start};
use crate::files;
use crate::measure::stats;
use crate::output;
use crate::report::plot::{self, Fan, Labels};
use crate::run::checkpoint;
use crate::settings::Settings;

/// Draws of each series, unless the command line says otherwise.
const SAMPLES: usize = 200;

/// What of the draws is told, in per cent below.
const BANDS: [usize; 3] = [5, 50, 95];

/// Series that are drawn: more cannot be told apart.
const DRAWN: usize = 6;

/// Colours that readers with any colour vision tell apart (M. Okabe, K. Ito, 2008).
const COLOURS: [(u8, u8, u8); DRAWN] =
    [(0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233)];

pub(crate) fn forecast(args: &ForecastArgs) -> anyhow::Result<()> {
    let info = CheckpointInfo::read(&args.checkpoint)?;
    let settings = checkpoint::settings_of(&info.metadata, &args.checkpoint)?;
    checkpoint::ensure_whole(&settings, &info, &args.checkpoint)?;
    files::ensure_free("--out", args.out.as_deref(), args.overwrite)?;
    files::ensure_free("--plot", args.plot.as_deref(), args.overwrite)?;
    let Some(Own::Series(series)) = &settings.own else {
        let (path, task) = (args.checkpoint.display(), settings.task.name());
        bail!("{path}: was trained on {task}; forecast takes what was trained on --task series");
    };
    let samples = samples(args, &info.config.model)?;
    let starts = series.starts(&Sheet::read(&args.data)?)?;
    check_times(series, &args.times, &starts)?;
    let precision = if info.scalar == "f64" { Precision::F64 } else { Precision::F32 };
    let threads = args.engine.threads.map(usize::from);
    let opened = args.engine.device.open(threads, precision, &info.config.model, settings.batch);
    let device = opened.with_context(|| args.checkpoint.display().to_string())?;
    let asked = Asked { args, settings: &settings, series, starts: &starts, samples };
    let told = match (&device, precision) {
        (Device::Cpu(cpu), Precision::F32) => asked.answer::<Trainer<f32>>(cpu)?,
        (Device::Cpu(cpu), Precision::F64) => asked.answer::<Trainer<f64>>(cpu)?,
        (Device::Gpu(gpu), _) => asked.answer::<GpuTrainer>(gpu)?,
    };
    if let Some(path) = &args.plot {
        files::write(path, asked.figure(&told)?.as_bytes())?;
    }
    let table = asked.table(&told)?;
    match &args.out {
        Some(out) => files::write(out, &table),
        None => output::print(&String::from_utf8(table)?),
    }
}

/// How often each series is solved: once where nothing is random.
fn samples(args: &ForecastArgs, model: &NeuralDe) -> anyhow::Result<usize> {
    match (args.samples.map(usize::from), model.problem.diffusion.is_some() || model.latent) {
        (Some(samples), false) => bail!(
            "--samples {samples}: the model has no noise and draws no initial states, so that all samples are alike; leave it out"
        ),
        (Some(1), true) => bail!("--samples 1: quantiles want 2 or more"),
        (samples, true) => Ok(samples.unwrap_or(SAMPLES)),
        (None, false) => Ok(1),
    }
}

/// Refuses times before what was observed.
fn check_times(series: &Series, times: &[f64], starts: &[Start]) -> anyhow::Result<()> {
    if let Some(pair) = times.windows(2).find(|pair| pair[0] >= pair[1]) {
        bail!("--times {}: comes after {}; give times in their order", pair[1], pair[0]);
    }
    let (first, last) = (times[0], times[times.len() - 1]);
    for start in starts {
        let name = if series.id.is_some() { format!("series {:?}: ", start.name) } else { String::new() };
        ensure!(
            first >= start.time && last > start.time,
            "--times: {name}the last row that has {} is of {} {}, and forecasts are of later times, not of {}; to \
             begin earlier, leave out later rows",
            if series.shown.is_some() { "a state" } else { "every state" },
            series.time,
            start.time,
            if first < start.time { first } else { last }
        );
    }
    Ok(())
}

/// What is to be told.
struct Asked<'a> {
    args: &'a ForecastArgs,
    settings: &'a Settings,
    series: &'a Series,
    starts: &'a [Start],
    samples: usize,
}

/// `[series][time][state]` of the bands, which without noise are all alike.
type Told = Vec<Of>;

/// Those of a series.
type Of = Vec<Vec<[f64; 3]>>;

impl Asked<'_> {
    /// Solves all series, those that begin together at once.
    fn answer<L: Learner>(&self, engine: &L::Engine) -> anyhow::Result<Told> {
        let (mut learner, _) = Blocking::<L>::resume(engine, &self.args.checkpoint)?;
        let mut together = BTreeMap::<u64, Vec<usize>>::new();
        for (index, start) in self.starts.iter().enumerate() {
            together.entry(start.begin.to_bits()).or_default().push(index);
        }
        let mut told: Told = vec![Vec::new(); self.starts.len()];
        let own = learner.config().clone();
        for indices in together.values() {
            let (mut config, counted) = (own.clone(), |time: f64| self.series.counted(time));
            let times: Vec<f64> = self.args.times.iter().copied().map(counted).collect();
            config.model.problem.t0 = counted(self.starts[indices[0]].begin);
            config.model.problem.t1 = times[times.len() - 1];
            config.model.options.save_at = SaveAt::Times(times);
            learner.reconfigure(config).context("--times")?;
            for indices in indices.chunks(self.settings.batch) {
                for (&index, bands) in indices.iter().zip(self.solve(&mut learner, indices)?) {
                    told[index] = bands;
                }
            }
        }
        let broken = |bands: &&Of| bands.iter().flatten().flatten().any(|x| !x.is_finite());
        let failed = told.iter().filter(broken).count();
        if failed > 0 {
            log::warn!("{failed} of {} series cannot be solved to the end; NaN stands for what is missing", told.len());
        }
        Ok(told)
    }

    /// The bands of some series that begin at the time from which the model is solved.
    fn solve<L: Learner>(&self, learner: &mut Blocking<L>, indices: &[usize]) -> anyhow::Result<Told> {
        let number = L::Scalar::from_f64;
        let inputs: Vec<L::Scalar> =
            indices.iter().flat_map(|&index| &self.starts[index].input).copied().map(number).collect();
        // Series of another batch follow other paths, and begin with other draws.
        let first = u32::try_from(indices[0]).context("there are too many series")?;
        let (latent, seed) = (learner.config().model.latent, learner.config().seed);
        let mut samples = Vec::with_capacity(self.samples);
        for sample in 0..self.samples {
            samples.push(if latent {
                learner.predict_drawn(&inputs, indices[0] * self.samples + sample)?
            } else {
                learner.predict_along(&inputs, Paths { first, ..Paths::of_evaluation(seed, sample as u64) })?
            });
        }
        let (count, width) = (indices.len(), self.series.states.len());
        self.warn_of_paths(&samples, count * width);
        let band = |series: usize, time: usize, state: usize| {
            let at = (time * count + series) * width + state;
            let values = samples.iter().map(|sample| sample[at].to_f64()).filter(|x| x.is_finite()).collect();
            let column = &self.series.states[state];
            quantiles(values).map(|x| column.unscaled(x))
        };
        let of_time = |series, time| (0..width).map(|state| band(series, time, state)).collect();
        let of_series = |series| (0..self.args.times.len()).map(|time| of_time(series, time)).collect();
        Ok((0..count).map(of_series).collect())
    }

    /// Says how many of the draws `[time][series][state]` are left out of the bands.
    fn warn_of_paths<R: Scalar>(&self, samples: &[Vec<R>], stride: usize) {
        let width = self.series.states.len();
        let is_broken = |sample: &[R], series: usize| {
            let of_series = |states: &[R]| states[series * width..][..width].iter().any(|x| !x.to_f64().is_finite());
            sample.chunks_exact(stride).any(of_series)
        };
        let broken = samples.iter().map(|sample| (0..stride / width).filter(|&s| is_broken(sample, s)).count());
        let broken: usize = broken.sum();
        if self.samples > 1 && broken > 0 {
            log::warn!(
                "{broken} of {} draws cannot be solved to the end; the bands are of the others there",
                samples.len() * stride / width
            );
        }
    }

    /// A row a series and time.
    fn table(&self, told: &Told) -> anyhow::Result<Vec<u8>> {
        let mut writer = Writer::from_writer(Vec::new());
        let name = |state: &str| -> Vec<String> {
            match self.samples {
                1 => vec![format!("forecast_{state}")],
                _ => BANDS.iter().map(|band| format!("forecast_{state}_{band}")).collect(),
            }
        };
        let names = self.series.states.iter().flat_map(|column| name(&column.name));
        let header: Vec<String> = self.series.id.iter().chain([&self.series.time]).cloned().chain(names).collect();
        writer.write_record(&header)?;
        for (start, bands) in self.starts.iter().zip(told) {
            for (time, states) in self.args.times.iter().zip(bands) {
                let id = self.series.id.as_ref().map(|_| start.name.clone());
                let taken = if self.samples == 1 { 1..2 } else { 0..3 };
                let numbers = states.iter().flat_map(|bands| &bands[taken.clone()]).map(f64::to_string);
                let cells: Vec<String> = id.into_iter().chain([time.to_string()]).chain(numbers).collect();
                writer.write_record(&cells)?;
            }
        }
        Ok(writer.into_inner()?)
    }

    /// A figure a state: what was observed, and how it goes on.
    fn figure(&self, told: &Told) -> anyhow::Result<String> {
        if told.len() > DRAWN {
            log::info!("of {} series the first {DRAWN} are drawn", told.len());
        }
        let figure = |(c, column): (usize, &Column)| {
            let of_series = |index: usize| {
                let (start, bands) = (&self.starts[index], &told[index]);
                let later = self.args.times.iter().zip(bands).map(|(&time, states)| (time, states[c]));
                // A state that is read is not known.
                let is_known = self.series.shown.is_none();
                let begin = is_known.then(|| (start.time, [column.unscaled(start.input[c]); 3]));
                let told = begin.into_iter().chain(later).collect();
                Fan { colour: COLOURS[index], given: start.observed[c].clone(), told }
            };
            let fans: Vec<Fan> = (0..told.len().min(DRAWN)).map(of_series).collect();
            let title = match self.samples {
                1 => format!("{}: observed and forecast", column.name),
                samples => format!("{}: observed, and median and 5 to 95 % of {samples} draws", column.name),
            };
            plot::fans(Labels { title: &title, x: &self.series.time, y: &column.name }, &fans)
        };
        let figures: Vec<String> = self.series.states.iter().enumerate().map(figure).collect::<anyhow::Result<_>>()?;
        Ok(plot::stacked(&figures))
    }
}

/// The values below which 5, 50 and 95 per cent lie; NaN of none.
fn quantiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    BANDS.map(|band| stats::quantile(&values, band as f64 / 100.0))
}
