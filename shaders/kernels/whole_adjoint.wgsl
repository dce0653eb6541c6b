// The backward walk of whole trajectories, up to so many steps of each: each invocation takes rows of its own, one after the
// other, keeps its part of the gradient to itself, and the workgroup adds its invocations' parts in a fixed order. The
// rows' cotangents are in a slot of the saved states' from one dispatch to the next.

struct WholeAdjointArgs {
    points: u32,
    user_points: u32,
    path: u32,              // Where the seed and the first trajectory lie among the points.
    steps: u32,             // Of each row, at most.
    bar_slot: u32,          // Slot of the saved states' cotangents that keeps those of the rows.
    hidden: u32,            // Units of the field's hidden layer, and
    noise_hidden: u32,      // of the diffusion's.
    parameters: u32,        // Of the model.
}

alias Args = WholeAdjointArgs;

@group(0) @binding(1) var<storage, read_write> walks: array<RowWalk>;
@group(0) @binding(2) var<storage, read> theta: array<Weight>;
@group(0) @binding(3) var<storage, read> tape: array<f32>;
@group(0) @binding(4) var<storage, read> steps: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> points: array<vec2<u32>>;
@group(0) @binding(6) var<storage, read_write> saves_bar: array<f32>;
@group(0) @binding(7) var<storage, read_write> partial_: array<f32>;
@group(0) @binding(8) var<storage, read> knots: array<u32>;

const WIDE = GROUP;

alias Summand = f32;

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

// Those of the points that lie in the step, or at its start.
fn seed_points(
    covered: Covered,
    at_start: bool,
    cursor: Cursor,
    row: u32,
    bar: ptr<function, State>,
    start_bar: ptr<function, State>,
) {
    for (var n = 0u; n < covered.count; n++) {
        let p = covered_point(covered, n);
        let point = point_ticks(row, p);
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
            (*start_bar)[d] += (1.0 - of_end) * save_bar[d];
        }
    }
}

// Hands out the cotangents of the states saved in this step: those at its end to `bar`, those within it to the stages'
// seeds, and, as the start has its share in both, those within and those at the very start to what is returned.
fn seed_saves(cursor: Cursor, row: u32, bar: ptr<function, State>) -> State {
    var start_bar: State;
    if cursor.step == 0u {
        seed_points(points_at_start(row), true, cursor, row, bar, &start_bar);
    }
    seed_points(points_within(row, cursor.t, cursor.d), false, cursor, row, bar, &start_bar);
    return start_bar;
}

fn store_bar(row: u32, bar: State) {
    for (var d = 0u; d < DIM; d++) {
        saves_bar[(job.args.bar_slot * job.rows + row) * DIM + d] = bar[d];
    }
}

// Of a row that rests: all that was saved of it is the initial state.
fn bar_at_rest(row: u32) -> State {
    let covered = points_at_start(row);
    var bar: State;
    for (var n = 0u; n < covered.count; n++) {
        let save_bar = saved_bar(covered_point(covered, n), row);
        for (var d = 0u; d < DIM; d++) {
            bar[d] += save_bar[d];
        }
    }
    return bar;
}

fn walk_row(row: u32) {
    let walk = walks[row];
    let left = walk.steps - walk.gone;
    if is_still(row) {
        store_bar(row, bar_at_rest(row));
    }
    if left == 0u {
        return;
    }
    take_row(row);
    var bar: State;
    if walk.gone > 0u {
        bar = saved_bar(job.args.bar_slot, row);
    }
    let turns = min(left, job.args.steps);
    var back = 0u;
    for (; back < turns; back++) {
        let step = left - 1u - back;
        let entry = steps[step * clock_count() + row * job.per_row];
        let h = ticks_to_share(entry.zw) * job.span;
        let cursor = Cursor(entry.xy, entry.zw, h, 2u + step, 1u, 0u, 1u, MOVES, 1u, step);
        let y = load_state(cursor.origin, row);
        clear_seeds();
        let start_bar = seed_saves(cursor, row, &bar);
        draw(cursor, row);
        bar = step_vjp(cursor, y, bar);
        for (var d = 0u; d < DIM; d++) {
            bar[d] += start_bar[d];
        }
    }
    store_bar(row, bar);
    walks[row].gone = walk.gone + back;
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
        sh_sums[lane] = THETA_BAR[p];
        fold(lane, WIDE);
        // The head's and the encoder's gradients are in the same parts.
        if lane == 0u {
            partial_[group.x * job.args.parameters + FIELD + p] += sh_sums[0];
        }
        workgroupBarrier();
    }
    let first = group.x * GROUP + lane;
    if first < job.rows && !loops_ran() {
        walks[first].cut = 1u;
    }
}
