//! From tiles to a [`Solution`].

use crate::cpu::engine::Engine;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::lanes::scatter;
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::tile::Tile;
use crate::error::Status;
use crate::method::{Layout, SaveAt};
use crate::solution::{DenseSolution, SavedTimes, Solution, Stats};

/// What the last solve of the engine returns.
pub(super) fn assemble<R: Scalar>(engine: &Engine<R>) -> Solution<R> {
    let status: Vec<Status> = engine.statuses().collect();
    let times = Times::of(engine);
    let (ts, ys) = match &engine.options.save_at {
        SaveAt::End => (SavedTimes::Shared(vec![engine.problem.t1]), slots(engine, 1)),
        SaveAt::Times(times) => (SavedTimes::Shared(times.clone()), slots(engine, times.len())),
        SaveAt::Steps | SaveAt::Dense => (times.saved(), times.states(engine)),
    };
    let dense = (engine.options.save_at == SaveAt::Dense).then(|| times.dense(engine));
    Solution { ts, ys, stats: times.stats, ideal_steps: engine.ideal_steps(), status, dense }
}

/// States of the save slots, `[slots][B][D]`, NaN where a trajectory did not come to their times.
fn slots<R: Scalar>(engine: &Engine<R>, slots: usize) -> Vec<R> {
    let (batch, dim) = (engine.batch(), engine.dim());
    let direction = engine.problem.t1 - engine.problem.t0;
    let mut ys = vec![R::ZERO; slots * batch * dim];
    for (slot, ys) in ys.chunks_exact_mut(batch * dim).enumerate() {
        let point = engine.save_time(slot);
        for tile in engine.tiles() {
            let rows = &mut ys[tile.index * LANES * dim..][..tile.used * dim];
            scatter(tile.save(slot), rows, dim);
            for (row, t) in rows.chunks_exact_mut(dim).zip(tile.clock.t) {
                keep_if((point - t) * direction <= 0.0, row);
            }
        }
    }
    ys
}

/// Makes a row NaN where its trajectory did not come so far, or was not finite there.
fn keep_if<R: Scalar>(reached: bool, row: &mut [R]) {
    if !(reached && row.iter().all(|x| x.is_finite())) {
        row.fill(R::from_f64(f64::NAN));
    }
}

/// Accepted steps of each trajectory.
struct Times {
    t0: f64,
    shared: bool,
    /// Ends of the steps: one list for a lockstep batch, one a trajectory for an ensemble.
    steps: Vec<Vec<[f64; 2]>>,
    stats: Vec<Stats>,
}

impl Times {
    fn of<R: Scalar>(engine: &Engine<R>) -> Self {
        let t0 = engine.problem.t0;
        if engine.options.layout == Layout::Lockstep {
            let run = engine.run();
            let stats = run.map(crate::cpu::solve::lockstep::Run::stats).unwrap_or_default();
            return Self {
                t0,
                shared: true,
                steps: run.map(|r| r.steps.clone()).into_iter().collect(),
                stats: vec![stats],
            };
        }
        let lanes = || engine.tiles().flat_map(|t| (0..t.used).map(move |l| (t, l)));
        let stats = lanes().map(|(t, l)| t.stats(l)).collect();
        let steps = lanes()
            .map(|(t, l)| {
                t.steps.iter().take(t.clock.accepted[l] as usize).map(|ends| [ends[0][l], ends[1][l]]).collect()
            })
            .collect();
        Self { t0, shared: false, steps, stats }
    }

    fn saved(&self) -> SavedTimes {
        SavedTimes::of_steps(self.t0, self.shared, &self.steps)
    }

    fn states<R: Scalar>(&self, engine: &Engine<R>) -> Vec<R> {
        let dim = engine.dim();
        let lanes = || engine.tiles().flat_map(|t| (0..t.used).map(move |l| (t, l)));
        let mut ys = Vec::new();
        let mut push = |tile: &Tile<R>, lane: usize, n: usize| {
            ys.extend(tile.accepted_state(n, lane));
            let at = ys.len() - dim;
            keep_if(n <= tile.clock.accepted[lane] as usize, &mut ys[at..]);
        };
        if self.shared {
            for n in 0..=self.steps.first().map_or(0, Vec::len) {
                lanes().for_each(|(tile, lane)| push(tile, lane, n));
            }
        } else {
            for (tile, lane) in lanes() {
                (0..=tile.clock.accepted[lane] as usize).for_each(|n| push(tile, lane, n));
            }
        }
        ys
    }

    fn dense<R: Scalar>(&self, engine: &Engine<R>) -> DenseSolution<R> {
        let lanes = engine.tiles().flat_map(|t| (0..t.used).map(move |l| (t, l)));
        let nodes = lanes
            .map(|(tile, lane)| {
                // In lockstep a trajectory that was given up is carried along through steps that are not its own.
                let count = tile.clock.accepted[lane] as usize;
                let stages = |n: usize| tile.stage_tape[n][lane..].iter().step_by(LANES).copied();
                let node = |n: usize| tile.accepted_state(n, lane).chain(stages(n));
                (0..count).flat_map(node).chain(tile.accepted_state(count, lane)).collect()
            })
            .collect();
        DenseSolution::from_parts(engine.dim(), self.t0, self.shared, self.steps.clone(), nodes, engine.options.method)
    }
}
