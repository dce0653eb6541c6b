//! The automatic initial step that a batch in lockstep shares.

use super::Solve;
use super::initial::Start;
use crate::cpu::crew::reduction::Share;
use crate::cpu::crew::shard::Crew;
use crate::cpu::kernel::lanes::Lanes;
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::step::Scheme;
use crate::cpu::step::state::StepState;
use crate::cpu::tile::Tile;
use crate::cpu::tile::clock::Clock;
use crate::cpu::tile::probe::Probe;

/// Squares, a lane, that are measured at a start.
type Measured<'m, S> = &'m mut dyn FnMut(
    Start<'_, <S as Scheme>::Real>,
    &Clock<<S as Scheme>::Real>,
    &mut <S as Scheme>::Attempt,
) -> Lanes<<S as Scheme>::Real>;

/// Squared speeds in the shared clock's time, of which a lane has its interval's length in one where that is `scaled`.
fn rescaled<R: Scalar>(squares: Lanes<R>, clock: &Clock<R>) -> Lanes<R> {
    if !clock.scaled {
        return squares;
    }
    std::array::from_fn(|l| {
        let unit = R::from_f64(clock.span(l));
        squares[l] * unit * unit
    })
}

impl<S: Scheme> Solve<'_, S> {
    /// The automatic initial step of the batch at time `t` of the shared clock, as a length, from where `start` picks in each tile; a tile
    /// without takes no part.
    pub(crate) fn automatic_step(
        &self,
        t: f64,
        crew: &mut Crew<S>,
        share: &mut Share<'_>,
        start: impl for<'t> Fn(&'t mut StepState<S::Real>, &'t [Probe<S>], usize) -> Option<Start<'t, S::Real>>,
    ) -> f64 {
        let rule = self.rule(self.span());
        let mut norm = |of: Measured<'_, S>| {
            let (tiles, room) = crew.probed();
            for (tile, probes) in tiles {
                let Tile { state, clock, index, .. } = &mut *tile;
                match start(state, probes, *index).map(|start| of(start, clock, &mut room.desk.attempt)) {
                    Some(squares) => share.put(tile, &squares),
                    None => share.absent(tile.index),
                }
            }
            share.root_mean_square().0
        };
        let d0 = norm(&mut |start, _, _| start.size(self.stepper));
        let d1 = norm(&mut |mut start, clock, _| rescaled(start.speed(self.stepper), clock));
        let trial = rule.trial(d0, d1);
        let end = t + trial.copysign(self.span());
        let change = norm(&mut |mut start, clock, room| {
            rescaled(start.change(self.stepper, &clock.interval(t, end), room), clock)
        });
        rule.step(trial, d1, change)
    }
}
