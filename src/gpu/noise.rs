//! Stochastic steps on the device: increments of the paths, stages of drift and diffusion, and their sums.

use super::backward::{FirstStage, Seed, slots};
use super::buffers::Buffers;
use super::engine::Engine;
use super::forward::Context;
use super::kernel;
use super::plan::{Planner, flat};
use super::wire::job::Job;
use super::wire::modes::{BarUpdate, Increments, Norm, Scale, SecondBar, StageBar, flag};
use super::wire::word;
use crate::method::{NoiseScale, NoiseTableau, PenaltyAt};
use crate::problem::{InputMap, Layer};

/// One of the two networks, and where its stages are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Network<'a> {
    pub(crate) layers: &'a [Layer],
    /// Inputs of the layers, and derivatives of what they come from.
    pub(crate) inputs: &'a [wgpu::Buffer],
    pub(crate) derivatives: &'a [wgpu::Buffer],
    /// First slots of its stages, and of the cotangents of their states.
    pub(crate) slot: usize,
    pub(crate) bar_slot: usize,
    /// Nodes of the stages.
    pub(crate) c: &'static [f64],
    map: InputMap,
}

impl Network<'_> {
    /// Says in a job which network it works on.
    pub(crate) fn mark(&self, job: &mut Job) {
        job.stages = word(self.c.len());
        job.flags &= !flag::CUBE;
        if self.map == InputMap::Cube {
            job.flags |= flag::CUBE;
        }
    }
}

/// Weights of a sum of stages: a number a drift stage, and of each diffusion stage one by `dW`, `chi1` to `chi3` and the
/// root of `h`.
#[derive(Clone, Copy, Debug, Default)]
struct Weights<'a> {
    drift: &'a [f64],
    noise: [&'a [f64]; 5],
}

impl<'a> Weights<'a> {
    /// Those of a stage's state.
    fn of_stage(drift: &'a [f64], noise: &'a [f64], scale: NoiseScale) -> Self {
        let mut all = Self { drift, ..Self::default() };
        all.noise[Scale::from(scale) as usize] = noise;
        all
    }

    /// Those of a step's end, or of its error.
    const fn of_step(drift: &'a [f64], [w, chi1, chi2, chi3]: [&'a [f64]; 4]) -> Self {
        Self { drift, noise: [w, chi1, chi2, chi3, &[]] }
    }

    fn fill(&self, job: &mut Job) {
        let rows = [self.drift].into_iter().chain(self.noise);
        for (row, weights) in rows.enumerate() {
            let numbers = Job::coefficients(weights.iter().copied());
            let target = if row < 3 { &mut job.a } else { &mut job.b };
            target[4 * (row % 3)..][..4].copy_from_slice(&numbers[..4]);
        }
        let noise = self.noise.iter().map(|weights| weights.len()).max();
        [job.u[0], job.u[1]] = [self.drift.len(), noise.unwrap_or(0)].map(word);
    }
}

