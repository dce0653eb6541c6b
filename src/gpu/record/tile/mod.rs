//! Solves in tiles: a workgroup takes a few trajectories of the batch, keeps their states and hidden units to itself and
//! makes many steps in one dispatch.
//!
//! With steps of equal length no trajectory waits for another one, so a solve is a handful of dispatches, where layer by
//! layer it is several a stage; that is what small networks cost on a card, which is idle between them. A tile is chosen
//! ([`Engine::tile`]) where
//! - steps have equal length and one clock: others are judged by all trajectories together;
//! - field and diffusion are networks of layers of at most [`WIDEST`] units, so that each unit of four trajectories is an
//!   invocation's and the workgroup's memory holds two layers: wider ones keep a card busy as matrix products;
//! - one invocation would not solve them whole, as it does what is smaller yet;
//! - no second state is carried along, as by the reversible method.

mod print;

pub(crate) use print::{Printer, TiledNetwork};

use super::Recorder;
use crate::gpu::buffers::{Buffers, Purpose};
use crate::gpu::device::limits::WORKGROUP;
use crate::gpu::engine::Engine;
use crate::gpu::kernel;
use crate::gpu::plan::{Plan, SolvePlans, WalkPlans, flat};
use crate::gpu::wire::args::{NoArgs, TileAdjointArgs, TileClockArgs, TileReduceArgs, TileSolveArgs, TileWeightsArgs};
use crate::gpu::wire::modes::{Control, Walk};
use crate::gpu::wire::word;
use crate::method::{PenaltyAt, PenaltyGradient, StepControl};
use crate::problem::{Diffusion, InputMap};

/// The most features, or units of a layer.
const WIDEST: usize = WORKGROUP;

/// Workgroups that keep a card busy: with fewer trajectories each, there are more of them.
const BUSY: usize = 128;

/// Save points whose states one dispatch may have to write.
const MOST_POINTS: usize = 1024;

/// How a batch is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tile {
    pub(crate) dim: usize,
    /// Quadruples of trajectories.
    pub(crate) quads: usize,
    /// Units of the widest layer, or features.
    pub(crate) widest: usize,
    pub(crate) lanes: usize,
}

impl Tile {
    /// For rows of so many units at most.
    pub(crate) fn new(dim: usize, widest: usize, rows: usize, busy: usize) -> Option<Self> {
        let most = WORKGROUP.checked_div(widest).filter(|quads| *quads > 0)?;
        let mut quads = 1 << most.min(4).ilog2();
        while quads > 1 && rows.div_ceil(4 * quads) < busy {
            quads /= 2;
        }
        Some(Self { dim, quads, widest, lanes: (widest * quads).next_multiple_of(32).min(WORKGROUP) })
    }

    /// Workgroups for so many rows.
    pub(crate) const fn groups(&self, rows: usize) -> usize {
        rows.div_ceil(4 * self.quads)
    }
}

impl Engine {
    /// How so many rows are cut into tiles, if they are solved in tiles.
    pub(crate) fn tile(&self, rows: usize) -> Option<Tile> {
        let fixed = matches!(self.options.step_control, StepControl::Fixed { .. });
        let networks = self.programs.iter().all(Option::is_none) && self.noise().is_none_or(|noise| !noise.reversible);
        if !self.tiles || !fixed || !networks || self.per_row() || self.solves_whole(rows) {
            return None;
        }
        if self.stands_still() || self.times.is_some() || self.point_count() > MOST_POINTS {
            return None;
        }
        let layers = || self.layers.iter().chain(&self.noise_layers);
        let widest = layers().map(|layer| layer.inputs.max(layer.outputs)).max()?;
        // A processor that plays a card has nothing to keep busy.
        let busy = if self.gpu.adapter().software { 1 } else { BUSY };
        Tile::new(self.dim(), widest, rows, busy).filter(|_| widest <= WIDEST)
    }

