//! The vector-Jacobian product of a kept step, stage by stage and layer by layer.

use super::network::{Form, Network};
use super::step::time_flag;
use super::{Recorder, Step};
use crate::gpu::iterations::DEPTH;
use crate::gpu::kernel;
use crate::gpu::plan::flat;
use crate::gpu::wire::args::{BarUpdateArgs, DenseVjpInputArgs, DenseVjpStageArgs, DenseVjpWeightsArgs, StageBarArgs};
use crate::gpu::wire::head::Head;
use crate::gpu::wire::job::coefficients;
use crate::gpu::wire::modes::{BarUpdate, StageBar, flag};
use crate::gpu::wire::word;
use crate::math::Real;
use crate::method::FirstStage;
use crate::problem::{InputMap, Layer};

/// What else a step's loss depends on, besides its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seed {
    /// Nothing.
    None,
    /// The error estimate, whose cotangent is in the slot after the stages', and the start, in the one after it.
    Error,
    /// The differences of the last two stages, and of their states, in the same slots.
    Stiffness,
}

impl Recorder<'_, '_> {
    pub(crate) fn bar(&mut self, step: Step<'_>, mode: BarUpdate, weights: &[(usize, f64)]) {
        let (engine, buffers) = (self.engine, self.buffers);
        let kernel = engine.kernels.get(&kernel::BAR_UPDATE, &[]);
        let head = Head { mode: mode.into(), ..engine.head(step.rows) };
        let args = BarUpdateArgs {
            weights: slots(weights),
            slots: word(engine.error_bar_slot() + 2),
            points: word(step.points),
            user_points: word(engine.point_count()),
            every_step: u32::from(engine.every_step() && step.tape == &buffers.tape),
        };
        let bound =
            [step.cursors, &buffers.row_status, &buffers.state_bars, &buffers.saves_bar, &buffers.points, &buffers.bar];
        self.planner.add(&kernel, &bound, head, args, flat((step.rows * engine.dim()).div_ceil(64)));
    }

    /// The vector-Jacobian product of a kept step: adds to the partial gradients and replaces the cotangent
    /// of the step's end in `bar` by that of its start, as `cpu::step` does.
    pub(crate) fn step_vjp(&mut self, step: Step<'_>, seed: Seed, first: FirstStage, with_last: bool) {
        let (engine, buffers) = (self.engine, self.buffers);
        let tableau = engine.tableau;
        if let Some(noise) = tableau.noise {
            return self.noisy_step_vjp(step, noise, seed, first);
        }
        let stages = tableau.stages();
        let fsal = tableau.fsal();
        // Stages whose states are not the step's end, where the cotangent joins that of the end.
        let count = if fsal { stages - 1 } else { stages };
        let error_weights = if seed == Seed::Error { tableau.b_error } else { None };
        let bar_of = |i: usize| {
            let mut weights: Vec<(usize, f64)> = (i + 1..count).map(|j| (j, tableau.a[j][i])).collect();
            if let Some(error_weights) = error_weights {
                weights.push((stages, error_weights[i]));
            }
            let mut extra = 0.0;
            if seed == Seed::Stiffness {
                // The state of the last stage but one has the difference's cotangent with a minus.
                if i + 2 < stages {
                    weights.push((stages + 1, -tableau.a[stages - 2][i]));
                }
                extra = match stages - i {
                    1 => 1.0,
                    2 => -1.0,
                    _ => 0.0,
                };
            }
            StageBarArgs {
                weights: slots(&weights),
                end: coefficients([tableau.b[i]]),
                error_slot: word(engine.error_bar_slot()),
                stage: word(i),
                points: word(step.points),
                user_points: word(engine.point_count()),
                difference: extra,
                ..StageBarArgs::default()
            }
        };
        // The first of the stages that are walked back, and whether the cotangent of the one before is made with a stage's own.
        let least = usize::from(first == FirstStage::Nothing);
        let fusible = self.fusible_bars(step);
        let mut is_made = false;
        for i in (least..stages).rev() {
            let is_end = fsal && i + 1 == stages;
            if is_end && !with_last {
                continue;
            }
            if !is_made {
                self.stage_bar(step, StageBar::Drift, bar_of(i));
            }
            let wants_state = i > 0 || first == FirstStage::Everything;
            // The last stage's cotangent joins that of the step's end first.
            let next = (fusible && i > least && !is_end).then(|| bar_of(i - 1));
            is_made = next.is_some();
            match engine.drift(buffers) {
                network @ Network { form: Form::Layers(layers), .. } => {
                    self.layers_vjp(step, network, layers, (i, wants_state), next);
                }
                network => self.network_vjp(step, network, i, wants_state),
            }
            self.integrals(step, i);
            if is_end {
                let join: &[(usize, f64)] =
                    if seed == Seed::Stiffness { &[(i, 1.0), (stages + 1, 1.0)] } else { &[(i, 1.0)] };
                self.bar(step, BarUpdate::Join, join);
            }
        }
        if first == FirstStage::Everything {
            let mut weights: Vec<(usize, f64)> = (0..count).map(|j| (j, 1.0)).collect();
            match seed {
                Seed::None => {}
                Seed::Error => weights.push((stages + 1, 1.0)),
                Seed::Stiffness => weights.push((stages + 1, -1.0)),
            }
            self.bar(step, BarUpdate::After, &weights);
        }
    }

