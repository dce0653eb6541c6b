//! Local regularization on the device: probes, single steps whose error or stiffness is measured and differentiated.

use super::backward::{FirstStage, Seed};
use super::buffers::Buffers;
use super::engine::Engine;
use super::forward::Context;
use super::kernel;
use super::noise::Weights;
use super::plan::{Planner, flat};
use super::wire::args::parts::Controller;
use super::wire::args::{
    ProbeBarArgs, ProbeCursorArgs, ProbeErrorArgs, ProbePlaceArgs, ProbeStepArgs, ProbeStoreArgs, ProbeValueArgs,
};
use super::wire::head::Head;
use super::wire::job::coefficients;
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
            let head = Head { mode: mode.into(), ..self.head(probe.rows) };
            let args = ProbeCursorArgs {
                control: Controller { stride: word(stride), ..self.controller(buffers, true) },
                probe: word(n),
                probes: word(penalty.times),
                taken: word(taken),
                batch: word(self.batch),
                follows: u32::from(self.follows_path(penalty)),
            };
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
            planner.add(&kernel, &bound, head, args, flat(clocks.div_ceil(64)));
        };
        aim(planner, mode, 0);
        let place = self.kernels.get(&kernel::PROBE_PLACE, &[]);
        let head = Head { mode: mode.into(), ..self.head(probe.rows) };
        let args = ProbePlaceArgs {
            batch: word(self.batch),
            save: word(self.user_points().len() + n),
            stride: word(stride),
            second: word(buffers.sizes.second_state()),
            probe_second: word(probe.second),
        };
        let bound = [&buffers.probe_cursors, &buffers.row_status, &buffers.saves, &buffers.tape, &buffers.probe_tape];
        planner.add(&place, &bound, head, args, flat((probe.rows * self.dim()).div_ceil(64)));
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
            let head = Head { mode: mode.into(), ..self.head(probe.rows) };
            let args = ProbeStepArgs {
                control: self.controller(buffers, true),
                follows: u32::from(self.follows_path(penalty)),
            };
            let bound = [&buffers.row_status, &buffers.norms, &buffers.probe_cursors, &buffers.probe_weights];
            planner.add(&kernel, &bound, head, args, [1, 1, 1]);
        };
        self.plan_stage(planner, buffers, probe, 0, 0);
        self.plan_norm(planner, buffers, probe, Norm::StateAndSlope, [Weights::NOTHING; 2]);
        size(planner, ProbeStep::Trial);
        self.plan_trial(planner, buffers, probe);
        self.plan_norm(planner, buffers, probe, Norm::ChangeOfSlope, [Weights::NOTHING; 2]);
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
        let (slopes, states) = last_differences(tableau.a);
        let weights = if stiffness {
            [&slopes, &states].map(|weights| Weights::of_drift(weights))
        } else {
            [self.error_weights(), Weights::NOTHING]
        };
        let mode = if stiffness { Norm::Stiffness } else { Norm::Error };
        self.plan_norm(planner, buffers, probe, mode, weights);
        self.plan_value(planner, buffers, probe, penalty);
        self.plan_probe_bar(planner, buffers, probe, stiffness, weights);
        if self.noise().is_some_and(|noise| noise.reversible) {
            self.plan_second_bar(planner, buffers, probe, SecondBar::Clear);
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
            let args = ProbeStoreArgs { source: word(source), target: word(target) };
            let bound = [&buffers.row_status, bar, stored];
            planner.add(&store, &bound, self.head(probe.rows), args, flat(size.div_ceil(64)));
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
        let head = Head { mode: ProbeMeasure::from(penalty.measure).into(), ..self.head(probe.rows) };
        let args = ProbeValueArgs {
            stability: f32::from_f64(self.tableau.stability_size.unwrap_or(1.0)),
            share: f32::from_f64(1.0 / penalty.times as f64),
            error_power: f32::from_f64(1.0 / self.tableau.error_power()),
        };
        let bound = [
            &buffers.probe_cursors,
            &buffers.row_status,
            &buffers.norms,
            &self.params,
            &buffers.probe_weights,
            &self.outcome,
        ];
        planner.add(&kernel, &bound, head, args, [1, 1, 1]);
    }

    fn plan_probe_bar(
        &self,
        planner: &mut Planner<'_>,
        buffers: &Buffers,
        probe: Context<'_>,
        stiffness: bool,
        [weights, states]: [Weights<'_>; 2],
    ) {
        let grid = flat((probe.rows * self.dim()).div_ceil(64));
        let sum = self.sum(probe, weights);
        if self.noise().is_some() {
            let error = self.kernels.get(&kernel::PROBE_ERROR, &[]);
            let target = word(self.error_bar_slot() * probe.rows * self.dim());
            let bound = [probe.cursors, &buffers.k, &buffers.state_bars, &buffers.increments];
            planner.add(&error, &bound, self.head(probe.rows), ProbeErrorArgs { sum, target }, grid);
        }
        let kernel = self.kernels.get(&kernel::PROBE_BAR, &[]);
        let measure = if stiffness { ProbeMeasure::Stiffness } else { ProbeMeasure::Error };
        let head = Head { mode: measure.into(), ..self.head(probe.rows) };
        let args = ProbeBarArgs {
            sum,
            states: coefficients(states.drift.iter().copied()),
            error_slot: word(self.error_bar_slot()),
        };
        let bound = [
            &buffers.probe_cursors,
            &buffers.row_status,
            &buffers.probe_tape,
            &buffers.k,
            &buffers.probe_weights,
            &buffers.bar,
            &buffers.state_bars,
        ];
        planner.add(&kernel, &bound, head, args, grid);
    }
}

/// Weights of the stages in `k_s - k_(s-1)`, and in `(g_s - g_(s-1)) / h`; none of a single stage.
fn last_differences(a: &[&[f64]]) -> (Vec<f64>, Vec<f64>) {
    let Some(last) = a.len().checked_sub(1).filter(|last| *last > 0) else { return (Vec::new(), Vec::new()) };
    let mut slopes = vec![0.0; a.len()];
    (slopes[last], slopes[last - 1]) = (1.0, -1.0);
    let mut states = a[last].to_vec();
    for (state, before) in states.iter_mut().zip(a[last - 1]) {
        *state -= before;
    }
    (slopes, states)
}
