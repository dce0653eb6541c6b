// One dense layer on the whole batch: activation([x, t, 1] W), to the next layer's input or to a stage.

@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;
@group(0) @binding(2) var<storage, read> theta: array<f32>;
@group(0) @binding(3) var<storage, read> input: array<f32>;
@group(0) @binding(4) var<storage, read_write> output: array<f32>;
@group(0) @binding(5) var<storage, read_write> derivative: array<f32>;

const LEFT_ALONG_K = true;
const RIGHT_ALONG_K = false;

fn left_at(row: u32, k: u32) -> f32 {
    if row >= job.rows {
        return 0.0;
    }
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
    if n >= job.outputs {
        return 0.0;
    }
    return theta[job.theta + k * job.outputs + n];
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    if !has(ALWAYS) && job.per_row == 0u && (cursors[0].moving == 0u || (has(FIRST) && cursors[0].first == 0u)) {
        return;
    }
    let depth = job.inputs + select(1u, 2u, has(TIME));
    let m0 = group.y * TILE;
    let n0 = group.x * TILE;
    let quads = product_tile(m0, n0, 0u, depth, lane);
    for (var i = 0u; i < 4u; i++) {
        let row = m0 + 4u * (lane / 8u) + i;
        if row >= job.rows {
            return;
        }
        let cursor = cursors[row * job.per_row];
        let idle = cursor.moving == 0u || (cursor.moving == RESTS && !has(KEEP)) || (has(FIRST) && cursor.first == 0u);
        if idle && !has(ALWAYS) {
            continue;
        }
        var base = job.target_ + row * job.outputs;
        if has(STAGE_OUT) {
            base += stage_slot(job.stage, cursor) * job.rows * job.outputs;
        }
        let z = quad_row(quads, i);
        for (var j = 0u; j < 4u; j++) {
            let n = n0 + 4u * (lane % 8u) + j;
            if n < job.outputs {
                let pair = activate(job.activation, z[j]);
                output[base + n] = pair.x;
                if has(KEEP) && !has(LINEAR) {
                    derivative[job.target2 + row * job.outputs + n] = pair.y;
                }
            }
        }
    }
}
