// The cotangent of a stage: k_i_bar = h (b_i y1_bar + sum_j weights_j state_bar_j) + seeds, where the seeds come from
// states saved within the step and from the measure of a penalised one.

@group(0) @binding(1) var<storage, read> cursors: array<Cursor>;
@group(0) @binding(2) var<storage, read> row_status: array<u32>;
@group(0) @binding(3) var<storage, read> bar: array<f32>;
@group(0) @binding(4) var<storage, read> state_bars: array<f32>;
@group(0) @binding(5) var<storage, read> saves_bar: array<f32>;
@group(0) @binding(6) var<storage, read> points: array<vec2<u32>>;
@group(0) @binding(7) var<storage, read_write> stage_bar: array<f32>;

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
    if cursor.moving == 0u {
        return;
    }
    if cursor.moving == RESTS || !is_alive(row_status[row]) {
        stage_bar[i] = 0.0;
        return;
    }
    var sum = job.scale * bar[i];
    for (var j = 0u; j < job.stages + 2u; j++) {
        let weight = job.a[j / 4u][j % 4u];
        if weight != 0.0 {
            sum = fma(weight, state_bars[j * size + i], sum);
        }
    }
    let covered = points_within(cursor.t, cursor.d);
    for (var n = 0u; n < covered.count; n++) {
        let p = covered_point(covered, n);
        if !ticks_equal(points[p], ticks_add(cursor.t, cursor.d)) {
            let theta = ticks_to_share(ticks_sub(points[p], cursor.t)) / ticks_to_share(cursor.d);
            sum = fma(interpolant_weight(job.stage, theta), saves_bar[p * size + i], sum);
        }
    }
    var result = cursor.h * sum;
    if job.extra != 0.0 {
        result = fma(job.extra, state_bars[job.stages * size + i], result);
    }
    stage_bar[i] = result;
}
