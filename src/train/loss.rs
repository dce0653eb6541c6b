//! [`Loss`]: what is minimised, and its gradient on a tile.

use serde::{Deserialize, Serialize};

use crate::cpu::{DenseLayer, Engine, LANES, Scalar, TaskRoom, TaskWork, Tile, gather, scatter};
use crate::error::{Error, Result, Status};

/// What is minimised. Means are over the trajectories that were solved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Softmax cross-entropy of the output at the last saved time, mean over trajectories.
    #[default]
    CrossEntropy,
    /// Mean of squared differences over times, trajectories and features.
    Mse,
    /// Mean of absolute differences over times, trajectories and features; derivative 0 where they are 0.
    Mae,
}

/// What the outputs should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target<'a, R> {
    /// One class a trajectory, for [`Loss::CrossEntropy`].
    Labels(&'a [u32]),
    /// `[times][B][outputs]`, for [`Loss::Mse`] and [`Loss::Mae`].
    States(&'a [R]),
}

impl<R: Scalar> Target<'_, R> {
    pub(super) fn check(&self, loss: Loss, batch: usize, times: usize, outputs: usize) -> Result<()> {
        match (self, loss) {
            (Target::Labels(labels), Loss::CrossEntropy) => {
                Error::check_len("Target::Labels", labels.len(), batch, || "one label a trajectory".into())?;
                match labels.iter().enumerate().find(|(_, label)| **label as usize >= outputs) {
                    None => Ok(()),
                    Some((i, label)) => {
                        let remedy = format!("sample {i}: classes count from 0 to {}", outputs - 1);
                        Err(Error::argument("Target::Labels", label, remedy))
                    }
                }
            }
            (Target::States(states), Loss::Mse | Loss::Mae) => {
                let expected = times * batch * outputs;
                let shape = || format!("[{times}][{batch}][{outputs}]");
                Error::check_len("Target::States", states.len(), expected, shape)?;
                crate::cpu::check_finite("Target::States", states)
            }
            (Target::Labels(_), _) => {
                Err(Error::argument("Target::Labels", format!("{loss:?}"), "labels need Loss::CrossEntropy"))
            }
            (Target::States(_), _) => {
                Err(Error::argument("Target::States", format!("{loss:?}"), "states need Loss::Mse or Loss::Mae"))
            }
        }
    }
}

/// A batch's loss as the engine's workers see it.
#[derive(Debug)]
pub(super) struct Task<'a, R> {
    pub(super) loss: Loss,
    pub(super) inputs: &'a [R],
    pub(super) target: Target<'a, R>,
    pub(super) encoder: Option<&'a DenseLayer<R>>,
    pub(super) head: Option<&'a DenseLayer<R>>,
    pub(super) batch: usize,
    pub(super) dim: usize,
    pub(super) times: usize,
    pub(super) outputs: usize,
    /// Trajectories that were solved, over which the loss is a mean.
    pub(super) solved: usize,
}

