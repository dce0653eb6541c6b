//! [`Team`]: the crews of a solver, whatever the scheme; [`Crews`], of one scheme.

use std::fmt::Debug;

use crate::cpu::adjoint::Back;
use crate::cpu::adjoint::rewind::Work;
use crate::cpu::adjoint::track::{Steps, Track};
use crate::cpu::adjoint::walk::Walk;
use crate::cpu::crew::reduction::{Reduction, Share};
use crate::cpu::crew::run::Run;
use crate::cpu::crew::shard::{Crew, Room, Shard};
use crate::cpu::crew::task::{TaskRoom, TaskWork};
use crate::cpu::crew::walk_room::WalkRoom;
use crate::cpu::crew::workers::Workers;
use crate::cpu::field::drive::Drive;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::lanes::add;
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::regularize::pointwise::Points;
use crate::cpu::regularize::{Added, Pass, Penalties};
use crate::cpu::solve::Solve;
use crate::cpu::solve::ensemble::Ensemble;
use crate::cpu::solve::lockstep::Lockstep;
use crate::cpu::step::Scheme;
use crate::cpu::step::ends::Ends;
use crate::cpu::step::networks::Networks;
use crate::cpu::step::state::Shape;
use crate::cpu::step::stepper::Stepper;
use crate::cpu::tile::Tile;
use crate::cpu::tile::saves::Saves;
use crate::cpu::tile::tape::Recording;
use crate::error::{Result, Status};
use crate::math::Real;
use crate::method::{Layout, PointValues, SaveAt, SolverOptions};
use crate::problem::Paths;

/// What a solve and its backward pass are asked for.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) workers: &'a Workers,
    /// The shared clock's ends, and the longest time that passes while it advances by 1.
    pub(crate) ends: [f64; 2],
    pub(crate) unit: f64,
    pub(crate) options: &'a SolverOptions,
    pub(crate) saves: Saves<'a>,
    /// Save slots of the caller, and those of probes after them.
    pub(crate) slots: [usize; 2],
    pub(crate) recording: Recording,
    /// Share of the interval that earlier solves taught to begin with.
    pub(crate) carried: Option<f64>,
    /// The first trajectory's number.
    pub(crate) first: u32,
}

/// Bytes of what a scheme holds: a kept step, a thread's rooms, packed weights.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SchemeBytes {
    pub(crate) kept: usize,
    pub(crate) room: usize,
    pub(crate) packed: usize,
}

/// The crews of a solver, whatever the scheme: here it is chosen, once a solve and not in any loop.
pub(crate) trait Team<R: Scalar>: Debug + Send + Sync {
    fn shape(&self) -> Shape;
    fn ends(&self) -> &Ends;
    /// Multiply-adds of the networks at one point.
    fn work(&self) -> usize;
    fn scheme_bytes(&self) -> SchemeBytes;

    /// Takes the networks' weights from the problem's parameters.
    fn pack(&mut self, theta: &[R], backward: bool);
    /// Chooses the noise of the solves that follow.
    fn follow(&mut self, paths: Paths);
    /// Drives the solves that follow with controls.
    fn drive(&mut self, drive: &Drive<R>);
    /// Says where the steps of the solves that follow end.
    fn end_at(&mut self, ends: Ends);

    /// Makes room for so many tiles in shards on crews; none gives all of it back.
    fn seat(&mut self, tiles: usize, crews: usize, shards: usize);
    /// The tile at that place in the batch.
    fn tile(&self, index: usize) -> &Tile<R>;
    /// Runs `work` on every tile, used or not, on all workers.
    fn for_each_tile(&mut self, workers: &Workers, work: &(dyn Fn(&mut Tile<R>, &mut TaskRoom<R>) + Sync));
    /// What the lockstep solve did; the first crew's record is everyone's.
    fn run(&self) -> Option<&Run>;
    /// Crews that have room to work in.
    fn seated(&self) -> usize;
    /// Bytes that tiles and gradients hold.
    fn bytes(&self) -> usize;
    /// States between two checkpoints that there is no room for yet, of `segment` for each crew.
    fn missing_states(&self, segment: usize) -> usize;

