// Copies the samples of a mini-batch from a data set on the device: `[N][times][width]` to `[times][B][width]`.

@group(0) @binding(1) var<storage, read> indices: array<u32>;
@group(0) @binding(2) var<storage, read> data: array<f32>;
@group(0) @binding(3) var<storage, read_write> batch: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * GROUP + lane;
    let size = job.rows * job.inputs;
    if i >= job.points * size {
        return;
    }
    let time = i / size;
    let row = (i % size) / job.inputs;
    let sample = indices[row] * job.points + time;
    batch[job.target_ + i] = data[sample * job.inputs + i % job.inputs];
}
