//! The discrete adjoint on the device: a walk over the accepted steps, last to first.
//!
//! Step sizes are constants, so rows do not depend on each other; each walks back from its own last step.

use super::buffers::Buffers;
use super::engine::Engine;
use super::forward::{Context, time_flag};
use super::fused;
use super::iterations::DEPTH;
use super::kernel;
use super::noise::{Network, Weights};
use super::plan::{Plan, Planner, WalkPlans, flat};
use super::submission::Submissions;
use super::wire::args::{
    BarUpdateArgs, DenseVjpInputArgs, DenseVjpWeightsArgs, InjectArgs, NoArgs, ProbeStoreArgs, ReduceArgs,
    StageBarArgs, WalkArgs, WholeAdjointArgs,
};
use super::wire::head::Head;
use super::wire::job::coefficients;
use super::wire::modes::{BarUpdate, SecondBar, StageBar, Walk, flag};
use super::wire::records::Outcome;
use super::wire::word;
use crate::error::Result;
use crate::math::Real;
use crate::method::{PenaltyAt, PenaltyGradient, StepPenalty, penalised_rows};
use crate::problem::Layer;

/// What the first stage passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FirstStage {
    /// Parameter and state cotangents.
    Everything,
    /// Parameter cotangents: the state is a constant.
    Parameters,
    /// Nothing: `k1` is a constant.
    Nothing,
}

/// What else a step's loss depends on, besides its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seed {
    /// Nothing.
    None,
    /// The error estimate, whose cotangent is in the slot after the stages', and the start, in the one after it.
    Error,
    /// The differences of the last two stages, and of their states, in the same slots.
    Stiffness,
}

impl Engine {
    /// Parts in which the gradient is summed: enough for the device to be busy, few enough to be added quickly.
    pub(crate) fn splits(&self, rows: usize, penalty: Option<StepPenalty>) -> usize {
        if self.walks_whole(penalty) {
            // One for each workgroup of the walk, which takes several rows an invocation in a large batch.
            self.walk_groups(rows, penalty)
        } else {
            rows.div_ceil(128).clamp(1, 16).max(rows.div_ceil(DEPTH))
        }
    }

    /// Whether each trajectory is walked back whole in one invocation.
    pub(crate) fn walks_whole(&self, penalty: Option<StepPenalty>) -> bool {
        let injected = penalty.is_some_and(|p| p.at == PenaltyAt::Biased && p.gradient == PenaltyGradient::Full);
        self.whole
            && fused::has_small_gradient(&self.layers, &self.noise_layers)
            && self.options.adjoint.stride() == 1
            && !self.every_step()
            && !injected
            && self.fits_into_walks(penalty)
    }

    fn clocks(&self) -> usize {
        if self.per_row() { self.batch } else { 1 }
    }

    /// Points whose cotangents the walk takes up: the caller's, and the probes' if the gradient goes on into the state.
    fn walk_points(&self, penalty: Option<StepPenalty>) -> usize {
        let probes = penalty.filter(|p| p.at == PenaltyAt::Unbiased && p.gradient == PenaltyGradient::Full);
        self.user_points().len() + probes.map_or(0, |p| p.times)
    }

    /// Whether states are saved within steps, so that the last stage has a cotangent of its own.
    fn interior(&self, penalty: Option<StepPenalty>) -> bool {
        self.walk_points(penalty) > self.user_points().len() || self.user_points().iter().any(|&p| p > 0.0 && p < 1.0)
    }

    /// Vector-Jacobian products of the field for each step of the walk.
    pub(crate) fn products_per_step(&self, penalty: Option<StepPenalty>) -> usize {
        self.tableau.stages() - usize::from(self.tableau.fsal() && !self.interior(penalty))
    }

