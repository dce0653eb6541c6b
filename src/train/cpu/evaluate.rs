//! Solves without gradients: what a model gives, and what that costs.

use super::Trainer;
use crate::cpu::{Encoder, Engine, Latent, Map, Scalar, Task};
#[cfg(doc)]
use crate::error::Error;
use crate::error::{Result, Status};
use crate::method::{Asked, Reduction, Target};
use crate::problem::Paths;
use crate::train::batches::Batch;
use crate::train::drawing::Drawing;
use crate::train::report::{Costs, Evaluation};
use crate::train::state::{MeanOutputs, TrainingState};

impl<R: Scalar> Trainer<R> {
    /// Evaluates the model on a batch. Never regularizes.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::NonFinite`] and [`Error::Argument`] for a batch that does not fit the model.
    pub fn evaluate(&mut self, batch: &Batch<'_, R>) -> Result<Evaluation> {
        self.draw(self.state.evaluation_paths(0), self.state.evaluation_signs(), Drawing::NONE);
        let count = self.forward(batch, false, &Asked::default())?;
        let failed = self.engine.statuses().filter(|&s| s != Status::Done).count();
        let Self { state, engine, encoder, head, drawing, .. } = self;
        let mut task = task(state, (encoder.as_ref(), head.as_ref()), batch, count - failed, *drawing);
        task.measure(engine.tiles());
        engine.for_each_tile(|tile, room| {
            if tile.used > 0 {
                task.evaluate(tile, room, None);
            }
        });
        let (loss, correct) = task.total(engine.tiles());
        Ok(costs(state, engine).evaluation(count, failed, loss, correct))
    }

    /// As [`Trainer::evaluate`], of the mean output over `samples` paths of each trajectory, or drawn initial states of it;
    /// costs are the first one's. A trajectory of which any path fails has failed.
    ///
    /// # Errors
    /// As [`Trainer::evaluate`], and [`Error::Argument`] for no samples, or [`Loss::Moments`], which is of single paths.
    ///
    /// [`Loss::Moments`]: crate::Loss::Moments
    pub fn evaluate_mean(&mut self, batch: &Batch<'_, R>, samples: usize) -> Result<Evaluation> {
        let mut outputs = self.state.mean_outputs(samples)?;
        let of_first = self.add_sample(batch, 0, &mut outputs)?;
        for sample in 1..samples {
            self.add_sample(batch, sample, &mut outputs)?;
        }
        Ok(self.state.evaluate_mean(&outputs, &batch.target, of_first))
    }

    /// Solves the batch along the paths of one sample, and adds its outputs to the mean. The costs.
    fn add_sample(&mut self, batch: &Batch<'_, R>, sample: usize, outputs: &mut MeanOutputs) -> Result<Costs> {
        let drawing = self.state.evaluation_drawing(sample);
        self.draw(self.state.evaluation_paths(sample), self.state.evaluation_signs(), drawing);
        let count = self.forward(batch, false, &Asked::default())?;
        let solved = self.engine.statuses().map(|status| status == Status::Done);
        outputs.add(&self.outputs(batch, count), solved);
        Ok(costs(&self.state, &self.engine))
    }

    /// The model's outputs for a batch of inputs `[B][inputs]`: `[times][B][outputs]`, NaN for trajectories that fail.
    /// Never regularizes.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::NonFinite`] for inputs that do not fit the model.
    pub fn predict(&mut self, inputs: &[R]) -> Result<Vec<R>> {
        self.predict_along(inputs, self.state.evaluation_paths(0))
    }

    /// As [`Trainer::predict`], along the given paths.
    ///
    /// # Errors
    /// As [`Trainer::predict`], and [`Error::Argument`] for paths beyond the last trajectory number.
    pub fn predict_along(&mut self, inputs: &[R], paths: Paths) -> Result<Vec<R>> {
        self.predict_by(inputs, paths, Drawing::NONE)
    }

    /// As [`Trainer::predict`], from initial states that are drawn, of a model that has such ([`NeuralDe::latent`]), and along
    /// paths of their own if there is noise: a draw of the outputs, another one for each `sample`.
    ///
    /// # Errors
    /// As [`Trainer::predict`].
    ///
    /// [`NeuralDe::latent`]: crate::NeuralDe::latent
    pub fn predict_drawn(&mut self, inputs: &[R], sample: usize) -> Result<Vec<R>> {
        self.predict_by(inputs, self.state.evaluation_paths(sample), self.state.evaluation_drawing(sample))
    }

