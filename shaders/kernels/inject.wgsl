// Adds the cotangents of biased probes' states, or second states, where the walk passes the steps they start.

struct InjectArgs {
    probes: u32,            // On the first rows.
    source: u32,            // Offsets, in elements.
    target_: u32,
}

alias Args = InjectArgs;

@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;
@group(0) @binding(2) var<storage, read> starts: array<u32>;
@group(0) @binding(3) var<storage, read> stored: array<f32>;
@group(0) @binding(4) var<storage, read_write> bar: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * GROUP + lane;
    if i >= job.rows * job.dim {
        return;
    }
    let c = (i / job.dim) * job.per_row;
    if cursors[c].moving != 1u {
        return;
    }
    for (var n = 0u; n < job.args.probes; n++) {
        if starts[n * select(1u, job.rows, job.per_row == 1u) + c] == cursors[c].step {
            bar[job.args.target_ + i] += stored[job.args.source + n * job.rows * job.dim + i];
        }
    }
}
