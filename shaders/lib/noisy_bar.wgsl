// The cotangent of a stage of a stochastic step, from those of the step's end, of the error, and of the states that the
// stage went into; `plain_bar` has the same function. Drift and diffusion differ in what their stages are multiplied by.

@group(0) @binding(7) var<storage, read> increments: array<vec2<f32>>;

// What a stage was multiplied by on its way to the end, into the states of either network, and to the error.
struct Factors {
    end: f32,
    drift: f32,
    diffusion: f32,
    error: f32,
}

fn scale(which: u32, integrals: vec4<f32>, h: f32) -> f32 {
    if which == SCALE_ROOT {
        return sqrt(h);
    }
    return integrals[which];
}

fn factors(at: u32, h: f32) -> Factors {
    if job.mode == DRIFT {
        return Factors(h * job.args.end.x, h, h, h);
    }
    let i = noise_integrals(increments[at], h);
    return Factors(
        dot(job.args.end, i),
        scale(job.args.drift_scale, i, h),
        scale(job.args.diffusion_scale, i, h),
        dot(job.args.error, i),
    );
}

fn stage_cotangent(i: u32, size: u32, cursor: Cursor) -> f32 {
    let by = factors(i, cursor.h);
    var sum = by.end * bar[i];
    for (var j = 0u; j < job.args.error_slot + 3u; j++) {
        let weight = job.args.weights[j / 4u][j % 4u];
        if weight != 0.0 {
            let of_states = select(by.drift, by.diffusion, j >= job.args.drift_slots && j < job.args.error_slot);
            sum = fma(weight * select(of_states, by.error, j == job.args.error_slot), state_bars[j * size + i], sum);
        }
    }
    return sum;
}