impl<R: Scalar> Task<'_, R> {
    /// Puts the tile's share of the batch into its initial state.
    pub(super) fn load(&self, tile: &mut Tile<R>, room: &mut TaskRoom<R>) {
        match self.encoder {
            None => tile.load(self.inputs, self.dim),
            Some(encoder) => {
                tile.place(self.batch);
                if tile.used > 0 {
                    self.gather_inputs(tile, encoder, room);
                    encoder.apply(&room.input, &mut tile.y);
                }
            }
        }
    }

    fn gather_inputs(&self, tile: &Tile<R>, encoder: &DenseLayer<R>, room: &mut TaskRoom<R>) {
        let width = encoder.layer.inputs;
        let first = tile.index * LANES * width;
        room.prepare(encoder);
        gather(&mut room.input, &self.inputs[first..first + tile.used * width], width);
    }

    /// The solved batch's outputs, `[times][B][outputs]`, NaN where a trajectory failed.
    pub(super) fn outputs(&self, engine: &Engine<R>) -> Vec<R> {
        let mut room = TaskRoom::default();
        let mut outputs = vec![R::ZERO; self.times * self.batch * self.outputs];
        for (slot, outputs) in outputs.chunks_exact_mut(self.batch * self.outputs).enumerate() {
            for tile in engine.tiles() {
                self.output(tile, slot, &mut room);
                let rows = &mut outputs[tile.index * LANES * self.outputs..][..tile.used * self.outputs];
                scatter(&room.output, rows, self.outputs);
                let rows = rows.chunks_exact_mut(self.outputs).zip(tile.status);
                for (row, _) in rows.filter(|(_, status)| *status != Status::Done) {
                    row.fill(R::from_f64(f64::NAN));
                }
            }
        }
        outputs
    }

    /// Puts the tile's output at a saved time into `room.output`.
    fn output(&self, tile: &Tile<R>, slot: usize, room: &mut TaskRoom<R>) {
        room.output.resize(self.outputs * LANES, R::ZERO);
        match self.head {
            None => room.output.copy_from_slice(tile.save(slot)),
            Some(head) => {
                room.prepare(head);
                room.input[..self.dim * LANES].copy_from_slice(tile.save(slot));
                head.apply(&room.input, &mut room.output);
            }
        }
    }

    /// The tile's share of the loss; with `theta_bar`, its gradient with respect to saved states and the head.
    pub(super) fn evaluate(&self, tile: &mut Tile<R>, room: &mut TaskRoom<R>, mut theta_bar: Option<&mut [R]>) {
        let counts: [bool; LANES] = std::array::from_fn(|l| tile.alive[l] && tile.status[l] == Status::Done);
        (tile.loss, tile.correct) = (0.0, 0);
        for slot in 0..self.times {
            let last = slot + 1 == self.times;
            if self.loss == Loss::CrossEntropy && !last {
                if theta_bar.is_some() {
                    tile.save_bar_mut(slot).fill(R::ZERO);
                }
                continue;
            }
            room.output_bar.resize(self.outputs * LANES, R::ZERO);
            self.output(tile, slot, room);
            let (loss, correct) = match self.target {
                Target::Labels(labels) => self.cross_entropy(labels, tile, &counts, room),
                Target::States(states) => {
                    let states = &states[slot * self.batch * self.outputs..][..self.batch * self.outputs];
                    (self.difference(states, tile, &counts, room), 0)
                }
            };
            tile.loss += loss;
            tile.correct += correct;
            if let Some(theta_bar) = theta_bar.as_deref_mut() {
                match self.head {
                    None => tile.save_bar_mut(slot).copy_from_slice(&room.output_bar),
                    Some(head) => {
                        head.vjp(&room.input, &room.output_bar, Some(theta_bar), Some(tile.save_bar_mut(slot)));
                    }
                }
            }
        }
    }

    /// `-log softmax(output)[label]` and whether the label's output is the largest, summed over the tile; the
    /// gradient is `softmax - one-hot`.
    fn cross_entropy(
        &self,
        labels: &[u32],
        tile: &Tile<R>,
        counts: &[bool; LANES],
        room: &mut TaskRoom<R>,
    ) -> (f64, usize) {
        let scale = 1.0 / self.solved.max(1) as f64;
        let (mut loss, mut correct) = (0.0, 0);
        room.output_bar.fill(R::ZERO);
        for lane in (0..tile.used).filter(|&l| counts[l]) {
            let label = labels[tile.index * LANES + lane] as usize;
            let output = |o: usize| room.output[o * LANES + lane].to_f64();
            let best = (0..self.outputs).fold(0, |best, o| if output(o) > output(best) { o } else { best });
            let largest = output(best);
            let sum: f64 = (0..self.outputs).map(|o| (output(o) - largest).exp()).sum();
            loss += scale * (sum.ln() + largest - output(label));
            correct += usize::from(best == label);
            for o in 0..self.outputs {
                let softmax = (room.output[o * LANES + lane].to_f64() - largest).exp() / sum;
                room.output_bar[o * LANES + lane] = R::from_f64(scale * (softmax - f64::from(u8::from(o == label))));
            }
        }
        (loss, correct)
    }

    /// Squared or absolute differences, summed over the tile and scaled to a mean over the batch.
    fn difference(&self, states: &[R], tile: &Tile<R>, counts: &[bool; LANES], room: &mut TaskRoom<R>) -> f64 {
        let scale = 1.0 / (self.times * self.solved.max(1) * self.outputs) as f64;
        let mut loss = 0.0;
        room.output_bar.fill(R::ZERO);
        for lane in (0..tile.used).filter(|&l| counts[l]) {
            let row = &states[(tile.index * LANES + lane) * self.outputs..][..self.outputs];
            for (o, target) in row.iter().enumerate() {
                let difference = room.output[o * LANES + lane].to_f64() - target.to_f64();
                let (value, slope) = match self.loss {
                    Loss::Mae if difference == 0.0 => (0.0, 0.0),
                    Loss::Mae => (difference.abs(), difference.signum()),
                    _ => (difference * difference, 2.0 * difference),
                };
                loss += scale * value;
                room.output_bar[o * LANES + lane] = R::from_f64(scale * slope);
            }
        }
        loss
    }
}

impl<R: Scalar> TaskWork<R> for Task<'_, R> {
    fn differentiate(&self, tile: &mut Tile<R>, room: &mut TaskRoom<R>, theta_bar: &mut [R]) {
        self.evaluate(tile, room, Some(theta_bar));
    }

    fn finish(&self, tile: &mut Tile<R>, room: &mut TaskRoom<R>, theta_bar: &mut [R]) {
        if let Some(encoder) = self.encoder {
            self.gather_inputs(tile, encoder, room);
            encoder.vjp(&room.input, &tile.bar, Some(theta_bar), None);
        }
    }
}
