//! [`Crew`]: what one thread works on, and its room to work in.

use std::ops::Range;

use super::equation_room::EquationRoom;
use super::measure_bars::MeasureBars;
use super::run::Run;
use super::task::TaskRoom;
use crate::cpu::kernel::aligned::Aligned;
use crate::cpu::regularize::quadrature::Rooms;
use crate::cpu::step::Scheme;
use crate::cpu::step::state::Shape;
use crate::cpu::tile::Tile;
use crate::cpu::tile::probe::Probe;
use crate::math::Real;

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
    pub(crate) attempt: S::Attempt,
    /// An error estimate `[D]`.
    pub(crate) error: Vec<S::Real>,
    /// Slopes at one point.
    pub(crate) scratch: Vec<S::Real>,
    pub(crate) task: TaskRoom<S::Real>,
    /// Ensemble without a tape: the tile that trajectories stream through.
    pub(crate) working: Option<Box<Tile<S::Real>>>,
    /// Allocated with the first gradient.
    pub(crate) walk: Option<WalkRoom<S>>,
}

impl<S: Scheme> Room<S> {
    pub(crate) fn new(scheme: &S, shape: &Shape) -> Self {
        Self {
            attempt: scheme.attempt_room(),
            error: shape.array(),
            scratch: shape.slopes(),
            task: TaskRoom::default(),
            working: None,
            walk: None,
        }
    }
}

/// A thread's room for the walk back.
#[derive(Debug)]
pub(crate) struct WalkRoom<S: Scheme> {
    /// The state that the walk has come to, and the step from there on.
    pub(crate) y: Vec<S::Real>,
    pub(crate) kept: S::Kept,
    pub(crate) vjp: S::Vjp,
    /// States between two checkpoints; allocated when there are any.
    pub(crate) segment: Vec<Vec<S::Real>>,
    /// Cotangents that states saved within a step give to its stages, and to its start; allocated when there are any.
    pub(crate) stage_bars: Vec<Aligned<S::Real>>,
    pub(crate) start_bar: Vec<S::Real>,
    /// For the cotangents of states saved at lanes' own times, from their slots; likewise.
    pub(crate) saved_bar: Vec<S::Real>,
    /// For cotangents of what is measured of the steps; allocated when there are any.
    pub(crate) measures: Option<MeasureBars<S::Real>>,
    /// For a solve of the adjoint equation; likewise.
    pub(crate) equation: Option<EquationRoom<S::Real>>,
    /// For measures of the dynamics.
    pub(crate) points: Rooms<S::Real>,
}

impl<S: Scheme> WalkRoom<S> {
    pub(crate) fn new(scheme: &S, shape: &Shape) -> Self {
        Self {
            y: shape.states(),
            kept: scheme.kept_step(),
            vjp: scheme.vjp_room(),
            segment: Vec::new(),
            stage_bars: Vec::new(),
            start_bar: Vec::new(),
            saved_bar: Vec::new(),
            measures: None,
            equation: None,
            points: Rooms::default(),
        }
    }

    /// No cotangents of these stages yet. Room that there is stays, so that no step allocates after the first.
    pub(crate) fn clear_stage_bars(&mut self, stages: Range<usize>, n: usize) {
        let count = self.stage_bars.len().max(stages.end);
        self.stage_bars.resize_with(count, || Aligned::zeros(n));
        self.stage_bars[stages].iter_mut().for_each(|bar| bar.fill(S::Real::ZERO));
    }

    /// Nor of the step's start.
    pub(crate) fn clear_start_bar(&mut self, n: usize) {
        self.start_bar.clear();
        self.start_bar.resize(n, S::Real::ZERO);
    }
}
