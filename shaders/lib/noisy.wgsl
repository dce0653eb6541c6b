// What a stochastic step's stages come to at one number of the batch, as `plain` has it without noise. The kernel that uses
// it declares `k`.

@group(0) @binding(7) var<storage, read> increments: array<vec2<f32>>;

// `h sum a_j f_j + sum b_j g_j`.
fn noisy_sum(at: u32, size: u32, cursor: Cursor) -> f32 {
    var drift = 0.0;
    for (var j = 0u; j < job.args.sum.drift_count; j++) {
        drift = fma(job.args.sum.drift[0][j], k[stage_slot(j, cursor) * size + at], drift);
    }
    var sum = cursor.h * drift;
    if job.args.sum.noise_count > 0u {
        let i = noise_integrals(increments[at], cursor.h);
        let by = job.args.sum.noise;
        let weights = by[0] * i.x + by[1] * i.y + by[2] * i.z + by[3] * i.w + by[4] * sqrt(cursor.h);
        for (var j = 0u; j < job.args.sum.noise_count; j++) {
            sum = fma(weights[j], k[job.args.sum.diffusion + stage_slot(j, cursor) * size + at], sum);
        }
    }
    return sum;
}

fn combined(base: f32, at: u32, size: u32, cursor: Cursor) -> f32 {
    return base + noisy_sum(at, size, cursor);
}
