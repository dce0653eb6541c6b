// The cotangent of a layer's input: z_bar W^T, times the derivative of the activation that it comes from.

struct DenseVjpInputArgs {
    inputs: u32,
    outputs: u32,
    theta: u32,             // First parameter of the layer.
    source: u32,            // Offsets of z_bar, x_bar and derivative, in elements.
    target_: u32,
    derivative: u32,
    part_depth: u32,
}

alias Args = DenseVjpInputArgs;

@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;
@group(0) @binding(2) var<storage, read> theta: array<Weight>;
@group(0) @binding(3) var<storage, read> z_bar: array<f32>;
@group(0) @binding(4) var<storage, read> derivative: array<f32>;
@group(0) @binding(5) var<storage, read_write> x_bar: array<f32>;

fn emit(row: u32, n: u32, part: u32, sums: vec4<f32>) {
    if row >= job.rows || n >= job.args.inputs {
        return;
    }
    let at = row * job.args.inputs + n;
    for (var j = 0u; j < min(4u, job.args.inputs - n); j++) {
        if has(LINEAR) {
            x_bar[job.args.target_ + at + j] = sums[j];
        } else {
            x_bar[job.args.target_ + at + j] = sums[j] * derivative[job.args.derivative + at + j];
        }
    }
}
