// Adds a layer's gradient, [x, t, 1]^T z_bar, to this part's sum. Each part owns its rows, and parts are added in order
// in the end, so that the sum does not depend on timing.

struct DenseVjpWeightsArgs {
    inputs: u32,
    outputs: u32,
    theta: u32,             // First parameter of the layer.
    source: u32,            // Offsets of input and z_bar, in elements.
    z_bar: u32,
    parameters: u32,        // In all.
    part_depth: u32,        // Rows of the batch in a part.
    node: f32,              // The stage's `c`.
}

alias Args = DenseVjpWeightsArgs;

@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;
@group(0) @binding(2) var<storage, read> input: array<f32>;
@group(0) @binding(3) var<storage, read> z_bar: array<f32>;
@group(0) @binding(4) var<storage, read_write> partial_: array<f32>;

const LEFT_ALONG_K = false;
const RIGHT_ALONG_K = false;

// The depth is the batch. Of a linear product there is no bias; numbers that are added to a field are one alone.
fn product_shape() -> vec3<u32> {
    let more = select(select(1u, 2u, has(TIME)), 0u, has(BARE));
    return vec3<u32>(job.args.inputs + more, job.args.outputs, job.rows);
}

// Four inputs of a row; after the last come the time, if the layer sees it, and one.
fn left_quad(m: u32, row: u32) -> vec4<f32> {
    let which = quad_of(m);
    let at = min(which, vec4<u32>(max(job.args.inputs, 1u) - 1u)) + (job.args.source + row * job.args.inputs);
    let quad = vec4<f32>(input[at.x], input[at.y], input[at.z], input[at.w]);
    if m + 3u < job.args.inputs {
        return quad;
    }
    var after = vec4<f32>(1.0);
    if has(TIME) {
        let cursor = cursors[row * job.per_row];
        let interval = interval_of(row);
        let time = node_time(cursor.t, cursor.d, job.args.node, interval.x, interval.y);
        after = select(after, vec4<f32>(time), which == vec4<u32>(job.args.inputs));
    }
    return select(quad, after, which >= vec4<u32>(job.args.inputs));
}

fn right_quad(row: u32, n: u32) -> vec4<f32> {
    let at = min(quad_of(n), vec4<u32>(job.args.outputs - 1u)) + (job.args.z_bar + row * job.args.outputs);
    return vec4<f32>(z_bar[at.x], z_bar[at.y], z_bar[at.z], z_bar[at.w]);
}

fn emit(m: u32, n: u32, part: u32, sums: vec4<f32>) {
    if m >= product_shape().x || n >= job.args.outputs {
        return;
    }
    let at = part * job.args.parameters + job.args.theta + m * job.args.outputs + n;
    for (var j = 0u; j < min(4u, job.args.outputs - n); j++) {
        partial_[at + j] += sums[j];
    }
}
