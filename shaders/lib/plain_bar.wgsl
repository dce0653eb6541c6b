// The cotangent of a stage, where there is no noise: k_i_bar = h (b_i y1_bar + sum_j weights_j state_bar_j) + seeds, which
// come from states saved within the step and from the measure of a penalised one; `noisy_bar` has the same function.

@group(0) @binding(6) var<storage, read> saves_bar: array<f32>;
@group(0) @binding(7) var<storage, read> points: array<vec2<u32>>;

fn stage_cotangent(i: u32, size: u32, cursor: Cursor) -> f32 {
    var sum = job.args.end.x * bar[i];
    for (var j = 0u; j < job.args.error_slot + 2u; j++) {
        let weight = job.args.weights[j / 4u][j % 4u];
        if weight != 0.0 {
            sum = fma(weight, state_bars[j * size + i], sum);
        }
    }
    let row = i / job.dim;
    let covered = points_within(row, cursor.t, cursor.d);
    for (var n = 0u; n < covered.count; n++) {
        let p = covered_point(covered, n);
        let point = point_ticks(row, p);
        if !ticks_equal(point, ticks_add(cursor.t, cursor.d)) {
            let theta = ticks_to_share(ticks_sub(point, cursor.t)) / ticks_to_share(cursor.d);
            sum = fma(interpolant_weight(job.args.stage, theta), saves_bar[p * size + i], sum);
        }
    }
    var result = cursor.h * sum;
    if job.args.difference != 0.0 {
        result = fma(job.args.difference, state_bars[job.args.error_slot * size + i], result);
    }
    return result;
}
