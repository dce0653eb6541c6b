// One dense layer on the whole batch: activation([x, t, 1] W), to the next layer's input or to a stage.

@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;
@group(0) @binding(2) var<storage, read> theta: array<Weight>;
@group(0) @binding(3) var<storage, read> input: array<f32>;
@group(0) @binding(4) var<storage, read_write> output: array<f32>;
@group(0) @binding(5) var<storage, read_write> derivative: array<f32>;

const LEFT_ALONG_K = true;
const RIGHT_ALONG_K = false;

fn product_rests() -> bool {
    return !has(ALWAYS)
        && job.per_row == 0u
        && (cursors[0].moving == 0u || (has(FIRST) && cursors[0].first == 0u));
}

fn product_shape() -> vec3<u32> {
    return vec3<u32>(job.rows, job.outputs, job.inputs + select(1u, 2u, has(TIME)));
}

fn left_at(row: u32, k: u32) -> f32 {
    if k < job.inputs {
        return input[job.source + row * job.inputs + k];
    }
    if has(TIME) && k == job.inputs {
        let cursor = cursors[row * job.per_row];
        return node_time(cursor.t, cursor.d, job.node, job.t0, job.span);
    }
    return 1.0;
}

fn right_at(k: u32, n: u32) -> f32 {
    return weight(job.theta + k * job.outputs + n);
}

fn emit(row: u32, n: u32, part: u32, z: f32) {
    let cursor = cursors[row * job.per_row];
    let idle = cursor.moving == 0u || (cursor.moving == RESTS && !has(KEEP)) || (has(FIRST) && cursor.first == 0u);
    if idle && !has(ALWAYS) {
        return;
    }
    let at = row * job.outputs + n;
    let pair = activate(job.activation, z);
    if has(STAGE_OUT) {
        output[job.target_ + stage_slot(job.stage, cursor) * job.rows * job.outputs + at] = pair.x;
    } else {
        output[job.target_ + at] = pair.x;
    }
    if has(KEEP) && !has(LINEAR) {
        derivative[job.target2 + at] = pair.y;
    }
}
