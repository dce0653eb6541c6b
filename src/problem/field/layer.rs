//! [`Layer`]: a dense layer and its place among the parameters, its [`Activation`], and how its weights are drawn.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::math::{Random, Real};

/// The most parameters that a model may have: 4 GiB at `f32`, of which a training holds some eight times as much. A
/// larger number is a slip, and it would take the machine's memory before anything could be said.
pub(crate) const MAX_PARAMETERS: usize = 1 << 30;

/// Rows that a value may have, and so the most inputs and outputs of a layer.
pub(crate) const MAX_ROWS: usize = 1 << 20;

/// An elementwise nonlinearity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Activation {
    /// `x`.
    Identity,
    /// `tanh x`, the default.
    #[default]
    Tanh,
    /// `max(x, 0)`, with derivative 0 at 0.
    Relu,
    /// `ln(1 + e^x)`.
    Softplus,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// `x sigmoid(x)`, also called swish.
    Silu,
    /// `x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`: the tanh form of Hendrycks & Gimpel 2016.
    Gelu,
}

impl Activation {
    /// Every activation.
    pub const ALL: [Self; 7] =
        [Self::Identity, Self::Tanh, Self::Relu, Self::Softplus, Self::Sigmoid, Self::Silu, Self::Gelu];

    /// Value and derivative from the definitions, which either engine's are compared with.
    pub(crate) fn definition(self, x: f64) -> (f64, f64) {
        let sigmoid = |x: f64| if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) };
        match self {
            Self::Identity => (x, 1.0),
            Self::Tanh => (x.tanh(), x.cosh().powi(-2)),
            // What is no number stays none.
            Self::Relu => (if x <= 0.0 { 0.0 } else { x }, f64::from(u8::from(x > 0.0))),
            Self::Softplus => (x.max(0.0) + (-x.abs()).exp().ln_1p(), sigmoid(x)),
            Self::Sigmoid => (sigmoid(x), sigmoid(x) * sigmoid(-x)),
            Self::Silu => (x * sigmoid(x), sigmoid(x) + x * sigmoid(x) * sigmoid(-x)),
            Self::Gelu => {
                let c = 2.0 * (2.0 / std::f64::consts::PI).sqrt();
                let u = (c * (x + 0.044_715 * x.powi(3))).clamp(-1e4, 1e4);
                let du = if x.abs() > 1e3 { 0.0 } else { c * (1.0 + 3.0 * 0.044_715 * x * x) };
                (x * sigmoid(u), sigmoid(u) + x * sigmoid(u) * sigmoid(-u) * du)
            }
        }
    }
}

/// How weights are drawn; biases start at zero. A layer's fan-in counts its time input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Initialization {
    /// Uniform on `±sqrt(6 / (fan_in + fan_out))` (Glorot & Bengio 2010), the default.
    #[default]
    GlorotUniform,
    /// Normal with variance `2 / (fan_in + fan_out)`.
    GlorotNormal,
    /// Uniform on `±sqrt(6 / fan_in)` (He et al. 2015).
    HeUniform,
    /// Normal with variance `2 / fan_in`.
    HeNormal,
}

/// One dense layer and its place in the flat parameter vector.
///
/// The block is a row-major matrix of `rows() x outputs`: a row an input, then the time's row if `time`, then the
/// bias. So `z = [x, t, 1] @ block`, and one matrix product gives the gradient of all three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Layer {
    /// First parameter of the block.
    pub offset: usize,
    /// Inputs, not counting time and bias.
    pub inputs: usize,
    /// Outputs.
    pub outputs: usize,
    /// Whether `t` is one more input.
    pub time: bool,
    /// Applied to the layer's outputs.
    pub activation: Activation,
}

impl Layer {
    /// A linear layer without time, starting at parameter `offset`.
    #[must_use]
    pub const fn linear(offset: usize, inputs: usize, outputs: usize) -> Self {
        Self { offset, inputs, outputs, time: false, activation: Activation::Identity }
    }

    /// Rows of the parameter block: inputs, time, bias.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.inputs.saturating_add(self.time as usize + 1)
    }

    /// Number of parameters; as its other numbers, `usize::MAX` where it would be more.
    #[must_use]
    pub const fn parameter_count(&self) -> usize {
        self.rows().saturating_mul(self.outputs)
    }

    /// The block's place in the flat parameter vector.
    #[must_use]
    pub const fn range(&self) -> std::ops::Range<usize> {
        self.offset..self.offset.saturating_add(self.parameter_count())
    }

    /// Draws the block's weights (row-major, as described above) and sets its biases to zero.
    pub fn initialize<R: Real>(&self, initialization: Initialization, random: &mut Random, block: &mut [R]) {
        let fan_in = (self.rows() - 1) as f64;
        let fan_out = self.outputs as f64;
        let variance = match initialization {
            Initialization::GlorotUniform | Initialization::GlorotNormal => 2.0 / (fan_in + fan_out),
            Initialization::HeUniform | Initialization::HeNormal => 2.0 / fan_in,
        };
        let uniform = matches!(initialization, Initialization::GlorotUniform | Initialization::HeUniform);
        let (weights, bias) = block.split_at_mut((self.rows() - 1) * self.outputs);
        for weight in weights {
            *weight = R::from_f64(if uniform {
                (3.0 * variance).sqrt() * (2.0 * random.uniform() - 1.0)
            } else {
                variance.sqrt() * random.normal()
            });
        }
        bias.fill(R::ZERO);
    }
}

/// Refuses layers with more inputs or outputs than a value has rows.
pub(crate) fn check_widths(argument: &'static str, widths: &[usize]) -> Result<()> {
    if widths.iter().all(|width| *width <= MAX_ROWS) {
        return Ok(());
    }
    let remedy = format!("a layer has at most {MAX_ROWS} inputs and outputs: choose smaller widths");
    Err(Error::argument(argument, format!("{widths:?}"), remedy))
}

/// Refuses more parameters than a model may have; `value` of the argument makes so many.
pub(crate) fn check_parameters(argument: &'static str, value: impl std::fmt::Debug, count: usize) -> Result<()> {
    if count <= MAX_PARAMETERS {
        return Ok(());
    }
    let remedy =
        format!("they make {count} parameters or more, of which a model has at most 2^30: choose smaller widths");
    Err(Error::argument(argument, format!("{value:?}"), remedy))
}
