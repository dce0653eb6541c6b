//! Stochastic steps: increments of the paths, and the vector-Jacobian product of drift and diffusion.

use super::vjp::{Seed, slots};
use super::{Recorder, Step};
use crate::gpu::engine::Engine;
use crate::gpu::kernel;
use crate::gpu::plan::flat;
use crate::gpu::wire::args::{IncrementsArgs, SecondBarArgs, StageBarArgs};
use crate::gpu::wire::head::Head;
use crate::gpu::wire::job::coefficients;
use crate::gpu::wire::modes::{BarUpdate, Increments, Scale, SecondBar, StageBar};
use crate::gpu::wire::word;
use crate::method::{FirstStage, NoiseTableau, PenaltyAt};

impl Engine {
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
}

impl Recorder<'_, '_> {
    /// What the paths do over a step, if there is noise; or number `apart` of what they have apart from time.
    pub(crate) fn increments(&mut self, step: Step<'_>, apart: Option<usize>) {
        let (engine, buffers) = (self.engine, self.buffers);
        if engine.noise().is_none() {
            return;
        }
        let kernel = engine.kernels.get(&kernel::INCREMENTS, &[]);
        let mode = apart.map_or(Increments::Follow, |_| Increments::Fresh);
        let head = Head { mode: mode.into(), ..engine.head(step.rows) };
        let channels = engine.channels();
        let args = IncrementsArgs { number: word(apart.unwrap_or(0)), channels: word(channels) };
        let pairs = step.rows * channels.div_ceil(2);
        let bound = [step.cursors, &engine.params, &buffers.increments];
        self.planner.add(&kernel, &bound, head, args, flat(pairs.div_ceil(64)));
    }

    /// The vector-Jacobian product of a kept step, as [`Recorder::step_vjp`] for a stochastic one.
    pub(crate) fn noisy_step_vjp(
        &mut self,
        step: Step<'_>,
        noise: &'static NoiseTableau,
        seed: Seed,
        first: FirstStage,
    ) {
        let (engine, buffers) = (self.engine, self.buffers);
        let (drift, diffusion) = (engine.drift(buffers), engine.diffusion(buffers, noise));
        let states = engine.tableau.stages() + noise.stages();
        for i in (usize::from(first == FirstStage::Nothing)..engine.most_stages()).rev() {
            let wants_state = i > 0 || first == FirstStage::Everything;
            if i < engine.tableau.stages() {
                self.drift_bar(step, noise, seed, i);
                self.network_vjp(step, drift, i, wants_state);
            }
            if i < noise.stages() {
                self.diffusion_bar(step, noise, seed, i);
                self.network_vjp(step, diffusion, i, wants_state);
            }
        }
        if first != FirstStage::Everything {
            return;
        }
        let mut weights: Vec<(usize, f64)> = Vec::new();
        if noise.reversible {
            // Penalised steps may start where the solve has no step's end.
            let between = step.tape == &buffers.probe_tape
                && buffers.penalty().is_some_and(|penalty| penalty.at == PenaltyAt::Unbiased);
            let mode = if between { SecondBar::FirstStep } else { SecondBar::Step };
            self.second_bar(step, mode);
        } else {
            weights.extend((0..states).map(|slot| (slot, 1.0)));
        }
        if seed == Seed::Error {
            weights.push((states + 1, 1.0));
        }
        self.bar(step, BarUpdate::After, &weights);
    }

    fn drift_bar(&mut self, step: Step<'_>, noise: &'static NoiseTableau, seed: Seed, i: usize) {
        let engine = self.engine;
        let mut weights = engine.weights_of_later(noise, [engine.tableau.a, noise.a], i);
        if let Some(error) = engine.tableau.b_error.filter(|_| seed == Seed::Error) {
            weights.push((engine.error_bar_slot(), error[i]));
        }
        let args = StageBarArgs {
            weights: slots(&weights),
            end: coefficients([engine.tableau.b[i]]),
            drift_slots: word(engine.tableau.stages()),
            ..StageBarArgs::default()
        };
        self.stage_bar(step, StageBar::Drift, args);
    }

    fn diffusion_bar(&mut self, step: Step<'_>, noise: &'static NoiseTableau, seed: Seed, i: usize) {
        let engine = self.engine;
        let mut weights = engine.weights_of_later(noise, [noise.drift_b, noise.b], i);
        if seed == Seed::Error {
            weights.push((engine.error_bar_slot(), 1.0));
        }
        let entry = |row: &&[f64]| row.get(i).copied().unwrap_or(0.0);
        let args = StageBarArgs {
            weights: slots(&weights),
            end: coefficients(noise.weights.iter().map(entry)),
            error: coefficients(noise.error.iter().map(entry)),
            drift_slots: word(engine.tableau.stages()),
            drift_scale: Scale::from(noise.drift_scale).into(),
            diffusion_scale: Scale::from(noise.scale).into(),
            ..StageBarArgs::default()
        };
        self.stage_bar(step, StageBar::Diffusion, args);
    }

    /// Moves the cotangent of a reversible method's second state.
    pub(crate) fn second_bar(&mut self, step: Step<'_>, mode: SecondBar) {
        let (engine, buffers) = (self.engine, self.buffers);
        let kernel = engine.kernels.get(&kernel::SECOND_BAR, &[]);
        let head = Head { mode: mode.into(), ..engine.head(step.rows) };
        let args = SecondBarArgs { second: word(engine.second_bar_slot() * step.rows * engine.dim()) };
        let bound = [step.cursors, &buffers.row_status, &buffers.state_bars, &buffers.bar];
        self.planner.add(&kernel, &bound, head, args, flat((step.rows * engine.dim()).div_ceil(64)));
    }
}
