//! [`Engine`]: a problem on the workers, from loaded states to gradients. The solver and the trainer drive it.

use crate::solution::Stats;
use std::sync::Arc;

use crate::cpu::adjoint::walk::{Backward, Steps};
use crate::cpu::crew::cpu::Cpu;
use crate::cpu::crew::workers::Workers;
use crate::cpu::field::layer::DenseLayer;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::regularize::local::Penalty;
use crate::cpu::solve::ensemble::Ensemble;
use crate::cpu::solve::lockstep::{Attendee, Lockstep, Meeting, Run};
use crate::cpu::step::runge_kutta::Stepper;
use crate::cpu::step::stochastic::brownian_of;
use crate::cpu::tile::{BackwardRoom, Crew, MAX_SHARDS, Recording, Room, SavePoint, Shard, Tile};
use crate::error::{Error, Result, Status};
use crate::memory::{self, Size};
use crate::method::{
    Draws, InitialStep, Layout, Learnt, PenaltyAt, SaveAt, SolverOptions, StepControl, ToleranceWarning,
    penalised_tiles, quantile_of_wishes,
};
use crate::problem::{Paths, Problem};

/// What the task does with a solved tile before its backward walk: from saves to their cotangents.
pub(crate) trait TaskWork<R>: Sync {
    /// Fills the tile's save cotangents and adds to the gradient of parameters that are the task's own.
    fn differentiate(&self, tile: &mut Tile<R>, room: &mut TaskRoom<R>, theta_bar: &mut [R]);

    /// Takes the cotangent of the tile's initial state, in `tile.bar`.
    fn finish(&self, tile: &mut Tile<R>, room: &mut TaskRoom<R>, theta_bar: &mut [R]);
}

/// A thread's room for the task's own layers.
#[derive(Debug, Default)]
pub(crate) struct TaskRoom<R> {
    /// `[rows][LANES]` of the layer in use.
    pub(crate) input: Vec<R>,
    pub(crate) output: Vec<R>,
    pub(crate) output_bar: Vec<R>,
}

impl<R: Scalar> TaskRoom<R> {
    /// Gives `input` the layer's rows, the last one ones for the bias.
    pub(crate) fn prepare(&mut self, layer: &DenseLayer<R>) {
        let rows = layer.layer.rows();
        self.input.resize(rows * LANES, R::ZERO);
        self.input[(rows - 1) * LANES..].fill(R::ONE);
    }
}

/// Bytes that the engine's owner holds besides: once, and in the room of each thread.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Owner {
    pub(crate) bytes: Size,
    pub(crate) room: Size,
}

/// A problem on the workers.
#[derive(Debug)]
pub(crate) struct Engine<R> {
    pub(crate) problem: Problem,
    pub(crate) options: SolverOptions,
    workers: Arc<Workers>,
    stepper: Stepper<R>,
    crews: Vec<Crew<R>>,
    /// Batch that the tiles can hold, and the one they hold.
    capacity: usize,
    batch: usize,
    /// Length of the gradient, of which the field's parameters are a part.
    parameters: usize,
    field_offset: usize,
    saves: Vec<SavePoint>,
    slots: usize,
    probe_slots: usize,
    recording: Recording,
    paths: Paths,
    t1: f64,
    /// What earlier solves taught.
    pub(crate) learnt: Learnt,
    pub(crate) owner: Owner,
    warning: ToleranceWarning,
}

impl<R: Scalar> Engine<R> {
    /// `parameters` is the length of the model's parameter vector, in which the field's begin at `field_offset`.
    pub(crate) fn new(
        workers: &Arc<Workers>,
        problem: &Problem,
        options: &SolverOptions,
        parameters: usize,
        field_offset: usize,
        owner: Owner,
    ) -> Result<Self> {
        options.validate::<R>(problem)?;
        // Packed in both directions, the weights of the networks are held twice.
        let weights = owner.bytes + (2 * Size(problem.parameter_count())).bytes::<R>();
        if let Some(limit) = options.memory_limit.filter(|&limit| Size(limit) < weights) {
            let remedy = format!("the parameters and what goes with them take {} bytes alone: allow more", weights.0);
            return Err(Error::argument("SolverOptions::memory_limit", limit, remedy));
        }
        memory::ask("parameters", weights)?;
        Ok(Self {
            problem: problem.clone(),
            options: options.clone(),
            workers: Arc::clone(workers),
            stepper: Stepper::new(problem, options),
            crews: Vec::new(),
            capacity: 0,
            batch: 0,
            parameters,
            field_offset,
            saves: Vec::new(),
            slots: 0,
            probe_slots: 0,
            recording: Recording { stride: 0, ends: false, stages: false, limit: usize::MAX },
            paths: Paths::default(),
            t1: problem.t1,
            learnt: Learnt::default(),
            owner,
            warning: ToleranceWarning::new(),
        })
    }

