//! [`Optimizer`]: how a gradient changes the parameters, by the definitions of `torch.optim`.

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
    fn new(rule: Rule, learning_rate: impl Into<Schedule>) -> Self {
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

    /// Clips `gradient` in place, advances `state` and moves `theta`.
    ///
    /// `theta`, `gradient` and the moments that the rule has are equally long; `state` is of this rule.
    ///
    /// All or nothing: where the gradient's sum of squares is no finite number of `R`, or a parameter or moment would not
    /// be, `theta` and `state` are left as they were, and the caller decides whether to skip the batch or to stop. The sum
    /// is taken in `f64` in a fixed order, the same on every machine.
    pub fn update<R: Real>(&self, state: &mut OptimizerState<R>, theta: &mut [R], gradient: &mut [R]) -> Update {
        debug_assert_eq!(theta.len(), gradient.len(), "one derivative per parameter");
        let norm = norm(gradient);
        if !R::from_f64(norm * norm).is_finite() {
            return Update { norm, made: false };
        }
        self.bound(gradient, norm);

        let rate = self.learning_rate.value(state.step);
        let t = (state.step + 1) as f64;
        let r = R::from_f64;
        let moments = &mut state.moments;
        let made = match self.rule {
            Rule::Sgd { momentum, nesterov } => {
                let (a, mu) = (r(-rate), r(momentum));
                if momentum == 0.0 {
                    advance(theta, gradient, |x, g| a.mul_add(g, x))
                } else if nesterov {
                    advance_with(theta, &mut moments[0], gradient, |[x, m], g| {
                        let m = mu.mul_add(m, g);
                        [a.mul_add(mu.mul_add(m, g), x), m]
                    })
                } else {
                    advance_with(theta, &mut moments[0], gradient, |[x, m], g| {
                        let m = mu.mul_add(m, g);
                        [a.mul_add(m, x), m]
                    })
                }
            }
            Rule::Adam { beta1, beta2, epsilon } => {
                let adam = Adam::new(rate, beta1, beta2, epsilon, t);
                advance_both(theta, moments, gradient, |[x, m, v], g| {
                    let (m, v) = (adam.average(m, g), adam.spread(v, g));
                    [x - adam.step(m, v), m, v]
                })
            }
            Rule::AdamW { beta1, beta2, epsilon, weight_decay } => {
                let adam = Adam::new(rate, beta1, beta2, epsilon, t);
                let keep = r(1.0 - rate * weight_decay);
                advance_both(theta, moments, gradient, |[x, m, v], g| {
                    let (m, v) = (adam.average(m, g), adam.spread(v, g));
                    [keep * x - adam.step(m, v), m, v]
                })
            }
            Rule::AdaMax { beta1, beta2, epsilon } => {
                let adam = Adam::new(rate, beta1, beta2, epsilon, t);
                advance_both(theta, moments, gradient, |[x, m, v], g| {
                    let (m, v) = (adam.average(m, g), (adam.beta2[0] * v).max(g.abs() + adam.epsilon));
                    [x - adam.rate * m / v, m, v]
                })
            }
            Rule::AdaBelief { beta1, beta2, epsilon } => {
                let adam = Adam::new(rate, beta1, beta2, epsilon, t);
                advance_both(theta, moments, gradient, |[x, m, v], g| {
                    let m = adam.average(m, g);
                    let v = adam.spread(v, g - m) + adam.epsilon;
                    [x - adam.step(m, v), m, v]
                })
            }
            Rule::RmsProp { decay, epsilon } => {
                let (a, b, e) = (r(rate), [r(decay), r(1.0 - decay)], r(epsilon));
                advance_with(theta, &mut moments[1], gradient, |[x, v], g| {
                    let v = b[0].mul_add(v, b[1] * g * g);
                    [x - a * g / (v.sqrt() + e), v]
                })
            }
        };
        state.step += u64::from(made);
        Update { norm, made }
    }

    /// Applies the bound on the gradient, whose norm is `norm`.
    fn bound<R: Real>(&self, gradient: &mut [R], norm: f64) {
        match self.clip {
            Some(Clip::Norm(bound)) if bound < norm + 1e-6 => {
                let factor = R::from_f64(bound / (norm + 1e-6));
                each(gradient.iter_mut(), |g| *g *= factor);
            }
            Some(Clip::Value(bound)) => {
                let bound = R::from_f64(bound);
                each(gradient.iter_mut(), |g| *g = g.min(bound).max(-bound));
            }
            Some(Clip::Norm(_)) | None => {}
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

/// What Adam and its kin share within one update, computed in `f64` and rounded once.
struct Adam<R> {
    /// The learning rate over `1 - beta1^t`.
    rate: R,
    /// `1 / sqrt(1 - beta2^t)`.
    root: R,
    /// `beta1` and `1 - beta1`.
    beta1: [R; 2],
    /// `beta2` and `1 - beta2`.
    beta2: [R; 2],
    epsilon: R,
}

impl<R: Real> Adam<R> {
    fn new(rate: f64, beta1: f64, beta2: f64, epsilon: f64, t: f64) -> Self {
        Self {
            rate: R::from_f64(rate / (1.0 - beta1.powf(t))),
            root: R::from_f64((1.0 - beta2.powf(t)).sqrt().recip()),
            beta1: [beta1, 1.0 - beta1].map(R::from_f64),
            beta2: [beta2, 1.0 - beta2].map(R::from_f64),
            epsilon: R::from_f64(epsilon),
        }
    }

    #[inline(always)]
    fn average(&self, m: R, g: R) -> R {
        self.beta1[0].mul_add(m, self.beta1[1] * g)
    }

    #[inline(always)]
    fn spread(&self, v: R, g: R) -> R {
        self.beta2[0].mul_add(v, self.beta2[1] * g * g)
    }

    #[inline(always)]
    fn step(&self, m: R, v: R) -> R {
        self.rate * m / v.sqrt().mul_add(self.root, self.epsilon)
    }
}

/// The Euclidean norm, summed in sixteen interleaved parts: as many as two of the widest registers hold.
pub(crate) fn norm<R: Real>(x: &[R]) -> f64 {
    const PARTS: usize = 16;
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            let mut parts = [0.0; PARTS];
            let (chunks, rest) = x.as_chunks::<PARTS>();
            for chunk in chunks {
                for (part, x) in parts.iter_mut().zip(chunk) {
                    *part += x.to_f64() * x.to_f64();
                }
            }
            for (part, x) in parts.iter_mut().zip(rest) {
                *part += x.to_f64() * x.to_f64();
            }
            parts.iter().sum::<f64>().sqrt()
        },
    )
}

/// Whether a number is not finite, as a word: `|` over a slice is SIMD code.
#[inline(always)]
fn bad<R: Real, const N: usize>(numbers: [R; N]) -> u32 {
    numbers.iter().fold(0, |bad, x| bad | u32::from(!x.is_finite()))
}

/// Replaces parameters by what the rule makes of them and their derivative, unless one of those is not finite: the first
/// pass only looks. Whether it did.
#[inline(always)]
fn advance<R: Real>(theta: &mut [R], gradient: &[R], rule: impl Fn(R, R) -> R) -> bool {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            let finite = theta.iter().zip(gradient).fold(0, |any, (&x, &g)| any | bad([rule(x, g)])) == 0;
            if finite {
                theta.iter_mut().zip(gradient).for_each(|(x, &g)| *x = rule(*x, g));
            }
            finite
        },
    )
}

