//! The peers' problems: models, and the weights, inputs and targets that `benches/peers` dumped.

use std::path::Path;

use anyhow::{Context, Result, bail};
use fewsteps::{
    Batch, Blocking, Controller, Elbo, Field, InitialStep, Layout, Learner, Local, Loss, Mlp, NeuralDe, Optimizer,
    Problem, Regularizer, SaveAt, SolverOptions, StepControl, Target, TimeInput, Tolerances, Trace, TrainerConfig,
    models,
};

use crate::args::{NOISE_TOLERANCE, PenaltyKind, Stepping, Workload, WorkloadArgs};
use crate::files;
use crate::task::latent_ode;

/// What a workload is made of.
struct Recipe {
    /// What the names of its arrays begin with.
    arrays: &'static str,
    model: fn(SolverOptions) -> fewsteps::Result<NeuralDe>,
    layout: Layout,
    /// Of adaptive steps, without noise.
    tolerance: f64,
    loss: Loss,
    /// Whether there are given times, at which outputs are saved.
    times: bool,
    /// The parameters' arrays, in our order: per layer its weights `(in, out)`, its time row if any, its bias.
    parameters: &'static [&'static str],
    inputs: &'static str,
    target: Given,
}

/// Where the target comes from.
#[derive(Clone, Copy)]
enum Given {
    Labels,
    States,
    Moments,
    /// States of which some were seen.
    Observed,
    /// Nowhere: the peers report the mean of |y(t1)|, which is the MAE against zero.
    Zeros,
    /// There is none.
    Nothing,
}

/// The flow of W6, in FFJORD's form: points are at t0, the normal density at t1.
fn flow(options: SolverOptions) -> fewsteps::Result<NeuralDe> {
    let field = Field::from(Mlp::new([2, 64, 64, 2]).time_input(TimeInput::Every)).with_log_density(Trace::Exact)?;
    Ok(NeuralDe::new(Problem::ode(field, 0.0, 1.0), options))
}

/// The weight of the divergence of W7 when it has come in, as of `--task physionet`.
const DIVERGENCE: f64 = 2e-4;

/// The model of `--task physionet` on so many features.
fn latent(options: SolverOptions) -> fewsteps::Result<NeuralDe> {
    let times = match &options.save_at {
        SaveAt::Times(times) => times.clone(),
        _ => Vec::new(),
    };
    latent_ode(&times, 37, options)
}

impl Workload {
    const fn recipe(self) -> Recipe {
        let spiral = Recipe {
            arrays: "W1",
            model: |options| Ok(models::spiral(options)),
            layout: Layout::Lockstep,
            tolerance: 1e-6,
            loss: Loss::Mae,
            times: true,
            parameters: &["w1", "b1", "w2", "b2"],
            inputs: "y0",
            target: Given::States,
        };
        let images = Recipe {
            arrays: "W2",
            model: |options| Ok(models::images(784, 100, 10, options)),
            tolerance: 1e-4,
            loss: Loss::CrossEntropy,
            times: false,
            parameters: &["w1", "u1", "b1", "w2", "u2", "b2", "wc", "bc"],
            inputs: "x",
            target: Given::Labels,
            ..spiral
        };
        match self {
            Self::W1 => spiral,
            Self::W2a => Recipe { tolerance: 1.4e-8, ..images },
            Self::W2b => images,
            Self::W3 => Recipe {
                arrays: "W3",
                model: |options| Ok(models::spiral_sde(options)),
                loss: Loss::Moments,
                parameters: &["w1", "b1", "w2", "b2", "wg", "bg"],
                target: Given::Moments,
                ..spiral
            },
            Self::W4 => Recipe {
                arrays: "W4",
                model: |options| Ok(models::mnist_sde(10, options)),
                parameters: &["wi", "bi", "w1", "b1", "w2", "b2", "wg", "bg", "wc", "bc"],
                ..images
            },
            Self::W5 => Recipe {
                arrays: "W5",
                layout: Layout::Ensemble,
                tolerance: 1e-5,
                times: false,
                target: Given::Zeros,
                ..spiral
            },
            Self::W6 => Recipe {
                arrays: "W6",
                model: flow,
                tolerance: 1e-5,
                loss: Loss::NegativeLogLikelihood,
                times: false,
                parameters: &["w1", "u1", "b1", "w2", "u2", "b2", "w3", "u3", "b3"],
                target: Given::Nothing,
                ..spiral
            },
            Self::W7 => Recipe {
                arrays: "W7",
                model: latent,
                tolerance: 1e-5,
                loss: Loss::Mse,
                parameters: &[
                    "uw1", "ub1", "uw2", "ub2", "rw1", "rb1", "rw2", "rb2", "cw1", "cb1", "cw2", "cb2", "ew1", "eb1",
                    "ew2", "eb2", "fw1", "fb1", "fw2", "fb2", "fw3", "fb3", "fw4", "fb4", "fw5", "fb5", "fw6", "fb6",
                    "fw7", "fb7", "fw8", "fb8", "hw1", "hb1",
                ],
                inputs: "x",
                target: Given::Observed,
                ..spiral
            },
        }
    }
}

/// Arrays of a dump.
struct Dump<'a>(&'a Path);

