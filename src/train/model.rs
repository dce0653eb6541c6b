//! [`NeuralDe`]: an encoder, a differential equation and a head, with one flat parameter vector.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::state_map::{End, StateMap};
use crate::error::{Error, Result};
use crate::math::Real;
use crate::method::{Evolution, Recurrent, SaveAt, SolverOptions};
use crate::problem::{Field, Layer, Problem, check_parameters};

/// `x -> encoder -> y0 -> differential equation -> y(t) -> head -> output`; encoder and head are optional, linear layers or
/// any [`Field`] without time. An encoder of series is [`Recurrent`].
///
/// Parameters are one flat vector: the encoder's, the field's, the diffusion's if there is noise, the head's, those of a
/// layer as [`Layer`] describes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NeuralDe {
    /// The vector field, the noise if any, and the interval.
    pub problem: Problem,
    /// How it is solved.
    pub options: SolverOptions,
    /// What maps an input to the initial state; without, the input is the initial state.
    pub encoder: Option<StateMap>,
    /// Whether the encoder gives a distribution that the initial state is drawn from.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub latent: bool,
    /// What maps a saved state to an output; without, the saved states are the output.
    pub head: Option<StateMap>,
}

/// A named array of parameters and its place in the flat vector; see [`NeuralDe::layout`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TensorLayout {
    /// The name, as a checkpoint has it.
    pub name: String,
    /// First parameter.
    pub offset: usize,
    /// `[inputs, outputs]` of a weight, `[outputs]` of the others; row-major.
    pub shape: Vec<usize>,
}

impl TensorLayout {
    /// The array's place in the flat vector.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        let count = self.shape.iter().fold(1, |count: usize, n| count.saturating_mul(*n));
        self.offset..self.offset.saturating_add(count)
    }

    /// The arrays of a field that begins at parameter `first`: `name.0.weight` and so on of a network, `name.group` of
    /// numbers and `name.group.0.weight` of networks in a field that was written out.
    fn of_field(name: &str, first: usize, field: &Field) -> Vec<Self> {
        let mut tensors = Vec::new();
        for group in field.groups().iter() {
            let name = if field.without_log_density().mlp().is_some() {
                name.to_owned()
            } else {
                format!("{name}.{}", group.name)
            };
            match group.layers() {
                None => {
                    let offset = first.saturating_add(group.offset);
                    tensors.push(Self { name, offset, shape: vec![group.count] });
                }
                Some(layers) => {
                    for (i, layer) in layers.enumerate() {
                        tensors.extend(Self::of_layer(&format!("{name}.{i}"), first, &layer));
                    }
                }
            }
        }
        tensors
    }

    /// The arrays of a layer, whose block is in a network that begins at parameter `first`.
    fn of_layer(name: &str, first: usize, layer: &Layer) -> impl Iterator<Item = Self> {
        let weight = Some(("weight", vec![layer.inputs, layer.outputs]));
        let time = layer.time.then(|| ("time", vec![layer.outputs]));
        let bias = Some(("bias", vec![layer.outputs]));
        let mut offset = first.saturating_add(layer.offset);
        [weight, time, bias].into_iter().flatten().map(move |(part, shape)| {
            let tensor = Self { name: format!("{name}.{part}"), offset, shape };
            offset = tensor.range().end;
            tensor
        })
    }
}

impl NeuralDe {
    /// The equation alone: inputs are initial states, outputs are saved states.
    #[must_use]
    pub const fn new(problem: Problem, options: SolverOptions) -> Self {
        Self { problem, options, encoder: None, latent: false, head: None }
    }

    /// Puts a linear layer from so many numbers before the equation, or any field from inputs to states.
    ///
    /// ```
    /// use fewsteps::{Activation, Mlp, NeuralDe, Problem, SolverOptions};
    /// let model = NeuralDe::new(Problem::ode(Mlp::new([32, 64, 32]), 0.0, 1.0), SolverOptions::default());
    /// let linear = model.clone().encoder(784).head(10);
    /// let deep = model.encoder(Mlp::new([784, 128, 32]).activation(Activation::Relu)).head(10);
    /// assert_eq!((linear.input_width(), deep.input_width()), (784, 784));
    /// assert_eq!(deep.layout()[0].name, "encoder.0.weight");
    /// ```
    #[must_use]
    pub fn encoder(mut self, map: impl Into<StateMap>) -> Self {
        self.encoder = Some(map.into());
        self
    }