/// As [`advance`], of a parameter and one moment.
#[inline(always)]
fn advance_with<R: Real>(theta: &mut [R], m: &mut [R], gradient: &[R], rule: impl Fn([R; 2], R) -> [R; 2]) -> bool {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            let numbers = theta.iter().zip(&*m).zip(gradient);
            let finite = numbers.fold(0, |any, ((&x, &m), &g)| any | bad(rule([x, m], g))) == 0;
            if finite {
                let numbers = theta.iter_mut().zip(m).zip(gradient);
                numbers.for_each(|((x, m), &g)| [*x, *m] = rule([*x, *m], g));
            }
            finite
        },
    )
}

/// As [`advance`], of a parameter and both moments.
#[inline(always)]
fn advance_both<R: Real>(
    theta: &mut [R],
    [m, v]: &mut [Vec<R>; 2],
    gradient: &[R],
    rule: impl Fn([R; 3], R) -> [R; 3],
) -> bool {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            let numbers = theta.iter().zip(&*m).zip(&*v).zip(gradient);
            let finite = numbers.fold(0, |any, (((&x, &m), &v), &g)| any | bad(rule([x, m, v], g))) == 0;
            if finite {
                let numbers = theta.iter_mut().zip(m).zip(v).zip(gradient);
                numbers.for_each(|(((x, m), v), &g)| [*x, *m, *v] = rule([*x, *m, *v], g));
            }
            finite
        },
    )
}

