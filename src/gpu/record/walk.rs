//! The discrete adjoint: a walk over the accepted steps, last to first.
//!
//! Step sizes are constants, so rows do not depend on each other; each walks back from its own last step.

use super::vjp::Seed;
use super::{Recorder, Step};
use crate::error::Result;
use crate::gpu::buffers::{Buffers, Purpose};
use crate::gpu::engine::Engine;
use crate::gpu::iterations::DEPTH;
use crate::gpu::kernel;
use crate::gpu::plan::{Plan, Planner, WalkPlans, flat};
use crate::gpu::small;
use crate::gpu::submission::Submissions;
use crate::gpu::wire::args::{InjectArgs, NoArgs, ProbeStoreArgs, ReduceArgs, WalkArgs, WholeAdjointArgs};
use crate::gpu::wire::head::Head;
use crate::gpu::wire::modes::{BarUpdate, SecondBar, Store, Walk};
use crate::gpu::wire::records::Outcome;
use crate::gpu::wire::word;
use crate::method::{FirstStage, PenaltyAt, PenaltyGradient, penalised_rows};

impl Engine {
    /// Parts in which the gradient is summed: enough for the device to be busy, few enough to be added quickly.
    pub(crate) fn splits(&self, rows: usize, purpose: Purpose) -> usize {
        if self.walks_whole(purpose) {
            // One for each workgroup of the walk, which takes several rows an invocation in a large batch.
            self.walk_groups(rows, purpose)
        } else {
            rows.div_ceil(128).clamp(1, 16).max(rows.div_ceil(DEPTH))
        }
    }

    /// Whether each trajectory is walked back whole in one invocation.
    pub(crate) fn walks_whole(&self, purpose: Purpose) -> bool {
        let injected =
            purpose.penalty.is_some_and(|p| p.at == PenaltyAt::Biased && p.gradient == PenaltyGradient::Full);
        self.whole
            && small::has_small_gradient(self.problem.parameter_count())
            && self.checkpoint_stride == 1
            && !self.every_step()
            && !injected
            && purpose.global.is_none()
            && purpose.integrals().next().is_none()
            && self.fits_into_walks(purpose)
    }

    fn clocks(&self, rows: usize) -> usize {
        if self.per_row() { rows } else { 1 }
    }

    /// Points whose cotangents the walk takes up: the caller's, and the others if a penalty's gradient goes on into the state.
    pub(super) fn walk_points(&self, purpose: Purpose) -> usize {
        self.point_count() + if purpose.reaches_states() { purpose.own_points() } else { 0 }
    }

    /// Whether states are saved within steps, so that the last stage has a cotangent of its own.
    pub(super) fn interior(&self, purpose: Purpose) -> bool {
        self.times.is_some()
            || self.walk_points(purpose) > self.point_count()
            || self.user_points().iter().any(|&p| p > 0.0 && p < 1.0)
    }

    /// Whether something else than a step's end depends on its last stage: states saved within it, or its error.
    fn wants_last(&self, purpose: Purpose) -> bool {
        self.interior(purpose) || purpose.global.is_some()
    }

    /// Vector-Jacobian products of the field for each step of the walk.
    pub(crate) fn products_per_step(&self, purpose: Purpose) -> usize {
        self.tableau.stages() - usize::from(self.tableau.fsal() && !self.wants_last(purpose))
    }

    /// Measures the penalised steps, if there are any, and walks back from the loaded cotangents of the saved states: the
    /// gradient is in its buffer then, the cotangent of the initial states in `bar`, and the penalty in the outcome.
    pub(crate) async fn walk_back(&self, rows: usize, buffers: &Buffers, accepted: usize) -> Result<()> {
        let (penalty, plans) = self.gpu.scoped(|| self.record_walk(rows, buffers)).await?;
        // One segment at least: it also leaves the initial states' cotangents where they are looked for.
        let segments = accepted.div_ceil(plans.stride).max(1);
        let mut encoder = self.encoder();
        self.clear_gradient(rows, buffers, &mut encoder);
        encoder.clear_buffer(&self.outcome, std::mem::offset_of!(Outcome, penalty) as u64, Some(4));
        // A step and its vector-Jacobian product cost what four attempts do.
        let step = 4.0 * self.attempt_work(rows);
        let purpose = buffers.sizes.purpose;
        let measured = step * purpose.work_of_a_step(self.tableau);
        let mut to = Submissions::new(self, &mut encoder);
        to.record(&penalty, 1, step * purpose.passes() as f64);
        to.record(&plans.begin, 1, 0.0);
        to.record(&plans.segment, segments, measured * plans.stride.min(accepted) as f64);
        to.record(&plans.end, 1, 0.0);
        drop(to);
        self.gpu.queue.submit([encoder.finish()]);
        self.gpu.check_lost()
    }

