//! [`Text`]: what a text says, as it stands there.

use super::place::Span;
use crate::problem::field::program::operation::Arithmetic;
use crate::problem::{Bound, Calculus, Mlp};

/// A name, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Named<'a> {
    pub(super) name: &'a str,
    pub(super) at: Span,
}

/// What a text says.
#[derive(Debug, Default)]
pub(super) struct Text<'a> {
    pub(super) definitions: Vec<Definition<'a>>,
    /// `y' = ...`.
    pub(super) drift: Vec<Equation<'a>>,
    /// `y ~ ...`.
    pub(super) noise: Vec<Equation<'a>>,
    pub(super) calculus: Option<(Calculus, Span)>,
}

/// A name that a text gives a meaning.
#[derive(Debug)]
pub(super) struct Definition<'a> {
    pub(super) name: Named<'a>,
    pub(super) meaning: Meaning<'a>,
}

impl Definition<'_> {
    /// Whether it is of a map that is no vector field.
    pub(super) const fn of_map(&self) -> bool {
        matches!(self.meaning, Meaning::Input { .. } | Meaning::Output(_))
    }
}

/// What a name means.
#[derive(Debug)]
pub(super) enum Meaning<'a> {
    State {
        rows: usize,
    },
    /// What comes into a map that is no vector field.
    Input {
        rows: usize,
    },
    Control {
        rows: usize,
    },
    Parameter {
        rows: Option<usize>,
        start: Expression<'a>,
        bound: Bound,
        frozen: bool,
    },
    Network {
        mlp: Mlp,
        frozen: bool,
    },
    Let(Expression<'a>),
    /// What such a map gives.
    Output(Expression<'a>),
}

impl<'a> Meaning<'a> {
    /// The expression that it is the value of.
    pub(super) const fn expression(&self) -> Option<&Expression<'a>> {
        match self {
            Self::Let(expression) | Self::Output(expression) => Some(expression),
            _ => None,
        }
    }

    /// What it is, in errors.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::State { .. } => "state",
            Self::Input { .. } => "input",
            Self::Control { .. } => "control",
            Self::Parameter { .. } => "parameter",
            Self::Network { .. } => "network",
            Self::Let(_) => "shorthand",
            Self::Output(_) => "output",
        }
    }

    /// Its rows, if it comes in as the state does.
    pub(super) const fn state_rows(&self) -> Option<usize> {
        match self {
            Self::State { rows } | Self::Input { rows } => Some(*rows),
            _ => None,
        }
    }
}

/// What drives a state, or disturbs it.
#[derive(Debug)]
pub(super) struct Equation<'a> {
    pub(super) state: Named<'a>,
    pub(super) value: Expression<'a>,
}

/// An expression as a stack machine computes it: operands come before what is done with them. So however long or deep it
/// is, whoever walks over it does not recurse.
#[derive(Debug)]
pub(super) struct Expression<'a> {
    pub(super) steps: Vec<Step<'a>>,
    pub(super) at: Span,
}

/// A step of an expression.
#[derive(Debug)]
pub(super) struct Step<'a> {
    pub(super) at: Span,
    pub(super) act: Act<'a>,
}

/// What a step does.
#[derive(Clone, Debug)]
pub(super) enum Act<'a> {
    /// Puts a number there.
    Number(f64),
    /// Puts the value of a name there.
    Name(&'a str),
    /// Takes so many values as arguments.
    Call(&'a str, usize),
    /// Takes some rows of a value.
    Rows {
        first: usize,
        count: usize,
    },
    Negate,
    Arithmetic(Arithmetic),
    /// Takes a value and its exponent.
    Power,
    /// Puts so many values one below the other.
    Stack(usize),
}
