// A layer's weights for walks in tiles: as they are, and its matrix transposed, so that neighbours read neighbours both ways.

struct TileWeightsArgs {
    inputs: u32,
    outputs: u32,
    theta: u32,             // First parameter of the layer.
    count: u32,             // Its parameters.
    turned: u32,            // Where transposed weights begin.
}

alias Args = TileWeightsArgs;

@group(0) @binding(1) var<storage, read> theta: array<Weight>;
@group(0) @binding(2) var<storage, read_write> weights: array<f32>;

fn each(i: u32) {
    if i >= job.args.count {
        return;
    }
    let x = weight(job.args.theta + i);
    weights[job.args.theta + i] = x;
    let row = i / job.args.outputs;
    if row < job.args.inputs {
        weights[job.args.turned + job.args.theta + i % job.args.outputs * job.args.inputs + row] = x;
    }
}
