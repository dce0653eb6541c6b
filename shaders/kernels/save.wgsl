// Writes the states at the save points that the attempt covers. If it is rejected, the one that covers them in the end
// writes them again.

@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;
@group(0) @binding(2) var<storage, read> tape: array<f32>;
@group(0) @binding(3) var<storage, read> k: array<f32>;
@group(0) @binding(4) var<storage, read> points: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read_write> saves: array<f32>;

const AT_START = 1u;

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
    if cursor.moving != 1u {
        return;
    }
    for (var p = 0u; p < job.points; p++) {
        let point = points[p];
        if job.mode == AT_START {
            if ticks_equal(point, cursor.t) {
                saves[p * size + i] = tape[cursor.origin * size + i];
            }
        } else if covers(cursor.t, cursor.d, point) {
            saves[p * size + i] = state_at(point, cursor, i, size);
        }
    }
}

fn state_at(point: vec2<u32>, cursor: Cursor, i: u32, size: u32) -> f32 {
    if ticks_equal(point, ticks_add(cursor.t, cursor.d)) {
        return tape[cursor.target_ * size + i];
    }
    let theta = ticks_to_share(ticks_sub(point, cursor.t)) / ticks_to_share(cursor.d);
    if has(NOISE) {
        let y = tape[cursor.origin * size + i];
        return fma(theta, tape[cursor.target_ * size + i] - y, y);
    }
    var sum = 0.0;
    for (var j = 0u; j < job.stages; j++) {
        sum = fma(interpolant_weight(j, theta), k[stage_slot(j, cursor) * size + i], sum);
    }
    return fma(cursor.h, sum, tape[cursor.origin * size + i]);
}
