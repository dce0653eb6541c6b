//! [`Engine`]: a problem on the device, from loaded states to a solution. The solver and the trainer drive it.

use std::collections::HashMap;

use super::Gpu;
use super::buffers::{BackwardSizes, Buffers, CLOCK, OUTCOME, Sizes, create};
use super::fused;
use super::job::{Job, flag};
use super::kernel::{self, Kernels};
use super::penalty::Params;
use super::plan::{Jobs, Plan, Planner, flat};
use super::readback::Readback;
use crate::error::{Error, Result, Status};
use crate::spec::{
    Activation, Adjoint, InitialStep, InputMap, Layer, Layout, OdeProblem, Real, SaveAt, SolverOptions, StepControl,
    StepPenalty, Tableau,
};

/// Accepted steps that a tape has room for at first; it grows as needed.
const FIRST_STEPS: usize = 32;

/// Attempts that are recorded for the first solve; later ones know from the one before.
const FIRST_ATTEMPTS: usize = 8;

/// Invocations of the largest workgroup that every device has.
const WORKGROUP: usize = 256;

/// Multiply-adds that a submission may hold, so that no driver takes it for a hang: some 50 ms.
const BUDGET: f64 = 2e11;
const SOFTWARE_BUDGET: f64 = 2e10;

/// What a solve is for; plans and buffers differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Purpose {
    /// Whether a backward pass follows.
    pub(crate) backward: bool,
    /// Steps that are penalised in it.
    pub(crate) penalty: Option<StepPenalty>,
}

/// The twin of `shaders/lib/outcome.wgsl`.
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct Outcome {
    pub(crate) unfinished: u32,
    pub(crate) paused: u32,
    pub(crate) solved: u32,
    pub(crate) penalised: u32,
    pub(crate) failed: u32,
    pub(crate) first_failed: u32,
    pub(crate) first_status: u32,
    pub(crate) nfe: u32,
    pub(crate) accepted: u32,
    pub(crate) rejected: u32,
    pub(crate) most_accepted: u32,
    pub(crate) remaining: u32,
    pub(crate) loss: f32,
    pub(crate) correct: u32,
    pub(crate) penalty: f32,
    pub(crate) gradient_norm: f32,
    pub(crate) skipped: u32,
    pub(crate) updates: u32,
    pub(crate) steps: u32,
    pub(crate) pad: u32,
}

/// The twin of `Clock` in `shaders/lib/clock.wgsl`.
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct Clock {
    pub(crate) t: [u32; 2],
    pub(crate) log_errors: [f32; 2],
    pub(crate) h: f32,
    pub(crate) last_good: f32,
    pub(crate) accepted: u32,
    pub(crate) rejected: u32,
    pub(crate) nfe: u32,
    pub(crate) status: u32,
    pub(crate) failures: u32,
    pub(crate) was_rejected: u32,
}

const _: () = assert!(size_of::<Clock>() == CLOCK && size_of::<Outcome>() == OUTCOME, "buffers are sized by these");

/// A status as the device writes it.
pub(crate) fn status(code: u32) -> Status {
    match code {
        0 => Status::Done,
        2 => Status::MaxSteps,
        3 => Status::StepTooSmall,
        4 => Status::NonFinite,
        _ => Status::Running,
    }
}

/// Ticks of an interval, `2^63`; see `shaders/lib/time.wgsl`.
pub(crate) const TICKS: f64 = 9_223_372_036_854_775_808.0;

/// A share of the interval in `[0, 1]` as ticks, high word first.
pub(crate) fn ticks(share: f64) -> [u32; 2] {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share in [0, 1] has at most 2^63")]
    let ticks = (share * TICKS) as u64;
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    [(ticks >> 32) as u32, ticks as u32]
}

/// The share of the interval that ticks are.
pub(crate) fn share([high, low]: [u32; 2]) -> f64 {
    ((u64::from(high) << 32) | u64::from(low)) as f64 / TICKS
}

