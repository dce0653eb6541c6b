//! Local regularization on the device: probes, single steps whose error or stiffness is measured and differentiated.

use super::backward::{FirstStage, Seed};
use super::buffers::Buffers;
use super::engine::{Engine, penalised_rows, word};
use super::forward::{Context, norm};
use super::job::{Job, flag};
use super::kernel;
use super::plan::{Planner, flat};
use crate::spec::{Measure, PenaltyAt, PenaltyGradient, PenaltyStep, StepPenalty};

/// What changes from one training step to the next; the twin of `shaders/lib/params.wgsl`.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct Params {
    pub(crate) step: [u32; 2],
    pub(crate) seed: [u32; 2],
    pub(crate) update: u32,
    pub(crate) coefficient: f32,
    pub(crate) pad: [u32; 2],
    pub(crate) paths: [u32; 4],
    pub(crate) rates: [f32; 4],
    pub(crate) draws: [[u32; 2]; 64],
}

/// Modes of the kernel `probe_cursor`.
pub(crate) mod aim {
    pub(crate) const UNBIASED: u32 = 0;
    pub(crate) const BIASED: u32 = 1;
    pub(crate) const AGAIN: u32 = 2;
}

impl Engine {
    /// Records the penalised steps: adds to the outcome's penalty and to the partial gradients, and leaves the cotangents
    /// of their states where the walk finds them.
    pub(crate) fn plan_penalty(&self, planner: &mut Planner<'_>, buffers: &Buffers, penalty: StepPenalty) {
        let rows = penalised_rows(self.batch, penalty.fraction);
        let probe =
            Context { cursors: &buffers.probe_cursors, tape: &buffers.probe_tape, rows, keep: false, points: 0 };
        for n in 0..penalty.times {
            self.plan_place(planner, buffers, probe, penalty, n);
            if penalty.step == PenaltyStep::FreshInitial {
                self.plan_fresh_step(planner, buffers, probe);
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
        let mode = if unbiased { aim::UNBIASED } else { aim::BIASED };
        let aim = |planner: &mut Planner<'_>, mode: u32, taken: usize| {
            let kernel = self.kernels.get(&kernel::PROBE_CURSOR, &[]);
            let mut job = self.job(probe.rows);
            job.mode = mode;
            job.stride = word(stride);
            job.u = [word(n), word(taken), word(penalty.times), 0];
            job.x[1] = word(self.batch);
            let bound = [
                &buffers.clocks,
                &buffers.steps,
                &self.outcome,
                &self.params,
                &buffers.probe_cursors,
                &buffers.probe_starts,
            ];
            let clocks = if self.per_row() { probe.rows } else { 1 };
            planner.add(&kernel, &bound, job, flat(clocks.div_ceil(64)));
        };
        aim(planner, mode, 0);
        let place = self.kernels.get(&kernel::PROBE_PLACE, &[]);
        let mut job = self.job(probe.rows);
        job.mode = mode;
        job.stride = word(stride);
        job.u[1] = word(self.user_points().len() + n);
        job.x[1] = word(self.batch);
        let bound = [&buffers.probe_cursors, &buffers.row_status, &buffers.saves, &buffers.tape, &buffers.probe_tape];
        planner.add(&place, &bound, job, flat((probe.rows * self.dim()).div_ceil(64)));
        if !unbiased && stride > 1 {
            for taken in 0..stride - 1 {
                aim(planner, aim::AGAIN, taken);
                self.plan_retake(planner, buffers, probe);
            }
            aim(planner, aim::BIASED, 0);
        }
    }

    /// Gives the probe the automatic initial step at its state.
    fn plan_fresh_step(&self, planner: &mut Planner<'_>, buffers: &Buffers, probe: Context<'_>) {
        let size = |planner: &mut Planner<'_>, mode: u32| {
            let kernel = self.kernels.get(&kernel::PROBE_STEP, &[]);
            let mut job = self.job(probe.rows);
            job.mode = mode;
            let bound = [&buffers.row_status, &buffers.norms, &buffers.probe_cursors, &buffers.probe_weights];
            planner.add(&kernel, &bound, job, [1, 1, 1]);
        };
        self.plan_stage(planner, buffers, probe, 0, 0);
        self.plan_norm(planner, buffers, probe, norm::STATE_AND_SLOPE, [&[], &[]]);
        size(planner, 0);
        self.plan_trial(planner, buffers, probe);
        self.plan_norm(planner, buffers, probe, norm::CHANGE_OF_SLOPE, [&[], &[]]);
        size(planner, 1);
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
        let stages = tableau.stages();
        for stage in 0..stages {
            let end = if tableau.fsal() && stage + 1 == stages { flag::END } else { 0 };
            self.plan_stage(planner, buffers, probe, stage, end);
        }
        if !tableau.fsal() {
            self.plan_combination(planner, buffers, probe, tableau.b, flag::END, 0);
        }
        let stiffness = penalty.measure == Measure::Stiffness;
        let (slopes, states) =
            if stiffness { last_differences(tableau.a) } else { (tableau.b_error.unwrap_or(&[]).to_vec(), Vec::new()) };
        let mode = if stiffness { norm::STIFFNESS } else { norm::ERROR };
        self.plan_norm(planner, buffers, probe, mode, [&slopes, &states]);
        self.plan_value(planner, buffers, probe, penalty);
        self.plan_probe_bar(planner, buffers, probe, stiffness, [&slopes, &states]);
        let seed = if stiffness { Seed::Stiffness } else { Seed::Error };
        let first = match penalty.gradient {
            PenaltyGradient::Published => FirstStage::Nothing,
            PenaltyGradient::Step => FirstStage::Parameters,
            PenaltyGradient::Full => FirstStage::Everything,
        };
        self.plan_step_vjp(planner, buffers, probe, seed, first, true);
        if penalty.gradient == PenaltyGradient::Full {
            let store = self.kernels.get(&kernel::PROBE_STORE, &[]);
            let mut job = self.job(probe.rows);
            let (stored, at) = match penalty.at {
                PenaltyAt::Unbiased => (&buffers.saves_bar, (self.user_points().len() + n) * self.batch * self.dim()),
                PenaltyAt::Biased => (&buffers.probe_bar, n * probe.rows * self.dim()),
            };
            job.target = word(at);
            let bound = [&buffers.row_status, &buffers.bar, stored];
            planner.add(&store, &bound, job, flat((probe.rows * self.dim()).div_ceil(64)));
        }
    }

    fn plan_value(&self, planner: &mut Planner<'_>, buffers: &Buffers, probe: Context<'_>, penalty: StepPenalty) {
        let kernel = self.kernels.get(&kernel::PROBE_VALUE, &[]);
        let mut job = self.job(probe.rows);
        job.mode = match penalty.measure {
            Measure::Error => 0,
            Measure::Stiffness => 1,
            Measure::StepCount => 2,
        };
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
        job.mode = u32::from(stiffness);
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
