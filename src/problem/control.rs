//! [`Control`]: how an input `u(t)` that drives a field goes through its knots.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How a control goes from knot to knot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Interpolation {
    /// It keeps a knot's value until the next one. With a single knot it is a constant: a parameter of each trajectory.
    Hold,
    /// In straight lines.
    Linear,
    /// As the natural cubic spline, which has two continuous derivatives.
    Cubic,
}

/// A control `u(t)` of a driven field: its name there, the times of its knots, and how it goes between them. Its values at
/// the knots are data, given to a solver; see [`Solver::set_control`](crate::Solver::set_control). Before the first knot
/// and after the last one it keeps their values.
///
/// Steps end at the knots of [`Interpolation::Hold`] and [`Interpolation::Linear`], so that no jump or kink lies within
/// one: an error estimate means nothing there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Control {
    /// The control's name in the field.
    pub name: String,
    /// How it goes from knot to knot.
    pub interpolation: Interpolation,
    /// Times of the knots, in ascending order, whatever the direction of the solve.
    pub times: Vec<f64>,
    /// Whether [`Solver::gradients`](crate::Solver::gradients) also has the gradient by its values at the knots.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gradient: bool,
}

impl Control {
    /// A control with knots at `times`.
    pub fn new(name: impl Into<String>, interpolation: Interpolation, times: impl Into<Vec<f64>>) -> Self {
        Self { name: name.into(), interpolation, times: times.into(), gradient: false }
    }

    /// One that is constant in time: a parameter that each trajectory may have its own value of.
    pub fn constant(name: impl Into<String>) -> Self {
        Self::new(name, Interpolation::Hold, [0.0])
    }

    /// Asks for the gradient by its values at the knots: [`Gradients::controls`](crate::Gradients::controls). Without, a
    /// solve spends nothing on it.
    #[must_use]
    pub const fn with_gradient(mut self) -> Self {
        self.gradient = true;
        self
    }

    /// Checks the knots.
    ///
    /// # Errors
    /// [`Error::Argument`] for times that are not finite and ascending, or too few of them.
    pub fn validate(&self) -> Result<()> {
        let least = if self.interpolation == Interpolation::Hold { 1 } else { 2 };
        let refuse = |value: String, remedy: &str| {
            let remedy = format!("control {}: {remedy}", self.name);
            Err(Error::argument("Control::times", value, remedy))
        };
        if self.times.len() < least {
            return refuse(
                format!("{:?}", self.times),
                "give one knot at least, and two where it goes from one to the other",
            );
        }
        if let Some(t) = self.times.iter().find(|t| !t.is_finite()) {
            return refuse(t.to_string(), "times are finite");
        }
        match self.times.windows(2).find(|pair| pair[0] >= pair[1]) {
            Some(pair) => refuse(format!("{} before {}", pair[0], pair[1]), "times ascend"),
            None => Ok(()),
        }
    }

    /// Times within the interval at which it jumps or bends, and steps end.
    pub(crate) fn stops(&self, t0: f64, t1: f64) -> impl Iterator<Item = f64> + '_ {
        let bends = self.interpolation != Interpolation::Cubic && self.times.len() > 1;
        let (low, high) = (t0.min(t1), t0.max(t1));
        self.times.iter().copied().filter(move |t| bends && low < *t && *t < high)
    }

    /// The second derivatives at the knots of the natural cubic spline through such values, by elimination in its
    /// tridiagonal equations (C. de Boor, A Practical Guide to Splines, 1978, chapter IV).
    pub(crate) fn bends(&self, value: impl Fn(usize) -> f64) -> Vec<f64> {
        self.eliminate(|i, before, after| {
            6.0 * ((value(i + 1) - value(i)) / after - (value(i) - value(i - 1)) / before)
        })
    }

    /// Takes cotangents of [`Control::bends`] to those of the values, which it adds to: the equations are symmetric, so
    /// they are solved once more, and the differences on their right side are transposed.
    pub(crate) fn add_bends_vjp(&self, bend_bar: impl Fn(usize) -> f64, mut add: impl FnMut(usize, f64)) {
        let bars = self.eliminate(|i, _, _| 6.0 * bend_bar(i));
        for (i, times) in self.times.windows(3).enumerate() {
            let (before, after) = (bars[i + 1] / (times[1] - times[0]), bars[i + 1] / (times[2] - times[1]));
            add(i, before);
            add(i + 1, -before - after);
            add(i + 2, after);
        }
    }

    /// Solves `before x_(i-1) + 2 (before + after) x_i + after x_(i+1) = right(i)` at the inner knots, between intervals of
    /// these lengths, with zero at the outer ones.
    fn eliminate(&self, right: impl Fn(usize, f64, f64) -> f64) -> Vec<f64> {
        let (times, n) = (&self.times, self.times.len());
        let (mut upper, mut x) = (vec![0.0; n], vec![0.0; n]);
        for i in 1..n.saturating_sub(1) {
            let (before, after) = (times[i] - times[i - 1], times[i + 1] - times[i]);
            let pivot = 2.0 * (before + after) - before * upper[i - 1];
            upper[i] = after / pivot;
            x[i] = (right(i, before, after) - before * x[i - 1]) / pivot;
        }
        for i in (1..n.saturating_sub(1)).rev() {
            x[i] -= upper[i] * x[i + 1];
        }
        x
    }

    /// Trajectories that so many values at the knots are for: 1 where they are for all.
    ///
    /// # Errors
    /// [`Error::Shape`] for what is not so many times `[T][rows]`.
    pub(crate) fn trajectories(&self, rows: usize, values: usize) -> Result<usize> {
        let one = self.times.len() * rows;
        if values == 0 || !values.is_multiple_of(one) {
            return Err(Error::Shape {
                argument: "values",
                found: values,
                expected: one,
                shape: format!("{} knots of {rows} rows, or that for each trajectory", self.times.len()),
            });
        }
        Ok(values / one)
    }

    /// Checks that values for so many trajectories are those of a batch.
    ///
    /// # Errors
    /// [`Error::Argument`] for another batch.
    pub(crate) fn check_batch(&self, trajectories: usize, batch: usize) -> Result<()> {
        if trajectories == 1 || trajectories == batch {
            return Ok(());
        }
        let remedy = format!("values of {} are for {trajectories} trajectories: set those of this batch", self.name);
        Err(Error::argument("y0", format!("{batch} trajectories"), remedy))
    }
}
