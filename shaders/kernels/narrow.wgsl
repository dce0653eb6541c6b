// Rounds the parameters to the type that the field's weights are stored in.

struct NarrowArgs {
    parameters: u32,
}

alias Args = NarrowArgs;

@group(0) @binding(1) var<storage, read> theta: array<f32>;
@group(0) @binding(2) var<storage, read_write> narrow: array<Weight>;

fn each(i: u32) {
    if i < job.args.parameters {
        narrow[i] = Weight(theta[i]);
    }
}