    /// Empties the parts of the gradient, and the cotangents of states at random times, which nobody else does.
    pub(crate) fn clear_gradient(&self, rows: usize, buffers: &Buffers, encoder: &mut wgpu::CommandEncoder) {
        encoder.clear_buffer(&buffers.partial, 0, None);
        let own = buffers.sizes.purpose.own_points() as u64;
        if own > 0 {
            let slot = 4 * (rows * self.dim()) as u64;
            encoder.clear_buffer(&buffers.saves_bar, self.point_count() as u64 * slot, Some(own * slot));
        }
    }

    fn record_walk(&self, rows: usize, buffers: &Buffers) -> (Plan, WalkPlans) {
        Planner::record(&self.gpu, |planner| {
            let mut recorder = Recorder { engine: self, buffers, rows, planner };
            recorder.penalties();
            (recorder.planner.take(), recorder.walk())
        })
    }

    /// The stages of the `n`-th accepted step, `[stage][B][D]`, for dense output.
    pub(crate) async fn stages_of_step(&mut self, rows: usize, buffers: &Buffers, n: usize) -> Result<Vec<f32>> {
        let plan = Planner::record(&self.gpu, |planner| {
            let mut recorder = Recorder { engine: self, buffers, rows, planner };
            recorder.aim(Walk::At, n, 1);
            let step = Step { cursors: &buffers.walk_cursors, ..recorder.solving() };
            recorder.keep(step, true, false);
            recorder.planner.take()
        });
        let mut encoder = self.encoder();
        plan.encode(&mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default()));
        self.gpu.queue.submit([encoder.finish()]);
        let size = rows * self.dim();
        let stages = self.tableau.stages();
        let [slots] = self.read::<f32, 1>([(&buffers.k, 0, (stages + 1) * size)]).await?;
        // As `stage_slot` has it: the first stage, the last one of an FSAL method, then the others.
        let slot = |stage: usize| match stage {
            0 => 0,
            _ if stage + 1 == stages && self.tableau.fsal() => 1,
            _ => stage + 1,
        };
        Ok((0..stages).flat_map(|stage| slots[slot(stage) * size..][..size].iter().copied()).collect())
    }
}

impl Recorder<'_, '_> {
    /// Records the walk.
    pub(crate) fn walk(&mut self) -> WalkPlans {
        let (engine, buffers) = (self.engine, self.buffers);
        let stride = if engine.every_step() { 1 } else { engine.checkpoint_stride };
        let cursors = &buffers.walk_cursors;
        let points = if engine.every_step() { 0 } else { engine.walk_points(buffers.sizes.purpose) };
        let walking = Step { cursors, keep: true, points, measured: true, ..self.solving() };
        if engine.stands_still() {
            return self.no_walk();
        }
        if engine.walks_whole(buffers.sizes.purpose) {
            return self.whole_walk();
        }
        self.aim(Walk::Begin, 0, stride);
        self.bar(walking, BarUpdate::Clear, &[]);
        if let Some(tile) = engine.tile_back(self.rows, buffers.sizes.purpose) {
            let begin = self.planner.take();
            return self.tile_walk(tile, begin);
        }
        if engine.noise().is_some_and(|noise| noise.reversible) {
            self.second_bar(walking, SecondBar::Clear);
        }
        let begin = self.planner.take();
        let again = Step { keep: false, ..walking };
        for i in 0..stride - 1 {
            self.aim(Walk::Again, i, stride);
            self.increments(again, None);
            self.retake(again);
        }
        for i in 0..stride {
            self.aim(Walk::Back, i, stride);
            self.bar(walking, BarUpdate::Before, &[]);
            self.increments(walking, None);
            let with_last = engine.wants_last(buffers.sizes.purpose);
            let seed = if buffers.sizes.purpose.global.is_some() { Seed::Error } else { Seed::None };
            // An error is scaled by the step's end.
            self.keep(walking, with_last, seed == Seed::Error);
            if seed == Seed::Error {
                self.error_bar(walking);
            }
            self.step_vjp(walking, seed, FirstStage::Everything, with_last);
            self.inject();
        }
        let segment = self.planner.take();
        let remaining = engine.kernels.get(&kernel::REMAINING, &[]);
        let bound = [&buffers.walk_cursors, &engine.outcome];
        self.planner.add(&remaining, &bound, engine.head(self.rows), NoArgs::default(), [1, 1, 1]);
        self.sum_of_parts();
        WalkPlans { begin, segment, end: self.planner.take(), stride, whole: false }
    }

    /// No walk, of an interval without length: all that was saved is the initial state.
    fn no_walk(&mut self) -> WalkPlans {
        let engine = self.engine;
        let points = if engine.every_step() { 0 } else { engine.point_count() };
        let standing = Step { points, ..self.solving() };
        self.bar(standing, BarUpdate::Clear, &[]);
        self.bar(standing, BarUpdate::After, &[]);
        let begin = self.planner.take();
        self.sum_of_parts();
        WalkPlans { begin, segment: Plan::default(), end: self.planner.take(), stride: usize::MAX, whole: true }
    }

