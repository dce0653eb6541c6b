//! Global regularization: the error estimates of all accepted steps, measured and differentiated on the walk back.

use crate::cpu::adjoint::hook::At;
use crate::cpu::crew::error_bars::ErrorBars;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::lanes::{Lanes, add, scaled_norm_vjp};
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::step::Scheme;
use crate::cpu::step::scale::ErrorScale;
use crate::cpu::tile::Tile;
use crate::math::Real;
use crate::method::GlobalPenalty;

/// Steps that all trajectories take, and their error norms with the numbers that each is a mean of.
pub(crate) type Shared<'a> = (&'a [[f64; 2]], &'a [(f64, usize)]);

/// The penalty of all steps, as every worker sees it.
#[derive(Debug)]
pub(crate) struct StepErrors<'a> {
    pub(crate) penalty: GlobalPenalty,
    /// Solved trajectories.
    pub(crate) rows: usize,
    /// In lockstep. Otherwise tiles have their own.
    pub(crate) shared: Option<Shared<'a>>,
}

impl StepErrors<'_> {
    /// The penalty: the batch's in lockstep, otherwise the trajectories' mean; NaN where none is left.
    pub(crate) fn value<'t, R: Scalar>(&self, power: f64, tiles: impl Iterator<Item = &'t Tile<R>>) -> f64 {
        let Self { penalty, rows, shared } = self;
        if *rows == 0 {
            return f64::NAN;
        }
        if shared.is_some() {
            return penalty.of_steps(self.shared_measures(power));
        }
        let lanes = tiles.flat_map(|tile| (0..tile.used).filter(|&l| tile.alive[l]).map(move |l| (tile, l)));
        lanes.map(|(tile, l)| penalty.of_steps(self.own_measures(power, tile, l))).sum::<f64>() / *rows as f64
    }

    fn shared_measures(&self, power: f64) -> impl Iterator<Item = f64> + Clone {
        let (steps, errors) = self.shared.unwrap_or_default();
        steps.iter().zip(errors).map(move |([t0, t1], (error, _))| self.penalty.of_step(*error, t1 - t0, power)[0])
    }

    fn own_measures<R: Scalar>(&self, power: f64, tile: &Tile<R>, lane: usize) -> impl Iterator<Item = f64> + Clone {
        let steps = tile.steps.iter().zip(&tile.errors).take(tile.clock.accepted[lane] as usize);
        steps.map(move |([t0, t1], errors)| self.penalty.of_step(errors[lane].to_f64(), t1[lane] - t0[lane], power)[0])
    }

    /// What the squares that a step's norms are made of are weighted with in each lane's gradient: `dR/dE / (N E)`.
    fn weights<S: Scheme>(&self, at: &At<'_, S>, power: f64) -> Lanes<S::Real> {
        let mut weights = [S::Real::ZERO; LANES];
        let Self { penalty, rows, shared } = self;
        let features = at.track.stepper.shape.features;
        let shared_share = shared.map(|_| penalty.share(at.step, self.shared_measures(power)));
        for l in (0..LANES).filter(|&l| at.moving[l]) {
            let h = at.interval.t1[l] - at.interval.t0[l];
            let (error, count, share) = match shared.zip(shared_share) {
                Some(((_, errors), share)) => {
                    let (error, count) = errors[at.step];
                    (error, count, share)
                }
                None => {
                    let share = penalty.share(at.step, self.own_measures(power, at.tile, l)) / *rows as f64;
                    (at.tile.errors[at.step][l].to_f64(), features, share)
                }
            };
            let [_, slope] = penalty.of_step(error, h, power);
            // dE/de is proportional to 1/E; where E is zero there is nothing left to reduce.
            if error > 0.0 {
                weights[l] = S::Real::from_f64(penalty.coefficient * share * slope / (count as f64 * error));
            }
        }
        weights
    }

    /// The cotangent of a step's error estimate; adds to that of the state at its end, and leaves that of its start.
    pub(crate) fn error_bar<'r, S: Scheme>(
        &self,
        at: &At<'_, S>,
        y: &[S::Real],
        kept: &S::Kept,
        end_bar: &mut [S::Real],
        room: &'r mut ErrorBars<S::Real>,
    ) -> &'r [S::Real] {
        let stepper = at.track.stepper;
        let weights = self.weights(at, stepper.scheme.tableau().error_power());
        let ErrorBars { error, y1, start, end } = room;
        let ErrorScale { atol, rtol } = &stepper.scale;
        stepper.scheme.kept_error(error, &at.interval.h, kept);
        stepper.scheme.end(&at.interval.h, y, kept, y1);
        scaled_norm_vjp(error, start, end, &weights, atol, *rtol, y, y1);
        add(end_bar, end);
        error
    }
}