    /// The cotangent of a stage.
    pub(crate) fn stage_bar(&mut self, step: Step<'_>, mode: StageBar, args: StageBarArgs) {
        let (engine, buffers) = (self.engine, self.buffers);
        let kernel = engine.kernels.get(&kernel::STAGE_BAR, &[]);
        let head = Head { mode: mode.into(), ..engine.head(step.rows) };
        let args = StageBarArgs { error_slot: word(engine.error_bar_slot()), ..args };
        let mut bound = vec![step.cursors, &buffers.row_status, &buffers.bar, &buffers.state_bars, &buffers.stage_bar];
        match engine.noise() {
            None => bound.extend([&buffers.saves_bar, &buffers.points]),
            Some(_) => bound.push(&buffers.increments),
        }
        self.planner.add(&kernel, &bound, head, args, flat((step.rows * engine.dim()).div_ceil(64)));
    }

    /// From the cotangent of a kept stage to those of the parameters, and of the stage's state if that is wanted.
    pub(crate) fn network_vjp(&mut self, step: Step<'_>, network: Network<'_>, stage: usize, wants_state: bool) {
        match network.form {
            Form::Layers(layers) => self.layers_vjp(step, network, layers, (stage, wants_state), None),
            Form::Program(program) => self.program_vjp(step, network, program, (stage, wants_state)),
        }
    }

    fn layers_vjp(
        &mut self,
        step: Step<'_>,
        network: Network<'_>,
        layers: &[Layer],
        (stage, wants_state): (usize, bool),
        next: Option<StageBarArgs>,
    ) {
        let (engine, buffers) = (self.engine, self.buffers);
        let rows = step.rows;
        let head = network.head(engine.head(rows));
        let mut z_bar = &buffers.stage_bar;
        for (l, layer) in layers.iter().enumerate().rev() {
            self.layer_vjp(LayerVjp {
                layer,
                cursors: step.cursors,
                head,
                node: network.c[stage],
                input: &network.inputs[l],
                source: stage * rows * layer.inputs,
                z_bar,
                z_bar_offset: 0,
            });
            if l == 0 && !wants_state {
                return;
            }
            if let (0, Some(next)) = (l, next) {
                return self.layer_vjp_and_bar(step, network, (layer, z_bar), stage, next);
            }
            let x_bar = match l {
                0 => &buffers.state_bars,
                _ if l.is_multiple_of(2) => &buffers.cotangents0,
                _ => &buffers.cotangents1,
            };
            let linear = if l == 0 && head.flags & flag::CUBE == 0 { flag::LINEAR } else { 0 };
            let args = DenseVjpInputArgs {
                target: if l == 0 { word((network.bar_slot + stage) * rows * engine.dim()) } else { 0 },
                derivative: word(stage * rows * layer.inputs),
                ..dense_vjp_input_args(layer)
            };
            let grid = kernel::product_grid(rows, layer.inputs, 1);
            let kernel = engine.kernels.product(&kernel::DENSE_VJP_INPUT, grid);
            let bound = [step.cursors, engine.weights(), z_bar, &network.derivatives[l], x_bar];
            self.planner.add(&kernel, &bound, Head { flags: head.flags | linear, ..head }, args, grid);
            z_bar = x_bar;
        }
    }

