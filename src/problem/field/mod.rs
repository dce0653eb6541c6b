//! [`Field`]: a vector field, or any map that a model is made of. It is a [`program`], most often that of an [`Mlp`].

mod build;
mod cost;
mod density;
mod evaluate;
mod group;
mod layer;
mod listing;
mod mlp;
pub(crate) mod program;
#[cfg(test)]
mod tests;
mod trace;
mod within;
mod written;

pub(in crate::problem) use build::Network;
pub use build::{FieldBuilder, Value};
pub use cost::FieldCost;
pub use evaluate::GradientCheck;
pub use group::{Bound, Group};
pub use layer::{Activation, Initialization, Layer};
pub(crate) use layer::{MAX_ROWS, check_parameters, check_widths};
pub use mlp::{InputMap, Mlp, TimeInput};
pub use program::cost::Cost;
pub use trace::Trace;
pub use within::Subfield;

use std::borrow::Cow;
use std::ops::Range;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Error, Result};
use crate::math::{Purpose, Random, Real};
use group::Initial;
use program::Program;
use program::emitter::Emitter;
use program::operation::{Block, Operation, Source};
use written::{ControlInput, Written};

/// A map from rows of numbers to rows of numbers, of one trajectory, with parameters: the vector field `f(t, y; theta)` of
/// a problem, its diffusion, an encoder or a head.
///
/// It is a network, `Mlp::new([2, 16, 2]).into()`, or anything that can be written with [`Field::build`]. Either way it is
/// a straight line of operations, of which both engines know value and exact derivatives.
///
/// ```
/// use fewsteps::{Field, Mlp};
///
/// # fn main() -> fewsteps::Result<()> {
/// // Lotka and Volterra's equations with rates to learn.
/// let field = Field::build(2, |f| {
///     let (y, rate) = (f.state(), f.positive("rates", &[1.1, 0.4, 0.1, 0.4]));
///     let (prey, hunters) = (y.row(0), y.row(1));
///     let meet = &prey * &hunters;
///     f.stack([rate.row(0) * &prey - rate.row(1) * &meet, rate.row(2) * &meet - rate.row(3) * &hunters])
/// })?;
/// assert_eq!(field.parameter_count(), 4);
///
/// // A pendulum whose friction is a network.
/// let pendulum = Field::build(2, |f| {
///     let y = f.state();
///     let friction = f.mlp("friction", &Mlp::new([1, 16, 1]), &y.row(1));
///     f.stack([y.row(1), -9.81 * y.row(0).sin() - friction])
/// })?;
/// assert_eq!(pendulum.group("friction").map(|group| group.range()), Some(0..49));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Field(Form);

/// What a field was written as. A network stays one, in files too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum Form {
    Mlp(Mlp),
    Written(Box<Written>),
    /// With its log-density.
    Flow(Box<Flow>),
}

/// A field with the log-density of what it moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Flow {
    #[serde(rename = "log_density_of")]
    field: Field,
    trace: Trace,
}

impl<'de> Deserialize<'de> for Form {
    /// The form with a program is the written one. What is wrong with it is said as for any other: an untagged enum would
    /// say that no form fits.
    fn deserialize<D: Deserializer<'de>>(file: D) -> Result<Self, D::Error> {
        let json = serde_json::Value::deserialize(file)?;
        if json.get("log_density_of").is_some() {
            let flow = Flow::deserialize(json).map_err(D::Error::custom)?;
            flow.validate().map_err(D::Error::custom)?;
            return Ok(Self::Flow(Box::new(flow)));
        }
        if json.get("program").is_none() {
            return Mlp::deserialize(json).map(Self::Mlp).map_err(D::Error::custom);
        }
        let written = Written::deserialize(json).map_err(D::Error::custom)?;
        written.validate().map_err(D::Error::custom)?;
        Ok(Self::Written(Box::new(written)))
    }
}

impl From<Mlp> for Field {
    fn from(mlp: Mlp) -> Self {
        Self(Form::Mlp(mlp))
    }
}

impl From<&Mlp> for Field {
    fn from(mlp: &Mlp) -> Self {
        Self(Form::Mlp(mlp.clone()))
    }
}

