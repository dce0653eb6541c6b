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

fn left_quad(row: u32, k: u32) -> vec4<f32> {
    let at = min(quad_of(row), vec4<u32>(job.rows - 1u)) * job.outputs + (job.source + k);
    return vec4<f32>(z_bar[at.x], z_bar[at.y], z_bar[at.z], z_bar[at.w]);
}

fn right_quad(k: u32, n: u32) -> vec4<f32> {
    let at = min(quad_of(n), vec4<u32>(job.inputs - 1u)) * job.outputs + (job.theta + k);
    return vec4<f32>(weight(at.x), weight(at.y), weight(at.z), weight(at.w));
}

fn emit(row: u32, n: u32, part: u32, sums: vec4<f32>) {
    if row >= job.rows || n >= job.inputs {
        return;
    }
    let at = row * job.inputs + n;
    for (var j = 0u; j < min(4u, job.inputs - n); j++) {
        if has(LINEAR) {
            x_bar[job.target_ + at + j] = sums[j];
        } else {
            x_bar[job.target_ + at + j] = sums[j] * derivative[job.target2 + at + j];
        }
    }
}
