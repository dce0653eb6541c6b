// Adds to the cotangent of the state at hand: stage states' cotangents, and those of the states saved at the step's end,
// within it, or at the very start.

struct BarUpdateArgs {
    weights: array<vec4<f32>, 3>,   // Of the slots of `state_bars`,
    slots: u32,                     // of which there are so many.
    points: u32,
    user_points: u32,
    every_step: u32,                // 1 where every accepted state is saved, the initial one first.
}

alias Args = BarUpdateArgs;

@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;
@group(0) @binding(2) var<storage, read> row_status: array<u32>;
@group(0) @binding(3) var<storage, read> state_bars: array<f32>;
@group(0) @binding(4) var<storage, read> saves_bar: array<f32>;
@group(0) @binding(5) var<storage, read> points: array<vec2<u32>>;
@group(0) @binding(6) var<storage, read_write> bar: array<f32>;

const CLEAR = 0u;
const BEFORE = 1u;
const JOIN = 2u;
const AFTER = 3u;

fn each_number(i: u32, row: u32, cursor: Cursor) {
    let size = job.rows * job.dim;
    if job.mode == CLEAR {
        bar[i] = 0.0;
        if row_status[row] == STANDS {
            // All that was saved of it is the initial state.
            bar[i] = saved_at_start(i, row, size);
        }
        return;
    }
    if !takes_step(cursor, row_status[row]) {
        return;
    }
    var sum = bar[i];
    for (var j = 0u; j < job.args.slots; j++) {
        let weight = job.args.weights[j / 4u][j % 4u];
        if weight != 0.0 {
            sum = fma(weight, state_bars[j * size + i], sum);
        }
    }
    if job.mode != JOIN {
        sum += saved(cursor, i, row, size);
    }
    bar[i] = sum;
}

fn saved_at_start(i: u32, row: u32, size: u32) -> f32 {
    let at_start = points_at_start(row);
    var sum = 0.0;
    for (var n = 0u; n < at_start.count; n++) {
        sum += saves_bar[covered_point(at_start, n) * size + i];
    }
    return sum;
}

fn saved(cursor: Cursor, i: u32, row: u32, size: u32) -> f32 {
    let end = ticks_add(cursor.t, cursor.d);
    let covered = points_within(row, cursor.t, cursor.d);
    var sum = 0.0;
    if job.mode == AFTER && cursor.step == 0u {
        sum = saved_at_start(i, row, size);
    }
    for (var n = 0u; n < covered.count; n++) {
        let p = covered_point(covered, n);
        let point = point_ticks(row, p);
        let at_end = ticks_equal(point, end);
        if has(NOISE) && !at_end {
            // On the chord.
            let theta = ticks_to_share(ticks_sub(point, cursor.t)) / ticks_to_share(cursor.d);
            sum = fma(select(1.0 - theta, theta, job.mode == BEFORE), saves_bar[p * size + i], sum);
        } else if (job.mode == BEFORE) == at_end {
            sum += saves_bar[p * size + i];
        }
    }
    if job.args.every_step == 1u {
        if job.mode == BEFORE {
            sum += saves_bar[(cursor.step + 1u) * size + i];
        } else if cursor.step == 0u {
            sum += saves_bar[i];
        }
    }
    return sum;
}
