//! [`Asked`]: what a regularizer asks of one training step; [`Draws`], its random numbers, the same for either engine.

use super::{GlobalPenalty, Hooks, Learnt, PenaltyGradient, PointDraws, StepPenalty};
use crate::math::{Purpose, Random};
use crate::problem::Problem;

/// What a regularizer asks of one training step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) local: Option<Draws>,
    pub(crate) global: Option<GlobalPenalty>,
    pub(crate) pointwise: Vec<PointDraws>,
    /// Where the solve ends, if not where the problem does.
    pub(crate) end: Option<f64>,
    /// What its random numbers follow from: a seed and the training step.
    pub(crate) draw: (u64, u64),
}

impl Asked {
    /// Of training step `step`; nothing where no time passes, as `still` says.
    pub(crate) fn new(hooks: Hooks, learnt: &Learnt, (problem, still): (&Problem, bool), seed: u64, step: u64) -> Self {
        if still {
            return Self::default();
        }
        let hooks = learnt.prepare(hooks);
        Self {
            local: hooks.penalty.map(|penalty| Draws::new(penalty, seed, step)),
            global: hooks.global,
            pointwise: hooks
                .pointwise
                .into_iter()
                .flatten()
                .map(|penalty| PointDraws::new(penalty, seed, step))
                .collect(),
            end: hooks.end_time.map(|end_time| end_time.draw([problem.t0, problem.t1], seed, step)),
            draw: (seed, step),
        }
    }
}

/// A penalty with its random draws, as every worker sees it.
#[derive(Clone, Debug)]
pub(crate) struct Draws {
    pub(crate) penalty: StepPenalty,
    /// Where in its part of the interval each probe lies, in `[0, 1)`.
    pub(crate) uniform: Vec<f64>,
    pub(crate) seed: u64,
    pub(crate) step: u64,
}

impl Draws {
    pub(crate) fn new(penalty: StepPenalty, seed: u64, step: u64) -> Self {
        let mut random = Random::new(seed, Purpose::RegularizationTime, step << 32);
        Self { penalty, uniform: (0..penalty.times).map(|_| random.uniform()).collect(), seed, step }
    }

    /// Position of the n-th probe in the interval, in `[0, 1)`: one in each of as many equal parts.
    pub(crate) fn position(&self, n: usize) -> f64 {
        (n as f64 + self.uniform[n]) / self.uniform.len() as f64
    }

    /// Position of the n-th probe of one trajectory of an ensemble, which draws for itself.
    pub(crate) fn own_position(&self, n: usize, trajectory: usize) -> f64 {
        let mut random = Random::new(self.seed, Purpose::RegularizationTime, (self.step << 32) + 1 + trajectory as u64);
        let uniform = (0..=n).map(|_| random.uniform()).last().unwrap_or(0.0);
        (n as f64 + uniform) / self.uniform.len() as f64
    }
}

/// Trajectories that have a penalty together or not at all: the native engine's tiles.
pub(crate) const PENALTY_TILE: usize = 32;

/// How many of a batch's tiles have a penalty.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a small number")]
pub(crate) fn penalised_tiles(tiles: usize, fraction: f64) -> usize {
    ((fraction * tiles as f64).ceil() as usize).clamp(1, tiles.max(1))
}

/// How many of a batch's trajectories have a penalty: whole tiles.
pub(crate) fn penalised_rows(batch: usize, fraction: f64) -> usize {
    (penalised_tiles(batch.div_ceil(PENALTY_TILE), fraction) * PENALTY_TILE).min(batch)
}

/// What the first stage of a step passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FirstStage {
    /// Parameter and state cotangents.
    Everything,
    /// Parameter cotangents: the state is a constant.
    Parameters,
    /// Nothing: `k1` is a constant.
    Nothing,
}

impl PenaltyGradient {
    /// What a penalised step's first stage passes on.
    pub(crate) const fn first_stage(self) -> FirstStage {
        match self {
            Self::Published => FirstStage::Nothing,
            Self::Step => FirstStage::Parameters,
            Self::Full => FirstStage::Everything,
        }
    }
}
