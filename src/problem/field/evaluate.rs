//! The value of a field at one point, and whether its derivatives are those of its value.

use std::fmt;
use std::ops::Range;

use super::Field;
use super::program::interpret::{Cotangents, interpret};
use super::program::operation::Source;
use crate::error::{Error, Result};
use crate::math::{Purpose, Random, check_finite};

/// What a field is evaluated at.
#[derive(Clone, Debug)]
struct Point {
    theta: Vec<f64>,
    t: f64,
    y: Vec<f64>,
    controls: Vec<f64>,
}

/// How the derivatives of a field agree with central differences of its value; see [`Field::check_gradient`].
#[derive(Clone, Debug)]
pub struct GradientCheck {
    parts: Vec<(String, Part, f64)>,
}

impl GradientCheck {
    /// The largest relative error along the state, `"state"`, and along each group of parameters that is not frozen and each
    /// control, by name.
    pub fn errors(&self) -> impl ExactSizeIterator<Item = (&str, f64)> + '_ {
        self.parts.iter().map(|(name, _, error)| (name.as_str(), *error))
    }

    /// The largest of all: around 1e-9 of a smooth field, and of order 1 where a derivative is wrong, or where the field has a
    /// kink or a pole close by.
    #[must_use]
    pub fn worst(&self) -> f64 {
        self.errors().fold(0.0, |worst, (_, error)| worst.max(error))
    }
}

impl fmt::Display for GradientCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, error)) in self.errors().enumerate() {
            write!(f, "{}{name}: {error:.1e}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

/// Something that a field is differentiated with respect to.
#[derive(Clone, Debug)]
enum Part {
    State,
    Parameters(Range<usize>),
    /// The `n`-th control, and its rows among those of all.
    Control(usize, Range<usize>),
}

impl Part {
    fn numbers<'a>(&self, point: &'a mut Point) -> &'a mut [f64] {
        match self {
            Self::State => &mut point.y,
            Self::Parameters(range) => &mut point.theta[range.clone()],
            Self::Control(_, range) => &mut point.controls[range.clone()],
        }
    }

    fn bar(&self, bars: &Cotangents, rows: usize) -> Vec<f64> {
        match self {
            Self::State => bars.of(Source::State, rows),
            Self::Parameters(range) => bars.theta[range.clone()].to_vec(),
            Self::Control(n, _) => bars.of(Source::Control(*n), rows),
        }
    }
}

impl Field {
    /// The value of the field at one state, from the definitions of its operations: slow, and at `f64`.
    ///
    /// `theta` are its parameters, `y` has [`Field::inputs`] numbers, `controls` has the rows of all controls, in the order
    /// in which the field first named them.
    ///
    /// ```
    /// # fn main() -> fewsteps::Result<()> {
    /// let decay = fewsteps::Field::build(2, |f| -0.5 * f.state() + f.control("heat"))?;
    /// assert_eq!(decay.evaluate(&[], 0.0, &[2.0, 4.0], &[1.0])?, [0.0, -1.0]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] for slices of other lengths, and those of [`Field::validate`].
    pub fn evaluate(&self, theta: &[f64], t: f64, y: &[f64], controls: &[f64]) -> Result<Vec<f64>> {
        self.validate()?;
        let point = Point { theta: theta.to_vec(), t, y: y.to_vec(), controls: controls.to_vec() };
        self.check_point(&point)?;
        self.value(&point)
    }

