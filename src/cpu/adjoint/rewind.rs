//! [`Rewind`]: where the state before a step comes from.

use std::fmt::Debug;
use std::num::NonZero;

use super::hook::{At, StepHook};
use super::track::Track;
use crate::cpu::crew::walk_room::WalkRoom;
use crate::cpu::kernel::lanes::stand_in_unless;
use crate::cpu::step::seeds::{Bars, FirstStage, Seeds};
use crate::cpu::step::undo::Undo;
use crate::cpu::step::{NoiseOf, Scheme};
use crate::cpu::tile::Tile;
use crate::math::Real;

/// What a walk back took: evaluations of the field, and its vector-Jacobian products.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) evaluations: usize,
    pub(crate) products: usize,
}

impl Work {
    /// The same number of both.
    pub(crate) const fn both(count: usize) -> Self {
        Self { evaluations: count, products: count }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.evaluations += other.evaluations;
        self.products += other.products;
    }

    /// The larger of each.
    pub(crate) fn max(self, other: Self) -> Self {
        Self { evaluations: self.evaluations.max(other.evaluations), products: self.products.max(other.products) }
    }
}

/// Where the state before a step comes from when a walk goes back over it.
pub(crate) trait Rewind<S: Scheme>: Debug + Send + Sync {
    /// Puts the state that the walk begins with into `room.y`, where the state before a step follows from that after it.
    fn begin(&self, tile: &Tile<S::Real>, room: &mut WalkRoom<S>);

    /// Goes back over a step: `room.y` becomes the state at its start, `bars.state` from the cotangent at its end that at its
    /// start, and the parameters' are added to. Work is that of the drift.
    fn back(&self, at: &At<'_, S>, hook: &mut dyn StepHook<S>, room: &mut WalkRoom<S>, bars: Bars<'_, S::Real>)
    -> Work;

    /// The tape, if this is one.
    fn tape(&self) -> Option<&Taped> {
        None
    }
}

/// From the tape, or from the kept state before it, from which the steps between are taken again.
#[derive(Debug)]
pub(crate) struct Taped {
    /// Accepted steps from one kept state to the next.
    pub(crate) stride: NonZero<usize>,
}

/// From the state after it, of a method that can be undone.
#[derive(Debug)]
pub(crate) struct Undone;

impl<S: Scheme> Rewind<S> for Taped {
    fn begin(&self, _: &Tile<S::Real>, _: &mut WalkRoom<S>) {}

    fn back(
        &self,
        at: &At<'_, S>,
        hook: &mut dyn StepHook<S>,
        room: &mut WalkRoom<S>,
        bars: Bars<'_, S::Real>,
    ) -> Work {
        let At { track, tile, step, interval, moving, inside, chain, joined } = *at;
        let next = step + 1;
        let again =
            self.restore(track, tile, step, room, next == track.count(tile) || next.is_multiple_of(self.stride.get()));
        if moving.contains(&false) {
            stand_in_unless(&mut room.y, moving);
        }
        let scheme = &track.stepper.scheme;
        let of_last = inside || hook.measures();
        // The step after is still there unless steps between were taken again; a lane that was at rest in it stood elsewhere.
        let handed = chain.takes && again == 0 && !(joined && of_last);
        if handed {
            scheme.hand_over(&mut room.kept);
        }
        let last_is_needed = of_last || chain.takes;
        let with_last = last_is_needed && !handed;
        scheme.draw(interval, &tile.state.trajectories, NoiseOf::Path, &mut room.kept);
        scheme.keep(interval, &room.y, &mut room.kept, with_last);
        differentiate(at, hook, room, bars);
        let fsal = track.stepper.shape.fsal;
        let stages = scheme.tableau().stages();
        let evaluations = stages - usize::from(fsal && !with_last) + again;
        let products = stages - usize::from(fsal && !last_is_needed) - usize::from(chain.leaves);
        Work { evaluations, products }
    }

