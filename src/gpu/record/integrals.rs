//! Measures over all accepted steps: at every stage of a step on the walk back, weighted as the method weights its stages.
//!
//! `R = sum_steps |h| sum_i b_i rho(t + c_i h, Y_i)`, as the native engine has it (`cpu::regularize::quadrature`). On the way back
//! over a step, the cotangent of a stage's state `Y_i` is in its slot once its evaluation is differentiated, and goes on from there
//! to the stages before it and to the step's start. That of `rho` is added to it there, so that nothing else changes.

use super::program::Pass;
use super::{Recorder, Step};
use crate::gpu::kernel;
use crate::gpu::plan::flat;
use crate::gpu::record::network::Weights;
use crate::gpu::record::outside::Outside;
use crate::gpu::schedule::Way;
use crate::gpu::wire::args::ProbeStoreArgs;
use crate::gpu::wire::head::Head;
use crate::gpu::wire::modes::{Direction, PointSum, Store, flag};
use crate::gpu::wire::word;
use crate::method::{PenaltyGradient, PointPenalty};

impl Recorder<'_, '_> {
    /// Begins a measure's sum over the steps.
    pub(super) fn begin_integral(&mut self, penalty: PointPenalty) {
        if let Some(of) = self.measured(penalty) {
            self.point_value(of, penalty, (PointSum::Begin, 0, 0.0));
        }
    }

    /// The measures at a stage of a kept step, whose cotangent is there.
    pub(super) fn integrals(&mut self, step: Step<'_>, stage: usize) {
        let weight = self.engine.tableau.b[stage];
        for penalty in self.buffers.sizes.purpose.integrals().filter(|_| step.measured && weight != 0.0) {
            if let Some(of) = self.measured(penalty) {
                let of = Outside { cursors: step.cursors, ..of };
                self.measure_stage(step, of, penalty, (stage, weight));
            }
        }
    }

    fn measure_stage(&mut self, step: Step<'_>, of: Outside<'_>, penalty: PointPenalty, (stage, weight): (usize, f64)) {
        let (engine, buffers) = (self.engine, self.buffers);
        let network = engine.drift(buffers).at_states(of.values[0], &engine.outcome);
        self.combine(step, network, Weights::of_drift(engine.tableau.a[stage]), flag::STATE, 0);
        if Direction::from(penalty.measure) != Direction::Nothing {
            self.place_point(Outside { cursors: &buffers.probe_cursors, ..of }, penalty, None);
        }
        let theta = of.program.first;
        let pass = |way: Way| {
            let back = way == Way::Back;
            let head = engine.head(of.trajectories);
            let (dim, flags) = if back { (of.program.ends[0], 0) } else { (of.program.ends[1], flag::KEEP) };
            let own = if back { of.bars } else { of.values };
            Pass {
                way,
                cursors: of.cursors,
                head: Head { dim: word(dim), flags: head.flags | of.flags() | flags, ..head },
                trajectories: of.trajectories,
                // Its values are where those of a first stage are.
                stage: 0,
                node: engine.tableau.c[stage],
                theta,
                own: own.map(|buffer| (buffer, 0)),
                kept: of.values.map(|buffer| (buffer, 0)),
                // The stage's own cotangent has been made use of.
                result: (if back { &buffers.stage_bar } else { &buffers.norms }, 0),
            }
        };
        self.actions(&pass(Way::Forward), &of.program.kept);
        self.point_value(of, penalty, (PointSum::Stage, 1, weight));
        let full = penalty.gradient == PenaltyGradient::Full;
        self.back(&pass(Way::Back), &of.program.back[usize::from(full)]);
        if full {
            self.add_to_stage_bar(of, stage);
        }
    }

    /// Adds a measure's cotangent of a stage's state to what the stage has.
    fn add_to_stage_bar(&mut self, of: Outside<'_>, stage: usize) {
        let (engine, buffers) = (self.engine, self.buffers);
        let store = engine.kernels.get(&kernel::PROBE_STORE, &[]);
        let head = Head { mode: Store::Add.into(), ..engine.head(of.trajectories) };
        let slot = engine.drift(buffers).bar_slot + stage;
        let args = ProbeStoreArgs { target: word(slot * self.rows * engine.dim()), ..ProbeStoreArgs::default() };
        let bound = [&buffers.row_status, &engine.params, &buffers.stage_bar, &buffers.state_bars];
        self.planner.add(&store, &bound, head, args, flat((of.trajectories * engine.dim()).div_ceil(64)));
    }
}
