// A dense layer as a product: of its inputs and its weights, to which time and bias are added in the end. The kernel that uses it
// declares `input` and `theta`, and has the layer's shape and place among its arguments as `dense` has.

const LEFT_ALONG_K = true;
const RIGHT_ALONG_K = false;

fn product_shape() -> vec3<u32> {
    return vec3<u32>(job.rows, job.args.outputs, job.args.inputs);
}

fn left_quad(row: u32, k: u32) -> vec4<f32> {
    let at = min(quad_of(row), vec4<u32>(job.rows - 1u)) * job.args.inputs + (job.args.source + k);
    return vec4<f32>(input[at.x], input[at.y], input[at.z], input[at.w]);
}

fn right_quad(k: u32, n: u32) -> vec4<f32> {
    let at = min(quad_of(n), vec4<u32>(job.args.outputs - 1u)) + (job.args.theta + k * job.args.outputs);
    return vec4<f32>(weight(at.x), weight(at.y), weight(at.z), weight(at.w));
}

// What the activation is taken of: four outputs of a row, from `n` on.
fn affine(row: u32, n: u32, cursor: Cursor, sums: vec4<f32>) -> vec4<f32> {
    var z = sums;
    if has(TIME) {
        let interval = interval_of(row);
        let time = node_time(cursor.t, cursor.d, job.args.node, interval.x, interval.y);
        z = fma(vec4<f32>(time), right_quad(job.args.inputs, n), z);
    }
    if !has(BARE) {
        z += right_quad(job.args.inputs + select(0u, 1u, has(TIME)), n);
    }
    return z;
}
