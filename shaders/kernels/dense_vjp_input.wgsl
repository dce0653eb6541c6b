// The cotangent of a layer's input: z_bar W^T, times the derivative of the activation that it comes from.

@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;
@group(0) @binding(2) var<storage, read> theta: array<Weight>;
@group(0) @binding(3) var<storage, read> z_bar: array<f32>;
@group(0) @binding(4) var<storage, read> derivative: array<f32>;
@group(0) @binding(5) var<storage, read_write> x_bar: array<f32>;

const LEFT_ALONG_K = true;
const RIGHT_ALONG_K = true;

fn product_rests() -> bool {
    return !has(ALWAYS) && job.per_row == 0u && cursors[0].moving == 0u;
}

fn product_shape() -> vec3<u32> {
    return vec3<u32>(job.rows, job.inputs, job.outputs);
}

fn left_at(row: u32, k: u32) -> f32 {
    return z_bar[job.source + row * job.outputs + k];
}

fn right_at(k: u32, n: u32) -> f32 {
    return weight(job.theta + n * job.outputs + k);
}

fn emit(row: u32, n: u32, part: u32, sum: f32) {
    let at = row * job.inputs + n;
    if has(LINEAR) {
        x_bar[job.target_ + at] = sum;
    } else {
        x_bar[job.target_ + at] = sum * derivative[job.target2 + at];
    }
}