impl Mlp {
    /// Draws all parameters: a pure function of the network and `seed`. There are none of a network that
    /// [`Mlp::validate`] refuses.
    #[must_use]
    pub fn initialize<R: Real>(&self, seed: u64) -> Vec<R> {
        Field::from(self).initialize(seed)
    }
}

impl Field {
    /// A field on states of `inputs` rows, whose value `write` writes with the builder's values.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the first operation that does not fit, with its rows.
    pub fn build(inputs: usize, write: impl FnOnce(&FieldBuilder) -> Value) -> Result<Self> {
        let builder = FieldBuilder::new(inputs);
        let output = write(&builder);
        builder.finish(&output).map(|written| Self(Form::Written(Box::new(written))))
    }

    /// The network that the field is, if it was made of one.
    #[must_use]
    pub const fn mlp(&self) -> Option<&Mlp> {
        match &self.0 {
            Form::Mlp(mlp) => Some(mlp),
            Form::Written(_) | Form::Flow(_) => None,
        }
    }

    /// The network that the field is, if its last layer is linear: a device has kernels for those, and takes all others as
    /// programs.
    pub(crate) fn plain_mlp(&self) -> Option<&Mlp> {
        self.mlp().filter(|mlp| mlp.ends_linear())
    }

    /// The layers of [`Field::plain_mlp`], their blocks from parameter `first` on; none of another field.
    pub(crate) fn layers_from(&self, first: usize) -> Vec<Layer> {
        let placed = |layer: Layer| Layer { offset: layer.offset + first, ..layer };
        self.plain_mlp().map_or(Vec::new(), |mlp| mlp.layers().map(placed).collect())
    }

    /// What is done to the state before the first layer of [`Field::plain_mlp`].
    pub(crate) fn input_map(&self) -> InputMap {
        self.plain_mlp().map_or(InputMap::Identity, Mlp::map)
    }

    /// Rows of the state that it is a field on.
    #[must_use]
    pub fn inputs(&self) -> usize {
        match &self.0 {
            Form::Mlp(mlp) => mlp.sizes().first().copied().unwrap_or(0),
            Form::Written(written) => written.inputs,
            Form::Flow(flow) => flow.rows(),
        }
    }

    /// Rows of its value.
    #[must_use]
    pub fn outputs(&self) -> usize {
        match &self.0 {
            Form::Mlp(mlp) => mlp.sizes().last().copied().unwrap_or(0),
            Form::Written(written) => written.program.output_rows(),
            Form::Flow(flow) => flow.rows(),
        }
    }

    /// Its widths, for errors.
    pub(crate) fn widths(&self) -> String {
        match &self.0 {
            Form::Mlp(mlp) => format!("{:?}", mlp.sizes()),
            Form::Written(_) | Form::Flow(_) => format!("{:?}", [self.inputs(), self.outputs()]),
        }
    }

