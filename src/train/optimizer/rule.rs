//! [`Optimizer`] and its [`Rule`] as data, by the definitions of `torch.optim`.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::math::Real;
use crate::method::Schedule;

/// The recurrence by which parameters follow their gradient `g`, at the learning rate `a`.
///
/// `m` and `v` are the two moments of [`OptimizerState`], `t = 1, 2, ...` counts the updates. The constructors of
/// [`Optimizer`] give the defaults of `torch.optim`, and for `AdaBelief`, which it lacks, those of the paper.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Rule {
    /// `m = momentum m + g`; `theta -= a m`, or with Nesterov's momentum `theta -= a (g + momentum m)`.
    Sgd {
        /// The decay of `m` per update, in `[0, 1)`. At 0 there is no `m`.
        momentum: f64,
        /// Whether to look ahead by one step of the momentum, which must then be positive.
        nesterov: bool,
    },
    /// `m = beta1 m + (1 - beta1) g`, `v = beta2 v + (1 - beta2) g^2`;
    /// `theta -= a m' / (sqrt(v') + epsilon)` with `m' = m / (1 - beta1^t)` and `v' = v / (1 - beta2^t)`
    /// (D. P. Kingma, J. Ba, ICLR 2015).
    Adam {
        /// The decay of `m` per update, in `[0, 1)`.
        beta1: f64,
        /// The decay of `v` per update, in `[0, 1)`.
        beta2: f64,
        /// What keeps the divisor positive.
        epsilon: f64,
    },
    /// [`Rule::Adam`] after `theta *= 1 - a weight_decay` (I. Loshchilov, F. Hutter, ICLR 2019).
    #[serde(rename = "adamw")]
    AdamW {
        /// The decay of `m` per update, in `[0, 1)`.
        beta1: f64,
        /// The decay of `v` per update, in `[0, 1)`.
        beta2: f64,
        /// What keeps the divisor positive.
        epsilon: f64,
        /// The decay of `theta` per update and unit of the learning rate.
        weight_decay: f64,
    },
    /// `m` as for [`Rule::Adam`], `v = max(beta2 v, |g| + epsilon)`; `theta -= a m' / v` (Kingma and Ba, section 7.1).
    #[serde(rename = "adamax")]
    AdaMax {
        /// The decay of `m` per update, in `[0, 1)`.
        beta1: f64,
        /// The decay of `v` per update, in `[0, 1)`.
        beta2: f64,
        /// What keeps the divisor positive.
        epsilon: f64,
    },
    /// [`Rule::Adam`] with `v = beta2 v + (1 - beta2) (g - m)^2 + epsilon` (J. Zhuang et al., 2020).
    #[serde(rename = "adabelief")]
    AdaBelief {
        /// The decay of `m` per update, in `[0, 1)`.
        beta1: f64,
        /// The decay of `v` per update, in `[0, 1)`.
        beta2: f64,
        /// What keeps the divisor positive, added in both places.
        epsilon: f64,
    },
    /// `v = decay v + (1 - decay) g^2`; `theta -= a g / (sqrt(v) + epsilon)` (G. Hinton, lecture 6e, 2012).
    #[serde(rename = "rmsprop")]
    RmsProp {
        /// The decay of `v` per update, in `[0, 1)`.
        decay: f64,
        /// What keeps the divisor positive.
        epsilon: f64,
    },
}

/// A bound on the gradient, applied before it is used.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Clip {
    /// `g *= min(1, bound / (|g| + 1e-6))` with the Euclidean norm over all parameters.
    Norm(f64),
    /// Every component is brought into `[-bound, bound]`.
    Value(f64),
}

/// A rule, the learning rate at each update, and an optional bound on the gradient: plain data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Optimizer {
    /// The recurrence.
    pub rule: Rule,
    /// The learning rate of update `n = 0, 1, ...`
    pub learning_rate: Schedule,
    /// The bound on the gradient, if any.
    pub clip: Option<Clip>,
}

/// What an optimizer remembers of earlier gradients.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct OptimizerState<R: Real> {
    /// How many updates there have been.
    pub step: u64,
    /// `m` and `v` of [`Rule`], each as long as the parameters, or empty where the rule has none.
    pub moments: [Vec<R>; 2],
}

impl Rule {
    /// Whether this rule goes on from the moments of `other`: both keep the same averages.
    pub(crate) fn shares_moments(&self, other: &Self) -> bool {
        let kept = |rule: &Self| match *rule {
            Self::Sgd { momentum, .. } => [0, u8::from(momentum != 0.0)],
            Self::Adam { .. } | Self::AdamW { .. } => [1, 0],
            Self::AdaMax { .. } => [2, 0],
            Self::AdaBelief { .. } => [3, 0],
            Self::RmsProp { .. } => [4, 0],
        };
        kept(self) == kept(other)
    }
}

/// What became of a gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Update {
    /// The gradient's Euclidean norm before clipping.
    pub norm: f64,
    /// Whether parameters and moments moved: not where one of them, or the gradient, would not be finite.
    pub made: bool,
}

impl<R: Real> OptimizerState<R> {
    /// The state before the first update of `len` parameters.
    #[must_use]
    pub fn new(rule: &Rule, len: usize) -> Self {
        let (m, v) = match *rule {
            Rule::Sgd { momentum, .. } => (momentum != 0.0, false),
            Rule::RmsProp { .. } => (false, true),
            Rule::Adam { .. } | Rule::AdamW { .. } | Rule::AdaMax { .. } | Rule::AdaBelief { .. } => (true, true),
        };
        Self { step: 0, moments: [m, v].map(|used| vec![R::ZERO; if used { len } else { 0 }]) }
    }
}

