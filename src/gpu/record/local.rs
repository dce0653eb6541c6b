//! Local regularization: probes, single steps whose error or stiffness is measured and differentiated.

use super::network::Weights;
use super::vjp::Seed;
use super::{Recorder, Step};
use crate::error::{Error, Result};
use crate::gpu::buffers::{Buffers, Purpose};
use crate::gpu::engine::Engine;
use crate::gpu::iterations::WEIGHED;
use crate::gpu::kernel;
use crate::gpu::plan::flat;
use crate::gpu::wire::args::parts::Controller;
use crate::gpu::wire::args::{
    ProbeBarArgs, ProbeCursorArgs, ProbePlaceArgs, ProbeStepArgs, ProbeStoreArgs, ProbeValueArgs,
};
use crate::gpu::wire::head::Head;
use crate::gpu::wire::job::coefficients;
use crate::gpu::wire::modes::{Norm, ProbeAt, ProbeMeasure, ProbeStep, SecondBar, Store};
use crate::gpu::wire::records::Params;
use crate::gpu::wire::word;
use crate::math::Real;
use crate::method::{
    Asked, Hooks, Measure, PenaltyAt, PenaltyGradient, PenaltyNoise, PenaltyStep, Regularizer, SolverOptions,
    StepControl, StepPenalty, penalised_rows,
};
use crate::problem::{Brownian, Paths, Problem};

/// Refuses more random times than there is room for, and more steps than can be weighed; and penalised steps on the path where a
/// device does not find their increments yet: with fixed steps its path has increments of whole steps alone.
pub(crate) fn check_penalty(problem: &Problem, options: &SolverOptions, regularizer: &Regularizer) -> Result<()> {
    let hooks = regularizer.lower(0);
    check_draws(&hooks)?;
    if hooks.global.is_some_and(|global| global.measure == Measure::Stiffness) {
        let remedy =
            "a device weighs the errors of all steps, not their stiffness: train on the native engine, or take another";
        return Err(Error::argument("Global::measure", "Stiffness", remedy));
    }
    if hooks.global.is_some() && options.max_steps > WEIGHED {
        let remedy = format!(
            "a device weighs the errors of {WEIGHED} steps at most: allow as many, or train on the native engine"
        );
        return Err(Error::argument("SolverOptions::max_steps", options.max_steps, remedy));
    }
    let Some(local) = regularizer.local() else { return Ok(()) };
    let fixed = matches!(options.step_control, StepControl::Fixed { .. });
    let whole = local.at == PenaltyAt::Biased && local.step == PenaltyStep::Taken;
    if problem.diffusion.is_some() && local.noise == PenaltyNoise::Path && fixed && !whole {
        let remedy =
            "with fixed steps a device knows the path over whole steps: use fresh noise, or biased taken steps";
        return Err(Error::argument("Local::noise", "Path", remedy));
    }
    Ok(())
}

/// Refuses more random times than the step's parameters have room for.
fn check_draws(hooks: &Hooks) -> Result<()> {
    let purpose = Purpose { penalty: hooks.penalty, points: hooks.pointwise, ..Purpose::FORWARD };
    let (draws, most) = (purpose.draws(), Params::default().times.len());
    if draws > most {
        let remedy = format!(
            "a device draws at most {most} times a step, where regularizers draw different numbers: take fewer, or the same for all"
        );
        return Err(Error::argument("Pointwise::times", format!("{draws} times of all regularizers"), remedy));
    }
    Ok(())
}