    /// Records the walk.
    pub(crate) fn plan_walk(&self, planner: &mut Planner<'_>, buffers: &Buffers) -> WalkPlans {
        let stride = if self.every_step() { 1 } else { self.options.adjoint.stride() };
        let cursors = &buffers.walk_cursors;
        let points = if self.every_step() { 0 } else { self.walk_points(buffers.penalty()) };
        let walking = Context { cursors, keep: true, points, ..self.solving(buffers) };
        if self.problem.stands_still() {
            return self.plan_no_walk(planner, buffers);
        }
        if self.walks_whole(buffers.penalty()) {
            return self.plan_whole_walk(planner, buffers);
        }
        self.plan_aim(planner, buffers, Walk::Begin, 0, stride);
        self.plan_bar(planner, buffers, walking, BarUpdate::Clear, &[]);
        if self.noise().is_some_and(|noise| noise.reversible) {
            self.plan_second_bar(planner, buffers, walking, SecondBar::Clear);
        }
        let begin = planner.take();
        let again = Context { keep: false, ..walking };
        for i in 0..stride - 1 {
            self.plan_aim(planner, buffers, Walk::Again, i, stride);
            self.plan_increments(planner, buffers, again, None);
            self.plan_retake(planner, buffers, again);
        }
        for i in 0..stride {
            self.plan_aim(planner, buffers, Walk::Back, i, stride);
            self.plan_bar(planner, buffers, walking, BarUpdate::Before, &[]);
            self.plan_increments(planner, buffers, walking, None);
            let interior = self.interior(buffers.penalty());
            self.plan_keep(planner, buffers, walking, interior);
            self.plan_step_vjp(planner, buffers, walking, Seed::None, FirstStage::Everything, interior);
            self.plan_injection(planner, buffers);
        }
        let segment = planner.take();
        let remaining = self.kernels.get(&kernel::REMAINING, &[]);
        let bound = [&buffers.walk_cursors, &self.outcome];
        planner.add(&remaining, &bound, self.head(self.batch), NoArgs::default(), [1, 1, 1]);
        self.plan_sum(planner, buffers);
        WalkPlans { begin, segment, end: planner.take(), stride, whole: false }
    }

    /// No walk, of an interval without length: all that was saved is the initial state.
    fn plan_no_walk(&self, planner: &mut Planner<'_>, buffers: &Buffers) -> WalkPlans {
        let points = if self.every_step() { 0 } else { self.user_points().len() };
        let standing = Context { points, ..self.solving(buffers) };
        self.plan_bar(planner, buffers, standing, BarUpdate::Clear, &[]);
        self.plan_bar(planner, buffers, standing, BarUpdate::After, &[]);
        let begin = planner.take();
        self.plan_sum(planner, buffers);
        WalkPlans { begin, segment: Plan::default(), end: planner.take(), stride: usize::MAX, whole: true }
    }

    /// The sum of the gradient's parts.
    fn plan_sum(&self, planner: &mut Planner<'_>, buffers: &Buffers) {
        let reduce = self.kernels.get(&kernel::REDUCE, &[]);
        let parts = word(self.splits(self.batch, buffers.penalty()));
        let args = ReduceArgs { parts, parameters: word(self.parameters) };
        let bound = [&buffers.partial, &buffers.gradient];
        planner.add(&reduce, &bound, self.head(self.batch), args, flat(self.parameters.div_ceil(64)));
    }