    fn predict_by(&mut self, inputs: &[R], paths: Paths, drawing: Drawing) -> Result<Vec<R>> {
        let count = self.state.config.model.check_inputs(inputs)?;
        let batch = Batch { inputs, target: Target::Labels(&[]) };
        self.draw(paths, self.state.evaluation_signs(), drawing);
        self.solve(&batch, count, false, &Asked::default())?;
        Ok(self.outputs(&batch, count))
    }

    /// The solved batch's outputs.
    fn outputs(&self, batch: &Batch<'_, R>, count: usize) -> Vec<R> {
        let maps = (self.encoder.as_ref(), self.head.as_ref());
        task(&self.state, maps, batch, count, self.drawing).outputs(self.engine.tiles())
    }

    /// Checks and loads the batch, and solves it; the number of its trajectories.
    pub(super) fn forward(&mut self, batch: &Batch<'_, R>, tape: bool, asked: &Asked) -> Result<usize> {
        let count = self.state.check(batch)?.0.saturating_mul(self.drawing.copies);
        self.solve(batch, count, tape, asked)?;
        Ok(count)
    }

    /// Loads a checked batch and solves it.
    fn solve(&mut self, batch: &Batch<'_, R>, count: usize, tape: bool, asked: &Asked) -> Result<()> {
        let Self { state, engine, encoder, head, theta, signs, drawing, .. } = self;
        if encoder.is_none() {
            engine.warn_at(batch.inputs, state.config.model.input_width());
        }
        engine.paths().validate(count)?;
        engine.drive(count, ["Trainer::step", "Trainer::set_control"])?;
        // A sample's times are those of all trajectories that are drawn of it.
        if let Some(times) = &state.times
            && engine.times().is_none_or(|own| own.rows() != count)
        {
            let rows: Vec<usize> = (0..count).map(|row| row / drawing.copies).collect();
            engine.set_times(Some(if drawing.copies == 1 { times.clone() } else { times.select(&rows)? }))?;
        }
        engine.reserve(count, tape, asked)?;
        engine.set_parameters(theta, tape);
        if let Some(encoder) = encoder {
            encoder.pack(theta, tape);
        }
        if let Some(head) = head {
            head.pack(theta, tape);
        }
        let task = task(state, (encoder.as_ref(), self.head.as_ref()), batch, count, *drawing);
        engine.for_each_tile(|tile, room| task.load(tile, room, *signs));
        engine.solve(tape, asked)
    }
}

/// What surrounds the solve of a batch, of which so many trajectories are `solved`: encoder and head, and how initial states
/// are drawn.
pub(super) fn task<'a, R: Scalar>(
    state: &'a TrainingState,
    (encoder, head): (Option<&'a Encoder<R>>, Option<&'a Map<R>>),
    batch: &Batch<'a, R>,
    solved: usize,
    drawing: Drawing,
) -> Task<'a, R> {
    let (model, elbo) = (&state.config.model, &state.config.elbo);
    // What an evaluation tells is a mean, whatever is trained.
    let reduction = drawing.weight.map_or(Reduction::Mean, |_| elbo.reduction);
    let latent = model.latent.then(|| Latent {
        normals: drawing.normals,
        weight: drawing.weight.unwrap_or(0.0),
        factor: reduction.of_state(model.problem.dim()),
        importance: elbo.importance && drawing.weight.is_some(),
    });
    Task {
        loss: state.config.loss,
        inputs: batch.inputs,
        target: batch.target,
        encoder,
        head,
        batch: batch.inputs.len() / model.input_width() * drawing.copies,
        dim: model.problem.dim(),
        points: model.of_points(),
        features: model.problem.field.features(),
        times: state.output_times(),
        own: state.times.as_ref(),
        outputs: model.output_width(),
        solved,
        moments: Vec::new(),
        row_weights: Vec::new(),
        copies: drawing.copies,
        latent,
        reduction,
        shares: Vec::new(),
        bound: None,
    }
}

/// Costs of the last solve, and of those between observations before it.
pub(super) fn costs<R: Scalar>(state: &TrainingState, engine: &Engine<R>) -> Costs {
    let (stats, ideal_steps) = engine.costliest();
    Costs {
        nfe: stats.nfe,
        nfe_diffusion: stats.nfe_diffusion,
        accepted: stats.accepted,
        rejected: stats.rejected,
        ideal_steps,
        encoder_nfe: state.config.model.solves_between().map(|_| engine.encoder_nfe()),
    }
}
