//! What is solved: a [`Problem`] is a vector field on an interval of time, with or without noise.

pub(crate) mod brownian;
mod control;
mod diffusion;
mod field;
mod span;
mod text;
mod times;

pub use brownian::{Brownian, Increment, Paths};
pub use control::{Control, Interpolation};
pub use diffusion::{Calculus, Diffusion, Noise};
pub(crate) use field::program;
pub use field::{
    Activation, Bound, Cost, Field, FieldBuilder, FieldCost, GradientCheck, Group, Initialization, InputMap, Layer,
    Mlp, Subfield, TimeInput, Trace, Value,
};
pub(crate) use field::{MAX_ROWS, check_parameters, check_widths};
pub(crate) use span::{settled, shortest_step, within};
pub use times::Times;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::math::Real;

/// `dy/dt = f(t, y; theta)` from `t0` to `t1` with a [`Field`] as `f`, or, with a [`Diffusion`], the stochastic
/// differential equation `dy = f dt + g dW`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Problem {
    /// The vector field, or drift; its input and output widths are the state's dimension `D`.
    pub field: Field,
    /// The noise, if there is any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diffusion: Option<Diffusion>,
    /// What drives field and diffusion, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub controls: Vec<Control>,
    /// Where the interval starts.
    pub t0: f64,
    /// Where it ends; without noise it may lie before `t0`. At `t0` itself the solution is the initial state.
    pub t1: f64,
}

impl Problem {
    /// An ordinary differential equation on the interval from `t0` to `t1`, forwards or backwards.
    #[must_use]
    pub fn ode(field: impl Into<Field>, t0: f64, t1: f64) -> Self {
        Self { field: field.into(), diffusion: None, controls: Vec::new(), t0, t1 }
    }

    /// A stochastic differential equation on the interval from `t0` to `t1`, which comes after `t0`.
    ///
    /// ```
    /// use fewsteps::{Diffusion, Mlp, Problem};
    /// let problem = Problem::sde(Mlp::new([2, 50, 2]), Diffusion::ito(Mlp::new([2, 2])), 0.0, 1.0);
    /// assert_eq!(problem.parameter_count(), (3 * 50 + 51 * 2) + 3 * 2);
    /// ```
    #[must_use]
    pub fn sde(drift: impl Into<Field>, diffusion: Diffusion, t0: f64, t1: f64) -> Self {
        Self { field: drift.into(), diffusion: Some(diffusion), controls: Vec::new(), t0, t1 }
    }

    /// Drives the field, or the diffusion, with a control.
    #[must_use]
    pub fn driven_by(mut self, control: Control) -> Self {
        self.controls.push(control);
        self
    }