    /// The walk of whole trajectories: a dispatch for so many steps, and one that puts the initial states' cotangents where a walk layer
    /// by layer has them.
    fn plan_whole_walk(&self, planner: &mut Planner<'_>, buffers: &Buffers) -> WalkPlans {
        let counts = self.kernels.get(&kernel::WALK_COUNTS, &[]);
        let bound = [&buffers.clocks, &buffers.row_status, &self.outcome, &buffers.norms];
        planner.add(&counts, &bound, self.head(self.batch), NoArgs::default(), flat(self.batch.div_ceil(64)));
        let begin = planner.take();
        let text = self.printer().adjoint(self.interior(buffers.penalty()));
        let adjoint = self.kernels.printed(&kernel::WHOLE_ADJOINT, &text, &[]);
        let steps = self.steps_per_walk(buffers.penalty());
        let bars = buffers.sizes.backward.as_ref().map_or(0, |b| b.saves);
        let [hidden, noise_hidden] = self.hidden_units();
        let args = WholeAdjointArgs {
            points: word(self.walk_points(buffers.penalty())),
            user_points: word(self.user_points().len()),
            path: word(buffers.sizes.points),
            steps: word(steps),
            bar_slot: word(bars),
            hidden,
            noise_hidden,
            parameters: word(self.parameters),
        };
        let bound = [
            &buffers.norms,
            self.weights(),
            &buffers.tape,
            &buffers.steps,
            &buffers.points,
            &buffers.saves_bar,
            &buffers.partial,
        ];
        let grid = [word(self.splits(self.batch, buffers.penalty())), 1, 1];
        planner.add(&adjoint, &bound, self.head(self.batch), args, grid);
        let store = self.kernels.get(&kernel::PROBE_STORE, &[]);
        let size = self.batch * self.dim();
        let args = ProbeStoreArgs { source: word(bars * size), target: 0 };
        let bound = [&buffers.row_status, &buffers.saves_bar, &buffers.bar];
        planner.add(&store, &bound, self.head(self.batch), args, flat(size.div_ceil(64)));
        let segment = planner.take();
        self.plan_sum(planner, buffers);
        WalkPlans { begin, segment, end: planner.take(), stride: steps, whole: true }
    }

    fn plan_aim(&self, planner: &mut Planner<'_>, buffers: &Buffers, mode: Walk, position: usize, stride: usize) {
        let aim = self.kernels.get(&kernel::WALK, &[]);
        let head = Head { mode: mode.into(), ..self.head(self.batch) };
        let segment = 3 + buffers.sizes.steps.div_ceil(stride);
        let args = WalkArgs { stride: word(stride), position: word(position), segment: word(segment) };
        let bound = [&buffers.clocks, &buffers.steps, &self.outcome, &buffers.walk_cursors];
        planner.add(&aim, &bound, head, args, flat(self.clocks().div_ceil(64)));
    }

    /// Takes the context's step again, to its end on the tape.
    pub(crate) fn plan_retake(&self, planner: &mut Planner<'_>, buffers: &Buffers, context: Context<'_>) {
        for stage in 0..self.most_stages() - usize::from(self.tableau.fsal()) {
            self.plan_stage(planner, buffers, context, stage, 0);
        }
        if self.tableau.fsal() {
            // The last row of `a` is `b`, and does without the last stage.
            let end = self.tableau.a[self.tableau.stages() - 1];
            let weights = Weights::of_drift(end);
            self.plan_combination(planner, buffers, context, self.drift(buffers), weights, flag::END, 0);
        } else {
            self.plan_end(planner, buffers, context);
        }
    }

    /// Takes the context's step and keeps what its vector-Jacobian product needs; the last stage of an FSAL method only
    /// `with_last`.
    pub(crate) fn plan_keep(
        &self,
        planner: &mut Planner<'_>,
        buffers: &Buffers,
        context: Context<'_>,
        with_last: bool,
    ) {
        for stage in 0..self.most_stages() - usize::from(self.tableau.fsal() && !with_last) {
            self.plan_stage(planner, buffers, context, stage, 0);
        }
    }

    pub(crate) fn plan_bar(
        &self,
        planner: &mut Planner<'_>,
        buffers: &Buffers,
        context: Context<'_>,
        mode: BarUpdate,
        weights: &[(usize, f64)],
    ) {
        let kernel = self.kernels.get(&kernel::BAR_UPDATE, &[]);
        let head = Head { mode: mode.into(), ..self.head(context.rows) };
        let args = BarUpdateArgs {
            weights: slots(weights),
            slots: word(self.error_bar_slot() + 2),
            points: word(context.points),
            user_points: word(self.user_points().len()),
            every_step: u32::from(self.every_step() && context.tape == &buffers.tape),
        };
        let bound = [
            context.cursors,
            &buffers.row_status,
            &buffers.state_bars,
            &buffers.saves_bar,
            &buffers.points,
            &buffers.bar,
        ];
        planner.add(&kernel, &bound, head, args, flat((context.rows * self.dim()).div_ceil(64)));
    }

