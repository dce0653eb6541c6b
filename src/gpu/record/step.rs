//! A step: its stages, its sums and their norms.

use std::ops::Range;

use super::network::{Form, Network, Weights};
use super::{Recorder, Step};
use crate::gpu::kernel;
use crate::gpu::plan::flat;
use crate::gpu::wire::args::{CombineArgs, DenseArgs, DenseStageArgs, RowNormArgs};
use crate::gpu::wire::head::Head;
use crate::gpu::wire::job::coefficients;
use crate::gpu::wire::modes::{Activation, Norm, flag};
use crate::gpu::wire::word;
use crate::math::Real;
use crate::problem::{InputMap, Layer};

impl Recorder<'_, '_> {
    /// Evaluates stage `stage` of a step: the field's, or those of drift and diffusion.
    pub(crate) fn stage(&mut self, step: Step<'_>, stage: usize, flags: u32) {
        let (engine, buffers) = (self.engine, self.buffers);
        for network in engine.networks(buffers).into_iter().filter(|network| stage < network.c.len()) {
            let weights = network.weights(stage);
            self.combine(step, network, weights, flags | flag::STATE, stage);
            self.network(step, network, stage, network.c[stage], flags);
        }
    }

    /// Evaluates stages one after the other, and takes the step to its end on the tape if that is wanted.
    ///
    /// What a stage's last layer leaves is all that the next state waits for, so that one dispatch makes both where it can.
    pub(crate) fn stages(&mut self, step: Step<'_>, stages: Range<usize>, with_end: bool) {
        let engine = self.engine;
        let (all, fsal) = (engine.most_stages(), engine.tableau.fsal());
        // The last state of an FSAL method is the step's end, which does without the stage there.
        let end_of = |stage: usize| if with_end && fsal && stage + 1 == all { flag::END } else { 0 };
        let end = match (with_end, fsal) {
            (true, false) => {
                Some(Weights::of_step(engine.tableau.b, engine.noise().map_or([&[]; 4], |noise| noise.weights)))
            }
            (true, true) if stages.end < all => Some(Weights::of_drift(engine.tableau.a[all - 1])),
            _ => None,
        };
        let Some(layers) = self.fusible().filter(|_| !stages.is_empty()) else {
            stages.for_each(|stage| self.stage(step, stage, end_of(stage)));
            if let Some(weights) = end {
                self.combine(step, engine.drift(self.buffers), weights, flag::END, 0);
            }
            return;
        };
        let network = engine.drift(self.buffers);
        self.combine(step, network, network.weights(stages.start), end_of(stages.start) | flag::STATE, stages.start);
        for stage in stages.clone() {
            let next = match stage + 1 {
                next if next < stages.end => Some((network.weights(next), end_of(next) | flag::STATE)),
                _ => end.map(|weights| (weights, flag::END)),
            };
            let (last, before) = layers.split_last().map_or((None, layers), |(last, before)| (Some(last), before));
            match (next, last) {
                (Some(next), Some(last)) => {
                    self.layers(step, network, before, (stage, network.c[stage], 0));
                    self.layer_and_state(step, network, last, stage, next);
                }
                _ => self.layers(step, network, layers, (stage, network.c[stage], 0)),
            }
        }
    }

