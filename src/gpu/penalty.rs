//! Local regularization on the device: probes, single steps whose error or stiffness is measured and differentiated.

use super::backward::{FirstStage, Seed};
use super::buffers::Buffers;
use super::engine::Engine;
use super::forward::Context;
use super::kernel;
use super::plan::{Planner, flat};
use super::wire::job::Job;
use super::wire::modes::{Norm, ProbeAt, ProbeMeasure, ProbeStep, SecondBar, flag};
use super::wire::records::{Params, ticks};
use super::wire::word;
use crate::error::{Error, Result};
use crate::math::Real;
use crate::method::{
    Draws, Measure, PenaltyAt, PenaltyGradient, PenaltyNoise, PenaltyStep, Regularizer, SolverOptions, StepControl,
    StepPenalty, penalised_rows,
};
use crate::problem::{Paths, Problem};

/// Refuses penalised steps on the path where a device does not find their increments yet: with fixed steps its path has
/// increments of whole steps alone.
pub(crate) fn check_penalty(problem: &Problem, options: &SolverOptions, regularizer: &Regularizer) -> Result<()> {
    let Regularizer::Local(local) = regularizer else { return Ok(()) };
    let fixed = matches!(options.step_control, StepControl::Fixed { .. });
    let whole = local.at == PenaltyAt::Biased && local.step == PenaltyStep::Taken;
    if problem.diffusion.is_some() && local.noise == PenaltyNoise::Path && fixed && !whole {
        let remedy =
            "with fixed steps a device knows the path over whole steps: use fresh noise, or biased taken steps";
        return Err(Error::argument("Local::noise", "Path", remedy));
    }
    Ok(())
}

impl Engine {
    /// Records the penalised steps: adds to the outcome's penalty and to the partial gradients, and leaves the cotangents
    /// of their states where the walk finds them.
    pub(crate) fn plan_penalty(&self, planner: &mut Planner<'_>, buffers: &Buffers, penalty: StepPenalty) {
        let rows = penalised_rows(self.batch, penalty.fraction);
        let probe = Context {
            cursors: &buffers.probe_cursors,
            tape: &buffers.probe_tape,
            rows,
            keep: false,
            points: 0,
            second: 3 * rows * self.dim(),
        };
        for n in 0..penalty.times {
            self.plan_place(planner, buffers, probe, penalty, n);
            if penalty.step == PenaltyStep::FreshInitial {
                self.plan_fresh_step(planner, buffers, probe, penalty);
            }
            self.plan_measure(planner, buffers, Context { keep: true, ..probe }, penalty, n);
        }
    }