    /// The vector-Jacobian product of the context's kept step: adds to the partial gradients and replaces the cotangent
    /// of the step's end in `bar` by that of its start, as `cpu::step` does.
    pub(crate) fn plan_step_vjp(
        &self,
        planner: &mut Planner<'_>,
        buffers: &Buffers,
        context: Context<'_>,
        seed: Seed,
        first: FirstStage,
        with_last: bool,
    ) {
        let tableau = self.tableau;
        if let Some(noise) = tableau.noise {
            return self.plan_noisy_vjp(planner, buffers, context, noise, seed, first);
        }
        let stages = tableau.stages();
        let fsal = tableau.fsal();
        // Stages whose states are not the step's end, where the cotangent joins that of the end.
        let count = if fsal { stages - 1 } else { stages };
        let error_weights = if seed == Seed::Error { tableau.b_error } else { None };
        for i in (0..stages).rev() {
            let is_end = fsal && i + 1 == stages;
            if (is_end && !with_last) || (i == 0 && first == FirstStage::Nothing) {
                continue;
            }
            let mut weights: Vec<(usize, f64)> = (i + 1..count).map(|j| (j, tableau.a[j][i])).collect();
            if let Some(error_weights) = error_weights {
                weights.push((stages, error_weights[i]));
            }
            let mut extra = 0.0;
            if seed == Seed::Stiffness {
                // The state of the last stage but one has the difference's cotangent with a minus.
                if i + 2 < stages {
                    weights.push((stages + 1, -tableau.a[stages - 2][i]));
                }
                extra = match stages - i {
                    1 => 1.0,
                    2 => -1.0,
                    _ => 0.0,
                };
            }
            let args = StageBarArgs {
                weights: slots(&weights),
                end: coefficients([tableau.b[i]]),
                stage: word(i),
                points: word(context.points),
                user_points: word(self.user_points().len()),
                difference: extra,
                ..StageBarArgs::default()
            };
            self.plan_stage_bar(planner, buffers, context, StageBar::Drift, args);
            let wants_state = i > 0 || first == FirstStage::Everything;
            self.plan_network_vjp(planner, buffers, context, self.drift(buffers), i, wants_state);
            if is_end {
                let join: &[(usize, f64)] =
                    if seed == Seed::Stiffness { &[(i, 1.0), (stages + 1, 1.0)] } else { &[(i, 1.0)] };
                self.plan_bar(planner, buffers, context, BarUpdate::Join, join);
            }
        }
        if first == FirstStage::Everything {
            let mut weights: Vec<(usize, f64)> = (0..count).map(|j| (j, 1.0)).collect();
            match seed {
                Seed::None => {}
                Seed::Error => weights.push((stages + 1, 1.0)),
                Seed::Stiffness => weights.push((stages + 1, -1.0)),
            }
            self.plan_bar(planner, buffers, context, BarUpdate::After, &weights);
        }
    }

    /// The cotangent of a stage.
    pub(crate) fn plan_stage_bar(
        &self,
        planner: &mut Planner<'_>,
        buffers: &Buffers,
        context: Context<'_>,
        mode: StageBar,
        args: StageBarArgs,
    ) {
        let kernel = self.kernels.get(&kernel::STAGE_BAR, &[]);
        let head = Head { mode: mode.into(), ..self.head(context.rows) };
        let args = StageBarArgs { error_slot: word(self.error_bar_slot()), ..args };
        let mut bound =
            vec![context.cursors, &buffers.row_status, &buffers.bar, &buffers.state_bars, &buffers.stage_bar];
        match self.noise() {
            None => bound.extend([&buffers.saves_bar, &buffers.points]),
            Some(_) => bound.push(&buffers.increments),
        }
        planner.add(&kernel, &bound, head, args, flat((context.rows * self.dim()).div_ceil(64)));
    }