    /// Warns, once, where an absolute tolerance is as large as a feature of the states that solves begin with.
    pub(crate) fn warn_at(&self, states: &[R]) {
        self.warning.look(&self.options, states, self.dim());
    }

    pub(crate) const fn batch(&self) -> usize {
        self.batch
    }

    pub(crate) fn dim(&self) -> usize {
        self.stepper.field.dim()
    }

    /// Number of save slots that belong to the caller, not to a regularizer.
    pub(crate) fn user_slots(&self) -> usize {
        match &self.options.save_at {
            SaveAt::End => 1,
            SaveAt::Times(times) => times.len(),
            SaveAt::Steps | SaveAt::Dense => 0,
        }
    }

    /// Takes the networks' weights from the model's parameters.
    pub(crate) fn set_parameters(&mut self, theta: &[R], backward: bool) {
        self.stepper.pack(&theta[self.field_offset..], backward);
    }

    /// Chooses the noise of the solves that follow.
    pub(crate) fn set_paths(&mut self, paths: Paths) {
        self.paths = paths;
        if let Some(diffusion) = &mut self.stepper.diffusion {
            diffusion.brownian = brownian_of(&self.problem, &self.options, paths);
        }
    }

    pub(crate) const fn paths(&self) -> Paths {
        self.paths
    }

    /// The threads that it computes on.
    pub(crate) fn cpu(&self) -> Cpu {
        Cpu::on(Arc::clone(&self.workers))
    }

    /// Makes room for a solve of `batch` trajectories, with a tape and penalties if there are any. Room that is there
    /// already is kept, so a smaller batch allocates nothing.
    ///
    /// # Errors
    /// [`Error::Memory`] beyond the memory limit, [`Error::OutOfMemory`] beyond what the system has; nothing is
    /// allocated then.
    pub(crate) fn reserve(&mut self, batch: usize, tape: bool, draws: Option<&Draws>) -> Result<()> {
        let steps = self.certain_steps(tape);
        let needed = self.needed(batch, steps, tape, draws);
        if let Some(limit) = self.options.memory_limit.filter(|&limit| needed > Size(limit)) {
            return Err(self.beyond(limit, batch, steps, tape, draws));
        }
        self.batch = batch;
        if batch <= self.capacity {
            return Ok(());
        }
        memory::ask("a batch", needed)?;
        // The old room goes first, so that never both are held.
        (self.capacity, self.crews) = (batch, Vec::new());
        let tiles = batch.div_ceil(LANES);
        let (crews, shards) = self.parallelism(batch);
        let stepper = &self.stepper;
        self.crews = (0..crews)
            .map(|c| Crew {
                shards: (c..shards)
                    .step_by(crews)
                    .map(|s| Shard {
                        tiles: (s..tiles).step_by(shards).map(|i| Tile::new(i, stepper)).collect(),
                        theta_bar: Vec::new(),
                    })
                    .collect(),
                room: Room {
                    attempt: stepper.attempt_room(),
                    scratch: stepper.tile(),
                    task: TaskRoom::default(),
                    working: None,
                    backward: None,
                },
                run: Run::default(),
            })
            .collect();
        Ok(())
    }

    /// Steps whose states are kept, as far as that is known before the solve.
    fn certain_steps(&self, tape: bool) -> usize {
        let kept = tape || matches!(self.options.save_at, SaveAt::Steps | SaveAt::Dense);
        match self.options.step_control {
            StepControl::Fixed { steps } if kept => steps,
            _ => 0,
        }
    }

    /// Bytes that the engine and its owner hold in such a solve.
    fn needed(&self, batch: usize, steps: usize, tape: bool, draws: Option<&Draws>) -> Size {
        let probes = draws.map_or(0, |d| self.probe_bytes(batch, d.penalty.fraction * d.penalty.times as f64));
        self.owner.bytes + self.workspace(batch, steps, tape).total() + probes
    }

