// Sums of a stochastic step's stages: `h sum a_j f_j + sum b_j g_j` at one number of the batch. The kernel that uses it
// declares `k` and `increments`.
//
// In the job, a[0] = weights of the drift stages; of the diffusion stages those by dW (a[1]), by chi1 to chi3 (a[2], b[0],
// b[1]) and by the root of h (b[2]); u.x and u.y = how many of them there are, source = where the diffusion stages begin.

fn noisy_sum(at: u32, size: u32, cursor: Cursor) -> f32 {
    var drift = 0.0;
    for (var j = 0u; j < job.u.x; j++) {
        drift = fma(job.a[0][j], k[stage_slot(j, cursor) * size + at], drift);
    }
    var sum = cursor.h * drift;
    if job.u.y > 0u {
        let i = noise_integrals(increments[at], cursor.h);
        let weights = job.a[1] * i.x + job.a[2] * i.y + job.b[0] * i.z + job.b[1] * i.w + job.b[2] * sqrt(cursor.h);
        for (var j = 0u; j < job.u.y; j++) {
            sum = fma(weights[j], k[job.source + stage_slot(j, cursor) * size + at], sum);
        }
    }
    return sum;
}