impl Engine {
    /// Says what the next solve in such buffers is asked for, and where its penalised steps lie: as `next_step.wgsl` does in a
    /// training step.
    pub(crate) fn use_asked(&self, asked: &Asked, paths: Paths, buffers: &Buffers) {
        let (seed, step) = asked.draw;
        let mut params = Params::new(seed, step, paths);
        params.global = asked.global.map_or(0.0, |global| f32::from_f64(global.coefficient));
        self.set_draws(&mut params, asked.local.as_ref(), &asked.pointwise);
        self.gpu.queue.write_buffer(&self.params, 0, bytemuck::bytes_of(&params));
        let purpose = buffers.sizes.purpose;
        let times = &params.times[..purpose.draws()];
        self.gpu.queue.write_buffer(&buffers.points, 8 * self.first_draw(purpose) as u64, bytemuck::cast_slice(times));
    }

    /// Where in the interval an unbiased probe lies; on the path, it is at one of its coarser ticks. That path is the one of
    /// adaptive steps: [`check_penalty`] refuses others there.
    pub(super) fn probe_position(&self, position: f64, penalty: StepPenalty) -> f64 {
        if !(self.follows_path(penalty) && penalty.at == PenaltyAt::Unbiased) {
            return position;
        }
        let Problem { t0, t1, .. } = self.problem;
        let path = Brownian::adaptive(Paths::default(), t0, t1);
        path.tick(path.coarse_time(t0 + position * (t1 - t0))) as f64 / path.ticks() as f64
    }

    /// Whether probes take the increments of the solve's path.
    fn follows_path(&self, penalty: StepPenalty) -> bool {
        self.noise().is_some() && penalty.noise == PenaltyNoise::Path
    }
}

impl Recorder<'_, '_> {
    /// Records what comes before the walk: the weights of the steps' errors, the penalised steps, and the measures at points.
    pub(crate) fn penalties(&mut self) {
        let Purpose { penalty, global, points, .. } = self.buffers.sizes.purpose;
        if let Some(global) = global {
            self.step_errors(global);
        }
        if let Some(penalty) = penalty {
            self.penalty(penalty);
        }
        for point in points.into_iter().flatten() {
            if point.quadrature { self.begin_integral(point) } else { self.points(point) }
        }
    }

    /// Records the penalised steps: adds to the outcome's penalty and to the partial gradients, and leaves the cotangents
    /// of their states where the walk finds them.
    pub(crate) fn penalty(&mut self, penalty: StepPenalty) {
        let (engine, buffers) = (self.engine, self.buffers);
        let rows = penalised_rows(self.rows, penalty.fraction);
        let probe = Step {
            cursors: &buffers.probe_cursors,
            tape: &buffers.probe_tape,
            rows,
            keep: false,
            points: 0,
            measured: false,
            second: 3 * rows * engine.dim(),
        };
        for n in 0..penalty.times {
            self.place(probe, penalty, n);
            if penalty.step == PenaltyStep::FreshInitial {
                self.fresh_step(probe, penalty);
            }
            self.measure(Step { keep: true, ..probe }, penalty, n);
        }
    }

    /// State, time and, if it is the solver's, size of the n-th probe.
    fn place(&mut self, probe: Step<'_>, penalty: StepPenalty, n: usize) {
        let (engine, buffers) = (self.engine, self.buffers);
        let (stride, purpose) = (engine.checkpoint_stride, buffers.sizes.purpose);
        let unbiased = penalty.at == PenaltyAt::Unbiased;
        let mode = if unbiased { ProbeAt::Unbiased } else { ProbeAt::Biased };
        self.probe_cursor(probe, penalty, mode, [n, 0]);
        let place = engine.kernels.get(&kernel::PROBE_PLACE, &[]);
        let head = Head { mode: mode.into(), ..engine.head(probe.rows) };
        let args = ProbePlaceArgs {
            batch: word(self.rows),
            first: word(engine.first_draw(purpose)),
            draw: word(purpose.first_of_draws(penalty.times) + n),
            stride: word(stride),
            second: word(buffers.sizes.second_state()),
            probe_second: word(probe.second),
        };
        let bound = [
            &buffers.probe_cursors,
            &buffers.row_status,
            &engine.params,
            &buffers.saves,
            &buffers.tape,
            &buffers.probe_tape,
        ];
        self.planner.add(&place, &bound, head, args, flat((probe.rows * engine.dim()).div_ceil(64)));
        if !unbiased && stride > 1 {
            for taken in 0..stride - 1 {
                self.probe_cursor(probe, penalty, ProbeAt::Again, [n, taken]);
                self.increments(probe, None);
                self.retake(probe);
            }
            self.probe_cursor(probe, penalty, ProbeAt::Biased, [n, 0]);
        }
    }