    /// Whether the cotangent of a stage's state goes on to that of the stage before it in one dispatch: nothing but the states'
    /// cotangents is in it, and a layer is between them that no longer needs what is written.
    fn fusible_bars(&self, step: Step<'_>) -> bool {
        let (engine, purpose) = (self.engine, self.buffers.sizes.purpose);
        let network = engine.drift(self.buffers);
        let layers = matches!(network.form, Form::Layers(layers) if layers.len() > 1);
        let measured = step.measured && purpose.integrals().next().is_some();
        let interior = step.points > 0 && engine.interior(purpose);
        layers && network.map() == InputMap::Identity && !measured && !interior && engine.times.is_none()
    }

    /// The cotangent of a stage's state from that of its first layer's outputs, and what the stage before has of it then.
    fn layer_vjp_and_bar(
        &mut self,
        step: Step<'_>,
        network: Network<'_>,
        (layer, z_bar): (&Layer, &wgpu::Buffer),
        stage: usize,
        next: StageBarArgs,
    ) {
        let (engine, buffers) = (self.engine, self.buffers);
        let args = DenseVjpStageArgs {
            weights: next.weights,
            end: next.end[0],
            error_slot: next.error_slot,
            difference: next.difference,
            inputs: word(layer.inputs),
            outputs: word(layer.outputs),
            theta: word(layer.offset),
            source: 0,
            target: word((network.bar_slot + stage) * step.rows * engine.dim()),
            part_depth: 0,
        };
        let bound = [
            step.cursors,
            engine.weights(),
            z_bar,
            &buffers.state_bars,
            &buffers.row_status,
            &buffers.bar,
            &buffers.stage_bar,
        ];
        let grid = kernel::product_grid(step.rows, layer.inputs, 1);
        let kernel = engine.kernels.product(&kernel::DENSE_VJP_STAGE, grid);
        self.planner.add(&kernel, &bound, network.head(engine.head(step.rows)), args, grid);
    }

    /// Adds a layer's gradient to the parts.
    pub(crate) fn layer_vjp(&mut self, vjp: LayerVjp<'_>) {
        let (engine, buffers) = (self.engine, self.buffers);
        let LayerVjp { layer, cursors, head, node, input, source, z_bar, z_bar_offset } = vjp;
        let splits = engine.splits(self.rows, buffers.sizes.purpose);
        // A head has a row for each trajectory and time; what the parts cannot sum at once they sum in turns.
        let (rows, most) = (head.rows as usize, splits * DEPTH);
        for first in (0..rows).step_by(most) {
            let count = (rows - first).min(most);
            let part_depth = word(count.div_ceil(splits));
            let args = DenseVjpWeightsArgs {
                inputs: word(layer.inputs),
                outputs: word(layer.outputs),
                theta: word(layer.offset),
                source: word(source + first * layer.inputs),
                z_bar: word(z_bar_offset + first * layer.outputs),
                parameters: word(engine.parameters),
                part_depth,
                node: f32::from_f64(node),
            };
            let head = Head { rows: word(count), flags: head.flags | time_flag(layer), ..head };
            let parts = head.rows.div_ceil(part_depth.max(1));
            let grid = kernel::product_grid(layer.rows(), layer.outputs, parts);
            let kernel = engine.kernels.product(&kernel::DENSE_VJP_WEIGHTS, grid);
            let mut bound = vec![cursors, input, z_bar, &buffers.partial];
            bound.extend(engine.records(buffers));
            self.planner.add(&kernel, &bound, head, args, grid);
        }
    }
}

/// A layer's part in the gradient.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LayerVjp<'a> {
    pub(crate) layer: &'a Layer,
    pub(crate) cursors: &'a wgpu::Buffer,
    pub(crate) head: Head,
    /// The stage's `c`.
    pub(crate) node: f64,
    pub(crate) input: &'a wgpu::Buffer,
    pub(crate) source: usize,
    pub(crate) z_bar: &'a wgpu::Buffer,
    pub(crate) z_bar_offset: usize,
}

/// A layer's shape and place, for the cotangent of its input.
pub(crate) fn dense_vjp_input_args(layer: &Layer) -> DenseVjpInputArgs {
    DenseVjpInputArgs {
        inputs: word(layer.inputs),
        outputs: word(layer.outputs),
        theta: word(layer.offset),
        ..DenseVjpInputArgs::default()
    }
}

/// Weights of the slots that have any.
pub(crate) fn slots(weights: &[(usize, f64)]) -> [f32; 12] {
    let mut all = [0.0; 12];
    for (slot, weight) in weights {
        all[*slot] = *weight;
    }
    coefficients(all)
}