impl Engine {
    /// What the method does with noise, if it is a stochastic one.
    pub(crate) const fn noise(&self) -> Option<&'static NoiseTableau> {
        self.tableau.noise
    }

    /// Whether the last stages of a step are the first of the next one.
    pub(crate) fn reuses_last(&self) -> bool {
        self.tableau.fsal() || self.noise().is_some_and(|noise| noise.reversible)
    }

    /// Stages of the network that has more of them.
    pub(crate) fn most_stages(&self) -> usize {
        self.tableau.stages().max(self.noise().map_or(0, NoiseTableau::stages))
    }

    /// The field, or drift.
    pub(crate) fn drift<'a>(&'a self, buffers: &'a Buffers) -> Network<'a> {
        let count = self.layers.len();
        Network {
            layers: &self.layers,
            inputs: &buffers.inputs[..count],
            derivatives: &buffers.derivatives[..count],
            slot: 0,
            bar_slot: 0,
            c: self.tableau.c,
            map: self.problem.field.map(),
        }
    }

    /// The diffusion; its stages follow the drift's.
    pub(crate) fn diffusion<'a>(&'a self, buffers: &'a Buffers, noise: &'static NoiseTableau) -> Network<'a> {
        let count = self.layers.len();
        Network {
            layers: &self.noise_layers,
            inputs: &buffers.inputs[count..],
            derivatives: &buffers.derivatives[count..],
            slot: self.tableau.stages() + 1,
            bar_slot: self.tableau.stages(),
            c: noise.c,
            map: self.problem.diffusion.as_ref().map_or(InputMap::Identity, |d| d.network.map()),
        }
    }

    /// A job that knows where the diffusion's stages, and a second state, begin.
    fn noisy_job(&self, context: Context<'_>) -> Job {
        let mut job = self.job(context.rows);
        job.source = word((self.tableau.stages() + 1) * context.rows * self.dim());
        job.theta = word(context.second);
        job
    }

    /// What the paths do over the context's step, if there is noise; or number `apart` of what they have apart from time.
    pub(crate) fn plan_increments(
        &self,
        planner: &mut Planner<'_>,
        buffers: &Buffers,
        context: Context<'_>,
        apart: Option<usize>,
    ) {
        if self.noise().is_none() {
            return;
        }
        let kernel = self.kernels.get(&kernel::INCREMENTS, &[]);
        let mut job = self.job(context.rows);
        self.set_fixed_ticks(&mut job);
        job.mode = apart.map_or(Increments::Follow, |_| Increments::Fresh).into();
        job.u[0] = word(apart.unwrap_or(0));
        let pairs = context.rows * self.dim().div_ceil(2);
        planner.add(&kernel, &[context.cursors, &self.params, &buffers.increments], job, flat(pairs.div_ceil(64)));
    }

    /// Evaluates the stages number `stage` of the context's step.
    pub(crate) fn plan_noisy_stage(
        &self,
        planner: &mut Planner<'_>,
        buffers: &Buffers,
        context: Context<'_>,
        noise: &'static NoiseTableau,
        stage: usize,
        flags: u32,
    ) {
        if let Some(a) = self.tableau.a.get(stage) {
            let weights = Weights::of_stage(a, noise.drift_b[stage], noise.drift_scale);
            let drift = self.drift(buffers);
            self.plan_noisy_sum(planner, buffers, context, drift, weights, flags | flag::STATE, stage);
            self.plan_network(planner, buffers, context, drift, stage, drift.c[stage], flags);
        }
        if let Some(a) = noise.a.get(stage) {
            let weights = Weights::of_stage(a, noise.b[stage], noise.scale);
            let diffusion = self.diffusion(buffers, noise);
            self.plan_noisy_sum(planner, buffers, context, diffusion, weights, flags | flag::STATE, stage);
            self.plan_network(planner, buffers, context, diffusion, stage, diffusion.c[stage], flags);
        }
    }

    /// The context's step's end.
    pub(crate) fn plan_noisy_end(
        &self,
        planner: &mut Planner<'_>,
        buffers: &Buffers,
        context: Context<'_>,
        noise: &'static NoiseTableau,
    ) {
        let weights = Weights::of_step(self.tableau.b, noise.weights);
        let drift = self.drift(buffers);
        self.plan_noisy_sum(planner, buffers, context, drift, weights, flag::END, 0);
    }

    /// Drift and diffusion after the Euler step that the automatic initial step tries, where the last stages will be.
    pub(crate) fn plan_noisy_trial(
        &self,
        planner: &mut Planner<'_>,
        buffers: &Buffers,
        context: Context<'_>,
        noise: &'static NoiseTableau,
    ) {
        // Not a stage's state, whatever that is added to.
        const TRIAL: usize = 2;
        let weights = Weights::of_stage(&[1.0], &[], NoiseScale::Root);
        for network in [self.drift(buffers), self.diffusion(buffers, noise)] {
            self.plan_noisy_sum(planner, buffers, context, network, weights, flag::STATE, TRIAL);
            self.plan_network(planner, buffers, context, network, network.c.len() - 1, 1.0, flag::FSAL);
        }
    }

    fn plan_noisy_sum(
        &self,
        planner: &mut Planner<'_>,
        buffers: &Buffers,
        context: Context<'_>,
        network: Network<'_>,
        weights: Weights<'_>,
        flags: u32,
        stage: usize,
    ) {
        let combine = self.kernels.get(&kernel::NOISY_COMBINE, &[]);
        let mut job = self.noisy_job(context);
        network.mark(&mut job);
        job.flags |= flags | if context.keep { flag::KEEP } else { 0 };
        job.stage = word(stage);
        job.target = if context.keep { word(stage * context.rows * self.dim()) } else { 0 };
        weights.fill(&mut job);
        let bound = [
            context.cursors,
            &buffers.row_status,
            context.tape,
            &buffers.k,
            &buffers.increments,
            &network.inputs[0],
            &network.derivatives[0],
        ];
        planner.add(&combine, &bound, job, flat((context.rows * self.dim()).div_ceil(64)));
    }

    /// Norms of the context's rows: of states and slopes, of their changes, or of the error.
    pub(crate) fn plan_noisy_norm(
        &self,
        planner: &mut Planner<'_>,
        buffers: &Buffers,
        context: Context<'_>,
        noise: &'static NoiseTableau,
        mode: Norm,
    ) {
        let lanes = self.lanes_of_a_norm();
        let kernel = self.kernels.get(&kernel::NOISY_NORM, &[("LANES", f64::from(lanes))]);
        let mut job = self.noisy_job(context);
        job.mode = mode.into();
        if mode == Norm::Error {
            Weights::of_step(self.tableau.b_error.unwrap_or(&[]), noise.error).fill(&mut job);
        }
        let bound = [context.cursors, context.tape, &buffers.k, &buffers.increments, &buffers.norms];
        planner.add(&kernel, &bound, job, flat((context.rows * lanes as usize).div_ceil(64)));
    }

    /// The vector-Jacobian product of the context's kept step, as [`Engine::plan_step_vjp`] for a stochastic one.
    pub(crate) fn plan_noisy_vjp(
        &self,
        planner: &mut Planner<'_>,
        buffers: &Buffers,
        context: Context<'_>,
        noise: &'static NoiseTableau,
        seed: Seed,
        first: FirstStage,
    ) {
        let (drift, diffusion) = (self.drift(buffers), self.diffusion(buffers, noise));
        let states = self.tableau.stages() + noise.stages();
        for i in (usize::from(first == FirstStage::Nothing)..self.most_stages()).rev() {
            let wants_state = i > 0 || first == FirstStage::Everything;
            if i < self.tableau.stages() {
                self.plan_drift_bar(planner, buffers, context, noise, seed, i);
                self.plan_network_vjp(planner, buffers, context, drift, i, wants_state);
            }
            if i < noise.stages() {
                self.plan_diffusion_bar(planner, buffers, context, noise, seed, i);
                self.plan_network_vjp(planner, buffers, context, diffusion, i, wants_state);
            }
        }
        if first != FirstStage::Everything {
            return;
        }
        let mut weights: Vec<(usize, f64)> = Vec::new();
        if noise.reversible {
            // Penalised steps may start where the solve has no step's end.
            let between =
                seed == Seed::Error && buffers.penalty().is_some_and(|penalty| penalty.at == PenaltyAt::Unbiased);
            let mode = if between { SecondBar::FirstStep } else { SecondBar::Step };
            self.plan_second_bar(planner, buffers, context, mode);
        } else {
            weights.extend((0..states).map(|slot| (slot, 1.0)));
        }
        if seed == Seed::Error {
            weights.push((states + 1, 1.0));
        }
        self.plan_bar(planner, buffers, context, BarUpdate::After, &weights);
    }

    /// Weights of the states that stage `i` goes into, by slot: those of the drift's rows, then of the diffusion's.
    fn weights_of_later(&self, noise: &NoiseTableau, rows: [&[&[f64]]; 2], i: usize) -> Vec<(usize, f64)> {
        let later = |rows: &[&[f64]], slot: usize| -> Vec<(usize, f64)> {
            let entry = |(k, row): (usize, &&[f64])| Some((slot + k, *row.get(i)?));
            rows.iter().enumerate().filter_map(entry).collect()
        };
        let mut weights = later(rows[0], 0);
        weights.extend(later(rows[1], self.tableau.stages()));
        if noise.reversible && i == 0 {
            // Into the second state at the step's end, which is the last stages' state and has a cotangent of its own.
            weights.push((self.second_bar_slot(), 1.0));
        }
        weights
    }

    /// Slot of the cotangent of an error, and after it of a penalised step's start.
    fn error_bar_slot(&self) -> usize {
        self.tableau.stages() + self.noise().map_or(0, NoiseTableau::stages)
    }

    /// Slot of the cotangent of a second state.
    pub(crate) fn second_bar_slot(&self) -> usize {
        self.error_bar_slot() + 2
    }

    /// Cotangents of a probe's error, its start and its end from the weights of its norm.
    pub(crate) fn plan_noisy_probe_bar(
        &self,
        planner: &mut Planner<'_>,
        buffers: &Buffers,
        context: Context<'_>,
        noise: &'static NoiseTableau,
    ) {
        let grid = flat((context.rows * self.dim()).div_ceil(64));
        let target = word(self.error_bar_slot() * context.rows * self.dim());
        let mut job = self.noisy_job(context);
        job.target = target;
        Weights::of_step(self.tableau.b_error.unwrap_or(&[]), noise.error).fill(&mut job);
        let kernel = self.kernels.get(&kernel::NOISY_ERROR, &[]);
        let bound = [context.cursors, &buffers.k, &buffers.increments, &buffers.state_bars];
        planner.add(&kernel, &bound, job, grid);
        let mut job = self.job(context.rows);
        job.target = target;
        let kernel = self.kernels.get(&kernel::NOISY_PROBE_BAR, &[]);
        let bound = [
            context.cursors,
            &buffers.row_status,
            context.tape,
            &buffers.probe_weights,
            &buffers.bar,
            &buffers.state_bars,
        ];
        planner.add(&kernel, &bound, job, grid);
    }

    fn plan_drift_bar(
        &self,
        planner: &mut Planner<'_>,
        buffers: &Buffers,
        context: Context<'_>,
        noise: &'static NoiseTableau,
        seed: Seed,
        i: usize,
    ) {
        let mut weights = self.weights_of_later(noise, [self.tableau.a, noise.a], i);
        if let Some(error) = self.tableau.b_error.filter(|_| seed == Seed::Error) {
            weights.push((self.error_bar_slot(), error[i]));
        }
        let mut job = self.job(context.rows);
        job.mode = StageBar::Drift.into();
        job.scale = Job::coefficients([self.tableau.b[i]])[0];
        self.plan_noisy_stage_bar(planner, buffers, context, noise, job, &weights);
    }

    fn plan_diffusion_bar(
        &self,
        planner: &mut Planner<'_>,
        buffers: &Buffers,
        context: Context<'_>,
        noise: &'static NoiseTableau,
        seed: Seed,
        i: usize,
    ) {
        let mut weights = self.weights_of_later(noise, [noise.drift_b, noise.b], i);
        if seed == Seed::Error {
            weights.push((self.error_bar_slot(), 1.0));
        }
        let entry = |row: &&[f64]| row.get(i).copied().unwrap_or(0.0);
        let mut job = self.job(context.rows);
        job.mode = StageBar::Diffusion.into();
        job.b = Job::coefficients(noise.weights.iter().chain(&noise.error).map(entry));
        [job.x[2], job.x[3]] = [noise.drift_scale, noise.scale].map(|scale| Scale::from(scale).into());
        self.plan_noisy_stage_bar(planner, buffers, context, noise, job, &weights);
    }

    fn plan_noisy_stage_bar(
        &self,
        planner: &mut Planner<'_>,
        buffers: &Buffers,
        context: Context<'_>,
        noise: &'static NoiseTableau,
        mut job: Job,
        weights: &[(usize, f64)],
    ) {
        let kernel = self.kernels.get(&kernel::NOISY_STAGE_BAR, &[]);
        job.a = slots(weights);
        [job.x[0], job.x[1]] = [0, noise.stages()].map(|after| word(self.tableau.stages() + after));
        let bound = [
            context.cursors,
            &buffers.row_status,
            &buffers.bar,
            &buffers.state_bars,
            &buffers.increments,
            &buffers.stage_bar,
        ];
        planner.add(&kernel, &bound, job, flat((context.rows * self.dim()).div_ceil(64)));
    }

    /// Moves the cotangent of a reversible method's second state.
    pub(crate) fn plan_second_bar(
        &self,
        planner: &mut Planner<'_>,
        buffers: &Buffers,
        context: Context<'_>,
        mode: SecondBar,
    ) {
        let kernel = self.kernels.get(&kernel::SECOND_BAR, &[]);
        let mut job = self.job(context.rows);
        job.mode = mode.into();
        job.target = word(self.second_bar_slot() * context.rows * self.dim());
        let bound = [context.cursors, &buffers.row_status, &buffers.state_bars, &buffers.bar];
        planner.add(&kernel, &bound, job, flat((context.rows * self.dim()).div_ceil(64)));
    }
}