    /// Aims at the n-th probe's step, or at one after its checkpoint that is `taken` again.
    fn probe_cursor(&mut self, probe: Step<'_>, penalty: StepPenalty, mode: ProbeAt, [n, taken]: [usize; 2]) {
        let (engine, buffers) = (self.engine, self.buffers);
        let kernel = engine.kernels.get(&kernel::PROBE_CURSOR, &[]);
        let head = Head { mode: mode.into(), ..engine.head(probe.rows) };
        let args = ProbeCursorArgs {
            control: Controller { stride: word(engine.checkpoint_stride), ..engine.controller(buffers, true) },
            probe: word(n),
            probes: word(penalty.times),
            taken: word(taken),
            batch: word(self.rows),
            follows: u32::from(engine.follows_path(penalty)),
        };
        let bound = [
            &buffers.clocks,
            &buffers.steps,
            &engine.outcome,
            &engine.params,
            &buffers.probe_cursors,
            &buffers.probe_starts,
            &buffers.points,
        ];
        let clocks = if engine.per_row() { probe.rows } else { 1 };
        self.planner.add(&kernel, &bound, head, args, flat(clocks.div_ceil(64)));
    }

    /// Gives the probe the automatic initial step at its state.
    fn fresh_step(&mut self, probe: Step<'_>, penalty: StepPenalty) {
        self.stage(probe, 0, 0);
        self.norm(probe, Norm::StateAndSlope, [Weights::NOTHING; 2]);
        self.probe_step(probe, penalty, ProbeStep::Trial);
        self.trial(probe);
        self.norm(probe, Norm::ChangeOfSlope, [Weights::NOTHING; 2]);
        self.probe_step(probe, penalty, ProbeStep::Step);
    }

    /// The length of the probe's trial, or of its step.
    fn probe_step(&mut self, probe: Step<'_>, penalty: StepPenalty, mode: ProbeStep) {
        let (engine, buffers) = (self.engine, self.buffers);
        let kernel = engine.kernels.get(&kernel::PROBE_STEP, &[]);
        let head = Head { mode: mode.into(), ..engine.head(probe.rows) };
        let args = ProbeStepArgs {
            control: engine.controller(buffers, true),
            follows: u32::from(engine.follows_path(penalty)),
        };
        let bound = [&buffers.row_status, &buffers.norms, &buffers.probe_cursors, &buffers.probe_weights];
        self.planner.add(&kernel, &bound, head, args, [1, 1, 1]);
    }

    /// Takes the probe's step, measures it, and differentiates the measure.
    fn measure(&mut self, probe: Step<'_>, penalty: StepPenalty, n: usize) {
        let engine = self.engine;
        let tableau = engine.tableau;
        self.increments(probe, (!engine.follows_path(penalty)).then_some(n));
        self.keep(probe, true, true);
        let stiffness = penalty.measure == Measure::Stiffness;
        let (slopes, states) = last_differences(tableau.a);
        let weights = if stiffness {
            [&slopes, &states].map(|weights| Weights::of_drift(weights))
        } else {
            [engine.error_weights(), Weights::NOTHING]
        };
        let mode = if stiffness { Norm::Stiffness } else { Norm::Error };
        self.norm(probe, mode, weights);
        self.value(probe, penalty);
        self.probe_bar(probe, stiffness, weights);
        if engine.noise().is_some_and(|noise| noise.reversible) {
            self.second_bar(probe, SecondBar::Clear);
        }
        let seed = if stiffness { Seed::Stiffness } else { Seed::Error };
        let first = penalty.gradient.first_stage();
        self.step_vjp(probe, seed, first, true);
        if penalty.gradient == PenaltyGradient::Full {
            self.store(probe, penalty, n);
        }
    }

