//! Records that lie in buffers: [`Clock`], [`Cursor`], [`Outcome`], [`Params`], [`LearntState`]; and time in ticks.

use super::modes::learnable::{FIRST_LENGTH, IDEAL_STEPS};
use super::twins;
use crate::math::Real;
use crate::method::{BudgetState, Learnt};
use crate::problem::Paths;

twins! {
    /// What a solve or a training step leaves for the host; `shaders/lib/outcome.wgsl` says what the members are.
    Outcome {
        unfinished: u32,
        paused: u32,
        solved: u32,
        moved: u32,
        penalised: u32,
        failed: u32,
        first_failed: u32,
        first_status: u32,
        nfe: u32,
        accepted: u32,
        rejected: u32,
        most_accepted: u32,
        remaining: u32,
        loss: f32,
        correct: u32,
        penalty: f32,
        gradient_norm: f32,
        skipped: u32,
        updates: u32,
        steps: u32,
        cut: u32,
        ideal: f32,
        wish: f32,
        coefficient: f32,
        unreachable: u32,
        global: f32,
        points: [f32; 5],
        divergence: f32,
    }
    /// Where a solve is, for the controller: `shaders/lib/clock.wgsl`.
    Clock {
        t: [u32; 2],
        log_errors: [f32; 2],
        h: f32,
        last_good: f32,
        accepted: u32,
        rejected: u32,
        nfe: u32,
        status: u32,
        failures: u32,
        was_rejected: u32,
        saved: u32,
        pending: u32,
        cut: u32,
        first: u32,
        ideal: f32,
        rate: f32,
        waiting: f32,
        wish: f32,
    }
    /// How far a row has been walked back: `shaders/lib/row_walk.wgsl`.
    RowWalk {
        steps: u32,
        gone: u32,
        cut: u32,
    }
    /// The step that stage kernels work on: `shaders/lib/clock.wgsl`. The device alone writes and reads it.
    Cursor {
        t: [u32; 2],
        d: [u32; 2],
        h: f32,
        origin: u32,
        target: u32,
        k_first: u32,
        k_last: u32,
        moving: u32,
        first: u32,
        step: u32,
    }
    /// What changes from one training step to the next: `shaders/lib/params.wgsl`.
    Params {
        step: [u32; 2],
        seed: [u32; 2],
        update: u32,
        coefficient: f32,
        share: f32,
        global: f32,
        paths: [u32; 4],
        rates: [f32; 4],
        draws: [[u32; 2]; 64],
        times: [[u32; 2]; 64],
        order: [u32; 64],
        measures: [f32; 7],
        divergence: f32,
    }
    /// What solves have taught those that follow: `shaders/lib/learnt.wgsl`.
    LearntState {
        known: u32,
        first: f32,
        ideal: f32,
        steps: u32,
        coefficient: f32,
        mean_nfe: f32,
        offset: f32,
        unreachable: u32,
        best: [f32; 2],
        mark: [f32; 2],
        seen: u32,
        wish: f32,
        measure: f32,
        nfe: f32,
        evaluations: f32,
        pad0: u32,
        pad1: u32,
        pad2: u32,
    }
}

impl Clock {
    /// Steps of an ideal controller with such a safety factor.
    pub(crate) fn ideal_steps(&self, safety: f64) -> f64 {
        f64::from(self.ideal + self.waiting) / safety
    }
}

impl Params {
    /// Those of a training step without penalty or update.
    pub(crate) fn new(seed: u64, step: u64, paths: Paths) -> Self {
        Self { step: halves(step), seed: halves(seed), paths: path_words(paths), ..Self::default() }
    }
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
            ..Self::default()
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

/// Ticks of an interval, `2^63`; see `shaders/lib/time.wgsl`.
pub(crate) const TICKS: f64 = 9_223_372_036_854_775_808.0;

/// A share of the interval in `[0, 1]` as ticks, high word first.
pub(crate) fn ticks(share: f64) -> [u32; 2] {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share in [0, 1] has at most 2^63")]
    let ticks = (share * TICKS) as u64;
    let [low, high] = halves(ticks);
    [high, low]
}

/// The share of the interval that ticks are.
pub(crate) fn share([high, low]: [u32; 2]) -> f64 {
    ((u64::from(high) << 32) | u64::from(low)) as f64 / TICKS
}

/// What the device knows of its paths: the seed, low word first, and the first trajectory's number.
pub(crate) const fn path_words(paths: Paths) -> [u32; 4] {
    let [low, high] = halves(paths.seed);
    [low, high, paths.first, 0]
}

/// The low word and the high one.
#[expect(clippy::cast_possible_truncation, reason = "the two halves")]
pub(crate) const fn halves(n: u64) -> [u32; 2] {
    [n as u32, (n >> 32) as u32]
}
