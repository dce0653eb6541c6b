//! [`Settings`]: everything that determines a run, resolved from the command line.

use anyhow::{Context, ensure};
use fewsteps::{Budget, Curriculum, FailurePolicy, Loss, Scalar, Tolerances, TrainerConfig};
use serde::{Deserialize, Serialize};

use crate::args::{StepArgs, TrainingArgs};
use crate::choice::{ADJOINTS, LAYOUTS, Precision, name_of};
use crate::corrected::Corrected;
use crate::data::{Data, DataIdentity, Own, Samples, Source};
use crate::method::Training;
use crate::model_file::ModelFile;
use crate::regularizer;
use crate::task::TaskName;
use crate::validation::Validation;

/// Paths of a training batch: one start serves them all, so there is no end to them.
const MOST_PATHS: usize = 1 << 20;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// A run's settings. Two runs with equal settings differ in nothing but their times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) task: TaskName,
    pub(crate) training: Training,
    pub(crate) seed: u64,
    /// What tells it from other runs of its method and seed in the folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) label: Option<String>,
    pub(crate) steps: u64,
    pub(crate) batch: usize,
    pub(crate) learning_rate: f64,
    pub(crate) tolerance: f64,
    pub(crate) precision: Precision,
    pub(crate) eval_every: u64,
    /// The last samples of the training set that training is kept from.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) hold_out: usize,
    /// How weights are chosen by them, if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) validation: Option<Validation>,
    /// How the horizon grows, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) curriculum: Option<Curriculum>,
    /// What was trained on; runs of earlier versions took no note of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<DataIdentity>,
    /// Where they lay; of no matter for what the run is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<Source>,
    /// Of one's own data: their columns, and how they were divided and scaled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) own: Option<Own>,
    /// Digest of the checkpoint whose weights were begun with, if it was not random ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<String>,
    /// The corrected steps that the model was given after its training, if it was: `config` is of the model that they make.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) corrected: Option<Box<Corrected>>,
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
        let mut options =
            task.options(Tolerances::both(tolerance)).layout(args.solver.layout.unwrap_or(LAYOUTS[0].value));
        options = options.adjoint(args.solver.adjoint.unwrap_or_default());
        if let Some(method) = args.solver.method {
            task.check_method(method)?;
            options = options.method(method);
        }
        match training {
            Training::Baseline => StepArgs::published().apply(&mut options),
            _ => args.solver.steps.apply(&mut options),
        }
        let (mut model, mut optimizer) = (task.model(options, data)?, task.optimizer(learning_rate));
        if let Some(file) = &args.file {
            (model, optimizer) = (file.model(task, model)?, file.optimizer(optimizer, learning_rate, steps)?);
        }
        // One batch that blows up should cost that batch, not the other methods' runs; the record counts them.
        let config = TrainerConfig::new(model, task.loss(data))
            .optimizer(optimizer)
            .regularizer(regularizer::of(training, &args.regularizer, task, steps))
            .seed(seed)
            .failure(FailurePolicy::Skip);
        let elbo = match &args.file {
            Some(file) => file.elbo(task.elbo(data), config.model.latent)?,
            None => task.elbo(data),
        };
        let config = match elbo {
            Some(elbo) => config.elbo(elbo),
            None => config,
        };
        let source = Source::named(args.data.data.as_deref(), args.data.own.test.as_deref());
        let keep = args.keep.unwrap_or_default();
        let validation = args.validate.map(|share| Validation { share, patience: args.patience, keep });
        let hold_out = match &validation {
            Some(validation) => validation.held_out(&data.train)?,
            None => args.hold_out.map_or(0, usize::from),
        };
        // One's own data may be few.
        let most = if task.own() { data.train.len().saturating_sub(hold_out).max(1) } else { usize::MAX };
        let curriculum = args.curriculum.map(|over| horizon(over.get() as u64, steps, &config)).transpose()?;
        let settings = Self {
            task,
            training,
            seed,
            label: None,
            steps,
            batch: args.batch.map_or_else(|| defaults.batch.min(most), usize::from),
            learning_rate,
            tolerance,
            precision: args.solver.precision.unwrap_or_default(),
            hold_out,
            validation,
            curriculum,
            data: None,
            source: source.data.is_some().then_some(source),
            own: data.own.clone(),
            from: None,
            corrected: None,
            eval_every: args.eval_every.map_or((steps / 10).max(1), |n| usize::from(n) as u64),
            config,
        };
        match settings.precision {
            Precision::F32 => settings.validate::<f32>(args.file.as_ref())?,
            Precision::F64 => settings.validate::<f64>(args.file.as_ref())?,
        }
        settings.check_batch(data)?;
        settings.check_pieces()?;
        settings.check_horizon(&data.train)?;
        Ok(settings)
    }

    /// Checks the numbers. What is wrong is an option's, or a key's of the file of the model.
    fn validate<R: Scalar>(&self, file: Option<&ModelFile>) -> anyhow::Result<()> {
        let options = &self.config.model.options;
        let blame = |section, keys: &[&str], options| ModelFile::blame(file, section, keys, options);
        let keys = ["tol", "method", "adjoint", "first-step"];
        let solver = || blame("solver", &keys, "--tol, --method, --adjoint or --first-step");
        options.validate::<R>(&self.config.model.problem).with_context(solver)?;
        let rule = [
            "lr",
            "schedule",
            "lr-to",
            "lr-decay",
            "decay-steps",
            "warmup",
            "momentum",
            "nesterov",
            "beta1",
            "beta2",
            "epsilon",
            "weight-decay",
            "decay",
            "clip-norm",
            "clip-value",
        ];
        self.config.optimizer.validate().with_context(|| blame("optimizer", &rule, "--lr"))?;
        let penalty = ["measure", "penalty-step", "coefficient", "coefficient-to", "target-nfe", "times", "fraction"];
        let penalty = || blame("regularizer", &penalty, "regularizer options");
        self.config.regularizer.validate(options).with_context(penalty)?;
        let rate = R::from_f64(self.learning_rate).to_f64();
        ensure!(rate > 0.0 && rate.is_finite(), "--lr {}: give a positive, finite learning rate", self.learning_rate);
        Ok(())
    }

    /// Pieces of series are solved as if they began together, which only a field that does not see the time takes for the
    /// same.
    fn check_pieces(&self) -> anyhow::Result<()> {
        let Some(Own::Series(series)) = &self.own else { return Ok(()) };
        let Some(cut) = series.cut() else { return Ok(()) };
        ensure!(
            !self.config.model.problem.field.reads_time(),
            "{cut}: pieces begin at different times, which the field sees; give it [field] time-input = \"none\", or leave the \
             option out"
        );
        Ok(())
    }

    /// Refuses a growing horizon at whose first times nothing was observed.
    fn check_horizon(&self, samples: &Samples) -> anyhow::Result<()> {
        let Some(curriculum) = &self.curriculum else { return Ok(()) };
        let (all, over) = (self.config.model.output_times(), curriculum.over());
        let first = curriculum.slots(0, all);
        ensure!(
            samples.up_to(first, samples.pool(self.batch) - self.hold_out).len() > 0,
            "--curriculum {over}: nothing was observed at the first {first} of {all} times; leave it out"
        );
        Ok(())
    }

    /// Checks what depends on the amount of data.
    fn check_batch(&self, data: &Data) -> anyhow::Result<()> {
        let (batch, samples, kept) = (self.batch, data.train.len(), self.hold_out);
        let option =
            self.validation.map_or_else(|| format!("--hold-out {kept}"), |v| format!("--validate {}", v.share));
        if matches!(data.train, Samples::Moments(_)) {
            ensure!((2..=MOST_PATHS).contains(&batch), "--batch {batch}: variances need 2 to {MOST_PATHS} paths");
            ensure!(kept == 0, "{option}: there are always more paths; leave it out");
        }
        ensure!(batch <= samples, "--batch {batch}: the training set holds {samples} samples; ask for at most that");
        let rest = samples - batch;
        ensure!(kept <= rest, "{option}: of {samples} samples a batch of {batch} leaves {rest}; hold out fewer");
        let (every, steps) = (self.eval_every, self.steps);
        ensure!(
            self.validation.is_none() || every <= steps,
            "--eval-every {every}: of {steps} steps none would be validated; validate more often, or leave --validate out"
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
        // An encoder makes other states of the inputs.
        let is_state = self.config.model.encoder.is_none();
        Tolerances::both(self.tolerance).warning_at(starts.0, starts.1).filter(|_| is_state)
    }

    /// Whether the outputs are classes, of which a share is right.
    pub(crate) fn classifies(&self) -> bool {
        self.config.loss == Loss::CrossEntropy
    }

    /// Whether a density is learnt.
    pub(crate) fn is_of_density(&self) -> bool {
        self.config.loss == Loss::NegativeLogLikelihood
    }

    /// The loss in few words.
    pub(crate) const fn loss_name(&self) -> &'static str {
        match self.config.loss {
            Loss::CrossEntropy => "cross-entropy",
            Loss::Mse => "MSE",
            Loss::Mae => "MAE",
            Loss::Moments => "moments",
            Loss::NegativeLogLikelihood | Loss::Gaussian { .. } => "nats",
            // The library's losses grow; the tasks' are these.
            _ => "loss",
        }
    }

    /// The target for NFE, if there is one.
    pub(crate) fn budget(&self) -> Option<Budget> {
        self.config.regularizer.budget()
    }

    /// Name of the run's files.
    pub(crate) fn run_name(&self) -> String {
        let label = self.label.as_ref().map_or(String::new(), |label| format!("-{label}"));
        format!("{}{label}-seed{}", self.training, self.seed)
    }

    pub(crate) const fn precision_name(&self) -> &'static str {
        self.precision.name()
    }

    pub(crate) fn adjoint_name(&self) -> &'static str {
        name_of(&ADJOINTS, self.config.model.options.adjoint)
    }

    pub(crate) fn layout_name(&self) -> &'static str {
        name_of(&LAYOUTS, self.config.model.options.layout)
    }
}

/// The horizon that grows over so many of the steps of a training.
fn horizon(over: u64, steps: u64, config: &TrainerConfig) -> anyhow::Result<Curriculum> {
    ensure!(
        over < steps,
        "--curriculum {over}: of {steps} steps some have to be left for the whole horizon; give fewer"
    );
    let curriculum = Curriculum::new(config.model.output_times().div_ceil(8), over)?;
    curriculum.config(config, 0).with_context(|| format!("--curriculum {over}"))?;
    Ok(curriculum)
}
