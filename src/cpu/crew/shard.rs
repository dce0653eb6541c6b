//! [`Crew`]: what one thread works on, and its room to work in.

use super::run::Run;
use super::task::TaskRoom;
use super::walk_room::WalkRoom;
use crate::cpu::step::Scheme;
use crate::cpu::step::desk::Desk;
use crate::cpu::step::state::Shape;
use crate::cpu::tile::Tile;
use crate::cpu::tile::probe::Probe;

/// The most shards of a batch.
pub(crate) const MAX_SHARDS: usize = 32;

/// A tile with its probes.
pub(crate) type Probed<'a, S> = (&'a mut Tile<<S as Scheme>::Real>, &'a mut Vec<Probe<S>>);

/// Tiles whose parameter gradients are added up in one place. The shards of a batch depend on its size alone, not on
/// the number of threads, and are added in order: any number of threads gives the same bits.
#[derive(Debug)]
pub(crate) struct Shard<S: Scheme> {
    pub(crate) tiles: Vec<Tile<S::Real>>,
    /// Each tile's probes.
    pub(crate) probes: Vec<Vec<Probe<S>>>,
    pub(crate) theta_bar: Vec<S::Real>,
}

impl<S: Scheme> Shard<S> {
    pub(crate) fn new(tiles: Vec<Tile<S::Real>>) -> Self {
        Self { probes: tiles.iter().map(|_| Vec::new()).collect(), tiles, theta_bar: Vec::new() }
    }

    /// Tiles that hold trajectories, with their probes; and the gradient that they add to.
    pub(crate) fn probed(&mut self) -> (impl Iterator<Item = Probed<'_, S>>, &mut [S::Real]) {
        let tiles = self.tiles.iter_mut().zip(&mut self.probes);
        (tiles.filter(|(tile, _)| tile.used > 0), &mut self.theta_bar)
    }
}

/// What one thread works on, and its room to work in.
#[derive(Debug)]
pub(crate) struct Crew<S: Scheme> {
    pub(crate) shards: Vec<Shard<S>>,
    pub(crate) room: Room<S>,
    pub(crate) run: Run,
}

impl<S: Scheme> Crew<S> {
    pub(crate) fn tiles(&self) -> impl Iterator<Item = &Tile<S::Real>> {
        self.shards.iter().flat_map(|s| &s.tiles).filter(|t| t.used > 0)
    }

    pub(crate) fn tiles_mut(&mut self) -> (impl Iterator<Item = &mut Tile<S::Real>>, &mut Room<S>) {
        (self.shards.iter_mut().flat_map(|s| &mut s.tiles).filter(|t| t.used > 0), &mut self.room)
    }

    /// Tiles that hold trajectories, with their probes.
    pub(crate) fn probed(&mut self) -> (impl Iterator<Item = Probed<'_, S>>, &mut Room<S>) {
        (self.shards.iter_mut().flat_map(|shard| shard.probed().0), &mut self.room)
    }
}

/// A thread's room to work in.
#[derive(Debug)]
pub(crate) struct Room<S: Scheme> {
    pub(crate) desk: Desk<S>,
    pub(crate) task: TaskRoom<S::Real>,
    /// Ensemble without a tape: the tile that trajectories stream through.
    pub(crate) working: Option<Box<Tile<S::Real>>>,
    /// Allocated with the first gradient.
    pub(crate) walk: Option<WalkRoom<S>>,
}

impl<S: Scheme> Room<S> {
    pub(crate) fn new(scheme: &S, shape: &Shape) -> Self {
        Self { desk: Desk::new(scheme, shape), task: TaskRoom::default(), working: None, walk: None }
    }
}
