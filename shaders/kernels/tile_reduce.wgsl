// Adds the tiles' parts of the field's gradient, in their order, to the first part of the whole gradient.

struct TileReduceArgs {
    tiles: u32,
    first: u32,             // Of the parameters that tiles have a gradient of,
    count: u32,             // and how many there are.
}

alias Args = TileReduceArgs;

@group(0) @binding(1) var<storage, read> sums: array<f32>;
@group(0) @binding(2) var<storage, read_write> partial_: array<f32>;

fn each(i: u32) {
    if i >= job.args.count {
        return;
    }
    var sum = 0.0;
    for (var tile = 0u; tile < job.args.tiles; tile++) {
        sum += sums[tile * job.args.count + i];
    }
    partial_[job.args.first + i] += sum;
}