    /// Keeps the cotangent of the n-th probe's state for the walk.
    fn store(&mut self, probe: Step<'_>, penalty: StepPenalty, n: usize) {
        let (engine, buffers) = (self.engine, self.buffers);
        let store = engine.kernels.get(&kernel::PROBE_STORE, &[]);
        let size = probe.rows * engine.dim();
        let mut add = |bar: &wgpu::Buffer, args: ProbeStoreArgs, stored: &wgpu::Buffer| {
            let bound = [&buffers.row_status, &engine.params, bar, stored];
            let head = Head { mode: Store::Put.into(), ..engine.head(probe.rows) };
            self.planner.add(&store, &bound, head, args, flat(size.div_ceil(64)));
        };
        match penalty.at {
            PenaltyAt::Unbiased => {
                let purpose = buffers.sizes.purpose;
                let [first, draw] = [engine.first_draw(purpose), purpose.first_of_draws(penalty.times) + n];
                let slot = self.rows * engine.dim();
                let [target, draw, slot] = [first * slot, draw, slot].map(word);
                add(&buffers.bar, ProbeStoreArgs { source: 0, target, draw, slot }, &buffers.saves_bar);
            }
            PenaltyAt::Biased => {
                let args = |source: usize, target: usize| {
                    let [source, target] = [source, target].map(word);
                    ProbeStoreArgs { source, target, ..ProbeStoreArgs::default() }
                };
                add(&buffers.bar, args(0, n * size), &buffers.probe_bar);
                if engine.noise().is_some_and(|noise| noise.reversible) {
                    let second = args(engine.second_bar_slot() * size, (penalty.times + n) * size);
                    add(&buffers.state_bars, second, &buffers.probe_bar);
                }
            }
        }
    }

    fn value(&mut self, probe: Step<'_>, penalty: StepPenalty) {
        let (engine, buffers) = (self.engine, self.buffers);
        let kernel = engine.kernels.get(&kernel::PROBE_VALUE, &[]);
        let head = Head { mode: ProbeMeasure::from(penalty.measure).into(), ..engine.head(probe.rows) };
        let args = ProbeValueArgs {
            stability: f32::from_f64(engine.tableau.stability_size.unwrap_or(1.0)),
            share: f32::from_f64(1.0 / penalty.times as f64),
            error_power: f32::from_f64(1.0 / engine.tableau.error_power()),
        };
        let mut bound = vec![
            &buffers.probe_cursors,
            &buffers.row_status,
            &buffers.norms,
            &engine.params,
            &buffers.probe_weights,
            &engine.outcome,
        ];
        bound.extend(engine.records(buffers));
        self.planner.add(&kernel, &bound, head, args, [1, 1, 1]);
    }

    fn probe_bar(&mut self, probe: Step<'_>, stiffness: bool, [weights, states]: [Weights<'_>; 2]) {
        let (engine, buffers) = (self.engine, self.buffers);
        let grid = flat((probe.rows * engine.dim()).div_ceil(64));
        let sum = engine.sum(probe, weights);
        self.noisy_error(probe, weights);
        let kernel = engine.kernels.get(&kernel::PROBE_BAR, &[]);
        let measure = if stiffness { ProbeMeasure::Stiffness } else { ProbeMeasure::Error };
        let head = Head { mode: measure.into(), ..engine.head(probe.rows) };
        let args = ProbeBarArgs {
            sum,
            states: coefficients(states.drift.iter().copied()),
            error_slot: word(engine.error_bar_slot()),
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
        self.planner.add(&kernel, &bound, head, args, grid);
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
