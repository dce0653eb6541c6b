//! Losses of the differences between outputs and states.

use super::loss::Task;
use crate::cpu::crew::task::TaskRoom;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::dispatch::multiversion;
use crate::cpu::kernel::lanes::{Lanes, gather};
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::tile::Tile;
use crate::method::Difference;

multiversion! {
    /// Adds to each lane's sum the losses of its outputs' differences from the targets, all `[outputs][LANES]`, and leaves their
    /// derivatives. One counts as much as the lane, times its weight, of which there are `W` a number: one or none. What does not
    /// count is not taken, not even NaN times zero.
    fn add_differences<R, const W: usize>(
        sums: &mut Lanes<f64>,
        output_bar: &mut [R],
        outputs_and_targets: [&[R]; 2],
        weights: [&[R]; W],
        lanes: (&[bool; LANES], &Lanes<f64>),
        difference: Difference,
    ) {
        let (n, (counts, scales)) = (output_bar.len(), lanes);
        let [outputs, targets] = outputs_and_targets.map(|numbers| &numbers[..n]);
        let weights = weights.map(|weights| &weights[..n]);
        let scale: Lanes<f64> = std::array::from_fn(|l| if counts[l] { scales[l] } else { 0.0 });
        for from in (0..n - n % LANES).step_by(LANES) {
            for lane in 0..LANES {
                let i = from + lane;
                let [value, slope] = difference.of(outputs[i].to_f64() - targets[i].to_f64());
                let share = weights.iter().fold(scale[lane], |share, weights| share * weights[i].to_f64());
                sums[lane] += if share > 0.0 { share * value } else { 0.0 };
                output_bar[i] = if share > 0.0 { R::from_f64(share * slope) } else { R::ZERO };
            }
        }
    }
}

impl<R: Scalar> Task<'_, R> {
    /// What the loss of each of a lane's numbers counts in the batch's.
    pub(super) fn scales(&self, tile: &Tile<R>) -> Lanes<f64> {
        let mut scales = [0.0; LANES];
        for (lane, scale) in scales[..tile.used].iter_mut().enumerate() {
            *scale = self.share(tile, lane) * self.scale_of(self.sample(tile, lane));
        }
        scales
    }

    /// Losses of the differences from states at a saved time, weighted where there are weights, summed over
    /// the tile and scaled to a mean over the batch: of the `lanes` that count, by what each counts.
    pub(super) fn difference(
        &self,
        [states, weights]: [&[R]; 2],
        slot: usize,
        tile: &Tile<R>,
        lanes: (&[bool; LANES], &Lanes<f64>),
        room: &mut TaskRoom<R>,
    ) -> f64 {
        let (mut sums, difference) = ([0.0; LANES], self.loss.of_differences());
        let TaskRoom { rows, target, weight, output, output_bar, .. } = room;
        self.spread(states, slot, tile, target, rows);
        if weights.is_empty() {
            add_differences(&mut sums, output_bar, [output, target], [], lanes, difference);
        } else {
            self.spread(weights, slot, tile, weight, rows);
            add_differences(&mut sums, output_bar, [output, target], [&weight[..]], lanes, difference);
        }
        sums.iter().sum()
    }

    /// Numbers of the tile's samples at a saved time, of `[times][samples][outputs]`, as `[outputs][LANES]`.
    fn spread(&self, numbers: &[R], slot: usize, tile: &Tile<R>, out: &mut Vec<R>, rows: &mut Vec<R>) {
        let width = self.outputs;
        let numbers = &numbers[slot * (self.batch / self.copies) * width..];
        out.resize(width * LANES, R::ZERO);
        if self.copies == 1 {
            return gather(out, &numbers[tile.index * LANES * width..][..tile.used * width], width);
        }
        rows.clear();
        for lane in 0..tile.used {
            rows.extend_from_slice(&numbers[self.sample(tile, lane) * width..][..width]);
        }
        gather(out, rows, width);
    }
}
