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

// Time and bias are added in the end.
fn product_shape() -> vec3<u32> {
    return vec3<u32>(job.rows, job.outputs, job.inputs);
}

fn left_quad(row: u32, k: u32) -> vec4<f32> {
    let at = min(quad_of(row), vec4<u32>(job.rows - 1u)) * job.inputs + (job.source + k);
    return vec4<f32>(input[at.x], input[at.y], input[at.z], input[at.w]);
}

fn right_quad(k: u32, n: u32) -> vec4<f32> {
    let at = min(quad_of(n), vec4<u32>(job.outputs - 1u)) + (job.theta + k * job.outputs);
    return vec4<f32>(weight(at.x), weight(at.y), weight(at.z), weight(at.w));
}

fn emit(row: u32, n: u32, part: u32, sums: vec4<f32>) {
    if row >= job.rows || n >= job.outputs {
        return;
    }
    let cursor = cursors[row * job.per_row];
    let idle = cursor.moving == 0u || (cursor.moving == RESTS && !has(KEEP)) || (has(FIRST) && cursor.first == 0u);
    if idle && !has(ALWAYS) {
        return;
    }
    var z = sums;
    if has(TIME) {
        z = fma(vec4<f32>(node_time(cursor.t, cursor.d, job.node, job.t0, job.span)), right_quad(job.inputs, n), z);
    }
    z += right_quad(job.inputs + select(0u, 1u, has(TIME)), n);
    var to = job.target_ + row * job.outputs + n;
    if has(STAGE_OUT) {
        to += stage_slot(job.stage, cursor) * job.rows * job.outputs;
    }
    for (var j = 0u; j < min(4u, job.outputs - n); j++) {
        let pair = activate(job.activation, z[j]);
        output[to + j] = pair.x;
        if has(KEEP) && !has(LINEAR) {
            derivative[job.target2 + row * job.outputs + n + j] = pair.y;
        }
    }
}