    /// The sum of the gradient's parts.
    pub(super) fn sum_of_parts(&mut self) {
        let (engine, buffers) = (self.engine, self.buffers);
        let reduce = engine.kernels.get(&kernel::REDUCE, &[]);
        let parts = word(engine.splits(self.rows, buffers.sizes.purpose));
        let args = ReduceArgs { parts, parameters: word(engine.parameters) };
        let bound = [&buffers.partial, &buffers.gradient];
        self.planner.add(&reduce, &bound, engine.head(self.rows), args, flat(engine.parameters.div_ceil(64)));
    }

    /// The walk of whole trajectories: a dispatch for so many steps, and one that puts the initial states' cotangents where a walk layer
    /// by layer has them.
    fn whole_walk(&mut self) -> WalkPlans {
        let (engine, buffers) = (self.engine, self.buffers);
        let counts = engine.kernels.get(&kernel::WALK_COUNTS, &[]);
        let bound = [&buffers.clocks, &buffers.row_status, &engine.outcome, &buffers.row_walks];
        self.planner.add(&counts, &bound, engine.head(self.rows), NoArgs::default(), flat(self.rows.div_ceil(64)));
        let begin = self.planner.take();
        let text = engine.printer().adjoint(engine.interior(buffers.sizes.purpose));
        let adjoint = engine.kernels.printed(&kernel::WHOLE_ADJOINT, &text, &[]);
        let steps = engine.steps_per_walk(self.rows, buffers.sizes.purpose);
        let bars = buffers.sizes.backward.as_ref().map_or(0, |b| b.saves);
        let [hidden, noise_hidden] = engine.hidden_units();
        let args = WholeAdjointArgs {
            points: word(engine.walk_points(buffers.sizes.purpose)),
            user_points: word(engine.point_count()),
            path: word(buffers.sizes.points),
            steps: word(steps),
            bar_slot: word(bars),
            hidden,
            noise_hidden,
            parameters: word(engine.parameters),
        };
        let bound = [
            &buffers.row_walks,
            engine.weights(),
            &buffers.tape,
            &buffers.steps,
            &buffers.points,
            &buffers.saves_bar,
            &buffers.partial,
            &engine.knots,
        ];
        let grid = [word(engine.splits(self.rows, buffers.sizes.purpose)), 1, 1];
        self.planner.add(&adjoint, &bound, engine.head(self.rows), args, grid);
        let store = engine.kernels.get(&kernel::PROBE_STORE, &[]);
        let size = self.rows * engine.dim();
        let args = ProbeStoreArgs { source: word(bars * size), ..ProbeStoreArgs::default() };
        let bound = [&buffers.row_status, &engine.params, &buffers.saves_bar, &buffers.bar];
        let head = Head { mode: Store::Put.into(), ..engine.head(self.rows) };
        self.planner.add(&store, &bound, head, args, flat(size.div_ceil(64)));
        let segment = self.planner.take();
        self.sum_of_parts();
        WalkPlans { begin, segment, end: self.planner.take(), stride: steps, whole: true }
    }

    pub(super) fn aim(&mut self, mode: Walk, position: usize, stride: usize) {
        let (engine, buffers) = (self.engine, self.buffers);
        let aim = engine.kernels.get(&kernel::WALK, &[]);
        let head = Head { mode: mode.into(), ..engine.head(self.rows) };
        let segment = 3 + buffers.sizes.steps.div_ceil(stride);
        let args = WalkArgs { stride: word(stride), position: word(position), segment: word(segment) };
        let bound = [&buffers.clocks, &buffers.steps, &engine.outcome, &buffers.walk_cursors];
        self.planner.add(&aim, &bound, head, args, flat(engine.clocks(self.rows).div_ceil(64)));
    }

    fn inject(&mut self) {
        let (engine, buffers) = (self.engine, self.buffers);
        let Some(penalty) = buffers.penalty() else { return };
        if penalty.at != PenaltyAt::Biased || penalty.gradient != PenaltyGradient::Full {
            return;
        }
        let inject = engine.kernels.get(&kernel::INJECT, &[]);
        let rows = penalised_rows(self.rows, penalty.fraction);
        let args = InjectArgs { probes: word(penalty.times), source: 0, target: 0 };
        let mut add = |args: InjectArgs, bar: &wgpu::Buffer| {
            let bound = [&buffers.walk_cursors, &buffers.probe_starts, &buffers.probe_bar, bar];
            self.planner.add(&inject, &bound, engine.head(rows), args, flat((rows * engine.dim()).div_ceil(64)));
        };
        add(args, &buffers.bar);
        if engine.noise().is_some_and(|noise| noise.reversible) {
            let source = word(penalty.times * rows * engine.dim());
            let target = word(engine.second_bar_slot() * self.rows * engine.dim());
            add(InjectArgs { source, target, ..args }, &buffers.state_bars);
        }
    }
}
