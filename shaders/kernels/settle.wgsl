// Sets the saved states of trajectories that failed: to zero before the model's head, so that nothing of them reaches
// it, to NaN for an application.

@group(0) @binding(1) var<storage, read> row_status: array<u32>;
@group(0) @binding(2) var<storage, read_write> saves: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let size = job.rows * job.dim;
    let i = flat_group(group, groups) * GROUP + lane;
    // Those of trajectories that have yet to go on are still wanted.
    if i < job.points * size && !is_alive(row_status[(i % size) / job.dim]) {
        saves[i] = job.extra;
    }
}
