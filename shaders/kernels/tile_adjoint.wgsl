// The backward walk of a tile of the batch over steps of equal length, up to so many in one dispatch. The tile's part in the
// gradient is in its invocations' registers until the end: number `lane + m LANES` of a layer is an invocation's m-th.

struct TileAdjointArgs {
    points: u32,
    user_points: u32,
    every_step: u32,        // 1 where every accepted state is saved, the initial one first.
    path: u32,              // Where the seed and the first trajectory lie among the points.
    turns: u32,             // Steps.
    fixed_steps: u32,       // Of the whole solve.
    turned: u32,            // Where the layers' transposed weights begin.
    once: u32,              // 1.
}

alias Args = TileAdjointArgs;

@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;
@group(0) @binding(2) var<storage, read> weights: array<f32>;
@group(0) @binding(3) var<storage, read> tape: array<f32>;
@group(0) @binding(4) var<storage, read> points: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read> saves_bar: array<f32>;
@group(0) @binding(6) var<storage, read> row_status: array<u32>;
@group(0) @binding(7) var<storage, read_write> sums: array<f32>;
@group(0) @binding(8) var<storage, read_write> bar: array<f32>;

// Which of the four trajectories are walked back; what others have counts as zero.
var<private> ALIVE: vec4<bool>;
var<private> ROW: u32;
var<private> FEATURE: u32;

fn layer_weight(at: u32) -> f32 {
    return weights[at];
}

fn saved_bar(slot: u32) -> vec4<f32> {
    let at = places(slot, ROW, FEATURE);
    return select(vec4<f32>(), vec4<f32>(saves_bar[at.x], saves_bar[at.y], saves_bar[at.z], saves_bar[at.w]), ALIVE);
}

fn load_state(slot: u32) -> vec4<f32> {
    let at = places(slot, ROW, FEATURE);
    return select(vec4<f32>(), vec4<f32>(tape[at.x], tape[at.y], tape[at.z], tape[at.w]), ALIVE);
}

// Cotangents of the states saved at the step's end, or else of those within it as far as they are the start's, and of those
// at the very start; `bar_update` has the same.
fn seeds_of(cursor: Cursor, covered: Covered, before: bool) -> vec4<f32> {
    var sum = vec4<f32>();
    if !before && cursor.step == 0u {
        let at_start = points_at_start(ROW);
        for (var n = 0u; n < at_start.count; n++) {
            sum += saved_bar(covered_point(at_start, n));
        }
    }
    for (var n = 0u; n < covered.count; n++) {
        let p = covered_point(covered, n);
        let at_end = ticks_equal(points[p], ticks_add(cursor.t, cursor.d));
        if has(NOISE) && !at_end {
            // On the chord.
            let share = ticks_to_share(ticks_sub(points[p], cursor.t)) / ticks_to_share(cursor.d);
            sum = fma(vec4<f32>(select(1.0 - share, share, before)), saved_bar(p), sum);
        } else if before == at_end {
            sum += saved_bar(p);
        }
    }
    if job.args.every_step == 1u {
        if before {
            sum += saved_bar(cursor.step + 1u);
        } else if cursor.step == 0u {
            sum += saved_bar(0u);
        }
    }
    return sum;
}

// What states saved within the step give to its stage `i`.
fn stage_seed(cursor: Cursor, covered: Covered, i: u32) -> vec4<f32> {
    var sum = vec4<f32>();
    for (var n = 0u; n < covered.count; n++) {
        let p = covered_point(covered, n);
        if !ticks_equal(points[p], ticks_add(cursor.t, cursor.d)) {
            let share = ticks_to_share(ticks_sub(points[p], cursor.t)) / ticks_to_share(cursor.d);
            sum = fma(vec4<f32>(interpolant_weight(i, share)), saved_bar(p), sum);
        }
    }
    return sum;
}

// The cotangent of a layer's input at the invocation's feature, from that of its output, which lies at `z_bar`.
fn input_bar(lane: u32, inputs: u32, outputs: u32, first: u32, z_bar: u32) -> vec4<f32> {
    let from_ = z_bar + lane / inputs * outputs;
    var at = job.args.turned + first + lane % inputs;
    var sum = vec4<f32>();
    for (var j = 0u; j < outputs * job.args.once; j++) {
        sum = fma(sh_tile[from_ + j], vec4<f32>(weights[at]), sum);
        at += inputs;
    }
    return sum;
}

// The part of the tile in a layer's gradient: number `entry` of its matrix, of the inputs' rows, time's and the bias's.
fn layer_gradient(entry: u32, inputs: u32, outputs: u32, time: bool, t: f32, x: u32, z_bar: u32) -> f32 {
    let row = entry / outputs;
    let column = entry % outputs;
    var sum = 0.0;
    for (var quad = 0u; quad < QUADS; quad++) {
        var input = vec4<f32>(select(1.0, t, time && row == inputs));
        if row < inputs {
            input = sh_tile[x + quad * inputs + row];
        }
        sum += dot(input, sh_tile[z_bar + quad * outputs + column]);
    }
    return sum;
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tile = flat_group(group, groups);
    if 4u * QUADS * tile >= job.rows {
        return;
    }
    let row = first_row(tile, lane);
    ROW = min(row, job.rows - 1u);
    FEATURE = lane % DIM;
    for (var r = 0u; r < 4u; r++) {
        let alive = lane < DIM * QUADS && row + r < job.rows && is_alive(row_status[min(row + r, job.rows - 1u)]);
        ALIVE = select(ALIVE, vec4<bool>(alive), vec4<u32>(0u, 1u, 2u, 3u) == vec4<u32>(r));
    }
    let at = places(0u, ROW, FEATURE);
    var state_bar = select(vec4<f32>(), vec4<f32>(bar[at.x], bar[at.y], bar[at.z], bar[at.w]), ALIVE);
    let left = cursors[0].step;
    let turns = min(left, job.args.turns);
    for (var back = 0u; back < turns; back++) {
        let step = left - 1u - back;
        let cursor = fixed_step(step, job.args.fixed_steps);
        let covered = points_within(ROW, cursor.t, cursor.d);
        state_bar += seeds_of(cursor, covered, true);
        // Numbers of an invocation that has no feature are nobody's, and those at rest stay zero.
        state_bar = select(vec4<f32>(), step_vjp(cursor, covered, tile, lane, load_state(2u + step), state_bar), ALIVE);
        state_bar += seeds_of(cursor, covered, false);
    }
    store_gradient(tile, lane);
    if lane < DIM * QUADS {
        for (var r = 0u; r < min(4u, max(row, job.rows) - row); r++) {
            bar[at[r]] = state_bar[r];
        }
    }
}