/// A problem on the device.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) gpu: Gpu,
    pub(crate) problem: OdeProblem,
    pub(crate) options: SolverOptions,
    pub(crate) tableau: &'static Tableau,
    /// The field's layers, at their places in the model's parameters.
    pub(crate) layers: Vec<Layer>,
    pub(crate) kernels: Kernels,
    pub(crate) parameters: usize,
    /// The widest row of a layer outside the field.
    pub(crate) widest: usize,
    pub(crate) buffers: Option<Buffers>,
    plans: HashMap<(usize, bool), SolvePlans>,
    /// Whether the field is small enough for trajectories to be solved whole, and that is wanted.
    pub(crate) whole: bool,
    /// The most attempts in one dispatch of whole trajectories, where an application says so.
    pub(crate) slice: Option<usize>,
    /// The caller's bound on the attempts of a submission.
    pub(crate) bound: Option<usize>,
    /// Counts how often the buffers were made anew, and with them every plan became stale.
    pub(crate) generation: u64,
    pub(crate) purpose: Purpose,
    pub(crate) batch: usize,
    /// Attempts that the last solve took, and accepted steps.
    pub(crate) attempts: usize,
    pub(crate) accepted: usize,
    staging: Vec<wgpu::Buffer>,
    /// The model's parameters, what a step leaves, and what the training step at hand draws.
    pub(crate) theta: wgpu::Buffer,
    pub(crate) outcome: wgpu::Buffer,
    pub(crate) params: wgpu::Buffer,
}

/// The recorded parts of a solve.
#[derive(Clone, Debug)]
pub(crate) struct SolvePlans {
    pub(crate) start: Plan,
    pub(crate) attempt: Plan,
    pub(crate) resume: Plan,
    pub(crate) finish: Plan,
}

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
}

