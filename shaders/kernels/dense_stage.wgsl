// The last layer of a stage, and with it what the stages so far come to: the state that the next one is evaluated at, the step's
// end, or both. Each number of these depends on the same number of the stages alone, so that who has the last one of them can
// go on; `dense` and `combine` do the same in two dispatches.

struct DenseStageArgs {
    sum: Sum,               // Of the stages so far.
    inputs: u32,
    outputs: u32,
    theta: u32,             // First parameter of the layer.
    source: u32,            // Offset of the input, in elements.
    target_: u32,           // Where the next stage's state goes.
    activation: u32,
    stage: u32,
    node: f32,              // The stage's `c`.
    part_depth: u32,
}

alias Args = DenseStageArgs;

@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;
@group(0) @binding(2) var<storage, read> theta: array<Weight>;
@group(0) @binding(3) var<storage, read> input: array<f32>;
@group(0) @binding(4) var<storage, read_write> k: array<f32>;
@group(0) @binding(5) var<storage, read> row_status: array<u32>;
@group(0) @binding(6) var<storage, read_write> tape: array<f32>;
@group(0) @binding(7) var<storage, read_write> state: array<f32>;

fn emit(row: u32, n: u32, part: u32, sums: vec4<f32>) {
    if row >= job.rows || n >= job.args.outputs {
        return;
    }
    let cursor = cursors[row * job.per_row];
    if wants_no_stage(cursor) {
        return;
    }
    let size = job.rows * job.dim;
    let z = affine(row, n, cursor, sums);
    let is_combined = !has(KEEP) || takes_step(cursor, row_status[row]);
    let first = row * job.dim + n;
    let to = stage_slot(job.args.stage, cursor) * size;
    for (var i = first; i < first + min(4u, job.args.outputs - n); i++) {
        k[to + i] = by_clock(row, activate(job.args.activation, z[i - first]).x);
        var next = 0.0;
        if is_combined {
            next = combined(tape[cursor.origin * size + i], i, size, cursor);
        }
        if has(END) {
            tape[cursor.target_ * size + i] = next;
        }
        if has(STATE) {
            state[job.args.target_ + i] = next;
        }
    }
}
