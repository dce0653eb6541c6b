// What a step's stages come to at one number of the batch, where there is no noise; `noisy` has the same functions. The
// kernel that uses it declares `k`.

// `base + h sum a_j k_j`.
fn combined(base: f32, at: u32, size: u32, cursor: Cursor) -> f32 {
    var sum = 0.0;
    for (var j = 0u; j < job.args.sum.drift_count; j++) {
        sum = fma(job.args.sum.drift[j / 4u][j % 4u], k[stage_slot(j, cursor) * size + at], sum);
    }
    return fma(cursor.h, sum, base);
}