    /// A stage's last layer, with the state that the stages come to.
    fn layer_and_state(
        &mut self,
        step: Step<'_>,
        network: Network<'_>,
        layer: &Layer,
        stage: usize,
        (weights, flags): (Weights<'_>, u32),
    ) {
        let (engine, buffers) = (self.engine, self.buffers);
        let slot = |stage: usize, width: usize| if step.keep { word(stage * step.rows * width) } else { 0 };
        let mut head = network.head(engine.head(step.rows));
        head.flags |= flags | step.keeping() | time_flag(layer);
        let args = DenseStageArgs {
            sum: engine.sum(step, weights),
            inputs: word(layer.inputs),
            outputs: word(layer.outputs),
            theta: word(layer.offset),
            source: slot(stage, layer.inputs),
            target: slot(stage + 1, engine.dim()),
            activation: Activation::from(layer.activation).into(),
            stage: word(stage),
            node: f32::from_f64(network.c[stage]),
            part_depth: 0,
        };
        let input = &network.inputs[network.inputs.len() - 1];
        let mut bound =
            vec![step.cursors, engine.weights(), input, &buffers.k, &buffers.row_status, step.tape, &network.inputs[0]];
        bound.extend(engine.records(buffers));
        let grid = kernel::product_grid(step.rows, layer.outputs, 1);
        self.planner.add(&engine.kernels.product(&kernel::DENSE_STAGE, grid), &bound, head, args, grid);
    }

    /// The networks after the Euler step that the automatic initial step tries, where their last stages will be.
    pub(crate) fn trial(&mut self, step: Step<'_>) {
        let (engine, buffers) = (self.engine, self.buffers);
        // From where the first stage's slopes are.
        const TRIAL: usize = 0;
        for network in engine.networks(buffers) {
            let weights = Weights::of_drift(&[1.0]);
            self.combine(step, network, weights, flag::STATE, TRIAL);
            self.network(step, network, network.c.len() - 1, 1.0, flag::FSAL);
        }
    }

    /// Takes a step again, to its end on the tape.
    pub(crate) fn retake(&mut self, step: Step<'_>) {
        self.stages(step, 0..self.engine.most_stages() - usize::from(self.engine.tableau.fsal()), true);
    }

    /// Takes a step and keeps what its vector-Jacobian product needs; the last stage of an FSAL method only
    /// `with_last`, and the step's end, where the cursor wants it, only `with_end`.
    pub(crate) fn keep(&mut self, step: Step<'_>, with_last: bool, with_end: bool) {
        let (stages, fsal) = (self.engine.most_stages(), self.engine.tableau.fsal());
        self.stages(step, 0..stages - usize::from(fsal && !with_last), with_end);
    }

    /// A sum of stages; `stage` is the slot of the network's input that it goes to, if it does.
    pub(crate) fn combine(
        &mut self,
        step: Step<'_>,
        network: Network<'_>,
        weights: Weights<'_>,
        flags: u32,
        stage: usize,
    ) {
        let (engine, buffers) = (self.engine, self.buffers);
        let combine = engine.kernels.get(&kernel::COMBINE, &[]);
        let mut head = network.head(engine.head(step.rows));
        head.flags |= flags | step.keeping();
        let args = CombineArgs {
            sum: engine.sum(step, weights),
            stage: word(stage),
            target: if step.keep { word(stage * step.rows * network.slot_width(engine.dim())) } else { 0 },
            second: word(step.second),
        };
        let mut bound =
            vec![step.cursors, &buffers.row_status, step.tape, &buffers.k, &network.inputs[0], &network.derivatives[0]];
        bound.extend(engine.noise().map(|_| &buffers.increments));
        self.planner.add(&combine, &bound, head, args, flat((step.rows * engine.dim()).div_ceil(64)));
    }

    /// A network at the state in its first layer's input, at node `c`: its stage `stage`.
    pub(crate) fn network(&mut self, step: Step<'_>, network: Network<'_>, stage: usize, c: f64, flags: u32) {
        match network.form {
            Form::Layers(layers) => self.layers(step, network, layers, (stage, c, flags)),
            Form::Program(program) => self.program(step, network, program, (stage, c, flags)),
        }
    }

    fn layers(&mut self, step: Step<'_>, network: Network<'_>, layers: &[Layer], (stage, c, flags): (usize, f64, u32)) {
        let (engine, buffers) = (self.engine, self.buffers);
        let slot = if step.keep { stage } else { 0 };
        for (l, layer) in layers.iter().enumerate() {
            let mut head = network.head(engine.head(step.rows));
            head.flags |= flags | step.keeping() | time_flag(layer);
            let last = l + 1 == network.inputs.len();
            let target = word(if last { network.slot } else { slot } * step.rows * layer.outputs);
            let (output, derivative) = if last {
                head.flags |= flag::STAGE_OUT | flag::LINEAR;
                (&buffers.k, &engine.outcome)
            } else {
                (&network.inputs[l + 1], &network.derivatives[l + 1])
            };
            let args = DenseArgs {
                source: word(slot * step.rows * layer.inputs),
                target,
                derivative: if last { 0 } else { target },
                stage: word(stage),
                node: f32::from_f64(c),
                ..dense_args(layer)
            };
            let mut bound = vec![step.cursors, engine.weights(), &network.inputs[l], output, derivative];
            bound.extend(engine.records(buffers));
            let grid = kernel::product_grid(step.rows, layer.outputs, 1);
            self.planner.add(&engine.kernels.product(&kernel::DENSE, grid), &bound, head, args, grid);
        }
    }

    /// Norms of a step's rows: by the weights of a sum of stages, and of another one of their states.
    pub(crate) fn norm(&mut self, step: Step<'_>, mode: Norm, [weights, states]: [Weights<'_>; 2]) {
        let (engine, buffers) = (self.engine, self.buffers);
        let lanes = engine.lanes_of_a_norm();
        let kernel = engine.kernels.get(&kernel::ROW_NORM, &[("LANES", f64::from(lanes))]);
        let head = Head { mode: mode.into(), ..engine.head(step.rows) };
        let args = RowNormArgs { sum: engine.sum(step, weights), states: coefficients(states.drift.iter().copied()) };
        let mut bound = vec![step.cursors, step.tape, &buffers.k, &buffers.norms];
        bound.extend(engine.noise().map(|_| &buffers.increments));
        self.planner.add(&kernel, &bound, head, args, flat((step.rows * lanes as usize).div_ceil(64)));
    }
}

impl<'a> Recorder<'a, '_> {
    /// The layers of a field whose last one goes on to the next state: there is a layer before it, whose input is then free.
    fn fusible(&self) -> Option<&'a [Layer]> {
        let network = self.engine.drift(self.buffers);
        let suits = self.engine.noise().is_none() && network.map() == InputMap::Identity;
        match network.form {
            Form::Layers(layers) if layers.len() > 1 && suits => Some(layers),
            _ => None,
        }
    }
}

/// Whether a layer sees the time.
pub(crate) const fn time_flag(layer: &Layer) -> u32 {
    if layer.time { flag::TIME } else { 0 }
}

/// A layer's shape and place.
pub(crate) fn dense_args(layer: &Layer) -> DenseArgs {
    DenseArgs {
        inputs: word(layer.inputs),
        outputs: word(layer.outputs),
        theta: word(layer.offset),
        activation: Activation::from(layer.activation).into(),
        ..DenseArgs::default()
    }
}
