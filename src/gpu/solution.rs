//! From buffers to a [`Solution`].

use super::buffers::Buffers;
use super::engine::Engine;
use super::wire::modes::status;
use super::wire::records::{Clock, Outcome, halves, ticks};
use crate::error::{Result, Status};
use crate::method::SaveAt;
use crate::problem::Times;
use crate::solution::{DenseSolution, SavedTimes, Solution, Stats, Steps};

/// How the trajectories of a batch ended.
struct Ends {
    clocks: Vec<Clock>,
    status: Vec<Status>,
    /// The times that they reached, as ticks.
    reached: Vec<[u32; 2]>,
}

/// Reads back what the last solve, of so many rows, left.
pub(super) async fn assemble(
    engine: &mut Engine,
    buffers: &Buffers,
    batch: usize,
    outcome: Outcome,
) -> Result<Solution<f32>> {
    let count = if engine.per_row() { batch } else { 1 };
    let [clocks]: [Vec<Clock>; 1] = engine.read([(&buffers.clocks, 0, count)]).await?;
    let [mut rows]: [Vec<u32>; 1] = engine.read([(&buffers.row_status, 0, 3 * batch)]).await?;
    let reached = rows.split_off(batch).as_chunks().0.to_vec();
    let ends = Ends { clocks, status: rows.into_iter().map(status).collect(), reached };
    let (ts, ys, dense) = if engine.every_step() {
        at_steps(engine, buffers, &ends, outcome.most_accepted as usize).await?
    } else {
        let ts = match (&engine.times, &engine.options.save_at) {
            (Some(times), _) => SavedTimes::Own(times.clone()),
            (None, SaveAt::Times(times)) => SavedTimes::Shared(times.clone()),
            (None, _) => SavedTimes::Shared(vec![engine.problem.t1]),
        };
        (ts, at_points(engine, buffers, &ends).await?, None)
    };
    let safety = engine.safety();
    let ideal_steps = ends.clocks.iter().filter_map(|clock| safety.map(|safety| clock.ideal_steps(safety))).collect();
    let stats = ends.clocks.iter().map(|clock| stats(engine, clock)).collect();
    Ok(Solution { ts, ys, stats, ideal_steps, status: ends.status, dense })
}

fn stats(engine: &Engine, clock: &Clock) -> Stats {
    let [nfe, accepted, rejected] = [clock.nfe, clock.accepted, clock.rejected].map(|n| n as usize);
    Stats { nfe, nfe_diffusion: engine.nfe_diffusion(nfe, accepted + rejected), accepted, rejected }
}

/// States at the points that were asked for, `[point][B][D]`, NaN where a trajectory did not come to them.
async fn at_points(engine: &mut Engine, buffers: &Buffers, ends: &Ends) -> Result<Vec<f32>> {
    let (batch, dim) = (ends.status.len(), engine.dim());
    if let Some(times) = engine.times.clone() {
        return at_own_points(engine, buffers, ends, &times).await;
    }
    let points = engine.user_points();
    let [mut ys]: [Vec<f32>; 1] = engine.read([(&buffers.saves, 0, points.len() * batch * dim)]).await?;
    for (slot, point) in ys.chunks_exact_mut(batch * dim).zip(points) {
        let rows = slot.chunks_exact_mut(dim).zip(ends.status.iter().zip(&ends.reached));
        for (row, (_, reached)) in rows.filter(|(_, (status, _))| **status != Status::Done) {
            if *reached < ticks(point) || row.iter().any(|x| !x.is_finite()) {
                row.fill(f32::NAN);
            }
        }
    }
    Ok(ys)
}

/// The same at the trajectories' own times, NaN where a row has none for a slot too.
async fn at_own_points(engine: &mut Engine, buffers: &Buffers, ends: &Ends, times: &Times) -> Result<Vec<f32>> {
    let (batch, dim) = (ends.status.len(), engine.dim());
    let [mut ys]: [Vec<f32>; 1] = engine.read([(&buffers.saves, 0, times.slots() * batch * dim)]).await?;
    for (slot, ys) in ys.chunks_exact_mut(batch * dim).enumerate() {
        for (row, state) in ys.chunks_exact_mut(dim).enumerate() {
            let reached = ends.status[row] == Status::Done
                || (engine.reached_own(row, slot, ends.reached[row]) && state.iter().all(|x| x.is_finite()));
            if !(times.has(row, slot) && reached) {
                state.fill(f32::NAN);
            }
        }
    }
    Ok(ys)
}