    /// Has the initial state drawn: the encoder gives a mean and a log-variance of each of its numbers, all means first, and
    /// training draws from these normal distributions and pays for their distance from the standard one
    /// ([`Elbo`](crate::Elbo)): a variational autoencoder whose decoder is the equation with its head. Evaluations and
    /// predictions begin at the mean; [`Trainer::evaluate_mean`](crate::Trainer::evaluate_mean) and
    /// [`Trainer::predict_drawn`](crate::Trainer::predict_drawn) draw.
    ///
    /// ```
    /// use fewsteps::{Mlp, NeuralDe, Problem, SolverOptions};
    /// let equation = Problem::ode(Mlp::new([4, 16, 4]), 0.0, 1.0);
    /// let model = NeuralDe::new(equation, SolverOptions::default()).encoder(Mlp::new([10, 32, 8])).latent().head(2);
    /// assert_eq!(model.layout()[2].shape, [32, 8]);
    /// ```
    #[must_use]
    pub const fn latent(mut self) -> Self {
        self.latent = true;
        self
    }

    /// Puts a linear layer to so many numbers after the equation, or any field from states to outputs.
    #[must_use]
    pub fn head(mut self, map: impl Into<StateMap>) -> Self {
        self.head = Some(map.into());
        self
    }

    /// Numbers in an input: without an encoder, in a state; of a field that has a log-density, in a point.
    #[must_use]
    pub fn input_width(&self) -> usize {
        self.encoder.as_ref().map_or_else(|| self.problem.field.features(), StateMap::inputs)
    }

    /// Numbers in what an engine is given of an input: of a point its initial state.
    pub(super) fn fed_width(&self) -> usize {
        self.encoder.as_ref().map_or_else(|| self.problem.dim(), StateMap::inputs)
    }

    /// Numbers in an output.
    #[must_use]
    pub fn output_width(&self) -> usize {
        self.head.as_ref().map_or_else(|| self.problem.dim(), StateMap::outputs)
    }

    /// Times at which there is an output.
    #[must_use]
    pub fn output_times(&self) -> usize {
        match &self.options.save_at {
            SaveAt::Times(times) => times.len(),
            _ => 1,
        }
    }

    /// Numbers that a map has on the equation's side: an encoder gives as many, a head takes them.
    pub(crate) fn width_at(&self, end: End) -> usize {
        let dim = self.problem.dim();
        if self.latent && end == End::Encoder { dim.saturating_mul(2) } else { dim }
    }

    /// Parameters of the encoder, which are the first.
    pub(crate) fn field_offset(&self) -> usize {
        self.encoder.as_ref().map_or(0, |map| map.parameter_count(End::Encoder, self.width_at(End::Encoder)))
    }

    pub(crate) fn head_offset(&self) -> usize {
        self.field_offset().saturating_add(self.problem.parameter_count())
    }

    /// Encoder and head that there are, with their names and first parameters.
    fn maps(&self) -> impl Iterator<Item = (End, &StateMap, usize)> {
        let encoder = self.encoder.as_ref().map(|map| (End::Encoder, map, 0));
        let head = self.head.as_ref().map(|map| (End::Head, map, self.head_offset()));
        encoder.into_iter().chain(head)
    }

    /// The map of an end as a field, with its first parameter; none of a recurrent encoder.
    pub(crate) fn field_of(&self, end: End) -> Option<(Field, usize)> {
        let (_, map, first) = self.maps().find(|(at, ..)| *at == end)?;
        Some((map.field(end, self.width_at(end))?, first))
    }

    /// The recurrent encoder, if there is one.
    pub(crate) fn recurrent(&self) -> Option<&Recurrent> {
        self.encoder.as_ref()?.as_recurrent()
    }

    /// What its encoder solves between observations, if anything.
    pub(super) fn solves_between(&self) -> Option<&Evolution> {
        self.recurrent()?.moved_by()
    }