pub(crate) fn word(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

impl Engine {
    /// `parameters` is the length of the model's parameter vector, in which the field's begin at `offset`; `widest` the
    /// widest row of the model's other layers.
    pub(crate) fn new(
        gpu: &Gpu,
        problem: &OdeProblem,
        options: &SolverOptions,
        parameters: usize,
        offset: usize,
        widest: usize,
    ) -> Result<Self> {
        options.validate::<f32>(problem)?;
        let tableau = options.method.tableau();
        let layers: Vec<Layer> = problem.field.layers().map(|l| Layer { offset: l.offset + offset, ..l }).collect();
        Ok(Self {
            gpu: gpu.clone(),
            problem: problem.clone(),
            options: options.clone(),
            tableau,
            whole: fused::is_small(&layers),
            slice: None,
            layers,
            kernels: Kernels::new(gpu, tableau),
            parameters,
            widest,
            buffers: None,
            plans: HashMap::new(),
            bound: None,
            generation: 0,
            purpose: Purpose { backward: false, penalty: None },
            batch: 0,
            attempts: FIRST_ATTEMPTS,
            accepted: FIRST_ATTEMPTS,
            staging: Vec::new(),
            theta: create(gpu, "theta", 4 * parameters as u64, false),
            outcome: create(gpu, "outcome", OUTCOME as u64, false),
            params: create(gpu, "params", size_of::<Params>() as u64, false),
        })
    }

    pub(crate) fn dim(&self) -> usize {
        self.problem.dim()
    }

    pub(crate) fn per_row(&self) -> bool {
        self.options.layout == Layout::Ensemble
    }

    pub(crate) fn every_step(&self) -> bool {
        matches!(self.options.save_at, SaveAt::Steps | SaveAt::Dense)
    }

    /// Accepted steps from one kept state to the next; a solve without a backward pass keeps none.
    pub(crate) fn stride(&self, backward: bool) -> usize {
        let Adjoint::Discrete { checkpoints } = self.options.adjoint;
        if self.every_step() {
            1
        } else if backward {
            checkpoints.stride()
        } else {
            1 << 30
        }
    }

    /// Shares of the interval at which the caller wants states.
    pub(crate) fn user_points(&self) -> Vec<f64> {
        let (t0, span) = (self.problem.t0, self.problem.t1 - self.problem.t0);
        match &self.options.save_at {
            SaveAt::End => vec![1.0],
            SaveAt::Times(times) => times.iter().map(|t| ((t - t0) / span).clamp(0.0, 1.0)).collect(),
            SaveAt::Steps | SaveAt::Dense => Vec::new(),
        }
    }

    /// Multiply-adds of one attempt on the batch.
    fn attempt_work(&self) -> f64 {
        let field: usize = self.layers.iter().map(Layer::parameter_count).sum();
        (field * self.tableau.stages() * self.batch) as f64
    }

    /// Attempts to record after a solve's start, from what the last one took; one more, so that a slightly longer solve
    /// needs no second submission.
    pub(crate) fn expected_attempts(&self) -> usize {
        if self.solves_whole(self.batch) { 0 } else { self.attempts + 1 }
    }

    /// Attempts to record where those were not enough.
    pub(crate) fn more_attempts(&self) -> usize {
        if self.solves_whole(self.batch) { 1 } else { 8 }
    }

    /// Attempts, or steps of a walk, that fit into one submission.
    pub(crate) fn attempts_per_submission(&self) -> usize {
        let budget = if self.gpu.adapter().software { SOFTWARE_BUDGET } else { BUDGET };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 256")]
        let fitting = (budget / self.attempt_work().max(1.0)).clamp(1.0, 256.0) as usize;
        self.bound.map_or(fitting, |bound| bound.min(fitting))
    }

    /// Rows that are worked on layer by layer.
    fn layered_rows(&self, rows: usize, purpose: Purpose) -> usize {
        let solved_whole = self.solves_whole(rows) && self.options.save_at != SaveAt::Dense;
        if !solved_whole || (purpose.backward && !self.walks_whole(purpose.penalty)) {
            return rows;
        }
        purpose.penalty.filter(|_| purpose.backward).map_or(0, |p| penalised_rows(rows, p.fraction))
    }

    /// Whether each trajectory is solved whole in one invocation. In lockstep one workgroup has to hold the batch.
    pub(crate) fn solves_whole(&self, rows: usize) -> bool {
        self.whole && (self.per_row() || rows <= WORKGROUP)
    }

    /// What the buffers have to hold for a batch.
    pub(crate) fn sizes(&self, rows: usize, steps: usize, purpose: Purpose) -> Sizes {
        let stride = self.stride(purpose.backward);
        let points = self.user_points().len();
        let probes = purpose.penalty.map_or(0, |p| p.times);
        let recorded = purpose.backward || self.every_step();
        let segment = if stride > 1 && purpose.backward { stride } else { 0 };
        let widths: Vec<usize> = self.layers.iter().map(|l| l.inputs).collect();
        let field_widest = self.layers.iter().map(|l| l.inputs.max(l.outputs)).max().unwrap_or(0);
        Sizes {
            rows,
            dim: self.dim(),
            widest: field_widest.max(self.widest),
            widths,
            stages: self.tableau.stages(),
            parameters: self.parameters,
            per_row: self.per_row(),
            layered: self.layered_rows(rows, purpose),
            steps: if recorded { steps } else { 1 },
            slots: 3 + if recorded { steps.div_ceil(stride) + segment } else { 0 },
            points: points + probes,
            backward: purpose.backward.then(|| BackwardSizes {
                splits: self.splits(rows),
                penalised: purpose.penalty.map_or(0, |p| penalised_rows(rows, p.fraction)),
                times: probes,
                saves: if self.every_step() { steps + 1 } else { points + probes },
            }),
        }
    }

    /// Makes room for a batch; room that is there already is kept.
    pub(crate) async fn reserve(&mut self, batch: usize, purpose: Purpose) -> Result<()> {
        self.batch = batch;
        let same_kind = purpose.backward == self.purpose.backward || !purpose.backward;
        let probes = |p: Purpose| p.penalty.map(|p| (p.times, p.fraction.to_bits()));
        let enough = self.buffers.as_ref().is_some_and(|b| {
            b.sizes.rows >= batch && same_kind && (purpose.penalty.is_none() || probes(purpose) == probes(self.purpose))
        });
        if !enough {
            let rows = self.buffers.as_ref().map_or(batch, |b| b.sizes.rows.max(batch));
            self.purpose = purpose;
            self.allocate(rows, FIRST_STEPS.min(self.options.max_steps)).await?;
        }
        Ok(())
    }

    /// As [`Engine::reserve`], with room for that many accepted steps.
    pub(crate) async fn reserve_steps(&mut self, batch: usize, purpose: Purpose, steps: usize) -> Result<()> {
        self.reserve(batch, purpose).await?;
        let steps = steps.min(self.options.max_steps);
        let Sizes { rows, steps: held, .. } = self.held()?.sizes;
        if held < steps { self.allocate(rows, steps).await } else { Ok(()) }
    }

    async fn allocate(&mut self, rows: usize, steps: usize) -> Result<()> {
        // The old buffers go first, so that the device never holds both.
        self.buffers = None;
        self.plans.clear();
        self.generation += 1;
        let sizes = self.sizes(rows, steps, self.purpose);
        let buffers =
            Buffers::new(&self.gpu, &sizes, self.options.memory_limit, |rows| self.sizes(rows, steps, self.purpose))
                .await?;
        let points: Vec<[u32; 2]> = self.user_points().into_iter().map(ticks).collect();
        self.gpu.queue.write_buffer(&buffers.points, 0, bytemuck::cast_slice(&points));
        self.buffers = Some(buffers);
        Ok(())
    }

    /// Gives a solve that paused room for twice as many steps, and keeps all it has.
    async fn grow(&mut self) -> Result<()> {
        let Some(old) = self.buffers.take() else { return Ok(()) };
        let steps = (2 * old.sizes.steps).min(self.options.max_steps);
        let sizes = self.sizes(old.sizes.rows, steps, self.purpose);
        let new = match Buffers::new(&self.gpu, &sizes, self.options.memory_limit, |rows| {
            self.sizes(rows, steps, self.purpose)
        })
        .await
        {
            Ok(new) => new,
            Err(error) => {
                self.buffers = Some(old);
                return Err(error);
            }
        };
        let mut encoder = self.encoder();
        for (from, to) in [
            (&old.clocks, &new.clocks),
            (&old.cursors, &new.cursors),
            (&old.row_status, &new.row_status),
            (&old.tape, &new.tape),
            (&old.steps, &new.steps),
            (&old.k, &new.k),
            (&old.points, &new.points),
            (&old.saves, &new.saves),
        ] {
            encoder.copy_buffer_to_buffer(from, 0, to, 0, from.size());
        }
        self.gpu.queue.submit([encoder.finish()]);
        self.plans.clear();
        self.generation += 1;
        self.buffers = Some(new);
        Ok(())
    }

    pub(crate) fn encoder(&self) -> wgpu::CommandEncoder {
        self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("fewsteps") })
    }

    /// The buffers; there are some after [`Engine::reserve`].
    pub(crate) fn held(&self) -> Result<&Buffers> {
        self.buffers.as_ref().ok_or_else(|| Error::argument("gradients", "before solve", "call solve first"))
    }

    /// What every job of this problem says.
    pub(crate) fn job(&self, rows: usize) -> Job {
        let tolerances = match self.options.step_control {
            StepControl::Adaptive { tolerances, .. } => tolerances,
            StepControl::Fixed { .. } => crate::spec::Tolerances::default(),
        };
        let mut flags = if self.tableau.fsal() { flag::FSAL } else { 0 };
        if self.problem.field.map() == InputMap::Cube {
            flags |= flag::CUBE;
        }
        if matches!(self.options.step_control, StepControl::Fixed { .. }) {
            flags |= flag::FIXED;
        }
        let r = f32::from_f64;
        Job {
            rows: word(rows),
            dim: word(self.dim()),
            per_row: u32::from(self.per_row()),
            stages: word(self.tableau.stages()),
            flags,
            t0: r(self.problem.t0),
            span: r(self.problem.t1 - self.problem.t0),
            atol: r(tolerances.atol),
            rtol: r(tolerances.rtol),
            power: r(1.0 / self.tableau.error_power() as f64),
            ..Job::default()
        }
    }

    /// A control kernel's job.
    pub(crate) fn control_job(&self, buffers: &Buffers, mode: u32, backward: bool) -> Job {
        let rows = self.batch;
        let mut job = self.job(rows);
        let (t0, t1) = (self.problem.t0, self.problem.t1);
        job.mode = mode;
        job.stride = word(self.stride(backward));
        let recorded = backward || self.every_step();
        let limit = buffers.sizes.steps;
        if recorded {
            job.flags |= flag::RECORD;
        }
        job.u = [word(self.options.max_steps), if recorded { word(limit) } else { u32::MAX }, 0, 0];
        match self.options.step_control {
            StepControl::Fixed { steps } => {
                // The last step takes what the division leaves, a few ticks.
                #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
                let halves = |n: u64| [(n >> 32) as u32, n as u32];
                [job.u[2], job.u[3]] = halves((1 << 63) / steps as u64);
                job.x[1] = word(steps);
            }
            StepControl::Adaptive { controller, initial_step, .. } => {
                let q = self.tableau.error_power() as f64;
                let [b1, b2, b3] = controller.beta;
                // What the native engine calls too small, as a share of the interval.
                let resolution = 16.0 * f64::EPSILON * t0.abs().max(t1.abs()) / (t1 - t0).abs();
                let length = match initial_step {
                    InitialStep::Automatic => 0.0,
                    InitialStep::Length(h) => h / (t1 - t0).abs(),
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
                    resolution.max(f64::EPSILON),
                    controller.initial_error.log2(),
                    length,
                ]);
            }
        }
        job
    }

    /// The recorded parts of a solve of `batch` rows.
    pub(crate) async fn solve_plans(&mut self, backward: bool) -> Result<SolvePlans> {
        let key = (self.batch, backward);
        if let Some(plans) = self.plans.get(&key) {
            return Ok(plans.clone());
        }
        let plans = self.gpu.scoped(|| self.record_solve(backward)).await??;
        self.plans.insert(key, plans.clone());
        Ok(plans)
    }

    fn record_solve(&self, backward: bool) -> Result<SolvePlans> {
        let buffers = self.held()?;
        let mut jobs = Jobs::default();
        let uniforms = uniform_buffer(&self.gpu);
        let mut planner = Planner { gpu: &self.gpu, jobs: &mut jobs, uniforms: &uniforms, plan: Plan::default() };
        let plans = if self.solves_whole(self.batch) {
            let [start, attempt] = [0, 1].map(|mode| self.plan_whole(&mut planner, buffers, mode, backward));
            SolvePlans { start, attempt, resume: Plan::default(), finish: self.plan_finish(&mut planner, buffers) }
        } else {
            self.record_products(&mut planner, buffers, backward)
        };
        self.gpu.queue.write_buffer(&uniforms, 0, jobs.bytes());
        Ok(plans)
    }

    /// Trajectories that are solved whole: one dispatch starts them and makes as many attempts as fit into a submission,
    /// another one goes on.
    fn plan_whole(&self, planner: &mut Planner<'_>, buffers: &Buffers, mode: u32, backward: bool) -> Plan {
        let mut job = self.control_job(buffers, mode, backward);
        if mode == 0 {
            let begin = self.kernels.get(&kernel::BEGIN, &[]);
            let bound = [&buffers.clocks, &buffers.cursors, &buffers.row_status];
            planner.add(&begin, &bound, job, flat(self.batch.div_ceil(64)));
        }
        let text = fused::Printer::new(&self.layers, self.problem.field.map(), self.tableau).solve();
        job.points = word(buffers.sizes.points);
        job.x[3] = word(self.slice.unwrap_or_else(|| self.attempts_per_submission()));
        job.inputs = word(fused::hidden_units(&self.layers));
        if self.per_row() {
            let solve = self.kernels.printed(&kernel::ENSEMBLE_SOLVE, &text, &[]);
            let bound = [
                &buffers.clocks,
                &buffers.cursors,
                &self.theta,
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
                &self.theta,
                &buffers.tape,
                &buffers.steps,
                &buffers.points,
                &buffers.saves,
            ];
            planner.add(&solve, &bound, job, [1, 1, 1]);
            // The kernels after it find the state by the cursor.
            self.plan_control(planner, buffers, control::AIM, backward);
        }
        planner.take()
    }

    /// Attempts that are made layer by layer.
    fn record_products(&self, planner: &mut Planner<'_>, buffers: &Buffers, backward: bool) -> SolvePlans {
        SolvePlans {
            start: self.plan_start(planner, buffers, backward),
            attempt: self.plan_attempt(planner, buffers, backward),
            resume: {
                self.plan_control(planner, buffers, control::RESUME, backward);
                planner.take()
            },
            finish: self.plan_finish(planner, buffers),
        }
    }

    fn plan_start(&self, planner: &mut Planner<'_>, buffers: &Buffers, backward: bool) -> Plan {
        let context =
            Context { cursors: &buffers.cursors, tape: &buffers.tape, rows: self.batch, keep: false, points: 0 };
        let begin = self.kernels.get(&kernel::BEGIN, &[]);
        let job = self.control_job(buffers, control::BEGIN, backward);
        let bound = [&buffers.clocks, &buffers.cursors, &buffers.row_status];
        planner.add(&begin, &bound, job, flat(self.batch.div_ceil(64)));
        self.plan_save(planner, buffers, 1);
        self.plan_stage(planner, buffers, context, 0, flag::FIRST);
        self.plan_norm(planner, buffers, context, norm::STATE_AND_SLOPE, [&[], &[]]);
        self.plan_control(planner, buffers, control::BEGIN, backward);
        let automatic =
            matches!(self.options.step_control, StepControl::Adaptive { initial_step: InitialStep::Automatic, .. });
        if automatic {
            self.plan_trial(planner, buffers, context);
            self.plan_norm(planner, buffers, context, norm::CHANGE_OF_SLOPE, [&[], &[]]);
            self.plan_control(planner, buffers, control::CHANGE, backward);
        }
        planner.take()
    }

    fn plan_attempt(&self, planner: &mut Planner<'_>, buffers: &Buffers, backward: bool) -> Plan {
        let context =
            Context { cursors: &buffers.cursors, tape: &buffers.tape, rows: self.batch, keep: false, points: 0 };
        let stages = self.tableau.stages();
        let fsal = self.tableau.fsal();
        if !fsal {
            self.plan_stage(planner, buffers, context, 0, flag::FIRST);
        }
        for stage in 1..stages {
            let end = if fsal && stage + 1 == stages { flag::END } else { 0 };
            self.plan_stage(planner, buffers, context, stage, end);
        }
        if !fsal {
            self.plan_combination(planner, buffers, context, self.tableau.b, flag::END, 0);
        }
        if let Some(weights) = self.tableau.b_error {
            self.plan_norm(planner, buffers, context, norm::ERROR, [weights, &[]]);
        }
        self.plan_save(planner, buffers, 0);
        self.plan_control(planner, buffers, control::ATTEMPT, backward);
        planner.take()
    }

    fn plan_finish(&self, planner: &mut Planner<'_>, buffers: &Buffers) -> Plan {
        let context =
            Context { cursors: &buffers.cursors, tape: &buffers.tape, rows: self.batch, keep: false, points: 0 };
        self.plan_norm(planner, buffers, context, norm::NOT_FINITE, [&[], &[]]);
        let finish = self.kernels.get(&kernel::FINISH, &[]);
        let mut job = self.job(self.batch);
        job.x[2] = self.purpose.penalty.map_or(0, |p| word(penalised_rows(self.batch, p.fraction)));
        let bound = [&buffers.clocks, &buffers.row_status, &buffers.norms, &self.outcome];
        planner.add(&finish, &bound, job, [1, 1, 1]);
        planner.take()
    }

    fn plan_control(&self, planner: &mut Planner<'_>, buffers: &Buffers, mode: u32, backward: bool) {
        let job = self.control_job(buffers, mode, backward);
        let bound = [&buffers.clocks, &buffers.cursors, &buffers.row_status, &buffers.norms, &buffers.steps];
        if self.per_row() {
            let kernel = self.kernels.get(&kernel::CONTROL_ENSEMBLE, &[]);
            planner.add(&kernel, &bound, job, flat(self.batch.div_ceil(64)));
        } else {
            let kernel = self.kernels.get(&kernel::CONTROL_LOCKSTEP, &[]);
            planner.add(&kernel, &bound, job, [1, 1, 1]);
        }
    }

    fn plan_save(&self, planner: &mut Planner<'_>, buffers: &Buffers, mode: u32) {
        if buffers.sizes.points == 0 {
            return;
        }
        let save = self.kernels.get(&kernel::SAVE, &[]);
        let mut job = self.job(self.batch);
        job.mode = mode;
        job.points = word(buffers.sizes.points);
        let bound = [&buffers.cursors, &buffers.tape, &buffers.k, &buffers.points, &buffers.saves];
        planner.add(&save, &bound, job, flat((self.batch * self.dim()).div_ceil(64)));
    }

    /// Norms of the context's rows, with the weights of one or two sums of stages.
    pub(crate) fn plan_norm(
        &self,
        planner: &mut Planner<'_>,
        buffers: &Buffers,
        context: Context<'_>,
        mode: u32,
        weights: [&[f64]; 2],
    ) {
        let lanes = if self.dim() >= 32 { 64 } else { 1 };
        let kernel = self.kernels.get(&kernel::ROW_NORM, &[("LANES", f64::from(lanes))]);
        let mut job = self.job(context.rows);
        job.mode = mode;
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
        self.plan_combination(planner, buffers, context, tableau.a[stage], flags | flag::STATE, stage);
        self.plan_field(planner, buffers, context, stage, tableau.c[stage], flags);
    }

    /// `f` after the Euler step that the automatic initial step tries, where the last stage will be.
    pub(crate) fn plan_trial(&self, planner: &mut Planner<'_>, buffers: &Buffers, context: Context<'_>) {
        self.plan_combination(planner, buffers, context, &[1.0], flag::STATE, 0);
        self.plan_field(planner, buffers, context, self.tableau.stages() - 1, 1.0, flag::FSAL);
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

    /// The field at the state in the first layer's input, at node `c`: stage `stage`.
    fn plan_field(
        &self,
        planner: &mut Planner<'_>,
        buffers: &Buffers,
        context: Context<'_>,
        stage: usize,
        c: f64,
        flags: u32,
    ) {
        let dense = self.kernels.product(&kernel::DENSE);
        let slot = if context.keep { stage } else { 0 };
        for (l, layer) in self.layers.iter().enumerate() {
            let mut job = self.job(context.rows);
            job.flags |= flags | if context.keep { flag::KEEP } else { 0 } | if layer.time { flag::TIME } else { 0 };
            job.stage = word(stage);
            job.node = f32::from_f64(c);
            job.inputs = word(layer.inputs);
            job.outputs = word(layer.outputs);
            job.theta = word(layer.offset);
            job.activation = activation(layer.activation);
            job.source = word(slot * context.rows * layer.inputs);
            let last = l + 1 == self.layers.len();
            let (output, derivative) = if last {
                job.flags |= flag::STAGE_OUT | flag::LINEAR;
                (&buffers.k, &self.outcome)
            } else {
                job.target = word(slot * context.rows * layer.outputs);
                job.target2 = job.target;
                (&buffers.inputs[l + 1], &buffers.derivatives[l + 1])
            };
            let bound = [context.cursors, &self.theta, &buffers.inputs[l], output, derivative];
            planner.add(&dense, &bound, job, self.kernels.product_grid(context.rows, layer.outputs, 1));
        }
    }

    /// Solves the states in the tape's first kept slot.
    ///
    /// # Errors
    /// [`Error::Memory`] when the tape outgrows a binding or the memory limit, [`Error::DeviceLost`].
    pub(crate) async fn solve(&mut self, backward: bool) -> Result<Outcome> {
        let mut plans = self.solve_plans(backward).await?;
        let mut left = self.expected_attempts();
        let mut begun = false;
        loop {
            let attempts = left.min(self.attempts_per_submission());
            let mut encoder = self.encoder();
            {
                let mut pass = encoder
                    .begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some("solve"), timestamp_writes: None });
                if !begun {
                    plans.start.encode(&mut pass);
                }
                for _ in 0..attempts {
                    plans.attempt.encode(&mut pass);
                }
                plans.finish.encode(&mut pass);
            }
            begun = true;
            let outcome = self.submit_for_outcome(encoder).await?;
            if outcome.unfinished == 0 {
                self.attempts = (outcome.accepted + outcome.rejected) as usize;
                self.accepted = outcome.most_accepted as usize;
                return Ok(outcome);
            }
            left = left.saturating_sub(attempts).max(self.more_attempts());
            if outcome.paused > 0 {
                plans = self.make_room(backward).await?;
            }
        }
    }

    /// Grows the tape of a paused solve and lets it go on.
    pub(crate) async fn make_room(&mut self, backward: bool) -> Result<SolvePlans> {
        self.grow().await?;
        let plans = self.solve_plans(backward).await?;
        let mut encoder = self.encoder();
        plans.resume.encode(&mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default()));
        self.gpu.queue.submit([encoder.finish()]);
        Ok(plans)
    }

    /// Submits, and waits for what it leaves.
    pub(crate) async fn submit_for_outcome(&mut self, mut encoder: wgpu::CommandEncoder) -> Result<Outcome> {
        let readback = {
            let staging = self.staging(OUTCOME as u64)?;
            encoder.copy_buffer_to_buffer(&self.outcome, 0, &staging, 0, OUTCOME as u64);
            self.gpu.queue.submit([encoder.finish()]);
            Readback::new(&staging, OUTCOME as u64)
        };
        readback.read(&self.gpu, bytemuck::pod_read_unaligned).await
    }

    /// Waits for what the last submission left.
    pub(crate) async fn read_outcome(&mut self) -> Result<Outcome> {
        let encoder = self.encoder();
        self.submit_for_outcome(encoder).await
    }

    /// A buffer to read back through, of at least that size; one is kept for the next time.
    fn staging(&mut self, bytes: u64) -> Result<wgpu::Buffer> {
        if let Some(buffer) = self.staging.iter().find(|b| b.size() >= bytes) {
            return Ok(buffer.clone());
        }
        let buffer = self.gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("staging"),
            size: bytes,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        self.gpu.check_alive()?;
        self.staging = vec![buffer.clone()];
        Ok(buffer)
    }

    /// Reads the first numbers of buffers back, one after the other.
    pub(crate) async fn read<T: bytemuck::Pod>(
        &mut self,
        parts: &[(&wgpu::Buffer, u64, usize)],
    ) -> Result<Vec<Vec<T>>> {
        let size = |count: usize| (count * size_of::<T>()) as u64;
        let total = parts.iter().map(|p| size(p.2)).sum::<u64>();
        if total == 0 {
            return Ok(parts.iter().map(|_| Vec::new()).collect());
        }
        let staging = self.staging(total.next_multiple_of(4))?;
        let mut encoder = self.encoder();
        let mut at = 0;
        for (buffer, offset, count) in parts {
            if *count > 0 {
                encoder.copy_buffer_to_buffer(buffer, *offset, &staging, at, size(*count));
                at += size(*count);
            }
        }
        self.gpu.queue.submit([encoder.finish()]);
        let readback = Readback::new(&staging, total);
        readback
            .read(&self.gpu, |bytes| {
                let mut rest = bytes;
                parts
                    .iter()
                    .map(|(_, _, count)| {
                        let (part, after) = rest.split_at(count * size_of::<T>());
                        rest = after;
                        bytemuck::pod_collect_to_vec(part)
                    })
                    .collect()
            })
            .await
    }

    /// Where the first kept state of the tape begins, in bytes: after the two that are overwritten in turn.
    pub(crate) fn start_of_tape(&self) -> u64 {
        (2 * 4 * self.batch * self.dim()) as u64
    }

    /// Bytes that the engine holds on the device.
    pub(crate) fn bytes(&self) -> usize {
        self.buffers.as_ref().map_or(0, |b| usize::try_from(b.sizes.total()).unwrap_or(usize::MAX))
    }
}