    /// How so many rows are cut on the way back, if they are walked back in tiles. A tape of every state is wanted, and
    /// penalties that have no part in a step back.
    pub(crate) fn tile_back(&self, rows: usize, purpose: Purpose) -> Option<Tile> {
        let injected =
            purpose.penalty.is_some_and(|p| p.at == PenaltyAt::Biased && p.gradient == PenaltyGradient::Full);
        let measured = purpose.integrals().next().is_some();
        if !self.tiles_back || self.checkpoint_stride != 1 || injected || measured || self.walks_whole(purpose) {
            return None;
        }
        let Printer { tile, .. } = self.tile_printer(self.tile(rows)?).back()?;
        // A step back evaluates the stages twice and goes back through them.
        let points = self.walk_points(purpose) * (self.tableau.stages() + 2);
        (points + 4 * self.tile_iterations() <= self.iterations).then_some(tile)
    }

    /// Steps back that one dispatch takes.
    fn tile_turns_back(&self, rows: usize, purpose: Purpose) -> usize {
        let points = self.walk_points(purpose) * (self.tableau.stages() + 2);
        let turns = self.iterations.saturating_sub(points + 64) / (4 * self.tile_iterations());
        turns.min(self.walk_steps_in_budget(rows)).max(1)
    }

    /// Tiles of a batch of at most so many rows on the way back, and the parameters that they have a gradient of.
    pub(crate) fn tile_sizes(&self, rows: usize, purpose: Purpose) -> Option<[usize; 2]> {
        let tile = self.tile_back(rows, purpose)?;
        // A smaller batch may have more tiles, of fewer trajectories.
        let groups = tile.groups(rows).max(rows.div_ceil(4).min(2 * BUSY));
        Some([groups, self.problem.parameter_count()])
    }

    fn fixed_steps(&self) -> usize {
        match self.options.step_control {
            StepControl::Fixed { steps } => steps,
            StepControl::Adaptive { .. } => 0,
        }
    }

    /// Iterations of an invocation's loops in a step.
    fn tile_iterations(&self) -> usize {
        let of = |layers: &[crate::problem::Layer]| layers.iter().map(|layer| layer.inputs + 1).sum::<usize>();
        let diffusion = self.noise().map_or(0, |noise| noise.stages() * of(&self.noise_layers));
        // Of the draws, and of searches for points.
        self.tableau.stages() * of(&self.layers) + diffusion + 4 * self.dim() + 5 + 4 * 33 + 8
    }

    /// Steps that one dispatch takes.
    pub(crate) fn tile_turns(&self, rows: usize, purpose: Purpose) -> usize {
        let points = self.point_count() + purpose.own_points();
        let spent = points * (self.tableau.stages() + 6) + 64;
        let most = self.attempts_per_submission(rows).min(self.fixed_steps());
        (self.iterations.saturating_sub(spent) / self.tile_iterations()).clamp(1, most.max(1))
    }

    /// Dispatches of a solve.
    pub(crate) fn tile_dispatches(&self, rows: usize, purpose: Purpose) -> usize {
        self.fixed_steps().div_ceil(self.tile_turns(rows, purpose))
    }

    fn tile_printer(&self, tile: Tile) -> Printer<'_> {
        let network = |layers, map| TiledNetwork { layers, map };
        let noise = self.noise().map(|noise| {
            let map = self.problem.diffusion.as_ref().map_or(InputMap::Identity, |d: &Diffusion| d.network.input_map());
            (noise, network(&self.noise_layers, map))
        });
        Printer {
            drift: network(&self.layers, self.problem.field.input_map()),
            tableau: self.tableau,
            noise,
            channels: self.channels(),
            tile,
        }
    }
}

impl Recorder<'_, '_> {
    /// A solve in tiles: the steps of a dispatch, and what they do to the clock.
    pub(super) fn tiles(&mut self, tile: Tile, backward: bool) -> SolvePlans {
        let (engine, buffers) = (self.engine, self.buffers);
        self.narrow();
        self.begin(backward);
        let start = self.planner.take();
        self.tile_steps(tile, buffers, backward);
        let attempt = self.planner.take();
        debug_assert!(engine.fixed_steps() > 0, "steps of equal length");
        SolvePlans { start, attempt, finish: self.finish(backward), ..SolvePlans::default() }
    }