    /// From the cotangent of a kept stage to those of the parameters, and of the stage's state if that is wanted.
    pub(crate) fn plan_network_vjp(
        &self,
        planner: &mut Planner<'_>,
        buffers: &Buffers,
        context: Context<'_>,
        network: Network<'_>,
        stage: usize,
        wants_state: bool,
    ) {
        let rows = context.rows;
        let head = network.head(self.head(rows));
        let mut z_bar = &buffers.stage_bar;
        for (l, layer) in network.layers.iter().enumerate().rev() {
            self.plan_layer_vjp(
                planner,
                buffers,
                LayerVjp {
                    layer,
                    cursors: context.cursors,
                    head,
                    node: network.c[stage],
                    input: &network.inputs[l],
                    source: stage * rows * layer.inputs,
                    z_bar,
                    z_bar_offset: 0,
                },
            );
            if l == 0 && !wants_state {
                return;
            }
            let x_bar = match l {
                0 => &buffers.state_bars,
                _ if l.is_multiple_of(2) => &buffers.cotangents0,
                _ => &buffers.cotangents1,
            };
            let linear = if l == 0 && head.flags & flag::CUBE == 0 { flag::LINEAR } else { 0 };
            let args = DenseVjpInputArgs {
                target: if l == 0 { word((network.bar_slot + stage) * rows * self.dim()) } else { 0 },
                derivative: word(stage * rows * layer.inputs),
                ..dense_vjp_input_args(layer)
            };
            let grid = kernel::product_grid(rows, layer.inputs, 1);
            let kernel = self.kernels.product(&kernel::DENSE_VJP_INPUT, grid);
            let bound = [context.cursors, self.weights(), z_bar, &network.derivatives[l], x_bar];
            planner.add(&kernel, &bound, Head { flags: head.flags | linear, ..head }, args, grid);
            z_bar = x_bar;
        }
    }

    /// Adds a layer's gradient to the parts.
    pub(crate) fn plan_layer_vjp(&self, planner: &mut Planner<'_>, buffers: &Buffers, vjp: LayerVjp<'_>) {
        let LayerVjp { layer, cursors, head, node, input, source, z_bar, z_bar_offset } = vjp;
        let splits = self.splits(self.batch, buffers.penalty());
        // A head has a row for each trajectory and time; what the parts cannot sum at once they sum in turns.
        let (rows, most) = (head.rows as usize, splits * DEPTH);
        for first in (0..rows).step_by(most) {
            let count = (rows - first).min(most);
            let part_depth = word(count.div_ceil(splits));
            let args = DenseVjpWeightsArgs {
                inputs: word(layer.inputs),
                outputs: word(layer.outputs),
                theta: word(layer.offset),
                source: word(source + first * layer.inputs),
                z_bar: word(z_bar_offset + first * layer.outputs),
                parameters: word(self.parameters),
                part_depth,
                node: f32::from_f64(node),
            };
            let head = Head { rows: word(count), flags: head.flags | time_flag(layer), ..head };
            let parts = head.rows.div_ceil(part_depth.max(1));
            let grid = kernel::product_grid(layer.rows(), layer.outputs, parts);
            let kernel = self.kernels.product(&kernel::DENSE_VJP_WEIGHTS, grid);
            planner.add(&kernel, &[cursors, input, z_bar, &buffers.partial], head, args, grid);
        }
    }

    fn plan_injection(&self, planner: &mut Planner<'_>, buffers: &Buffers) {
        let Some(penalty) = buffers.penalty() else { return };
        if penalty.at != PenaltyAt::Biased || penalty.gradient != PenaltyGradient::Full {
            return;
        }
        let inject = self.kernels.get(&kernel::INJECT, &[]);
        let rows = penalised_rows(self.batch, penalty.fraction);
        let args = InjectArgs { probes: word(penalty.times), source: 0, target: 0 };
        let mut add = |args: InjectArgs, bar: &wgpu::Buffer| {
            let bound = [&buffers.walk_cursors, &buffers.probe_starts, &buffers.probe_bar, bar];
            planner.add(&inject, &bound, self.head(rows), args, flat((rows * self.dim()).div_ceil(64)));
        };
        add(args, &buffers.bar);
        if self.noise().is_some_and(|noise| noise.reversible) {
            let source = word(penalty.times * rows * self.dim());
            let target = word(self.second_bar_slot() * self.batch * self.dim());
            add(InjectArgs { source, target, ..args }, &buffers.state_bars);
        }
    }

