// Adds a layer's gradient, [x, t, 1]^T z_bar, to this part's sum. Each part owns its rows, and parts are added in order
// in the end, so that the sum does not depend on timing.

@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;
@group(0) @binding(2) var<storage, read> input: array<f32>;
@group(0) @binding(3) var<storage, read> z_bar: array<f32>;
@group(0) @binding(4) var<storage, read_write> partial_: array<f32>;

const LEFT_ALONG_K = false;
const RIGHT_ALONG_K = false;

fn left_at(m: u32, row: u32) -> f32 {
    if m < job.inputs {
        return input[job.source + row * job.inputs + m];
    }
    if has(TIME) && m == job.inputs {
        let cursor = cursors[row * job.per_row];
        return node_time(cursor.t, cursor.d, job.node, job.t0, job.span);
    }
    return 1.0;
}

fn right_at(row: u32, n: u32) -> f32 {
    if n >= job.outputs {
        return 0.0;
    }
    return z_bar[job.target2 + row * job.outputs + n];
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    if !has(ALWAYS) && job.per_row == 0u && cursors[0].moving == 0u {
        return;
    }
    let height = job.inputs + select(1u, 2u, has(TIME));
    let m0 = group.y * TILE;
    let n0 = group.x * TILE;
    // u.x rows a part, u.y parameters in all.
    let first = group.z * job.u.x;
    let quads = product_tile(m0, n0, first, min(first + job.u.x, job.rows), lane);
    for (var i = 0u; i < 4u; i++) {
        let m = m0 + 4u * (lane / 8u) + i;
        if m >= height {
            return;
        }
        let sums = quad_row(quads, i);
        for (var j = 0u; j < 4u; j++) {
            let n = n0 + 4u * (lane % 8u) + j;
            if n < job.outputs {
                partial_[group.z * job.u.y + job.theta + m * job.outputs + n] += sums[j];
            }
        }
    }
}
