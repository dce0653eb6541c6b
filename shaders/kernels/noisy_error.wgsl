// The error of a penalised stochastic step, where its cotangent will be.

@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;
@group(0) @binding(2) var<storage, read> k: array<f32>;
@group(0) @binding(3) var<storage, read> increments: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read_write> state_bars: array<f32>;

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
        state_bars[job.target_ + i] = noisy_sum(i, size, cursor);
    }
}
