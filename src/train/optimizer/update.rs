//! One update: the recurrences of [`Rule`], in the machine's widest registers, all or nothing.

use super::rule::{Clip, Optimizer, OptimizerState, Rule, Update};
use crate::math::Real;

impl Optimizer {
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
        let made = self.follow(state, theta, gradient);
        state.step += u64::from(made);
        Update { norm, made }
    }

    /// Moves parameters and moments along the gradient by the rule, unless one of them would not be finite. Whether it did.
    fn follow<R: Real>(&self, state: &mut OptimizerState<R>, theta: &mut [R], gradient: &[R]) -> bool {
        let rate = self.learning_rate.value(state.step);
        let t = (state.step + 1) as f64;
        let r = R::from_f64;
        let moments = &mut state.moments;
        match self.rule {
            Rule::Sgd { momentum, nesterov } => descend([rate, momentum], nesterov, theta, &mut moments[0], gradient),
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
        }
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

/// Gradient descent, at a rate and with a momentum.
fn descend<R: Real>([rate, momentum]: [f64; 2], nesterov: bool, theta: &mut [R], m: &mut [R], gradient: &[R]) -> bool {
    let (a, mu) = (R::from_f64(-rate), R::from_f64(momentum));
    if momentum == 0.0 {
        advance(theta, gradient, |x, g| a.mul_add(g, x))
    } else if nesterov {
        advance_with(theta, m, gradient, |[x, m], g| {
            let m = mu.mul_add(m, g);
            [a.mul_add(mu.mul_add(m, g), x), m]
        })
    } else {
        advance_with(theta, m, gradient, |[x, m], g| {
            let m = mu.mul_add(m, g);
            [a.mul_add(m, x), m]
        })
    }
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