    /// The layer of an end, if it is linear.
    pub(crate) fn layer_of(&self, end: End) -> Option<Layer> {
        let (_, map, first) = self.maps().find(|(at, ..)| *at == end)?;
        map.layer(end, self.width_at(end), first)
    }

    /// Parameters that have no gradient and stay as they are, of frozen groups.
    pub(crate) fn frozen(&self) -> Vec<Range<usize>> {
        let diffusion = self.problem.diffusion.as_ref().map(|diffusion| &diffusion.network);
        let mut first = self.field_offset();
        let own = [&self.problem.field].into_iter().chain(diffusion).map(|field| {
            let at = first;
            first = first.saturating_add(field.parameter_count());
            (field, at)
        });
        let ends = self.maps().flat_map(|(end, map, first)| {
            map.fields(end).into_iter().map(move |(_, field, own)| (field, first.saturating_add(own)))
        });
        let shifted = |(field, first): (&Field, usize)| {
            field.frozen().into_iter().map(move |range| range.start + first..range.end + first)
        };
        own.chain(ends).flat_map(shifted).collect()
    }

    /// The parameters by their names, in the order of the flat vector: `encoder.weight`, `encoder.bias`; `field.0.weight`,
    /// `field.0.time` where the layer sees the time, `field.0.bias`, `field.1.weight`, ...; `diffusion.0.weight`, ...;
    /// `head.weight`, `head.bias`. Encoders and heads of several layers have their numbers too: `encoder.0.weight`, ... A field
    /// that was written out has its groups by name, as `field.rates` and `field.friction.0.weight`; a recurrent encoder its
    /// fields, as `encoder.cell.gates.0.weight`, `encoder.evolution.0.weight` and `encoder.out.0.weight`. A checkpoint has these tensors, and the optimizer's moments under
    /// `optimizer.first.encoder.weight`, ..., `optimizer.second.encoder.weight`, ...
    ///
    /// A weight is `[inputs][outputs]`, row-major: a layer is `x @ weight + t * time + bias`.
    ///
    /// ```
    /// use fewsteps::{Mlp, NeuralDe, Problem, SolverOptions, TimeInput};
    /// let field = Mlp::new([2, 16, 2]).time_input(TimeInput::First);
    /// let model = NeuralDe::new(Problem::ode(field, 0.0, 1.0), SolverOptions::default()).head(3);
    /// let layout = model.layout();
    /// let names: Vec<&str> = layout.iter().map(|tensor| tensor.name.as_str()).collect();
    /// let field = ["field.0.weight", "field.0.time", "field.0.bias", "field.1.weight", "field.1.bias"];
    /// assert_eq!(names[..5], field);
    /// assert_eq!((&layout[0].shape[..], layout[1].offset), (&[2, 16][..], 32));
    /// ```
    #[must_use]
    pub fn layout(&self) -> Vec<TensorLayout> {
        let mut tensors = Vec::new();
        if let Some(map) = &self.encoder {
            tensors.extend(self.tensors_of(End::Encoder, map, 0));
        }
        let mut first = self.field_offset();
        let diffusion = self.problem.diffusion.as_ref().map(|diffusion| ("diffusion", &diffusion.network));
        for (name, network) in [("field", &self.problem.field)].into_iter().chain(diffusion) {
            tensors.extend(TensorLayout::of_field(name, first, network));
            first = first.saturating_add(network.parameter_count());
        }
        if let Some(map) = &self.head {
            tensors.extend(self.tensors_of(End::Head, map, first));
        }
        tensors
    }

    fn tensors_of(&self, end: End, map: &StateMap, first: usize) -> Vec<TensorLayout> {
        if let Some(layer) = map.layer(end, self.width_at(end), 0) {
            return TensorLayout::of_layer(end.name(), first, &layer).collect();
        }
        let of = |(name, field, own): (String, &Field, usize)| {
            TensorLayout::of_field(&name, first.saturating_add(own), field)
        };
        map.fields(end).into_iter().flat_map(of).collect()
    }

