//! [`Settings`]: everything that determines a run, resolved from the command line.

use anyhow::{Context, ensure};
use clap::ValueEnum;
use fewsteps::{
    Budget, FailurePolicy, Layout, Local, PenaltyAt, Regularizer, Scalar, Schedule, Tolerances, TrainerConfig,
};
use serde::{Deserialize, Serialize};

use crate::args::{RegularizerArgs, StepArgs, TrainingArgs};
use crate::data::{Data, Samples};
use crate::identity::DataIdentity;
use crate::task::{Defaults, TaskName};

/// Paths of a training batch: one start serves them all, so there is no end to them.
const MOST_PATHS: usize = 1 << 20;

/// A training method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Training {
    /// No regularizer, and the published solver whatever --controller and --first-step say: where the papers begin
    Baseline,
    /// No regularizer
    Vanilla,
    /// One step at a uniform time; step-count measure unless options say otherwise
    LocalUnbiased,
    /// The same at the start of a step the solver took
    LocalBiased,
    /// The paper's code at a uniform time: error measure, fresh initial step, k1 constant; with noise k1 too is
    /// differentiated. Its solver is --controller published
    PublishedUnbiased,
    /// The paper's code at the start of a step the solver took
    PublishedBiased,
}

impl Training {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Vanilla => "vanilla",
            Self::LocalUnbiased => "local-unbiased",
            Self::LocalBiased => "local-biased",
            Self::PublishedUnbiased => "published-unbiased",
            Self::PublishedBiased => "published-biased",
        }
    }

    const fn takes_options(self) -> bool {
        matches!(self, Self::LocalUnbiased | Self::LocalBiased)
    }

    fn regularizer(self, args: &RegularizerArgs, task: TaskName, steps: u64) -> Regularizer {
        let defaults = task.defaults();
        match self {
            Self::Baseline | Self::Vanilla => Regularizer::None,
            Self::LocalUnbiased => with_options(Local::unbiased(), args, &defaults, steps).into(),
            Self::LocalBiased => with_options(Local::biased(), args, &defaults, steps).into(),
            Self::PublishedUnbiased => task.published(false, steps).into(),
            Self::PublishedBiased => task.published(true, steps).into(),
        }
    }
}

impl std::fmt::Display for Training {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

fn with_options(local: Local, args: &RegularizerArgs, defaults: &Defaults, steps: u64) -> Local {
    let own = defaults.coefficients.map(|[unbiased, biased]| match local.at {
        PenaltyAt::Unbiased => unbiased,
        PenaltyAt::Biased => biased,
    });
    let coefficient = match (args.coefficient.or(own), args.coefficient_to) {
        (None, None) => local.coefficient,
        (Some(from), None) => Schedule::Constant(from),
        (from, Some(to)) => Schedule::exponential(from.unwrap_or_else(|| local.coefficient.value(0)), to, steps),
    };
    let local = Local { coefficient, ..local };
    let budget = args.target_nfe.map(|nfe| Budget::nfe(nfe).for_steps(steps));
    let local = match budget {
        // A coefficient that is asked for is the one to begin with.
        Some(_) if args.coefficient.is_some() => Local { budget, ..local },
        Some(budget) => local.budget(budget),
        None => local,
    };
    let local = args.measure.map_or(local.clone(), |measure| local.measure(measure.into()));
    Local {
        step: args.penalty_step.map_or(local.step, Into::into),
        gradient: args.gradient.map_or(local.gradient, Into::into),
        noise: args.noise.map_or(local.noise, Into::into),
        times: args.times.unwrap_or(local.times),
        fraction: args.fraction.unwrap_or(local.fraction),
        ..local
    }
}

impl RegularizerArgs {
    /// Refuses options that no method would take: a comparison without them is not what was asked for.
    pub(crate) fn ensure_used(&self, task: TaskName, methods: &[Training]) -> anyhow::Result<()> {
        let given = [
            ("--measure", self.measure.is_some()),
            ("--penalty-step", self.penalty_step.is_some()),
            ("--noise", self.noise.is_some()),
            ("--gradient", self.gradient.is_some()),
            ("--coefficient", self.coefficient.is_some()),
            ("--coefficient-to", self.coefficient_to.is_some()),
            ("--target-nfe", self.target_nfe.is_some()),
            ("--times", self.times.is_some()),
            ("--fraction", self.fraction.is_some()),
        ];
        if let Some((option, _)) = given.into_iter().find(|(_, given)| *given) {
            let used = methods.iter().any(|method| method.takes_options());
            ensure!(used, "{option} applies to local-unbiased and local-biased: add one of them, or leave it out");
        }
        ensure!(
            self.noise.is_none() || task.stochastic(),
            "--noise: {} has no noise; leave it out, or take spiral-sde or mnist-sde",
            task.name()
        );
        Ok(())
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// The scalar type a model is trained in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Precision {
    /// Single precision: the fast path
    #[default]
    F32,
    /// Double precision
    F64,
}

/// A run's settings. Two runs with equal settings differ in nothing but their times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) task: TaskName,
    pub(crate) training: Training,
    pub(crate) seed: u64,
    pub(crate) steps: u64,
    pub(crate) batch: usize,
    pub(crate) learning_rate: f64,
    pub(crate) tolerance: f64,
    pub(crate) precision: Precision,
    pub(crate) eval_every: u64,
    /// The last samples of the training set that training is kept from.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) hold_out: usize,
    /// What was trained on; runs of earlier versions took no note of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<DataIdentity>,
    /// Digest of the checkpoint whose weights were begun with, if it was not random ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<String>,
    /// The trainer's view of them, in full.
    pub(crate) config: TrainerConfig,
}

impl Settings {
    /// The settings of one run on `data`.
    pub(crate) fn resolve(args: &TrainingArgs, training: Training, seed: u64, data: &Data) -> anyhow::Result<Self> {
        let task = args.data.task;
        let defaults = task.defaults();
        let steps = args.steps.map_or(defaults.steps, usize::from) as u64;
        let learning_rate = args.lr.unwrap_or(defaults.learning_rate);
        let tolerance = args.solver.tol.unwrap_or(defaults.tolerance);
        let mut options = task.options(Tolerances::both(tolerance)).layout(args.solver.layout.into());
        if let Some(method) = args.solver.method {
            task.check_method(method)?;
            options = options.method(method);
        }
        match training {
            Training::Baseline => StepArgs::published().apply(&mut options),
            _ => args.solver.steps.apply(&mut options),
        }
        // One batch that blows up should cost that batch, not the other methods' runs; the record counts them.
        let config = TrainerConfig::new(task.model(options, data.classes()), task.loss())
            .optimizer(task.optimizer(learning_rate))
            .regularizer(training.regularizer(&args.regularizer, task, steps))
            .seed(seed)
            .failure(FailurePolicy::Skip);
        let settings = Self {
            task,
            training,
            seed,
            steps,
            batch: args.batch.map_or(defaults.batch, usize::from),
            learning_rate,
            tolerance,
            precision: args.solver.precision,
            hold_out: args.hold_out.map_or(0, usize::from),
            data: None,
            from: None,
            eval_every: args.eval_every.map_or((steps / 10).max(1), |n| usize::from(n) as u64),
            config,
        };
        match settings.precision {
            Precision::F32 => settings.validate::<f32>()?,
            Precision::F64 => settings.validate::<f64>()?,
        }
        settings.check_batch(data)?;
        Ok(settings)
    }

