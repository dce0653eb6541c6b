//! What options choose from: values by their names.

use std::num::NonZeroUsize;

use clap::ValueEnum;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use fewsteps::{
    Adjoint, Checkpoints, Controller, InitialStep, Layout, Measure, Method, PenaltyGradient, PenaltyNoise, PenaltyStep,
};
use serde::{Deserialize, Serialize};

/// A value of the library, as the command line has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named<T> {
    pub(crate) value: T,
    pub(crate) name: &'static str,
    help: &'static str,
}

const fn value<T: Copy>(value: T, name: &'static str, help: &'static str) -> Named<T> {
    Named { value, name, help }
}

/// Who shares a step.
pub(crate) const LAYOUTS: [Named<Layout>; 2] = [
    value(Layout::Lockstep, "lockstep", "One step size for the whole batch, as in the papers"),
    value(Layout::Ensemble, "ensemble", "A step size for each trajectory"),
];

/// How gradients are obtained.
pub(crate) const ADJOINTS: [Named<Adjoint>; 4] = [
    value(
        Adjoint::Discrete { checkpoints: Checkpoints::EveryStep },
        "discrete",
        "Those of the steps that were taken, whose states are kept",
    ),
    value(Adjoint::Reversible, "reversible", "The same of steps that are undone: no state kept, twice the evaluations"),
    value(Adjoint::Interpolating, "interpolating", "Approximate: the adjoint equation, by the solution's interpolant"),
    value(Adjoint::Backsolve, "backsolve", "Approximate: the adjoint equation with the state, of which none is kept"),
];

/// What is measured of a penalised step.
pub(crate) const MEASURES: [Named<Measure>; 3] = [
    value(Measure::Error, "error", "The scaled error times the step size, as published"),
    value(Measure::Stiffness, "stiffness", "An estimate of the stiffness; published as of no help locally"),
    value(Measure::StepCount, "step-count", "The number of steps an ideal controller would need"),
];

/// The size of a penalised step.
pub(crate) const PENALTY_STEPS: [Named<PenaltyStep>; 3] = [
    value(PenaltyStep::FreshInitial, "fresh-initial", "The automatic initial step at that state, as published"),
    value(PenaltyStep::Taken, "taken", "The step the solver took there"),
    value(
        PenaltyStep::Ideal,
        "ideal",
        "Seven tenths of an ideal controller's, from a running mean of what penalised steps measured",
    ),
];

/// The noise of a penalised step.
pub(crate) const NOISES: [Named<PenaltyNoise>; 2] = [
    value(PenaltyNoise::Fresh, "fresh", "Increments of its own, as published"),
    value(PenaltyNoise::Path, "path", "Those of the path that the solve follows"),
];

/// What a penalty is differentiated through.
pub(crate) const GRADIENTS: [Named<PenaltyGradient>; 3] = [
    value(PenaltyGradient::Published, "published", "The stages after the first, as published"),
    value(PenaltyGradient::Step, "step", "Every stage of the penalised step"),
    value(PenaltyGradient::Full, "full", "Every stage, and the state through the adjoint"),
];

/// The parser of an option that takes one of these.
pub(crate) fn named<T: Copy + Send + Sync>(values: &'static [Named<T>]) -> impl TypedValueParser<Value = T> {
    let names = values.iter().map(|named| PossibleValue::new(named.name).help(named.help));
    PossibleValuesParser::new(names).try_map(move |name| {
        let named = values.iter().find(|named| named.name == name);
        named.map(|named| named.value).ok_or("not one of the values")
    })
}

/// The name of a value.
pub(crate) fn name_of<T: PartialEq>(values: &'static [Named<T>], value: T) -> &'static str {
    values.iter().find(|named| named.value == value).map_or("another", |named| named.name)
}

/// What a search makes small.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Objective {
    /// The evaluations of a test solve
    #[default]
    Nfe,
    /// The time of a prediction
    Time,
}

impl Objective {
    /// How far chance moves its logarithm.
    pub(crate) const fn spread(self) -> f64 {
        match self {
            Self::Nfe => 0.02,
            Self::Time => 0.05,
        }
    }

    /// As a column's head and in a sentence.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Nfe => "NFE",
            Self::Time => "prediction, ms a batch,",
        }
    }
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

impl Precision {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F64 => "f64",
        }
    }
}

/// A step-size controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ControllerName {
    /// Proportional-integral, with what the papers' figures were made with; growth by an eighth with noise
    Published,
    /// Proportional-integral: smooth sequences of steps
    Pi,
    /// The last error alone: the fewest steps
    I,
    /// Soderlind's H211b filter, in between
    H211b,
}

impl ControllerName {
    pub(crate) const ALL: [Self; 4] = [Self::Published, Self::Pi, Self::I, Self::H211b];

    /// The name, as the command line spells it.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Pi => "pi",
            Self::I => "i",
            Self::H211b => "h211b",
        }
    }

    /// The controller of that name for a method.
    pub(crate) fn of(self, method: Method) -> Controller {
        match self {
            Self::Published if method.tableau().noise.is_some() => Controller::SDE,
            Self::Published => Controller::PI,
            Self::Pi => Controller::PI.prompt(),
            Self::I => Controller::I.prompt(),
            Self::H211b => Controller::H211B.prompt(),
        }
    }
}

/// How a solve begins.
pub(crate) fn first_step(text: &str) -> Result<InitialStep, String> {
    match text {
        "automatic" => Ok(InitialStep::Automatic),
        "carried" => Ok(InitialStep::Carried),
        length => length.parse().map(InitialStep::Length).map_err(|_| "say automatic, carried, or a length".to_owned()),
    }
}

/// A count of which there is at least one.
pub(crate) fn positive(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "give a whole number of at least 1".to_owned())
}

/// Every method.
pub(crate) fn any_method(name: &str) -> Result<Method, String> {
    Method::all().find(|m| m.tableau().name == name).ok_or_else(|| {
        let names: Vec<&str> = Method::all().map(|m| m.tableau().name).collect();
        format!("choose one of {}", names.join(", "))
    })
}

/// Hidden units of a hypersolver's correction, unless it is told otherwise.
pub(crate) const CORRECTION_UNITS: NonZeroUsize = NonZeroUsize::new(32).expect("not zero, or this does not compile");

/// The methods that a hypersolver may correct.
pub(crate) fn base_method(name: &str) -> Result<Method, String> {
    const BASES: [Method; 3] = [Method::Euler, Method::Midpoint, Method::Heun];
    let base = BASES.into_iter().find(|m| m.tableau().name == name);
    base.ok_or_else(|| "choose one of euler, midpoint, heun".to_owned())
}

/// The methods that estimate their error: the others cannot keep a tolerance.
pub(crate) fn adaptive_method(name: &str) -> Result<Method, String> {
    let adaptive = || Method::all().filter(|m| m.tableau().b_error.is_some());
    adaptive().find(|m| m.tableau().name == name).ok_or_else(|| {
        let names: Vec<&str> = adaptive().map(|m| m.tableau().name).collect();
        format!("choose one with an error estimate: {}", names.join(", "))
    })
}