    /// The error of a solve that needs more than `limit` bytes.
    fn beyond(&self, limit: usize, batch: usize, steps: usize, tape: bool, draws: Option<&Draws>) -> Error {
        // Half the batch with as many steps again: a smaller batch's steps are other ones.
        let fits = |tiles: usize| self.needed(tiles * LANES, steps.saturating_mul(2), tape, draws) <= Size(limit);
        let largest_batch = memory::largest((batch - 1) / LANES, fits) * LANES;
        Error::Memory { needed: self.needed(batch, steps, tape, draws).0, limit, steps, batch, largest_batch }
    }

    /// Threads that a batch is worth, and shards that it is cut into.
    pub(crate) fn parallelism(&self, batch: usize) -> (usize, usize) {
        let shards = batch.div_ceil(LANES).min(MAX_SHARDS);
        let work = batch * Size(self.stepper.work()) * self.stepper.tableau.stages();
        (self.workers.worth(work.0, shards), shards)
    }

    pub(crate) const fn parameters(&self) -> usize {
        self.parameters
    }

    pub(crate) fn packed_bytes(&self) -> usize {
        self.stepper.packed_bytes()
    }

    /// Bytes of a state, and of what a tile holds only with noise, where one feature array has `array` bytes.
    pub(crate) fn noise_bytes(&self, array: usize) -> (usize, usize) {
        let second = self.stepper.rows() / self.dim();
        if self.stepper.diffusion.is_none() {
            return (array, 0);
        }
        // Two diffusions, and two cuts of the path: increments before and after each, four numbers a pair of channels.
        let noise = 2 * array + 16 * (array / self.dim()) * self.dim().div_ceil(2);
        (second * array, noise + 3 * (second - 1) * array)
    }

    /// Bytes of a thread's room.
    pub(crate) fn room_bytes(&self) -> Size {
        self.owner.room + self.stepper.room_bytes()
    }

    /// Loads the batch's initial states, `[B][D]`.
    pub(crate) fn load(&mut self, y0: &[R]) {
        let dim = self.dim();
        self.for_each_tile(|tile, _| tile.load(y0, dim));
    }

    /// Runs `work` on every tile, used or not, on all workers.
    pub(crate) fn for_each_tile(&mut self, work: impl Fn(&mut Tile<R>, &mut TaskRoom<R>) + Sync) {
        self.workers.run(&mut self.crews, |_, crew| {
            for tile in crew.shards.iter_mut().flat_map(|s| &mut s.tiles) {
                work(tile, &mut crew.room.task);
            }
        });
    }

    /// Tiles in the order of the batch.
    pub(crate) fn tiles(&self) -> impl Iterator<Item = &Tile<R>> {
        let shards = self.crews.iter().map(|c| c.shards.len()).sum::<usize>().max(1);
        let crews = self.crews.len().max(1);
        let tile = move |i: usize| {
            let s = i % shards;
            &self.crews[s % crews].shards[s / crews].tiles[i / shards]
        };
        (0..self.batch.div_ceil(LANES)).map(tile).filter(|t| t.used > 0)
    }

    /// What the lockstep solve did; the first crew's record is everyone's.
    pub(crate) fn run(&self) -> Option<&Run> {
        self.crews.first().map(|c| &c.run)
    }

    /// Time of a save slot.
    pub(crate) fn save_time(&self, slot: usize) -> f64 {
        self.saves.get(slot).map_or(self.t1, |point| point.t)
    }

    fn plan_saves(&mut self, draws: Option<&Draws>) {
        let t1 = self.t1;
        self.saves.clear();
        match &self.options.save_at {
            SaveAt::End => self.saves.push(SavePoint { t: t1, slot: 0 }),
            SaveAt::Times(times) => {
                let point = |(slot, &t)| SavePoint { t: self.problem.settled(t), slot };
                self.saves.extend(times.iter().enumerate().map(point));
            }
            SaveAt::Steps | SaveAt::Dense => {}
        }
        let user = self.user_slots();
        self.probe_slots = 0;
        if let Some(draws) = draws.filter(|d| d.penalty.at == PenaltyAt::Unbiased) {
            let (t0, span) = (self.problem.t0, t1 - self.problem.t0);
            self.probe_slots = draws.uniform.len();
            let (stepper, noise) = (&self.stepper, draws.penalty.noise);
            let time = |n| stepper.probe_time(t0 + draws.position(n) * span, noise);
            self.saves.extend((0..self.probe_slots).map(|n| SavePoint { t: time(n), slot: user + n }));
        }
        self.slots = user + self.probe_slots;
    }