    /// Number of features `D` of a state.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.field.inputs()
    }

    /// Number of parameters: the field's, then those of the diffusion.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        let diffusion = self.diffusion.as_ref().map_or(0, |diffusion| diffusion.network.parameter_count());
        self.field.parameter_count().saturating_add(diffusion)
    }

    /// Draws all parameters: a pure function of the networks and `seed`; see [`Mlp::initialize`].
    #[must_use]
    pub fn initialize<R: Real>(&self, seed: u64) -> Vec<R> {
        if self.validate_networks().is_err() {
            return Vec::new();
        }
        let mut theta = self.field.initialize(seed);
        if let Some(diffusion) = &self.diffusion {
            theta.extend(diffusion.network.initialize_from::<R>(seed, Mlp::DIFFUSION_STREAM));
        }
        theta
    }

    /// Checks the networks and the interval.
    ///
    /// # Errors
    /// [`Error::Argument`] naming what does not fit.
    pub fn validate(&self) -> Result<()> {
        self.validate_networks()?;
        if self.field.inputs() != self.field.outputs() {
            let remedy = "a vector field's output is as wide as its input: make the first and last width equal";
            return Err(Error::argument("Problem::field", self.field.widths(), remedy));
        }
        for (name, t) in [("Problem::t0", self.t0), ("Problem::t1", self.t1)] {
            if !t.is_finite() {
                return Err(Error::argument(name, t, "the interval needs finite ends"));
            }
        }
        self.validate_controls()?;
        self.diffusion.as_ref().map_or(Ok(()), |diffusion| self.validate_noise(diffusion))
    }

    /// Checks that every control of the fields has knots, and that every one with knots is theirs.
    fn validate_controls(&self) -> Result<()> {
        let known = |name: &str| self.controls.iter().filter(|control| control.name == name).count();
        let fields = || std::iter::once(&self.field).chain(self.diffusion.as_ref().map(|diffusion| &diffusion.network));
        for name in fields().flat_map(Field::controls).map(|control| control.name.as_str()) {
            if known(name) != 1 {
                let remedy = "a control of the field needs knots, once: add it with Problem::driven_by";
                return Err(Error::argument("Problem::controls", format!("{} of {name:?}", known(name)), remedy));
            }
        }
        for control in &self.controls {
            control.validate()?;
            let widths: Vec<usize> = fields().filter_map(|field| field.control_rows(&control.name)).collect();
            if widths.is_empty() || widths.iter().any(|rows| *rows != widths[0]) {
                let remedy = "no field has a control of that name, or they have different rows of it";
                return Err(Error::argument("Problem::controls", format!("{:?}", control.name), remedy));
            }
        }
        Ok(())
    }

    /// Rows of a control.
    pub(crate) fn control_rows(&self, name: &str) -> Option<usize> {
        let noise = || self.diffusion.as_ref().and_then(|diffusion| diffusion.network.control_rows(name));
        self.field.control_rows(name).or_else(noise)
    }

    /// The number of a control among those that drive the problem, and its rows.
    ///
    /// # Errors
    /// [`Error::Argument`] for a name that the problem has not.
    pub(crate) fn control(&self, name: &str) -> Result<(usize, usize)> {
        let number = self.controls.iter().position(|control| control.name == name);
        number.zip(self.control_rows(name)).ok_or_else(|| {
            let names: Vec<&str> = self.controls.iter().map(|control| control.name.as_str()).collect();
            Error::argument("name", name, format!("the problem is driven by {names:?}"))
        })
    }

    /// The places of controls that another problem has just so: here, and there.
    pub(crate) fn shared_controls<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = [usize; 2]> + 'a {
        self.controls.iter().enumerate().filter_map(|(here, control)| {
            let there = other.controls.iter().position(|theirs| theirs == control)?;
            (self.control_rows(&control.name) == other.control_rows(&control.name)).then_some([here, there])
        })
    }

    /// Whether the interval has no length, so that the solution is the initial state.
    pub(crate) fn stands_still(&self) -> bool {
        self.t0 == self.t1
    }

    /// `t`, or the end of the interval from which rounding alone parts it: a sum of tenths does not meet 0.3.
    pub(crate) fn settled(&self, t: f64) -> f64 {
        settled(t, [self.t0, self.t1])
    }

    /// Checks the widths of the networks, and that there are not too many parameters.
    pub(crate) fn validate_networks(&self) -> Result<()> {
        self.field.validate()?;
        let Some(diffusion) = &self.diffusion else { return Ok(()) };
        diffusion.network.validate()?;
        check_parameters("Diffusion::network", diffusion.network.widths(), self.parameter_count())
    }

    fn validate_noise(&self, diffusion: &Diffusion) -> Result<()> {
        let dim = self.dim();
        if diffusion.network.inputs() != dim || diffusion.network.outputs() != dim {
            let kind = match diffusion.noise {
                Noise::Diagonal => "noise is diagonal",
                Noise::Scalar => "the noise moves every feature",
            };
            let remedy = format!("{kind}: give it {dim} inputs and {dim} outputs, as the drift has");
            return Err(Error::argument("Diffusion::network", diffusion.network.widths(), remedy));
        }
        if self.t1 < self.t0 {
            return Err(Error::argument("Problem::t1", self.t1, "noise knows one direction of time: put t1 after t0"));
        }
        // Steps end on ticks of the interval, which must be told apart as `f64`.
        let resolvable = (self.t1 - self.t0) * 2f64.powi(20);
        if !self.stands_still() && self.t0.abs().max(self.t1.abs()) > resolvable {
            let remedy = "the interval is too short for times so far from 0: measure time from its start";
            return Err(Error::argument("Problem::t0", self.t0, remedy));
        }
        Ok(())
    }
}
