// Steps of equal length of a tile of the batch, up to so many in one dispatch: trajectories do not wait for each other. The
// networks and the method's sums are printed for the problem. `tile_clock` tells afterwards what time it is.

struct TileSolveArgs {
    points: u32,
    user_points: u32,
    path: u32,              // Where the seed and the first trajectory lie among the points.
    turns: u32,             // Steps.
    fixed_steps: u32,       // Of the whole solve.
    most_steps: u32,        // That may be taken, or that the tape has room for.
    stride: u32,            // Accepted steps from one kept state to the next.
    once: u32,              // 1.
}

alias Args = TileSolveArgs;

@group(0) @binding(1) var<storage, read> clocks: array<Clock>;
@group(0) @binding(2) var<storage, read> theta: array<Weight>;
@group(0) @binding(3) var<storage, read_write> tape: array<f32>;
@group(0) @binding(4) var<storage, read> points: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read_write> saves: array<f32>;
@group(0) @binding(6) var<storage, read_write> outcome: Outcome;

fn layer_weight(at: u32) -> f32 {
    return weight(at);
}

fn load_state(slot: u32, row: u32, feature: u32) -> vec4<f32> {
    let at = places(slot, row, feature);
    return vec4<f32>(tape[at.x], tape[at.y], tape[at.z], tape[at.w]);
}

fn store_state(slot: u32, row: u32, feature: u32, y: vec4<f32>) {
    let at = places(slot, row, feature);
    for (var r = 0u; r < min(4u, job.rows - row); r++) {
        tape[at[r]] = y[r];
    }
}

// The states at the points that the step covers.
fn save_points(cursor: Cursor, row: u32, feature: u32, y: vec4<f32>, y1: vec4<f32>) {
    let covered = points_within(row, cursor.t, cursor.d);
    for (var n = 0u; n < covered.count; n++) {
        let p = covered_point(covered, n);
        var state = y1;
        if !ticks_equal(points[p], ticks_add(cursor.t, cursor.d)) {
            let share = ticks_to_share(ticks_sub(points[p], cursor.t)) / ticks_to_share(cursor.d);
            state = interpolate(cursor.h, y, y1, share);
        }
        let at = places(p, row, feature);
        for (var r = 0u; r < min(4u, job.rows - row); r++) {
            saves[at[r]] = state[r];
        }
    }
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tile = flat_group(group, groups);
    let done = clocks[0].accepted;
    let goes_on = clocks[0].status == RUNNING || clocks[0].status == PAUSED;
    if !goes_on || 4u * QUADS * tile >= job.rows {
        return;
    }
    let row = first_row(tile, lane);
    let feature = lane % DIM;
    let owns = lane < DIM * QUADS && row < job.rows;
    let end = min(min(done + job.args.turns, job.args.fixed_steps), job.args.most_steps);
    var y = load_state(slot_of(done, job.args.stride), min(row, job.rows - 1u), feature);
    begin_steps(fixed_step(done, job.args.fixed_steps), lane, y);
    for (var step = done; step < end; step++) {
        let cursor = fixed_step(step, job.args.fixed_steps);
        let y1 = take_stages(cursor, tile, lane, y);
        if owns {
            save_points(cursor, row, feature, y, y1);
            if has(RECORD) || step + 1u == end {
                store_state(slot_of(step + 1u, job.args.stride), row, feature, y1);
            }
        }
        y = y1;
    }
    if !loops_ran() {
        outcome.cut = 1u;
    }
}
