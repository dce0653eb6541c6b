// The backward walk of whole trajectories: each invocation takes rows of its own, one after the other, keeps its part of
// the gradient to itself, and the workgroup adds its invocations' parts in a fixed order.

@group(0) @binding(1) var<storage, read> counts: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> theta: array<Weight>;
@group(0) @binding(3) var<storage, read> tape: array<f32>;
@group(0) @binding(4) var<storage, read> steps: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> points: array<vec2<u32>>;
@group(0) @binding(6) var<storage, read_write> saves_bar: array<f32>;
@group(0) @binding(7) var<storage, read_write> partial_: array<f32>;

var<workgroup> sh_parts: array<f32, 64>;

fn load_state(slot: u32, row: u32) -> State {
    var y: State;
    for (var d = 0u; d < DIM; d++) {
        y[d] = tape[(slot * job.rows + row) * DIM + d];
    }
    return y;
}

fn saved_bar(point: u32, row: u32) -> State {
    var bar: State;
    for (var d = 0u; d < DIM; d++) {
        bar[d] = saves_bar[(point * job.rows + row) * DIM + d];
    }
    return bar;
}

// Hands out the cotangents of the states saved in this step: those at its end to `bar`, those within it to the stages'
// seeds, and, as the start has its share in both, those within and those at the very start to what is returned.
fn seed_saves(cursor: Cursor, row: u32, bar: ptr<function, State>) -> State {
    var start_bar: State;
    for (var p = 0u; p < job.points; p++) {
        let point = points[p];
        let at_start = cursor.step == 0u && ticks_equal(point, cursor.t);
        if !covers(cursor.t, cursor.d, point) && !at_start {
            continue;
        }
        let save_bar = saved_bar(p, row);
        if !at_start && ticks_equal(point, ticks_add(cursor.t, cursor.d)) {
            for (var d = 0u; d < DIM; d++) {
                (*bar)[d] += save_bar[d];
            }
            continue;
        }
        var of_end = 0.0;
        if !at_start {
            let share = ticks_to_share(ticks_sub(point, cursor.t)) / ticks_to_share(cursor.d);
            seed_stages(cursor.h, share, save_bar);
            // On the chord the end has its share, and the stages none.
            of_end = select(0.0, share, has(NOISE));
        }
        for (var d = 0u; d < DIM; d++) {
            (*bar)[d] += of_end * save_bar[d];
            start_bar[d] += (1.0 - of_end) * save_bar[d];
        }
    }
    return start_bar;
}

fn walk_row(row: u32) {
    let count = u32(counts[row].x);
    if count == 0u {
        return;
    }
    let clock_count = select(1u, job.rows, job.per_row == 1u);
    var bar: State;
    for (var back = 0u; back < count; back++) {
        let step = count - 1u - back;
        let entry = steps[step * clock_count + row * job.per_row];
        let h = ticks_to_share(entry.zw) * job.span;
        let cursor = Cursor(entry.xy, entry.zw, h, 2u + step, 1u, 0u, 1u, 1u, 1u, step);
        let y = load_state(cursor.origin, row);
        clear_seeds();
        let start_bar = seed_saves(cursor, row, &bar);
        draw(cursor, row);
        bar = step_vjp(cursor, y, bar);
        for (var d = 0u; d < DIM; d++) {
            bar[d] += start_bar[d];
        }
    }
    // Everything saved of this row has been taken up: its first slot has room for the cotangent of its initial state.
    for (var d = 0u; d < DIM; d++) {
        saves_bar[row * DIM + d] = bar[d];
    }
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    for (var p = 0u; p < PARAMETERS; p++) {
        THETA_BAR[p] = 0.0;
    }
    for (var row = group.x * GROUP + lane; row < job.rows; row += groups.x * GROUP) {
        walk_row(row);
    }
    for (var p = 0u; p < PARAMETERS; p++) {
        sh_parts[lane] = THETA_BAR[p];
        for (var half = 32u; half > 0u; half /= 2u) {
            workgroupBarrier();
            if lane < half {
                sh_parts[lane] += sh_parts[lane + half];
            }
        }
        // The head's and the encoder's gradients are in the same parts.
        if lane == 0u {
            partial_[group.x * job.u.y + FIELD + p] += sh_parts[0];
        }
        workgroupBarrier();
    }
}
