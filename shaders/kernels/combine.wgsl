// Combines a step's stages: y + h sum a_j k_j, as the field's next input, as the step's end, or both.

@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;
@group(0) @binding(2) var<storage, read> row_status: array<u32>;
@group(0) @binding(3) var<storage, read_write> tape: array<f32>;
@group(0) @binding(4) var<storage, read> k: array<f32>;
@group(0) @binding(5) var<storage, read_write> input: array<f32>;
@group(0) @binding(6) var<storage, read_write> derivative: array<f32>;

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
    let row = i / job.dim;
    let cursor = cursors[row * job.per_row];
    if cursor.moving == 0u || (cursor.moving == RESTS && !has(KEEP)) || (has(FIRST) && cursor.first == 0u) {
        return;
    }
    var state = 0.0;
    if !has(KEEP) || (cursor.moving == 1u && is_alive(row_status[row])) {
        var sum = 0.0;
        for (var j = 0u; j < job.x.x; j++) {
            sum = fma(job.a[j / 4u][j % 4u], k[stage_slot(j, cursor) * size + i], sum);
        }
        state = fma(cursor.h, sum, tape[cursor.origin * size + i]);
    }
    if has(END) {
        tape[cursor.target_ * size + i] = state;
    }
    if has(STATE) {
        let at = job.target_ + i;
        if has(CUBE) {
            let square = state * state;
            input[at] = square * state;
            if has(KEEP) {
                derivative[at] = 3.0 * square;
            }
        } else {
            input[at] = state;
        }
    }
}
