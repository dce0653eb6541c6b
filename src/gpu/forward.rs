//! What a solve records: its start, an attempt, its end, and the stages that all of them are made of.

use super::buffers::Buffers;
use super::engine::Engine;
use super::fused;
use super::kernel;
use super::noise::Network;
use super::plan::{Plan, Planner, SolvePlans, flat};
use super::wire::job::Job;
use super::wire::modes::{Activation, Control, Norm, Save, SolveWhole, flag};
use super::wire::records::halves;
use super::wire::{capped, word};
use crate::error::Result;
use crate::math::Real;
use crate::method::{InitialStep, PenaltyAt, StepControl, penalised_rows};
use crate::problem::shortest_step;

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

    /// A control kernel's job.
    pub(crate) fn control_job(&self, buffers: &Buffers, mode: u32, backward: bool) -> Job {
        let rows = self.batch;
        let mut job = self.job(rows);
        let (t0, t1) = (self.problem.t0, self.problem.t1);
        job.mode = mode;
        // Where nothing is kept, no step is so late that it would be.
        let stride = self.stride(backward);
        job.stride = stride.map_or(u32::MAX, word);
        if stride.is_some() {
            job.flags |= flag::RECORD;
        }
        [job.source, job.target] = [word(buffers.sizes.first_stop()), word(self.stops.len())];
        let room = stride.map_or(u32::MAX, |_| word(buffers.sizes.steps));
        job.u = [capped(self.options.most_attempts()), room, 0, 0];
        match self.options.step_control {
            StepControl::Fixed { steps } => {
                self.set_fixed_ticks(&mut job);
                job.x[1] = word(steps);
            }
            StepControl::Adaptive { controller, initial_step, .. } => {
                let q = self.tableau.error_power();
                let [b1, b2, b3] = controller.beta;
                // What the native engine calls too small, as a share of the interval; a path has ticks of 2^-30.
                let resolution = match self.noise() {
                    None => shortest_step(t0, t1, t1 - t0) / (t1 - t0).abs(),
                    Some(_) => 2f64.powi(-31),
                };
                job.power = self.initial_power();
                let length = match initial_step {
                    InitialStep::Automatic => 0.0,
                    InitialStep::Length(h) => h / (t1 - t0).abs(),
                    InitialStep::Carried => -1.0,
                };
                job.a = Job::coefficients([
                    b1 / q,
                    b2 / q,
                    b3 / q,
                    controller.beta_reject / q,
                    controller.safety.log2(),
                    controller.error_floor.log2(),
                    controller.min_factor,
                    controller.max_factor,
                    resolution,
                    controller.initial_error.map_or(0.0, f64::log2),
                    length,
                    // No bound is one that no step reaches.
                    self.options.largest_step.map_or(2.0, |longest| longest / (t1 - t0).abs()),
                ]);
                job.b = Job::coefficients([
                    controller.first_factor.unwrap_or(controller.max_factor),
                    controller.alpha,
                    f64::from(controller.finish),
                    f64::from(controller.initial_error.is_none()),
                    1.0 / q,
                ]);
            }
        }
        job
    }

    /// Tells a job how many ticks a fixed step has. The last one takes what the division leaves, a few ticks.
    pub(crate) fn set_fixed_ticks(&self, job: &mut Job) {
        if let StepControl::Fixed { steps } = self.options.step_control {
            [job.u[3], job.u[2]] = halves((1 << 63) / steps as u64);
        }
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
        let mut job = self.control_job(buffers, mode.into(), backward);
        if mode == SolveWhole::Start {
            self.plan_weights(planner);
            let begin = self.kernels.get(&kernel::BEGIN, &[]);
            let bound = [&buffers.clocks, &buffers.cursors, &buffers.row_status, &self.outcome, &self.learnt];
            planner.add(&begin, &bound, job, flat(self.batch.div_ceil(64)));
        }
        let text = self.printer().solve();
        job.points = word(self.points_saved(buffers, backward));
        // After all points are the paths.
        job.x[0] = word(buffers.sizes.points);
        job.x[2] = word(self.user_points().len());
        job.x[3] = word(self.turns(buffers.sizes.purpose));
        [job.inputs, job.outputs] = [&self.layers, &self.noise_layers].map(|layers| word(fused::hidden_units(layers)));
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
            planner.add(&solve, &bound, job, flat(self.batch.div_ceil(64)));
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
            planner.add(&solve, &bound, job, [1, 1, 1]);
            // The kernels after it find the state by the cursor.
            self.plan_control(planner, buffers, Control::Aim, backward);
        }
        planner.take()
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
        let job = self.control_job(buffers, 0, backward);
        let bound = [&buffers.clocks, &buffers.cursors, &buffers.row_status, &self.outcome, &self.learnt];
        planner.add(&begin, &bound, job, flat(self.batch.div_ceil(64)));
        self.plan_save(planner, buffers, Save::AtStart, backward);
    }

    fn plan_start(&self, planner: &mut Planner<'_>, buffers: &Buffers, backward: bool) -> Plan {
        let context = self.solving(buffers);
        self.plan_weights(planner);
        self.plan_begin(planner, buffers, backward);
        self.plan_stage(planner, buffers, context, 0, flag::FIRST);
        self.plan_norm(planner, buffers, context, Norm::StateAndSlope, [&[], &[]]);
        self.plan_control(planner, buffers, Control::Begin, backward);
        // A first step that is carried on is found so in the first solve; in others the trial has nothing to do.
        let trial = matches!(
            self.options.step_control,
            StepControl::Adaptive { initial_step: InitialStep::Automatic | InitialStep::Carried, .. }
        );
        if trial {
            self.plan_trial(planner, buffers, context);
            self.plan_norm(planner, buffers, context, Norm::ChangeOfSlope, [&[], &[]]);
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
        if let Some(weights) = self.tableau.b_error {
            self.plan_norm(planner, buffers, context, Norm::Error, [weights, &[]]);
        }
        self.plan_save(planner, buffers, Save::WithinStep, backward);
        self.plan_control(planner, buffers, Control::Attempt, backward);
        planner.take()
    }

    fn plan_finish(&self, planner: &mut Planner<'_>, buffers: &Buffers, backward: bool) -> Plan {
        let context = self.solving(buffers);
        self.plan_norm(planner, buffers, context, Norm::NotFinite, [&[], &[]]);
        let finish = self.kernels.get(&kernel::FINISH, &[]);
        let mut job = self.job(self.batch);
        job.x[2] = buffers.penalty().map_or(0, |p| word(penalised_rows(self.batch, p.fraction)));
        // Layer by layer the kernel that saves says itself what it left undone.
        let whole = self.solves_whole(self.batch) && !self.problem.stands_still();
        job.u[0] = if whole { word(self.points_saved(buffers, backward)) } else { u32::MAX };
        job.x[3] = u32::from(self.carries());
        job.extra = f32::from_f64(self.safety().unwrap_or(1.0));
        let bound = [&buffers.clocks, &buffers.row_status, &buffers.norms, &self.outcome];
        planner.add(&finish, &bound, job, [1, 1, 1]);
        planner.take()
    }

    fn plan_control(&self, planner: &mut Planner<'_>, buffers: &Buffers, mode: Control, backward: bool) {
        let job = self.control_job(buffers, mode.into(), backward);
        let bound =
            [&buffers.clocks, &buffers.cursors, &buffers.row_status, &buffers.norms, &buffers.steps, &buffers.points];
        if self.per_row() {
            let kernel = self.kernels.get(&kernel::CONTROL_ENSEMBLE, &[]);
            planner.add(&kernel, &bound, job, flat(self.batch.div_ceil(64)));
        } else {
            let kernel = self.kernels.get(&kernel::CONTROL_LOCKSTEP, &[]);
            planner.add(&kernel, &bound, job, [1, 1, 1]);
        }
    }

    fn plan_save(&self, planner: &mut Planner<'_>, buffers: &Buffers, mode: Save, backward: bool) {
        let points = self.points_saved(buffers, backward);
        if points == 0 {
            return;
        }
        let save = self.kernels.get(&kernel::SAVE, &[]);
        let mut job = self.job(self.batch);
        job.mode = mode.into();
        job.points = word(points);
        job.x[2] = word(self.user_points().len());
        let shares = self.shares_of_points(points);
        job.u[0] = word(shares);
        let bound = [&buffers.cursors, &buffers.tape, &buffers.k, &buffers.points, &buffers.saves, &self.outcome];
        planner.add(&save, &bound, job, flat((shares * self.batch * self.dim()).div_ceil(64)));
    }

    /// Lanes that share a row of a norm.
    pub(crate) fn lanes_of_a_norm(&self) -> u32 {
        if self.dim() >= 32 { 64 } else { 1 }
    }

    /// Norms of the context's rows, with the weights of one or two sums of stages.
    pub(crate) fn plan_norm(
        &self,
        planner: &mut Planner<'_>,
        buffers: &Buffers,
        context: Context<'_>,
        mode: Norm,
        weights: [&[f64]; 2],
    ) {
        if let Some(noise) = self.noise()
            && mode != Norm::NotFinite
        {
            return self.plan_noisy_norm(planner, buffers, context, noise, mode);
        }
        let lanes = self.lanes_of_a_norm();
        let kernel = self.kernels.get(&kernel::ROW_NORM, &[("LANES", f64::from(lanes))]);
        let mut job = self.job(context.rows);
        job.mode = mode.into();
        job.a = Job::coefficients(weights[0].iter().copied());
        job.b = Job::coefficients(weights[1].iter().copied());
        let bound = [context.cursors, context.tape, &buffers.k, &buffers.norms];
        planner.add(&kernel, &bound, job, flat((context.rows * lanes as usize).div_ceil(64)));
    }

    /// Evaluates stage `stage` of the context's step.
    pub(crate) fn plan_stage(
        &self,
        planner: &mut Planner<'_>,
        buffers: &Buffers,
        context: Context<'_>,
        stage: usize,
        flags: u32,
    ) {
        let tableau = self.tableau;
        if let Some(noise) = tableau.noise {
            return self.plan_noisy_stage(planner, buffers, context, noise, stage, flags);
        }
        self.plan_combination(planner, buffers, context, tableau.a[stage], flags | flag::STATE, stage);
        self.plan_network(planner, buffers, context, self.drift(buffers), stage, tableau.c[stage], flags);
    }

    /// The context's step's end, where no stage is there.
    pub(crate) fn plan_end(&self, planner: &mut Planner<'_>, buffers: &Buffers, context: Context<'_>) {
        match self.tableau.noise {
            None => self.plan_combination(planner, buffers, context, self.tableau.b, flag::END, 0),
            Some(noise) => self.plan_noisy_end(planner, buffers, context, noise),
        }
    }

    /// `f` after the Euler step that the automatic initial step tries, where the last stage will be.
    pub(crate) fn plan_trial(&self, planner: &mut Planner<'_>, buffers: &Buffers, context: Context<'_>) {
        if let Some(noise) = self.noise() {
            return self.plan_noisy_trial(planner, buffers, context, noise);
        }
        self.plan_combination(planner, buffers, context, &[1.0], flag::STATE, 0);
        self.plan_network(planner, buffers, context, self.drift(buffers), self.tableau.stages() - 1, 1.0, flag::FSAL);
    }

    /// `y + h sum weights k`; `stage` is the slot of the field's input that it goes to, if it does.
    pub(crate) fn plan_combination(
        &self,
        planner: &mut Planner<'_>,
        buffers: &Buffers,
        context: Context<'_>,
        weights: &[f64],
        flags: u32,
        stage: usize,
    ) {
        let combine = self.kernels.get(&kernel::COMBINE, &[]);
        let mut job = self.job(context.rows);
        job.flags |= flags | if context.keep { flag::KEEP } else { 0 };
        job.a = Job::coefficients(weights.iter().copied());
        job.x[0] = word(weights.len());
        job.target = if context.keep { word(stage * context.rows * self.dim()) } else { 0 };
        let bound = [
            context.cursors,
            &buffers.row_status,
            context.tape,
            &buffers.k,
            &buffers.inputs[0],
            &buffers.derivatives[0],
        ];
        planner.add(&combine, &bound, job, flat((context.rows * self.dim()).div_ceil(64)));
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
            let mut job = self.job(context.rows);
            network.mark(&mut job);
            job.flags |= flags | if context.keep { flag::KEEP } else { 0 } | if layer.time { flag::TIME } else { 0 };
            job.stage = word(stage);
            job.node = f32::from_f64(c);
            job.inputs = word(layer.inputs);
            job.outputs = word(layer.outputs);
            job.theta = word(layer.offset);
            job.activation = Activation::from(layer.activation).into();
            job.source = word(slot * context.rows * layer.inputs);
            let last = l + 1 == network.layers.len();
            let (output, derivative) = if last {
                job.flags |= flag::STAGE_OUT | flag::LINEAR;
                job.target = word(network.slot * context.rows * layer.outputs);
                (&buffers.k, &self.outcome)
            } else {
                job.target = word(slot * context.rows * layer.outputs);
                job.target2 = job.target;
                (&network.inputs[l + 1], &network.derivatives[l + 1])
            };
            let bound = [context.cursors, self.weights(), &network.inputs[l], output, derivative];
            let grid = kernel::product_grid(context.rows, layer.outputs, 1);
            planner.add(&self.kernels.product(&kernel::DENSE, grid), &bound, job, grid);
        }
    }
}