    /// Solves from the loaded states. `tape` keeps what a backward pass needs.
    ///
    /// # Errors
    /// [`Error::Memory`] when what is kept outgrows the memory limit, [`Error::OutOfMemory`] when it outgrows what the
    /// system has; the solve stops there.
    pub(crate) fn solve(&mut self, tape: bool, draws: Option<&Draws>) -> Result<()> {
        let limit = self.options.memory_limit;
        let fitting = limit.map_or(usize::MAX, |limit| self.fitting_steps(limit, tape, draws));
        if fitting > 0 {
            self.solve_within(tape, fitting, draws);
            self.check_refusals(tape, draws)?;
            let stopped = |t: &Tile<R>, l: usize| t.status[l] == Status::MaxSteps && self.accepted(t, l) == fitting;
            if !self.tiles().any(|t| (0..t.used).any(|l| stopped(t, l))) {
                return Ok(());
            }
        }
        Err(self.beyond(limit.unwrap_or(usize::MAX), self.batch, fitting + 1, tape, draws))
    }

    /// Refuses a solve of which the system did not keep all steps, whose room is given back then, or has none to go back
    /// over those between two checkpoints.
    fn check_refusals(&mut self, tape: bool, draws: Option<&Draws>) -> Result<()> {
        let most = |engine: &Self| {
            let lanes = engine.tiles().flat_map(|t| (0..t.used).map(move |l| engine.accepted(t, l)));
            lanes.max().unwrap_or(0)
        };
        if self.tiles().any(|tile| tile.refused) {
            let bytes = self.needed(self.batch, most(self) + 1, tape, draws).0;
            (self.batch, self.capacity, self.crews) = (0, 0, Vec::new());
            return Err(Error::OutOfMemory { what: "the states of accepted steps", bytes });
        }
        let stride = if tape { self.recording.stride } else { 1 };
        let segment = if stride > 1 { stride.min(most(self)) } else { 0 };
        let state = Size(self.stepper.rows() * LANES).bytes::<R>();
        let held = |crew: &Crew<R>| crew.room.backward.as_ref().map_or(0, |room| room.segment.len());
        let missing = self.crews.iter().map(|crew| segment.saturating_sub(held(crew)) * state).sum::<Size>();
        if missing == Size(0) { Ok(()) } else { memory::ask("the states between two checkpoints", missing) }
    }

    /// Accepted steps of this batch that fit into `limit` bytes.
    fn fitting_steps(&self, limit: usize, tape: bool, draws: Option<&Draws>) -> usize {
        memory::largest(self.options.most_attempts(), |steps| {
            self.needed(self.batch, steps, tape, draws) <= Size(limit)
        })
    }

    /// Accepted steps of a trajectory.
    fn accepted(&self, tile: &Tile<R>, lane: usize) -> usize {
        match self.options.layout {
            Layout::Lockstep => self.run().map_or(0, |run| run.steps.len()),
            Layout::Ensemble => tile.clock.accepted[lane] as usize,
        }
    }

    fn solve_within(&mut self, tape: bool, limit: usize, draws: Option<&Draws>) {
        self.plan_saves(draws);
        let every_step = matches!(self.options.save_at, SaveAt::Steps | SaveAt::Dense);
        let stride = if every_step { 1 } else { usize::from(tape) * self.options.adjoint.stride() };
        self.recording =
            Recording { stride, ends: tape || stride > 0, stages: self.options.save_at == SaveAt::Dense, limit };
        let (slots, first) = (self.slots, self.paths.first);
        let begin = |tile: &mut Tile<R>| {
            tile.begin(slots, first.wrapping_add(u32::try_from(tile.index * LANES).unwrap_or(u32::MAX)));
        };
        let carried = self.learnt.first_step();
        let Self { stepper, problem, options, saves, recording, workers, crews, t1, capacity, .. } = self;
        match options.layout {
            Layout::Lockstep => {
                let solve = Lockstep { stepper, problem, t1: *t1, options, saves, recording: *recording, carried };
                let meeting = Meeting::new(crews.len(), capacity.div_ceil(LANES));
                workers.run(crews, |_, crew| {
                    crew.tiles_mut().0.for_each(begin);
                    solve.solve(crew, &meeting);
                });
            }
            Layout::Ensemble => {
                let solve = Ensemble { stepper, problem, t1: *t1, options, saves, recording: *recording, carried };
                workers.run(crews, |_, crew| {
                    crew.tiles_mut().0.for_each(begin);
                    solve.solve(crew);
                });
            }
        }
    }

