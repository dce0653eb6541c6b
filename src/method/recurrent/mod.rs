//! [`Recurrent`]: a series of observations, read one after the other into a hidden state.

mod cells;
mod evolution;

pub use cells::{FixedStep, LatentGru};
pub(crate) use evolution::Evolution;

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::SolverOptions;
use crate::error::{Error, Result};
use crate::math::Real;
use crate::problem::program::operation::Number;
use crate::problem::{Field, MAX_ROWS, check_parameters};
use cells::check_alone;

/// A recurrent encoder: a hidden state starts as `start`, becomes `cell([hidden, observation])` with one observation after the
/// other, and in the end is what the encoder gives, or what `out` makes of it.
///
/// An input of the model is a trajectory's observations, `[steps][width]`, so that a batch's inputs are
/// `[B][steps][width]`. Shorter series are padded with observations that the cell leaves out
/// ([`Recurrent::masked`]); padding changes no bit of the result.
///
/// Each step of the cell is differentiated exactly. Evaluations of the cell are the encoder's, and no NFE.
///
/// ```
/// use fewsteps::{Batch, Cpu, Loss, Mlp, NeuralDe, Problem, Recurrent, SolverOptions, Target, Trainer, TrainerConfig};
/// # fn main() -> fewsteps::Result<()> {
/// // Series of up to 3 observations of 2 numbers and a mark that there is one; a state of 4 from the hidden state of 8.
/// let encoder = Recurrent::gru(3, 3, 8)?.masked(2..3)?.out(Mlp::new([8, 4]));
/// let model = NeuralDe::new(Problem::ode(Mlp::new([4, 16, 4]), 0.0, 1.0), SolverOptions::default());
/// let model = model.encoder(encoder).head(1);
/// assert_eq!((model.input_width(), model.layout()[0].name.as_str()), (9, "encoder.cell.gates.0.weight"));
/// let mut trainer = Trainer::<f32>::new(&Cpu::new()?, TrainerConfig::new(model, Loss::Mse))?;
/// // The second series has two observations.
/// let inputs = [
///     0.1, 0.3, 1.0, 0.2, 0.1, 1.0, 0.4, 0.0, 1.0, //
///     0.5, 0.2, 1.0, 0.3, 0.3, 1.0, 0.0, 0.0, 0.0,
/// ];
/// let report = trainer.step(&Batch { inputs: &inputs, target: Target::States(&[0.5, -0.5]) })?;
/// println!("loss {:.4}", report.loss);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recurrent {
    cell: Field,
    /// How the hidden state moves between observations, where that is solved for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    evolution: Option<Evolution>,
    steps: usize,
    width: usize,
    #[serde(default)]
    reading: Reading,
    /// A number a row of the hidden state; none of them where all are 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    start: Vec<Number>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    out: Option<Field>,
}

/// The order in which a [`Recurrent`] encoder reads its observations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// The first one first, the default.
    #[default]
    Forwards,
    /// The last one first, so that what was observed first is read last: as a latent ODE does, whose state is that of the
    /// first time.
    Backwards,
}

impl Recurrent {
    /// Any cell, on series of `steps` observations of `width` numbers: a field from the hidden state's rows and behind them
    /// the observation's to those of the next hidden state, without time and controls. The hidden state has as many rows as the
    /// cell gives.
    ///
    /// What does not fit is refused by [`Recurrent::validate`], which every trainer asks.
    pub fn new(cell: impl Into<Field>, steps: usize, width: usize) -> Self {
        Self {
            cell: cell.into(),
            evolution: None,
            steps,
            width,
            reading: Reading::Forwards,
            start: Vec::new(),
            out: None,
        }
    }

    /// A gated recurrent unit (Cho et al. 2014) with so many hidden numbers, in the form of cuDNN and `PyTorch`, whose reset
    /// gate comes after the product:
    ///
    /// ```text
    /// [r, u] = sigmoid(W [h, x] + b)        c = tanh(W_x x + b_x + r (W_h h + b_h))        h' = (1 - u) c + u h
    /// ```
    ///
    /// Its tensors are `encoder.cell.gates.0.*` (columns of `r`, then of `u`), `encoder.cell.input.0.*` and
    /// `encoder.cell.state.0.*`.
    ///
    /// # Errors
    /// [`Error::Argument`] for widths of 0, or more than a field has.
    pub fn gru(steps: usize, width: usize, hidden: usize) -> Result<Self> {
        Ok(Self::new(cells::gru(hidden, width)?, steps, width))
    }