    /// State, time and, if it is the solver's, size of the n-th probe.
    fn plan_place(
        &self,
        planner: &mut Planner<'_>,
        buffers: &Buffers,
        probe: Context<'_>,
        penalty: StepPenalty,
        n: usize,
    ) {
        let stride = self.options.adjoint.stride();
        let unbiased = penalty.at == PenaltyAt::Unbiased;
        let mode = if unbiased { ProbeAt::Unbiased } else { ProbeAt::Biased };
        let aim = |planner: &mut Planner<'_>, mode: ProbeAt, taken: usize| {
            let kernel = self.kernels.get(&kernel::PROBE_CURSOR, &[]);
            let mut job = self.job(probe.rows);
            job.mode = mode.into();
            job.stride = word(stride);
            job.u = [word(n), word(taken), word(penalty.times), 0];
            job.x[1] = word(self.batch);
            job.x[2] = u32::from(self.follows_path(penalty));
            [job.source, job.target] = [word(buffers.sizes.first_stop()), word(self.stops.len())];
            let bound = [
                &buffers.clocks,
                &buffers.steps,
                &self.outcome,
                &self.params,
                &buffers.probe_cursors,
                &buffers.probe_starts,
                &buffers.points,
            ];
            let clocks = if self.per_row() { probe.rows } else { 1 };
            planner.add(&kernel, &bound, job, flat(clocks.div_ceil(64)));
        };
        aim(planner, mode, 0);
        let place = self.kernels.get(&kernel::PROBE_PLACE, &[]);
        let mut job = self.job(probe.rows);
        job.mode = mode.into();
        job.stride = word(stride);
        job.u[1] = word(self.user_points().len() + n);
        job.x[1] = word(self.batch);
        [job.theta, job.source] = [buffers.sizes.second_state(), probe.second].map(word);
        let bound = [&buffers.probe_cursors, &buffers.row_status, &buffers.saves, &buffers.tape, &buffers.probe_tape];
        planner.add(&place, &bound, job, flat((probe.rows * self.dim()).div_ceil(64)));
        if !unbiased && stride > 1 {
            for taken in 0..stride - 1 {
                aim(planner, ProbeAt::Again, taken);
                self.plan_increments(planner, buffers, probe, None);
                self.plan_retake(planner, buffers, probe);
            }
            aim(planner, ProbeAt::Biased, 0);
        }
    }

    /// Gives the probe the automatic initial step at its state.
    fn plan_fresh_step(&self, planner: &mut Planner<'_>, buffers: &Buffers, probe: Context<'_>, penalty: StepPenalty) {
        let size = |planner: &mut Planner<'_>, mode: ProbeStep| {
            let kernel = self.kernels.get(&kernel::PROBE_STEP, &[]);
            let mut job = self.job(probe.rows);
            job.mode = mode.into();
            job.power = self.initial_power();
            job.x[2] = u32::from(self.follows_path(penalty));
            let bound = [&buffers.row_status, &buffers.norms, &buffers.probe_cursors, &buffers.probe_weights];
            planner.add(&kernel, &bound, job, [1, 1, 1]);
        };
        self.plan_stage(planner, buffers, probe, 0, 0);
        self.plan_norm(planner, buffers, probe, Norm::StateAndSlope, [&[], &[]]);
        size(planner, ProbeStep::Trial);
        self.plan_trial(planner, buffers, probe);
        self.plan_norm(planner, buffers, probe, Norm::ChangeOfSlope, [&[], &[]]);
        size(planner, ProbeStep::Step);
    }

    /// Takes the probe's step, measures it, and differentiates the measure.
    fn plan_measure(
        &self,
        planner: &mut Planner<'_>,
        buffers: &Buffers,
        probe: Context<'_>,
        penalty: StepPenalty,
        n: usize,
    ) {
        let tableau = self.tableau;
        let stages = self.most_stages();
        self.plan_increments(planner, buffers, probe, (!self.follows_path(penalty)).then_some(n));
        for stage in 0..stages {
            let end = if tableau.fsal() && stage + 1 == stages { flag::END } else { 0 };
            self.plan_stage(planner, buffers, probe, stage, end);
        }
        if !tableau.fsal() {
            self.plan_end(planner, buffers, probe);
        }
        let stiffness = penalty.measure == Measure::Stiffness;
        let (slopes, states) =
            if stiffness { last_differences(tableau.a) } else { (tableau.b_error.unwrap_or(&[]).to_vec(), Vec::new()) };
        let mode = if stiffness { Norm::Stiffness } else { Norm::Error };
        self.plan_norm(planner, buffers, probe, mode, [&slopes, &states]);
        self.plan_value(planner, buffers, probe, penalty);
        if let Some(noise) = self.noise() {
            self.plan_noisy_probe_bar(planner, buffers, probe, noise);
            if noise.reversible {
                self.plan_second_bar(planner, buffers, probe, SecondBar::Clear);
            }
        } else {
            self.plan_probe_bar(planner, buffers, probe, stiffness, [&slopes, &states]);
        }
        let seed = if stiffness { Seed::Stiffness } else { Seed::Error };
        let first = match penalty.gradient {
            PenaltyGradient::Published => FirstStage::Nothing,
            PenaltyGradient::Step => FirstStage::Parameters,
            PenaltyGradient::Full => FirstStage::Everything,
        };
        self.plan_step_vjp(planner, buffers, probe, seed, first, true);
        if penalty.gradient == PenaltyGradient::Full {
            self.plan_store(planner, buffers, probe, penalty, n);
        }
    }

    /// Keeps the cotangent of the n-th probe's state for the walk.
    fn plan_store(
        &self,
        planner: &mut Planner<'_>,
        buffers: &Buffers,
        probe: Context<'_>,
        penalty: StepPenalty,
        n: usize,
    ) {
        let store = self.kernels.get(&kernel::PROBE_STORE, &[]);
        let size = probe.rows * self.dim();
        let mut add = |source: usize, bar: &wgpu::Buffer, target: usize, stored: &wgpu::Buffer| {
            let mut job = self.job(probe.rows);
            [job.source, job.target] = [source, target].map(word);
            planner.add(&store, &[&buffers.row_status, bar, stored], job, flat(size.div_ceil(64)));
        };
        match penalty.at {
            PenaltyAt::Unbiased => {
                let at = (self.user_points().len() + n) * self.batch * self.dim();
                add(0, &buffers.bar, at, &buffers.saves_bar);
            }
            PenaltyAt::Biased => {
                add(0, &buffers.bar, n * size, &buffers.probe_bar);
                if self.noise().is_some_and(|noise| noise.reversible) {
                    let second = self.second_bar_slot() * size;
                    add(second, &buffers.state_bars, (penalty.times + n) * size, &buffers.probe_bar);
                }
            }
        }
    }

    /// Sets what a penalty's probes are told: its coefficient, and their times in ticks, or their places among the steps.
    pub(crate) fn set_draws(&self, params: &mut Params, draws: &Draws) {
        let penalty = draws.penalty;
        params.coefficient = f32::from_f64(penalty.coefficient);
        params.share = f32::from_f64(penalty.length.unwrap_or(0.0));
        for (n, draw) in params.draws.iter_mut().enumerate().take(penalty.times) {
            let position = self.probe_position(draws.position(n), penalty);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in [0, 2^32)")]
            let place = (position * 4_294_967_296.0) as u32;
            *draw = if penalty.at == PenaltyAt::Unbiased { ticks(position) } else { [place, 0] };
        }
    }

    /// Says where the penalised steps of the next solve in such buffers lie: as `next_step.wgsl` does in a training step.
    pub(crate) fn use_draws(&self, draws: &Draws, paths: Paths, buffers: &Buffers) {
        let mut params = Params::new(draws.seed, draws.step, paths);
        self.set_draws(&mut params, draws);
        self.gpu.queue.write_buffer(&self.params, 0, bytemuck::bytes_of(&params));
        let first = 8 * self.user_points().len() as u64;
        let probes = &params.draws[..draws.penalty.times];
        self.gpu.queue.write_buffer(&buffers.points, first, bytemuck::cast_slice(probes));
    }

    /// Where in the interval an unbiased probe lies; on the path, it is at one of its coarser ticks.
    fn probe_position(&self, position: f64, penalty: StepPenalty) -> f64 {
        let (t0, t1) = (self.problem.t0, self.problem.t1);
        let follows = self.follows_path(penalty) && penalty.at == PenaltyAt::Unbiased;
        let path = follows.then(|| self.options.path(&self.problem, Paths::default()).ok()).flatten();
        path.map_or(position, |path| {
            path.tick(path.coarse_time(t0 + position * (t1 - t0))) as f64 / path.ticks() as f64
        })
    }

    /// Whether probes take the increments of the solve's path.
    fn follows_path(&self, penalty: StepPenalty) -> bool {
        self.noise().is_some() && penalty.noise == PenaltyNoise::Path
    }

    fn plan_value(&self, planner: &mut Planner<'_>, buffers: &Buffers, probe: Context<'_>, penalty: StepPenalty) {
        let kernel = self.kernels.get(&kernel::PROBE_VALUE, &[]);
        let mut job = self.job(probe.rows);
        job.mode = ProbeMeasure::from(penalty.measure).into();
        let numbers = Job::coefficients([self.tableau.stability_size.unwrap_or(1.0), 1.0 / penalty.times as f64]);
        job.v = [numbers[0], numbers[1], 0.0, 0.0];
        let bound = [
            &buffers.probe_cursors,
            &buffers.row_status,
            &buffers.norms,
            &self.params,
            &buffers.probe_weights,
            &self.outcome,
        ];
        planner.add(&kernel, &bound, job, [1, 1, 1]);
    }

    fn plan_probe_bar(
        &self,
        planner: &mut Planner<'_>,
        buffers: &Buffers,
        probe: Context<'_>,
        stiffness: bool,
        weights: [&[f64]; 2],
    ) {
        let kernel = self.kernels.get(&kernel::PROBE_BAR, &[]);
        let mut job = self.job(probe.rows);
        let measure = if stiffness { ProbeMeasure::Stiffness } else { ProbeMeasure::Error };
        job.mode = measure.into();
        job.a = Job::coefficients(weights[0].iter().copied());
        job.b = Job::coefficients(weights[1].iter().copied());
        let bound = [
            &buffers.probe_cursors,
            &buffers.row_status,
            &buffers.probe_tape,
            &buffers.k,
            &buffers.probe_weights,
            &buffers.bar,
            &buffers.state_bars,
        ];
        planner.add(&kernel, &bound, job, flat((probe.rows * self.dim()).div_ceil(64)));
    }
}

/// Weights of the stages in `k_s - k_(s-1)`, and in `(g_s - g_(s-1)) / h`.
fn last_differences(a: &[&[f64]]) -> (Vec<f64>, Vec<f64>) {
    let last = a.len() - 1;
    let mut slopes = vec![0.0; a.len()];
    (slopes[last], slopes[last - 1]) = (1.0, -1.0);
    let mut states = a[last].to_vec();
    for (state, before) in states.iter_mut().zip(a[last - 1]) {
        *state -= before;
    }
    (slopes, states)
}
