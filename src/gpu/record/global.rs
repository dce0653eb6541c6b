//! Global regularization: the errors of all accepted steps, weighed after the solve and differentiated on the walk back.
//!
//! A solve leaves each accepted step's error norm behind the table of steps ([`flag::ERRORS`]). What it weighs in the gradient
//! goes there too, so that no kernel binds more than it did; step sizes are constants.

use super::{Recorder, Step};
use crate::gpu::kernel;
use crate::gpu::plan::flat;
use crate::gpu::record::network::Weights;
use crate::gpu::wire::args::{ErrorBarArgs, NoArgs, ProbeErrorArgs, StepWeightsArgs};
use crate::gpu::wire::head::Head;
use crate::gpu::wire::modes::{Aggregate, ProbeMeasure};
use crate::gpu::wire::word;
use crate::math::Real;
use crate::method::GlobalPenalty;

impl Recorder<'_, '_> {
    /// Weighs the steps of the solve, and leaves their penalty in the outcome.
    pub(crate) fn step_errors(&mut self, penalty: GlobalPenalty) {
        let (engine, buffers) = (self.engine, self.buffers);
        let head = Head { mode: ProbeMeasure::from(penalty.measure).into(), ..engine.head(self.rows) };
        let weigh = engine.kernels.get(&kernel::STEP_WEIGHTS, &[]);
        let args = StepWeightsArgs {
            steps: word(buffers.sizes.steps),
            error_power: f32::from_f64(1.0 / engine.tableau.error_power()),
            aggregate: Aggregate::from(penalty.aggregate).into(),
        };
        let mut bound =
            vec![&buffers.clocks, &buffers.row_status, &engine.outcome, &engine.params, &buffers.steps, &buffers.norms];
        bound.extend(engine.records(buffers));
        let clocks = if engine.per_row() { self.rows } else { 1 };
        self.planner.add(&weigh, &bound, head, args, flat(clocks.div_ceil(64)));
        let sum = engine.kernels.get(&kernel::STEP_SUM, &[]);
        self.planner.add(&sum, &[&buffers.norms, &engine.outcome], head, NoArgs::default(), [1, 1, 1]);
    }

    /// The cotangent of the error of a kept step, where its [`Seed::Error`](super::vjp::Seed::Error) is looked for; adds to
    /// that of the step's end.
    pub(super) fn error_bar(&mut self, step: Step<'_>) {
        let (engine, buffers) = (self.engine, self.buffers);
        self.noisy_error(step, engine.error_weights());
        let kernel = engine.kernels.get(&kernel::ERROR_BAR, &[]);
        let args = ErrorBarArgs {
            sum: engine.sum(step, engine.error_weights()),
            error_slot: word(engine.error_bar_slot()),
            steps: word(buffers.sizes.steps),
        };
        let bound = [
            step.cursors,
            &buffers.row_status,
            step.tape,
            &buffers.k,
            &buffers.steps,
            &buffers.bar,
            &buffers.state_bars,
        ];
        self.planner.add(&kernel, &bound, engine.head(step.rows), args, flat((step.rows * engine.dim()).div_ceil(64)));
    }

    /// Leaves the error of a stochastic step where its cotangent will be.
    pub(super) fn noisy_error(&mut self, step: Step<'_>, weights: Weights<'_>) {
        let (engine, buffers) = (self.engine, self.buffers);
        if engine.noise().is_none() {
            return;
        }
        let error = engine.kernels.get(&kernel::PROBE_ERROR, &[]);
        let target = word(engine.error_bar_slot() * step.rows * engine.dim());
        let bound = [step.cursors, &buffers.k, &buffers.state_bars, &buffers.increments];
        let args = ProbeErrorArgs { sum: engine.sum(step, weights), target };
        self.planner.add(&error, &bound, engine.head(step.rows), args, flat((step.rows * engine.dim()).div_ceil(64)));
    }
}
