//! What solves have taught those that follow, on the device.

use bytemuck::Zeroable;

use super::engine::Engine;
use super::kernel;
use super::plan::Planner;
use crate::error::Result;
use crate::math::Real;
use crate::method::{BudgetState, InitialStep, Learnt, PenaltyStep, StepControl, StepPenalty};

/// The twin of `shaders/lib/learnt.wgsl`.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct LearntState {
    pub(crate) known: u32,
    pub(crate) first: f32,
    pub(crate) ideal: f32,
    pub(crate) steps: u32,
    pub(crate) coefficient: f32,
    pub(crate) mean_nfe: f32,
    pub(crate) offset: f32,
    pub(crate) unreachable: u32,
    pub(crate) best: [f32; 2],
    pub(crate) mark: [f32; 2],
    pub(crate) seen: u32,
    pub(crate) wish: f32,
    pub(crate) measure: f32,
    pub(crate) nfe: f32,
    pub(crate) evaluations: f32,
    pub(crate) pad0: u32,
    pub(crate) pad1: u32,
    pub(crate) pad2: u32,
}

/// Bits of `known` and `seen`.
pub(crate) const FIRST_LENGTH: u32 = 1;
pub(crate) const IDEAL_STEPS: u32 = 2;
pub(crate) const COSTS: u32 = 4;

/// Modes of the kernel `learn`.
pub(crate) mod learn {
    pub(crate) const NOTE: u32 = 0;
    pub(crate) const LEARN: u32 = 1;
}

impl From<Learnt> for LearntState {
    fn from(learnt: Learnt) -> Self {
        let Learnt { first, ideal, budget } = learnt;
        let known = first.map_or(0, |_| FIRST_LENGTH) | ideal.map_or(0, |_| IDEAL_STEPS);
        let pair = |pair: [f64; 2]| pair.map(f32::from_f64);
        Self {
            known,
            first: f32::from_f64(first.unwrap_or(0.0)),
            ideal: f32::from_f64(ideal.unwrap_or(0.0)),
            steps: u32::try_from(budget.steps).unwrap_or(u32::MAX),
            coefficient: f32::from_f64(budget.coefficient),
            mean_nfe: f32::from_f64(budget.nfe),
            offset: f32::from_f64(budget.offset),
            unreachable: u32::from(budget.unreachable),
            best: pair(budget.best),
            mark: pair(budget.mark),
            ..Self::zeroed()
        }
    }
}

impl From<LearntState> for Learnt {
    fn from(state: LearntState) -> Self {
        let known = |bit: u32, x: f32| (state.known & bit != 0).then_some(f64::from(x));
        Self {
            first: known(FIRST_LENGTH, state.first),
            ideal: known(IDEAL_STEPS, state.ideal),
            budget: BudgetState {
                steps: u64::from(state.steps),
                coefficient: f64::from(state.coefficient),
                nfe: f64::from(state.mean_nfe),
                offset: f64::from(state.offset),
                best: state.best.map(f64::from),
                mark: state.mark.map(f64::from),
                unreachable: state.unreachable != 0,
            },
        }
    }
}

impl Engine {
    /// Whether first steps are carried on from solve to solve.
    pub(crate) const fn carries(&self) -> bool {
        matches!(self.options.step_control, StepControl::Adaptive { initial_step: InitialStep::Carried, .. })
    }

    /// What training steps with such a penalty learn: bits.
    pub(crate) fn learns(&self, penalty: Option<StepPenalty>) -> u32 {
        let first = if self.carries() { FIRST_LENGTH } else { 0 };
        let of_penalty = |p: StepPenalty| {
            let ideal = if p.step == PenaltyStep::Ideal { IDEAL_STEPS } else { 0 };
            ideal | p.budget.map_or(0, |_| COSTS)
        };
        first | penalty.map_or(0, of_penalty)
    }

    /// Notes what a training step's solve has to teach, or learns it, if there is anything.
    pub(crate) fn plan_learn(&self, planner: &mut Planner<'_>, mode: u32) {
        let penalty = self.purpose.penalty;
        let learns = self.learns(penalty);
        if learns == 0 {
            return;
        }
        let mut job = self.job(1);
        job.mode = mode;
        job.u[3] = learns;
        if let Some((penalty, budget)) = penalty.and_then(|penalty| Some((penalty, penalty.budget?))) {
            job.w = [budget.nfe, budget.rate, budget.lowest, budget.highest].map(f32::from_f64);
            job.v[..2].copy_from_slice(&[self.tableau.stages() as f64, penalty.coefficient].map(f32::from_f64));
        }
        let kernel = self.kernels.get(&kernel::LEARN, &[]);
        planner.add(&kernel, &[&self.outcome, &self.learnt], job, [1, 1, 1]);
    }

    /// Goes on with what other solves have taught.
    pub(crate) fn write_learnt(&self, learnt: Learnt) {
        self.gpu.queue.write_buffer(&self.learnt, 0, bytemuck::bytes_of(&LearntState::from(learnt)));
    }

    /// Reads back what solves have taught.
    pub(crate) async fn read_learnt(&mut self) -> Result<Learnt> {
        let learnt = self.learnt.clone();
        let state: Vec<LearntState> = self.read(&[(&learnt, 0, 1)]).await?.swap_remove(0);
        Ok(state.first().copied().unwrap_or_else(LearntState::zeroed).into())
    }
}