    fn tape(&self) -> Option<&Self> {
        Some(self)
    }
}

impl Taped {
    /// Puts the state before `step` into `room.y`: from the tape, or from the segment since the last checkpoint, whose
    /// steps are taken again up to this one if `refill`. Returns the evaluations of the drift that this took.
    pub(crate) fn restore<S: Scheme>(
        &self,
        track: &Track<'_, S>,
        tile: &Tile<S::Real>,
        step: usize,
        room: &mut WalkRoom<S>,
        refill: bool,
    ) -> usize {
        let inside = step % self.stride;
        let checkpoint = &tile.tape.states[step / self.stride];
        if inside == 0 {
            room.y.copy_from_slice(checkpoint);
            return 0;
        }
        if refill {
            let scheme = &track.stepper.scheme;
            while room.segment.len() <= inside {
                room.segment.push(vec![S::Real::ZERO; room.y.len()]);
            }
            room.segment[0].copy_from_slice(checkpoint);
            for i in 0..inside {
                let interval = track.interval(tile, step - inside + i);
                let (before, after) = room.segment.split_at_mut(i + 1);
                scheme.draw(&interval, &tile.state.trajectories, NoiseOf::Path, &mut room.kept);
                scheme.keep(&interval, &before[i], &mut room.kept, false);
                scheme.end(&interval.h, &before[i], &room.kept, &mut after[0]);
            }
        }
        room.y.copy_from_slice(&room.segment[inside]);
        let shape = &track.stepper.shape;
        if refill { inside * (shape.stages[0] - usize::from(shape.fsal)) } else { 0 }
    }
}

impl<S: Undo> Rewind<S> for Undone {
    fn begin(&self, tile: &Tile<S::Real>, room: &mut WalkRoom<S>) {
        begin_at_end(tile, room);
    }

    fn back(
        &self,
        at: &At<'_, S>,
        hook: &mut dyn StepHook<S>,
        room: &mut WalkRoom<S>,
        bars: Bars<'_, S::Real>,
    ) -> Work {
        let scheme = &at.track.stepper.scheme;
        let WalkRoom { y, kept, .. } = &mut *room;
        scheme.draw(at.interval, &at.tile.state.trajectories, NoiseOf::Path, kept);
        let evaluations = scheme.undo(at.interval, at.moving, y, kept, hook.measures());
        differentiate(at, hook, room, bars);
        Work::both(evaluations)
    }
}

/// Puts the tile's last state into `room.y`; lanes that have nothing to go back through stand where another one does.
pub(super) fn begin_at_end<S: Scheme>(tile: &Tile<S::Real>, room: &mut WalkRoom<S>) {
    room.y.copy_from_slice(&tile.state.y);
    stand_in_unless(&mut room.y, &tile.counted());
}

/// The vector-Jacobian product of the step in `room.kept`, from `room.y`.
fn differentiate<S: Scheme>(
    at: &At<'_, S>,
    hook: &mut dyn StepHook<S>,
    room: &mut WalkRoom<S>,
    bars: Bars<'_, S::Real>,
) {
    let (inside, hooked) = (at.track.stepper.interpolant.stages(), hook.seeds_stages());
    let seeded = if at.inside { inside.max(hooked) } else { hooked };
    if hooked > 0 {
        let begun = if at.inside { inside } else { 0 };
        room.clear_stage_bars(begun..seeded, at.tile.features());
        hook.stage_bars(at, &room.kept, &mut room.stage_bars, bars.theta);
    }
    let WalkRoom { y, kept, vjp, stage_bars, .. } = room;
    let stages = (seeded > 0).then(|| &stage_bars[..seeded]);
    let seeds = Seeds::new(hook.measure_bar(at, y, kept, bars.state), stages).chained(at.chain);
    at.track.stepper.scheme.vjp(&at.interval.h, kept, &seeds, FirstStage::Everything, vjp, bars);
}
