//! Global regularization: the errors or the stiffness of all accepted steps, measured on the way and differentiated on the walk
//! back.

use crate::cpu::adjoint::hook::At;
use crate::cpu::crew::measure_bars::MeasureBars;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::lanes::{Lanes, add, rest_unless, scaled_norm_vjp, weighted_difference};
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::step::Scheme;
use crate::cpu::step::scale::ErrorScale;
use crate::cpu::step::seeds::{MeasureBar, StiffnessSeed};
use crate::cpu::step::stiffness::{last_two, squared_differences};
use crate::cpu::tile::Tile;
use crate::math::Real;
use crate::method::{GlobalPenalty, Measure, Tableau};

/// Steps that all trajectories take, and the norms of what is measured of them, with the numbers that each is a mean of.
pub(crate) type Shared<'a> = (&'a [[f64; 2]], &'a [([f64; 2], usize)]);

/// The penalty of all steps, as every worker sees it.
#[derive(Debug)]
pub(crate) struct AllSteps<'a> {
    pub(crate) penalty: GlobalPenalty,
    /// Solved trajectories.
    pub(crate) rows: usize,
    /// In lockstep. Otherwise tiles have their own.
    pub(crate) shared: Option<Shared<'a>>,
}

impl AllSteps<'_> {
    /// The penalty: the batch's in lockstep, otherwise the trajectories' mean; NaN where none is left.
    pub(crate) fn value<'t, R: Scalar>(&self, of: &Tableau, tiles: impl Iterator<Item = &'t Tile<R>>) -> f64 {
        let Self { penalty, rows, shared } = self;
        if *rows == 0 {
            return f64::NAN;
        }
        if shared.is_some() {
            return penalty.of_steps(self.shared_measures(of));
        }
        let lanes = tiles.flat_map(|tile| {
            let counted = tile.counted();
            (0..tile.used).filter(move |&l| counted[l]).map(move |l| (tile, l))
        });
        lanes.map(|(tile, l)| penalty.of_steps(self.own_measures(of, tile, l))).sum::<f64>() / *rows as f64
    }

    fn shared_measures(&self, of: &Tableau) -> impl Iterator<Item = f64> + Clone {
        let (steps, norms) = self.shared.unwrap_or_default();
        steps.iter().zip(norms).map(move |([t0, t1], (norms, _))| self.penalty.of_step(*norms, t1 - t0, of).0)
    }

    fn own_measures<R: Scalar>(&self, of: &Tableau, tile: &Tile<R>, lane: usize) -> impl Iterator<Item = f64> + Clone {
        let steps = tile.steps.iter().take(tile.clock.accepted[lane] as usize).enumerate();
        steps.map(move |(n, [t0, t1])| self.penalty.of_step(own_norms(tile, n, lane), t1[lane] - t0[lane], of).0)
    }

    /// What the squares that a step's norms are made of are weighted with in each lane's gradient: `dR/dE / (N E)`.
    fn weights<S: Scheme>(&self, at: &At<'_, S>, of: &Tableau) -> [Lanes<S::Real>; 2] {
        let mut weights = [[S::Real::ZERO; LANES]; 2];
        let Self { penalty, rows, shared } = self;
        let features = at.track.stepper.shape.features;
        let shared_share = shared.map(|_| penalty.share(at.step, self.shared_measures(of)));
        for l in (0..LANES).filter(|&l| at.moving[l]) {
            let (h, norms, count, share) = match shared.zip(shared_share) {
                Some(((steps, norms), share)) => {
                    let ([t0, t1], (norms, count)) = (steps[at.step], norms[at.step]);
                    (t1 - t0, norms, count, share)
                }
                None => {
                    let share = penalty.share(at.step, self.own_measures(of, at.tile, l)) / *rows as f64;
                    let h = at.interval.t1[l] - at.interval.t0[l];
                    (h, own_norms(at.tile, at.step, l), features, share)
                }
            };
            let (_, slopes) = penalty.of_step(norms, h, of);
            for (weights, (norm, slope)) in weights.iter_mut().zip(norms.into_iter().zip(slopes)) {
                // dE/de is proportional to 1/E; where E is zero there is nothing left to reduce.
                if norm > 0.0 {
                    weights[l] = S::Real::from_f64(penalty.coefficient * share * slope / (count as f64 * norm));
                }
            }
        }
        weights
    }

    /// The cotangent of what is measured of a step; adds to that of the state at its end, and leaves that of its start.
    pub(crate) fn measure_bar<'r, S: Scheme>(
        &self,
        at: &At<'_, S>,
        y: &[S::Real],
        kept: &S::Kept,
        end_bar: &mut [S::Real],
        room: &'r mut MeasureBars<S::Real>,
    ) -> MeasureBar<'r, S::Real> {
        let stepper = at.track.stepper;
        let [mut first, mut second] = self.weights(at, stepper.scheme.tableau());
        let MeasureBars { error, y1, start, end } = room;
        if self.penalty.measure == Measure::Stiffness {
            let stages @ [slopes, states] = last_two(stepper.scheme.drift(kept));
            let resolved = squared_differences(stages)[0].map(|sum| sum > S::Real::ZERO);
            rest_unless(&mut first, &resolved);
            rest_unless(&mut second, &resolved);
            weighted_difference(error, &first, slopes[0], slopes[1]);
            weighted_difference(y1, &second, states[0], states[1]);
            start.fill(S::Real::ZERO);
            return MeasureBar::Stiffness(StiffnessSeed { k_difference: error, state_difference: y1 });
        }
        let ErrorScale { atol, rtol } = &stepper.scale;
        stepper.scheme.kept_error(error, &at.interval.h, kept);
        stepper.scheme.end(&at.interval.h, y, kept, y1);
        scaled_norm_vjp(error, start, end, &first, atol, *rtol, y, y1);
        add(end_bar, end);
        MeasureBar::Error(error)
    }
}

/// The norms of what is measured of a lane's `n`-th step.
fn own_norms<R: Scalar>(tile: &Tile<R>, n: usize, lane: usize) -> [f64; 2] {
    tile.measured.each_ref().map(|norms| norms.get(n).map_or(0.0, |norms| norms[lane].to_f64()))
}
