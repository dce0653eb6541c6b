//! [`Engine`]: a problem on the workers, from loaded states to gradients. The solver and the trainer drive it.

mod choose;
mod controls;
mod driving;
mod team;
mod times;
mod workspace;

use std::num::NonZero;
use std::sync::Arc;

use crate::cpu::crew::cpu::Cpu;
use crate::cpu::crew::run::Run;
use crate::cpu::crew::shard::MAX_SHARDS;
use crate::cpu::crew::task::{TaskRoom, TaskWork};
use crate::cpu::crew::workers::Workers;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::regularize::pointwise::{Measures, Points};
use crate::cpu::regularize::{Added, Penalised};
use crate::cpu::tile::Tile;
use crate::cpu::tile::saves::{SavePoint, Saves};
use crate::cpu::tile::tape::Recording;
use crate::error::{Error, Result, Status};
use crate::memory::{self, Size};
use crate::method::{
    Asked, Draws, InitialStep, Keep, Layout, Learnt, PenaltyAt, PointDraws, PointValues, Regularizer, SaveAt,
    SolverOptions, StepControl, ToleranceWarning, penalised_tiles, quantile_of_wishes,
};
use crate::problem::{Paths, Problem, Times};
use crate::solution::Stats;
use choose::team;
use controls::Controls;
use team::{Plan, Team, solved};

/// Bytes that the engine's owner holds besides: once, and in the room of each thread.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Owner {
    pub(crate) bytes: Size,
    pub(crate) room: Size,
}