    /// The unit of latent ODEs, see [`LatentGru`], on `steps` observations `[values, mask, dt]` of `2 values + 1` numbers. The
    /// hidden state is `[m, s]`, of `half` numbers each; its three networks have one layer of `inner` tanh units. The order of
    /// reading and the start are the form's.
    ///
    /// ```
    /// use fewsteps::{LatentGru, Mlp, NeuralDe, Problem, Recurrent, SolverOptions};
    /// # fn main() -> fewsteps::Result<()> {
    /// // 49 hours of 37 measurements, as of PhysioNet 2012.
    /// let encoder = Recurrent::latent_gru(49, 37, [50, 40], LatentGru::Correct)?.out(Mlp::new([100, 50, 20]));
    /// let model = NeuralDe::new(Problem::ode(Mlp::new([20, 50, 20]), 0.0, 1.0), SolverOptions::default());
    /// assert_eq!(model.encoder(encoder).input_width(), 49 * (37 + 37 + 1));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Recurrent::gru`].
    pub fn latent_gru(steps: usize, values: usize, [half, inner]: [usize; 2], form: LatentGru) -> Result<Self> {
        let cell = cells::latent(values, [half, inner], form)?;
        let new = Self::new(cell, steps, values.saturating_mul(2).saturating_add(1));
        Ok(match form {
            LatentGru::Correct => new.reading(Reading::Backwards),
            LatentGru::Published => new.start([vec![0.0; half], vec![1.0; half]].concat()),
        })
    }

    /// Lets the cell leave out observations: where these of an observation's numbers, counted from 0, have no positive sum, the
    /// hidden state stays to the bit, and the gradient passes by. Numbers of a mask are 0 or positive.
    ///
    /// What was done to the cell before is left out with the observation; what is done later, as
    /// [`Recurrent::evolved`], is not. Time that [`Recurrent::solved`] has pass is never left out.
    ///
    /// # Errors
    /// [`Error::Argument`] for numbers that an observation has not, or a cell that is refused.
    pub fn masked(mut self, mask: Range<usize>) -> Result<Self> {
        self.check_cell()?;
        if mask.is_empty() || mask.end > self.width {
            let remedy = format!("an observation has numbers 0..{}: take one of those at least", self.width);
            return Err(Error::argument("Recurrent::masked", format!("{mask:?}"), remedy));
        }
        self.cell = cells::masked(&self.cell, mask)?;
        Ok(self)
    }

    /// Lets the hidden state move along `dh/dt = field(h)` before each observation, in `steps` equal steps of an explicit
    /// method: the ODE-RNN (Rubanova, Chen & Duvenaud 2019). `dt` says which of an observation's numbers, counted from 0, is
    /// the time since the observation that is read before it. With a time of 0 the hidden state stays.
    ///
    /// The steps are fixed and part of the cell's program, as in the authors' code, which takes one of Euler's;
    /// [`Recurrent::solved`] has as many as tolerances ask for. Evaluations of `field` are no NFE.
    ///
    /// ```
    /// use fewsteps::{FixedStep, Mlp, Recurrent};
    /// # fn main() -> fewsteps::Result<()> {
    /// // Observations of 2 numbers, a mask and the time since the last one; time passes where nothing is observed, too.
    /// let cell = Recurrent::gru(20, 4, 16)?.masked(2..3)?;
    /// let encoder = cell.evolved(Mlp::new([16, 32, 16]), 3, 1, FixedStep::Euler)?;
    /// assert_eq!(encoder.cell().groups()[0].name, "evolution");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Argument`] for a field that is none on the hidden state, or that reads time or controls, for a number that an
    /// observation has not, for no steps or more than a program holds.
    pub fn evolved(mut self, field: impl Into<Field>, dt: usize, steps: usize, method: FixedStep) -> Result<Self> {
        const NAME: &str = "Recurrent::evolved";
        let field = field.into();
        self.check_cell()?;
        self.check_unmoved(NAME)?;
        evolution::check_field(NAME, &field, dt, [self.hidden(), self.width])?;
        if steps == 0 {
            return Err(Error::argument(NAME, "steps = 0", "between two observations there is one step at least"));
        }
        self.cell = cells::evolved(&self.cell, &field, dt, steps, method)?;
        Ok(self)
    }

