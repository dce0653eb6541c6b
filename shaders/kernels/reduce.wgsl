// Adds the parts of the gradient in their order.

struct ReduceArgs {
    parts: u32,
    parameters: u32,
}

alias Args = ReduceArgs;

@group(0) @binding(1) var<storage, read> partial_: array<f32>;
@group(0) @binding(2) var<storage, read_write> gradient: array<f32>;

fn each(i: u32) {
    if i >= job.args.parameters {
        return;
    }
    var sum = 0.0;
    for (var part = 0u; part < job.args.parts; part++) {
        sum += partial_[part * job.args.parameters + i];
    }
    gradient[i] = sum;
}