    /// Measures the penalised steps, if there are any, and walks back from the loaded cotangents of the saved states: the
    /// gradient is in its buffer then, the cotangent of the initial states in `bar`, and the penalty in the outcome.
    pub(crate) async fn walk_back(&self, buffers: &Buffers, accepted: usize) -> Result<()> {
        let (penalty, plans) = self.gpu.scoped(|| self.record_walk(buffers)).await?;
        // One segment at least: it also leaves the initial states' cotangents where they are looked for.
        let segments = accepted.div_ceil(plans.stride).max(1);
        let mut encoder = self.encoder();
        self.clear_gradient(buffers, &mut encoder);
        encoder.clear_buffer(&self.outcome, std::mem::offset_of!(Outcome, penalty) as u64, Some(4));
        // A step and its vector-Jacobian product cost what four attempts do.
        let step = 4.0 * self.attempt_work();
        let mut to = Submissions::new(self, &mut encoder);
        to.record(&penalty, 1, step * buffers.penalty().map_or(0, |p| p.times) as f64);
        to.record(&plans.begin, 1, 0.0);
        to.record(&plans.segment, segments, step * plans.stride.min(accepted) as f64);
        to.record(&plans.end, 1, 0.0);
        drop(to);
        self.gpu.queue.submit([encoder.finish()]);
        self.gpu.check_lost()
    }

    /// Empties the parts of the gradient, and the cotangents of the probes' states, which nobody else does.
    pub(crate) fn clear_gradient(&self, buffers: &Buffers, encoder: &mut wgpu::CommandEncoder) {
        encoder.clear_buffer(&buffers.partial, 0, None);
        if let Some(penalty) = buffers.penalty() {
            let slot = 4 * (self.batch * self.dim()) as u64;
            let first = self.user_points().len() as u64 * slot;
            encoder.clear_buffer(&buffers.saves_bar, first, Some(penalty.times as u64 * slot));
        }
    }

    fn record_walk(&self, buffers: &Buffers) -> (Plan, WalkPlans) {
        Planner::record(&self.gpu, |planner| {
            if let Some(penalty) = buffers.penalty() {
                self.plan_penalty(planner, buffers, penalty);
            }
            (planner.take(), self.plan_walk(planner, buffers))
        })
    }

    /// The stages of accepted step `step`, `[stage][B][D]`, for dense output.
    pub(crate) async fn stages_of_step(&mut self, buffers: &Buffers, step: usize) -> Result<Vec<f32>> {
        let cursors = &buffers.walk_cursors;
        let context = Context { cursors, ..self.solving(buffers) };
        let plan = Planner::record(&self.gpu, |planner| {
            self.plan_aim(planner, buffers, Walk::At, step, 1);
            self.plan_keep(planner, buffers, context, true);
            planner.take()
        });
        let mut encoder = self.encoder();
        plan.encode(&mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default()));
        self.gpu.queue.submit([encoder.finish()]);
        let size = self.batch * self.dim();
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

/// A layer's part in the gradient.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LayerVjp<'a> {
    pub(crate) layer: &'a Layer,
    pub(crate) cursors: &'a wgpu::Buffer,
    pub(crate) head: Head,
    /// The stage's `c`.
    pub(crate) node: f64,
    pub(crate) input: &'a wgpu::Buffer,
    pub(crate) source: usize,
    pub(crate) z_bar: &'a wgpu::Buffer,
    pub(crate) z_bar_offset: usize,
}

/// A layer's shape and place, for the cotangent of its input.
pub(crate) fn dense_vjp_input_args(layer: &Layer) -> DenseVjpInputArgs {
    DenseVjpInputArgs {
        inputs: word(layer.inputs),
        outputs: word(layer.outputs),
        theta: word(layer.offset),
        ..DenseVjpInputArgs::default()
    }
}

/// Weights of the slots that have any.
pub(crate) fn slots(weights: &[(usize, f64)]) -> [f32; 12] {
    let mut all = [0.0; 12];
    for (slot, weight) in weights {
        all[*slot] = *weight;
    }
    coefficients(all)
}
