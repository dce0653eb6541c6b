//! [`Jet`]: truncated Taylor series, by the recurrences of A. Griewank, A. Walther, Evaluating Derivatives, 2008, table 13.2.
//! With two coefficients it is a dual number. It shares no formula with [`tangent`](super::super::tangent).

use super::super::function::Function;
use super::super::interpret::Ring;
use super::super::operation::Arithmetic;

/// `x_0 + x_1 h + ... + x_(N-1) h^(N-1)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Jet<const N: usize>(pub(super) [f64; N]);

/// A number with one derivative.
pub(super) type Dual = Jet<2>;

impl<const N: usize> Jet<N> {
    pub(super) fn new(value: f64, rate: f64) -> Self {
        let mut x = [0.0; N];
        (x[0], x[1]) = (value, rate);
        Self(x)
    }

    fn at(mut of: impl FnMut(usize) -> f64) -> Self {
        Self(std::array::from_fn(&mut of))
    }

    fn plus(self, other: Self) -> Self {
        Self::at(|k| self.0[k] + other.0[k])
    }

    fn minus(self, other: Self) -> Self {
        Self::at(|k| self.0[k] - other.0[k])
    }

    fn scaled(self, factor: f64) -> Self {
        Self::at(|k| factor * self.0[k])
    }

    fn times(self, other: Self) -> Self {
        Self::at(|k| (0..=k).map(|i| self.0[i] * other.0[k - i]).sum())
    }

    /// `q b = a` solved for one coefficient after the other.
    fn over(self, b: Self) -> Self {
        let mut q = [0.0; N];
        for k in 0..N {
            q[k] = (self.0[k] - (0..k).map(|i| q[i] * b.0[k - i]).sum::<f64>()) / b.0[0];
        }
        Self(q)
    }

    fn one() -> Self {
        Self::new(1.0, 0.0)
    }

    /// `y` with `y(0) = value` and `dy = rate(y) dx`, where the rate's coefficients before the `k`-th are known when the
    /// `k`-th of `y` is sought.
    fn integral(self, value: f64, mut rate: impl FnMut(Self) -> Self) -> Self {
        let mut y = Self::new(value, 0.0);
        for k in 1..N {
            let rate = rate(y);
            y.0[k] = (1..=k).map(|i| i as f64 * self.0[i] * rate.0[k - i]).sum::<f64>() / k as f64;
        }
        y
    }

    fn exp(self) -> Self {
        self.integral(self.0[0].exp(), |y| y)
    }

    fn sqrt(self) -> Self {
        let half = Self::one().scaled(0.5);
        self.integral(self.0[0].sqrt(), |y| half.over(y))
    }

    fn sin_cos(self) -> (Self, Self) {
        let (mut sin, mut cos) = (Self::new(self.0[0].sin(), 0.0), Self::new(self.0[0].cos(), 0.0));
        for k in 1..N {
            let sum = |y: &Self| (1..=k).map(|i| i as f64 * self.0[i] * y.0[k - i]).sum::<f64>() / k as f64;
            (sin.0[k], cos.0[k]) = (sum(&cos), -sum(&sin));
        }
        (sin, cos)
    }

    fn tanh(self) -> Self {
        self.integral(self.0[0].tanh(), |y| Self::one().minus(y.times(y)))
    }

    fn sigmoid(self) -> Self {
        // `(1 + tanh(x / 2)) / 2`
        Self::one().plus(self.scaled(0.5).tanh()).scaled(0.5)
    }

    /// 1 where the number is positive, 0 elsewhere.
    fn step(self) -> f64 {
        f64::from(u8::from(self.0[0] > 0.0))
    }

    /// `tanh` of gelu's argument, and the derivative of that argument.
    fn gelu(self) -> (Self, Self) {
        let c = std::f64::consts::FRAC_2_PI.sqrt();
        let square = self.times(self);
        let u = self.times(Self::one().plus(square.scaled(0.044715))).scaled(c);
        (u.tanh(), Self::one().plus(square.scaled(3.0 * 0.044715)).scaled(c))
    }
}

impl<const N: usize> Ring for Jet<N> {
    fn constant(x: f64) -> Self {
        Self::new(x, 0.0)
    }

    fn map(self, f: Function) -> Self {
        let one = Self::one();
        match f {
            Function::Neg => self.scaled(-1.0),
            Function::Abs => self.scaled(2.0 * self.step() - 1.0),
            Function::Square => self.times(self),
            Function::Cube => self.times(self).times(self),
            Function::Sqrt => self.sqrt(),
            Function::Recip => one.over(self),
            Function::Exp => self.exp(),
            Function::Ln => self.integral(self.0[0].ln(), |_| one.over(self)),
            Function::Sin => self.sin_cos().0,
            Function::Cos => self.sin_cos().1,
            Function::Tanh => self.tanh(),
            Function::Sigmoid => self.sigmoid(),
            Function::Softplus => self.integral((1.0 + self.0[0].exp()).ln(), |_| self.sigmoid()),
            Function::Relu => self.scaled(self.step()),
            Function::Silu => self.times(self.sigmoid()),
            Function::Gelu => self.times(one.plus(self.gelu().0)).scaled(0.5),
        }
    }

    fn slope(self, f: Function) -> Self {
        let one = Self::one();
        match f {
            Function::Neg => one.scaled(-1.0),
            Function::Abs => one.scaled(2.0 * self.step() - 1.0),
            Function::Square => self.scaled(2.0),
            Function::Cube => self.times(self).scaled(3.0),
            Function::Sqrt => one.scaled(0.5).over(self.sqrt()),
            Function::Recip => one.scaled(-1.0).over(self.times(self)),
            Function::Exp => self.exp(),
            Function::Ln => one.over(self),
            Function::Sin => self.sin_cos().1,
            Function::Cos => self.sin_cos().0.scaled(-1.0),
            Function::Tanh => one.minus(self.tanh().times(self.tanh())),
            Function::Sigmoid => self.sigmoid().times(one.minus(self.sigmoid())),
            Function::Softplus => self.sigmoid(),
            Function::Relu => one.scaled(self.step()),
            Function::Silu => {
                let s = self.sigmoid();
                s.times(one.plus(self.times(one.minus(s))))
            }
            Function::Gelu => {
                let (tanh, rate) = self.gelu();
                let bend = self.times(one.minus(tanh.times(tanh))).times(rate);
                one.plus(tanh).plus(bend).scaled(0.5)
            }
        }
    }

    fn zip(self, op: Arithmetic, other: Self) -> Self {
        match op {
            Arithmetic::Add => self.plus(other),
            Arithmetic::Sub => self.minus(other),
            Arithmetic::Mul => self.times(other),
            Arithmetic::Div => self.over(other),
            Arithmetic::Min => {
                if other.0[0] < self.0[0] {
                    other
                } else {
                    self
                }
            }
            Arithmetic::Max => {
                if other.0[0] > self.0[0] {
                    other
                } else {
                    self
                }
            }
        }
    }
}
