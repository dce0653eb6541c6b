//! Numbers with a derivative, by which the oracle differentiates.

use std::ops::{Add, Div, Mul, Neg, Sub};

/// A number that a derivative may be attached to.
pub(crate) trait Number:
    Copy + Neg<Output = Self> + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    /// A constant.
    fn new(x: f64) -> Self;

    /// The number without its derivative.
    fn value(self) -> f64;

    /// A function of this number, given its value and its slope here.
    fn chain(self, value: f64, slope: f64) -> Self;

    fn abs(self) -> Self {
        if self.value() < 0.0 { -self } else { self }
    }

    fn power(self, exponent: f64) -> Self {
        let x = self.value();
        self.chain(x.powf(exponent), exponent * x.powf(exponent - 1.0))
    }
}

impl Number for f64 {
    fn new(x: f64) -> Self {
        x
    }
    fn value(self) -> f64 {
        self
    }
    fn chain(self, value: f64, _: f64) -> Self {
        value
    }
}

/// A value with one derivative.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dual {
    pub(crate) x: f64,
    pub(crate) d: f64,
}

impl Number for Dual {
    fn new(x: f64) -> Self {
        Self { x, d: 0.0 }
    }
    fn value(self) -> f64 {
        self.x
    }
    fn chain(self, value: f64, slope: f64) -> Self {
        Self { x: value, d: slope * self.d }
    }
}

impl Neg for Dual {
    type Output = Self;
    fn neg(self) -> Self {
        Self { x: -self.x, d: -self.d }
    }
}

impl Add for Dual {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { x: self.x + other.x, d: self.d + other.d }
    }
}

impl Sub for Dual {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self { x: self.x - other.x, d: self.d - other.d }
    }
}

impl Mul for Dual {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        Self { x: self.x * other.x, d: self.d * other.x + self.x * other.d }
    }
}

impl Div for Dual {
    type Output = Self;
    fn div(self, other: Self) -> Self {
        let x = self.x / other.x;
        Self { x, d: (self.d - x * other.d) / other.x }
    }
}

/// The gradient of `f` at `x`, one evaluation a component.
pub(crate) fn gradient(x: &[f64], f: impl Fn(&[Dual]) -> Dual) -> Vec<f64> {
    let mut point: Vec<Dual> = x.iter().map(|&x| Dual::new(x)).collect();
    (0..x.len())
        .map(|i| {
            point[i].d = 1.0;
            let slope = f(&point).d;
            point[i].d = 0.0;
            slope
        })
        .collect()
}

/// The central differences of `f` at `x`.
pub(crate) fn differences(x: &[f64], mut f: impl FnMut(&[f64]) -> f64) -> Vec<f64> {
    const H: f64 = 1e-5;
    let mut point = x.to_vec();
    (0..x.len())
        .map(|i| {
            let mut at = |by: f64| {
                point[i] = x[i] + by;
                let value = f(&point);
                point[i] = x[i];
                value
            };
            (at(H) - at(-H)) / (2.0 * H)
        })
        .collect()
}
