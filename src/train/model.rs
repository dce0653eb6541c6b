//! [`NeuralDe`]: a linear encoder, a differential equation and a linear head, with one flat parameter vector.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::math::{Purpose, Random, Real};
use crate::method::{SaveAt, SolverOptions};
use crate::problem::{Field, Initialization, Layer, Problem, check_parameters};

/// `x -> encoder -> y0 -> differential equation -> y(t) -> head -> output`; encoder and head are optional linear layers.
///
/// Parameters are one flat vector: the encoder's block, the field's, the diffusion's if there is noise, the head's, each
/// as [`Layer`] describes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NeuralDe {
    /// The vector field, the noise if any, and the interval.
    pub problem: Problem,
    /// How it is solved.
    pub options: SolverOptions,
    /// Width of the input that a linear layer maps to the initial state; without, the input is the initial state.
    pub encoder: Option<usize>,
    /// Outputs of a linear layer on the saved states; without, the saved states are the output.
    pub head: Option<usize>,
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
    pub fn range(&self) -> std::ops::Range<usize> {
        let count = self.shape.iter().fold(1, |count: usize, n| count.saturating_mul(*n));
        self.offset..self.offset.saturating_add(count)
    }

    /// The arrays of a field that begins at parameter `first`: `name.0.weight` and so on of a network, `name.group` of
    /// numbers and `name.group.0.weight` of networks in a field that was written out.
    fn of_field(name: &str, first: usize, field: &Field) -> Vec<Self> {
        let mut tensors = Vec::new();
        for group in field.groups().iter() {
            let name = if field.mlp().is_some() { name.to_owned() } else { format!("{name}.{}", group.name) };
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
        Self { problem, options, encoder: None, head: None }
    }

    /// Puts a linear layer from `inputs` numbers before the equation.
    #[must_use]
    pub const fn encoder(mut self, inputs: usize) -> Self {
        self.encoder = Some(inputs);
        self
    }

    /// Puts a linear layer to `outputs` numbers after the equation.
    #[must_use]
    pub const fn head(mut self, outputs: usize) -> Self {
        self.head = Some(outputs);
        self
    }

    /// Numbers in an input.
    #[must_use]
    pub fn input_width(&self) -> usize {
        self.encoder.unwrap_or_else(|| self.problem.dim())
    }

    /// Numbers in an output.
    #[must_use]
    pub fn output_width(&self) -> usize {
        self.head.unwrap_or_else(|| self.problem.dim())
    }

    /// Times at which there is an output.
    #[must_use]
    pub fn output_times(&self) -> usize {
        match &self.options.save_at {
            SaveAt::Times(times) => times.len(),
            _ => 1,
        }
    }

    pub(crate) fn encoder_layer(&self) -> Option<Layer> {
        self.encoder.map(|inputs| Layer::linear(0, inputs, self.problem.dim()))
    }

    pub(crate) fn field_offset(&self) -> usize {
        self.encoder_layer().map_or(0, |layer| layer.range().end)
    }

    pub(crate) fn head_layer(&self) -> Option<Layer> {
        let offset = self.field_offset().saturating_add(self.problem.parameter_count());
        self.head.map(|outputs| Layer::linear(offset, self.problem.dim(), outputs))
    }

    /// The parameters by their names, in the order of the flat vector: `encoder.weight`, `encoder.bias`; `field.0.weight`,
    /// `field.0.time` where the layer sees the time, `field.0.bias`, `field.1.weight`, ...; `diffusion.0.weight`, ...;
    /// `head.weight`, `head.bias`. A checkpoint has these tensors, and the optimizer's moments under
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
        if let Some(layer) = self.encoder_layer() {
            tensors.extend(TensorLayout::of_layer("encoder", 0, &layer));
        }
        let mut first = self.field_offset();
        let diffusion = self.problem.diffusion.as_ref().map(|diffusion| ("diffusion", &diffusion.network));
        for (name, network) in [("field", &self.problem.field)].into_iter().chain(diffusion) {
            tensors.extend(TensorLayout::of_field(name, first, network));
            first = first.saturating_add(network.parameter_count());
        }
        if let Some(layer) = self.head_layer() {
            tensors.extend(TensorLayout::of_layer("head", 0, &layer));
        }
        tensors
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
        let field_end = self.field_offset().saturating_add(self.problem.parameter_count());
        self.head_layer().map_or(field_end, |layer| layer.range().end)
    }

    /// Draws all parameters: a pure function of the model and `seed`. Encoder and head are Glorot-uniform. There are
    /// none of a model whose sizes [`NeuralDe::validate`] refuses.
    #[must_use]
    pub fn initialize<R: Real>(&self, seed: u64) -> Vec<R> {
        if self.validate_sizes().is_err() {
            return Vec::new();
        }
        let mut theta = vec![R::ZERO; self.parameter_count()];
        let offset = self.field_offset();
        let field = self.problem.initialize::<R>(seed);
        theta[offset..offset + field.len()].copy_from_slice(&field);
        // The field's layers have the indices from 0; these come well after them.
        for (index, layer) in [(1 << 32, self.encoder_layer()), ((1 << 32) + 1, self.head_layer())] {
            if let Some(layer) = layer {
                let mut random = Random::new(seed, Purpose::Initialization, index);
                layer.initialize(Initialization::GlorotUniform, &mut random, &mut theta[layer.range()]);
            }
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
        if matches!(self.options.save_at, SaveAt::Steps | SaveAt::Dense) {
            let remedy = "train on the end or on given times: steps move while the field is trained";
            return Err(Error::argument("SolverOptions::save_at", format!("{:?}", self.options.save_at), remedy));
        }
        if let Some(control) = self.problem.controls.first() {
            let remedy = "a trainer drives no controls yet: use Solver::set_control, and Solver::gradients";
            return Err(Error::argument("NeuralDe::problem", format!("driven by {:?}", control.name), remedy));
        }
        Ok(())
    }

    /// Checks the widths, and that there are not too many parameters in all.
    fn validate_sizes(&self) -> Result<()> {
        self.problem.validate_networks()?;
        let encoder = ("NeuralDe::encoder", self.encoder, self.encoder_layer());
        let head = ("NeuralDe::head", self.head, self.head_layer());
        for (name, width, layer) in [encoder, head] {
            if width == Some(0) {
                return Err(Error::argument(name, 0, "a layer is at least one number wide"));
            }
            check_parameters(name, width.unwrap_or(0), layer.map_or(0, |layer| layer.parameter_count()))?;
        }
        check_parameters("NeuralDe::problem", self.problem.field.widths(), self.parameter_count())
    }
}
