//! What is recorded: a [`Recorder`] turns solves, steps and walks into dispatches, which a [`Plan`](super::plan::Plan) keeps.
//!
//! The stage kernels do not know what they serve. A [`Step`] says which cursors and which tape they work on: those of the solve's
//! attempt, of a step on the walk back, or of a penalised one. An attempt that is made layer by layer is
//!
//! ```text
//! increments                                   what the paths do over it, where there is noise
//! for each stage, for the field (and the diffusion):
//!     combine                                  y + h sum a_ij k_j, to the first layer's input
//!     dense, a layer at a time                 k_i; of a field that was written out its products, with runs between them
//! combine                                      y + h sum b_j k_j, where no stage is there
//!                                              (dense_stage: the last layer and the sum after it in one)
//! row_norm                                     the error's norm of each row, with adaptive steps
//! save                                         states at the points that it covers
//! control_lockstep | control_ensemble          accepts or rejects, and aims the cursor at the next attempt
//! ```
//!
//! and a step on the walk back
//!
//! ```text
//! walk                                         aims the cursor at it
//! bar_update                                   takes up the cotangents of states saved at its end
//! increments, then combine and dense           its stages again, kept
//! error_bar                                    the cotangent of its error, where all of them are penalised
//! for each stage, last to first:
//!     stage_bar                                k_i_bar
//!     dense_vjp_weights, dense_vjp_input       of each layer, last to first: theta_bar and the state's cotangent
//!                                              (dense_vjp_stage: of the first layer, and the next stage_bar in one)
//!     combine, then a measure's program        where measures are over all steps, point_value, and the way back
//! bar_update                                   joins the states' cotangents to that of its start
//! inject                                       and those of penalised steps that start there
//! ```
//!
//! Small fields do without: a kernel that is printed for the problem ([`whole`]) solves trajectories whole.

mod draws;
mod global;
mod integrals;
mod learn;
mod local;
mod network;
mod noise;
mod outside;
mod points;
mod program;
mod series;
mod solve;
mod step;
pub(crate) mod tile;
mod vjp;
mod walk;
pub(crate) mod whole;

pub(crate) use local::check_penalty;
pub(crate) use outside::Outside;
pub(crate) use series::Series;
pub(crate) use step::{dense_args, time_flag};
pub(crate) use vjp::{LayerVjp, dense_vjp_input_args};

use super::buffers::Buffers;
use super::engine::Engine;
use super::kernel;
use super::plan::{Planner, flat};
use super::wire::args::NarrowArgs;
use super::wire::modes::flag;
use super::wire::word;

/// Records what an engine does with a batch's buffers.
#[derive(Debug)]
pub(crate) struct Recorder<'a, 'p> {
    pub(crate) engine: &'a Engine,
    pub(crate) buffers: &'a Buffers,
    /// Trajectories of the batch, for which there may be more room than that.
    pub(crate) rows: usize,
    pub(crate) planner: &'a mut Planner<'p>,
}

/// Which step the stage kernels work on: its cursors and its tape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step<'a> {
    pub(crate) cursors: &'a wgpu::Buffer,
    pub(crate) tape: &'a wgpu::Buffer,
    pub(crate) rows: usize,
    /// Whether derivatives are kept, a slot a stage.
    pub(crate) keep: bool,
    /// Save points whose cotangents the steps take up.
    pub(crate) points: usize,
    /// Whether their stages are measured, where measures are over all steps.
    pub(crate) measured: bool,
    /// Where the tape of second states begins, if there are any.
    pub(crate) second: usize,
}

impl Step<'_> {
    const fn keeping(&self) -> u32 {
        if self.keep { flag::KEEP } else { 0 }
    }
}

impl<'a> Recorder<'a, '_> {
    /// The steps of the solve.
    fn solving(&self) -> Step<'a> {
        let buffers = self.buffers;
        Step {
            cursors: &buffers.cursors,
            tape: &buffers.tape,
            rows: self.rows,
            keep: false,
            points: 0,
            measured: false,
            second: buffers.sizes.second_state(),
        }
    }

    /// Brings the weights up to date with the parameters.
    pub(crate) fn narrow(&mut self) {
        let engine = self.engine;
        if let Some(half) = &engine.half {
            let narrow = engine.kernels.get(&kernel::NARROW, &[]);
            let args = NarrowArgs { parameters: word(engine.parameters) };
            self.planner.add(
                &narrow,
                &[&engine.theta, half],
                engine.head(1),
                args,
                flat(engine.parameters.div_ceil(64)),
            );
        }
    }
}
