// Rounds the parameters to the type that the field's weights are stored in.

struct NarrowArgs {
    parameters: u32,
}

alias Args = NarrowArgs;

@group(0) @binding(1) var<storage, read> theta: array<f32>;
@group(0) @binding(2) var<storage, read_write> narrow: array<Weight>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * GROUP + lane;
    if i < job.args.parameters {
        narrow[i] = Weight(theta[i]);
    }
}
