// The error of a penalised stochastic step, where its cotangent will be.

struct ProbeErrorArgs {
    sum: Sum,
    target_: u32,           // Where it goes, in elements.
}

alias Args = ProbeErrorArgs;

@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;
@group(0) @binding(2) var<storage, read> k: array<f32>;
@group(0) @binding(3) var<storage, read_write> state_bars: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let size = job.rows * job.dim;
    let i = flat_group(group, groups) * GROUP + lane;
    if i >= size {
        return;
    }
    let cursor = cursors[(i / job.dim) * job.per_row];
    if cursor.moving == 1u {
        state_bars[job.args.target_ + i] = step_error(i, size, cursor);
    }
}
