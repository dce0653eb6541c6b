// Writes the states at the save points that the attempt covers, some of them an invocation. If it is rejected, the
// one that covers them in the end writes them again.

struct SaveArgs {
    points: u32,
    user_points: u32,
    shares: u32,            // Invocations that share a number's points.
}

alias Args = SaveArgs;

@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;
@group(0) @binding(2) var<storage, read> tape: array<f32>;
@group(0) @binding(3) var<storage, read> k: array<f32>;
@group(0) @binding(4) var<storage, read> points: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read_write> saves: array<f32>;
@group(0) @binding(6) var<storage, read_write> outcome: Outcome;

const WITHIN_STEP = 0u;
const AT_START = 1u;

fn each(id: u32) {
    let size = job.rows * job.dim;
    let i = id % size;
    let share = id / size;
    if share >= job.args.shares {
        return;
    }
    let cursor = cursors[(i / job.dim) * job.per_row];
    if cursor.moving != MOVES {
        return;
    }
    let row = i / job.dim;
    if job.mode == AT_START {
        let covered = points_at_start(row);
        for (var n = share; n < covered.count; n += job.args.shares) {
            saves[covered_point(covered, n) * size + i] = tape[cursor.origin * size + i];
        }
    } else {
        let covered = points_within(row, cursor.t, cursor.d);
        for (var n = share; n < covered.count; n += job.args.shares) {
            let p = covered_point(covered, n);
            saves[p * size + i] = state_at(point_ticks(row, p), cursor, i, size);
        }
    }
    if !loops_ran() {
        outcome.cut = 1u;
    }
}

fn state_at(point: vec2<u32>, cursor: Cursor, i: u32, size: u32) -> f32 {
    if ticks_equal(point, ticks_add(cursor.t, cursor.d)) {
        return tape[cursor.target_ * size + i];
    }
    let theta = ticks_to_share(ticks_sub(point, cursor.t)) / ticks_to_share(cursor.d);
    if has(NOISE) {
        let y = tape[cursor.origin * size + i];
        return fma(theta, tape[cursor.target_ * size + i] - y, y);
    }
    var sum = 0.0;
    for (var j = 0u; j < job.stages; j++) {
        sum = fma(interpolant_weight(j, theta), k[stage_slot(j, cursor) * size + i], sum);
    }
    return fma(cursor.h, sum, tape[cursor.origin * size + i]);
}