/// States at all accepted steps, of which there are `most` at most, and the solution between them if it is wanted.
async fn at_steps(
    engine: &mut Engine,
    buffers: &Buffers,
    ends: &Ends,
    most: usize,
) -> Result<(SavedTimes, Vec<f32>, Option<DenseSolution<f32>>)> {
    let (batch, dim) = (ends.status.len(), engine.dim());
    let size = (most + 1) * batch * dim;
    let [states]: [Vec<f32>; 1] = engine.read([(&buffers.tape, engine.start_of_tape(batch), size)]).await?;
    let count = most * ends.clocks.len();
    let [table]: [Vec<[u32; 4]>; 1] = engine.read([(&buffers.steps, 0, count)]).await?;
    let steps = accepted_steps(engine, ends, &table);
    let ys = steps.states(|ys, row, step| ys.extend(&states[(step * batch + row) * dim..][..dim]));
    let ts = steps.times();
    if engine.options.save_at != SaveAt::Dense {
        return Ok((ts, ys, None));
    }
    let nodes = nodes(engine, buffers, &states, &steps, [batch, most]).await?;
    Ok((ts, ys, Some(steps.dense(dim, engine.options.method, nodes))))
}

/// The accepted steps, from the table of their starts and lengths, `[step][clock]`.
fn accepted_steps(engine: &Engine, ends: &Ends, table: &[[u32; 4]]) -> Steps {
    let whole = |[high, low]: [u32; 2]| (u64::from(high) << 32) | u64::from(low);
    let end = |[a, b, c, d]: [u32; 4]| whole([a, b]) + whole([c, d]);
    let times = |step: [u32; 4]| {
        let [low, high] = halves(end(step));
        [engine.time_of([step[0], step[1]]), engine.time_of([high, low])]
    };
    let clocks = ends.clocks.len();
    let of_clock = |(c, clock): (usize, &Clock)| -> Vec<[f64; 2]> {
        (0..clock.accepted as usize).map(|n| times(table[n * clocks + c])).collect()
    };
    let taken: Vec<Vec<[f64; 2]>> = ends.clocks.iter().enumerate().map(of_clock).collect();
    let own = |(row, status): (usize, &Status)| {
        let steps = if engine.per_row() {
            taken[row].len()
        } else if *status == Status::Done {
            taken[0].len()
        } else {
            table.iter().take_while(|step| end(**step) <= whole(ends.reached[row])).count()
        };
        steps + 1
    };
    let own = ends.status.iter().enumerate().map(own).collect();
    Steps::new(engine.problem.t0, !engine.per_row(), taken, own)
}

/// Each trajectory's own states and stages.
async fn nodes(
    engine: &mut Engine,
    buffers: &Buffers,
    states: &[f32],
    steps: &Steps,
    [batch, most]: [usize; 2],
) -> Result<Vec<Vec<f32>>> {
    let (dim, stages) = (engine.dim(), engine.tableau.stages());
    let state = |step: usize, row: usize| &states[(step * batch + row) * dim..][..dim];
    let mut nodes: Vec<Vec<f32>> = vec![Vec::new(); batch];
    for step in 0..most {
        let k = engine.stages_of_step(batch, buffers, step).await?;
        for (row, nodes) in nodes.iter_mut().enumerate().filter(|(row, _)| step < steps.own_steps(*row)) {
            nodes.extend_from_slice(state(step, row));
            for stage in 0..stages {
                nodes.extend_from_slice(&k[(stage * batch + row) * dim..][..dim]);
            }
        }
    }
    for (row, nodes) in nodes.iter_mut().enumerate() {
        nodes.extend_from_slice(state(steps.own_steps(row), row));
    }
    Ok(nodes)
}