impl Dump<'_> {
    fn bytes(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.0.join(format!("{name}.bin"));
        files::read(&path).context("dump the peers' problems first: python common.py --dump DIR")
    }

    fn floats(&self, name: &str) -> Result<Vec<f32>> {
        let bytes = self.bytes(name)?;
        if !bytes.len().is_multiple_of(4) {
            bail!("{name}.bin: {} bytes are no whole number of f32: dump it again", bytes.len());
        }
        Ok(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
    }

    fn labels(&self, name: &str) -> Result<Vec<u32>> {
        Ok(self.bytes(name)?.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect())
    }

    fn parameters(&self, recipe: &Recipe) -> Result<Vec<f32>> {
        let array = |name: &&str| self.floats(&format!("{}_params_{name}", recipe.arrays));
        recipe.parameters.iter().map(array).collect::<Result<Vec<_>>>().map(|arrays| arrays.concat())
    }

    fn target(&self, recipe: &Recipe, inputs: usize) -> Result<Answer> {
        let floats = |name: &str| self.floats(&format!("{}_data_{name}", recipe.arrays));
        Ok(match recipe.target {
            Given::Labels => Answer::Labels(self.labels(&format!("{}_data_label", recipe.arrays))?),
            Given::States => Answer::States(floats("target")?),
            Given::Moments => Answer::Moments { means: floats("mean")?, variances: floats("var")? },
            Given::Observed => Answer::Observed { states: floats("values")?, weights: floats("mask")? },
            Given::Zeros => Answer::States(vec![0.0; inputs]),
            Given::Nothing => Answer::Nothing,
        })
    }
}

/// A workload ready to run.
pub(super) struct Prepared {
    pub(super) config: TrainerConfig,
    pub(super) theta: Vec<f32>,
    pub(super) inputs: Vec<f32>,
    pub(super) target: Answer,
}

pub(super) enum Answer {
    Labels(Vec<u32>),
    States(Vec<f32>),
    Moments { means: Vec<f32>, variances: Vec<f32> },
    Observed { states: Vec<f32>, weights: Vec<f32> },
    Nothing,
}

impl Prepared {
    /// Reads the dump and puts the problem together.
    pub(super) fn new(args: &WorkloadArgs) -> Result<Self> {
        let (recipe, dump) = (args.workload.recipe(), Dump(&args.dump));
        let mut options = SolverOptions::default().method(args.method()?).step_control(step_control(args, &recipe));
        options.layout = recipe.layout;
        if recipe.times {
            let times = dump.floats(&format!("{}_data_ts", recipe.arrays))?;
            options.save_at = SaveAt::Times(times.into_iter().map(f64::from).collect());
        }
        let theta = dump.parameters(&recipe)?;
        let inputs = dump.floats(&format!("{}_data_{}", recipe.arrays, recipe.inputs))?;
        let target = dump.target(&recipe, inputs.len())?;
        let optimizer =
            if args.workload == Workload::W1 { Optimizer::rmsprop(args.lr) } else { Optimizer::adam(args.lr) };
        let config = TrainerConfig::new((recipe.model)(options)?, recipe.loss)
            .optimizer(optimizer)
            .regularizer(regularizer(args));
        let config = if config.model.latent { config.elbo(Elbo::default().kl(DIVERGENCE)) } else { config };
        Ok(Self { config, theta, inputs, target })
    }

    pub(super) fn batch(&self) -> usize {
        self.inputs.len() / self.config.model.input_width()
    }

    pub(super) fn as_batch(&self) -> Batch<'_, f32> {
        let target = match &self.target {
            Answer::Labels(labels) => Target::Labels(labels),
            Answer::States(states) => Target::States(states),
            Answer::Moments { means, variances } => Target::Moments { means, variances },
            Answer::Observed { states, weights } => Target::Observed { states, weights },
            Answer::Nothing => Target::Nothing,
        };
        Batch { inputs: &self.inputs, target }
    }

    /// Has the batch held by the learner, sample by sample: `[times][B][D]` states become `[B][times][D]`.
    pub(super) fn hold<L: Learner<Scalar = f32>>(
        &self,
        learner: &mut Blocking<L>,
    ) -> fewsteps::Result<Option<L::Data>> {
        let (batch, width) = (self.batch(), self.config.model.output_width());
        let turned = |states: &[f32]| -> Vec<f32> {
            let times = states.len() / (batch * width).max(1);
            let state = |row: usize, time: usize| &states[(time * batch + row) * width..][..width];
            (0..batch).flat_map(|row| (0..times).flat_map(move |time| state(row, time))).copied().collect()
        };
        let (states, weights) = match &self.target {
            Answer::States(states) => (turned(states), None),
            Answer::Observed { states, weights } => (turned(states), Some(turned(weights))),
            _ => return learner.hold(&self.as_batch()),
        };
        let target = match &weights {
            Some(weights) => Target::Observed { states: &states, weights },
            None => Target::States(&states),
        };
        learner.hold(&Batch { inputs: &self.inputs, target })
    }
}

/// The peers run the elementary controller; so do we here. With noise steps are fixed unless adaptive ones are asked for.
fn step_control(args: &WorkloadArgs, recipe: &Recipe) -> StepControl {
    let adaptive = |tolerance, initial_step| StepControl::Adaptive {
        tolerances: Tolerances::both(tolerance),
        controller: Controller::I,
        initial_step,
    };
    match (args.workload.dt(), args.stepping) {
        (None, _) => adaptive(recipe.tolerance, InitialStep::Automatic),
        (Some(dt), Stepping::Fixed) => StepControl::Fixed { steps: (1.0 / dt).round() as usize },
        (Some(dt), Stepping::Adaptive) => adaptive(NOISE_TOLERANCE, InitialStep::Length(dt)),
    }
}

fn regularizer(args: &WorkloadArgs) -> Regularizer {
    match args.reg {
        None => Regularizer::None,
        Some(PenaltyKind::Unbiased) => Local::unbiased().into(),
        Some(PenaltyKind::Biased) => Local::biased().into(),
        Some(PenaltyKind::Published) if args.workload.dt().is_some() => Local::published_unbiased_sde().into(),
        Some(PenaltyKind::Published) => Local::published_unbiased().into(),
    }
}