    /// Checks that `other` has the same tensors, so that the parameters of one are those of the other.
    pub(crate) fn check_tensors(&self, other: &Self) -> Result<()> {
        let (mine, others) = (self.layout(), other.layout());
        let Some(first) = (0..mine.len().max(others.len())).find(|&i| mine.get(i) != others.get(i)) else {
            return Ok(());
        };
        let told = |tensor: Option<&TensorLayout>| {
            tensor.map_or_else(|| "no more tensors".into(), |tensor| format!("{} {:?}", tensor.name, tensor.shape))
        };
        let [here, there] = [mine.get(first), others.get(first)].map(told);
        let remedy = format!("the parameters at hand have {here} there: keep the model's widths, or train a new one");
        Err(Error::argument("TrainerConfig::model", there, remedy))
    }

    /// Length of the flat parameter vector; `usize::MAX` where it would be more, which [`NeuralDe::validate`] refuses.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        let head = self.head.as_ref().map_or(0, |map| map.parameter_count(End::Head, self.problem.dim()));
        self.head_offset().saturating_add(head)
    }

    /// Draws all parameters: a pure function of the model and `seed`. Linear layers before and after the equation are
    /// Glorot-uniform, fields as they say. There are none of a model whose sizes [`NeuralDe::validate`] refuses.
    #[must_use]
    pub fn initialize<R: Real>(&self, seed: u64) -> Vec<R> {
        if self.validate_sizes().is_err() {
            return Vec::new();
        }
        let mut theta = vec![R::ZERO; self.parameter_count()];
        let offset = self.field_offset();
        let field = self.problem.initialize::<R>(seed);
        theta[offset..offset + field.len()].copy_from_slice(&field);
        for (end, map, first) in self.maps() {
            let drawn = map.initialize::<R>(end, self.width_at(end), seed);
            theta[first..first + drawn.len()].copy_from_slice(&drawn);
        }
        theta
    }

    /// Checks a batch of inputs `[B][inputs]`; the number of its trajectories.
    pub(crate) fn check_inputs<R: crate::cpu::Scalar>(&self, inputs: &[R]) -> Result<usize> {
        let batch = Error::check_rows("Batch::inputs", inputs.len(), self.input_width())?;
        crate::math::check_finite("Batch::inputs", inputs)?;
        Ok(batch)
    }

    /// Checks the model against the scalar type it is trained in.
    ///
    /// # Errors
    /// [`Error::Argument`] naming what does not fit.
    pub fn validate<R: Real>(&self) -> Result<()> {
        self.options.validate::<R>(&self.problem)?;
        self.validate_sizes()?;
        if let Some(evolution) = self.solves_between() {
            evolution.validate::<R>()?;
        }
        if matches!(self.options.save_at, SaveAt::Steps | SaveAt::Dense) {
            let remedy = "train on the end or on given times: steps move while the field is trained";
            return Err(Error::argument("SolverOptions::save_at", format!("{:?}", self.options.save_at), remedy));
        }
        if let Some(control) = self.problem.controls.iter().find(|control| control.gradient) {
            let remedy = "training follows the gradient of parameters alone: ask for that of a control in a Solver";
            return Err(Error::argument("Control::gradient", format!("true of {:?}", control.name), remedy));
        }
        Ok(())
    }

    /// Checks the widths, and that there are not too many parameters in all.
    fn validate_sizes(&self) -> Result<()> {
        self.problem.validate_networks()?;
        for (end, map, _) in self.maps() {
            map.validate(end, self.width_at(end))?;
        }
        self.validate_latent()?;
        check_parameters("NeuralDe::problem", self.problem.field.widths(), self.parameter_count())
    }

    /// Checks that there is something for the initial state to be drawn from.
    fn validate_latent(&self) -> Result<()> {
        let refuse = |remedy: &str| Err(Error::argument("NeuralDe::latent", true, remedy));
        if !self.latent {
            return Ok(());
        }
        if self.encoder.is_none() {
            return refuse("an encoder gives what the initial state is drawn from: put one before the equation");
        }
        if self.problem.field.trace().is_some() {
            return refuse("a flow's initial state has a log-density and is a point: leave one of both out");
        }
        Ok(())
    }
}
