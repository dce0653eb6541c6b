// The cotangents of a dense layer's inputs as a product: of those of its outputs, `z_bar`, and its weights turned. The kernel that
// uses it declares both, and has the layer's shape and place among its arguments as `dense_vjp_input` has.

const LEFT_ALONG_K = true;
const RIGHT_ALONG_K = true;

fn product_shape() -> vec3<u32> {
    return vec3<u32>(job.rows, job.args.inputs, job.args.outputs);
}

fn left_quad(row: u32, k: u32) -> vec4<f32> {
    let at = min(quad_of(row), vec4<u32>(job.rows - 1u)) * job.args.outputs + (job.args.source + k);
    return vec4<f32>(z_bar[at.x], z_bar[at.y], z_bar[at.z], z_bar[at.w]);
}

fn right_quad(k: u32, n: u32) -> vec4<f32> {
    let at = min(quad_of(n), vec4<u32>(job.args.inputs - 1u)) * job.args.outputs + (job.args.theta + k);
    return vec4<f32>(weight(at.x), weight(at.y), weight(at.z), weight(at.w));
}
