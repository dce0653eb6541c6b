// The cotangent of a layer's input: z_bar W^T, times the derivative of the activation that it comes from.

@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;
@group(0) @binding(2) var<storage, read> theta: array<f32>;
@group(0) @binding(3) var<storage, read> z_bar: array<f32>;
@group(0) @binding(4) var<storage, read> derivative: array<f32>;
@group(0) @binding(5) var<storage, read_write> x_bar: array<f32>;

const LEFT_ALONG_K = true;
const RIGHT_ALONG_K = true;

fn left_at(row: u32, k: u32) -> f32 {
    if row >= job.rows {
        return 0.0;
    }
    return z_bar[job.source + row * job.outputs + k];
}

fn right_at(k: u32, n: u32) -> f32 {
    if n >= job.inputs {
        return 0.0;
    }
    return theta[job.theta + n * job.outputs + k];
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    if !has(ALWAYS) && job.per_row == 0u && cursors[0].moving == 0u {
        return;
    }
    let m0 = group.y * TILE;
    let n0 = group.x * TILE;
    let quads = product_tile(m0, n0, 0u, job.outputs, lane);
    for (var i = 0u; i < 4u; i++) {
        let row = m0 + 4u * (lane / 8u) + i;
        if row >= job.rows {
            return;
        }
        let x = quad_row(quads, i);
        for (var j = 0u; j < 4u; j++) {
            let n = n0 + 4u * (lane % 8u) + j;
            if n < job.inputs {
                let at = row * job.inputs + n;
                if has(LINEAR) {
                    x_bar[job.target_ + at] = x[j];
                } else {
                    x_bar[job.target_ + at] = x[j] * derivative[job.target2 + at];
                }
            }
        }
    }
}