    /// Lets the hidden state move along `dh/dt = field(h)` before each observation, for the time that number `dt` of the
    /// observation says, as [`Recurrent::evolved`] does, with adaptive steps: an explicit method that has an embedded one solves
    /// from one observation to the next, and jumps there with the cell.
    ///
    /// Each series has steps of its own, as trajectories of [`Layout::Ensemble`](crate::Layout::Ensemble) have, whatever the
    /// layout of the model's equation is: no bit of it depends on its neighbours. With a time of 0 the hidden state stays to the
    /// bit, at no cost; with a negative one it goes back in time. Padding has a time of 0. A series whose solve fails, as after
    /// [`max_steps`](SolverOptions::max_steps) attempts between two observations, is a trajectory that failed, with that
    /// [`Status`](crate::Status).
    ///
    /// Of the options those of the steps count: method, tolerances, controller, first step, `max_steps`, `largest_step`
    /// and `atol_per_feature`. [`InitialStep::Automatic`](crate::InitialStep::Automatic) costs two evaluations between two
    /// observations that are apart; with [`InitialStep::Carried`](crate::InitialStep::Carried) a series does so once and goes on
    /// with the step that its last solve wished for first.
    ///
    /// Gradients are exact, of the steps that were taken. Evaluations of `field` are no NFE: reports tell them apart, as
    /// [`StepReport::encoder_nfe`](crate::StepReport::encoder_nfe). Its tensors are `encoder.evolution.*`. The native engine
    /// alone does this; a device refuses it, and takes [`Recurrent::evolved`].
    ///
    /// ```
    /// use fewsteps::{Batch, Cpu, Field, InitialStep, Layout, Loss, Mlp, NeuralDe, Problem, Recurrent, SolverOptions};
    /// use fewsteps::{StepControl, Target, Tolerances, Trainer, TrainerConfig};
    /// # fn main() -> fewsteps::Result<()> {
    /// // Two observations, of a number, a mark that there is one and the time since the one before.
    /// let cell = Recurrent::gru(2, 3, 8)?.masked(1..2)?;
    /// let steps = SolverOptions::default().tolerances(Tolerances::both(1e-4)).layout(Layout::Ensemble);
    /// let encoder = cell.solved(Mlp::new([8, 16, 8]), 2, steps)?.out(Mlp::new([8, 4]));
    /// let model = NeuralDe::new(Problem::ode(Mlp::new([4, 16, 4]), 0.0, 1.0), SolverOptions::default());
    /// let mut trainer = Trainer::<f32>::new(&Cpu::new()?, TrainerConfig::new(model.encoder(encoder), Loss::Mse))?;
    /// // The second series has one observation.
    /// let inputs = [0.1, 1.0, 0.0, 0.2, 1.0, 0.7, /**/ 0.5, 1.0, 0.0, 0.0, 0.0, 0.0];
    /// let report = trainer.step(&Batch { inputs: &inputs, target: Target::States(&[0.5; 8]) })?;
    /// // Two evaluations and six an attempt; the mean over both.
    /// assert!(report.encoder_nfe.is_some_and(|nfe| nfe >= 4.0), "{report:?}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Argument`] for a field that is none on the hidden state, or that reads time or controls, for a number that an
    /// observation has not, for an encoder whose hidden state moves already, for a method without an error estimate, and for
    /// options that mean nothing between two observations: fixed steps, [`Layout::Lockstep`](crate::Layout::Lockstep), saved
    /// states, stops, cells of a path, a memory limit, another adjoint.
    pub fn solved(mut self, field: impl Into<Field>, dt: usize, options: SolverOptions) -> Result<Self> {
        self.check_cell()?;
        self.check_unmoved(Evolution::NAME)?;
        let evolution = Evolution { field: field.into(), dt, options };
        evolution.check([self.hidden(), self.width])?;
        self.evolution = Some(evolution);
        Ok(self)
    }

    /// Chooses the order of reading.
    #[must_use]
    pub const fn reading(mut self, reading: Reading) -> Self {
        self.reading = reading;
        self
    }

    /// Chooses what the hidden state starts as, a number a row; zeros otherwise. They are no parameters.
    #[must_use]
    pub fn start(mut self, start: impl Into<Vec<f64>>) -> Self {
        self.start = start.into().into_iter().map(Number).collect();
        self
    }

    /// Chooses what makes the encoder's outputs of the last hidden state: any field without time and controls.
    #[must_use]
    pub fn out(mut self, map: impl Into<Field>) -> Self {
        self.out = Some(map.into());
        self
    }

    /// The cell, from `[hidden, observation]` to the next hidden state.
    #[must_use]
    pub const fn cell(&self) -> &Field {
        &self.cell
    }

    /// The field along which the hidden state moves between observations, and how that is solved for, if it is
    /// ([`Recurrent::solved`]).
    #[must_use]
    pub fn evolution(&self) -> Option<(&Field, &SolverOptions)> {
        self.evolution.as_ref().map(|evolution| (&evolution.field, &evolution.options))
    }

    /// What makes outputs of the last hidden state, if that is not given as it is.
    #[must_use]
    pub const fn output_map(&self) -> Option<&Field> {
        self.out.as_ref()
    }

