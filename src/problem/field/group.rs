//! [`Group`]: parameters of a field that belong together, by name.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::layer::{Initialization, Layer};
use super::program::operation::{Block, Number};

/// How the values of a group come from its parameters, which an optimizer moves freely.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Bound {
    /// They are the parameters, the default.
    #[default]
    None,
    /// They are positive: `e^parameter`.
    Exp,
    /// They are positive: `ln(1 + e^parameter)`.
    Softplus,
}

impl Bound {
    /// The parameter of a value; not a number where there is none.
    #[must_use]
    pub fn parameter(self, value: f64) -> f64 {
        match self {
            Self::None => value,
            Self::Exp => value.ln(),
            // `ln(e^v - 1)`, for large `v` too
            Self::Softplus => value + (-(-value).exp()).ln_1p(),
        }
    }

    /// The value of a parameter.
    #[must_use]
    pub fn value(self, parameter: f64) -> f64 {
        match self {
            Self::None => parameter,
            Self::Exp => parameter.exp(),
            Self::Softplus => parameter.max(0.0) + (-parameter.abs()).exp().ln_1p(),
        }
    }
}

/// Parameters of a field that belong together: numbers that were given, or the layers of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Group {
    /// Its name.
    pub name: String,
    /// First parameter.
    pub offset: usize,
    /// Number of parameters.
    pub count: usize,
    /// Whether it has no gradient, and stays as it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub frozen: bool,
    /// How its values come from its parameters.
    #[serde(default)]
    pub bound: Bound,
    pub(super) initial: Initial,
}

/// What a group starts as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Initial {
    /// Numbers, as parameters.
    Numbers(Vec<Number>),
    /// Drawn, a layer at a time.
    Drawn { blocks: Vec<Block>, initialization: Initialization },
}

impl Group {
    /// The layers of the network that the group is, without their activations; none of numbers.
    pub(crate) fn layers(&self) -> Option<impl Iterator<Item = Layer> + '_> {
        match &self.initial {
            Initial::Numbers(_) => None,
            Initial::Drawn { blocks, .. } => Some(blocks.iter().map(Block::layer)),
        }
    }

    /// What its parameters start as; of a network nothing, its weights are drawn.
    pub(crate) fn start(&self) -> Vec<f64> {
        match &self.initial {
            Initial::Numbers(numbers) => numbers.iter().map(|number| number.0).collect(),
            Initial::Drawn { .. } => Vec::new(),
        }
    }

    /// How the weights of the network that it is are drawn.
    pub(crate) const fn initialization(&self) -> Option<Initialization> {
        match self.initial {
            Initial::Numbers(_) => None,
            Initial::Drawn { initialization, .. } => Some(initialization),
        }
    }

    /// The group's place in the flat parameter vector.
    #[must_use]
    pub const fn range(&self) -> Range<usize> {
        self.offset..self.offset.saturating_add(self.count)
    }
}

impl Initial {
    /// Whether it has the group's parameters.
    pub(super) fn fits(&self, group: &Group) -> bool {
        match self {
            Self::Numbers(numbers) => numbers.len() == group.count,
            Self::Drawn { blocks, .. } => {
                let mut next = group.offset;
                let follow = blocks.iter().all(|block| {
                    let range = block.layer().range();
                    range.start == std::mem::replace(&mut next, range.end)
                });
                follow && next == group.range().end
            }
        }
    }
}
