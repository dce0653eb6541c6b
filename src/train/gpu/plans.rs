//! What a training step and an evaluation record on the device.

use std::sync::Arc;

use super::drawn::LatentBuffers;
use super::encoder::{Encoder, EncoderBuffers};
use super::frozen::FrozenMask;
use super::map::{Map, MapBuffers};
use super::series::SeriesMap;
use crate::error::{Cure, Result};
use crate::gpu::args::{DenseArgs, GradientNormArgs, NextStepArgs, SettleArgs, UpdateArgs};
use crate::gpu::{
    Buffers, DENSE, DENSE_VJP_INPUT, Engine, GRADIENT_NORM, Gpu, Head, Jobs, LayerVjp, NEXT_STEP, Params, Plan,
    Planner, Recorder, SETTLE, Series, SolvePlans, UPDATE, WalkPlans, coefficients, create, dense_args,
    dense_vjp_input_args, flat, modes, product_grid, time_flag, word,
};
use crate::math::Real;
use crate::memory::{Size, largest};
use crate::problem::Layer;
use crate::train::config::{FailurePolicy, TrainerConfig};
use crate::train::optimizer::{Clip, Rule};

/// The model's layers around the field, and what a step keeps besides the engine's buffers.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) encoder: Option<Encoder>,
    pub(super) head: Option<Map>,
    pub(super) times: usize,
    pub(super) outputs: usize,
    pub(super) inputs: usize,
    /// Numbers of an initial state that is drawn, 0 where it is not.
    pub(super) drawn: usize,
    /// Whether the targets at hand have weights.
    pub(super) weighed: bool,
    /// Whether samples are weighted by their importance.
    pub(super) importance: bool,
    /// The two moments of the optimizer's rule.
    pub(super) moments: [wgpu::Buffer; 2],
    /// Whether an update would make a number that is not finite; 0 when one begins.
    pub(super) overflow: wgpu::Buffer,
    /// What the last training step left, while an evaluation is under way, and what that found.
    pub(super) outcomes: [wgpu::Buffer; 2],
    pub(super) frozen: FrozenMask,
    pub(super) schedule: Schedule,
}

impl Parts {
    const fn per_target(&self) -> usize {
        per_target(self.weighed)
    }

    const fn numbers_of_a_loss(&self) -> usize {
        numbers_of_a_loss(self.importance)
    }
}

/// Numbers that a target has of an output: what it should be, and how much it counts if it is `weighed`.
pub(super) const fn per_target(weighed: bool) -> usize {
    if weighed { 2 } else { 1 }
}

/// Numbers that are kept of a row's loss: it, and whether it was classified correctly; where samples are weighted by their
/// `importance`, also what it counts, and its sample's part of the bound.
pub(super) const fn numbers_of_a_loss(importance: bool) -> usize {
    if importance { 4 } else { 2 }
}

/// Parameters of the steps ahead, an entry a step.
#[derive(Debug)]
pub(super) struct Schedule {
    pub(super) buffer: wgpu::Buffer,
    pub(super) entries: usize,
}

impl Schedule {
    pub(super) fn new(gpu: &Gpu, entries: usize) -> Self {
        let bytes = entries * size_of::<Params>();
        Self { buffer: create(gpu, "schedule", bytes as u64, false), entries }
    }
}

/// A batch on the device.
#[derive(Debug)]
pub(super) struct BatchBuffers {
    pub(super) rows: usize,
    /// Whether the targets have weights.
    pub(super) weighed: bool,
    pub(super) inputs: wgpu::Buffer,
    /// Labels, states, or moments; with weights, states and each number's share of its row's loss, then what a row's shares are
    /// shares of.
    pub(super) targets: wgpu::Buffer,
    outputs: wgpu::Buffer,
    pub(super) outputs_bar: wgpu::Buffer,
    /// `[rows][2]`, and where samples are weighted as many again.
    pub(super) row_losses: wgpu::Buffer,
    pub(super) latent: LatentBuffers,
    /// Means and variances of the outputs, where the loss is of them.
    pub(super) moments: wgpu::Buffer,
    encoder: EncoderBuffers,
    head: MapBuffers,
}

