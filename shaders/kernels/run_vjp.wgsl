// Operations of a field's vector-Jacobian product between its products, on the whole batch: the functions `run` and `rest`
// that are printed for them.

struct RunVjpArgs {
    kept0: u32,     // Where the stage's kept values begin in either part of their memory,
    kept1: u32,
    result: u32,    // and the cotangents of its states.
    theta: u32,     // First parameter of the field.
    trajectories: u32,  // Of which the rows are, those of one saved time after the other.
}

alias Args = RunVjpArgs;

@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;
@group(0) @binding(2) var<storage, read> row_status: array<u32>;
@group(0) @binding(3) var<storage, read> theta: array<Weight>;
@group(0) @binding(4) var<storage, read> kept0: array<f32>;
@group(0) @binding(5) var<storage, read> kept1: array<f32>;
@group(0) @binding(6) var<storage, read_write> own0: array<f32>;
@group(0) @binding(7) var<storage, read_write> own1: array<f32>;
@group(0) @binding(8) var<storage, read_write> result: array<f32>;

fn each_lane(row: u32, lane: u32, cursor: Cursor) {
    // Outside of the equation no cursor decides.
    if cursor.moving == STILL && !has(ALWAYS) {
        return;
    }
    let status = row_status[row % job.args.trajectories];
    let to = job.args.result + row * job.dim;
    // What a row at rest has kept are zeros, at which a field need not be defined.
    let outside = select(has_states(status), is_alive(status), has(MEASURE));
    if select(takes_step(cursor, status), outside, has(ALWAYS)) {
        run(row, lane, to);
    } else {
        rest(row, lane, to);
    }
}