    /// Number of its parameters.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        match &self.0 {
            Form::Mlp(mlp) => mlp.parameter_count(),
            Form::Written(written) => written.groups.last().map_or(0, |group| group.range().end),
            Form::Flow(flow) => flow.field.parameter_count(),
        }
    }

    /// Its groups of parameters, in their order in the flat vector. A network alone has one, named `"mlp"`.
    #[must_use]
    pub fn groups(&self) -> Cow<'_, [Group]> {
        match &self.0 {
            Form::Mlp(mlp) => Cow::Owned(vec![mlp.group()]),
            Form::Written(written) => Cow::Borrowed(&written.groups),
            Form::Flow(flow) => flow.field.groups(),
        }
    }

    /// A group of parameters by its name.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<Group> {
        self.groups().iter().find(|group| group.name == name).cloned()
    }

    /// The values of a group of parameters, as the field sees them: [`Bound`]s are applied.
    ///
    /// # Errors
    /// [`Error::Argument`] for a name that there is not, [`Error::Shape`] for parameters of another length.
    pub fn values<R: Real>(&self, name: &str, theta: &[R]) -> Result<Vec<f64>> {
        Error::check_len("theta", theta.len(), self.parameter_count(), || "the field's parameter_count()".into())?;
        let Some(group) = self.group(name) else {
            let names: Vec<String> = self.groups().iter().map(|group| group.name.clone()).collect();
            return Err(Error::argument("name", name, format!("the field has {}", names.join(", "))));
        };
        Ok(theta[group.range()].iter().map(|parameter| group.bound.value(parameter.to_f64())).collect())
    }

    /// Its parameters as they start, a pure function of the field and `seed`: numbers as they were given, weights drawn as
    /// [`Mlp::initialize`] does. There are none of a field that [`Field::validate`] refuses.
    #[must_use]
    pub fn initialize<R: Real>(&self, seed: u64) -> Vec<R> {
        self.initialize_from(seed, 0)
    }

    /// The same with layers drawn from the streams from `first` on.
    pub(crate) fn initialize_from<R: Real>(&self, seed: u64, first: u64) -> Vec<R> {
        if self.validate().is_err() {
            return Vec::new();
        }
        let mut theta = vec![R::ZERO; self.parameter_count()];
        let mut stream = first;
        for group in self.groups().iter() {
            match &group.initial {
                Initial::Numbers(numbers) => {
                    for (parameter, number) in theta[group.range()].iter_mut().zip(numbers) {
                        *parameter = R::from_f64(number.0);
                    }
                }
                Initial::Drawn { blocks, initialization } => {
                    for layer in blocks.iter().map(Block::layer) {
                        let mut random = Random::new(seed, Purpose::Initialization, stream);
                        layer.initialize(*initialization, &mut random, &mut theta[layer.range()]);
                        stream += 1;
                    }
                }
            }
        }
        theta
    }

    /// Checks the field.
    ///
    /// # Errors
    /// [`Error::Argument`] for a network whose widths do not fit; what was built has been checked.
    pub fn validate(&self) -> Result<()> {
        match &self.0 {
            Form::Mlp(mlp) => mlp.validate(),
            Form::Written(written) => written.validate(),
            Form::Flow(flow) => flow.validate(),
        }
    }

    /// The field as a program of [`Source::State`], [`Source::Time`] and its controls; of a field that was validated.
    pub(crate) fn program(&self) -> Result<Cow<'_, Program>> {
        match &self.0 {
            Form::Mlp(mlp) => {
                mlp.validate()?;
                let mut emitter = Emitter::default();
                let state = emitter.emit(Operation::Input { source: Source::State, rows: self.inputs() });
                let blocks: Vec<Block> = mlp.layers().map(|layer| Block::of(&layer)).collect();
                let output = mlp.emit(&mut emitter, &blocks, state);
                emitter.finish(&[output]).map(Cow::Owned)
            }
            Form::Written(written) => Ok(Cow::Borrowed(&written.program)),
            Form::Flow(flow) => flow.field.program()?.with_log_density(flow.trace).map(Cow::Owned),
        }
    }

    /// Whether its value depends on the time itself, apart from controls.
    #[must_use]
    pub fn reads_time(&self) -> bool {
        match &self.0 {
            Form::Mlp(mlp) => mlp.layers().any(|layer| layer.time),
            Form::Written(written) => written.program.operations().any(|(_, operation)| match operation {
                Operation::Input { source, .. } => *source == Source::Time,
                Operation::Dense { block, affine, .. } => block.time && *affine,
                _ => false,
            }),
            Form::Flow(flow) => flow.field.reads_time(),
        }
    }

    /// Parameters that have no gradient.
    pub(crate) fn frozen(&self) -> Vec<Range<usize>> {
        self.groups().iter().filter(|group| group.frozen).map(Group::range).collect()
    }

    /// Rows of one of its controls.
    pub(crate) fn control_rows(&self, name: &str) -> Option<usize> {
        self.controls().iter().find(|control| control.name == name).map(|control| control.rows)
    }

    /// What drives the field: names of its controls with their rows, in the order in which it first named them.
    pub fn driven_by(&self) -> impl ExactSizeIterator<Item = (&str, usize)> {
        self.controls().iter().map(|control| (control.name.as_str(), control.rows))
    }

    /// What drives the field.
    pub(crate) fn controls(&self) -> &[ControlInput] {
        match &self.0 {
            Form::Mlp(_) => &[],
            Form::Written(written) => &written.controls,
            Form::Flow(flow) => flow.field.controls(),
        }
    }
}
