//! [`StateMap`]: what stands before or after a model's equation.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Error, Result};
use crate::math::{Purpose, Random, Real};
use crate::method::Recurrent;
use crate::problem::{Field, Initialization, Layer, Mlp, check_parameters, check_widths};

/// An encoder, from inputs to initial states, or a head, from saved states to outputs: a linear layer, of which the other
/// width is given, or a [`Field`] that reads neither time nor controls; an encoder may be [`Recurrent`] too.
///
/// In files the first is a number and the others are objects, of which the last has a `cell`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum StateMap {
    /// A linear layer: of an encoder from so many numbers, of a head to so many.
    Linear(usize),
    /// A field, whose state is the map's input.
    Field(Field),
    /// An encoder of series of observations.
    Recurrent(Box<Recurrent>),
}

/// Which end of the equation a map is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Encoder,
    Head,
}

impl<'de> Deserialize<'de> for StateMap {
    /// What is wrong with it is said as for the form that it has: an untagged enum would say that none fits.
    fn deserialize<D: Deserializer<'de>>(file: D) -> Result<Self, D::Error> {
        let json = serde_json::Value::deserialize(file)?;
        if json.get("cell").is_some() {
            Recurrent::deserialize(json).map(Self::from).map_err(D::Error::custom)
        } else if json.is_object() {
            Field::deserialize(json).map(Self::Field).map_err(D::Error::custom)
        } else {
            usize::deserialize(json).map(Self::Linear).map_err(D::Error::custom)
        }
    }
}

impl From<usize> for StateMap {
    fn from(width: usize) -> Self {
        Self::Linear(width)
    }
}

impl From<Field> for StateMap {
    fn from(field: Field) -> Self {
        Self::Field(field)
    }
}

impl From<Recurrent> for StateMap {
    fn from(encoder: Recurrent) -> Self {
        Self::Recurrent(Box::new(encoder))
    }
}

impl From<Mlp> for StateMap {
    fn from(mlp: Mlp) -> Self {
        Self::Field(mlp.into())
    }
}

impl End {
    /// The first part of its tensors' names.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Encoder => "encoder",
            Self::Head => "head",
        }
    }

    /// Its name in errors.
    pub(crate) const fn argument(self) -> &'static str {
        match self {
            Self::Encoder => "NeuralDe::encoder",
            Self::Head => "NeuralDe::head",
        }
    }

    /// The stream that a linear layer is drawn from. The equation's layers have those from 0; these come well after them.
    const fn stream(self) -> u64 {
        match self {
            Self::Encoder => 1 << 32,
            Self::Head => (1 << 32) + 1,
        }
    }

    /// The first of the streams that the layers of its `n`-th field are drawn from, none of them that of a linear layer.
    const fn first_stream(self, n: u64) -> u64 {
        match self {
            Self::Encoder => (2 + 2 * n) << 32,
            Self::Head => (3 + 2 * n) << 32,
        }
    }
}

impl StateMap {
    /// Numbers in an input of it as an encoder.
    pub(super) fn inputs(&self) -> usize {
        match self {
            Self::Linear(inputs) => *inputs,
            Self::Field(field) => field.inputs(),
            Self::Recurrent(encoder) => encoder.inputs(),
        }
    }

    /// Numbers in an output of it as a head.
    pub(super) fn outputs(&self) -> usize {
        match self {
            Self::Linear(outputs) => *outputs,
            Self::Field(field) => field.outputs(),
            Self::Recurrent(encoder) => encoder.outputs(),
        }
    }

    /// The fields that it is made of, with the names of their tensors and their first parameters; of a linear layer none.
    pub(super) fn fields(&self, end: End) -> Vec<(String, &Field, usize)> {
        match self {
            Self::Linear(_) => Vec::new(),
            Self::Field(field) => vec![(end.name().to_owned(), field, 0)],
            Self::Recurrent(encoder) => {
                let named = |(part, field, first)| (format!("{}.{part}", end.name()), field, first);
                encoder.parts().map(named).collect()
            }
        }
    }

    /// The recurrent encoder, if it is one.
    pub(super) fn as_recurrent(&self) -> Option<&Recurrent> {
        match self {
            Self::Recurrent(encoder) => Some(encoder),
            Self::Linear(_) | Self::Field(_) => None,
        }
    }

