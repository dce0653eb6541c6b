//! Stochastic steps on the device: increments of the paths, stages of drift and diffusion, and their sums.

use super::backward::{FirstStage, Seed, slots};
use super::buffers::Buffers;
use super::engine::Engine;
use super::forward::Context;
use super::kernel;
use super::plan::{Planner, flat};
use super::wire::args::parts::Sum;
use super::wire::args::{IncrementsArgs, SecondBarArgs, StageBarArgs};
use super::wire::head::Head;
use super::wire::job::coefficients;
use super::wire::modes::{BarUpdate, Increments, Scale, SecondBar, StageBar, flag};
use super::wire::word;
use crate::method::{NoiseScale, NoiseTableau, PenaltyAt};
use crate::problem::{InputMap, Layer};

/// One of the networks, and where its stages are.
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
    /// Rows of weights of the drift's stages in its stages' states, and of the diffusion's with their scale.
    a: &'static [&'static [f64]],
    b: Option<(&'static [&'static [f64]], NoiseScale)>,
    map: InputMap,
}

impl Network<'_> {
    /// A job's head that says which network it works on.
    pub(crate) fn head(&self, head: Head) -> Head {
        let cube = if self.map == InputMap::Cube { flag::CUBE } else { 0 };
        Head { stages: word(self.c.len()), flags: head.flags & !flag::CUBE | cube, ..head }
    }

    /// Weights of the state of a stage.
    pub(crate) fn weights(&self, stage: usize) -> Weights<'static> {
        let mut weights = Weights::of_drift(self.a[stage]);
        if let Some((b, scale)) = self.b {
            weights.noise[Scale::from(scale) as usize] = b[stage];
        }
        weights
    }
}

/// Weights of a sum of stages: a number a drift stage, and of each diffusion stage one by `dW`, `chi1` to `chi3` and the
/// root of `h`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weights<'a> {
    pub(crate) drift: &'a [f64],
    noise: [&'a [f64]; 5],
}

impl<'a> Weights<'a> {
    pub(crate) const NOTHING: Self = Self::of_drift(&[]);

    pub(crate) const fn of_drift(drift: &'a [f64]) -> Self {
        Self { drift, noise: [&[]; 5] }
    }

    /// Those of a step's end, or of its error.
    pub(crate) const fn of_step(drift: &'a [f64], [w, chi1, chi2, chi3]: [&'a [f64]; 4]) -> Self {
        Self { drift, noise: [w, chi1, chi2, chi3, &[]] }
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
            a: self.tableau.a,
            b: self.noise().map(|noise| (noise.drift_b, noise.drift_scale)),
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
            a: noise.a,
            b: Some((noise.b, noise.scale)),
            map: self.problem.diffusion.as_ref().map_or(InputMap::Identity, |d| d.network.map()),
        }
    }

    /// The field, or drift and diffusion.
    pub(crate) fn networks<'a>(&'a self, buffers: &'a Buffers) -> Vec<Network<'a>> {
        let diffusion = self.noise().map(|noise| self.diffusion(buffers, noise));
        [self.drift(buffers)].into_iter().chain(diffusion).collect()
    }

    /// A sum of the context's stages.
    pub(crate) fn sum(&self, context: Context<'_>, weights: Weights<'_>) -> Sum {
        let noise = weights.noise.iter().map(|weights| weights.len()).max();
        let diffusion = self.noise().map_or(0, |_| (self.tableau.stages() + 1) * context.rows * self.dim());
        Sum {
            drift: coefficients(weights.drift.iter().copied()),
            noise: weights.noise.map(|weights| coefficients(weights.iter().copied())),
            drift_count: word(weights.drift.len()),
            noise_count: word(noise.unwrap_or(0)),
            diffusion: word(diffusion),
            pad: 0,
        }
    }

    /// Weights of the error estimate.
    pub(crate) fn error_weights(&self) -> Weights<'static> {
        Weights::of_step(self.tableau.b_error.unwrap_or(&[]), self.noise().map_or([&[]; 4], |noise| noise.error))
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
        let mode = apart.map_or(Increments::Follow, |_| Increments::Fresh);
        let head = Head { mode: mode.into(), ..self.head(context.rows) };
        let args = IncrementsArgs { number: word(apart.unwrap_or(0)) };
        let pairs = context.rows * self.dim().div_ceil(2);
        let bound = [context.cursors, &self.params, &buffers.increments];
        planner.add(&kernel, &bound, head, args, flat(pairs.div_ceil(64)));
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
    pub(crate) fn error_bar_slot(&self) -> usize {
        self.tableau.stages() + self.noise().map_or(0, NoiseTableau::stages)
    }

    /// Slot of the cotangent of a second state.
    pub(crate) fn second_bar_slot(&self) -> usize {
        self.error_bar_slot() + 2
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
        let args = StageBarArgs {
            weights: slots(&weights),
            end: coefficients([self.tableau.b[i]]),
            drift_slots: word(self.tableau.stages()),
            ..StageBarArgs::default()
        };
        self.plan_stage_bar(planner, buffers, context, StageBar::Drift, args);
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
        let args = StageBarArgs {
            weights: slots(&weights),
            end: coefficients(noise.weights.iter().map(entry)),
            error: coefficients(noise.error.iter().map(entry)),
            drift_slots: word(self.tableau.stages()),
            drift_scale: Scale::from(noise.drift_scale).into(),
            diffusion_scale: Scale::from(noise.scale).into(),
            ..StageBarArgs::default()
        };
        self.plan_stage_bar(planner, buffers, context, StageBar::Diffusion, args);
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
        let head = Head { mode: mode.into(), ..self.head(context.rows) };
        let args = SecondBarArgs { second: word(self.second_bar_slot() * context.rows * self.dim()) };
        let bound = [context.cursors, &buffers.row_status, &buffers.state_bars, &buffers.bar];
        planner.add(&kernel, &bound, head, args, flat((context.rows * self.dim()).div_ceil(64)));
    }
}
