// One dense layer on the whole batch: activation([x, t, 1] W), to the next layer's input or to a stage.

struct DenseArgs {
    inputs: u32,
    outputs: u32,
    theta: u32,             // First parameter of the layer.
    source: u32,            // Offsets of input, output and derivative, in elements.
    target_: u32,
    derivative: u32,
    activation: u32,
    stage: u32,
    node: f32,              // The stage's `c`.
    part_depth: u32,
}

alias Args = DenseArgs;

@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;
@group(0) @binding(2) var<storage, read> theta: array<Weight>;
@group(0) @binding(3) var<storage, read> input: array<f32>;
@group(0) @binding(4) var<storage, read_write> output: array<f32>;
@group(0) @binding(5) var<storage, read_write> derivative: array<f32>;

fn emit(row: u32, n: u32, part: u32, sums: vec4<f32>) {
    if row >= job.rows || n >= job.args.outputs {
        return;
    }
    let cursor = cursors[row * job.per_row];
    if !has(ALWAYS) && wants_no_stage(cursor) {
        return;
    }
    let z = affine(row, n, cursor, sums);
    var to = job.args.target_ + row * job.args.outputs + n;
    if has(STAGE_OUT) {
        to += stage_slot(job.args.stage, cursor) * job.rows * job.args.outputs;
    }
    for (var j = 0u; j < min(4u, job.args.outputs - n); j++) {
        var pair = activate(job.args.activation, z[j]);
        if has(STAGE_OUT) {
            pair.x = by_clock(row, pair.x);
        }
        output[to + j] = pair.x;
        if has(KEEP) && !has(LINEAR) {
            let at = job.args.derivative + row * job.args.outputs + n + j;
            if has(TOGETHER) {
                output[at] = pair.y;
            } else {
                derivative[at] = pair.y;
            }
        }
    }
}
