//! How a field that is a program is recorded: the dispatches of its [`Schedules`].

use super::network::Network;
use super::step::{dense_args, time_flag};
use super::vjp::{LayerVjp, dense_vjp_input_args};
use super::{Recorder, Step};
use crate::gpu::kernel;
use crate::gpu::plan::flat;
use crate::gpu::schedule::{Action, Back, Kind, Memory, Place, Product, Run, Schedule, Schedules, Way};
use crate::gpu::wire::args::{DenseArgs, DenseVjpInputArgs, RunArgs, RunVjpArgs};
use crate::gpu::wire::head::Head;
use crate::gpu::wire::modes::flag;
use crate::gpu::wire::word;
use crate::math::Real;
use crate::problem::Layer;

/// A stage of a program that is evaluated, or walked back: what its dispatches have in common.
pub(super) struct Pass<'a> {
    pub(super) way: Way,
    pub(super) cursors: &'a wgpu::Buffer,
    pub(super) head: Head,
    /// Of which the rows are, all of one saved time after the other.
    pub(super) trajectories: usize,
    pub(super) stage: usize,
    /// The stage's `c`.
    pub(super) node: f64,
    /// The first of the field's parameters.
    pub(super) theta: usize,
    /// The buffers that values lie in, and where those of the stage begin there.
    pub(super) own: [(&'a wgpu::Buffer, usize); 2],
    pub(super) kept: [(&'a wgpu::Buffer, usize); 2],
    pub(super) result: (&'a wgpu::Buffer, usize),
}

impl<'a> Pass<'a> {
    /// The buffer of a place, and where it begins there.
    fn at(&self, place: Place) -> (&'a wgpu::Buffer, u32) {
        let (buffer, first) = match place.memory {
            Memory::Own(part) => self.own[part],
            Memory::Kept(part) => self.kept[part],
            Memory::Result => self.result,
        };
        (buffer, word(first + place.first * self.head.rows as usize))
    }

    fn layer(&self, layer: Layer) -> Layer {
        Layer { offset: self.theta + layer.offset, ..layer }
    }
}

impl Recorder<'_, '_> {
    /// A program at the state in its memory, at node `c`: its stage `stage`.
    pub(super) fn program(
        &mut self,
        step: Step<'_>,
        network: Network<'_>,
        program: &Schedules,
        (stage, node, flags): (usize, f64, u32),
    ) {
        let (engine, buffers) = (self.engine, self.buffers);
        let (schedule, slot) = if step.keep { (&program.kept, stage) } else { (&program.plain, 0) };
        let head = network.head(engine.head(step.rows));
        let own = network.memory(slot * step.rows, schedule.widths);
        let pass = Pass {
            way: Way::Forward,
            cursors: step.cursors,
            head: Head { flags: head.flags | flags | step.keeping(), ..head },
            trajectories: step.rows,
            stage,
            node,
            theta: program.first,
            own,
            kept: own,
            result: (&buffers.k, network.slot * step.rows * engine.dim()),
        };
        self.actions(&pass, schedule);
    }

    /// From the cotangent of a kept stage to those of the parameters, and of the stage's state if that is wanted.
    pub(super) fn program_vjp(
        &mut self,
        step: Step<'_>,
        network: Network<'_>,
        program: &Schedules,
        (stage, wants_state): (usize, bool),
    ) {
        let (engine, buffers) = (self.engine, self.buffers);
        let pass = Pass {
            way: Way::Back,
            cursors: step.cursors,
            head: network.head(engine.head(step.rows)),
            trajectories: step.rows,
            stage,
            node: network.c[stage],
            theta: program.first,
            own: [(&buffers.stage_bar, 0), (&buffers.cotangents0, 0)],
            kept: network.memory(stage * step.rows, program.kept.widths),
            result: (&buffers.state_bars, (network.bar_slot + stage) * step.rows * engine.dim()),
        };
        self.back(&pass, &program.back[usize::from(wants_state)]);
    }

    /// A way back, and what it adds to the parameters' cotangent.
    pub(super) fn back(&mut self, pass: &Pass<'_>, back: &Back) {
        self.actions(pass, &back.schedule);
        for part in &back.gradients {
            let (z_bar, z_bar_offset) = pass.at(part.z_bar);
            // Numbers are summed without an input.
            let (input, source) = part.x.map_or((pass.kept[0].0, 0), |place| pass.at(place));
            let linear = if part.linear { flag::BARE } else { 0 };
            self.layer_vjp(LayerVjp {
                layer: &pass.layer(part.layer),
                cursors: pass.cursors,
                head: Head { flags: pass.head.flags | linear, ..pass.head },
                node: pass.node,
                input,
                source: source as usize,
                z_bar,
                z_bar_offset: z_bar_offset as usize,
            });
        }
    }

    pub(super) fn actions(&mut self, pass: &Pass<'_>, schedule: &Schedule) {
        for action in &schedule.actions {
            match action {
                Action::Product(product) if product.kind == Kind::Transposed => self.transposed(pass, product),
                Action::Product(product) => self.product(pass, product),
                Action::Run(run) => self.run(pass, run),
            }
        }
    }

    fn product(&mut self, pass: &Pass<'_>, product: &Product) {
        let (engine, buffers) = (self.engine, self.buffers);
        let layer = pass.layer(product.layer);
        let (input, source) = pass.at(product.from);
        let (output, target) = pass.at(product.to);
        let mut head = pass.head;
        head.flags |= match product.kind {
            Kind::Affine => time_flag(&layer),
            _ => flag::BARE,
        };
        if pass.way == Way::Back {
            // Rows at rest have zeros there.
            head.flags |= flag::KEEP;
        } else if product.to.memory == Memory::Result && head.flags & flag::ALWAYS == 0 {
            head.flags |= flag::STAGE_OUT;
        }
        // Nothing else is bound twice to be written to.
        let (derivative, at) = match product.slope.map(|slope| pass.at(slope)) {
            Some((slope, at)) if slope == output => {
                head.flags |= flag::TOGETHER;
                (&engine.outcome, at)
            }
            Some(slope) => slope,
            None => {
                head.flags |= flag::LINEAR;
                (&engine.outcome, 0)
            }
        };
        let args = DenseArgs {
            source,
            target,
            derivative: at,
            stage: word(pass.stage),
            node: f32::from_f64(pass.node),
            ..dense_args(&layer)
        };
        let mut bound = vec![pass.cursors, engine.weights(), input, output, derivative];
        bound.extend(engine.records(buffers));
        let grid = kernel::product_grid(head.rows as usize, layer.outputs, 1);
        self.planner.add(&engine.kernels.product(&kernel::DENSE, grid), &bound, head, args, grid);
    }

    fn transposed(&mut self, pass: &Pass<'_>, product: &Product) {
        let engine = self.engine;
        let layer = pass.layer(product.layer);
        let (z_bar, source) = pass.at(product.from);
        let (x_bar, target) = pass.at(product.to);
        let linear = if product.slope.is_none() { flag::LINEAR } else { 0 };
        let (derivative, at) = product.slope.map_or((engine.weights(), 0), |slope| pass.at(slope));
        let args = DenseVjpInputArgs { source, target, derivative: at, ..dense_vjp_input_args(&layer) };
        let head = Head { flags: pass.head.flags | linear, ..pass.head };
        let bound = [pass.cursors, engine.weights(), z_bar, derivative, x_bar];
        let grid = kernel::product_grid(head.rows as usize, layer.inputs, 1);
        self.planner.add(&engine.kernels.product(&kernel::DENSE_VJP_INPUT, grid), &bound, head, args, grid);
    }

    fn run(&mut self, pass: &Pass<'_>, run: &Run) {
        let (engine, buffers) = (self.engine, self.buffers);
        let grid = flat((pass.head.rows as usize * run.lanes).div_ceil(64));
        let [(own0, at0), (own1, at1)] = pass.own;
        let [(kept0, first0), (kept1, first1)] = pass.kept;
        let (result, to) = pass.result;
        let theta = word(pass.theta);
        match pass.way {
            Way::Forward => {
                let kernel = engine.kernels.printed(&kernel::RUN, &run.text, &[]);
                let args = RunArgs {
                    own0: word(at0),
                    own1: word(at1),
                    result: word(to),
                    theta,
                    stage: word(pass.stage),
                    node: f32::from_f64(pass.node),
                };
                let mut bound =
                    vec![pass.cursors, &buffers.row_status, engine.weights(), own0, own1, result, &engine.knots];
                bound.extend(engine.records(buffers));
                self.planner.add(&kernel, &bound, pass.head, args, grid);
            }
            Way::Back => {
                let kernel = engine.kernels.printed(&kernel::RUN_VJP, &run.text, &[]);
                let trajectories = word(pass.trajectories);
                let args =
                    RunVjpArgs { kept0: word(first0), kept1: word(first1), result: word(to), theta, trajectories };
                let bound = [pass.cursors, &buffers.row_status, engine.weights(), kept0, kept1, own0, own1, result];
                self.planner.add(&kernel, &bound, pass.head, args, grid);
            }
        }
    }
}
