//! What solves have taught those that follow, on the device.

use super::Recorder;
use crate::error::Result;
use crate::gpu::engine::Engine;
use crate::gpu::kernel;
use crate::gpu::wire::args::LearnArgs;
use crate::gpu::wire::head::Head;
use crate::gpu::wire::modes::Learn;
use crate::gpu::wire::modes::follower::{OF_ALL_STEPS, OF_MEASURES, OF_STEPS};
use crate::gpu::wire::modes::learnable::{COSTS, FIRST_LENGTH, IDEAL_STEPS};
use crate::gpu::wire::records::LearntState;
use crate::math::Real;
use crate::method::{Budget, Followed, Hooks, InitialStep, Learnt, PenaltyStep, StepControl};

impl Engine {
    /// Whether first steps are carried on from solve to solve.
    pub(crate) const fn carries(&self) -> bool {
        matches!(self.options.step_control, StepControl::Adaptive { initial_step: InitialStep::Carried, .. })
    }

    /// What training steps with such penalties learn: bits.
    pub(crate) fn learns(&self, hooks: &Hooks) -> u32 {
        let first = if self.carries() { FIRST_LENGTH } else { 0 };
        let ideal = hooks.penalty.filter(|p| p.step == PenaltyStep::Ideal).map_or(0, |_| IDEAL_STEPS);
        first | ideal | hooks.followed().map_or(0, |_| COSTS)
    }

    /// Whose coefficients follow a budget: bits.
    pub(crate) fn follows(hooks: &Hooks) -> u32 {
        let bit = |budget: Option<Budget>, bit: u32| budget.map_or(0, |_| bit);
        let measures = hooks.pointwise.iter().enumerate().map(|(n, p)| bit(p.and_then(|p| p.budget), OF_MEASURES << n));
        let steps = bit(hooks.penalty.and_then(|p| p.budget), OF_STEPS);
        steps | bit(hooks.global.and_then(|p| p.budget), OF_ALL_STEPS) | measures.sum::<u32>()
    }

    /// Goes on with what other solves have taught.
    pub(crate) fn write_learnt(&self, learnt: Learnt) {
        self.gpu.queue.write_buffer(&self.learnt, 0, bytemuck::bytes_of(&LearntState::from(learnt)));
    }

    /// Reads back what solves have taught.
    pub(crate) async fn read_learnt(&mut self) -> Result<Learnt> {
        let learnt = self.learnt.clone();
        let encoder = self.encoder();
        let part = [(&learnt, 0, size_of::<LearntState>() as u64)];
        let state: LearntState = self.staging.read(&self.gpu, encoder, &part, bytemuck::pod_read_unaligned).await?;
        Ok(state.into())
    }
}

impl Recorder<'_, '_> {
    /// Notes what a training step's solve has to teach, or learns it, if there is anything.
    pub(crate) fn learn(&mut self, mode: Learn) {
        let (engine, hooks) = (self.engine, self.buffers.sizes.purpose.hooks());
        let learns = engine.learns(&hooks);
        if learns == 0 {
            return;
        }
        let mut args = LearnArgs { learns, ..LearnArgs::default() };
        if let Some(Followed { budget, start }) = hooks.followed() {
            [args.target, args.rate] = [budget.nfe, budget.rate].map(f32::from_f64);
            [args.lowest, args.highest] = [budget.lowest, budget.highest].map(f32::from_f64);
            [args.coefficient, args.stages] = [start, engine.tableau.stages() as f64].map(f32::from_f64);
        }
        let head = Head { mode: mode.into(), ..engine.head(1) };
        let kernel = engine.kernels.get(&kernel::LEARN, &[]);
        self.planner.add(&kernel, &[&engine.outcome, &engine.learnt], head, args, [1, 1, 1]);
    }
}
