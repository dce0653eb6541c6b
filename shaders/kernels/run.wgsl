// Operations of a field between its products, on the whole batch: the functions `run` and `rest` that are printed for them.

struct RunArgs {
    own0: u32,      // Where the stage's values begin in either part of their memory,
    own1: u32,
    result: u32,    // and the stages of this field.
    theta: u32,     // First parameter of the field.
    stage: u32,
    node: f32,      // The stage's `c`.
}

alias Args = RunArgs;

@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;
@group(0) @binding(2) var<storage, read> row_status: array<u32>;
@group(0) @binding(3) var<storage, read> theta: array<Weight>;
@group(0) @binding(4) var<storage, read_write> own0: array<f32>;
@group(0) @binding(5) var<storage, read_write> own1: array<f32>;
@group(0) @binding(6) var<storage, read_write> result: array<f32>;
@group(0) @binding(7) var<storage, read> knots: array<u32>;

fn each_lane(row: u32, lane: u32, cursor: Cursor) {
    // Outside of the equation are no stages, and all rows take part.
    if has(ALWAYS) {
        run(row, lane, job.args.result + row * job.dim, cursor);
        return;
    }
    if wants_no_stage(cursor) {
        return;
    }
    let to = job.args.result + (stage_slot(job.args.stage, cursor) * job.rows + row) * job.dim;
    if !has(KEEP) || takes_step(cursor, row_status[row]) {
        run(row, lane, to, cursor);
    } else {
        rest(row, lane, to);
    }
}