    /// The walk in tiles; `begin` aims at the last step.
    pub(super) fn tile_walk(&mut self, tile: Tile, begin: Plan) -> WalkPlans {
        let (engine, buffers) = (self.engine, self.buffers);
        let (head, purpose) = (engine.head(self.rows), buffers.sizes.purpose);
        let turned = word(engine.parameters);
        let weights = engine.kernels.get(&kernel::TILE_WEIGHTS, &[]);
        for layer in engine.layers.iter().chain(&engine.noise_layers) {
            let count = layer.parameter_count();
            let args = TileWeightsArgs {
                inputs: word(layer.inputs),
                outputs: word(layer.outputs),
                theta: word(layer.offset),
                count: word(count),
                turned,
            };
            self.planner.add(
                &weights,
                &[engine.weights(), &buffers.tile_weights],
                head,
                args,
                flat(count.div_ceil(64)),
            );
        }
        let mut first = begin;
        first.append(&self.planner.take());
        let turns = engine.tile_turns_back(self.rows, purpose);
        let every = engine.every_step();
        let args = TileAdjointArgs {
            points: if every { 0 } else { word(engine.walk_points(purpose)) },
            user_points: if every { 0 } else { word(engine.point_count()) },
            every_step: u32::from(every),
            path: word(buffers.sizes.points),
            turns: word(turns),
            fixed_steps: word(engine.fixed_steps()),
            turned,
            once: 1,
        };
        let adjoint = engine.kernels.printed(&kernel::TILE_ADJOINT, &engine.tile_printer(tile).adjoint(), &[]);
        let bound = [
            &buffers.walk_cursors,
            &buffers.tile_weights,
            &buffers.tape,
            &buffers.points,
            &buffers.saves_bar,
            &buffers.row_status,
            &buffers.tile_sums,
            &buffers.bar,
        ];
        let groups = tile.groups(self.rows);
        self.planner.add(&adjoint, &bound, head, args, flat(groups));
        self.aim(Walk::Pass, turns, 1);
        let reduce = engine.kernels.get(&kernel::TILE_REDUCE, &[]);
        let count = engine.problem.parameter_count();
        let first_parameter = engine.layers.first().map_or(0, |layer| layer.offset);
        let args = TileReduceArgs { tiles: word(groups), first: word(first_parameter), count: word(count) };
        self.planner.add(&reduce, &[&buffers.tile_sums, &buffers.partial], head, args, flat(count.div_ceil(64)));
        let segment = self.planner.take();
        let remaining = engine.kernels.get(&kernel::REMAINING, &[]);
        let bound = [&buffers.walk_cursors, &engine.outcome];
        self.planner.add(&remaining, &bound, head, NoArgs::default(), [1, 1, 1]);
        self.sum_of_parts();
        WalkPlans { begin: first, segment, end: self.planner.take(), stride: turns, whole: false }
    }

    fn tile_steps(&mut self, tile: Tile, buffers: &Buffers, backward: bool) {
        let engine = self.engine;
        let (head, control) = self.controlled(Control::Attempt.into(), backward);
        let turns = word(engine.tile_turns(self.rows, buffers.sizes.purpose));
        let control = control.control;
        let args = TileSolveArgs {
            points: word(engine.points_saved(buffers, backward)),
            user_points: word(engine.point_count()),
            path: word(buffers.sizes.points),
            turns,
            fixed_steps: control.fixed_steps,
            most_steps: control.tape_steps.min(control.max_steps),
            stride: control.stride,
            once: 1,
        };
        let solve = engine.kernels.printed(&kernel::TILE_SOLVE, &engine.tile_printer(tile).solve(), &[]);
        let bound =
            [&buffers.clocks, engine.weights(), &buffers.tape, &buffers.points, &buffers.saves, &engine.outcome];
        self.planner.add(&solve, &bound, head, args, flat(tile.groups(self.rows)));
        let clock = engine.kernels.get(&kernel::TILE_CLOCK, &[]);
        let bound = [&buffers.clocks, &buffers.cursors, &buffers.row_status, &buffers.steps, &buffers.points];
        self.planner.add(&clock, &bound, head, TileClockArgs { control, turns }, [1, 1, 1]);
    }
}

#[cfg(test)]
mod tests;