    /// Solves from the loaded states.
    fn solve(&mut self, plan: &Plan<'_>);

    /// Goes back over the solve: `theta_bar` receives the whole gradient, in which the field's begins at `offset`, and that of
    /// shared controls after it; trajectories' own are in the tiles. Returns the penalties, and the evaluations and
    /// vector-Jacobian products of the field in the costliest tile.
    fn backward(
        &mut self,
        plan: &Plan<'_>,
        asked: Penalties<'_>,
        task: &dyn TaskWork<R>,
        points: &[Points<'_, R>],
        theta_bar: &mut [R],
        offset: usize,
    ) -> Result<Added>;
}

/// The crews of one scheme.
#[derive(Debug)]
pub(crate) struct Crews<S: Scheme> {
    stepper: Stepper<S>,
    back: Back<S>,
    crews: Vec<Crew<S>>,
    tiles: usize,
    /// What drives the solves.
    drive: Option<Drive<S::Real>>,
}

impl<S: Scheme> Crews<S> {
    pub(crate) const fn new(stepper: Stepper<S>, back: Back<S>) -> Self {
        Self { stepper, back, crews: Vec::new(), tiles: 0, drive: None }
    }

    fn shards(&self) -> usize {
        self.crews.iter().map(|crew| crew.shards.len()).sum()
    }

    /// The shard at that place among the batch's.
    fn shard(&self, s: usize) -> &Shard<S> {
        let crews = self.crews.len();
        &self.crews[s % crews].shards[s / crews]
    }

    /// Adds the shards' gradients in their order, each worker a part of the parameters.
    fn reduce(&self, workers: &Workers, theta_bar: &mut [S::Real]) {
        let part = theta_bar.len().div_ceil(self.crews.len().max(1)).max(1);
        let mut parts: Vec<(usize, &mut [S::Real])> =
            theta_bar.chunks_mut(part).enumerate().map(|(i, out)| (i * part, out)).collect();
        workers.run(&mut parts, |_, (from, out)| {
            out.fill(S::Real::ZERO);
            for s in 0..self.shards() {
                add(out, &self.shard(s).theta_bar[*from..*from + out.len()]);
            }
        });
    }
}

impl<S: Scheme> Team<S::Real> for Crews<S> {
    fn shape(&self) -> Shape {
        self.stepper.shape
    }

    fn ends(&self) -> &Ends {
        &self.stepper.ends
    }

    fn work(&self) -> usize {
        self.stepper.scheme.networks().work()
    }

    fn scheme_bytes(&self) -> SchemeBytes {
        let scheme = &self.stepper.scheme;
        SchemeBytes { kept: scheme.kept_bytes(), room: scheme.room_bytes(), packed: scheme.networks().packed_bytes() }
    }

    fn pack(&mut self, theta: &[S::Real], backward: bool) {
        self.stepper.scheme.networks_mut().pack(theta, backward);
    }

    fn follow(&mut self, paths: Paths) {
        self.stepper.scheme.networks_mut().follow(paths);
    }

    fn drive(&mut self, drive: &Drive<S::Real>) {
        self.stepper.scheme.networks_mut().drive(drive);
        self.drive = Some(drive.clone());
    }

    fn end_at(&mut self, ends: Ends) {
        self.stepper.ends = ends;
    }

    fn seat(&mut self, tiles: usize, crews: usize, shards: usize) {
        // The old room goes first, so that never both are held.
        (self.crews, self.tiles) = (Vec::new(), tiles);
        let Stepper { scheme, shape, .. } = &self.stepper;
        let shard = |s: usize| Shard::new((s..tiles).step_by(shards).map(|i| Tile::new(i, shape)).collect());
        let crew = |c: usize| Crew {
            shards: (c..shards).step_by(crews).map(shard).collect(),
            room: Room::new(scheme, shape),
            run: Run::default(),
        };
        self.crews = (0..crews).map(crew).collect();
    }

    fn tile(&self, index: usize) -> &Tile<S::Real> {
        let shards = self.shards();
        &self.shard(index % shards).tiles[index / shards]
    }

    fn for_each_tile(&mut self, workers: &Workers, work: &(dyn Fn(&mut Tile<S::Real>, &mut TaskRoom<S::Real>) + Sync)) {
        workers.run(&mut self.crews, |_, crew| {
            for tile in crew.shards.iter_mut().flat_map(|s| &mut s.tiles) {
                work(tile, &mut crew.room.task);
            }
        });
    }

    fn run(&self) -> Option<&Run> {
        self.crews.first().map(|crew| &crew.run)
    }

    fn seated(&self) -> usize {
        self.crews.len()
    }

    fn bytes(&self) -> usize {
        let shards = || self.crews.iter().flat_map(|crew| &crew.shards);
        let tiles: usize = shards().flat_map(|shard| &shard.tiles).map(Tile::bytes).sum();
        tiles + shards().map(|shard| shard.theta_bar.capacity() * size_of::<S::Real>()).sum::<usize>()
    }

    fn missing_states(&self, segment: usize) -> usize {
        let held = |crew: &Crew<S>| crew.room.walk.as_ref().map_or(0, |room| room.segment.len());
        self.crews.iter().map(|crew| segment.saturating_sub(held(crew))).sum()
    }

    fn solve(&mut self, plan: &Plan<'_>) {
        let Self { stepper, crews, tiles, .. } = self;
        let solve = solve_of(stepper, plan);
        let slots = plan.slots.iter().sum();
        let begin = |tile: &mut Tile<S::Real>| {
            tile.begin(slots, plan.first.wrapping_add(u32::try_from(tile.index * LANES).unwrap_or(u32::MAX)));
            let own = plan.saves.own.map(|(times, _)| times);
            // Unused lanes are like the last one, as their states are.
            let row = |l: usize| tile.index * LANES + l.min(tile.used - 1);
            let end = |end: usize| std::array::from_fn(|l| own.map_or(plan.ends, |times| times.span(row(l)))[end]);
            tile.clock.begin([end(0), end(1)], own.is_some());
        };
        let reduction = Reduction::new(crews.len(), *tiles);
        plan.workers.run(crews, |_, crew| {
            crew.tiles_mut().0.for_each(begin);
            match plan.options.layout {
                Layout::Lockstep => Lockstep(&solve).solve(crew, &reduction),
                Layout::Ensemble => Ensemble(&solve).solve(crew),
            }
        });
    }

    fn backward(
        &mut self,
        plan: &Plan<'_>,
        asked: Penalties<'_>,
        task: &dyn TaskWork<S::Real>,
        points: &[Points<'_, S::Real>],
        theta_bar: &mut [S::Real],
        offset: usize,
    ) -> Result<Added> {
        let Self { stepper, back, crews, tiles, drive } = self;
        let stepper = &*stepper;
        let lockstep = plan.options.layout == Layout::Lockstep;
        let controls = drive.as_ref().map_or([0, 0], Drive::lengths);
        let (shared, norms) =
            crews.first().map(|crew| (crew.run.steps.clone(), crew.run.norms.clone())).unwrap_or_default();
        let walk = Walk {
            track: Track {
                stepper,
                steps: if lockstep { Steps::Shared(&shared) } else { Steps::PerLane },
                drive: drive.as_ref(),
                parameters: theta_bar.len() - controls[0],
            },
            saves: plan.saves,
            t0: plan.ends[0],
            t1: plan.ends[1],
            every_step: matches!(plan.options.save_at, SaveAt::Steps | SaveAt::Dense),
        };
        let solve = solve_of(stepper, plan);
        let pass = Pass::new(asked, (&walk, &**back), &solve, &norms, plan.slots[0], offset)?;
        let global = pass
            .global
            .as_ref()
            .map(|global| global.value(stepper.scheme.tableau(), crews.iter().flat_map(Crew::tiles)));
        let reduction = Reduction::new(crews.len(), *tiles);
        let numbers = theta_bar.len();
        let mut results: Vec<(&mut Crew<S>, f64, Work)> =
            crews.iter_mut().map(|crew| (crew, 0.0, Work::default())).collect();
        plan.workers.run(&mut results, |_, (crew, value, work)| {
            begin_backward(crew, numbers, plan.slots, controls[1]);
            let mut room = crew.room.walk.take().unwrap_or_else(|| WalkRoom::new(&stepper.scheme, &stepper.shape));
            let share = lockstep.then(|| Share::new(&reduction, stepper.shape.features));
            *value = pass.before(crew, &mut room, share);
            let Crew { shards, room: Room { task: task_room, .. }, .. } = &mut **crew;
            for shard in shards {
                let (tiles, theta_bar) = shard.probed();
                for (tile, probes) in tiles {
                    points
                        .iter()
                        .for_each(|points| points.apply(tile, &mut room.points.points, &mut theta_bar[offset..]));
                    task.differentiate(tile, task_room, theta_bar);
                    *work = pass.walk(tile, probes, points, &mut room, &mut theta_bar[offset..]).max(*work);
                    walk.track.hand_on_controls(tile, &mut room.vjp, theta_bar);
                    task.finish(tile, task_room, theta_bar);
                }
            }
            crew.room.walk = Some(room);
        });
        let value = results.first().map_or(0.0, |result| result.1);
        let work = results.iter().map(|result| result.2).fold(Work::default(), Work::max);
        self.reduce(plan.workers, theta_bar);
        Ok(Added { local: Some(value), global, pointwise: PointValues::default(), work })
    }
}

fn solve_of<'a, S: Scheme>(stepper: &'a Stepper<S>, plan: &Plan<'a>) -> Solve<'a, S> {
    let Plan { ends: [t0, t1], unit, options, saves, recording, carried, .. } = *plan;
    Solve { stepper, t0, t1, unit, options, saves, recording, carried }
}

/// No gradient of so many numbers yet, no penalty, and no cotangents of what probes begin with, nor of the `controls` numbers
/// that each trajectory's own controls have.
fn begin_backward<S: Scheme>(crew: &mut Crew<S>, numbers: usize, [user, probes]: [usize; 2], controls: usize) {
    for shard in &mut crew.shards {
        shard.theta_bar.clear();
        shard.theta_bar.resize(numbers, S::Real::ZERO);
        for (tile, own) in shard.probed().0 {
            tile.begin_backward(user..user + probes, controls);
            own.iter_mut().for_each(|probe| probe.forget());
        }
    }
}

/// Number of solved trajectories in a tile, without those that had nothing to go through.
pub(crate) fn solved<R: Scalar>(tile: &Tile<R>) -> usize {
    let counted = tile.counted();
    (0..LANES).filter(|&l| counted[l] && tile.status[l] == Status::Done).count()
}