    /// The solve's backward pass with its penalty: `theta_bar` receives the whole gradient, `[parameters]`. Returns the
    /// unweighted penalty, NaN where no trajectory is left for it, and the number of vector-Jacobian products of the field.
    pub(crate) fn backward(
        &mut self,
        draws: Option<&Draws>,
        task: &impl TaskWork<R>,
        theta_bar: &mut [R],
    ) -> (f64, usize) {
        let every_step = matches!(self.options.save_at, SaveAt::Steps | SaveAt::Dense);
        let (penalised_tiles, rows) = draws.map_or((0, 0), |d| self.penalised(d));
        let user = self.user_slots();
        let probe_slots = self.probe_slots;
        let (parameters, dim) = (self.parameters, self.dim());
        let offset = self.field_offset;
        let adjoint = self.options.adjoint;
        let Self { stepper, problem, options, saves, recording, workers, crews, t1, capacity, .. } = self;
        let stepper = &*stepper;
        let shared: Vec<[f64; 2]> = crews.first().map(|c| c.run.steps.clone()).unwrap_or_default();
        let lockstep = options.layout == Layout::Lockstep;
        let backward = Backward {
            stepper,
            steps: if lockstep { Steps::Shared(&shared) } else { Steps::PerLane },
            saves,
            t0: problem.t0,
            stride: recording.stride.max(1),
            adjoint,
            every_step,
        };
        let (recording, carried) = (*recording, None);
        let forward = Lockstep { stepper, problem, t1: *t1, options, saves, recording, carried };
        let ensemble = Ensemble { stepper, problem, t1: *t1, options, saves, recording, carried };
        let penalty = draws.filter(|_| rows > 0).map(|draws| Penalty {
            draws,
            backward: &backward,
            lockstep: lockstep.then_some(&forward),
            ensemble: &ensemble,
            first_slot: user,
            tiles: penalised_tiles,
            rows,
            offset,
        });
        let meeting = Meeting::new(crews.len(), capacity.div_ceil(LANES));
        let mut results: Vec<(&mut Crew<R>, f64, usize)> = crews.iter_mut().map(|c| (c, 0.0, 0)).collect();
        workers.run(&mut results, |_, (crew, value, products)| {
            crew.room.backward.get_or_insert_with(|| BackwardRoom::new(stepper));
            for shard in &mut crew.shards {
                shard.theta_bar.clear();
                shard.theta_bar.resize(parameters, R::ZERO);
                for tile in shard.tiles.iter_mut().filter(|t| t.used > 0) {
                    tile.begin_backward(user..user + probe_slots);
                }
            }
            if let Some(penalty) = &penalty {
                *value = penalty.apply(crew, lockstep.then(|| Attendee::new(&meeting, dim)));
            }
            let Crew { shards, room: Room { task: task_room, backward: room, .. }, .. } = &mut **crew;
            let Some(room) = room else { return };
            for Shard { tiles, theta_bar } in shards {
                for tile in tiles.iter_mut().filter(|t| t.used > 0) {
                    task.differentiate(tile, task_room, theta_bar);
                    *products = backward.walk(tile, room, &mut theta_bar[offset..]).max(*products);
                    task.finish(tile, task_room, theta_bar);
                }
            }
        });
        let value = results.first().map_or(0.0, |r| r.1);
        let products = results.iter().map(|r| r.2).max().unwrap_or(0);
        self.reduce(theta_bar);
        let value = match draws {
            // A mean over no trajectories.
            Some(_) if rows == 0 => f64::NAN,
            _ if lockstep => value,
            _ => self.tiles().map(|t| t.penalty).sum(),
        };
        (value, products)
    }

    /// Number of tiles with probes, and of solved trajectories in them.
    fn penalised(&self, draws: &Draws) -> (usize, usize) {
        let used = self.batch.div_ceil(LANES);
        let tiles = penalised_tiles(used, draws.penalty.fraction);
        let solved = |t: &Tile<R>| (0..LANES).filter(|&l| t.alive[l] && t.status[l] == Status::Done).count();
        (tiles, self.tiles().filter(|t| t.index < tiles).map(solved).sum())
    }

