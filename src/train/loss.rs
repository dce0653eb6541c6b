//! [`Loss`]: what is minimised, and its gradient on a tile.

use serde::{Deserialize, Serialize};

use crate::cpu::{DenseLayer, Engine, LANES, Scalar, TaskRoom, TaskWork, Tile, gather, rest_unless, scatter};
use crate::error::{Error, Result, Status};

/// What is minimised. Means are over the trajectories that were solved; where none was, or fewer than two paths of
/// which to take a variance, the loss is NaN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Loss {
    /// Softmax cross-entropy of the output at the last saved time, mean over trajectories.
    #[default]
    CrossEntropy,
    /// Mean of squared differences over times, trajectories and features.
    Mse,
    /// Mean of absolute differences over times, trajectories and features; derivative 0 where they are 0.
    Mae,
    /// For paths: mean over times and features of the squared differences of their means, plus that of their variances
    /// (over one less than their number).
    Moments,
}

impl Loss {
    /// Solved trajectories that the loss takes at least: a mean one, a variance two.
    pub(super) const fn least(self) -> usize {
        if matches!(self, Self::Moments) { 2 } else { 1 }
    }
}

/// What the outputs should be.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Target<'a, R> {
    /// One class a trajectory, for [`Loss::CrossEntropy`].
    Labels(&'a [u32]),
    /// `[times][B][outputs]`, for [`Loss::Mse`] and [`Loss::Mae`].
    States(&'a [R]),
    /// Means and variances over the batch, `[times][outputs]` each, for [`Loss::Moments`].
    Moments {
        /// What the batch's means should be.
        means: &'a [R],
        /// What its variances should be.
        variances: &'a [R],
    },
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
            (Target::Moments { means, variances }, Loss::Moments) => {
                for (name, moments) in [("Target::Moments::means", means), ("Target::Moments::variances", variances)] {
                    let shape = || format!("[{times}][{outputs}]");
                    Error::check_len(name, moments.len(), times * outputs, shape)?;
                    crate::cpu::check_finite(name, moments)?;
                }
                if batch < 2 {
                    return Err(Error::argument("Batch::inputs", batch, "a variance needs at least two paths"));
                }
                Ok(())
            }
            (Target::Moments { .. }, _) => {
                Err(Error::argument("Target::Moments", format!("{loss:?}"), "moments need Loss::Moments"))
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
    /// Means and variances of the solved batch's outputs, `[times][outputs]`, where the loss is of them.
    pub(super) moments: Vec<[f64; 2]>,
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

    /// Takes the moments of the solved batch, if the loss is of them.
    pub(super) fn measure(&mut self, engine: &Engine<R>) {
        if self.loss != Loss::Moments {
            return;
        }
        let mut room = TaskRoom::default();
        let count = self.solved as f64;
        self.moments.resize(self.times * self.outputs, [f64::NAN; 2]);
        for slot in 0..self.times {
            for pass in 0..2 {
                let mut sums = vec![0.0; self.outputs];
                for tile in engine.tiles() {
                    self.output(tile, slot, &mut room);
                    let counts = self.counting(tile);
                    for (o, sum) in sums.iter_mut().enumerate() {
                        let mean = if pass == 0 { 0.0 } else { self.moments[slot * self.outputs + o][0] };
                        let term = |l: usize| {
                            let difference = room.output[o * LANES + l].to_f64() - mean;
                            if pass == 0 { difference } else { difference * difference }
                        };
                        *sum += (0..LANES).filter(|&l| counts[l]).map(term).sum::<f64>();
                    }
                }
                for (o, sum) in sums.iter().enumerate() {
                    self.moments[slot * self.outputs + o][pass] = sum / if pass == 0 { count } else { count - 1.0 };
                }
            }
        }
    }

    /// Puts the tile's output at a saved time into `room.output`.
    fn output(&self, tile: &Tile<R>, slot: usize, room: &mut TaskRoom<R>) {
        room.output.resize(self.outputs * LANES, R::ZERO);
        match self.head {
            None => room.output.copy_from_slice(tile.save(slot)),
            Some(head) => {
                room.prepare(head);
                let state = &mut room.input[..self.dim * LANES];
                state.copy_from_slice(tile.save(slot));
                // Nothing of a trajectory that failed may reach the weights, not even times zero.
                rest_unless(state, &solved(tile));
                head.apply(&room.input, &mut room.output);
            }
        }
    }

    /// The batch's loss, NaN where too few trajectories are left for one, and how many were classified correctly.
    pub(super) fn total(&self, engine: &Engine<R>) -> (f64, usize) {
        let (loss, correct) = engine.tiles().fold((0.0, 0), |(l, c), t| (l + t.loss, c + t.correct));
        if self.defined() { (loss, correct) } else { (f64::NAN, correct) }
    }

    /// Whether enough trajectories were solved for a loss.
    const fn defined(&self) -> bool {
        self.solved >= self.loss.least()
    }

    /// Lanes that count in a loss: solved to the end, where there is a loss.
    fn counting(&self, tile: &Tile<R>) -> [bool; LANES] {
        solved(tile).map(|solved| solved && self.defined())
    }

    /// The tile's share of the loss; with `theta_bar`, its gradient with respect to saved states and the head.
    pub(super) fn evaluate(&self, tile: &mut Tile<R>, room: &mut TaskRoom<R>, mut theta_bar: Option<&mut [R]>) {
        let counts = self.counting(tile);
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
                Target::Moments { means, variances } => {
                    let range = slot * self.outputs..(slot + 1) * self.outputs;
                    (self.moment_difference(slot, [&means[range.clone()], &variances[range]], &counts, room), 0)
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
        let scale = 1.0 / self.solved as f64;
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
        let scale = 1.0 / (self.times * self.solved * self.outputs) as f64;
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

/// Lanes that were solved to the end.
fn solved<R: Scalar>(tile: &Tile<R>) -> [bool; LANES] {
    std::array::from_fn(|l| l < tile.used && tile.alive[l] && tile.status[l] == Status::Done)
}

impl<R: Scalar> Task<'_, R> {
    /// The tile's share of the squared differences of moments at one time. With mean `m` and variance `v` over `B` paths,
    /// `d/dy_b = (2 (m - m*) / B + 4 (v - v*) (y_b - m) / (B - 1)) / N`.
    fn moment_difference(
        &self,
        slot: usize,
        [means, variances]: [&[R]; 2],
        counts: &[bool; LANES],
        room: &mut TaskRoom<R>,
    ) -> f64 {
        let scale = 1.0 / (self.times * self.outputs) as f64;
        let paths = self.solved as f64;
        let share = counts.iter().filter(|&&counts| counts).count() as f64 / paths;
        room.output_bar.fill(R::ZERO);
        let mut loss = 0.0;
        for o in 0..self.outputs {
            let [mean, variance] = self.moments[slot * self.outputs + o];
            let (dm, dv) = (mean - means[o].to_f64(), variance - variances[o].to_f64());
            loss += scale * share * (dm * dm + dv * dv);
            for lane in (0..LANES).filter(|&l| counts[l]) {
                let from_mean = room.output[o * LANES + lane].to_f64() - mean;
                let slope = 2.0 * dm / paths + 4.0 * dv * from_mean / (paths - 1.0);
                room.output_bar[o * LANES + lane] = R::from_f64(scale * slope);
            }
        }
        loss
    }
}

/// Loss and correctly classified trajectories of outputs `[times][B][outputs]`, of those that were `solved`.
pub(super) fn score<R: Scalar>(
    loss: Loss,
    target: &Target<'_, R>,
    outputs: &[f64],
    width: usize,
    solved: &[bool],
) -> (f64, usize) {
    // Of every time in turn; the mean over none is NaN.
    let counts = || solved.iter().copied().cycle();
    match target {
        Target::Labels(labels) => {
            let last = &outputs[outputs.len() - labels.len() * width..];
            let all = || last.chunks_exact(width).zip(*labels).zip(counts());
            let rows = || all().filter(|(_, solved)| *solved).map(|(row, _)| row);
            let best = |row: &[f64]| (0..width).fold(0, |best, o| if row[o] > row[best] { o } else { best });
            let entropy = |(row, label): (&[f64], &u32)| {
                let largest = row[best(row)];
                row.iter().map(|x| (x - largest).exp()).sum::<f64>().ln() + largest - row[*label as usize]
            };
            let sum: f64 = rows().map(entropy).sum();
            (sum / rows().count() as f64, rows().filter(|(row, label)| best(row) == **label as usize).count())
        }
        Target::States(states) => {
            let all = || outputs.chunks_exact(width).zip(states.chunks_exact(width)).zip(counts());
            let rows = || all().filter(|(_, solved)| *solved).map(|(row, _)| row);
            let size = |d: f64| if loss == Loss::Mae { d.abs() } else { d * d };
            let sum: f64 =
                rows().flat_map(|(row, target)| row.iter().zip(target)).map(|(x, y)| size(x - y.to_f64())).sum();
            (sum / (rows().count() * width) as f64, 0)
        }
        Target::Moments { .. } => (f64::NAN, 0),
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