/// Calls `f` on every item in the machine's widest instruction set. The closures are inlined, as a function of its own
/// would be compiled for the narrowest one.
#[inline(always)]
fn each<T>(items: impl Iterator<Item = T>, f: impl Fn(T)) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || items.for_each(f),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: [f64; 3] = [1.0, -2.0, 0.5];

    /// The gradient of `sum_i a_i (x_i - c_i)^2 / 2 + x_i^4 / 40`.
    fn slope(i: usize, x: f64) -> f64 {
        const A: [f64; 3] = [1.0, 3.0, 0.5];
        const C: [f64; 3] = [0.3, -0.2, 2.0];
        A[i] * (x - C[i]) + 0.1 * x.powi(3)
    }

    fn descend<R: Real>(optimizer: &Optimizer) -> [f64; 3] {
        optimizer.validate().expect("the optimizers under test are valid");
        let mut theta = START.map(R::from_f64);
        let mut state = OptimizerState::new(&optimizer.rule, 3);
        for _ in 0..5 {
            let mut gradient = std::array::from_fn(|i| R::from_f64(slope(i, theta[i].to_f64())));
            optimizer.update(&mut state, &mut theta, &mut gradient as &mut [R; 3]);
        }
        assert_eq!(state.step, 5, "every update counts");
        theta.map(R::to_f64)
    }

    fn close(name: &str, found: [f64; 3], expected: [f64; 3], tolerance: f64) {
        for (found, expected) in found.into_iter().zip(expected) {
            assert!((found - expected).abs() <= tolerance, "{name}: found {found}, expected {expected}");
        }
    }

    fn all() -> [(&'static str, Optimizer); 7] {
        [
            ("sgd", Optimizer::sgd(0.05)),
            ("momentum", Optimizer::momentum(0.05, 0.9)),
            ("nesterov", Optimizer::nesterov(0.05, 0.9)),
            ("adam", Optimizer::adam(0.05)),
            ("adamw", Optimizer::adamw(0.05, 0.1)),
            ("adamax", Optimizer::adamax(0.05)),
            ("rmsprop", Optimizer::rmsprop(0.05)),
        ]
    }

    #[test]
    fn pytorch() {
        // Five steps of torch.optim 2.15 at float64.
        let expected = [
            [0.823795945590558, -0.937788265018702, 0.673771633565157],
            [0.547491059859709, 0.589853108564854, 0.950753438855836],
            [0.478119314810415, 0.465325940975388, 1.04563023706154],
            [0.752750323204634, -1.75088269356316, 0.748859774264598],
            [0.730855074105384, -1.70407108930965, 0.7340822226003],
            [0.770468913009224, -1.75847571002516, 0.73967009080603],
            [0.301148126626543, -0.747856648439135, 1.41385657414332],
        ];
        for ((name, optimizer), expected) in all().into_iter().zip(expected) {
            close(name, descend::<f64>(&optimizer), expected, 1e-12);
        }
    }

    #[test]
    fn pytorch_clipped() {
        // torch.nn.utils.clip_grad_norm_ and clip_grad_value_ before SGD with momentum.
        let optimizer = Optimizer::momentum(0.05, 0.9);
        let norm = [0.862575363045885, -1.03280187051517, 0.629860658804436];
        let value = [0.547491059859709, -1.474236, 0.950753438855836];
        close("norm", descend::<f64>(&optimizer.clone().clip_norm(1.5)), norm, 1e-12);
        close("value", descend::<f64>(&optimizer.clip_value(0.8)), value, 1e-12);
    }

    #[test]
    fn recurrences() {
        // Each rule as its paper writes it: (theta, gradient, m, v, t), with the defaults above.
        type Step = fn(&mut f64, f64, &mut f64, &mut f64, i32);
        const A: f64 = 0.05;
        let steps: [Step; 8] = [
            |x, g, _, _, _| *x -= A * g,
            |x, g, m, _, _| {
                *m = 0.9 * *m + g;
                *x -= A * *m;
            },
            |x, g, m, _, _| {
                *m = 0.9 * *m + g;
                *x -= A * (g + 0.9 * *m);
            },
            |x, g, m, v, t| {
                *m = 0.9 * *m + 0.1 * g;
                *v = 0.999 * *v + 0.001 * g * g;
                let (m, v) = (*m / (1.0 - 0.9f64.powi(t)), *v / (1.0 - 0.999f64.powi(t)));
                *x -= A * m / (v.sqrt() + 1e-8);
            },
            |x, g, m, v, t| {
                *m = 0.9 * *m + 0.1 * g;
                *v = 0.999 * *v + 0.001 * g * g;
                let (m, v) = (*m / (1.0 - 0.9f64.powi(t)), *v / (1.0 - 0.999f64.powi(t)));
                *x = *x * (1.0 - A * 0.1) - A * m / (v.sqrt() + 1e-8);
            },
            |x, g, m, v, t| {
                *m = 0.9 * *m + 0.1 * g;
                *v = (0.999 * *v).max(g.abs() + 1e-8);
                *x -= A / (1.0 - 0.9f64.powi(t)) * *m / *v;
            },
            |x, g, _, v, _| {
                *v = 0.99 * *v + 0.01 * g * g;
                *x -= A * g / (v.sqrt() + 1e-8);
            },
            |x, g, m, v, t| {
                *m = 0.9 * *m + 0.1 * g;
                *v = 0.999 * *v + 0.001 * (g - *m) * (g - *m) + 1e-16;
                let (m, v) = (*m / (1.0 - 0.9f64.powi(t)), *v / (1.0 - 0.999f64.powi(t)));
                *x -= A * m / (v.sqrt() + 1e-16);
            },
        ];
        let optimizers = all().into_iter().chain([("adabelief", Optimizer::adabelief(A))]);
        for ((name, optimizer), step) in optimizers.zip(steps) {
            let expected = std::array::from_fn(|i| {
                let (mut x, mut m, mut v) = (START[i], 0.0, 0.0);
                for t in 1..=5 {
                    let g = slope(i, x);
                    step(&mut x, g, &mut m, &mut v, t);
                }
                x
            });
            close(name, descend::<f64>(&optimizer), expected, 1e-13);
            close(name, descend::<f32>(&optimizer), expected, 1e-6);
        }
    }

    #[test]
    fn long() {
        // 37 parameters: whole registers and a remainder give what one parameter alone does.
        for (name, optimizer) in all() {
            let start: Vec<f32> = (0..37).map(|i| i as f32 * 0.1 - 1.7).collect();
            let slope: Vec<f32> = (0..37).map(|i| (i as f32).sin()).collect();
            let mut together = start.clone();
            optimizer.update(&mut OptimizerState::new(&optimizer.rule, 37), &mut together, &mut slope.clone());
            for i in 0..37 {
                let mut alone = [start[i]];
                optimizer.update(&mut OptimizerState::new(&optimizer.rule, 1), &mut alone, &mut [slope[i]]);
                assert_eq!(alone[0], together[i], "{name}: parameter {i} moves as if alone");
            }
        }
    }

    #[test]
    fn clip() {
        let optimizer = Optimizer::sgd(0.0);
        let update = |optimizer: &Optimizer, mut gradient: [f64; 3]| {
            let update = optimizer.update(&mut OptimizerState::new(&optimizer.rule, 3), &mut [0.0; 3], &mut gradient);
            (update.norm, gradient)
        };
        let g = [2.0, -3.0, 6.0];
        assert_eq!(update(&optimizer, g), (7.0, g), "no bound");
        assert_eq!(update(&optimizer.clone().clip_norm(8.0), g), (7.0, g), "a bound on the norm that holds");
        assert_eq!(update(&optimizer.clone().clip_value(2.5), g), (7.0, [2.0, -2.5, 2.5]), "a bound on the components");
        let (norm, clipped) = update(&optimizer.clip_norm(3.5), g);
        assert_eq!(norm, 7.0, "the norm is that before clipping");
        close("norm", clipped, [1.0, -1.5, 3.0], 1e-6);
    }

    #[test]
    fn norm_in_order() {
        let x: Vec<f32> = (0..100).map(|i| (i as f32 - 50.0) * 0.3).collect();
        let expected = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        assert!((norm(&x) - expected).abs() < 1e-13 * expected, "the parts add up, remainder included");
        assert_eq!(norm::<f64>(&[]), 0.0, "no parameters");
    }

    #[test]
    fn not_finite() {
        for (name, optimizer) in all() {
            for bad in [f64::NAN, f64::INFINITY] {
                let optimizer = optimizer.clone().clip_value(1.0);
                let mut state = OptimizerState::new(&optimizer.rule, 2);
                let mut theta = [1.0, 2.0];
                optimizer.update(&mut state, &mut theta, &mut [3.0, 4.0]);
                let (kept, at, mut gradient) = (state.clone(), theta, [5.0, bad]);
                let Update { norm, made } = optimizer.update(&mut state, &mut theta, &mut gradient);
                assert!(!norm.is_finite() && !made, "{name}: the norm of {bad} is {norm}");
                assert_eq!((state, theta, gradient[0]), (kept, at, 5.0), "{name}: nothing moves at {bad}");
            }
        }
    }

    #[test]
    fn overflow() {
        // Of 40 parameters the 33rd would overflow, as a parameter or as a moment; none moves.
        let cases = [
            ("a step beyond f32", Optimizer::sgd(1e30), 1.0, 1e10),
            ("a parameter at the end of f32", Optimizer::sgd(1e20), f32::MAX, -1e15),
            ("a rate beyond f32", Optimizer::sgd(1e39), 1.0, 1.0),
            ("the parameter of momentum", Optimizer::momentum(1.0, 0.999), -3.4e38, 1.0),
            ("the parameter of adam", Optimizer::adam(1e38), -3e38, 1.0),
            ("the parameter of adamw", Optimizer::adamw(1e38, 0.0), -3e38, 1.0),
            ("the parameter of adamax", Optimizer::adamax(1e38), -3e38, 1.0),
            ("the parameter of rmsprop", Optimizer::rmsprop(1e38), 1.0, 1.0),
        ];
        for (name, optimizer, x, g) in cases {
            let mut state = OptimizerState::new(&optimizer.rule, 40);
            if let (Rule::Sgd { .. }, [m, _]) = (optimizer.rule, &mut state.moments) {
                m.fill(3.4e38);
            }
            let (mut theta, mut gradient) = (vec![1.0f32; 40], vec![1e-3f32; 40]);
            (theta[33], gradient[33]) = (x, g);
            let (kept, before) = (state.clone(), theta.clone());
            let update = optimizer.update(&mut state, &mut theta, &mut gradient);
            assert!(update.norm.is_finite() && !update.made, "{name}: {update:?}");
            assert_eq!((state, theta), (kept, before), "{name}: nothing moves");
        }
        // 1e19^2 is the last power of ten that f32 holds.
        for (g, made) in [(1e19f32, true), (1e20, false)] {
            let (optimizer, mut theta) = (Optimizer::adam(1e-3), [1.0f32]);
            let mut state = OptimizerState::new(&optimizer.rule, 1);
            assert_eq!(optimizer.update(&mut state, &mut theta, &mut [g]).made, made, "a gradient of {g}");
            assert_eq!(
                (state.step, (theta[0] - 1.0).abs() > 9e-4),
                (u64::from(made), made),
                "{g}: by the rate, or not"
            );
        }
    }

    #[test]
    fn schedule() {
        let optimizer = Optimizer::sgd(Schedule::inverse_decay(1.0, 1.0));
        let (mut state, mut theta) = (OptimizerState::new(&optimizer.rule, 1), [0.0]);
        for _ in 0..3 {
            optimizer.update(&mut state, &mut theta, &mut [-6.0]);
        }
        assert_eq!(theta, [11.0], "the first update takes the schedule's value at 0");
    }

    #[test]
    fn validate() {
        let adam = |beta1, beta2, epsilon| Optimizer::new(Rule::Adam { beta1, beta2, epsilon }, 1e-3);
        let bad = [
            ("learning_rate", Optimizer::adam(-1.0)),
            ("momentum", Optimizer::momentum(0.1, 1.0)),
            ("momentum", Optimizer::nesterov(0.1, 0.0)),
            ("beta1", adam(1.0, 0.9, 1e-8)),
            ("beta2", adam(0.9, f64::NAN, 1e-8)),
            ("epsilon", adam(0.9, 0.9, 0.0)),
            ("epsilon", adam(0.9, 0.9, 1e39)),
            ("decay", Optimizer::new(Rule::RmsProp { decay: -0.1, epsilon: 1e-8 }, 1e-3)),
            ("weight_decay", Optimizer::adamw(1e-3, -0.1)),
            ("clip", Optimizer::adam(1e-3).clip_norm(0.0)),
            ("clip", Optimizer::adam(1e-3).clip_value(f64::INFINITY)),
        ];
        for (argument, optimizer) in bad {
            let error = optimizer.validate().expect_err("an invalid optimizer").to_string();
            assert!(error.starts_with(&format!("{argument} = ")), "{error} names {argument}");
        }
    }

    #[test]
    fn serde() {
        let optimizer = Optimizer::adamw(1e-3, 0.1).clip_norm(2.0);
        let json = serde_json::to_string(&optimizer).expect("plain data");
        assert!(json.contains(r#""rule":{"adamw":{"#) && json.contains(r#""clip":{"norm":2.0}"#), "the tags of {json}");
        assert_eq!(serde_json::from_str::<Optimizer>(&json).expect("what was written"), optimizer, "the round trip");
    }
}
