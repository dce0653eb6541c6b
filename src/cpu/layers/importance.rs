//! The importance-weighted bound (Burda, Grosse and Salakhutdinov, 2016) of samples of which several trajectories are drawn.

use super::loss::{Task, solved};
use crate::cpu::crew::task::TaskRoom;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::tile::Tile;
use crate::method::{Target, cross_entropy};

impl<R: Scalar> Task<'_, R> {
    /// What each trajectory counts in the bound, and the bound: with `v = -loss - weight * divergence` of a sample's
    /// trajectories, `-log mean exp(v)`, whose derivative is that of their losses weighted by `softmax(v)`; a mean over the
    /// samples of which any was solved.
    pub(super) fn measure_importance<'t>(&mut self, tiles: impl Iterator<Item = &'t Tile<R>>) {
        let weight = self.latent.map_or(0.0, |latent| latent.weight);
        let mut values = vec![f64::NEG_INFINITY; self.batch];
        let mut room = TaskRoom::default();
        for tile in tiles.filter(|tile| tile.used > 0) {
            let losses = self.lane_losses(tile, &mut room);
            let solved = solved(tile);
            for lane in (0..tile.used).filter(|&lane| solved[lane]) {
                values[tile.index * LANES + lane] = -losses[lane] - weight * tile.divergence[lane];
            }
        }
        let bounds: Vec<f64> = values.chunks_mut(self.copies).filter_map(softmax).collect();
        let samples = bounds.len() as f64;
        values.iter_mut().for_each(|share| *share /= samples);
        (self.shares, self.bound) = (values, Some(-bounds.iter().sum::<f64>() / samples));
    }

    /// The loss of each of a tile's trajectories.
    fn lane_losses(&self, tile: &Tile<R>, room: &mut TaskRoom<R>) -> [f64; LANES] {
        let mut losses = [0.0; LANES];
        let (solved, counting) = (solved(tile), self.counting(tile));
        for slot in 0..self.times {
            let counts = self.counting_at(tile, slot, counting);
            if !counts.contains(&true) {
                continue;
            }
            self.output(tile, slot, room, &self.there(tile, slot, solved), false);
            for (lane, loss) in losses.iter_mut().enumerate().filter(|(lane, _)| counts[*lane]) {
                *loss += self.lane_loss(slot, self.sample(tile, lane), |o| room.output[o * LANES + lane].to_f64());
            }
        }
        losses
    }

    /// A saved time's part of a sample's loss, of these outputs.
    fn lane_loss(&self, slot: usize, sample: usize, output: impl Fn(usize) -> f64) -> f64 {
        match (self.target, self.target.states()) {
            (Target::Labels(labels), _) => {
                let row: Vec<f64> = (0..self.outputs).map(output).collect();
                cross_entropy(&row, labels[sample])
            }
            (_, Some((states, weights))) => {
                let difference = self.loss.of_differences();
                let cells = self.cells([states, weights.unwrap_or(&[])], slot, sample);
                let losses = cells.map(|(o, target, weight)| weight * difference.of(output(o) - target)[0]);
                self.scale_of(sample) * losses.sum::<f64>()
            }
            _ => 0.0,
        }
    }
}

/// `log mean exp` of the values that are not minus infinity, which all become their `softmax`; nothing where there is none.
fn softmax(values: &mut [f64]) -> Option<f64> {
    let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        values.fill(0.0);
        return None;
    }
    let count = values.iter().filter(|value| **value > f64::NEG_INFINITY).count() as f64;
    values.iter_mut().for_each(|value| *value = (*value - largest).exp());
    let sum: f64 = values.iter().sum();
    values.iter_mut().for_each(|value| *value /= sum);
    Some(largest + (sum / count).ln())
}