    /// The layer, if it is one, with its block from parameter `first` on.
    pub(super) const fn layer(&self, end: End, dim: usize, first: usize) -> Option<Layer> {
        match (self, end) {
            (Self::Field(_) | Self::Recurrent(_), _) => None,
            (Self::Linear(inputs), End::Encoder) => Some(Layer::linear(first, *inputs, dim)),
            (Self::Linear(outputs), End::Head) => Some(Layer::linear(first, dim, *outputs)),
        }
    }

    /// The map as a field: a layer is the network of this one layer. What is recurrent is none.
    pub(super) fn field(&self, end: End, dim: usize) -> Option<Field> {
        match (self, end) {
            (Self::Field(field), _) => Some(field.clone()),
            (Self::Recurrent(_), _) => None,
            (Self::Linear(inputs), End::Encoder) => Some(Mlp::new([*inputs, dim]).into()),
            (Self::Linear(outputs), End::Head) => Some(Mlp::new([dim, *outputs]).into()),
        }
    }

    /// Number of its parameters, before or after an equation of `dim` numbers.
    pub(super) fn parameter_count(&self, end: End, dim: usize) -> usize {
        match self {
            Self::Linear(_) => self.layer(end, dim, 0).map_or(0, |layer| layer.parameter_count()),
            Self::Field(field) => field.parameter_count(),
            Self::Recurrent(encoder) => encoder.parameter_count(),
        }
    }

    /// Its parameters as they start, before or after an equation of `dim` numbers.
    pub(super) fn initialize<R: Real>(&self, end: End, dim: usize, seed: u64) -> Vec<R> {
        match self {
            Self::Field(_) | Self::Recurrent(_) => {
                let drawn = |((_, field, _), n): ((String, &Field, usize), u64)| {
                    field.initialize_from(seed, end.first_stream(n))
                };
                self.fields(end).into_iter().zip(0..).flat_map(drawn).collect()
            }
            Self::Linear(_) => self.layer(end, dim, 0).map_or(Vec::new(), |layer| {
                let mut theta = vec![R::ZERO; layer.parameter_count()];
                let mut random = Random::new(seed, Purpose::Initialization, end.stream());
                layer.initialize(Initialization::GlorotUniform, &mut random, &mut theta);
                theta
            }),
        }
    }

    /// Checks it before or after an equation of `dim` numbers.
    pub(super) fn validate(&self, end: End, dim: usize) -> Result<()> {
        let name = end.argument();
        match self {
            Self::Linear(0) => Err(Error::argument(name, 0, "a layer is at least one number wide")),
            Self::Linear(width) => {
                check_parameters(name, width, self.parameter_count(end, dim))?;
                check_widths(name, &[*width])
            }
            Self::Field(field) => validate_field(field, end, dim),
            Self::Recurrent(encoder) => validate_recurrent(encoder, end, dim),
        }
    }
}

fn validate_recurrent(encoder: &Recurrent, end: End, dim: usize) -> Result<()> {
    let (name, widths) = (end.argument(), [encoder.inputs(), encoder.outputs()]);
    if end == End::Head {
        let remedy = "a head maps one saved state, and no series of observations: give it to the encoder";
        return Err(Error::argument(name, "a recurrent encoder", remedy));
    }
    encoder.validate()?;
    if encoder.outputs() != dim {
        let remedy = format!(
            "an encoder's outputs are the initial states, of {dim} numbers each, not {}: give it a map to them \
             (Recurrent::out)",
            encoder.outputs()
        );
        return Err(Error::argument(name, format!("{widths:?}"), remedy));
    }
    Ok(())
}

fn validate_field(field: &Field, end: End, dim: usize) -> Result<()> {
    field.validate()?;
    let (name, widths) = (end.argument(), field.widths());
    let (width, what) = match end {
        End::Encoder => {
            (field.outputs(), "an encoder's outputs are the initial states, or their means and log-variances")
        }
        End::Head => (field.inputs(), "a head's inputs are the saved states"),
    };
    if width != dim {
        return Err(Error::argument(name, widths, format!("{what}, of {dim} numbers each, not {width}")));
    }
    if field.reads_time() {
        let remedy = "it stands outside of the equation, where no time passes: leave the time out of it";
        return Err(Error::argument(name, widths, remedy));
    }
    match field.controls().first() {
        Some(control) => {
            let remedy = "it stands outside of the equation, where nothing drives it: give it to the field";
            Err(Error::argument(name, format!("control {:?}", control.name), remedy))
        }
        None => check_parameters(name, widths, field.parameter_count()),
    }
}
