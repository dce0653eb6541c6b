// What `noisy_tile` has for paths, where there is no noise.

fn draw(cursor: Cursor, group: u32, lane: u32) {}

// The method's dense output.
fn interpolate(h: f32, y: vec4<f32>, y1: vec4<f32>, share: f32) -> vec4<f32> {
    var sum = vec4<f32>();
    for (var j = 0u; j < STAGES; j++) {
        sum = fma(vec4<f32>(interpolant_weight(j, share)), K[j], sum);
    }
    return fma(vec4<f32>(h), sum, y);
}
