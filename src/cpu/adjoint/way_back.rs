//! [`WayBack`]: how a gradient is obtained.

use std::fmt::Debug;

use super::hook::StepHook;
use super::rewind::{Rewind, Taped, Work};
use super::walk::Walk;
use crate::cpu::crew::walk_room::WalkRoom;
use crate::cpu::step::Scheme;
use crate::cpu::tile::Tile;

/// The way back over a solve: step by step over those that were taken, with any [`Rewind`], or with steps of its own.
pub(crate) trait WayBack<S: Scheme>: Debug + Send + Sync {
    /// Goes back over the tile's solve: adds to the parameters' gradient and leaves the cotangent of `y0` in `tile.bar`.
    fn walk(
        &self,
        walk: &Walk<'_, S>,
        tile: &mut Tile<S::Real>,
        hook: &mut dyn StepHook<S>,
        room: &mut WalkRoom<S>,
        theta_bar: &mut [S::Real],
    ) -> Work;

    /// The tape, if there is one: states before any step, in any order.
    fn tape(&self) -> Option<&Taped>;
}

impl<S: Scheme, T: Rewind<S>> WayBack<S> for T {
    fn walk(
        &self,
        walk: &Walk<'_, S>,
        tile: &mut Tile<S::Real>,
        hook: &mut dyn StepHook<S>,
        room: &mut WalkRoom<S>,
        theta_bar: &mut [S::Real],
    ) -> Work {
        walk.walk(self, tile, hook, room, theta_bar)
    }

    fn tape(&self) -> Option<&Taped> {
        Rewind::tape(self)
    }
}
