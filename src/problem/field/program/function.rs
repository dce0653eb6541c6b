//! [`Function`]: what a program applies row by row, with its derivatives.

use serde::{Deserialize, Serialize};

use crate::problem::Activation;

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Function {
    Neg,
    /// `|x|`, with slope 0 at 0.
    Abs,
    Square,
    Cube,
    Sqrt,
    /// `1 / x`.
    Recip,
    Exp,
    /// The natural logarithm.
    Ln,
    Sin,
    Cos,
    Tanh,
    Sigmoid,
    Softplus,
    /// `max(x, 0)`, with slope 0 at 0.
    Relu,
    /// `x sigmoid(x)`.
    Silu,
    Gelu,
}

impl Function {
    pub(crate) const ALL: [Self; 16] = [
        Self::Neg,
        Self::Abs,
        Self::Square,
        Self::Cube,
        Self::Sqrt,
        Self::Recip,
        Self::Exp,
        Self::Ln,
        Self::Sin,
        Self::Cos,
        Self::Tanh,
        Self::Sigmoid,
        Self::Softplus,
        Self::Relu,
        Self::Silu,
        Self::Gelu,
    ];

    /// Its name in listings, text and shaders.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Neg => "neg",
            Self::Abs => "abs",
            Self::Square => "square",
            Self::Cube => "cube",
            Self::Sqrt => "sqrt",
            Self::Recip => "recip",
            Self::Exp => "exp",
            Self::Ln => "ln",
            Self::Sin => "sin",
            Self::Cos => "cos",
            Self::Tanh => "tanh",
            Self::Sigmoid => "sigmoid",
            Self::Softplus => "softplus",
            Self::Relu => "relu",
            Self::Silu => "silu",
            Self::Gelu => "gelu",
        }
    }

    /// The name of its derivative.
    pub(crate) const fn slope_name(self) -> &'static str {
        match self {
            Self::Neg => "neg'",
            Self::Abs => "abs'",
            Self::Square => "square'",
            Self::Cube => "cube'",
            Self::Sqrt => "sqrt'",
            Self::Recip => "recip'",
            Self::Exp => "exp'",
            Self::Ln => "ln'",
            Self::Sin => "sin'",
            Self::Cos => "cos'",
            Self::Tanh => "tanh'",
            Self::Sigmoid => "sigmoid'",
            Self::Softplus => "softplus'",
            Self::Relu => "relu'",
            Self::Silu => "silu'",
            Self::Gelu => "gelu'",
        }
    }

    /// Whether it takes no more than an operation or two.
    pub(crate) const fn is_cheap(self) -> bool {
        matches!(self, Self::Neg | Self::Abs | Self::Square | Self::Cube | Self::Relu)
    }

    /// The activation that it is, if it is one.
    pub(crate) const fn activation(self) -> Option<Activation> {
        match self {
            Self::Tanh => Some(Activation::Tanh),
            Self::Sigmoid => Some(Activation::Sigmoid),
            Self::Softplus => Some(Activation::Softplus),
            Self::Relu => Some(Activation::Relu),
            Self::Silu => Some(Activation::Silu),
            Self::Gelu => Some(Activation::Gelu),
            _ => None,
        }
    }

    /// The function that an activation is; none for the identity.
    pub(crate) const fn of(activation: Activation) -> Option<Self> {
        match activation {
            Activation::Identity => None,
            Activation::Tanh => Some(Self::Tanh),
            Activation::Relu => Some(Self::Relu),
            Activation::Softplus => Some(Self::Softplus),
            Activation::Sigmoid => Some(Self::Sigmoid),
            Activation::Silu => Some(Self::Silu),
            Activation::Gelu => Some(Self::Gelu),
        }
    }

    /// Value and derivative from the definitions.
    pub(crate) fn definition(self, x: f64) -> (f64, f64) {
        match self {
            Self::Neg => (-x, -1.0),
            Self::Abs => (x.abs(), if x == 0.0 { 0.0 } else { x.signum() }),
            Self::Square => (x * x, 2.0 * x),
            Self::Cube => (x * x * x, 3.0 * x * x),
            Self::Sqrt => (x.sqrt(), 0.5 / x.sqrt()),
            Self::Recip => (1.0 / x, -1.0 / (x * x)),
            Self::Exp => (x.exp(), x.exp()),
            Self::Ln => (x.ln(), 1.0 / x),
            Self::Sin => (x.sin(), x.cos()),
            Self::Cos => (x.cos(), -x.sin()),
            Self::Tanh => Activation::Tanh.definition(x),
            Self::Sigmoid => Activation::Sigmoid.definition(x),
            Self::Softplus => Activation::Softplus.definition(x),
            Self::Relu => Activation::Relu.definition(x),
            Self::Silu => Activation::Silu.definition(x),
            Self::Gelu => Activation::Gelu.definition(x),
        }
    }
}
