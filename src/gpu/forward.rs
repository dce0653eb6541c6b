//! What a solve records: its start, an attempt, its end, and the stages that all of them are made of.

use super::buffers::Buffers;
use super::engine::Engine;
use super::fused;
use super::kernel;
use super::noise::{Network, Weights};
use super::plan::{Plan, Planner, SolvePlans, flat};
use super::wire::args::parts::Controller;
use super::wire::args::{CombineArgs, ControlArgs, DenseArgs, FinishArgs, RowNormArgs, SaveArgs, SolveArgs};
use super::wire::head::Head;
use super::wire::job::coefficients;
use super::wire::modes::{Activation, Control, Norm, Save, SolveWhole, flag};
use super::wire::{capped, word};
use crate::error::Result;
use crate::math::Real;
use crate::method::{self, InitialStep, PenaltyAt, StepControl, penalised_rows};
use crate::problem::{Layer, shortest_step};

/// Which step the stage kernels work on: its cursors and its tape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    pub(crate) cursors: &'a wgpu::Buffer,
    pub(crate) tape: &'a wgpu::Buffer,
    pub(crate) rows: usize,
    /// Whether derivatives are kept, a slot a stage.
    pub(crate) keep: bool,
    /// Save points whose cotangents the steps take up.
    pub(crate) points: usize,
    /// Where the tape of second states begins, if there are any.
    pub(crate) second: usize,
}

impl Context<'_> {
    const fn keeping(&self) -> u32 {
        if self.keep { flag::KEEP } else { 0 }
    }
}