    /// The derivatives in time of the solution of `dy/dt = f(t, y)` through a point: `y'`, `y''`, up to the `order`-th. Each
    /// is the total derivative of the one before it, `d/dt g(t, y) = dg/dt + dg/dy f`, exact. The arguments are those of
    /// [`Field::evaluate`].
    ///
    /// ```
    /// # fn main() -> fewsteps::Result<()> {
    /// // y' = t y: y'' = y + t y', y''' = 2 y' + t y''
    /// let field = fewsteps::Field::build(1, |f| f.time() * f.state())?;
    /// assert_eq!(field.derivatives(3, &[], 2.0, &[1.0])?, [[2.0], [5.0], [14.0]]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`Field::evaluate`]; [`Error::Argument`] for a field that is driven by controls, whose rates nobody knows,
    /// that is not as wide as its state, or whose derivatives are too many operations.
    pub fn derivatives(&self, order: usize, theta: &[f64], t: f64, y: &[f64]) -> Result<Vec<Vec<f64>>> {
        self.validate()?;
        let point = Point { theta: theta.to_vec(), t, y: y.to_vec(), controls: Vec::new() };
        let program = self.program()?.derivatives(order)?;
        self.check_point(&point)?;
        Ok(interpret(&program, &point.theta, |source| self.input(&point, source)))
    }

    /// The product of the field's Jacobian with a direction, `df/dy v`, at one state and fixed time, exact. The other arguments
    /// are those of [`Field::evaluate`].
    ///
    /// ```
    /// # fn main() -> fewsteps::Result<()> {
    /// // Of a pendulum: J = [0, 1; -cos(angle), 0].
    /// let field = fewsteps::Field::parse("angle' = speed; speed' = -sin(angle)")?;
    /// let product = field.jacobian_vector(&[], 0.0, &[0.0, 0.3], &[], &[2.0, 5.0])?;
    /// assert_eq!(product, [5.0, -2.0]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`Field::evaluate`], and [`Error::Shape`] for a direction that is not as wide as the state.
    pub fn jacobian_vector(
        &self,
        theta: &[f64],
        t: f64,
        y: &[f64],
        controls: &[f64],
        direction: &[f64],
    ) -> Result<Vec<f64>> {
        self.validate()?;
        let point = Point { theta: theta.to_vec(), t, y: y.to_vec(), controls: controls.to_vec() };
        self.check_point(&point)?;
        Error::check_len("direction", direction.len(), self.inputs(), || "the field's inputs()".into())?;
        let program = self.program()?.jacobian_vector(self.inputs())?;
        let mut values = interpret(&program, &point.theta, |source| match source {
            Source::Direction => direction.to_vec(),
            _ => self.input(&point, source),
        });
        Ok(values.swap_remove(1))
    }

    /// Compares the exact derivatives of the field with central differences of its value, at one point and in several
    /// directions that are drawn from `seed`. The arguments are those of [`Field::evaluate`].
    ///
    /// Errors are relative to the derivative; where that is tiny beside the value, to a thousandth of the value, whose
    /// rounding errors a difference sees.
    ///
    /// ```
    /// use fewsteps::{Field, Mlp};
    /// # fn main() -> fewsteps::Result<()> {
    /// let field: Field = Mlp::new([2, 16, 2]).into();
    /// let check = field.check_gradient(&field.initialize(1), 0.0, &[0.3, -0.7], &[], 1)?;
    /// assert!(check.worst() < 1e-6, "{check}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`Field::evaluate`], and [`Error::NonFinite`] where an argument or the value is not finite.
    pub fn check_gradient(
        &self,
        theta: &[f64],
        t: f64,
        y: &[f64],
        controls: &[f64],
        seed: u64,
    ) -> Result<GradientCheck> {
        const DIRECTIONS: u64 = 8;
        for (name, numbers) in [("theta", theta), ("t", &[t]), ("y", y), ("controls", controls)] {
            check_finite(name, numbers)?;
        }
        let value = self.evaluate(theta, t, y, controls)?;
        if let Some(row) = value.iter().position(|x| !x.is_finite()) {
            let remedy = "derivatives are compared where the field is finite: choose another point";
            return Err(Error::argument("Field", format!("{} in row {row}", value[row]), remedy));
        }
        let point = Point { theta: theta.to_vec(), t, y: y.to_vec(), controls: controls.to_vec() };
        let linearized = self.program()?.linearize(&self.frozen())?;
        let mut check = GradientCheck { parts: self.parts() };
        for direction in 0..DIRECTIONS {
            let mut random = Random::new(seed, Purpose::Data, direction);
            let cotangent: Vec<f64> = value.iter().map(|_| random.normal()).collect();
            let bars = linearized.pull_back(&point.theta, |source| self.input(&point, source), &cotangent);
            for (_, part, error) in &mut check.parts {
                *error = error.max(self.error_along(part, &point, &cotangent, &bars, &mut random)?);
            }
        }
        Ok(check)
    }

