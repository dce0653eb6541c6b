//! [`Mlp`]: the vector field's network, and the one owner of where its parameters lie.

use serde::{Deserialize, Serialize};

use super::group::{Bound, Group, Initial};
use super::layer::{Activation, Initialization, Layer, check_parameters, check_widths};
use super::program::emitter::Emitter;
use super::program::function::Function;
use super::program::operation::{Block, Node, Operation};
use crate::error::{Error, Result};

/// Where the network sees the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TimeInput {
    /// Nowhere: an autonomous field, the default.
    #[default]
    None,
    /// `t` is one more input of the first layer.
    First,
    /// `t` is one more input of every layer.
    Every,
}

/// What is done to the state, element by element, before the first layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum InputMap {
    /// Nothing, the default.
    #[default]
    Identity,
    /// `y^3`.
    Cube,
}

/// A dense network `f(t, y; theta)` whose last layer is linear unless [`Mlp::output_activation`] says otherwise; it maps `D`
/// numbers to `D` numbers when it is a vector field.
///
/// ```
/// use fewsteps::{Activation, Mlp, TimeInput};
/// let field = Mlp::new([784, 100, 784]).activation(Activation::Tanh).time_input(TimeInput::Every);
/// assert_eq!(field.parameter_count(), (784 + 2) * 100 + (100 + 2) * 784);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mlp {
    sizes: Vec<usize>,
    activation: Activation,
    /// Files that do not mention it have networks without it.
    #[serde(default = "linear", skip_serializing_if = "is_linear")]
    output_activation: Activation,
    time_input: TimeInput,
    input_map: InputMap,
    initialization: Initialization,
}

const fn linear() -> Activation {
    Activation::Identity
}

fn is_linear(activation: &Activation) -> bool {
    *activation == Activation::Identity
}

impl Mlp {
    /// A network with the given widths, first the input's, last the output's: tanh between layers, none after the last, no
    /// time input, Glorot-uniform weights.
    pub fn new(sizes: impl Into<Vec<usize>>) -> Self {
        Self {
            sizes: sizes.into(),
            activation: Activation::default(),
            output_activation: linear(),
            time_input: TimeInput::default(),
            input_map: InputMap::default(),
            initialization: Initialization::default(),
        }
    }

    /// Sets the nonlinearity between layers.
    #[must_use]
    pub fn activation(mut self, activation: Activation) -> Self {
        self.activation = activation;
        self
    }

    /// Sets the nonlinearity after the last layer, which is linear without: a bounded field, say, or an encoder whose
    /// states are positive.
    ///
    /// ```
    /// use fewsteps::{Activation, Field, Mlp};
    ///
    /// # fn main() -> fewsteps::Result<()> {
    /// let bounded: Field = Mlp::new([1, 1]).output_activation(Activation::Tanh).into();
    /// assert_eq!(bounded.evaluate(&[3.0, -1.0], 0.0, &[0.5], &[])?, [0.5f64.tanh()]); // weight 3, bias -1
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn output_activation(mut self, activation: Activation) -> Self {
        self.output_activation = activation;
        self
    }

    /// Sets where the network sees the time.
    #[must_use]
    pub fn time_input(mut self, time_input: TimeInput) -> Self {
        self.time_input = time_input;
        self
    }

    /// Sets what is done to the state before the first layer.
    #[must_use]
    pub fn input_map(mut self, input_map: InputMap) -> Self {
        self.input_map = input_map;
        self
    }

    /// Sets how weights are drawn.
    #[must_use]
    pub fn initialization(mut self, initialization: Initialization) -> Self {
        self.initialization = initialization;
        self
    }

    /// Widths, first the input's, last the output's.
    #[must_use]
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// What is done to the state before the first layer.
    #[must_use]
    pub const fn map(&self) -> InputMap {
        self.input_map
    }

    /// The layers in order, with their places in the flat parameter vector.
    pub fn layers(&self) -> impl ExactSizeIterator<Item = Layer> + '_ {
        let mut offset = 0;
        let last = self.sizes.len().saturating_sub(2);
        self.sizes.windows(2).enumerate().map(move |(i, width)| {
            let layer = Layer {
                offset,
                inputs: width[0],
                outputs: width[1],
                time: match self.time_input {
                    TimeInput::None => false,
                    TimeInput::First => i == 0,
                    TimeInput::Every => true,
                },
                activation: if i == last { self.output_activation } else { self.activation },
            };
            offset = layer.range().end;
            layer
        })
    }

    /// Length of the flat parameter vector; `usize::MAX` where it would be more, which [`Mlp::validate`] refuses.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        self.layers().last().map_or(0, |layer| layer.range().end)
    }

    /// Whether its last layer is followed by nothing.
    pub(super) fn ends_linear(&self) -> bool {
        is_linear(&self.output_activation)
    }

    /// How its weights are drawn.
    pub(super) const fn drawn(&self) -> Initialization {
        self.initialization
    }

    /// All its parameters as a group.
    pub(super) fn group(&self) -> Group {
        let blocks = self.layers().map(|layer| Block::of(&layer)).collect();
        Group {
            name: "mlp".to_owned(),
            offset: 0,
            count: self.parameter_count(),
            frozen: false,
            bound: Bound::None,
            initial: Initial::Drawn { blocks, initialization: self.initialization },
        }
    }

    /// Writes the network on `x`, with its layers' blocks where `blocks` says.
    pub(super) fn emit(&self, emitter: &mut Emitter, blocks: &[Block], x: Node) -> Node {
        let input = match self.input_map {
            InputMap::Identity => x,
            InputMap::Cube => emitter.map(Function::Cube, x),
        };
        blocks.iter().zip(self.layers()).fold(input, |x, (block, layer)| {
            let z = emitter.emit(Operation::Dense { x, block: *block, affine: true });
            Function::of(layer.activation).map_or(z, |f| emitter.map(f, z))
        })
    }

    /// Index of the first stream that a diffusion's layers are drawn from, well after a field's.
    pub(crate) const DIFFUSION_STREAM: u64 = 1 << 33;

    /// Checks the widths.
    ///
    /// # Errors
    /// [`Error::Argument`] when there are fewer than two widths, one is zero or beyond 2^20, or they make
    /// more than 2^30 parameters.
    pub fn validate(&self) -> Result<()> {
        if self.sizes.len() < 2 || self.sizes.contains(&0) {
            return Err(Error::argument(
                "Mlp::sizes",
                format!("{:?}", self.sizes),
                "give at least an input and an output width, all positive",
            ));
        }
        check_parameters("Mlp::sizes", &self.sizes, self.parameter_count())?;
        check_widths("Mlp::sizes", &self.sizes)
    }
}