    /// Observations of a series.
    #[must_use]
    pub const fn steps(&self) -> usize {
        self.steps
    }

    /// Numbers of an observation.
    #[must_use]
    pub const fn width(&self) -> usize {
        self.width
    }

    /// Numbers of the hidden state.
    #[must_use]
    pub fn hidden(&self) -> usize {
        self.cell.outputs()
    }

    /// Numbers of a whole series, `steps * width`.
    #[must_use]
    pub const fn inputs(&self) -> usize {
        self.steps.saturating_mul(self.width)
    }

    /// Numbers that it gives.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.out.as_ref().map_or_else(|| self.hidden(), Field::outputs)
    }

    /// Number of its parameters: the cell's, then those of what moves the hidden state, then those of what makes the outputs.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        self.parts().fold(0, |sum: usize, (_, field, _)| sum.saturating_add(field.parameter_count()))
    }

    /// What the hidden state starts as.
    pub(crate) fn starts<R: Real>(&self) -> Vec<R> {
        let zero = [Number(0.0)];
        let numbers = if self.start.is_empty() { zero.iter().cycle() } else { self.start.iter().cycle() };
        numbers.take(self.hidden()).map(|number| R::from_f64(number.0)).collect()
    }

    /// The observations in the order in which they are read.
    pub(crate) fn order(&self) -> impl DoubleEndedIterator<Item = usize> + ExactSizeIterator + use<> {
        let (steps, backwards) = (self.steps, self.reading == Reading::Backwards);
        (0..steps).map(move |n| if backwards { steps - 1 - n } else { n })
    }

    /// How the hidden state moves between observations.
    pub(crate) const fn moved_by(&self) -> Option<&Evolution> {
        self.evolution.as_ref()
    }

    /// Its fields by name, with their first parameters.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (&'static str, &Field, usize)> {
        let evolution = self.evolution.as_ref().map(|evolution| ("evolution", &evolution.field));
        let out = self.out.as_ref().map(|out| ("out", out));
        let mut next = 0usize;
        [("cell", &self.cell)].into_iter().chain(evolution).chain(out).map(move |(name, field)| {
            let first = next;
            next = first.saturating_add(field.parameter_count());
            (name, field, first)
        })
    }

    /// Refuses to have the hidden state move twice.
    fn check_unmoved(&self, name: &'static str) -> Result<()> {
        match &self.evolution {
            None => Ok(()),
            Some(evolution) => {
                let remedy = "the hidden state moves between observations already (Recurrent::solved): move it once";
                Err(Error::argument(name, evolution.field.widths(), remedy))
            }
        }
    }

    fn check_cell(&self) -> Result<()> {
        const NAME: &str = "Recurrent::cell";
        self.cell.validate()?;
        let (hidden, width) = (self.hidden(), self.width);
        if width == 0 || self.cell.inputs() != hidden.saturating_add(width) {
            let remedy = format!(
                "a cell takes the hidden state and an observation, of {hidden} and {width} numbers: give it as many inputs, and \
                 observations a number at least"
            );
            return Err(Error::argument(NAME, self.cell.widths(), remedy));
        }
        check_alone(NAME, &self.cell)
    }

    /// Checks cell, start and map to the outputs against one another.
    ///
    /// # Errors
    /// [`Error::Argument`] naming what does not fit.
    pub fn validate(&self) -> Result<()> {
        self.check_cell()?;
        if self.steps == 0 || self.inputs() > MAX_ROWS {
            let remedy =
                format!("a series has one observation at least, and at most {MAX_ROWS} numbers in all: choose so many");
            return Err(Error::argument("Recurrent::steps", format!("{} of width {}", self.steps, self.width), remedy));
        }
        let hidden = self.hidden();
        if let Some(evolution) = &self.evolution {
            evolution.check([hidden, self.width])?;
        }
        if !self.start.is_empty() {
            Error::check_len("Recurrent::start", self.start.len(), hidden, || "the hidden state's rows".into())?;
        }
        if let Some(number) = self.start.iter().find(|number| !number.0.is_finite()) {
            return Err(Error::argument("Recurrent::start", number.0, "a hidden state starts finite"));
        }
        if let Some(out) = &self.out {
            const NAME: &str = "Recurrent::out";
            out.validate()?;
            if out.inputs() != hidden {
                let remedy = format!("its inputs are the hidden state, of {hidden} numbers");
                return Err(Error::argument(NAME, out.widths(), remedy));
            }
            check_alone(NAME, out)?;
        }
        check_parameters("Recurrent::cell", self.cell.widths(), self.parameter_count())
    }
}