    /// What it is differentiated with respect to, by name, and no error yet.
    fn parts(&self) -> Vec<(String, Part, f64)> {
        let learnt = self.groups();
        let learnt = learnt.iter().filter(|group| !group.frozen);
        let mut next = 0;
        let controls = self.controls().iter().enumerate().map(|(n, control)| {
            let first = next;
            next += control.rows;
            (control.name.clone(), Part::Control(n, first..next), 0.0)
        });
        std::iter::once(("state".to_owned(), Part::State, 0.0))
            .chain(learnt.map(|group| (group.name.clone(), Part::Parameters(group.range()), 0.0)))
            .chain(controls)
            .collect()
    }

    fn check_point(&self, point: &Point) -> Result<()> {
        let controls = self.controls().iter().map(|control| control.rows).sum();
        Error::check_len("theta", point.theta.len(), self.parameter_count(), || {
            "the field's parameter_count()".into()
        })?;
        Error::check_len("y", point.y.len(), self.inputs(), || "the field's inputs()".into())?;
        Error::check_len("controls", point.controls.len(), controls, || "the rows of all controls".into())
    }

    fn input(&self, point: &Point, source: Source) -> Vec<f64> {
        match source {
            Source::State => point.y.clone(),
            Source::Time => vec![point.t],
            Source::Control(n) => {
                let first = self.controls()[..n].iter().map(|control| control.rows).sum();
                point.controls[first..][..self.controls()[n].rows].to_vec()
            }
            // Of derivatives; a field has none.
            Source::Direction | Source::Cotangent | Source::Kept(_) => Vec::new(),
        }
    }

    fn value(&self, point: &Point) -> Result<Vec<f64>> {
        let values = interpret(&*self.program()?, &point.theta, |source| self.input(point, source));
        Ok(values.into_iter().flatten().collect())
    }

    /// The relative error of `bars` along a random direction, each number of which is as large as the one it changes.
    fn error_along(
        &self,
        part: &Part,
        point: &Point,
        cotangent: &[f64],
        bars: &Cotangents,
        random: &mut Random,
    ) -> Result<f64> {
        // Where a central difference's error `h^2` and its rounding error `eps / h` are equal.
        let h = f64::EPSILON.cbrt();
        let numbers = part.numbers(&mut point.clone()).to_vec();
        let sign = |x: f64, up: bool| if up { x } else { -x };
        let direction: Vec<f64> =
            numbers.iter().map(|x| sign(if *x == 0.0 { 1.0 } else { x.abs() }, random.uniform() < 0.5)).collect();
        let mut terms = Vec::with_capacity(2 * cotangent.len());
        for side in [h, -h] {
            let mut moved = point.clone();
            for (number, direction) in part.numbers(&mut moved).iter_mut().zip(&direction) {
                *number += side * direction;
            }
            let value = self.value(&moved)?;
            terms.extend(value.iter().zip(cotangent).map(|(value, bar)| side.signum() * value * bar));
        }
        let difference = terms.iter().sum::<f64>() / (2.0 * h);
        let products: Vec<f64> =
            part.bar(bars, numbers.len()).iter().zip(&direction).map(|(bar, direction)| bar * direction).collect();
        let slope = products.iter().map(|x| x * x).sum::<f64>().sqrt();
        let size = slope + 1e-3 * terms.iter().map(|x| x.abs()).sum::<f64>();
        let apart = (difference - products.iter().sum::<f64>()).abs();
        // Not a number, it is as wrong as can be.
        Ok(if apart == 0.0 { 0.0 } else { Some(apart / size).filter(|x| !x.is_nan()).unwrap_or(f64::INFINITY) })
    }
}