/// A problem on the workers.
#[derive(Debug)]
pub(crate) struct Engine<R: Scalar> {
    pub(crate) problem: Problem,
    pub(crate) options: SolverOptions,
    workers: Arc<Workers>,
    team: Box<dyn Team<R>>,
    /// Batch that the tiles can hold, and the one they hold.
    capacity: usize,
    batch: usize,
    /// Save slots that there was memory for when it was asked for.
    slots_asked: usize,
    /// Length of the gradient, of which the field's parameters are a part.
    parameters: usize,
    field_offset: usize,
    saves: Vec<SavePoint>,
    /// Intervals and saved times of the trajectories' own.
    times: Option<Times>,
    /// Where the last solve ended, or the next one will.
    t1: f64,
    /// Save slots of the caller, and those of a regularizer after them.
    slots: [usize; 2],
    recording: Recording,
    paths: Paths,
    pub(crate) controls: Controls<R>,
    /// What earlier solves taught.
    pub(crate) learnt: Learnt,
    pub(crate) owner: Owner,
    warning: ToleranceWarning,
    measures: Measures<R>,
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
            team: team(problem, options)?,
            capacity: 0,
            batch: 0,
            slots_asked: 0,
            parameters,
            field_offset,
            saves: Vec::new(),
            times: None,
            t1: problem.t1,
            slots: [0, 0],
            recording: Recording { keep: Keep::Nothing, ends: false, limit: None, measured: None },
            paths: Paths::default(),
            controls: Controls::new(problem),
            learnt: Learnt::default(),
            owner,
            warning: ToleranceWarning::new(),
            measures: Measures::new(),
        })
    }

    /// Warns, once, where an absolute tolerance is as large as a feature of the states that solves begin with.
    pub(crate) fn warn_at(&self, states: &[R], width: usize) {
        self.warning.look(&self.options, states, width);
    }

    pub(crate) const fn batch(&self) -> usize {
        self.batch
    }

    pub(crate) fn dim(&self) -> usize {
        self.team.shape().features
    }

    /// Number of save slots that belong to the caller, not to a regularizer.
    pub(crate) fn user_slots(&self) -> usize {
        match (&self.times, &self.options.save_at) {
            (Some(times), _) => times.slots(),
            (None, SaveAt::End) => 1,
            (None, SaveAt::Times(times)) => times.len(),
            (None, SaveAt::Steps | SaveAt::Dense) => 0,
        }
    }

    /// Takes the networks' weights from the model's parameters.
    pub(crate) fn set_parameters(&mut self, theta: &[R], backward: bool) {
        self.team.pack(&theta[self.field_offset..], backward);
        if backward {
            self.measures.pack(&theta[self.field_offset..]);
        }
    }

    /// Chooses the noise of the solves that follow.
    pub(crate) fn set_paths(&mut self, paths: Paths) {
        self.paths = paths;
        self.team.follow(paths);
    }

    pub(crate) const fn paths(&self) -> Paths {
        self.paths
    }

    /// The threads that it computes on.
    pub(crate) fn cpu(&self) -> Cpu {
        Cpu::on(Arc::clone(&self.workers))
    }

    /// Compiles a regularizer's measures at random times.
    ///
    /// # Errors
    /// [`Error::Argument`] for a field that has none of these.
    pub(crate) fn check_measures(&mut self, regularizer: &Regularizer) -> Result<()> {
        self.measures.check(&self.problem.field, regularizer.lower(0).pointwise.iter().flatten())
    }

    /// Makes room for a solve of `batch` trajectories, with a tape and penalties if there are any. Room that is there
    /// already is kept, so a smaller batch allocates nothing.
    ///
    /// # Errors
    /// [`Error::Memory`] beyond the memory limit, [`Error::OutOfMemory`] beyond what the system has; nothing is
    /// allocated then.
    pub(crate) fn reserve(&mut self, batch: usize, tape: bool, asked: &Asked) -> Result<()> {
        self.check_times(batch, asked)?;
        self.measures.ask(&self.problem.field, &asked.pointwise)?;
        let steps = self.certain_steps(tape);
        let needed = self.needed(batch, steps, tape, asked);
        if let Some(limit) = self.options.memory_limit.filter(|&limit| needed > Size(limit)) {
            return Err(self.beyond(limit, batch, steps, tape, asked));
        }
        let slots = self.user_slots();
        if batch <= self.capacity {
            // Times of trajectories' own may be more than there were.
            let more = Size(slots.saturating_sub(self.slots_asked)) * (2 * self.dim() * LANES);
            memory::ask("states at saved times", (batch.div_ceil(LANES) * more).bytes::<R>())?;
            (self.batch, self.slots_asked) = (batch, slots.max(self.slots_asked));
            return Ok(());
        }
        memory::ask("a batch", needed)?;
        (self.batch, self.capacity, self.slots_asked) = (batch, batch, slots);
        let (crews, shards) = self.parallelism(batch);
        self.team.seat(batch.div_ceil(LANES), crews, shards);
        Ok(())
    }

    /// Threads that a batch is worth, and shards that it is cut into.
    pub(crate) fn parallelism(&self, batch: usize) -> (usize, usize) {
        let shards = batch.div_ceil(LANES).min(MAX_SHARDS);
        let work = batch * Size(self.team.work()) * self.options.method.tableau().stages();
        (self.workers.worth(work.0, shards), shards)
    }

    pub(crate) const fn parameters(&self) -> usize {
        self.parameters
    }

    /// Loads the batch's initial states, `[B][D]`.
    pub(crate) fn load(&mut self, y0: &[R]) {
        let dim = self.dim();
        self.for_each_tile(|tile, _| tile.load(y0, dim));
    }

    /// Runs `work` on every tile, used or not, on all workers.
    pub(crate) fn for_each_tile(&mut self, work: impl Fn(&mut Tile<R>, &mut TaskRoom<R>) + Sync) {
        self.team.for_each_tile(&self.workers, &work);
    }

    /// Tiles in the order of the batch.
    pub(crate) fn tiles(&self) -> impl Iterator<Item = &Tile<R>> + Clone {
        (0..self.batch.div_ceil(LANES)).map(|i| self.team.tile(i)).filter(|t| t.used > 0)
    }

    /// What the lockstep solve did.
    pub(crate) fn run(&self) -> Option<&Run> {
        self.team.run()
    }

    /// Where the last solve ended, or the next one ends.
    pub(crate) const fn t1(&self) -> f64 {
        self.t1
    }

    /// Time of a save slot that trajectories share.
    pub(crate) fn save_time(&self, slot: usize) -> f64 {
        self.saves.get(slot).map_or(self.t1, |point| point.t)
    }

    fn plan_saves(&mut self, asked: &Asked) {
        let interval @ [t0, t1] = self.clock().0;
        self.saves.clear();
        match (&self.times, &self.options.save_at) {
            (None, SaveAt::End) => self.saves.push(SavePoint { t: t1, slot: 0 }),
            (None, SaveAt::Times(times)) => {
                let point = |(slot, &t)| SavePoint { t: self.problem.settled(t), slot };
                self.saves.extend(times.iter().enumerate().map(point));
            }
            (Some(_), _) | (None, SaveAt::Steps | SaveAt::Dense) => {}
        }
        let user = self.user_slots();
        self.slots = [user, 0];
        if let Some(draws) = asked.local.as_ref().filter(|d| d.penalty.at == PenaltyAt::Unbiased) {
            let span = t1 - t0;
            self.slots[1] = draws.uniform.len();
            let (ends, noise) = (self.team.ends(), draws.penalty.noise);
            let time = |n| ends.probe_time(t0 + draws.position(n) * span, noise);
            self.saves.extend((0..draws.uniform.len()).map(|n| SavePoint { t: time(n), slot: user + n }));
        }
        for t in asked.pointwise.iter().flat_map(|draws| draws.times(interval)) {
            self.saves.push(SavePoint { t, slot: user + self.slots[1] });
            self.slots[1] += 1;
        }
    }

    /// Solves from the loaded states. `tape` keeps what a backward pass needs.
    ///
    /// # Errors
    /// [`Error::Memory`] when what is kept outgrows the memory limit, [`Error::OutOfMemory`] when it outgrows what the
    /// system has; the solve stops there.
    pub(crate) fn solve(&mut self, tape: bool, asked: &Asked) -> Result<()> {
        let Some(limit) = self.options.memory_limit else {
            self.solve_within(tape, None, asked);
            return self.check_refusals(tape, asked);
        };
        let fitting = self.fitting_steps(limit, tape, asked);
        if fitting > 0 {
            self.solve_within(tape, Some(fitting), asked);
            self.check_refusals(tape, asked)?;
            let stopped = |t: &Tile<R>, l: usize| t.status[l] == Status::MaxSteps && self.accepted(t, l) == fitting;
            if !self.tiles().any(|t| (0..t.used).any(|l| stopped(t, l))) {
                return Ok(());
            }
        }
        Err(self.beyond(limit, self.batch, fitting + 1, tape, asked))
    }

    /// Refuses a solve of which the system did not keep all steps, whose room is given back then, or has none to go back
    /// over those between two checkpoints.
    fn check_refusals(&mut self, tape: bool, asked: &Asked) -> Result<()> {
        let most = |engine: &Self| {
            let lanes = engine.tiles().flat_map(|t| (0..t.used).map(move |l| engine.accepted(t, l)));
            lanes.max().unwrap_or(0)
        };
        if self.tiles().any(|tile| tile.tape.refused) {
            let bytes = self.needed(self.batch, most(self) + 1, tape, asked).0;
            (self.batch, self.capacity) = (0, 0);
            self.team.seat(0, 0, 0);
            return Err(Error::OutOfMemory { what: "the states of accepted steps", bytes });
        }
        let stride = self.recording.keep.stride().filter(|_| tape).map_or(1, NonZero::get);
        let segment = if stride > 1 { stride.min(most(self)) } else { 0 };
        let state = Size(self.team.shape().rows * LANES).bytes::<R>();
        let missing = Size(self.team.missing_states(segment)) * state;
        if missing == Size(0) { Ok(()) } else { memory::ask("the states between two checkpoints", missing) }
    }

    /// Accepted steps of a trajectory.
    fn accepted(&self, tile: &Tile<R>, lane: usize) -> usize {
        match self.options.layout {
            Layout::Lockstep => self.run().map_or(0, |run| run.steps.len()),
            Layout::Ensemble => tile.clock.accepted[lane] as usize,
        }
    }

    fn solve_within(&mut self, tape: bool, limit: Option<usize>, asked: &Asked) {
        self.t1 = asked.end.unwrap_or(self.problem.t1);
        self.plan_saves(asked);
        let keep = self.keep(tape);
        self.recording =
            Recording { keep, ends: tape || keep != Keep::Nothing, limit, measured: asked.global.map(|of| of.measure) };
        let carried = self.learnt.first_step();
        let (team, plan) = self.plan(carried);
        team.solve(&plan);
    }

    /// The accepted states that a solve keeps.
    fn keep(&self, tape: bool) -> Keep {
        match self.options.save_at {
            SaveAt::Dense => Keep::Dense,
            SaveAt::Steps => Keep::Every(NonZero::<usize>::MIN),
            _ if tape => self.options.adjoint.keep(self.options.method),
            _ => Keep::Nothing,
        }
    }

    /// The crews, and what they are asked for.
    fn plan(&mut self, carried: Option<f64>) -> (&mut dyn Team<R>, Plan<'_>) {
        let (ends, unit) = self.clock();
        let Self { team, workers, options, saves, times, slots, recording, paths, .. } = self;
        let own = times.as_ref().map(|times| (times, paths.first));
        let plan = Plan {
            workers,
            ends,
            unit,
            options,
            saves: Saves { points: saves, own },
            slots: *slots,
            recording: *recording,
            carried,
            first: paths.first,
        };
        (&mut **team, plan)
    }

    /// The solve's backward pass with its penalties: `theta_bar` receives the whole gradient, `[parameters]`, and that of the
    /// controls that trajectories share and that it was asked for. Penalties are NaN where no trajectory is left for them.
    ///
    /// # Errors
    /// [`Error::Argument`] for a penalty of accepted steps under an adjoint that keeps none of their states.
    pub(crate) fn backward(&mut self, asked: &Asked, task: &impl TaskWork<R>, theta_bar: &mut [R]) -> Result<Added> {
        let penalised = asked.local.as_ref().map(|draws| self.penalised(draws));
        let rows = self.tiles().map(solved).sum();
        let offset = self.field_offset;
        let measures = std::mem::replace(&mut self.measures, Measures::new());
        let points = self.points(&measures, asked);
        let (team, plan) = self.plan(None);
        let penalties = (penalised, asked.global.map(|global| (global, rows)));
        let added = team.backward(&plan, penalties, task, &points, theta_bar, offset);
        let mut pointwise = PointValues::default();
        for Points { draws: PointDraws { penalty, .. }, rows, .. } in &points {
            let sum: f64 = self.tiles().map(|tile| tile.points[penalty.measure.index()]).sum();
            pointwise.set(penalty.measure, if *rows == 0 { f64::NAN } else { sum }, penalty.coefficient);
        }
        drop(points);
        self.measures = measures;
        let mut added = added?;
        // Of what surrounds the solve: an encoder's own steps.
        if self.tiles().any(|tile| tile.tape.refused) {
            return self.check_refusals(true, asked).map(|()| added);
        }
        added.pointwise = pointwise;
        added.local = match penalised {
            // A mean over no trajectories.
            None => None,
            Some(penalised) if penalised.rows == 0 => Some(f64::NAN),
            Some(_) if self.options.layout == Layout::Lockstep => added.local,
            Some(_) => Some(self.tiles().map(|t| t.penalty).sum()),
        };
        Ok(added)
    }

    /// The tiles with probes, and the solved trajectories in them.
    fn penalised<'a>(&self, draws: &'a Draws) -> Penalised<'a> {
        let (tiles, rows) = self.part(draws.penalty.fraction);
        Penalised { draws, tiles, rows }
    }

    /// The tiles that a share of the batch is, and the solved trajectories in them.
    fn part(&self, fraction: f64) -> (usize, usize) {
        let tiles = penalised_tiles(self.batch.div_ceil(LANES), fraction);
        (tiles, self.tiles().filter(|t| t.index < tiles).map(solved).sum())
    }

    /// The measures at random times.
    fn points<'a>(&self, measures: &'a Measures<R>, asked: &'a Asked) -> Vec<Points<'a, R>> {
        let mut slot = self.slots[0] + self.slots[1] - asked.pointwise.iter().map(PointDraws::slots).sum::<usize>();
        let (mut points, interval) = (Vec::with_capacity(asked.pointwise.len()), self.clock().0);
        for draws in &asked.pointwise {
            let (tiles, rows) = self.part(draws.penalty.fraction);
            if let Some(field) = measures.get(draws.penalty.measure) {
                points.push(Points { draws, field, slot, tiles, rows, interval });
            }
            slot += draws.slots();
        }
        points
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
            (tile.clock.stats(lane), safety.map(|safety| tile.clock.ideal_steps(lane, safety)))
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

    /// How each trajectory's own solve back ended, and how far it came from states that are known, in units of the tolerance;
    /// nothing where the adjoint has no such solve.
    pub(crate) fn returned(&self) -> impl Iterator<Item = (Status, f64)> + '_ {
        let is_solved = self.options.adjoint.is_solved(self.options.method);
        let lanes = self.tiles().filter(move |_| is_solved).flat_map(|t| (0..t.used).map(move |l| (t, l)));
        lanes.map(|(tile, lane)| (tile.returned[lane], tile.drift[lane]))
    }

    /// Evaluations of an encoder's field between observations, a trajectory on average.
    pub(crate) fn encoder_nfe(&self) -> f64 {
        let lanes = self.tiles().flat_map(|t| t.encoded.nfe[..t.used].iter().map(|nfe| f64::from(*nfe)));
        lanes.sum::<f64>() / self.batch as f64
    }

    /// Status of each trajectory.
    pub(crate) fn statuses(&self) -> impl Iterator<Item = Status> + '_ {
        self.tiles().flat_map(|t| t.status[..t.used].iter().copied())
    }
}