impl BatchBuffers {
    /// Checks that the arrays of a batch fit into bindings.
    pub(super) fn check(gpu: &Gpu, parts: &Parts, rows: usize) -> Result<()> {
        let widest = |rows: usize| {
            let outputs = Size(parts.times) * rows * parts.outputs * parts.per_target();
            let widest = |widths: Option<Vec<usize>>| widths.into_iter().flatten().max().unwrap_or(0);
            let encoder = widest(parts.encoder.as_ref().map(Encoder::widths));
            let head = widest(parts.head.as_ref().map(|map| map.widths().to_vec()));
            let maps = (Size(rows) * encoder).max(Size(parts.times) * rows * head);
            let row = parts.inputs.max(parts.numbers_of_a_loss()).max(2 * parts.drawn);
            (4 * (outputs + rows).max(Size(rows) * row).max(maps)).0 as u64
        };
        let fits = |rows: usize| gpu.limit_below(widest(rows)).is_none();
        let cure = || Cure::Batch(largest(rows.saturating_sub(1), fits));
        gpu.check_binding(|| format!("inputs or outputs of a batch of {rows}"), widest(rows), cure)
    }

    pub(super) async fn new(engine: &Engine, parts: &Parts, rows: usize) -> Result<Self> {
        let outputs = 4 * (parts.times * rows * parts.outputs) as u64;
        let own = if parts.head.is_some() { outputs } else { 0 };
        let gpu = &engine.gpu;
        let poison = gpu.runtime_checks();
        gpu.scoped(|| Self {
            rows,
            weighed: parts.weighed,
            inputs: create(gpu, "batch inputs", 4 * (rows * parts.inputs) as u64, poison),
            // Labels, and sums of weights; moments are of two rows at least.
            targets: create(gpu, "batch targets", parts.per_target() as u64 * outputs + 4 * rows as u64, poison),
            outputs: create(gpu, "outputs", own, poison),
            outputs_bar: create(gpu, "outputs_bar", outputs, poison),
            row_losses: create(gpu, "row losses", 4 * (rows * parts.numbers_of_a_loss()) as u64, poison),
            latent: LatentBuffers::new(gpu, rows, parts.drawn, poison),
            moments: create(gpu, "moments", 8 * (parts.times * parts.outputs) as u64, poison),
            encoder: EncoderBuffers::new(gpu, parts.encoder.as_ref(), rows, poison),
            head: MapBuffers::new(gpu, parts.head.as_ref(), parts.times * rows, poison),
        })
        .await
    }

    /// The model's outputs: the head's, or the saved states themselves.
    pub(super) const fn outputs<'a>(&'a self, buffers: &'a Buffers, parts: &Parts) -> &'a wgpu::Buffer {
        if parts.head.is_some() { &self.outputs } else { &buffers.saves }
    }
}

/// A training step's recorded parts.
#[derive(Clone, Debug)]
pub(super) struct TrainPlans {
    /// Trajectories of a batch.
    pub(super) rows: usize,
    pub(super) prologue: Plan,
    pub(super) solve: SolvePlans,
    /// Loss, penalty, and the start of the walk.
    pub(super) loss: Plan,
    pub(super) walk: WalkPlans,
    /// The encoder's gradient, the sum of all, and the update.
    pub(super) update: Plan,
    /// The same without an update.
    pub(super) gradient: Plan,
    /// The jobs of all but the solve.
    pub(super) jobs: Arc<Jobs>,
}

/// An evaluation's recorded parts.
#[derive(Clone, Debug)]
pub(super) struct EvaluationPlans {
    pub(super) prologue: Plan,
    pub(super) solve: SolvePlans,
    pub(super) outputs: Plan,
    pub(super) loss: Plan,
}

/// Records plans for one batch size.
#[derive(Debug)]
pub(super) struct TrainRecorder<'a> {
    pub(super) config: &'a TrainerConfig,
    pub(super) engine: &'a Engine,
    pub(super) parts: &'a Parts,
    pub(super) buffers: &'a Buffers,
    pub(super) batch: &'a BatchBuffers,
    /// Trajectories of a batch, for which there may be more room than that; none where nothing is solved.
    pub(super) rows: usize,
    pub(super) schedule: &'a Schedule,
}

