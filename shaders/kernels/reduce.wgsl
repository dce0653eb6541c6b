// Adds the parts of the gradient in their order.

struct ReduceArgs {
    parts: u32,
    parameters: u32,
}

alias Args = ReduceArgs;

@group(0) @binding(1) var<storage, read> partial_: array<f32>;
@group(0) @binding(2) var<storage, read_write> gradient: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * GROUP + lane;
    if i >= job.args.parameters {
        return;
    }
    var sum = 0.0;
    for (var part = 0u; part < job.args.parts; part++) {
        sum += partial_[part * job.args.parameters + i];
    }
    gradient[i] = sum;
}