/// Modes of the control kernels.
pub(crate) mod control {
    pub(crate) const BEGIN: u32 = 0;
    pub(crate) const CHANGE: u32 = 1;
    pub(crate) const ATTEMPT: u32 = 2;
    pub(crate) const RESUME: u32 = 3;
    pub(crate) const AIM: u32 = 4;
}

/// Modes of the kernel `row_norm`.
pub(crate) mod norm {
    pub(crate) const STATE_AND_SLOPE: u32 = 0;
    pub(crate) const CHANGE_OF_SLOPE: u32 = 1;
    pub(crate) const ERROR: u32 = 2;
    pub(crate) const NOT_FINITE: u32 = 3;
    pub(crate) const STIFFNESS: u32 = 4;
}

/// The number of an activation in the shaders.
pub(crate) fn activation(activation: Activation) -> u32 {
    word(Activation::ALL.iter().position(|a| *a == activation).unwrap_or(0))
}

/// Rows with a penalty: as the native engine has it, whole tiles of 32.
pub(crate) fn penalised_rows(rows: usize, fraction: f64) -> usize {
    const TILE: usize = crate::cpu::LANES;
    let tiles = rows.div_ceil(TILE);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a small number")]
    let penalised = ((fraction * tiles as f64).ceil() as usize).clamp(1, tiles.max(1));
    (penalised * TILE).min(rows)
}

/// A uniform buffer for a set of plans.
pub(crate) fn uniform_buffer(gpu: &Gpu) -> wgpu::Buffer {
    gpu.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("jobs"),
        size: super::plan::MAX_JOBS * Job::SIZE,
        usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    })
}