    /// Adds the shards' gradients in their order, each worker a part of the parameters.
    fn reduce(&self, theta_bar: &mut [R]) {
        let crews = &self.crews;
        let shards = crews.iter().map(|c| c.shards.len()).sum::<usize>();
        let part = theta_bar.len().div_ceil(crews.len().max(1)).max(1);
        let mut parts: Vec<(usize, &mut [R])> =
            theta_bar.chunks_mut(part).enumerate().map(|(i, out)| (i * part, out)).collect();
        self.workers.run(&mut parts, |_, (from, out)| {
            out.fill(R::ZERO);
            for s in 0..shards {
                let shard = &crews[s % crews.len()].shards[s / crews.len()];
                crate::cpu::kernel::lanes::add(out, &shard.theta_bar[*from..*from + out.len()]);
            }
        });
    }

    /// Costs of the batch in lockstep, of its costliest trajectory in an ensemble, and the steps of an ideal controller
    /// there; with fixed steps none.
    pub(crate) fn costliest(&self) -> (Stats, Option<f64>) {
        let safety = self.safety();
        if self.options.layout == Layout::Lockstep {
            let run = self.run().map(|run| (run.stats(), safety.map(|safety| run.ideal.total(safety))));
            return run.unwrap_or_default();
        }
        let lanes = self.tiles().flat_map(|t| (0..t.used).map(move |l| (t, l)));
        let costliest = lanes.max_by_key(|(tile, lane)| tile.clock.nfe[*lane]);
        costliest.map_or_else(Default::default, |(tile, lane)| {
            (tile.stats(lane), safety.map(|safety| tile.clock.ideal_steps(lane, safety)))
        })
    }

    /// Steps of an ideal controller, in the order of the costs; none with fixed steps.
    pub(crate) fn ideal_steps(&self) -> Vec<f64> {
        let Some(safety) = self.safety() else { return Vec::new() };
        if self.options.layout == Layout::Lockstep {
            return self.run().map(|run| run.ideal.total(safety)).into_iter().collect();
        }
        let lanes = self.tiles().flat_map(|t| (0..t.used).map(move |l| t.clock.ideal_steps(l, safety)));
        lanes.collect()
    }

    fn safety(&self) -> Option<f64> {
        match self.options.step_control {
            StepControl::Adaptive { controller, .. } => Some(controller.safety),
            StepControl::Fixed { .. } => None,
        }
    }

    /// The first step that the last solve wished for, where first steps are carried on, if a step was accepted.
    pub(crate) fn wish(&self) -> Option<f64> {
        let carried =
            matches!(self.options.step_control, StepControl::Adaptive { initial_step: InitialStep::Carried, .. });
        if !carried {
            return None;
        }
        match self.options.layout {
            Layout::Lockstep => self.run().and_then(|run| run.wish),
            Layout::Ensemble => {
                let lanes = self.tiles().flat_map(|t| t.clock.wish[..t.used].iter().map(|wish| wish.to_f64()));
                quantile_of_wishes(lanes.filter(|&wish| wish > 0.0))
            }
        }
    }

    /// Bytes of the probes of a penalty on `tiles` times the batch's tiles.
    pub(crate) fn probe_bytes(&self, batch: usize, tiles: f64) -> usize {
        let one = self.stepper.kept_bytes() + 5 * self.stepper.rows() * LANES * size_of::<R>();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a small number")]
        let count = (batch.div_ceil(LANES) as f64 * tiles).ceil() as usize;
        count.saturating_mul(one)
    }

    /// Status of each trajectory.
    pub(crate) fn statuses(&self) -> impl Iterator<Item = Status> + '_ {
        self.tiles().flat_map(|t| t.status[..t.used].iter().copied())
    }

    /// Bytes that the engine holds.
    pub(crate) fn bytes(&self) -> usize {
        let tiles: usize = self.crews.iter().flat_map(|c| &c.shards).flat_map(|s| &s.tiles).map(Tile::bytes).sum();
        let gradients: usize =
            self.crews.iter().flat_map(|c| &c.shards).map(|s| s.theta_bar.capacity() * size_of::<R>()).sum();
        let rooms = self.crews.len() * self.room_bytes();
        tiles + gradients + rooms.0 + self.stepper.packed_bytes()
    }
}