impl Engine {
    /// The steps of the solve.
    pub(crate) fn solving<'a>(&self, buffers: &'a Buffers) -> Context<'a> {
        Context {
            cursors: &buffers.cursors,
            tape: &buffers.tape,
            rows: self.batch,
            keep: false,
            points: 0,
            second: buffers.sizes.second_state(),
        }
    }

    /// What the controller's kernels are told.
    pub(crate) fn controller(&self, buffers: &Buffers, backward: bool) -> Controller {
        let stride = self.stride(backward);
        let control = Controller {
            initial_power: self.initial_power(),
            max_steps: capped(self.options.most_attempts()),
            tape_steps: stride.map_or(u32::MAX, |_| word(buffers.sizes.steps)),
            // Where nothing is kept, no step is so late that it would be.
            stride: stride.map_or(u32::MAX, word),
            first_stop: word(buffers.sizes.first_stop()),
            stops: word(self.stops.len()),
            ..Controller::default()
        };
        match self.options.step_control {
            StepControl::Fixed { steps } => Controller { fixed_steps: word(steps), ..control },
            StepControl::Adaptive { controller, initial_step, .. } => self.adaptive(control, controller, initial_step),
        }
    }

    /// With the numbers of an adaptive one.
    fn adaptive(&self, control: Controller, of: method::Controller, initial_step: InitialStep) -> Controller {
        let (t0, t1) = (self.problem.t0, self.problem.t1);
        let q = self.tableau.error_power();
        let [b1, b2, b3] = of.beta;
        // What the native engine calls too small, as a share of the interval; a path has ticks of 2^-30.
        let resolution = match self.noise() {
            None => shortest_step(t0, t1, t1 - t0) / (t1 - t0).abs(),
            Some(_) => 2f64.powi(-31),
        };
        let length = match initial_step {
            InitialStep::Automatic => 0.0,
            InitialStep::Length(h) => h / (t1 - t0).abs(),
            InitialStep::Carried => -1.0,
        };
        let r = f32::from_f64;
        Controller {
            beta: [b1 / q, b2 / q, b3 / q, of.beta_reject / q].map(r),
            log_safety: r(of.safety.log2()),
            log_floor: r(of.error_floor.log2()),
            min_factor: r(of.min_factor),
            max_factor: r(of.max_factor),
            smallest_share: r(resolution),
            log_initial_error: r(of.initial_error.map_or(0.0, f64::log2)),
            first_length: r(length),
            // No bound is one that no step reaches.
            longest: r(self.options.largest_step.map_or(2.0, |longest| longest / (t1 - t0).abs())),
            first_factor: r(of.first_factor.unwrap_or(of.max_factor)),
            alpha: r(of.alpha),
            finish: r(f64::from(of.finish)),
            blank: r(f64::from(of.initial_error.is_none())),
            error_power: r(1.0 / q),
            ..control
        }
    }

    /// A control kernel's job.
    fn control(&self, buffers: &Buffers, mode: u32, backward: bool) -> (Head, ControlArgs) {
        let recorded = if self.stride(backward).is_some() { flag::RECORD } else { 0 };
        let head = self.head(self.batch);
        let head = Head { mode, flags: head.flags | recorded, ..head };
        (head, ControlArgs { control: self.controller(buffers, backward) })
    }

    /// The controller's safety factor, if there is one.
    pub(crate) const fn safety(&self) -> Option<f64> {
        match self.options.step_control {
            StepControl::Adaptive { controller, .. } => Some(controller.safety),
            StepControl::Fixed { .. } => None,
        }
    }

    /// The exponent of the automatic initial step.
    pub(crate) fn initial_power(&self) -> f32 {
        f32::from_f64(1.0 / self.noise().map_or(self.tableau.error_power(), |noise| noise.strong_order + 0.5))
    }

    /// Points that a solve saves: the caller's, and the times of unbiased probes, which a training step draws.
    fn points_saved(&self, buffers: &Buffers, backward: bool) -> usize {
        let probes = buffers.penalty().filter(|p| backward && p.at == PenaltyAt::Unbiased);
        self.user_points().len() + probes.map_or(0, |p| p.times)
    }

    /// The recorded parts of a solve of the batch.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) where the device refuses one.
    pub(crate) async fn record_solve(&self, buffers: &Buffers, backward: bool) -> Result<SolvePlans> {
        let record = |planner: &mut Planner<'_>| {
            if self.problem.stands_still() {
                self.plan_begin(planner, buffers, backward);
                SolvePlans {
                    start: planner.take(),
                    finish: self.plan_finish(planner, buffers, backward),
                    ..SolvePlans::default()
                }
            } else if self.solves_whole(self.batch) {
                let modes = [SolveWhole::Start, SolveWhole::GoOn];
                let [start, attempt] = modes.map(|mode| self.plan_whole(planner, buffers, mode, backward));
                let finish = self.plan_finish(planner, buffers, backward);
                SolvePlans { start, attempt, resume: Plan::default(), finish }
            } else {
                self.record_products(planner, buffers, backward)
            }
        };
        self.gpu.scoped(|| Planner::record(&self.gpu, record)).await
    }

    /// Trajectories that are solved whole: one dispatch starts them and makes as many attempts as may be in one, another
    /// one goes on.
    fn plan_whole(&self, planner: &mut Planner<'_>, buffers: &Buffers, mode: SolveWhole, backward: bool) -> Plan {
        let (head, args) = self.control(buffers, mode.into(), backward);
        if mode == SolveWhole::Start {
            self.plan_weights(planner);
            let begin = self.kernels.get(&kernel::BEGIN, &[]);
            let bound = [&buffers.clocks, &buffers.cursors, &buffers.row_status, &self.outcome, &self.learnt];
            planner.add(&begin, &bound, head, args, flat(self.batch.div_ceil(64)));
        }
        let text = self.printer().solve();
        let [hidden, noise_hidden] = self.hidden_units();
        let args = SolveArgs {
            control: args.control,
            points: word(self.points_saved(buffers, backward)),
            user_points: word(self.user_points().len()),
            // After all points are the paths.
            path: word(buffers.sizes.points),
            turns: word(self.turns(buffers.sizes.purpose)),
            hidden,
            noise_hidden,
        };
        if self.per_row() {
            let solve = self.kernels.printed(&kernel::ENSEMBLE_SOLVE, &text, &[]);
            let bound = [
                &buffers.clocks,
                &buffers.cursors,
                self.weights(),
                &buffers.tape,
                &buffers.steps,
                &buffers.points,
                &buffers.saves,
            ];
            planner.add(&solve, &bound, head, args, flat(self.batch.div_ceil(64)));
        } else {
            let solve = self.kernels.printed(&kernel::LOCKSTEP_SOLVE, &text, &[]);
            let bound = [
                &buffers.clocks,
                &buffers.row_status,
                self.weights(),
                &buffers.tape,
                &buffers.steps,
                &buffers.points,
                &buffers.saves,
            ];
            planner.add(&solve, &bound, head, args, [1, 1, 1]);
            // The kernels after it find the state by the cursor.
            self.plan_control(planner, buffers, Control::Aim, backward);
        }
        planner.take()
    }

    /// Hidden units of the field and of the diffusion, where trajectories are solved whole.
    pub(crate) fn hidden_units(&self) -> [u32; 2] {
        [&self.layers, &self.noise_layers].map(|layers| word(fused::hidden_units(layers)))
    }

    /// What prints the problem's functions.
    pub(crate) fn printer(&self) -> fused::Printer<'_> {
        let printer = fused::Printer::new(&self.layers, self.problem.field.map(), self.tableau);
        match &self.problem.diffusion {
            None => printer,
            Some(diffusion) => printer.with_noise(&self.noise_layers, diffusion.network.map()),
        }
    }

    /// Attempts that are made layer by layer.
    fn record_products(&self, planner: &mut Planner<'_>, buffers: &Buffers, backward: bool) -> SolvePlans {
        SolvePlans {
            start: self.plan_start(planner, buffers, backward),
            attempt: self.plan_attempt(planner, buffers, backward),
            resume: {
                self.plan_control(planner, buffers, Control::Resume, backward);
                planner.take()
            },
            finish: self.plan_finish(planner, buffers, backward),
        }
    }

    /// Clocks at the start, and the states saved there.
    fn plan_begin(&self, planner: &mut Planner<'_>, buffers: &Buffers, backward: bool) {
        let begin = self.kernels.get(&kernel::BEGIN, &[]);
        let (head, args) = self.control(buffers, Control::Begin.into(), backward);
        let bound = [&buffers.clocks, &buffers.cursors, &buffers.row_status, &self.outcome, &self.learnt];
        planner.add(&begin, &bound, head, args, flat(self.batch.div_ceil(64)));
        self.plan_save(planner, buffers, Save::AtStart, backward);
    }

    fn plan_start(&self, planner: &mut Planner<'_>, buffers: &Buffers, backward: bool) -> Plan {
        let context = self.solving(buffers);
        self.plan_weights(planner);
        self.plan_begin(planner, buffers, backward);
        self.plan_stage(planner, buffers, context, 0, flag::FIRST);
        self.plan_norm(planner, buffers, context, Norm::StateAndSlope, [Weights::NOTHING; 2]);
        self.plan_control(planner, buffers, Control::Begin, backward);
        // A first step that is carried on is found so in the first solve; in others the trial has nothing to do.
        let trial = matches!(
            self.options.step_control,
            StepControl::Adaptive { initial_step: InitialStep::Automatic | InitialStep::Carried, .. }
        );
        if trial {
            self.plan_trial(planner, buffers, context);
            self.plan_norm(planner, buffers, context, Norm::ChangeOfSlope, [Weights::NOTHING; 2]);
            self.plan_control(planner, buffers, Control::Change, backward);
        }
        planner.take()
    }

    fn plan_attempt(&self, planner: &mut Planner<'_>, buffers: &Buffers, backward: bool) -> Plan {
        let context = self.solving(buffers);
        let stages = self.most_stages();
        let fsal = self.tableau.fsal();
        self.plan_increments(planner, buffers, context, None);
        if !self.reuses_last() || !self.stops.is_empty() {
            self.plan_stage(planner, buffers, context, 0, flag::FIRST);
        }
        for stage in 1..stages {
            let end = if fsal && stage + 1 == stages { flag::END } else { 0 };
            self.plan_stage(planner, buffers, context, stage, end);
        }
        if !fsal {
            self.plan_end(planner, buffers, context);
        }
        if self.tableau.b_error.is_some() {
            self.plan_norm(planner, buffers, context, Norm::Error, [self.error_weights(), Weights::NOTHING]);
        }
        self.plan_save(planner, buffers, Save::WithinStep, backward);
        self.plan_control(planner, buffers, Control::Attempt, backward);
        planner.take()
    }

    fn plan_finish(&self, planner: &mut Planner<'_>, buffers: &Buffers, backward: bool) -> Plan {
        let context = self.solving(buffers);
        self.plan_norm(planner, buffers, context, Norm::NotFinite, [Weights::NOTHING; 2]);
        let finish = self.kernels.get(&kernel::FINISH, &[]);
        // Layer by layer the kernel that saves says itself what it left undone.
        let whole = self.solves_whole(self.batch) && !self.problem.stands_still();
        let args = FinishArgs {
            safety: f32::from_f64(self.safety().unwrap_or(1.0)),
            saved: if whole { word(self.points_saved(buffers, backward)) } else { u32::MAX },
            penalised: buffers.penalty().map_or(0, |p| word(penalised_rows(self.batch, p.fraction))),
            carries: u32::from(self.carries()),
        };
        let bound = [&buffers.clocks, &buffers.row_status, &buffers.norms, &self.outcome];
        planner.add(&finish, &bound, self.head(self.batch), args, [1, 1, 1]);
        planner.take()
    }

    fn plan_control(&self, planner: &mut Planner<'_>, buffers: &Buffers, mode: Control, backward: bool) {
        let (head, args) = self.control(buffers, mode.into(), backward);
        let bound =
            [&buffers.clocks, &buffers.cursors, &buffers.row_status, &buffers.norms, &buffers.steps, &buffers.points];
        if self.per_row() {
            let kernel = self.kernels.get(&kernel::CONTROL_ENSEMBLE, &[]);
            planner.add(&kernel, &bound, head, args, flat(self.batch.div_ceil(64)));
        } else {
            let kernel = self.kernels.get(&kernel::CONTROL_LOCKSTEP, &[]);
            planner.add(&kernel, &bound, head, args, [1, 1, 1]);
        }
    }

    fn plan_save(&self, planner: &mut Planner<'_>, buffers: &Buffers, mode: Save, backward: bool) {
        let points = self.points_saved(buffers, backward);
        if points == 0 {
            return;
        }
        let save = self.kernels.get(&kernel::SAVE, &[]);
        let shares = self.shares_of_points(points);
        let args = SaveArgs { points: word(points), user_points: word(self.user_points().len()), shares: word(shares) };
        let head = Head { mode: mode.into(), ..self.head(self.batch) };
        let bound = [&buffers.cursors, &buffers.tape, &buffers.k, &buffers.points, &buffers.saves, &self.outcome];
        planner.add(&save, &bound, head, args, flat((shares * self.batch * self.dim()).div_ceil(64)));
    }

    /// Lanes that share a row of a norm.
    pub(crate) fn lanes_of_a_norm(&self) -> u32 {
        if self.dim() >= 32 { 64 } else { 1 }
    }

    /// Norms of the context's rows: by the weights of a sum of stages, and of another one of their states.
    pub(crate) fn plan_norm(
        &self,
        planner: &mut Planner<'_>,
        buffers: &Buffers,
        context: Context<'_>,
        mode: Norm,
        [weights, states]: [Weights<'_>; 2],
    ) {
        let lanes = self.lanes_of_a_norm();
        let kernel = self.kernels.get(&kernel::ROW_NORM, &[("LANES", f64::from(lanes))]);
        let head = Head { mode: mode.into(), ..self.head(context.rows) };
        let args = RowNormArgs { sum: self.sum(context, weights), states: coefficients(states.drift.iter().copied()) };
        let mut bound = vec![context.cursors, context.tape, &buffers.k, &buffers.norms];
        bound.extend(self.noise().map(|_| &buffers.increments));
        planner.add(&kernel, &bound, head, args, flat((context.rows * lanes as usize).div_ceil(64)));
    }

    /// Evaluates stage `stage` of the context's step: the field's, or those of drift and diffusion.
    pub(crate) fn plan_stage(
        &self,
        planner: &mut Planner<'_>,
        buffers: &Buffers,
        context: Context<'_>,
        stage: usize,
        flags: u32,
    ) {
        for network in self.networks(buffers).into_iter().filter(|network| stage < network.c.len()) {
            let weights = network.weights(stage);
            self.plan_combination(planner, buffers, context, network, weights, flags | flag::STATE, stage);
            self.plan_network(planner, buffers, context, network, stage, network.c[stage], flags);
        }
    }

    /// The context's step's end, where no stage is there.
    pub(crate) fn plan_end(&self, planner: &mut Planner<'_>, buffers: &Buffers, context: Context<'_>) {
        let weights = Weights::of_step(self.tableau.b, self.noise().map_or([&[]; 4], |noise| noise.weights));
        self.plan_combination(planner, buffers, context, self.drift(buffers), weights, flag::END, 0);
    }

    /// The networks after the Euler step that the automatic initial step tries, where their last stages will be.
    pub(crate) fn plan_trial(&self, planner: &mut Planner<'_>, buffers: &Buffers, context: Context<'_>) {
        // Not a stage's state, whatever that is added to.
        const TRIAL: usize = 2;
        for network in self.networks(buffers) {
            let weights = Weights::of_drift(&[1.0]);
            self.plan_combination(planner, buffers, context, network, weights, flag::STATE, TRIAL);
            self.plan_network(planner, buffers, context, network, network.c.len() - 1, 1.0, flag::FSAL);
        }
    }

    /// A sum of stages; `stage` is the slot of the network's input that it goes to, if it does.
    pub(crate) fn plan_combination(
        &self,
        planner: &mut Planner<'_>,
        buffers: &Buffers,
        context: Context<'_>,
        network: Network<'_>,
        weights: Weights<'_>,
        flags: u32,
        stage: usize,
    ) {
        let combine = self.kernels.get(&kernel::COMBINE, &[]);
        let mut head = network.head(self.head(context.rows));
        head.flags |= flags | context.keeping();
        let args = CombineArgs {
            sum: self.sum(context, weights),
            stage: word(stage),
            target: if context.keep { word(stage * context.rows * self.dim()) } else { 0 },
            second: word(context.second),
        };
        let mut bound = vec![
            context.cursors,
            &buffers.row_status,
            context.tape,
            &buffers.k,
            &network.inputs[0],
            &network.derivatives[0],
        ];
        bound.extend(self.noise().map(|_| &buffers.increments));
        planner.add(&combine, &bound, head, args, flat((context.rows * self.dim()).div_ceil(64)));
    }

    /// A network at the state in its first layer's input, at node `c`: its stage `stage`.
    pub(crate) fn plan_network(
        &self,
        planner: &mut Planner<'_>,
        buffers: &Buffers,
        context: Context<'_>,
        network: Network<'_>,
        stage: usize,
        c: f64,
        flags: u32,
    ) {
        let slot = if context.keep { stage } else { 0 };
        for (l, layer) in network.layers.iter().enumerate() {
            let mut head = network.head(self.head(context.rows));
            head.flags |= flags | context.keeping() | time_flag(layer);
            let last = l + 1 == network.layers.len();
            let target = word(if last { network.slot } else { slot } * context.rows * layer.outputs);
            let (output, derivative) = if last {
                head.flags |= flag::STAGE_OUT | flag::LINEAR;
                (&buffers.k, &self.outcome)
            } else {
                (&network.inputs[l + 1], &network.derivatives[l + 1])
            };
            let args = DenseArgs {
                source: word(slot * context.rows * layer.inputs),
                target,
                derivative: if last { 0 } else { target },
                stage: word(stage),
                node: f32::from_f64(c),
                ..dense_args(layer)
            };
            let bound = [context.cursors, self.weights(), &network.inputs[l], output, derivative];
            let grid = kernel::product_grid(context.rows, layer.outputs, 1);
            planner.add(&self.kernels.product(&kernel::DENSE, grid), &bound, head, args, grid);
        }
    }
}

/// Whether a layer sees the time.
pub(crate) const fn time_flag(layer: &Layer) -> u32 {
    if layer.time { flag::TIME } else { 0 }
}

/// A layer's shape and place.
pub(crate) fn dense_args(layer: &Layer) -> DenseArgs {
    DenseArgs {
        inputs: word(layer.inputs),
        outputs: word(layer.outputs),
        theta: word(layer.offset),
        activation: Activation::from(layer.activation).into(),
        ..DenseArgs::default()
    }
}