    fn validate<R: Scalar>(&self) -> anyhow::Result<()> {
        let options = &self.config.model.options;
        options.validate::<R>(&self.config.model.problem).context("--tol, --method or --first-step")?;
        self.config.optimizer.validate().context("--lr")?;
        self.config.regularizer.validate(options).context("regularizer options")?;
        let rate = R::from_f64(self.learning_rate).to_f64();
        ensure!(rate > 0.0 && rate.is_finite(), "--lr {}: give a positive, finite learning rate", self.learning_rate);
        Ok(())
    }

    /// Checks what depends on the amount of data.
    fn check_batch(&self, data: &Data) -> anyhow::Result<()> {
        let (batch, samples, kept) = (self.batch, data.train.len(), self.hold_out);
        if matches!(data.train, Samples::Moments(_)) {
            ensure!((2..=MOST_PATHS).contains(&batch), "--batch {batch}: variances need 2 to {MOST_PATHS} paths");
            ensure!(kept == 0, "--hold-out {kept}: there are always more paths; leave it out");
        }
        ensure!(batch <= samples, "--batch {batch}: the training set holds {samples} samples; ask for at most that");
        let rest = samples - batch;
        ensure!(
            kept <= rest,
            "--hold-out {kept}: of {samples} samples a batch of {batch} leaves {rest}; hold out fewer"
        );
        Ok(())
    }

    /// A warning where the tolerance is near the rounding.
    pub(crate) fn warning(&self) -> Option<String> {
        let tolerances = Tolerances::both(self.tolerance);
        match self.precision {
            Precision::F32 => tolerances.warning::<f32>(),
            Precision::F64 => tolerances.warning::<f64>(),
        }
    }

    /// A warning where the tolerance is as large as a feature of the states that the solves begin with. The task's own
    /// tolerance was chosen on its data.
    pub(crate) fn warning_at(&self, samples: &Samples) -> Option<String> {
        let starts = samples.starts().filter(|_| self.tolerance != self.task.defaults().tolerance)?;
        Tolerances::both(self.tolerance).warning_at(starts.as_flattened(), 2)
    }

    /// The target for NFE, if there is one.
    pub(crate) fn budget(&self) -> Option<Budget> {
        match &self.config.regularizer {
            Regularizer::Local(local) => local.budget,
            _ => None,
        }
    }

    /// Name of the run's files.
    pub(crate) fn run_name(&self) -> String {
        format!("{}-seed{}", self.training, self.seed)
    }

    pub(crate) const fn precision_name(&self) -> &'static str {
        match self.precision {
            Precision::F32 => "f32",
            Precision::F64 => "f64",
        }
    }

    pub(crate) const fn layout_name(&self) -> &'static str {
        match self.config.model.options.layout {
            Layout::Lockstep => "lockstep",
            Layout::Ensemble => "ensemble",
        }
    }
}
