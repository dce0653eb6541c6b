// Adds a layer's gradient, [x, t, 1]^T z_bar, to this part's sum. Each part owns its rows, and parts are added in order
// in the end, so that the sum does not depend on timing.

@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;
@group(0) @binding(2) var<storage, read> input: array<f32>;
@group(0) @binding(3) var<storage, read> z_bar: array<f32>;
@group(0) @binding(4) var<storage, read_write> partial_: array<f32>;

const LEFT_ALONG_K = false;
const RIGHT_ALONG_K = false;

fn product_rests() -> bool {
    return !has(ALWAYS) && job.per_row == 0u && cursors[0].moving == 0u;
}

// The depth is the batch, u.x rows of it a part; u.y parameters in all.
fn product_shape() -> vec3<u32> {
    return vec3<u32>(job.inputs + select(1u, 2u, has(TIME)), job.outputs, job.rows);
}

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
    return z_bar[job.target2 + row * job.outputs + n];
}

fn emit(m: u32, n: u32, part: u32, sum: f32) {
    partial_[part * job.u.y + job.theta + m * job.outputs + n] += sum;
}