impl Optimizer {
    pub(super) fn new(rule: Rule, learning_rate: impl Into<Schedule>) -> Self {
        Self { rule, learning_rate: learning_rate.into(), clip: None }
    }

    /// Gradient descent without momentum.
    #[must_use]
    pub fn sgd(learning_rate: impl Into<Schedule>) -> Self {
        Self::momentum(learning_rate, 0.0)
    }

    /// Gradient descent with heavy-ball momentum.
    #[must_use]
    pub fn momentum(learning_rate: impl Into<Schedule>, momentum: f64) -> Self {
        Self::new(Rule::Sgd { momentum, nesterov: false }, learning_rate)
    }

    /// Gradient descent with Nesterov's momentum.
    #[must_use]
    pub fn nesterov(learning_rate: impl Into<Schedule>, momentum: f64) -> Self {
        Self::new(Rule::Sgd { momentum, nesterov: true }, learning_rate)
    }

    /// Adam with decays 0.9 and 0.999 and epsilon 1e-8.
    #[must_use]
    pub fn adam(learning_rate: impl Into<Schedule>) -> Self {
        Self::new(Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }, learning_rate)
    }

    /// Adam with decoupled weight decay, otherwise as [`Optimizer::adam`].
    #[must_use]
    pub fn adamw(learning_rate: impl Into<Schedule>, weight_decay: f64) -> Self {
        Self::new(Rule::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay }, learning_rate)
    }

    /// Adam in the infinity norm, with decays 0.9 and 0.999 and epsilon 1e-8.
    #[must_use]
    pub fn adamax(learning_rate: impl Into<Schedule>) -> Self {
        Self::new(Rule::AdaMax { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }, learning_rate)
    }

    /// `AdaBelief` with decays 0.9 and 0.999 and epsilon 1e-16.
    #[must_use]
    pub fn adabelief(learning_rate: impl Into<Schedule>) -> Self {
        Self::new(Rule::AdaBelief { beta1: 0.9, beta2: 0.999, epsilon: 1e-16 }, learning_rate)
    }

    /// `RMSprop` with decay 0.99 and epsilon 1e-8.
    #[must_use]
    pub fn rmsprop(learning_rate: impl Into<Schedule>) -> Self {
        Self::new(Rule::RmsProp { decay: 0.99, epsilon: 1e-8 }, learning_rate)
    }

    /// Bounds the Euclidean norm of the gradient.
    #[must_use]
    pub fn clip_norm(self, bound: f64) -> Self {
        Self { clip: Some(Clip::Norm(bound)), ..self }
    }

    /// Bounds every component of the gradient.
    #[must_use]
    pub fn clip_value(self, bound: f64) -> Self {
        Self { clip: Some(Clip::Value(bound)), ..self }
    }

    /// Whether the numbers are in their ranges.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] where a decay is outside `[0, 1)`, Nesterov's momentum is 0, epsilon is outside
    /// `[1e-37, 1e37]`, the bound on the gradient is not positive and finite, the weight decay is negative or not finite, or the
    /// learning rate fails [`Schedule::validate`].
    pub fn validate(&self) -> Result<()> {
        self.learning_rate.validate("learning_rate")?;
        match self.rule {
            Rule::Sgd { momentum, nesterov } => {
                check("momentum", momentum, (0.0..1.0).contains(&momentum), "use a number in [0, 1)")?;
                check("momentum", momentum, momentum > 0.0 || !nesterov, "give Nesterov's momentum a positive number")?;
            }
            Rule::Adam { beta1, beta2, epsilon }
            | Rule::AdamW { beta1, beta2, epsilon, .. }
            | Rule::AdaMax { beta1, beta2, epsilon }
            | Rule::AdaBelief { beta1, beta2, epsilon } => {
                check("beta1", beta1, (0.0..1.0).contains(&beta1), "use a number in [0, 1)")?;
                check("beta2", beta2, (0.0..1.0).contains(&beta2), "use a number in [0, 1)")?;
                check("epsilon", epsilon, visible(epsilon), "use a number from 1e-37 to 1e37")?;
            }
            Rule::RmsProp { decay, epsilon } => {
                check("decay", decay, (0.0..1.0).contains(&decay), "use a number in [0, 1)")?;
                check("epsilon", epsilon, visible(epsilon), "use a number from 1e-37 to 1e37")?;
            }
        }
        if let Rule::AdamW { weight_decay, .. } = self.rule {
            let good = weight_decay.is_finite() && weight_decay >= 0.0;
            check("weight_decay", weight_decay, good, "use a finite number that is not negative")?;
        }
        match self.clip {
            Some(Clip::Norm(bound) | Clip::Value(bound)) => {
                check("clip", bound, positive(bound), "use a positive, finite bound, or none")
            }
            None => Ok(()),
        }
    }
}

fn positive(x: f64) -> bool {
    x.is_finite() && x > 0.0
}

/// Whether `epsilon` is a normal number at `f32`: at 0, a parameter without gradient would move by 0 / 0; at infinity none
/// would move.
fn visible(epsilon: f64) -> bool {
    (1e-37..=1e37).contains(&epsilon)
}

fn check(argument: &'static str, value: f64, good: bool, remedy: &str) -> Result<()> {
    if good { Ok(()) } else { Err(Error::argument(argument, value, remedy)) }
}
