//! The backsolve adjoint of a Stratonovich problem: the state and its cotangent are solved back together.

use super::hook::{At, StepHook};
use super::rewind::{Rewind, Work, begin_at_end};
use crate::cpu::crew::walk_room::WalkRoom;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::interval::Interval;
use crate::cpu::kernel::lanes::{add, combine, multiply};
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::path::add_terms;
use crate::cpu::step::sde::{Sde, SdeKept};
use crate::cpu::step::seeds::Bars;
use crate::cpu::step::stochastic::{Stochastic, VjpRoom};
use crate::cpu::step::{NoiseOf, Scheme};
use crate::cpu::tile::Tile;
use crate::method::NoiseScale;

/// From the adjoint equation of a Stratonovich problem, solved backwards along the path together with the state.
#[derive(Debug)]
pub(crate) struct Backsolved;

impl<R: Scalar> Rewind<Stochastic<R>> for Backsolved {
    fn begin(&self, tile: &Tile<R>, room: &mut WalkRoom<Stochastic<R>>) {
        begin_at_end(tile, room);
    }

    fn back(
        &self,
        at: &At<'_, Stochastic<R>>,
        _: &mut dyn StepHook<Stochastic<R>>,
        room: &mut WalkRoom<Stochastic<R>>,
        bars: Bars<'_, R>,
    ) -> Work {
        let scheme = &at.track.stepper.scheme;
        let WalkRoom { y, kept, vjp, .. } = room;
        scheme.draw(at.interval, &at.tile.state.trajectories, NoiseOf::Path, kept);
        step_back(&scheme.sde, at.interval, y, kept, vjp, bars);
        Work::both(scheme.tableau().stages())
    }
}

/// One step of Heun's method backwards along the path, of a Stratonovich problem together with its adjoint equation
/// `da = -a^T df/dy dt - a^T dg/dy o dW`: replaces the state and its cotangent at the step's end by those at its
/// start, and adds to the parameters' gradient.
fn step_back<R: Scalar>(
    sde: &Sde<R>,
    interval: &Interval<R>,
    state: &mut [R],
    kept: &mut SdeKept<R>,
    room: &mut VjpRoom<R>,
    bars: Bars<'_, R>,
) {
    let VjpRoom { stages: room, predicted } = room;
    let [drift_theta, diffusion_theta] = sde.split_parameters(bars.theta);
    // Half of a^T (h df/dy + dW dg/dy) at each end: first with `a` itself, then with its Euler predictor.
    predicted.copy_from_slice(bars.state);
    for i in [1, 0] {
        let point = kept.drift.points[i].state_mut();
        if i == 0 {
            let back = interval.h.map(|h| -h);
            combine(point, Some(state), &back, [(1.0, kept.drift.k[1].as_slice())]);
            let g = [(-1.0, kept.diffusion.k[1].as_slice())];
            add_terms(point, NoiseScale::Increment, &kept.increments, g);
        } else {
            point.copy_from_slice(state);
        }
        kept.diffusion.points[i].state_mut().copy_from_slice(point);
        sde.evaluate(i, &interval.stage_time(i as f64), kept);
        combine(&mut room.k_bar, None, &interval.h, [(0.5, predicted.as_slice())]);
        room.drift.pull(&sde.drift, &kept.drift, i, &room.k_bar, true, drift_theta);
        combine(&mut room.k_bar, None, &[R::from_f64(0.5); LANES], [(1.0, predicted.as_slice())]);
        multiply(&mut room.k_bar, &kept.increments.w);
        room.diffusion.pull(&sde.diffusion, &kept.diffusion, i, &room.k_bar, true, diffusion_theta);
        let ends = [(2.0, room.drift.states[i].as_slice()), (2.0, room.diffusion.states[i].as_slice())];
        combine(predicted, Some(bars.state), &[R::ONE; LANES], ends);
    }
    for y_bar in room.drift.states.iter().chain(&room.diffusion.states) {
        add(bars.state, y_bar);
    }
    kept.retreat(state, &interval.h);
}
