//! [`Task`]: a batch's loss, encoder and head on tiles, with their gradients.

use super::latent::Latent;
use crate::cpu::crew::task::{TaskRoom, TaskWork};
use crate::cpu::encoder::Encoder;
use crate::cpu::field::map::Map;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::lanes::{scatter, stand_in_unless};
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::tile::Tile;
use crate::error::Status;
use crate::method::{Loss, Reduction, Streams, Target, row_weights};
use crate::problem::{Times, Trace};

/// A batch's loss as the engine's workers see it.
#[derive(Debug)]
pub(crate) struct Task<'a, R: Scalar> {
    pub(crate) loss: Loss,
    pub(crate) inputs: &'a [R],
    pub(crate) target: Target<'a, R>,
    pub(crate) encoder: Option<&'a Encoder<R>>,
    pub(crate) head: Option<&'a Map<R>>,
    pub(crate) batch: usize,
    pub(crate) dim: usize,
    /// How the trace of a flow is computed, whose inputs are points.
    pub(crate) points: Option<Trace>,
    /// Numbers in a point.
    pub(crate) features: usize,
    /// Save slots: of the longest row, where trajectories have their own times.
    pub(crate) times: usize,
    pub(crate) own: Option<&'a Times>,
    pub(crate) outputs: usize,
    /// Trajectories that were solved, over which the loss is a mean.
    pub(crate) solved: usize,
    /// Means and variances of the solved batch's outputs, `[times][outputs]`, where the loss is of them.
    pub(crate) moments: Vec<[f64; 2]>,
    /// The sum of each sample's weights, where the target has some, or of numbers at times of its own.
    pub(crate) row_weights: Vec<f64>,
    /// Trajectories of a sample, whose inputs and targets they share.
    pub(crate) copies: usize,
    /// How initial states are drawn, if they are, and what a sample's loss is of its numbers.
    pub(crate) latent: Option<Latent>,
    pub(crate) reduction: Reduction,
    /// What each trajectory's loss counts in the batch's, where not all count the same; and what that is then.
    pub(crate) shares: Vec<f64>,
    pub(crate) bound: Option<f64>,
}

