// The cotangent of a stage, where there is no noise: k_i_bar = h (b_i y1_bar + sum_j weights_j state_bar_j) + seeds, which
// come from states saved within the step and from the measure of a penalised one; `noisy_bar` has the same function.

@group(0) @binding(6) var<storage, read> saves_bar: array<f32>;
@group(0) @binding(7) var<storage, read> points: array<vec2<u32>>;

fn stage_cotangent(i: u32, size: u32, cursor: Cursor) -> f32 {
    var sum = of_states(i, size, job.args.end.x);
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
    return of_slope(i, size, cursor, sum);
}