impl TrainRecorder<'_> {
    /// What records the solve's part.
    fn solver<'b, 'p>(&'b self, planner: &'b mut Planner<'p>) -> Recorder<'b, 'p> {
        Recorder { engine: self.engine, buffers: self.buffers, rows: self.rows, planner }
    }

    pub(super) fn training(&self, solve: SolvePlans) -> TrainPlans {
        let end = self.engine.problem.t1;
        let (plans, jobs) = Planner::record_until(&self.engine.gpu, end, |planner| {
            self.next_step(planner);
            self.encoder(planner, true);
            let prologue = planner.take();
            self.outputs(planner, true);
            self.loss(planner, true);
            self.head_vjp(planner);
            self.solver(planner).penalties();
            self.solver(planner).learn(modes::Learn::Note);
            let loss = planner.take();
            let walk = self.solver(planner).walk();
            let [update, gradient] = [true, false].map(|update| {
                self.gradient_norm(planner, update);
                if update {
                    self.update(planner);
                    self.solver(planner).learn(modes::Learn::Learn);
                }
                planner.take()
            });
            let walk = self.with_encoder_vjp(planner, walk);
            let rows = self.rows;
            move |jobs| TrainPlans { rows, prologue, solve, loss, walk, update, gradient, jobs }
        });
        plans(jobs)
    }

    pub(super) fn evaluation(&self, solve: SolvePlans) -> EvaluationPlans {
        Planner::record(&self.engine.gpu, |planner| {
            self.encoder(planner, false);
            let prologue = planner.take();
            self.outputs(planner, false);
            let outputs = planner.take();
            self.loss(planner, false);
            EvaluationPlans { prologue, solve, outputs, loss: planner.take() }
        })
    }

    /// Takes the schedule's entry of the step at hand.
    fn next_step(&self, planner: &mut Planner<'_>) {
        let buffers = self.buffers;
        let purpose = buffers.sizes.purpose;
        let hooks = purpose.hooks();
        let next = self.engine.kernels.get(&NEXT_STEP, &[]);
        let args = NextStepArgs {
            entries: word(self.schedule.entries),
            first_draw: word(self.engine.first_draw(purpose)),
            draws: word(purpose.draws()),
            paths: word(buffers.sizes.points),
            learns: self.engine.learns(&hooks),
            follows: Engine::follows(&hooks),
            start: hooks.followed().map_or(0.0, |followed| f32::from_f64(followed.start)),
        };
        let bound =
            [&self.schedule.buffer, &self.engine.outcome, &self.engine.params, &buffers.points, &self.engine.learnt];
        planner.add(&next, &bound, self.engine.head(self.rows), args, [1, 1, 1]);
    }

    /// What a linear layer outside the solve is told: no cursor decides about it.
    fn outer_head(&self, rows: usize, layer: &Layer) -> Head {
        let flags = modes::flag::ALWAYS | modes::flag::LINEAR | time_flag(layer);
        Head { per_row: 0, flags, ..self.engine.head(rows) }
    }

    /// From inputs to initial states, where something does that; `keep` leaves what its gradient needs.
    fn encoder(&self, planner: &mut Planner<'_>, keep: bool) {
        let Some(encoder) = &self.parts.encoder else { return };
        self.solver(planner).narrow();
        let start = 2 * self.rows * self.engine.dim();
        if self.config.model.latent {
            self.encode(planner, encoder, keep, (&self.batch.latent.given, 0));
            self.draw(planner, start);
        } else {
            self.encode(planner, encoder, keep, (&self.buffers.tape, start));
        }
    }

    /// The encoder's outputs, to `result` from a number on.
    fn encode(&self, planner: &mut Planner<'_>, encoder: &Encoder, keep: bool, result: (&wgpu::Buffer, usize)) {
        let (buffers, rows) = (self.buffers, self.rows);
        let layer = match encoder {
            Encoder::Map(Map::Layer(layer)) => layer,
            Encoder::Map(Map::Program(program)) => {
                let of = self.batch.encoder.map.outside(program, self.buffers, [1, rows]);
                return self.solver(planner).outside(of, keep, &self.batch.inputs, result);
            }
            Encoder::Series(series) => {
                if let Some(of) = self.series(series) {
                    self.solver(planner).series(of, keep, result);
                }
                return;
            }
        };
        let args = DenseArgs { target: word(result.1), ..dense_args(layer) };
        let grid = product_grid(rows, layer.outputs, 1);
        let dense = self.engine.kernels.product(&DENSE, grid);
        let mut bound =
            vec![&buffers.cursors, self.engine.weights(), &self.batch.inputs, result.0, &self.batch.row_losses];
        bound.extend(self.engine.records(buffers));
        planner.add(&dense, &bound, self.outer_head(rows, layer), args, grid);
    }

    /// The encoder of series with its room.
    fn series<'b>(&'b self, map: &'b SeriesMap) -> Option<Series<'b>> {
        let room = self.batch.encoder.series.as_ref()?;
        Some(room.series(map, self.buffers, &self.batch.inputs, self.rows))
    }

    /// From saved states to outputs; `keep` leaves what the head's gradient needs.
    fn outputs(&self, planner: &mut Planner<'_>, keep: bool) {
        let buffers = self.buffers;
        let rows = self.rows;
        let settle = self.engine.kernels.get(&SETTLE, &[]);
        let head = Head { mode: modes::Settle::Zero.into(), ..self.engine.head(rows) };
        let args = SettleArgs { points: word(self.parts.times), missing: 0.0, first: 0 };
        let size = self.parts.times * rows * self.engine.dim();
        let bound = [&buffers.row_status, &buffers.saves, &buffers.points];
        planner.add(&settle, &bound, head, args, flat(size.div_ceil(64)));
        let layer = match &self.parts.head {
            None => return,
            Some(Map::Layer(layer)) => layer,
            Some(Map::Program(program)) => {
                let of = self.batch.head.outside(program, buffers, [self.parts.times, rows]);
                return self.solver(planner).outside(of, keep, &buffers.saves, (&self.batch.outputs, 0));
            }
        };
        let rows = self.parts.times * rows;
        let grid = product_grid(rows, layer.outputs, 1);
        let dense = self.engine.kernels.product(&DENSE, grid);
        let mut bound =
            vec![&buffers.cursors, self.engine.weights(), &buffers.saves, &self.batch.outputs, &self.batch.row_losses];
        bound.extend(self.engine.records(buffers));
        planner.add(&dense, &bound, self.outer_head(rows, layer), dense_args(layer), grid);
    }

    /// The head's gradient, and the cotangents of the saved states.
    fn head_vjp(&self, planner: &mut Planner<'_>) {
        let buffers = self.buffers;
        let layer = match &self.parts.head {
            None => return,
            Some(Map::Layer(layer)) => layer,
            Some(Map::Program(program)) => {
                let of = self.batch.head.outside(program, buffers, [self.parts.times, self.rows]);
                return self.solver(planner).outside_vjp(of, &self.batch.outputs_bar, Some(&buffers.saves_bar));
            }
        };
        let rows = self.parts.times * self.rows;
        self.solver(planner).layer_vjp(LayerVjp {
            layer,
            cursors: &buffers.cursors,
            head: self.outer_head(rows, layer),
            node: 0.0,
            input: &buffers.saves,
            source: 0,
            z_bar: &self.batch.outputs_bar,
            z_bar_offset: 0,
        });
        let grid = product_grid(rows, layer.inputs, 1);
        let kernel = self.engine.kernels.product(&DENSE_VJP_INPUT, grid);
        let bound = [
            &buffers.cursors,
            self.engine.weights(),
            &self.batch.outputs_bar,
            &self.batch.row_losses,
            &buffers.saves_bar,
        ];
        planner.add(&kernel, &bound, self.outer_head(rows, layer), dense_vjp_input_args(layer), grid);
    }

    /// The walk, with the encoder's gradient before its end.
    fn with_encoder_vjp(&self, planner: &mut Planner<'_>, mut walk: WalkPlans) -> WalkPlans {
        let Some(map) = &self.parts.encoder else { return walk };
        let buffers = self.buffers;
        let bar = if self.config.model.latent {
            self.draw_vjp(planner);
            &self.batch.latent.given_bar
        } else {
            &buffers.bar
        };
        match map {
            Encoder::Map(Map::Layer(layer)) => self.solver(planner).layer_vjp(LayerVjp {
                layer,
                cursors: &buffers.cursors,
                head: self.outer_head(self.rows, layer),
                node: 0.0,
                input: &self.batch.inputs,
                source: 0,
                z_bar: bar,
                z_bar_offset: 0,
            }),
            Encoder::Map(Map::Program(program)) => {
                let of = self.batch.encoder.map.outside(program, buffers, [1, self.rows]);
                self.solver(planner).outside_vjp(of, bar, None);
            }
            Encoder::Series(series) => {
                if let Some(of) = self.series(series) {
                    self.solver(planner).series_vjp(of, bar);
                }
            }
        }
        let mut end = planner.take();
        end.append(&walk.end);
        walk.end = end;
        walk
    }

    /// The update along the gradient that is there, whoever wrote it.
    pub(super) fn apply(&self) -> Plan {
        Planner::record(&self.engine.gpu, |planner| {
            self.gradient_norm(planner, true);
            self.update(planner);
            self.solver(planner).learn(modes::Learn::Learn);
            planner.take()
        })
    }

    /// The gradient's norm, after a walk if anything was solved.
    fn gradient_norm(&self, planner: &mut Planner<'_>, update: bool) {
        let buffers = self.buffers;
        let kernel = self.engine.kernels.get(&GRADIENT_NORM, &[]);
        let abort = self.config.failure == FailurePolicy::Abort;
        let walks = self.rows > 0 && !self.engine.stands_still() && self.engine.walks_whole(buffers.sizes.purpose);
        let args = GradientNormArgs {
            parameters: word(self.engine.parameters),
            least: word(self.config.loss.least()),
            abort: u32::from(abort),
            alone: u32::from(!update),
            whole: u32::from(walks),
            freezes: u32::from(self.parts.frozen.any),
        };
        let bound = [&buffers.gradient, &self.engine.outcome, &buffers.row_walks, &self.parts.frozen.words];
        planner.add(&kernel, &bound, self.engine.head(self.rows), args, [1, 1, 1]);
    }

    fn update(&self, planner: &mut Planner<'_>) {
        let buffers = self.buffers;
        let kernel = self.engine.kernels.get(&UPDATE, &[]);
        let (rule, beta1, beta2, epsilon) = match self.config.optimizer.rule {
            Rule::Sgd { momentum: 0.0, .. } => (modes::Rule::Sgd, 0.0, 0.0, 0.0),
            Rule::Sgd { momentum, nesterov: false } => (modes::Rule::Momentum, momentum, 0.0, 0.0),
            Rule::Sgd { momentum, nesterov: true } => (modes::Rule::Nesterov, momentum, 0.0, 0.0),
            Rule::Adam { beta1, beta2, epsilon } => (modes::Rule::Adam, beta1, beta2, epsilon),
            Rule::AdamW { beta1, beta2, epsilon, .. } => (modes::Rule::AdamW, beta1, beta2, epsilon),
            Rule::AdaMax { beta1, beta2, epsilon } => (modes::Rule::AdaMax, beta1, beta2, epsilon),
            Rule::AdaBelief { beta1, beta2, epsilon } => (modes::Rule::AdaBelief, beta1, beta2, epsilon),
            Rule::RmsProp { decay, epsilon } => (modes::Rule::RmsProp, 0.0, decay, epsilon),
        };
        let (clip, bound) = match self.config.optimizer.clip {
            None => (modes::Clip::None, 0.0),
            Some(Clip::Norm(bound)) => (modes::Clip::Norm, bound),
            Some(Clip::Value(bound)) => (modes::Clip::Value, bound),
        };
        let head = Head { mode: rule.into(), ..self.engine.head(self.rows) };
        let args = UpdateArgs {
            beta: coefficients([beta1, 1.0 - beta1, beta2, 1.0 - beta2]),
            epsilon: f32::from_f64(epsilon),
            bound: f32::from_f64(bound),
            clip: clip.into(),
            update: modes::Update::Look.into(),
            abort: u32::from(self.config.failure == FailurePolicy::Abort),
            parameters: word(self.engine.parameters),
            freezes: u32::from(self.parts.frozen.any),
        };
        let bound = [
            &self.engine.outcome,
            &self.engine.params,
            &buffers.gradient,
            &self.engine.theta,
            &self.parts.moments[0],
            &self.parts.moments[1],
            &self.parts.overflow,
            &self.parts.frozen.words,
        ];
        // First to see whether all of it would be finite, then to do it.
        for update in [modes::Update::Look, modes::Update::Make] {
            let args = UpdateArgs { update: update.into(), ..args };
            planner.add(&kernel, &bound, head, args, flat(self.engine.parameters.div_ceil(64)));
        }
    }
}
