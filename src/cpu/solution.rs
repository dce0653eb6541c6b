//! From tiles to a [`Solution`].

use crate::cpu::crew::run::Run;
use crate::cpu::engine::Engine;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::lanes::scatter;
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::tile::Tile;
use crate::error::Status;
use crate::method::{Layout, SaveAt};
use crate::problem::Times;
use crate::solution::{SavedTimes, Solution, Stats, Steps};

/// What the last solve of the engine returns.
pub(super) fn assemble<R: Scalar>(engine: &Engine<R>) -> Solution<R> {
    let status: Vec<Status> = engine.statuses().collect();
    let steps = steps(engine);
    let (ts, ys) = match (engine.times(), &engine.options.save_at) {
        (Some(times), _) => (SavedTimes::Own(times.clone()), own_slots(engine, times)),
        (None, SaveAt::End) => (SavedTimes::Shared(vec![engine.t1()]), slots(engine, 1)),
        (None, SaveAt::Times(times)) => (SavedTimes::Shared(times.clone()), slots(engine, times.len())),
        (None, SaveAt::Steps | SaveAt::Dense) => {
            let trajectories: Vec<_> = lanes(engine).collect();
            let state = |ys: &mut Vec<R>, row: usize, n: usize| {
                let (tile, lane) = trajectories[row];
                ys.extend(tile.accepted_state(n, lane));
            };
            (steps.times(), steps.states(state))
        }
    };
    let dense = (engine.options.save_at == SaveAt::Dense).then(|| {
        let nodes = nodes(engine, &steps);
        steps.dense(engine.dim(), engine.options.method, nodes)
    });
    Solution { ts, ys, stats: stats(engine), ideal_steps: engine.ideal_steps(), status, dense }
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

/// The same at the trajectories' own times, NaN where a row has none for a slot too.
fn own_slots<R: Scalar>(engine: &Engine<R>, times: &Times) -> Vec<R> {
    let (batch, dim) = (engine.batch(), engine.dim());
    let mut ys = vec![R::ZERO; times.slots() * batch * dim];
    for (slot, ys) in ys.chunks_exact_mut(batch * dim).enumerate() {
        for tile in engine.tiles() {
            let first = tile.index * LANES;
            let rows = &mut ys[first * dim..][..tile.used * dim];
            scatter(tile.save(slot), rows, dim);
            for (l, row) in rows.chunks_exact_mut(dim).enumerate() {
                let reached = |t: &f64| (t - tile.clock.t[l]) * tile.clock.span(l) <= 0.0;
                keep_if(times.saved(first + l).get(slot).is_some_and(reached), row);
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

/// What the solve cost, for the batch in lockstep, for each trajectory of an ensemble.
fn stats<R: Scalar>(engine: &Engine<R>) -> Vec<Stats> {
    match engine.options.layout {
        Layout::Lockstep => vec![engine.run().map(Run::stats).unwrap_or_default()],
        Layout::Ensemble => lanes(engine).map(|(tile, lane)| tile.clock.stats(lane)).collect(),
    }
}

/// The lanes of all tiles that are trajectories.
fn lanes<R: Scalar>(engine: &Engine<R>) -> impl Iterator<Item = (&Tile<R>, usize)> {
    engine.tiles().flat_map(|tile| (0..tile.used).map(move |lane| (tile, lane)))
}

/// The accepted steps of each trajectory.
fn steps<R: Scalar>(engine: &Engine<R>) -> Steps {
    let own: Vec<usize> = lanes(engine).map(|(tile, lane)| tile.clock.accepted[lane] as usize + 1).collect();
    let shared = engine.options.layout == Layout::Lockstep;
    let ends = if shared {
        engine.run().map(|run| run.steps.clone()).into_iter().collect()
    } else {
        let own = |(tile, lane): (&Tile<R>, usize)| {
            let taken = tile.steps.iter().take(tile.clock.accepted[lane] as usize);
            taken.map(|ends| [ends[0][lane], ends[1][lane]]).collect()
        };
        lanes(engine).map(own).collect()
    };
    Steps::new(engine.problem.t0, shared, ends, own)
}

/// Each trajectory's own states and stages.
fn nodes<R: Scalar>(engine: &Engine<R>, steps: &Steps) -> Vec<Vec<R>> {
    let nodes = |(row, (tile, lane)): (usize, (&Tile<R>, usize))| {
        let count = steps.own_steps(row);
        let stages = |n: usize| tile.tape.stages[n][lane..].iter().step_by(LANES).copied();
        let node = |n: usize| tile.accepted_state(n, lane).chain(stages(n));
        (0..count).flat_map(node).chain(tile.accepted_state(count, lane)).collect()
    };
    lanes(engine).enumerate().map(nodes).collect()
}
