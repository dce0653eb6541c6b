//! [`Latent`]: initial states that are drawn from what an encoder gives, and what is paid for that.

use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::tile::Tile;
use crate::method::Streams;

/// How a solve's initial states are drawn from means and log-variances, `[2 D][LANES]` with all means first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latent {
    /// What they are drawn by; without, they are the means.
    pub(crate) normals: Option<Streams>,
    /// Weight of a trajectory's divergence, and of which part of the sum over its state that is.
    pub(crate) weight: f64,
    pub(crate) factor: f64,
    /// Whether `log q(z) - log p(z)` of the state itself takes the divergence's place.
    pub(crate) importance: bool,
}

impl Latent {
    /// The normal numbers of a lane, or zeros.
    fn drawn(self, trajectory: usize) -> impl Iterator<Item = f64> {
        let mut normals = self.normals.map(|normals| normals.normals(trajectory));
        std::iter::repeat_with(move || normals.as_mut().and_then(Iterator::next).unwrap_or(0.0))
    }

    /// Draws `z = mean + exp(log-variance / 2) e` for the tile's trajectories, and takes note of their divergence.
    pub(crate) fn draw<R: Scalar>(self, tile: &mut Tile<R>) {
        let (means, logs) = tile.given.split_at(tile.given.len() / 2);
        for lane in 0..tile.used {
            let cells = means[lane..].iter().zip(&logs[lane..]).step_by(LANES);
            let mut divergence = 0.0;
            let states = tile.state.y[lane..].iter_mut().step_by(LANES);
            let drawn = self.drawn(tile.index * LANES + lane);
            for ((state, (mean, log)), e) in states.zip(cells).zip(drawn) {
                let [mean, log] = [mean, log].map(|x| x.to_f64());
                let z = mean + spread(log, e);
                *state = R::from_f64(z);
                divergence += if self.importance {
                    0.5 * (z * z - e * e - log)
                } else {
                    0.5 * (log.exp() + mean * mean - 1.0 - log)
                };
            }
            tile.divergence[lane] = self.factor * divergence;
        }
    }

    /// From the cotangents of initial states, in `tile.bar`, to those of means and log-variances; `share` is what a lane's
    /// divergence counts in the batch's, 0 if nothing.
    ///
    /// `z` moves by 1 with its mean and by `exp(log / 2) e / 2` with its log-variance. The divergence moves by `mean` and by
    /// `(exp(log) - 1) / 2`; that of the state itself, of `z` and `log`, by `z` with `z` and by `-1/2` with the logarithm.
    pub(crate) fn differentiate<R: Scalar>(self, tile: &Tile<R>, bars: &mut Vec<R>, share: impl Fn(usize) -> f64) {
        bars.clear();
        bars.extend_from_slice(&tile.given);
        let (means, logs) = bars.split_at_mut(tile.given.len() / 2);
        for lane in 0..LANES {
            let share = share(lane);
            let paid = share * self.weight * self.factor;
            let bars = tile.bar[lane..].iter().step_by(LANES);
            let cells = means[lane..].iter_mut().zip(&mut logs[lane..]).step_by(LANES);
            let drawn = self.drawn(tile.index * LANES + lane);
            for (((mean, log), bar), e) in cells.zip(bars).zip(drawn) {
                if share == 0.0 {
                    (*mean, *log) = (R::ZERO, R::ZERO);
                    continue;
                }
                let [m, l] = [*mean, *log].map(|x| x.to_f64());
                let spread = spread(l, e);
                let z = m + spread;
                let z_bar = bar.to_f64() + if self.importance { paid * z } else { 0.0 };
                let [own_mean, own_log] = if self.importance { [0.0, -0.5] } else { [m, 0.5 * (l.exp() - 1.0)] };
                *mean = R::from_f64(paid.mul_add(own_mean, z_bar));
                *log = R::from_f64(paid.mul_add(own_log, 0.5 * spread * z_bar));
            }
        }
    }
}

/// How far a state is from its mean: nowhere, however large its variance, where nothing is drawn.
fn spread(log_variance: f64, e: f64) -> f64 {
    if e == 0.0 { 0.0 } else { (0.5 * log_variance).exp() * e }
}