impl<R: Scalar> Task<'_, R> {
    /// Puts the tile's share of the batch into its initial state.
    pub(crate) fn load(&self, tile: &mut Tile<R>, room: &mut TaskRoom<R>, signs: Streams) {
        match self.encoder {
            None => {
                tile.load(self.inputs, self.features);
                if let Some(trace) = self.points {
                    self.begin_density(tile, trace, signs);
                }
            }
            Some(encoder) => {
                tile.place(self.batch);
                if tile.used > 0 {
                    self.encode(tile, encoder, room);
                }
            }
        }
    }

    /// From the tile's inputs to its initial states.
    fn encode(&self, tile: &mut Tile<R>, encoder: &Encoder<R>, room: &mut TaskRoom<R>) {
        let inputs = self.inputs_of(tile, encoder, &mut room.rows);
        match self.latent {
            None => tile.encoded = encoder.apply(&mut room.encoder, inputs, &mut tile.state.y),
            Some(latent) => {
                tile.given.resize(2 * self.dim * LANES, R::ZERO);
                tile.encoded = encoder.apply(&mut room.encoder, inputs, &mut tile.given);
                latent.draw(tile);
            }
        }
    }

    /// The sample that a lane's trajectory is of.
    pub(super) const fn sample(&self, tile: &Tile<R>, lane: usize) -> usize {
        let trajectory = tile.index * LANES + lane;
        if self.copies == 1 { trajectory } else { trajectory / self.copies }
    }

    /// What a lane's loss counts in the batch's.
    pub(super) fn share(&self, tile: &Tile<R>, lane: usize) -> f64 {
        let equal = 1.0 / self.solved as f64;
        self.shares.get(tile.index * LANES + lane).copied().unwrap_or(equal)
    }

    /// What a flow's state has besides the point: a log-density of 0, and signs where they are asked for.
    fn begin_density(&self, tile: &mut Tile<R>, trace: Trace, signs: Streams) {
        let others = &mut tile.state.y[self.features * LANES..self.dim * LANES];
        others.fill(R::ZERO);
        if trace == Trace::Hutchinson {
            for lane in 0..LANES {
                let signs = signs.signs(tile.index * LANES + lane);
                for (number, sign) in others[LANES + lane..].iter_mut().step_by(LANES).zip(signs) {
                    *number = R::from_f64(sign);
                }
            }
        }
    }

    /// The tile's inputs, `[used][inputs]`: in `rows` where trajectories share them.
    fn inputs_of<'i>(&'i self, tile: &Tile<R>, encoder: &Encoder<R>, rows: &'i mut Vec<R>) -> &'i [R] {
        let width = encoder.inputs();
        if self.copies == 1 {
            return &self.inputs[tile.index * LANES * width..][..tile.used * width];
        }
        rows.clear();
        for lane in 0..tile.used {
            rows.extend_from_slice(&self.inputs[self.sample(tile, lane) * width..][..width]);
        }
        rows
    }

    /// The solved batch's outputs, `[times][B][outputs]`, NaN where a trajectory failed.
    pub(crate) fn outputs<'t>(&self, tiles: impl Iterator<Item = &'t Tile<R>> + Clone) -> Vec<R> {
        let mut room = TaskRoom::default();
        let mut outputs = vec![R::ZERO; self.times * self.batch * self.outputs];
        for (slot, outputs) in outputs.chunks_exact_mut(self.batch * self.outputs).enumerate() {
            for tile in tiles.clone() {
                self.output(tile, slot, &mut room, &self.there(tile, slot, solved(tile)), false);
                let rows = &mut outputs[tile.index * LANES * self.outputs..][..tile.used * self.outputs];
                scatter(&room.output, rows, self.outputs);
                for (l, row) in rows.chunks_exact_mut(self.outputs).enumerate() {
                    if tile.status[l] != Status::Done || !self.has(tile, l, slot) {
                        row.fill(R::from_f64(f64::NAN));
                    }
                }
            }
        }
        outputs
    }

    /// Takes what the loss wants to know of the whole solved batch: the moments of its outputs, the sums of its weights.
    pub(crate) fn measure<'t>(&mut self, tiles: impl Iterator<Item = &'t Tile<R>> + Clone) {
        if let Target::Observed { weights, .. } = self.target {
            let has = |row: usize, slot: usize| self.own.is_none_or(|times| times.has(row, slot));
            self.row_weights = row_weights(weights, [self.batch / self.copies, self.outputs], has);
        } else if let Some(times) = self.own {
            let numbers = |row: usize| (times.saved(row).len() * self.outputs) as f64;
            self.row_weights = (0..times.rows()).map(numbers).collect();
        }
        if self.latent.is_some_and(|latent| latent.importance) {
            self.measure_importance(tiles.clone());
        }
        if self.loss == Loss::Moments {
            self.measure_moments(tiles);
        }
    }

    fn measure_moments<'t>(&mut self, tiles: impl Iterator<Item = &'t Tile<R>> + Clone) {
        let mut room = TaskRoom::default();
        let count = self.solved as f64;
        self.moments.resize(self.times * self.outputs, [f64::NAN; 2]);
        for slot in 0..self.times {
            for pass in 0..2 {
                let mut sums = vec![0.0; self.outputs];
                for tile in tiles.clone() {
                    self.output(tile, slot, &mut room, &solved(tile), false);
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

    /// Whether a lane's trajectory has a time for a slot.
    pub(super) fn has(&self, tile: &Tile<R>, lane: usize, slot: usize) -> bool {
        self.own.is_none_or(|times| times.has(self.sample(tile, lane), slot))
    }

    /// Those of the lanes, of which all were solved to the end, that have a time for a slot.
    pub(super) fn there(&self, tile: &Tile<R>, slot: usize, mut solved: [bool; LANES]) -> [bool; LANES] {
        if self.own.is_some() {
            for (l, there) in solved.iter_mut().enumerate().filter(|(_, there)| **there) {
                *there = self.has(tile, l, slot);
            }
        }
        solved
    }

    /// Puts the tile's output at a saved time into `room.output`, meaningless in lanes that are not `there`; `keep` leaves what
    /// the head's gradient needs.
    pub(super) fn output(
        &self,
        tile: &Tile<R>,
        slot: usize,
        room: &mut TaskRoom<R>,
        there: &[bool; LANES],
        keep: bool,
    ) {
        room.output.resize(self.outputs * LANES, R::ZERO);
        match self.head {
            None => room.output.copy_from_slice(tile.save(slot)),
            Some(head) => {
                let TaskRoom { head: room, output, .. } = room;
                let room = room.get_or_insert_with(|| head.room());
                room.inputs().copy_from_slice(tile.save(slot));
                leave_out(room.inputs(), there);
                head.apply(room, output, keep);
            }
        }
    }

    /// The batch's loss, NaN where too few trajectories are left for one, and how many were classified correctly.
    pub(crate) fn total<'t>(&self, tiles: impl Iterator<Item = &'t Tile<R>>) -> (f64, usize) {
        let (loss, correct) = tiles.fold((0.0, 0), |(l, c), t| (l + t.loss, c + t.correct));
        if self.defined() { (loss, correct) } else { (f64::NAN, correct) }
    }

    /// The batch's divergence, without its weight, where initial states are drawn; of the trajectories that were solved.
    pub(crate) fn divergence<'t>(&self, tiles: impl Iterator<Item = &'t Tile<R>>) -> Option<f64> {
        self.latent?.normals?;
        let of_tile = |tile: &Tile<R>| {
            let counts = self.counting(tile);
            let lanes = (0..tile.used).filter(|&lane| counts[lane]);
            lanes.map(|lane| self.share(tile, lane) * tile.divergence[lane]).sum::<f64>()
        };
        let sum = tiles.map(of_tile).sum();
        Some(if self.defined() { sum } else { f64::NAN })
    }

    /// Whether enough trajectories were solved for a loss.
    const fn defined(&self) -> bool {
        self.solved >= self.loss.least()
    }

    /// Lanes that count in a loss: solved to the end, where there is a loss.
    pub(super) fn counting(&self, tile: &Tile<R>) -> [bool; LANES] {
        if self.defined() { solved(tile) } else { [false; LANES] }
    }

    /// Those of them of which it is at a slot: of classes at each one's last.
    pub(super) fn counting_at(&self, tile: &Tile<R>, slot: usize, mut counting: [bool; LANES]) -> [bool; LANES] {
        let of_classes = self.loss == Loss::CrossEntropy;
        if self.own.is_some() {
            for (l, counts) in counting.iter_mut().enumerate().filter(|(_, counts)| **counts) {
                *counts = self.has(tile, l, slot) && !(of_classes && self.has(tile, l, slot + 1));
            }
        } else if of_classes && slot + 1 < self.times {
            return [false; LANES];
        }
        counting
    }

    /// The tile's share of the loss; with `theta_bar`, its gradient with respect to saved states and the head.
    pub(crate) fn evaluate(&self, tile: &mut Tile<R>, room: &mut TaskRoom<R>, mut theta_bar: Option<&mut [R]>) {
        (tile.loss, tile.correct) = (0.0, 0);
        let (solved, counting) = (solved(tile), self.counting(tile));
        let scales = if self.target.states().is_some() { self.scales(tile) } else { [0.0; LANES] };
        for slot in 0..self.times {
            let counts = self.counting_at(tile, slot, counting);
            if !counts.contains(&true) {
                if theta_bar.is_some() {
                    tile.save_bar_mut(slot).fill(R::ZERO);
                }
                continue;
            }
            room.output_bar.resize(self.outputs * LANES, R::ZERO);
            self.output(tile, slot, room, &self.there(tile, slot, solved), theta_bar.is_some());
            let (loss, correct) = match self.target {
                Target::Labels(labels) => self.cross_entropy(labels, tile, &counts, room),
                Target::States(states) => (self.difference([states, &[]], slot, tile, (&counts, &scales), room), 0),
                Target::Observed { states, weights } => {
                    (self.difference([states, weights], slot, tile, (&counts, &scales), room), 0)
                }
                Target::Moments { means, variances } => {
                    let range = slot * self.outputs..(slot + 1) * self.outputs;
                    (self.moment_difference(slot, [&means[range.clone()], &variances[range]], &counts, room), 0)
                }
                Target::Nothing => (self.surprise(tile, &counts, room), 0),
            };
            tile.loss += loss;
            tile.correct += correct;
            if let Some(theta_bar) = theta_bar.as_deref_mut() {
                let TaskRoom { head: room, output_bar, .. } = &mut *room;
                match (self.head, room) {
                    (Some(head), Some(room)) => {
                        head.vjp(room, output_bar, theta_bar, Some(tile.save_bar_mut(slot)));
                    }
                    _ => tile.save_bar_mut(slot).copy_from_slice(output_bar),
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
        let (mut loss, mut correct) = (0.0, 0);
        room.output_bar.fill(R::ZERO);
        for lane in (0..tile.used).filter(|&l| counts[l]) {
            let scale = self.share(tile, lane);
            let label = labels[self.sample(tile, lane)] as usize;
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

    /// `-log p(x) = c - log N(z)` of points that ended at `z`, their log-density changed by `c`, summed over the tile and scaled
    /// to a mean over the batch.
    fn surprise(&self, tile: &Tile<R>, counts: &[bool; LANES], room: &mut TaskRoom<R>) -> f64 {
        let scale = 1.0 / self.solved as f64;
        let normal = 0.5 * self.features as f64 * std::f64::consts::TAU.ln();
        let mut loss = 0.0;
        room.output_bar.fill(R::ZERO);
        for lane in (0..tile.used).filter(|&l| counts[l]) {
            let mut squares = 0.0;
            for feature in 0..self.features {
                let z = room.output[feature * LANES + lane].to_f64();
                squares += z * z;
                room.output_bar[feature * LANES + lane] = R::from_f64(scale * z);
            }
            loss += scale * (0.5 * squares + normal + room.output[self.features * LANES + lane].to_f64());
            room.output_bar[self.features * LANES + lane] = R::from_f64(scale);
        }
        loss
    }

    /// What the loss of each of a sample's numbers counts in the sample's.
    pub(super) fn scale_of(&self, sample: usize) -> f64 {
        let numbers = (self.times * self.outputs) as f64;
        match self.reduction {
            Reduction::Sum => 1.0,
            Reduction::Mean => 1.0 / self.row_weights.get(sample).copied().unwrap_or(numbers),
        }
    }

    /// The numbers of a sample at a saved time that count: their places, what they should be, and their weights.
    pub(super) fn cells<'s>(
        &self,
        [states, weights]: [&'s [R]; 2],
        slot: usize,
        sample: usize,
    ) -> impl Iterator<Item = (usize, f64, f64)> + use<'s, R> {
        let row = (slot * (self.batch / self.copies) + sample) * self.outputs..;
        let states = &states[row.clone()][..self.outputs];
        let weights = weights.get(row).unwrap_or(&[]);
        let cell = move |(o, state): (usize, &R)| {
            let weight = weights.get(o).map_or(1.0, |weight| weight.to_f64());
            (o, state.to_f64(), weight)
        };
        states.iter().enumerate().map(cell).filter(|(.., weight)| *weight > 0.0)
    }
}

/// Nothing of a trajectory that failed, or of a time that it has not, may reach the weights, not even times zero.
fn leave_out<R: Scalar>(rows: &mut [R], there: &[bool; LANES]) {
    if there.contains(&false) {
        stand_in_unless(rows, there);
    }
}

/// Lanes that were solved to the end.
pub(super) fn solved<R: Scalar>(tile: &Tile<R>) -> [bool; LANES] {
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

impl<R: Scalar> TaskWork<R> for Task<'_, R> {
    fn differentiate(&self, tile: &mut Tile<R>, room: &mut TaskRoom<R>, theta_bar: &mut [R]) {
        self.evaluate(tile, room, Some(theta_bar));
    }

    fn finish(&self, tile: &mut Tile<R>, room: &mut TaskRoom<R>, theta_bar: &mut [R]) {
        if let Some(encoder) = self.encoder {
            let TaskRoom { encoder: room, rows, output, output_bar, .. } = room;
            let counts = self.latent.map_or_else(|| solved(tile), |_| self.counting(tile));
            let inputs = (self.inputs_of(tile, encoder, rows), &counts);
            let whole = match self.latent {
                None => {
                    output.resize(self.dim * LANES, R::ZERO);
                    encoder.vjp(room, inputs, output, &tile.bar, theta_bar)
                }
                Some(latent) => {
                    output.resize(2 * self.dim * LANES, R::ZERO);
                    latent.differentiate(
                        tile,
                        output_bar,
                        |lane| {
                            if counts[lane] { self.share(tile, lane) } else { 0.0 }
                        },
                    );
                    encoder.vjp(room, inputs, output, output_bar, theta_bar)
                }
            };
            tile.tape.refused |= !whole;
        }
    }
}
