//! [`Network`]: the field, drift or diffusion of a step, and [`Weights`] of its stages.

use super::Step;
use crate::gpu::buffers::Buffers;
use crate::gpu::engine::Engine;
use crate::gpu::schedule::Schedules;
use crate::gpu::wire::args::parts::Sum;
use crate::gpu::wire::head::Head;
use crate::gpu::wire::job::coefficients;
use crate::gpu::wire::modes::{Scale, flag};
use crate::gpu::wire::word;
use crate::method::{NoiseScale, NoiseTableau};
use crate::problem::{InputMap, Layer};

/// One of the networks, and where its stages are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Network<'a> {
    pub(crate) form: Form<'a>,
    /// Inputs of the layers, and derivatives of what they come from; of a program the two parts of its memory.
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

/// What a network's stages are computed by.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form<'a> {
    /// One layer after the other.
    Layers(&'a [Layer]),
    /// The schedules of a program.
    Program(&'a Schedules),
}

impl<'a> Network<'a> {
    /// Where a program's values begin in its memory, of `widths` numbers a trajectory, before which so many slots' trajectories
    /// lie.
    pub(super) fn memory(&self, trajectories: usize, widths: [usize; 2]) -> [(&'a wgpu::Buffer, usize); 2] {
        [(&self.inputs[0], trajectories * widths[0]), (&self.derivatives[0], trajectories * widths[1])]
    }

    /// Numbers of a trajectory in a kept stage's slot of what its state is in.
    pub(super) fn slot_width(&self, dim: usize) -> usize {
        match self.form {
            Form::Layers(_) => dim,
            Form::Program(program) => program.kept_widths()[0],
        }
    }

    /// The same, whose stages' states go there as they are; `unused` stands for what is not written to then.
    pub(super) fn at_states(self, states: &'a wgpu::Buffer, unused: &'a wgpu::Buffer) -> Self {
        let [inputs, derivatives] = [states, unused].map(std::slice::from_ref);
        Self { inputs, derivatives, map: InputMap::Identity, ..self }
    }
}

impl Network<'_> {
    /// A job's head that says which network it works on.
    pub(crate) fn head(&self, head: Head) -> Head {
        let cube = if self.map == InputMap::Cube { flag::CUBE } else { 0 };
        Head { stages: word(self.c.len()), flags: head.flags & !flag::CUBE | cube, ..head }
    }

    /// What the state goes through before the first layer.
    pub(crate) const fn map(&self) -> InputMap {
        self.map
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

    /// What computes the field's stages, or the diffusion's.
    fn form(&self, network: usize) -> Form<'_> {
        let layers = [&self.layers, &self.noise_layers][network];
        self.programs[network].as_ref().map_or(Form::Layers(layers), Form::Program)
    }

    /// Pairs of buffers that field and diffusion have: one a layer, or one of a program.
    pub(crate) fn buffer_counts(&self) -> [usize; 2] {
        [0, 1].map(|network| match self.form(network) {
            Form::Layers(layers) => layers.len(),
            Form::Program(_) => 1,
        })
    }

    /// The field, or drift.
    pub(crate) fn drift<'a>(&'a self, buffers: &'a Buffers) -> Network<'a> {
        let count = self.buffer_counts()[0];
        Network {
            form: self.form(0),
            inputs: &buffers.inputs[..count],
            derivatives: &buffers.derivatives[..count],
            slot: 0,
            bar_slot: 0,
            c: self.tableau.c,
            a: self.tableau.a,
            b: self.noise().map(|noise| (noise.drift_b, noise.drift_scale)),
            map: self.problem.field.input_map(),
        }
    }

    /// The diffusion; its stages follow the drift's.
    pub(crate) fn diffusion<'a>(&'a self, buffers: &'a Buffers, noise: &'static NoiseTableau) -> Network<'a> {
        let count = self.buffer_counts()[0];
        Network {
            form: self.form(1),
            inputs: &buffers.inputs[count..],
            derivatives: &buffers.derivatives[count..],
            slot: self.tableau.stages() + 1,
            bar_slot: self.tableau.stages(),
            c: noise.c,
            a: noise.a,
            b: Some((noise.b, noise.scale)),
            map: self.problem.diffusion.as_ref().map_or(InputMap::Identity, |d| d.network.input_map()),
        }
    }

    /// The field, or drift and diffusion.
    pub(crate) fn networks<'a>(&'a self, buffers: &'a Buffers) -> Vec<Network<'a>> {
        let diffusion = self.noise().map(|noise| self.diffusion(buffers, noise));
        [self.drift(buffers)].into_iter().chain(diffusion).collect()
    }

    /// A sum of the step's stages.
    pub(crate) fn sum(&self, step: Step<'_>, weights: Weights<'_>) -> Sum {
        let noise = weights.noise.iter().map(|weights| weights.len()).max();
        let diffusion = self.noise().map_or(0, |_| (self.tableau.stages() + 1) * step.rows * self.dim());
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

    /// Slot of the cotangent of an error, and after it of a penalised step's start.
    pub(crate) fn error_bar_slot(&self) -> usize {
        self.tableau.stages() + self.noise().map_or(0, NoiseTableau::stages)
    }

    /// Slot of the cotangent of a second state.
    pub(crate) fn second_bar_slot(&self) -> usize {
        self.error_bar_slot() + 2
    }

    /// Lanes that share a row of a norm.
    pub(crate) fn lanes_of_a_norm(&self) -> u32 {
        if self.dim() >= 32 { 64 } else { 1 }
    }
}
